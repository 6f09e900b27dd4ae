//! A call that rings is answered by a device that was not rung for it, or not yet: the fork is decided from outside.

use smallvec::SmallVec;

use super::answer::ANSWERED_ELSEWHERE;
use super::core::Core;
use super::model::{CallHandle, CallState, LegHandle, Role, Side};
use crate::sip::Refusal;
use crate::wire::sip::StatusCode;

impl Core {
    /// `by`, whose dialog stands and whose media is agreed, answers the call: the caller gets its 200, every device
    /// that still rings a CANCEL that says why.
    ///
    /// # Errors
    /// `DialogUnknown` where it rings no more, or why the caller cannot be answered with the media of `by`. Nothing
    /// has changed then.
    pub fn answer_with(&mut self, call: CallHandle, by: LegHandle) -> Result<(), Refusal> {
        let found = self.calls.get(call).filter(|call| call.state == CallState::Ringing);
        let caller = found.ok_or(Refusal::DialogUnknown)?.caller;
        let body = self.answer_across(by, caller)?;
        let leg = self.legs.get_mut(by).ok_or(Refusal::DialogUnknown)?;
        leg.role = Role::Talking(Side::Callee);
        let (pairing, call_id) = (std::mem::take(&mut leg.pairing), leg.dialog.call_id.to_string());
        let found = self.calls.get_mut(call).ok_or(Refusal::DialogUnknown)?;
        found.callee = Some(by);
        found.pairing = pairing;
        found.early_media = None;
        found.next_trunks.clear();
        found.record.sip_call_id.push(call_id);
        let losers: SmallVec<[LegHandle; 2]> = std::mem::take(&mut found.forks);
        let offered = std::mem::take(&mut found.fork_ports);
        self.give_back(&offered, call, None);
        for loser in losers {
            self.release_leg(loser, ANSWERED_ELSEWHERE);
        }
        let identity = self.identity_of(by);
        self.answer_inbound(caller, StatusCode::OK, Some(&body), identity.as_deref());
        self.note_answered(call);
        self.connect(call);
        Ok(())
    }
}
