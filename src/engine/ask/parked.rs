//! Commands that wait for the store, and whether it is well.

use std::collections::BTreeMap;
use std::time::Duration;

use super::accounts::Changed;
use super::quality::Inquiries;
use crate::base::Timestamp;
use crate::engine::CommandId;
use crate::engine::command::Subject;
use crate::engine::store::{StoreTicket, Unavailable};
use crate::engine::view::{MoveView, Page, PageQuery};

/// How long a command waits for the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a change that was given up on is remembered: the store may yet carry it out, and then memory must follow.
const LATE: Duration = Duration::from_secs(60);
/// Commands that may wait at once. An operator asks a few a second.
const MAX_PARKED: usize = 256;

/// What is done with the store's answer.
pub(super) enum Waiting {
    /// A move is shown.
    Show,
    /// A move is taken back.
    Undo,
    /// A list is completed.
    List {
        /// What memory has of it.
        page: Page<MoveView>,
        /// The part that was asked for.
        query: PageQuery,
    },
    /// An account changes.
    Account(Changed),
    /// Call records are listed.
    Records,
    /// A call record is shown.
    Record,
}

/// A command that waits.
pub(super) struct Entry {
    /// Whom to answer; `None` once it has been told that the store does not.
    pub(super) id: Option<CommandId>,
    /// Who asks.
    pub(super) by: Subject,
    /// For what.
    pub(super) waiting: Waiting,
    until: Timestamp,
}

/// Commands that wait: for the store, or for the media threads.
#[derive(Default)]
pub struct Parked {
    entries: BTreeMap<StoreTicket, Entry>,
    /// Why the store fails, as it says itself.
    pub(in crate::engine) store_failing: Option<Unavailable>,
    /// Those that wait for the media threads.
    pub(super) inquiries: Inquiries,
}

impl Parked {
    /// When a wait is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let store = self.entries.values().map(|entry| entry.until).min();
        [store, self.inquiries.poll_timeout()].into_iter().flatten().min()
    }

    /// False where too many wait already.
    pub(super) fn park(
        &mut self,
        now: Timestamp,
        ticket: StoreTicket,
        id: CommandId,
        by: Subject,
        waiting: Waiting,
    ) -> bool {
        if self.entries.len() >= MAX_PARKED {
            return false;
        }
        self.entries.insert(ticket, Entry { id: Some(id), by, waiting, until: now + PATIENCE });
        true
    }

    pub(super) fn take(&mut self, ticket: StoreTicket) -> Option<Entry> {
        self.entries.remove(&ticket)
    }

    /// One command whose time is up, with what it waited for; a change goes on waiting, for nobody.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<(CommandId, Option<Waiting>)> {
        while let Some((ticket, _)) = self.entries.iter().find(|(_, entry)| entry.until <= now) {
            let ticket = *ticket;
            let entry = self.entries.get_mut(&ticket)?;
            let id = entry.id.take();
            entry.until = now + LATE;
            let waiting = if id.is_some() && matches!(entry.waiting, Waiting::Account(_)) {
                None
            } else {
                self.entries.remove(&ticket).map(|entry| entry.waiting)
            };
            if let Some(id) = id {
                return Some((id, waiting));
            }
        }
        None
    }

    /// Whether a change of an account is under way.
    pub(super) fn is_changing(&self) -> bool {
        self.entries.values().any(|entry| entry.id.is_some() && matches!(entry.waiting, Waiting::Account(_)))
    }
}
