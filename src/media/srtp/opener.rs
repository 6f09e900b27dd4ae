//! What a peer sends, opened: its rollover counters and what of it was there before.
//!
//! Invariant: nothing here changes for a packet whose tag is wrong, so a stranger can neither shift a counter nor fill
//! the table of sources.

use smallvec::SmallVec;

use super::transform::{Position, Transform};
use super::window::{Window, nearest};
use super::{MasterKey, SrtpError};
use crate::wire::{rtcp, rtp};

/// Sources (SSRCs) of one peer and media line whose counters are kept. A device has one, or two around a change of its
/// own; the one that was silent longest makes room.
const MAX_SOURCES: usize = 4;
/// The index of SRTCP has this bit above it: the packet is encrypted (RFC 3711 3.4).
pub(super) const ENCRYPTED: u32 = 1 << 31;
/// RTCP is clear up to the sender's SSRC.
pub(super) const RTCP_CLEAR: usize = 8;

/// Opens SRTP and SRTCP of one peer and media line.
pub struct Opener {
    rtp: Transform,
    rtcp: Transform,
    mki_len: usize,
    /// The latest first.
    sources: Sources,
    rtcp_sources: Sources,
    /// Where sources stood under the key before: a peer may or may not go on counting with a new key.
    before: SmallVec<[(u32, u64); MAX_SOURCES]>,
    guesses: Guesses,
}

/// Rollovers that a stream may have behind it when we first hear it: eleven hours at 50 packets a second. A call that comes
/// to another port in mid-life has them, and its sender goes on counting.
const MAX_BEHIND: u64 = 32;
/// So many packets of a stranger cost as much; then one of so many by lot, which is half an opening for each.
const GUESSES: u32 = 64;

type Sources = SmallVec<[(u32, Window); MAX_SOURCES]>;

impl Opener {
    /// For packets that are sealed with `master`.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self {
            rtp: Transform::rtp(master),
            rtcp: Transform::rtcp(master),
            mki_len: master.mki_len(),
            sources: Sources::new(),
            rtcp_sources: Sources::new(),
            before: SmallVec::new(),
            guesses: Guesses::new(master),
        }
    }

    /// For the same peer with a new key. It may begin its rollover counters anew or go on; the tags will tell. (Who was not
    /// heard under this key is where it was under the one before.)
    #[must_use]
    pub fn rekeyed(&self, master: &MasterKey) -> Self {
        let heard = self.sources.iter().map(|(ssrc, window)| (*ssrc, window.highest()));
        let is_heard = |ssrc: u32| self.sources.iter().any(|(of, _)| *of == ssrc);
        let others = self.before.iter().copied().filter(|(ssrc, _)| !is_heard(*ssrc));
        Self { before: heard.chain(others).take(MAX_SOURCES).collect(), ..Self::new(master) }
    }

    /// Opens an SRTP packet in place; gives its length as RTP.
    ///
    /// # Errors
    /// See [`SrtpError`]; the packet and everything here are then as before.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let clear = rtp::payload_offset(packet).map_err(|_| SrtpError::Malformed)?;
        let trailer = self.rtp.tag_len() + self.mki_len;
        let len = packet.len().checked_sub(trailer).filter(|len| *len >= clear).ok_or(SrtpError::BadTag)?;
        let (ssrc, sequence) = (be32(packet, 8)?, (be32(packet, 0)? & 0xffff) as u16);
        let (packet, trailer) = packet.split_at_mut_checked(len).ok_or(SrtpError::BadTag)?;
        let tag = tag_of(&self.rtp, trailer);
        let open = |index: u64, packet: &mut [u8]| {
            let rollover = ((index >> 16) as u32).to_be_bytes();
            let beside = self.rtp.tag_is_last().then_some(rollover);
            self.rtp.open(Position { ssrc, index }, clear, packet, beside, tag)
        };
        if let Some(window) = latest(&mut self.sources, ssrc) {
            let index = nearest(window.highest(), sequence);
            let is_fresh = window.is_fresh(index);
            if is_fresh && open(index, packet).is_ok() {
                window.mark(index);
                return Ok(len);
            }
            // Its first packet may have been a recorded one, from before it came to this port.
            let later = self.guesses.ahead(index).find(|index| open(*index, packet).is_ok());
            window.mark(later.ok_or(if is_fresh { SrtpError::BadTag } else { SrtpError::Replayed })?);
            return Ok(len);
        }
        // RFC 3711 3.3.1: the first packet of a source has no rollover behind it; unless the source was heard under an
        // earlier key, its first packets before a wrap were lost, or it talks for long already.
        let first = u64::from(sequence);
        let carried_on = self.before.iter().find(|(of, _)| *of == ssrc).map(|(_, at)| nearest(*at, sequence));
        let wrapped = Some(first + (1 << 16)).filter(|_| sequence < 1 << 15);
        let candidates = [Some(first), carried_on.filter(|index| *index != first), wrapped];
        for index in candidates.into_iter().flatten() {
            if open(index, packet).is_ok() {
                enter(&mut self.sources, ssrc, index);
                return Ok(len);
            }
        }
        if !self.sources.is_empty() {
            return Err(SrtpError::BadTag);
        }
        let mut later = self.guesses.ahead(first).filter(|index| Some(*index) != wrapped);
        let index = later.find(|index| open(*index, packet).is_ok()).ok_or(SrtpError::BadTag)?;
        enter(&mut self.sources, ssrc, index);
        Ok(len)
    }

    /// Opens an SRTCP packet in place; gives its length as RTCP. Packets that are authenticated but not encrypted are
    /// not what was agreed, and are refused.
    ///
    /// # Errors
    /// See [`SrtpError`]; the packet and everything here are then as before.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let &[first, kind, ..] = &*packet else { return Err(SrtpError::Malformed) };
        if first >> 6 != 2 || !(rtcp::SR..=rtcp::XR).contains(&kind) {
            return Err(SrtpError::Malformed);
        }
        let tag_len = self.rtcp.tag_len();
        let trailer = 4 + self.mki_len + tag_len;
        let end = packet.len().checked_sub(trailer).ok_or(SrtpError::BadTag)?;
        if end < RTCP_CLEAR {
            return Err(SrtpError::BadTag);
        }
        let ssrc = be32(packet, 4)?;
        let is_last = self.rtcp.tag_is_last();
        // AES-CM: packet, index, identifier, tag. AEAD: packet, tag, index, identifier (RFC 7714 9.2).
        let word_at = if is_last { end } else { end + tag_len };
        let word = be32(packet, word_at)?;
        if word & ENCRYPTED == 0 {
            return Err(SrtpError::BadTag);
        }
        let index = u64::from(word & !ENCRYPTED);
        let known = latest(&mut self.rtcp_sources, ssrc);
        if known.as_ref().is_some_and(|window| !window.is_fresh(index)) {
            return Err(SrtpError::Replayed);
        }
        let (packet, trailer) = packet.split_at_mut_checked(end).ok_or(SrtpError::BadTag)?;
        let tag =
            if is_last { tag_of(&self.rtcp, trailer) } else { trailer.get(..tag_len).unwrap_or_default() };
        let at = Position { ssrc, index };
        self.rtcp.open(at, RTCP_CLEAR, packet, Some(word.to_be_bytes()), tag)?;
        match known {
            Some(window) => window.mark(index),
            None => enter(&mut self.rtcp_sources, ssrc, index),
        }
        Ok(end)
    }
}

/// Packets are tried with rollover counters that nobody told us: the first [`GUESSES`], then some by lot.
struct Guesses {
    made: u32,
    lot: u32,
}

impl Guesses {
    /// The lot is drawn from the key, which who sends packets to be tried does not know.
    fn new(master: &MasterKey) -> Self {
        let last = master.expose().last_chunk().map_or(1, |bytes| u32::from_le_bytes(*bytes));
        Self { made: 0, lot: last | 1 }
    }

    /// The same sequence number after the next rollovers, where it is time for a guess.
    fn ahead(&mut self, index: u64) -> impl Iterator<Item = u64> + use<> {
        // Marsaglia's xorshift: 32 bits, shifts of 13, 17 and 5.
        self.lot ^= self.lot << 13;
        self.lot ^= self.lot >> 17;
        self.lot ^= self.lot << 5;
        let is_time = self.made < GUESSES || self.lot.is_multiple_of(GUESSES);
        self.made = self.made.saturating_add(1);
        (1..=if is_time { MAX_BEHIND } else { 0 }).map(move |rollovers| index + (rollovers << 16))
    }
}

/// The tag within what follows an RTP packet: before the key identifier with AEAD, else behind it.
fn tag_of<'a>(transform: &Transform, trailer: &'a [u8]) -> &'a [u8] {
    let len = transform.tag_len();
    let at = if transform.tag_is_last() { trailer.len().saturating_sub(len) } else { 0 };
    trailer.get(at..).and_then(|rest| rest.get(..len)).unwrap_or_default()
}

/// The window of a source, which becomes the latest.
fn latest(sources: &mut Sources, ssrc: u32) -> Option<&mut Window> {
    let at = sources.iter().position(|(of, _)| *of == ssrc)?;
    if at > 0 {
        sources.get_mut(..=at)?.rotate_right(1);
    }
    sources.first_mut().map(|(_, window)| window)
}

/// Takes a source in, in place of the one that was silent longest if there are too many.
fn enter(sources: &mut Sources, ssrc: u32, index: u64) {
    sources.truncate(MAX_SOURCES - 1);
    let mut window = Window::default();
    window.mark(index);
    sources.insert(0, (ssrc, window));
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Result<u32, SrtpError> {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(SrtpError::Malformed)?;
    Ok(u32::from_be_bytes(*word))
}
