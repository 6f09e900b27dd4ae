//! What is asked of a store and what it answers. A store is a correspondent: slow, lost and refused replies are
//! ordinary inputs, so none of these types knows a file, a socket or a thread.
//!
//! Two kinds of writing. **Answered** operations are done or not done when their reply comes. **Write-behind**
//! operations are accepted at once and never refused: memory is what counts, the store keeps trying until they
//! are written, and a later value of the same thing replaces an earlier one that was not yet written.

use crate::base::UnixMillis;
use crate::registrar::SavedAor;
use crate::registrar::accounts::Account;

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
    /// Write-behind: a move as it stands, with its timeline.
    SaveMove(Box<MoveRecord>),
    /// Answered: adds an account, or replaces the one of that name.
    PutAccount(Box<Account>),
    /// Answered: takes an account out. One that is not there is no error.
    RemoveAccount {
        /// Its name.
        name: Box<str>,
    },
    /// Answered: a device is held off from here on. Replaces the hold-off of that id.
    PutHoldOff(Box<HoldOffRecord>),
    /// Answered: a hold-off has ended.
    RemoveHoldOff {
        /// Its id.
        id: Box<str>,
    },
    /// Answered: the session information that a grant captured; replaces that of the same call if its
    /// generation is higher, else [`StoreReply::Conflict`].
    PutSnapshot(Box<SnapshotRecord>),
    /// Answered: the call has ended, or its session information is of no use any more.
    RemoveSnapshot {
        /// The call.
        call: Box<str>,
    },
    /// Asks for moves, newest first.
    ListMoves {
        /// Of this user only.
        user: Option<Box<str>>,
        /// Where and how much.
        page: Page,
    },
    /// Asks for one move.
    FindMove {
        /// Its id.
        id: Box<str>,
    },
}

/// A part of a list that is sorted by id, newest first (ids are ULIDs, so they sort by time).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only what is older than this id.
    pub before: Option<Box<str>>,
    /// At most so many; the store gives at most [`Page::MAX`].
    pub limit: u16,
}

impl Page {
    /// Most items of one reply.
    pub const MAX: u16 = 1000;
}

/// What a store answers.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreReply {
    /// Written, or will be.
    Done,
    /// Someone wrote a newer one, or the name is taken.
    Conflict,
    /// Not written, not read. What was asked is unchanged.
    Unavailable(Unavailable),
    /// The moves asked for, and where the rest begins.
    Moves {
        /// Newest first.
        items: Vec<MoveRecord>,
        /// For [`Page::before`]; none at the end.
        next: Option<Box<str>>,
    },
    /// The move asked for.
    Move(Option<Box<MoveRecord>>),
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
    pub hold_offs: Vec<HoldOffRecord>,
    /// Session information of calls that had not ended when the node stopped.
    pub snapshots: Vec<SnapshotRecord>,
    /// Failure counters.
    pub failures: Vec<FailureCounter>,
}

/// Who may not touch which call until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldOffRecord {
    /// Of the hold-off.
    pub id: Box<str>,
    /// Whose device it is.
    pub user: Box<str>,
    /// The device that gave the call away.
    pub device: Box<str>,
    /// The device that has it.
    pub new_device: Box<str>,
    /// The call.
    pub call: Box<str>,
    /// The move that began it.
    pub move_id: Box<str>,
    /// `call` or `system`.
    pub scope: Box<str>,
    /// When it began.
    pub began: UnixMillis,
    /// When it ends. With `began` it says the length, whatever the clock has done since.
    pub ends: UnixMillis,
}

/// A move as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct MoveRecord {
    /// ULID.
    pub id: Box<str>,
    /// The call.
    pub call: Box<str>,
    /// Whose call.
    pub user: Box<str>,
    /// From where.
    pub from_device: Option<Box<str>>,
    /// To where.
    pub to_device: Option<Box<str>>,
    /// What asked for it (`star_code`, `replaces`, …).
    pub trigger: Box<str>,
    /// requested, authorized, ringing, negotiating, switching, done, rolled_back, refused.
    pub state: Box<str>,
    /// Why it was refused or rolled back.
    pub reason: Option<Box<str>>,
    /// Silence at the far side, ms.
    pub gap_ms: Option<f64>,
    /// Packets lost in the switch.
    pub lost: Option<u64>,
    /// When it was asked for.
    pub began: UnixMillis,
    /// When it came to an end.
    pub ended: Option<UnixMillis>,
    /// What happened, in order, as JSON.
    pub timeline: String,
}

/// The session information of move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The call.
    pub call: Box<str>,
    /// Rises with each move of the call.
    pub generation: u64,
    /// Whose call.
    pub user: Box<str>,
    /// The device that had it.
    pub device: Box<str>,
    /// When it was taken.
    pub taken: UnixMillis,
    /// Dialogs, descriptions and media state, as JSON.
    pub state: String,
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
