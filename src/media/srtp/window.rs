//! Packet indexes: which one a 16-bit sequence number stands for, and which were there before.

/// The index of sequence number `sequence` that is nearest to `highest` (RFC 3711 3.3.1 and appendix A). Before the
/// first rollover nothing lies below zero.
pub(super) fn nearest(highest: u64, sequence: u16) -> u64 {
    let step = sequence.wrapping_sub(highest as u16).cast_signed();
    highest.checked_add_signed(i64::from(step)).unwrap_or_else(|| u64::from(sequence))
}

/// The indexes that were used, back to [`Window::SIZE`] below the highest (RFC 3711 3.3.2 asks for 64).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: `highest` - n was used.
    used: u128,
}

impl Window {
    pub(super) const SIZE: u64 = 128;

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether `index` is surely unused.
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(back) => back < Self::SIZE && self.used >> back & 1 == 0,
        }
    }

    /// Marks `index` as used. Only after the tag was checked: a forged number must not move the window.
    pub(super) fn mark(&mut self, index: u64) {
        match index.checked_sub(self.highest) {
            Some(ahead) => {
                self.used = if ahead < Self::SIZE { self.used << ahead | 1 } else { 1 };
                self.highest = index;
            }
            None => self.used |= 1u128.checked_shl((self.highest - index) as u32).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_the_index_that_is_nearest() {
        assert_eq!(nearest(0, 5), 5);
        assert_eq!(nearest(5, 65_535), 65_535, "nothing lies below zero");
        assert_eq!(nearest(65_530, 3), 65_539);
        assert_eq!(nearest(65_539, 65_530), 65_530);
        assert_eq!(nearest(0x1_7fff, 0xffff), 0xffff, "the far half is the one before");
        assert_eq!(nearest(0x1_8000, 0xffff), 0x1_ffff);
    }

    #[test]
    fn each_index_is_fresh_once() {
        let mut random = crate::base::Random::from_number(11);
        let (mut window, mut seen, mut highest) =
            (Window::default(), std::collections::BTreeSet::new(), 0u64);
        for _ in 0..50_000 {
            let index = (highest + random.below(40)).saturating_sub(random.below(200));
            let expected = !seen.contains(&index) && highest.saturating_sub(index) < Window::SIZE;
            assert_eq!(window.is_fresh(index), expected, "{index} of {highest}");
            if expected {
                window.mark(index);
                seen.insert(index);
                highest = highest.max(index);
            }
        }
        window.mark(highest + 1_000_000);
        assert!(!window.is_fresh(highest) && !window.is_fresh(highest + 1_000_000));
        assert!(window.is_fresh(highest + 999_999));
    }
}
