//! The one thread that writes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::unavailable;
use super::queue::{Batch, Queue};
use super::{Answered, read, write};
use crate::engine::store::{StoreOp, StoreReply, StoreTicket};

/// Failures in a row after which, while closing, the rest is given up.
const LAST_TRIES: u32 = 3;

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) queue: Arc<Queue>,
    pub(super) answered: Answered,
    pub(super) retry: Duration,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut rest = None;
        let mut failures = 0;
        while let Some(Batch { asked, behind }) = self.queue.take(rest) {
            let tickets: Vec<StoreTicket> = asked.iter().map(|(ticket, _)| *ticket).collect();
            match self.write(&asked, &behind) {
                Ok(replies) => {
                    (rest, failures) = (None, 0);
                    for (ticket, reply) in tickets.into_iter().zip(replies) {
                        (self.answered)(ticket, reply);
                    }
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 || failures % 60 == 0 {
                        tracing::error!(%error, failures, "the store cannot be written");
                    }
                    let why = unavailable(&error);
                    for ticket in tickets {
                        (self.answered)(ticket, StoreReply::Unavailable(why));
                    }
                    rest = Some(self.retry);
                    if !self.queue.put_back(behind) && failures >= LAST_TRIES {
                        tracing::error!(%error, "closing without what could not be written");
                        return;
                    }
                }
            }
        }
        // What is in the log goes into the file, so that a copy of the file alone is whole.
        if let Err(error) = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::debug!(%error, "checkpoint");
        }
    }

    /// One transaction. What was asked for in vain (a name that is taken) is a reply; an error undoes everything.
    fn write(
        &mut self,
        asked: &[(StoreTicket, StoreOp)],
        behind: &super::queue::Behind,
    ) -> rusqlite::Result<Vec<StoreReply>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // First, so that who asks reads what was given before.
        write::behind(&transaction, behind)?;
        let replies = asked.iter().map(|(_, op)| answer(&transaction, op)).collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(replies)
    }
}

fn answer(transaction: &Transaction<'_>, op: &StoreOp) -> rusqlite::Result<StoreReply> {
    match op {
        StoreOp::PutAccount(account) => write::put_account(transaction, account),
        StoreOp::RemoveAccount { name } => {
            transaction.prepare_cached("DELETE FROM accounts WHERE name = ?")?.execute([name])?;
            Ok(StoreReply::Done)
        }
        StoreOp::PutHoldOff(row) => write::put_hold_off(transaction, row),
        StoreOp::RemoveHoldOff { move_id } => {
            transaction.prepare_cached("DELETE FROM hold_offs WHERE move = ?")?.execute([move_id])?;
            Ok(StoreReply::Done)
        }
        StoreOp::PutSnapshot(snapshot) => write::put_snapshot(transaction, snapshot),
        StoreOp::RemoveSnapshot { move_id } => {
            transaction.prepare_cached("DELETE FROM snapshots WHERE move = ?")?.execute([move_id])?;
            Ok(StoreReply::Done)
        }
        StoreOp::ListMoves { user, page } => read::moves(transaction, user.as_deref(), page),
        StoreOp::FindMove { id } => read::one_move(transaction, id),
        // The queue keeps these apart.
        StoreOp::SaveBindings(_)
        | StoreOp::SaveFailures(_)
        | StoreOp::SaveMove(_)
        | StoreOp::AddRecord(_) => Ok(StoreReply::Done),
    }
}
