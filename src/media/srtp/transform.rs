//! One packet under one session key at a known index: AES-CM with HMAC-SHA1 (RFC 3711 4.1.1, 4.2.1), and AES-GCM
//! (RFC 7714 8, 9). The tag is checked before anything is decrypted, and in constant time.

use aes::cipher::KeyInit as _;
use aes::cipher::consts::U12;
use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::{AeadInOut as _, AesGcm};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use super::derive::{Label, derive, keystream};
use super::{MasterKey, SrtpError, Suite};

/// SSRC and packet index: together they may be used once under a key.
#[derive(Clone, Copy)]
pub(super) struct Position {
    pub ssrc: u32,
    /// 48 bits for RTP (rollover counter and sequence number), 31 for RTCP.
    pub index: u64,
}

/// Session keys of one stream kind (RTP or RTCP) and one direction.
pub(super) struct Transform {
    cipher: Box<Cipher>,
    salt: [u8; 14],
    tag_len: usize,
}

#[expect(clippy::large_enum_variant, reason = "one allocation for each context, whichever the suite")]
enum Cipher {
    Counter(Aes128Enc, Hmac<Sha1>),
    Gcm128(AesGcm<Aes128Enc, U12>),
    Gcm256(AesGcm<Aes256Enc, U12>),
}

/// What is authenticated beside the packet's own bytes. It follows them.
type Beside = [u8; 4];

impl Transform {
    pub(super) fn rtp(master: &MasterKey) -> Self {
        let labels = [Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt];
        Self::new(master, labels, master.suite().tag_len())
    }

    pub(super) fn rtcp(master: &MasterKey) -> Self {
        let labels = [Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt];
        Self::new(master, labels, master.suite().rtcp_tag_len())
    }

    fn new(master: &MasterKey, [encryption, authentication, salt]: [Label; 3], tag_len: usize) -> Self {
        let cipher = match master.suite() {
            Suite::AesCm128HmacSha1Tag80 | Suite::AesCm128HmacSha1Tag32 => {
                let mac = derive::<20>(master, authentication);
                let mut key = hmac::digest::Key::<Hmac<Sha1>>::default();
                for (place, byte) in key.iter_mut().zip(mac.iter()) {
                    *place = *byte;
                }
                let aes = Aes128Enc::new((&*derive::<16>(master, encryption)).into());
                Cipher::Counter(aes, Hmac::new(&key))
            }
            Suite::AeadAes128Gcm => Cipher::Gcm128(AesGcm::new((&*derive::<16>(master, encryption)).into())),
            Suite::AeadAes256Gcm => Cipher::Gcm256(AesGcm::new((&*derive::<32>(master, encryption)).into())),
        };
        let mut session_salt = *derive::<14>(master, salt);
        for unused in session_salt.iter_mut().skip(master.suite().salt_len()) {
            *unused = 0;
        }
        Self { cipher: Box::new(cipher), salt: session_salt, tag_len }
    }

    /// Of session keys as the vectors of RFC 7714 give them.
    #[cfg(test)]
    pub(super) fn of_session(suite: Suite, key: &[u8], salt: &[u8]) -> Self {
        let mut of_master = Self::rtp(&MasterKey::new(suite, &[key, salt].concat()).unwrap());
        of_master.salt[..salt.len()].copy_from_slice(salt);
        *of_master.cipher = match suite {
            Suite::AeadAes128Gcm => Cipher::Gcm128(AesGcm::new_from_slice(key).unwrap()),
            Suite::AeadAes256Gcm => Cipher::Gcm256(AesGcm::new_from_slice(key).unwrap()),
            Suite::AesCm128HmacSha1Tag80 | Suite::AesCm128HmacSha1Tag32 => unreachable!("AEAD only"),
        };
        of_master
    }

    pub(super) fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Whether the tag covers what is on the wire, ciphertext and all that follows (AES-CM); else it belongs to the
    /// ciphertext alone (AEAD). It decides where the SRTCP index and a key identifier stand.
    pub(super) fn tag_is_last(&self) -> bool {
        matches!(*self.cipher, Cipher::Counter(..))
    }

    /// Encrypts `packet` behind its `clear` bytes and writes the tag. `beside` follows the packet in what is
    /// authenticated: the rollover counter of RTP, the index word of RTCP (with AEAD: of RTCP alone).
    pub(super) fn seal(
        &self,
        at: Position,
        clear: usize,
        packet: &mut [u8],
        beside: Option<Beside>,
        tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        let full: [u8; 20] = match &*self.cipher {
            Cipher::Counter(aes, mac) => {
                keystream(aes, &self.counter_block(at), packet.get_mut(clear..).unwrap_or_default());
                authenticate(mac, packet, beside)
            }
            Cipher::Gcm128(gcm) => seal_aead(gcm, &self.nonce(at), clear, packet, beside)?,
            Cipher::Gcm256(gcm) => seal_aead(gcm, &self.nonce(at), clear, packet, beside)?,
        };
        for (place, byte) in tag.iter_mut().zip(full) {
            *place = byte;
        }
        Ok(())
    }

    /// Checks the tag, then decrypts `packet` behind its `clear` bytes. After an error `packet` is as it was.
    pub(super) fn open(
        &self,
        at: Position,
        clear: usize,
        packet: &mut [u8],
        beside: Option<Beside>,
        tag: &[u8],
    ) -> Result<(), SrtpError> {
        match &*self.cipher {
            Cipher::Counter(aes, mac) => {
                let full = authenticate(mac, packet, beside);
                let expected = full.get(..tag.len()).ok_or(SrtpError::BadTag)?;
                if !bool::from(expected.ct_eq(tag)) {
                    return Err(SrtpError::BadTag);
                }
                keystream(aes, &self.counter_block(at), packet.get_mut(clear..).unwrap_or_default());
                Ok(())
            }
            Cipher::Gcm128(gcm) => open_aead(gcm, &self.nonce(at), clear, packet, beside, tag),
            Cipher::Gcm256(gcm) => open_aead(gcm, &self.nonce(at), clear, packet, beside, tag),
        }
    }

    /// RFC 3711 4.1.1: salt · 2^16 ⊕ SSRC · 2^64 ⊕ index · 2^16.
    fn counter_block(&self, at: Position) -> [u8; 16] {
        let mut block = (u128::from(at.ssrc) << 64 | u128::from(at.index) << 16).to_be_bytes();
        for (byte, salt) in block.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        block
    }

    /// RFC 7714 8.1, 9.1: two zero bytes, SSRC, 48 bits of index; ⊕ salt.
    fn nonce(&self, at: Position) -> [u8; 12] {
        let block = (u128::from(at.ssrc) << 48 | u128::from(at.index)) << 32;
        let mut nonce = [0; 12];
        for ((place, byte), salt) in nonce.iter_mut().zip(block.to_be_bytes()).zip(self.salt) {
            *place = byte ^ salt;
        }
        nonce
    }
}

fn authenticate(mac: &Hmac<Sha1>, packet: &[u8], beside: Option<Beside>) -> [u8; 20] {
    let mut mac = mac.clone();
    mac.update(packet);
    if let Some(beside) = beside {
        mac.update(&beside);
    }
    mac.finalize().into_bytes().into()
}

/// The bytes that AEAD authenticates: the clear part, and what stands beside it (RFC 7714 8.2, 9.2: an RTCP header of
/// 8 bytes and the index word).
struct Associated {
    bytes: [u8; 12],
}

impl Associated {
    /// The header in one piece with what follows it.
    fn of<'a>(header: &'a [u8], beside: Option<Beside>, room: &'a mut Self) -> &'a [u8] {
        let Some(beside) = beside else { return header };
        for (place, byte) in room.bytes.iter_mut().zip(header.iter().take(8).copied().chain(beside)) {
            *place = byte;
        }
        &room.bytes
    }
}

fn seal_aead<C>(
    gcm: &AesGcm<C, U12>,
    nonce: &[u8; 12],
    clear: usize,
    packet: &mut [u8],
    beside: Option<Beside>,
) -> Result<[u8; 20], SrtpError>
where
    AesGcm<C, U12>: aes_gcm::AeadInOut<NonceSize = U12, TagSize = aes::cipher::consts::U16>,
{
    let (header, body) = packet.split_at_mut_checked(clear).ok_or(SrtpError::Malformed)?;
    let mut room = Associated { bytes: [0; 12] };
    let associated = Associated::of(header, beside, &mut room);
    let tag = gcm
        .encrypt_inout_detached(nonce.into(), associated, body.into())
        .map_err(|_| SrtpError::Exhausted)?;
    let mut full = [0; 20];
    for (place, byte) in full.iter_mut().zip(tag) {
        *place = byte;
    }
    Ok(full)
}

fn open_aead<C>(
    gcm: &AesGcm<C, U12>,
    nonce: &[u8; 12],
    clear: usize,
    packet: &mut [u8],
    beside: Option<Beside>,
    tag: &[u8],
) -> Result<(), SrtpError>
where
    AesGcm<C, U12>: aes_gcm::AeadInOut<NonceSize = U12, TagSize = aes::cipher::consts::U16>,
{
    let (header, body) = packet.split_at_mut_checked(clear).ok_or(SrtpError::Malformed)?;
    let tag: &[u8; 16] = tag.try_into().map_err(|_| SrtpError::BadTag)?;
    let mut room = Associated { bytes: [0; 12] };
    let associated = Associated::of(header, beside, &mut room);
    gcm.decrypt_inout_detached(nonce.into(), associated, body.into(), tag.into())
        .map_err(|_| SrtpError::BadTag)
}
