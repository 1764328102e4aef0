//! `cryptonym vault custodian-key`, and files that must not be replaced.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::super::Exit;
use crate::config::custodian_key;
use crate::harden;
use crate::wire::sealed::KeyPair;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cryptonym vault custodian-key c.one.key      # makes c.one.key and c.one.key.pub

Each custodian makes their own, on their own machine. Only the .pub file is given away.")]
pub struct Args {
    /// Where the private key goes (mode 0600); the public one goes beside it, with .pub
    file: PathBuf,
}

pub fn run(args: &Args) -> Exit {
    let _ = harden::process();
    let pair = KeyPair::generate();
    let public = with_pub(&args.file);
    let made = write_new(
        &args.file,
        custodian_key::to_text(pair.secret()).as_bytes(),
        0o600,
    )
    .and_then(|()| {
        let text = custodian_key::public_text(&pair.public());
        write_new(&public, text.as_bytes(), 0o644)
    });
    match made {
        Ok(()) => {
            println!(
                "{}\tthe private key: keep it, and a copy of it in a safe place\n{}\tthe public key: give it to whoever runs `cryptonym vault init` or `reshare`",
                args.file.display(),
                public.display()
            );
            Exit::Done
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

fn with_pub(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// Writes a file that is not there yet, synced.
pub fn write_new(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let name = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => io::Error::other(format!(
            "{} is there already, and is not replaced; name another file, or move it away",
            file.display()
        )),
        _ => io::Error::other(format!("{}: {e}", file.display())),
    };
    let mut open = OpenOptions::new();
    let opened = open.write(true).create_new(true).mode(mode).open(file);
    let mut opened = opened.map_err(name)?;
    opened.write_all(bytes).map_err(name)?;
    opened.sync_all().map_err(name)
}
