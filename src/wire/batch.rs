//! Batches of recovery records, gateway to vault: compact binary, sealed with HPKE.
//!
//! The envelope, in clear:
//!
//! ```text
//! "CRB1" | domain id 16 | epoch u32 | boot id 16 | batch number u64 | sealed …
//! ```
//!
//! and the plaintext inside `sealed` (`encapsulated key 32 | ciphertext | tag 16`):
//!
//! ```text
//! version u8 = 1
//! kinds u8, each:   length u8 | name
//! entries u16, each: kind u8 (index) | pseudonym 16 | length u16 | normal form
//! ```
//!
//! Integers are big-endian. The associated data bind vault, domain, epoch, gateway, boot and
//! batch number ([`associated_data`]); a batch is sealed once and resent as the same bytes.

use zeroize::Zeroizing;

use super::Malformed;
use crate::limits;
use crate::pseudonym::Pseudonym;
use crate::secret::Plain;

/// HPKE's `info` for recovery batches.
pub const INFO: &[u8] = b"cryptonym recovery batch v1";

const MAGIC: &[u8; 4] = b"CRB1";
const VERSION: u8 = 1;

/// A sealed batch with what routes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub domain: [u8; 16],
    pub epoch: u32,
    /// Random, made when the gateway process starts.
    pub boot: [u8; 16],
    /// Counts up within a boot.
    pub number: u64,
    pub sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.sealed.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.domain);
        out.extend_from_slice(&self.epoch.to_be_bytes());
        out.extend_from_slice(&self.boot);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(self.sealed);
        out
    }

    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        if cursor.take(4)? != MAGIC {
            return Err(Malformed("not a batch of version 1"));
        }
        Ok(Self {
            domain: cursor.array()?,
            epoch: u32::from_be_bytes(cursor.array()?),
            boot: cursor.array()?,
            number: u64::from_be_bytes(cursor.array()?),
            sealed: cursor.0,
        })
    }
}

/// What the seal of a batch binds beside its content. `gateway` is the registered id that the
/// vault reads from the client certificate.
pub fn associated_data(vault: &[u8; 16], gateway: &str, envelope: &Envelope<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(80 + gateway.len());
    out.extend_from_slice(b"cryptonym records v1\0");
    out.extend_from_slice(vault);
    out.extend_from_slice(&envelope.domain);
    out.extend_from_slice(&envelope.epoch.to_be_bytes());
    out.extend_from_slice(&envelope.boot);
    out.extend_from_slice(&envelope.number.to_be_bytes());
    out.extend_from_slice(&(gateway.len() as u64).to_be_bytes());
    out.extend_from_slice(gateway.as_bytes());
    out
}

/// One entry of a batch, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub kind: &'a str,
    pub pseudonym: Pseudonym,
    /// The normal form.
    pub identifier: Plain<'a>,
}

/// Writes the plaintext of a batch. At most [`limits::BATCH`] entries of [`limits::BATCH_KINDS`]
/// kinds; identifiers at most [`limits::IDENTIFIER`] bytes: the caller has checked.
pub fn encode_entries<'a>(entries: impl Iterator<Item = Entry<'a>> + Clone) -> Zeroizing<Vec<u8>> {
    let mut kinds: Vec<&str> = Vec::new();
    let (mut size, mut count) = (4, 0u16);
    for entry in entries.clone() {
        if !kinds.contains(&entry.kind) {
            kinds.push(entry.kind);
            size += 1 + entry.kind.len();
        }
        size += 19 + entry.identifier.expose().len();
        count += 1;
    }
    // The exact size at once: a buffer that grows leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    out.push(VERSION);
    out.push(kinds.len() as u8);
    for kind in &kinds {
        out.push(kind.len() as u8);
        out.extend_from_slice(kind.as_bytes());
    }
    out.extend_from_slice(&count.to_be_bytes());
    for entry in entries {
        let kind = kinds.iter().position(|k| *k == entry.kind).unwrap_or(0);
        // Exposed into a buffer that is wiped and sealed.
        let identifier = entry.identifier.expose();
        out.push(kind as u8);
        out.extend_from_slice(&entry.pseudonym.0);
        out.extend_from_slice(&(identifier.len() as u16).to_be_bytes());
        out.extend_from_slice(identifier);
    }
    out
}

/// The checked entries of a batch's plaintext.
#[derive(Debug)]
pub struct Entries<'a>(Vec<Entry<'a>>);

impl<'a> Entries<'a> {
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(bytes);
        if cursor.byte()? != VERSION {
            return Err(Malformed("version of the entries"));
        }
        let mut kinds = Vec::new();
        for _ in 0..cursor.byte()? {
            let length = cursor.byte()?;
            let name = cursor.take(usize::from(length))?;
            if name.is_empty() || name.len() > limits::KIND_NAME {
                return Err(Malformed("length of a kind"));
            }
            kinds.push(std::str::from_utf8(name).map_err(|_| Malformed("name of a kind"))?);
        }
        let count = usize::from(u16::from_be_bytes(cursor.array()?));
        if count > limits::BATCH || count * 19 > cursor.0.len() {
            return Err(Malformed("number of entries"));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = usize::from(cursor.byte()?);
            let kind = kinds.get(kind).ok_or(Malformed("kind of an entry"))?;
            let pseudonym = Pseudonym(cursor.array()?);
            let length = usize::from(u16::from_be_bytes(cursor.array()?));
            if length == 0 || length > limits::IDENTIFIER {
                return Err(Malformed("length of an identifier"));
            }
            entries.push(Entry {
                kind,
                pseudonym,
                identifier: Plain::new(cursor.take(length)?),
            });
        }
        if !cursor.0.is_empty() {
            return Err(Malformed("bytes behind the last entry"));
        }
        Ok(Self(entries))
    }

    pub fn iter(&self) -> impl Iterator<Item = Entry<'a>> + Clone + '_ {
        self.0.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[b]| b)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed("too short"))?;
        self.0 = rest;
        Ok(*head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Entry<'static>> {
        let entry = |kind, n, identifier| Entry {
            kind,
            pseudonym: Pseudonym([n; 16]),
            identifier: Plain::new(identifier),
        };
        vec![
            entry("subscriber", 1, b"SUB-1"),
            entry("email", 2, b"a@example.org"),
            entry("subscriber", 3, b"SUB-2"),
        ]
    }

    #[test]
    fn entries_go_round() {
        let bytes = encode_entries(sample().into_iter());
        let back = Entries::decode(&bytes).unwrap();
        assert_eq!(back.iter().collect::<Vec<_>>(), sample());
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_refused() {
        let bytes = encode_entries(sample().into_iter());
        for cut in 0..bytes.len() {
            assert!(Entries::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(Entries::decode(&longer).is_err());
    }

    #[test]
    fn an_envelope_goes_round_and_its_associated_data_tell_gateways_apart() {
        let envelope = Envelope {
            domain: [1; 16],
            epoch: 7,
            boot: [2; 16],
            number: 9,
            sealed: b"sealed",
        };
        let bytes = envelope.encode();
        assert_eq!(Envelope::decode(&bytes).unwrap(), envelope);
        assert_ne!(
            associated_data(&[0; 16], "gateway-1", &envelope),
            associated_data(&[0; 16], "gateway-2", &envelope)
        );
    }
}
