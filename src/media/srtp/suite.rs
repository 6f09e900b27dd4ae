//! The crypto suites that are spoken, under their names in SDP (RFC 4568 6.2, RFC 7714 14.2).

/// Cipher, key length and tag length, as one choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Suite {
    /// AES-128 in counter mode, HMAC-SHA1 cut to 80 bits: what every device with SRTP has.
    AesCm128HmacSha1Tag80,
    /// The same with 32 bits on RTP (80 on RTCP): for narrow links, and offered by some phones alone.
    AesCm128HmacSha1Tag32,
    /// AES-128 in Galois/counter mode.
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode.
    AeadAes256Gcm,
}

impl Suite {
    /// In the order in which segue prefers and offers them. AES-CM with 80 bits stands first because some phones read no
    /// further than the first line; an answer takes the first of the offer that is spoken.
    pub const ALL: [Self; 4] =
        [Self::AesCm128HmacSha1Tag80, Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::AesCm128HmacSha1Tag32];

    /// The name in `a=crypto`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// By its name; RFC 4568 9.1 makes letters case-insensitive.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.as_str().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Bytes of the master key, and of each session key for encryption.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    /// Bytes of the master salt and of the session salts.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1Tag80 | Self::AesCm128HmacSha1Tag32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of the tag on RTP.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1Tag80 => 10,
            Self::AesCm128HmacSha1Tag32 => 4,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes of the tag on RTCP (RFC 4568 6.2.2: never cut below 80 bits).
    #[must_use]
    pub const fn rtcp_tag_len(self) -> usize {
        match self {
            Self::AesCm128HmacSha1Tag80 | Self::AesCm128HmacSha1Tag32 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }
}
