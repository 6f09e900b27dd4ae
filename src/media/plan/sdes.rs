//! Keys in the description: `a=crypto` (RFC 4568), read from theirs and written in ours.

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use crate::media::srtp::{MasterKey, Suite};
use crate::wire::sdp::{Attribute, Media, SdpWriter};

/// `a=crypto` lines of one m-line that are looked at. Phones send up to eight.
const MAX_LINES: usize = 16;
/// Words of one line that are looked at: tag, suite, key, and parameters of the session.
const MAX_WORDS: usize = 16;

/// One line: what is told of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Crypto {
    /// By which an answer says which line of the offer it takes.
    pub(super) tag: u32,
    pub(super) key: MasterKey,
}

/// What our lines of an m-line are to say; none for a plain one.
pub(super) type Lines = SmallVec<[Crypto; 1]>;

impl Crypto {
    /// RFC 4568 9.1: `TAG SUITE inline:KEY[|LIFETIME][|MKI:LENGTH] [PARAMETER]…`. `None` for what is not spoken, and for
    /// parameters that would weaken it. The lifetime of a key is the concern of who sends with it.
    fn parse(value: &[u8]) -> Option<Self> {
        let mut words =
            value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).take(MAX_WORDS + 1);
        let (tag, suite, keys) = (words.next()?, words.next()?, words.next()?);
        let tag = std::str::from_utf8(tag).ok().filter(|tag| tag.len() <= 9)?.parse().ok()?;
        let suite = Suite::parse(suite)?;
        let (name, info) = keys.split_at_checked(b"inline:".len())?;
        // Several keys would have to be told apart by their identifiers; nobody offers that.
        if !name.eq_ignore_ascii_case(b"inline:") || info.contains(&b';') {
            return None;
        }
        let mut parts = info.split(|byte| *byte == b'|');
        let text = parts.next()?.trim_suffix_bytes(b'=');
        let mut room = Zeroizing::new([0; 64]);
        let key = MasterKey::new(suite, Base64Unpadded::decode(text, room.as_mut_slice()).ok()?)?;
        let mut mki_len = 0;
        for part in parts.take(2) {
            if let Some(colon) = part.iter().position(|byte| *byte == b':') {
                mki_len = std::str::from_utf8(part.get(colon + 1..)?).ok()?.parse().ok()?;
            }
        }
        // An unknown parameter voids the line unless it begins with a hyphen (6.3.7). A hint of window size is only that.
        let is_harmless = |word: &[u8]| word.starts_with(b"-") || word.starts_with(b"WSH=");
        if !words.all(is_harmless) {
            return None;
        }
        Some(Self { tag, key: key.with_mki(mki_len)? })
    }

    /// What an answer says with its one line, if it takes one of ours: `suite_of` tells what was offered under a tag.
    pub(super) fn answered(media: &Media<'_>, suite_of: impl Fn(u32) -> Option<Suite>) -> Option<Self> {
        let answer = Self::parse(media.attribute(Attribute::Crypto)?)?;
        (suite_of(answer.tag) == Some(answer.key.suite())).then_some(answer)
    }

    /// The first line of an offer that is spoken here (7.1.1: the offerer's order is its preference).
    pub(super) fn chosen(media: &Media<'_>) -> Option<Self> {
        media.attributes(Attribute::Crypto).take(MAX_LINES).find_map(Self::parse)
    }

    pub(super) fn write(&self, writer: &mut SdpWriter) {
        let mut room = Zeroizing::new([0; 64]);
        let Ok(text) = Base64::encode(self.key.expose(), room.as_mut_slice()) else { return };
        writer.put(b"a=crypto:");
        writer.number(self.tag.into());
        writer.put(b" ");
        writer.put(self.key.suite().as_str().as_bytes());
        writer.put(b" inline:");
        writer.put(text.as_bytes());
        writer.end_line();
    }
}

/// The tag under which we offer a suite, in every offer.
pub(super) fn tag_of(suite: Suite) -> u32 {
    Suite::ALL.iter().zip(1..).find(|(known, _)| **known == suite).map_or(1, |(_, tag)| tag)
}

/// The suite that we offer under a tag.
pub(super) fn suite_of(tag: u32) -> Option<Suite> {
    Suite::ALL.into_iter().find(|suite| tag_of(*suite) == tag)
}

trait TrimSuffix {
    fn trim_suffix_bytes(&self, byte: u8) -> &[u8];
}

impl TrimSuffix for [u8] {
    fn trim_suffix_bytes(&self, byte: u8) -> &[u8] {
        let end = self.iter().rposition(|b| *b != byte).map_or(0, |last| last + 1);
        self.get(..end).unwrap_or_default()
    }
}

/// What our keys toward one peer are made from. The same line and suite have the same key as long as the dialog lives,
/// so no offer of ours, first or repeated, interrupts the stream; nothing has to be remembered for that.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// 32 bytes for another purpose of this dialog.
    pub(super) fn bytes(&self, purpose: &[u8], number: u32) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) {
            mac.update(purpose);
            mac.update(&number.to_be_bytes());
            bytes.copy_from_slice(&mac.finalize().into_bytes());
        }
        bytes
    }

    /// Our key for an m-line.
    pub(super) fn key(&self, line: usize, suite: Suite) -> Option<MasterKey> {
        let mut bytes = Zeroizing::new([0u8; 64]);
        for (half, part) in bytes.chunks_mut(32).zip(0u8..) {
            let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).ok()?;
            mac.update(&(line as u64).to_be_bytes());
            mac.update(suite.as_str().as_bytes());
            mac.update(&[part]);
            half.copy_from_slice(&mac.finalize().into_bytes());
        }
        MasterKey::new(suite, bytes.get(..suite.key_len() + suite.salt_len())?)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A description as it may be shown and kept: without its keys.
#[must_use]
pub fn without_keys(text: &Bytes) -> Bytes {
    const KEY: &[u8] = b"inline:";
    let is_key = |rest: &[u8]| rest.get(..KEY.len()).is_some_and(|name| name.eq_ignore_ascii_case(KEY));
    let mut shown: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest: &[u8] = text;
    while let Some(first) = rest.first() {
        if is_key(rest) {
            shown.extend_from_slice(b"inline:...");
            let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
            rest = rest.get(end..).unwrap_or_default();
        } else {
            shown.push(*first);
            rest = rest.get(1..).unwrap_or_default();
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    fn parse(text: &str) -> Option<Crypto> {
        Crypto::parse(text.as_bytes())
    }

    #[test]
    fn lines_are_read_as_the_standard_writes_them() {
        let plain = parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).unwrap();
        assert_eq!((plain.tag, plain.key.suite()), (1, Suite::AesCm128HmacSha1Tag80));
        for same in [
            format!("1  AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20"),
            format!("1 aes_cm_128_hmac_sha1_80 INLINE:{KEY}|1048576"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} WSH=128 -SOMETHING=1"),
        ] {
            assert_eq!(parse(&same).as_ref(), Some(&plain), "{same}");
        }
        for with_mki in [format!("{KEY}|2^20|1:4"), format!("{KEY}|1:4")] {
            let crypto = parse(&format!("999999999 AES_CM_128_HMAC_SHA1_32 inline:{with_mki}")).unwrap();
            assert_eq!(crypto.tag, 999_999_999);
            assert_ne!(crypto.key, plain.key);
        }
        // 28 and 44 bytes, with and without the padding that some leave out.
        let gcm = |name: &str, text: &str| parse(&format!("2 {name} inline:{text}"));
        let short = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(
            gcm("AEAD_AES_128_GCM", short)
                .is_some_and(|known| gcm("AEAD_AES_128_GCM", &format!("{short}==")) == Some(known))
        );
        assert!(gcm("AEAD_AES_256_GCM", &"A".repeat(59)).is_some());
        assert!(gcm("AEAD_AES_256_GCM", short).is_none());
    }

    #[test]
    fn what_is_not_spoken_or_would_weaken_is_passed_over() {
        for line in [
            String::new(),
            "1".into(),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1000000000 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 uri:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}x"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:".into(),
            "1 AES_CM_128_HMAC_SHA1_80 inline:====".into(),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", "A".repeat(5000)),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:129"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:x"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTCP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=1"),
        ] {
            assert_eq!(parse(&line), None, "{line:.80}");
        }
    }

    #[test]
    fn our_keys_stay_and_differ_by_line_suite_and_dialog() {
        let (one, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let mut keys = Vec::new();
        for secret in [&one, &other] {
            for line in 0..2 {
                keys.extend(Suite::ALL.map(|suite| secret.key(line, suite).unwrap()));
            }
        }
        for (n, key) in keys.iter().enumerate() {
            assert!(keys[n + 1..].iter().all(|other| other.expose() != key.expose()));
        }
        assert_eq!(one.key(1, Suite::AeadAes256Gcm), Secret::new([1; 32]).key(1, Suite::AeadAes256Gcm));
        assert_eq!(format!("{one:?}"), "Secret(…)");
        assert!(Suite::ALL.into_iter().all(|suite| suite_of(tag_of(suite)) == Some(suite)));
    }

    #[test]
    fn what_is_written_is_read_and_what_is_shown_has_no_key() {
        for suite in Suite::ALL {
            let crypto = Crypto { tag: 7, key: Secret::new([3; 32]).key(0, suite).unwrap() };
            let mut writer = SdpWriter::default();
            crypto.write(&mut writer);
            let text = writer.finish();
            let value = text.strip_prefix(b"a=crypto:").unwrap();
            assert_eq!(Crypto::parse(value), Some(crypto));
            let shown = format!("a=crypto:7 {} inline:...\r\n", suite.as_str());
            assert_eq!(without_keys(&text), shown);
        }
        let two = Bytes::from(format!("a=crypto:1 X INLINE:{KEY}|2^20 WSH=64\r\na=x\r\ni=inline:"));
        assert_eq!(without_keys(&two), "a=crypto:1 X inline:... WSH=64\r\na=x\r\ni=inline:...");
    }
}
