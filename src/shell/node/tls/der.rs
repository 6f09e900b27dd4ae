//! What an operator must know of a certificate and rustls does not tell: its names and its last moment.
//!
//! A walk over the DER of RFC 5280 4.1, which stops at the first thing that it does not understand. Nothing rests on
//! it but log lines and the choice among our own certificates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
/// The extensions of a TBSCertificate.
const EXTENSIONS: u8 = 0xa3;
/// In a GeneralName.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The names and addresses that it is for, lower case.
    pub(super) names: Vec<String>,
    /// Seconds since 1970 of the last moment at which it is valid.
    pub(super) not_after: i64,
}

impl Certificate {
    /// Reads a certificate; `None` where it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(der)?;
        let (_, mut rest, _) = element(certificate)?;
        // version (absent in the first one), serialNumber, signature, issuer
        if rest.first() == Some(&0xa0) {
            rest = element(rest)?.2;
        }
        for _ in 0..3 {
            rest = element(rest)?.2;
        }
        let (kind, validity, mut rest) = element(rest)?;
        if kind != SEQUENCE {
            return None;
        }
        let (_, _, after) = element(validity)?;
        let (kind, text, _) = element(after)?;
        let not_after = time(kind, text)?;
        let mut names = Vec::new();
        while let Some((kind, value, next)) = element(rest) {
            if kind == EXTENSIONS {
                names = element(value).map(|(_, list, _)| alternative_names(list)).unwrap_or_default();
            }
            rest = next;
        }
        Some(Self { names, not_after })
    }

    /// Whether it is for `name` (RFC 6125 6.4): a wildcard stands for one label, the leftmost.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(suffix) => name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(suffix)),
            None => own.eq_ignore_ascii_case(name),
        })
    }
}

fn alternative_names(mut extensions: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((_, extension, next)) = element(extensions) {
        extensions = next;
        let Some((OBJECT_IDENTIFIER, id, mut rest)) = element(extension) else { continue };
        if id != SUBJECT_ALT_NAME {
            continue;
        }
        if let Some((BOOLEAN, _, after)) = element(rest) {
            rest = after;
        }
        let Some((OCTET_STRING, value, _)) = element(rest) else { continue };
        let Some((SEQUENCE, mut list, _)) = element(value) else { continue };
        while let Some((kind, name, next)) = element(list) {
            list = next;
            match kind {
                DNS_NAME => names.extend(std::str::from_utf8(name).ok().map(str::to_ascii_lowercase)),
                IP_ADDRESS => names.extend(address(name).map(|ip| ip.to_string())),
                _ => {}
            }
        }
    }
    names
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

/// Tag, content, and what follows the element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// RFC 5280 4.1.2.5: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| number(rest.get(at..at + 2)?);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if rest.len() != 10 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Days from 1970-01-01 in the Gregorian calendar, whose years are taken to begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_both_spellings() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(GENERALIZED_TIME, b"20000229120000Z"), Some(951_825_600));
        assert_eq!(time(GENERALIZED_TIME, b"20260101000000Z"), Some(1_767_225_600));
        for wrong in
            ["", "Z", "7001010000Z", "701301000000Z", "700101000000", "70010100000aZ", "+10101000000Z"]
        {
            assert_eq!(time(UTC_TIME, wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn names_and_the_last_moment_are_read_from_a_real_certificate() {
        let mut params = rcgen::CertificateParams::new(
            ["PBX.example.com", "*.example.net", "192.0.2.7", "2001:db8::1"].map(String::from),
        )
        .unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 28);
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        let read = Certificate::read(der.der()).unwrap();
        assert_eq!(read.names, ["pbx.example.com", "*.example.net", "192.0.2.7", "2001:db8::1"]);
        assert_eq!(read.not_after, 1_930_003_200);
        assert!(read.is_for("PBX.EXAMPLE.com") && read.is_for("sip.example.net"));
        assert!(
            !read.is_for("example.net") && !read.is_for("a.b.example.net") && !read.is_for("pbx.example.org")
        );
        // Whatever is cut off or changed, nothing panics.
        for end in 0..der.der().len() {
            let _ = Certificate::read(&der.der()[..end]);
        }
        let mut bytes = der.der().to_vec();
        for at in 0..bytes.len() {
            let kept = std::mem::replace(&mut bytes[at], 0xff);
            let _ = Certificate::read(&bytes);
            bytes[at] = kept;
        }
    }
}
