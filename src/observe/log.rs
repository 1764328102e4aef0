//! The structured log. Standard output stays free for what a command answers.

use tracing_subscriber::EnvFilter;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines
    #[default]
    Json,
    /// For reading at a terminal
    Pretty,
}

/// Starts the log on standard error. `filter` is as in `tracing_subscriber`'s `EnvFilter`
/// (`info`, `cryptonym::gateway=debug`); the variable `CRYPTONYM_LOG` comes before it. Started
/// twice (tests), the first start stays.
pub fn start(format: LogFormat, filter: &str) {
    // hyper's and rustls's own debug lines print header values: never let in.
    let quiet = ",hyper=off,h2=off,rustls=off,tokio_rustls=off";
    let wanted = std::env::var("CRYPTONYM_LOG").unwrap_or_else(|_| filter.to_owned());
    let filter = EnvFilter::try_new(wanted + quiet).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error means that a subscriber is there already, which is what was asked for.
    let _ = match format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Pretty => log.try_init(),
    };
}
