//! The exact set of pseudonyms known durable: at most 24 bytes an entry.
//!
//! What enters: pseudonyms whose recovery records the vault has confirmed. What leaves: whether
//! one is among them. What can never happen: a pseudonym counts as known that was never inserted
//! (the set is exact, no filter), or the memory of all doubles while the set grows.
//!
//! Shards of open addressing. Pseudonyms are HMAC outputs, so their own bits are the hash. A
//! shard grows by a fifth when it is seven eighths full, alone: between 18.3 and 21.9 bytes an
//! entry, plus one shard's copy while it moves. `contains` takes one uncontended read lock and
//! touches one or two cache lines; `absent` asks for many at once, so that the waits for memory
//! lie over each other instead of behind each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::pseudonym::Pseudonym;

/// Enough that threads seldom meet and one shard's growth is a hundredth of the whole; few
/// enough that empty ones cost 8 KiB. A power of two.
const SHARDS: usize = 128;

/// A shard is full at seven eighths: beyond it, a search for what is absent takes too many steps.
const FULL: (usize, usize) = (7, 8);

/// Fewer pseudonyms than this are asked for one after the other: locking all shards costs as much.
const MANY: usize = 32;

/// Pseudonyms whose first slots are fetched together: more than a core can wait for at once.
const TOGETHER: usize = 32;

/// Pseudonyms asked for under one hold of all locks: some ten microseconds.
const HOLD: usize = 1024;

/// Slots of a shard that has its first entry.
const FIRST: usize = 8;

/// Slots of one cache line.
const LINE: usize = 4;

/// What an empty slot holds. The pseudonym of these bits is kept beside the slots.
const EMPTY: u128 = 0;

/// An exact, concurrent set of pseudonyms.
#[derive(Debug)]
pub struct KnownSet {
    shards: Box<[RwLock<Shard>]>,
    len: AtomicUsize,
    /// Bytes of all slots.
    bytes: AtomicUsize,
}

impl KnownSet {
    pub fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    pub fn contains(&self, pseudonym: &Pseudonym) -> bool {
        let bits = u128::from_be_bytes(pseudonym.0);
        read(self.shard(bits)).contains(bits)
    }

    /// Appends the places of those that are not in the set, in order.
    pub fn absent(&self, asked: &[Pseudonym], absent: &mut Vec<usize>) {
        if asked.len() < MANY {
            let places = asked.iter().enumerate();
            absent.extend(places.filter(|(_, p)| !self.contains(p)).map(|(at, _)| at));
            return;
        }
        for (hold, asked) in asked.chunks(HOLD).enumerate() {
            // In the order in which `clear` locks; nobody else takes a second lock.
            let shards: [RwLockReadGuard<'_, Shard>; SHARDS] =
                std::array::from_fn(|at| read(&self.shards[at]));
            for (group, asked) in asked.chunks(TOGETHER).enumerate() {
                let first = hold * HOLD + group * TOGETHER;
                let mut homes = [0; TOGETHER];
                let mut touched = 0;
                for (home, pseudonym) in homes.iter_mut().zip(asked) {
                    let bits = u128::from_be_bytes(pseudonym.0);
                    let shard = &shards[bits as usize % SHARDS];
                    *home = shard.home(bits);
                    // A load that nothing waits for: the next ones start meanwhile.
                    touched ^= shard.slots.get(*home).map_or(0, |slot| *slot as u64);
                }
                std::hint::black_box(touched);
                for (at, (home, pseudonym)) in homes.iter().zip(asked).enumerate() {
                    let bits = u128::from_be_bytes(pseudonym.0);
                    if !shards[bits as usize % SHARDS].contains_from(*home, bits) {
                        absent.push(first + at);
                    }
                }
            }
        }
    }

    /// Returns whether it is new.
    pub fn insert(&self, pseudonym: Pseudonym) -> bool {
        let bits = u128::from_be_bytes(pseudonym.0);
        let mut shard = write(self.shard(bits));
        let before = shard.bytes();
        let is_new = shard.insert(bits);
        if is_new {
            // Under the lock, so that `clear` cannot come between.
            self.len.fetch_add(1, Ordering::Relaxed);
            self.bytes
                .fetch_add(shard.bytes() - before, Ordering::Relaxed);
        }
        is_new
    }

    /// Inserts many. Tell [`KnownSet::reserve`] first how many, if that is known.
    pub fn extend(&self, pseudonyms: impl IntoIterator<Item = Pseudonym>) {
        for pseudonym in pseudonyms {
            self.insert(pseudonym);
        }
    }

    /// Makes room for `additional` new entries at once, one shard after the other. A shard's part
    /// of them is binomial: four of its standard deviations more than the mean is enough for
    /// nearly every set, and the odd shard that has more grows by itself.
    pub fn reserve(&self, additional: usize) {
        for shard in &self.shards {
            let mut shard = write(shard);
            let before = shard.bytes();
            let mean = additional.div_ceil(SHARDS);
            let wanted = shard.len + mean + 4 * mean.isqrt();
            shard.grow_to(wanted.saturating_mul(FULL.1) / FULL.0);
            self.bytes
                .fetch_add(shard.bytes() - before, Ordering::Relaxed);
        }
    }

    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the set has allocated.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + SHARDS * size_of::<RwLock<Shard>>()
    }

    /// Forgets all, at one moment for every thread, and gives the memory back.
    pub fn clear(&self) {
        // Every other call holds one lock and takes no second, so this cannot lock up.
        let mut shards: Vec<_> = self.shards.iter().map(write).collect();
        for shard in &mut shards {
            **shard = Shard::default();
        }
        self.len.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// The low bits choose the shard, the high bits the slot.
    fn shard(&self, bits: u128) -> &RwLock<Shard> {
        &self.shards[bits as usize % SHARDS]
    }
}

impl Default for KnownSet {
    fn default() -> Self {
        Self::new()
    }
}

/// A cache line of its own, so that neighbours' locks do not fight over one.
#[derive(Default)]
#[repr(align(64))]
struct Shard {
    slots: Box<[u128]>,
    /// Entries, the one of zero bits included.
    len: usize,
    has_zero: bool,
}

impl Shard {
    fn contains(&self, bits: u128) -> bool {
        self.contains_from(self.home(bits), bits)
    }

    /// `home` is that of `bits`.
    #[inline]
    fn contains_from(&self, home: usize, bits: u128) -> bool {
        if bits == EMPTY {
            return self.has_zero;
        }
        self.find(home, bits)
            .is_some_and(|at| self.slots[at] == bits)
    }

    /// The slot where the search for `bits` begins: its upper 64 bits, scaled to the number of
    /// slots (which is no power of two), down to the first slot of a cache line, since what
    /// follows in the same line costs nothing. 0 without slots.
    #[inline]
    fn home(&self, bits: u128) -> usize {
        let scaled = (((bits >> 64) * self.slots.len() as u128) >> 64) as usize;
        scaled - scaled % LINE
    }

    fn insert(&mut self, bits: u128) -> bool {
        if self.contains(bits) {
            return false;
        }
        if bits == EMPTY {
            self.has_zero = true;
        } else {
            if (self.len + 1) * FULL.1 > self.slots.len() * FULL.0 {
                self.grow_to((self.slots.len() + self.slots.len() / 5).max(FIRST));
            }
            self.place(bits);
        }
        self.len += 1;
        true
    }

    /// Where `bits` is or belongs; `None` without slots. At least one slot is empty, so the
    /// search ends.
    #[inline]
    fn find(&self, home: usize, bits: u128) -> Option<usize> {
        let slots = &*self.slots;
        let mut at = home;
        loop {
            let slot = *slots.get(at)?;
            if slot == EMPTY || slot == bits {
                return Some(at);
            }
            at += 1;
            if at == slots.len() {
                at = 0;
            }
        }
    }

    fn place(&mut self, bits: u128) {
        if let Some(at) = self.find(self.home(bits), bits) {
            self.slots[at] = bits;
        }
    }

    /// Moves to `slots` slots, if that is more than there are.
    fn grow_to(&mut self, slots: usize) {
        if slots > self.slots.len() {
            let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots].into());
            for bits in old.iter().filter(|bits| **bits != EMPTY) {
                self.place(*bits);
            }
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shard({} entries)", self.len)
    }
}

/// A panic of another thread leaves a shard whole: every change is one store after all that can
/// fail.
fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    /// Uniform bits, as HMAC's are.
    fn nth(n: u64) -> Pseudonym {
        let hash = Sha256::digest(n.to_le_bytes());
        Pseudonym(hash[..16].try_into().unwrap())
    }

    #[test]
    fn a_million_entries_stay_below_24_bytes_each_also_while_growing() {
        let set = KnownSet::new();
        let mut worst = 0.0f64;
        for n in 0..1_000_000u64 {
            let pseudonym = nth(n);
            let bits = u128::from_be_bytes(pseudonym.0);
            let before = set.memory_bytes();
            assert!(set.insert(pseudonym));
            let mut peak = set.memory_bytes();
            if peak != before {
                // Both tables of the shard that grew were there at one moment.
                peak = before + read(set.shard(bits)).bytes();
            }
            if n >= 10_000 {
                worst = worst.max(peak as f64 / n as f64);
            }
        }
        assert!(worst <= 24.0, "{worst} bytes an entry");
        assert_eq!(set.len(), 1_000_000);
        assert_eq!(set.memory_bytes(), counted(&set));
        assert!((0..1_000_000).step_by(997).all(|n| set.contains(&nth(n))));
        assert!((1_000_000..1_010_000).all(|n| !set.contains(&nth(n))));
    }

    /// What the shards hold, counted one by one.
    fn counted(set: &KnownSet) -> usize {
        let slots: usize = set.shards.iter().map(|shard| read(shard).bytes()).sum();
        slots + size_of_val(&*set.shards)
    }

    #[test]
    fn room_made_for_all_is_enough_for_all() {
        for count in [21, 1_000, 50_000, 1_000_000] {
            let set = KnownSet::new();
            set.reserve(count as usize);
            let reserved = set.memory_bytes();
            set.extend((0..count).map(nth));
            // The odd shard may have outgrown its part, all of them never.
            assert!(set.memory_bytes() <= reserved + reserved / 50, "{count}");
        }
    }

    #[test]
    fn a_bulk_load_with_reserve_is_as_small() {
        let set = KnownSet::new();
        set.reserve(50_000);
        set.extend((0..50_000).map(nth));
        assert_eq!(set.len(), 50_000);
        assert_eq!(set.memory_bytes(), counted(&set));
        assert!(
            set.memory_bytes() <= 24 * set.len(),
            "{}",
            set.memory_bytes()
        );
        set.reserve(0);
        assert_eq!(set.memory_bytes(), counted(&set));
        assert!((0..50_000).all(|n| set.contains(&nth(n))));
    }

    #[test]
    fn zero_bits_are_a_pseudonym_like_any() {
        let set = KnownSet::new();
        let zero = Pseudonym([0; 16]);
        assert!(!set.contains(&zero));
        assert!(set.insert(zero) && !set.insert(zero));
        assert!(set.contains(&zero));
        assert_eq!(set.len(), 1);
        set.clear();
        assert!(!set.contains(&zero) && set.is_empty());
    }

    #[test]
    fn clear_forgets_all_and_gives_the_memory_back() {
        let set = KnownSet::new();
        let empty = set.memory_bytes();
        set.extend((0..5000).map(nth));
        set.clear();
        assert_eq!((set.len(), set.memory_bytes()), (0, empty));
        assert!((0..5000).all(|n| !set.contains(&nth(n))));
        assert!(set.insert(nth(1)) && set.contains(&nth(1)));
    }

    #[test]
    fn threads_see_what_they_and_others_inserted() {
        let set = KnownSet::new();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let set = &set;
                scope.spawn(move || {
                    // Each range overlaps the next by half.
                    for n in thread * 5000..thread * 5000 + 10_000 {
                        set.insert(nth(n));
                        assert!(set.contains(&nth(n)));
                    }
                });
            }
        });
        assert_eq!(set.len(), 25_000);
        assert!((0..25_000).all(|n| set.contains(&nth(n))));
        assert_eq!(set.memory_bytes(), counted(&set));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert([u8; 16]),
        Ask([u8; 16]),
        Reserve(usize),
        Clear,
    }

    /// Few distinct values, crowded at both ends of the table, so that searches wrap around.
    fn value() -> impl Strategy<Value = [u8; 16]> {
        (
            prop_oneof![Just(0u8), Just(255u8), any::<u8>()],
            any::<u8>(),
            0u8..3,
        )
            .prop_map(|(high, middle, low)| {
                let mut bytes = [high; 16];
                bytes[9] = middle;
                bytes[15] = low;
                bytes
            })
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => value().prop_map(Step::Insert),
            20 => value().prop_map(Step::Ask),
            1 => (0usize..2000).prop_map(Step::Reserve),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            steps in proptest::collection::vec(step(), 0..600),
            asked in proptest::collection::vec(value(), 1..100),
        ) {
            let set = KnownSet::new();
            let mut model = HashSet::new();
            for step in steps {
                match step {
                    Step::Insert(value) => prop_assert_eq!(set.insert(Pseudonym(value)), model.insert(value)),
                    Step::Ask(value) => prop_assert_eq!(set.contains(&Pseudonym(value)), model.contains(&value)),
                    Step::Reserve(more) => set.reserve(more),
                    Step::Clear => {
                        set.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(set.len(), model.len());
            }
            for value in &model {
                prop_assert!(set.contains(&Pseudonym(*value)));
            }
            // One by one and all at once are the same, in every number.
            for count in [0, 1, MANY - 1, MANY, MANY + 1, TOGETHER * 3 + 5, HOLD + 40] {
                let asked: Vec<_> = asked.iter().cycle().take(count).map(|v| Pseudonym(*v)).collect();
                let mut absent = vec![usize::MAX];
                set.absent(&asked, &mut absent);
                let mut plain = vec![usize::MAX];
                plain.extend((0..asked.len()).filter(|at| !set.contains(&asked[*at])));
                prop_assert_eq!(absent, plain);
            }
        }
    }
}
