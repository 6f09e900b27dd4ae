//! Transfers (RFC 3515, RFC 5589): who talks with somebody hands that one on, to somebody who is rung for it, or to whom
//! it has consulted. What goes to another device of the same user is no transfer but a move, see [`super::moves`].
//!
//! Nobody is told to dial: the one who stays keeps its dialog, and is joined with the target here.
//!
//! ```text
//!  blind      REFER ─► Ringing ── answered ──────────────► Asking ── stays agrees ─► joined: NOTIFY 200, BYE
//!  attended   REFER ─► Rejoining ── target agrees ───────► Asking        (or needs not be asked)
//!  any        target refuses, stays refuses, either is gone or silent: NOTIFY with that, both calls as they were
//! ```
//! The transferor may hang up at any time: the transfer goes on.

mod join;

use std::collections::BTreeMap;

use super::Engine;
use super::moves::{call_key, device_of, leg_key, leg_of};
use crate::base::Timestamp;
use crate::call::dial_plan::{Plan, dialled, is_emergency};
use crate::call::model::LegPorts;
use crate::call::rules::CallerKind;
use crate::call::transfer::{InTransfer, RungFor, TransferKey, TransferNews};
use crate::call::undo::Before;
use crate::call::{CallHandle, CallState, LegHandle, LegState, Party, Role};
use crate::media::plan::{Bridging, Hold, Pairing};
use crate::moving::hold_off::Access;
use crate::moving::replaces::Replaces;
use crate::registrar::accounts::Account;
use crate::sip::Refusal;
use crate::sip::transaction::ServerTx;
use crate::wire::sip::{HeaderName, Message, Scheme, StatusCode, Uri};

/// Transfers under way.
#[derive(Default)]
pub(crate) struct Transfers {
    live: BTreeMap<TransferKey, Transfer>,
    minted: TransferKey,
}

impl Transfers {
    /// When somebody has been waited for long enough.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.live.values().map(|found| found.due).min()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

/// Where a transfer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The target is rung.
    Ringing,
    /// The target is shown the media of who stays.
    Rejoining,
    /// Who stays is shown the media of the target.
    Asking,
}

/// One transfer.
struct Transfer {
    /// The call that is transferred.
    call: CallHandle,
    /// The leg of who transfers it.
    by: LegHandle,
    /// The user, where that is one.
    payer: Option<Box<str>>,
    /// Whether that one wants to hear of it (RFC 4488).
    tells: bool,
    /// The last that it was told.
    told: StatusCode,
    /// The leg that stays.
    stays: LegHandle,
    /// The call that it joins.
    into: CallHandle,
    /// The transferor's leg in that call, where it has one.
    consulted: Option<LegHandle>,
    /// The target's leg.
    with: Option<LegHandle>,
    /// Whether the target was offered the media of the transferor instead of that of who stays.
    is_offered_other: bool,
    stage: Stage,
    /// When who is asked has had its time.
    due: Timestamp,
    pairing: Pairing,
    /// What the two are offered again if it comes to nothing; `None` where they never changed.
    with_before: Option<Before>,
    stays_before: Option<Before>,
    /// Ports of who stays on the media thread of the call that it leaves.
    spare: LegPorts,
}

/// A REFER, read.
struct Wish<'a> {
    leg: LegHandle,
    uri: &'a Uri<'a>,
    tells: bool,
}

impl Engine {
    /// REFER of a party to somebody who is no device of its own.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub(super) fn transfer(
        &mut self,
        leg: LegHandle,
        tx: ServerTx,
        message: &Message,
        uri: &Uri<'_>,
    ) -> Result<(), Refusal> {
        let stays = self.may_transfer(leg)?;
        // Only an INVITE is made for others (RFC 3515 2.1 lets a REFER ask for anything).
        let is_invite =
            uri.param("method").flatten().is_none_or(|method| method.eq_ignore_ascii_case("INVITE"));
        let is_ours = uri.scheme() == Scheme::Tel || self.core.settings.is_ours(uri.host());
        let consulted = self.consulted(leg, uri)?;
        // The other side is made to dial nothing that the user could not dial here.
        if !is_invite || !(is_ours || consulted.is_some()) {
            return Err(Refusal::NotAuthorised);
        }
        let wish = Wish { leg, uri, tells: !is_silent(message) };
        self.transfers.minted += 1;
        let key = self.transfers.minted;
        let begun = match consulted {
            Some(other) => self.begin_attended(key, &wish, stays, other),
            None => self.begin_blind(key, &wish, stays),
        };
        let failed = match begun {
            Ok(()) => None,
            // Nobody is there: that is an outcome of the transfer, as if it had been called and had said so.
            Err(Refusal::Unreachable) if wish.tells => Some(Refusal::Unreachable),
            Err(refusal) => return Err(refusal),
        };
        self.accept_refer(leg, tx, wish.tells);
        match failed {
            Some(refusal) => self.notify_refer(leg, refusal.status()),
            None => self.show_transfer(key),
        }
        Ok(())
    }

    /// The two calls are not movable for its time.
    fn show_transfer(&mut self, key: TransferKey) {
        let Some(found) = self.transfers.live.get(&key) else { return };
        let (call, into) = (found.call, found.into);
        self.track(call);
        self.track(into);
    }

    /// 202, and the NOTIFY that follows it at once (RFC 3515 2.4.4).
    pub(super) fn accept_refer(&mut self, leg: LegHandle, tx: ServerTx, tells: bool) {
        let tag = self.core.legs.get(leg).map(|leg| leg.dialog.local_tag.clone()).unwrap_or_default();
        if let Some(mut writer) = self.core.reply(tx, StatusCode::ACCEPTED, &tag) {
            if !tells {
                writer.header(&HeaderName::ReferSub, "false");
            }
            let bytes = writer.finish();
            self.core.respond(tx, StatusCode::ACCEPTED, bytes);
        }
        if tells {
            self.notify_refer(leg, StatusCode::TRYING);
        }
    }

    /// Whether the party of `leg` may hand on who it talks with; the leg of that one.
    fn may_transfer(&mut self, leg: LegHandle) -> Result<LegHandle, Refusal> {
        let found = self.core.legs.get(leg).ok_or(Refusal::DialogUnknown)?;
        if found.state == LegState::Ended || !matches!(found.role, Role::Talking(_)) {
            return Err(Refusal::DialogUnknown);
        }
        let call = self.core.calls.get(found.call).ok_or(Refusal::DialogUnknown)?;
        let is_taken = call.moving || call.transfer.is_some() || call.lost.is_some();
        if call.state != CallState::Talking || is_taken {
            return Err(Refusal::RequestPending);
        }
        let is_allowed = match &found.party {
            Party::User { account, device } => {
                self.has_still(account, *device)
                    && found.acts_for.as_ref().is_none_or(|account| self.now_of(account).is_some())
            }
            // Whoever is behind a trunk is a stranger: it would call at our cost.
            Party::Trunk { index, .. } => {
                let trunk = self.core.settings.trunks.get(*index);
                trunk.is_some_and(|trunk| trunk.policy.may_refer && !trunk.is_gone)
            }
            Party::Service(_) => false,
        };
        let stays = call.peer(leg).ok_or(Refusal::DialogUnknown)?;
        if !is_allowed || call.emergency || self.core.service_of(stays).is_some() {
            return Err(Refusal::NotAuthorised);
        }
        Ok(stays)
    }

    /// The account as it is by now.
    fn now_of(&self, account: &Account) -> Option<&Account> {
        self.core.accounts.by_name(&account.name).map(|account| &**account)
    }

    /// Whether a user is one still, and has the device under the same identity. Who is removed may go on with its call;
    /// one that it hands on is a new one.
    fn has_still(&self, account: &Account, device: usize) -> bool {
        let (Some(known), Some(device)) = (self.now_of(account), account.devices.get(device)) else {
            return false;
        };
        known.device(&device.id).is_some_and(|known| known.auth_user == device.auth_user)
    }

    fn begin_blind(&mut self, key: TransferKey, wish: &Wish<'_>, stays: LegHandle) -> Result<(), Refusal> {
        let said = dialled(wish.uri)?;
        let call = self.core.call_of(wish.leg).ok_or(Refusal::DialogUnknown)?;
        let by = self.core.legs.get(wish.leg).map(|leg| &leg.party);
        // A trunk says numbers here as it does when it calls: what is barred is barred for it, too.
        let number = match by {
            Some(Party::Trunk { index, .. }) => self.called_here(*index, said.clone()).0,
            Some(Party::User { .. } | Party::Service(_)) | None => said.clone(),
        };
        if self.is_draining {
            return Err(Refusal::Draining);
        }
        // Who calls for help does so itself: help must know whom it speaks with, and that one be there.
        if is_emergency(&said) || is_emergency(&number) {
            return Err(Refusal::NotAuthorised);
        }
        let plan = self.plan_for(wish, &number)?;
        if plan.as_service().is_some() {
            return Err(Refusal::DestinationUnknown);
        }
        let thread = self.core.calls.get(call).ok_or(Refusal::DialogUnknown)?.thread;
        let rung_for = self.rung_for(wish, stays);
        let into = self.core.ring_for((key, rung_for), &number, plan, thread)?;
        self.counters.calls += 1;
        self.put_transfer(key, wish, (call, stays, into));
        Ok(())
    }

    /// Where the number leads for who transfers: that one calls, and pays.
    fn plan_for(&self, wish: &Wish<'_>, number: &str) -> Result<Plan, Refusal> {
        let leg = self.core.legs.get(wish.leg).ok_or(Refusal::DialogUnknown)?;
        let said = self.core.number_of(wish.leg);
        let mut by = self.caller(&leg.party, &said, leg.dialog.flow)?;
        by.kind = match (&leg.acts_for, by.kind) {
            // It may transfer at all only where the operator lets it call at the users' cost.
            (_, CallerKind::Trunk { name, number, .. }) => {
                CallerKind::Trunk { name, number, is_transferor: true }
            }
            // With the number and name of now: the call may be older.
            (Some(account), CallerKind::User(_)) => CallerKind::User(self.now_of(account).unwrap_or(account)),
            (None, CallerKind::User(account)) => CallerKind::User(self.now_of(account).unwrap_or(account)),
        };
        self.core.route(wish.uri, &self.dialling(number, by))
    }

    fn rung_for(&self, wish: &Wish<'_>, stays: LegHandle) -> RungFor {
        let is_private = self.core.legs.get(wish.leg).is_none_or(|leg| leg.is_private);
        let referred_by = (!is_private).then(|| self.core.shown_as(wish.leg));
        RungFor { stays, referred_by, payer: self.payer(wish.leg) }
    }

    /// The user who transfers, and to whom it counts.
    fn payer(&self, by: LegHandle) -> Option<Box<str>> {
        let leg = self.core.legs.get(by)?;
        leg.user().map(|account| account.name.clone())
    }

    fn put_transfer(
        &mut self,
        key: TransferKey,
        wish: &Wish<'_>,
        (call, stays, into): (CallHandle, LegHandle, CallHandle),
    ) {
        for part in [call, into] {
            if let Some(found) = self.core.calls.get_mut(part)
                && found.transfer.is_none()
            {
                found.transfer = Some(InTransfer { key, rung_for: None });
            }
        }
        let transfer = Transfer {
            call,
            by: wish.leg,
            payer: self.payer(wish.leg),
            tells: wish.tells,
            told: StatusCode::TRYING,
            stays,
            into,
            consulted: None,
            with: None,
            is_offered_other: false,
            stage: Stage::Ringing,
            // The target's ringing has a timer of its own.
            due: Timestamp::NEVER,
            pairing: Pairing::default(),
            with_before: None,
            stays_before: None,
            spare: LegPorts::new(),
        };
        self.transfers.live.insert(key, transfer);
    }

    /// The leg of another call of the transferring device that Refer-To names: by Replaces (RFC 3891), or by the Contact
    /// that we gave it there. Calls of the user's other devices come by a move, which is granted or is not.
    fn consulted(&self, leg: LegHandle, uri: &Uri<'_>) -> Result<Option<LegHandle>, Refusal> {
        let by = self.moves.directory.leg(leg_key(leg));
        let own = by.map(|by| self.moves.directory.of_user(&by.owner)).unwrap_or_default();
        let own = own.into_iter().filter(|live| by.is_some_and(|by| by.device == live.device));
        let mut own = own.map(|live| leg_of(live.leg)).filter(|other| *other != leg);
        let Some(value) = uri.header("Replaces") else {
            let tag = uri.user_decoded();
            let named = tag.and_then(|tag| self.core.leg_of_tag(&tag));
            return Ok(named.filter(|named| own.any(|other| other == *named)));
        };
        let wanted = Replaces::parse(&value)?;
        let mode = self.settings.moving.replaces;
        let is_named = |other: &LegHandle| {
            let dialog = self.core.legs.get(*other).map(|leg| &leg.dialog);
            dialog.is_some_and(|dialog| {
                wanted.names((&dialog.call_id, &dialog.local_tag, &dialog.remote_tag), mode)
            })
        };
        own.find(is_named).map(Some).ok_or(Refusal::DialogUnknown)
    }

    /// The transferor has called the target itself: the two that it talks with are joined.
    fn begin_attended(
        &mut self,
        key: TransferKey,
        wish: &Wish<'_>,
        stays: LegHandle,
        other: LegHandle,
    ) -> Result<(), Refusal> {
        let call = self.core.call_of(wish.leg).ok_or(Refusal::DialogUnknown)?;
        let by = self.core.legs.get(wish.leg).and_then(|leg| device_of(&leg.party));
        let into = self.core.call_of(other).filter(|into| *into != call).ok_or(Refusal::DialogUnknown)?;
        if let Some(by) = by {
            self.held(&by, Access::Call(call_key(into)), "REFER")?;
        }
        let found = self.core.calls.get(into).ok_or(Refusal::DialogUnknown)?;
        if found.moving || found.transfer.is_some() || found.lost.is_some() {
            return Err(Refusal::RequestPending);
        }
        if found.emergency {
            return Err(Refusal::NotAuthorised);
        }
        // Media through us and media past us cannot be joined.
        if self.core.calls.get(call).is_none_or(|call| call.anchored != found.anchored) {
            return Err(Refusal::OfferUnusable(
                "media of one of the two calls does not run through here".into(),
            ));
        }
        let (is_ringing, is_caller) = (found.state == CallState::Ringing, found.caller == other);
        if is_ringing && is_caller {
            // It did not wait for the answer.
            let rung_for = self.rung_for(wish, stays);
            self.core.hand_on_ringing(into, key, rung_for)?;
            self.put_transfer(key, wish, (call, stays, into));
            if let Some(found) = self.transfers.live.get_mut(&key) {
                found.is_offered_other = true;
            }
            return Ok(());
        }
        let with = found.peer(other).ok_or(Refusal::DialogUnknown)?;
        if self.core.service_of(with).is_some() {
            return Err(Refusal::NotAuthorised);
        }
        let offer = self.core.offer_standing(stays, with, (Hold::Lift, Bridging::Never))?;
        self.put_transfer(key, wish, (call, stays, into));
        if let Some(found) = self.transfers.live.get_mut(&key) {
            (found.consulted, found.with) = (Some(other), Some(with));
        }
        self.rejoin(key, with, offer);
        Ok(())
    }

    /// News of a transfer.
    pub(super) fn on_transfer(&mut self, key: TransferKey, news: TransferNews) {
        let Some(found) = self.transfers.live.get_mut(&key) else { return };
        match news {
            TransferNews::Progress(status) if found.stage == Stage::Ringing && found.told != status => {
                found.told = status;
                if found.tells {
                    let by = found.by;
                    self.notify_refer(by, status);
                }
            }
            TransferNews::Progress(_) => {}
            TransferNews::Taken(leg) => {
                found.with = Some(leg);
                self.on_target_answered(key, leg);
            }
            TransferNews::Failed(status) => self.fail_transfer(key, status),
            TransferNews::Agreed(leg, body) => self.on_transfer_agreed(key, leg, &body),
            TransferNews::Refused(leg, status) => {
                // Who refused has its session as it was.
                let before =
                    if leg == found.stays { &mut found.stays_before } else { &mut found.with_before };
                *before = None;
                self.fail_transfer(key, status);
            }
        }
    }
}

/// RFC 4488: no implicit subscription where it is not wanted.
pub(super) fn is_silent(refer: &Message) -> bool {
    let value = refer.header(HeaderName::ReferSub).and_then(|header| header.value_str().ok());
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}
