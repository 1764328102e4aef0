//! A small seeded generator of numbers, for test data only.
//!
//! What enters: a seed. What leaves: the same numbers every time, on every machine. What can
//! never happen: a key, a nonce or a salt comes from here. This is SplitMix64 (Steele, Lea and
//! Flood, "Fast splittable pseudorandom number generators", 2014): anyone who sees two outputs
//! can tell all others, which is what a repeatable demonstration needs and a secret forbids.

/// SplitMix64.
#[derive(Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for item `index` of `stream`, so that any item can be made
    /// without making those before it.
    pub fn item(seed: u64, stream: u64, index: u64) -> Self {
        Self(mix(mix(seed ^ mix(stream)) ^ index))
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound` (at least 1). The bias is below `bound` / 2^64: no matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// SplitMix64's output function: a bijection on 64 bits.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_numbers_for_seed_1234567() {
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.draw()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn between_reaches_both_ends_and_no_further() {
        let mut random = SplitMix64::new(1);
        let seen: Vec<u64> = (0..1000).map(|_| random.between(3, 6)).collect();
        for n in 3..=6 {
            assert!(seen.contains(&n));
        }
        assert!(seen.iter().all(|n| (3..=6).contains(n)));
    }
}
