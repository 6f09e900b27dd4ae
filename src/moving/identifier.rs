//! One-time identifiers: what a watcher gets in place of a call's real Call-ID and tags, and the token URIs.
//!
//! A token is 128 random bits, made for one device and one leg, lives 60 s, works once and is kept only as a hash.
//! Presented by any other device it is refused like one that never was, and the caller is told to log it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{CallKey, DeviceKey, LegKey};
use crate::base::{Random, Timestamp};

/// How long an identifier works. A watcher that is told again gets a new one.
pub const LIFE: Duration = Duration::from_secs(60);
/// A watcher is told again this long after the last time while a call stands, so that its identifier never runs out.
pub const REFRESH: Duration = Duration::from_secs(45);
/// Identifiers of one leg that one device may hold at once: the newest, and the one in a NOTIFY before it.
const PER_WATCHER_AND_LEG: usize = 2;
/// Two per leg for 32,768 watched legs; the oldest goes first. An entry is about 150 bytes.
const CAPACITY: usize = 65_536;

const PREFIX: &str = "m-";
const WORKER_DIGITS: usize = 2;
const RANDOM_DIGITS: usize = 32;

/// A minted identifier in its written form: `m-`, two digits of worker, 32 of randomness.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Finds a token in a Call-ID or in the user part of a URI. What follows it after a `-`, `@` or `;` is ours or the
    /// phone's decoration.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let length = PREFIX.len() + WORKER_DIGITS + RANDOM_DIGITS;
        let (token, rest) = text.split_at_checked(length)?;
        let digits = token.strip_prefix(PREFIX)?;
        let hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (hex && (rest.is_empty() || rest.starts_with(['-', '@', ';']))).then(|| Self(token.into()))
    }

    /// The worker that minted it.
    #[must_use]
    pub fn worker(&self) -> u8 {
        self.0
            .get(PREFIX.len()..PREFIX.len() + WORKER_DIGITS)
            .and_then(|d| u8::from_str_radix(d, 16).ok())
            .unwrap_or(0)
    }

    /// As written: the user part of the token URI, the Call-ID in dialog-info.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Masks every token in a text, in place.
    pub fn mask_all(text: &mut [u8], mask: u8) {
        let mut from = 0;
        while let Some(found) =
            text.get(from..).and_then(|rest| memchr::memmem::find(rest, PREFIX.as_bytes()))
        {
            let digits = from + found + PREFIX.len();
            from = digits;
            if let Some(digits) = text.get_mut(digits..digits + WORKER_DIGITS + RANDOM_DIGITS)
                && digits.iter().all(u8::is_ascii_hexdigit)
            {
                digits.fill(mask);
            }
        }
    }

    fn hash(&self) -> Hash {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m-…")
    }
}

type Hash = [u8; 32];

/// What was minted, for the writer of dialog-info, of a 302 or of a Refer-To. It is the only copy.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Goes into `call-id` and, as user part, into the target URIs.
    pub token: Token,
    /// Goes into `local-tag`; carries no secret.
    pub local_tag: String,
    /// Goes into `remote-tag`; carries no secret.
    pub remote_tag: String,
}

/// What a token was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redeemed {
    /// Good, and spent by this.
    Leg {
        /// The call.
        call: CallKey,
        /// The leg to take over.
        leg: LegKey,
    },
    /// Unknown, used or expired. To its sender the same as [`Redeemed::Stolen`].
    Unknown,
    /// Live, but given to another device: refuse as unknown, and log a security event.
    Stolen {
        /// The call that was aimed at.
        call: CallKey,
    },
}

struct Entry {
    watcher: DeviceKey,
    call: CallKey,
    leg: LegKey,
    age: Age,
}

/// When it expires, and its number: the order of minting.
type Age = (Timestamp, u64);

/// The live identifiers of one worker.
pub struct Identifiers {
    worker: u8,
    entries: BTreeMap<Hash, Entry>,
    by_leg: BTreeMap<(LegKey, DeviceKey), VecDeque<Hash>>,
    /// As many as entries: what is spent or superseded counts no more, so that nobody crowds out the others' by asking
    /// again and again.
    by_age: BTreeMap<Age, Hash>,
    minted: u64,
}

impl Identifiers {
    /// For worker number `worker`.
    #[must_use]
    pub fn new(worker: u8) -> Self {
        Self { worker, entries: BTreeMap::new(), by_leg: BTreeMap::new(), by_age: BTreeMap::new(), minted: 0 }
    }

    /// Makes an identifier with which `watcher`, and no other device, may take over `leg` once within [`LIFE`].
    pub fn mint(
        &mut self,
        now: Timestamp,
        watcher: &DeviceKey,
        call: CallKey,
        leg: LegKey,
        random: &mut Random,
    ) -> Minted {
        self.expire(now);
        let key = (leg, watcher.clone());
        let held = self.by_leg.get(&key).filter(|held| held.len() >= PER_WATCHER_AND_LEG);
        if let Some(superseded) = held.and_then(|held| held.front()).copied() {
            self.remove(&superseded);
        }
        if self.entries.len() >= CAPACITY
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.remove(&oldest);
        }
        let token = Token(format!("{PREFIX}{:02x}{}", self.worker, random.token()).into());
        let (hash, age) = (token.hash(), (now + LIFE, self.minted));
        self.minted += 1;
        self.by_leg.entry(key).or_default().push_back(hash);
        self.entries.insert(hash, Entry { watcher: watcher.clone(), call, leg, age });
        self.by_age.insert(age, hash);
        Minted { token, local_tag: random.tag(), remote_tag: random.tag() }
    }

    /// Spends a token that `by` presents. Call it after authentication, once per request.
    pub fn redeem(&mut self, now: Timestamp, token: &Token, by: &DeviceKey) -> Redeemed {
        // The table holds hashes: how far a guess agrees with an entry says nothing about the token behind it.
        let hash = token.hash();
        match self.entries.get(&hash) {
            Some(entry) if entry.age.0 <= now => Redeemed::Unknown,
            Some(entry) if entry.watcher != *by => Redeemed::Stolen { call: entry.call },
            Some(entry) => {
                let redeemed = Redeemed::Leg { call: entry.call, leg: entry.leg };
                self.remove(&hash);
                redeemed
            }
            None => Redeemed::Unknown,
        }
    }

    /// Takes back all identifiers of a leg: it ended, or moved.
    pub fn revoke_leg(&mut self, leg: LegKey) {
        let watchers = self.by_leg.range((leg, DeviceKey::new("", ""))..).take_while(|((l, _), _)| *l == leg);
        let keys: Vec<_> = watchers.map(|(key, _)| key.clone()).collect();
        for key in keys {
            for hash in self.by_leg.remove(&key).into_iter().flatten() {
                self.remove(&hash);
            }
        }
    }

    /// Forgets what has expired. Cheap; call it with each batch or at [`Identifiers::poll_timeout`].
    pub fn expire(&mut self, now: Timestamp) {
        while let Some(oldest) = self.by_age.first_entry().filter(|oldest| oldest.key().0 <= now) {
            let hash = oldest.remove();
            self.remove(&hash);
        }
    }

    /// When [`Identifiers::expire`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.by_age.first_key_value().map(|((expires, _), _)| *expires)
    }

    /// How many work.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none works.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, hash: &Hash) {
        let Some(entry) = self.entries.remove(hash) else { return };
        self.by_age.remove(&entry.age);
        let key = (entry.leg, entry.watcher);
        if let Some(held) = self.by_leg.get_mut(&key) {
            held.retain(|other| other != hash);
            if held.is_empty() {
                self.by_leg.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallKey = CallKey(1);
    const LEG: LegKey = LegKey(2);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn mobile() -> DeviceKey {
        DeviceKey::new("alice", "mobile")
    }

    #[test]
    fn a_token_works_once_for_its_device_in_its_time() {
        let (mut ids, mut random) = (Identifiers::new(3), Random::from_number(1));
        let minted = ids.mint(at(0), &mobile(), CALL, LEG, &mut random);
        let token = Token::read(&format!("{}@pbx.example", minted.token.as_str())).unwrap();
        assert_eq!(token.worker(), 3);
        for other in [DeviceKey::new("alice", "desk"), DeviceKey::new("mallory", "mobile")] {
            assert_eq!(ids.redeem(at(1), &token, &other), Redeemed::Stolen { call: CALL });
        }
        assert_eq!(ids.redeem(at(59), &token, &mobile()), Redeemed::Leg { call: CALL, leg: LEG });
        assert_eq!(ids.redeem(at(59), &token, &mobile()), Redeemed::Unknown);
        assert_eq!(ids.redeem(at(59), &token, &DeviceKey::new("alice", "desk")), Redeemed::Unknown);
        assert!(ids.is_empty() && ids.by_leg.is_empty());

        let late = ids.mint(at(100), &mobile(), CALL, LEG, &mut random);
        assert_eq!(ids.redeem(at(160), &late.token, &mobile()), Redeemed::Unknown);
        ids.expire(at(160));
        assert!(ids.is_empty() && ids.by_leg.is_empty() && ids.by_age.is_empty());
    }

    #[test]
    fn the_secret_is_neither_shown_nor_kept() {
        let (mut ids, mut random) = (Identifiers::new(0), Random::from_number(1));
        let minted = ids.mint(at(0), &mobile(), CALL, LEG, &mut random);
        let secret = minted.token.as_str().strip_prefix("m-00").unwrap();
        assert_eq!(secret.len(), 32);
        assert!(!format!("{minted:?}").contains(secret));
        assert!(!minted.local_tag.contains(secret) && !minted.remote_tag.contains(secret));
        let other = ids.mint(at(0), &mobile(), CALL, LEG, &mut random);
        assert_ne!(minted.token, other.token);
    }

    #[test]
    fn a_new_mint_leaves_the_one_before_and_no_more() {
        let (mut ids, mut random) = (Identifiers::new(0), Random::from_number(1));
        let tokens: Vec<_> =
            (0..3).map(|n| ids.mint(at(n), &mobile(), CALL, LEG, &mut random).token).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids.redeem(at(4), &tokens[0], &mobile()), Redeemed::Unknown);
        assert_eq!(ids.redeem(at(4), &tokens[1], &mobile()), Redeemed::Leg { call: CALL, leg: LEG });
        ids.revoke_leg(LEG);
        assert_eq!(ids.redeem(at(4), &tokens[2], &mobile()), Redeemed::Unknown);
        assert!(ids.is_empty() && ids.by_leg.is_empty());
    }

    #[test]
    fn revoking_a_leg_leaves_its_neighbours() {
        let (mut ids, mut random) = (Identifiers::new(0), Random::from_number(1));
        let tokens: Vec<_> =
            (1..4).map(|n| ids.mint(at(0), &mobile(), CALL, LegKey(n), &mut random).token).collect();
        ids.revoke_leg(LegKey(2));
        assert_eq!(ids.redeem(at(1), &tokens[1], &mobile()), Redeemed::Unknown);
        assert_eq!(ids.redeem(at(1), &tokens[0], &mobile()), Redeemed::Leg { call: CALL, leg: LegKey(1) });
        assert_eq!(ids.redeem(at(1), &tokens[2], &mobile()), Redeemed::Leg { call: CALL, leg: LegKey(3) });
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes_first() {
        let (mut ids, mut random) = (Identifiers::new(0), Random::from_number(1));
        let first = ids.mint(at(0), &mobile(), CALL, LegKey(0), &mut random).token;
        for n in 1..=CAPACITY as u64 {
            ids.mint(at(0), &mobile(), CALL, LegKey(n), &mut random);
        }
        assert_eq!((ids.len(), ids.by_age.len()), (CAPACITY, CAPACITY));
        assert_eq!(ids.redeem(at(1), &first, &mobile()), Redeemed::Unknown);
    }

    #[test]
    fn who_asks_again_and_again_crowds_nobody_out() {
        let (mut ids, mut random) = (Identifiers::new(0), Random::from_number(1));
        let bob = DeviceKey::new("bob", "desk");
        let his = ids.mint(at(0), &bob, CALL, LegKey(9), &mut random).token;
        for _ in 0..=CAPACITY {
            ids.mint(at(0), &mobile(), CALL, LEG, &mut random);
        }
        assert_eq!((ids.len(), ids.by_age.len()), (3, 3));
        assert_eq!(ids.redeem(at(1), &his, &bob), Redeemed::Leg { call: CALL, leg: LegKey(9) });
    }

    #[test]
    fn other_texts_are_no_tokens() {
        let good = "m-00".to_owned() + &"a".repeat(32);
        assert!(Token::read(&good).is_some());
        assert!(Token::read(&format!("{good}-x@h")).is_some());
        for bad in [
            "",
            "m-",
            &good[1..],
            &good[..35],
            &format!("{good}f"),
            &good.to_uppercase(),
            &format!("{}é", &good[..35]),
        ] {
            assert_eq!(Token::read(bad), None, "{bad}");
        }
    }
}
