//! Debian's PostgreSQL as a child of the test: a cluster of its own in a folder of its own, on a
//! free port of loopback, stopped by its id. Nothing of an installed service is touched.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cryptonym::local::processes::pause;

/// Who the server runs as when the tests are root's, whom it refuses.
const NOBODY: u32 = 65534;

pub struct Postgres {
    port: u16,
    programs: PathBuf,
    folder: tempfile::TempDir,
    child: Child,
}

impl Postgres {
    /// An empty cluster, once it answers.
    pub fn start() -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new()
            .prefix("cryptonym-postgres-")
            .tempdir()
            .unwrap();
        let place = folder.path();
        if is_root() {
            chown(place, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = place.join("data");
        let log = || File::create(place.join("output.log")).unwrap();
        let made = unprivileged(&programs.join("initdb"))
            .args([
                "--auth=trust",
                "--username=app",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(&data)
            .current_dir(place)
            .stdout(log())
            .stderr(log())
            .status()
            .unwrap();
        assert!(
            made.success(),
            "initdb: {}",
            fs::read_to_string(place.join("output.log")).unwrap()
        );
        // Free again once this is done: the server takes it itself.
        let port = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.local_addr().unwrap().port()
        };
        let child = unprivileged(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-c",
                "log_statement=all",
            ])
            .arg("-k")
            .arg(place)
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .unwrap();
        let mut server = Self {
            port,
            programs,
            folder,
            child,
        };
        server.wait();
        server
    }

    /// How clients reach it.
    pub fn url(&self) -> String {
        format!("postgresql://app@127.0.0.1:{}/postgres", self.port)
    }

    /// Its data, and its log, in which every statement stands.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Every row of every table, as the server's own tool writes them.
    pub fn dump(&self) -> String {
        let dump = Command::new(self.programs.join("pg_dump"))
            .arg(self.url())
            .output()
            .unwrap();
        assert!(
            dump.status.success(),
            "{}",
            String::from_utf8_lossy(&dump.stderr)
        );
        String::from_utf8(dump.stdout).unwrap()
    }

    fn wait(&mut self) {
        let began = Instant::now();
        loop {
            let ready = Command::new(self.programs.join("pg_isready"))
                .args(["-q", "-d", &self.url()])
                .status();
            if ready.unwrap().success() {
                return;
            }
            let log = || fs::read_to_string(self.folder.path().join("output.log")).unwrap();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "postgres ended: {}", log());
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "postgres does not answer: {}",
                log()
            );
            pause(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children end with it: fast shutdown.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).status();
        let _ = self.child.wait();
    }
}

/// Where Debian keeps them, the newest version first.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut bins: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    bins.retain(|bin| bin.join("initdb").exists());
    bins.sort();
    bins.pop()
        .expect("postgresql is needed: `tests/run` installs it (Debian: postgresql)")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command
        .args(["--reuid", &id, "--regid", &id, "--clear-groups"])
        .arg(program);
    command
}
