//! nginx and HAProxy as plain TLS reverse proxies: what passing bytes costs, and nothing else.
//!
//! What enters: the site's certificate and the origin. What leaves: running peers. What can
//! never happen: their own configuration on this machine is read or changed, or one of their
//! processes stays: a peer that is dropped is asked to end first, since a killed master would
//! leave its workers.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::limits;
use crate::local::processes::{Failure, Process, free_address, run};
use crate::local::site::Site;

/// A program that may be installed.
pub struct Kind {
    pub name: &'static str,
    version: &'static str,
    configuration: fn(&Plan<'_>) -> String,
    arguments: fn(&Path) -> Vec<String>,
}

/// What a configuration is made of.
struct Plan<'a> {
    folder: &'a Path,
    /// Certificate and key in one file.
    both: &'a Path,
    site: &'a Site,
    listen: SocketAddr,
    origin: SocketAddr,
    http2: bool,
}

pub const KINDS: &[Kind] = &[
    Kind {
        name: "nginx",
        version: "-v",
        configuration: nginx,
        arguments: |folder| {
            let at = |name: &str| folder.join(name).display().to_string();
            [
                "-p",
                &at(""),
                "-e",
                &at("nginx.log"),
                "-c",
                &at("nginx.conf"),
            ]
            .map(str::to_owned)
            .to_vec()
        },
    },
    Kind {
        name: "haproxy",
        version: "-v",
        configuration: haproxy,
        arguments: |folder| {
            let file = folder.join("haproxy.conf").display().to_string();
            ["-q", "-db", "-f", &file].map(str::to_owned).to_vec()
        },
    },
];

/// One running peer.
pub struct Peer {
    pub name: &'static str,
    pub version: String,
    pub address: SocketAddr,
    process: Option<Process>,
}

impl Peer {
    /// `None`: it is not installed.
    ///
    /// # Errors
    /// It is, and does not start.
    pub fn start(
        kind: &Kind,
        site: &Site,
        origin: SocketAddr,
        http2: bool,
    ) -> Result<Option<Self>, Failure> {
        let Some(program) = installed(kind.name) else {
            return Ok(None);
        };
        let folder = site.folder().join(kind.name);
        fs::create_dir(&folder)?;
        let both = together(site, &folder)?;
        let address = free_address()?;
        let text = (kind.configuration)(&Plan {
            folder: &folder,
            both: &both,
            site,
            listen: address,
            origin,
            http2,
        });
        fs::write(folder.join(format!("{}.conf", kind.name)), text)?;
        let mut command = Command::new(&program);
        command.args((kind.arguments)(&folder)).current_dir(&folder);
        let process = Process::start(kind.name, command, &folder.join("log"))?;
        let mut peer = Self {
            name: kind.name,
            version: version(&program, kind.version),
            address,
            process: Some(process),
        };
        if let Some(process) = &mut peer.process {
            process.wait_until(|| TcpStream::connect(address).is_ok(), limits::LOCAL_START)?;
        }
        Ok(Some(peer))
    }

    pub fn id(&self) -> u32 {
        self.process.as_ref().map_or(0, Process::id)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.process.take().map(Process::stop);
    }
}

/// On the PATH, or where Debian puts what only root has on it.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The version out of what it says of itself.
fn version(program: &Path, argument: &str) -> String {
    let mut command = Command::new(program);
    command.arg(argument);
    let said = run(command).map_or(String::new(), |ended| ended.stdout + &ended.stderr);
    said.split(|c: char| c.is_whitespace() || c == '/')
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .unwrap_or("unknown")
        .to_owned()
}

fn together(site: &Site, folder: &Path) -> Result<PathBuf, Failure> {
    let path = folder.join("both.pem");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    for part in ["gateway.pem", "gateway.key"] {
        file.write_all(&fs::read(site.cert(part))?)?;
    }
    Ok(path)
}

/// One worker; bodies pass as they come; TLS sessions are not kept, as our own are not.
fn nginx(plan: &Plan<'_>) -> String {
    let Plan {
        folder,
        listen,
        origin,
        both,
        ..
    } = plan;
    let folder = folder.display();
    let http2 = if plan.http2 { " http2" } else { "" };
    // As root it would change to a user who may not enter the folder.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {folder}/temporary;\n"))
        .concat();
    format!(
        r#"daemon off; worker_processes 1; {user} pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; proxy_request_buffering off;
  keepalive_requests 1000000000;
{temporary}  upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen {listen} ssl{http2};
    ssl_certificate {certificate}; ssl_certificate_key {both};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_session_tickets off;
    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"#,
        certificate = plan.site.cert("gateway.pem").display(),
        both = both.display(),
    )
}

/// One thread, the same.
fn haproxy(plan: &Plan<'_>) -> String {
    let Plan {
        listen,
        origin,
        both,
        http2,
        ..
    } = plan;
    let alpn = if *http2 { "h2,http/1.1" } else { "http/1.1" };
    format!(
        "global
  nbthread 1
  tune.ssl.cachesize 0
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  http-reuse always
frontend front
  bind {listen} ssl crt {both} alpn {alpn}
  default_backend back
backend back
  server origin {origin}
",
        both = both.display(),
    )
}
