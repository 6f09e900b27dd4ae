//! What is to be written behind: the newest value of each thing, in the order in which the things came.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::call::record::CallRecord;
use crate::engine::store::{FailureCounter, StoreOp};
use crate::engine::view::MoveView;
use crate::registrar::SavedAor;
use crate::registrar::hot_desk::SavedDesk;

/// Most things that wait. Bindings and counters are bounded by their tables in memory; moves and call records pile up
/// while the disk fails, about 2 KiB each. Beyond this the oldest of them give way.
const CAPACITY: usize = 100_000;

/// A value to be written.
#[derive(Clone, Debug)]
pub(super) enum Save {
    /// The bindings of an address of record.
    Bindings(SavedAor),
    /// A failure counter.
    Failures(FailureCounter),
    /// Who is signed in at a shared device.
    HotDesk(Box<SavedDesk>),
    /// A move.
    Move(Box<MoveView>),
    /// A call record.
    Record(Arc<CallRecord>),
}

/// What a value is of.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    Bindings(Arc<str>),
    Failures(Box<str>, Box<str>),
    HotDesk(Box<str>),
    Move(Box<str>),
    Record(Box<str>),
}

impl Save {
    /// The values of an operation that is written behind; the operation itself where it is not.
    pub(super) fn of(op: StoreOp) -> Result<Vec<Self>, StoreOp> {
        match op {
            StoreOp::SaveBindings(aors) => Ok(aors.into_iter().map(Self::Bindings).collect()),
            StoreOp::SaveFailures(counters) => Ok(counters.into_iter().map(Self::Failures).collect()),
            StoreOp::SaveHotDesk(desk) => Ok(vec![Self::HotDesk(desk)]),
            StoreOp::SaveMove(view) => Ok(vec![Self::Move(view)]),
            StoreOp::AddRecord(record) => Ok(vec![Self::Record(record)]),
            op @ (StoreOp::PutAccount(_)
            | StoreOp::RemoveAccount { .. }
            | StoreOp::PutHoldOff(_)
            | StoreOp::RemoveHoldOff { .. }
            | StoreOp::PutSnapshot(_)
            | StoreOp::RemoveSnapshot { .. }
            | StoreOp::ListMoves { .. }
            | StoreOp::FindMove { .. }
            | StoreOp::ListRecords { .. }
            | StoreOp::FindRecord { .. }) => Err(op),
        }
    }

    fn key(&self) -> Key {
        match self {
            Self::Bindings(aor) => Key::Bindings(Arc::clone(&aor.user)),
            Self::Failures(counter) => Key::Failures(counter.kind.clone(), counter.key.clone()),
            Self::HotDesk(desk) => Key::HotDesk(desk.device.clone()),
            Self::Move(view) => Key::Move(view.id.as_str().into()),
            Self::Record(record) => Key::Record(record.id.as_str().into()),
        }
    }

    /// Whether it gives way when too much waits.
    const fn is_history(&self) -> bool {
        matches!(self, Self::Move(_) | Self::Record(_))
    }
}

/// A value with its place in the order.
pub(super) type Placed = (u64, Save);

/// The values that wait.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: BTreeMap<u64, Save>,
    // Keys hold user names and addresses of attackers: the standard hasher is seeded.
    places: HashMap<Key, u64>,
    next: u64,
    dropped: u64,
}

impl Backlog {
    /// Adds a value. It takes the place of an older one of the same thing; of call records the first stays.
    pub(super) fn put(&mut self, save: Save) {
        let key = save.key();
        if let Some(older) = self.places.get(&key).and_then(|place| self.waiting.get_mut(place)) {
            if !matches!(save, Save::Record(_)) {
                *older = save;
            }
            return;
        }
        self.places.insert(key, self.next);
        self.waiting.insert(self.next, save);
        self.next += 1;
        self.make_room();
    }

    /// Takes the first values out, at most `limit`.
    pub(super) fn take(&mut self, limit: usize) -> Vec<Placed> {
        let mut taken = Vec::with_capacity(limit.min(self.waiting.len()));
        while taken.len() < limit
            && let Some((place, save)) = self.waiting.pop_first()
        {
            self.places.remove(&save.key());
            taken.push((place, save));
        }
        taken
    }

    /// Puts values back where they were; one whose thing has a newer value by now is over, and of call records the
    /// older stays.
    pub(super) fn put_back(&mut self, taken: Vec<Placed>) {
        for (place, save) in taken {
            let key = save.key();
            if let Some(newer) = self.places.get(&key) {
                if matches!(save, Save::Record(_)) {
                    self.waiting.insert(*newer, save);
                }
                continue;
            }
            self.places.insert(key, place);
            self.waiting.insert(place, save);
        }
        self.make_room();
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many were given up for want of room, since last asked.
    pub(super) fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn make_room(&mut self) {
        while self.waiting.len() > CAPACITY {
            let oldest = self.waiting.iter().find(|(_, save)| save.is_history()).map(|(place, _)| *place);
            let Some(save) = oldest.and_then(|place| self.waiting.remove(&place)) else { return };
            self.places.remove(&save.key());
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::UnixMillis;

    fn aor(user: &str) -> Save {
        Save::Bindings(SavedAor { user: user.into(), bindings: Vec::new() })
    }

    fn counter(key: &str, count: u32) -> Save {
        let (kind, key, window) = ("pin".into(), key.into(), UnixMillis(0));
        Save::Failures(FailureCounter { kind, key, count, window, banned_until: None })
    }

    fn record(id: &str, to: &str) -> Save {
        Save::Record(Arc::new(CallRecord { id: id.into(), to: to.into(), ..CallRecord::default() }))
    }

    fn shown(taken: &[Placed]) -> Vec<String> {
        let show = |save: &Save| match save {
            Save::Bindings(aor) => aor.user.to_string(),
            Save::Failures(counter) => format!("{}={}", counter.key, counter.count),
            Save::HotDesk(desk) => desk.device.to_string(),
            Save::Move(view) => view.id.clone(),
            Save::Record(record) => format!("{}:{}", record.id, record.to),
        };
        taken.iter().map(|(_, save)| show(save)).collect()
    }

    #[test]
    fn a_newer_value_takes_the_place_of_the_older() {
        let mut backlog = Backlog::default();
        for save in [counter("a", 1), aor("x"), counter("a", 2), counter("b", 1), aor("x"), counter("a", 3)] {
            backlog.put(save);
        }
        assert_eq!(backlog.len(), 3);
        assert_eq!(shown(&backlog.take(2)), ["a=3", "x"]);
        assert_eq!(shown(&backlog.take(2)), ["b=1"]);
        assert!(backlog.is_empty() && backlog.places.is_empty());
    }

    #[test]
    fn what_could_not_be_written_goes_back_unless_there_is_a_newer_value() {
        let mut backlog = Backlog::default();
        [counter("a", 1), counter("b", 1), counter("c", 1)].into_iter().for_each(|save| backlog.put(save));
        let taken = backlog.take(3);
        [counter("d", 1), counter("b", 2)].into_iter().for_each(|save| backlog.put(save));
        backlog.put_back(taken);
        assert_eq!(shown(&backlog.take(9)), ["a=1", "c=1", "d=1", "b=2"]);
        assert!(backlog.places.is_empty());
    }

    #[test]
    fn of_call_records_the_first_stays() {
        let mut backlog = Backlog::default();
        [record("1", "first"), record("1", "second")].into_iter().for_each(|save| backlog.put(save));
        let taken = backlog.take(9);
        assert_eq!(shown(&taken), ["1:first"]);
        backlog.put(record("1", "third"));
        backlog.put_back(taken);
        assert_eq!(shown(&backlog.take(9)), ["1:first"]);
    }

    #[test]
    fn history_gives_way_and_bindings_do_not() {
        let mut backlog = Backlog::default();
        backlog.put(aor("x"));
        for n in 0..CAPACITY + 4 {
            backlog.put(record(&n.to_string(), ""));
        }
        assert_eq!((backlog.len(), backlog.dropped(), backlog.dropped()), (CAPACITY, 5, 0));
        assert_eq!(shown(&backlog.take(2)), ["x", "5:"]);
    }
}
