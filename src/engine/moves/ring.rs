//! Push: the one device that is to get the call is rung.

use std::sync::Arc;
use std::time::Duration;

use super::doors::Begin;
use super::{AskedBy, Joins, MoveKey};
use crate::call::headers::ANONYMOUS;
use crate::call::quirks::{Shown, write_identity};
use crate::call::{Leg, LegHandle, Owner, Party, Role};
use crate::engine::Engine;
use crate::engine::command::MoveMode;
use crate::media::plan;
use crate::moving::directory::LiveLeg;
use crate::moving::grant::{Mover, Unlocked};
use crate::moving::machine::{Event, Way};
use crate::moving::timeline::{Heading, Side};
use crate::moving::{DeviceKey, Refusal as MoveRefusal, Trigger};
use crate::registrar::Binding;
use crate::registrar::accounts::{Account, Tenure, Trust};
use crate::sip::Refusal;
use crate::sip::dialog::Dialog;
use crate::wire::sip::Method;

/// Names the move to a device that is lent to a page: the page knows by it the call that it asked for, and answers no
/// other. Nobody else can know the id before.
const MOVE_HEADER: &str = "Segue-Move";

/// How long a sign-in at a shared device counts: it only has to last until the grant.
const SIGNED_IN: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn ring_new(&mut self, key: MoveKey) {
        if let Err(refusal) = self.invite_new(key) {
            tracing::debug!(%refusal, "the device of a push could not be rung");
            self.advance(key, Event::NewRefused);
        } else {
            self.note_request(key, (Side::New, Heading::Out), &Method::Invite);
        }
    }

    fn invite_new(&mut self, key: MoveKey) -> Result<(), Refusal> {
        let moving = self.moves.live.get(&key).ok_or(Refusal::Internal)?;
        let (call, far, to, mode) = (moving.call, moving.far, moving.to.clone(), moving.mode);
        let (account, index, binding) = self.reach(&to)?;
        let owner = self.owner_of(key);
        let device = account.devices.get(index).ok_or(Refusal::DestinationUnknown)?;
        // What stands in a room opens no microphone by itself, whoever has signed in for it from afar.
        let may_answer_itself = device.auto_answer && device.trust == Trust::Personal;
        let names = (device.tenure == Tenure::Lent).then(|| moving.id.clone());
        let domain = self.core.settings.domain.clone();
        let is_private = self.core.legs.get(far).is_some_and(|leg| leg.is_private);
        let from = self.core.identity_of(far).unwrap_or_else(|| match is_private {
            true => ANONYMOUS.into(),
            false => format!("<sip:segue@{domain}>").into(),
        });
        let dialog = self.dialog_toward(&account, &binding, from.clone());
        let anchored = self.core.calls.get(call).ok_or(Refusal::DialogUnknown)?.anchored;
        let party = Party::User { account, device: index };
        let media = anchored.then(|| self.core.new_media(&binding.flow, &party));
        let mut leg = Leg::new(call, Role::Mover, party, dialog, false);
        leg.is_run_by(&binding.user_agent, &self.core.settings.quirks);
        leg.media = media;
        // A shared device has the call of the user who signed in there.
        leg.acts_for = owner.filter(|owner| *owner.name != *to.user());
        let new = self.core.add_leg(leg);
        let offer = match self.offer_new(far, new) {
            Ok(offer) => offer,
            Err(refusal) => {
                self.core.remove_leg(new);
                return Err(refusal);
            }
        };
        if let Some(moving) = self.moves.live.get_mut(&key) {
            moving.new = Some(new);
        }
        let answers_itself = mode == MoveMode::AutoAnswer && may_answer_itself;
        self.send_push_invite(new, &from, answers_itself, names.as_deref(), &offer)
    }

    /// What a user who is signed in at a shared device has proved there, for a call that is sent to it: it rings, and
    /// comes to nobody who asks for it from there.
    pub(super) fn standing_at(&self, device: &DeviceKey, user: &str) -> Option<Unlocked> {
        let is_there = self.core.hot_desks.user_at(device.user(), device.device()) == Some(user);
        let until = self.core.now.at + SIGNED_IN;
        is_there.then(|| Unlocked { device: device.clone(), user: user.into(), until })
    }

    /// A push to a device at which the call's user has just signed in: that is what a shared one is unlocked by.
    pub(in crate::engine) fn push_to_signed_in(
        &mut self,
        mover: Mover<'_>,
        live: &LiveLeg,
        to: &DeviceKey,
        mode: MoveMode,
    ) -> Result<MoveKey, MoveRefusal> {
        let until = self.core.now.at + SIGNED_IN;
        let proof = Unlocked { device: to.clone(), user: (*live.owner).into(), until };
        let grant = self.grant_to(mover, live, to, Trigger::Follow, Some(&proof))?;
        Ok(self.begin(Begin {
            grant,
            way: Way::Push,
            new: None,
            joins: Joins::ByInvite,
            pairing: plan::Pairing::default(),
            mode,
            asked_by: AskedBy::Nobody,
        }))
    }

    /// The user whose call moves.
    fn owner_of(&self, key: MoveKey) -> Option<Arc<Account>> {
        let old = self.core.legs.get(self.moving(key)?.old)?;
        old.acts_for.clone().or_else(|| old.party.account().cloned())
    }

    /// A device of an account, and its best binding.
    pub(super) fn reach(&self, to: &DeviceKey) -> Result<(Arc<Account>, usize, Binding), Refusal> {
        let account = self.core.accounts.by_name(to.user()).cloned().ok_or(Refusal::DestinationUnknown)?;
        let index = account.devices.iter().position(|device| *device.id == *to.device());
        let index = index.ok_or(Refusal::DestinationUnknown)?;
        let now = self.core.now.at;
        let bindings = self.core.registrar.lookup_device(to.user(), to.device(), now);
        let binding = bindings.first().map(|found| (*found).clone()).ok_or(Refusal::Unreachable)?;
        Ok((account, index, binding))
    }

    /// The beginning of a dialog of ours with a device; its tag and Contact are still to be filled in.
    pub(super) fn dialog_toward(&mut self, account: &Account, binding: &Binding, from: Box<str>) -> Dialog {
        let domain = &self.core.settings.domain;
        Dialog {
            remote: crate::call::setup::user_value(account.shown(), account.number(), domain),
            call_id: self.core.mint_call_id(),
            local_tag: Box::from(""),
            remote_tag: Box::from(""),
            local: from,
            contact: Box::from(""),
            is_secret: false,
            local_cseq: 0,
            remote_cseq: None,
            remote_invite: None,
            target: (*binding.contact).into(),
            routes: binding.path.iter().map(|hop| Box::from(&**hop)).collect(),
            flow: binding.flow,
            sent_by: self.core.settings.sent_by(&binding.flow).into(),
        }
    }

    /// What the new device is offered: the far side's media, and behind it what that can be converted to.
    pub(super) fn offer_new(&mut self, far: LegHandle, new: LegHandle) -> Result<bytes::Bytes, Refusal> {
        if let Some(service) = self.core.service_of(far) {
            return self.core.describe_service(new, service, false);
        }
        let call = self.core.call_of(new).ok_or(Refusal::DialogUnknown)?;
        // Nothing is offered that could not be converted.
        let terms = (self.settings.moving.hold, self.core.bridging(call));
        self.core.offer_standing(far, new, terms)
    }

    fn send_push_invite(
        &mut self,
        new: LegHandle,
        identity: &str,
        answers_itself: bool,
        named: Option<&str>,
        offer: &bytes::Bytes,
    ) -> Result<(), Refusal> {
        let branch = self.core.mint_branch();
        let (software, domain) = (self.core.settings.software.clone(), self.core.settings.domain.clone());
        let leg = self.core.legs.get_mut(new).ok_or(Refusal::Internal)?;
        let (flow, quirks, session) = (leg.dialog.flow, leg.quirks, leg.session);
        let mut writer = leg.dialog.request(&Method::Invite, &branch);
        crate::call::setup::write_invite_capabilities(&mut writer, &software, quirks.prack, &session);
        write_identity(&mut writer, identity, quirks, Shown::Calling);
        if answers_itself {
            quirks.auto_answer.write(&mut writer, &domain);
        }
        if let Some(id) = named {
            writer.header(MOVE_HEADER, id);
        }
        self.core.offer_session(new, &mut writer);
        writer.body("application/sdp", offer);
        let bytes = writer.finish();
        let owner = Owner::Invite(new);
        let tx = self.core.send_request(flow, &Method::Invite, &branch, bytes.clone(), owner);
        if let Some(leg) = self.core.legs.get_mut(new) {
            (leg.client_invite, leg.sent_invite) = (Some(tx), Some(bytes));
        }
        Ok(())
    }
}
