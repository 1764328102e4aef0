//! What a service manager is told (sd_notify(3)): ready, reloading, stopping.
//!
//! What enters: events. What leaves: datagrams on the socket that `NOTIFY_SOCKET` names, if any.
//! What can never happen: a manager that does not listen keeps the process from its work.

use sd_notify::NotifyState;

/// It serves from now on; `what` is shown by `systemctl status`.
pub fn ready(what: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// It reads its configuration again; [`ready`] says that this is over.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // Some managers want to know since when.
    states.extend(NotifyState::monotonic_usec_now());
    states.push(NotifyState::Status("reading the configuration again"));
    tell(&states);
}

/// Another process has taken its place: the manager should look after that one.
pub fn handed_over(process: u32) {
    tell(&[
        NotifyState::MainPid(process),
        NotifyState::Status("handed over: requests in flight may end"),
    ]);
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
