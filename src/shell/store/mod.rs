//! The embedded store: SQLite beside the hot memory of the engine, to be opened with `sqlite3` by who runs the node.
//!
//! One thread writes. It takes everything that waits as one transaction, so that a thousand records cost one wait for
//! the disk; what has to be answered is answered when that transaction is on it. What was asked to be written behind
//! is never refused: it waits, newest value only, until the file takes it.

mod account;
mod error;
mod queue;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::error::OpenError;
use self::queue::Queue;
use self::writer::Writer;
use crate::base::UnixMillis;
use crate::engine::store::{Loaded, StoreOp, StoreReply, StoreTicket};

/// Bounds and waits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Operations that may wait for their answer; more are refused.
    pub queue: usize,
    /// Wait after a failure before what is written behind is tried again.
    pub retry: Duration,
    /// How long another program may hold the file before we give up.
    pub busy: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { queue: 4096, retry: Duration::from_secs(1), busy: Duration::from_secs(2) }
    }
}

/// Takes a reply to who asked; called on the writer's thread.
pub(super) type Answered = Box<dyn Fn(StoreTicket, StoreReply) + Send>;

/// The store, open.
pub struct Store {
    queue: Arc<Queue>,
    answered: Arc<dyn Fn(StoreTicket, StoreReply) + Send + Sync>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the file, or makes it, and reads what the engine starts with.
    ///
    /// # Errors
    /// Why it cannot be used, with the path and what to do.
    pub fn open(
        path: &Path,
        settings: Settings,
        now: UnixMillis,
        answered: impl Fn(StoreTicket, StoreReply) + Send + Sync + 'static,
    ) -> Result<(Self, Loaded), OpenError> {
        let connection = schema::open(path, &settings)?;
        let loaded = read::all(&connection, now).map_err(|error| OpenError::of(path, &error))?;
        let queue = Arc::new(Queue::new(settings.queue));
        let answered: Arc<dyn Fn(StoreTicket, StoreReply) + Send + Sync> = Arc::new(answered);
        let tell = Arc::clone(&answered);
        let writer = Writer {
            connection,
            queue: Arc::clone(&queue),
            answered: Box::new(move |ticket, reply| tell(ticket, reply)),
            retry: settings.retry,
        };
        let writer = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok((Self { queue, answered, writer: Some(writer) }, loaded))
    }

    /// Asks for something. The answer comes back with `ticket`; what is written behind gets none.
    pub fn submit(&self, ticket: StoreTicket, op: StoreOp) {
        if let Err(why) = self.queue.push(ticket, op) {
            (self.answered)(ticket, StoreReply::Unavailable(why));
        }
    }

    /// Writes what waits and closes. What comes later is answered [`Unavailable::Closed`](crate::engine::store::Unavailable::Closed).
    pub fn close(&mut self) {
        self.queue.close();
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer ended in a panic");
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
