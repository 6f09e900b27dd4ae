//! Hot desks: which user is signed in at which shared device, and until when.
//!
//! A sign-in ends by the monotonic clock; calendar time is kept beside it only to carry it over a restart. A device has one
//! user at a time, and a user one device: who forgot to sign out has done so by signing in elsewhere. So there are never
//! more entries than shared devices in the accounts.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::accounts::PhcString;
use crate::base::{Now, Timestamp, UnixMillis};

/// No sign-in is longer, whatever a row or a setting says.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A user who is signed in at a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The user.
    pub user: Box<str>,
    /// By which PIN: [`proof_of`] it. With another one the sign-in is over.
    pub proof: Box<str>,
    /// Since when.
    pub since: UnixMillis,
    /// For how long, ms.
    pub length_ms: u64,
}

impl SignIn {
    /// Until when, unless it is ended before.
    #[must_use]
    pub const fn until(&self) -> UnixMillis {
        UnixMillis(self.since.0.saturating_add(self.length_ms))
    }
}

/// A shared device in the form of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedDesk {
    /// Its address: `rooms*lobby`.
    pub device: Box<str>,
    /// Who is signed in there; `None`: nobody any more.
    pub sign_in: Option<SignIn>,
}

struct Desk {
    sign_in: SignIn,
    ends: Timestamp,
}

/// The hot desks of a node.
///
/// ```
/// use segue::base::{Now, Timestamp, UnixMillis};
/// use segue::registrar::hot_desk::{HotDesks, SignIn};
/// let (mut desks, now) = (HotDesks::default(), Now { at: Timestamp::ZERO, unix: UnixMillis(0) });
/// let sign_in = SignIn { user: "alice".into(), proof: "…".into(), since: now.unix, length_ms: 1000 };
/// assert!(desks.put(now, "rooms*lobby", sign_in));
/// assert_eq!(desks.user_at("rooms", "lobby"), Some("alice"));
/// assert_eq!(desks.desk_of("alice"), Some("rooms*lobby"));
/// ```
#[derive(Default)]
pub struct HotDesks {
    desks: BTreeMap<Box<str>, Desk>,
    by_user: BTreeMap<Box<str>, Box<str>>,
}

impl HotDesks {
    /// Signs a user in at a device, or takes up what the store had; the user is signed out elsewhere, and who was signed in
    /// there is not any more. False where its time is over. A wall clock that went back makes it no longer than it was.
    pub fn put(&mut self, now: Now, device: &str, sign_in: SignIn) -> bool {
        let length = Duration::from_millis(sign_in.length_ms).min(LONGEST);
        let gone = Duration::from_millis(now.unix.0.saturating_sub(sign_in.since.0));
        let left = length.saturating_sub(gone);
        if left.is_zero() {
            return false;
        }
        if let Some(former) = self.by_user.get(&sign_in.user).cloned() {
            self.remove(&former);
        }
        self.remove(device);
        self.by_user.insert(sign_in.user.clone(), device.into());
        self.desks.insert(device.into(), Desk { sign_in, ends: now.at + left });
        true
    }

    /// Signs out whoever is signed in at a device.
    pub fn remove(&mut self, device: &str) -> Option<SignIn> {
        let desk = self.desks.remove(device)?;
        self.by_user.remove(&desk.sign_in.user);
        Some(desk.sign_in)
    }

    /// The sign-in at a device, by its address.
    #[must_use]
    pub fn at(&self, device: &str) -> Option<&SignIn> {
        self.desks.get(device).map(|desk| &desk.sign_in)
    }

    /// The user who is signed in at a device of an account.
    #[must_use]
    pub fn user_at(&self, account: &str, device: &str) -> Option<&str> {
        if self.desks.is_empty() {
            return None;
        }
        let address = [account, device].join("*");
        self.at(&address).map(|sign_in| &*sign_in.user)
    }

    /// The address of the device at which a user is signed in.
    #[must_use]
    pub fn desk_of(&self, user: &str) -> Option<&str> {
        self.by_user.get(user).map(|device| &**device)
    }

    /// All, by the address of the device.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SignIn)> {
        self.desks.iter().map(|(device, desk)| (&**device, &desk.sign_in))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.desks.len()
    }

    /// Whether nobody is signed in anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.desks.is_empty()
    }

    /// When the next one is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.desks.values().map(|desk| desk.ends).min()
    }

    /// A device at which the time of whoever is signed in is over.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<Box<str>> {
        let mut over = self.desks.iter().filter(|(_, desk)| desk.ends <= now);
        over.next().map(|(device, _)| device.clone())
    }
}

/// What tells one PIN from another without telling either: SHA-256 of the hash with its salt, in hexadecimal.
#[must_use]
pub fn proof_of(pin: &PhcString) -> Box<str> {
    use std::fmt::Write as _;
    let digest = Sha256::digest(pin.as_str().as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
        .into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(seconds: u64) -> Now {
        Now { at: Timestamp::from_micros(seconds * 1_000_000), unix: UnixMillis(9_000_000 + seconds * 1000) }
    }

    fn sign_in(user: &str, since: u64) -> SignIn {
        SignIn { user: user.into(), proof: "p".into(), since: now(since).unix, length_ms: 3_600_000 }
    }

    #[test]
    fn a_device_has_one_user_and_a_user_one_device() {
        let mut desks = HotDesks::default();
        assert!(desks.put(now(0), "rooms*lobby", sign_in("alice", 0)));
        assert!(desks.put(now(1), "rooms*attic", sign_in("alice", 1)));
        assert_eq!((desks.user_at("rooms", "lobby"), desks.desk_of("alice")), (None, Some("rooms*attic")));
        assert!(desks.put(now(2), "rooms*attic", sign_in("bob", 2)));
        assert_eq!((desks.desk_of("alice"), desks.desk_of("bob")), (None, Some("rooms*attic")));
        assert_eq!(desks.len(), 1);
        assert_eq!(desks.remove("rooms*attic").map(|gone| gone.user), Some("bob".into()));
        assert!(desks.is_empty() && desks.by_user.is_empty() && desks.remove("rooms*attic").is_none());
    }

    #[test]
    fn a_restart_keeps_what_is_left_and_a_clock_that_went_back_adds_nothing() {
        let mut desks = HotDesks::default();
        // A new monotonic clock, 3000 s of calendar time later.
        let later = Now { at: Timestamp::from_micros(5_000_000), unix: now(3000).unix };
        assert!(desks.put(later, "rooms*lobby", sign_in("alice", 0)));
        assert_eq!(desks.poll_timeout(), Some(Timestamp::from_micros(605_000_000)));
        assert_eq!(desks.due(Timestamp::from_micros(604_999_999)), None);
        assert_eq!(desks.due(Timestamp::from_micros(605_000_000)).as_deref(), Some("rooms*lobby"));
        let before = Now { at: Timestamp::ZERO, unix: UnixMillis(0) };
        assert!(desks.put(before, "rooms*lobby", sign_in("alice", 0)));
        assert_eq!(desks.poll_timeout(), Some(Timestamp::from_micros(3_600_000_000)));
        assert!(!desks.put(now(3600), "rooms*attic", sign_in("bob", 0)), "over");
        let endless = SignIn { length_ms: u64::MAX, ..sign_in("bob", 0) };
        assert_eq!(endless.until(), UnixMillis(u64::MAX));
        assert!(desks.put(now(0), "rooms*attic", endless));
        assert!(desks.desks["rooms*attic"].ends <= now(0).at + LONGEST);
    }
}
