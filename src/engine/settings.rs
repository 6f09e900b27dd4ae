//! Everything the engine takes from the configuration.

use std::net::IpAddr;
use std::time::Duration;

use crate::sip::transaction;
use crate::wire::sip::Limits;

/// When a source of wrong credentials is no longer listened to.
#[derive(Clone, Debug)]
pub struct Ban {
    /// Failures within the window.
    pub failures: u32,
    /// The window.
    pub window: Duration,
    /// How long the source is ignored.
    pub ban: Duration,
    /// Networks that are never banned (address, prefix length).
    pub allow: Vec<(IpAddr, u8)>,
    /// Messages a second of a source over UDP and TCP that has not shown who it is; 0: no bound.
    pub strangers: u32,
}

impl Default for Ban {
    fn default() -> Self {
        let allow = vec![(IpAddr::from([127, 0, 0, 0]), 8)];
        let (window, ban) = (Duration::from_secs(60), Duration::from_secs(600));
        Self { failures: 10, window, ban, allow, strangers: 100 }
    }
}

/// The engine's settings, each layer's its own.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Caps of the parser.
    pub limits: Limits,
    /// Transactions.
    pub transactions: transaction::Settings,
    /// The registrar.
    pub registrar: crate::registrar::Settings,
    /// Calls.
    pub call: crate::call::settings::Settings,
    /// Moves.
    pub moving: crate::moving::Settings,
    /// Bans.
    pub ban: Ban,
    /// What is kept of the messages of calls.
    pub trace: super::trace::Settings,
    /// What a capture server is told.
    pub capture: super::capture::Settings,
    /// The realm of challenges, under which every HA1 was made.
    pub realm: Box<str>,
    /// Makes the Contacts of users at a PBX, which nobody else can tell: the same after each start.
    pub contact_key: [u8; 32],
}
