//! Accounts change at run time: the change is checked, stored, and applied only when the store says that it is done.

use super::parked::Waiting;
use super::{Answer, Asking, busy, conflict, invalid};
use crate::engine::Engine;
use crate::engine::command::{
    AccountChange, CommandError, Ha1Text, NewDevice, NewUser, Reply, Secret, TrustName,
};
use crate::engine::store::StoreOp;
use crate::registrar::accounts::{Account, AccountError, Device, Origin, PhcString, Pull, Tenure, Trust};
use crate::sip::digest::{Algorithm, Ha1s};

/// Devices of one account.
const MAX_DEVICES: usize = 32;
/// Longest display name, in bytes: it is copied into every call of the user.
const MAX_DISPLAY: usize = 128;

/// An account as it is to be.
pub(super) enum Changed {
    /// It is new, or other than it was.
    Put(Box<Account>),
    /// It goes.
    Remove(Box<str>),
}

impl Engine {
    pub(super) fn change_account(&mut self, change: &AccountChange) -> Asking {
        // One at a time: each is built upon what the one before it left.
        if self.asks.is_changing() {
            return Err(busy("another account is being changed"));
        }
        let changed = self.build_account(change)?;
        let op = match &changed {
            Changed::Put(account) => StoreOp::PutAccount(kept(account)),
            Changed::Remove(name) => StoreOp::RemoveAccount { name: name.clone() },
        };
        Ok(Answer::Later(op, Waiting::Account(changed)))
    }

    /// A change that another worker has stored.
    pub(super) fn account_changed(&mut self, change: &AccountChange) -> Result<Reply, CommandError> {
        let changed = self.build_account(change)?;
        self.apply_account(changed)?;
        Ok(Reply::Done)
    }

    /// The account as the change makes it, checked against all others.
    fn build_account(&self, change: &AccountChange) -> Result<Changed, CommandError> {
        let accounts = &self.core.accounts;
        if let AccountChange::Add(new) = change {
            if accounts.by_name(&new.name).is_some() {
                return Err(conflict(format!("name `{0}` is already used by {0}", new.name)));
            }
            let account = self.new_account(new)?;
            accounts.check(&account)?;
            return Ok(Changed::Put(Box::new(account)));
        }
        let known = accounts.by_name(change.user()).ok_or(CommandError::NotFound)?;
        if known.origin == Origin::File {
            return Err(AccountError::InFile(known.name.to_string()).into());
        }
        let mut account = Account::clone(known);
        match change {
            AccountChange::Remove { .. } => return Ok(Changed::Remove(account.name)),
            AccountChange::SetLogin { login, .. } => account.login = phc("login", login.as_ref())?,
            AccountChange::SetPin { pin, .. } => account.pin = phc("pin", pin.as_ref())?,
            AccountChange::AddDevice { device, .. } => {
                if account.device(&device.id).is_some() {
                    return Err(conflict(format!("the user has a device `{}` already", device.id)));
                }
                if account.devices.len() - account.lent().count() >= MAX_DEVICES {
                    return Err(conflict(format!("a user has at most {MAX_DEVICES} devices")));
                }
                account.devices.push(self.new_device(device)?);
            }
            AccountChange::RemoveDevice { device, .. } => {
                let before = account.devices.len();
                account.devices.retain(|known| known.id != *device);
                if account.devices.len() == before {
                    return Err(CommandError::NotFound);
                }
            }
            AccountChange::SetDevicePassword { device, ha1, .. } => {
                let ha1 = self.hashes(ha1, &account.algorithms)?;
                let found = account.devices.iter_mut().find(|known| known.id == *device);
                found.ok_or(CommandError::NotFound)?.ha1 = ha1;
            }
            AccountChange::Add(_) => {}
        }
        accounts.check(&account)?;
        Ok(Changed::Put(Box::new(account)))
    }

    fn new_account(&self, new: &NewUser) -> Result<Account, CommandError> {
        if new.devices.len() > MAX_DEVICES {
            return Err(invalid("devices", format!("a user has at most {MAX_DEVICES}")));
        }
        if let Some(display) = &new.display
            && (display.len() > MAX_DISPLAY || display.chars().any(char::is_control))
        {
            return Err(invalid(
                "display",
                format!("at most {MAX_DISPLAY} bytes without control characters"),
            ));
        }
        Ok(Account {
            name: new.name.clone(),
            display: new.display.clone(),
            extension: new.extension.clone(),
            algorithms: Vec::new(),
            login: phc("login", new.login.as_ref())?,
            admin: false,
            pin: phc("pin", new.pin.as_ref())?,
            hold_off: None,
            watchers: Vec::new(),
            devices: new.devices.iter().map(|device| self.new_device(device)).collect::<Result<_, _>>()?,
            pbx: None,
            origin: Origin::Store,
        })
    }

    pub(super) fn new_device(&self, new: &NewDevice) -> Result<Device, CommandError> {
        Ok(Device {
            id: new.id.clone(),
            auth_user: new.auth_user.clone(),
            ha1: self.hashes(&new.ha1, &[])?,
            trust: match new.trust {
                TrustName::Personal => Trust::Personal,
                TrustName::Shared => Trust::Shared,
            },
            auto_answer: false,
            pull: Pull::Direct,
            tenure: Tenure::Kept,
        })
    }

    /// Digest hashes for every algorithm that the device will be asked for: `own`, else those of the node.
    fn hashes(&self, text: &Ha1Text, own: &[Algorithm]) -> Result<Ha1s, CommandError> {
        let hashes = Ha1s {
            md5: hex("ha1.md5", text.md5.as_ref())?,
            sha256: hex("ha1.sha256", text.sha256.as_ref())?,
            sha512_256: hex("ha1.sha512_256", text.sha512_256.as_ref())?,
        };
        let offered = if own.is_empty() { &*self.core.settings.algorithms } else { own };
        let is_missing = |algorithm: &&Algorithm| match algorithm {
            Algorithm::Md5 => hashes.md5.is_none(),
            Algorithm::Sha256 => hashes.sha256.is_none(),
            Algorithm::Sha512_256 => hashes.sha512_256.is_none(),
        };
        match offered.iter().find(is_missing) {
            Some(missing) => Err(invalid("ha1", format!("the node asks for {}", missing.as_str()))),
            None => Ok(hashes),
        }
    }

    /// The change is stored: it holds from now on, and what it took away ends.
    pub(super) fn apply_account(&mut self, changed: Changed) -> Result<(), CommandError> {
        let now = self.core.now;
        match changed {
            Changed::Put(mut account) => {
                let before = self.core.accounts.by_name(&account.name).cloned();
                // What was lent or came back while the store was asked.
                account.devices.retain(|device| device.tenure == Tenure::Kept);
                account.devices.extend(before.iter().flat_map(|before| before.lent()).cloned());
                let (name, kept) = (account.name.clone(), account.devices.clone());
                let stored = (*account).clone();
                if let Err(error) = self.core.accounts.put(*account) {
                    // The file took what is theirs while the store was asked.
                    self.set_aside(&stored);
                    return Err(error.into());
                }
                let gone = before.iter().flat_map(|before| &before.devices);
                for device in gone.filter(|device| kept.iter().all(|kept| kept.id != device.id)) {
                    self.core.registrar.kick(&name, Some(&device.id), now, &mut self.registrations);
                    self.on_device_removed(&name, Some(&device.id));
                }
            }
            Changed::Remove(name) => {
                self.forget_aside(&name);
                self.core.accounts.remove(&name)?;
                self.core.registrar.kick(&name, None, now, &mut self.registrations);
                self.on_device_removed(&name, None);
            }
        }
        self.review_hot_desks();
        Ok(())
    }
}

/// The account as the store has it: without what is lent to it.
fn kept(account: &Account) -> Box<Account> {
    let mut account = account.clone();
    account.devices.retain(|device| device.tenure == Tenure::Kept);
    Box::new(account)
}

impl From<AccountError> for CommandError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Malformed { what, why, .. } => invalid(what, why),
            AccountError::Taken { .. } | AccountError::InFile(_) => conflict(error.to_string()),
            AccountError::Unknown(_) => Self::NotFound,
        }
    }
}

fn phc(field: &str, secret: Option<&Secret>) -> Result<Option<PhcString>, CommandError> {
    secret.map(|Secret(text)| PhcString::parse(text).map_err(|why| invalid(field, why))).transpose()
}

/// `N` bytes in hexadecimal. The fault names the field, never its value.
fn hex<const N: usize>(field: &str, secret: Option<&Secret>) -> Result<Option<[u8; N]>, CommandError> {
    let Some(Secret(text)) = secret else { return Ok(None) };
    let mut bytes = [0; N];
    let is_hex = text.len() == 2 * N && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    for (at, byte) in bytes.iter_mut().enumerate().filter(|_| is_hex) {
        let digits = text.get(2 * at..2 * at + 2).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    if is_hex {
        Ok(Some(bytes))
    } else {
        Err(invalid(field, format!("{} hexadecimal digits are needed", 2 * N)))
    }
}
