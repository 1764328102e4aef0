//! Why a TLS handshake failed, in a closed set of words for the metrics.
//!
//! What enters: what rustls or the socket says. What leaves: a [`Reason`]. What can never happen:
//! a name, a certificate or an address out of the handshake in it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Who has to act differs from one to the next, which is why they are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It took longer than `limits.handshake_time`.
    TimeOut,
    /// The client left in the middle: a port scan, a health check over TCP.
    Cut,
    /// The client refused us by an alert: it does not know our CA, or wants another name.
    RefusedByClient,
    /// The client has no certificate, and must.
    NoCertificate,
    /// The client's certificate is over.
    ExpiredCertificate,
    /// The client's certificate has been revoked.
    RevokedCertificate,
    /// The client's certificate is of another CA, or wrong in another way.
    BadCertificate,
    /// No version, suite or group in common.
    Incompatible,
    /// No application protocol in common.
    Alpn,
    /// What came is no TLS.
    NotTls,
    Other,
}

impl Reason {
    pub const ALL: [Self; 11] = [
        Self::TimeOut,
        Self::Cut,
        Self::RefusedByClient,
        Self::NoCertificate,
        Self::ExpiredCertificate,
        Self::RevokedCertificate,
        Self::BadCertificate,
        Self::Incompatible,
        Self::Alpn,
        Self::NotTls,
        Self::Other,
    ];

    /// The label in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeOut => "time-out",
            Self::Cut => "cut",
            Self::RefusedByClient => "refused-by-client",
            Self::NoCertificate => "no-certificate",
            Self::ExpiredCertificate => "expired-certificate",
            Self::RevokedCertificate => "revoked-certificate",
            Self::BadCertificate => "bad-certificate",
            Self::Incompatible => "incompatible",
            Self::Alpn => "alpn",
            Self::NotTls => "not-tls",
            Self::Other => "other",
        }
    }

    pub fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
        match tls {
            Some(tls) => Self::of_tls(tls),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Cut,
                io::ErrorKind::TimedOut => Self::TimeOut,
                _ => Self::Other,
            },
        }
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(why) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::ExpiredCertificate
                }
                CertificateError::Revoked => Self::RevokedCertificate,
                _ => Self::BadCertificate,
            },
            Error::InvalidCertRevocationList(_) => Self::BadCertificate,
            Error::AlertReceived(AlertDescription::CloseNotify) => Self::Cut,
            Error::AlertReceived(_) => Self::RefusedByClient,
            Error::NoApplicationProtocol => Self::Alpn,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. } => Self::NotTls,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_11_reasons_have_distinct_names_and_are_told_apart() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        let tls = |error| Reason::of(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(tls(Error::NoCertificatesPresented), Reason::NoCertificate);
        let expired = Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(tls(expired), Reason::ExpiredCertificate);
        let alert = Error::AlertReceived(AlertDescription::UnknownCA);
        assert_eq!(tls(alert), Reason::RefusedByClient);
        assert_eq!(
            Reason::of(&io::ErrorKind::UnexpectedEof.into()),
            Reason::Cut
        );
    }
}
