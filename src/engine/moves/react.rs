//! What happened in the call layer, at the store and in the media threads, told to the machine of the move that it
//! concerns.

use bytes::Bytes;

use super::{Joins, MoveKey};
use crate::call::core::{Gone, Happened};
use crate::call::media::admit;
use crate::call::{CallHandle, LegHandle};
use crate::engine::Engine;
use crate::engine::event::{CallEvent, HoldOffEvent};
use crate::engine::store::{StoreOp, StoreReply, StoreTicket};
use crate::media::plan::{self, Bridging};
use crate::media::relay::{DropReason, PortId, PortStats};
use crate::moving::hold_off::Ended;
use crate::moving::machine::{Actions, Event, Move, Watch, Way};
use crate::moving::timeline::{Heading, Side, What};
use crate::sip::Refusal;
use crate::wire::sip::{Method, StatusCode};

impl Engine {
    /// News of the call layer.
    pub(crate) fn on_happened(&mut self, happened: Happened) {
        match happened {
            Happened::Ringing(call) => {
                self.track(call);
                self.tell_call(call, CallEvent::Ringing, None);
            }
            Happened::RungOn(call) => self.track(call),
            Happened::Answered(call) => {
                self.on_answered_at_home(call);
                self.track(call);
                self.note_codecs(call);
                self.tell_call(call, CallEvent::Answered, None);
            }
            Happened::Held { call, side, held } => {
                self.track(call);
                if held {
                    self.tell_call(call, CallEvent::Held, Some(side));
                }
            }
            Happened::Ended { call, record } => {
                if let Some(prompt) = self.moves.prompts.remove(&call) {
                    // Nobody was called: there is nothing to tell and nothing to record.
                    self.moves.checks.retain(|_, prompt| *prompt != call);
                    self.moves.arrivals.extend(prompt.signed_in());
                    return;
                }
                self.on_call_over(call);
                self.trace.ended(&record);
                self.tell_ended(&record);
                self.end_tally(call, record);
            }
            Happened::Transfer(key, news) => self.on_transfer(key, news),
            Happened::LegGone { call, leg, why } => self.on_leg_gone(call, leg, why),
            Happened::Dying { leg, death, reason } => self.on_device_dying(leg, death, &reason),
            Happened::Lost { call, leg } => self.on_device_lost(call, leg),
            Happened::Found { call, leg } => self.on_device_found(call, leg),
            Happened::MoverRinging(leg) => {
                self.note_heard(leg, StatusCode::RINGING);
                self.tell_machine(leg, Event::NewRinging);
            }
            Happened::MoverAnswered(leg, body) => {
                self.note_heard(leg, StatusCode::OK);
                if let Some(event) = self.settle_new(leg, &body) {
                    self.tell_machine(leg, event);
                }
            }
            Happened::MoverAcked(leg, body) => self.on_mover_acked(leg, body),
            Happened::FarAnswered(leg, body) => self.on_far_answered(leg, &body),
            Happened::FarRefused(leg, status) => self.on_far_refused(leg, status),
            Happened::FarRestored(leg) => {
                if let Some(key) = self.move_of(leg) {
                    if let Some(moving) = self.moves.live.get_mut(&key) {
                        moving.restore_due = false;
                    }
                    self.finish_if_over(key);
                }
            }
        }
    }

    /// The move that a leg's call is in.
    pub(super) fn move_of(&self, leg: LegHandle) -> Option<MoveKey> {
        self.moves.of_leg(self.core.call_of(leg)?)
    }

    /// A leg has answered an INVITE that the move of its call has sent.
    fn note_heard(&mut self, leg: LegHandle, status: StatusCode) {
        let Some(key) = self.move_of(leg) else { return };
        let is_new = self.moving(key).is_some_and(|moving| moving.new == Some(leg));
        let side = if is_new { Side::New } else { Side::Far };
        self.note_answer(key, (side, Heading::In), status);
    }

    fn tell_machine(&mut self, leg: LegHandle, event: Event) {
        if let Some(key) = self.move_of(leg) {
            self.advance(key, event);
        }
    }

    fn on_leg_gone(&mut self, call: CallHandle, leg: LegHandle, why: Gone) {
        if self.on_transfer_leg_gone(call, leg) {
            return;
        }
        let Some(key) = self.moves.of_leg(call) else {
            // The move that held the call was over before this was told: who talked there is gone all the same.
            let side = self.core.calls.get(call).and_then(|call| call.side_of(leg));
            if side.is_some() {
                self.core.end_call(call, why.hung_up_by(side), "SIP;cause=200");
            }
            return;
        };
        let Some(moving) = self.moves.live.get(&key) else { return };
        let rings_pushed = moving.machine.rings_pushed();
        let (new, old, far) = (moving.new, moving.old, moving.far);
        let event = if new == Some(leg) {
            // What it heard meanwhile goes to its port no more, which will be another's.
            self.core.connect(call);
            if let Gone::Refused(status) = why {
                self.note_answer(key, (Side::New, Heading::In), status);
            }
            match why {
                Gone::RefusedSrtp if rings_pushed => return self.ring_new(key),
                Gone::Refused(_) | Gone::RefusedSrtp => Event::NewRefused,
                Gone::NeverAcknowledged => Event::NewUnacked,
                Gone::ByParty | Gone::Dead | Gone::Released => Event::NewGone,
            }
        } else if old == leg {
            Event::OldGone
        } else if far == leg {
            return self.on_far_gone(key);
        } else {
            return;
        };
        self.advance(key, event);
    }

    /// Nobody is at the far side any more. A move that had failed may have waited only for what that says to our last
    /// offer.
    fn on_far_gone(&mut self, key: MoveKey) {
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.restore_due = false;
        }
        self.advance(key, Event::FarGone);
    }

    /// The description of a new device that was offered one is here: what does joining it take? `None` while the device is
    /// asked once more.
    pub(super) fn settle_new(&mut self, new: LegHandle, body: &Bytes) -> Option<Event> {
        let received = admit(body, &self.core.settings.media.screen)
            .and_then(|description| self.core.receive_answer(new, description));
        match received {
            Ok(()) => self.judge_new(new),
            Err(_) => Some(Event::NewUnusable),
        }
    }

    /// The same, of what it has agreed.
    fn judge_new(&mut self, new: LegHandle) -> Option<Event> {
        let Some(key) = self.move_of(new) else { return Some(Event::NewUnusable) };
        let Some(moving) = self.moves.live.get(&key) else { return Some(Event::NewUnusable) };
        let (far, way, from, to) = (moving.far, moving.machine.way(), moving.from.clone(), moving.to.clone());
        let Ok((need, pairing)) = self.plan_join(far, new) else { return Some(Event::NewUnusable) };
        if self.narrow_new(key, far, new, &pairing) {
            return None;
        }
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.pairing = pairing;
        }
        let event = if way == Way::Push { Event::NewAnswered(need) } else { Event::NewAcked(need) };
        let (now, old) = (self.core.now.at, self.presence_of_old(key, &from));
        Some(Move::if_registered(now, old, self.presence(&to), event))
    }

    fn on_mover_acked(&mut self, new: LegHandle, body: Option<Bytes>) {
        let Some(key) = self.move_of(new) else { return };
        let Some(moving) = self.moves.live.get(&key) else { return };
        if moving.joins == Joins::FromPrompt {
            // The end of an exchange of its own, from before it joined.
            return;
        }
        let (from, to, way) = (moving.from.clone(), moving.to.clone(), moving.machine.way());
        if !matches!(way, Way::Push | Way::Refer) {
            self.note_request(key, (Side::New, Heading::In), &Method::Ack);
        }
        let event = match (way, body) {
            (Way::Pickup, body) => self.settle_pickup(key, new, body),
            (Way::PullOfferless, Some(body)) => match self.settle_new(new, &body) {
                Some(event) => event,
                None => return,
            },
            // RFC 3264 4: an offer in a 2xx is answered in the ACK.
            (Way::PullOfferless, None) => Event::NewUnusable,
            (Way::Pull(need), _) => {
                let event = Event::NewAcked(need);
                Move::if_registered(
                    self.core.now.at,
                    self.presence_of_old(key, &from),
                    self.presence(&to),
                    event,
                )
            }
            (Way::Push | Way::Refer, _) => Event::NewAcked(crate::moving::machine::Need::Keep),
        };
        self.advance(key, event);
    }

    fn on_far_answered(&mut self, far: LegHandle, body: &Bytes) {
        let Some(key) = self.move_of(far) else { return };
        self.note_heard(far, StatusCode::OK);
        if self.moving(key).is_some_and(|moving| moving.new == Some(far)) {
            return self.on_rejoined(key, far, body);
        }
        let is_due = self.moves.live.get(&key).is_some_and(|moving| moving.restore_due);
        let received = admit(body, self.core.gate(far))
            .and_then(|description| self.core.receive_answer(far, description));
        if is_due {
            // A yes that crossed our CANCEL: it is taken back.
            self.restore_far(key);
            self.finish_if_over(key);
            return;
        }
        let event = match received.and_then(|()| self.repair_pairing(key)) {
            Ok(()) => Event::FarAnswered,
            Err(_) if self.bridge_unused(key) => return,
            Err(_) => Event::FarUnusable,
        };
        self.advance(key, event);
    }

    /// After the far side's new answer the two legs must still have audio in common, or have it converted.
    fn repair_pairing(&self, key: MoveKey) -> Result<(), Refusal> {
        let moving = self.moves.live.get(&key).ok_or(Refusal::DialogUnknown)?;
        let (far, new) = (self.core.legs.get(moving.far), moving.new.and_then(|new| self.core.legs.get(new)));
        let (Some(far), Some(new)) = (far, new) else { return Err(Refusal::DialogUnknown) };
        let (Some(there), Some(here)) = (&far.media, &new.media) else { return Ok(()) };
        if there.remote_media().is_empty() {
            return Err(Refusal::OfferUnusable("the far side took no stream".into()));
        }
        let may_convert = self.core.bridging(moving.call) == Bridging::Allowed && plan::bridges(there, here);
        if plan::lacks_codec(there, here, &moving.pairing) && !may_convert {
            return Err(Refusal::OfferUnusable("the far side took no codec of the new device".into()));
        }
        Ok(())
    }

    fn on_far_refused(&mut self, far: LegHandle, status: StatusCode) {
        let Some(key) = self.move_of(far) else { return };
        self.note_heard(far, status);
        if let Some(moving) = self.moving(key).filter(|moving| moving.new == Some(far)) {
            let is_gone = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::CALL_DOES_NOT_EXIST);
            // RFC 3261 14.1: one that was only to be narrowed stands as it has answered before.
            let event = match moving.is_narrowed && !is_gone {
                true => self.judge_new(far),
                false => Some(Event::NewUnusable),
            };
            return event.map_or((), |event| self.advance(key, event));
        }
        if let Some(moving) = self.moves.live.get_mut(&key)
            && moving.restore_due
        {
            // It never changed, so there is nothing to take back.
            moving.restore_due = false;
            self.finish_if_over(key);
            return;
        }
        let event = match status {
            StatusCode::REQUEST_TIMEOUT => Event::FarSilent,
            // It has no media since its first answer, and is to have it back.
            _ if self.moving(key).is_some_and(|moving| moving.is_bridged) => Event::FarUnusable,
            _ if self.bridge(key, status) => Event::FarBridged,
            _ => Event::FarRefused,
        };
        self.advance(key, event);
    }

    /// The first packet of the new device went out to the far side.
    pub(crate) fn on_swapped(&mut self, far: PortId, gap_us: u64, lost: u32) {
        let Some(leg) = self.core.port_legs.get(&far).copied() else { return };
        let Some(call) = self.core.call_of(leg) else { return };
        if let Some(segment) = self
            .core
            .calls
            .get_mut(call)
            .and_then(|call| call.record.segments.iter_mut().rfind(|s| s.trigger.is_some()))
            && segment.gap_ms.is_none()
        {
            segment.gap_ms = Some(gap_us as f64 / 1000.0);
        }
        let Some(key) = self.moves.of_leg(call) else { return };
        let now = self.core.now.at;
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.gap_us = Some(gap_us);
            moving.lost = lost.into();
            moving.heard = true;
            moving.timeline.push(now, What::Heard { gap_us, lost });
        }
        self.advance(key, Event::NewHeard);
    }

    /// Counters of a port: an answer to the question whether the old device still sends.
    pub(crate) fn on_stats(&mut self, port: PortId, stats: &PortStats) {
        if self.on_last_word(port, stats) || self.on_counted(port, stats) {
            return;
        }
        let Some(leg) = self.core.port_legs.get(&port).copied() else { return };
        self.on_probed(leg, stats);
        let Some(key) = self.move_of(leg) else { return };
        let now = self.core.now.at;
        let Some(moving) = self.moves.live.get_mut(&key).filter(|moving| moving.old == leg) else { return };
        let moved = stats.dropped.get(DropReason::Moved as usize).copied().unwrap_or(0);
        let sent = stats.received + moved;
        moving.timeline.push(
            now,
            What::Media {
                side: Side::Old,
                received: stats.received,
                sent: stats.sent,
                lost: stats.lost.max(0).unsigned_abs(),
                jitter_us: stats.jitter_us.into(),
            },
        );
        match moving.watch.take() {
            // Who never sent anything (a gateway in recvonly, a test tool without media) cannot be missed: there is
            // nothing to wait for, and the new device has the call.
            Some(Watch::OldBefore) if sent == 0 => self.advance(key, Event::BothSilent),
            Some(Watch::OldBefore) => moving.old_sent = Some(sent),
            Some(Watch::NewAfter) => {
                let old_still_sent = moving.old_sent.is_some_and(|before| sent > before);
                let event = match (moving.heard, old_still_sent) {
                    (true, _) => Event::NewHeard,
                    (false, true) => Event::NewSilent,
                    (false, false) => Event::BothSilent,
                };
                self.advance(key, event);
            }
            None => {}
        }
    }

    /// The store has answered; true if a move had asked.
    pub(crate) fn on_move_stored(&mut self, ticket: StoreTicket, reply: &StoreReply) -> bool {
        let Some(key) = self.moves.stores.remove(&ticket) else { return false };
        let now = self.core.now.at;
        let event = if *reply == StoreReply::Done { Event::Stored } else { Event::StoreFailed };
        if event == Event::Stored
            && let Some(moving) = self.moves.live.get_mut(&key)
        {
            moving.timeline.push(now, What::Stored);
        }
        self.advance(key, event);
        true
    }

    /// Machines whose time has come, hold-offs that end, identifiers that are stale.
    pub(crate) fn on_moves_timeout(&mut self) {
        let now = self.core.now.at;
        let due: Vec<MoveKey> = self
            .moves
            .live
            .iter()
            .filter(|(_, moving)| moving.machine.poll_timeout().is_some_and(|at| at <= now))
            .map(|(key, _)| *key)
            .collect();
        for key in due {
            let Some(moving) = self.moves.live.get_mut(&key) else { continue };
            let before = moving.machine.state();
            let mut actions = Actions::new();
            moving.machine.handle_timeout(now, &mut actions);
            let after = moving.machine.state();
            if after != before {
                moving.timeline.push(now, What::State { state: after });
            }
            self.carry_out(key, actions);
        }
        self.on_prompts_timeout();
        self.on_probes_timeout();
        while let Some(ended) = self.moves.hold_offs.expire(now) {
            self.on_hold_off_ended(&ended);
        }
        self.moves.identifiers.expire(now);
        self.moves.referrals.retain(|_, referral| referral.until > now);
    }

    /// A device is free again.
    pub(super) fn on_hold_off_ended(&mut self, ended: &Ended) {
        let ticket = StoreTicket(self.ticket());
        let op = StoreOp::RemoveHoldOff { move_id: ended.move_id.clone() };
        self.outputs.push(crate::engine::Output::Store { ticket, op });
        let call = ended.call.and_then(|call| self.core.calls.get(super::call_of(call)));
        let id = call.map(|call| call.id.clone()).unwrap_or_default();
        let (user, device) = (ended.device.user().into(), ended.device.device().into());
        self.tell_hold_off(HoldOffEvent::Ended, (id, user, device), None, 0);
        self.note_later(|view| *view.id == *ended.move_id, What::HoldOffEnded);
        self.on_directory_changed(ended.device.user());
    }

    /// Nothing of a call is left.
    fn on_call_over(&mut self, call: CallHandle) {
        self.on_transfer_call_over(call);
        self.moves.last.remove(&call);
        self.moves.former.remove(&call);
        if let Some(key) = self.moves.by_call.get(&call).copied() {
            // The call was ended under the move, by an operator or a shutdown.
            self.on_far_gone(key);
        }
        self.untrack(call);
    }

    /// Whether a leg of a held-off device may do this (contract F).
    pub(crate) fn check_hold_off_in_dialog(
        &mut self,
        leg: LegHandle,
        method: &Method,
    ) -> Result<(), Refusal> {
        use crate::moving::hold_off::Access;
        if self.moves.hold_offs.is_empty() {
            return Ok(());
        }
        let Some(found) = self.core.legs.get(leg) else { return Ok(()) };
        let Some(device) = super::device_of(&found.party) else { return Ok(()) };
        let is_emergency = self.core.calls.get(found.call).is_some_and(|call| call.emergency);
        let access = match (found.role, method) {
            (crate::call::Role::Released, _) => Access::Call(super::call_key(found.call)),
            // It asks for nothing, and an answer may wait for it (RFC 3262 3).
            (_, Method::Prack) => return Ok(()),
            _ if is_emergency => Access::Emergency,
            _ => Access::Other,
        };
        self.held(&device, access, method.as_str())
    }
}
