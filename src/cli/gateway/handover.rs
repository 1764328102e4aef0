//! One gateway hands its listening sockets to the next, so that no connection is refused.
//!
//! ```text
//!  the one that serves                         the one that begins (--take-over)
//!        │ ◀── connects to `gateway.handover` ───────│
//!        │ ─── sockets (SCM_RIGHTS), boot ──────────▶│  leases, known set, configuration, TLS
//!        │        both accept for a moment           │
//!        │ ◀── serving ──────────────────────────────│
//!        │ ─── done ────────────────────────────────▶│  puts a socket of its own there
//!     drains                                       serves
//! ```
//!
//! What enters: a path. What leaves: sockets that stay open all the while, and whose lease it was.
//! What can never happen: a process of another user takes them (both look at the other's user), or
//! the one that serves stops before the other has said that it does: if that ends on the way, all
//! stays as it was.

use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use crate::limits;
use crate::wire::text::Hex;

/// What goes with the sockets, on a line of its own.
#[derive(Serialize, Deserialize)]
struct Offer {
    format: u32,
    boot: Hex<16>,
    sockets: usize,
}

const FORMAT: u32 = 1;
const SERVING: &str = "serving";
const DONE: &str = "done";

/// What the process before has given.
pub struct Taken {
    pub sockets: Vec<TcpListener>,
    /// Its name towards the vault.
    pub boot: [u8; 16],
    stream: BufReader<UnixStream>,
}

/// Takes the sockets of the process that serves now; `None`: there is none.
///
/// # Errors
/// Why it did not give them, and what to do.
pub fn take(path: &Path) -> Result<Option<Taken>, String> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(wrong(path, &error)),
            };
        }
    };
    receive(stream).map(Some).map_err(|e| wrong(path, &e))
}

fn wrong(path: &Path, error: &io::Error) -> String {
    format!(
        "{}: the gateway there did not hand over its sockets ({error}); it goes on serving",
        path.display()
    )
}

fn receive(stream: UnixStream) -> io::Result<Taken> {
    is_ours(&stream)?;
    stream.set_read_timeout(Some(limits::HANDOVER_STEP))?;
    stream.set_write_timeout(Some(limits::HANDOVER_STEP))?;
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::HANDOVER_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // One byte: the sockets come with the first, and the rest is a line.
    let mut first = [0];
    let mut parts = [IoSliceMut::new(&mut first)];
    let received = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut sockets: Vec<TcpListener> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            sockets.extend(given.map(|socket: OwnedFd| TcpListener::from(socket)));
        }
    }
    let mut stream = BufReader::new(stream);
    let line = line(&mut stream)?;
    let offer: Offer = serde_json::from_str(&line).map_err(io::Error::other)?;
    if offer.format != FORMAT || offer.sockets != sockets.len() {
        return Err(io::Error::other("it speaks another version"));
    }
    Ok(Taken {
        sockets,
        boot: offer.boot.0,
        stream,
    })
}

impl Taken {
    /// This process serves from now on: the other one may go. Returns when it has heard it.
    ///
    /// # Errors
    /// It does not answer.
    pub fn serving(mut self) -> io::Result<()> {
        writeln!(self.stream.get_mut(), "{SERVING}")?;
        match line(&mut self.stream)?.as_str() {
            DONE => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Where this process gives its sockets away.
pub struct Giver {
    path: PathBuf,
    listener: UnixListener,
}

impl Giver {
    /// Takes the place of whoever stood there.
    ///
    /// # Errors
    /// The socket cannot be made, or something else than a socket is there.
    pub fn at(path: &Path) -> io::Result<Self> {
        if std::fs::symlink_metadata(path).is_ok_and(|m| !m.file_type().is_socket()) {
            return Err(io::Error::other("there is a file of this name already"));
        }
        let mut new = path.as_os_str().to_owned();
        new.push(format!(".{}", std::process::id()));
        let new = PathBuf::from(new);
        let _ = std::fs::remove_file(&new);
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&new, path)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
        })
    }

    /// Waits until another process has taken over; says which. `sockets` and `boot`: what it is
    /// given.
    pub async fn taken(&self, boot: [u8; 16], sockets: impl Fn() -> Vec<OwnedFd>) -> u32 {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(limits::READY_TICK).await;
                continue;
            };
            let (Ok(stream), sockets) = (stream.into_std(), sockets()) else {
                continue;
            };
            tracing::info!(sockets = sockets.len(), "handing over");
            let given = tokio::task::spawn_blocking(move || give(stream, boot, &sockets)).await;
            match given {
                Ok(Ok(process)) => return process,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "not handed over: this process goes on serving");
                }
                Err(_) => {}
            }
        }
    }

    /// Takes the socket away, unless another process has put its own there.
    pub fn leave(&self, handed_over: bool) {
        if !handed_over {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn give(stream: UnixStream, boot: [u8; 16], sockets: &[OwnedFd]) -> io::Result<u32> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(limits::HANDOVER_TIME))?;
    stream.set_write_timeout(Some(limits::HANDOVER_STEP))?;
    let process = is_ours(&stream)?;
    let offer = Offer {
        format: FORMAT,
        boot: Hex(boot),
        sockets: sockets.len(),
    };
    let text = serde_json::to_string(&offer).map_err(io::Error::other)?;
    let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::HANDOVER_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("more sockets than can be handed over"));
    }
    sendmsg(
        &stream,
        &[IoSlice::new(b"\n")],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut stream = BufReader::new(stream);
    writeln!(stream.get_mut(), "{text}")?;
    if line(&mut stream)? != SERVING {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // From here on the other one serves, whether or not it hears this.
    let _ = writeln!(stream.get_mut(), "{DONE}");
    Ok(process)
}

/// The process at the other end, if it is of this user.
fn is_ours(stream: &UnixStream) -> io::Result<u32> {
    let other = sockopt::socket_peercred(stream)?;
    if other.uid == rustix::process::geteuid() {
        Ok(other.pid.as_raw_nonzero().get().unsigned_abs())
    } else {
        Err(io::Error::other("the process there is another user's"))
    }
}

/// One line, of bounded length; an end before it is an error.
fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    let most = limits::HANDOVER_LINE;
    stream.by_ref().take(most).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(text) => Ok(text.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
