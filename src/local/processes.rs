//! Child processes of a command: started, waited for, stopped by their id.
//!
//! What enters: the executable, arguments, a file for the log. What leaves: a [`Process`] that
//! is ready. What can never happen: a process outlives its [`Process`], or one that was not
//! started here is stopped.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::limits;

/// One running child.
pub struct Process {
    pub name: String,
    /// Where its standard output and error go.
    pub log: PathBuf,
    child: Child,
}

/// Why a command cannot go on, in words for whoever started it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Process {
    /// Starts `command` with an empty standard input and its output appended to `log`.
    ///
    /// # Errors
    /// The log or the executable cannot be opened.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, Failure> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .map_err(|error| Failure(format!("{name} cannot be started: {error}")))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `path` of the plain HTTP server at `address` answers 200.
    ///
    /// # Errors
    /// The process ends first, or `within` passes; with the end of its log.
    pub fn wait_for(
        &mut self,
        address: SocketAddr,
        path: &str,
        within: Duration,
    ) -> Result<(), Failure> {
        self.wait_until(|| matches!(get(address, path), Ok((200, _))), within)
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// As [`Process::wait_for`].
    pub fn wait_until(
        &mut self,
        ready: impl Fn() -> bool,
        within: Duration,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(&format!("ended at once ({status})")));
            }
            if ready() {
                return Ok(());
            }
            if began.elapsed() > within {
                let seconds = within.as_secs();
                return Err(self.failed(&format!("is not ready after {seconds} s")));
            }
            pause(Duration::from_millis(20));
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It is still there after `within`; with the end of its log.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<ExitStatus, Failure> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > within {
                return Err(self.failed("does not end"));
            }
            pause(Duration::from_millis(20));
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end (SIGTERM) and waits; after [`limits::LOCAL_STOP`] it is killed.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while began.elapsed() < limits::LOCAL_STOP {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            pause(Duration::from_millis(10));
        }
        None
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.end();
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended by itself, which is what is wanted.
            let _ = kill_process(id, signal);
        }
    }

    fn failed(&self, what: &str) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(12)..].join("\n  ");
        Failure(format!("{} {what}. Its log ends:\n  {last}", self.name))
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command that has ended.
pub struct Ended {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end, whatever its end is.
///
/// # Errors
/// It cannot be started.
pub fn run(mut command: Command) -> Result<Ended, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok(Ended {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A plain GET with a short time-out: status and body. For health pages on loopback.
///
/// # Errors
/// Nobody answers in HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let short = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, short)?;
    stream.set_read_timeout(Some(short))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::other("no HTTP answer"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// A loopback address that nobody listens on now.
///
/// # Errors
/// No port is free.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// A folder for this run alone (mode 0700), removed with all that is in it.
pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// The system's folder for temporary files cannot be written.
    pub fn new(name: &str) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let random = u64::from_ne_bytes(random);
        let path = std::env::temp_dir().join(format!("{name}-{random:016x}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits on the calling thread, which is the command's own and serves nobody.
#[allow(clippy::disallowed_methods)]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_that_ends_at_once_is_told_with_its_last_words() {
        let folder = Folder::new("cryptonym-test").unwrap();
        let log = folder.path().join("log");
        let mut process = Process::start("it", shell("echo no port; exit 4"), &log).unwrap();
        let nobody = free_address().unwrap();
        let failure = process
            .wait_for(nobody, "/readyz", Duration::from_secs(10))
            .unwrap_err();
        assert!(failure.0.contains("no port"), "{failure}");
    }

    #[test]
    fn stop_is_polite_and_dropping_is_not() {
        let folder = Folder::new("cryptonym-test").unwrap();
        let log = folder.path().join("log");
        let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done";
        let polite = Process::start("it", shell(script), &log).unwrap();
        while !fs::read_to_string(&log).unwrap().contains("up") {
            pause(Duration::from_millis(5));
        }
        assert_eq!(polite.stop().unwrap().code(), Some(7));

        let dropped = Process::start("it", shell("exec sleep 60"), &log).unwrap();
        let entry = PathBuf::from(format!("/proc/{}", dropped.id()));
        assert!(entry.exists());
        drop(dropped);
        assert!(!entry.exists());
    }

    #[test]
    fn a_folder_is_private_and_goes_away() {
        let folder = Folder::new("cryptonym-test").unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }
}
