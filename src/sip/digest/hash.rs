//! The hashes of digest: `H(a:b:c)` without allocation, and the stored HA1 of a user.

use std::fmt;

use md5::Md5;
use sha2::digest::Output;
use sha2::{Digest, Sha256, Sha512_256};
use subtle::ConstantTimeEq;

/// A hash that a challenge may name (RFC 7616 6.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Algorithm {
    /// `MD5`, what every phone knows.
    Md5,
    /// `SHA-256`.
    Sha256,
    /// `SHA-512-256`.
    Sha512_256,
}

impl Algorithm {
    /// The token of the `algorithm` parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
        }
    }

    /// The algorithm of a token, in any case; `None` for `-sess` variants and everything unknown.
    #[must_use]
    pub fn from_token(token: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256, Self::Sha512_256]
            .into_iter()
            .find(|algorithm| algorithm.as_str().as_bytes().eq_ignore_ascii_case(token))
    }
}

/// What is stored of a password: `H(user:realm:password)` for each algorithm the user may use.
///
/// An HA1 is as good as the password within its realm, so `Debug` shows only which are there.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Ha1s {
    /// For `MD5`.
    pub md5: Option<[u8; 16]>,
    /// For `SHA-256`.
    pub sha256: Option<[u8; 32]>,
    /// For `SHA-512-256`.
    pub sha512_256: Option<[u8; 32]>,
}

impl Ha1s {
    /// All three, from a password.
    #[must_use]
    pub fn from_password(user: &str, realm: &str, password: &str) -> Self {
        let parts = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
        Self {
            md5: Some(joined::<Md5>(&parts).into()),
            sha256: Some(joined::<Sha256>(&parts).into()),
            sha512_256: Some(joined::<Sha512_256>(&parts).into()),
        }
    }

    /// The one of `algorithm`, if stored.
    pub(super) fn pick(&self, algorithm: Algorithm) -> Option<Hash> {
        match algorithm {
            Algorithm::Md5 => self.md5.map(Hash::Short),
            Algorithm::Sha256 => self.sha256.map(Hash::Long),
            Algorithm::Sha512_256 => self.sha512_256.map(Hash::Long),
        }
    }
}

impl fmt::Debug for Ha1s {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |stored: bool| if stored { "stored" } else { "none" };
        f.debug_struct("Ha1s")
            .field("md5", &shown(self.md5.is_some()))
            .field("sha256", &shown(self.sha256.is_some()))
            .field("sha512_256", &shown(self.sha512_256.is_some()))
            .finish()
    }
}

/// A hash value.
#[derive(Clone, Copy)]
pub(super) enum Hash {
    Short([u8; 16]),
    Long([u8; 32]),
}

impl Hash {
    /// `H(part:part:…)`.
    pub(super) fn of(algorithm: Algorithm, parts: &[&[u8]]) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Short(joined::<Md5>(parts).into()),
            Algorithm::Sha256 => Self::Long(joined::<Sha256>(parts).into()),
            Algorithm::Sha512_256 => Self::Long(joined::<Sha512_256>(parts).into()),
        }
    }

    /// A value of the right length to calculate with where a user has none.
    pub(super) fn random_looking(algorithm: Algorithm, from: &[u8; 32]) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Short(from.first_chunk().copied().unwrap_or_default()),
            Algorithm::Sha256 | Algorithm::Sha512_256 => Self::Long(*from),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(bytes) => bytes,
            Self::Long(bytes) => bytes,
        }
    }

    /// Lower-case hexadecimal, as every hash enters another one.
    pub(super) fn hex(&self) -> Hex {
        let mut hex = Hex { digits: [0; 64], len: self.bytes().len() * 2 };
        for (pair, byte) in hex.digits.chunks_exact_mut(2).zip(self.bytes()) {
            pair.copy_from_slice(&hex_pair(*byte));
        }
        hex
    }

    /// Whether `text` is this hash in hexadecimal of any case. Takes the same time wherever they differ.
    pub(super) fn matches_hex(&self, text: &[u8]) -> bool {
        let mut given = [0; 32];
        let own = self.bytes();
        let Some(given) = given.get_mut(..own.len()) else { return false };
        decode_hex(text, given) && bool::from(own.ct_eq(given))
    }
}

/// Hexadecimal digits on the stack.
pub(super) struct Hex {
    digits: [u8; 64],
    len: usize,
}

impl Hex {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }

    pub(super) fn as_str(&self) -> &str {
        // Only ASCII digits were written.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// `request-digest` of RFC 7616 3.4.1: with `qop=auth`, or as RFC 2069 had it where `protection` is `None`.
pub(super) fn response(
    algorithm: Algorithm,
    ha1: &Hash,
    nonce: &[u8],
    protection: Option<Protection<'_>>,
    method: &str,
    uri: &[u8],
) -> Hash {
    let (ha1, ha2) = (ha1.hex(), Hash::of(algorithm, &[method.as_bytes(), uri]).hex());
    match protection {
        Some(Protection { nc, cnonce }) => {
            Hash::of(algorithm, &[ha1.as_bytes(), nonce, nc, cnonce, b"auth", ha2.as_bytes()])
        }
        None => Hash::of(algorithm, &[ha1.as_bytes(), nonce, ha2.as_bytes()]),
    }
}

/// What `qop=auth` adds, as it stood in the header.
#[derive(Clone, Copy)]
pub(super) struct Protection<'a> {
    pub(super) nc: &'a [u8],
    pub(super) cnonce: &'a [u8],
}

fn joined<D: Digest>(parts: &[&[u8]]) -> Output<D> {
    let mut hash = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    hash.finalize()
}

/// The two lower-case digits of a byte.
pub(super) fn hex_pair(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// Fills `out` from exactly twice as many hexadecimal digits; false where `text` is anything else.
pub(super) fn decode_hex(text: &[u8], out: &mut [u8]) -> bool {
    fn digit(c: u8) -> Option<u8> {
        char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
    }
    if text.len() != out.len() * 2 {
        return false;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else { return false };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        *byte = high << 4 | low;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_stored_ha1_shows_none_of_it() {
        let ha1s = Ha1s { sha256: None, ..Ha1s::from_password("bob", "biloxi.com", "zanzibar") };
        assert_eq!(format!("{ha1s:?}"), r#"Ha1s { md5: "stored", sha256: "none", sha512_256: "stored" }"#);
    }

    #[test]
    fn hex_comes_back_in_any_case_and_only_whole() {
        let hash = Hash::Short(*b"0123456789abcde\xff");
        let hex = hash.hex();
        assert_eq!(hex.as_str(), "303132333435363738396162636465ff");
        assert!(hash.matches_hex(hex.as_str().to_uppercase().as_bytes()));
        assert!(!hash.matches_hex(&hex.as_bytes()[1..]));
        assert!(!hash.matches_hex(b""));
        assert!(!hash.matches_hex(b"+03132333435363738396162636465ff"));
        assert!(!hash.matches_hex(b"303132333435363738396162636465fe"));
    }

    #[test]
    fn tokens_of_algorithms() {
        assert_eq!(Algorithm::from_token(b"md5"), Some(Algorithm::Md5));
        assert_eq!(Algorithm::from_token(b"sha-512-256"), Some(Algorithm::Sha512_256));
        assert_eq!(Algorithm::from_token(b"MD5-sess"), None);
        assert_eq!(Algorithm::from_token(b""), None);
    }
}
