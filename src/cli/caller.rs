//! Who calls the vault from the command line, and where it is. Shared by `reveal` and `log`.

use std::path::{Path, PathBuf};

use super::Exit;
use crate::config::{Config, VaultAddress};
use crate::vault_link::client::{CallError, Client};

#[derive(clap::Args, Clone, Debug)]
pub struct CallerArgs {
    /// Who calls: certs/out/people/ID.pem and ID.key, as `certs init` makes them
    #[arg(long = "as", value_name = "ID")]
    pub who: Option<String>,

    /// The caller's certificate, instead of --as
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,

    /// The certificate's private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,

    /// The CA of the vault's certificate [default: certs/out/vault-ca.pem]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// The vault [default: the configuration's]
    #[arg(long, value_name = "https://HOST:PORT")]
    pub vault: Option<String>,
}

impl CallerArgs {
    /// A client for the vault, or why there is none (printed).
    pub fn connect(&self, config: &Path) -> Result<Client, Exit> {
        let address = self.address(config)?;
        Client::new(&address).map_err(|error| {
            eprintln!("error: {error}");
            Exit::Failed
        })
    }

    /// Where `certs init` puts its files: beside the configuration.
    pub fn out(&self, config: &Path) -> PathBuf {
        config
            .parent()
            .unwrap_or(Path::new(""))
            .join("certs")
            .join("out")
    }

    fn address(&self, config: &Path) -> Result<VaultAddress, Exit> {
        let out = self.out(config);
        let (certificate, key) = match (&self.who, &self.certificate, &self.key) {
            (_, Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (Some(who), ..) => {
                let people = out.join("people");
                (
                    people.join(format!("{who}.pem")),
                    people.join(format!("{who}.key")),
                )
            }
            _ => {
                eprintln!("error: who calls? Say --as ID, or --certificate and --key");
                return Err(Exit::Failed);
            }
        };
        let (host, port) = match &self.vault {
            Some(url) => parse_url(url).ok_or_else(|| {
                eprintln!("error: --vault wants https://HOST:PORT");
                Exit::Failed
            })?,
            None => configured(config)?,
        };
        Ok(VaultAddress {
            host,
            port,
            certificate,
            key,
            ca: self.ca.clone().unwrap_or_else(|| out.join("vault-ca.pem")),
        })
    }
}

/// Prints why a call failed, with the vault's own words.
pub fn failed(error: &CallError) -> Exit {
    match error {
        CallError::Refused {
            code, title, next, ..
        } => {
            eprintln!("refused ({code}): {title}\n{next}");
            match code.as_str() {
                "not-registered" | "wrong-role" | "store" | "sealed" => Exit::Vault,
                _ => Exit::No,
            }
        }
        other => {
            eprintln!("error: {other}");
            Exit::Vault
        }
    }
}

/// Runs one command's calls.
pub fn block_on(work: impl Future<Output = Exit>) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

/// Reads the configuration, printing what is wrong with it.
pub fn load(config: &Path) -> Result<Config, Exit> {
    match Config::load(config) {
        Ok(loaded) => Ok(loaded.config),
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{error}"));
            Err(Exit::Configuration)
        }
    }
}

fn configured(config: &Path) -> Result<(String, u16), Exit> {
    let config = load(config)?;
    if let Some(gateway) = config.gateway {
        return Ok((gateway.vault.host, gateway.vault.port));
    }
    match config.vault {
        Some(vault) => Ok((vault.listen.ip().to_string(), vault.listen.port())),
        None => {
            eprintln!("error: the configuration names no vault; say --vault https://HOST:PORT");
            Err(Exit::Configuration)
        }
    }
}

fn parse_url(url: &str) -> Option<(String, u16)> {
    let rest = url.strip_prefix("https://")?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':')?;
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}
