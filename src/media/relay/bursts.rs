//! Runs of loss: how missing packets bunch together (RFC 3611 4.7.2).

/// So many packets in a row without a loss end a burst (Gmin, the value that RFC 3611 recommends).
const MIN_GAP: u32 = 16;

/// What was found so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BurstCounts {
    /// Bursts: two lost packets or more, with fewer than 16 in a row between them.
    pub bursts: u32,
    /// Packets in them, those that came and those that did not.
    pub packets: u64,
    /// Lost packets in them.
    pub lost: u64,
    /// Lost packets that stood alone.
    pub alone: u64,
}

/// Follows the holes of one stream. A packet that comes late has been missed all the same: who plays the stream has gone
/// on without it. Costs nothing while nothing is lost.
#[derive(Clone, Copy, Default)]
pub(super) struct Bursts {
    counts: BurstCounts,
    /// First and last lost packet of what may yet grow, and how many there are.
    open: Option<(u32, u32, u32)>,
}

impl Bursts {
    /// `count` packets are missing from `first` on.
    pub(super) fn miss(&mut self, first: u32, count: u32) {
        let last = first.wrapping_add(count).wrapping_sub(1);
        self.open = match self.open {
            Some((begin, end, lost)) if first.wrapping_sub(end) <= MIN_GAP => {
                Some((begin, last, lost.saturating_add(count)))
            }
            _ => {
                self.close();
                Some((first, last, count))
            }
        };
    }

    /// The sequence ends here: what comes next is counted anew.
    pub(super) fn close(&mut self) {
        self.counts = self.counts();
        self.open = None;
    }

    /// As it is, the last burst included.
    pub(super) fn counts(&self) -> BurstCounts {
        let mut counts = self.counts;
        match self.open {
            None => {}
            Some((_, _, 1)) => counts.alone += 1,
            Some((begin, end, lost)) => {
                counts.bursts = counts.bursts.saturating_add(1);
                counts.packets += u64::from(end.wrapping_sub(begin)) + 1;
                counts.lost += u64::from(lost);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, over all packets at once.
    fn reference(lost: &[bool]) -> BurstCounts {
        let mut counts = BurstCounts::default();
        let at: Vec<usize> = (0..lost.len()).filter(|n| lost[*n]).collect();
        let runs = at.chunk_by(|a, b| b - a <= MIN_GAP as usize);
        for run in runs {
            if let [_] = run {
                counts.alone += 1;
            } else {
                counts.bursts += 1;
                counts.packets += (run[run.len() - 1] - run[0] + 1) as u64;
                counts.lost += run.len() as u64;
            }
        }
        counts
    }

    #[test]
    fn bursts_are_those_of_the_definition() {
        let mut random = crate::base::Random::from_number(11);
        for share in [1, 3, 10, 40] {
            let lost: Vec<bool> = (0..5000).map(|_| random.below(100) < share).collect();
            let mut bursts = Bursts::default();
            let mut at = 0;
            for run in lost.chunk_by(|a, b| a == b) {
                if run[0] {
                    bursts.miss((u32::MAX - 2000).wrapping_add(at as u32), run.len() as u32);
                }
                at += run.len();
            }
            assert_eq!(bursts.counts(), reference(&lost), "{share} %");
        }
    }

    #[test]
    fn sixteen_packets_between_two_losses_part_them_and_fifteen_do_not() {
        let mut bursts = Bursts::default();
        bursts.miss(100, 1);
        bursts.miss(117, 1);
        assert_eq!(bursts.counts(), BurstCounts { alone: 2, ..BurstCounts::default() });
        bursts.miss(133, 1);
        assert_eq!(bursts.counts(), BurstCounts { alone: 1, bursts: 1, packets: 17, lost: 2 });
        bursts.close();
        bursts.miss(134, 1);
        assert_eq!(bursts.counts(), BurstCounts { alone: 2, bursts: 1, packets: 17, lost: 2 });
    }
}
