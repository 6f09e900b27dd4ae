//! A trace as a capture file that Wireshark, tshark and tcpdump read.
//!
//! Classic pcap with microseconds, link type RAW: each packet is an IP header, a UDP header and the message. Nothing was
//! captured on a wire: the headers are made here, from the addresses that the node knows. What went by TCP, TLS or
//! WebSocket stands in UDP too, whole and readable; its Via says how it really went.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::engine::trace::{TraceView, Way};

/// The registered media type of such a file.
pub const MEDIA_TYPE: &str = "application/vnd.tcpdump.pcap";

/// `LINKTYPE_RAW`: IPv4 or IPv6 without a link header.
const RAW: u32 = 101;
/// Longest packet that a reader has to expect.
const SNAP: u32 = 262_144;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
/// The longest message that fits the length fields of IPv4 and UDP.
const LONGEST: usize = 65_535 - IPV4_HEADER - UDP_HEADER;

/// The file.
#[must_use]
pub fn pcap(view: &TraceView) -> Vec<u8> {
    let mut file = Vec::with_capacity(view.messages.iter().map(|message| message.text.len() + 64).sum());
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, SNAP, RAW] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    let start = view.messages.first().map_or(0, |first| first.time.0.0.saturating_mul(1000));
    for message in &view.messages {
        let text = message.text.as_bytes();
        let text = text.get(..text.len().min(LONGEST)).unwrap_or_default();
        let (local, peer) = addresses(&message.local, &message.peer);
        let packet = match message.way {
            Way::In => packet(peer, local, text),
            Way::Out => packet(local, peer, text),
        };
        let at = start.saturating_add(message.offset_us);
        let length = packet.len() as u64;
        for word in [at / 1_000_000, at % 1_000_000, length, length] {
            file.extend_from_slice(&u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
        file.extend_from_slice(&packet);
    }
    file
}

/// Both ends, of one family: that of the peer.
fn addresses(local: &str, peer: &str) -> (SocketAddr, SocketAddr) {
    let read = |text: &str| {
        let address = text.parse().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        SocketAddr::new(address.ip().to_canonical(), address.port())
    };
    let (local, peer) = (read(local), read(peer));
    let ip = match (local.ip(), peer.ip()) {
        (IpAddr::V4(_), IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        (IpAddr::V6(_), IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        (ip, _) => ip,
    };
    (SocketAddr::new(ip, local.port()), peer)
}

/// One datagram with its headers (RFC 791, RFC 8200, RFC 768).
fn packet(from: SocketAddr, to: SocketAddr, text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(UDP_HEADER + text.len()).unwrap_or(u16::MAX);
    let mut udp = Vec::with_capacity(UDP_HEADER + text.len());
    for field in [from.port(), to.port(), length, 0] {
        udp.extend_from_slice(&field.to_be_bytes());
    }
    udp.extend_from_slice(text);
    let mut pseudo = Vec::with_capacity(40);
    let mut head = Vec::with_capacity(40);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let addresses = [source.octets(), target.octets()].concat();
            pseudo.extend_from_slice(&addresses);
            pseudo.extend_from_slice(&[0, UDP]);
            pseudo.extend_from_slice(&length.to_be_bytes());
            let total = u16::try_from(IPV4_HEADER + udp.len()).unwrap_or(u16::MAX);
            head.extend_from_slice(&[0x45, 0]);
            head.extend_from_slice(&total.to_be_bytes());
            head.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
            head.extend_from_slice(&addresses);
            let sum = checksum(&head);
            put(&mut head, 10, sum);
        }
        (source, target) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V6(ip) => ip.octets(),
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            };
            let addresses = [octets(source), octets(target)].concat();
            pseudo.extend_from_slice(&addresses);
            pseudo.extend_from_slice(&u32::from(length).to_be_bytes());
            pseudo.extend_from_slice(&[0, 0, 0, UDP]);
            head.extend_from_slice(&[0x60, 0, 0, 0]);
            head.extend_from_slice(&length.to_be_bytes());
            head.extend_from_slice(&[UDP, 64]);
            head.extend_from_slice(&addresses);
        }
    }
    pseudo.extend_from_slice(&udp);
    // A sum of zero is written as all ones: zero says that there is none (RFC 768).
    let sum = match checksum(&pseudo) {
        0 => u16::MAX,
        sum => sum,
    };
    put(&mut udp, 6, sum);
    head.append(&mut udp);
    head
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    };
    // 65,575 bytes at most: the sum of their words fits.
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixMillis;
    use crate::engine::trace::TraceMessage;
    use crate::engine::view::Time;

    fn message(way: Way, local: &str, peer: &str, offset_us: u64, text: &str) -> TraceMessage {
        TraceMessage {
            time: Time(UnixMillis(1_800_000_000_250)),
            offset_us,
            party: 0,
            way,
            transport: "udp".into(),
            local: local.into(),
            peer: peer.into(),
            method: "INVITE".into(),
            status: None,
            reason: None,
            cseq: Some(1),
            sdp: None,
            repeated: false,
            text: text.into(),
        }
    }

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn every_packet_has_its_time_addresses_lengths_and_sums() {
        let messages = vec![
            message(Way::In, "192.0.2.1:5060", "198.51.100.7:5062", 0, "INVITE"),
            message(Way::Out, "192.0.2.1:5060", "[2001:db8::9]:5070", 900_123, "SIP/2.0 200 OK!"),
            message(Way::Out, "192.0.2.1:5060", "198.51.100.7:5062", 1_000_000, &"x".repeat(70_000)),
        ];
        let view =
            TraceView { call: "1".into(), node: "n".into(), parties: Vec::new(), messages, left_out: 0 };
        let file = pcap(&view);
        assert_eq!((word(&file, 0), word(&file, 20)), (0xa1b2_c3d4, RAW));
        let mut at = 24;
        let mut packets = Vec::new();
        while at < file.len() {
            let (seconds, micros, length) =
                (word(&file, at), word(&file, at + 4), word(&file, at + 8) as usize);
            assert_eq!(word(&file, at + 12) as usize, length);
            packets.push((seconds, micros, &file[at + 16..at + 16 + length]));
            at += 16 + length;
        }
        let [first, second, third] = packets.as_slice() else { panic!("{}", packets.len()) };
        assert_eq!((first.0, first.1), (1_800_000_000, 250_000));
        assert_eq!((second.0, second.1), (1_800_000_001, 150_123));
        // IPv4: version and length, total, protocol, addresses; a sum over it all with its sum is 0.
        assert_eq!((first.2[0], first.2[9], first.2.len()), (0x45, UDP, 34));
        assert_eq!(&first.2[12..20], &[198, 51, 100, 7, 192, 0, 2, 1]);
        assert_eq!(checksum(&first.2[..20]), 0);
        assert_eq!(&first.2[20..26], &[0x13, 0xc6, 0x13, 0xc4, 0, 14], "ports and length");
        let mut pseudo = [&first.2[12..20], &[0, UDP, 0, 14]].concat();
        pseudo.extend_from_slice(&first.2[20..]);
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(&first.2[28..], b"INVITE");
        // IPv6, with a message of odd length.
        assert_eq!((second.2[0], second.2[6], second.2.len()), (0x60, UDP, 40 + 8 + 15));
        let mut pseudo = [&second.2[8..40], &[0, 0, 0, 23, 0, 0, 0, UDP]].concat();
        pseudo.extend_from_slice(&second.2[40..]);
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(third.2.len(), 65_535, "what fits no packet is cut");
    }
}
