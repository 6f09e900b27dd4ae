//! The stream toward one leg: one SSRC, one run of sequence numbers, one clock, whoever feeds it.
//!
//! Invariant (contract 29): as long as the port is open, the SSRC is constant, every packet that is sent has a
//! sequence number of its own, a change of source steps it by one, and timestamps step by the time that passed.

use crate::base::Timestamp;
use crate::wire::rtp::Header;

/// Who feeds the stream: the port that the packets come from, the SSRC there, and the run of its sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Feed {
    pub slot: u32,
    pub ssrc: u32,
    pub run: u32,
}

/// One packet on its way in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub feed: Feed,
    /// Its extended sequence number within the run.
    pub extended: u32,
    pub timestamp: u32,
    pub marker: bool,
    pub clock_rate: u32,
    /// A telephone event: its timestamp is that of the event's beginning, and its marker bit is its own.
    pub event: bool,
    /// Whether the marker bit begins a talk spurt (audio).
    pub marks: bool,
}

/// Where it goes in the outgoing stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Departure {
    /// The sequence number with its rollovers, modulo 2^32.
    pub extended: u32,
    pub timestamp: u32,
    pub marker: bool,
    /// The first packet of a feed.
    pub joined: bool,
}

impl Departure {
    /// What the header says.
    pub(super) fn sequence(&self) -> u16 {
        self.extended as u16
    }
}

/// µs. Until the source shows its own packet time.
const FRAME: u64 = 20_000;
/// µs. A step of the source's timestamps that is so far from the time that passed is a new timestamp base.
const MAX_TIMESTAMP_STEP: u64 = 5_000_000;

#[derive(Default)]
pub(super) struct Egress {
    ssrc: u32,
    feed: Option<Feed>,
    started: bool,
    sequence_offset: u32,
    timestamp_offset: u32,
    /// The extended sequence number at which the feed was joined: nothing of it may go before.
    floor: u32,
    highest: u32,
    /// The latest timestamp, and when it was first sent.
    timestamp: u32,
    timestamp_at: Timestamp,
    last_at: Timestamp,
    /// µs of media in a packet.
    frame: u64,
    mark: bool,
    /// Begins in the lower half of the sequence numbers.
    low: bool,
}

impl Egress {
    pub(super) fn new(ssrc: u32) -> Self {
        Self { ssrc, frame: FRAME, ..Self::default() }
    }

    /// A stream that will be sealed: it begins in the lower half of the sequence numbers (RFC 3711 3.3.1), so that a
    /// receiver that misses its beginning cannot miss a rollover with it.
    pub(super) fn sealed(ssrc: u32) -> Self {
        Self { low: true, ..Self::new(ssrc) }
    }

    /// Our SSRC toward this leg.
    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Who feeds the stream now.
    pub(super) fn feed(&self) -> Option<Feed> {
        self.feed
    }

    /// When the last packet went out, if one did.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.started.then_some(self.last_at)
    }

    /// Whole packet times in `micros`, less the one that lies between any two packets.
    pub(super) fn packets_in(&self, micros: u64) -> u32 {
        let packets = micros / self.frame.max(1);
        u32::try_from(packets.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// A timestamp on the feed's clock, on ours.
    pub(super) fn timestamp_from(&self, feed: u32) -> u32 {
        feed.wrapping_add(self.timestamp_offset)
    }

    /// What the clock of our stream shows at `now`.
    pub(super) fn timestamp_at(&self, now: Timestamp, clock_rate: u32) -> u32 {
        let step = micros(now, self.timestamp_at) * u64::from(clock_rate) / 1_000_000;
        self.timestamp.wrapping_add(step as u32)
    }

    /// An extended sequence number of ours, in the run of the feed.
    pub(super) fn sequence_to(&self, ours: u32) -> u32 {
        ours.wrapping_sub(self.sequence_offset)
    }

    /// Finds the place of a packet; `None`: it is from before the feed was joined, and its number is taken.
    pub(super) fn place(&mut self, now: Timestamp, arrival: &Arrival) -> Option<Departure> {
        let joined = self.feed != Some(arrival.feed);
        if joined {
            self.join(now, arrival);
        }
        let extended = arrival.extended.wrapping_add(self.sequence_offset);
        if before(extended, self.floor) {
            return None;
        }
        let newest = joined || before(self.highest, extended);
        if newest && !joined && !arrival.event {
            self.follow_timestamp(now, arrival, extended.wrapping_sub(self.highest));
        }
        let timestamp = self.timestamp_from(arrival.timestamp);
        if newest {
            self.highest = extended;
            if joined || before(self.timestamp, timestamp) {
                (self.timestamp, self.timestamp_at) = (timestamp, now);
            }
        }
        self.last_at = now;
        let mark = arrival.marks && !arrival.event && self.mark;
        self.mark &= !mark;
        Some(Departure { extended, timestamp, marker: arrival.marker || mark, joined })
    }

    /// Joins the run of a new feed to the stream: sequence by one, timestamp by the time that passed, at least by
    /// one packet (media must not overlap).
    fn join(&mut self, now: Timestamp, arrival: &Arrival) {
        if self.started {
            self.highest = self.highest.wrapping_add(1);
            self.sequence_offset = self.highest.wrapping_sub(arrival.extended);
            self.rebase_timestamp(now, arrival);
        } else {
            let first = if self.low { arrival.extended & 0x7fff } else { arrival.extended };
            (self.sequence_offset, self.timestamp_offset) = (first.wrapping_sub(arrival.extended), 0);
            self.highest = first;
            self.started = true;
        }
        self.floor = self.highest;
        self.feed = Some(arrival.feed);
        self.mark = true;
    }

    fn rebase_timestamp(&mut self, now: Timestamp, arrival: &Arrival) {
        let step = micros(now, self.timestamp_at).max(self.frame) * u64::from(arrival.clock_rate) / 1_000_000;
        self.timestamp_offset = self.timestamp.wrapping_add(step as u32).wrapping_sub(arrival.timestamp);
    }

    /// Learns the packet time; takes a step of the source's clock that cannot be a pause for a new base.
    fn follow_timestamp(&mut self, now: Timestamp, arrival: &Arrival, steps: u32) {
        let clock = i64::from(arrival.clock_rate.max(1));
        let step = i64::from(self.timestamp_from(arrival.timestamp).wrapping_sub(self.timestamp) as i32);
        let media = step * 1_000_000 / clock;
        let passed = micros(now, self.timestamp_at).min(1 << 40) as i64;
        let limit = MAX_TIMESTAMP_STEP as i64;
        if media > passed + limit || media < -limit {
            self.rebase_timestamp(now, arrival);
        } else if steps == 1 && (1..=200_000).contains(&media) {
            self.frame = media as u64;
        }
    }

    /// Forgets the feed, so that the next packet is joined anew even if it is of the same source.
    pub(super) fn part(&mut self) {
        self.feed = None;
    }

    /// The same, if the feed comes from this port. One from another is joined anew by that alone, and who feeds the
    /// stream until then goes on without a joint.
    pub(super) fn part_from(&mut self, slot: u32) {
        if self.is_fed_from(slot) {
            self.part();
        }
    }

    /// Whether what was sent last came from this port.
    pub(super) fn is_fed_from(&self, slot: u32) -> bool {
        self.feed.is_some_and(|feed| feed.slot == slot)
    }
}

fn micros(now: Timestamp, earlier: Timestamp) -> u64 {
    // An hour is longer than any stream pauses and keeps the products below 2^64.
    (now.as_micros().saturating_sub(earlier.as_micros())).min(3_600_000_000)
}

/// Whether `a` comes before `b` on a circle of 32 bits.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Arrival {
    /// A packet with header `header` in `feed` at `extended`.
    pub(super) fn of(header: &Header, feed: Feed, extended: u32, clock_rate: u32) -> Self {
        Self {
            feed,
            extended,
            timestamp: header.timestamp,
            marker: header.marker,
            clock_rate,
            event: false,
            marks: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Feed = Feed { slot: 1, ssrc: 11, run: 1 };
    const NEW: Feed = Feed { slot: 2, ssrc: 22, run: 1 };

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }
    fn arrival(feed: Feed, extended: u32, timestamp: u32) -> Arrival {
        Arrival { feed, extended, timestamp, marker: false, clock_rate: 8000, event: false, marks: true }
    }
    fn started() -> Egress {
        let mut egress = Egress::new(99);
        let first = egress.place(at(0), &arrival(OLD, 65_534, 1000)).unwrap();
        assert_eq!((first.sequence(), first.timestamp, first.marker), (65_534, 1000, true));
        let second = egress.place(at(20), &arrival(OLD, 65_535, 1160)).unwrap();
        assert_eq!((second.sequence(), second.timestamp, second.marker), (65_535, 1160, false));
        egress
    }

    #[test]
    fn a_new_feed_goes_on_by_one_and_by_the_time_that_passed() {
        let mut egress = started();
        let joined = egress.place(at(55), &arrival(NEW, 7000, 4_000_000_000)).unwrap();
        assert_eq!(
            joined,
            Departure { extended: 65_536, timestamp: 1160 + 35 * 8, marker: true, joined: true }
        );
        let next = egress.place(at(75), &arrival(NEW, 7001, 4_000_000_160)).unwrap();
        assert_eq!(next, Departure { extended: 65_537, timestamp: 1600, marker: false, joined: false });
        assert_eq!(egress.sequence_to(65_537), 7001);
        assert_eq!(egress.timestamp_from(4_000_000_160), 1600);
    }

    #[test]
    fn media_never_overlaps() {
        let mut egress = started();
        let joined = egress.place(at(21), &arrival(NEW, 1, 0)).unwrap();
        assert_eq!(joined.timestamp, 1320);
    }

    #[test]
    fn loss_and_reordering_within_a_feed_are_kept_but_nothing_goes_before_the_joint() {
        let mut egress = started();
        let sequence = |e: &mut Egress, n: u32| {
            e.place(at(40), &arrival(NEW, n, 160 * n)).map(|d| (d.sequence(), d.timestamp))
        };
        assert_eq!(sequence(&mut egress, 100), Some((0, 1320)));
        assert_eq!(sequence(&mut egress, 103), Some((3, 1800)));
        assert_eq!(sequence(&mut egress, 102), Some((2, 1640)));
        assert_eq!(sequence(&mut egress, 99), None);
    }

    #[test]
    fn an_event_before_the_first_audio_leaves_the_mark_to_it() {
        let mut egress = started();
        let event = Arrival { event: true, ..arrival(NEW, 5, 800) };
        assert!(!egress.place(at(40), &event).unwrap().marker);
        assert!(egress.place(at(60), &arrival(NEW, 6, 960)).unwrap().marker);
        assert!(!egress.place(at(80), &arrival(NEW, 7, 1120)).unwrap().marker);
    }

    #[test]
    fn after_a_long_event_the_stream_goes_on_where_time_is() {
        let mut egress = started();
        for n in 1..=50 {
            let event = Arrival { event: true, ..arrival(OLD, 65_535 + n, 1320) };
            assert_eq!(egress.place(at(20 + 20 * u64::from(n)), &event).unwrap().timestamp, 1320);
        }
        let joined = egress.place(at(1040), &arrival(NEW, 1, 0)).unwrap();
        assert_eq!(joined.timestamp, 1160 + 1020 * 8);
    }

    #[test]
    fn a_pause_of_the_source_is_kept_and_a_new_clock_base_is_not() {
        let mut egress = started();
        let paused = egress.place(at(60_020), &arrival(OLD, 65_536, 1160 + 480_000)).unwrap();
        assert_eq!(paused.timestamp, 1160 + 480_000);
        let jumped = egress.place(at(60_040), &arrival(OLD, 65_537, 0x7000_0000)).unwrap();
        assert_eq!(jumped.timestamp, 1160 + 480_160);
        let follows = egress.place(at(60_060), &arrival(OLD, 65_538, 0x7000_00a0)).unwrap();
        assert_eq!(follows.timestamp, 1160 + 480_320);
    }

    #[test]
    fn another_clock_rate_steps_by_its_own_units() {
        let mut egress = started();
        let opus = Arrival { clock_rate: 48_000, ..arrival(NEW, 1, 5) };
        assert_eq!(egress.place(at(40), &opus).unwrap().timestamp, 1160 + 960);
        assert_eq!((egress.packets_in(20_000), egress.packets_in(41_000), egress.packets_in(5)), (0, 1, 0));
    }

    #[test]
    fn a_sealed_stream_begins_low_and_goes_on_as_any() {
        let mut egress = Egress::sealed(99);
        let first = egress.place(at(0), &arrival(OLD, 65_535, 0)).unwrap();
        let second = egress.place(at(20), &arrival(OLD, 65_536, 160)).unwrap();
        assert_eq!((first.extended, second.extended), (0x7fff, 0x8000));
        assert_eq!(egress.sequence_to(0x8000) as u16, 0, "what the source calls it");
    }
}
