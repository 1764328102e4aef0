//! A gateway in this process, on a free port, without a vault.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cryptonym::config::{
    self, ClientCertificate, Config, Limits, RequestBody, ResponseBody, VaultAddress,
};
use cryptonym::gateway::Running;
use cryptonym::gateway::metrics::Metrics;
use cryptonym::policy::{
    Action, Already, Category, Policy, RecordUnit, Redact, Rule, Selector, Unlisted,
};
use cryptonym::pseudonym::Kinds;

use super::backend::Backend;
use super::certificates::Certificates;
use super::raw::Raw;

pub struct Gateway {
    pub running: Running,
    pub address: SocketAddr,
    pub certificates: Arc<Certificates>,
    pub metrics: Arc<Metrics>,
}

impl Gateway {
    /// One backend, these routes, these limits.
    pub fn start(
        certificates: &Arc<Certificates>,
        backend: &Backend,
        routes: Vec<config::Route>,
        limits: Limits,
    ) -> Self {
        Self::start_as(certificates, &config(certificates, backend, routes, limits))
    }

    /// As configured.
    pub fn start_as(certificates: &Arc<Certificates>, config: &Config) -> Self {
        let metrics = Arc::new(Metrics::new());
        let running = cryptonym::gateway::start(config, None, metrics.clone()).unwrap();
        Self {
            address: running.addresses()[0],
            running,
            certificates: certificates.clone(),
            metrics,
        }
    }

    /// The metrics page as it stands now.
    pub fn page(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics.registry()).unwrap();
        text
    }

    /// One line of it: a name with its labels, without the prefix.
    pub fn metric(&self, name: &str) -> f64 {
        let page = self.page();
        let start = format!("cryptonym_gateway_{name} ");
        let line = page.lines().find_map(|l| l.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}"))
            .parse()
            .unwrap()
    }

    /// A raw HTTP/1.1 connection.
    pub async fn h1(&self) -> Raw {
        let tls = self.certificates.client(&[b"http/1.1"], false);
        Raw::tls(self.address, tls).await
    }

    /// The same, with the provider's certificate.
    pub async fn h1_known(&self) -> Raw {
        let tls = self.certificates.client(&[b"http/1.1"], true);
        Raw::tls(self.address, tls).await
    }
}

pub fn config(
    certificates: &Certificates,
    backend: &Backend,
    routes: Vec<config::Route>,
    limits: Limits,
) -> Config {
    Config {
        file: PathBuf::from("test.toml"),
        digest: [0; 32],
        included: vec![],
        kinds: Kinds::default(),
        domains: vec![],
        gateway: Some(config::Gateway {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            tls: certificates.gateway(ClientCertificate::Optional),
            certificates: vec![],
            sni_required: false,
            proxy_protocol: None,
            vault: VaultAddress {
                host: "localhost".to_owned(),
                port: 1,
                certificate: PathBuf::new(),
                key: PathBuf::new(),
                ca: PathBuf::new(),
            },
            observe: None,
            traces: None,
            admin: None,
            workers: 1,
            access_log: true,
            listen_when: config::ListenWhen::AtOnce,
            transparent: None,
            egress: None,
            reload_on_change: false,
            handover: None,
            spool_dir: None,
        }),
        vault: None,
        feed: None,
        backends: vec![backend.config(certificates)],
        routes,
        policies: vec![Arc::new(policy()), Arc::new(nothing())],
        limits,
    }
}

/// A route that passes bodies unseen.
pub fn opaque(name: &str, path: &str) -> config::Route {
    config::Route {
        name: name.to_owned(),
        host: None,
        path: path.to_owned(),
        methods: vec![],
        backend: 0,
        domain: None,
        purpose: None,
        request: RequestBody::Opaque,
        response: ResponseBody::Pass,
        websocket: config::WebSocket::Refuse,
        format: None,
        codings: config::Codings::default(),
        rows: config::Rows::default(),
        stream: false,
        client_certificate: false,
        query: vec![],
        captures: vec![],
        cookies: vec![],
        request_headers: vec![],
        response_headers: vec![],
        host_upstream: None,
        rate: None,
        slow: false,
    }
}

/// A route that rewrites NDJSON or JSON by [`policy`].
pub fn rewriting(name: &str, path: &str) -> config::Route {
    let request = RequestBody::Policy(0);
    config::Route {
        request,
        ..opaque(name, path)
    }
}

/// `$.name` becomes `X`, `$.n` stays, `$.bad` is refused, whatever else is refused too.
pub fn policy() -> Policy {
    let rule = |at: &str, action| Rule {
        at: Selector::parse(at).unwrap(),
        action,
        category: Some(Category::Usage),
        special: None,
        subject: false,
        accept_frequency: false,
        already: Already::Reject,
    };
    let rules = vec![
        rule("$.name", Action::Redact(Redact::Constant("X".into()))),
        rule("$.n", Action::Keep),
        rule("$.bad", Action::Reject),
    ];
    Policy::compile("test", Unlisted::Reject, RecordUnit::Auto, rules).unwrap()
}

/// Restores nothing, keeps everything: what is around the restoring is what is tested.
pub fn nothing() -> Policy {
    Policy::compile("nothing", Unlisted::Keep, RecordUnit::Auto, vec![]).unwrap()
}
