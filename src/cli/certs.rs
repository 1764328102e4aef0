//! `cryptonym certs`: the certificates of a first installation, and a look into one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::macros::format_description;

use super::Exit;
use crate::config::registry::fingerprint_text;
use crate::tls::{Facts, Role, files};

pub use crate::tls::issue::{Made, MakeError, Options, Pair, init};

const EXAMPLES: &str = "\
Examples:
  cryptonym certs init
  cryptonym certs init --host gateway.hospital.example --person investigator:i.okafor \\
      --person approver:a.lindqvist --person client:laboratory-7
  cryptonym certs show certs/out/gateway.pem

certs/README.md says how to bring certificates of your own, and how to renew.";

const NEXT: &str = "
Next:
  cryptonym check                   what the configuration means
  cryptonym vault                   in one shell, and
  cryptonym gateway                 in another

Take away from this machine, once everything works: the keys of the two CAs
(gateway-ca.key, vault-ca.key), and everybody's own files in people/.
Keep a copy of vault-root.key apart from copies of the vault's database: without
it no record can be opened again, with both anybody can.
";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make two private CAs, server and client certificates, signing keys, the vault's root key
    Init {
        /// Where to: a directory, made with mode 0700
        #[arg(long, default_value = "certs/out", value_name = "DIR")]
        out: PathBuf,
        /// A name or address under which the servers are reached (may be repeated)
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
        /// A person or service as ROLE:ID, in place of the standard ones (may be repeated)
        #[arg(long, value_name = "ROLE:ID", value_parser = person)]
        person: Vec<(Role, String)>,
        /// Replace files that are there; the vault's root key stays all the same
        #[arg(long)]
        force: bool,
    },
    /// Print what a certificate says: names, role, fingerprint, end
    Show {
        /// A PEM file
        file: PathBuf,
    },
}

pub fn run(args: Args, _config: &Path) -> Exit {
    let result = match args.command {
        Command::Init {
            out,
            host,
            person,
            force,
        } => {
            let options = Options {
                out,
                hosts: host,
                persons: person,
                force,
            };
            init(&options)
                .map(|made| table(&made, &options.out))
                .map_err(|e| e.to_string())
        }
        Command::Show { file } => show(&file),
    };
    match result {
        Ok(text) => {
            print!("{text}");
            Exit::Done
        }
        Err(e) => {
            eprintln!("error: {e}");
            Exit::Failed
        }
    }
}

fn person(text: &str) -> Result<(Role, String), String> {
    let (role, id) = text
        .split_once(':')
        .ok_or("write ROLE:ID, as in approver:a.lindqvist")?;
    let roles: Vec<_> = Role::ALL.iter().map(|r| r.name()).collect();
    let role = Role::parse(role)
        .ok_or_else(|| format!("`{role}` is no role; there are: {}", roles.join(", ")))?;
    Ok((role, id.to_owned()))
}

fn table(made: &Made, out: &Path) -> String {
    let mut text = format!("Made in {}/\n\n", out.display());
    let name = |path: &Path| path.strip_prefix(out).unwrap_or(path).display().to_string();
    let width = made
        .files
        .iter()
        .map(|f| name(&f.path).len())
        .max()
        .unwrap_or(0);
    for file in &made.files {
        let end = match file.not_after {
            Some(end) => date(end),
            None if file.kept => "kept".to_owned(),
            None => String::new(),
        };
        let mode = if file.private { "0600" } else { "0644" };
        let line = format!(
            "  {:width$}  {mode}  {end:10}  {}",
            name(&file.path),
            file.what
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push_str(NEXT);
    text
}

fn show(path: &Path) -> Result<String, String> {
    use sha2::Digest as _;
    let mut text = String::new();
    let all = files::certificates(path).map_err(|e| e.to_string())?;
    for (i, der) in all.iter().enumerate() {
        let facts = Facts::of(der).map_err(|e| format!("{}: {e}", path.display()))?;
        if i > 0 {
            text.push('\n');
        }
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:12} {value}");
        };
        line("subject", &facts.subject);
        line("issuer", &facts.issuer);
        for name in &facts.names {
            line("name", name);
        }
        if let Some(peer) = &facts.peer {
            line("role", peer.role.name());
            line("id", &peer.id);
        }
        if facts.ca {
            line("use", "a CA");
        }
        line(
            "fingerprint",
            &fingerprint_text(&sha2::Sha256::digest(der).into()),
        );
        line("from", &date(facts.not_before));
        line("until", &date(facts.not_after));
    }
    Ok(text)
}

fn date(seconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day]");
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|t| t.format(&format).ok())
        .unwrap_or_else(|| seconds.to_string())
}
