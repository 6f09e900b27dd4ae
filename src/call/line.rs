//! Calls over a trunk in the name of a user who has an account at the PBX behind it: as whom, by which number.

use std::sync::Arc;

use super::core::Core;
use super::identity::Before;
use super::model::Party;
use super::ring::Outgoing;
use super::settings::Trunk;
use super::setup::user_value;
use crate::registrar::Pbx;
use crate::registrar::accounts::Account;
use crate::wire::sip::escaped_user;

/// The account of a user at the PBX behind a trunk.
pub(super) fn pbx_at<'a>(account: &'a Account, trunk: &Trunk) -> Option<&'a Pbx> {
    account.pbx.as_ref().filter(|pbx| pbx.trunk == trunk.name)
}

impl Core {
    /// What a challenge to a party is answered with: the user's account as it is now, else as it was when the call began.
    pub(super) fn pbx_of(&self, party: &Party) -> Option<Pbx> {
        let Party::Trunk { name, line: Some(account), .. } = party else { return None };
        let now = self.accounts.by_name(&account.name);
        let all = now.into_iter().chain([account]).filter_map(|account| account.pbx.as_ref());
        all.into_iter().find(|pbx| *pbx.trunk == **name).cloned()
    }

    /// The number by which the PBX behind a trunk knows a number that is dialled here: a user's, where that one has an
    /// account there; `None` where it stays as it is.
    #[must_use]
    pub fn called_at_pbx(&self, trunk: &Trunk, number: &str) -> Option<Box<str>> {
        let account = self.accounts.find(number)?;
        pbx_at(account, trunk).map(|pbx| pbx.user.clone()).filter(|user| **user != *number)
    }
}

impl Outgoing<'_> {
    /// In whose name the call goes out over a trunk; `None` in that of our account there.
    pub(super) fn line_at(&self, trunk: &Trunk) -> Option<Arc<Account>> {
        self.caller.as_ref().filter(|account| pbx_at(account, trunk).is_some()).cloned()
    }

    /// From and identity toward a trunk: those of the user at the PBX, or as its rules for numbers say. Gives the number
    /// that is shown, where it is another than the caller's, and what they were before.
    ///
    /// A PBX knows its users by From, so who wants to be anonymous says so by Privacy alone (RFC 3323 4.2): the
    /// PBX is that user's own, and hides the name from others.
    pub(super) fn show_at(
        &mut self,
        core: &Core,
        trunk: &Trunk,
        line: Option<&Account>,
    ) -> (Option<Box<str>>, Option<Before>) {
        let Some((account, pbx)) = line.and_then(|account| Some((account, pbx_at(account, trunk)?))) else {
            return self.show_to(core, trunk);
        };
        let own = user_value(account.shown(), &escaped_user(&pbx.user), &trunk.bare_host());
        // In a transfer another one is asserted than who pays.
        let is_own =
            self.own.as_ref().is_none_or(|(user, _)| *user == account.name) && self.message.is_some();
        let identity = if is_own { own.clone() } else { self.identity.clone() };
        let before = Before {
            from: std::mem::replace(&mut self.from, own),
            identity: std::mem::replace(&mut self.identity, identity),
        };
        (Some(pbx.user.clone()).filter(|user| **user != *account.number()), Some(before))
    }
}
