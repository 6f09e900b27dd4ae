//! Carries out what a move's machine asks for, in order.

use super::{Joins, MoveKey, Moving, call_key, device_of};
use crate::call::record::HangupBy;
use crate::call::{LegHandle, LegState, Purpose};
use crate::engine::event::{HoldOffEvent, MoveEvent};
use crate::engine::store::{StoreOp, StoreTicket};
use crate::engine::{Engine, Output};
use crate::media::plan::{self, Bridging};
use crate::media::relay::MediaCommand;
use crate::moving::Refusal as MoveRefusal;
use crate::moving::hold_off::{Scope, Start};
use crate::moving::machine::{Action, Actions, Event, State, Watch, Way};
use crate::moving::snapshot::{DialogState, Hold as Held, MediaState, Snapshot};
use crate::moving::timeline::{Heading, Side, What};
use crate::sip::Refusal;
use crate::wire::sip::{Method, StatusCode};

impl Engine {
    /// Gives a move an event and does what follows.
    pub(super) fn advance(&mut self, key: MoveKey, event: Event) {
        let now = self.core.now.at;
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        let before = moving.machine.state();
        let mut actions = Actions::new();
        moving.machine.handle(now, event, &mut actions);
        let after = moving.machine.state();
        if after != before {
            moving.timeline.push(now, What::State { state: after });
        }
        self.carry_out(key, actions);
    }

    pub(super) fn carry_out(&mut self, key: MoveKey, actions: Actions) {
        let stands = self.moving(key).map(|moving| (moving.call, moving.machine.state()));
        if let Some((call, state)) = stands
            && let Some(found) = self.core.calls.get_mut(call)
        {
            found.awaits_device = state == State::Ringing;
        }
        for action in actions {
            self.act(key, action);
        }
        self.finish_if_over(key);
    }

    fn act(&mut self, key: MoveKey, action: Action) {
        match action {
            Action::StoreSnapshot => self.store_snapshot(key),
            Action::RingNew if self.is_prompted(key) => self.join_from_prompt(key),
            Action::RingNew => self.ring_new(key),
            Action::ReferNew => self.refer_new(key),
            Action::AnswerNew if self.is_prompted(key) => self.pick_up_from_prompt(key),
            Action::AnswerNew => self.answer_new(key),
            // The call layer acknowledges a mover's 2xx as it comes.
            Action::AckNew => {}
            // A device that stands in a dialog is hung up when the move is over.
            Action::RefuseNew(_) if self.is_prompted(key) => {}
            Action::RefuseNew(refusal) => self.refuse_new(key, refusal),
            Action::CancelNew | Action::HangUpNew(_) => self.hang_up_new(key),
            Action::ReofferFar => self.reoffer_far(key),
            Action::RestoreFar => self.restore_far(key),
            Action::AnswerFar => self.answer_far(key),
            Action::HearBoth => self.hear_both(key),
            Action::SwapRoute => self.swap(key),
            Action::SwapBack => self.swap_back(key),
            Action::HoldOffOld => self.hold_off_old(key),
            Action::LiftHoldOff => self.lift_hold_off(key),
            Action::WatchMedia(watch) => self.watch_media(key, watch),
            Action::ReleaseOld => self.release_old(key),
            // What else rings goes on ringing without the one that declined.
            Action::EndFar if self.is_pickup(key) => {}
            Action::EndOld | Action::EndFar => self.end_moved_call(key),
            Action::Announce => self.announce(key),
        }
    }

    pub(super) fn moving(&self, key: MoveKey) -> Option<&Moving> {
        self.moves.live.get(&key)
    }

    fn is_prompted(&self, key: MoveKey) -> bool {
        self.moving(key).is_some_and(|moving| moving.joins == Joins::FromPrompt)
    }

    fn is_pickup(&self, key: MoveKey) -> bool {
        self.moving(key).is_some_and(|moving| moving.machine.way() == Way::Pickup)
    }

    fn store_snapshot(&mut self, key: MoveKey) {
        let Some(snapshot) = self.snapshot(key) else { return self.advance(key, Event::StoreFailed) };
        if snapshot.to_json().is_err() {
            return self.advance(key, Event::StoreFailed);
        }
        let ticket = StoreTicket(self.ticket());
        self.moves.stores.insert(ticket, key);
        self.outputs.push(Output::Store { ticket, op: StoreOp::PutSnapshot(Box::new(snapshot)) });
    }

    fn snapshot(&self, key: MoveKey) -> Option<Snapshot> {
        let moving = self.moving(key)?;
        let (old, far) = (self.core.legs.get(moving.old)?, self.core.legs.get(moving.far)?);
        let media = far
            .ports
            .iter()
            .zip(&old.ports)
            .filter_map(|(far, old)| {
                let (far, old) = ((*far)?, (*old)?);
                // SSRC and payload type stay with the media thread, which keeps the far stream over the swap.
                Some(MediaState {
                    far_port: far.rtp,
                    old_port: old.rtp,
                    ssrc: 0,
                    payload_type: 0,
                    hold: Held::None,
                })
            })
            .collect();
        Some(Snapshot {
            move_id: moving.id.to_string(),
            call_id: moving.call_id.to_string(),
            taken: self.core.now.unix,
            user: (*moving.owner).into(),
            old_device: moving.from.to_string(),
            new_device: moving.to.to_string(),
            old: dialog_state(old),
            far: dialog_state(far),
            media,
        })
    }

    fn answer_new(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        let (far, way, Some(new)) = (moving.far, moving.machine.way(), moving.new) else { return };
        let body = self.describe_new(key, far, new, way);
        let identity = self.core.identity_of(far);
        match body {
            Ok(body) => {
                self.core.answer_inbound(new, StatusCode::OK, Some(&body), identity.as_deref());
                self.note_answer(key, (Side::New, Heading::Out), StatusCode::OK);
            }
            Err(_) => self.advance(key, Event::NewUnusable),
        }
    }

    /// The description with which the new device joins.
    fn describe_new(
        &mut self,
        key: MoveKey,
        far: LegHandle,
        new: LegHandle,
        way: Way,
    ) -> Result<bytes::Bytes, Refusal> {
        if way == Way::Pickup {
            return self.describe_pickup(far, new);
        }
        if let Some(service) = self.core.service_of(far) {
            return self.core.describe_service(new, service, way != Way::PullOfferless);
        }
        if self.core.legs.get(new).is_some_and(|leg| leg.media.is_none()) {
            return Ok(self.core.legs.get(far).map(|leg| leg.raw.clone()).unwrap_or_default());
        }
        let pairing = self.moving(key).map(|moving| moving.pairing.clone()).unwrap_or_default();
        let call = self.core.call_of(new).ok_or(Refusal::DialogUnknown)?;
        let terms = (self.settings.moving.hold, self.core.bridging(call));
        self.core.with_media(new, |core, media, lender| {
            let far = core.legs.get(far).and_then(|leg| leg.media.as_deref()).ok_or(Refusal::Internal)?;
            Ok(match way {
                Way::PullOfferless => plan::offer_far(far, media, None, terms, |line| lender.port(line))?,
                _ => plan::answer_across(far, media, &pairing, |line| lender.port(line))?,
            })
        })
    }

    fn refuse_new(&mut self, key: MoveKey, refusal: MoveRefusal) {
        let Some(new) = self.moving(key).and_then(|moving| moving.new) else { return };
        let named = match refusal {
            MoveRefusal::FarRefused | MoveRefusal::OfferUnusable => self.codecs_that_differ(key),
            _ => None,
        };
        let refusal = named.unwrap_or_else(|| refusal.into());
        self.note_answer(key, (Side::New, Heading::Out), refusal.status());
        self.core.refuse_inbound(new, &refusal);
    }

    fn hang_up_new(&mut self, key: MoveKey) {
        let Some((call, Some(new))) = self.moving(key).map(|moving| (moving.call, moving.new)) else {
            return;
        };
        let rings = self.core.legs.get(new).is_some_and(|leg| leg.state == LegState::Early);
        let method = if rings { Method::Cancel } else { Method::Bye };
        self.note_request(key, (Side::New, Heading::Out), &method);
        self.core.release_leg(new, "SIP;cause=487;text=\"Move cancelled\"");
        // Nothing goes to a device that has no part in the call, and least of all to its port once that is another's.
        self.core.connect(call);
    }

    pub(super) fn reoffer_far(&mut self, key: MoveKey) {
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        let (far, Some(new)) = (moving.far, moving.new) else { return };
        let is_bridged = moving.is_bridged;
        let is_converted = is_bridged || moving.was_converted;
        let bridging = if is_converted { Bridging::Allowed } else { Bridging::Never };
        let (pairing, hold) = (moving.pairing.clone(), self.settings.moving.hold);
        if self.core.is_left_alone(far) {
            let is_bridged = self.bridge(key, StatusCode::NOT_ACCEPTABLE_HERE);
            return self.advance(key, if is_bridged { Event::FarBridged } else { Event::FarRefused });
        }
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        if !is_bridged {
            moving.far_before = self.core.before(far, moving.old);
        }
        let unanchored = self.core.legs.get(far).is_none_or(|leg| leg.media.is_none());
        let body = if unanchored {
            Ok(self.core.legs.get(new).map(|leg| leg.raw.clone()).unwrap_or_default())
        } else {
            self.core.with_media(far, |core, media, lender| {
                let new = core.legs.get(new).and_then(|leg| leg.media.as_deref()).ok_or(Refusal::Internal)?;
                let terms = (hold, bridging);
                Ok(plan::reoffer(new, media, &pairing, terms, |line| lender.port(line))?)
            })
        };
        match body {
            Ok(body) => {
                if let Some(moving) = self.moves.live.get_mut(&key) {
                    moving.pairing = pairing;
                }
                self.note_request(key, (Side::Far, Heading::Out), &Method::Invite);
                self.core.queue_reinvite(far, body, Purpose::Move);
            }
            // What it was asked before has changed it.
            Err(_) if is_bridged => self.advance(key, Event::FarUnusable),
            // It may have nothing that the new device speaks, and is not asked.
            Err(_) if self.bridge(key, StatusCode::NOT_ACCEPTABLE_HERE) => {
                self.advance(key, Event::FarBridged)
            }
            Err(_) => self.advance(key, Event::FarRefused),
        }
    }

    /// The far side hears again what it heard before it was asked.
    pub(super) fn restore_far(&mut self, key: MoveKey) {
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        let far = moving.far;
        if self.core.unqueue(far, Purpose::Move) {
            self.core.abandon_exchange(far);
            return;
        }
        if let Some(tx) = self.core.legs.get(far).and_then(|leg| leg.client_invite) {
            // Its answer is still out: cancel, and restore if it is a late yes (RFC 3261 9.1).
            moving.restore_due = true;
            self.core.transactions.cancel(self.core.now.at, tx, None, &mut self.core.effects);
            return;
        }
        moving.restore_due = false;
        if let Some(before) = moving.far_before.clone() {
            self.note_request(key, (Side::Far, Heading::Out), &Method::Invite);
            self.core.offer_again(far, &before);
        }
    }

    fn hold_off_old(&mut self, key: MoveKey) {
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        let far = self.core.legs.get(moving.far).and_then(|leg| device_of(&leg.party));
        if far.as_ref() == Some(&moving.from) {
            // It had both ends, as a transfer may leave it, and keeps the other one.
            return;
        }
        let own = self.core.accounts.by_name(&moving.owner).and_then(|account| account.hold_off);
        let length = own.unwrap_or(self.settings.moving.hold_off);
        // A device that died may do what it likes when it is up again, but for the call that was saved from it.
        let scope = match moving.machine.grant().is_rescue() {
            true => Scope::Call,
            false => self.settings.moving.hold_off_scope,
        };
        let start = Start {
            device: &moving.from,
            call: call_key(moving.call),
            call_id: &moving.call_id,
            move_id: &moving.id,
            scope,
            length,
        };
        let Some(row) = self.moves.hold_offs.start(self.core.now, &start) else { return };
        moving.timeline.push(self.core.now.at, What::HoldOff { seconds: length.as_secs() });
        let (call, user, device) =
            (moving.call_id.clone(), moving.from.user().into(), moving.from.device().into());
        let ticket = StoreTicket(self.ticket());
        self.outputs.push(Output::Store { ticket, op: StoreOp::PutHoldOff(Box::new(row)) });
        self.tell_hold_off(HoldOffEvent::Started, (call, user, device), None, length.as_secs() as u32);
    }

    fn lift_hold_off(&mut self, key: MoveKey) {
        let Some(id) = self.moving(key).map(|moving| moving.id.clone()) else { return };
        self.end_hold_off(&id);
    }

    /// Ends the hold-off that a move began.
    pub(crate) fn end_hold_off(&mut self, move_id: &str) {
        if let Some(ended) = self.moves.hold_offs.end_move(move_id) {
            self.on_hold_off_ended(&ended);
        }
    }

    fn watch_media(&mut self, key: MoveKey, watch: Watch) {
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        let (old, far) = (moving.old, moving.far);
        if watch == Watch::NewAfter && moving.heard {
            return self.advance(key, Event::NewHeard);
        }
        // Whom the far side holds is not heard there, however much it says.
        let is_unheard = self.core.service_of(far).is_some() || self.is_muted(key);
        let port = self.core.ports_toward(old).iter().flatten().next().map(|pair| pair.id);
        let Some(port) = port.filter(|_| !is_unheard) else { return self.advance(key, Event::BothSilent) };
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.watch = Some(watch);
        }
        self.core.media.push(MediaCommand::Report { port });
    }

    /// Whether nothing that the new device says goes to the far side.
    fn is_muted(&self, key: MoveKey) -> bool {
        let Some(moving) = self.moving(key) else { return false };
        let media = |leg: LegHandle| self.core.legs.get(leg).and_then(|leg| leg.media.as_deref());
        let (Some(far), Some(new)) = (media(moving.far), moving.new.and_then(media)) else { return false };
        let streams = plan::streams(far, new, &moving.pairing);
        !streams.is_empty() && streams.iter().all(|stream| stream.b_to_a.is_none())
    }

    fn release_old(&mut self, key: MoveKey) {
        if self.is_pickup(key) {
            // Whoever rang was told when the caller was answered.
            return;
        }
        let Some(moving) = self.moves.live.get_mut(&key) else { return };
        let old = moving.old;
        let reason = if moving.machine.grant().is_repair() {
            "SIP;cause=200;text=\"Dialog replaced\"".to_owned()
        } else {
            format!("SIP;cause=200;text=\"Call moved to {}\"", moving.to.device())
        };
        moving.timeline.push(self.core.now.at, What::Released);
        if self.core.legs.get(old).is_some() {
            self.note_request(key, (Side::Old, Heading::Out), &Method::Bye);
        }
        self.tell_who_asked(key, StatusCode::OK);
        self.core.release_leg_media(old);
        self.core.release_leg(old, &reason);
    }

    fn end_moved_call(&mut self, key: MoveKey) {
        let Some(call) = self.moving(key).map(|moving| moving.call) else { return };
        if let Some(found) = self.core.calls.get_mut(call) {
            found.moving = false;
        }
        self.core.end_call(call, HangupBy::System, "SIP;cause=200");
    }

    fn announce(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        if let Some(new) = moving.new {
            // A pulled device read it in our 200 already; one that was rung is told by UPDATE.
            self.core.announce_identity(new);
        }
        self.tell_move(key, MoveEvent::Switched);
        self.notify_old(key);
    }
}

fn dialog_state(leg: &crate::call::Leg) -> DialogState {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    DialogState {
        call_id: leg.dialog.call_id.to_string(),
        local_tag: leg.dialog.local_tag.to_string(),
        remote_tag: leg.dialog.remote_tag.to_string(),
        local_uri: leg.dialog.local.to_string(),
        remote_uri: leg.dialog.remote.to_string(),
        remote_target: leg.dialog.target.to_string(),
        route_set: leg.dialog.routes.iter().map(ToString::to_string).collect(),
        local_cseq: leg.dialog.local_cseq,
        remote_cseq: leg.dialog.remote_cseq,
        local_description: leg
            .media
            .as_ref()
            .map(|media| text(&plan::without_keys(media.ours().last())))
            .unwrap_or_default(),
        remote_description: text(&plan::without_keys(&leg.raw)),
        session_expires: leg.session.seconds(),
    }
}
