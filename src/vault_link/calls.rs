//! What the link counts: calls to the vault, what they carried and how long they took.
//!
//! What enters: the end of each call. What leaves: families with the labels `call` and `result`,
//! and the state of each lease with its durable set, for a metrics page. What can never happen:
//! a domain's name that is not configured, or anything of a record.

use std::fmt::{self, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Current;
use super::client::CallError;
use super::spool::{SpoolStatus, Spools};
use crate::observe::count::{Times, counter};
use crate::wire::path;

/// What is asked of the vault; the last stands for everything else.
const CALLS: [&str; 4] = ["lease", "known", "records", "other"];

const RESULTS: [&str; 4] = ["ok", "refused", "unreachable", "malformed"];

/// All calls of one client.
#[derive(Debug, Default)]
pub struct Calls {
    calls: [Call; CALLS.len()],
    /// Identifiers in batches that the vault has kept.
    records: AtomicU64,
}

#[derive(Debug, Default)]
struct Call {
    results: [AtomicU64; RESULTS.len()],
    seconds: Times,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Calls {
    /// `received`: bytes of the answer's body, 0 where it is streamed.
    pub fn ended<T>(
        &self,
        path: &str,
        time: Duration,
        sent: usize,
        received: usize,
        result: &Result<T, CallError>,
    ) {
        let path = path.split('?').next().unwrap_or_default();
        let call = match path {
            path::LEASES => 0,
            path::KNOWN => 1,
            path::RECORDS => 2,
            _ => 3,
        };
        let call = &self.calls[call];
        let at = match result {
            Ok(_) => 0,
            Err(CallError::Refused { .. }) => 1,
            Err(CallError::Unreachable(_)) => 2,
            Err(CallError::Malformed) => 3,
        };
        call.results[at].fetch_add(1, Relaxed);
        call.seconds.add(time);
        call.sent.fetch_add(sent as u64, Relaxed);
        call.received.fetch_add(received as u64, Relaxed);
    }

    /// A batch is durable.
    pub fn kept(&self, records: usize) {
        self.records.fetch_add(records as u64, Relaxed);
    }
}

/// The part of a metrics page that is the link's.
pub struct LinkPage(
    pub(super) Current,
    pub(super) Arc<Calls>,
    pub(super) Option<Arc<Spools>>,
);

impl fmt::Debug for LinkPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkPage")
    }
}

impl Collector for LinkPage {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.calls(&mut to)?;
        self.spools(&mut to)?;
        let leases = (self.0.load().as_ref()).map_or_else(Vec::new, |link| link.status());
        type Get = fn(&super::LeaseStatus) -> u64;
        let gauges: [(&str, &str, Get); 4] = [
            ("durable_entries", "Pseudonyms known durable", |l| {
                l.known as u64
            }),
            ("durable_bytes", "Memory of the durable set", |l| {
                l.known_bytes as u64
            }),
            ("lease_epoch", "Epoch of the lease; 0: none", |l| {
                l.epoch.unwrap_or(0).into()
            }),
            ("lease_seconds", "What is left of the lease", |l| {
                l.seconds_left
            }),
        ];
        for (name, help, get) in gauges {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for lease in &leases {
                let labels = [("domain", lease.domain.as_str())];
                ConstGauge::new(get(lease)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl LinkPage {
    fn spools(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        type Get = fn(&SpoolStatus) -> u64;
        let Some(spools) = &self.2 else { return Ok(()) };
        let spools = spools.status();
        let gauges: [(&str, &str, Get); 7] = [
            (
                "spool_bytes",
                "What a domain's spool takes of the disk",
                |s| s.bytes,
            ),
            (
                "spool_records",
                "Recovery records that are in the spool only",
                |s| s.records,
            ),
            ("spool_oldest_seconds", "Age of the oldest of them", |s| {
                s.oldest.as_secs()
            }),
            ("spool_max_bytes", "The bound of spool_bytes", |s| {
                s.bounds.map_or(0, |b| b.max_bytes as u64)
            }),
            (
                "spool_max_staleness_seconds",
                "The bound of spool_oldest_seconds",
                |s| s.bounds.map_or(0, |b| b.max_staleness.as_secs()),
            ),
            (
                "spool_stale",
                "1: the oldest record has reached its bound, and new identifiers are refused",
                |s| s.stale.into(),
            ),
            (
                "spool_aside",
                "Files kept aside: refused by the vault, or damaged",
                |s| s.aside,
            ),
        ];
        for (name, help, get) in gauges {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for spool in &spools {
                let labels = [("domain", spool.domain.as_str())];
                ConstGauge::new(get(spool)).encode(family.encode_family(&labels)?)?;
            }
        }
        let counts: [(&str, &str, Get); 5] = [
            (
                "spool_appended",
                "Recovery records put into the spool",
                |s| s.appended,
            ),
            (
                "spool_replayed",
                "Spooled recovery records that the vault has kept",
                |s| s.replayed,
            ),
            (
                "spool_refused",
                "Batches that the spool did not take: stale, full, or the disk failed",
                |s| s.refused,
            ),
            (
                "spool_corrupt",
                "Damages found in spools: changed, missing or forged frames",
                |s| s.corrupt,
            ),
            (
                "spool_torn",
                "Frames whose writing was cut short by the end of a process",
                |s| s.torn,
            ),
        ];
        for (name, help, get) in counts {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for spool in &spools {
                let labels = [("domain", spool.domain.as_str())];
                counter(&mut family, &labels, get(spool))?;
            }
        }
        Ok(())
    }

    fn calls(&self, to: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let all = || CALLS.iter().zip(&self.1.calls);
        let counts = MetricType::Counter;
        let mut family = to.encode_descriptor("vault_calls", "Calls to the vault", None, counts)?;
        for (name, call) in all() {
            for (result, count) in RESULTS.iter().zip(&call.results) {
                let labels = [("call", *name), ("result", *result)];
                counter(&mut family, &labels, count.load(Relaxed))?;
            }
        }
        let times = MetricType::Histogram;
        let help = "Calls to the vault, from first byte to last";
        let mut family = to.encode_descriptor("vault_seconds", help, None, times)?;
        for (name, call) in all() {
            let labels = [("call", *name)];
            let family = family.encode_family(&labels)?;
            Times::encode(std::iter::once(&call.seconds), family)?;
        }
        type Get = fn(&Call) -> &AtomicU64;
        let sizes: [(&str, &str, Get); 2] = [
            ("vault_sent_bytes", "Bodies sent to the vault", |c| &c.sent),
            ("vault_received_bytes", "Bodies that came back", |c| {
                &c.received
            }),
        ];
        for (name, help, get) in sizes {
            let mut family = to.encode_descriptor(name, help, None, counts)?;
            for (call, one) in all() {
                counter(&mut family, &[("call", *call)], get(one).load(Relaxed))?;
            }
        }
        let help = "Recovery records that the vault has kept";
        let family = to.encode_descriptor("vault_records", help, None, counts)?;
        let records = self.1.records.load(Relaxed);
        prometheus_client::metrics::counter::ConstCounter::new(records).encode(family)
    }
}
