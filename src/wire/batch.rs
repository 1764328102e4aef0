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
//! version u8 = 1 or 2
//! kinds u8, each:   length u8 | name
//! entries u16, each: kind u8 (index) | pseudonym 16 | subject | length u16 | normal form
//!
//! subject, version 1: nothing
//!          version 2: 0 u8, or: 1 u8 | its kind u8 (index) | its pseudonym 16
//! ```
//!
//! A pseudonym of scope `subject` follows from its record's subject too, so its entry names it. A
//! batch without such entries is written in version 1, which vaults have always understood.
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
/// With subjects.
const VERSION_SUBJECTS: u8 = 2;

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
    /// For scope `subject`: the subject's kind and pseudonym.
    pub subject: Option<(&'a str, Pseudonym)>,
}

/// Writes the plaintext of a batch. At most [`limits::BATCH`] entries of [`limits::BATCH_KINDS`]
/// kinds; identifiers at most [`limits::IDENTIFIER`] bytes: the caller has checked.
pub fn encode_entries<'a>(entries: impl Iterator<Item = Entry<'a>> + Clone) -> Zeroizing<Vec<u8>> {
    let mut kinds: Vec<&str> = Vec::new();
    let (mut size, mut count, mut subjects) = (4, 0u16, 0usize);
    for entry in entries.clone() {
        let subject = entry.subject.map(|(kind, _)| kind);
        for kind in [Some(entry.kind), subject].into_iter().flatten() {
            if !kinds.contains(&kind) {
                kinds.push(kind);
                size += 1 + kind.len();
            }
        }
        size += 19 + entry.identifier.expose().len();
        subjects += usize::from(subject.is_some());
        count += 1;
    }
    let version = match subjects {
        0 => VERSION,
        some => {
            size += usize::from(count) + some * 17;
            VERSION_SUBJECTS
        }
    };
    // The exact size at once: a buffer that grows leaves copies behind.
    let mut out = Zeroizing::new(Vec::with_capacity(size));
    out.push(version);
    out.push(kinds.len() as u8);
    for kind in &kinds {
        out.push(kind.len() as u8);
        out.extend_from_slice(kind.as_bytes());
    }
    out.extend_from_slice(&count.to_be_bytes());
    for entry in entries {
        let index = |kind| kinds.iter().position(|k| *k == kind).unwrap_or(0) as u8;
        // Exposed into a buffer that is wiped and sealed.
        let identifier = entry.identifier.expose();
        out.push(index(entry.kind));
        out.extend_from_slice(&entry.pseudonym.0);
        if version == VERSION_SUBJECTS {
            match &entry.subject {
                None => out.push(0),
                Some((kind, pseudonym)) => {
                    out.extend_from_slice(&[1, index(kind)]);
                    out.extend_from_slice(&pseudonym.0);
                }
            }
        }
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
        let version = cursor.byte()?;
        if !matches!(version, VERSION | VERSION_SUBJECTS) {
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
            let kind = |cursor: &mut Cursor<'a>| {
                let at = usize::from(cursor.byte()?);
                kinds.get(at).copied().ok_or(Malformed("kind of an entry"))
            };
            let entry = kind(&mut cursor)?;
            let pseudonym = Pseudonym(cursor.array()?);
            let subject = match version {
                VERSION => None,
                _ => match cursor.byte()? {
                    0 => None,
                    1 => Some((kind(&mut cursor)?, Pseudonym(cursor.array()?))),
                    _ => return Err(Malformed("subject of an entry")),
                },
            };
            let length = usize::from(u16::from_be_bytes(cursor.array()?));
            if length == 0 || length > limits::IDENTIFIER {
                return Err(Malformed("length of an identifier"));
            }
            entries.push(Entry {
                kind: entry,
                pseudonym,
                identifier: Plain::new(cursor.take(length)?),
                subject,
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
            subject: None,
        };
        vec![
            entry("subscriber", 1, b"SUB-1"),
            entry("email", 2, b"a@example.org"),
            entry("subscriber", 3, b"SUB-2"),
        ]
    }

    /// Entries of scope `subject` among them.
    fn with_subjects() -> Vec<Entry<'static>> {
        let mut all = sample();
        all.push(Entry {
            kind: "ethnicity",
            pseudonym: Pseudonym([4; 16]),
            identifier: Plain::new(b"White"),
            subject: Some(("provider", Pseudonym([9; 16]))),
        });
        all.extend(sample());
        all
    }

    #[test]
    fn entries_go_round_in_the_oldest_version_that_holds_them() {
        for (entries, version) in [(sample(), 1), (with_subjects(), 2)] {
            let bytes = encode_entries(entries.iter().copied());
            assert_eq!(bytes[0], version);
            assert_eq!(bytes.len(), bytes.capacity(), "a buffer that has grown");
            let back = Entries::decode(&bytes).unwrap();
            assert_eq!(back.iter().collect::<Vec<_>>(), entries);
        }
    }

    #[test]
    fn formats_07_both_versions_are_the_documented_bytes() {
        let mut entry = Entry {
            kind: "eth",
            pseudonym: Pseudonym([0xaa; 16]),
            identifier: Plain::new(b"x"),
            subject: None,
        };
        let (a, b) = ([0xaa; 16], [0xbb; 16]);
        let first = [&b"\x01\x01\x03eth\0\x01\0"[..], &a, b"\0\x01x"].concat();
        assert_eq!(*encode_entries([entry].into_iter()), first);
        entry.subject = Some(("sub", Pseudonym(b)));
        let second = [
            &b"\x02\x02\x03eth\x03sub\0\x01\0"[..],
            &a,
            b"\x01\x01",
            &b,
            b"\0\x01x",
        ]
        .concat();
        assert_eq!(*encode_entries([entry].into_iter()), second);
    }

    #[test]
    fn every_cut_and_every_extra_byte_is_refused() {
        for entries in [sample(), with_subjects()] {
            let bytes = encode_entries(entries.into_iter());
            for cut in 0..bytes.len() {
                assert!(Entries::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            let mut longer = bytes.to_vec();
            longer.push(0);
            assert!(Entries::decode(&longer).is_err());
        }
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
