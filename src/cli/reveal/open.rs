//! `reveal open`: what was sealed, with a key that a reveal has given. Asks nobody.
//!
//! What can never happen: a key or a value in an error message.

use std::io::{Read as _, Write as _};
use std::path::Path;

use zeroize::Zeroizing;

use super::Open;
use crate::cli::Exit;
use crate::policy::Selector;
use crate::pseudonym::seal::{SealKey, halves};
use crate::wire::control::{RevealedRow, parse};

pub fn run(args: &Open) -> Exit {
    match open(args) {
        Ok(values) => print(&values, args.json),
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

/// A sealed text's key, as its pseudonym, and the value.
type Opened<'a> = (&'a str, Zeroizing<Vec<u8>>);

fn open(args: &Open) -> Result<Vec<Opened<'_>>, String> {
    // As the gateway binds it: `$['note']` is `$.note`.
    let place = Selector::parse(&args.at).map_err(|e| format!("--at: {e}"))?;
    let place = place.to_string();
    let rows = read(&args.keys).map_err(|e| format!("{}: {e}", args.keys.display()))?;
    let all = args.sealed.iter().enumerate();
    all.map(|(at, text)| {
        let opened = one(&rows, &place, text);
        opened.map_err(|why| format!("sealed value {}: {why}", at + 1))
    })
    .collect()
}

fn one<'a>(rows: &[RevealedRow], place: &str, text: &'a str) -> Result<Opened<'a>, String> {
    let (head, sealed) = halves(text).ok_or("this is none")?;
    let row = rows.iter().find(|row| row.pseudonym == head);
    let row = row.ok_or("its key is not among those given")?;
    let (Some(kind), Some(identifier)) = (&row.kind, &row.identifier) else {
        return Err("its key is erased".to_owned());
    };
    let key = SealKey::of_identifier(identifier.as_bytes());
    let key = key.ok_or("what was revealed for it is no key")?;
    let value = key.open(kind, place, sealed).map_err(|e| e.to_string())?;
    Ok((head, value))
}

/// What `reveal fetch --json` prints.
fn read(file: &Path) -> Result<Vec<RevealedRow>, String> {
    let mut bytes = Zeroizing::new(Vec::new());
    match file.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut bytes)),
    }
    .map_err(|e| e.to_string())?;
    parse(&bytes).map_err(|_| "this is not what `reveal fetch --json` prints".to_owned())
}

fn print(values: &[Opened<'_>], json: bool) -> Exit {
    let mut out = Zeroizing::new(Vec::new());
    if json {
        let rows: Vec<_> = values
            .iter()
            .map(|(key, value)| {
                serde_json::json!({ "pseudonym": key, "value": String::from_utf8_lossy(value) })
            })
            .collect();
        *out = serde_json::to_vec(&rows).unwrap_or_default();
        out.push(b'\n');
    } else {
        for (_, value) in values {
            out.extend_from_slice(value);
            out.push(b'\n');
        }
    }
    match std::io::stdout().lock().write_all(&out) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failed,
    }
}
