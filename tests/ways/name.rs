//! A name leads to the gateway instead of the service.

use super::support::authority::Authority;
use super::support::installation::Installation;
use super::support::portal::Portal;
use super::*;

#[test]
fn proxy_09_only_the_address_of_a_name_has_changed() {
    let (_outside, path) = folder();
    let authority = Authority::new(&path, "service");
    let pair = authority.server("server", &["service.example"]);
    let service = Portal::start(&path.join("service.log"), Some(&pair));
    let port = service.port;
    let before = format!("service.example:443:127.0.0.1:{port}");
    let rest = format!(
        r#"
[[gateway.certificate]]
certificate = "{certificate}"
key = "{key}"

[backend.service]
urls = ["https://127.0.0.1:{port}"]
server_name = "service.example"
ca = "{ca}"
region = "GB"

[[route]]
name = "results"
host = "service.example"
path = "/v1/results"
methods = ["POST"]
backend = "service"
domain = "improvement"
request = "record"
host_upstream = "service.example"
request_headers = ["user-agent"]
response_headers = ["x-portal"]

[[route]]
name = "rest"
host = "service.example"
path = "/v1/{{*rest}}"
captures = ["rest"]
methods = ["GET", "HEAD"]
backend = "service"

host_upstream = "service.example"
request_headers = ["user-agent"]
response_headers = ["x-portal"]
{POLICY}"#,
        certificate = pair.certificate.display(),
        key = pair.key.display(),
        ca = authority.file.display(),
    );
    let whole = Installation::start(&rest);
    let after = format!("service.example:443:{}", whole.gateway_address);

    let ask = |leads: &str, more: &[&str], path: &str| {
        let mut command = curl();
        command.args(["--http1.1", "-i", "--connect-to", leads]);
        command.arg("--cacert").arg(&authority.file).args(more);
        let said = expect(command.arg(format!("https://service.example{path}")));
        let seen = service.seen();
        assert_eq!(seen.len(), 1, "{said}");
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        let mut head: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
        // The status line stays first; when it was sent, and what software sends it, may differ.
        head.retain(|line| !line.starts_with("date:") && !line.starts_with("server:"));
        head[0] = head[0].split_whitespace().nth(1).unwrap().to_owned();
        head[1..].sort();
        (head, body.to_owned(), seen[0].clone())
    };
    let json = ["-H", "content-type: application/json", "-d", RECORD];
    for (more, path) in [
        (&json[..], "/v1/results"),
        (&[], "/v1/pages/one"),
        (&["-I"], "/v1/pages/one"),
    ] {
        let (head, body, there) = ask(&before, more, path);
        let (head_now, body_now, mut here) = ask(&after, more, path);
        // The client sees the same,
        assert_eq!((&head, &body), (&head_now, &body_now), "{path}");
        assert!(head.contains(&"x-portal: yes".to_owned()), "{head:?}");
        // and the service too: apart from the values that are replaced,
        if path == "/v1/results" {
            is_pseudonymised(&here);
            assert_eq!(there["body"], RECORD);
            here["body"] = there["body"].clone();
        }
        // and what docs/transparent.md says of header fields.
        let others = |seen: &serde_json::Value| {
            let all = seen["headers"].as_array().unwrap().iter();
            let documented = ["forwarded", "via", "content-length"];
            let rest = all.filter(|pair| !documented.contains(&pair[0].as_str().unwrap()));
            let mut rest: Vec<String> = rest.map(ToString::to_string).collect();
            rest.sort();
            rest
        };
        assert_eq!(others(&there), others(&here), "{path}");
        assert_eq!(field(&here, "via"), ["1.1 cryptonym"]);
        assert!(field(&here, "forwarded")[0].starts_with("for=unknown;"));
        for member in ["peer", "method", "path", "body"] {
            assert_eq!(there[member], here[member], "{path}");
        }
    }
}
