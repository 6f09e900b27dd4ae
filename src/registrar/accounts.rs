//! Users and their devices, found by name, extension, digest identity and device address.
//!
//! Accounts from the configuration file and accounts added at run time live side by side; where they clash,
//! the file wins. No two accounts ever share a name, an extension or a digest identity.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::Pbx;
use crate::sip::digest::{Algorithm, Ha1s};

/// Between a user's name and a device's id in the device's own address: `alice*desk`.
pub const DEVICE_SEPARATOR: char = '*';

/// Longest name of a user, a device or a digest identity.
pub const NAME_LEN: usize = 64;

/// A person (or a room) with handsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user part of the address of record.
    pub name: Box<str>,
    /// Shown to the other side.
    pub display: Option<Box<str>>,
    /// The number that dials this user.
    pub extension: Option<Box<str>>,
    /// Digest algorithms in the order offered; empty: those of the node.
    pub algorithms: Vec<Algorithm>,
    /// Verifies a login at the page and the API.
    pub login: Option<PhcString>,
    /// Whether the login may ask for the scope `admin`.
    pub admin: bool,
    /// Verifies the PIN given at a shared device.
    pub pin: Option<PhcString>,
    /// How long the old device is held off after a move; none: the node's setting.
    pub hold_off: Option<Duration>,
    /// Other users who may watch this user's calls.
    pub watchers: Vec<Box<str>>,
    /// The handsets.
    pub devices: Vec<Device>,
    /// The user's account at a PBX, where the user is behind one.
    pub pbx: Option<Pbx>,
    /// Who wrote the account down.
    pub origin: Origin,
}

/// One handset, or one program that acts as one. Its identity is its digest identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name among the devices of the user.
    pub id: Box<str>,
    /// The digest username; unique in the node.
    pub auth_user: Box<str>,
    /// What its credentials are checked against.
    pub ha1: Ha1s,
    /// Whether holding it proves who holds it.
    pub trust: Trust,
    /// Whether a call that a move brings may answer itself.
    pub auto_answer: bool,
    /// How it gets the call that it asks for by star code.
    pub pull: Pull,
    /// How long the account has it.
    pub tenure: Tenure,
}

/// How long an account has a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tenure {
    /// Until somebody takes it away.
    #[default]
    Kept,
    /// While a session at the page or the API lasts: known to memory only, wherever the account is written down.
    Lent,
}

/// How a device that dials the pull code gets the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// Its INVITE is answered with the call.
    #[default]
    Direct,
    /// Its INVITE is answered 302 with a one-time identifier (RFC 3261 21.3.3), and the INVITE with which it follows
    /// gets the call.
    Redirect,
}

/// Whether the digest identity of a device stands for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Belongs to one person: digest is enough to act as the user.
    Personal,
    /// Stands in a room: acts for a user only after extension and PIN.
    Shared,
}

/// Where an account comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file; not changed at run time.
    File,
    /// Added by command or API, kept in the store.
    Store,
}

/// An argon2id hash in PHC string format, checked for form and for bounded cost. Shown as `…` in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PhcString(Box<str>);

/// Why an account cannot be added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The name, extension, digest identity or device id is not one.
    #[error("{what} `{value}` is not usable: {why}")]
    Malformed {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is taken.
    #[error("{what} `{value}` is already used by {by}")]
    Taken {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: String,
        /// The user that has it.
        by: String,
    },
    /// It is in the file, which is not changed at run time.
    #[error("user `{0}` is in the configuration file: change it there")]
    InFile(String),
    /// There is no such user.
    #[error("no user `{0}`")]
    Unknown(String),
}

/// All accounts of the node.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    by_name: BTreeMap<Box<str>, Arc<Account>>,
    // Keys come from the operator, never from the network: a hash without a seed is safe for look-ups.
    by_extension: FxHashMap<Box<str>, Box<str>>,
    by_auth_user: FxHashMap<Box<str>, (Arc<Account>, usize)>,
    /// How many accounts have which list of algorithms; empty is the list of the node.
    algorithms: BTreeMap<Vec<Algorithm>, u64>,
}

impl Accounts {
    /// Adds an account, or replaces the one of that name.
    ///
    /// # Errors
    /// What clashes, and with whom. An account of the store never replaces one of the file. On error nothing
    /// has changed.
    pub fn put(&mut self, account: Account) -> Result<(), AccountError> {
        self.check(&account)?;
        self.unlink(&account.name);
        if let Some(extension) = &account.extension {
            self.by_extension.insert(extension.clone(), account.name.clone());
        }
        *self.algorithms.entry(account.algorithms.clone()).or_default() += 1;
        let account = Arc::new(account);
        for (index, device) in account.devices.iter().enumerate() {
            self.by_auth_user.insert(device.auth_user.clone(), (Arc::clone(&account), index));
        }
        self.by_name.insert(account.name.clone(), account);
        Ok(())
    }

    /// The list of algorithms that some account has; `draw` says whose, so that lists come as often as they are. What
    /// a name that nobody has is challenged with, so that a challenge does not tell who exists.
    #[must_use]
    pub fn algorithms_of_anyone(&self, draw: u64) -> &[Algorithm] {
        let total: u64 = self.algorithms.values().sum();
        let mut left = draw.checked_rem(total).unwrap_or(0);
        for (list, count) in &self.algorithms {
            if left < *count {
                return list;
            }
            left -= count;
        }
        &[]
    }

    /// Whether [`Accounts::put`] would take the account.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, account: &Account) -> Result<(), AccountError> {
        account.check()?;
        if let Some(old) = self.by_name.get(&account.name)
            && old.origin == Origin::File
            && account.origin == Origin::Store
        {
            return Err(AccountError::InFile(account.name.to_string()));
        }
        self.check_free(account)
    }

    /// Takes an account of the store out.
    ///
    /// # Errors
    /// It is not there, or it is in the file.
    pub fn remove(&mut self, name: &str) -> Result<Arc<Account>, AccountError> {
        match self.by_name.get(name) {
            None => Err(AccountError::Unknown(name.to_owned())),
            Some(account) if account.origin == Origin::File => Err(AccountError::InFile(name.to_owned())),
            Some(_) => self.unlink(name).ok_or_else(|| AccountError::Unknown(name.to_owned())),
        }
    }

    /// Lends a device to a user, whatever the account's origin. A lent device of that id gives way to it.
    ///
    /// # Errors
    /// As [`Accounts::put`], and where there is no such user. On error nothing has changed.
    pub fn lend(&mut self, user: &str, device: Device) -> Result<(), AccountError> {
        let known = self.by_name.get(user).ok_or_else(|| AccountError::Unknown(user.to_owned()))?;
        let mut account = Account::clone(known);
        account.devices.retain(|known| known.tenure == Tenure::Kept || known.id != device.id);
        account.devices.push(Device { tenure: Tenure::Lent, ..device });
        self.put(account)
    }

    /// Takes a lent device back; false where there is none of that id.
    pub fn take_back(&mut self, user: &str, device: &str) -> bool {
        let Some(known) = self.by_name.get(user) else { return false };
        if known.device(device).is_none_or(|device| device.tenure == Tenure::Kept) {
            return false;
        }
        let mut account = Account::clone(known);
        account.devices.retain(|known| *known.id != *device);
        self.put(account).is_ok()
    }

    /// The user of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Account>> {
        self.by_name.get(name)
    }

    /// The user whom that number dials.
    #[must_use]
    pub fn by_extension(&self, extension: &str) -> Option<&Arc<Account>> {
        self.by_name.get(self.by_extension.get(extension)?)
    }

    /// The user that a user part means: by name, else by extension.
    #[must_use]
    pub fn find(&self, user: &str) -> Option<&Arc<Account>> {
        self.by_name(user).or_else(|| self.by_extension(user))
    }

    /// The account with that digest identity, and the place of the device in [`Account::devices`].
    #[must_use]
    pub fn by_auth_user(&self, auth_user: &str) -> Option<(Arc<Account>, usize)> {
        self.by_auth_user.get(auth_user).cloned()
    }

    /// What an address inside the domain means: a user (`alice`, `1001`), or one device of it, by its place in
    /// [`Account::devices`] (`alice*desk`, `1001*desk`).
    #[must_use]
    pub fn by_address(&self, user_part: &str) -> Option<(Arc<Account>, Option<usize>)> {
        let Some((user, device)) = user_part.split_once(DEVICE_SEPARATOR) else {
            return Some((Arc::clone(self.find(user_part)?), None));
        };
        let account = self.find(user)?;
        let index = account.devices.iter().position(|d| *d.id == *device)?;
        Some((Arc::clone(account), Some(index)))
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.by_name.values()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    fn check_free(&self, account: &Account) -> Result<(), AccountError> {
        let taken = |what, value: &str, by: &str| {
            Err(AccountError::Taken { what, value: value.to_owned(), by: by.to_owned() })
        };
        if let Some(by) = self.by_extension.get(&account.name)
            && **by != *account.name
        {
            return taken("name", &account.name, by);
        }
        if let Some(extension) = &account.extension {
            let holder = self
                .by_extension
                .get(extension)
                .or_else(|| self.by_name.get_key_value(extension).map(|(name, _)| name));
            if let Some(by) = holder.filter(|by| ***by != *account.name) {
                return taken("extension", extension, by);
            }
        }
        for device in &account.devices {
            if let Some((by, _)) = self.by_auth_user.get(&device.auth_user)
                && by.name != account.name
            {
                return taken("auth_user", &device.auth_user, &by.name);
            }
        }
        Ok(())
    }

    fn unlink(&mut self, name: &str) -> Option<Arc<Account>> {
        let account = self.by_name.remove(name)?;
        if let Some(extension) = &account.extension {
            self.by_extension.remove(extension);
        }
        for device in &account.devices {
            self.by_auth_user.remove(&device.auth_user);
        }
        if let Some(count) = self.algorithms.get_mut(&account.algorithms) {
            *count -= 1;
        }
        self.algorithms.retain(|_, count| *count > 0);
        Some(account)
    }
}

impl Account {
    /// What others dial to reach the user: the extension, else the name.
    #[must_use]
    pub fn number(&self) -> &str {
        self.extension.as_deref().unwrap_or(&self.name)
    }

    /// What others see of the user; empty where nothing is set.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.display.as_deref().unwrap_or_default()
    }

    /// The device of that id.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<&Device> {
        self.devices.iter().find(|d| *d.id == *id)
    }

    /// The devices that are lent to it, the one that was lent first in front.
    pub fn lent(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.tenure == Tenure::Lent)
    }

    /// Names that can be an address, and no device or digest identity twice.
    fn check(&self) -> Result<(), AccountError> {
        let malformed =
            |what, value: &str, why| Err(AccountError::Malformed { what, value: value.to_owned(), why });
        if let Err(why) = check_name(&self.name) {
            return malformed("name", &self.name, why);
        }
        if let Some(extension) = &self.extension
            && let Err(why) = check_extension(extension)
        {
            return malformed("extension", extension, why);
        }
        for (index, device) in self.devices.iter().enumerate() {
            if let Err(why) = check_name(&device.id) {
                return malformed("device", &device.id, why);
            }
            if let Err(why) = check_name(&device.auth_user) {
                return malformed("auth_user", &device.auth_user, why);
            }
            let before = self.devices.get(..index).unwrap_or_default();
            if before.iter().any(|d| d.id == device.id) {
                return malformed("device", &device.id, "the user has two devices of this name");
            }
            if before.iter().any(|d| d.auth_user == device.auth_user) {
                return malformed("auth_user", &device.auth_user, "two devices of the user share it");
            }
        }
        Ok(())
    }
}

/// Whether `name` can be a user, a device or a digest identity: part of an address without escapes, and
/// nothing that a star code or a device address could mean.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_LEN {
        return Err("1 to 64 characters are needed");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+~".contains(&b)) {
        return Err("only letters, digits and - _ . + ~ are allowed");
    }
    Ok(())
}

/// Whether `extension` can be dialled on every phone.
///
/// # Errors
/// What is wrong with it.
pub fn check_extension(extension: &str) -> Result<(), &'static str> {
    if !(1..=15).contains(&extension.len()) || !extension.bytes().all(|b| b.is_ascii_digit()) {
        return Err("1 to 15 digits are needed");
    }
    Ok(())
}

impl PhcString {
    /// Most memory that one verification may take, KiB: a typing error must not become an outage.
    pub const MAX_MEMORY_KIB: u32 = 1 << 20;

    /// Checks form and cost: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split('$');
        if parts.next() != Some("") || parts.next() != Some("argon2id") {
            return Err("an $argon2id$ hash is needed (make one with `segue hash`)");
        }
        let (Some("v=19"), Some(cost), Some(salt), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("the form is $argon2id$v=19$m=…,t=…,p=…$salt$hash");
        };
        Self::check_cost(cost)?;
        let base64 = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
        if !base64(salt) || !(11..=64).contains(&salt.len()) {
            return Err("the salt is not base64 of 8 to 48 bytes");
        }
        if !base64(hash) || !(22..=86).contains(&hash.len()) {
            return Err("the hash is not base64 of 16 to 64 bytes");
        }
        Ok(Self(text.into()))
    }

    /// The whole string, for the verifier and the store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check_cost(cost: &str) -> Result<(), &'static str> {
        let mut numbers = cost.split(',').map(|pair| pair.split_once('='));
        let mut take = |key: &str| match numbers.next() {
            Some(Some((k, v))) if k == key => v.parse::<u32>().ok(),
            _ => None,
        };
        let (Some(m), Some(t), Some(p)) = (take("m"), take("t"), take("p")) else {
            return Err("the cost is not m=…,t=…,p=…");
        };
        if numbers.next().is_some() {
            return Err("the cost is not m=…,t=…,p=…");
        }
        if !(1..=16).contains(&p) || m < 8 * p || m > Self::MAX_MEMORY_KIB || !(1..=64).contains(&t) {
            return Err("the cost is out of range (m up to 1 GiB, t up to 64, p up to 16)");
        }
        Ok(())
    }
}

impl fmt::Debug for PhcString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhcString(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, extension: &str, devices: &[&str], origin: Origin) -> Account {
        let device = |id: &&str| Device {
            id: (*id).into(),
            auth_user: format!("{name}-{id}").into(),
            ha1: Ha1s::default(),
            trust: Trust::Personal,
            auto_answer: false,
            pull: Pull::Direct,
            tenure: Tenure::Kept,
        };
        Account {
            name: name.into(),
            display: None,
            extension: (!extension.is_empty()).then(|| extension.into()),
            algorithms: Vec::new(),
            login: None,
            admin: false,
            pin: None,
            hold_off: None,
            watchers: Vec::new(),
            devices: devices.iter().map(device).collect(),
            pbx: None,
            origin,
        }
    }

    fn two() -> Accounts {
        let mut accounts = Accounts::default();
        accounts.put(account("alice", "1001", &["desk", "mobile"], Origin::File)).unwrap();
        accounts.put(account("bob", "1002", &["desk"], Origin::Store)).unwrap();
        accounts
    }

    #[test]
    fn users_are_found_by_name_extension_identity_and_device_address() {
        let accounts = two();
        let address = |text: &str| {
            accounts.by_address(text).map(|(account, device)| (account.name.to_string(), device))
        };
        assert_eq!(address("alice"), Some(("alice".into(), None)));
        assert_eq!(address("1001"), Some(("alice".into(), None)));
        assert_eq!(address("alice*mobile"), Some(("alice".into(), Some(1))));
        assert_eq!(address("1001*desk"), Some(("alice".into(), Some(0))));
        for nobody in ["alice*", "*desk", "alice*tablet", "Alice", "", "*11", "bob*desk*"] {
            assert_eq!(address(nobody), None, "{nobody}");
        }
        let (account, device) = accounts.by_auth_user("alice-mobile").unwrap();
        assert_eq!((&*account.name, &*account.devices[device].id), ("alice", "mobile"));
        assert!(accounts.by_auth_user("alice").is_none());
    }

    #[test]
    fn nothing_is_given_out_twice_and_a_refusal_changes_nothing() {
        let mut accounts = two();
        let mut refused = |account: Account, what: &str| {
            let error = accounts.put(account).unwrap_err().to_string();
            assert!(error.starts_with(what), "{error}");
        };
        refused(account("carol", "1001", &[], Origin::Store), "extension");
        refused(account("1001", "", &[], Origin::Store), "name");
        refused(account("carol", "", &["a", "a"], Origin::Store), "device");
        refused(account("alice", "1009", &[], Origin::Store), "user `alice` is in the configuration file");
        refused(account("ali*ce", "", &[], Origin::Store), "name");
        refused(account("", "", &[], Origin::Store), "name");
        refused(account("carol", "10x", &[], Origin::Store), "extension");
        let mut stolen = account("carol", "", &["desk"], Origin::Store);
        stolen.devices[0].auth_user = "bob-desk".into();
        refused(stolen, "auth_user");
        assert_eq!(accounts.len(), 2);
        assert!(accounts.by_auth_user("bob-desk").is_some());
        // A number may not be both a name and another's extension, whichever came first.
        accounts.put(account("2000", "", &[], Origin::Store)).unwrap();
        assert!(accounts.put(account("carol", "2000", &[], Origin::Store)).is_err());
    }

    #[test]
    fn a_replaced_account_leaves_no_trace() {
        let mut accounts = two();
        accounts.put(account("bob", "1003", &["mobile"], Origin::Store)).unwrap();
        assert!(accounts.by_extension("1002").is_none() && accounts.by_auth_user("bob-desk").is_none());
        assert_eq!(&*accounts.find("1003").unwrap().name, "bob");
        assert!(matches!(accounts.remove("alice"), Err(AccountError::InFile(_))));
        assert!(matches!(accounts.remove("carol"), Err(AccountError::Unknown(_))));
        accounts.remove("bob").unwrap();
        assert!(accounts.by_auth_user("bob-mobile").is_none() && accounts.by_extension("1003").is_none());
        assert_eq!(accounts.iter().map(|a| &*a.name).collect::<Vec<_>>(), ["alice"]);
    }

    #[test]
    fn password_hashes_are_checked_for_form_and_cost() {
        const SALT: &str = "c29tZXNhbHRzb21l";
        const HASH: &str = "RdescudvJCsgt3ub+b4dWRWJTmaaJObGRdescudvJCs";
        let phc = |algorithm: &str, cost: &str, salt: &str, hash: &str| {
            PhcString::parse(&format!("${algorithm}$v=19${cost}${salt}${hash}"))
        };
        assert!(phc("argon2id", "m=19456,t=2,p=1", SALT, HASH).is_ok());
        assert!(phc("argon2i", "m=19456,t=2,p=1", SALT, HASH).is_err());
        for cost in [
            "",
            "m=19456",
            "m=4294967295,t=2,p=1",
            "m=19456,t=0,p=1",
            "m=19456,t=9999,p=1",
            "m=8,t=1,p=2",
            "t=2,m=19456,p=1",
            "m=19456,t=2,p=1,x=1",
        ] {
            assert!(phc("argon2id", cost, SALT, HASH).is_err(), "{cost}");
        }
        assert!(phc("argon2id", "m=19456,t=2,p=1", "short", HASH).is_err());
        assert!(phc("argon2id", "m=19456,t=2,p=1", SALT, "tooshort").is_err());
        assert!(phc("argon2id", "m=19456,t=2,p=1", SALT, "RdescudvJCsgt3ub b4dWRWJTmaa").is_err());
        for text in ["", "secret", "$argon2id$", "$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHRzb21l$x"] {
            assert!(PhcString::parse(text).is_err(), "{text}");
        }
        let debug = format!("{:?}", phc("argon2id", "m=19456,t=2,p=1", SALT, HASH).unwrap());
        assert!(!debug.contains("c29t"));
    }
}
