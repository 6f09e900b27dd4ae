//! A device that was not rung for it comes into a call: it answers what rings (the fork is decided from outside), or it
//! comes from a call with ourselves.

use smallvec::SmallVec;

use super::answer::ANSWERED_ELSEWHERE;
use super::core::Core;
use super::model::{CallHandle, CallState, LegHandle, Role, Side};
use crate::media::relay::MediaCommand;
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
        found.try_no_more();
        found.record.sip_call_id.push(call_id);
        let losers: SmallVec<[LegHandle; 2]> = std::mem::take(&mut found.forks);
        let offered = std::mem::take(&mut found.fork_ports);
        self.give_back(&offered, call, None);
        if self.calls.get(call).is_some_and(|call| call.record.user.is_none()) {
            // A group has rung: the call counts to the one who has it.
            self.note_winner(call, by);
        }
        for loser in losers {
            self.release_leg(loser, ANSWERED_ELSEWHERE);
        }
        let identity = self.identity_of(by);
        self.answer_inbound(caller, StatusCode::OK, Some(&body), identity.as_deref());
        self.note_answered(call);
        self.connect(call);
        Ok(())
    }

    /// Takes a leg that talks with a service of ours out of its call, which is over without a record, and puts it into
    /// another one as a device that joins. It keeps its ports where they are of the media thread of that call.
    pub fn adopt_leg(&mut self, leg: LegHandle, into: CallHandle) {
        let Some((thread, anchored)) = self.calls.get(into).map(|call| (call.thread, call.anchored)) else {
            return;
        };
        let Some(of) = self.call_of(leg) else { return };
        let Some(left) = self.calls.remove(of) else { return };
        for other in std::iter::once(left.caller).chain(left.callee).filter(|other| *other != leg) {
            self.remove_leg(other);
        }
        let ports = self.ports_toward(leg);
        let sounds = ports.iter().flatten().map(|pair| MediaCommand::Stop { port: pair.id });
        self.media.extend(sounds);
        if !anchored {
            self.release_leg_media(leg);
        }
        let Some(found) = self.legs.get_mut(leg) else { return };
        if anchored && left.thread != thread {
            // A browser that heard a goodbye from there before it is asked to come here would be gone.
            found.left_ports = Some(Box::new((of, std::mem::take(&mut found.ports))));
        }
        (found.call, found.role) = (into, Role::Mover);
        if !anchored {
            found.media = None;
        }
    }
}
