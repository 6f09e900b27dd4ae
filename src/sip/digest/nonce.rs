//! Nonces that cost no memory until they are used: HMAC over time, randomness, algorithm and address; and the
//! table of the counts (`nc`) that were used, bounded.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::Algorithm;
use super::hash::{decode_hex, hex_pair};
use crate::base::{Random, Timestamp};

/// Milliseconds of issue (6 bytes), randomness (6), and the front of the HMAC (16).
const NONCE_BYTES: usize = 28;
const STAMP_BYTES: usize = 12;

/// Which nonce: when it was issued (ms), then its random part. Its order is the order of issue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct NonceId {
    issued: u64,
    random: u64,
}

/// Mints and recognises nonces.
pub(super) struct Nonces {
    mac: Hmac<Sha256>,
    lifetime: Duration,
}

impl Nonces {
    pub(super) fn new(secret: &[u8; 32], lifetime: Duration) -> Self {
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(secret) {
            *to = *from;
        }
        Self { mac: Hmac::new(&block.into()), lifetime }
    }

    /// A fresh nonce for one algorithm and the address that asked, in hexadecimal.
    pub(super) fn mint(
        &self,
        now: Timestamp,
        ip: IpAddr,
        algorithm: Algorithm,
        random: &mut Random,
    ) -> String {
        let mut stamp = [0; STAMP_BYTES];
        let issued = (now.as_micros() / 1000).to_be_bytes();
        let random: [u8; 6] = random.bytes();
        for (to, from) in stamp.iter_mut().zip(issued.iter().skip(2).chain(&random)) {
            *to = *from;
        }
        let mut text = String::with_capacity(NONCE_BYTES * 2);
        for byte in stamp.iter().chain(&self.seal(&stamp, ip, algorithm)) {
            text.extend(hex_pair(*byte).map(char::from));
        }
        text
    }

    /// The nonce in `text`, if we minted it for that address and algorithm and it has not expired.
    pub(super) fn recognise(
        &self,
        now: Timestamp,
        ip: IpAddr,
        algorithm: Algorithm,
        text: &[u8],
    ) -> Option<NonceId> {
        let mut bytes = [0; NONCE_BYTES];
        if !decode_hex(text, &mut bytes) {
            return None;
        }
        let (stamp, seal) = bytes.split_first_chunk::<STAMP_BYTES>()?;
        if !bool::from(self.seal(stamp, ip, algorithm).ct_eq(seal)) {
            return None;
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let (issued, random) = stamp.split_at_checked(6)?;
        let id = NonceId { issued: number(issued), random: number(random) };
        (id.issued >= self.oldest(now) && id.issued <= now.as_micros() / 1000).then_some(id)
    }

    /// Issue time (ms) of the oldest nonce that still counts.
    pub(super) fn oldest(&self, now: Timestamp) -> u64 {
        (now - self.lifetime).as_micros() / 1000
    }

    fn seal(&self, stamp: &[u8; STAMP_BYTES], ip: IpAddr, algorithm: Algorithm) -> [u8; 16] {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut mac = self.mac.clone();
        mac.update(stamp);
        mac.update(&[algorithm as u8]);
        mac.update(&ip.octets());
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        full.first_chunk().copied().unwrap_or_default()
    }
}

/// The highest `nc` that each nonce in use has had. Bounded: a full table forgets its oldest nonce to take in a
/// younger one, and refuses what is older than all it knows. It shrinks only as nonces expire, oldest first, so
/// whatever it once forgot is refused until it has expired too: nothing forgotten can be replayed.
pub(super) struct NonceCounts {
    highest: BTreeMap<NonceId, u32>,
    capacity: usize,
}

impl NonceCounts {
    pub(super) fn new(capacity: usize) -> Self {
        Self { highest: BTreeMap::new(), capacity: capacity.max(1) }
    }

    /// Uses `count` of a nonce: true if it is higher than all before (RFC 7616 3.4, `nc`).
    /// `oldest` is [`Nonces::oldest`]: what expired is dropped on the way.
    pub(super) fn spend(&mut self, id: NonceId, count: u32, oldest: u64) -> bool {
        if count == 0 || id.issued < oldest {
            return false;
        }
        if let Some(highest) = self.highest.get_mut(&id) {
            let rises = count > *highest;
            *highest = count.max(*highest);
            return rises;
        }
        while let Some((first, _)) = self.highest.first_key_value() {
            let (first, expired) = (*first, first.issued < oldest);
            if !expired && self.highest.len() < self.capacity {
                break;
            }
            if !expired && first > id {
                return false;
            }
            self.highest.remove(&first);
        }
        self.highest.insert(id, count);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.highest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_nonce_is_ours_for_its_address_algorithm_and_time_only() {
        let nonces = Nonces::new(&[7; 32], Duration::from_secs(30));
        let text = nonces.mint(at(100), IP, Algorithm::Md5, &mut Random::from_number(1));
        let read = |now, ip, algorithm, text: &str| nonces.recognise(now, ip, algorithm, text.as_bytes());
        assert_eq!(text.len(), 56);
        assert!(read(at(100), IP, Algorithm::Md5, &text).is_some());
        assert!(read(at(130), IP, Algorithm::Md5, &text).is_some());
        assert!(read(at(131), IP, Algorithm::Md5, &text).is_none(), "expired");
        assert!(read(at(99), IP, Algorithm::Md5, &text).is_none(), "from the future");
        assert!(read(at(100), IP, Algorithm::Sha256, &text).is_none(), "for another algorithm");
        assert!(read(at(100), "192.0.2.2".parse().unwrap(), Algorithm::Md5, &text).is_none());
        assert!(read(at(100), "::ffff:192.0.2.1".parse().unwrap(), Algorithm::Md5, &text).is_some());
        let other = Nonces::new(&[8; 32], Duration::from_secs(30));
        assert!(other.recognise(at(100), IP, Algorithm::Md5, text.as_bytes()).is_none(), "another secret");
        for place in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
            assert!(nonces.recognise(at(100), IP, Algorithm::Md5, &forged).is_none(), "digit {place}");
        }
        assert!(read(at(100), IP, Algorithm::Md5, "").is_none());
    }

    #[test]
    fn counts_rise_strictly() {
        let mut counts = NonceCounts::new(10);
        let id = NonceId { issued: 5, random: 1 };
        assert!(!counts.spend(id, 0, 0));
        assert!(counts.spend(id, 1, 0));
        assert!(!counts.spend(id, 1, 0));
        assert!(counts.spend(id, 7, 0));
        assert!(!counts.spend(id, 2, 0));
        assert!(!counts.spend(id, 7, 0));
    }

    #[test]
    fn a_full_table_forgets_the_oldest_without_reviving_it() {
        let mut counts = NonceCounts::new(3);
        let id = |issued| NonceId { issued, random: 9 };
        assert!((10..20).all(|issued| counts.spend(id(issued), 1, 0)));
        assert_eq!(counts.len(), 3);
        assert!((0..17).all(|issued| !counts.spend(id(issued), 2, 0)), "forgotten, and all before them");
        assert!((17..20).all(|issued| counts.spend(id(issued), 2, 0)));
        assert!(counts.spend(id(40), 1, 30), "the expired make room");
        assert_eq!(counts.len(), 1);
        assert!((0..30).all(|issued| !counts.spend(id(issued), 9, 30)), "expired, though there is room");
    }

    #[test]
    fn a_latecomer_older_than_all_in_a_full_table_displaces_nothing() {
        let mut counts = NonceCounts::new(1);
        let (old, young) = (NonceId { issued: 5, random: 0 }, NonceId { issued: 10, random: 0 });
        assert!(counts.spend(young, 1, 0));
        assert!(!counts.spend(old, 1, 0));
        assert!(counts.spend(young, 2, 0));
    }
}
