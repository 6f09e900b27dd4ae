//! The thread of the store: one transaction for what waits; where that fails, each for itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Answered;
use super::backlog::Placed;
use super::checkpoint::Checkpoints;
use super::database::{Database, Outlives};
use super::fault::Fault;
use super::queue::{Ask, Batch, Queue};
use super::rows;
use crate::engine::store::{StoreReply, Unavailable};

pub(super) struct Writer {
    /// Dropped first, so that the last connection to close is the one that writes.
    checkpoints: Checkpoints,
    database: Database,
    queue: Arc<Queue>,
    answered: Answered,
}

impl Writer {
    pub(super) fn new(
        database: Database,
        checkpoints: Checkpoints,
        queue: Arc<Queue>,
        answered: Answered,
    ) -> Self {
        Self { checkpoints, database, queue, answered }
    }

    /// Works until the queue is closed and empty. Gives the number of values that are lost.
    pub(super) fn run(self) -> usize {
        let lost = catch_unwind(AssertUnwindSafe(|| self.work()));
        if lost.is_err() {
            tracing::error!("bug: the store's thread panicked; the store is closed");
        }
        let left = self.queue.abandon();
        for ask in left.asks {
            (self.answered)(ask.ticket, StoreReply::Unavailable(Unavailable::Closed));
        }
        lost.unwrap_or_default() + left.saves.len()
    }

    fn work(&self) -> usize {
        let mut lost = 0;
        while let Some(batch) = self.queue.take() {
            lost += self.carry_out(batch);
        }
        lost
    }

    /// Carries a batch out. Gives the number of values that could not be written and have no later chance.
    fn carry_out(&self, batch: Batch) -> usize {
        if batch.is_trial {
            self.checkpoints.written();
            let room = || rows::try_room(self.database.connection());
            self.went(self.database.transaction(Outlives::Process, room).err());
            return 0;
        }
        let replies = match self.together(&batch) {
            Ok(replies) => replies,
            Err(fault) => return self.apart(batch, fault),
        };
        if !batch.saves.is_empty() {
            self.queue.saved(Vec::new());
        }
        if batch.writes() {
            self.went(None);
        }
        for (ask, reply) in batch.asks.iter().zip(replies) {
            (self.answered)(ask.ticket, reply);
        }
        0
    }

    /// All in one transaction.
    fn together(&self, batch: &Batch) -> Result<Vec<StoreReply>, Fault> {
        let work = || {
            for (_, save) in &batch.saves {
                rows::save(self.database.connection(), save)?;
            }
            batch.asks.iter().map(|ask| self.perform(ask)).collect()
        };
        if !batch.writes() {
            return work();
        }
        self.checkpoints.written();
        self.database.transaction(batch.outlives(), work)
    }

    /// Each for itself, so that one that fails does not take the others with it.
    fn apart(&self, batch: Batch, fault: Fault) -> usize {
        let wrote = !batch.saves.is_empty();
        let locked = (fault.why == Unavailable::Locked).then_some(fault);
        let (mut failed, mut failing) = if locked.is_some() {
            // The lock was waited for once; not again for each.
            (batch.saves, locked.clone())
        } else {
            self.save_apart(batch.saves)
        };
        let mut lost = 0;
        if self.queue.is_closing() {
            lost = std::mem::take(&mut failed).len();
        }
        if wrote {
            self.queue.saved(failed);
        }
        let mut replies = Vec::with_capacity(batch.asks.len());
        for ask in &batch.asks {
            let done = match &locked {
                _ if ask.op.is_read() => self.perform(ask),
                Some(fault) => Err(fault.clone()),
                None => self.database.transaction(ask.outlives(), || self.perform(ask)),
            };
            replies.push(done.unwrap_or_else(|fault| {
                let reply = StoreReply::Unavailable(fault.why);
                failing = Some(fault).filter(|fault| !fault.is_of_the_value).or(failing.take());
                reply
            }));
        }
        // Known before it is answered.
        self.went(failing);
        for (ask, reply) in batch.asks.iter().zip(replies) {
            (self.answered)(ask.ticket, reply);
        }
        lost
    }

    /// Writes the values alone. Gives those that failed, and why.
    fn save_apart(&self, saves: Vec<Placed>) -> (Vec<Placed>, Option<Fault>) {
        let write = |saves: &[Placed]| {
            let all = || saves.iter().try_for_each(|(_, save)| rows::save(self.database.connection(), save));
            self.database.transaction(Outlives::Process, all)
        };
        match write(&saves) {
            Ok(()) => return (Vec::new(), None),
            // A table that is damaged does not keep the others from being written.
            Err(fault) if !fault.is_of_the_value && fault.why != Unavailable::Corrupt => {
                return (saves, Some(fault));
            }
            Err(_) => {}
        }
        let (mut failed, mut failing) = (Vec::new(), None);
        for one in saves {
            match write(std::slice::from_ref(&one)) {
                Ok(()) => {}
                Err(fault) if fault.is_of_the_value => {
                    // Trying again would not help, and would hold up the rest.
                    tracing::error!(error = %fault, "bug: a value that the store does not take is lost");
                }
                Err(fault) => {
                    failing = Some(fault);
                    failed.push(one);
                }
            }
        }
        (failed, failing)
    }

    fn perform(&self, ask: &Ask) -> Result<StoreReply, Fault> {
        rows::perform(self.database.connection(), &ask.op)
    }

    /// Remembers how it went, and says so where that is news.
    fn went(&self, fault: Option<Fault>) {
        let why = fault.as_ref().map(|fault| fault.why);
        let (before, now) = self.queue.set_failing(why);
        let file = self.database.path().display();
        match fault {
            Some(fault) if before != now => tracing::error!(error = %fault, %file, "the store fails"),
            None if before != now => tracing::warn!(%file, "the store works again"),
            Some(_) | None => {}
        }
    }
}
