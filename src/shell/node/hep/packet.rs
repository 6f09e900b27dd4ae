//! HEP version 3, the Homer Encapsulation Protocol: a header, then chunks of vendor, type, length and value, all numbers
//! big-endian. Vendor 0 has the chunks that every capture server knows.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest payload that fits a packet, whose length is of 16 bits, beside everything else.
pub(super) const MAX_PAYLOAD: usize = 64_000;
/// A Call-ID is shorter.
const MAX_CORRELATION: usize = 512;

/// Types of chunks.
mod chunk {
    pub(super) const FAMILY: u16 = 0x01;
    pub(super) const PROTOCOL: u16 = 0x02;
    pub(super) const SOURCE_V4: u16 = 0x03;
    pub(super) const TARGET_V4: u16 = 0x04;
    pub(super) const SOURCE_V6: u16 = 0x05;
    pub(super) const TARGET_V6: u16 = 0x06;
    pub(super) const SOURCE_PORT: u16 = 0x07;
    pub(super) const TARGET_PORT: u16 = 0x08;
    pub(super) const SECONDS: u16 = 0x09;
    pub(super) const MICROSECONDS: u16 = 0x0a;
    pub(super) const PAYLOAD_TYPE: u16 = 0x0b;
    pub(super) const CAPTURE_ID: u16 = 0x0c;
    pub(super) const PASSWORD: u16 = 0x0e;
    pub(super) const PAYLOAD: u16 = 0x0f;
    pub(super) const CORRELATION: u16 = 0x11;
    pub(super) const NAME: u16 = 0x13;
}

/// Address families as they are numbered there.
const INET: u8 = 2;
const INET6: u8 = 10;
/// Protocols of IP.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// What a payload is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A SIP message.
    Sip,
    /// RTCP as JSON.
    Rtcp,
    /// A quality report (RFC 6035).
    Quality,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Sip => 1,
            Self::Rtcp => 5,
            Self::Quality => 35,
        }
    }
}

/// Who sends, in every packet.
#[derive(Clone, Copy)]
pub(super) struct Agent<'a> {
    pub id: u32,
    pub name: &'a str,
    pub password: Option<&'a str>,
}

/// What was seen.
pub(super) struct Seen<'a> {
    pub at: SystemTime,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// By TCP, or by what runs over it.
    pub is_stream: bool,
    pub kind: Kind,
    pub correlation: Option<&'a str>,
    /// At most [`MAX_PAYLOAD`] of it is sent.
    pub payload: &'a [u8],
}

impl<'a> Seen<'a> {
    /// Seen as a datagram.
    pub(super) const fn new(
        at: SystemTime,
        kind: Kind,
        (from, to): (SocketAddr, SocketAddr),
        correlation: Option<&'a str>,
        payload: &'a [u8],
    ) -> Self {
        Self { at, from, to, is_stream: false, kind, correlation, payload }
    }
}

/// Writes a packet in the place of what was in `into`.
pub(super) fn write(into: &mut Vec<u8>, agent: Agent<'_>, seen: &Seen<'_>) {
    into.clear();
    into.extend_from_slice(b"HEP3\0\0");
    let mut chunk = |kind: u16, value: &[u8]| {
        let length = u16::try_from(6 + value.len()).unwrap_or(u16::MAX);
        for half in [0, kind, length] {
            into.extend_from_slice(&half.to_be_bytes());
        }
        into.extend_from_slice(value);
    };
    // A listener on IPv6 has peers on IPv4, too. Both ends are of one family.
    match (seen.from.ip().to_canonical(), seen.to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            chunk(chunk::FAMILY, &[INET]);
            chunk(chunk::SOURCE_V4, &from.octets());
            chunk(chunk::TARGET_V4, &to.octets());
        }
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            chunk(chunk::FAMILY, &[INET6]);
            chunk(chunk::SOURCE_V6, &octets(from));
            chunk(chunk::TARGET_V6, &octets(to));
        }
    }
    chunk(chunk::PROTOCOL, &[if seen.is_stream { TCP } else { UDP }]);
    chunk(chunk::SOURCE_PORT, &seen.from.port().to_be_bytes());
    chunk(chunk::TARGET_PORT, &seen.to.port().to_be_bytes());
    let since = seen.at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    chunk(chunk::SECONDS, &u32::try_from(since.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    chunk(chunk::MICROSECONDS, &since.subsec_micros().to_be_bytes());
    chunk(chunk::PAYLOAD_TYPE, &[seen.kind.number()]);
    chunk(chunk::CAPTURE_ID, &agent.id.to_be_bytes());
    if let Some(password) = agent.password {
        chunk(chunk::PASSWORD, password.as_bytes());
    }
    chunk(chunk::NAME, agent.name.as_bytes());
    if let Some(correlation) = seen.correlation {
        let cut = correlation.as_bytes();
        chunk(chunk::CORRELATION, cut.get(..cut.len().min(MAX_CORRELATION)).unwrap_or_default());
    }
    chunk(chunk::PAYLOAD, seen.payload.get(..seen.payload.len().min(MAX_PAYLOAD)).unwrap_or_default());
    let length = u16::try_from(into.len()).unwrap_or(u16::MAX);
    if let Some(field) = into.get_mut(4..6) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The chunks of a packet, by their types.
    pub(in super::super) fn read(packet: &[u8]) -> BTreeMap<u16, Vec<u8>> {
        assert_eq!(&packet[..4], b"HEP3");
        let half = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        assert_eq!(half(4), packet.len());
        let (mut chunks, mut at) = (BTreeMap::new(), 6);
        while at < packet.len() {
            assert_eq!(half(at), 0, "the vendor that everybody knows");
            let (kind, length) = (u16::try_from(half(at + 2)).unwrap(), half(at + 4));
            assert!(chunks.insert(kind, packet[at + 6..at + length].to_vec()).is_none(), "each once");
            at += length;
        }
        chunks
    }

    fn seen<'a>(from: &str, to: &str, payload: &'a [u8]) -> Seen<'a> {
        Seen {
            at: UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_123),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            is_stream: false,
            kind: Kind::Sip,
            correlation: None,
            payload,
        }
    }

    const AGENT: Agent<'static> = Agent { id: 2001, name: "edge1", password: None };

    #[test]
    fn a_message_has_its_chunks_in_their_widths() {
        let mut packet = b"left over".to_vec();
        let payload = b"OPTIONS sip:a SIP/2.0\r\n\r\n";
        write(&mut packet, AGENT, &seen("192.0.2.1:5060", "198.51.100.2:5080", payload));
        let chunks = read(&packet);
        let wanted: [(u16, &[u8]); 12] = [
            (1, &[2]),
            (2, &[17]),
            (3, &[192, 0, 2, 1]),
            (4, &[198, 51, 100, 2]),
            (7, &5060_u16.to_be_bytes()),
            (8, &5080_u16.to_be_bytes()),
            (9, &1_700_000_000_u32.to_be_bytes()),
            (10, &123_u32.to_be_bytes()),
            (11, &[1]),
            (12, &2001_u32.to_be_bytes()),
            (15, payload),
            (19, b"edge1"),
        ];
        for (kind, value) in wanted {
            assert_eq!(chunks.get(&kind).map(Vec::as_slice), Some(value), "chunk {kind}");
        }
        assert_eq!(chunks.len(), 12);
    }

    #[test]
    fn streams_other_kinds_and_the_rest_of_the_agent() {
        let mut packet = Vec::new();
        let agent = Agent { password: Some("s3cret"), ..AGENT };
        for (kind, number) in [(Kind::Sip, 1), (Kind::Rtcp, 5), (Kind::Quality, 35)] {
            let seen = Seen {
                is_stream: true,
                kind,
                correlation: Some("abc"),
                ..seen("192.0.2.1:1", "192.0.2.2:2", b"{}")
            };
            write(&mut packet, agent, &seen);
            let chunks = read(&packet);
            assert_eq!((&chunks[&2][..], &chunks[&11][..]), (&[6][..], &[number][..]));
            assert_eq!((&chunks[&14][..], &chunks[&17][..]), (&b"s3cret"[..], &b"abc"[..]));
        }
    }

    #[test]
    fn both_ends_are_of_one_family() {
        let mut packet = Vec::new();
        for (from, to, family) in [
            ("[::ffff:192.0.2.1]:5060", "192.0.2.2:5060", 2),
            ("[2001:db8::1]:5060", "[2001:db8::2]:5060", 10),
            ("192.0.2.1:5060", "[2001:db8::2]:5060", 10),
        ] {
            write(&mut packet, AGENT, &seen(from, to, b""));
            let chunks = read(&packet);
            assert_eq!(chunks[&1], [family], "{from} {to}");
            let (ends, length) = if family == 2 { ([3, 4], 4) } else { ([5, 6], 16) };
            assert!(ends.iter().all(|end| chunks[end].len() == length), "{chunks:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_packet_stays_one() {
        let mut packet = Vec::new();
        let (long, name) = (vec![b'x'; 70_000], "c".repeat(70_000));
        let seen = Seen { correlation: Some(&name), ..seen("192.0.2.1:1", "192.0.2.2:2", &long) };
        write(&mut packet, AGENT, &seen);
        let chunks = read(&packet);
        assert_eq!((chunks[&15].len(), chunks[&17].len()), (MAX_PAYLOAD, MAX_CORRELATION));
    }
}
