//! Keyed derivation: HMAC-SHA256 under subkeys of a domain's epoch key.
//!
//! What enters: the key of one (domain, epoch), and normal forms. What leaves: pseudonyms, and
//! subkeys for the vault's other uses. What can never happen: two kinds, uses, epochs or domains
//! share a subkey, or a key is printed.
//!
//! The exact bytes, where `field(x)` is the length of `x` as 4 bytes, big-endian, and then `x`
//! (so no two lists of fields read alike):
//!
//! ```text
//! info      = field("cryptonym-1") field(use) field(domain id, 16 bytes)
//!             field(epoch, 4 bytes big-endian) field(kind name)
//! subkey    = HKDF-SHA256(salt: none, input: root key, info, 32 bytes)       RFC 5869
//! pseudonym = HMAC-SHA256(subkey of use "pseudonym",
//!                         field(kind name) field(normal form)) [0..16]
//! token     = HMAC-SHA256(record key,
//!                         field(kind name) field(normal form)) [0..16]
//! within    = HMAC-SHA256(subkey of use "subject",
//!                         field(kind name) field(subject's kind name)
//!                         field(subject's pseudonym, 16 bytes) field(normal form)) [0..16]
//! draw      = HMAC-SHA256(subkey of use "shift" of the subject's kind,
//!                         field(kind name) field(subject's normal form)) [0..16]
//! ```

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keyed::{Begun, KeyedHmac, Opening};
use super::{Kind, TextForm};
use crate::secret::Key32;

/// First field of every subkey's info. A new way of deriving gets a new one.
const VERSION: &[u8] = b"cryptonym-1";

/// 128 bits that stand in an identifier's place. Not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pseudonym(pub [u8; 16]);

/// What a subkey is for. Keys of different uses are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Pseudonyms of `keyed` domains.
    Pseudonym,
    /// Tags of `assigned` domains: what the vault finds a random pseudonym by.
    Tag,
    /// Offsets of shifted dates.
    Shift,
    /// Pseudonyms of scope `subject`.
    Subject,
    /// Format-preserving encryption (FF1 of SP 800-38G).
    Ff1,
    /// The vault's keyed database indexes.
    Index,
    /// Authenticates what a gateway has spooled.
    Spool,
}

impl Use {
    pub const ALL: &'static [Use] = &[
        Use::Pseudonym,
        Use::Tag,
        Use::Shift,
        Use::Subject,
        Use::Ff1,
        Use::Index,
        Use::Spool,
    ];

    /// The name that stands in the info.
    pub fn name(self) -> &'static str {
        match self {
            Use::Pseudonym => "pseudonym",
            Use::Tag => "tag",
            Use::Shift => "shift",
            Use::Subject => "subject",
            Use::Ff1 => "ff1",
            Use::Index => "index",
            Use::Spool => "spool",
        }
    }
}

/// The key of one (domain, epoch).
#[derive(Debug)]
pub struct DomainKey {
    /// Random, given once, never changed: renaming a domain changes no pseudonym.
    pub domain: [u8; 16],
    /// From 1. Epoch 0 is the mark of tokens, which belong to no domain.
    pub epoch: u32,
    root: Key32,
}

impl DomainKey {
    pub fn new(domain: [u8; 16], epoch: u32, root: Key32) -> Self {
        Self {
            domain,
            epoch,
            root,
        }
    }

    /// The precomputed key of one kind.
    ///
    /// # Panics
    /// If the kind's prefix is not `[a-z]{2,8}`, which the configuration has checked.
    pub fn kind(&self, kind: &Kind) -> KindKey {
        KindKey {
            mac: KeyedHmac::new(&self.subkey(Use::Pseudonym, kind)),
            opening: Opening::new(&kind_field(kind)),
            head: kind_field(kind),
            text: TextForm::new(&kind.prefix, self.epoch),
            context: Box::new(Context {
                within: KeyedHmac::new(&self.subkey(Use::Subject, kind)),
                shift: KeyedHmac::new(&self.subkey(Use::Shift, kind)),
            }),
        }
    }

    /// The subkey of one use and kind.
    pub fn subkey(&self, usage: Use, kind: &Kind) -> Key32 {
        self.expand(usage, kind.name.as_bytes())
    }

    /// The subkey of one use for the domain as a whole (the kind field is empty, as no kind's is).
    pub fn domain_subkey(&self, usage: Use) -> Key32 {
        self.expand(usage, b"")
    }

    fn expand(&self, usage: Use, kind: &[u8]) -> Key32 {
        let mut info = Vec::with_capacity(96);
        for field in [
            VERSION,
            usage.name().as_bytes(),
            &self.domain,
            &self.epoch.to_be_bytes(),
            kind,
        ] {
            info.extend_from_slice(&length(field));
            info.extend_from_slice(field);
        }
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, self.root.expose())
            .expand(&info, &mut *key)
            .expect("32 bytes are within HKDF's bound of 255 hashes");
        Key32::new(*key)
    }
}

/// Derives pseudonyms of one kind in one (domain, epoch), and writes their text form.
pub struct KindKey {
    mac: KeyedHmac,
    /// `field(kind name)`: what every message starts with.
    head: Box<[u8]>,
    /// The same, laid out for short messages; `None` if it leaves no room for any.
    opening: Option<Opening>,
    text: TextForm,
    context: Box<Context>,
}

/// What depends on a record's subject: seldom needed, so it stands apart.
struct Context {
    within: KeyedHmac,
    shift: KeyedHmac,
}

/// A subject's 128 bits under the key of shifted dates. As secret as the key itself: whoever has
/// them shifts the subject's dates back. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Draw(pub(super) [u8; 16]);

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Draw(hidden)")
    }
}

impl KindKey {
    /// The pseudonym of scope `subject`: of a normal form of this kind, in a record whose subject
    /// has this pseudonym of kind `of`. Another subject, another pseudonym.
    pub fn derive_within(&self, of: &KindKey, subject: &Pseudonym, normal: &[u8]) -> Pseudonym {
        Pseudonym(self.context.within.code128(&[
            &self.head,
            &of.head,
            &length(&subject.0),
            &subject.0,
            &length(normal),
            normal,
        ]))
    }

    /// What decides how far the dates of a subject are shifted, by the subject's normal form.
    pub fn draw(&self, normal: &[u8]) -> Draw {
        let message = [&self.head[..], &length(normal), normal];
        Draw(self.context.shift.code128(&message))
    }

    /// The pseudonym of a normal form.
    #[inline]
    pub fn derive(&self, normal: &[u8]) -> Pseudonym {
        Pseudonym(self.begin(normal).end_alone(&self.mac))
    }

    #[inline]
    fn begin(&self, normal: &[u8]) -> Begun {
        let length = length(normal);
        let short = self.opening.as_ref();
        short
            .and_then(|opening| self.mac.begin_behind(opening, length, normal))
            .unwrap_or_else(|| self.mac.begin(&[&self.head, &length, normal]))
    }

    /// Appends the text form: `prefix_`, epoch, `_`, 26 characters, check character.
    #[inline]
    pub fn write(&self, pseudonym: &Pseudonym, out: &mut String) {
        self.text.write(pseudonym, out);
    }

    /// As [`KindKey::write`], for buffers of bytes.
    #[inline]
    pub fn write_bytes(&self, pseudonym: &Pseudonym, out: &mut Vec<u8>) {
        self.text.write_bytes(pseudonym, out);
    }

    /// The text form's constant part.
    pub fn text(&self) -> &TextForm {
        &self.text
    }
}

/// Normal forms that are derived together, which takes less time than one after the other.
/// Wiped when dropped.
#[derive(Default)]
pub struct Batch(Vec<Begun>);

impl Batch {
    /// As many as it should take at a time: more save nothing, and these stay in a core's
    /// nearest cache.
    pub const FULL: usize = 64;

    /// Takes one more normal form, to be derived under `key`.
    #[inline]
    pub fn push(&mut self, key: &KindKey, normal: &[u8]) {
        if self.0.len() == self.0.capacity() {
            self.grow();
        }
        self.0.push(key.begin(normal));
    }

    /// By hand, since a vector that grows leaves what it held, unwiped, where it was.
    #[cold]
    fn grow(&mut self) {
        let mut larger = Vec::with_capacity((2 * self.0.len()).max(4));
        larger.extend_from_slice(&self.0);
        self.0.zeroize();
        self.0 = larger;
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends the pseudonym of each, in order, and forgets them. `keys` are those that they were
    /// pushed with.
    ///
    /// # Panics
    /// If there are fewer keys.
    pub fn derive<'k>(
        &mut self,
        keys: impl IntoIterator<Item = &'k KindKey>,
        out: &mut Vec<Pseudonym>,
    ) {
        self.0.iter_mut().for_each(Begun::inner);
        let mut keys = keys.into_iter();
        for begun in &mut self.0 {
            let key = keys.next().expect("one key a normal form");
            begun.turn(&key.mac);
        }
        out.extend(self.0.iter_mut().map(|begun| Pseudonym(begun.outer())));
        self.0.clear();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // Usually empty: what has been derived is gone already.
        self.0.zeroize();
    }
}

impl fmt::Debug for KindKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KindKey({}…, hidden)", self.text.head())
    }
}

/// A token: the pseudonym of scope `record`. `record_key` is fresh randomness for each record, so
/// the same value stays recognisable within its record, and nowhere else; nobody can recover it,
/// once the key is dropped. Its text form is that of epoch 0 (`TextForm::new(&kind.prefix, 0)`).
pub fn token(record_key: &Key32, kind: &Kind, normal: &[u8]) -> Pseudonym {
    let mac = KeyedHmac::new(record_key);
    Pseudonym(mac.code128(&[&kind_field(kind), &length(normal), normal]))
}

/// `field(kind name)`
fn kind_field(kind: &Kind) -> Box<[u8]> {
    let name = kind.name.as_bytes();
    [&length(name)[..], name].concat().into()
}

/// The length that stands before a field.
#[inline]
pub(super) fn length(field: &[u8]) -> [u8; 4] {
    u32::try_from(field.len())
        .expect("no value is longer than limits::VALUE")
        .to_be_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use hmac::{Hmac, KeyInit, Mac};
    use proptest::prelude::*;

    use super::*;
    use crate::pseudonym::{Class, Normaliser};

    fn kind(name: &str, prefix: &str) -> Kind {
        Kind {
            name: name.into(),
            class: Class::Person,
            prefix: prefix.into(),
            normaliser: Normaliser::Text,
        }
    }

    fn key(domain: u8, epoch: u32, root: u8) -> DomainKey {
        DomainKey::new([domain; 16], epoch, Key32::new([root; 32]))
    }

    #[test]
    fn subkeys_differ_in_every_input() {
        let (a, b) = (kind("email", "eml"), kind("emai", "ema"));
        let mut seen = HashSet::new();
        let mut count = 0;
        for key in [key(1, 1, 1), key(2, 1, 1), key(1, 2, 1), key(1, 1, 2)] {
            for usage in Use::ALL {
                for subkey in [
                    key.subkey(*usage, &a),
                    key.subkey(*usage, &b),
                    key.domain_subkey(*usage),
                ] {
                    seen.insert(*subkey.expose());
                    count += 1;
                }
            }
        }
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn pseudonyms_are_the_documented_bytes() {
        let kind = kind("subscriber", "sub");
        let key = key(9, 3, 8);
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.subkey(Use::Pseudonym, &kind).expose()).unwrap();
        mac.update(b"\0\0\0\x0asubscriber\0\0\0\x05SUB-1");
        assert_eq!(
            key.kind(&kind).derive(b"SUB-1").0,
            mac.finalize().into_bytes()[..16]
        );
    }

    #[test]
    fn long_and_short_normal_forms_and_names_are_the_documented_bytes() {
        let key = key(9, 3, 8);
        for name in ["a".to_owned(), "k".repeat(20), "k".repeat(64)] {
            let kind = kind(&name, "sub");
            let derived = key.kind(&kind);
            for length in 0..200usize {
                let normal = vec![b'7'; length];
                let subkey = key.subkey(Use::Pseudonym, &kind);
                let mut mac = Hmac::<Sha256>::new_from_slice(subkey.expose()).unwrap();
                for field in [name.as_bytes(), &normal] {
                    mac.update(&(field.len() as u32).to_be_bytes());
                    mac.update(field);
                }
                let plain = mac.finalize().into_bytes();
                assert_eq!(derived.derive(&normal).0, plain[..16], "{name} {length}");
            }
        }
    }

    #[test]
    fn derived_together_or_alone_is_the_same() {
        let domain = key(9, 3, 8);
        let keys = [kind("a", "aa"), kind("b", "bb")].map(|kind| domain.kind(&kind));
        let normals: Vec<Vec<u8>> = (0..150).map(|n| vec![n as u8; n]).collect();
        let key = |at: usize| &keys[at % 2];
        let (mut batch, mut together) = (Batch::default(), vec![Pseudonym([1; 16])]);
        for (at, normal) in normals.iter().enumerate() {
            batch.push(key(at), normal);
        }
        batch.derive((0..150).map(key), &mut together);
        let alone = normals
            .iter()
            .enumerate()
            .map(|(at, normal)| key(at).derive(normal));
        assert_eq!(together[1..], alone.collect::<Vec<_>>());
        assert!(batch.is_empty());
    }

    #[test]
    fn tokens_are_alike_within_a_record_only() {
        let (one, other) = (Key32::new([1; 32]), Key32::new([2; 32]));
        let (a, b) = (kind("a", "aa"), kind("b", "bb"));
        assert_eq!(token(&one, &a, b"x"), token(&one, &a, b"x"));
        assert_ne!(token(&one, &a, b"x"), token(&other, &a, b"x"));
        assert_ne!(token(&one, &a, b"x"), token(&one, &b, b"x"));
        assert_ne!(token(&one, &a, b"x"), token(&one, &a, b"y"));
    }

    #[test]
    fn debug_hides_keys() {
        let key = DomainKey::new([0; 16], 7, Key32::new([0xab; 32]));
        let shown = format!("{key:?} {:?}", key.kind(&kind("email", "eml")));
        assert!(shown.contains("KindKey(eml_7_…, hidden)"), "{shown}");
        assert!(
            !shown.contains("171") && !shown.contains("ab, ab"),
            "{shown}"
        );
    }

    #[test]
    fn keys_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<KindKey>();
        shared::<DomainKey>();
    }

    proptest! {
        #[test]
        fn fields_cannot_slide_into_each_other(a in "[a-z]{1,9}", b in "[a-z]{1,9}") {
            // The same bytes one after the other, cut elsewhere, are another message.
            let record = Key32::new([5; 32]);
            let joined = format!("{a}{b}");
            for cut in 1..joined.len() {
                let same = cut == a.len();
                let left = token(&record, &kind(&joined[..cut], "xx"), &joined.as_bytes()[cut..]);
                let right = token(&record, &kind(&a, "xx"), b.as_bytes());
                prop_assert_eq!(left == right, same);
            }
        }
    }
}
