//! Call records as files in the data directory, for programs that follow a file.
//!
//! The store holds the records for good, and says in which order they were written: a record is in each file once, some
//! two seconds after it ended, and on the disk (`fdatasync`) before the store forgets that it was to be written. What
//! is written is the record as the engine gave it; only what a crash, a slow disk or a flood kept from here is read back
//! from the store. A file that cannot be written, because the disk is full or the directory is not there, costs nobody a
//! record: it goes on where it was when it can be. Files are opened for each batch, so they may be moved away at any
//! time (logrotate needs no signal).

mod file;
mod format;
mod lately;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use self::file::Copy;
use self::lately::{Lately, MOST};
use super::failure::{StartError, system};
use crate::call::record::CallRecord;
use crate::config::CdrFormat;
use crate::shell::store::{Feed, FeedError};

/// A record waits so long for others that go into the files with it: each batch costs an `fdatasync` and two writes of the
/// store. The store has a record after a quarter of that.
const GATHER: Duration = Duration::from_secs(1);
/// The store is asked this often when nothing is heard: for what it could not take at once.
const LOOK: Duration = Duration::from_secs(1);

/// The files' writer. Dropped, it writes what the store has and ends.
pub(super) struct Records {
    ended: Option<Sender<Arc<CallRecord>>>,
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
        let (ended, heard) = crossbeam_channel::bounded(MOST);
        let write = move || write_all(&feed, copies, &heard);
        let writer = std::thread::Builder::new().name("records".into()).spawn(write);
        Ok(Some(Self { ended: Some(ended), writer: Some(writer.map_err(system("threads"))?) }))
    }

    /// The store is given this record.
    pub(super) fn tell(&self, record: &Arc<CallRecord>) {
        if let Some(ended) = &self.ended {
            // Where there is no room the store has it.
            let _ = ended.try_send(Arc::clone(record));
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        drop(self.ended.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of call records ended in a panic");
        }
    }
}

fn write_all(feed: &Feed, mut copies: Vec<Copy>, heard: &Receiver<Arc<CallRecord>>) {
    let mut lately = Lately::default();
    loop {
        let first = heard.recv_timeout(LOOK);
        let is_over = first == Err(RecvTimeoutError::Disconnected);
        if !is_over {
            std::thread::sleep(GATHER);
        }
        lately.add(first.into_iter().chain(heard.try_iter()));
        for copy in &mut copies {
            copy.catch_up(feed, &lately);
        }
        lately.grow_older();
        if is_over {
            return;
        }
    }
}
