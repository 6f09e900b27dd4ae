//! Session keys from a master key (RFC 3711 4.3, RFC 7714 11), with a key derivation rate of zero.

use aes::cipher::{BlockCipherEncrypt, InnerIvInit as _, KeyInit as _, StreamCipherCore as _};
use aes::{Aes128Enc, Aes256Enc};
use ctr::CtrCore;
use zeroize::Zeroizing;

use super::MasterKey;

/// What a derived key is for (RFC 3711 4.3.1).
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Where the label stands in the block that is counted up: the 112 bits of salt are followed by 16 of counter, and
/// label and index (48 bits, zero here) end where the salt ends.
const LABEL_AT: usize = 7;

/// `N` bytes of session key for `label`.
pub(super) fn derive<const N: usize>(master: &MasterKey, label: Label) -> Zeroizing<[u8; N]> {
    let mut block = Zeroizing::new([0u8; 16]);
    for (place, byte) in block.iter_mut().zip(master.salt()) {
        *place = *byte;
    }
    if let Some(place) = block.get_mut(LABEL_AT) {
        *place ^= label as u8;
    }
    let mut key = Zeroizing::new([0u8; N]);
    // The PRF has the strength of the cipher (RFC 7714 11).
    match master.key() {
        key_256 if key_256.len() == 32 => {
            if let Ok(cipher) = Aes256Enc::new_from_slice(key_256) {
                keystream(&cipher, &block, key.as_mut_slice());
            }
        }
        key_128 => {
            if let Ok(cipher) = Aes128Enc::new_from_slice(key_128) {
                keystream(&cipher, &block, key.as_mut_slice());
            }
        }
    }
    key
}

/// Adds the key stream that begins at counter block `iv` to `bytes` (RFC 3711 4.1.1).
pub(super) fn keystream<C>(cipher: &C, iv: &[u8; 16], bytes: &mut [u8])
where
    C: BlockCipherEncrypt<BlockSize = aes::cipher::consts::U16>,
{
    CtrCore::<&C, ctr::flavors::Ctr128BE>::inner_iv_init(cipher, iv.into())
        .apply_keystream_partial(bytes.into());
}
