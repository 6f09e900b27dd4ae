//! What arrives on a port, counted as RFC 3550 appendix A counts: extended sequence, loss, jitter.

use std::time::Duration;

use super::bursts::{BurstCounts, Bursts};
use crate::base::Timestamp;
use crate::wire::rtp::Header;

/// A step forward of at most this many packets is loss (RFC 3550 A.1).
const MAX_DROPOUT: u16 = 3000;
/// A step back of at most this many is reordering.
const MAX_MISORDER: u16 = 100;

/// Where a packet stands in the stream of its source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// At this extended sequence number, in the run of this number.
    At { extended: u32, run: u32 },
    /// Far from the run; a second packet that follows it will begin a new run (RFC 3550 A.1).
    Doubtful,
}

#[derive(Default)]
pub(super) struct Reception {
    ssrc: Option<u32>,
    /// Goes up with every new SSRC or restarted sequence, so that what was joined to a run is joined anew.
    run: u32,
    base: u32,
    highest: u32,
    received: u64,
    /// Holes in the sequence, over all runs; late packets do not close them again.
    holes: u64,
    bursts: Bursts,
    /// Which of the last 64 numbers came, the highest in bit 0.
    seen: u64,
    duplicates: u64,
    reordered: u64,
    doubtful: Option<u16>,
    /// Of runs that are over.
    expected_before: u64,
    received_before: u64,
    last_at: Timestamp,
    last_timestamp: u32,
    /// In 1/16 µs.
    jitter: u32,
}

impl Reception {
    /// Counts a packet.
    pub(super) fn receive(&mut self, header: &Header) -> Place {
        if self.ssrc != Some(header.ssrc) {
            self.begin(header);
            return Place::At { extended: self.highest, run: self.run };
        }
        let ahead = header.sequence.wrapping_sub(self.highest as u16);
        let back = (self.highest as u16).wrapping_sub(header.sequence);
        let extended = if ahead == 1 {
            self.highest = self.highest.wrapping_add(1);
            self.seen = self.seen << 1 | 1;
            self.highest
        } else if ahead == 0 {
            self.duplicates += 1;
            self.highest
        } else if ahead < MAX_DROPOUT {
            self.holes += 1;
            self.bursts.miss(self.highest.wrapping_add(1), u32::from(ahead) - 1);
            self.highest = self.highest.wrapping_add(u32::from(ahead));
            self.seen = self.seen.checked_shl(u32::from(ahead)).unwrap_or(0) | 1;
            self.highest
        } else if back <= MAX_MISORDER {
            self.come_late(back);
            self.highest.wrapping_sub(u32::from(back))
        } else if self.doubtful == Some(header.sequence) {
            self.begin(header);
            return Place::At { extended: self.highest, run: self.run };
        } else {
            self.doubtful = Some(header.sequence.wrapping_add(1));
            return Place::Doubtful;
        };
        self.received += 1;
        self.doubtful = None;
        Place::At { extended, run: self.run }
    }

    /// A packet from `back` numbers ago. Of one that is older than what is remembered it is not known that it came before.
    fn come_late(&mut self, back: u16) {
        let bit = 1u64.checked_shl(u32::from(back)).unwrap_or(0);
        if self.seen & bit != 0 {
            self.duplicates += 1;
        } else {
            self.seen |= bit;
            self.reordered += 1;
        }
    }

    /// Takes the arrival of a packet with media of its own time (no telephone event) into the jitter, A.8.
    pub(super) fn measure(&mut self, now: Timestamp, header: &Header, clock_rate: u32) {
        if self.last_at != Timestamp::ZERO && clock_rate != 0 {
            let arrived = i64::try_from(now.since(self.last_at).as_micros()).unwrap_or(i64::MAX);
            let step = i64::from(header.timestamp.wrapping_sub(self.last_timestamp) as i32);
            let sent = step.saturating_mul(1_000_000) / i64::from(clock_rate);
            // A pause of the source or a new timestamp base is no jitter.
            let deviation = arrived.saturating_sub(sent).unsigned_abs();
            if deviation < MAX_DEVIATION {
                let deviation = deviation as u32;
                self.jitter = self.jitter.saturating_add(deviation).saturating_sub((self.jitter + 8) >> 4);
            }
        }
        (self.last_at, self.last_timestamp) = (now, header.timestamp);
    }

    fn begin(&mut self, header: &Header) {
        self.expected_before = self.expected();
        self.received_before += self.received;
        self.ssrc = Some(header.ssrc);
        self.run = self.run.wrapping_add(1);
        self.bursts.close();
        self.seen = 1;
        (self.base, self.highest) = (u32::from(header.sequence), u32::from(header.sequence));
        self.received = 1;
        self.doubtful = None;
        self.last_at = Timestamp::ZERO;
    }

    /// Whether `header` is of the current source and a little ahead of its sequence.
    pub(super) fn carried_on_by(&self, header: &Header) -> bool {
        let ahead = header.sequence.wrapping_sub(self.highest as u16);
        self.ssrc == Some(header.ssrc) && (1..=MAX_MISORDER).contains(&ahead)
    }

    /// The SSRC of the current source.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// Packets that should have come, over all runs.
    pub(super) fn expected(&self) -> u64 {
        let run = if self.received == 0 { 0 } else { u64::from(self.highest.wrapping_sub(self.base)) + 1 };
        self.expected_before + run
    }

    /// Expected minus received.
    pub(super) fn lost(&self) -> i64 {
        self.expected().cast_signed() - self.received().cast_signed()
    }

    /// How often packets were missing in a row, one or more.
    pub(super) fn holes(&self) -> u64 {
        self.holes
    }

    /// How the losses bunched.
    pub(super) fn bursts(&self) -> BurstCounts {
        self.bursts.counts()
    }

    /// Packets that came once more; among the last 64 numbers.
    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets that came after a later one.
    pub(super) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// The highest number so far, with the rollovers above it.
    pub(super) fn highest(&self) -> u32 {
        self.highest
    }

    /// Packets that came, over all runs.
    pub(super) fn received(&self) -> u64 {
        self.received_before + self.received
    }

    /// Interarrival jitter.
    pub(super) fn jitter(&self) -> Duration {
        Duration::from_micros(u64::from(self.jitter >> 4))
    }
}

/// µs. More is not jitter of a network but a source that stopped.
const MAX_DEVIATION: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload_at: 12, payload_end: 172 }
    }

    /// RFC 3550 as one would write it with all packets at hand.
    fn reference(sequences: &[u16]) -> (u64, i64) {
        let mut unrolled = i64::from(sequences[0]);
        let all: Vec<i64> = sequences
            .iter()
            .map(|s| {
                unrolled += i64::from(s.wrapping_sub(unrolled as u16) as i16);
                unrolled
            })
            .collect();
        let expected = all.iter().max().unwrap() - all[0] + 1;
        (expected as u64, expected - all.len() as i64)
    }

    #[test]
    fn loss_is_counted_as_by_the_reference_over_wraps() {
        let mut random = crate::base::Random::from_number(3);
        for _ in 0..200 {
            let mut sequences: Vec<u16> = (0..70_000u32).map(|n| n.wrapping_add(65_000) as u16).collect();
            sequences.retain(|_| random.below(100) >= 3);
            for _ in 0..50 {
                let at = 1 + random.below(sequences.len() as u64 - 60) as usize;
                sequences.swap(at, at + random.below(50) as usize);
            }
            let mut reception = Reception::default();
            for s in &sequences {
                assert_ne!(reception.receive(&header(1, *s, 0)), Place::Doubtful);
            }
            assert_eq!((reception.expected(), reception.lost()), reference(&sequences));
        }
    }

    #[test]
    fn a_stray_number_is_doubtful_and_two_in_a_row_are_a_restart() {
        let mut reception = Reception::default();
        for s in 100..110 {
            reception.receive(&header(1, s, 0));
        }
        assert_eq!(reception.receive(&header(1, 40_000, 0)), Place::Doubtful);
        assert_eq!(reception.receive(&header(1, 110, 0)), Place::At { extended: 110, run: 1 });
        assert_eq!(reception.receive(&header(1, 40_001, 0)), Place::Doubtful, "not in a row");
        assert_eq!(reception.receive(&header(1, 40_002, 0)), Place::At { extended: 40_002, run: 2 });
        assert_eq!((reception.expected(), reception.lost()), (12, 0));
        assert_eq!(reception.receive(&header(2, 7, 0)), Place::At { extended: 7, run: 3 });
        assert_eq!((reception.expected(), reception.lost()), (13, 0));
    }

    #[test]
    fn jitter_is_that_of_the_formula() {
        let mut reception = Reception::default();
        let (mut expected, mut last) = (0.0f64, None);
        let mut random = crate::base::Random::from_number(5);
        for n in 0..2000u32 {
            let sent = i64::from(n) * 20_000;
            let arrived = 1_000_000 + sent + random.below(8000) as i64;
            let header = header(1, n as u16, n.wrapping_mul(160).wrapping_sub(5000));
            reception.receive(&header);
            reception.measure(Timestamp::from_micros(arrived as u64), &header, 8000);
            let transit = arrived - sent;
            if let Some(last) = last.replace(transit) {
                expected += ((transit - last).abs() as f64 - expected) / 16.0;
            }
        }
        let measured = reception.jitter().as_micros() as f64;
        assert!((measured - expected).abs() < 5.0, "{measured} {expected}");
    }
}
