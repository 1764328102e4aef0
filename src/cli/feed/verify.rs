//! `cryptonym feed verify`.

use std::path::PathBuf;

use crate::cli::Exit;
use crate::feed::verify::{Held, Line, verify};

const HELP: &str = "\
Examples:
  cryptonym feed verify out.csv.manifest.json
  cryptonym feed verify out.csv.manifest.json --inputs /archive/2026-10

Outputs are looked for beside the manifest, inputs where the run found them. An input that is not
there any more is named, and no fault, unless --inputs says where all of them are.

Exit codes: 0 everything holds; 1 something does not; 4 the manifest cannot be read.";

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// The manifest that a feed has written beside its output
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,

    /// Where the inputs are now; then all of them must be there
    #[arg(long, value_name = "FOLDER")]
    inputs: Option<PathBuf>,

    /// One JSON object a file
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Exit {
    let (manifest, lines) = match verify(&args.manifest, args.inputs.as_deref()) {
        Ok(verified) => verified,
        Err(stop) => return super::stopped(&stop),
    };
    for line in &lines {
        if args.json {
            println!("{}", json(line));
        } else {
            println!("{}", people(line));
        }
    }
    let wrong: Vec<_> = lines.iter().filter(|line| line.held.is_wrong()).collect();
    if wrong.is_empty() {
        if !args.json {
            let (policy, ended) = (&manifest.policy.name, &manifest.ended);
            println!("holds: as policy `{policy}` has left it, {ended}");
        }
        return Exit::Done;
    }
    let outputs = wrong.iter().any(|line| line.what != "input");
    eprintln!(
        "{} of {} files do not hold\n  {}",
        wrong.len(),
        lines.len(),
        match outputs {
            true => "Do not use these outputs: make them again from their inputs.",
            false => "The outputs hold; these inputs are not what they were made of.",
        }
    );
    Exit::No
}

fn people(line: &Line) -> String {
    let path = line.path.display();
    let (mark, why) = match &line.held {
        Held::Yes => ("ok", format!("{} bytes", line.bytes)),
        Held::Length(now) => {
            let how = if *now < line.bytes {
                "cut"
            } else {
                "longer than it was"
            };
            ("WRONG", format!("{how}: {now} bytes, not {}", line.bytes))
        }
        Held::Changed => ("WRONG", "changed: same length, another digest".to_owned()),
        Held::Gone(why) => ("WRONG", format!("not there: {why}")),
        Held::NotChecked => ("-", "not here, not checked".to_owned()),
    };
    format!("{mark:5} {:7} {path}: {why}", line.what)
}

fn json(line: &Line) -> String {
    let held = match &line.held {
        Held::Yes => "yes",
        Held::Length(_) => "length",
        Held::Changed => "changed",
        Held::Gone(_) => "gone",
        Held::NotChecked => "not-checked",
    };
    serde_json::json!({
        "what": line.what,
        "path": line.path.display().to_string(),
        "bytes": line.bytes,
        "held": held,
    })
    .to_string()
}
