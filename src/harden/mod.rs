//! Makes a process keep its secrets to itself: no core dumps, no tracing by other processes of
//! the same user, no swapping of keys; and take no more of the machine than it needs ([`files`],
//! [`calls`]).
//!
//! What enters: nothing. What leaves: what could not be done, for the log. What can never
//! happen: a start that fails because the system does not allow one of them.

pub mod calls;
pub mod files;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// What the system did not allow, in words for the log.
pub type Shortfall = &'static str;

/// Hardens the calling process. Call it first, before any key is read.
pub fn process() -> Vec<Shortfall> {
    let mut shortfalls = Vec::new();
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if rustix::process::setrlimit(Resource::Core, none).is_err() {
        shortfalls.push("core dumps could not be switched off");
    }
    if rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
        shortfalls.push("the process stays open to debuggers of the same user");
    }
    if !lock_memory() {
        shortfalls.push(
            "memory is not locked, so keys may reach swap: raise the limit (LimitMEMLOCK=infinity) or run without swap",
        );
    }
    shortfalls
}

/// Locks all pages as they are touched. Only without a limit: under one, later allocations would
/// fail instead of being swapped.
fn lock_memory() -> bool {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    limit.current.is_none()
        && mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}
