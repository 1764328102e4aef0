//! Standard error, written by a thread of its own.
//!
//! What enters: whole lines. What leaves: the same lines, in the same order, on standard error.
//! What can never happen: whoever logs waits for whoever reads the log. A pipe whose reader stands
//! still would otherwise stop the first worker that logs, then the next, and all traffic. Up to
//! [`limits::LOG_QUEUE`] bytes wait; what comes on top is dropped and counted, and a line says how
//! many were, once it goes on.
//!
//! ```text
//! direct ──start──▶ queued ──finish──▶ direct, or dropped where nobody reads
//! ```

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;

use super::access;
use crate::limits;

static WRITER: LazyLock<Writer> = LazyLock::new(Writer::default);

/// Lines that were dropped, of the whole process.
static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

#[derive(Default)]
struct Writer {
    state: Mutex<State>,
    /// Something waits, or has been written.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    mode: Mode,
    waiting: Vec<u8>,
    /// Lines dropped since the last one was written.
    dropped: u64,
    /// The thread has taken something and not written all of it.
    busy: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Direct,
    Queued,
    /// At the end, nobody reads.
    Stuck,
}

/// From now on lines are queued. Where the process gives up what it may do, this comes after: the
/// thread must not keep it.
pub fn start() {
    let mut state = WRITER.lock();
    if state.mode != Mode::Direct {
        return;
    }
    let thread = std::thread::Builder::new().name("log".to_owned());
    if thread.spawn(run).is_ok() {
        state.mode = Mode::Queued;
    }
}

/// Writes what waits, for at most [`limits::LOG_FLUSH_TIME`], and what comes from now on at once.
pub fn finish() {
    let mut state = WRITER.lock();
    if state.mode != Mode::Queued {
        return;
    }
    let end = Instant::now() + limits::LOG_FLUSH_TIME;
    while state.busy || !state.waiting.is_empty() || state.dropped > 0 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            state.mode = Mode::Stuck;
            return;
        }
        state = WRITER.wait(state, left);
    }
    state.mode = Mode::Direct;
}

/// Lines that were dropped, to be shown.
pub fn dropped() -> Counter {
    DROPPED.clone()
}

/// Whole lines.
pub fn write(lines: &[u8]) {
    let mut state = WRITER.lock();
    match state.mode {
        Mode::Direct => {
            drop(state);
            out(lines);
        }
        Mode::Queued if state.waiting.len() + lines.len() <= limits::LOG_QUEUE => {
            let first = state.waiting.is_empty();
            state.waiting.extend_from_slice(lines);
            drop(state);
            if first {
                WRITER.changed.notify_all();
            }
        }
        Mode::Queued | Mode::Stuck => {
            let count = lines.iter().filter(|b| **b == b'\n').count() as u64;
            state.dropped += count;
            DROPPED.inc_by(count);
        }
    }
}

/// For the log: it hands over one line at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn run() {
    let mut taken = Vec::new();
    loop {
        let mut state = WRITER.lock();
        state.busy = false;
        WRITER.changed.notify_all();
        while state.waiting.is_empty() && state.dropped == 0 {
            state = WRITER.wait(state, Duration::MAX);
        }
        std::mem::swap(&mut state.waiting, &mut taken);
        let dropped = std::mem::take(&mut state.dropped);
        state.busy = true;
        drop(state);
        // They were dropped after these came.
        out(&taken);
        if dropped > 0 {
            out(&gap(dropped));
        }
        taken.clear();
    }
}

/// Not by way of `io::stderr`: its lock would be held as long as nobody reads.
#[allow(
    clippy::disallowed_methods,
    reason = "the thread has nothing else to do"
)]
fn out(mut lines: &[u8]) {
    let stderr = io::stderr();
    while !lines.is_empty() {
        match rustix::io::write(stderr.as_fd(), lines) {
            Ok(written) => lines = &lines[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(limits::LOG_PAUSE),
            // There is nowhere to report that standard error is gone.
            Err(_) => return,
        }
    }
}

fn gap(lines: u64) -> Vec<u8> {
    let mut line = b"{\"timestamp\":\"".to_vec();
    access::time(&mut line, SystemTime::now());
    let rest = r#"","level":"WARN","message":"log lines were dropped: nobody read them","lines":"#;
    let _ = writeln!(line, "{rest}{lines}}}");
    line
}

impl Writer {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one step: a panic elsewhere leaves whole lines.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let woken = self.changed.wait_timeout(state, time);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_11_a_gap_in_the_log_is_one_line_of_it() {
        let line = gap(7);
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            (&read["lines"], &read["level"]),
            (&7.into(), &"WARN".into())
        );
        assert!(read["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
    }
}
