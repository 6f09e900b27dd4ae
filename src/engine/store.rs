//! What is asked of a store and what it answers. A store is a correspondent: slow, lost and refused replies are
//! ordinary inputs, so none of these types knows a file, a socket or a thread.
//!
//! Two kinds of writing. **Answered** operations are done or not done when their reply comes. **Write-behind**
//! operations are accepted at once, never refused and never answered: memory is what counts, the store keeps trying
//! until they are written, and a later value of the same thing replaces an earlier one that was not yet written.
//! A read sees what was submitted before it.

use std::sync::Arc;

use super::view::{MoveView, Page, PageQuery, RecordQuery};
use crate::base::UnixMillis;
use crate::call::record::CallRecord;
use crate::moving::hold_off;
use crate::moving::snapshot::Snapshot;
use crate::registrar::SavedAor;
use crate::registrar::accounts::Account;
use crate::registrar::hot_desk::SavedDesk;

/// Names one operation, so that its reply finds who asked. Minted by who asks; the store only gives it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StoreTicket(pub u64);

/// What a store is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreOp {
    /// Write-behind: these are now the bindings of these addresses of record.
    SaveBindings(Vec<SavedAor>),
    /// Write-behind: these are now the failure counters; one with no failures left goes.
    SaveFailures(Vec<FailureCounter>),
    /// Write-behind: who is now signed in at this shared device.
    SaveHotDesk(Box<SavedDesk>),
    /// Write-behind: a move as it stands, with its timeline.
    SaveMove(Box<MoveView>),
    /// Answered: adds an account, or replaces the one of that name.
    PutAccount(Box<Account>),
    /// Answered: takes an account out. One that is not there is no error.
    RemoveAccount {
        /// Its name.
        name: Box<str>,
    },
    /// Answered: a device is held off from here on. Replaces the row of the same move.
    PutHoldOff(Box<hold_off::Row>),
    /// Answered: a hold-off has ended. One that is not there is no error.
    RemoveHoldOff {
        /// The move that had begun it.
        move_id: Box<str>,
    },
    /// Answered: the session information that a grant captured. Replaces the row of the same move.
    PutSnapshot(Box<Snapshot>),
    /// Answered: the session information of a move is of no use any more. One that is not there is no error.
    RemoveSnapshot {
        /// The move.
        move_id: Box<str>,
    },
    /// Write-behind: a call has ended. Written once, whatever is asked twice.
    AddRecord(Arc<CallRecord>),
    /// Asks for moves without their timelines, newest first.
    ListMoves {
        /// Of this user only.
        user: Option<Box<str>>,
        /// Where and how much.
        page: PageQuery,
    },
    /// Asks for one move with its timeline.
    FindMove {
        /// Its id.
        id: Box<str>,
    },
    /// Asks for call records without their segments, newest first.
    ListRecords {
        /// Which.
        wanted: RecordQuery,
        /// Where and how much.
        page: PageQuery,
    },
    /// Asks for one call record with its segments.
    FindRecord {
        /// Its id.
        id: Box<str>,
    },
}

impl StoreOp {
    /// Whether it changes nothing.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(
            self,
            Self::ListMoves { .. }
                | Self::FindMove { .. }
                | Self::ListRecords { .. }
                | Self::FindRecord { .. }
        )
    }
}

/// What a store answers.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreReply {
    /// Written: it survives the process, and for accounts the power supply.
    Done,
    /// The name, an extension or a digest identity is another account's.
    Conflict,
    /// Not written, not read. What was asked is unchanged.
    Unavailable(Unavailable),
    /// The moves asked for.
    Moves(Page<MoveView>),
    /// The move asked for.
    Move(Option<Box<MoveView>>),
    /// The call records asked for.
    Records(Page<CallRecord>),
    /// The call record asked for.
    Record(Option<Box<CallRecord>>),
}

/// Why a store cannot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Unavailable {
    /// More is waiting than the queue holds.
    #[error("the store's queue is full")]
    QueueFull,
    /// No room on the disk.
    #[error("no space left for the store")]
    DiskFull,
    /// Another process holds the lock.
    #[error("the store is locked by another process")]
    Locked,
    /// The file, the directory or the disk may not be written.
    #[error("the store is read-only")]
    ReadOnly,
    /// The file is damaged.
    #[error("the store is damaged")]
    Corrupt,
    /// Anything else; the log of the shell says what.
    #[error("the store failed")]
    Failed,
    /// It has been closed.
    #[error("the store is closed")]
    Closed,
}

/// What a store holds when the node starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Accounts added at run time.
    pub accounts: Vec<Account>,
    /// Bindings that have not expired.
    pub bindings: Vec<SavedAor>,
    /// Hold-offs that have not ended.
    pub hold_offs: Vec<hold_off::Row>,
    /// Session information of moves that were under way when the node stopped.
    pub snapshots: Vec<Snapshot>,
    /// Failure counters.
    pub failures: Vec<FailureCounter>,
    /// Shared devices at which somebody is signed in.
    pub hot_desks: Vec<SavedDesk>,
}

/// Failed attempts of one kind against one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureCounter {
    /// What was tried: `digest`, `pin`, `login`.
    pub kind: Box<str>,
    /// Against whom, or from where.
    pub key: Box<str>,
    /// How often in the window.
    pub count: u32,
    /// When the window began.
    pub window: UnixMillis,
    /// Refused until then.
    pub banned_until: Option<UnixMillis>,
}
