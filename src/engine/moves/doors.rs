//! The ways in: star code, Replaces, token, REFER, push code, API. Each finds the leg that is meant, asks for a
//! grant, and begins the same machine.

use std::sync::Arc;

use super::prompt::Wants;
use super::{AskedBy, Joins, MoveKey, Moving, call_key, call_of, device_of, leg_key, leg_of};
use crate::call::core::Owner;
use crate::call::media::description_in;
use crate::call::policy::ReInvite;
use crate::call::setup::Incoming;
use crate::call::{CallHandle, Leg, LegHandle, LegState, Party, Role};
use crate::engine::Engine;
use crate::engine::command::MoveMode;
use crate::media::plan::{self, Join, Why};
use crate::moving::directory::{Ask, LiveLeg, Lock};
use crate::moving::grant::{self, Facts, MoveGrant, Mover, Presence, Target, Unlocked};
use crate::moving::hold_off::Access;
use crate::moving::identifier::{Redeemed, Token};
use crate::moving::machine::{Actions, Limits, Move, Need, Way};
use crate::moving::replaces::{Candidate, Found, Phase, Replaces, find};
use crate::moving::star_code::Select;
use crate::moving::timeline::{Heading, Side, Timeline, What, When};
use crate::moving::{DeviceKey, Refusal as MoveRefusal, ReplacesMode, Trigger};
use crate::registrar::accounts::{Account, Trust};
use crate::sip::dialog::Dialog;
use crate::sip::{Flow, Refusal};
use crate::wire::sip::{HeaderName, Method};

/// What a move begins with.
pub(super) struct Begin {
    pub(super) grant: MoveGrant,
    pub(super) way: Way,
    pub(super) new: Option<LegHandle>,
    pub(super) joins: Joins,
    pub(super) pairing: plan::Pairing,
    pub(super) mode: MoveMode,
    pub(super) asked_by: AskedBy,
}

impl Engine {
    /// A pull by star code.
    pub(crate) fn pull_by_code(&mut self, incoming: Incoming<'_>, select: &Select) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        if self.is_shared(&by) {
            return self.ask_who(incoming, Wants::Call(select.clone()));
        }
        let ask = Ask {
            now: self.core.now.at,
            hold_offs: &self.moves.hold_offs,
            lock: Lock::Open,
            policy: self.settings.moving.select,
        };
        let chosen = self.moves.directory.select(&by, select, &ask).cloned();
        let leg = match chosen {
            Ok(leg) => leg,
            Err(MoveRefusal::NoCall) => {
                // After a restart the call is not known any more, the hold-off is.
                self.held(&by, Access::AnyMovedCall, "INVITE")?;
                return Err(MoveRefusal::NoCall.into());
            }
            Err(refusal) => {
                if let MoveRefusal::HoldOff { .. } = refusal {
                    self.note_rejected(&by, "INVITE", refusal.retry_after().unwrap_or(1));
                }
                return Err(refusal.into());
            }
        };
        if leg.device == by {
            // It died in this call, and starts anew.
            return self.repair(incoming, &leg);
        }
        if self.pulls_by_redirect(&by) {
            return self.redirect(&incoming, &by, &leg);
        }
        self.pull(incoming, &leg, Trigger::StarCode)
    }

    /// A pull by a one-time token, as Request-URI or as the Call-ID of Replaces.
    pub(crate) fn pull_by_token(
        &mut self,
        incoming: Incoming<'_>,
        token: &Token,
        trigger: Trigger,
    ) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        match self.moves.identifiers.redeem(self.core.now.at, token, &by) {
            Redeemed::Leg { call, leg } => {
                // It is spent whatever comes of it: the lamp gets another.
                self.on_directory_changed(by.user());
                if let Some(key) = self.awaited(call, leg, &by) {
                    return self.come_by_referral(&incoming, key);
                }
                let live = self.moves.directory.leg(leg).cloned();
                let live = live.ok_or(MoveRefusal::DialogUnknown)?;
                self.pull(incoming, &live, trigger)
            }
            // Both are told, so that an identifier that exists costs no more than one that does not (contract 13).
            Redeemed::Unknown => Err(self.misused(None, &by, incoming.flow, "token unknown, used or lapsed")),
            Redeemed::Stolen { call } => {
                Err(self.misused(Some(call_of(call)), &by, incoming.flow, "token of another device"))
            }
        }
    }

    fn misused(
        &mut self,
        call: Option<CallHandle>,
        by: &DeviceKey,
        flow: Flow,
        detail: &'static str,
    ) -> Refusal {
        self.tell_security("token_misused", call, by, flow.peer, detail);
        MoveRefusal::TokenRefused.into()
    }

    /// INVITE with Replaces (RFC 3891 3).
    pub(crate) fn pull_by_replaces(
        &mut self,
        incoming: Incoming<'_>,
        wanted: &Replaces,
    ) -> Result<(), Refusal> {
        if let Some(token) = wanted.token() {
            return self.pull_by_token(incoming, &token, Trigger::Token);
        }
        let by = device_of(&incoming.party).ok_or(Refusal::from(MoveRefusal::DialogUnknown))?;
        let agent = incoming.message.header(HeaderName::UserAgent).and_then(|agent| agent.value_str().ok());
        let quirks = self.core.settings.quirks.of(agent.as_deref().unwrap_or_default());
        let mode = match self.settings.moving.replaces {
            ReplacesMode::Lenient if quirks.strict_replaces => ReplacesMode::Strict,
            mode => mode,
        };
        let found = {
            let owners: Vec<(LegHandle, Option<DeviceKey>)> = self
                .moves
                .directory
                .of_user(by.user())
                .iter()
                .map(|live| (leg_of(live.leg), Some(live.device.clone())))
                .chain(self.released_legs_of(&by))
                .collect();
            let candidates = owners.iter().filter_map(|(leg, owner)| {
                let found = self.core.legs.get(*leg)?;
                let is_lost = self.core.calls.get(found.call).is_some_and(|call| call.has_lost(*leg));
                let phase = match (found.state, found.is_inbound) {
                    // The call lives, only the device does not.
                    (LegState::Ended, _) if is_lost => Phase::Confirmed,
                    (LegState::Ended, _) => Phase::Terminated,
                    (LegState::Early, true) => Phase::EarlyByThem,
                    (LegState::Early, false) => Phase::EarlyByUs,
                    (LegState::Answered | LegState::Confirmed, _) => Phase::Confirmed,
                };
                Some(Candidate {
                    leg: leg_key(*leg),
                    call_id: &found.dialog.call_id,
                    local_tag: &found.dialog.local_tag,
                    remote_tag: &found.dialog.remote_tag,
                    phase,
                    owner: owner.as_ref(),
                })
            });
            find(wanted, &by, candidates, mode)
        };
        let key = match found {
            Ok(Found::Move(key) | Found::Repair(key) | Found::Pickup(key)) => key,
            Err(refusal) => {
                self.held(&by, Access::AnyMovedCall, "INVITE")?;
                // The old device names the dialog that it lost: what it hears is the hold-off, as long as that lasts.
                if let Some(call) = self.lost_call(&by, wanted) {
                    self.held(&by, Access::Call(call_key(call)), "INVITE")?;
                }
                return Err(refusal.into());
            }
        };
        if let Ok(Found::Move(key) | Found::Pickup(key) | Found::Repair(key)) = found
            && let Some(call) = self.core.call_of(leg_of(key))
        {
            self.held(&by, Access::Call(call_key(call)), "INVITE")?;
        }
        let live = self.moves.directory.leg(key).cloned().ok_or(Refusal::DialogUnknown)?;
        if matches!(found, Ok(Found::Repair(_))) {
            return self.repair(incoming, &live);
        }
        self.pull(incoming, &live, Trigger::Replaces)
    }

    /// Legs that a move took from a user's devices; their dialogs are remembered while the call lives.
    fn released_legs_of(&self, by: &DeviceKey) -> Vec<(LegHandle, Option<DeviceKey>)> {
        self.core
            .calls
            .iter()
            .flat_map(|(_, call)| call.released.iter())
            .filter_map(|leg| Some((*leg, device_of(&self.core.legs.get(*leg)?.party))))
            .filter(|(_, owner)| owner.as_ref().is_some_and(|owner| owner.user() == by.user()))
            .collect()
    }

    /// The call whose old leg Replaces names, or whose far side's dialog a device of the user names.
    fn lost_call(&self, by: &DeviceKey, wanted: &Replaces) -> Option<CallHandle> {
        self.released_legs_of(by).into_iter().find_map(|(leg, _)| {
            let leg = self.core.legs.get(leg)?;
            (*leg.dialog.call_id == *wanted.call_id).then_some(leg.call)
        })
    }

    /// Begins a pull of `live` to the device that sent `incoming`.
    pub(crate) fn pull(
        &mut self,
        incoming: Incoming<'_>,
        live: &LiveLeg,
        trigger: Trigger,
    ) -> Result<(), Refusal> {
        let by = device_of(&incoming.party).ok_or(Refusal::NotAuthorised)?;
        self.held(&by, Access::Call(live.call), "INVITE")?;
        if let Some(key) = self.awaited(live.call, live.leg, &by) {
            // It was asked to call, and it does, whatever it dials.
            return self.come_by_referral(&incoming, key);
        }
        if !grant::is_answered(live) {
            return self.pick_up(incoming, live);
        }
        let grant = self.grant(Mover::Device(&by), live, &by, trigger)?;
        self.take_over(&incoming, live, grant)
    }

    /// The device that sent `incoming` joins the far side of `live`, as it was granted.
    pub(super) fn take_over(
        &mut self,
        incoming: &Incoming<'_>,
        live: &LiveLeg,
        grant: MoveGrant,
    ) -> Result<(), Refusal> {
        let far = self.core.peer_of(leg_of(live.leg)).ok_or(Refusal::DialogUnknown)?;
        let (new, way, pairing) = self.admit_mover(incoming, call_of(live.call), far)?;
        self.begin(Begin {
            grant,
            way,
            new: Some(new),
            joins: Joins::ByInvite,
            pairing,
            mode: MoveMode::Ring,
            asked_by: AskedBy::Nobody,
        });
        Ok(())
    }

    /// The leg of a device that comes into a call by its own INVITE, and what joining the far side takes.
    pub(super) fn admit_mover(
        &mut self,
        incoming: &Incoming<'_>,
        call: CallHandle,
        far: LegHandle,
    ) -> Result<(LegHandle, Way, plan::Pairing), Refusal> {
        let new = self.add_mover(incoming, call)?;
        if self.core.legs.get(new).is_none_or(|leg| leg.raw.is_empty()) {
            return Ok((new, Way::PullOfferless, plan::Pairing::default()));
        }
        match self.plan_join(far, new) {
            Ok((need, pairing)) => Ok((new, Way::Pull(need), pairing)),
            Err(refusal) => {
                self.core.remove_leg(new);
                Err(refusal)
            }
        }
    }

    /// The leg of a device that comes into a call by its own INVITE, with its offer if it made one.
    pub(super) fn add_mover(
        &mut self,
        incoming: &Incoming<'_>,
        call: CallHandle,
    ) -> Result<LegHandle, Refusal> {
        let offer = description_in(incoming.message, &self.core.settings.media.screen)?;
        let sent_by: Box<str> = self.core.settings.sent_by(&incoming.flow).into();
        let dialog = Dialog::from_request(incoming.message, incoming.flow, &sent_by, "", "")?;
        let anchored = self.core.calls.get(call).ok_or(Refusal::DialogUnknown)?.anchored;
        let mut leg = Leg::new(call, Role::Mover, incoming.party.clone(), dialog, true);
        leg.media = anchored.then(|| self.core.new_media(&incoming.flow, &incoming.party));
        leg.server_invite = Some(incoming.tx);
        leg.learn(incoming.message, &self.core.settings.quirks);
        let new = self.core.add_leg(leg);
        self.core.transactions.set_owner(incoming.tx, Owner::Served(new));
        let read = self.core.read_session(new, incoming.message);
        let offered = match offer {
            Some(offer) => read.and_then(|()| self.core.receive_offer(new, offer)),
            None => read,
        };
        if let Err(refusal) = offered {
            self.core.remove_leg(new);
            return Err(refusal);
        }
        Ok(new)
    }

    /// What joining two legs takes.
    pub(in crate::engine) fn plan_join(
        &self,
        far: LegHandle,
        new: LegHandle,
    ) -> Result<(Need, plan::Pairing), Refusal> {
        let far_leg = self.core.legs.get(far).ok_or(Refusal::DialogUnknown)?;
        let new_leg = self.core.legs.get(new).ok_or(Refusal::DialogUnknown)?;
        if matches!(far_leg.party, Party::Service(_)) {
            return Ok((Need::Keep, plan::Pairing::default()));
        }
        let (Some(far_media), Some(new_media)) = (&far_leg.media, &new_leg.media) else {
            // Media does not run through us: only the far side itself can send it elsewhere.
            return Ok((Need::Reoffer, plan::Pairing::default()));
        };
        let join = plan::join(far_media, new_media, None, self.settings.moving.hold)?;
        let of_trunk = self.core.trunk(&far_leg.party).and_then(|trunk| trunk.policy.re_invite);
        let need = match (&join, of_trunk.unwrap_or(self.settings.moving.re_invite.of_trunks())) {
            // Who repairs its own leg changes nothing that the far side must be shown.
            (Join::Unchanged { .. }, ReInvite::Always) if !self.is_own_leg(far, new) => Need::Reoffer,
            (Join::Unchanged { .. }, _) => Need::Keep,
            // It was never told of a hold, and a stream that ends here is silent there.
            (Join::Reoffer { why: Why::Direction | Why::Stream, .. }, ReInvite::Never) => Need::Keep,
            (Join::Reoffer { .. }, _) => Need::Reoffer,
        };
        Ok((need, join.into_pairing()))
    }

    /// Begins a push of `live` to a device. `asked_by` is told how it ends.
    pub(crate) fn push(
        &mut self,
        mover: Mover<'_>,
        live: &LiveLeg,
        to: &DeviceKey,
        trigger: Trigger,
        mode: MoveMode,
        asked_by: AskedBy,
    ) -> Result<MoveKey, MoveRefusal> {
        let proof = self.standing_at(to, &live.owner);
        let grant = self.grant_to(mover, live, to, trigger, proof.as_ref())?;
        let pairing = plan::Pairing::default();
        Ok(self.begin(Begin {
            grant,
            way: if mode == MoveMode::Refer { Way::Refer } else { Way::Push },
            new: None,
            joins: Joins::ByInvite,
            pairing,
            mode,
            asked_by,
        }))
    }

    /// Asks for a grant with everything that is known now.
    pub(super) fn grant(
        &mut self,
        mover: Mover<'_>,
        live: &LiveLeg,
        to: &DeviceKey,
        trigger: Trigger,
    ) -> Result<MoveGrant, MoveRefusal> {
        self.grant_to(mover, live, to, trigger, None)
    }

    /// The same for a device at which a user has signed in.
    pub(super) fn grant_to(
        &mut self,
        mover: Mover<'_>,
        live: &LiveLeg,
        to: &DeviceKey,
        trigger: Trigger,
        proof: Option<&Unlocked>,
    ) -> Result<MoveGrant, MoveRefusal> {
        let call = call_of(live.call);
        let generation = self.core.calls.get(call).ok_or(MoveRefusal::DialogUnknown)?.generation;
        let target = self.target_of(to, proof)?;
        let facts = Facts {
            now: self.core.now.at,
            trigger,
            mover,
            leg: live,
            new_device: to,
            target,
            old_presence: self.presence(&live.device),
            new_presence: self.presence(to),
            hold_offs: &self.moves.hold_offs,
            seen_generation: generation,
            generation,
            // Who pressed the wrong key does not wait for the interval; `undo` sees to it that this is no way
            // to play ping-pong.
            last_move: self.moves.last.get(&call).copied().filter(|_| trigger != Trigger::Undo),
        };
        let granted = grant::authorise(&facts);
        if let Err(refusal) = &granted {
            self.tell_refused(live, to, trigger, *refusal);
        }
        granted
    }

    /// Whether a device stands for its user.
    fn target_of<'a>(
        &self,
        device: &DeviceKey,
        proof: Option<&'a Unlocked>,
    ) -> Result<Target<'a>, MoveRefusal> {
        let account = self.core.accounts.by_name(device.user()).ok_or(MoveRefusal::DeviceUnknown)?;
        match account.device(device.device()).ok_or(MoveRefusal::DeviceUnknown)?.trust {
            Trust::Personal => Ok(Target::Personal),
            Trust::Shared => Ok(Target::Shared(proof)),
        }
    }

    /// Until when a device is registered.
    pub(super) fn presence(&self, device: &DeviceKey) -> Presence {
        let now = self.core.now.at;
        let bindings = self.core.registrar.lookup_device(device.user(), device.device(), now);
        Presence::until(bindings.iter().map(|binding| binding.expires).max())
    }

    /// The same of the device that a move takes a call from. Of one that died nobody asks it.
    pub(super) fn presence_of_old(&self, key: MoveKey, device: &DeviceKey) -> Presence {
        let call = self.moving(key).and_then(|moving| self.core.calls.get(moving.call));
        let is_lost = self.moving(key).is_some_and(|moving| moving.machine.grant().is_rescue())
            || call.is_some_and(|call| call.lost.is_some());
        if is_lost { Presence::EXCUSED } else { self.presence(device) }
    }

    pub(super) fn begin(&mut self, begin: Begin) -> MoveKey {
        let Begin { grant, way, new, joins, pairing, mode, asked_by } = begin;
        let now = self.core.now;
        let (call, old) = (call_of(grant.call()), leg_of(grant.old_leg()));
        let (from, to, trigger) = (grant.old_device().clone(), grant.new_device().clone(), grant.trigger());
        let generation = grant.generation();
        let owner = self.core.legs.get(old).and_then(|leg| leg.user()).map(|account| account.name.clone());
        let owner = owner.unwrap_or_else(|| from.user().into());
        let is_invited = new.is_some() && joins == Joins::ByInvite;
        let id = self.core.mint_ulid();
        let mut timeline = Timeline::new(now);
        timeline.push(now.at, What::Requested { trigger, by: to.to_string() });
        timeline.push(now.at, What::Granted { from: from.to_string(), to: to.to_string() });
        let (mut call_id, mut far, mut side, mut old_pairing) =
            (Box::from(""), old, crate::call::Side::Caller, plan::Pairing::default());
        if let Some(found) = self.core.calls.get_mut(call) {
            found.moving = true;
            found.generation = generation;
            call_id = found.id.clone();
            // A device that rings is none of the two that talk yet: it stands for the callee.
            side = found.side_of(old).unwrap_or(crate::call::Side::Callee);
            far = found.leg(side.other()).unwrap_or(old);
            old_pairing = found.pairing.clone();
        }
        if grant.is_rescue() {
            timeline.push(now.at, What::Note { text: "the old device had died".to_owned() });
        }
        self.describe_sides(&mut timeline, When::Before, [(old, Side::Old), (far, Side::Far)]);
        let limits = Limits { rollback: self.settings.moving.rollback, ..Limits::default() };
        let mut actions = Actions::new();
        let machine = Move::begin(now.at, grant, way, limits, &mut actions);
        let key = self.moves.mint();
        let moving = Moving {
            id,
            machine,
            call,
            call_id,
            side,
            far,
            old,
            new,
            owner,
            from,
            to,
            trigger,
            joins,
            mode,
            began: now,
            timeline,
            far_before: None,
            pairing,
            old_pairing,
            gap_us: None,
            lost: 0,
            heard: false,
            watch: None,
            restore_due: false,
            was_converted: self.core.calls.get(call).is_some_and(|call| call.is_transcoded),
            is_narrowed: false,
            is_bridged: false,
            old_sent: None,
            ended: None,
            asked_by,
        };
        self.moves.live.insert(key, moving);
        self.moves.by_call.insert(call, key);
        if is_invited {
            self.note_request(key, (Side::New, Heading::In), &Method::Invite);
        }
        self.tell_move(key, crate::engine::event::MoveEvent::Requested);
        self.tell_move(key, crate::engine::event::MoveEvent::Authorized);
        self.track(call);
        self.carry_out(key, actions);
        key
    }

    /// Notes what legs have said of their media; addresses and keys are taken out by the timeline.
    pub(super) fn describe_sides(&self, timeline: &mut Timeline, when: When, legs: [(LegHandle, Side); 2]) {
        for (leg, side) in legs {
            let raw = self.core.legs.get(leg).map(|leg| &leg.raw).filter(|raw| !raw.is_empty());
            if let Some(raw) = raw {
                let text = String::from_utf8_lossy(raw).into_owned();
                timeline.push(self.core.now.at, What::Description { side, when, text });
            }
        }
    }

    /// Whether a device is held off; counted, told, and said in the answer.
    pub(crate) fn held(&mut self, by: &DeviceKey, access: Access, method: &str) -> Result<(), Refusal> {
        match self.moves.hold_offs.check(self.core.now.at, by, access) {
            Ok(()) => Ok(()),
            Err(held) => {
                self.note_rejected(by, method, held.seconds);
                Err(Refusal::HoldOff { retry_after: held.seconds })
            }
        }
    }

    /// The device of an account by its place.
    #[must_use]
    pub(crate) fn device_key(account: &Arc<Account>, device: usize) -> Option<DeviceKey> {
        Some(DeviceKey::new(&*account.name, &*account.devices.get(device)?.id))
    }
}
