//! What a real server behind the gateway makes of its requests: nginx or HAProxy with an origin
//! of ours behind it, which is told each request anew in that server's own words.
//!
//! The server parses what came, frames it again and passes it on; so what the origin reads is
//! what the server believed: how many requests, with which method, path and body.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cryptonym::local::processes::{Process, free_address};

/// One whole request, as the server told it.
#[derive(Clone, Debug)]
pub struct Told {
    pub method: String,
    pub path: String,
    pub length: usize,
    /// The port of the connection on which it reached the server.
    pub port: String,
}

impl Told {
    /// `METHOD path length`, the path below `prefix`.
    pub fn below(&self, prefix: &str) -> Option<String> {
        let rest = self.path.strip_prefix(prefix)?;
        rest.starts_with('/')
            .then(|| format!("{} {rest} {}", self.method, self.length))
    }
}

/// An origin that answers `METHOD path length` to each request and remembers it.
struct Origin {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Origin {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let kept = told.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { address, told }
    }
}

/// Until the server leaves, or breaks a message off: that one was not whole and is not kept.
fn serve(stream: TcpStream, told: &Mutex<Vec<Told>>) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let line = line(&mut reader)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (mut length, mut chunked, mut port) = (0, false, String::new());
        loop {
            let field = self::line(&mut reader)?;
            let Some((name, value)) = field.split_once(':') else {
                break;
            };
            match &*name.to_ascii_lowercase() {
                "content-length" => length = value.trim().parse().ok()?,
                "transfer-encoding" => chunked = true,
                "x-port" => port = value.trim().to_owned(),
                _ => {}
            }
        }
        if chunked {
            length = chunks(&mut reader)?;
        } else {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
        }
        let text = format!("{method} {path} {length}\n");
        told.lock().unwrap().push(Told {
            method: method.clone(),
            path,
            length,
            port,
        });
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
        answers.write_all(head.as_bytes()).ok()?;
        if method != "HEAD" {
            answers.write_all(text.as_bytes()).ok()?;
        }
    }
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

fn chunks(reader: &mut impl BufRead) -> Option<usize> {
    let mut all = 0;
    loop {
        let size = usize::from_str_radix(line(reader)?.split(';').next()?, 16).ok()?;
        let mut chunk = vec![0; size];
        reader.read_exact(&mut chunk).ok()?;
        all += size;
        while !line(reader)?.is_empty() {}
        if size == 0 {
            return Some(all);
        }
    }
}

/// nginx or HAProxy, in plain HTTP on loopback.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    origin: Origin,
    _process: Process,
}

impl Server {
    /// `None`: it is not installed.
    pub fn start(name: &'static str, folder: &Path) -> Option<Self> {
        let program = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"]
            .iter()
            .map(|place| Path::new(place).join(name))
            .find(|file| file.is_file())?;
        let origin = Origin::start();
        let address = free_address().unwrap();
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("conf");
        let mut command = Command::new(program);
        if name == "nginx" {
            std::fs::write(&file, nginx(&folder, address, origin.address)).unwrap();
            command.arg("-p").arg(&folder);
            command.arg("-e").arg(folder.join("errors"));
            command.arg("-c").arg(&file);
        } else {
            std::fs::write(&file, haproxy(address, origin.address)).unwrap();
            command.args(["-q", "-db", "-f"]).arg(&file);
        }
        let mut process = Process::start(name, command, &folder.join("log")).unwrap();
        let open = || TcpStream::connect(address).is_ok();
        process
            .wait_until(open, Duration::from_secs(30))
            .unwrap_or_else(|failure| panic!("{failure}"));
        Some(Self {
            name,
            address,
            origin,
            _process: process,
        })
    }

    /// What it has told so far, in order.
    pub fn told(&self) -> Vec<Told> {
        self.origin.told.lock().unwrap().clone()
    }
}

/// As Debian configures it, but for places, and with bodies passed on whole (the default).
fn nginx(folder: &Path, listen: SocketAddr, origin: SocketAddr) -> String {
    let folder = folder.display();
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let mut temporary = String::new();
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(temporary, "  {name}_temp_path {folder}/temporary;");
    }
    // Ends with its parent's SIGKILL too: one process, no master.
    format!(
        "daemon off; master_process off; {user} pid {folder}/pid; error_log {folder}/errors warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
{temporary}  server {{
    listen {listen};
    location / {{
      proxy_pass http://{origin};
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header X-Port $remote_port;
    }}
  }}
}}
"
    )
}

fn haproxy(listen: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend front
  bind {listen}
  http-request set-header X-Port %[src_port]
  default_backend back
backend back
  server origin {origin}
"
    )
}
