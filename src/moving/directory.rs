//! The live legs of every user and device, and which of them a pull or a push means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::hold_off::{Access, HoldOffs};
use super::star_code::Select;
use super::{CallKey, DeviceKey, LegKey, Refusal, SelectPolicy};
use crate::base::Timestamp;

/// A leg of a user's device in a call that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveLeg {
    /// The leg.
    pub leg: LegKey,
    /// Its call.
    pub call: CallKey,
    /// The handset.
    pub device: DeviceKey,
    /// Whose call it is: the user of the device, or the one who signed in at it where it is a shared one.
    pub owner: Arc<str>,
    /// The user's own extension, if there is one.
    pub extension: Option<Arc<str>>,
    /// Who is at the far side.
    pub far: FarParty,
    /// Which side placed the call.
    pub direction: Direction,
    /// Ringing or answered.
    pub progress: Progress,
    /// What the call itself says against a move.
    pub bar: Option<Bar>,
    /// Whether the handset died, and the far side is kept for whoever takes the call up.
    pub lost: bool,
    /// The device at the far end, where that is one of ours.
    pub far_device: Option<DeviceKey>,
}

/// The far side, as shown to the user.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FarParty {
    /// Display name, or empty.
    pub display: Arc<str>,
    /// Number or user name.
    pub number: Arc<str>,
}

/// Which side placed the call, seen from the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The user called.
    Outgoing,
    /// The user was called.
    Incoming,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The device called; the far side has not answered.
    Calling {
        /// Since when.
        since: Timestamp,
    },
    /// The device rings.
    Ringing {
        /// Since when.
        since: Timestamp,
    },
    /// Answered.
    Answered {
        /// Since when.
        at: Timestamp,
    },
}

/// What the call itself says against a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// A move is under way.
    Busy,
    /// An emergency call.
    Emergency,
    /// The far side's media cannot be carried on.
    NoCommonMedia,
}

/// Whether a watcher could take a leg, and if not, why: the words of the dialog-info extension and of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movable {
    /// It could.
    Yes,
    /// The watcher's own leg.
    Own,
    /// A move is under way.
    Busy,
    /// The watcher handed it on a moment ago.
    HoldOff {
        /// Whole seconds left.
        seconds: u32,
    },
    /// An emergency call.
    Emergency,
    /// No common media.
    NoCommonMedia,
    /// The watcher is a shared device that is not unlocked.
    Locked,
    /// Not answered yet, and not ringing at the user.
    NotAnswered,
}

impl Movable {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Own => "own",
            Self::Busy => "busy",
            Self::HoldOff { .. } => "hold-off",
            Self::Emergency => "emergency",
            Self::NoCommonMedia => "no-common-media",
            Self::Locked => "locked",
            Self::NotAnswered => "not-answered",
        }
    }

    /// The refusal of a move that is asked for nevertheless.
    ///
    /// # Errors
    /// The reason, unless it is [`Movable::Yes`].
    pub const fn check(self) -> Result<(), Refusal> {
        Err(match self {
            Self::Yes => return Ok(()),
            Self::Own => Refusal::AlreadyThere,
            Self::Busy => Refusal::Busy,
            Self::HoldOff { seconds } => Refusal::HoldOff { seconds },
            Self::Emergency => Refusal::Emergency,
            Self::NoCommonMedia => Refusal::OfferUnusable,
            Self::Locked => Refusal::Locked,
            Self::NotAnswered => Refusal::NoCall,
        })
    }
}

/// Whether the watcher is a shared device that nobody has signed in at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// A personal device, or a shared one with this user signed in.
    Open,
    /// A shared device without its user.
    Locked,
}

/// The live legs. One of them per worker; every change says whose watchers to tell.
#[derive(Default)]
pub struct Directory {
    legs: BTreeMap<LegKey, LiveLeg>,
    by_user: BTreeMap<Arc<str>, BTreeSet<LegKey>>,
}

impl Directory {
    /// Adds or changes a leg: `true` where something differs, and the watchers of its user are to be told.
    pub fn set(&mut self, leg: LiveLeg) -> bool {
        if self.legs.get(&leg.leg) == Some(&leg) {
            return false;
        }
        let (key, user) = (leg.leg, Arc::clone(&leg.owner));
        if let Some(before) = self.legs.insert(key, leg)
            && before.owner != user
        {
            self.unlist(&before.owner, key);
        }
        self.by_user.entry(user).or_default().insert(key);
        true
    }

    /// Changes a leg in place, if it is there: `true` where something differs.
    pub fn update(&mut self, leg: LegKey, change: impl FnOnce(&mut LiveLeg)) -> bool {
        let Some(mut changed) = self.legs.get(&leg).cloned() else { return false };
        change(&mut changed);
        changed.leg = leg;
        self.set(changed)
    }

    /// Takes a leg out.
    pub fn remove(&mut self, leg: LegKey) -> Option<LiveLeg> {
        let gone = self.legs.remove(&leg)?;
        self.unlist(&gone.owner, leg);
        Some(gone)
    }

    /// A leg.
    #[must_use]
    pub fn leg(&self, leg: LegKey) -> Option<&LiveLeg> {
        self.legs.get(&leg)
    }

    /// All legs of a user, in the order of choice: answered before ringing, newest first.
    #[must_use]
    pub fn of_user(&self, user: &str) -> Vec<&LiveLeg> {
        let keys = self.by_user.get(user).into_iter().flatten();
        let mut legs: Vec<_> = keys.filter_map(|key| self.legs.get(key)).collect();
        legs.sort_by_key(|leg| std::cmp::Reverse((rank(leg.progress), leg.leg)));
        legs
    }

    /// The newest answered leg of a device: what a push code from its second line means. `except` is that line.
    #[must_use]
    pub fn of_device(&self, device: &DeviceKey, except: Option<LegKey>) -> Option<&LiveLeg> {
        let answered = |leg: &&LiveLeg| matches!(leg.progress, Progress::Answered { .. });
        self.of_user(device.user())
            .into_iter()
            .filter(|leg| leg.device == *device && Some(leg.leg) != except)
            .find(answered)
    }

    /// The same of a shared device, whose legs are those of whoever has signed in there: all are looked through.
    #[must_use]
    pub fn of_shared(&self, device: &DeviceKey) -> Option<&LiveLeg> {
        let answered = self.legs.values().filter_map(|leg| match leg.progress {
            Progress::Answered { at } if leg.device == *device => Some((at, leg)),
            _ => None,
        });
        answered.max_by_key(|(at, _)| *at).map(|(_, leg)| leg)
    }

    /// The users that have a live leg.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.by_user.keys().map(|user| &**user)
    }

    /// How many legs live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.legs.len()
    }

    /// Whether none lives.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.legs.is_empty()
    }

    /// Whether `watcher` could take `leg`.
    #[must_use]
    pub fn movable(
        leg: &LiveLeg,
        watcher: &DeviceKey,
        lock: Lock,
        hold_offs: &HoldOffs,
        now: Timestamp,
    ) -> Movable {
        if leg.device == *watcher {
            // A handset that starts anew may take up what it had when it died.
            return if leg.lost && leg.bar != Some(Bar::Busy) { Movable::Yes } else { Movable::Own };
        }
        // Nobody talks with itself, which is what would come of it.
        if leg.far_device.as_ref() == Some(watcher) {
            return Movable::Own;
        }
        if lock == Lock::Locked {
            return Movable::Locked;
        }
        if let Err(held) = hold_offs.look(now, watcher, Access::Call(leg.call)) {
            return Movable::HoldOff { seconds: held.seconds };
        }
        match (leg.bar, leg.progress) {
            (Some(Bar::Emergency), _) => Movable::Emergency,
            (_, Progress::Calling { .. }) => Movable::NotAnswered,
            (Some(Bar::Busy), _) => Movable::Busy,
            (Some(Bar::NoCommonMedia), _) => Movable::NoCommonMedia,
            (None, Progress::Ringing { .. } | Progress::Answered { .. }) => Movable::Yes,
        }
    }

    /// The leg that a pull of `by` means: of the user's legs on other devices the one that `select` names; a bare
    /// pull passes over what cannot be moved while something can.
    ///
    /// # Errors
    /// [`Refusal::NoCall`], or why the one that is meant cannot be moved.
    pub fn select(&self, by: &DeviceKey, select: &Select, ask: &Ask<'_>) -> Result<&LiveLeg, Refusal> {
        let mut legs = self.of_user(by.user());
        let is_elsewhere =
            |leg: &LiveLeg| (leg.device != *by || leg.lost) && leg.far_device.as_ref() != Some(by);
        legs.retain(|leg| is_elsewhere(leg) && !matches!(leg.progress, Progress::Calling { .. }));
        let state = |leg: &LiveLeg| Self::movable(leg, by, ask.lock, ask.hold_offs, ask.now);
        let is_answered = |leg: &&LiveLeg| matches!(leg.progress, Progress::Answered { .. });
        let chosen = match select {
            Select::Newest => {
                let mut order = legs.clone();
                if ask.policy == SelectPolicy::Oldest {
                    let answered = order.iter().filter(|leg| is_answered(leg)).count();
                    if let Some(part) = order.get_mut(..answered) {
                        part.reverse();
                    }
                }
                order
                    .iter()
                    .copied()
                    .find(|leg| state(leg) == Movable::Yes)
                    .or_else(|| order.first().copied())
            }
            Select::Nth(n) => usize::from(*n).checked_sub(1).and_then(|n| legs.get(n).copied()),
            Select::Device(name) => legs.iter().copied().find(|leg| leg.device.device() == &**name),
            Select::Extension(number) => {
                let own = |leg: &&LiveLeg| leg.extension.as_deref() == Some(&**number);
                let far = |leg: &&LiveLeg| *leg.far.number == **number;
                let found = legs.iter().copied().find(far);
                found.or_else(|| legs.iter().copied().find(own))
            }
        };
        let leg = chosen.ok_or(Refusal::NoCall)?;
        state(leg).check().map(|()| leg)
    }

    fn unlist(&mut self, user: &str, leg: LegKey) {
        if let Some(legs) = self.by_user.get_mut(user) {
            legs.remove(&leg);
            if legs.is_empty() {
                self.by_user.remove(user);
            }
        }
    }
}

/// What a selection depends on besides the legs.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Now.
    pub now: Timestamp,
    /// The hold-offs.
    pub hold_offs: &'a HoldOffs,
    /// Whether the asking device is locked.
    pub lock: Lock,
    /// Which call a bare pull takes.
    pub policy: SelectPolicy,
}

fn rank(progress: Progress) -> (u8, Timestamp) {
    match progress {
        Progress::Answered { at } => (2, at),
        Progress::Ringing { since } => (1, since),
        Progress::Calling { since } => (0, since),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::{Now, UnixMillis};
    use crate::moving::hold_off::{Scope, Start};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn device(address: &str) -> DeviceKey {
        let (user, device) = address.split_once('*').unwrap();
        DeviceKey::new(user, device)
    }

    fn leg(n: u64, address: &str, progress: Progress) -> LiveLeg {
        LiveLeg {
            leg: LegKey(n),
            call: CallKey(100 + n),
            device: device(address),
            owner: device(address).shared_user(),
            extension: Some("1001".into()),
            far: FarParty { display: "Bob".into(), number: format!("200{n}").into() },
            direction: Direction::Incoming,
            progress,
            bar: None,
            lost: false,
            far_device: None,
        }
    }

    fn answered(n: u64, address: &str, seconds: u64) -> LiveLeg {
        leg(n, address, Progress::Answered { at: at(seconds) })
    }

    fn directory(legs: impl IntoIterator<Item = LiveLeg>) -> Directory {
        let mut directory = Directory::default();
        for leg in legs {
            assert!(directory.set(leg));
        }
        directory
    }

    fn pull(directory: &Directory, by: &str, select: Select) -> Result<u64, Refusal> {
        pull_with(directory, by, select, &HoldOffs::default(), Lock::Open, SelectPolicy::Newest)
    }

    fn pull_with(
        directory: &Directory,
        by: &str,
        select: Select,
        hold_offs: &HoldOffs,
        lock: Lock,
        policy: SelectPolicy,
    ) -> Result<u64, Refusal> {
        let ask = Ask { now: at(100), hold_offs, lock, policy };
        directory.select(&device(by), &select, &ask).map(|leg| leg.leg.0)
    }

    fn held_off(by: &str, call: CallKey) -> HoldOffs {
        let mut table = HoldOffs::default();
        let (device, length) = (device(by), Duration::from_secs(30));
        let now = Now { at: at(99), unix: UnixMillis(0) };
        table.start(
            now,
            &Start { device: &device, call, call_id: "c", move_id: "m", scope: Scope::Call, length },
        );
        table
    }

    #[test]
    fn the_most_recently_answered_comes_first_and_ringing_last() {
        let ringing = leg(4, "alice*tablet", Progress::Ringing { since: at(90) });
        let calls = directory([
            answered(1, "alice*desk", 10),
            answered(2, "alice*desk", 30),
            answered(3, "alice*tablet", 20),
            ringing,
            answered(9, "bob*desk", 50),
        ]);
        let order: Vec<_> = calls.of_user("alice").iter().map(|leg| leg.leg.0).collect();
        assert_eq!(order, [2, 3, 1, 4]);
        assert_eq!(pull(&calls, "alice*mobile", Select::Newest), Ok(2));
        assert_eq!(pull(&calls, "alice*mobile", Select::Nth(2)), Ok(3));
        assert_eq!(pull(&calls, "alice*mobile", Select::Nth(4)), Ok(4));
        assert_eq!(pull(&calls, "alice*mobile", Select::Nth(5)), Err(Refusal::NoCall));
        assert_eq!(pull(&calls, "alice*mobile", Select::Device("tablet".into())), Ok(3));
        assert_eq!(pull(&calls, "alice*mobile", Select::Device("fax".into())), Err(Refusal::NoCall));
        assert_eq!(pull(&calls, "alice*mobile", Select::Extension("1001".into())), Ok(2));
        assert_eq!(pull(&calls, "alice*mobile", Select::Extension("2001".into())), Ok(1));
        assert_eq!(pull(&calls, "alice*mobile", Select::Extension("999".into())), Err(Refusal::NoCall));
        let (table, oldest) = (HoldOffs::default(), SelectPolicy::Oldest);
        assert_eq!(pull_with(&calls, "alice*mobile", Select::Newest, &table, Lock::Open, oldest), Ok(1));
    }

    #[test]
    fn own_legs_and_other_peoples_are_not_there() {
        let calls = directory([answered(1, "alice*desk", 10), answered(2, "bob*desk", 20)]);
        assert_eq!(pull(&calls, "alice*desk", Select::Newest), Err(Refusal::NoCall));
        assert_eq!(pull(&calls, "carol*desk", Select::Newest), Err(Refusal::NoCall));
        assert_eq!(pull(&calls, "bob*mobile", Select::Newest), Ok(2));
        let calling = directory([leg(3, "alice*desk", Progress::Calling { since: at(1) })]);
        assert_eq!(pull(&calling, "alice*mobile", Select::Newest), Err(Refusal::NoCall));
    }

    #[test]
    fn a_device_does_not_get_both_ends_of_a_call() {
        let called = LiveLeg { far_device: Some(device("alice*desk")), ..answered(1, "alice*mobile", 10) };
        let mut calls = directory([called.clone()]);
        assert_eq!(pull(&calls, "alice*desk", Select::Newest), Err(Refusal::NoCall));
        assert_eq!(pull(&calls, "alice*tablet", Select::Newest), Ok(1));
        let table = HoldOffs::default();
        let movable = |by| Directory::movable(&called, &device(by), Lock::Open, &table, at(100));
        assert_eq!((movable("alice*desk"), movable("alice*tablet")), (Movable::Own, Movable::Yes));
        calls.set(answered(2, "alice*tablet", 5));
        assert_eq!(pull(&calls, "alice*desk", Select::Newest), Ok(2));
    }

    #[test]
    fn a_bare_pull_passes_over_what_cannot_move_and_says_why_if_nothing_can() {
        let busy = LiveLeg { bar: Some(Bar::Busy), ..answered(2, "alice*desk", 30) };
        let calls = directory([answered(1, "alice*desk", 10), busy.clone()]);
        assert_eq!(pull(&calls, "alice*mobile", Select::Newest), Ok(1));
        assert_eq!(pull(&calls, "alice*mobile", Select::Nth(1)), Err(Refusal::Busy));
        for (bar, refusal) in [
            (Bar::Busy, Refusal::Busy),
            (Bar::Emergency, Refusal::Emergency),
            (Bar::NoCommonMedia, Refusal::OfferUnusable),
        ] {
            let calls = directory([LiveLeg { bar: Some(bar), ..busy.clone() }]);
            assert_eq!(pull(&calls, "alice*mobile", Select::Newest), Err(refusal));
        }
    }

    #[test]
    fn hold_off_and_lock_are_the_watchers_own() {
        let calls = directory([answered(1, "alice*desk", 10), answered(2, "alice*desk", 5)]);
        let table = held_off("alice*mobile", CallKey(101));
        let ask = |by, select, lock| pull_with(&calls, by, select, &table, lock, SelectPolicy::Newest);
        assert_eq!(ask("alice*mobile", Select::Newest, Lock::Open), Ok(2));
        assert_eq!(ask("alice*mobile", Select::Nth(1), Lock::Open), Err(Refusal::HoldOff { seconds: 29 }));
        assert_eq!(ask("alice*tablet", Select::Nth(1), Lock::Open), Ok(1));
        assert_eq!(ask("alice*room", Select::Newest, Lock::Locked), Err(Refusal::Locked));
    }

    #[test]
    fn a_push_from_a_second_line_means_the_first() {
        let calls = directory([answered(1, "alice*desk", 10), answered(2, "alice*desk", 20)]);
        assert_eq!(calls.of_device(&device("alice*desk"), Some(LegKey(2))).unwrap().leg, LegKey(1));
        assert_eq!(calls.of_device(&device("alice*mobile"), None), None);
    }

    #[test]
    fn changes_are_told_once_and_nothing_is_left_behind() {
        let mut calls = directory([answered(1, "alice*desk", 10)]);
        assert!(!calls.set(answered(1, "alice*desk", 10)));
        assert!(!calls.update(LegKey(1), |_| {}));
        assert!(calls.update(LegKey(1), |leg| leg.bar = Some(Bar::Busy)));
        assert!(!calls.update(LegKey(7), |leg| leg.bar = None));
        assert!(calls.update(LegKey(1), |leg| leg.owner = "bob".into()));
        assert_eq!(calls.users().collect::<Vec<_>>(), ["bob"]);
        assert!(calls.remove(LegKey(1)).is_some());
        assert!(calls.remove(LegKey(1)).is_none());
        assert!(calls.is_empty() && calls.users().next().is_none());
    }
}
