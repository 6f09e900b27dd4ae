//! The two that a transfer leaves are joined, or everything is as it was.

use bytes::Bytes;

use super::{Stage, Transfer};
use crate::call::media::admit;
use crate::call::record::HangupBy;
use crate::call::transfer::TransferKey;
use crate::call::{CallHandle, LegHandle, LegState, Purpose};
use crate::engine::Engine;
use crate::media::plan::{self, Hold};
use crate::media::relay::MediaCommand;
use crate::moving::machine::Need;
use crate::sip::Refusal;
use crate::wire::sip::StatusCode;

/// Why the transferor is hung up.
const TRANSFERRED: &str = "SIP;cause=200;text=\"Call transferred\"";

impl Engine {
    pub(super) fn on_target_answered(&mut self, key: TransferKey, with: LegHandle) {
        let Some(found) = self.transfers.live.get(&key) else { return };
        if !found.is_offered_other {
            return self.ask_who_stays(key);
        }
        match self.core.offer_standing(found.stays, with) {
            Ok(offer) => self.rejoin(key, with, offer),
            Err(refusal) => self.fail_transfer(key, refusal.status()),
        }
    }

    /// The target is shown the media of who stays, and who that is.
    pub(super) fn rejoin(&mut self, key: TransferKey, with: LegHandle, offer: Bytes) {
        let Some(found) = self.transfers.live.get_mut(&key) else { return };
        found.stage = Stage::Rejoining;
        let stays = found.stays;
        let leg = self.core.legs.get(with);
        found.with_before = leg.and_then(|leg| leg.media.as_ref()?.snapshot());
        self.introduce(with, stays);
        self.core.queue_reinvite(with, offer, Purpose::Transfer);
    }

    /// The next re-INVITE to a leg says who is at the other end from now on.
    fn introduce(&mut self, leg: LegHandle, other: LegHandle) {
        let is_private = self.core.legs.get(other).is_none_or(|other| other.is_private);
        let identity = (!is_private).then(|| self.core.shown_as(other));
        if let Some(found) = self.core.legs.get_mut(leg) {
            found.introduction = identity;
        }
    }

    /// The target has described its media: does who stays have to hear of it?
    fn ask_who_stays(&mut self, key: TransferKey) {
        let Some(found) = self.transfers.live.get(&key) else { return };
        let (stays, call, into, Some(with)) = (found.stays, found.call, found.into, found.with) else {
            return;
        };
        let threads = [call, into].map(|call| self.core.calls.get(call).map(|call| call.thread));
        let is_elsewhere = threads[0] != threads[1];
        let (need, pairing) = match self.plan_join(stays, with) {
            Ok(joined) => joined,
            Err(refusal) => return self.fail_transfer(key, refusal.status()),
        };
        if let Some(found) = self.transfers.live.get_mut(&key) {
            (found.pairing, found.stage) = (pairing, Stage::Asking);
        }
        if need == Need::Keep && !is_elsewhere {
            return self.finish_transfer(key);
        }
        match self.offer_target(key, stays, with, is_elsewhere) {
            Ok(offer) => {
                self.introduce(stays, with);
                self.core.queue_reinvite(stays, offer, Purpose::Transfer);
            }
            Err(refusal) => self.fail_transfer(key, refusal.status()),
        }
    }

    /// What who stays is offered. From here on it counts to the call that it joins, and has its ports there.
    fn offer_target(
        &mut self,
        key: TransferKey,
        stays: LegHandle,
        with: LegHandle,
        is_elsewhere: bool,
    ) -> Result<Bytes, Refusal> {
        let found = self.transfers.live.get_mut(&key).ok_or(Refusal::Internal)?;
        let (into, pairing) = (found.into, found.pairing.clone());
        let leg = self.core.legs.get_mut(stays).ok_or(Refusal::DialogUnknown)?;
        leg.call = into;
        found.stays_before = leg.media.as_ref().and_then(|media| media.snapshot());
        if is_elsewhere {
            found.spare = std::mem::take(&mut leg.ports);
        }
        if leg.media.is_none() {
            return Ok(self.core.legs.get(with).map(|leg| leg.raw.clone()).unwrap_or_default());
        }
        self.core.with_media(stays, |core, media, lender| {
            let with = core.legs.get(with).and_then(|leg| leg.media.as_deref()).ok_or(Refusal::Internal)?;
            let terms = (Hold::Lift, plan::Bridging::Never);
            Ok(plan::reoffer(with, media, &pairing, terms, |line| lender.port(line))?)
        })
    }

    /// One of the two has accepted the media of the other.
    pub(super) fn on_transfer_agreed(&mut self, key: TransferKey, leg: LegHandle, body: &Bytes) {
        let Some(found) = self.transfers.live.get(&key) else { return };
        let (stage, is_target) = (found.stage, found.with == Some(leg));
        let taken = admit(body, &self.core.settings.media.screen)
            .and_then(|description| self.core.receive_answer(leg, description))
            .and_then(|()| self.has_streams(leg));
        match (stage, taken) {
            (Stage::Undoing, _) => {
                let before = self.transfers.live.get(&key).and_then(|found| found.with_before.clone());
                self.put_back(leg, before.as_ref());
                self.forget_transfer(key);
            }
            (_, Err(refusal)) => self.fail_transfer(key, refusal.status()),
            (_, Ok(())) if is_target => self.ask_who_stays(key),
            (_, Ok(())) => self.finish_transfer(key),
        }
    }

    fn has_streams(&self, leg: LegHandle) -> Result<(), Refusal> {
        let media = self.core.legs.get(leg).and_then(|leg| leg.media.as_ref());
        match media {
            Some(media) if media.remote_media().is_empty() => {
                Err(Refusal::OfferUnusable("no stream was taken".into()))
            }
            _ => Ok(()),
        }
    }

    /// The two are one call; the transferor is out of it.
    fn finish_transfer(&mut self, key: TransferKey) {
        let Some(found) = self.transfers.live.remove(&key) else { return };
        let Transfer { call, by, stays, into, with, .. } = found;
        let stand_in = self.core.calls.get(into).map(|call| call.caller);
        let Some(place) = found.consulted.or(stand_in) else { return };
        if found.tells {
            self.notify_refer(by, StatusCode::OK);
        }
        let waits = self.core.ports_toward(stays);
        self.core.media.extend(waits.iter().flatten().map(|pair| MediaCommand::Stop { port: pair.id }));
        self.core.take_place(stays, call, into, place, found.pairing);
        self.core.release_leg(place, TRANSFERRED);
        self.core.end_transferred(call, by, TRANSFERRED);
        self.core.give_back_ports(&found.spare, call);
        for leg in [Some(stays), with].into_iter().flatten() {
            if let Some(found) = self.core.legs.get_mut(leg) {
                found.introduction = None;
            }
            self.core.announce_identity(leg);
        }
        self.track(into);
    }

    /// It did not happen: the transferor has its calls as before, and hears why.
    pub(super) fn fail_transfer(&mut self, key: TransferKey, status: StatusCode) {
        let Some(found) = self.transfers.live.get_mut(&key) else { return };
        let (call, by, into, with, stage) = (found.call, found.by, found.into, found.with, found.stage);
        let (tells, is_blind) = (std::mem::take(&mut found.tells), found.consulted.is_none());
        self.put_back_who_stays(key);
        if let Some(found) = self.core.calls.get_mut(call) {
            found.transfer = None;
        }
        if tells {
            self.notify_refer(by, status);
        }
        if is_blind {
            if let Some(found) = self.core.calls.get_mut(into) {
                found.transfer = None;
                self.core.end_call(into, HangupBy::System, "SIP;cause=487;text=\"Transfer failed\"");
            }
            self.transfers.live.remove(&key);
        } else if stage == Stage::Rejoining && self.stands(with) {
            // Its answer is still out, and may be a yes.
            if let Some(found) = self.transfers.live.get_mut(&key) {
                found.stage = Stage::Undoing;
            }
        } else {
            let before = self.transfers.live.get(&key).and_then(|found| found.with_before.clone());
            if let Some(with) = with.filter(|_| stage == Stage::Asking) {
                self.put_back(with, before.as_ref());
            }
            self.forget_transfer(key);
        }
        self.end_if_alone(call);
        self.track(call);
    }

    /// Who stays is where it was, with the ports that it had.
    fn put_back_who_stays(&mut self, key: TransferKey) {
        let Some(found) = self.transfers.live.get_mut(&key).filter(|found| found.stage == Stage::Asking)
        else {
            return;
        };
        let (stays, call, into, spare) =
            (found.stays, found.call, found.into, std::mem::take(&mut found.spare));
        self.core.unqueue(stays, Purpose::Transfer);
        let Some(leg) = self.core.legs.get_mut(stays) else {
            return self.core.give_back_ports(&spare, call);
        };
        leg.call = call;
        leg.introduction = None;
        if !spare.is_empty() {
            let elsewhere = std::mem::replace(&mut leg.ports, spare);
            self.core.give_back_ports(&elsewhere, into);
        }
        let before = self.transfers.live.get(&key).and_then(|found| found.stays_before.clone());
        self.put_back(stays, before.as_ref());
    }

    /// A leg hears again what it heard before it was asked.
    fn put_back(&mut self, leg: LegHandle, before: Option<&plan::Snapshot>) {
        self.core.unqueue(leg, Purpose::Transfer);
        self.core.abandon_exchange(leg);
        if !self.stands(Some(leg)) {
            return;
        }
        let found = self.core.legs.get_mut(leg);
        let media = found.and_then(|leg| leg.media.as_mut());
        if let (Some(before), Some(media)) = (before, media)
            && let Ok(offer) = media.restore(before)
        {
            self.core.queue_reinvite(leg, offer, Purpose::Restore);
        }
    }

    fn stands(&self, leg: Option<LegHandle>) -> bool {
        leg.and_then(|leg| self.core.legs.get(leg)).is_some_and(|leg| leg.state != LegState::Ended)
    }

    /// Nothing is left of it; the consulted call is its own again.
    pub(super) fn forget_transfer(&mut self, key: TransferKey) {
        let Some(found) = self.transfers.live.remove(&key) else { return };
        if let Some(into) = self.core.calls.get_mut(found.into) {
            into.transfer = None;
        }
        if let Some(with) = found.with.and_then(|with| self.core.legs.get_mut(with)) {
            with.introduction = None;
        }
        self.end_if_alone(found.into);
        self.track(found.into);
    }

    /// A call is over, for whatever reason: a transfer from it or into it is, too.
    pub(in crate::engine) fn on_transfer_call_over(&mut self, call: CallHandle) {
        let is_part = |found: &Transfer| found.call == call || found.into == call;
        let key = self.transfers.live.iter().find(|(_, found)| is_part(found)).map(|(key, _)| *key);
        let Some(key) = key else { return };
        self.fail_transfer(key, StatusCode::TEMPORARILY_UNAVAILABLE);
        self.forget_transfer(key);
    }

    /// A leg of a call that is in a transfer is gone; true if that was all there is to it.
    pub(in crate::engine) fn on_transfer_leg_gone(&mut self, call: CallHandle, leg: LegHandle) -> bool {
        let key = self.core.calls.get(call).and_then(|call| call.transfer.as_ref()).map(|part| part.key);
        let Some((key, found)) = key.and_then(|key| Some((key, self.transfers.live.get(&key)?))) else {
            return false;
        };
        if leg == found.stays || Some(leg) == found.with {
            if found.stage == Stage::Undoing {
                self.forget_transfer(key);
            } else {
                self.fail_transfer(key, StatusCode::TEMPORARILY_UNAVAILABLE);
            }
        } else if leg == found.by && found.stage != Stage::Undoing {
            let call = found.call;
            self.core.comfort(call, leg);
        } else if found.stage == Stage::Undoing {
            // The transferor leaves a call that is about to be as it was.
            self.forget_transfer(key);
        }
        true
    }
}
