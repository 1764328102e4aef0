//! One frame of a spool: a sealed batch as it will be sent, in a shape that shows every change.
//!
//! ```text
//! "CSF1" | envelope's length u32 | number u64 | written u64 | records u32 | before 32 | check 8
//! envelope …
//! digest 32 | code 32
//! ```
//!
//! Integers are big-endian; `written` is milliseconds since 1970. `number` counts up by one, and
//! `before` is the digest of the frame before (zeros in a spool's first). `check` begins the
//! SHA-256 of what stands before it: so that a length can be believed. `digest` is the SHA-256 of
//! head and envelope, and `code` the HMAC-SHA256 of the digest under the key of the domain's epoch
//! ([`SpoolKey`]). The digest is seen without a key: what a disk or a kill has done shows at once;
//! the code shows what somebody has done who can count digests too.
//!
//! What enters: envelopes, bytes of a file. What leaves: frames, and what is wrong with others.
//! What can never happen: a frame counts as whole although a byte of it is another.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::limits;
use crate::pseudonym::{DomainKey, Use};
use crate::secret::Key32;
use crate::wire::batch::Envelope;

const MAGIC: &[u8; 4] = b"CSF1";
/// Bytes before the envelope.
pub const HEAD: usize = 68;
/// Bytes behind it.
pub const TAIL: usize = 64;
/// Of the head, what its check covers.
const CHECKED: usize = HEAD - 8;

/// Authenticates the frames of one domain and epoch. It comes with the lease, and is in memory
/// only.
#[derive(Debug)]
pub struct SpoolKey {
    pub domain: [u8; 16],
    pub epoch: u32,
    key: Key32,
}

impl SpoolKey {
    pub fn of(domain: &DomainKey) -> Self {
        Self {
            domain: domain.domain,
            epoch: domain.epoch,
            key: domain.domain_subkey(Use::Spool),
        }
    }

    fn code(&self, digest: &[u8; 32]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.expose());
        let mut mac = mac.expect("HMAC takes keys of any length");
        mac.update(digest);
        mac
    }
}

/// Where a frame stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub number: u64,
    pub digest: [u8; 32],
}

impl Link {
    /// Before the first frame.
    pub const START: Self = Self {
        number: 0,
        digest: [0; 32],
    };
}

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub link: Link,
    /// The digest of the frame before.
    pub before: [u8; 32],
    /// Milliseconds since 1970.
    pub written: u64,
    pub records: u32,
    /// Head, envelope and tail, as they stand in the file.
    pub bytes: Bytes,
}

/// Whether a frame's code is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentic {
    Yes,
    No,
    /// It was written in another domain's or epoch's name, whose key is not leased now.
    Unknown,
}

impl Frame {
    /// The sealed batch.
    pub fn envelope(&self) -> Bytes {
        self.bytes.slice(HEAD..self.bytes.len() - TAIL)
    }

    /// Domain and epoch that the envelope names.
    pub fn epoch(&self) -> Option<([u8; 16], u32)> {
        let envelope = self.envelope();
        let envelope = Envelope::decode(&envelope).ok()?;
        Some((envelope.domain, envelope.epoch))
    }

    pub fn is_authentic(&self, key: &SpoolKey) -> Authentic {
        if self.epoch() != Some((key.domain, key.epoch)) {
            return Authentic::Unknown;
        }
        let code = &self.bytes[self.bytes.len() - 32..];
        match key.code(&self.link.digest).verify_slice(code) {
            Ok(()) => Authentic::Yes,
            Err(_) => Authentic::No,
        }
    }

    /// Whether it was written right behind that one.
    pub fn follows(&self, before: &Link) -> bool {
        self.link.number == before.number + 1 && self.before == before.digest
    }
}

/// Appends the frame that follows `before`, and says where it stands.
pub fn write(
    before: &Link,
    written: u64,
    (envelope, records): (&[u8], u32),
    key: &SpoolKey,
    out: &mut Vec<u8>,
) -> Link {
    let start = out.len();
    let length = u32::try_from(envelope.len()).expect("batches are within VAULT_MESSAGE");
    let number = before.number + 1;
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&written.to_be_bytes());
    out.extend_from_slice(&records.to_be_bytes());
    out.extend_from_slice(&before.digest);
    let check = Sha256::digest(&out[start..]);
    out.extend_from_slice(&check[..8]);
    out.extend_from_slice(envelope);
    let digest: [u8; 32] = Sha256::digest(&out[start..]).into();
    out.extend_from_slice(&digest);
    out.extend_from_slice(&key.code(&digest).finalize().into_bytes());
    Link { number, digest }
}

/// How much of a disk a batch takes.
pub fn size(envelope: &[u8]) -> u64 {
    (HEAD + envelope.len() + TAIL) as u64
}

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Frame(Frame),
    End,
    /// The beginning of a frame whose end was never written: nobody was told that it is durable.
    Torn,
    /// Something else: it was changed after it had been written. `next`: where the next frame
    /// begins, if there is one.
    Damaged {
        next: Option<u64>,
    },
}

/// Reads what stands `at`; the file ends at `end`.
///
/// # Errors
/// The disk's.
pub fn read(file: &File, at: u64, end: u64) -> io::Result<Found> {
    let left = end.saturating_sub(at);
    if left == 0 {
        return Ok(Found::End);
    }
    let mut head = vec![0; HEAD.min(usize::try_from(left).unwrap_or(HEAD))];
    file.read_exact_at(&mut head, at)?;
    if head.len() < HEAD {
        let begun = head.len().min(MAGIC.len());
        return match head[..begun] == MAGIC[..begun] {
            true => Ok(Found::Torn),
            false => Ok(Found::Damaged { next: None }),
        };
    }
    let Some(length) = length(&head) else {
        let next = search(file, at + 1, end)?;
        return Ok(Found::Damaged { next });
    };
    let whole = HEAD + length + TAIL;
    if left < whole as u64 {
        // What was cut short has nothing behind it.
        return Ok(match search(file, at + 1, end)? {
            None => Found::Torn,
            next => Found::Damaged { next },
        });
    }
    head.resize(whole, 0);
    file.read_exact_at(&mut head[HEAD..], at + HEAD as u64)?;
    match parse(head.into()) {
        Some(frame) => Ok(Found::Frame(frame)),
        None => Ok(Found::Damaged {
            next: Some(at + whole as u64).filter(|next| *next < end),
        }),
    }
}

/// A whole frame, if these bytes are one.
pub fn parse(bytes: Bytes) -> Option<Frame> {
    let length = length(bytes.get(..HEAD)?)?;
    if bytes.len() != HEAD + length + TAIL {
        return None;
    }
    let (signed, tail) = bytes.split_at(HEAD + length);
    let digest: [u8; 32] = Sha256::digest(signed).into();
    if tail[..32] != digest {
        return None;
    }
    Some(Frame {
        link: Link {
            number: u64::from_be_bytes(field(&bytes, 8)),
            digest,
        },
        before: field(&bytes, 28),
        written: u64::from_be_bytes(field(&bytes, 16)),
        records: u32::from_be_bytes(field(&bytes, 24)),
        bytes,
    })
}

/// The envelope's length, if this is a head.
fn length(head: &[u8]) -> Option<usize> {
    let check = Sha256::digest(&head[..CHECKED]);
    if head[..4] != MAGIC[..] || head[CHECKED..HEAD] != check[..8] {
        return None;
    }
    let length = u32::from_be_bytes(field(head, 4)) as usize;
    (length <= limits::VAULT_MESSAGE).then_some(length)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// The first head from `at` on. Segments are small, and damage is rare.
fn search(file: &File, at: u64, end: u64) -> io::Result<Option<u64>> {
    let left = usize::try_from(end.saturating_sub(at)).map_err(io::Error::other)?;
    let mut rest = vec![0; left];
    file.read_exact_at(&mut rest, at)?;
    let mut places = memchr::memmem::find_iter(&rest, MAGIC);
    let found = places.find(|place| {
        let head = rest.get(*place..place + HEAD);
        head.is_some_and(|head| length(head).is_some())
    });
    Ok(found.map(|place| at + place as u64))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn key(epoch: u32) -> SpoolKey {
        SpoolKey::of(&DomainKey::new([3; 16], epoch, Key32::new([9; 32])))
    }

    fn envelope(n: u8) -> Vec<u8> {
        let sealed = vec![n; 70 + usize::from(n)];
        Envelope {
            domain: [3; 16],
            epoch: 1,
            boot: [5; 16],
            number: n.into(),
            sealed: &sealed,
        }
        .encode()
    }

    /// Some frames, and where each begins.
    fn frames(count: u8) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut places, mut link) = (Vec::new(), Vec::new(), Link::START);
        for n in 0..count {
            places.push(bytes.len());
            let batch = (&envelope(n)[..], u32::from(n) + 1);
            link = write(&link, 1000 + u64::from(n), batch, &key(1), &mut bytes);
        }
        (bytes, places)
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// All frames in order with what went wrong between them: (frames, torn, damages, gaps, forged).
    fn walk(bytes: &[u8]) -> (Vec<Frame>, bool, usize, usize, usize) {
        let (file, end) = (file(bytes), bytes.len() as u64);
        let (mut at, mut link) = (0, Link::START);
        let (mut all, mut damages, mut gaps, mut forged) = (Vec::new(), 0, 0, 0);
        loop {
            match read(&file, at, end).unwrap() {
                Found::End => return (all, false, damages, gaps, forged),
                Found::Torn => return (all, true, damages, gaps, forged),
                Found::Damaged { next } => {
                    damages += 1;
                    match next {
                        Some(next) => at = next,
                        None => return (all, false, damages, gaps, forged),
                    }
                }
                Found::Frame(frame) => {
                    gaps += usize::from(!frame.follows(&link));
                    forged += usize::from(frame.is_authentic(&key(1)) != Authentic::Yes);
                    link = frame.link;
                    at += frame.bytes.len() as u64;
                    all.push(frame);
                }
            }
        }
    }

    #[test]
    fn formats_09_frames_come_back_in_order_and_authentic() {
        let (bytes, places) = frames(4);
        let (all, torn, damages, gaps, forged) = walk(&bytes);
        assert_eq!((torn, damages, gaps, forged), (false, 0, 0, 0));
        assert_eq!(all.len(), places.len());
        for (n, frame) in all.iter().enumerate() {
            assert_eq!(frame.envelope(), envelope(n as u8));
            assert_eq!(frame.link.number, n as u64 + 1);
            assert_eq!(frame.records, n as u32 + 1);
            assert_eq!(frame.written, 1000 + n as u64);
            assert_eq!(frame.is_authentic(&key(2)), Authentic::Unknown);
        }
    }

    #[test]
    fn formats_09_a_cut_at_any_byte_loses_only_the_frame_that_was_being_written() {
        let (bytes, places) = frames(3);
        for cut in 0..bytes.len() {
            let whole = places.iter().skip(1).filter(|p| **p <= cut).count();
            let (all, torn, damages, gaps, forged) = walk(&bytes[..cut]);
            assert_eq!(all.len(), whole, "cut at {cut}");
            assert_eq!((damages, gaps, forged), (0, 0, 0), "cut at {cut}");
            assert_eq!(torn, !places.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn formats_09_a_changed_byte_anywhere_is_noticed_and_costs_one_frame_at_most() {
        let (bytes, places) = frames(3);
        for at in 0..bytes.len() {
            for bit in [0x01, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                let (all, torn, damages, _, forged) = walk(&changed);
                assert!(!torn, "byte {at} passes for a torn end");
                assert_eq!(damages + forged, 1, "byte {at}");
                let hit = places.iter().rposition(|place| *place <= at).unwrap();
                let others = all
                    .iter()
                    .filter(|f| f.is_authentic(&key(1)) == Authentic::Yes);
                let others: Vec<u64> = others.map(|f| f.link.number).collect();
                let wanted: Vec<u64> = (1..=3).filter(|n| *n != hit as u64 + 1).collect();
                assert_eq!(others, wanted, "byte {at}");
            }
        }
    }

    #[test]
    fn formats_09_frames_that_change_places_or_are_missing_are_noticed() {
        let (bytes, places) = frames(3);
        let (one, two) = (&bytes[..places[1]], &bytes[places[1]..places[2]]);
        let three = &bytes[places[2]..];
        assert_eq!(walk(&[one, two, three].concat()).3, 0);
        for bent in [
            [two, one, three].concat(),
            [one, three, two].concat(),
            [one, three].concat(),
            [one, two, two, three].concat(),
        ] {
            assert!(walk(&bent).3 > 0);
        }
    }

    #[test]
    fn formats_09_who_has_no_key_forges_nothing() {
        let (mut bytes, other) = (
            Vec::new(),
            SpoolKey {
                domain: [3; 16],
                epoch: 1,
                key: Key32::new([8; 32]),
            },
        );
        write(&Link::START, 1, (&envelope(1), 1), &other, &mut bytes);
        let (all, torn, damages, gaps, forged) = walk(&bytes);
        assert_eq!(
            (all.len(), torn, damages, gaps, forged),
            (1, false, 0, 0, 1)
        );
    }

    proptest::proptest! {
        #[test]
        fn formats_09_arbitrary_bytes_are_no_frames(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let (all, ..) = walk(&bytes);
            assert!(all.is_empty());
        }
    }
}
