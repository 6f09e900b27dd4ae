//! Keys as events of RFC 4733, made here for a party that takes no other form.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::Timestamp;
use crate::wire::rtp::{HEADER, Header};

/// The time between two packets.
const FRAME: Duration = Duration::from_millis(20);
/// Packets while a key is down: 160 ms, more than the 40 ms that receivers want at least.
const DOWN: u16 = 8;
/// How often its end is said (RFC 4733 2.5.1.4).
const ENDS: u16 = 3;
/// Packets of a key: the last while it is down says its end already.
const SENT: u16 = DOWN + ENDS - 1;
/// Packet times until the next key.
const PAUSE: u16 = 4;
/// Keys that may wait; more is no typing.
const MAX_KEYS: usize = 32;
/// Level of -10 dBm0, as most phones say.
const VOLUME: u8 = 10;

/// Keys that are being pressed.
pub(super) struct Presser {
    payload: u8,
    /// Timestamp units of a packet time.
    step: u16,
    keys: VecDeque<u8>,
    /// Packet times since the key went down.
    tick: u16,
    timestamp: u32,
    sequence: u32,
    due: Timestamp,
}

/// What the next packet time brings.
pub(super) enum Tick {
    Packet(Box<Press>),
    Pause,
    Over,
}

/// A packet of an event; its header is to be placed in the outgoing stream.
pub(super) struct Press {
    pub header: Header,
    pub extended: u32,
    pub bytes: [u8; HEADER + 4],
}

impl Presser {
    pub(super) fn new(now: Timestamp, payload: u8, clock_rate: u32) -> Self {
        let step = u16::try_from(clock_rate / 50).unwrap_or(160);
        Self { payload, step, keys: VecDeque::new(), tick: 0, timestamp: 0, sequence: 0, due: now }
    }

    /// One more key, after those that wait.
    pub(super) fn press(&mut self, key: u8) {
        if self.keys.len() < MAX_KEYS {
            self.keys.push_back(key);
        }
    }

    /// When the next packet time begins.
    pub(super) fn due(&self) -> Timestamp {
        self.due
    }

    pub(super) fn next(&mut self) -> Tick {
        let Some(key) = self.keys.front().copied() else { return Tick::Over };
        let tick = self.tick;
        self.tick += 1;
        self.due = self.due + FRAME;
        if self.tick == SENT + PAUSE {
            self.keys.pop_front();
            self.timestamp = self.timestamp.wrapping_add(u32::from(self.step) * u32::from(self.tick));
            self.tick = 0;
        }
        if tick >= SENT {
            return Tick::Pause;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let duration = self.step.saturating_mul((tick + 1).min(DOWN));
        let ends = if tick + 1 >= DOWN { 0x80 } else { 0 };
        let mut bytes = [0; HEADER + 4];
        let payload = [key, ends | VOLUME, duration.to_be_bytes()[0], duration.to_be_bytes()[1]];
        for (place, byte) in bytes.iter_mut().skip(HEADER).zip(payload) {
            *place = byte;
        }
        let header = Header {
            marker: tick == 0,
            payload_type: self.payload,
            sequence: 0,
            timestamp: self.timestamp,
            ssrc: 0,
            payload_at: HEADER as u16,
            payload_end: (HEADER + 4) as u16,
        };
        Tick::Packet(Box::new(Press { header, extended: self.sequence, bytes }))
    }
}

/// The event of a key (RFC 4733 3.2).
#[must_use]
pub fn event_of(key: char) -> Option<u8> {
    match key {
        '0'..='9' => Some(key as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        'A'..='D' => Some(12 + key as u8 - b'A'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_one_event_whose_end_is_said_three_times() {
        let mut presser = Presser::new(Timestamp::ZERO, 101, 8000);
        presser.press(5);
        presser.press(11);
        let mut packets = Vec::new();
        let mut pauses = 0;
        loop {
            match presser.next() {
                Tick::Packet(press) => packets.push(press),
                Tick::Pause => pauses += 1,
                Tick::Over => break,
            }
        }
        assert_eq!((packets.len(), pauses), (20, 8));
        let first: Vec<_> = packets.iter().take(10).map(|packet| packet.bytes[HEADER..].to_vec()).collect();
        assert_eq!(first[0], [5, 10, 0, 160]);
        assert_eq!(first[6], [5, 10, 4, 96]);
        assert!(first[7..].iter().all(|payload| *payload == [5, 0x8a, 5, 0]));
        assert_eq!(packets.iter().filter(|packet| packet.header.marker).count(), 2);
        assert!(packets[..10].iter().all(|packet| packet.header.timestamp == 0));
        assert!(packets[10..].iter().all(|packet| packet.header.timestamp == 14 * 160));
        assert!(packets.windows(2).all(|pair| pair[1].extended == pair[0].extended + 1));
        assert_eq!(presser.due(), Timestamp::from_micros(28 * 20_000));
    }

    #[test]
    fn keys_have_their_events_and_other_characters_have_none() {
        let keys: Vec<_> = "0159*#ABCD".chars().map(event_of).collect();
        assert_eq!(keys, [0, 1, 5, 9, 10, 11, 12, 13, 14, 15].map(Some));
        assert_eq!("x !aE".chars().filter_map(event_of).count(), 0);
    }
}
