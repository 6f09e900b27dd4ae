//! STUN messages as ICE uses them (RFC 8489, RFC 8445 16): a view over a datagram, and the two answers that we give.
//!
//! Nothing is allocated and nothing is trusted: an attribute is found by walking a text whose length was checked, and
//! only what stands before MESSAGE-INTEGRITY counts (RFC 8489 14.5).

use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;

/// Bytes before the first attribute.
const HEADER: usize = 20;
/// RFC 8489 5.
const MAGIC: u32 = 0x2112_A442;
/// Bytes of a MESSAGE-INTEGRITY with its head.
const INTEGRITY: usize = 24;
/// RFC 8489 14.7.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
/// The longest message that is looked at: what a datagram carries without being cut. A check of ICE has some 120 bytes as a
/// rule; two fragments of 256 characters (RFC 8839 5.4) and what nobody knows make it longer.
pub const MAX_MESSAGE: usize = 1500;
/// No message that we write is longer.
pub const MAX_WRITTEN: usize = 256;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLING: u16 = 0x802A;

/// What kind of message it is; of methods there is only Binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer.
    Success,
    /// The refusal.
    Error,
}

/// Why a datagram is no STUN message that we read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StunError {
    /// Too short, too long, or not as long as it says.
    #[error("the length does not fit")]
    Length,
    /// Not the magic cookie of RFC 8489, or the first two bits are set.
    #[error("not STUN")]
    Cookie,
    /// A method other than Binding.
    #[error("another method than Binding")]
    Method,
    /// An attribute that goes beyond the end.
    #[error("an attribute is cut")]
    Attribute,
}

/// A message that was read.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    /// Where MESSAGE-INTEGRITY begins.
    integrity: Option<usize>,
}

/// Whether a datagram is STUN by its first byte (RFC 7983 7).
#[must_use]
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| *byte <= 3)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn double(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// Why it is none. Attributes that nobody knows are passed over.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StunError> {
        let (Some(kind), Some(length)) = (word(bytes, 0), word(bytes, 2)) else {
            return Err(StunError::Length);
        };
        if kind & 0xC000 != 0 || double(bytes, 4) != Some(MAGIC) {
            return Err(StunError::Cookie);
        }
        let length = usize::from(length);
        if bytes.len() > MAX_MESSAGE || !length.is_multiple_of(4) || bytes.len() != HEADER + length {
            return Err(StunError::Length);
        }
        let class = match kind {
            0x0001 => Class::Request,
            0x0011 => Class::Indication,
            0x0101 => Class::Success,
            0x0111 => Class::Error,
            _ => return Err(StunError::Method),
        };
        let (mut at, mut integrity) = (HEADER, None);
        while at < bytes.len() {
            let (Some(kind), Some(length)) = (word(bytes, at), word(bytes, at + 2)) else {
                return Err(StunError::Attribute);
            };
            if kind == MESSAGE_INTEGRITY && integrity.is_none() {
                integrity = Some(at);
            }
            at += 4 + usize::from(length).next_multiple_of(4);
        }
        if at != bytes.len() {
            return Err(StunError::Attribute);
        }
        Ok(Self { bytes, class, integrity })
    }

    /// Request or answer.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The 96 bits that an answer repeats.
    #[must_use]
    pub fn transaction(&self) -> &'a [u8] {
        self.bytes.get(8..HEADER).unwrap_or_default()
    }

    /// The value of the first attribute of a kind; only such as MESSAGE-INTEGRITY covers, where there is one.
    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let end = self.integrity.unwrap_or(self.bytes.len());
        let mut at = HEADER;
        while at < end {
            let (kind, length) = (word(self.bytes, at)?, usize::from(word(self.bytes, at + 2)?));
            if kind == wanted {
                return self.bytes.get(at + 4..at + 4 + length);
            }
            at += 4 + length.next_multiple_of(4);
        }
        None
    }

    /// USERNAME of a check, cut at the colon: the receiver's fragment and the sender's (RFC 8445 7.2.2).
    #[must_use]
    pub fn username(&self) -> Option<(&'a [u8], &'a [u8])> {
        let name = self.attribute(USERNAME)?;
        let colon = memchr::memchr(b':', name)?;
        Some((name.get(..colon)?, name.get(colon + 1..)?))
    }

    /// PRIORITY that a peer-reflexive candidate would have.
    #[must_use]
    pub fn priority(&self) -> Option<u32> {
        double(self.attribute(PRIORITY)?, 0)
    }

    /// Whether the controlling side picks this pair.
    #[must_use]
    pub fn uses_candidate(&self) -> bool {
        self.attribute(USE_CANDIDATE).is_some()
    }

    /// XOR-MAPPED-ADDRESS of a success.
    #[must_use]
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        let value = self.attribute(XOR_MAPPED_ADDRESS)?;
        let mut mask = [0; 16];
        mask.iter_mut().zip(self.bytes.get(4..HEADER)?).for_each(|(mask, byte)| *mask = *byte);
        let port = word(value, 2)? ^ (MAGIC >> 16) as u16;
        let ip: IpAddr = match value.get(1)? {
            1 => (double(value, 4)? ^ MAGIC).to_be_bytes().into(),
            2 => {
                let address: [u8; 16] = value.get(4..20)?.try_into().ok()?;
                (u128::from_be_bytes(address) ^ u128::from_be_bytes(mask)).to_be_bytes().into()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with `key` (short-term credentials, RFC 8489 9.1); constant
    /// time in the key.
    #[must_use]
    pub fn is_from(&self, key: &[u8]) -> bool {
        let Some(at) = self.integrity else { return false };
        let Some(found) = self.bytes.get(at + 4..at + INTEGRITY) else { return false };
        word(self.bytes, at + 2) == Some(20)
            && integrity(self.bytes, at, key).is_some_and(|mac| mac.verify_slice(found).is_ok())
    }

    /// Whether FINGERPRINT stands at the end and fits, as ICE demands of every check (RFC 8445 7.1).
    #[must_use]
    pub fn has_fingerprint(&self) -> bool {
        let Some(at) = self.bytes.len().checked_sub(8).filter(|at| *at >= HEADER) else { return false };
        let head = (word(self.bytes, at), word(self.bytes, at + 2));
        let covered = self.bytes.get(..at).unwrap_or_default();
        head == (Some(FINGERPRINT), Some(4))
            && double(self.bytes, at + 4) == Some(crc32(covered) ^ FINGERPRINT_XOR)
    }
}

/// The MAC over a message up to `at`, its length taken as if it ended with MESSAGE-INTEGRITY.
fn integrity(bytes: &[u8], at: usize, key: &[u8]) -> Option<Hmac<Sha1>> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).ok()?;
    mac.update(bytes.get(..2)?);
    mac.update(&u16::try_from(at + INTEGRITY - HEADER).ok()?.to_be_bytes());
    mac.update(bytes.get(4..at)?);
    Some(mac)
}

/// CRC-32 of ITU V.42, a nibble at a time.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let (mut table, mut n) = ([0; 16], 0);
        while n < 16 {
            let (mut crc, mut bit) = (n as u32, 0);
            while bit < 4 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
                bit += 1;
            }
            #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
            (table[n] = crc);
            n += 1;
        }
        table
    };
    let step = |crc: u32| crc >> 4 ^ TABLE.get((crc & 15) as usize).copied().unwrap_or_default();
    !bytes.iter().fold(u32::MAX, |crc, byte| step(step(crc ^ u32::from(*byte))))
}

/// A message under construction, in place.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    bytes: [u8; MAX_WRITTEN],
    len: usize,
}

impl Writer {
    /// Binding, of a class, with the 96 bits of its transaction.
    #[must_use]
    pub fn new(class: Class, transaction: &[u8]) -> Self {
        let kind: u16 = match class {
            Class::Request => 0x0001,
            Class::Indication => 0x0011,
            Class::Success => 0x0101,
            Class::Error => 0x0111,
        };
        let mut writer = Self { bytes: [0; MAX_WRITTEN], len: 0 };
        writer.put(&kind.to_be_bytes());
        writer.put(&[0, 0]);
        writer.put(&MAGIC.to_be_bytes());
        let mut id = [0; 12];
        id.iter_mut().zip(transaction).for_each(|(place, byte)| *place = *byte);
        writer.put(&id);
        writer
    }

    /// The answer to a check that came from `source`.
    #[must_use]
    pub fn success(request: &Message<'_>, source: SocketAddr, key: &[u8]) -> Self {
        Self::new(Class::Success, request.transaction()).mapped_address(source).signed(key)
    }

    /// USERNAME of a check toward who has the fragment `theirs`.
    #[must_use]
    pub fn username(mut self, theirs: &str, ours: &str) -> Self {
        let mut name = [0; 128];
        let text = theirs.bytes().chain([b':']).chain(ours.bytes());
        let len = name.iter_mut().zip(text).map(|(place, byte)| *place = byte).count();
        self.attribute(USERNAME, name.get(..len).unwrap_or_default());
        self
    }

    /// PRIORITY and ICE-CONTROLLING, and USE-CANDIDATE where the pair is picked.
    #[must_use]
    pub fn controlling(mut self, priority: u32, tie_breaker: u64, pair: Pair) -> Self {
        self.attribute(PRIORITY, &priority.to_be_bytes());
        self.attribute(ICE_CONTROLLING, &tie_breaker.to_be_bytes());
        if pair == Pair::Picked {
            self.attribute(USE_CANDIDATE, &[]);
        }
        self
    }

    /// XOR-MAPPED-ADDRESS.
    #[must_use]
    pub fn mapped_address(mut self, address: SocketAddr) -> Self {
        let mut mask = [0; 16];
        let id = self.bytes;
        mask.iter_mut().zip(id.iter().skip(4)).for_each(|(mask, byte)| *mask = *byte);
        let mut value = [0; 20];
        let port = (address.port() ^ (MAGIC >> 16) as u16).to_be_bytes();
        let (family, ip, len) = match address.ip().to_canonical() {
            IpAddr::V4(ip) => (1, u128::from(u32::from(ip) ^ MAGIC) << 96, 8),
            IpAddr::V6(ip) => (2, u128::from(ip) ^ u128::from_be_bytes(mask), 20),
        };
        let text = [0, family].into_iter().chain(port).chain(ip.to_be_bytes());
        value.iter_mut().zip(text).for_each(|(place, byte)| *place = byte);
        self.attribute(XOR_MAPPED_ADDRESS, value.get(..len).unwrap_or_default());
        self
    }

    /// Ends the message: MESSAGE-INTEGRITY and FINGERPRINT.
    #[must_use]
    pub fn signed(mut self, key: &[u8]) -> Self {
        let at = self.len;
        let mac = integrity(self.bytes(), at, key).map(|mac| mac.finalize().into_bytes());
        self.attribute(MESSAGE_INTEGRITY, mac.as_deref().unwrap_or_default());
        self.fingerprinted()
    }

    /// Ends a message without credentials.
    #[must_use]
    pub fn fingerprinted(mut self) -> Self {
        let length = u16::try_from(self.len + 8 - HEADER).unwrap_or(u16::MAX).to_be_bytes();
        self.bytes.iter_mut().skip(2).zip(length).for_each(|(place, byte)| *place = byte);
        let crc = crc32(self.bytes()) ^ FINGERPRINT_XOR;
        self.attribute(FINGERPRINT, &crc.to_be_bytes());
        self
    }

    /// The text so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.put(&kind.to_be_bytes());
        self.put(&u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        self.put(value);
        self.put([0; 3].get(..value.len().next_multiple_of(4) - value.len()).unwrap_or_default());
        let length = u16::try_from(self.len - HEADER).unwrap_or_default().to_be_bytes();
        self.bytes.iter_mut().skip(2).zip(length).for_each(|(place, byte)| *place = byte);
    }
}

/// Whether a check picks its pair for media.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pair {
    /// It is only tried.
    Tried,
    /// USE-CANDIDATE.
    Picked,
}

/// A signed message with an attribute that nobody knows, before MESSAGE-INTEGRITY, which makes it `len` bytes long.
#[cfg(test)]
pub(crate) fn stretched(message: &[u8], len: usize, key: &[u8]) -> Vec<u8> {
    /// Of those that may be passed over (RFC 8489 14).
    const UNKNOWN: u16 = 0xC057;
    let mut bytes = message.get(..message.len() - INTEGRITY - 8).unwrap().to_vec();
    let value = len - bytes.len() - 4 - INTEGRITY - 8;
    bytes.extend([UNKNOWN, u16::try_from(value).unwrap()].map(u16::to_be_bytes).concat());
    bytes.resize(bytes.len() + value, 0x5a);
    let mac = integrity(&bytes, bytes.len(), key).unwrap().finalize().into_bytes();
    bytes.extend([MESSAGE_INTEGRITY, 20].map(u16::to_be_bytes).concat());
    bytes.extend(mac);
    bytes.splice(2..4, u16::try_from(len - HEADER).unwrap().to_be_bytes());
    let crc = crc32(&bytes) ^ FINGERPRINT_XOR;
    bytes.extend([FINGERPRINT, 4].map(u16::to_be_bytes).concat());
    bytes.extend(crc.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_be_as_long_as_a_datagram_and_no_longer() {
        let check = Writer::new(Class::Request, &[7; 12]).username("them", "us").signed(b"password");
        for len in [check.bytes().len() + 4, 604, 1496, MAX_MESSAGE] {
            let long = stretched(check.bytes(), len, b"password");
            assert_eq!(long.len(), len);
            let read = Message::parse(&long).unwrap();
            assert!(read.is_from(b"password") && read.has_fingerprint() && !read.is_from(b"passw0rd"));
            assert_eq!(read.username(), Some((&b"them"[..], &b"us"[..])));
        }
        let long = stretched(check.bytes(), MAX_MESSAGE + 4, b"password");
        assert_eq!(Message::parse(&long).unwrap_err(), StunError::Length);
    }

    /// RFC 5769 2.1.
    const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
        002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
        000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
    /// RFC 5769 2.2.
    const RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
        002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    const KEY: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    #[test]
    fn the_vectors_of_rfc_5769_are_read() {
        let bytes_of = bytes(REQUEST);
        let request = Message::parse(&bytes_of).unwrap();
        assert_eq!(request.class(), Class::Request);
        assert_eq!(request.username(), Some((&b"evtj"[..], &b"h6vY"[..])));
        assert_eq!(request.priority(), Some(0x6e00_01ff));
        assert!(!request.uses_candidate());
        assert!(request.is_from(KEY) && !request.is_from(b"another"));
        assert!(request.has_fingerprint());
        let bytes_of = bytes(RESPONSE);
        let response = Message::parse(&bytes_of).unwrap();
        assert_eq!(response.class(), Class::Success);
        assert_eq!(response.mapped_address(), Some("192.0.2.1:32853".parse().unwrap()));
        assert!(response.is_from(KEY) && response.has_fingerprint());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let check = Writer::new(Class::Request, &[7; 12])
            .username("them", "us")
            .controlling(9, 1, Pair::Picked)
            .signed(KEY);
        let check = Message::parse(check.bytes()).unwrap();
        assert_eq!(check.username(), Some((&b"them"[..], &b"us"[..])));
        assert!(check.uses_candidate() && check.is_from(KEY) && check.has_fingerprint());
        for source in ["192.0.2.1:9", "[2001:db8::7]:65535"] {
            let source = source.parse().unwrap();
            let answer = Writer::success(&check, source, KEY);
            let answer = Message::parse(answer.bytes()).unwrap();
            assert_eq!((answer.mapped_address(), answer.transaction()), (Some(source), &[7; 12][..]));
            assert!(answer.is_from(KEY) && answer.has_fingerprint());
            assert!(answer.bytes.len() < check.bytes.len() + 24, "an answer amplifies nothing worth it");
        }
    }

    #[test]
    fn an_address_of_ipv4_in_ipv6_is_told_as_ipv4() {
        let check = Writer::new(Class::Request, &[1; 12]).signed(KEY);
        let check = Message::parse(check.bytes()).unwrap();
        let answer = Writer::success(&check, "[::ffff:192.0.2.9]:7".parse().unwrap(), KEY);
        let mapped = Message::parse(answer.bytes()).unwrap().mapped_address();
        assert_eq!(mapped, Some("192.0.2.9:7".parse().unwrap()));
    }

    #[test]
    fn what_follows_the_integrity_does_not_count() {
        let mut writer = Writer::new(Class::Request, &[1; 12]).username("a", "b");
        let at = writer.len;
        writer.attribute(
            MESSAGE_INTEGRITY,
            &integrity(writer.bytes(), at, KEY).unwrap().finalize().into_bytes(),
        );
        writer.attribute(USE_CANDIDATE, &[]);
        let message = Message::parse(writer.bytes()).unwrap();
        assert!(message.is_from(KEY) && !message.uses_candidate());
    }

    #[test]
    fn cut_and_changed_messages_are_refused_and_none_panics() {
        let valid = bytes(REQUEST);
        for end in 0..valid.len() {
            assert!(Message::parse(&valid[..end]).is_err());
        }
        for at in 0..valid.len() {
            for bit in 0..8 {
                let mut changed = valid.clone();
                changed[at] ^= 1 << bit;
                if let Ok(message) = Message::parse(&changed) {
                    let _ = (message.username(), message.mapped_address(), message.priority());
                    assert!(!(message.is_from(KEY) && message.has_fingerprint()), "byte {at} bit {bit}");
                }
            }
        }
    }
}
