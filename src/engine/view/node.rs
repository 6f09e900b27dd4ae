//! The node itself, and whom it does not listen to.

use serde::{Deserialize, Serialize};

use super::{Listed, Order, Time};

/// How the node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its id.
    pub node: String,
    /// Its domain.
    pub domain: String,
    /// The realm of digest, under which hashes of passwords are made.
    pub realm: String,
    /// Version of the program.
    pub version: String,
    /// When it started.
    pub started: Time,
    /// Seconds since then.
    pub uptime_s: u64,
    /// Whether it refuses new calls.
    pub draining: bool,
    /// Percent of new calls that are refused because the node cannot keep up.
    #[serde(default)]
    pub overload_percent: u8,
    /// Where it listens: `udp://127.0.0.1:5060`.
    pub listeners: Vec<String>,
    /// Signalling workers.
    pub workers: u32,
    /// Whether browsers can have calls: there is a port for their media.
    pub browsers: bool,
    /// What becomes of the live call of a user who signs in elsewhere: `move.follow`.
    pub follow: String,
    /// Calls that ring.
    pub calls_ringing: u64,
    /// Calls that are answered.
    pub calls_answered: u64,
    /// Calls whose speech is converted, for want of a common codec.
    pub calls_transcoded: u64,
    /// Shared devices at which somebody is signed in.
    #[serde(default)]
    pub hot_desks: u64,
    /// Moves under way.
    pub moves: u64,
    /// Bindings.
    pub registrations: u64,
    /// Users.
    pub users: u64,
    /// Free RTP port pairs.
    pub ports_free: u64,
    /// RTP port pairs in use.
    pub ports_used: u64,
    /// RTP port pairs in quarantine.
    pub ports_quarantined: u64,
    /// `ok`, or what is wrong with the store.
    pub store: String,
}

impl StatusView {
    /// The status of the node from those of its workers: what is counted per worker is added up.
    pub fn add(&mut self, other: &Self) {
        self.workers += other.workers;
        self.calls_ringing += other.calls_ringing;
        self.calls_answered += other.calls_answered;
        self.calls_transcoded += other.calls_transcoded;
        self.hot_desks += other.hot_desks;
        self.moves += other.moves;
        self.registrations += other.registrations;
        self.ports_free += other.ports_free;
        self.ports_used += other.ports_used;
        self.ports_quarantined += other.ports_quarantined;
        self.draining |= other.draining;
        self.overload_percent = self.overload_percent.max(other.overload_percent);
        if self.store == "ok" {
            self.store.clone_from(&other.store);
        }
    }
}

/// A source that is not listened to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BanView {
    /// The address; of IPv6 the first of a network.
    pub address: String,
    /// Bits of the address that count: 32, or 64 of IPv6.
    pub prefix: u8,
    /// When it is listened to again.
    pub until: Time,
    /// Seconds until then.
    pub seconds: u64,
}

impl Listed for BanView {
    const ORDER: Order = Order::Ascending;

    fn key(&self) -> String {
        self.address.clone()
    }
}
