//! How far it is, on standard error, where somebody looks at it.
//!
//! What enters: steps. What leaves: one line that is written over. What can never happen:
//! anything of it in a file, a pipe or beside `--json`.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Cells of the bar.
const BAR: usize = 30;

pub struct Progress {
    shown: bool,
    began: Instant,
    done: usize,
    steps: usize,
}

impl Progress {
    pub fn new(steps: usize, quiet: bool) -> Self {
        Self {
            shown: !quiet && io::stderr().is_terminal(),
            began: Instant::now(),
            done: 0,
            steps: steps.max(1),
        }
    }

    /// The next step begins.
    pub fn step(&mut self, what: &str) {
        if self.shown {
            let _ = write!(io::stderr(), "\r{}\x1b[K", self.line(what));
        }
        self.done += 1;
    }

    fn line(&self, what: &str) -> String {
        let full = (BAR * self.done / self.steps).min(BAR);
        let bar = "#".repeat(full) + &"-".repeat(BAR - full);
        let left = match self.done {
            0 => String::new(),
            done => {
                let each = self.began.elapsed().as_secs_f64() / done as f64;
                let left = each * self.steps.saturating_sub(done) as f64;
                format!(", {left:.0} s left")
            }
        };
        format!("[{bar}] {}/{} {what}{left}", self.done, self.steps)
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
    fn the_bar_fills_and_never_overflows() {
        let mut progress = Progress::new(2, true);
        assert!(
            progress
                .line("a")
                .starts_with(&format!("[{}] 0/2 a", "-".repeat(BAR)))
        );
        for _ in 0..5 {
            progress.step("b");
        }
        assert!(
            progress
                .line("c")
                .starts_with(&format!("[{}] 5/2 c", "#".repeat(BAR)))
        );
    }
}
