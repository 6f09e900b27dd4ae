//! Two parties that share no codec are joined by converting speech, as the last resort and for few calls at once.
//!
//! A target that refuses what the caller offers (488, 415, 606) is offered it once more with what we speak behind it; what
//! it takes of that is converted. Whether a call's speech is converted follows from its agreements alone; here is how
//! many there are, and may be.

use super::core::Core;
use super::model::{CallHandle, LegHandle, Role};
use crate::media::plan::{self, Bridging, Offerer};
use crate::wire::sip::StatusCode;

impl Core {
    /// Whether speech may be converted for one more call, or is for this one.
    #[must_use]
    pub fn bridging(&self, call: CallHandle) -> Bridging {
        let is_one = self.calls.get(call).is_some_and(|call| call.is_transcoded);
        if is_one || self.transcoded < self.settings.media.transcode {
            Bridging::Allowed
        } else {
            Bridging::Never
        }
    }

    /// Counts the calls whose speech is converted.
    pub fn note_transcoding(&mut self, call: CallHandle, is_transcoded: bool) {
        let Some(found) = self.calls.get_mut(call) else { return };
        match (std::mem::replace(&mut found.is_transcoded, is_transcoded), is_transcoded) {
            (false, true) => self.transcoded += 1,
            (true, false) => self.transcoded = self.transcoded.saturating_sub(1),
            (false, false) | (true, true) => {}
        }
    }

    /// Whether a refusal says that the description would not do.
    #[must_use]
    pub const fn is_of_media(status: StatusCode) -> bool {
        matches!(status.as_u16(), 415 | 488 | 606)
    }

    /// A target refused what it was offered: the same again with what we speak. False where that is of no use.
    pub(super) fn bridge_invite(&mut self, leg: LegHandle, status: StatusCode) -> bool {
        if !Self::is_of_media(status) {
            return false;
        }
        let Some(found) = self.legs.get(leg).filter(|leg| leg.role == Role::Fork && !leg.is_bridged) else {
            return false;
        };
        let call = found.call;
        let caller = self.calls.get(call).map(|call| call.caller);
        let theirs = caller.and_then(|caller| self.legs.get(caller)?.media.as_deref());
        let waits = theirs.is_some_and(|media| media.open() == Some(Offerer::Them));
        // Where nothing was shared from the start, all that we can convert to has been offered already.
        let has_more =
            theirs.zip(found.media.as_deref()).is_some_and(|(theirs, media)| plan::has_more(theirs, media));
        if self.bridging(call) == Bridging::Never || !waits || !has_more {
            return false;
        }
        let mut pairing = found.pairing.clone();
        let body = self.with_media(leg, |core, media, lender| {
            media.abandon();
            let caller = core.calls.get(call).and_then(|call| core.legs.get(call.caller));
            let theirs = caller.and_then(|leg| leg.media.as_deref()).ok_or(crate::sip::Refusal::Internal)?;
            Ok(plan::offer_bridged(theirs, media, &mut pairing, |line| lender.port(line))?)
        });
        let Ok(body) = body else { return false };
        if let Some(found) = self.legs.get_mut(leg) {
            found.is_bridged = true;
            found.pairing = pairing;
        }
        self.invite_again(leg, Some(&body))
    }
}
