//! The secured end of a port: opens what its peer sends, seals what it is sent.

use super::{DropReason, MAX_PACKET};
use crate::media::srtp::{Keys, MAX_TRAILER, Opener, Sealer, SrtpError};

/// SRTP state of one port, both ways.
pub(super) struct Guard {
    keys: Keys,
    opener: Opener,
    sealer: Sealer,
}

impl Guard {
    pub(super) fn new(keys: &Keys) -> Self {
        Self { keys: keys.clone(), opener: Opener::new(&keys.theirs), sealer: Sealer::new(&keys.ours) }
    }

    /// For a peer whose keys are all new, both ways; it may well be the one that we had.
    pub(super) fn renewed(&self, keys: &Keys) -> Self {
        Self { opener: self.opener.rekeyed(&keys.theirs), ..Self::new(keys) }
    }

    pub(super) fn has_our_key(&self, keys: &Keys) -> bool {
        self.keys.ours == keys.ours
    }

    /// Takes their key if it is new; what we send goes on.
    pub(super) fn rekey(&mut self, keys: &Keys) {
        if self.keys.theirs != keys.theirs {
            self.opener = self.opener.rekeyed(&keys.theirs);
            self.keys.theirs = keys.theirs.clone();
        }
    }

    /// Opens an RTP packet in place; gives its length.
    pub(super) fn open_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        self.opener.open_rtp(packet).map_err(|error| refused(error, DropReason::NotRtp))
    }

    /// Opens an RTCP packet in place; gives its length.
    pub(super) fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        self.opener.open_rtcp(packet).map_err(|error| refused(error, DropReason::NotRtcp))
    }

    /// Seals an RTP packet with this extended sequence number into `room`.
    pub(super) fn seal_rtp<'a>(
        &mut self,
        extended: u32,
        packet: &[u8],
        room: &'a mut Room,
    ) -> Result<&'a [u8], DropReason> {
        let sealed = self.sealer.seal_rtp(extended, packet, &mut room.0);
        let len = sealed.map_err(|error| refused(error, DropReason::NotRtp))?;
        Ok(room.0.get(..len).unwrap_or_default())
    }

    /// Seals an RTCP packet into `room`.
    pub(super) fn seal_rtcp<'a>(
        &mut self,
        packet: &[u8],
        room: &'a mut Room,
    ) -> Result<&'a [u8], DropReason> {
        let sealed = self.sealer.seal_rtcp(packet, &mut room.0);
        let len = sealed.map_err(|error| refused(error, DropReason::NotRtcp))?;
        Ok(room.0.get(..len).unwrap_or_default())
    }
}

fn refused(error: SrtpError, malformed: DropReason) -> DropReason {
    match error {
        SrtpError::Malformed => malformed,
        SrtpError::BadTag => DropReason::BadTag,
        SrtpError::Replayed => DropReason::Replayed,
        SrtpError::Exhausted => DropReason::TooLong,
    }
}

/// Where one packet is sealed; a second receiver of the same packet needs it plain.
pub(super) struct Room([u8; MAX_PACKET + MAX_TRAILER]);

impl Default for Room {
    fn default() -> Self {
        Self([0; MAX_PACKET + MAX_TRAILER])
    }
}
