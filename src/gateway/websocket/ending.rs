//! How a WebSocket ends, and who is told what (RFC 6455, section 7.4).
//!
//! What enters: why it ends. What leaves: a closing code for each side, and time to answer it.
//! What can never happen: a client's closing reason reaches the backend (it is text that no
//! policy reads), or a side that does not answer keeps the connection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

use super::messages::Socket;
use crate::error::{Code, Fault, Side, Stage};
use crate::gateway::socket::Delivery;
use crate::limits;

/// Why it ends. Never printed: a closing reason is a client's text.
pub enum End {
    /// One side has closed it.
    Closed(Option<CloseFrame>),
    /// A message was refused, or a side broke off.
    Broken(Fault),
    /// The gateway stops, or the connection is old.
    Away,
    /// The client takes nothing, or the time is over.
    Cut,
}

impl End {
    /// What the library says went wrong with what this side has sent.
    pub fn of_error(error: &Error, from: Side) -> Self {
        let theirs = |client, backend| match from {
            Side::Backend => backend,
            _ => client,
        };
        let code = match error {
            Error::Capacity(_) => theirs(Code::BodyTooLarge, Code::ResponseRefused),
            Error::Utf8(_) => theirs(Code::NotUtf8, Code::BackendBroken),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                theirs(Code::Truncated, Code::BackendBroken)
            }
            Error::Protocol(_) => theirs(Code::WebSocketProtocol, Code::BackendBroken),
            Error::Io(error) => {
                let inner = error.get_ref().and_then(|e| e.downcast_ref::<Fault>());
                if let Some(fault) = inner {
                    return Self::Broken(fault.clone());
                }
                theirs(Code::Truncated, Code::BackendBroken)
            }
            _ => theirs(Code::WebSocketProtocol, Code::BackendBroken),
        };
        Self::Broken(Fault::new(code, Stage::Receive))
    }

    /// What the client is told.
    pub fn to_client(&self) -> Option<CloseFrame> {
        match self {
            // The backend's words pass; the client's own are answered already.
            Self::Closed(frame) => frame.clone(),
            Self::Broken(fault) => Some(frame(of_fault(fault.code), fault.code.name())),
            Self::Away | Self::Cut => Some(frame(CloseCode::Away, "")),
        }
    }

    /// What the backend is told.
    pub fn to_backend(&self) -> Option<CloseFrame> {
        match self {
            Self::Closed(given) => given.as_ref().map(|f| frame(f.code, "")),
            Self::Broken(fault) if fault.side == Side::Backend => Some(match fault.code {
                Code::ResponseRefused => frame(CloseCode::Size, ""),
                Code::BackendBroken => frame(CloseCode::Protocol, ""),
                _ => frame(CloseCode::Away, ""),
            }),
            Self::Broken(_) | Self::Away | Self::Cut => Some(frame(CloseCode::Away, "")),
        }
    }

    /// Why it was not a good end, for log and metrics.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Closed(_) | Self::Away => None,
            Self::Broken(fault) => Some(fault.clone()),
            Self::Cut => Some(Fault::new(Code::SlowClient, Stage::Send)),
        }
    }
}

fn frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame {
        code,
        reason: reason.into(),
    }
}

/// The code for a client whose message met this fault: by its HTTP status.
fn of_fault(code: Code) -> CloseCode {
    match (code, code.status()) {
        (Code::WebSocketProtocol, _) => CloseCode::Protocol,
        (_, 400) => CloseCode::Invalid,
        (_, 413) => CloseCode::Size,
        (_, 415) => CloseCode::Unsupported,
        (_, 429 | 503) => CloseCode::Again,
        (_, 500..) => CloseCode::Error,
        _ => CloseCode::Policy,
    }
}

/// Tells one side, lets it answer, and closes; who does not answer in time is reset.
pub async fn close(
    mut socket: Socket,
    told: Option<CloseFrame>,
    delivery: Option<Arc<Delivery>>,
    time: Duration,
) {
    let politely = async {
        // It fails where the other side has closed first: then the answer is on its way.
        let _ = socket.send(Message::Close(told)).await;
        while let Some(Ok(_)) = socket.next().await {}
        let mut stream = socket.into_inner().into_inner();
        if stream.shutdown().await.is_err() {
            return;
        }
        // Closing with bytes unread resets, and takes along what we have just said.
        let mut rest = [0; 4096];
        let mut bytes = 0;
        while bytes < limits::LINGER_BYTES {
            match stream.read(&mut rest).await {
                Ok(some) if some > 0 => bytes += some as u64,
                _ => return,
            }
        }
    };
    if tokio::time::timeout(time, politely).await.is_err()
        && let Some(delivery) = delivery
    {
        delivery.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_05_faults_become_codes_of_the_standard() {
        for (code, expect) in [
            (Code::MalformedJson, 1007),
            (Code::NotUtf8, 1007),
            (Code::UnlistedPlace, 1008),
            (Code::NotNormal, 1008),
            (Code::SlowClient, 1008),
            (Code::BodyTooLarge, 1009),
            (Code::TooDeep, 1009),
            (Code::BinaryMessage, 1003),
            (Code::WebSocketProtocol, 1002),
            (Code::VaultUnreachable, 1013),
            (Code::RateLimited, 1013),
            (Code::BackendBroken, 1011),
            (Code::Internal, 1011),
        ] {
            let end = End::Broken(Fault::new(code, Stage::Receive));
            let told = end.to_client().unwrap();
            assert_eq!(u16::from(told.code), expect, "{}", code.name());
            assert!(told.code.is_allowed());
            assert_eq!(told.reason.as_str(), code.name());
            assert!(end.to_backend().unwrap().reason.is_empty());
        }
        let said = CloseFrame {
            code: CloseCode::Library(4001),
            reason: "SUB-00001".into(),
        };
        let end = End::Closed(Some(said));
        let told = end.to_backend().unwrap();
        assert_eq!(u16::from(told.code), 4001);
        assert!(told.reason.is_empty());
    }
}
