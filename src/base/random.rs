//! Randomness as an input: a ChaCha generator that the shell seeds from the system and the tests from a number.

use std::fmt::Write as _;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// Mints tags, branches, Call-IDs and tokens. Cryptographically strong for a strong seed.
pub struct Random(ChaCha12Rng);

impl Random {
    /// How much has been drawn: a measure of work in tests.
    #[cfg(test)]
    pub(crate) fn drawn(&self) -> u128 {
        self.0.get_word_pos()
    }

    /// From 32 bytes of system entropy.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// Deterministic, for tests and the simulator.
    #[must_use]
    pub fn from_number(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift; the bias is below 2^-32 for every bound in use here.
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// One of several by lot, in proportion to their weights, as RFC 2782 draws: what has no weight has a very small
    /// chance if it stands before the others, and the first is chosen where none has any.
    pub fn lot(&mut self, weights: impl Iterator<Item = u64> + Clone) -> usize {
        let lot = self.below(weights.clone().sum::<u64>().saturating_add(1));
        let mut sum = 0_u64;
        let is_it = |weight: u64| {
            sum = sum.saturating_add(weight);
            sum >= lot
        };
        weights.map(is_it).position(|is_it| is_it).unwrap_or(0)
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Lower-case hexadecimal of 64 bits: a tag or the random part of a branch (RFC 3261 19.3 asks for 32).
    pub fn tag(&mut self) -> String {
        let mut text = String::with_capacity(16);
        let _ = write!(text, "{:016x}", self.bits());
        text
    }

    /// Lower-case hexadecimal of 128 bits: an unguessable token.
    pub fn token(&mut self) -> String {
        let mut text = String::with_capacity(32);
        let _ = write!(text, "{:016x}{:016x}", self.bits(), self.bits());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_runs_and_bounds_hold() {
        let (mut a, mut b) = (Random::from_number(7), Random::from_number(7));
        assert_eq!(a.token(), b.token());
        assert_eq!(a.tag().len(), 16);
        assert!((0..1000).all(|_| a.below(10) < 10));
        assert_eq!(a.below(0), 0);
    }
}
