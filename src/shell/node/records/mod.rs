//! Call records as files in the data directory, for programs that follow a file.
//!
//! The store holds the records for good, and feeds the files: a record is in each file once, a second after it ended,
//! and on the disk (`fdatasync`) before the store forgets that it was to be written. A file that cannot be written,
//! because the disk is full or the directory is not there, costs nobody a record: it goes on where it was when it can
//! be. Files are opened for each batch, so they may be moved away at any time (logrotate needs no signal).

mod file;
mod format;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::file::Copy;
use super::failure::{StartError, system};
use crate::config::CdrFormat;
use crate::shell::store::{Feed, FeedError};

/// A record waits so long for others that go into the files with it; the store takes up to a quarter of a second.
const GATHER: Duration = Duration::from_millis(300);
/// The store is asked this often when nothing is heard: for what it could not take at once.
const LOOK: Duration = Duration::from_secs(1);

/// The files' writer. Dropped, it writes what the store has and ends.
pub(super) struct Records {
    wake: Option<Sender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl Records {
    /// Starts the writer, from the store at `store`; none where no format is wanted. A file is made with its first
    /// record.
    ///
    /// # Errors
    /// The store cannot be read; the system gives no thread.
    pub(super) fn start(
        data_dir: &Path,
        store: &Path,
        formats: &[CdrFormat],
    ) -> Result<Option<Self>, StartError> {
        let names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
        let feed = Feed::open(store, &names)?;
        if formats.is_empty() {
            return Ok(None);
        }
        let copy = |format: &CdrFormat| Copy::new(*format, data_dir, &feed);
        let copies = formats.iter().map(copy).collect::<Result<Vec<_>, FeedError>>();
        let copies = copies.map_err(|error| system("call records")(io::Error::other(error)))?;
        let (wake, woken) = crossbeam_channel::bounded(1);
        let write = move || write_all(&feed, copies, &woken);
        let writer = std::thread::Builder::new().name("records".into()).spawn(write);
        Ok(Some(Self { wake: Some(wake), writer: Some(writer.map_err(system("threads"))?) }))
    }

    /// The store is given a record.
    pub(super) fn wake(&self) {
        if let Some(wake) = &self.wake {
            // It is awake already where this fails.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        drop(self.wake.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of call records ended in a panic");
        }
    }
}

fn write_all(feed: &Feed, mut copies: Vec<Copy>, woken: &Receiver<()>) {
    loop {
        let is_over = woken.recv_timeout(LOOK) == Err(RecvTimeoutError::Disconnected);
        if !is_over {
            std::thread::sleep(GATHER);
        }
        for copy in &mut copies {
            copy.catch_up(feed);
        }
        if is_over {
            return;
        }
    }
}
