//! Push by the device that has the call: REFER to an own device (RFC 3515), or the push code from a second line; and
//! taking a move back.

use std::sync::Arc;
use std::time::Duration;

use super::{AskedBy, leg_key};
use crate::call::dial_plan::dialled;
use crate::call::rules::{Caller, CallerKind};
use crate::call::setup::Incoming;
use crate::call::{CallHandle, LegHandle, Role};
use crate::engine::Engine;
use crate::engine::command::MoveMode;
use crate::engine::transfer::is_silent;
use crate::engine::view::MoveView;
use crate::moving::directory::LiveLeg;
use crate::moving::grant::{MOVE_INTERVAL, Mover};
use crate::moving::hold_off::Access;
use crate::moving::machine::State;
use crate::moving::timeline::What;
use crate::moving::{DeviceKey, Refusal as MoveRefusal, Trigger};
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, StatusCode, Uri};

impl Engine {
    /// REFER in the dialog of a device: to another device of the same user it is a push, else a transfer.
    pub(crate) fn on_refer(
        &mut self,
        leg: LegHandle,
        tx: ServerTx,
        message: &Message,
    ) -> Result<(), Refusal> {
        // RFC 3515 2.4.2: exactly one Refer-To.
        if message.all(HeaderName::ReferTo).count() != 1 {
            return Err(Refusal::Malformed("one Refer-To is needed"));
        }
        let refer_to =
            message.address(HeaderName::ReferTo).map_err(|_| Refusal::Malformed("bad Refer-To"))?;
        let uri = refer_to.parsed_uri().map_err(|_| Refusal::Malformed("bad Refer-To"))?;
        let found = self.core.legs.get(leg).ok_or(Refusal::DialogUnknown)?;
        if !matches!(found.role, Role::Talking(_)) {
            return Err(Refusal::DialogUnknown);
        }
        let live = self.moves.directory.leg(leg_key(leg)).cloned();
        let own = live.and_then(|live| Some((self.own_device(&live, &uri)?, live)));
        let Some((to, live)) = own else { return self.transfer(leg, tx, message, &uri) };
        let to = to?;
        let tells = !is_silent(message);
        let asked_by = if tells { AskedBy::Refer(leg) } else { AskedBy::Nobody };
        self.push(mover_with(&live), &live, &to, Trigger::Refer, MoveMode::AutoAnswer, asked_by)?;
        self.accept_refer(leg, tx, tells);
        Ok(())
    }

    /// The device of the same user that a URI dials: `alice*desk`, or the user, by whatever number, for any other one that
    /// is registered, if there is one. `None` where it dials somebody else.
    fn own_device(&self, live: &LiveLeg, uri: &Uri<'_>) -> Option<Result<DeviceKey, Refusal>> {
        let number = dialled(uri).ok()?;
        let owner = self.core.accounts.by_name(&live.owner)?;
        let by = Caller { kind: CallerKind::User(owner), address: None };
        let (account, device) = self.core.route(uri, &self.dialling(&number, by)).ok()?.user()?;
        if *account.name != *live.owner {
            return None;
        }
        let found = match device {
            Some(index) => Self::device_key(&account, index),
            None => self.other_device(&live.owner, &live.device),
        };
        Some(found.ok_or(Refusal::Unreachable))
    }

    /// The best registered device of a user that is not this one.
    fn other_device(&self, owner: &Arc<str>, by: &DeviceKey) -> Option<DeviceKey> {
        let bindings = self.core.registrar.lookup(owner, self.core.now.at);
        let mut devices = bindings.iter().map(|binding| DeviceKey::new(owner.clone(), &*binding.device));
        devices.find(|device| device != by)
    }

    /// The push code: this device's own call goes to the named device of the user, or to the only other one.
    pub(crate) fn push_by_code(
        &mut self,
        incoming: &Incoming<'_>,
        by: &DeviceKey,
        device: Option<&str>,
    ) -> Result<(), Refusal> {
        let live = match self.is_shared(by) {
            true => self.moves.directory.of_shared(by),
            false => self.moves.directory.of_device(by, None),
        };
        let Some(live) = live.cloned() else {
            self.held(by, Access::AnyMovedCall, "INVITE")?;
            return Err(MoveRefusal::NoCall.into());
        };
        let to = match device {
            Some(name) => self.named_device(&live.owner, name).ok_or(MoveRefusal::DeviceUnknown)?,
            None => self.other_device(&live.owner, by).ok_or(MoveRefusal::DeviceUnknown)?,
        };
        let asked_by = AskedBy::PushCode(incoming.tx);
        self.push(mover_with(&live), &live, &to, Trigger::PushCode, MoveMode::AutoAnswer, asked_by)?;
        Ok(())
    }

    fn named_device(&self, owner: &str, name: &str) -> Option<DeviceKey> {
        let account = self.core.accounts.by_name(owner)?;
        let index = account.devices.iter().position(|device| device.id.eq_ignore_ascii_case(name))?;
        Self::device_key(account, index)
    }

    /// A call by its name, or by that of one whose party a transfer has brought into it.
    pub(in crate::engine) fn call_named(&self, id: &str) -> Option<CallHandle> {
        let is_former = |call: &CallHandle| {
            self.moves.former.get(call).is_some_and(|names| names.iter().any(|name| **name == *id))
        };
        let mut calls = self.core.calls.iter();
        calls.find(|(handle, call)| *call.id == *id || is_former(handle)).map(|(handle, _)| handle)
    }

    /// A move is taken back at once, but taking it back is not: that would be a move a moment.
    fn check_undo_interval(&self, view: &MoveView) -> Result<(), MoveRefusal> {
        let last = self.call_named(&view.call).and_then(|call| self.moves.last.get(&call));
        let left = last.map_or(Duration::ZERO, |last| (*last + MOVE_INTERVAL).since(self.core.now.at));
        if view.trigger == Trigger::Undo && !left.is_zero() {
            return Err(MoveRefusal::TooSoon { seconds: 1 });
        }
        Ok(())
    }

    /// The undo code: what brought the call to this device is taken back.
    pub(crate) fn undo_by_code(&mut self, incoming: &Incoming<'_>, by: &DeviceKey) -> Result<(), Refusal> {
        let has_call = |view: &MoveView| {
            let legs = self.moves.directory.of_user(&view.user);
            let call = self.call_named(&view.call).map(super::call_key);
            legs.iter().any(|leg| leg.device == *by && Some(leg.call) == call)
        };
        let is_there = |view: &&MoveView| {
            let to = view.to_device.as_deref().map(|to| named(view, to));
            view.state == State::Done && to.as_ref() == Some(by) && has_call(view)
        };
        let under_way = self.moves.live.values().find(|moving| moving.to == *by && !moving.machine.is_over());
        let found = under_way
            .map(|moving| moving.view(None))
            .or_else(|| self.moves.recent.iter().rfind(is_there).cloned());
        let Some(view) = found else {
            // The old device hears the same by this code as by any other.
            if let Some(seconds) = self.moves.hold_offs.seconds_left(self.core.now.at, by) {
                self.note_rejected(by, "INVITE", seconds);
                return Err(Refusal::HoldOff { retry_after: seconds });
            }
            return Err(MoveRefusal::NoCall.into());
        };
        self.undo(Mover::Device(by), &view, AskedBy::PushCode(incoming.tx))?;
        Ok(())
    }

    /// Takes a move back: at once while it is under way; afterwards the hold-off ends and the call is sent back.
    pub(crate) fn undo(
        &mut self,
        mover: Mover<'_>,
        view: &MoveView,
        asked_by: AskedBy,
    ) -> Result<(), MoveRefusal> {
        let live = self.moves.live.iter().find(|(_, moving)| *moving.id == *view.id).map(|(key, _)| *key);
        if let Some(key) = live {
            self.advance(key, crate::moving::machine::Event::Undo);
            if let AskedBy::PushCode(tx) = asked_by {
                self.tell_push_code(tx, view.from_device.as_deref().unwrap_or_default(), StatusCode::OK);
            }
            return Ok(());
        }
        let (Some(from), Some(to)) = (&view.from_device, &view.to_device) else {
            return Err(MoveRefusal::DeviceUnknown);
        };
        self.check_undo_interval(view)?;
        let (from, to) = (named(view, from), named(view, to));
        let call = self.call_named(&view.call).map(super::call_key);
        let of_user = self.moves.directory.of_user(&view.user);
        let found = of_user.into_iter().find(|leg| Some(leg.call) == call && leg.device == to).cloned();
        let leg = found.ok_or(MoveRefusal::NoCall)?;
        self.end_hold_off(&view.id);
        self.push(mover, &leg, &from, Trigger::Undo, MoveMode::AutoAnswer, asked_by)?;
        self.tell_undone(view);
        self.note_later(|known| known.id == view.id, What::Undone);
        Ok(())
    }
}

/// Who sends a call away from the device that has it: that device, or, where it is shared, the user who signed in there.
fn mover_with(live: &LiveLeg) -> Mover<'_> {
    match live.device.user() == &*live.owner {
        true => Mover::Device(&live.device),
        false => Mover::Login { user: &live.owner },
    }
}

/// A device of a move. One of another user, a shared one, is named with that user.
pub(super) fn named(view: &MoveView, name: &str) -> DeviceKey {
    match name.split_once('*') {
        Some((user, device)) => DeviceKey::new(user, device),
        None => DeviceKey::new(&*view.user, name),
    }
}
