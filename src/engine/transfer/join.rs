//! The two that a transfer leaves are joined, or everything is as it was.

use bytes::Bytes;

use super::{Stage, Transfer};
use crate::call::media::admit;
use crate::call::record::HangupBy;
use crate::call::transfer::TransferKey;
use crate::call::undo::Before;
use crate::call::{CallHandle, LegHandle, Purpose};
use crate::engine::Engine;
use crate::engine::moves::{call_key, device_of};
use crate::media::plan::{self, Hold};
use crate::media::relay::MediaCommand;
use crate::moving::machine::{Limits, Need};
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
        match self.core.offer_standing(found.stays, with, (Hold::Lift, plan::Bridging::Never)) {
            Ok(offer) => self.rejoin(key, with, offer),
            Err(refusal) => self.fail_transfer(key, refusal.status()),
        }
    }

    /// The target is shown the media of who stays, and who that is.
    pub(super) fn rejoin(&mut self, key: TransferKey, with: LegHandle, offer: Bytes) {
        let due = self.core.now.at + patience();
        let Some(found) = self.transfers.live.get_mut(&key) else { return };
        (found.stage, found.due) = (Stage::Rejoining, due);
        let stays = found.stays;
        found.with_before = found.consulted.and_then(|other| self.core.before(with, other));
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
        let due = self.core.now.at + patience();
        if let Some(found) = self.transfers.live.get_mut(&key) {
            (found.pairing, found.stage, found.due) = (pairing, Stage::Asking, due);
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
        found.stays_before = self.core.before(stays, found.by);
        let leg = self.core.legs.get_mut(stays).ok_or(Refusal::DialogUnknown)?;
        leg.call = into;
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
        let is_target = found.with == Some(leg);
        let taken = admit(body, self.core.gate(leg))
            .and_then(|description| self.core.receive_answer(leg, description))
            .and_then(|()| self.has_streams(leg));
        match taken {
            Err(refusal) => self.fail_transfer(key, refusal.status()),
            Ok(()) if is_target => self.ask_who_stays(key),
            Ok(()) => self.finish_transfer(key),
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
        let Some(found) = self.transfers.live.get(&key) else { return };
        let stand_in = self.core.calls.get(found.into).map(|call| call.caller);
        let Some(place) = found.consulted.or(stand_in) else {
            return self.fail_transfer(key, StatusCode::REQUEST_TERMINATED);
        };
        let Some(found) = self.transfers.live.remove(&key) else { return };
        let Transfer { call, by, stays, into, with, .. } = found;
        if found.tells {
            self.notify_refer(by, StatusCode::OK);
        }
        let waits = self.core.ports_toward(stays);
        self.core.media.extend(waits.iter().flatten().map(|pair| MediaCommand::Stop { port: pair.id }));
        self.core.take_place(stays, call, into, place, found.pairing);
        // Before the call ends that it left, and with it all that is known of its legs.
        self.track(call);
        self.carry_over((call, stays), (into, with));
        if let (Some(into), Some(payer)) = (self.core.calls.get_mut(into), found.payer) {
            into.record.transferred_by = Some(payer.into());
        }
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

    /// What is remembered of the moves of a call goes with who stays: who may not touch it, when it was moved, and by which
    /// name it is taken back. Whom the transfer has put into the call may be in it, whatever it had lost before.
    fn carry_over(
        &mut self,
        (call, stays): (CallHandle, LegHandle),
        (into, with): (CallHandle, Option<LegHandle>),
    ) {
        for leg in [Some(stays), with].into_iter().flatten() {
            let device = self.core.legs.get(leg).and_then(|leg| device_of(&leg.party));
            for part in [call, into].map(call_key) {
                let device = device.as_ref();
                let moves =
                    device.map(|device| self.moves.hold_offs.of_call(device, part)).unwrap_or_default();
                moves.iter().for_each(|id| self.end_hold_off(id));
            }
        }
        let Some(last) = self.moves.last.get(&call).copied() else { return };
        self.moves.hold_offs.carry_over(call_key(call), call_key(into));
        let known = self.moves.last.entry(into).or_insert(last);
        *known = last.max(*known);
        let mut names = self.moves.former.remove(&call).unwrap_or_default();
        names.extend(self.core.calls.get(call).map(|call| call.id.clone()));
        self.moves.former.entry(into).or_default().extend(names);
    }

    /// It did not happen: the transferor has its calls as before, and hears why.
    pub(super) fn fail_transfer(&mut self, key: TransferKey, status: StatusCode) {
        let Some(mut found) = self.transfers.live.remove(&key) else { return };
        let (call, into) = (found.call, found.into);
        self.put_back_who_stays(&mut found);
        for part in [call, into] {
            if let Some(part) = self.core.calls.get_mut(part) {
                part.transfer = None;
            }
        }
        if found.tells {
            self.notify_refer(found.by, status);
        }
        if found.consulted.is_none() {
            self.core.end_call(into, HangupBy::System, "SIP;cause=487;text=\"Transfer failed\"");
        } else if let Some(with) = found.with {
            self.put_back(with, found.with_before);
        }
        for part in [call, into] {
            self.end_if_alone(part);
            self.track(part);
        }
    }

    /// Who stays is where it was, with the ports that it had.
    fn put_back_who_stays(&mut self, found: &mut Transfer) {
        if found.stage != Stage::Asking {
            return;
        }
        let spare = std::mem::take(&mut found.spare);
        let Some(leg) = self.core.legs.get_mut(found.stays) else {
            return self.core.give_back_ports(&spare, found.call);
        };
        leg.call = found.call;
        if !spare.is_empty() {
            let elsewhere = std::mem::replace(&mut leg.ports, spare);
            self.core.give_back_ports(&elsewhere, found.into);
        }
        self.put_back(found.stays, found.stays_before.take());
    }

    /// A leg hears again what it heard before it was asked.
    fn put_back(&mut self, leg: LegHandle, before: Option<Before>) {
        if let Some(found) = self.core.legs.get_mut(leg) {
            found.introduction = None;
        }
        self.core.take_back(leg, Purpose::Transfer, before);
    }

    /// Whoever was asked and says nothing final in time has said no.
    pub(in crate::engine) fn on_transfers_timeout(&mut self) {
        let now = self.core.now.at;
        let late = self.transfers.live.iter().filter(|(_, found)| found.due <= now);
        let late: Vec<TransferKey> = late.map(|(key, _)| *key).collect();
        for key in late {
            self.fail_transfer(key, StatusCode::REQUEST_TIMEOUT);
        }
    }

    /// A call is over, for whatever reason: a transfer from it or into it is, too.
    pub(in crate::engine) fn on_transfer_call_over(&mut self, call: CallHandle) {
        let is_part = |found: &Transfer| found.call == call || found.into == call;
        let key = self.transfers.live.iter().find(|(_, found)| is_part(found)).map(|(key, _)| *key);
        if let Some(key) = key {
            self.fail_transfer(key, StatusCode::TEMPORARILY_UNAVAILABLE);
        }
    }

    /// A leg of a call that is in a transfer is gone; true if that was all there is to it.
    pub(in crate::engine) fn on_transfer_leg_gone(&mut self, call: CallHandle, leg: LegHandle) -> bool {
        let key = self.core.calls.get(call).and_then(|call| call.transfer.as_ref()).map(|part| part.key);
        let Some((key, found)) = key.and_then(|key| Some((key, self.transfers.live.get(&key)?))) else {
            return false;
        };
        if leg == found.stays || Some(leg) == found.with {
            self.fail_transfer(key, StatusCode::TEMPORARILY_UNAVAILABLE);
        } else if leg == found.by {
            let call = found.call;
            self.core.comfort(call, leg);
        }
        true
    }
}

/// As long as a move waits for its far side.
fn patience() -> std::time::Duration {
    Limits::default().far
}
