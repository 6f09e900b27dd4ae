//! What waits for the writer: operations with an answer in order, and the newest value of what is written behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::call::record::CallRecord;
use crate::engine::store::{FailureCounter, StoreOp, StoreTicket, Unavailable};
use crate::engine::view::MoveView;
use crate::registrar::SavedAor;

/// Values that wait to be written, by what they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    pub(super) bindings: BTreeMap<Box<str>, SavedAor>,
    pub(super) failures: BTreeMap<(Box<str>, Box<str>), FailureCounter>,
    pub(super) moves: BTreeMap<String, MoveView>,
    pub(super) records: BTreeMap<String, CallRecord>,
}

impl Behind {
    pub(super) fn is_empty(&self) -> bool {
        self.bindings.is_empty()
            && self.failures.is_empty()
            && self.moves.is_empty()
            && self.records.is_empty()
    }

    /// Takes back what could not be written, unless something newer has come meanwhile.
    fn put_back(&mut self, older: Self) {
        let Self { bindings, failures, moves, records } = older;
        for (key, value) in bindings {
            self.bindings.entry(key).or_insert(value);
        }
        for (key, value) in failures {
            self.failures.entry(key).or_insert(value);
        }
        for (key, value) in moves {
            self.moves.entry(key).or_insert(value);
        }
        for (key, value) in records {
            self.records.entry(key).or_insert(value);
        }
    }
}

/// What the writer takes at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) asked: Vec<(StoreTicket, StoreOp)>,
    pub(super) behind: Behind,
}

#[derive(Default)]
struct Waiting {
    asked: VecDeque<(StoreTicket, StoreOp)>,
    behind: Behind,
    is_closed: bool,
}

/// The way from the engine to the writer.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
    most: usize,
}

impl Queue {
    pub(super) fn new(most: usize) -> Self {
        Self { waiting: Mutex::default(), ready: Condvar::new(), most }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts in; an operation with an answer may find no room.
    pub(super) fn push(&self, ticket: StoreTicket, op: StoreOp) -> Result<(), Unavailable> {
        let mut waiting = self.lock();
        let behind = &mut waiting.behind;
        match op {
            StoreOp::SaveBindings(aors) => {
                behind.bindings.extend(aors.into_iter().map(|aor| (Box::from(&*aor.user), aor)));
            }
            StoreOp::SaveFailures(counters) => {
                behind
                    .failures
                    .extend(counters.into_iter().map(|one| ((one.kind.clone(), one.key.clone()), one)));
            }
            StoreOp::SaveMove(view) => {
                behind.moves.insert(view.id.clone(), *view);
            }
            StoreOp::AddRecord(record) => {
                behind.records.insert(record.id.clone(), *record);
            }
            asked => {
                if waiting.is_closed {
                    return Err(Unavailable::Closed);
                }
                if waiting.asked.len() >= self.most {
                    return Err(Unavailable::QueueFull);
                }
                waiting.asked.push_back((ticket, asked));
            }
        }
        drop(waiting);
        self.ready.notify_one();
        Ok(())
    }

    /// Waits for something to do; `None` once it is closed and empty. After a failure `rest` is given: what is
    /// written behind waits that long, an operation with an answer is taken at once.
    pub(super) fn take(&self, rest: Option<Duration>) -> Option<Batch> {
        let mut waiting = self.lock();
        if let Some(rest) = rest
            && waiting.asked.is_empty()
            && !waiting.is_closed
        {
            let (guard, _) = self
                .ready
                .wait_timeout_while(waiting, rest, |waiting| waiting.asked.is_empty() && !waiting.is_closed)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = guard;
        }
        let idle = |waiting: &mut Waiting| {
            waiting.asked.is_empty() && waiting.behind.is_empty() && !waiting.is_closed
        };
        waiting = self.ready.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        if waiting.asked.is_empty() && waiting.behind.is_empty() {
            return None;
        }
        let asked = waiting.asked.drain(..).collect();
        Some(Batch { asked, behind: std::mem::take(&mut waiting.behind) })
    }

    /// Takes back what was not written; false when it is closed and nobody will try again.
    pub(super) fn put_back(&self, behind: Behind) -> bool {
        let mut waiting = self.lock();
        waiting.behind.put_back(behind);
        !waiting.is_closed
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.ready.notify_one();
    }
}
