//! RTP packets as views (RFC 3550 5.1) and telephone events (RFC 4733).
//!
//! A view is made once per packet and checks everything that later accesses rely on; the rewriting functions
//! touch only the fixed header, in place.

mod event;

pub use event::{EventDecoder, TelephoneEvent};

/// The fixed header is 12 bytes.
pub const HEADER: usize = 12;

/// The fixed header of a packet that is well formed (version 2, CSRC list, extension and padding within it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload begins.
    pub payload_at: u16,
    /// Where it ends (before padding).
    pub payload_end: u16,
}

/// Why bytes are no RTP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RtpError {
    /// Fewer than 12 bytes, or more than 65,535.
    #[error("not the size of an RTP packet")]
    Size,
    /// Not version 2.
    #[error("not RTP version 2")]
    Version,
    /// The second byte is an RTCP packet type (RFC 5761 4).
    #[error("an RTCP packet")]
    Rtcp,
    /// CSRC list, extension or padding reach beyond the end.
    #[error("shorter than its header says")]
    Truncated,
}

impl Header {
    /// Reads and checks the header (RFC 3550 5.1, 5.3.1; A.1 for the checks).
    ///
    /// # Errors
    /// The bytes are no RTP packet.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let end = u16::try_from(packet.len()).map_err(|_| RtpError::Size)?;
        let Some(&[b0, b1, s0, s1, t0, t1, t2, t3, x0, x1, x2, x3]) = packet.first_chunk::<HEADER>() else {
            return Err(RtpError::Size);
        };
        if b0 >> 6 != 2 {
            return Err(RtpError::Version);
        }
        if (192..=223).contains(&b1) {
            return Err(RtpError::Rtcp);
        }
        let (payload_at, payload_end) =
            if b0 & 0x3f == 0 { (HEADER as u16, end) } else { variable_part(b0, packet, end)? };
        Ok(Self {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([x0, x1, x2, x3]),
            payload_at,
            payload_end,
        })
    }

    /// The payload of the packet that this header was read from.
    #[must_use]
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(usize::from(self.payload_at)..usize::from(self.payload_end)).unwrap_or_default()
    }

    /// Writes marker, payload type, sequence, timestamp and SSRC over those of `packet`; version, padding,
    /// extension, CSRC list and payload stay. Does nothing to less than 12 bytes.
    pub fn write(&self, packet: &mut [u8]) {
        let Some([_, b1, rest @ ..]) = packet.first_chunk_mut::<HEADER>() else { return };
        *b1 = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [x0, x1, x2, x3] = self.ssrc.to_be_bytes();
        *rest = [s0, s1, t0, t1, t2, t3, x0, x1, x2, x3];
    }

    /// Makes `packet` begin with a plain header: version 2, no padding, extension or CSRC.
    pub fn write_new(&self, packet: &mut [u8]) {
        if let Some(first) = packet.first_mut() {
            *first = 0x80;
        }
        self.write(packet);
    }
}

/// Where the payload of a packet begins that cannot be read whole because it is still encrypted: only what SRTP leaves
/// clear is looked at (RFC 3711 3.1), so padding is not.
///
/// # Errors
/// The bytes are no RTP packet.
pub fn payload_offset(packet: &[u8]) -> Result<usize, RtpError> {
    let Some(&[b0, b1, ..]) = packet.first_chunk::<HEADER>() else { return Err(RtpError::Size) };
    if b0 >> 6 != 2 {
        return Err(RtpError::Version);
    }
    if (192..=223).contains(&b1) {
        return Err(RtpError::Rtcp);
    }
    if b0 & 0x1f == 0 {
        return Ok(HEADER);
    }
    let end = u16::try_from(packet.len()).map_err(|_| RtpError::Size)?;
    variable_part(b0 & !PADDING, packet, end).map(|(at, _)| at.into())
}

/// The bit of the first byte that says that the packet ends in padding.
const PADDING: u8 = 0x20;

#[cold]
fn variable_part(b0: u8, packet: &[u8], end: u16) -> Result<(u16, u16), RtpError> {
    let mut at = HEADER + 4 * usize::from(b0 & 0x0f);
    if b0 & 0x10 != 0 {
        let Some(&[_, _, high, low]) = packet.get(at..).and_then(<[u8]>::first_chunk) else {
            return Err(RtpError::Truncated);
        };
        at += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
    }
    let padding = match (b0 & PADDING != 0, packet.last()) {
        (true, Some(&0)) => return Err(RtpError::Truncated),
        (true, Some(&count)) => usize::from(count),
        _ => 0,
    };
    match (u16::try_from(at), usize::from(end).checked_sub(padding)) {
        (Ok(at16), Some(payload_end)) if at <= payload_end => Ok((at16, payload_end as u16)),
        _ => Err(RtpError::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet() -> Vec<u8> {
        let mut bytes = vec![0x80, 0x80 | 8, 0x12, 0x34, 1, 2, 3, 4, 0xaa, 0xbb, 0xcc, 0xdd];
        bytes.extend([0xd5; 160]);
        bytes
    }

    #[test]
    fn reads_the_fixed_header() {
        let bytes = packet();
        let header = Header::parse(&bytes).unwrap();
        assert!(header.marker);
        assert_eq!((header.payload_type, header.sequence), (8, 0x1234));
        assert_eq!((header.timestamp, header.ssrc), (0x0102_0304, 0xaabb_ccdd));
        assert_eq!(header.payload(&bytes).len(), 160);
    }

    #[test]
    fn csrc_extension_and_padding_are_measured() {
        let mut bytes = packet();
        bytes[0] = 0x80 | 0x20 | 0x10 | 2;
        bytes[12 + 8..12 + 12].copy_from_slice(&[0xbe, 0xde, 0, 3]);
        *bytes.last_mut().unwrap() = 5;
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(usize::from(header.payload_at), 12 + 8 + 4 + 12);
        assert_eq!(usize::from(header.payload_end), bytes.len() - 5);

        *bytes.last_mut().unwrap() = 0;
        assert_eq!(Header::parse(&bytes), Err(RtpError::Truncated));
        *bytes.last_mut().unwrap() = 200;
        assert_eq!(Header::parse(&bytes), Err(RtpError::Truncated));
        *bytes.last_mut().unwrap() = 1;
        bytes[22] = 0xff;
        assert_eq!(Header::parse(&bytes), Err(RtpError::Truncated));
    }

    #[test]
    fn other_protocols_are_told_apart() {
        let mut bytes = packet();
        bytes[1] = 200;
        assert_eq!(Header::parse(&bytes), Err(RtpError::Rtcp));
        bytes[0] = 0x16;
        assert_eq!(Header::parse(&bytes), Err(RtpError::Version));
        assert_eq!(Header::parse(&bytes[..11]), Err(RtpError::Size));
        assert_eq!(Header::parse(&vec![0x80; 70_000]), Err(RtpError::Size));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_written_is_read_back(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200), tame in any::<bool>(),
            sequence in any::<u16>(), timestamp in any::<u32>(), ssrc in any::<u32>(),
        ) {
            if tame && let Some(first) = bytes.first_mut() {
                *first = 0x80 | *first & 0x3f;
            }
            if let Ok(header) = Header::parse(&bytes) {
                prop_assert!(header.payload(&bytes).len() <= bytes.len() - HEADER);
                let new = Header { sequence, timestamp, ssrc, payload_type: 63, marker: false, ..header };
                let before = bytes.clone();
                new.write(&mut bytes);
                prop_assert_eq!(Header::parse(&bytes), Ok(new));
                header.write(&mut bytes);
                prop_assert_eq!(before, bytes);
            }
        }
    }
}
