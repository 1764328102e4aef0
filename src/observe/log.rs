//! The structured log. Standard output stays free for what a command answers.
//!
//! What enters: a filter at the start, and others while running. What leaves: lines on standard
//! error. What can never happen: lines of the HTTP and TLS libraries (they print header values),
//! or a level set while running that stays for ever.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::writer;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines
    #[default]
    Json,
    /// For reading at a terminal
    Pretty,
}

/// hyper's and rustls's own debug lines print header values: never let in.
const QUIET: &str = ",hyper=off,h2=off,rustls=off,tokio_rustls=off";

/// The log of this process, once started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    reload: Box<dyn Fn(EnvFilter) -> bool + Send + Sync>,
    first: String,
    now: Mutex<Now>,
}

struct Now {
    filter: String,
    /// Counts changes, so that the end of an older one does not undo a newer one.
    change: u64,
}

/// Starts the log on standard error. `filter` is as in `tracing_subscriber`'s `EnvFilter`
/// (`info`, `cryptonym::gateway=debug`); the variable `CRYPTONYM_LOG` comes before it. Started
/// twice (tests), the first start stays.
pub fn start(format: LogFormat, filter: &str) {
    let wanted = std::env::var("CRYPTONYM_LOG").unwrap_or_else(|_| filter.to_owned());
    let parsed = EnvFilter::try_new(format!("{wanted}{QUIET}"));
    let (filter, first, understood) = match parsed {
        Ok(filter) if is_plain(&wanted) => (filter, wanted, true),
        _ => (EnvFilter::new("info"), "info".to_owned(), false),
    };
    let log = tracing_subscriber::fmt().with_writer(|| writer::Lines);
    // An error means that a subscriber is there already, which is what was asked for.
    let reload: Option<Box<dyn Fn(EnvFilter) -> bool + Send + Sync>> = match format {
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_env_filter(filter);
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            let started = log.try_init().is_ok();
            started.then(|| Box::new(move |filter| handle.reload(filter).is_ok()) as _)
        }
        LogFormat::Pretty => {
            let log = log.with_env_filter(filter).with_filter_reloading();
            let handle = log.reload_handle();
            let started = log.try_init().is_ok();
            started.then(|| Box::new(move |filter| handle.reload(filter).is_ok()) as _)
        }
    };
    if let Some(reload) = reload {
        let filter = first.clone();
        let now = Mutex::new(Now { filter, change: 0 });
        let _ = LOG.set(Log { reload, first, now });
    }
    if !understood {
        tracing::warn!(
            "--log or CRYPTONYM_LOG was not understood, and info is logged: write off, error, warn, info or debug; for one part cryptonym::gateway=debug; several with commas"
        );
    }
}

/// The filter that holds now; `None` before the log is started.
pub fn level() -> Option<String> {
    LOG.get().map(|log| log.lock().filter.clone())
}

/// Sets another filter for `time`; then the first one holds again. Called inside a runtime.
/// Gives the filter that held before.
///
/// # Errors
/// What a filter may be: a level, and levels of this program's own modules.
pub fn set(filter: &str, time: Duration) -> Result<String, &'static str> {
    if !is_plain(filter) {
        return Err(
            "off, error, warn, info or debug; for one part: cryptonym::gateway=debug; several with commas",
        );
    }
    let log = LOG.get().ok_or("this process has no log")?;
    let (before, change) = log.put(filter)?;
    tracing::info!(filter, seconds = time.as_secs(), "log level set");
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        if log.lock().change == change && log.put(&log.first).is_ok() {
            tracing::info!(filter = log.first, "log level as it was");
        }
    });
    Ok(before)
}

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the filter before, and the number of this change.
    fn put(&self, filter: &str) -> Result<(String, u64), &'static str> {
        let unknown = "this filter was not understood";
        let parsed = EnvFilter::try_new(format!("{filter}{QUIET}")).map_err(|_| unknown)?;
        let mut now = self.lock();
        if !(self.reload)(parsed) {
            return Err("the log has ended");
        }
        now.change += 1;
        let before = std::mem::replace(&mut now.filter, filter.to_owned());
        Ok((before, now.change))
    }
}

/// Whether a filter that came over a socket names levels and own modules only. A longer target
/// of a quiet library (`h2::proto=debug`) would open it again.
fn is_plain(filter: &str) -> bool {
    let level = |text: &str| ["off", "error", "warn", "info", "debug"].contains(&text);
    let own = |text: &str| {
        let rest = text.strip_prefix("cryptonym");
        rest.is_some_and(|rest| {
            (rest.is_empty() || rest.starts_with("::"))
                && rest
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b':')
        })
    };
    filter.len() <= 512
        && filter.split(',').all(|one| match one.split_once('=') {
            None => level(one),
            Some((target, of)) => own(target) && level(of),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_11_a_filter_from_outside_names_nothing_foreign() {
        for good in [
            "debug",
            "off",
            "info,cryptonym::gateway=debug",
            "cryptonym=warn,cryptonym::vault_link::renew=error",
        ] {
            assert!(is_plain(good), "{good}");
        }
        for bad in [
            "",
            "trace",
            "DEBUG",
            "hyper=debug",
            "h2::proto=debug",
            "cryptonymous=debug",
            "cryptonym=debug,h2=debug",
            "[{id=1}]=debug",
            "cryptonym[span]=debug",
            "debug,",
        ] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
