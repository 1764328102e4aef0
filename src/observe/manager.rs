//! What a service manager is told (sd_notify(3)): ready, reloading, stopping.
//!
//! What enters: events. What leaves: datagrams on the socket that `NOTIFY_SOCKET` names, if any.
//! What can never happen: a manager that does not listen keeps the process from its work.

use sd_notify::NotifyState;

/// It serves from now on; `what` is shown by `systemctl status`.
pub fn ready(what: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// It lets what it has begun come to its end.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: requests in flight may end"),
    ]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(kind = ?error.kind(), "the service manager could not be told");
    }
}
