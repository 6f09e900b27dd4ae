//! What goes to a peer, sealed.
//!
//! Invariant: no index is sealed twice under one key (RFC 3711 9.1, RFC 7714 10.1: a repeated one gives the plain text
//! of both packets away, and with AES-GCM the key of the tags). So a source that repeats a sequence number with other
//! bytes is not followed.

use super::opener::{ENCRYPTED, RTCP_CLEAR, be32};
use super::transform::{Position, Transform};
use super::window::Window;
use super::{MasterKey, SrtpError};
use crate::wire::rtp;

/// Packets that one key may seal (RFC 3711 9.2); RTCP is far from its 2^31 at any rate that a leg can have.
const MAX_INDEX: u64 = (1 << 48) - 1;
const MAX_RTCP_INDEX: u32 = ENCRYPTED - 1;

/// Seals RTP and RTCP toward one peer and media line. One SSRC only: ours.
pub struct Sealer {
    rtp: Transform,
    rtcp: Transform,
    sealed: Option<Window>,
    /// What the first packet's extended sequence number counted above its 16 bits.
    base: u32,
    rtcp_index: u32,
}

impl Sealer {
    /// With our key.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        let (rtp, rtcp) = (Transform::rtp(master), Transform::rtcp(master));
        Self { rtp, rtcp, sealed: None, base: 0, rtcp_index: 0 }
    }

    /// Writes the RTP `packet` to `out` as SRTP; gives its length. `extended` is its sequence number with the rollovers
    /// above it, modulo 2^32; the first one gives the rollover counter that the peer will take for 0.
    ///
    /// # Errors
    /// [`SrtpError::Replayed`] if the number was sealed before or is too old to tell.
    pub fn seal_rtp(&mut self, extended: u32, packet: &[u8], out: &mut [u8]) -> Result<usize, SrtpError> {
        let clear = rtp::payload_offset(packet).map_err(|_| SrtpError::Malformed)?;
        let ssrc = be32(packet, 8)?;
        if self.sealed.is_none() {
            self.base = extended & !0xffff;
        }
        let extended = extended.wrapping_sub(self.base);
        let mut window = self.sealed.unwrap_or_default();
        let index = match self.sealed {
            None => u64::from(extended),
            Some(window) => {
                let step = extended.wrapping_sub(window.highest() as u32).cast_signed();
                window.highest().checked_add_signed(step.into()).ok_or(SrtpError::Replayed)?
            }
        };
        if !window.is_fresh(index) {
            return Err(SrtpError::Replayed);
        }
        if index > MAX_INDEX {
            return Err(SrtpError::Exhausted);
        }
        let len = packet.len();
        let room = out.get_mut(..len + self.rtp.tag_len()).ok_or(SrtpError::Exhausted)?;
        let (body, tag) = room.split_at_mut_checked(len).ok_or(SrtpError::Exhausted)?;
        body.copy_from_slice(packet);
        let rollover = ((index >> 16) as u32).to_be_bytes();
        let beside = self.rtp.tag_is_last().then_some(rollover);
        window.mark(index);
        self.sealed = Some(window);
        self.rtp.seal(Position { ssrc, index }, clear, body, beside, tag)?;
        Ok(room.len())
    }

    /// Writes the compound RTCP `packet` to `out` as SRTCP, encrypted; gives its length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    pub fn seal_rtcp(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = be32(packet, 4)?;
        if self.rtcp_index > MAX_RTCP_INDEX {
            return Err(SrtpError::Exhausted);
        }
        let index = self.rtcp_index;
        let (len, tag_len) = (packet.len(), self.rtcp.tag_len());
        let room = out.get_mut(..len + 4 + tag_len).ok_or(SrtpError::Exhausted)?;
        let (body, trailer) = room.split_at_mut_checked(len).ok_or(SrtpError::Exhausted)?;
        body.copy_from_slice(packet);
        let word = (index | ENCRYPTED).to_be_bytes();
        // AES-CM: index, tag. AEAD: tag, index.
        let at = if self.rtcp.tag_is_last() { 4 } else { tag_len };
        let (first, second) = trailer.split_at_mut_checked(at).ok_or(SrtpError::Exhausted)?;
        let (word_place, tag) = if self.rtcp.tag_is_last() { (first, second) } else { (second, first) };
        word_place.copy_from_slice(&word);
        self.rtcp_index += 1;
        self.rtcp.seal(Position { ssrc, index: index.into() }, RTCP_CLEAR, body, Some(word), tag)?;
        Ok(room.len())
    }
}
