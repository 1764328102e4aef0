//! What a certificate says about itself: for `certs show`, `check` and the expiry metrics.
//!
//! What enters: a certificate (DER). What leaves: its names, its identity and its dates. Nothing
//! here decides about trust.

use std::time::{SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Peer;

/// Seconds since 1970-01-01T00:00:00Z.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// A certificate's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub subject: String,
    pub issuer: String,
    /// Subject alternative names as `DNS:…`, `IP:…`, `URI:…`.
    pub names: Vec<String>,
    pub ca: bool,
    /// Role and id, where it has exactly one.
    pub peer: Option<Peer>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub not_before: i64,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
}

impl Facts {
    /// # Errors
    /// It is no X.509 certificate.
    pub fn of(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "not an X.509 certificate".to_owned())?;
        let names = match certificate.subject_alternative_name() {
            Ok(Some(found)) => found.value.general_names.iter().map(written).collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            ca: certificate.is_ca(),
            peer: Peer::from_certificate(der).ok(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        })
    }
}

/// When a certificate (DER) ends, in seconds since 1970-01-01T00:00:00Z.
///
/// # Errors
/// It is no X.509 certificate.
pub fn not_after(der: &[u8]) -> Result<i64, String> {
    Facts::of(der).map(|f| f.not_after)
}

fn written(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(n) => format!("DNS:{n}"),
        GeneralName::URI(n) => format!("URI:{n}"),
        GeneralName::RFC822Name(n) => format!("email:{n}"),
        GeneralName::IPAddress(bytes) => {
            match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
                (Ok(v4), _) => format!("IP:{}", std::net::Ipv4Addr::from(v4)),
                (_, Ok(v6)) => format!("IP:{}", std::net::Ipv6Addr::from(v6)),
                _ => "IP:malformed".to_owned(),
            }
        }
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    #[test]
    fn names_and_dates_are_read() {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(2031, 2, 3);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let facts = Facts::of(&der).unwrap();
        assert_eq!(facts.names, ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]);
        assert_eq!(facts.not_after, 1_927_843_200);
        assert_eq!(not_after(&der), Ok(1_927_843_200));
        assert!(!facts.ca && facts.peer.is_none());
        assert!(Facts::of(b"\x30\x03").is_err());
    }
}
