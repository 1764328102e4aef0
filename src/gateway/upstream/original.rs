//! Where a redirected client meant to go, and the way there.
//!
//! What enters: an accepted socket; later a wish to connect on. What leaves: the address that the
//! client had connected to, and a connection to it, from the client's own address if the backend
//! says so. What can never happen: a connection to an address or port that the backend does not
//! list, to this machine, or on behalf of a connection that the gateway itself has made.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use crate::config::{Original, Transparent};
use crate::error::{Code, Fault, Stage};
use crate::gateway::here;

/// What one client connection was meant for. Connections to backends belong to one of these.
pub struct Aim {
    pub to: SocketAddr,
    /// Personal data, so never logged.
    pub client: SocketAddr,
    /// What it named in its handshake.
    pub name: Option<String>,
}

/// Where this connection was made to; `None`: nobody has redirected it.
pub fn destination(tcp: &TcpStream, how: Transparent) -> Option<SocketAddr> {
    let local = tcp.local_addr().ok()?;
    match how {
        Transparent::Tproxy => Some(local),
        Transparent::Redirect => {
            let socket = SockRef::from(tcp);
            let found = match local {
                SocketAddr::V4(_) => socket.original_dst_v4(),
                SocketAddr::V6(_) => socket.original_dst_v6(),
            };
            found.ok()?.as_socket()
        }
    }
}

/// Lets a listening socket take connections to any address, or one that connects come from any.
///
/// # Errors
/// The process may not (CAP_NET_RAW, or CAP_NET_ADMIN).
pub fn make_transparent(socket: &SockRef<'_>, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// Addresses from which the gateway itself has connected to one backend.
#[derive(Clone, Default)]
pub struct Outgoing(Arc<Mutex<HashSet<SocketAddr>>>);

/// One of them, as long as its connection is open.
pub struct Mark(Outgoing, SocketAddr);

impl Outgoing {
    /// Whether this client may be led to where it meant to go.
    ///
    /// # Errors
    /// [`Code::DestinationRefused`].
    pub fn judge(&self, original: &Original, aim: Option<&Arc<Aim>>) -> Result<(), Fault> {
        let refused = || Fault::new(Code::DestinationRefused, Stage::Connect);
        let aim = aim.ok_or_else(refused)?;
        if self.lock().contains(&aim.client) {
            tracing::error!("the gateway's own connections are redirected to itself");
            return Err(refused());
        }
        if !original.allows(aim.to) || here::is_own(aim.to.ip()) {
            return Err(refused());
        }
        Ok(())
    }

    fn mark(&self, address: SocketAddr) -> Mark {
        self.lock().insert(address);
        Mark(self.clone(), address)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<SocketAddr>> {
        // A panic elsewhere leaves a set of addresses, which is what this is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// Connects to where the client meant to go.
///
/// # Errors
/// Whatever the system says.
pub async fn connect(
    original: &Original,
    outgoing: &Outgoing,
    aim: &Aim,
    deadline: Instant,
) -> io::Result<(TcpStream, Mark)> {
    let kind = Some(Protocol::TCP);
    let socket = Socket::new(Domain::for_address(aim.to), Type::STREAM, kind)?;
    socket.set_nonblocking(true)?;
    if original.keep_source {
        make_transparent(&SockRef::from(&socket), aim.to)?;
        socket.bind(&SocketAddr::new(aim.client.ip(), 0).into())?;
    }
    let socket = TcpSocket::from_std_stream(socket.into());
    let tcp = timeout_at(deadline, socket.connect(aim.to)).await??;
    // Before a byte is sent: whoever it has come back to cannot have asked for anything yet.
    let mark = outgoing.mark(tcp.local_addr()?);
    tcp.set_nodelay(true)?;
    Ok((tcp, mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;

    #[test]
    fn proxy_09_only_listed_destinations_and_never_in_a_circle() {
        let original = Original {
            networks: vec![
                Network {
                    address: [192, 0, 2, 0].into(),
                    bits: 24,
                },
                Network {
                    address: [127, 0, 0, 0].into(),
                    bits: 8,
                },
            ],
            ports: vec![443],
            https: true,
            keep_source: false,
        };
        let client: SocketAddr = "198.51.100.7:1234".parse().unwrap();
        let outgoing = Outgoing::default();
        let judge = |to: &str| {
            let aim = Aim {
                to: to.parse().unwrap(),
                client,
                name: None,
            };
            outgoing
                .judge(&original, Some(&Arc::new(aim)))
                .map_err(|fault| fault.code)
        };
        assert_eq!(judge("192.0.2.9:443"), Ok(()));
        for to in [
            "192.0.2.9:80",
            "198.51.100.9:443",
            "127.0.0.1:443",
            "[::1]:443",
        ] {
            assert_eq!(judge(to), Err(Code::DestinationRefused), "{to}");
        }
        assert!(outgoing.judge(&original, None).is_err());
        let mark = outgoing.mark(client);
        assert_eq!(judge("192.0.2.9:443"), Err(Code::DestinationRefused));
        drop(mark);
        assert_eq!(judge("192.0.2.9:443"), Ok(()));
    }
}
