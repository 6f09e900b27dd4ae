//! What a phone heard, judged packet by packet: gaps, steps, sources and tones.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Sequence distances up to this count as loss; beyond it the stream began anew.
const MAX_LOSS: u16 = 3_000;
/// A timestamp that is off from the arrival clock by more than this is a step (jitter and a busy machine are not).
pub const STEP_TOLERANCE: Duration = Duration::from_millis(60);

/// One RTP packet as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Arrival.
    pub at: Instant,
    /// Source.
    pub from: SocketAddr,
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// The tone in it, in Hz.
    pub tone: Option<u32>,
}

/// A stretch of packets with one tone (or none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The tone in Hz.
    pub tone: Option<u32>,
    /// Arrival of the first packet.
    pub first: Instant,
    /// Arrival of the last packet.
    pub last: Instant,
    /// How many packets.
    pub packets: usize,
}

/// A timestamp that did not follow the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampStep {
    /// Arrival of the packet after the step.
    pub at: Instant,
    /// What the timestamp said had passed, in milliseconds.
    pub stamped_ms: i64,
    /// What had really passed, in milliseconds.
    pub passed_ms: i64,
}

/// The judgement over a run of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaReport {
    /// How many packets.
    pub packets: usize,
    /// Packets missing by sequence number.
    pub lost: u32,
    /// Places where the sequence went back or leapt beyond what loss explains.
    pub sequence_breaks: u32,
    /// Changes of SSRC.
    pub ssrc_changes: u32,
    /// Changes of the source address.
    pub source_changes: u32,
    /// Timestamps that do not fit the time between arrivals.
    pub timestamp_steps: Vec<TimestampStep>,
    /// The longest time without a packet.
    pub longest_gap: Duration,
    /// Packets with the marker bit.
    pub markers: u32,
    /// Payload types seen, in order of their first packet.
    pub payload_types: Vec<u8>,
    /// What was heard, in order; telephone events are left out.
    pub stretches: Vec<Stretch>,
}

impl MediaReport {
    /// Judges `packets`, which are in order of arrival.
    #[must_use]
    pub fn of(packets: &[Heard]) -> Self {
        let mut report = Self { packets: packets.len(), ..Self::default() };
        for packet in packets {
            report.markers += u32::from(packet.marker);
            if !report.payload_types.contains(&packet.payload_type) {
                report.payload_types.push(packet.payload_type);
            }
            report.stretch(packet);
        }
        for pair in packets.windows(2) {
            if let [before, after] = pair {
                report.step(before, after);
            }
        }
        report
    }

    /// Whether the receiver could not tell that anything changed: nothing lost, one SSRC, one source, no steps.
    #[must_use]
    pub fn is_seamless(&self) -> bool {
        self.lost == 0
            && self.sequence_breaks == 0
            && self.ssrc_changes == 0
            && self.source_changes == 0
            && self.timestamp_steps.is_empty()
    }

    /// The time between the last packet with the tone `old` and the first later one with the tone `new`.
    #[must_use]
    pub fn switch(&self, old: u32, new: u32) -> Option<Duration> {
        self.switch_instants(old, new).map(|(last, first)| first.duration_since(last))
    }

    /// Arrival of the last packet with the tone `old` and of the first later one with the tone `new`.
    #[must_use]
    pub fn switch_instants(&self, old: u32, new: u32) -> Option<(Instant, Instant)> {
        let place = self.stretches.windows(2).position(|pair| match pair {
            [before, after] => before.tone == Some(old) && after.tone != Some(old),
            _ => false,
        })?;
        let last = self.stretches.get(place)?.last;
        let first = self.stretches.iter().skip(place + 1).find(|stretch| stretch.tone == Some(new))?.first;
        Some((last, first))
    }

    /// The tones heard, in order, without silence.
    #[must_use]
    pub fn tones(&self) -> Vec<u32> {
        let mut tones: Vec<u32> = self.stretches.iter().filter_map(|stretch| stretch.tone).collect();
        tones.dedup();
        tones
    }

    fn stretch(&mut self, packet: &Heard) {
        if packet.payload_type > 95 {
            return;
        }
        match self.stretches.last_mut() {
            Some(last) if last.tone == packet.tone => {
                last.last = packet.at;
                last.packets += 1;
            }
            _ => self.stretches.push(Stretch {
                tone: packet.tone,
                first: packet.at,
                last: packet.at,
                packets: 1,
            }),
        }
    }

    fn step(&mut self, before: &Heard, after: &Heard) {
        let passed = after.at.saturating_duration_since(before.at);
        self.longest_gap = self.longest_gap.max(passed);
        self.source_changes += u32::from(before.from != after.from);
        if before.ssrc != after.ssrc {
            self.ssrc_changes += 1;
            return;
        }
        match after.sequence.wrapping_sub(before.sequence) {
            1 => {}
            0 => self.sequence_breaks += 1,
            distance if distance <= MAX_LOSS => self.lost += u32::from(distance) - 1,
            _ => self.sequence_breaks += 1,
        }
        // Telephone events keep the timestamp of their beginning (RFC 4733 2.5.1.2).
        if before.payload_type > 95 || after.payload_type > 95 {
            return;
        }
        let stamped_ms = i64::from(after.timestamp.wrapping_sub(before.timestamp).cast_signed()) / 8;
        let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
        if stamped_ms.abs_diff(passed_ms) > STEP_TOLERANCE.as_millis() as u64 || stamped_ms <= 0 {
            self.timestamp_steps.push(TimestampStep { at: after.at, stamped_ms, passed_ms });
        }
    }
}

impl fmt::Display for MediaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets, {} lost, {} sequence breaks, {} SSRC changes, {} timestamp steps, longest gap {} ms, heard",
            self.packets,
            self.lost,
            self.sequence_breaks,
            self.ssrc_changes,
            self.timestamp_steps.len(),
            self.longest_gap.as_millis(),
        )?;
        for stretch in &self.stretches {
            match stretch.tone {
                Some(hz) => write!(f, " {hz} Hz x{}", stretch.packets)?,
                None => write!(f, " silence x{}", stretch.packets)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(tones: &[(u64, Option<u32>)]) -> Vec<Heard> {
        let zero = Instant::now();
        let from = "127.0.0.1:4000".parse().unwrap();
        let packet = |(count, (ms, tone)): (usize, &(u64, Option<u32>))| Heard {
            at: zero + Duration::from_millis(*ms),
            from,
            payload_type: 0,
            marker: count == 0,
            sequence: 65_534u16.wrapping_add(count as u16),
            timestamp: (u32::MAX - 200).wrapping_add((ms * 8) as u32),
            ssrc: 1,
            tone: *tone,
        };
        tones.iter().enumerate().map(packet).collect()
    }

    #[test]
    fn a_clean_switch_is_seamless_and_its_gap_is_measured() {
        let report = MediaReport::of(&stream(&[
            (0, Some(400)),
            (20, Some(400)),
            (40, Some(400)),
            (73, None),
            (75, Some(600)),
            (95, Some(600)),
        ]));
        assert!(report.is_seamless(), "{report}");
        assert_eq!(report.switch(400, 600), Some(Duration::from_millis(35)));
        assert_eq!(report.switch(400, 700), None);
        assert_eq!((report.longest_gap, report.markers), (Duration::from_millis(33), 1));
        assert_eq!(report.tones(), [400, 600]);
    }

    #[test]
    fn loss_new_sources_and_steps_are_found() {
        let mut packets =
            stream(&[(0, Some(400)), (20, Some(400)), (40, Some(400)), (60, Some(400)), (80, Some(400))]);
        packets[2].sequence = packets[2].sequence.wrapping_add(2);
        packets[3].ssrc = 2;
        packets[4].ssrc = 2;
        packets[4].timestamp = packets[4].timestamp.wrapping_add(8000);
        packets[4].sequence = packets[3].sequence.wrapping_sub(1);
        let report = MediaReport::of(&packets);
        assert_eq!((report.lost, report.ssrc_changes, report.sequence_breaks), (2, 1, 1));
        assert_eq!(report.timestamp_steps.len(), 1);
        assert_eq!(report.timestamp_steps[0].stamped_ms, 1020);
        assert!(!report.is_seamless());
    }

    #[test]
    fn a_long_pause_is_no_step_when_the_clock_went_on() {
        let report = MediaReport::of(&stream(&[(0, Some(400)), (20, Some(400)), (900, Some(400))]));
        assert!(report.is_seamless());
        assert_eq!(report.longest_gap, Duration::from_millis(880));
    }
}
