//! Users behind a PBX: each who has a device here is registered there, by one Contact, however many devices there are.
//!
//! The Contact is known by a token that follows from the user's place at the PBX and from a key of this node: nobody guesses
//! it, and a node that was started anew registers the same one, so that no call goes to a Contact of a node that was.
//!
//! What begins at once for many, at a start or when the PBX is back, is spread: a REGISTER each [`SPACING`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustc_hash::FxHashMap;
use sha2::Sha256;

use super::registering::Registrant;
use super::registration::{Registration, State};
use crate::base::{Handle, Random, Slab, TimerHeap, Timestamp};
use crate::call::rules::place_of;
use crate::engine::Engine;
use crate::registrar::Pbx;
use crate::registrar::accounts::DEVICE_SEPARATOR;

/// Between two REGISTERs for users: at most 100 a second, so 10,000 users are back in less than two minutes. A PBX answers
/// each twice, for the challenge.
const SPACING: Duration = Duration::from_millis(10);
/// A refresh is not put off to less than this before its end.
const RESERVE: Duration = Duration::from_secs(10);
/// Of so many users a node that stops asks the PBX to let them go; what is registered of the others ends by itself.
const PARTINGS: usize = 200;
/// Turns of users without a device that are kept before those that passed are looked for.
const KEPT: usize = 64;
/// Bytes of a token that are shown of its hash, which has 32.
const TOKEN: usize = 16;

/// The registration of a user at a PBX.
pub(super) struct Line {
    pub(super) user: Arc<str>,
    /// By what is registered.
    pub(super) pbx: Pbx,
    /// The place of its trunk.
    pub(super) trunk: usize,
    pub(super) registration: Registration,
    /// A device came back while the PBX was asked to let the user go.
    is_wanted: bool,
    /// The PBX was asked by credentials that are others by now: its refusal is none of these.
    is_outdated: bool,
    /// Its turn is when its registration is next due.
    has_turn: bool,
    /// When that is.
    turn: Timestamp,
    /// The earliest wake-up that was asked for.
    wake: Timestamp,
}

impl Line {
    pub(super) fn is_unreachable(&self) -> bool {
        self.registration.state == State::Unreachable
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Lines {
    all: Slab<Line>,
    // Users are those of the accounts, tokens are ours: hashes without a seed are safe for look-ups.
    by_user: FxHashMap<Arc<str>, Handle<Line>>,
    by_token: FxHashMap<Box<str>, Handle<Line>>,
    timers: TimerHeap<Handle<Line>>,
    /// When the next turn is free.
    turn: Timestamp,
    /// The turns to come of users whose devices are gone again: who comes back has the same. A device that comes and goes
    /// takes one, and not one each time from all others.
    kept: FxHashMap<Arc<str>, Timestamp>,
    key: [u8; 32],
}

impl Lines {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, handle: Handle<Line>) -> Option<&Line> {
        self.all.get(handle)
    }

    pub(super) fn get_mut(&mut self, handle: Handle<Line>) -> Option<&mut Line> {
        self.all.get_mut(handle)
    }

    pub(super) fn of_user(&self, user: &str) -> Option<&Line> {
        self.all.get(*self.by_user.get(user)?)
    }

    /// Where the Contact with this token is registered, and whose it is.
    pub(super) fn named_by(&self, token: &str) -> Option<(usize, &str)> {
        let line = self.all.get(*self.by_token.get(token)?)?;
        Some((line.trunk, &line.user))
    }

    pub(super) fn registrations(&self) -> impl Iterator<Item = &Registration> {
        self.all.iter().map(|(_, line)| &line.registration)
    }

    /// By trunk: users who are to be registered there, and who are.
    pub(super) fn counts(&self) -> BTreeMap<usize, (u64, u64)> {
        let mut counts: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        for (_, line) in self.all.iter().filter(|(_, line)| !line.registration.has_left()) {
            let (all, registered) = counts.entry(line.trunk).or_default();
            *all += 1;
            *registered += u64::from(line.registration.state == State::Registered);
        }
        counts
    }

    pub(super) fn handles(&self) -> Vec<Handle<Line>> {
        self.all.iter().map(|(handle, _)| handle).collect()
    }

    /// Whether a trunk has any, those that are leaving among them.
    pub(super) fn is_on(&self, trunk: usize) -> bool {
        self.all.iter().any(|(_, line)| line.trunk == trunk)
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// Takes one that may be due.
    fn expire(&mut self, now: Timestamp) -> Option<Handle<Line>> {
        let handle = self.timers.expire(now)?;
        if let Some(line) = self.all.get_mut(handle) {
            line.wake = Timestamp::NEVER;
        }
        Some(handle)
    }

    /// Asks to be woken for it, unless an earlier wake-up is asked for; forgets it when it is over.
    pub(super) fn schedule(&mut self, handle: Handle<Line>, now: Timestamp) {
        let Some(line) = self.all.get_mut(handle) else { return };
        if line.registration.is_over() {
            if !line.is_wanted {
                return self.forget(handle, now);
            }
            line.is_wanted = false;
            line.registration.rejoin(now);
        }
        if line.is_outdated && line.registration.asked.is_none() {
            line.is_outdated = false;
            if line.registration.state == State::Refused {
                line.registration.hurry(now);
            }
        }
        let next = line.registration.poll_timeout();
        if next < line.wake {
            line.wake = next;
            self.timers.push(next, handle);
        }
    }

    fn forget(&mut self, handle: Handle<Line>, now: Timestamp) {
        let Some(line) = self.all.remove(handle) else { return };
        if line.has_turn && line.turn > now {
            if self.kept.len() > self.all.len().max(KEPT) {
                self.kept.retain(|_, at| *at > now);
            }
            self.kept.insert(Arc::clone(&line.user), line.turn);
        }
        if self.by_user.get(&line.user) == Some(&handle) {
            self.by_user.remove(&line.user);
        }
        if self.by_token.get(&line.registration.line) == Some(&handle) {
            self.by_token.remove(&line.registration.line);
        }
    }

    /// Whether one that is due may be asked for now; else it has its turn later.
    pub(super) fn may_ask(&mut self, handle: Handle<Line>, now: Timestamp) -> bool {
        let at = self.turn.max(now);
        let Some(line) = self.all.get_mut(handle) else { return false };
        let cannot_wait = line.registration.expires.is_some_and(|until| at + RESERVE >= until && until > now);
        if std::mem::take(&mut line.has_turn) || cannot_wait {
            return true;
        }
        self.turn = at + SPACING;
        if at <= now {
            return true;
        }
        (line.has_turn, line.turn) = (true, at);
        line.registration.put_off(at);
        false
    }

    /// The token of a user's Contact at a PBX: 128 bits that only who has the key can tell.
    fn token(&self, user: &str, pbx: &Pbx) -> Box<str> {
        // RFC 2104 2: the key, filled up to a block.
        let mut block = [0; 64];
        block.iter_mut().zip(self.key).for_each(|(to, from)| *to = from);
        let mut hash = Hmac::<Sha256>::new(&block.into());
        for part in [&*pbx.trunk, &*pbx.user, user] {
            hash.update(part.as_bytes());
            hash.update(b"\0");
        }
        let hash = hash.finalize().into_bytes();
        hash.iter().take(TOKEN).map(|byte| format!("{byte:02x}")).collect::<String>().into()
    }

    fn open(&mut self, user: &str, pbx: &Pbx, trunk: usize, now: Timestamp, random: &mut Random) {
        let (user, token): (Arc<str>, _) = (Arc::from(user), self.token(user, pbx));
        let mut registration = Registration::new(now, token.clone(), random);
        let turn = self.kept.remove(&user).filter(|at| *at > now);
        if let Some(at) = turn {
            registration.put_off(at);
        }
        let handle = self.all.insert(Line {
            user: Arc::clone(&user),
            pbx: pbx.clone(),
            trunk,
            registration,
            is_wanted: false,
            is_outdated: false,
            has_turn: turn.is_some(),
            turn: turn.unwrap_or_default(),
            wake: Timestamp::NEVER,
        });
        self.by_user.insert(user, handle);
        self.by_token.insert(token, handle);
        self.schedule(handle, now);
    }
}

impl Engine {
    /// What a user's registration at a PBX is, follows from the account and from whether any device is here.
    pub(in crate::engine) fn follow_line(&mut self, user: &str) {
        let now = self.core.now.at;
        let account = self.core.accounts.by_name(user).filter(|_| !self.is_draining);
        let wanted = account
            .and_then(|account| account.pbx.as_ref())
            .filter(|_| self.has_device(user))
            .and_then(|pbx| Some((pbx.clone(), place_of(&self.core.settings.trunks, &pbx.trunk)?)));
        let lines = &mut self.trunks.lines;
        let known = lines.by_user.get(user).copied();
        let is_same = |line: &Line| {
            wanted.as_ref().is_some_and(|(pbx, trunk)| line.pbx.is_at(pbx) && line.trunk == *trunk)
        };
        if let Some(handle) = known
            && let Some(line) = lines.all.get_mut(handle)
        {
            if is_same(line) {
                if let Some((pbx, _)) = wanted {
                    line.follow(pbx, now);
                }
                return lines.schedule(handle, now);
            }
            line.is_wanted = false;
            // One that only leaves is found again when a device comes back.
            if wanted.is_some() {
                lines.by_user.remove(user);
            }
            self.leave_registration(Registrant::Line(handle));
        }
        if let Some((pbx, trunk)) = wanted {
            self.trunks.lines.open(user, &pbx, trunk, now, &mut self.core.random);
        }
    }

    /// The same for all users: at the start, and with another configuration.
    pub(in crate::engine) fn follow_lines(&mut self) {
        let is_behind = self.core.accounts.iter().any(|account| account.pbx.is_some());
        if !is_behind && self.trunks.lines.is_empty() {
            return;
        }
        let mut users: Vec<Arc<str>> = self.trunks.lines.by_user.keys().cloned().collect();
        let behind = self.core.accounts.iter().filter(|account| account.pbx.is_some());
        users.extend(behind.map(|account| Arc::from(&*account.name)));
        users.sort();
        users.dedup();
        for user in users {
            self.follow_line(&user);
        }
    }

    /// Whether a user is to be reached here: at an own device, or at the shared one at which the user is signed in.
    fn has_device(&self, user: &str) -> bool {
        let (registrar, now) = (&self.core.registrar, self.core.now.at);
        let desk = self.core.hot_desks.desk_of(user).and_then(|desk| desk.split_once(DEVICE_SEPARATOR));
        !registrar.lookup(user, now).is_empty()
            || desk.is_some_and(|(owner, device)| registrar.is_registered(owner, device, now))
    }

    /// Registers whose turn it is.
    pub(super) fn on_lines_timeout(&mut self) {
        let now = self.core.now.at;
        while let Some(handle) = self.trunks.lines.expire(now) {
            self.refresh_registration(Registrant::Line(handle), now);
            self.trunks.lines.schedule(handle, now);
        }
    }

    /// What those depend on that are `meant` is gone, or came: they are registered soon.
    pub(super) fn hurry_lines(&mut self, meant: impl Fn(&Line) -> bool) {
        let now = self.core.now.at;
        for handle in self.trunks.lines.handles() {
            if let Some(line) = self.trunks.lines.get_mut(handle).filter(|line| meant(line)) {
                line.registration.hurry(now);
                self.trunks.lines.schedule(handle, now);
            }
        }
    }

    /// A trunk is no more, or no calls are taken any more.
    pub(super) fn leave_lines(&mut self, meant: impl Fn(&Line) -> bool) {
        let mut asked = 0;
        for handle in self.trunks.lines.handles() {
            let Some(line) = self.trunks.lines.get_mut(handle).filter(|line| meant(line)) else { continue };
            line.is_wanted = false;
            if line.registration.state == State::Registered {
                asked += 1;
            }
            if asked <= PARTINGS {
                self.leave_registration(Registrant::Line(handle));
            } else if let (_, Some(asked)) = line.registration.leave(self.core.now.at) {
                self.trunks.asked.remove(&asked.key);
                self.core.transactions.abandon(asked.tx);
            }
            self.trunks.lines.schedule(handle, self.core.now.at);
        }
    }
}

impl Line {
    /// It is wanted, by these credentials.
    fn follow(&mut self, pbx: Pbx, now: Timestamp) {
        let is_other = std::mem::replace(&mut self.pbx, pbx) != self.pbx;
        if self.registration.has_left() {
            self.is_wanted = true;
        } else if is_other && self.registration.asked.is_some() {
            self.is_outdated = true;
        } else if is_other && self.registration.state == State::Refused {
            self.registration.hurry(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_comes_and_goes_takes_no_turns_from_others() {
        let (mut lines, mut random) = (Lines::new([7; 32]), Random::from_number(3));
        let now = Timestamp::from_micros(1_000_000);
        let mut come = |lines: &mut Lines, user: &str| {
            let (trunk, password) = ("pbx".into(), crate::base::Secret::new("sesame"));
            let pbx = Pbx { trunk, user: user.into(), auth_user: user.into(), password, realm: None };
            lines.open(user, &pbx, 0, now, &mut random);
            lines.by_user[user]
        };
        let first = come(&mut lines, "1000");
        assert!(lines.may_ask(first, now));
        for n in 0..1000 {
            let handle = come(&mut lines, ["1001", "1002"][n % 2]);
            assert!(!lines.get(handle).unwrap().registration.is_due(now) || !lines.may_ask(handle, now));
            lines.get_mut(handle).unwrap().registration.leave(now);
            lines.schedule(handle, now);
            assert!(lines.get(handle).is_none());
        }
        let last = come(&mut lines, "1003");
        assert!(!lines.may_ask(last, now));
        assert_eq!(lines.get(last).unwrap().registration.poll_timeout(), now + SPACING * 3);
        assert_eq!(lines.kept.len(), 2);
    }
}
