//! The thread that carries the log over into the file, so that a move never waits for the disk behind it.
//!
//! Left to itself SQLite does so within the commit that finds the log at its limit: two flushes, which took 8 to
//! 20 ms of whoever waited for that commit. A passive checkpoint on a connection of its own holds up no writer
//! (sqlite.org/wal.html, section 3.2).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};
use rusqlite::Connection;

use super::database::connect;
use super::fault::OpenError;

/// How often, where something was written since.
const EVERY: Duration = Duration::from_secs(1);
/// Pages in the log from which on a commit carries them over after all: a writer that never pauses leaves a passive
/// checkpoint no moment in which the log may begin anew. 64 MiB.
pub(super) const LIMIT: i64 = 16_384;

/// Ends the thread where it is dropped.
pub(super) struct Checkpoints {
    written: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// For the store at `path`, which is open.
    pub(super) fn start(path: &Path) -> Result<Self, OpenError> {
        let connection = connect(path).map_err(|fault| OpenError::of(path, fault))?;
        let written = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let seen = Arc::clone(&written);
        let thread = thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    if seen.swap(false, Ordering::Relaxed) {
                        carry_over(&connection);
                    }
                }
            })
            .map_err(|error| OpenError::failed(path, error.to_string()))?;
        Ok(Self { written, stop: Some(stop), thread: Some(thread) })
    }

    /// Something was committed.
    pub(super) fn written(&self) {
        self.written.store(true, Ordering::Relaxed);
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop = None;
        // A panic there costs checkpoints, which commits then do themselves.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Gives (pages in the log, pages of them in the file); what fails is tried again after the next commit, and a disk
/// that is at fault shows in the commits as well.
fn carry_over(connection: &Connection) -> Option<(i64, i64)> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
    match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], read) {
        Ok(pages) => Some(pages),
        Err(error) => {
            tracing::warn!(%error, "the store's log could not be carried over into its file");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_carried_over_beside_an_open_writer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)")
            .unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        let (log, done) = carry_over(&connect(&path).unwrap()).unwrap();
        assert!(log > 0);
        assert_eq!(log, done, "what is committed is carried over while another transaction is open");
        writer.execute_batch("COMMIT").unwrap();
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        let checkpoints = Checkpoints::start(&path).unwrap();
        checkpoints.written();
        let begun = std::time::Instant::now();
        drop(checkpoints);
        assert!(begun.elapsed() < EVERY, "it does not wait for its next turn");
    }
}
