//! Who a side is: our certificate, the fingerprint of theirs, and the short-lived credentials of ICE.

use std::fmt;
use std::sync::Arc;

use base64ct::{Base64Unpadded, Encoding as _};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::default_provider;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use smallvec::SmallVec;

/// Suites of our handshakes, best first; the first is the one that every browser must have (RFC 8827 6.5).
const SUITES: [CipherSuiteId; 2] = [
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
];

/// What may protect media; the other side's order counts, since it offers (RFC 5764 4.1.2).
const PROFILES: [SrtpProtectionProfile; 2] =
    [SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80];

/// Longest datagram of a handshake: what passes through every tunnel.
const MTU: usize = 1200;

/// The certificate of this process, with which it meets every browser. It is made anew with each start: who it belongs
/// to is said by its fingerprint in the description, which came through signalling.
pub struct Identity {
    fingerprint: Fingerprint,
    pub(super) server: Arc<HandshakeConfig>,
    pub(super) client: Arc<HandshakeConfig>,
}

impl Identity {
    /// A new key (ECDSA on P-256) and certificate.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn generate() -> Result<Self, IdentityError> {
        Self::with_mtu(MTU)
    }

    /// The same; messages of a handshake that are longer go out in several datagrams.
    pub(super) fn with_mtu(mtu: usize) -> Result<Self, IdentityError> {
        let told = |error: &dyn fmt::Display| IdentityError(error.to_string().into());
        let provider = default_provider().map_err(|error| told(&error))?;
        let certificate = Certificate::generate_self_signed(vec!["segue".to_owned()], provider.crypto())
            .map_err(|error| told(&error))?;
        let der = certificate.certificate.first().ok_or_else(|| told(&"no certificate"))?;
        let fingerprint = Fingerprint::of(Hash::Sha256, der);
        let config = |is_client| {
            ConfigBuilder::default()
                .with_crypto_provider(Arc::clone(&provider))
                .with_certificates(vec![certificate.clone()])
                .with_cipher_suites(SUITES.to_vec())
                .with_srtp_protection_profiles(PROFILES.to_vec())
                // No authority vouches for either side; whose certificate it is, the fingerprint says.
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_insecure_skip_verify(true)
                .with_server_name("segue".to_owned())
                .with_mtu(mtu)
                .build(is_client, None)
                .map(Arc::new)
        };
        let server = config(false).map_err(|error| told(&error))?;
        let client = config(true).map_err(|error| told(&error))?;
        Ok(Self { fingerprint, server, client })
    }

    /// What our descriptions say of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.fingerprint)
    }
}

/// No certificate could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate for WebRTC: {0}")]
pub struct IdentityError(Box<str>);

/// Hash functions that a fingerprint may be made with. SHA-1 and MD5 are not among them: RFC 8122 5 still lists them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hash {
    /// What every browser uses.
    Sha256,
    /// Longer.
    Sha384,
    /// Longest.
    Sha512,
}

impl Hash {
    const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    fn of(self, bytes: &[u8]) -> SmallVec<[u8; 32]> {
        match self {
            Self::Sha256 => SmallVec::from_slice(&Sha256::digest(bytes)),
            Self::Sha384 => SmallVec::from_slice(&Sha384::digest(bytes)),
            Self::Sha512 => SmallVec::from_slice(&Sha512::digest(bytes)),
        }
    }
}

/// Fingerprint of a certificate, the value of `a=fingerprint` (RFC 8122 5).
#[derive(Clone, PartialEq, Eq)]
pub struct Fingerprint {
    hash: Hash,
    digest: SmallVec<[u8; 32]>,
}

impl Fingerprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(hash: Hash, certificate: &[u8]) -> Self {
        Self { hash, digest: hash.of(certificate) }
    }

    /// Reads `sha-256 AB:CD:…`. `None` for a hash function that is no longer trusted, and for what is none.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = value.trim_ascii().split(|byte| *byte == b' ');
        let (name, text) = (words.next()?, words.next()?);
        let hash = Hash::ALL.into_iter().find(|hash| name.eq_ignore_ascii_case(hash.as_str().as_bytes()))?;
        let mut digest = SmallVec::new();
        for pair in text.trim_ascii().split(|byte| *byte == b':') {
            let digits = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            digest.push(u8::from_str_radix(digits, 16).ok()?);
        }
        (digest.len() == hash.of(&[]).len()).then_some(Self { hash, digest })
    }

    /// Whether it is that of `certificate`.
    #[must_use]
    pub fn fits(&self, certificate: &[u8]) -> bool {
        self.hash.of(certificate) == self.digest
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.as_str())?;
        for (n, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if n == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Username fragment and password of one side of ICE (RFC 8445 5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Names the side in a check.
    pub ufrag: Box<str>,
    /// Signs the checks that it receives, and its answers.
    pub password: Box<str>,
}

impl Credentials {
    /// From random bytes: 48 bits to be found by, 144 that nobody guesses.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        let (ufrag, rest) = bytes.split_at(6);
        let text = |bytes: &[u8]| Base64Unpadded::encode_string(bytes).into_boxed_str();
        Self { ufrag: text(ufrag), password: text(rest.get(..18).unwrap_or(rest)) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.ufrag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_it_is_written() {
        let identity = Identity::generate().unwrap();
        let text = identity.fingerprint().to_string();
        assert_eq!(text.len(), "sha-256 ".len() + 32 * 3 - 1);
        assert_eq!(Fingerprint::parse(text.as_bytes()).as_ref(), Some(identity.fingerprint()));
        assert_eq!(Fingerprint::parse(text.to_lowercase().as_bytes()).as_ref(), Some(identity.fingerprint()));
    }

    #[test]
    fn what_is_weak_or_cut_is_no_fingerprint() {
        let long = Fingerprint::of(Hash::Sha512, b"certificate");
        assert_eq!(Fingerprint::parse(long.to_string().as_bytes()), Some(long.clone()));
        assert!(long.fits(b"certificate") && !long.fits(b"another"));
        let sha1 = format!("sha-1 {}", ["AB"; 20].join(":"));
        let swapped = long.to_string().replace("sha-512", "sha-256");
        for text in ["", "sha-256", "sha-256 AB", "sha-256 GG:01", "sha-256 +1:01", &sha1, &swapped] {
            assert_eq!(Fingerprint::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn credentials_are_long_enough_and_differ() {
        let (one, other) = (Credentials::from_bytes(&[1; 32]), Credentials::from_bytes(&[2; 32]));
        assert!(one.ufrag.len() >= 4 && one.password.len() >= 22, "RFC 8445 5.3");
        assert_ne!(one, other);
        assert!(!format!("{one:?}").contains(&*one.password));
    }
}
