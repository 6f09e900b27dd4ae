//! Who may still try a password.
//!
//! A wrong one counts three times: against its source, which is banned after so many; against the identity that it was
//! for, of which strangers all over the world have one budget; and against all identities together. Beyond a budget
//! nobody looks at the credentials: whoever tries is told to come back, whatever the password, and whether or not
//! there is such an identity.
//!
//! None of it reaches who has proved the identity. The address and port that did has a budget of its own, and so has the
//! source: a phone that comes back from another port. A proof is of one identity, and shields no other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::budget::{Budgets, KIND, Limit};
use super::sources::{Sources, source_of};
use super::strangers::Strangers;
use crate::base::{Now, Timestamp};
use crate::engine::settings::Ban;
use crate::engine::store::FailureCounter;

/// One identity, by strangers, by who has proved it, or from where it was proved: 1440 a day, which is nothing against a
/// password that no list has. A phone with an old password that tries every minute stays within it.
const IDENTITY: Limit = Limit { burst: 20, refill: Duration::from_secs(60) };
/// All identities, by strangers: a hundred sources that each go on until they are banned, and then fifty tries a second.
/// A site whose phones have old passwords, and try once a minute, has three thousand of them before this is a brake.
const ALL: Limit = Limit { burst: 1000, refill: Duration::from_millis(20) };
/// The key of the latter in the store.
const ALL_KEY: &str = "all";
/// How often it is logged that it brakes.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// How much of a name makes a key.
const KEY_LEN: usize = 64;
/// Proofs that are remembered, of peers and of sources each.
const MAX_PROVED: usize = 131_072;
/// How long a proof holds: the longest registration.
const PROOF: Duration = Duration::from_secs(7200);
/// How often a full table of proofs is looked through for those that hold no more.
const SWEEP: Duration = Duration::from_secs(60);

/// An identity that somebody claimed, as a number that nobody else can make.
type Identity = u64;
type Proofs<Place> = BTreeMap<(Place, Identity), Timestamp>;

/// Failures, and who is banned or slowed down for them.
pub struct Bans {
    sources: Sources,
    /// How much is sent by who has not shown who it is.
    strangers: Strangers,
    /// By `account NAME`, `peer ADDRESS NAME` and `place ADDRESS NAME`.
    budgets: Budgets,
    /// When the budget of all strangers is full again.
    all: Timestamp,
    all_changed: bool,
    braked: Option<Timestamp>,
    /// Who has proved which identity, until when that counts.
    peers: Proofs<SocketAddr>,
    /// And from where.
    places: Proofs<IpAddr>,
    swept: Timestamp,
    key: [u8; 32],
}

/// What a wrong password led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Failed {
    /// The source is banned from now on.
    pub(super) is_banned: bool,
    /// It was the last one of its budget.
    pub(super) is_last: bool,
    /// It was the last one that strangers have, and that is news.
    pub(super) is_brake: bool,
}

impl Bans {
    /// With what was counted before a restart, of the rows of all kinds. `key` is secret.
    #[must_use]
    pub fn new(settings: Ban, rows: &[FailureCounter], now: Now, key: [u8; 32]) -> Self {
        let mut bans = Self {
            sources: Sources::new(settings),
            strangers: Strangers::default(),
            budgets: Budgets::new(IDENTITY),
            all: Timestamp::ZERO,
            all_changed: false,
            braked: None,
            peers: BTreeMap::new(),
            places: BTreeMap::new(),
            swept: now.at,
            key,
        };
        for row in rows.iter().filter(|row| &*row.kind == KIND) {
            match row.key.split_once(' ') {
                Some(("source", ip)) => {
                    if let Ok(ip) = ip.parse() {
                        bans.sources.restore(now, ip, row);
                    }
                }
                Some(_) => bans.budgets.restore(now, row),
                None if *row.key == *ALL_KEY => bans.all = ALL.restored(now, row),
                None => {}
            }
        }
        bans
    }

    /// Counts by other bounds from now on. Who is banned stays so, unless it is never banned by now.
    pub(in crate::engine) fn follow(&mut self, settings: Ban) {
        self.sources.follow(settings);
    }

    /// Whether nothing of `peer` is listened to now, whoever it claims to be.
    #[must_use]
    pub fn is_banned(&self, now: Timestamp, peer: SocketAddr) -> bool {
        self.is_source_banned(now, peer) && !self.has_proved_any(now, peer)
    }

    pub(in crate::engine) fn is_source_banned(&self, now: Timestamp, peer: SocketAddr) -> bool {
        self.sources.is_banned(now, peer.ip())
    }

    /// Counts a message; false if its source has sent more than a stranger may.
    pub(in crate::engine) fn has_rate(&mut self, now: Timestamp, peer: SocketAddr) -> bool {
        self.strangers.take(now, source_of(peer.ip()), self.sources.strangers())
    }

    /// Whether `peer` has proved to be somebody, or is never banned.
    pub(in crate::engine) fn is_known(&self, now: Timestamp, peer: SocketAddr) -> bool {
        self.has_proved_any(now, peer) || self.sources.is_allowed(peer.ip())
    }

    /// Whether it is long ago that it was told that messages are dropped.
    pub(in crate::engine) fn is_news(&mut self, now: Timestamp) -> bool {
        self.strangers.is_news(now, SAY_AGAIN)
    }

    fn has_proved_any(&self, now: Timestamp, peer: SocketAddr) -> bool {
        let mut proofs = self.peers.range((peer, Identity::MIN)..=(peer, Identity::MAX));
        proofs.any(|(_, until)| *until > now)
    }

    /// Whether `peer` has proved to be `name`, not long ago.
    #[must_use]
    pub fn has_proved(&self, now: Timestamp, peer: SocketAddr, name: &str) -> bool {
        self.peers.get(&(peer, self.identity(name))).is_some_and(|until| *until > now)
    }

    /// A peer has shown right credentials of `name`.
    pub fn prove(&mut self, now: Timestamp, peer: SocketAddr, name: &str) {
        let identity = self.identity(name);
        let is_full = |len: usize| len >= MAX_PROVED;
        if (is_full(self.peers.len()) || is_full(self.places.len())) && self.swept + SWEEP <= now {
            self.swept = now;
            self.peers.retain(|_, until| *until > now);
            self.places.retain(|_, until| *until > now);
        }
        remember(&mut self.peers, (peer, identity), now + PROOF);
        remember(&mut self.places, (source_of(peer.ip()), identity), now + PROOF);
    }

    /// How long nobody looks at credentials of `name` that come from `peer`.
    #[must_use]
    pub fn wait(&self, now: Timestamp, peer: SocketAddr, name: &str) -> Option<Duration> {
        self.budget(now, peer, name).err()
    }

    /// Whether everybody's credentials are looked at: the common case, which costs nothing.
    pub(in crate::engine) fn is_quiet(&self, now: Timestamp) -> bool {
        self.budgets.is_empty() && ALL.wait(now, self.all).is_none()
    }

    /// The key of the budget that a try is charged to, and whether it is one of strangers; else how long to wait.
    fn budget(&self, now: Timestamp, peer: SocketAddr, name: &str) -> Result<(String, bool), Duration> {
        let (identity, source) = (self.identity(name), source_of(peer.ip()));
        let name: String = name.chars().take(KEY_LEN).collect();
        let is_live = |until: Option<&Timestamp>| until.is_some_and(|until| *until > now);
        let own = [
            (is_live(self.peers.get(&(peer, identity))), format!("peer {peer} {name}")),
            (is_live(self.places.get(&(source, identity))), format!("place {source} {name}")),
        ];
        for (is_known, key) in own {
            if is_known && self.budgets.wait(now, &key).is_none() {
                return Ok((key, false));
            }
        }
        let key = account_key(&name);
        let waits = [self.budgets.wait(now, &key), ALL.wait(now, self.all)];
        waits.into_iter().flatten().max().map_or(Ok((key, true)), Err)
    }

    /// Counts wrong credentials of `name`.
    pub(super) fn fail(&mut self, now: Timestamp, peer: SocketAddr, name: &str) -> Failed {
        // Nothing is judged for which there is no budget.
        let Ok((key, is_stranger)) = self.budget(now, peer, name) else { return Failed::default() };
        let mut failed = Failed {
            is_last: self.budgets.charge(now, &key),
            is_banned: self.sources.fail(now, peer.ip()),
            is_brake: false,
        };
        if is_stranger {
            self.all = ALL.charged(now, self.all);
            self.all_changed = true;
            let is_news = self.braked.is_none_or(|said| said + SAY_AGAIN <= now);
            failed.is_brake = is_news && ALL.wait(now, self.all).is_some();
            if failed.is_brake {
                self.braked = Some(now);
            }
        }
        failed
    }

    /// What the store is to remember of what has happened since last asked.
    pub(in crate::engine) fn take_rows(&mut self, now: Now) -> Vec<FailureCounter> {
        let mut rows = Vec::new();
        self.sources.take_rows(now, &mut rows);
        self.budgets.take_rows(now, &mut rows);
        if std::mem::take(&mut self.all_changed) {
            rows.push(ALL.row(now, ALL_KEY, self.all));
        }
        rows
    }

    /// Sources that are banned now, with the time left.
    pub fn banned(&self, now: Timestamp) -> impl Iterator<Item = (IpAddr, Duration)> {
        self.sources.banned(now)
    }

    /// Listens to a source again, and forgets its failures; false if it was not banned.
    pub fn lift(&mut self, now: Timestamp, ip: IpAddr) -> bool {
        self.sources.lift(now, ip)
    }

    fn identity(&self, name: &str) -> Identity {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(b"identity:");
        hash.update(name.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        digest.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

fn account_key(name: &str) -> String {
    format!("account {name}")
}

/// A full table takes nothing new: who is in it is there by a password.
fn remember<Place: Ord>(proofs: &mut Proofs<Place>, key: (Place, Identity), until: Timestamp) {
    if proofs.len() < MAX_PROVED || proofs.contains_key(&key) {
        proofs.insert(key, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixMillis;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn now(second: u64) -> Now {
        Now { at: at(second), unix: UnixMillis(9_000_000 + second * 1000) }
    }

    fn peer(number: u32) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::from_bits(0xc633_6400 + number).into(), 5060)
    }

    fn bans(rows: &[FailureCounter], now: Now) -> Bans {
        Bans::new(Ban::default(), rows, now, [7; 32])
    }

    /// How many wrong tries of a name are looked at, each from another place.
    fn tries(bans: &mut Bans, second: u64, from: u32, name: &str) -> u32 {
        let mut looked_at = 0;
        for number in 0..100 {
            let peer = peer(from + number);
            if bans.wait(at(second), peer, name).is_none() {
                bans.fail(at(second), peer, name);
                looked_at += 1;
            }
        }
        looked_at
    }

    #[test]
    fn strangers_have_one_budget_and_who_proved_it_another() {
        let mut bans = bans(&[], now(1));
        bans.prove(at(1), peer(1), "bob-desk");
        assert_eq!(tries(&mut bans, 2, 100, "bob-desk"), 20);
        assert_eq!(bans.wait(at(2), peer(300), "bob-desk"), Some(IDENTITY.refill));
        assert_eq!(bans.wait(at(2), peer(1), "bob-desk"), None);
        let moved = SocketAddr::new(peer(1).ip(), 40_000);
        assert_eq!(bans.wait(at(2), moved, "bob-desk"), None, "another port of the same place");
        // A neighbour there has that of the place, then that of strangers; never that of the phone.
        for _ in 0..20 {
            bans.fail(at(2), moved, "bob-desk");
        }
        assert_eq!(bans.wait(at(2), moved, "bob-desk"), Some(IDENTITY.refill));
        assert_eq!(bans.wait(at(2), peer(1), "bob-desk"), None);
        assert_eq!(bans.wait(at(2), peer(300), "alice-desk"), None);
        // A proof is no licence.
        for _ in 0..20 {
            bans.fail(at(2), peer(1), "bob-desk");
        }
        assert_eq!(bans.wait(at(2), peer(1), "bob-desk"), Some(IDENTITY.refill));
        // And does not last for ever.
        assert!(bans.has_proved(at(7200), peer(1), "bob-desk"));
        assert!(!bans.has_proved(at(7201), peer(1), "bob-desk") && !bans.has_proved(at(2), peer(1), "alice"));
    }

    #[test]
    fn strangers_together_are_slowed_down_and_that_is_said_once_a_minute() {
        let mut bans = bans(&[], now(1));
        bans.prove(at(1), peer(1), "bob-desk");
        let mut said = 0;
        let mut looked_at = 0;
        for number in 0..2000 {
            let (peer, name) = (peer(1000 + number), format!("name{number}"));
            if bans.wait(at(2), peer, &name).is_none() {
                said += u32::from(bans.fail(at(2), peer, &name).is_brake);
                looked_at += 1;
            }
        }
        assert_eq!((looked_at, said), (1000, 1));
        assert_eq!(bans.wait(at(2), peer(9), "carol-desk"), Some(ALL.refill));
        assert_eq!(bans.wait(at(2), peer(1), "bob-desk"), None);
        assert_eq!(tries(&mut bans, 3, 5000, "carol-desk"), 20, "fifty came back");
    }

    #[test]
    fn a_restart_forgets_neither_bans_nor_budgets() {
        let mut before = bans(&[], now(1000));
        for _ in 0..10 {
            before.fail(at(1000), peer(1), "bob-desk");
        }
        assert!(before.is_banned(at(1000), peer(1)));
        tries(&mut before, 1000, 100, "bob-desk");
        let mut rows = before.take_rows(now(1000));
        assert!(before.take_rows(now(1000)).is_empty());
        // As the store keeps them: the last one of each key.
        rows.reverse();
        let mut seen = std::collections::BTreeSet::new();
        rows.retain(|row| seen.insert(row.key.clone()));
        let later = |left: u64| Now { at: at(5), unix: UnixMillis(9_000_000 + 1000 * (1000 + left)) };
        let mut after = bans(&rows, later(30));
        assert!(after.take_rows(later(30)).is_empty(), "nothing has ended");
        assert_eq!(after.banned(at(5)).collect::<Vec<_>>(), [(peer(1).ip(), Duration::from_secs(570))]);
        assert_eq!(after.wait(at(5), peer(500), "bob-desk"), Some(Duration::from_secs(30)));
        // One that failed once has its count.
        for _ in 0..8 {
            after.fail(at(5), peer(100), "carol-desk");
        }
        assert!(after.fail(at(5), peer(100), "carol-desk").is_banned);
        // What has ended is taken out of the store.
        let mut after = bans(&rows, later(3600));
        assert!(after.banned(at(5)).next().is_none());
        let gone = after.take_rows(later(3600));
        assert!(gone.len() >= 11 && gone.iter().all(|row| row.count == 0 && row.banned_until.is_none()));
    }
}
