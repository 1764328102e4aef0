//! What is left of an HTTP/2 body when its request is over.
//!
//! What enters: a client's body that nobody reads any more. What leaves: nothing; it is read,
//! thrown away, and let go. What can never happen: a stream stays open because its client does
//! not stop, or other streams wait for the window that this one holds.
//!
//! Letting go of a body whose answer is complete resets the stream with NO_ERROR (RFC 9113,
//! section 8.1; h2 does it). There are clients that never look at an answer, nor at a reset,
//! before they have sent their whole body (Python's httpx): once their window is used up they
//! wait for ever. So the window is kept open for a while first.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::gateway::clock::Clock;
use crate::limits;

/// Reads the rest of `body` in the background, and then lets go of it.
pub fn discard(body: Incoming, clock: Arc<Clock>) {
    // None while the process ends, when there is nothing left to be polite to.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            if !read(body).await {
                clock.leave_unread();
            }
        });
    }
}

/// Whether nothing is left: the body has ended, or the client has taken it back.
async fn read(mut body: Incoming) -> bool {
    let deadline = Instant::now() + limits::DISCARD_TIME;
    let mut bytes = 0;
    while bytes < limits::DISCARD_BYTES {
        let next = timeout(limits::DISCARD_QUIET, body.frame());
        match timeout_at(deadline, next).await {
            Ok(Ok(Some(Ok(frame)))) => {
                bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Ok(Ok(_)) => return true,
            Ok(Err(_)) | Err(_) => return false,
        }
    }
    false
}
