//! A second way into the file, for what reads a lot: in WAL mode it neither waits for the writer nor holds it up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::database::transaction_of;
use super::fault::Fault;
use super::queue::Queue;
use super::rows;
use crate::engine::report::RunReport;
use crate::engine::store::Unavailable;

/// How long a reader waits for what was to be written when it came. On a node that never pauses this is how old the
/// newest of what it reads may be.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(5);

/// Reads what may take long, on the thread of whoever asks it.
pub struct Reader {
    path: PathBuf,
    queue: Arc<Queue>,
}

impl Reader {
    pub(super) fn new(path: &Path, queue: Arc<Queue>) -> Self {
        Self { path: path.to_owned(), queue }
    }

    /// What the calls of a run came to, out of all that were submitted a second ago. Waits for the disk.
    ///
    /// # Errors
    /// Why it cannot be read; the log says more.
    pub fn report(&self, run: &str) -> Result<RunReport, Unavailable> {
        self.queue.hurry();
        let until = Instant::now() + PATIENCE;
        while self.queue.waiting() > 0 && Instant::now() < until {
            thread::sleep(LOOK);
        }
        self.read(run).map_err(|fault| {
            tracing::error!(error = %fault, file = %self.path.display(), "the report of a run cannot be read");
            fault.why
        })
    }

    fn read(&self, run: &str) -> Result<RunReport, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        // Calls and moves are of one moment.
        transaction_of(&connection, "BEGIN DEFERRED", || rows::report(&connection, run))
    }
}
