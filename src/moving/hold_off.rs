//! Hold-off: who may not touch which call until when.
//!
//! An entry belongs to a device identity, not to an address, contact, transport or Call-ID, so none of those sheds
//! it. It ends by the monotonic clock; the wall clock is kept beside it only to carry it over a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CallKey, DeviceKey, Refusal};
use crate::base::{Now, Timestamp, UnixMillis};

/// Live entries of one device; the one that ends first gives way. A device makes at most one move a second and call.
const PER_DEVICE: usize = 16;
/// Live entries of a node; the one that ends first gives way. An entry is about 300 bytes.
const CAPACITY: usize = 65_536;
/// No hold-off is longer, whatever a row or a setting says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What a hold-off covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The moved call.
    Call,
    /// Everything the device may ask for, emergency calls excepted.
    System,
}

/// What a request of a device wants to touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A call: re-INVITE, UPDATE, REFER, INFO in its old dialog, Replaces, star code, token, API, SUBSCRIBE to it.
    Call(CallKey),
    /// A pull that found no call at all. A hold-off that came over a restart, whose call is not known any more,
    /// answers it; so does a system-wide one.
    AnyMovedCall,
    /// Something else: a new call, a message, a subscription.
    Other,
    /// ACK, BYE or CANCEL of a dialog that is dying: always served.
    Ending,
    /// An emergency call: always served.
    Emergency,
    /// REGISTER: always served, so that the device is there for emergency calls and when the window ends. It sheds
    /// nothing, because entries do not belong to bindings.
    Registering,
}

/// Why a request is refused: 403 with Retry-After.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whole seconds left, rounded up, at least 1.
    pub seconds: u32,
    /// What the hold-off covers.
    pub scope: Scope,
}

impl From<Held> for Refusal {
    fn from(held: Held) -> Self {
        Self::HoldOff { seconds: held.seconds }
    }
}

/// An entry in the form of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The move that began it: its key.
    pub move_id: String,
    /// Owner of the device.
    pub user: String,
    /// The device.
    pub device: String,
    /// The call's record id, which outlives the process.
    pub call_id: String,
    /// What it covers.
    pub scope: Scope,
    /// When it began.
    pub started: UnixMillis,
    /// Its length in milliseconds. It ends `length_ms` after `started`.
    pub length_ms: u64,
}

/// What begins a hold-off.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// The old device.
    pub device: &'a DeviceKey,
    /// The moved call.
    pub call: CallKey,
    /// The call's record id.
    pub call_id: &'a str,
    /// The move.
    pub move_id: &'a str,
    /// What is covered.
    pub scope: Scope,
    /// How long; the user's own value, or the node's.
    pub length: Duration,
}

/// An entry that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The move that had begun it: delete this row.
    pub move_id: Box<str>,
    /// The device that is free again.
    pub device: DeviceKey,
    /// The call; `None` where it came over a restart.
    pub call: Option<CallKey>,
    /// How many requests it refused.
    pub rejections: u64,
}

struct Entry {
    device: DeviceKey,
    call: Option<CallKey>,
    move_id: Box<str>,
    scope: Scope,
    ends: Timestamp,
    rejections: u64,
}

/// The hold-offs of a node.
///
/// ```
/// use segue::base::{Now, Timestamp, UnixMillis};
/// use segue::moving::hold_off::{Access, HoldOffs, Scope, Start};
/// use segue::moving::{CallKey, DeviceKey};
/// let (mut table, desk, call) = (HoldOffs::default(), DeviceKey::new("alice", "desk"), CallKey(1));
/// let now = Now { at: Timestamp::ZERO, unix: UnixMillis(0) };
/// let length = std::time::Duration::from_secs(30);
/// let start = Start { device: &desk, call, call_id: "c", move_id: "m", scope: Scope::Call, length };
/// let row_to_store = table.start(now, &start);
/// assert!(row_to_store.is_some());
/// assert_eq!(table.check(now.at, &desk, Access::Call(call)).unwrap_err().seconds, 30);
/// assert!(table.check(now.at, &desk, Access::Other).is_ok());
/// ```
#[derive(Default)]
pub struct HoldOffs {
    entries: BTreeMap<u64, Entry>,
    by_device: BTreeMap<DeviceKey, Vec<u64>>,
    by_end: BTreeSet<(Timestamp, u64)>,
    by_move: BTreeMap<Box<str>, u64>,
    next: u64,
    evicted: u64,
}

impl HoldOffs {
    /// Begins a hold-off and gives the row to store; `None` where the length is zero (turned off).
    pub fn start(&mut self, now: Now, start: &Start<'_>) -> Option<Row> {
        let length = start.length.min(LONGEST);
        if length.is_zero() {
            return None;
        }
        self.end_move(start.move_id);
        self.insert(Entry {
            device: start.device.clone(),
            call: Some(start.call),
            move_id: start.move_id.into(),
            scope: start.scope,
            ends: now.at + length,
            rejections: 0,
        });
        Some(Row {
            move_id: start.move_id.into(),
            user: start.device.user().into(),
            device: start.device.device().into(),
            call_id: start.call_id.into(),
            scope: start.scope,
            started: now.unix,
            length_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Takes up a stored row after a restart: `false` where its time is over, and the row may be deleted. A wall
    /// clock that went back cannot make it longer than it was.
    pub fn restore(&mut self, now: Now, row: &Row) -> bool {
        let length = Duration::from_millis(row.length_ms).min(LONGEST);
        let gone = Duration::from_millis(now.unix.0.saturating_sub(row.started.0));
        let left = length.saturating_sub(gone);
        if left.is_zero() {
            return false;
        }
        self.end_move(&row.move_id);
        self.insert(Entry {
            device: DeviceKey::new(row.user.as_str(), row.device.as_str()),
            call: None,
            move_id: row.move_id.as_str().into(),
            scope: row.scope,
            ends: now.at + left,
            rejections: 0,
        });
        true
    }

    /// Whether `device` may do this now. Ask for every request of a device.
    ///
    /// # Errors
    /// [`Held`] with the seconds left of the entry that lasts longest.
    pub fn check(&mut self, now: Timestamp, device: &DeviceKey, access: Access) -> Result<(), Held> {
        let Some(found) = self.longest(now, device, access) else { return Ok(()) };
        let Some(entry) = self.entries.get_mut(&found) else { return Ok(()) };
        entry.rejections += 1;
        Err(held(entry, now))
    }

    /// As [`HoldOffs::check`] without counting a rejection: for lists, lamps and pages.
    ///
    /// # Errors
    /// As [`HoldOffs::check`].
    pub fn look(&self, now: Timestamp, device: &DeviceKey, access: Access) -> Result<(), Held> {
        let entry = self.longest(now, device, access).and_then(|id| self.entries.get(&id));
        entry.map_or(Ok(()), |entry| Err(held(entry, now)))
    }

    /// Whole seconds until nothing of a device is held off any more; `None` where nothing is.
    #[must_use]
    pub fn seconds_left(&self, now: Timestamp, device: &DeviceKey) -> Option<u32> {
        let entries = self.by_device.get(device)?.iter().filter_map(|id| self.entries.get(id));
        entries.filter(|entry| entry.ends > now).map(|entry| held(entry, now).seconds).max()
    }

    /// The moves that keep a device from this one call alone.
    #[must_use]
    pub fn of_call(&self, device: &DeviceKey, call: CallKey) -> Vec<Box<str>> {
        let entries = self.by_device.get(device).into_iter().flatten().filter_map(|id| self.entries.get(id));
        let of_call = entries.filter(|entry| entry.call == Some(call) && entry.scope == Scope::Call);
        of_call.map(|entry| entry.move_id.clone()).collect()
    }

    /// Who talked in one call talks in another: devices that may not touch the one may not touch the other.
    pub fn carry_over(&mut self, from: CallKey, to: CallKey) {
        for entry in self.entries.values_mut().filter(|entry| entry.call == Some(from)) {
            entry.call = Some(to);
        }
    }

    /// Ends the hold-off that a move began: undo, or rollback.
    pub fn end_move(&mut self, move_id: &str) -> Option<Ended> {
        let id = *self.by_move.get(move_id)?;
        self.remove(id)
    }

    /// When the hold-off that a move began ends, in calendar time.
    #[must_use]
    pub fn ends_of(&self, move_id: &str, now: Now) -> Option<UnixMillis> {
        let entry = self.entries.get(self.by_move.get(move_id)?)?;
        let left = u64::try_from(entry.ends.since(now.at).as_millis()).unwrap_or(u64::MAX);
        Some(UnixMillis(now.unix.0.saturating_add(left)))
    }

    /// When [`HoldOffs::expire`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(ends, _)| *ends)
    }

    /// Takes one entry whose time is over; call until `None`.
    pub fn expire(&mut self, now: Timestamp) -> Option<Ended> {
        let (ends, id) = *self.by_end.first()?;
        if ends > now { None } else { self.remove(id) }
    }

    /// How many are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many gave way because the table or a device's share was full.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn longest(&self, now: Timestamp, device: &DeviceKey, access: Access) -> Option<u64> {
        let ids = self.by_device.get(device)?;
        let live = ids.iter().filter_map(|id| self.entries.get(id).map(|entry| (*id, entry)));
        live.filter(|(_, entry)| entry.ends > now && covers(entry, access))
            .max_by_key(|(_, e)| e.ends)
            .map(|(id, _)| id)
    }

    fn insert(&mut self, entry: Entry) {
        let of_device = self.by_device.get(&entry.device).map_or(&[][..], Vec::as_slice);
        let soonest = |ids: &[u64]| ids.iter().copied().min_by_key(|id| self.entries.get(id).map(|e| e.ends));
        let victim = if of_device.len() >= PER_DEVICE {
            soonest(of_device)
        } else if self.entries.len() >= CAPACITY {
            self.by_end.first().map(|(_, id)| *id)
        } else {
            None
        };
        if let Some(victim) = victim {
            self.remove(victim);
            self.evicted += 1;
        }
        self.next += 1;
        self.by_end.insert((entry.ends, self.next));
        self.by_move.insert(entry.move_id.clone(), self.next);
        self.by_device.entry(entry.device.clone()).or_default().push(self.next);
        self.entries.insert(self.next, entry);
    }

    fn remove(&mut self, id: u64) -> Option<Ended> {
        let entry = self.entries.remove(&id)?;
        self.by_end.remove(&(entry.ends, id));
        self.by_move.remove(&entry.move_id);
        if let Some(ids) = self.by_device.get_mut(&entry.device) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_device.remove(&entry.device);
            }
        }
        let Entry { device, call, move_id, rejections, .. } = entry;
        Some(Ended { move_id, device, call, rejections })
    }
}

fn covers(entry: &Entry, access: Access) -> bool {
    match (access, entry.scope) {
        (Access::Ending | Access::Emergency | Access::Registering, _) => false,
        (_, Scope::System) => true,
        (Access::Call(call), Scope::Call) => entry.call == Some(call),
        (Access::AnyMovedCall, Scope::Call) => entry.call.is_none(),
        (Access::Other, Scope::Call) => false,
    }
}

fn held(entry: &Entry, now: Timestamp) -> Held {
    let micros = entry.ends.since(now).as_micros();
    Held { seconds: u32::try_from(micros.div_ceil(1_000_000)).unwrap_or(u32::MAX).max(1), scope: entry.scope }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: CallKey = CallKey(1);
    const OTHER_CALL: CallKey = CallKey(2);

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_micros(ms * 1000)
    }

    fn now(at: u64, unix: u64) -> Now {
        Now { at: ms(at), unix: UnixMillis(unix) }
    }

    fn desk() -> DeviceKey {
        DeviceKey::new("alice", "desk")
    }

    fn start(table: &mut HoldOffs, when: Now, scope: Scope, seconds: u64, move_id: &str) -> Option<Row> {
        let (device, length) = (desk(), Duration::from_secs(seconds));
        table.start(when, &Start { device: &device, call: CALL, call_id: "cdr-1", move_id, scope, length })
    }

    #[test]
    fn only_the_moved_call_is_covered_and_its_end_is_served() {
        let mut table = HoldOffs::default();
        start(&mut table, now(0, 0), Scope::Call, 30, "m1").unwrap();
        assert_eq!(
            table.check(ms(0), &desk(), Access::Call(CALL)),
            Err(Held { seconds: 30, scope: Scope::Call })
        );
        for free in
            [Access::Call(OTHER_CALL), Access::Other, Access::AnyMovedCall, Access::Ending, Access::Emergency]
        {
            assert_eq!(table.check(ms(0), &desk(), free), Ok(()), "{free:?}");
        }
        assert_eq!(table.check(ms(0), &DeviceKey::new("alice", "mobile"), Access::Call(CALL)), Ok(()));
        assert_eq!(table.check(ms(0), &DeviceKey::new("bob", "desk"), Access::Call(CALL)), Ok(()));
    }

    #[test]
    fn system_scope_covers_all_but_emergencies_the_end_and_registering() {
        let mut table = HoldOffs::default();
        start(&mut table, now(0, 0), Scope::System, 30, "m1").unwrap();
        for held in [Access::Call(CALL), Access::Call(OTHER_CALL), Access::AnyMovedCall, Access::Other] {
            assert!(table.check(ms(1), &desk(), held).is_err(), "{held:?}");
        }
        for free in [Access::Ending, Access::Emergency, Access::Registering] {
            assert_eq!(table.check(ms(1), &desk(), free), Ok(()));
        }
    }

    #[test]
    fn seconds_are_rounded_up_and_the_window_ends_to_the_microsecond() {
        let mut table = HoldOffs::default();
        start(&mut table, now(0, 0), Scope::Call, 2, "m1").unwrap();
        let seconds =
            |table: &HoldOffs, at| table.look(at, &desk(), Access::Call(CALL)).map_err(|held| held.seconds);
        assert_eq!(seconds(&table, ms(1)), Err(2));
        assert_eq!(seconds(&table, ms(1000)), Err(1));
        assert_eq!(seconds(&table, Timestamp::from_micros(1_999_999)), Err(1));
        assert_eq!(seconds(&table, ms(2000)), Ok(()));
        assert_eq!(table.poll_timeout(), Some(ms(2000)));
        assert_eq!(table.expire(Timestamp::from_micros(1_999_999)), None);
        assert_eq!(table.expire(ms(2000)).unwrap().move_id.as_ref(), "m1");
        assert!(table.is_empty() && table.by_device.is_empty() && table.by_end.is_empty());
    }

    #[test]
    fn rejections_are_counted_and_told_at_the_end() {
        let mut table = HoldOffs::default();
        start(&mut table, now(0, 0), Scope::Call, 30, "m1").unwrap();
        for _ in 0..3 {
            let _ = table.check(ms(5), &desk(), Access::Call(CALL));
        }
        let _ = table.look(ms(5), &desk(), Access::Call(CALL));
        assert_eq!(table.end_move("m2"), None);
        let ended = table.end_move("m1").unwrap();
        assert_eq!((ended.rejections, ended.call, ended.device), (3, Some(CALL), desk()));
        assert_eq!(table.check(ms(5), &desk(), Access::Call(CALL)), Ok(()));
    }

    #[test]
    fn a_restart_keeps_what_is_left_and_a_clock_that_went_back_adds_nothing() {
        let mut table = HoldOffs::default();
        let row = start(&mut table, now(500_000, 1_000_000), Scope::System, 30, "m1").unwrap();
        let restored = |unix, at| {
            let mut fresh = HoldOffs::default();
            let kept = fresh.restore(now(at, unix), &row);
            (kept, fresh.look(ms(at), &desk(), Access::Other).map_err(|held| held.seconds))
        };
        assert_eq!(restored(1_010_000, 0), (true, Err(20)));
        assert_eq!(restored(1_029_999, 7), (true, Err(1)));
        assert_eq!(restored(1_030_000, 7), (false, Ok(())));
        assert_eq!(restored(0, 7), (true, Err(30)));
        assert_eq!(restored(u64::MAX, 7), (false, Ok(())));
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }

    #[test]
    fn after_a_restart_a_pull_that_finds_nothing_is_still_refused() {
        let mut table = HoldOffs::default();
        let row = start(&mut table, now(0, 0), Scope::Call, 30, "m1").unwrap();
        let mut fresh = HoldOffs::default();
        assert!(fresh.restore(now(0, 10_000), &row));
        assert_eq!(fresh.check(ms(0), &desk(), Access::AnyMovedCall).map_err(|held| held.seconds), Err(20));
        assert_eq!(fresh.check(ms(0), &desk(), Access::Call(CALL)), Ok(()));
    }

    #[test]
    fn zero_turns_it_off_and_hostile_lengths_are_cut() {
        let mut table = HoldOffs::default();
        assert_eq!(start(&mut table, now(0, 0), Scope::Call, 0, "m1"), None);
        assert!(table.is_empty());
        let row = start(&mut table, now(0, 0), Scope::Call, u64::MAX / 1000, "m1").unwrap();
        assert_eq!(row.length_ms, 24 * 3600 * 1000);
        let forged = Row { length_ms: u64::MAX, started: UnixMillis(u64::MAX), ..row };
        assert!(table.restore(now(0, 0), &forged));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn the_entry_that_lasts_longest_answers_and_a_device_has_a_bounded_share() {
        let mut table = HoldOffs::default();
        for n in 0..40 {
            start(&mut table, now(0, 0), Scope::Call, 10 + n, &format!("m{n}")).unwrap();
        }
        assert_eq!((table.len(), table.evicted()), (PER_DEVICE, 24));
        assert_eq!(table.look(ms(0), &desk(), Access::Call(CALL)).map_err(|held| held.seconds), Err(49));
    }
}
