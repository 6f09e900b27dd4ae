//! A transfer, as far as calls go (RFC 5589): a call that is rung for somebody who talks already, and a leg that leaves
//! one call for another. Who may transfer what, and what follows, is for the engine.

use super::core::{Core, Happened};
use super::dial_plan::Plan;
use super::headers::{ANONYMOUS, Trust};
use super::identity::Privacy;
use super::model::{Call, CallHandle, CallState, Leg, LegHandle, Party, Role, Service, Side, timer};
use super::record::{CallRecord, Direction, HangupBy};
use super::ring::Outgoing;
use super::setup::user_value;
use crate::media::plan::{self, Bridging, Hold, Pairing};
use crate::sip::Refusal;
use crate::sip::dialog::{Dialog, MAX_FORWARDS};
use crate::wire::sip::{NameAddr, StatusCode, escaped_user};

/// Names a transfer.
pub type TransferKey = u64;

/// The part that a call has in a transfer.
#[derive(Clone, Debug)]
pub struct InTransfer {
    /// Which.
    pub key: TransferKey,
    /// For whom it is rung: somebody who talks already, and has no INVITE here.
    pub rung_for: Option<RungFor>,
}

/// For whom a call is rung.
#[derive(Clone, Debug)]
pub struct RungFor {
    /// The leg whose media is offered.
    pub stays: LegHandle,
    /// Who transferred it (RFC 3892).
    pub referred_by: Option<Box<str>>,
    /// The user who did, and to whom the call counts; none where it was a trunk.
    pub payer: Option<Box<str>>,
}

/// What happens to a transfer, told to the engine.
#[derive(Clone, Debug)]
pub enum TransferNews {
    /// The target rings.
    Progress(StatusCode),
    /// The target answered: its leg, which has described its media.
    Taken(LegHandle),
    /// Nobody there takes the call.
    Failed(StatusCode),
    /// A leg accepted the media of the other one.
    Agreed(LegHandle, bytes::Bytes),
    /// A leg did not.
    Refused(LegHandle, StatusCode),
}

impl Core {
    /// Rings who is in `plan` for the party of `stays`.
    ///
    /// # Errors
    /// Why it cannot be rung; nothing is left behind then.
    pub fn ring_for(
        &mut self,
        (key, rung_for): (TransferKey, RungFor),
        number: &str,
        plan: Plan,
        thread: u8,
    ) -> Result<CallHandle, Refusal> {
        if self.calls.len() >= self.settings.limits.calls {
            return Err(Refusal::Overloaded { what: "calls", retry_after: 10 });
        }
        let call = self.open_call_for(key, rung_for, number, thread)?;
        let outgoing = self.outgoing_of_transfer(call, Box::from("")).ok_or(Refusal::Internal);
        let result = outgoing.and_then(|outgoing| self.ring_plan(outgoing, plan));
        match result {
            Ok(()) => Ok(call),
            Err(refusal) => {
                self.end_unrung(call, &refusal);
                Err(refusal)
            }
        }
    }

    fn open_call_for(
        &mut self,
        key: TransferKey,
        rung_for: RungFor,
        number: &str,
        thread: u8,
    ) -> Result<CallHandle, Refusal> {
        let stays = self.legs.get(rung_for.stays).ok_or(Refusal::DialogUnknown)?;
        let anchored = stays.media.is_some();
        let (from, trunk) = match &stays.party {
            Party::User { account, .. } => {
                (stays.acts_for.as_ref().unwrap_or(account).name.to_string(), None)
            }
            Party::Trunk { name, .. } => (self.number_of(rung_for.stays), Some(name.to_string())),
            Party::Service(_) => return Err(Refusal::DestinationUnknown),
        };
        let run = self.calls.get(stays.call).and_then(|call| call.record.run.clone());
        let payer = rung_for.payer.as_deref().map(str::to_owned);
        let user = payer.clone().or_else(|| stays.user().map(|account| account.name.to_string()));
        let id = self.mint_ulid();
        let record = CallRecord {
            id: id.to_string(),
            direction: if trunk.is_some() { Direction::Inbound } else { Direction::Internal },
            from,
            to: number.to_owned(),
            user,
            transferred_by: payer,
            trunk,
            start: self.now.unix,
            node: self.settings.node.to_string(),
            run,
            ..CallRecord::default()
        };
        let caller = self.stand_in(rung_for.stays)?;
        let mut call = Call::new(caller, number, anchored, thread, record);
        call.transfer = Some(InTransfer { key, rung_for: Some(rung_for) });
        let call = self.calls.insert(call);
        if let Some(leg) = self.legs.get_mut(caller) {
            leg.call = call;
        }
        self.arm(caller, timer::RINGING, self.settings.limits.ringing);
        Ok(call)
    }

    /// A leg without a dialog that holds the caller's place until the one that is transferred takes it.
    fn stand_in(&mut self, stays: LegHandle) -> Result<LegHandle, Refusal> {
        let template = self.legs.get(stays).ok_or(Refusal::DialogUnknown)?.dialog.clone();
        let dialog =
            Dialog { call_id: Box::from(""), remote_tag: Box::from(""), routes: Vec::new(), ..template };
        let nowhere = crate::base::Handle::from_bits(0);
        let leg =
            Leg::new(nowhere, Role::Talking(Side::Caller), Party::Service(Service::Transfer), dialog, true);
        Ok(self.add_leg(leg))
    }

    /// A call that its caller has handed on while it rings: somebody else waits for the answer from here on. The caller's
    /// INVITE is refused as if it had been cancelled.
    ///
    /// # Errors
    /// `DialogUnknown` where it rings no more.
    pub fn hand_on_ringing(
        &mut self,
        call: CallHandle,
        key: TransferKey,
        rung_for: RungFor,
    ) -> Result<(), Refusal> {
        let found = self.calls.get(call).filter(|call| call.state == CallState::Ringing);
        let caller = found.ok_or(Refusal::DialogUnknown)?.caller;
        let stand_in = self.stand_in(rung_for.stays)?;
        if let Some(leg) = self.legs.get_mut(stand_in) {
            leg.call = call;
        }
        self.part_with_early_media(call, None);
        if let Some(found) = self.calls.get_mut(call) {
            found.caller = stand_in;
            found.transfer = Some(InTransfer { key, rung_for: Some(rung_for) });
        }
        let turn = self.legs.get(caller).and_then(|leg| leg.timers.deadline(timer::TURN));
        self.refuse_inbound(caller, &Refusal::Terminated);
        self.arm(stand_in, timer::RINGING, self.settings.limits.ringing);
        if let Some(turn) = turn {
            self.arm(stand_in, timer::TURN, turn.since(self.now.at));
        }
        Ok(())
    }

    /// What the INVITEs of a call that is rung in a transfer say.
    pub(super) fn outgoing_of_transfer(&self, call: CallHandle, to: Box<str>) -> Option<Outgoing<'static>> {
        let rung_for = self.calls.get(call)?.transfer.as_ref()?.rung_for.as_ref()?;
        let stays = self.legs.get(rung_for.stays)?;
        let identity = self.shown_as(rung_for.stays);
        Some(Outgoing {
            call,
            from: if stays.is_private { ANONYMOUS.into() } else { identity.clone() },
            identity,
            is_vouched: stays.is_vouched,
            privacy: if stays.is_private { Privacy::ID } else { Privacy::default() },
            said: None,
            source: None,
            to,
            trust: Trust::Untrusted,
            message: None,
            hops: MAX_FORWARDS,
            offers: Some(rung_for.stays),
            referred_by: rung_for.referred_by.clone(),
            own: stays.party.device().map(|(user, device)| (user.into(), device.into())),
            caller: match &rung_for.payer {
                Some(payer) => self.accounts.by_name(payer).cloned(),
                None => stays.user().cloned(),
            },
            in_plain: false,
        })
    }

    /// How the party of a leg is shown in our domain: `"Display" <sip:number@domain>`.
    #[must_use]
    pub fn shown_as(&self, leg: LegHandle) -> Box<str> {
        let domain = &self.settings.domain;
        let Some(found) = self.legs.get(leg) else { return format!("<sip:segue@{domain}>").into() };
        match found.user() {
            Some(account) => user_value(account.shown(), account.number(), domain),
            None => {
                let address = NameAddr::parse(found.dialog.remote.as_bytes()).ok();
                let display = address.and_then(|address| address.display().map(|shown| shown.into_owned()));
                let number = self.number_of(leg);
                user_value(&display.unwrap_or_default(), &escaped_user(&number), domain)
            }
        }
    }

    /// The number that the party of a leg has here: the one that it says, unless rules of its trunk make it another.
    #[must_use]
    pub fn number_of(&self, leg: LegHandle) -> String {
        let Some(found) = self.legs.get(leg) else { return String::new() };
        found.number.as_deref().map_or_else(|| number_in(&found.dialog.remote), str::to_owned)
    }

    /// Whether a call is rung in a transfer.
    pub(super) fn is_rung_in_transfer(&self, call: CallHandle) -> Option<TransferKey> {
        let part = self.calls.get(call)?.transfer.as_ref()?;
        part.rung_for.is_some().then_some(part.key)
    }

    /// News of the transfer that the call of a leg is in.
    pub(super) fn tell_transfer_of(&mut self, leg: LegHandle, news: TransferNews) {
        let call = self.call_of(leg).and_then(|call| self.calls.get(call));
        if let Some(key) = call.and_then(|call| call.transfer.as_ref()).map(|part| part.key) {
            self.tell_transfer(key, news);
        }
    }

    pub(super) fn tell_transfer(&mut self, key: TransferKey, news: TransferNews) {
        self.happened.push_back(Happened::Transfer(key, news));
    }

    /// What `new` is offered: the media of a leg that has agreed on some.
    ///
    /// # Errors
    /// Why that cannot be offered; both are as they were.
    pub fn offer_standing(
        &mut self,
        far: LegHandle,
        new: LegHandle,
        terms: (Hold, Bridging),
    ) -> Result<bytes::Bytes, Refusal> {
        if self.legs.get(new).is_some_and(|leg| leg.media.is_none()) {
            return Ok(self.legs.get(far).map(|leg| leg.raw.clone()).unwrap_or_default());
        }
        self.with_media(new, |core, media, lender| {
            let far = core.legs.get(far).and_then(|leg| leg.media.as_deref()).ok_or(Refusal::Internal)?;
            Ok(plan::offer_far(far, media, None, terms, |line| lender.port(line))?)
        })
    }

    /// `leg` leaves its call, which ends for `by`, and takes the place of `place` in `into`.
    pub fn take_place(
        &mut self,
        leg: LegHandle,
        from: CallHandle,
        into: CallHandle,
        place: LegHandle,
        pairing: Pairing,
    ) {
        self.part_with_early_media(into, None);
        let Some(found) = self.calls.get_mut(into) else { return };
        let side = found.side_of(place).unwrap_or(Side::Caller);
        match side {
            Side::Caller => found.caller = leg,
            Side::Callee => found.callee = Some(leg),
        }
        found.pairing = pairing;
        found.transfer = None;
        found.generation = found.generation.wrapping_add(1);
        let was_ringing = found.state == CallState::Ringing;
        let mut released = smallvec::SmallVec::<[LegHandle; 2]>::new();
        if let Some(other) = self.calls.get_mut(from) {
            other.transfer = None;
            released = std::mem::take(&mut other.released);
            if other.caller == leg {
                // Who is left stands for both sides of a call that is about to end.
                other.caller = other.callee.take().unwrap_or(place);
            } else {
                other.callee = None;
            }
        }
        // Devices that it was moved away from are kept from it in this call as in that.
        for old in &released {
            if let Some(found) = self.legs.get_mut(*old) {
                found.call = into;
            }
        }
        if let Some(found) = self.calls.get_mut(into) {
            found.released.extend(released);
        }
        let before = self
            .legs
            .get(place)
            .and_then(|leg| leg.party.device().map(|(u, d)| (u.to_owned(), d.to_owned())));
        if let Some(found) = self.legs.get_mut(leg) {
            (found.call, found.role) = (into, Role::Talking(side));
        }
        self.release_leg_media(place);
        let joined = self.legs.get(leg);
        let (now, of) = (self.now.unix, joined.and_then(|leg| leg.user()));
        let device = joined.and_then(|leg| leg.party.device());
        if let Some(found) = self.calls.get_mut(into).filter(|_| !was_ringing) {
            if let Some((user, device)) = &before {
                found.record.end_segment(now, user, device);
            }
            if let (Some(device), Some(of)) = (device, of) {
                found.record.begin_segment(now, device, &of.name, Some("transfer".to_owned()));
            }
        }
        if was_ringing {
            self.note_answered(into);
        }
        self.connect(into);
    }

    /// The call that a transfer has emptied is over.
    pub fn end_transferred(&mut self, call: CallHandle, by: LegHandle, reason: &str) {
        let by_whom = match self.legs.get(by).map(|leg| leg.role) {
            Some(Role::Talking(side)) => side.into(),
            _ => HangupBy::System,
        };
        self.end_call(call, by_whom, reason);
    }
}

/// The user part of a name-addr, which is a number as a rule.
fn number_in(address: &str) -> String {
    let parsed = NameAddr::parse(address.as_bytes()).ok();
    let uri = parsed.and_then(|address| crate::wire::sip::Uri::parse(address.uri).ok());
    let number = uri.and_then(|uri| uri.user_decoded().map(|user| user.chars().take(64).collect::<String>()));
    let is_plain =
        |number: &String| number.chars().all(|c| c.is_ascii_alphanumeric() || "+-_.*#".contains(c));
    number.filter(|number| !number.is_empty() && is_plain(number)).unwrap_or_else(|| "anonymous".to_owned())
}
