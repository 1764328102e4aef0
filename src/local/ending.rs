//! SIGINT and SIGTERM, caught from the moment that an [`Ending`] is made: what has been started
//! by then is stopped by whoever waits for it, not left behind.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches both signals as long as it lives.
pub struct Ending {
    interrupt: Signal,
    terminate: Signal,
}

impl Ending {
    /// # Errors
    /// The system does not let signals be caught.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Returns when one has come, also one that came before the call.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
