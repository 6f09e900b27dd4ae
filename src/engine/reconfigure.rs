//! The configuration changes while the node runs.
//!
//! What is bound or told to others stays as it was: listeners, media addresses, domain, realm. All else holds from the
//! next request on. A call that lives has its parties, and goes on with them; a device that is no more loses its
//! registration and its subscriptions.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::{Engine, Output};
use crate::call::settings::{self as call, MediaSettings};
use crate::registrar::accounts::{Account, Accounts, Origin, Tenure};

/// What the node is to run by.
pub struct NewConfiguration {
    /// Trunks in the order of the file.
    pub settings: Settings,
    /// The accounts of the file, all of them.
    pub accounts: Vec<Account>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconfigured {
    /// The place that each trunk has from now on, in the order of the file: [`super::Input::Resolved`] names it.
    pub places: Vec<usize>,
    /// What an operator should know: accounts of the store that the file has pushed aside.
    pub notes: Vec<String>,
    /// Those that it has pushed aside now.
    pub aside: Vec<Box<str>>,
}

/// A reload, as whoever asked for it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadView {
    /// Whether the changes hold now; else they were only looked at.
    pub applied: bool,
    /// What changes, a line each.
    pub changes: Vec<String>,
    /// What stays as it is until the node is started anew.
    pub restart: Vec<String>,
    /// What else an operator should know.
    pub notes: Vec<String>,
}

impl Engine {
    pub(super) fn on_reconfigured(&mut self, new: NewConfiguration) {
        let NewConfiguration { settings, accounts } = new;
        let mut settings = keep_bound(&self.core.settings, &self.settings, settings);
        let places = self.exchange_trunks(&mut settings.call);
        self.bans.follow(settings.ban.clone());
        self.save_bans();
        self.trace.resize(settings.trace, &mut self.core.random);
        self.core.settings = Arc::new(settings.call.clone());
        self.settings = Arc::new(settings);
        let (notes, aside) = self.exchange_accounts(accounts);
        self.outputs.push(Output::Reconfigured(Reconfigured { places, notes, aside }));
    }

    /// The accounts of the file are exchanged; those of the store stay, as far as the file leaves room for them. Notes, and
    /// who has no room any more.
    fn exchange_accounts(&mut self, of_file: Vec<Account>) -> (Vec<String>, Vec<Box<str>>) {
        let old = std::mem::take(&mut self.core.accounts);
        let of_store = old.iter().filter(|known| known.origin == Origin::Store).map(|known| own(known));
        let mut of_store: Vec<Account> = of_store.collect();
        let known_aside = std::mem::take(&mut self.aside);
        of_store.extend(known_aside.iter().cloned());
        let mut accounts = Accounts::default();
        let (mut notes, mut pushed) = (Vec::new(), Vec::new());
        for mut account in of_file.into_iter().chain(of_store) {
            let kept = account.clone();
            let lent = old.by_name(&account.name).into_iter().flat_map(|old| old.lent());
            let lent: Vec<_> = lent.filter(|lent| account.device(&lent.id).is_none()).cloned().collect();
            account.devices.extend(lent);
            let Err(error) = accounts.put(account) else { continue };
            if !known_aside.contains(&kept) {
                notes.push(format!("user {}: not used, {error}", kept.name));
                pushed.push(kept.name.clone());
            }
            if kept.origin == Origin::Store {
                self.aside.push(kept);
            }
        }
        self.core.accounts = accounts;
        self.part_from(&old);
        self.review_hot_desks();
        self.end_forbidden_watches();
        self.follow_lines();
        (notes, pushed)
    }

    /// Who is no more, or is somebody else by now, is not registered any more and watches nobody.
    fn part_from(&mut self, old: &Accounts) {
        let now = self.core.now;
        for before in old.iter() {
            let Some(after) = self.core.accounts.by_name(&before.name).cloned() else {
                self.core.registrar.kick(&before.name, None, now, &mut self.registrations);
                self.on_device_removed(&before.name, None);
                continue;
            };
            let is_same = |id: &str, auth_user: &str| {
                after.device(id).is_some_and(|device| *device.auth_user == *auth_user)
            };
            for gone in before.devices.iter().filter(|device| !is_same(&device.id, &device.auth_user)) {
                self.core.registrar.kick(&before.name, Some(&gone.id), now, &mut self.registrations);
                self.on_device_removed(&before.name, Some(&gone.id));
            }
        }
    }

    /// An account of the store that did not fit beside the file is looked at again when the file changes.
    pub(super) fn set_aside(&mut self, account: &Account) {
        self.aside.retain(|known| known.name != account.name);
        self.aside.push(own(account));
    }

    /// The store has it no more.
    pub(super) fn forget_aside(&mut self, name: &str) {
        self.aside.retain(|known| *known.name != *name);
    }
}

/// Accounts of the store that are not in use: the file has their name, their number or one of their identities.
pub(super) fn aside(stored: &[Account], used: &Accounts) -> Vec<Account> {
    let is_used =
        |account: &&Account| used.by_name(&account.name).is_some_and(|used| used.origin == Origin::Store);
    stored.iter().filter(|account| !is_used(account)).cloned().collect()
}

/// The account without what is lent to it.
fn own(account: &Account) -> Account {
    let mut account = account.clone();
    account.devices.retain(|device| device.tenure == Tenure::Kept);
    account
}

/// `new`, but for what a start alone can change.
fn keep_bound(bound: &call::Settings, old: &Settings, new: Settings) -> Settings {
    let media = MediaSettings {
        timeout: new.call.media.timeout,
        learning: new.call.media.learning,
        transcode: new.call.media.transcode,
        ..bound.media.clone()
    };
    let call = call::Settings {
        node: bound.node.clone(),
        domain: bound.domain.clone(),
        aliases: bound.aliases.clone(),
        software: bound.software.clone(),
        listeners: bound.listeners.clone(),
        media,
        ..new.call
    };
    let own = old.registrar.own.clone();
    Settings {
        limits: old.limits,
        transactions: old.transactions,
        registrar: crate::registrar::Settings { own, ..new.registrar },
        call,
        realm: old.realm.clone(),
        contact_key: old.contact_key,
        ..new
    }
}
