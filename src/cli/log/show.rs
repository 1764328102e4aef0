//! `log show`.

use std::path::Path;

use serde_json::Value;

use super::Show;
use super::source::Source;
use crate::cli::Exit;
use crate::vault::log::event;

pub async fn run(args: Show, config: &Path) -> Exit {
    let source = match Source::vault(&args.caller, config).await {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let size = match source.size() {
        Ok(size) => size,
        Err(exit) => return exit,
    };
    let shown = source.each(size, |at, entry| {
        let Ok(details) = event::details(entry) else {
            println!("DOES NOT HOLD: entry {at}: the details are not those that were logged");
            return Err(Exit::No);
        };
        let details = details.unwrap_or("{\"event\":\"forgotten\"}");
        if args.json {
            println!("{{\"sequence\":{at},\"entry\":{details}}}");
        } else {
            println!("{}", line(at, details));
        }
        Ok(())
    });
    match shown.await {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

/// `sequence time event who (role) …` with what else there is as name=value.
fn line(at: u64, details: &str) -> String {
    let value: Value = serde_json::from_str(details).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("-");
    let mut out = format!(
        "{at:>6}  {:20}  {:20}  {}",
        text("time"),
        text("event"),
        text("who")
    );
    for name in ["domain", "code", "purpose", "request", "reason"] {
        if let Some(found) = value.get(name).and_then(Value::as_str) {
            out.push_str(&format!("  {name}={found}"));
        }
    }
    if let Some(count) = value.get("count") {
        out.push_str(&format!("  count={count}"));
    }
    // What the vault's people have written must not steer a terminal.
    out.replace(char::is_control, "\u{fffd}")
}
