//! RTP packets (RFC 3550 5.1) and telephone events (RFC 4733 2.3), apart from segue's own.

/// The header of one packet and its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet; nothing for what is not RTP version 2.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<12>()?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *header;
        if first >> 6 != 2 {
            return None;
        }
        let mut payload = rest.get(usize::from(first & 0x0f) * 4..)?;
        if first & 0x10 != 0 {
            let (extension, after) = payload.split_first_chunk::<4>()?;
            let [_, _, l0, l1] = *extension;
            payload = after.get(usize::from(u16::from_be_bytes([l0, l1])) * 4..)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            payload = payload.get(..payload.len().checked_sub(padding)?)?;
        }
        Some(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            payload,
        })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + self.payload.len());
        bytes.extend([0x80, self.payload_type & 0x7f | u8::from(self.marker) << 7]);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(self.payload);
        bytes
    }
}

const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// The event code of a digit.
pub(super) fn event_of(digit: char) -> Option<u8> {
    let digit = u8::try_from(digit.to_ascii_uppercase()).ok()?;
    DIGITS.iter().position(|known| *known == digit).and_then(|at| u8::try_from(at).ok())
}

/// The digit of an event code.
pub(super) fn digit_of(event: u8) -> Option<char> {
    DIGITS.get(usize::from(event)).map(|digit| char::from(*digit))
}

/// The four bytes of a telephone event.
pub(super) fn event_payload(event: u8, end: Edge, duration: u16) -> [u8; 4] {
    let [high, low] = duration.to_be_bytes();
    let volume = 10;
    [event, volume | if end == Edge::Up { 0x80 } else { 0 }, high, low]
}

/// Whether the key is still down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    Down,
    Up,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_round_trip_and_rubbish_is_refused() {
        let packet = Packet {
            payload_type: 8,
            marker: true,
            sequence: 65_535,
            timestamp: 7,
            ssrc: 9,
            payload: &[1, 2, 3],
        };
        assert_eq!(Packet::parse(&packet.to_bytes()), Some(packet));
        assert_eq!(Packet::parse(&[0x80; 11]), None);
        assert_eq!(Packet::parse(&[0x40; 20]), None);
        assert_eq!(Packet::parse(&[0x8f; 20]), None);
        let extended = [&[0x90u8, 0][..], &[0; 10], &[0, 0, 0, 1, 9, 9, 9, 9, 5]].concat();
        assert_eq!(Packet::parse(&extended).unwrap().payload, &[5]);
    }

    #[test]
    fn digits_have_their_codes() {
        assert_eq!(
            (event_of('0'), event_of('*'), event_of('#'), event_of('d')),
            (Some(0), Some(10), Some(11), Some(15))
        );
        assert_eq!(event_of('x'), None);
        assert_eq!(digit_of(10), Some('*'));
        assert_eq!(event_payload(5, Edge::Up, 800), [5, 0x8a, 3, 32]);
    }
}
