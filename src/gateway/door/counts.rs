//! What the door counts.
//!
//! What enters: why clients were turned away, and what came of reloads. What leaves: counters
//! whose labels are constants and configured file names.

use std::path::Path;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rustls::{AlertDescription, CertificateError, Error};

/// Why a client did not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It named a host that neither certificate nor route has.
    UnknownName,
    /// It named no host, and must.
    NoName,
    /// Not done within `handshake_time`.
    Time,
    /// No place among the handshakes within `handshake_time`.
    Busy,
    /// No certificate, where one is required.
    NoCertificate,
    /// A certificate of another CA, that has ended, or that is broken.
    BadCertificate,
    /// A certificate that has been revoked, or whose list is missing or has ended.
    Revoked,
    /// It did not take ours.
    Distrust,
    /// No version, suite or group in common.
    Incompatible,
    /// It went away.
    Gone,
    /// What it said is no TLS, or broken.
    Protocol,
    /// A load balancer's header is missing or broken.
    ProxyHeader,
    /// A load balancer's header did not arrive within `head_time`.
    ProxyTime,
    /// Its address has as many connections as it may.
    Crowd,
}

impl Reason {
    const ALL: [Self; 14] = [
        Self::UnknownName,
        Self::NoName,
        Self::Time,
        Self::Busy,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::Revoked,
        Self::Distrust,
        Self::Incompatible,
        Self::Gone,
        Self::Protocol,
        Self::ProxyHeader,
        Self::ProxyTime,
        Self::Crowd,
    ];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownName => "unknown-name",
            Self::NoName => "no-name",
            Self::Time => "time",
            Self::Busy => "busy",
            Self::NoCertificate => "no-certificate",
            Self::BadCertificate => "bad-certificate",
            Self::Revoked => "revoked",
            Self::Distrust => "distrust",
            Self::Incompatible => "incompatible",
            Self::Gone => "gone",
            Self::Protocol => "protocol",
            Self::ProxyHeader => "proxy-header",
            Self::ProxyTime => "proxy-time",
            Self::Crowd => "address-full",
        }
    }

    /// What an error of a handshake means.
    pub fn of(error: &std::io::Error) -> Self {
        use CertificateError as C;
        let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
        match inner {
            None => Self::Gone,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(
                C::Revoked
                | C::UnknownRevocationStatus
                | C::ExpiredRevocationList
                | C::ExpiredRevocationListContext { .. },
            )) => Self::Revoked,
            Some(Error::InvalidCertificate(_)) => Self::BadCertificate,
            Some(Error::PeerIncompatible(_)) => Self::Incompatible,
            Some(Error::AlertReceived(
                AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::UnsupportedCertificate,
            )) => Self::Distrust,
            Some(Error::AlertReceived(_)) => Self::Gone,
            Some(_) => Self::Protocol,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabel {
    file: String,
}

/// The door's families.
pub struct DoorMetrics {
    turned_away: Family<ReasonLabel, Counter>,
    reloads: Family<OutcomeLabel, Counter>,
    ends: Family<FileLabel, Gauge>,
}

impl Default for DoorMetrics {
    fn default() -> Self {
        let turned_away = Family::default();
        // All there from the start: a rate over a counter that appears late misses its first.
        for reason in Reason::ALL {
            let reason = reason.name();
            drop(turned_away.get_or_create(&ReasonLabel { reason }));
        }
        let reloads = Family::default();
        for outcome in ["done", "refused"] {
            drop(reloads.get_or_create(&OutcomeLabel { outcome }));
        }
        Self {
            turned_away,
            reloads,
            ends: Family::default(),
        }
    }
}

impl DoorMetrics {
    pub fn turned_away(&self, reason: Reason) {
        let reason = reason.name();
        self.turned_away
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    pub fn reloaded(&self, done: bool) {
        let outcome = if done { "done" } else { "refused" };
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// When each certificate ends, in seconds since 1970-01-01T00:00:00Z. Files that are no
    /// longer served disappear.
    pub fn certificates<'a>(&self, ends: impl Iterator<Item = (&'a Path, i64)>) {
        self.ends.clear();
        for (file, end) in ends {
            let file = file.file_name().unwrap_or_default().to_string_lossy();
            let label = FileLabel {
                file: file.into_owned(),
            };
            self.ends.get_or_create(&label).set(end);
        }
    }

    pub fn register(&self, r: &mut Registry) {
        r.register(
            "turned_away",
            "Connections that ended before a request could be sent",
            self.turned_away.clone(),
        );
        r.register(
            "tls_reloads",
            "Readings of changed TLS files",
            self.reloads.clone(),
        );
        r.register(
            "certificate_ends_seconds",
            "When a certificate ends, since 1970",
            self.ends.clone(),
        );
    }
}
