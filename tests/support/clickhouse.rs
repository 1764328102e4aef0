//! Debian's ClickHouse (18.16) as a child of the test: own configuration, own folder, free
//! loopback ports, stopped by its id. Nothing of an installed service is touched.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cryptonym::local::processes::pause;

/// Rules for the members, or columns, of a generated result that are about a person.
#[allow(dead_code)] // Not every test has such records.
pub const PERSON: &str = r#"  { at = "$.subscriber_id", category = "identity", action = "pseudonym", kind = "subscriber", subject = true },
  { at = "$.name", category = "identity", action = "pseudonym", kind = "name" },
  { at = "$.email", category = "contact", action = "pseudonym", kind = "email" },
  { at = "$.nhs_number", category = "identity", action = "pseudonym", kind = "nhs-number" },
  { at = "$.date_of_birth", category = "identity", action = "generalise", to = "year" },
  { at = "$.sex", category = "identity", action = "drop" },
  { at = "$.ethnicity", category = "identity", special = "ethnicity", action = "pseudonym", kind = "ethnicity", accept = "frequency" },
  { at = "$.postcode", category = "contact", action = "generalise", to = "outward-postcode" },
  { at = "$.phone", category = "contact", action = "pseudonym", kind = "phone" },
  { at = "$.kit_id", category = "test", action = "pseudonym", kind = "kit" },
  { at = "$.provider_id", category = "identity", action = "pseudonym", kind = "provider" },
"#;

/// A running server. Dropping it stops it; its folder belongs to the caller.
pub struct ClickHouse {
    pub http: SocketAddr,
    /// Data, logs and configuration, all below one folder.
    pub folder: PathBuf,
    child: Child,
}

impl ClickHouse {
    /// Starts a server whose files all lie in `folder` (made, if absent) and waits until it answers.
    pub fn start(folder: &Path) -> Self {
        for part in ["data", "tmp", "logs"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        let (http, tcp) = (free(), free());
        fs::write(folder.join("config.xml"), config(folder, http, tcp)).unwrap();
        fs::write(folder.join("users.xml"), USERS).unwrap();
        let out = File::create(folder.join("logs/output.log")).unwrap();
        let child = Command::new("clickhouse-server")
            .arg(format!(
                "--config-file={}",
                folder.join("config.xml").display()
            ))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .expect(
                "clickhouse-server is needed: `tests/run` installs it (Debian: clickhouse-server)",
            );
        let mut server = Self {
            http,
            folder: folder.to_owned(),
            child,
        };
        server.wait();
        server
    }

    /// Runs one statement; the answer as it came.
    ///
    /// # Panics
    /// The server refuses it.
    pub fn query(&self, sql: &str) -> String {
        let (status, body) = self.post("/", sql.as_bytes()).expect("ClickHouse answers");
        assert_eq!(status, 200, "{sql}\n{body}");
        body
    }

    /// The single number that a statement answers.
    pub fn number(&self, sql: &str) -> u64 {
        let answer = self.query(sql);
        answer
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{sql}: {answer}"))
    }

    /// Inserts straight into a table, not through the gateway.
    pub fn insert(&self, table: &str, ndjson: &[u8]) {
        let path = format!("/?query=INSERT%20INTO%20{table}%20FORMAT%20JSONEachRow");
        let (status, body) = self.post(&path, ndjson).expect("ClickHouse answers");
        assert_eq!(status, 200, "{body}");
    }

    /// Every row of every table that stores rows, as text: the server's own dump. Grepping the
    /// data folder alone would prove nothing, since columns are compressed.
    pub fn dump(&self, to: &Path) {
        // The log of queries is written every half second; ask for it before it is read.
        self.query("SYSTEM FLUSH LOGS");
        let tables = self.query(
            "SELECT concat(database, '.', name) FROM system.tables WHERE engine LIKE '%MergeTree' FORMAT TSV",
        );
        let mut file = File::create(to).unwrap();
        for table in tables.lines() {
            let rows = self.query(&format!("SELECT * FROM {table} FORMAT TSVWithNames"));
            writeln!(file, "-- {table}\n{rows}").unwrap();
        }
    }

    fn wait(&mut self) {
        let began = Instant::now();
        while !matches!(self.post("/", b"SELECT 1"), Ok((200, _))) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("clickhouse-server ended ({status}):\n{}", self.log());
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "clickhouse-server does not answer:\n{}",
                self.log()
            );
            pause(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        format!("{}\n{}", read("logs/output.log"), read("logs/error.log"))
    }

    fn post(&self, path: &str, body: &[u8]) -> io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.http)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        write!(
            stream,
            "POST {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.http,
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let split = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .ok_or_else(|| io::Error::other("no HTTP answer"))?;
        let head = String::from_utf8_lossy(&answer[..split]);
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = String::from_utf8_lossy(&answer[split + 4..]).into_owned();
        Ok((status.ok_or_else(|| io::Error::other("no status"))?, body))
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        // The folder is thrown away: nothing is worth a slow goodbye.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Blocks of 1000 rows, so that a body of some thousand rows has committed blocks before its end.
const USERS: &str = "<yandex>
<profiles><default>
  <log_queries>1</log_queries>
  <input_format_skip_unknown_fields>1</input_format_skip_unknown_fields>
  <max_insert_block_size>1000</max_insert_block_size>
  <min_insert_block_size_rows>1000</min_insert_block_size_rows>
  <min_insert_block_size_bytes>0</min_insert_block_size_bytes>
</default></profiles>
<users><default>
  <password></password><networks><ip>127.0.0.1</ip></networks>
  <profile>default</profile><quota>default</quota>
</default></users>
<quotas><default><interval><duration>3600</duration><queries>0</queries><errors>0</errors>
  <result_rows>0</result_rows><read_rows>0</read_rows><execution_time>0</execution_time>
</interval></default></quotas>
</yandex>";

fn config(folder: &Path, http: SocketAddr, tcp: SocketAddr) -> String {
    let folder = folder.display();
    let (http, tcp) = (http.port(), tcp.port());
    format!(
        "<yandex>
<logger><level>trace</level><log>{folder}/logs/server.log</log>
  <errorlog>{folder}/logs/error.log</errorlog><size>1000M</size><count>1</count></logger>
<http_port>{http}</http_port><tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path>
<users_config>{folder}/users.xml</users_config>
<default_profile>default</default_profile><default_database>default</default_database>
<mark_cache_size>67108864</mark_cache_size>
<query_log><database>system</database><table>query_log</table>
  <flush_interval_milliseconds>500</flush_interval_milliseconds></query_log>
</yandex>"
    )
}
