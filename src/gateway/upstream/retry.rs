//! Whether a request may be sent once more.
//!
//! What enters: a request before it is sent, and how the try ended. What leaves: a copy that may
//! be sent, or none. What can never happen: a request that is not idempotent is sent after a
//! byte of it may have been read, a body goes out twice that cannot be the same both times, or
//! retries multiply the load of a backend that is down.

use std::sync::{Mutex, PoisonError};

use http::{Method, Request};

use crate::gateway::body::outgoing::Outgoing;
use crate::limits;

/// The same request once more, if it may be sent although the first may have been read: its
/// method is idempotent and its body is held whole, or there is none.
pub fn copy(request: &Request<Outgoing>) -> Option<Box<Request<Outgoing>>> {
    if !is_idempotent(request.method()) {
        return None;
    }
    copy_of_any(request)
}

/// The same, whatever its method: only for a request that has not been acted on.
pub fn copy_of_any(request: &Request<Outgoing>) -> Option<Box<Request<Outgoing>>> {
    let mut again = Request::new(request.body().copy()?);
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    Some(Box::new(again))
}

/// RFC 9110, section 9.2.2; what is not of that list is not assumed to be.
pub fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
    )
}

/// What one backend may have of retries: a share of its requests, and a reserve.
#[derive(Default)]
pub struct Budget(Mutex<Spent>);

#[derive(Default)]
struct Spent {
    /// Requests when it was last asked.
    requests: u32,
    /// Hundredths of a retry that are missing from the full reserve.
    missing: u64,
}

impl Budget {
    /// Takes one retry out. `requests`: how many there ever were, which wraps. Nothing is counted
    /// here as long as nothing is tried again.
    pub fn spend(&self, requests: u32) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = u64::from(requests.wrapping_sub(spent.requests));
        spent.requests = requests;
        let earned = since * u64::from(limits::RETRY_SHARE);
        spent.missing = spent.missing.saturating_sub(earned);
        let enough = spent.missing + 100 <= u64::from(limits::RETRY_RESERVE) * 100;
        if enough {
            spent.missing += 100;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_spent_and_filled_by_requests() {
        let budget = Budget::default();
        let reserve = limits::RETRY_RESERVE;
        let mut requests = u32::MAX - 50;
        assert_eq!(
            (0..1000).filter(|_| budget.spend(requests)).count(),
            reserve as usize
        );
        // From there on a share of what comes.
        let mut retries = 0;
        for _ in 0..1000 {
            requests = requests.wrapping_add(1);
            retries += u32::from(budget.spend(requests));
        }
        assert_eq!(retries, 10 * limits::RETRY_SHARE);
        // And never more than the reserve.
        requests = requests.wrapping_add(1_000_000);
        assert_eq!(
            (0..1000).filter(|_| budget.spend(requests)).count(),
            reserve as usize
        );
    }

    #[test]
    fn the_methods_of_the_standard() {
        for (method, is) in [
            ("GET", true),
            ("HEAD", true),
            ("OPTIONS", true),
            ("PUT", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
            ("PROPFIND", false),
        ] {
            assert_eq!(is_idempotent(&method.parse().unwrap()), is, "{method}");
        }
    }
}
