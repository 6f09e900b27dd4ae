//! Legs and calls end: BYE, CANCEL, timeouts, lost flows.

use smallvec::SmallVec;

use super::core::{Core, Gone, Happened, Owner};
use super::model::{CallHandle, CallState, LegHandle, LegState, Party, Role, timer};
use super::record::{Disposition, HangupBy};
use super::rescue::Death;
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

impl Core {
    /// Ends one leg, in whatever state it is, with a Reason (RFC 3326). Its call is not touched.
    pub fn release_leg(&mut self, leg: LegHandle, reason: &str) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        if found.role != Role::Mover {
            found.role = Role::Released;
        }
        if matches!(found.party, Party::Service(_)) {
            self.remove_leg(leg);
            return;
        }
        match (found.state, found.is_inbound) {
            (LegState::Early, true) => {
                let refusal = Refusal::Terminated;
                self.refuse_inbound(leg, &refusal);
            }
            (LegState::Early, false) => {
                found.release = Some(reason.into());
                if let Some(tx) = found.client_invite {
                    self.transactions.cancel(self.now.at, tx, Some(reason), &mut self.effects);
                }
            }
            // RFC 3261 15: no BYE before the ACK of our 2xx is here, or has timed out.
            (LegState::Answered, _) => found.release = Some(reason.into()),
            (LegState::Confirmed, _) => {
                // A 2xx that is owed an ACK gets one before the BYE.
                if let Some((tx, cseq)) = found.owed_ack {
                    self.acknowledge(leg, tx, cseq, None);
                }
                self.send_bye(leg, reason);
            }
            (LegState::Ended, _) => {}
        }
    }

    fn send_bye(&mut self, leg: LegHandle, reason: &str) {
        let branch = self.mint_branch();
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.state = LegState::Ended;
        found.timers.stop_all();
        found.queued.clear();
        let flow = found.dialog.flow;
        let mut writer = found.dialog.request(&Method::Bye, &branch);
        writer.header(&HeaderName::Reason, reason);
        let bytes = writer.finish();
        self.refuse_open_requests(leg);
        self.send_request(flow, &Method::Bye, &branch, bytes, Owner::Bye(leg));
    }

    /// A BYE in the dialog of `leg` (RFC 3261 15.1.2).
    pub fn on_bye(&mut self, leg: LegHandle, tx: ServerTx, message: &Message) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let tag = found.dialog.local_tag.clone();
        let (call, role, state) = (found.call, found.role, found.state);
        let reason = message
            .header(HeaderName::Reason)
            .and_then(|h| h.value_str().ok().map(|v| super::places::plain_reason(&v).to_owned()));
        if state == LegState::Early && !found.is_inbound {
            // Who is called may not send it before it answers (RFC 3261 15): it is out, as if it had refused. Others ring
            // on, and our INVITE to it has an end of its own, be it a 2xx that is on its way.
            self.respond_plain(tx, StatusCode::OK, &tag);
            return self.release_leg(leg, reason.as_deref().unwrap_or("SIP;cause=200"));
        }
        found.state = LegState::Ended;
        found.timers.stop_all();
        self.respond_plain(tx, StatusCode::OK, &tag);
        if state != LegState::Ended {
            self.end_open_requests(leg);
            self.leg_gone(call, leg, role, Gone::ByParty, reason.as_deref());
        }
        self.on_bye_done(leg);
    }

    /// What is open in a dialog that they ended.
    fn end_open_requests(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let (server, client) = (found.server_invite, found.client_invite.take());
        if let Some(tx) = server {
            self.transactions.acknowledge(tx);
        }
        self.refuse_open_requests(leg);
        if let Some(tx) = client {
            self.transactions.cancel(self.now.at, tx, None, &mut self.effects);
        }
    }

    /// RFC 3261 15.1.2: their requests still open in a dialog that ends get 487, whoever ends it.
    fn refuse_open_requests(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let tag = found.dialog.local_tag.clone();
        let open = [found.server_invite.take(), found.server_update.take()];
        for tx in open.into_iter().flatten() {
            self.refuse(tx, &Refusal::Terminated, Some(&tag));
        }
    }

    /// A leg is gone for good. A move decides what that means for its call; without one the call ends.
    pub fn leg_gone(
        &mut self,
        call: CallHandle,
        leg: LegHandle,
        role: Role,
        why: Gone,
        reason: Option<&str>,
    ) {
        let Some(found) = self.calls.get(call) else { return };
        if role == Role::Mover || role == Role::Released || found.moving || found.transfer.is_some() {
            self.happened.push_back(Happened::LegGone { call, leg, why });
            return;
        }
        let by = why.hung_up_by(found.side_of(leg));
        self.end_call(call, by, reason.unwrap_or("SIP;cause=200"));
    }

    /// Ends a call: whatever legs are left are released.
    pub fn end_call(&mut self, call: CallHandle, by: HangupBy, reason: &str) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let was = found.state;
        found.state = CallState::Ended;
        let forks = std::mem::take(&mut found.forks);
        let legs: SmallVec<[LegHandle; 4]> =
            std::iter::once(found.caller).chain(found.callee).chain(forks).collect();
        for leg in legs {
            self.release_leg(leg, reason);
        }
        match was {
            CallState::Ringing => self.finish_call(call, Disposition::Cancelled, 487, Some(by)),
            CallState::Talking => self.finish_call(call, Disposition::Answered, 200, Some(by)),
            CallState::Ended => {}
        }
    }

    /// The call is over: its ports rest, its record goes out.
    pub(super) fn finish_call(
        &mut self,
        call: CallHandle,
        disposition: Disposition,
        code: u16,
        by: Option<HangupBy>,
    ) {
        self.release_media(call);
        self.note_transcoding(call, false);
        let Some(mut found) = self.calls.remove(call) else { return };
        let record = &mut found.record;
        record.end = Some(self.now.unix);
        record.end_segments(self.now.unix);
        record.disposition = disposition;
        record.sip_code = code;
        record.hangup_by = by;
        for leg in std::iter::once(found.caller).chain(found.callee) {
            let Some(leg) = self.legs.get(leg) else { continue };
            if let Some(agent) = &leg.user_agent
                && record.user_agents.len() < 8
            {
                record.user_agents.push(agent.to_string());
            }
            if !leg.is_inbound && record.transports.len() < 8 {
                record.transports.push(leg.dialog.flow.transport.uri_token().into());
            }
        }
        // The caller's leg of a refused call has nothing left to wait for.
        let caller = found.caller;
        if self.legs.get(caller).is_some_and(|leg| leg.state == LegState::Ended && leg.is_inbound)
            && disposition != Disposition::Answered
        {
            self.remove_leg(caller);
        }
        if let Some(lost) = found.lost
            && self
                .legs
                .get(lost.leg)
                .is_some_and(|leg| leg.state == LegState::Ended && leg.client_invite.is_none())
            && lost.death == Death::Forgotten
        {
            // There is no dialog in which anything more could be said.
            self.remove_leg(lost.leg);
        }
        for leg in found.released {
            if self.legs.get(leg).is_some_and(|leg| leg.state == LegState::Ended) {
                self.remove_leg(leg);
            } else {
                // The call ended before the move had let go of its old device.
                self.release_leg_media(leg);
                self.release_leg(leg, "SIP;cause=200");
            }
        }
        self.happened.push_back(Happened::Ended { call, record: found.record });
    }

    /// A call of which nobody could be rung is over at once; its record says why. Whoever asked for it is told.
    pub(super) fn end_unrung(&mut self, call: CallHandle, refusal: &Refusal) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let (caller, forks) = (found.caller, std::mem::take(&mut found.forks));
        self.unrung += 1;
        let status = refusal.status();
        self.finish_call(call, Disposition::of_refusal(status), status.as_u16(), None);
        for leg in std::iter::once(caller).chain(forks) {
            self.remove_leg(leg);
        }
    }

    /// Removes a call that never began.
    pub(super) fn discard_call(&mut self, call: CallHandle) {
        self.release_media(call);
        self.note_transcoding(call, false);
        let Some(found) = self.calls.remove(call) else { return };
        for leg in std::iter::once(found.caller).chain(found.callee).chain(found.forks) {
            self.remove_leg(leg);
        }
    }

    /// Forgets a leg.
    pub fn remove_leg(&mut self, leg: LegHandle) {
        self.release_leg_media(leg);
        let Some(found) = self.take_leg(leg) else { return };
        self.leave_fork_ports(found.call, leg);
        if let Some(tx) = found.server_update {
            self.refuse(tx, &Refusal::Terminated, Some(&found.dialog.local_tag));
        }
    }

    /// A BYE of theirs is answered, or one of ours has its final answer or none in time: nothing is left of the
    /// leg, unless the hold-off keeps it.
    pub fn on_bye_done(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get(leg) else { return };
        let call = self.calls.get_mut(found.call);
        let is_kept = call.as_ref().is_some_and(|call| call.released.contains(&leg) || call.has_lost(leg));
        if let Some(lost) = call.and_then(|call| call.lost.as_mut()).filter(|lost| lost.leg == leg) {
            // It was said in its dialog what was still to be said.
            lost.death = Death::Forgotten;
        }
        if is_kept {
            // A device that was moved away from: its dialog is remembered while the call lives, so that what it
            // still sends can be refused as what it is. Or one that died, whose place in the call is kept.
            return;
        }
        self.remove_leg(leg);
    }

    /// Our 2xx was never acknowledged (RFC 3261 13.3.1.4: the dialog is confirmed, and is ended with BYE).
    pub fn on_ack_timeout(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        let (call, role) = (found.call, found.role);
        found.server_invite = None;
        found.answer_due = None;
        if found.state == LegState::Ended {
            return;
        }
        found.state = LegState::Confirmed;
        let reason = found.release.take();
        self.release_leg(leg, reason.as_deref().unwrap_or("SIP;cause=408;text=\"ACK missing\""));
        self.leg_gone(call, leg, role, Gone::NeverAcknowledged, None);
    }

    /// The dialog or the media of a leg turned out dead.
    pub fn on_leg_dead(&mut self, leg: LegHandle, reason: &str) {
        let Some(found) = self.legs.get(leg) else { return };
        let (call, role) = (found.call, found.role);
        self.release_leg(leg, reason);
        self.leg_gone(call, leg, role, Gone::Dead, Some(reason));
    }

    /// Legs whose timers are due.
    pub fn on_leg_timers(&mut self) {
        while let Some(leg) = self.timers.expire(self.now.at) {
            while let Some(letter) = self.legs.get_mut(leg).and_then(|leg| leg.timers.expire(self.now.at)) {
                match letter {
                    timer::RETRY => self.run_queue(leg),
                    timer::RINGING => self.on_ringing_timeout(leg),
                    timer::REFRESH => self.on_refresh_due(leg),
                    timer::RELIABLE => self.on_reliable_due(leg),
                    timer::SESSION => self.on_session_expired(leg),
                    timer::RESCUE => self.on_rescue_over(leg),
                    timer::SILENCE => self.on_silent_target(leg),
                    timer::TURN => self.on_turn_over(leg),
                    _ => {}
                }
            }
            if let Some(next) = self.legs.get(leg).and_then(|leg| leg.timers.next()) {
                self.timers.push(next, leg);
            }
        }
    }
}
