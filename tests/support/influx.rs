//! Debian's InfluxDB (1.6) as a child of the test: own configuration, own folder, a free port of
//! loopback, stopped by its id.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cryptonym::local::processes::pause;

pub struct Influx {
    pub http: SocketAddr,
    child: Child,
}

impl Influx {
    /// Its files all lie in `folder`. It has answered.
    pub fn start(folder: &Path) -> Self {
        let free = || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.local_addr().unwrap()
        };
        let (http, rpc) = (free(), free());
        let place = folder.display();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"{rpc}\"\n[meta]\ndir = \"{place}/meta\"\n\
             [data]\ndir = \"{place}/data\"\nwal-dir = \"{place}/wal\"\nquery-log-enabled = true\n\
             [monitor]\nstore-enabled = false\n[http]\nbind-address = \"{http}\"\n"
        );
        fs::write(folder.join("influxdb.conf"), config).unwrap();
        let log = File::create(folder.join("influxdb.log")).unwrap();
        let child = Command::new("influxd")
            .args(["run", "-config"])
            .arg(folder.join("influxdb.conf"))
            .env("HOME", folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("influxd is needed: `tests/run` installs it (Debian: influxdb)");
        let mut server = Self { http, child };
        let began = Instant::now();
        while server.get("/ping").is_none() {
            let log = || fs::read_to_string(folder.join("influxdb.log")).unwrap();
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "influxd ended: {}", log());
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "influxd does not answer: {}",
                log()
            );
            pause(Duration::from_millis(50));
        }
        server
    }

    /// What it answers, head and all; `None` while it does not listen.
    pub fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.http).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer).filter(|answer| answer.starts_with("HTTP/1."))
    }
}

impl Drop for Influx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
