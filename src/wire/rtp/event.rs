//! Telephone events (RFC 4733): the payload, and one press out of the many packets that carry it.

/// The payload of one event packet (RFC 4733 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// 0 to 15 are `0`–`9 * # A`–`D`.
    pub event: u8,
    /// The E bit: the key is up.
    pub end: bool,
    /// Power level, dBm0 without sign, 0 to 63.
    pub volume: u8,
    /// So far, in timestamp units.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads the first event block; further ones (RFC 4733 2.5.1.5 allows only contiguous events) are left out.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[event, flags, high, low] = payload.first_chunk()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The four bytes of the payload.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, u8::from(self.end) << 7 | self.volume & 0x3f, high, low]
    }

    /// The key, for a DTMF event.
    #[must_use]
    pub fn digit(self) -> Option<char> {
        const KEYS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];
        KEYS.get(usize::from(self.event)).copied()
    }

    /// The event of a key.
    #[must_use]
    pub fn of(digit: char) -> Option<u8> {
        let event = match digit {
            '0'..='9' => u32::from(digit) - u32::from('0'),
            '*' => 10,
            '#' => 11,
            'A'..='D' => u32::from(digit) - u32::from('A') + 12,
            _ => return None,
        };
        u8::try_from(event).ok()
    }
}

/// Tells each press once: at its first packet, whichever that is.
///
/// All packets of one press carry the same timestamp, the beginning of the event (RFC 4733 2.2), so a press is
/// new when SSRC or timestamp are, and a lost first, middle or end packet changes nothing. Events longer than
/// 65,535 units come as segments, each with a later timestamp that follows on from the one before without an E
/// bit (2.5.1.3): they are one press. Late packets of a press that is past are known by their timestamp.
#[derive(Clone, Copy, Default, Debug)]
pub struct EventDecoder {
    last: Option<Press>,
}

#[derive(Clone, Copy, Debug)]
struct Press {
    ssrc: u32,
    timestamp: u32,
    event: u8,
    ended: bool,
    duration: u16,
}

impl EventDecoder {
    /// The key, if this packet tells a press that was not told yet.
    pub fn receive(&mut self, ssrc: u32, timestamp: u32, event: TelephoneEvent) -> Option<char> {
        let digit = event.digit()?;
        if let Some(last) = &mut self.last
            && last.ssrc == ssrc
        {
            let ahead = timestamp.wrapping_sub(last.timestamp) as i32;
            if ahead == 0 && last.event == event.event {
                last.ended |= event.end;
                last.duration = last.duration.max(event.duration);
                return None;
            }
            if (-LATE..0).contains(&ahead) {
                return None;
            }
            let segment = last.event == event.event && !last.ended && last.duration >= SEGMENT_FROM;
            if segment && (0..=i32::from(u16::MAX) + SLACK).contains(&ahead) {
                (last.timestamp, last.duration, last.ended) = (timestamp, event.duration, event.end);
                return None;
            }
        }
        self.last =
            Some(Press { ssrc, timestamp, event: event.event, ended: event.end, duration: event.duration });
        Some(digit)
    }
}

/// A timestamp this far behind the last press is a late packet; further behind, the source began anew.
const LATE: i32 = 480_000;
/// Only an event that came near the largest duration can go on in a segment.
const SEGMENT_FROM: u16 = u16::MAX - 8_000;
/// How far a segment may begin after the largest duration (lost packets, 20 ms at 48 kHz and some).
const SLACK: i32 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(digit: char, end: bool, duration: u16) -> TelephoneEvent {
        TelephoneEvent { event: TelephoneEvent::of(digit).unwrap(), end, volume: 10, duration }
    }

    fn press(
        decoder: &mut EventDecoder,
        digit: char,
        timestamp: u32,
        lost: impl Fn(usize) -> bool,
    ) -> String {
        let packets = (1..=5).map(|n| event(digit, false, n * 160)).chain([event(digit, true, 960); 3]);
        packets
            .enumerate()
            .filter(|(n, _)| !lost(*n))
            .filter_map(|(_, e)| decoder.receive(7, timestamp, e))
            .collect()
    }

    #[test]
    fn payloads_are_read_and_written() {
        for digit in "0123456789*#ABCD".chars() {
            let event = event(digit, true, 1234);
            assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
            assert_eq!(event.digit(), Some(digit));
        }
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), None);
        assert_eq!(TelephoneEvent::parse(&[16, 0, 0, 0]).and_then(TelephoneEvent::digit), None);
        assert_eq!(TelephoneEvent::of('x'), None);
    }

    #[test]
    fn each_press_is_told_once_whatever_is_lost() {
        for mask in 0..255u16 {
            let mut decoder = EventDecoder::default();
            let mut told = String::new();
            for (n, digit) in "11#1".chars().enumerate() {
                told += &press(&mut decoder, digit, 8000 + 2400 * n as u32, |p| mask >> p & 1 == 1);
            }
            assert_eq!(told, "11#1", "lost packets {mask:08b}");
        }
    }

    #[test]
    fn late_packets_of_an_older_press_tell_nothing() {
        let mut decoder = EventDecoder::default();
        assert_eq!(press(&mut decoder, '1', 8000, |_| false), "1");
        assert_eq!(press(&mut decoder, '2', 10_400, |_| false), "2");
        assert_eq!(decoder.receive(7, 8000, event('1', true, 960)), None);
        assert_eq!(
            decoder.receive(8, 8000, event('1', true, 960)),
            Some('1'),
            "another source is another press"
        );
    }

    #[test]
    fn a_long_press_in_segments_is_one() {
        let mut decoder = EventDecoder::default();
        assert_eq!(decoder.receive(7, 0, event('5', false, u16::MAX)), Some('5'));
        assert_eq!(decoder.receive(7, 65_535, event('5', false, 160)), None);
        assert_eq!(decoder.receive(7, 65_535, event('5', true, 320)), None);
        assert_eq!(decoder.receive(7, 70_000, event('5', false, 160)), Some('5'));
    }
}
