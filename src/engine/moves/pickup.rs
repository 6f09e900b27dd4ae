//! A call that rings at one device is answered at another (contract 26); a device repairs its own leg (contract 38).

use bytes::Bytes;

use super::doors::Begin;
use super::{AskedBy, Joins, MoveKey, call_of, device_of};
use crate::call::media::admit;
use crate::call::setup::Incoming;
use crate::call::{CallHandle, LegHandle};
use crate::engine::Engine;
use crate::engine::command::MoveMode;
use crate::media::plan::{self, Hold, Offerer};
use crate::moving::directory::{LiveLeg, Progress};
use crate::moving::grant::{self, Mover};
use crate::moving::hold_off::Access;
use crate::moving::machine::{Event, Move, Need, Way};
use crate::moving::{DeviceKey, Refusal as MoveRefusal, Trigger};
use crate::registrar::accounts::Account;
use crate::sip::Refusal;

impl Engine {
    /// A pull of a call that rings.
    pub(super) fn pick_up(&mut self, incoming: Incoming<'_>, live: &LiveLeg) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        let owner = self.core.accounts.by_name(&live.owner).cloned();
        let mover = match &owner {
            Some(owner) if *live.owner != *by.user() => {
                Mover::Colleague { device: &by, listed: &owner.watchers }
            }
            _ => Mover::Device(&by),
        };
        let grant = self.grant(mover, live, &by, Trigger::Pickup)?;
        let caller = self.core.calls.get(call_of(live.call)).map(|call| call.caller);
        let caller = caller.ok_or(Refusal::DialogUnknown)?;
        if self.core.legs.get(caller).is_none_or(|leg| leg.raw.is_empty()) {
            // Both wait for an offer of the other, and the device's 200 comes first.
            return Err(MoveRefusal::OfferUnusable.into());
        }
        let new = self.add_mover(&incoming, call_of(live.call))?;
        if let Err(refusal) = self.meet_caller(caller, new) {
            self.core.remove_leg(new);
            return Err(refusal);
        }
        self.begin(Begin {
            grant,
            way: Way::Pickup,
            new: Some(new),
            joins: Joins::ByInvite,
            pairing: plan::Pairing::default(),
            mode: MoveMode::Ring,
            asked_by: AskedBy::Nobody,
        });
        Ok(())
    }

    /// Whether the caller's offer and that of the device have something in common; without one of the device there
    /// is nothing to compare yet.
    fn meet_caller(&mut self, caller: LegHandle, new: LegHandle) -> Result<(), Refusal> {
        let legs = self.core.legs.get(caller).zip(self.core.legs.get(new));
        let (caller, leg) = legs.ok_or(Refusal::DialogUnknown)?;
        let (Some(theirs), Some(own)) = (&caller.media, &leg.media) else { return Ok(()) };
        if leg.raw.is_empty() {
            return Ok(());
        }
        let pairing = plan::meet(theirs, own)?;
        if let Some(leg) = self.core.legs.get_mut(new) {
            leg.pairing = pairing;
        }
        Ok(())
    }

    /// What the device that picks up is told in its 200: the answer to its offer, or the caller's offer.
    pub(super) fn describe_pickup(&mut self, caller: LegHandle, new: LegHandle) -> Result<Bytes, Refusal> {
        let leg = self.core.legs.get(new).ok_or(Refusal::DialogUnknown)?;
        let (pairing, is_anchored) = (leg.pairing.clone(), leg.media.is_some());
        let caller_leg = self.core.legs.get(caller).ok_or(Refusal::DialogUnknown)?;
        if !is_anchored {
            return Ok(caller_leg.raw.clone());
        }
        if !leg.raw.is_empty() {
            return self.core.with_media(new, |core, media, lender| {
                let caller = core.legs.get(caller).and_then(|leg| leg.media.as_deref());
                let caller = caller.ok_or(Refusal::Internal)?;
                Ok(plan::answer_offer(caller, media, &pairing, |line| lender.port(line))?)
            });
        }
        self.offer_caller(caller, new)
    }

    /// The caller's offer, for a device that made none, or whose own has been answered.
    pub(super) fn offer_caller(&mut self, caller: LegHandle, new: LegHandle) -> Result<Bytes, Refusal> {
        let legs = self.core.legs.get(caller).zip(self.core.legs.get(new));
        let (caller_leg, leg) = legs.ok_or(Refusal::DialogUnknown)?;
        let (Some(theirs), Some(own)) = (&caller_leg.media, &leg.media) else {
            return Ok(caller_leg.raw.clone());
        };
        if own.is_agreed() {
            // The same m-lines go on.
            let pairing = plan::meet(theirs, own)?;
            if let Some(leg) = self.core.legs.get_mut(new) {
                leg.pairing = pairing;
            }
        }
        let theirs = self.core.legs.get(caller).and_then(|leg| leg.media.as_ref());
        if theirs.is_some_and(|media| media.open() == Some(Offerer::Them)) {
            return self.core.offer_across(caller, new);
        }
        // The caller has an answer already: it hears early media.
        self.core.with_media(new, |core, media, lender| {
            let caller =
                core.legs.get(caller).and_then(|leg| leg.media.as_deref()).ok_or(Refusal::Internal)?;
            let terms = (Hold::Lift, plan::Bridging::Never);
            Ok(plan::offer_far(caller, media, None, terms, |line| lender.port(line))?)
        })
    }

    /// Takes in the answer to the caller's offer.
    fn receive_pickup(&mut self, caller: LegHandle, new: LegHandle, body: &Bytes) -> Result<(), Refusal> {
        let answer = admit(body, &self.core.settings.media.screen)?;
        self.core.receive_answer(new, answer)?;
        let legs = self.core.legs.get(caller).zip(self.core.legs.get(new));
        let (caller, leg) = legs.ok_or(Refusal::DialogUnknown)?;
        if let (Some(theirs), Some(own), true) = (&caller.media, &leg.media, leg.pairing.is_empty()) {
            let pairing = plan::join(theirs, own, None, Hold::Lift)?.into_pairing();
            if let Some(leg) = self.core.legs.get_mut(new) {
                leg.pairing = pairing;
            }
        }
        Ok(())
    }

    /// The ACK of the device that picks up, with its answer where our 200 carried the caller's offer.
    pub(super) fn settle_pickup(&mut self, key: MoveKey, new: LegHandle, body: Option<Bytes>) -> Event {
        let Some(moving) = self.moves.live.get(&key) else { return Event::NewUnusable };
        let (from, to, caller) = (moving.from.clone(), moving.to.clone(), moving.far);
        // RFC 3264 4: an offer in a 2xx is answered in the ACK.
        let is_due = self.core.legs.get(new).is_none_or(|leg| match &leg.media {
            Some(media) => media.open() == Some(Offerer::Us),
            None => leg.raw.is_empty() || body.is_some(),
        });
        if is_due && self.receive_pickup(caller, new, &body.unwrap_or_default()).is_err() {
            return Event::NewUnusable;
        }
        let event = Event::NewAcked(Need::Keep);
        Move::if_registered(self.core.now.at, self.presence(&from), self.presence(&to), event)
    }

    /// The caller is answered, the fork is decided.
    pub(super) fn answer_far(&mut self, key: MoveKey) {
        let Some(moving) = self.moving(key) else { return };
        let (call, Some(new)) = (moving.call, moving.new) else { return };
        if let Err(refusal) = self.core.answer_with(call, new) {
            // What both offered fits, so there is no port left, or worse: nobody can talk.
            tracing::debug!(%refusal, "a caller could not be answered");
            self.core.release_leg(new, "SIP;cause=488");
            self.core.fail_call(call, refusal.status(), &refusal);
            return;
        }
        let segment = self.core.calls.get_mut(call).and_then(|call| call.record.segments.last_mut());
        if let Some(segment) = segment {
            segment.trigger = Some(Trigger::Pickup.as_str().to_owned());
        }
    }

    /// Somebody answered a call that is being picked up.
    pub(super) fn on_answered_at_home(&mut self, call: CallHandle) {
        if let Some(key) = self.moves.of_leg(call)
            && self.moving(key).is_some_and(|moving| moving.machine.way() == Way::Pickup)
        {
            self.advance(key, Event::OldAnswered);
        }
    }

    /// The pickup code with an extension: what rings there, or, of the device's own user, what is on there. Of another
    /// user only what rings, and only for whom that user has listed; everybody else hears what there is to hear of an
    /// extension that nobody has.
    pub(crate) fn pick_up_extension(
        &mut self,
        incoming: Incoming<'_>,
        extension: &str,
    ) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        let owner = self.core.accounts.find(extension).cloned();
        match owner.and_then(|owner| self.leg_to_pick_up(&owner, &by)) {
            Some(live) => self.pull(incoming, &live, Trigger::StarCode),
            None => {
                self.held(&by, Access::AnyMovedCall, "INVITE")?;
                Err(MoveRefusal::NoCall.into())
            }
        }
    }

    fn leg_to_pick_up(&self, owner: &Account, by: &DeviceKey) -> Option<LiveLeg> {
        let is_own = *owner.name == *by.user();
        if !is_own && owner.watchers.iter().all(|user| **user != *by.user()) {
            return None;
        }
        let legs = self.moves.directory.of_user(&owner.name);
        let elsewhere = || legs.iter().filter(|leg| leg.device != *by);
        let rings = elsewhere().find(|leg| matches!(leg.progress, Progress::Ringing { .. }));
        let found = rings.or_else(|| elsewhere().find(|leg| is_own && grant::is_answered(leg)));
        found.map(|leg| (*leg).clone())
    }

    /// A device that lost its network replaces its own dialog: the same call on a new leg of the same device. Nobody
    /// is held off, and the far side hears of it only where the media cannot stay as it is.
    pub(super) fn repair(&mut self, incoming: Incoming<'_>, live: &LiveLeg) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        let grant = self.grant(Mover::Itself(&by), live, &by, Trigger::Repair)?;
        self.take_over(&incoming, live, grant)
    }

    /// Whether the leg that joins `far` is of the device that talks with it already.
    pub(super) fn is_own_leg(&self, far: LegHandle, new: LegHandle) -> bool {
        let device = |leg: LegHandle| device_of(&self.core.legs.get(leg)?.party);
        let talking = self.core.peer_of(far).and_then(device);
        talking.is_some() && talking == device(new)
    }
}
