//! What a process and its children cost: time on the processor, memory.
//!
//! What enters: a process id. What leaves: nanoseconds between two readings, bytes. What can
//! never happen: a figure that is a guess. What Linux does not tell, or not to this user, is
//! `None`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// The clock of `/proc/PID/stat`: Linux tells user space 100 ticks a second, whatever its own.
const TICK: Duration = Duration::from_millis(10);

/// A process with all its descendants.
#[derive(Clone, Copy, Debug)]
pub struct Meter(u32);

/// Processor time so far.
pub struct Reading {
    /// Exact, but a thread's account goes with the thread.
    threads: HashMap<(u32, u32), u64>,
    /// Coarse, but ended threads stay in it.
    ticks: HashMap<u32, u64>,
}

impl Meter {
    pub fn new(process: u32) -> Self {
        Self(process)
    }

    /// `None` when the process is not there.
    pub fn read(self) -> Option<Reading> {
        let mut reading = Reading {
            threads: HashMap::new(),
            ticks: HashMap::new(),
        };
        for process in self.tree() {
            let Some(stat) = Stat::of(process) else {
                continue;
            };
            reading.ticks.insert(process, stat.ticks);
            let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?;
            for thread in threads.flatten() {
                let Some(id) = number(&thread.file_name().to_string_lossy()) else {
                    continue;
                };
                let text = fs::read_to_string(thread.path().join("schedstat"));
                let time = text
                    .ok()
                    .and_then(|text| text.split(' ').next()?.parse().ok());
                reading.threads.insert((process, id), time.unwrap_or(0));
            }
        }
        (!reading.ticks.is_empty()).then_some(reading)
    }

    /// Makes the peak begin anew. `false`: this user may not, and the peak is that since the
    /// process began.
    pub fn reset_peak(self) -> bool {
        let reset = |process| fs::write(format!("/proc/{process}/clear_refs"), "5").is_ok();
        self.tree().into_iter().all(reset)
    }

    /// The highest resident memory, in bytes.
    pub fn peak(self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    /// Resident memory now, in bytes.
    pub fn resident(self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    fn memory(self, field: &str) -> Option<u64> {
        let of = |process: u32| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        };
        let sizes: Vec<u64> = self.tree().into_iter().filter_map(of).collect();
        (!sizes.is_empty()).then(|| sizes.iter().sum())
    }

    fn tree(self) -> Vec<u32> {
        let all: Vec<(u32, u32)> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| number(&entry.file_name().to_string_lossy()))
            .filter_map(|process| Some((process, Stat::of(process)?.parent)))
            .collect();
        let mut tree = vec![self.0];
        let mut at = 0;
        while let Some(&parent) = tree.get(at) {
            tree.extend(all.iter().filter(|(_, of)| *of == parent).map(|(id, _)| id));
            at += 1;
        }
        tree
    }
}

impl Reading {
    /// Processor time from `before` to this reading. Threads that ended in between are only in
    /// the coarse clock, which then is the larger one; its rounding is taken off.
    pub fn since(&self, before: &Self) -> Duration {
        self.ticks
            .iter()
            .map(|(process, ticks)| {
                let exact: u64 = self
                    .threads
                    .iter()
                    .filter(|((of, _), _)| of == process)
                    .map(|(thread, time)| {
                        time.saturating_sub(before.threads.get(thread).copied().unwrap_or(0))
                    })
                    .sum();
                let began = before.ticks.get(process).copied().unwrap_or(0);
                let coarse = ticks.saturating_sub(began).saturating_sub(2);
                let coarse = TICK * u32::try_from(coarse).unwrap_or(u32::MAX);
                Duration::from_nanos(exact).max(coarse)
            })
            .sum()
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    fn of(process: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name, in brackets, may hold anything, brackets included.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks: ticks(11)? + ticks(12)?,
        })
    }
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_of_this_process_and_of_its_children_is_counted() {
        let me = Meter::new(std::process::id());
        let before = me.read().unwrap();
        let began = Instant::now();
        let mut sum = 0u64;
        while began.elapsed() < Duration::from_millis(30) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(me.read().unwrap().since(&before) > Duration::from_millis(1));

        let mut child = Command::new("sleep").arg("30").spawn().unwrap();
        assert!(me.tree().contains(&child.id()));
        assert!(me.resident().unwrap() > Meter::new(child.id()).resident().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Meter::new(child.id()).read().is_none());
    }

    #[test]
    fn the_peak_begins_anew() {
        let me = Meter::new(std::process::id());
        let big = std::hint::black_box(vec![1u8; 64 << 20]);
        let high = me.peak().unwrap();
        drop(big);
        if me.reset_peak() {
            assert!(me.peak().unwrap() < high);
        }
        assert!(me.peak().unwrap() >= me.resident().unwrap() / 2);
    }
}
