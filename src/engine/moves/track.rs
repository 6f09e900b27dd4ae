//! Keeps the directory of live legs as the calls are.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{call_key, device_of, leg_key, leg_of};
use crate::call::{Call, CallHandle, CallState, LegHandle, Party, Service, Side};
use crate::engine::Engine;
use crate::media::codec::Codec;
use crate::media::transcode::Speech;
use crate::moving::directory::{Bar, Direction, FarParty, LiveLeg, Progress};
use crate::moving::{DeviceKey, LegKey};

impl Engine {
    /// Brings the directory in line with a call, and tells the watchers of whom it concerns.
    pub(crate) fn track(&mut self, call: CallHandle) {
        let Some(found) = self.core.calls.get(call) else { return self.untrack(call) };
        // Who is being asked who it is has no call that could be shown or taken.
        if found.state == CallState::Ended || self.moves.prompts.contains_key(&call) {
            return self.untrack(call);
        }
        let legs: SmallVec<[LiveLeg; 2]> = std::iter::once(found.caller)
            .chain(found.callee)
            .chain(found.forks.iter().copied())
            .filter_map(|leg| self.live_leg(found, call, leg))
            .collect();
        let before = self.moves.tracked.remove(&call).unwrap_or_default();
        if legs.is_empty() && before.is_empty() {
            return;
        }
        for key in before.iter().filter(|key| legs.iter().all(|leg| leg.leg != **key)) {
            if !self.is_awaited(call, *key) {
                self.moves.identifiers.revoke_leg(*key);
            }
            self.forget_leg(*key);
        }
        self.moves.tracked.insert(call, legs.iter().map(|leg| leg.leg).collect());
        for leg in legs {
            self.know_dialog(call, &leg);
            let user = Arc::clone(&leg.owner);
            if self.moves.directory.set(leg) {
                self.on_directory_changed(&user);
            }
        }
    }

    /// A call is over: its legs are no one's any more.
    pub(crate) fn untrack(&mut self, call: CallHandle) {
        for key in self.moves.tracked.remove(&call).unwrap_or_default() {
            self.moves.identifiers.revoke_leg(key);
            self.forget_leg(key);
        }
    }

    /// What the device will call the call.
    fn know_dialog(&mut self, call: CallHandle, leg: &LiveLeg) {
        if self.dialogs.has(leg.leg) {
            return;
        }
        let (found, of) = (self.core.calls.get(call), self.core.legs.get(leg_of(leg.leg)));
        if let (Some(found), Some(of)) = (found, of) {
            self.dialogs.begin(leg.leg, leg.device.clone(), &of.dialog.call_id, &found.id);
        }
    }

    fn forget_leg(&mut self, key: LegKey) {
        self.dialogs.end(self.core.now.at, key);
        if let Some(gone) = self.moves.directory.remove(key) {
            self.on_directory_changed(&gone.owner);
        }
    }

    fn live_leg(&self, call: &Call, handle: CallHandle, leg: LegHandle) -> Option<LiveLeg> {
        let found = self.core.legs.get(leg)?;
        let device = device_of(&found.party)?;
        let side = call.side_of(leg);
        let since = self.moves.directory.leg(leg_key(leg)).and_then(|known| match known.progress {
            Progress::Calling { since } | Progress::Ringing { since } => Some(since),
            Progress::Answered { .. } => None,
        });
        let since = since.unwrap_or(self.core.now.at);
        let progress = match (call.state, side) {
            (CallState::Talking, Some(_)) => Progress::Answered { at: found.answered.unwrap_or(since) },
            (_, Some(Side::Caller)) => Progress::Calling { since },
            _ => Progress::Ringing { since },
        };
        // The side that is kept for a device that died is not moved meanwhile.
        let is_busy =
            call.moving || call.transfer.is_some() || call.lost.as_ref().is_some_and(|lost| lost.leg != leg);
        let bar = match (is_busy, call.emergency) {
            (_, true) => Some(Bar::Emergency),
            (true, _) => Some(Bar::Busy),
            _ => None,
        };
        let direction = if side == Some(Side::Caller) { Direction::Outgoing } else { Direction::Incoming };
        let owner = found.acts_for.as_ref().map_or(device.shared_user(), |user| Arc::from(&*user.name));
        let extension = found.user().and_then(|account| account.extension.as_deref()).map(Arc::from);
        let far = self.far_party(call, side.unwrap_or(Side::Callee));
        let other = call.leg(side.unwrap_or(Side::Callee).other());
        let far_device = other.and_then(|other| device_of(&self.core.legs.get(other)?.party));
        Some(LiveLeg {
            leg: leg_key(leg),
            call: call_key(handle),
            device,
            owner,
            extension,
            far,
            direction,
            progress,
            bar,
            lost: call.has_lost(leg),
            far_device,
        })
    }

    /// Whether a device and the far side of a leg are known to have no codec in common, so that a move of the leg to it
    /// would end in 488. Where either is not known, none is presumed.
    pub(in crate::engine) fn is_without_common_media(&self, leg: LegKey, device: &DeviceKey) -> bool {
        let far = self.core.peer_of(leg_of(leg)).and_then(|far| self.core.legs.get(far));
        let far = far.and_then(|far| device_of(&far.party));
        let Some(there) = far.and_then(|far| self.abilities_of(&far)) else { return false };
        let Some(here) = self.abilities_of(device) else { return false };
        let is_known = |codec: &Codec| Speech::of(codec).is_some();
        let is_bridged =
            self.core.settings.media.transcode > 0 && here.iter().any(is_known) && there.iter().any(is_known);
        !is_bridged && !here.iter().any(|codec| there.contains(codec))
    }

    /// What a device can speak, if every phone that is registered as it runs the software of which that is known.
    fn abilities_of(&self, device: &DeviceKey) -> Option<&[Codec]> {
        let (user, device) = (device.user(), device.device());
        let bindings = self.core.registrar.lookup_device(user, device, self.core.now.at);
        let software = &bindings.first()?.user_agent;
        let is_one = bindings.iter().all(|binding| binding.user_agent == *software);
        is_one.then(|| self.core.abilities.of(user, device, software)).flatten()
    }

    fn far_party(&self, call: &Call, side: Side) -> FarParty {
        let far = call.leg(side.other()).and_then(|far| self.core.legs.get(far));
        let number = if side == Side::Caller { &*call.record.to } else { &*call.record.from };
        if far.is_some_and(|far| far.is_private) {
            return FarParty { display: "Anonymous".into(), number: "anonymous".into() };
        }
        match far.map(|far| &far.party) {
            Some(Party::User { account, .. }) => {
                let account = far.and_then(|far| far.acts_for.as_ref()).unwrap_or(account);
                FarParty { display: account.shown().into(), number: account.number().into() }
            }
            Some(Party::Service(Service::Echo)) => FarParty { display: "Echo".into(), number: number.into() },
            Some(Party::Service(Service::Tone)) => FarParty { display: "Tone".into(), number: number.into() },
            Some(Party::Trunk { .. } | Party::Service(Service::Prompt | Service::Transfer)) | None => {
                FarParty { display: "".into(), number: number.into() }
            }
        }
    }
}
