//! `cryptonym check`: what a configuration means, and what is wrong with it. Changes nothing.
//!
//! What enters: the configuration and, unless told not to, the files it names. What leaves: every
//! route and, for each policy, what the backend will see; risks; or every error with its line.
//! What can never happen: "fine" about something that is not fully understood.

use std::io::IsTerminal;
use std::path::Path;

use super::Exit;
use crate::config::{Config, Diagnostic};

mod explain;
mod files;
mod json;
mod risks;
mod sees;
mod text;

const EXAMPLES: &str = "\
Examples:
  cryptonym check
  cryptonym check --config /etc/cryptonym/config.toml
  cryptonym check --explain > processing.md             (for the data-protection officer)
  cryptonym check --json --no-files > meaning.json      (on a build machine, without keys)

Exit codes: 0 all is well (there may be warnings) · 1 a file that the configuration names is
missing or does not fit · 3 the configuration was not understood";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// Print the record of processing of each route (GDPR Art. 30), as Markdown or with --json
    #[arg(long)]
    explain: bool,
    /// When to use colours; `auto` is: on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
    /// Do not look at certificates, keys and the registry: the configuration alone
    #[arg(long)]
    no_files: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

pub fn run(args: Args, path: &Path) -> Exit {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let color = |terminal: bool| match args.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !plain,
    };
    let loaded = match Config::load(path) {
        Ok(loaded) => loaded,
        Err(found) => {
            if args.json {
                println!("{}", json::refused(&found));
            }
            diagnostics(&found, color(std::io::stderr().is_terminal()));
            eprintln!("{}", refusal(&found));
            return Exit::Configuration;
        }
    };
    let faults = if args.no_files {
        Vec::new()
    } else {
        files::check(&loaded.config)
    };
    if args.explain {
        let records = explain::records(&loaded.config);
        match args.json {
            true => println!("{}", explain::json(&records)),
            false => print!("{}", explain::markdown(&records, &loaded.config)),
        }
        for fault in faults.iter().filter(|f| f.fatal) {
            eprintln!("error: {}", fault.text);
        }
    } else if args.json {
        println!("{}", json::meaning(&loaded, &faults));
    } else {
        let color = color(std::io::stdout().is_terminal());
        print!("{}", text::meaning(&loaded.config, &faults, color));
        diagnostics(&loaded.warnings, color);
    }
    match faults.iter().any(|f| f.fatal) {
        true => Exit::No,
        false => Exit::Done,
    }
}

/// Why a world does not start: every finding, to standard error. For the commands that start one.
pub fn print_refusal(found: &[Diagnostic]) {
    diagnostics(found, std::io::stderr().is_terminal());
    eprintln!("{}", refusal(found));
}

fn diagnostics(found: &[Diagnostic], color: bool) {
    for diagnostic in found {
        eprintln!("{}\n", diagnostic.rendered(color));
    }
}

fn refusal(found: &[Diagnostic]) -> String {
    let errors = found
        .iter()
        .filter(|d| d.severity == crate::config::Severity::Error)
        .count();
    match errors {
        1 => "1 error: this configuration would not start".to_owned(),
        n => format!("{n} errors: this configuration would not start"),
    }
}
