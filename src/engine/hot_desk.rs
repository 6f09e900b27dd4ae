//! Users come to shared devices and leave them: by the keys, by time, by command, and when what they proved themselves by
//! holds no longer. The table is [`HotDesks`](crate::registrar::hot_desk::HotDesks).

use std::sync::Arc;
use std::time::Duration;

use super::command::{CommandError, Reply, Subject};
use super::event::{Event, HotDeskEvent};
use super::store::{Loaded, StoreOp, StoreTicket};
use super::view::{HotDeskView, Time};
use super::{Engine, Output};
use crate::moving::DeviceKey;
use crate::registrar::accounts::{Account, DEVICE_SEPARATOR};
use crate::registrar::hot_desk::{LONGEST, SavedDesk, SignIn, proof_of};

impl Engine {
    /// Takes up who was signed in before a restart, as far as the accounts still say so.
    pub(super) fn restore_hot_desks(&mut self, loaded: &Loaded) {
        for SavedDesk { device, sign_in } in &loaded.hot_desks {
            let Some(sign_in) = sign_in.clone() else { continue };
            if !self.core.hot_desks.put(self.core.now, device, sign_in) {
                self.save_desk(device, None);
            }
        }
        self.review_hot_desks();
    }

    /// A user is signed in at a device from now on, whoever was there before, and nowhere else.
    pub(super) fn sign_in_at(&mut self, device: &DeviceKey, account: &Account) {
        let Some(pin) = &account.pin else { return };
        let (address, now) = (device.to_string(), self.core.now);
        let length: Duration = self.settings.moving.hot_desk.min(LONGEST);
        let sign_in = SignIn {
            user: account.name.clone(),
            proof: proof_of(pin),
            since: now.unix,
            length_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
        };
        let desks = &self.core.hot_desks;
        let former = desks.desk_of(&account.name).filter(|former| **former != *address).map(Box::from);
        let other = desks.at(&address).is_some_and(|other| other.user != account.name);
        if let Some(former) = former {
            self.sign_out_at(&former, "elsewhere");
        }
        if other {
            self.sign_out_at(&address, "replaced");
        }
        self.core.hot_desks.put(now, &address, sign_in.clone());
        self.save_desk(&address, Some(sign_in));
        self.tell_hot_desk(HotDeskEvent::SignedIn, &account.name, &address, None);
        self.follow_line(&account.name);
    }

    /// Whoever is signed in at a device is so no longer; false where nobody was. Calls that live go on.
    pub(super) fn sign_out_at(&mut self, device: &str, why: &'static str) -> bool {
        let Some(gone) = self.core.hot_desks.remove(device) else { return false };
        self.save_desk(device, None);
        self.tell_hot_desk(HotDeskEvent::SignedOut, &gone.user, device, Some(why));
        self.follow_line(&gone.user);
        true
    }

    /// Accounts have changed: whose user, PIN or device is not what it was is signed out.
    pub(super) fn review_hot_desks(&mut self) {
        let judged =
            self.core.hot_desks.iter().map(|(device, sign_in)| (device, self.why_over(device, sign_in)));
        let over: Vec<(Box<str>, &'static str)> =
            judged.filter_map(|(device, why)| Some((device.into(), why?))).collect();
        for (device, why) in over {
            self.sign_out_at(&device, why);
        }
    }

    fn why_over(&self, device: &str, sign_in: &SignIn) -> Option<&'static str> {
        let Some(account) = self.core.accounts.by_name(&sign_in.user) else { return Some("user_removed") };
        if account.pin.as_ref().map(proof_of).as_ref() != Some(&sign_in.proof) {
            return Some("pin_changed");
        }
        let key = device.split_once(DEVICE_SEPARATOR).map(|(user, id)| DeviceKey::new(user, id));
        (!key.is_some_and(|key| self.is_shared(&key))).then_some("device_removed")
    }

    /// The user in whose name a device calls. A call for help is the device's own: help comes to where the phone stands.
    pub(super) fn signed_in_at(&self, device: &DeviceKey) -> Option<Arc<Account>> {
        let user = self.core.hot_desks.user_at(device.user(), device.device())?;
        self.core.accounts.by_name(user).cloned()
    }

    /// Sign-ins whose time is over.
    pub(super) fn on_hot_desks_timeout(&mut self) {
        while let Some(device) = self.core.hot_desks.due(self.core.now.at) {
            self.sign_out_at(&device, "expired");
        }
    }

    /// A user is signed out by command, wherever that is.
    pub(super) fn sign_out(&mut self, by: &Subject, user: &str) -> Result<Reply, CommandError> {
        let desk = self.core.hot_desks.desk_of(user).filter(|_| by.may_see(user)).map(Box::from);
        let desk: Box<str> = desk.ok_or(CommandError::NotFound)?;
        self.sign_out_at(&desk, "request");
        Ok(Reply::Done)
    }

    /// Where a user is signed in.
    pub(super) fn hot_desk_view(&self, user: &str) -> Option<HotDeskView> {
        let device = self.core.hot_desks.desk_of(user)?;
        let sign_in = self.core.hot_desks.at(device)?;
        let (since, until) = (Time(sign_in.since), Time(sign_in.until()));
        Some(HotDeskView { device: device.to_owned(), since, until })
    }

    fn save_desk(&mut self, device: &str, sign_in: Option<SignIn>) {
        let ticket = StoreTicket(self.ticket());
        let saved = SavedDesk { device: device.into(), sign_in };
        self.outputs.push(Output::Store { ticket, op: StoreOp::SaveHotDesk(Box::new(saved)) });
    }

    fn tell_hot_desk(&mut self, what: HotDeskEvent, user: &str, device: &str, reason: Option<&'static str>) {
        tracing::info!(what = what.as_str(), reason, "a shared device has another user, or none");
        let (user, device) = (user.into(), device.into());
        self.outputs.push(Output::Event(Event::HotDesk { what, user, device, reason }));
    }
}
