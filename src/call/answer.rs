//! What the targets say to our INVITE: ringing, answering, refusing; and what the caller is told of it.

use std::net::SocketAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::core::{Core, Gone, Happened, Owner};
use super::diversion::Why;
use super::media::{description_in, sdp_in};
use super::model::{
    AnswerDue, Best, Call, CallHandle, CallState, LegHandle, LegState, Party, Role, Side, timer,
};
use super::pass::presentable;
use super::places::Across;
use super::record::{Disposition, HangupBy};
use super::transfer::{TransferKey, TransferNews};
use crate::base::names_place;
use crate::media::plan::Rule;
use crate::sip::Refusal;
use crate::sip::transaction::ClientTx;
use crate::wire::sip::{HeaderName, Message, Method, StatusCode};

/// Reason of a CANCEL to devices that lost the race to answer (RFC 3326): phones log no missed call.
pub(super) const ANSWERED_ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// Reason of a CANCEL to devices whose caller gave up and did not say why.
const CANCELLED: &str = "SIP;cause=487;text=\"Request terminated\"";

impl Core {
    /// A response to the initial INVITE of a leg.
    pub fn on_invite_response(&mut self, leg: LegHandle, tx: ClientTx, response: &Message) {
        let Some(status) = response.status() else { return };
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.learn(response, &self.settings.quirks);
        found.timers.stop(timer::SILENCE);
        let is_given_up = found.release.is_some() && found.role != Role::Mover;
        if status.is_provisional() {
            if status != StatusCode::TRYING && self.acknowledge_provisional(leg, response) && !is_given_up {
                self.on_ringing(leg, status, response);
            }
        } else if status.is_success() {
            self.on_accepted(leg, tx, response);
        } else if (status != StatusCode::SESSION_INTERVAL_TOO_SMALL || !self.extend_invite(leg, response))
            && !self.bridge_invite(leg, status)
        {
            self.on_leg_failed(leg, status, Some(response));
        }
    }

    /// A target rings, or plays early media.
    fn on_ringing(&mut self, leg: LegHandle, status: StatusCode, response: &Message) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.dialog.on_response(response);
        let (call, role) = (found.call, found.role);
        if role == Role::Mover || self.is_rung_in_transfer(call).is_some() {
            // Nobody hears it, but a reliable answer need not be repeated in the 2xx (RFC 6337 2.1).
            if let Ok(Some(description)) = description_in(response, self.gate(leg)) {
                let _ = self.receive_answer(leg, description);
            }
        }
        if role == Role::Mover {
            self.happened.push_back(Happened::MoverRinging(leg));
            return;
        }
        let Some(found) = self.calls.get_mut(call).filter(|call| call.state == CallState::Ringing) else {
            return;
        };
        let caller = found.caller;
        if found.record.ring.is_none() {
            found.record.ring = Some(self.now.unix);
            self.happened.push_back(Happened::Ringing(call));
        }
        if let Some(key) = self.is_rung_in_transfer(call) {
            return self.tell_transfer(key, TransferNews::Progress(status));
        }
        let mute = self
            .legs
            .get(leg)
            .and_then(|leg| self.trunk(&leg.party))
            .is_some_and(|of| of.policy.is_mute_early);
        if mute {
            // What was answered reliably need not be said again in the 2xx (RFC 6337 2.1).
            if let Ok(Some(description)) = description_in(response, &self.settings.media.screen) {
                let _ = self.receive_answer(leg, description);
            }
            let status = if status.as_u16() == 183 { StatusCode::RINGING } else { status };
            return self.tell_progress(caller, status, None);
        }
        let body = self.early_media(call, leg, response);
        self.tell_progress(caller, status, body);
    }

    /// The first fork that sends a description plays to the caller; the others stay mute until they answer.
    fn early_media(&mut self, call: CallHandle, leg: LegHandle, response: &Message) -> Option<Bytes> {
        let description = description_in(response, self.gate(leg)).ok()??;
        let found = self.calls.get_mut(call)?;
        if found.early_media.is_some_and(|chosen| chosen != leg) {
            return None;
        }
        let caller = found.caller;
        // Without an offer of the caller this would be an offer in an unreliable response, which RFC 3261 13.2.1
        // forbids: it waits for the 2xx.
        if self.legs.get(caller)?.raw.is_empty() {
            return None;
        }
        if let Some(found) = self.calls.get_mut(call) {
            found.early_media = Some(leg);
        }
        self.receive_answer(leg, description).ok()?;
        let body = self.answer_across(leg, caller).ok()?;
        let pairing = self.legs.get(leg)?.pairing.clone();
        self.connect_legs(caller, leg, &pairing, None);
        Some(body)
    }

    /// A target answered.
    fn on_accepted(&mut self, leg: LegHandle, tx: ClientTx, response: &Message) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        if found.state != LegState::Early {
            self.release_branch(leg, tx, response);
            return;
        }
        found.client_invite = None;
        found.sent_invite = None;
        found.dialog.on_response(response);
        found.answered = Some(self.now.at);
        let cseq = response.cseq().map_or(0, |cseq| cseq.number);
        let (call, role, dying) = (found.call, found.role, found.release.is_some());
        found.state = LegState::Confirmed;
        if !dying {
            self.note_session(leg, response);
        }
        if role == Role::Mover && !dying {
            let said = self.legs.get(leg).map(|leg| leg.raw.clone());
            let body = sdp_in(response).ok().flatten().or(said).unwrap_or_default();
            self.acknowledge(leg, tx, cseq, None);
            self.happened.push_back(Happened::MoverAnswered(leg, body));
            return;
        }
        let is_late = dying || self.calls.get(call).is_none_or(|call| call.state != CallState::Ringing);
        if is_late {
            // A 2xx that crossed our CANCEL (RFC 3261 15: it is acknowledged, then released).
            self.acknowledge(leg, tx, cseq, None);
            self.release_leg(leg, ANSWERED_ELSEWHERE);
            self.leave_forks(call, leg);
            return;
        }
        self.on_winner(call, leg, tx, cseq, response);
    }

    /// A target that hung up before its 2xx was here, which makes it one that was given up and yet still rings: it is out, as
    /// if it had refused.
    fn leave_forks(&mut self, call: CallHandle, leg: LegHandle) {
        let is_left = |call: &&mut Call| call.is_open() && call.forks.contains(&leg);
        let Some(found) = self.calls.get_mut(call).filter(is_left) else { return };
        found.forks.retain(|fork| *fork != leg);
        let status = StatusCode::REQUEST_TERMINATED;
        found.note_refusal(status, status.reason(), None);
        self.leave_fork_ports(call, leg);
        self.settle_unless_picked_up(call, leg, status);
    }

    /// Nobody may be left who rings; but whether the call is over is for a pickup to decide, where one is under way.
    fn settle_unless_picked_up(&mut self, call: CallHandle, leg: LegHandle, status: StatusCode) {
        if self.calls.get(call).is_some_and(|call| call.moving) {
            // Whether that succeeds decides what the caller hears.
            self.happened.push_back(Happened::LegGone { call, leg, why: Gone::Refused(status) });
            return;
        }
        self.settle_forks(call);
    }

    /// A further 2xx, of another phone behind the same target: a dialog of its own beside that of the leg, which
    /// stands (RFC 3261 13.2.2.4: it is acknowledged, and may be ended at once).
    fn release_branch(&mut self, leg: LegHandle, tx: ClientTx, response: &Message) {
        let (of_ack, of_bye) = (self.mint_branch(), self.mint_branch());
        let Some(found) = self.legs.get(leg) else { return };
        let mut other = found.dialog.clone();
        other.on_response(response);
        let cseq = response.cseq().map_or(0, |cseq| cseq.number);
        let ack = other.ack(&of_ack, cseq, found.proof_of(cseq), None);
        let mut bye = other.request(&Method::Bye, &of_bye);
        let bytes = bye.header(&HeaderName::Reason, ANSWERED_ELSEWHERE).finish();
        let (flow, tag) = (other.flow, &other.remote_tag);
        self.transactions.acked(self.now.at, tx, Some(tag), flow, ack, &mut self.effects);
        self.send_request(flow, &Method::Bye, &of_bye, bytes, Owner::Nobody);
    }

    /// The first target to answer gets the call.
    fn on_winner(&mut self, call: CallHandle, leg: LegHandle, tx: ClientTx, cseq: u32, response: &Message) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let caller = found.caller;
        found.callee = Some(leg);
        let losers: SmallVec<[LegHandle; 2]> =
            found.forks.iter().copied().filter(|fork| *fork != leg).collect();
        found.forks.clear();
        found.try_no_more();
        if let Ok(id) = response.call_id() {
            found.record.sip_call_id.push(id.into());
        }
        for loser in losers {
            self.release_leg(loser, ANSWERED_ELSEWHERE);
        }
        self.adopt_winner(call, leg);
        self.note_winner(call, leg);
        if let Some(found) = self.legs.get_mut(leg) {
            found.role = Role::Talking(Side::Callee);
        }
        if let Some(key) = self.is_rung_in_transfer(call) {
            return self.give_to_transfer(call, key, leg, (tx, cseq), response);
        }
        let offered = self.legs.get(caller).is_some_and(|leg| !leg.raw.is_empty());
        let body = match self.join_answer(caller, leg, offered, response) {
            Ok(body) => body,
            Err(refusal) => {
                self.acknowledge(leg, tx, cseq, None);
                self.fail_call(call, refusal.status(), &refusal);
                return;
            }
        };
        if offered {
            self.acknowledge(leg, tx, cseq, None);
        } else {
            if let Some(callee) = self.legs.get_mut(leg) {
                callee.owed_ack = Some((tx, cseq));
            }
            if let Some(caller) = self.legs.get_mut(caller) {
                caller.answer_due = Some(AnswerDue::Peer);
            }
        }
        let identity = self.identity_of(leg);
        self.answer_inbound(caller, StatusCode::OK, Some(&body), identity.as_deref());
        self.note_answered(call);
        self.connect(call);
    }

    /// The target of a transfer answered: what it says goes to who is transferred.
    fn give_to_transfer(
        &mut self,
        call: CallHandle,
        key: TransferKey,
        leg: LegHandle,
        (tx, cseq): (ClientTx, u32),
        response: &Message,
    ) {
        self.acknowledge(leg, tx, cseq, None);
        let description = description_in(response, self.gate(leg));
        let answered = match description {
            Ok(Some(description)) => self.receive_answer(leg, description),
            // It came in a reliable 183 and is not repeated.
            Ok(None) if self.legs.get(leg).is_some_and(|leg| !leg.raw.is_empty()) => Ok(()),
            Ok(None) => Err(Refusal::OfferUnusable("the answer has no description".into())),
            Err(refusal) => Err(refusal),
        };
        match answered {
            Ok(()) => self.tell_transfer(key, TransferNews::Taken(leg)),
            Err(refusal) => self.fail_call(call, refusal.status(), &refusal),
        }
    }

    /// The description in a 2xx, as the caller gets it: the answer to its offer, or the offer it asked for.
    fn join_answer(
        &mut self,
        caller: LegHandle,
        leg: LegHandle,
        offered: bool,
        response: &Message,
    ) -> Result<Bytes, Refusal> {
        let description = description_in(response, self.gate(leg))?;
        match (description, offered) {
            (Some(description), true) => {
                self.receive_answer(leg, description)?;
                self.answer_across(leg, caller)
            }
            (Some(description), false) => {
                self.receive_offer(leg, description)?;
                self.offer_across(leg, caller)
            }
            // The answer came in a 183 and is not repeated.
            (None, true) if self.legs.get(leg).is_some_and(|leg| !leg.raw.is_empty()) => {
                self.answer_across(leg, caller)
            }
            // RFC 3261 13.2.1: the first reliable answer to an offer carries one, and to no offer an offer.
            (None, _) => Err(Refusal::OfferUnusable("the answer has no description".into())),
        }
    }

    /// Sends the ACK of a 2xx; the transaction repeats it for each retransmission.
    pub fn acknowledge(&mut self, leg: LegHandle, tx: ClientTx, cseq: u32, answer: Option<&Bytes>) {
        let branch = self.mint_branch();
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.owed_ack = None;
        let body = answer.map(|body| ("application/sdp", &body[..]));
        let ack = found.dialog.ack(&branch, cseq, found.proof_of(cseq), body);
        let (flow, tag) = (found.dialog.flow, found.dialog.remote_tag.clone());
        self.transactions.acked(self.now.at, tx, Some(&tag), flow, ack, &mut self.effects);
    }

    /// Who a leg speaks as, for P-Asserted-Identity toward the other one (RFC 3325 9.1); nobody, if it wants that.
    #[must_use]
    pub fn identity_of(&self, handle: LegHandle) -> Option<Box<str>> {
        let leg = self.legs.get(handle)?;
        if leg.is_private {
            return None;
        }
        match &leg.party {
            Party::User { account, .. } => {
                let account = leg.acts_for.as_ref().unwrap_or(account);
                Some(super::setup::user_value(account.shown(), account.number(), &self.settings.domain))
            }
            // Not its own address: where a trunk is, is none of the other side's business.
            Party::Trunk { .. } => Some(self.shown_as(handle)),
            Party::Service(_) => None,
        }
    }

    /// A target said no, or nothing. The best answer goes to the caller when it was the last.
    pub fn on_leg_failed(&mut self, leg: LegHandle, status: StatusCode, answer: Option<&Message>) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.client_invite = None;
        found.state = LegState::Ended;
        let (call, role) = (found.call, found.role);
        let user = found.user().map(|account| account.name.clone());
        let way = match &found.party {
            // What it says to a CANCEL of ours says nothing of the target.
            Party::Trunk { index, .. } if found.release.is_none() => Some((*index, found.dialog.flow.peer)),
            Party::Trunk { .. } | Party::User { .. } | Party::Service(_) => None,
        };
        if let Some((trunk, peer)) = way {
            self.on_target_failed(call, trunk, peer, status);
        }
        if role == Role::Mover {
            let why =
                if self.note_srtp_refused(leg, status) { Gone::RefusedSrtp } else { Gone::Refused(status) };
            self.happened.push_back(Happened::LegGone { call, leg, why });
            self.remove_leg(leg);
            return;
        }
        let found = self.calls.get(call).filter(|call| call.is_open());
        if found.is_some_and(|call| !call.forks.contains(&leg)) {
            // It was given up, and others ring in its place.
            self.remove_leg(leg);
            return;
        }
        let is_open = found.is_some();
        let is_rung_again = is_open && self.ring_in_plain(leg, status);
        self.remove_leg(leg);
        let Some(found) = self.calls.get_mut(call) else { return };
        found.forks.retain(|fork| *fork != leg);
        if !is_open || is_rung_again {
            return;
        }
        let status = presentable(status);
        let said = answer.map(Message::reason_phrase).filter(|phrase| !names_place(phrase.as_bytes()));
        let reason = said.unwrap_or(status.reason());
        found.note_refusal(status, reason, answer);
        if let Some(entry) = found.diverted.as_mut().filter(|_| user.is_some() && is_busy(status)) {
            entry.why = Why::Busy;
        }
        if status.as_u16() >= 600 {
            self.refuse_for_all(call, user.as_deref(), status);
        }
        self.settle_unless_picked_up(call, leg, status);
    }

    /// RFC 3263 4.3: silence, a broken connection and 503 are of the target, and the next one of its trunk is tried.
    /// Any other answer is the trunk's own, and none of its other targets would give another.
    fn on_target_failed(&mut self, call: CallHandle, trunk: usize, peer: SocketAddr, status: StatusCode) {
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT) {
            self.targets.failed(trunk, peer, self.now.at);
        } else if let Some(found) = self.calls.get_mut(call) {
            found.next_ways.retain(|way| way.trunk != trunk);
        }
    }

    /// RFC 3261 16.7 step 5: a 6xx is for all that ring, and nobody else is tried. In a group it is for the devices of one
    /// user: who declines does so for nobody else.
    fn refuse_for_all(&mut self, call: CallHandle, user: Option<&str>, status: StatusCode) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let is_one_of_many = found.rings_group && user.is_some();
        if !is_one_of_many {
            found.try_no_more();
        }
        let forks = found.forks.clone();
        let reason = format!("SIP;cause={}", status.as_u16());
        for fork in forks {
            let of = self.legs.get(fork).and_then(|leg| leg.user()).map(|account| &*account.name);
            if !is_one_of_many || of == user {
                self.release_leg(fork, &reason);
            }
        }
    }

    /// Where nothing rings any more the next target is tried, or the caller hears what the rule says then, or the best
    /// answer.
    pub fn settle_forks(&mut self, call: CallHandle) {
        let Some(found) = self.calls.get(call).filter(|call| call.is_open()) else { return };
        if !found.forks.is_empty() || self.try_next(call) {
            return;
        }
        let Some(found) = self.calls.get_mut(call) else { return };
        let last_word = found.rest.last_word.take();
        let last_word = last_word.map(|last| Best { status: last.status, reason: last.reason, answer: None });
        let best = last_word.or_else(|| found.best.take());
        let status = StatusCode::TEMPORARILY_UNAVAILABLE;
        let none = || Best { status, reason: status.reason().into(), answer: None };
        self.refuse_caller(call, &best.unwrap_or_else(none));
    }

    /// The caller's final answer is a refusal; the call is over.
    fn refuse_caller(&mut self, call: CallHandle, best: &Best) {
        let status = best.status;
        let Some(found) = self.calls.get(call) else { return };
        let (caller, across) = (found.caller, Across::border_if(found.record.trunk.is_some()));
        if let Some(leg) = self.legs.get_mut(caller)
            && let Some(tx) = leg.server_invite.take()
        {
            leg.state = LegState::Ended;
            let tag = leg.dialog.local_tag.clone();
            let offered =
                leg.media.as_ref().map(|media| media.audio_names()).filter(|_| Self::is_of_media(status));
            if let Some(mut writer) = self.transactions.reply(tx, status, Some(&best.reason), Some(&tag)) {
                if let Some(answer) = &best.answer {
                    super::headers::explain(answer, across, &mut writer);
                }
                let is_explained = best.answer.as_ref().is_some_and(|answer| answer.has(HeaderName::Warning));
                if let Some(names) = offered.filter(|_| !is_explained).filter(|names| !names.is_empty()) {
                    // Which of the two it was, a 488 without a Warning does not say.
                    let why = match self.settings.media.srtp {
                        Rule::SecureOnly => {
                            format!("none of {names} is taken, or not with SRTP, which is required here")
                        }
                        Rule::Either | Rule::PlainOnly => {
                            format!("no common codec: none of {names} is taken")
                        }
                    };
                    super::core::write_refusal(
                        &mut writer,
                        &Refusal::OfferUnusable(why.into()),
                        &self.settings,
                    );
                }
                self.write_headers(caller, &mut writer);
                let bytes = writer.finish();
                self.respond(tx, status, bytes);
            }
        }
        if let Some(key) = self.is_rung_in_transfer(call) {
            // Who is transferred has another call, and the place that was held for it is empty.
            self.tell_transfer(key, TransferNews::Failed(status));
            self.remove_leg(caller);
        }
        self.finish_call(call, Disposition::of_refusal(status), status.as_u16(), None);
    }

    /// Ends a call that is not answered yet for a reason of ours.
    pub fn fail_call(&mut self, call: CallHandle, status: StatusCode, refusal: &Refusal) {
        let Some(found) = self.calls.get_mut(call) else { return };
        let legs: SmallVec<[LegHandle; 4]> = found.forks.drain(..).chain(found.callee.take()).collect();
        for leg in legs {
            self.release_leg(leg, "SIP;cause=487");
        }
        self.refuse_caller(call, &Best { status, reason: refusal.to_string().into(), answer: None });
    }

    /// The caller's CANCEL, answered by its transaction (RFC 3261 9.2).
    pub fn on_cancelled(&mut self, leg: LegHandle, reason: Option<&str>) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        if found.state != LegState::Early {
            // A re-INVITE is cancelled: what it was passed on as is cancelled in turn.
            if !self.drop_held_answer(leg, reason.unwrap_or(CANCELLED)) {
                self.cancel_relayed(leg);
            }
            return;
        }
        let (call, role) = (found.call, found.role);
        if role == Role::Mover {
            self.refuse_inbound(leg, &Refusal::Terminated);
            self.happened.push_back(Happened::LegGone { call, leg, why: Gone::ByParty });
            return;
        }
        let reason = reason.unwrap_or(CANCELLED).to_owned();
        let Some(found) = self.calls.get_mut(call) else { return };
        found.try_no_more();
        let forks = std::mem::take(&mut found.forks);
        for fork in forks {
            self.release_leg(fork, &reason);
        }
        self.refuse_inbound(leg, &Refusal::Terminated);
        self.finish_call(call, Disposition::Cancelled, 487, Some(HangupBy::Caller));
    }

    /// Refuses the INVITE that opened an inbound leg and forgets the leg.
    pub fn refuse_inbound(&mut self, leg: LegHandle, refusal: &Refusal) {
        let Some(found) = self.legs.get_mut(leg) else { return };
        found.state = LegState::Ended;
        let tag = found.dialog.local_tag.clone();
        if let Some(tx) = found.server_invite.take() {
            self.refuse(tx, refusal, Some(&tag));
        }
        self.remove_leg(leg);
    }

    /// A leg's ringing time is over.
    pub(super) fn on_ringing_timeout(&mut self, leg: LegHandle) {
        let Some(found) = self.legs.get(leg).filter(|leg| leg.state == LegState::Early) else { return };
        let call = found.call;
        if found.role == Role::Mover {
            self.release_leg(leg, "SIP;cause=480;text=\"No answer\"");
            self.happened.push_back(Happened::LegGone {
                call,
                leg,
                why: Gone::Refused(StatusCode::TEMPORARILY_UNAVAILABLE),
            });
        } else if self.calls.get(call).is_some_and(Call::is_open) {
            self.fail_call(call, StatusCode::TEMPORARILY_UNAVAILABLE, &Refusal::Unreachable);
        }
    }

    /// Starts the ringing timer of a leg that we called on its own (a mover).
    pub fn limit_ringing(&mut self, leg: LegHandle, after: std::time::Duration) {
        self.arm(leg, timer::RINGING, after);
    }
}

/// Whether a user is busy, or will not be disturbed.
const fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 486 | 600 | 603)
}

/// RFC 3261 16.7 step 6: 6xx first, then the lowest class; within 4xx those that tell the caller what to change
/// come before busy, busy before "not here".
pub(super) fn rank(status: StatusCode) -> (u8, u16) {
    let code = status.as_u16();
    match code {
        600..=699 => (0, code),
        486 => (1, 0),
        401 | 407 | 415 | 420 | 484 | 488 => (1, 1),
        400..=499 => (1, 2 + code % 100),
        _ => (2, code),
    }
}
