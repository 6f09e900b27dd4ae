//! Devices lent to a session: the browser of a signed-in user is a phone for as long as it is signed in.

use super::conflict;
use crate::engine::Engine;
use crate::engine::command::{CommandError, NewDevice, Reply};
use crate::registrar::accounts::{Device, Tenure};

/// Lent devices of one user: the browsers of a few machines with some tabs each.
const MAX_LENT: usize = 8;

impl Engine {
    pub(super) fn lend_device(&mut self, user: &str, new: &NewDevice) -> Result<Reply, CommandError> {
        let account = self.core.accounts.by_name(user).cloned().ok_or(CommandError::NotFound)?;
        if account.device(&new.id).is_some_and(|known| known.tenure == Tenure::Kept) {
            return Err(conflict(format!("the user has a device `{}` of their own", new.id)));
        }
        let others = || account.lent().filter(|device| device.id != new.id);
        if others().count() >= MAX_LENT {
            // A tab that was closed without a word has left its device behind; one that is registered is in use.
            let now = self.core.now.at;
            let is_idle = |device: &&Device| !self.core.registrar.is_registered(user, &device.id, now);
            let idle = others().find(is_idle).map(|device| device.id.clone());
            let idle = idle.ok_or_else(|| conflict("too many browsers of the user are phones already"))?;
            self.return_device(user, &idle);
        }
        // Who asked for it sits before it: it may be told to answer by itself.
        let device = Device { auto_answer: true, ..self.new_device(new)? };
        self.core.accounts.lend(user, device)?;
        Ok(Reply::Done)
    }

    pub(super) fn return_device(&mut self, user: &str, device: &str) -> Reply {
        if self.core.accounts.take_back(user, device) {
            self.core.registrar.kick(user, Some(device), self.core.now, &mut self.registrations);
            self.on_device_removed(user, Some(device));
        }
        Reply::Done
    }
}
