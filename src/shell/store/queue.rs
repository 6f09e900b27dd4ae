//! Between those who ask and the thread that writes: the bounded queue of what is answered, the backlog of what is
//! written behind, and when the thread has something to do.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Settings;
use super::backlog::{Backlog, Placed, Save};
use super::database::Outlives;
use crate::engine::store::{StoreOp, StoreTicket, Unavailable};

/// Most operations with an answer in one transaction: an answer waits for all of them.
const ASKED_AT_ONCE: usize = 256;
/// Most values that are written behind in one transaction. A thousand bindings take about 10 ms.
const SAVED_AT_ONCE: usize = 1024;

/// An operation that is answered.
#[derive(Debug)]
pub(super) struct Ask {
    /// Whom to answer.
    pub ticket: StoreTicket,
    /// What.
    pub op: StoreOp,
}

/// What is done in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// To be written behind; done before what is asked.
    pub saves: Vec<Placed>,
    /// To be answered, in order.
    pub asks: Vec<Ask>,
    /// Nothing waits, and the last transaction failed: see whether one would do now.
    pub is_trial: bool,
}

impl Batch {
    /// Whether it changes anything.
    pub(super) fn writes(&self) -> bool {
        !self.saves.is_empty() || self.asks.iter().any(|ask| !ask.op.is_read())
    }

    /// What its commit must outlive.
    pub(super) fn outlives(&self) -> Outlives {
        if self.asks.iter().any(|ask| ask.outlives() == Outlives::Power) {
            Outlives::Power
        } else {
            Outlives::Process
        }
    }
}

impl Ask {
    /// What its commit must outlive: accounts are an operator's word, all else belongs to calls and bindings.
    pub(super) fn outlives(&self) -> Outlives {
        match self.op {
            StoreOp::PutAccount(_) | StoreOp::RemoveAccount { .. } => Outlives::Power,
            _ => Outlives::Process,
        }
    }
}

/// What became of an operation.
pub(super) enum Entered {
    /// It waits for its turn.
    Waits,
    /// It is refused.
    Refused(Unavailable),
    /// It would have been written behind, but nobody writes any more.
    Lost,
}

/// See the head of the file.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
    linger: Duration,
    retry: Duration,
    retry_most: Duration,
}

#[derive(Default)]
struct State {
    asks: VecDeque<Ask>,
    backlog: Backlog,
    /// How many of the backlog are being written now.
    taken: usize,
    /// When the backlog is to be written; `None` while it is empty.
    due: Option<Instant>,
    /// The backlog failed the last time and waits for `due`; the pause that was taken.
    pause: Option<Duration>,
    failing: Option<Unavailable>,
    /// When to see whether it still does, where nothing waits that would show.
    trial: Option<Instant>,
    closing: bool,
    /// Somebody wants to see the thread turn, and how often it did.
    is_asked_to_turn: bool,
    turns: u64,
}

impl Queue {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            capacity: settings.queue,
            linger: settings.linger,
            retry: settings.retry,
            retry_most: settings.retry_most,
        }
    }

    /// An operation comes in.
    pub(super) fn enter(&self, ticket: StoreTicket, op: StoreOp) -> Entered {
        let mut state = self.lock();
        match Save::of(op) {
            Ok(_) if state.closing => return Entered::Lost,
            Ok(saves) => {
                for save in saves {
                    state.backlog.put(save);
                }
                if state.due.is_some() || state.backlog.is_empty() {
                    return Entered::Waits;
                }
                state.due = Some(Instant::now() + self.linger);
            }
            Err(_) if state.closing => return Entered::Refused(Unavailable::Closed),
            Err(_) if state.asks.len() >= self.capacity => return Entered::Refused(Unavailable::QueueFull),
            Err(op) => state.asks.push_back(Ask { ticket, op }),
        }
        drop(state);
        self.changed.notify_one();
        Entered::Waits
    }

    /// Waits for something to do. `None`: closed, and nothing is left.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.is_asked_to_turn) {
                state.turns += 1;
            }
            let now = Instant::now();
            let is_due = state.due.is_some_and(|due| due <= now) || state.closing;
            if !state.asks.is_empty() || (is_due && !state.backlog.is_empty()) {
                return Some(state.batch(is_due));
            }
            if state.closing {
                return None;
            }
            let trial = state.trial.filter(|_| state.backlog.is_empty());
            if trial.is_some_and(|trial| trial <= now) {
                state.trial = None;
                return Some(Batch { is_trial: true, ..Batch::default() });
            }
            state = match state.due.or(trial) {
                Some(due) => {
                    let wait = due.saturating_duration_since(now);
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// The values of a batch are written, all but these.
    pub(super) fn saved(&self, failed: Vec<Placed>) {
        let mut state = self.lock();
        state.taken = 0;
        if !failed.is_empty() {
            state.backlog.put_back(failed);
            let pause = state.pause.map_or(self.retry, |pause| (pause * 2).min(self.retry_most));
            state.pause = Some(pause);
            state.due = Some(Instant::now() + pause);
        } else if state.pause.take().is_some() {
            state.due = (!state.backlog.is_empty()).then(Instant::now);
        }
        let dropped = state.backlog.dropped();
        drop(state);
        if dropped > 0 {
            tracing::error!(
                dropped,
                "too much waits for the store: the oldest moves and call records are lost"
            );
        }
    }

    /// How the last transaction went. A success is none while the backlog waits for its next try. Gives what was
    /// known before, and what is now.
    pub(super) fn set_failing(&self, why: Option<Unavailable>) -> (Option<Unavailable>, Option<Unavailable>) {
        let mut state = self.lock();
        let before = state.failing;
        if why.is_some() || state.pause.is_none() {
            state.failing = why;
            // What is damaged in one table is so whatever another one takes.
            let may_heal = why.is_some_and(|why| why != Unavailable::Corrupt);
            state.trial = may_heal.then(|| Instant::now() + self.retry_most);
        }
        (before, state.failing)
    }

    pub(super) fn failing(&self) -> Option<Unavailable> {
        let state = self.lock();
        state.failing.or_else(|| (state.asks.len() >= self.capacity).then_some(Unavailable::QueueFull))
    }

    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state.backlog.len() + state.taken
    }

    /// What waits to be written behind does not wait for others any longer; what failed keeps its pause.
    pub(super) fn hurry(&self) {
        let mut state = self.lock();
        if state.pause.is_some() || state.backlog.is_empty() {
            return;
        }
        state.due = Some(Instant::now());
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn turns(&self) -> u64 {
        self.lock().turns
    }

    pub(super) fn ask_for_turn(&self) {
        self.lock().is_asked_to_turn = true;
        self.changed.notify_one();
    }

    /// Takes nothing any more; what is there is still given out.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Closes and gives out all that is there.
    pub(super) fn abandon(&self) -> Batch {
        let mut state = self.lock();
        state.closing = true;
        let (saves, asks) = (state.backlog.take(usize::MAX), std::mem::take(&mut state.asks).into());
        Batch { saves, asks, is_trial: false }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn batch(&mut self, is_due: bool) -> Batch {
        let asks: Vec<Ask> = self.asks.drain(..self.asks.len().min(ASKED_AT_ONCE)).collect();
        // A read must see what was submitted before it, so all of it is written first.
        let limit = if asks.iter().any(|ask| ask.op.is_read()) { usize::MAX } else { SAVED_AT_ONCE };
        // A backlog that failed keeps its pause, so that those who wait for an answer do not wait for it.
        let saves = if self.pause.is_some() && !is_due { Vec::new() } else { self.backlog.take(limit) };
        self.taken = saves.len();
        if self.backlog.is_empty() && self.pause.is_none() {
            self.due = None;
        }
        Batch { saves, asks, is_trial: false }
    }
}
