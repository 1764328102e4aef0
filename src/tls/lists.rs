//! Lists of revoked certificates: whether they may be used.
//!
//! What enters: lists (DER), the CAs that clients may have, and the lists in use. What leaves: when
//! the first of them ends, and how new each is. What can never happen: a list is taken under a CA's
//! name that its key has not signed (every client would be refused), or an older one in place of a
//! newer (who has been revoked would be let in again).
//!
//! A list of an issuer that is not among the CAs is one of an intermediate: whether it is signed
//! well is seen when a chain brings the intermediate's certificate.

use std::path::Path;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::asn1_rs::Any;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::facts::now;
use super::files::TlsError;
use super::provider;

/// How new a list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Whose: issuer, distribution point (RFC 5280, section 5.2.5), and the key that signed it
    /// where that is known.
    whose: [Vec<u8>; 3],
    /// CRL number (section 5.2.3), without leading zeros.
    number: Option<Vec<u8>>,
    this_update: i64,
}

impl Issue {
    /// Whether `other` is an older issue of the same list.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let size = |number: &Vec<u8>| (number.len(), number.clone());
        let numbers = match (&self.number, &other.number) {
            (Some(mine), Some(others)) => size(mine).cmp(&size(others)),
            _ => std::cmp::Ordering::Equal,
        };
        let order = numbers.then(self.this_update.cmp(&other.this_update));
        self.whose == other.whose && order.is_gt()
    }
}

/// Each list is one that can be read, is signed by its CA, and has not ended, and each CA has one.
/// Gives when the first ends, in seconds since 1970-01-01T00:00:00Z.
///
/// # Errors
/// The first that is not, or is missing.
pub fn usable(
    path: &Path,
    lists: &[CertificateRevocationListDer<'_>],
    ca: &Path,
    authorities: &[CertificateDer<'_>],
) -> Result<(i64, Vec<Issue>), TlsError> {
    let now = now();
    let read = |der| X509Certificate::from_der(der).map(|(_, certificate)| certificate);
    let authorities: Result<Vec<_>, _> = authorities.iter().map(|der| read(der)).collect();
    let authorities = authorities.map_err(|_| TlsError::new(ca, "holds no X.509 certificate"))?;
    let mut has_list = vec![false; authorities.len()];
    let mut first_end = i64::MAX;
    let mut issues = Vec::with_capacity(lists.len());
    for der in lists {
        let (_, list) = CertificateRevocationList::from_der(der)
            .map_err(|_| TlsError::new(path, "holds a block that is no X.509 CRL"))?;
        let end = list.next_update().map_or(i64::MIN, |t| t.timestamp());
        if end < now {
            return Err(TlsError::new(
                path,
                "holds a list that has ended (nextUpdate): put the CA's newest list there",
            ));
        }
        first_end = first_end.min(end);
        let (mut named, mut signer) = (false, None);
        for (at, authority) in authorities.iter().enumerate() {
            if authority.subject().as_raw() != list.issuer().as_raw() {
                continue;
            }
            named = true;
            let key = authority.public_key().raw;
            if is_signed(der, key, &list.signature_value.data) {
                has_list[at] = true;
                signer = Some(key);
            }
        }
        if named && signer.is_none() {
            return Err(TlsError::new(
                path,
                format!(
                    "holds a list in the name of a CA in {} that this CA's key has not signed: put the CA's own list there",
                    ca.display()
                ),
            ));
        }
        issues.push(issue(&list, signer));
    }
    if has_list.contains(&false) {
        return Err(TlsError::new(
            path,
            format!(
                "has no list of one of the CAs in {}; put the lists of all of them into this file, one after the other",
                ca.display()
            ),
        ));
    }
    Ok((first_end, issues))
}

fn issue(list: &CertificateRevocationList<'_>, signer: Option<&[u8]>) -> Issue {
    // id-ce-issuingDistributionPoint
    let point = |e: &&x509_parser::prelude::X509Extension<'_>| e.oid.to_id_string() == "2.5.29.28";
    let point = list.extensions().iter().find(point);
    let bytes = |found: Option<&[u8]>| found.unwrap_or_default().to_vec();
    Issue {
        whose: [
            list.issuer().as_raw().to_vec(),
            bytes(point.map(|e| e.value)),
            bytes(signer),
        ],
        number: list.crl_number().map(|number| number.to_bytes_be()),
        this_update: list.last_update().timestamp(),
    }
}

/// Whether this key (SubjectPublicKeyInfo) has signed this list (RFC 5280, section 5.1.1), by one
/// of the algorithms that are taken for certificates.
fn is_signed(list: &[u8], key: &[u8], signature: &[u8]) -> bool {
    let parts = || {
        let inside = |der| Any::from_der(der).ok().map(|(_, any)| any.data);
        // CertificateList: what is signed, and by which algorithm.
        let whole = inside(list)?;
        let (rest, _) = Any::from_der(whole).ok()?;
        let signed = &whole[..whole.len() - rest.len()];
        let (key_algorithm, bits) = {
            let (rest, algorithm) = Any::from_der(inside(key)?).ok()?;
            // A bit string whose first octet counts its unused bits.
            (algorithm.data, inside(rest)?.get(1..)?)
        };
        Some((signed, inside(rest)?, key_algorithm, bits))
    };
    let Some((signed, algorithm, key_algorithm, bits)) = parts() else {
        return false;
    };
    let provider = provider();
    let known = provider.signature_verification_algorithms.all.iter();
    let mut fit = known.filter(|one| {
        one.signature_alg_id().as_ref() == algorithm
            && one.public_key_alg_id().as_ref() == key_algorithm
    });
    fit.any(|one| one.verify_signature(bits, signed, signature).is_ok())
}
