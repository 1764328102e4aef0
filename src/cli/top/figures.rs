//! Two looks at the pages, as figures.
//!
//! What enters: two looks. What leaves: rates between them, totals and states of the later one.
//! What can never happen: a rate below zero: a counter that went back began anew.

use serde::Serialize;

use super::Look;
use super::page::Page;

/// Everything that `top` shows. Its JSON is what `--json` prints (docs/observe.md).
#[derive(Serialize)]
pub struct Figures {
    /// Between the two looks.
    pub seconds: f64,
    pub gateway: Option<World<Gateway>>,
    pub vault: Option<World<Vault>>,
}

/// One of the two, or why nothing is known of it.
#[derive(Serialize)]
#[serde(untagged)]
pub enum World<T> {
    Seen(Box<T>),
    Unseen { error: String },
}

#[derive(Serialize)]
pub struct Gateway {
    pub version: String,
    pub requests: Rate,
    pub bytes_in: Rate,
    pub bytes_out: Rate,
    pub connections_client: u64,
    pub connections_backend: u64,
    pub connections_refused: Rate,
    pub turned_away: Vec<Named>,
    pub routes: Vec<Route>,
    /// Every code that has been seen.
    pub refusals: Vec<Named>,
    pub backends: Vec<Backend>,
    /// Calls to the vault.
    pub vault_calls: Vec<Calls>,
    pub domains: Vec<Domain>,
}

/// How much in all, and how much a second of late.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Rate {
    pub total: u64,
    pub per_second: f64,
}

#[derive(Serialize)]
pub struct Named {
    pub name: String,
    #[serde(flatten)]
    pub rate: Rate,
}

#[derive(Serialize)]
pub struct Route {
    pub name: String,
    pub requests: Rate,
    pub answers_4xx: Rate,
    pub answers_5xx: Rate,
    pub unanswered: Rate,
    pub bytes_in: Rate,
    pub bytes_out: Rate,
    pub replaced: Rate,
    pub first_sights: Rate,
    pub latency: Latency,
}

/// Milliseconds, of what ended between the two looks; none if nothing did.
#[derive(Serialize, Clone, Copy, Default)]
pub struct Latency {
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

#[derive(Serialize)]
pub struct Calls {
    pub name: String,
    pub ok: Rate,
    pub failed: Rate,
    pub latency: Latency,
}

#[derive(Serialize)]
pub struct Backend {
    pub name: String,
    /// Of its addresses.
    pub up: u64,
    /// Positions in `urls` of those where no requests go.
    pub down: Vec<String>,
    pub requests: u64,
    pub connections: u64,
    pub waiting: u64,
    pub circuit_open: bool,
}

#[derive(Serialize)]
pub struct Domain {
    pub name: String,
    pub epoch: u64,
    pub lease_seconds: u64,
    pub durable_entries: u64,
    pub durable_bytes: u64,
}

#[derive(Serialize)]
pub struct Vault {
    pub version: String,
    pub connections: u64,
    pub commits: Rate,
    pub commit_latency: Latency,
    pub records_new: Rate,
    pub records_known: Rate,
    pub leases: Rate,
    pub refused: Rate,
    pub alarms: Rate,
    pub reveals_asked: Rate,
    pub reveals_fetched: Rate,
}

impl Figures {
    pub fn between(before: &Look, now: &Look) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        Self {
            seconds,
            gateway: world(&before.gateway, &now.gateway, seconds, gateway),
            vault: world(&before.vault, &now.vault, seconds, vault),
        }
    }

    /// Whether everything asked for could be read.
    pub fn is_complete(&self) -> bool {
        !matches!(self.gateway, Some(World::Unseen { .. }))
            && !matches!(self.vault, Some(World::Unseen { .. }))
    }
}

fn world<T>(
    before: &Option<Result<Page, String>>,
    now: &Option<Result<Page, String>>,
    seconds: f64,
    make: impl Fn(&Between<'_>) -> T,
) -> Option<World<T>> {
    let nothing = Page::default();
    Some(match now.as_ref()? {
        Err(error) => World::Unseen {
            error: error.clone(),
        },
        Ok(now) => {
            // A page seen for the first time has no rates.
            let before = match before {
                Some(Ok(before)) => before,
                _ => &nothing,
            };
            World::Seen(Box::new(make(&Between {
                before,
                now,
                seconds,
            })))
        }
    })
}

/// Two pages of one process.
struct Between<'a> {
    before: &'a Page,
    now: &'a Page,
    seconds: f64,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Between<'_> {
    fn rate(&self, name: &str, labels: Labels<'_>) -> Rate {
        let now = self.now.sum(name, labels).unwrap_or(0.0);
        let before = match self.before.sum(name, labels) {
            Some(before) if before <= now => before,
            Some(_) => 0.0,
            // A series that was not there before has been counted from zero, unless the whole
            // page is new.
            None if self.before.sum(name, &[]).is_some() => 0.0,
            None => now,
        };
        Rate {
            total: whole(now),
            per_second: (now - before) / self.seconds,
        }
    }

    fn gauge(&self, name: &str, labels: Labels<'_>) -> u64 {
        whole(self.now.sum(name, labels).unwrap_or(0.0))
    }

    fn named(&self, name: &str, label: &str) -> Vec<Named> {
        let names = self.now.values(name, label).into_iter();
        let one = |of: String| Named {
            rate: self.rate(name, &[(label, &of)]),
            name: of,
        };
        names.map(one).collect()
    }

    fn latency(&self, name: &str, labels: Labels<'_>) -> Latency {
        let before = self.before.buckets(name, labels);
        let mut buckets = self.now.buckets(name, labels);
        if before.is_empty() && self.before.sum(&format!("{name}_count"), &[]).is_none() {
            return Latency::default();
        }
        for (bound, count) in &mut buckets {
            let old = before.iter().find(|(b, _)| b == bound);
            *count = (*count - old.map_or(0.0, |(_, old)| *old)).max(0.0);
        }
        Latency {
            p50_ms: quantile(&buckets, 0.5).map(|s| s * 1000.0),
            p99_ms: quantile(&buckets, 0.99).map(|s| s * 1000.0),
        }
    }

    fn version(&self, name: &str) -> String {
        let mut all = self.now.values(name, "version");
        all.pop().unwrap_or_default()
    }
}

/// Within the bucket that holds it, in proportion; in the last one, its lower bound.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let all = buckets.last()?.1;
    if all <= 0.0 {
        return None;
    }
    let wanted = part * all;
    let (mut low, mut below) = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= wanted {
            let inside = (wanted - below) / (count - below).max(f64::MIN_POSITIVE);
            return Some(if bound.is_finite() {
                low + (bound - low) * inside
            } else {
                low
            });
        }
        (low, below) = (bound, count);
    }
    Some(low)
}

fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

fn gateway(of: &Between<'_>) -> Gateway {
    const NAME: &str = "cryptonym_gateway_";
    let name = |rest: &str| format!("{NAME}{rest}");
    let answers = name("answers_total");
    let route = |route: String| {
        let labels = [("route", route.as_str())];
        let class = |class| of.rate(&answers, &[("route", route.as_str()), ("class", class)]);
        Route {
            requests: of.rate(&answers, &labels),
            answers_4xx: class("4xx"),
            answers_5xx: class("5xx"),
            unanswered: class("none"),
            bytes_in: of.rate(&name("request_bytes_total"), &labels),
            bytes_out: of.rate(&name("response_bytes_total"), &labels),
            replaced: of.rate(&name("replaced_total"), &labels),
            first_sights: of.rate(&name("first_sights_total"), &labels),
            latency: of.latency(&name("seconds"), &labels),
            name: route.clone(),
        }
    };
    let calls = name("vault_calls_total");
    let call = |call: String| {
        let ok = of.rate(&calls, &[("call", &call), ("result", "ok")]);
        let all = of.rate(&calls, &[("call", &call)]);
        Calls {
            ok,
            failed: Rate {
                total: all.total - ok.total.min(all.total),
                per_second: (all.per_second - ok.per_second).max(0.0),
            },
            latency: of.latency(&name("vault_seconds"), &[("call", &call)]),
            name: call,
        }
    };
    let domain = |domain: String| {
        let labels = [("domain", domain.as_str())];
        Domain {
            epoch: of.gauge(&name("lease_epoch"), &labels),
            lease_seconds: of.gauge(&name("lease_seconds"), &labels),
            durable_entries: of.gauge(&name("durable_entries"), &labels),
            durable_bytes: of.gauge(&name("durable_bytes"), &labels),
            name: domain.clone(),
        }
    };
    let backend = |backend: String| {
        let mut down = of.now.values(&name("backend_up"), "url");
        // 0, or no such address of this one.
        down.retain(|url| {
            let labels = [("backend", backend.as_str()), ("url", url.as_str())];
            of.now.sum(&name("backend_up"), &labels) == Some(0.0)
        });
        let labels = [("backend", backend.as_str())];
        let gauge = |rest| of.gauge(&name(rest), &labels);
        Backend {
            up: gauge("backend_up"),
            down,
            requests: gauge("backend_requests"),
            connections: gauge("backend_connections"),
            waiting: gauge("backend_waiting"),
            circuit_open: gauge("backend_circuit_open") > 0,
            name: backend.clone(),
        }
    };
    let open = |side| of.gauge(&name("connections_open"), &[("side", side)]);
    let values = |name: &str, label| of.now.values(name, label).into_iter();
    Gateway {
        version: of.version(&name("build_info")),
        requests: of.rate(&answers, &[]),
        bytes_in: of.rate(&name("request_bytes_total"), &[]),
        bytes_out: of.rate(&name("response_bytes_total"), &[]),
        connections_client: open("client"),
        connections_backend: open("backend"),
        connections_refused: of.rate(&name("connections_refused_total"), &[]),
        turned_away: of.named(&name("turned_away_total"), "reason"),
        refusals: of.named(&name("faults_total"), "code"),
        routes: values(&answers, "route").map(route).collect(),
        backends: values(&name("backend_up"), "backend")
            .map(backend)
            .collect(),
        vault_calls: values(&calls, "call").map(call).collect(),
        domains: values(&name("lease_epoch"), "domain").map(domain).collect(),
    }
}

fn vault(of: &Between<'_>) -> Vault {
    const NAME: &str = "cryptonym_vault_";
    let name = |rest: &str| format!("{NAME}{rest}");
    let rate = |rest: &str| of.rate(&name(rest), &[]);
    let kinds = [
        "conflict", "mismatch", "budget", "decision", "domain", "lease",
    ];
    let alarms = kinds.map(|kind| rate(&format!("alarms_{kind}_total")));
    Vault {
        version: of.version(&name("build_info")),
        connections: of.gauge(&name("connections_open"), &[]),
        commits: rate("commits_total"),
        commit_latency: of.latency(&name("commit_seconds"), &[]),
        records_new: rate("records_new_total"),
        records_known: rate("records_known_total"),
        leases: rate("leases_total"),
        refused: rate("refused_total"),
        alarms: Rate {
            total: alarms.iter().map(|a| a.total).sum(),
            per_second: alarms.iter().map(|a| a.per_second).sum(),
        },
        reveals_asked: rate("reveals_asked_total"),
        reveals_fetched: rate("reveals_fetched_total"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(is: Option<f64>, expected: f64) -> bool {
        is.is_some_and(|is| (is - expected).abs() < 1e-9)
    }

    #[test]
    fn proxy_12_quantiles_lie_in_the_bucket_that_holds_them() {
        let inf = f64::INFINITY;
        let buckets = [(0.001, 0.0), (0.002, 50.0), (0.010, 100.0), (inf, 100.0)];
        assert!(close(quantile(&buckets, 0.5), 0.002));
        assert!(close(quantile(&buckets, 0.25), 0.0015));
        assert!(close(quantile(&buckets, 0.75), 0.006));
        assert!(close(quantile(&[(1.0, 0.0), (inf, 3.0)], 0.5), 1.0));
        assert!(quantile(&[(1.0, 0.0), (inf, 0.0)], 0.5).is_none());
        assert!(quantile(&[], 0.5).is_none());
    }

    #[test]
    fn proxy_12_rates_are_of_the_time_between() {
        let page = |n: u32, slow: u32| {
            Page::read(&format!(
                "a_total{{r=\"x\"}} {n}\ns_bucket{{le=\"1\"}} {n}\ns_bucket{{le=\"2\"}} {}\n\
                 s_bucket{{le=\"+Inf\"}} {}\ns_count 1\n",
                n + slow,
                n + slow
            ))
        };
        let (before, now) = (page(10, 0), page(30, 20));
        let of = Between {
            before: &before,
            now: &now,
            seconds: 2.0,
        };
        let rate = of.rate("a_total", &[]);
        assert_eq!((rate.total, rate.per_second), (30, 10.0));
        assert!(close(of.latency("s", &[]).p99_ms, 1980.0));
        // A process that began anew, and one that is seen for the first time.
        let anew = Between {
            before: &now,
            now: &before,
            seconds: 2.0,
        };
        assert!(close(Some(anew.rate("a_total", &[]).per_second), 5.0));
        let first = Between {
            before: &Page::default(),
            now: &now,
            seconds: 2.0,
        };
        assert!(close(Some(first.rate("a_total", &[]).per_second), 0.0));
        assert!(first.latency("s", &[]).p50_ms.is_none());
    }
}
