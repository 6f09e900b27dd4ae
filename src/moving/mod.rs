//! Moving a live call between a user's handsets: grant, machine, hold-off, directory, identifiers, timeline.
//!
//! Every door (star code, Replaces, token URI, REFER, HTTP, command line) ends in [`grant::authorise`]; the
//! [`grant::MoveGrant`] it makes is the only thing that [`machine::Move::begin`] accepts. The modules are pure:
//! they know calls and legs by key, devices by name, time as an argument, and touch nothing themselves.

pub mod directory;
pub mod grant;
pub mod hold_off;
pub mod identifier;
pub mod machine;
pub mod refusal;
pub mod replaces;
mod settings;
pub mod snapshot;
pub mod star_code;
pub mod timeline;

use std::fmt;
use std::sync::Arc;

pub use refusal::Refusal;
pub use settings::{Follow, Notice, ReInvite, ReplacesMode, SelectPolicy, Settings};

/// A call of this node: the bits of its handle in the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallKey(pub u64);

/// A leg of this node: the bits of its handle in the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LegKey(pub u64);

/// The identity of a handset: a user and one of the user's devices. It is the digest identity, so it stays the
/// same over new addresses, ports, Call-IDs and registrations. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey {
    user: Arc<str>,
    device: Arc<str>,
}

impl DeviceKey {
    /// `device` of `user`, by their names in the accounts.
    #[must_use]
    pub fn new(user: impl Into<Arc<str>>, device: impl Into<Arc<str>>) -> Self {
        Self { user: user.into(), device: device.into() }
    }

    /// The user's name.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The user's name, to be kept.
    #[must_use]
    pub fn shared_user(&self) -> Arc<str> {
        Arc::clone(&self.user)
    }

    /// The device's name within the user.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }
}

impl fmt::Display for DeviceKey {
    /// The address of the device: `alice*desk`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{}", self.user, self.device)
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How a move was asked for; the `trigger` of records, events and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The new device dialled the pull code.
    StarCode,
    /// The new device sent INVITE with Replaces.
    Replaces,
    /// The new device called a token URI (lamp target or 302).
    Token,
    /// The old device sent REFER to another device.
    Refer,
    /// The old device dialled the push code from a second line.
    PushCode,
    /// The new device picked up a call that rang elsewhere.
    Pickup,
    /// `POST /v1/moves` or the page.
    Http,
    /// The command line.
    Cli,
    /// Undo of an earlier move.
    Undo,
    /// The user signed in at the new device.
    Follow,
    /// The device that has the call replaced its own leg after it lost its network.
    Repair,
}

impl Trigger {
    /// The name in metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StarCode => "star_code",
            Self::Replaces => "replaces",
            Self::Token => "token",
            Self::Refer => "refer",
            Self::PushCode => "push_code",
            Self::Pickup => "pickup",
            Self::Http => "http",
            Self::Cli => "cli",
            Self::Undo => "undo",
            Self::Follow => "follow",
            Self::Repair => "repair",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_key_shows_its_address_and_orders_by_user_first() {
        let desk = DeviceKey::new("alice", "desk");
        assert_eq!(desk.to_string(), "alice*desk");
        assert!(desk < DeviceKey::new("bob", "a"));
        assert_eq!(desk, DeviceKey::new(String::from("alice"), String::from("desk")));
    }
}
