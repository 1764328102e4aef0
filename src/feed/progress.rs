//! How far it is, on standard error, where somebody looks at it.
//!
//! What enters: bytes read. What leaves: one line that is written over. What can never happen:
//! anything of it in a file or a pipe, or a name of a file (which may be somebody's).

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use crate::limits;

/// Cells of the bar.
const BAR: usize = 30;

pub struct Progress {
    shown: bool,
    began: Instant,
    next: Instant,
    /// Bytes of all files, where all have a size; of those that are done; of the present one.
    total: Option<u64>,
    done: u64,
    now: u64,
    /// Bytes that a run before has read: they say nothing of the rate.
    before: Option<u64>,
    file: usize,
    what: &'static str,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        Self {
            shown: !quiet && io::stderr().is_terminal(),
            began: Instant::now(),
            next: Instant::now(),
            total: None,
            done: 0,
            now: 0,
            before: None,
            file: 0,
            what: "rewriting",
        }
    }

    /// What follows: so many bytes, where that is known.
    pub fn begin(&mut self, what: &'static str, total: Option<u64>, done: u64) {
        (self.what, self.total, self.done, self.now) = (what, total, done, 0);
        (self.began, self.next) = (Instant::now(), Instant::now());
        (self.before, self.file) = (Some(done), usize::MAX);
    }

    /// So much of this file has been read.
    pub fn read(&mut self, file: usize, bytes: u64, size: Option<u64>) {
        if file != self.file {
            self.done += self.now;
            (self.file, self.now) = (file, 0);
        }
        self.now = bytes.min(size.unwrap_or(bytes));
        if !self.shown || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + limits::FEED_TICK;
        let line = self.line(self.began.elapsed().as_secs_f64());
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    fn line(&self, seconds: f64) -> String {
        let read = self.done + self.now;
        let fresh = read.saturating_sub(self.before.unwrap_or(0));
        let rate = fresh as f64 / seconds.max(0.001);
        let mega = |bytes: f64| bytes / 1e6;
        let Some(total) = self.total.filter(|total| *total > 0) else {
            let (read, rate) = (mega(read as f64), mega(rate));
            return format!("{} {read:.0} MB, {rate:.0} MB/s", self.what);
        };
        let part = (read as f64 / total as f64).min(1.0);
        let full = (part * BAR as f64) as usize;
        let bar = "#".repeat(full) + &"-".repeat(BAR - full);
        let left = total.saturating_sub(read) as f64 / rate.max(1.0);
        let (what, percent, rate) = (self.what, part * 100.0, mega(rate));
        format!(
            "[{bar}] {percent:.0} % {what}, {rate:.0} MB/s, {} left",
            span(left)
        )
    }
}

/// Seconds, as people say them.
fn span(seconds: f64) -> String {
    match seconds as u64 {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_10_the_line_has_rate_and_time_left() {
        let mut progress = Progress::new(true);
        progress.begin("rewriting", Some(100_000_000), 20_000_000);
        progress.read(1, 30_000_000, Some(80_000_000));
        // What was done before is not what this run has done.
        let line = progress.line(3.0);
        assert!(line.contains("50 % rewriting, 10 MB/s, 5 s left"), "{line}");
        assert!(line.starts_with(&format!("[{}{}]", "#".repeat(15), "-".repeat(15))));
        progress.begin("counting", None, 0);
        progress.read(0, 5_000_000, None);
        assert_eq!(progress.line(1.0), "counting 5 MB, 5 MB/s");
        assert_eq!(span(3725.0), "1 h 2 min");
    }
}
