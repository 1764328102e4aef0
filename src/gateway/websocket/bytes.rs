//! Bytes of an opaque route, both ways, unseen.
//!
//! What enters: both sides after the switch. What leaves: what each sends, to the other. What can
//! never happen: a side that broke off looks to the other like one that has ended.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::ending::End;
use super::meter::{Meter, Metered};
use crate::error::{Code, Fault, Stage};
use crate::gateway::socket::Delivery;
use crate::gateway::story::Story;

/// Until both have ended, one breaks off, both are silent for `idle`, or `until` says so.
pub async fn relay(
    sides: [Upgraded; 2],
    deliveries: [Option<Arc<Delivery>>; 2],
    story: &Story,
    idle: Duration,
    until: impl Future<Output = End>,
) -> End {
    deliveries.iter().flatten().for_each(|d| d.arm());
    let meters = [Meter::new(), Meter::new()];
    let [client, backend] = sides;
    let [to_client, to_backend] = deliveries;
    let side = |io, at: usize, other| Metered::passing(TokioIo::new(io), meters[at].clone(), other);
    let mut client = side(client, 0, to_backend);
    let mut backend = side(backend, 1, to_client);
    let end = tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut backend) => match copied {
            Ok(_) => End::Away,
            Err(_) if meters[1].has_failed() => broken(Code::BackendBroken),
            Err(_) => broken(Code::Truncated),
        },
        () = silent(&meters, idle) => broken(Code::SlowClient),
        end = until => end,
    };
    story.received(usize::try_from(meters[0].bytes()).unwrap_or(usize::MAX));
    story.sent(usize::try_from(meters[1].bytes()).unwrap_or(usize::MAX));
    end
}

/// Waits until neither side has said anything for so long.
async fn silent(meters: &[Arc<Meter>; 2], idle: Duration) {
    loop {
        let before = [meters[0].bytes(), meters[1].bytes()];
        tokio::join!(meters[0].silent(0, idle), meters[1].silent(0, idle));
        if before == [meters[0].bytes(), meters[1].bytes()] {
            return;
        }
    }
}

fn broken(code: Code) -> End {
    End::Broken(Fault::new(code, Stage::Receive))
}
