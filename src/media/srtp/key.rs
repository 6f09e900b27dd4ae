//! Master keys: wiped when dropped, compared in constant time, never shown.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Suite;
use crate::base::Random;
use crate::media::web::WebEnd;

/// The longest master key with its salt: AES-256 and 112 bits.
const MAX: usize = 46;
/// The longest master key identifier (RFC 4568 6.1).
const MAX_MKI: usize = 128;

/// One direction's master key and salt.
#[derive(Clone)]
pub struct MasterKey {
    suite: Suite,
    /// Key, then salt, then zeros.
    bytes: Zeroizing<[u8; MAX]>,
    /// Bytes of master key identifier in each packet (RFC 3711 3.1). There is one key, so only their number matters.
    mki_len: u8,
}

impl MasterKey {
    /// From key and salt, one after the other as in `inline:`; `None` if the length is not the suite's.
    #[must_use]
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Option<Self> {
        if key_and_salt.len() != suite.key_len() + suite.salt_len() {
            return None;
        }
        let mut bytes = Zeroizing::new([0; MAX]);
        bytes.get_mut(..key_and_salt.len())?.copy_from_slice(key_and_salt);
        Some(Self { suite, bytes, mki_len: 0 })
    }

    /// A new one of our own.
    #[must_use]
    pub fn generate(suite: Suite, random: &mut Random) -> Self {
        let mut bytes = Zeroizing::new(random.bytes::<MAX>());
        if let Some(rest) = bytes.get_mut(suite.key_len() + suite.salt_len()..) {
            rest.fill(0);
        }
        Self { suite, bytes, mki_len: 0 }
    }

    /// Packets carry an identifier of `len` bytes; `None` if that is more than RFC 4568 allows.
    #[must_use]
    pub fn with_mki(mut self, len: usize) -> Option<Self> {
        self.mki_len = u8::try_from(len).ok().filter(|_| len <= MAX_MKI)?;
        Some(self)
    }

    /// The suite that it is for.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Key and salt, for the one line of the description that must say them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.get(..self.suite.key_len() + self.suite.salt_len()).unwrap_or_default()
    }

    pub(super) fn key(&self) -> &[u8] {
        self.bytes.get(..self.suite.key_len()).unwrap_or_default()
    }

    pub(super) fn salt(&self) -> &[u8] {
        self.expose().get(self.suite.key_len()..).unwrap_or_default()
    }

    pub(super) fn mki_len(&self) -> usize {
        self.mki_len.into()
    }
}

impl PartialEq for MasterKey {
    fn eq(&self, other: &Self) -> bool {
        self.suite == other.suite
            && self.mki_len == other.mki_len
            && bool::from(self.bytes.as_slice().ct_eq(other.bytes.as_slice()))
    }
}

impl Eq for MasterKey {}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, …)", self.suite.as_str())
    }
}

/// The keys of one media line: SRTP has one for each direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keys {
    /// Theirs: what they send is sealed with it.
    pub theirs: MasterKey,
    /// Ours: what we send is sealed with it.
    pub ours: MasterKey,
}

/// How the packets of one media line are protected, as the relay needs to know it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Security {
    /// Not at all.
    #[default]
    Plain,
    /// SRTP and SRTCP, both ways.
    Srtp(Box<Keys>),
    /// The same with a browser: ICE finds the way, and DTLS gives the keys.
    Web(Box<WebEnd>),
}
