//! SRTP with a key from the description (RFC 4568), by another implementation than segue's own.

use base64ct::{Base64, Encoding as _};
use rtc_srtp::context::Context;
use rtc_srtp::crypto;
use rtc_srtp::option::{srtp_no_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

/// The one suite of this phone.
pub(in crate::shell::phone) const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const KEY: usize = 16;
const SALT: usize = 14;

/// Key and salt.
pub(in crate::shell::phone) type Key = [u8; KEY + SALT];

/// An `a=crypto` line of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Its tag.
    pub tag: u32,
    /// Key and salt.
    pub key: [u8; KEY + SALT],
}

impl Crypto {
    /// Reads what follows `a=crypto:`; nothing for another suite.
    pub(in crate::shell::phone) fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_whitespace();
        let tag = words.next()?.parse().ok()?;
        if words.next()? != SUITE {
            return None;
        }
        let text = words.next()?.strip_prefix("inline:")?.split('|').next()?;
        let mut key = [0; KEY + SALT];
        let read = Base64::decode(text, &mut key).ok()?.len();
        (read == key.len()).then_some(Self { tag, key })
    }

    /// The whole line.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("a=crypto:{} {SUITE} inline:{}\r\n", self.tag, Base64::encode_string(&self.key))
    }
}

/// The contexts of one call.
pub(super) struct Guard {
    ours: Crypto,
    seal: Context,
    open: Option<(Key, Context)>,
}

impl Guard {
    pub(super) fn new(key: Key) -> Option<Self> {
        Some(Self { seal: context(&key)?, ours: Crypto { tag: 1, key }, open: None })
    }

    /// Whether their key is known: what comes before the description that has it cannot be opened by anybody.
    pub(super) const fn is_keyed(&self) -> bool {
        self.open.is_some()
    }

    /// Our line: under the tag of their offer, if they made one.
    pub(super) fn crypto(&self) -> &Crypto {
        &self.ours
    }

    /// Takes their line. A key that stays goes on counting.
    pub(super) fn meet(&mut self, theirs: &Crypto) {
        self.ours.tag = theirs.tag;
        if self.open.as_ref().is_none_or(|(key, _)| *key != theirs.key) {
            self.open = context(&theirs.key).map(|context| (theirs.key, context));
        }
    }

    pub(super) fn seal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.seal.encrypt_rtp(packet).ok().map(|sealed| sealed.to_vec())
    }

    pub(super) fn open(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.open.as_mut()?.1.decrypt_rtp(packet).ok().map(|opened| opened.to_vec())
    }
}

fn context(key: &Key) -> Option<Context> {
    let provider = crypto::default_provider().ok()?;
    let (key, salt) = key.split_at(KEY);
    let (rtp, rtcp) = (Some(srtp_replay_protection(64)), Some(srtp_no_replay_protection()));
    Context::new(key, salt, ProtectionProfile::Aes128CmHmacSha1_80, rtp, rtcp, provider.crypto()).ok()
}
