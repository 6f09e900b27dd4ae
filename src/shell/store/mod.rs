//! The store: one SQLite file, one thread that writes it, one that carries its log over into it.
//!
//! [`Store::submit`] never waits for the disk. What is asked for with an answer stands in a bounded queue; what is
//! to be written behind stands in a backlog with one place per thing, so its size is bounded by what there is and
//! not by how often it changes. The thread takes what waits, writes it in one transaction, and answers after the
//! commit: an answer [`Done`](StoreReply::Done) survives the process, and for accounts the power supply.
//!
//! Whatever is submitted is carried out in order, as far as order can be seen: a read sees every write before it.

mod backlog;
mod checkpoint;
mod database;
mod fault;
mod feed;
mod pulse;
mod queue;
mod reader;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use self::fault::OpenError;
pub use self::feed::{Feed, FeedError, Numbered, Place};
pub use self::pulse::Pulse;
use self::queue::{Entered, Queue};
pub use self::reader::Reader;
use self::writer::Writer;
use crate::base::UnixMillis;
use crate::engine::store::{Loaded, StoreOp, StoreReply, StoreTicket, Unavailable};

/// How the store runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Operations with an answer that may wait. An operation takes about 100 µs, so 4096 are less than a second;
    /// whoever asks gives up after a few.
    pub queue: usize,
    /// How long a value that is written behind waits for others, to share their transaction. It is what a crash may
    /// lose of them: a quarter of a second of registrations, which phones renew.
    pub linger: Duration,
    /// The first pause after a failure of what is written behind; doubled up to [`Settings::retry_most`].
    pub retry: Duration,
    /// The longest pause.
    pub retry_most: Duration,
    /// How long another program may hold the lock before an operation fails.
    pub busy: Duration,
    /// The largest the file may become, bytes; `None`: as large as the disk.
    pub max_size: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 4096,
            linger: Duration::from_millis(250),
            retry: Duration::from_millis(100),
            retry_most: Duration::from_secs(10),
            busy: Duration::from_secs(2),
            max_size: None,
        }
    }
}

/// Where replies go. Called on the thread of the store, and on that of [`Store::submit`] for what is refused at
/// once.
type Answered = Arc<dyn Fn(StoreTicket, StoreReply) + Send + Sync>;

/// An open store. Dropping it closes it.
pub struct Store {
    queue: Arc<Queue>,
    answered: Answered,
    path: PathBuf,
    thread: Mutex<Option<JoinHandle<usize>>>,
}

impl Store {
    /// Opens the file at `path`, makes it where there is none, and reads what a node needs at the start.
    ///
    /// What ended before `now` is deleted. `answered` gets one reply to each operation that is answered, and none to those that are written behind. It
    /// must not wait.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with which file, and what to do.
    pub fn open(
        path: &Path,
        settings: Settings,
        now: UnixMillis,
        answered: impl Fn(StoreTicket, StoreReply) + Send + Sync + 'static,
    ) -> Result<(Self, Loaded), OpenError> {
        let (database, loaded) = database::Database::open(path, &settings, now)?;
        let queue = Arc::new(Queue::new(&settings));
        let answered: Answered = Arc::new(answered);
        let checkpoints = checkpoint::Checkpoints::start(path)?;
        let writer = Writer::new(database, checkpoints, Arc::clone(&queue), Arc::clone(&answered));
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::failed(path, error.to_string()))?;
        let path = path.to_owned();
        Ok((Self { queue, answered, path, thread: Mutex::new(Some(thread)) }, loaded))
    }

    /// Asks for `op`; see [`StoreOp`] for which operations are answered. Never waits.
    pub fn submit(&self, ticket: StoreTicket, op: StoreOp) {
        match self.queue.enter(ticket, op) {
            Entered::Waits => {}
            Entered::Refused(why) => (self.answered)(ticket, StoreReply::Unavailable(why)),
            Entered::Lost => tracing::error!("the store is closed: a value to be written behind is lost"),
        }
    }

    /// Reads what may take long, on the thread of whoever asks it.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(&self.path, Arc::clone(&self.queue))
    }

    /// Whether its thread turns.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        Pulse::new(Arc::clone(&self.queue))
    }

    /// Why the last transaction failed, or nothing more is taken; `None` while all is well. After a failure it is tried
    /// again every [`Settings::retry_most`], though nothing waits to be written.
    #[must_use]
    pub fn failing(&self) -> Option<Unavailable> {
        self.queue.failing()
    }

    /// How many values wait to be written behind.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Writes and answers what waits, closes the file and ends the thread. Later operations are answered
    /// [`Closed`](Unavailable::Closed). Gives the number of values that could not be written and are lost.
    pub fn close(&self) -> usize {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread was logged there.
        let Some(lost) = thread.map(|thread| thread.join().unwrap_or_default()) else { return 0 };
        if lost > 0 {
            tracing::error!(lost, "the store closes with values that could not be written");
        }
        lost
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}
