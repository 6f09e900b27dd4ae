//! Call records as JSON lines, `cdr.jsonl` in the data directory, for programs that follow a file.
//!
//! The store holds the records for good; this is a copy. The file is opened for each batch, so it may be moved away
//! at any time (logrotate needs no signal), and a disk that is full costs lines here, never a call.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::call::record::CallRecord;

/// Its name in the data directory.
pub(super) const FILE: &str = "cdr.jsonl";
/// Records that may wait: a minute of a node that ends 100 calls a second.
const QUEUE: usize = 6_000;
/// A record waits so long for others that go into the file with it: a busy node opens the file a few times a second,
/// not for each call.
const GATHER: Duration = Duration::from_millis(100);
/// Records written at once.
const BATCH: usize = 512;

/// The file's writer. Dropped, it writes what waits and ends.
pub(super) struct Records {
    queue: Option<Sender<Arc<CallRecord>>>,
    writer: Option<JoinHandle<()>>,
    is_losing: bool,
}

impl Records {
    /// Starts the writer. The file is made with the first record.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(data_dir: &Path) -> io::Result<Self> {
        let (queue, waiting) = crossbeam_channel::bounded(QUEUE);
        let path = data_dir.join(FILE);
        let writer =
            std::thread::Builder::new().name("records".into()).spawn(move || write_all(&path, &waiting))?;
        Ok(Self { queue: Some(queue), writer: Some(writer), is_losing: false })
    }

    /// Adds a record; never blocks.
    pub(super) fn add(&mut self, record: Arc<CallRecord>) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(record) {
            Ok(()) => self.is_losing = false,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                // Once for each time that it cannot keep up.
                if !std::mem::replace(&mut self.is_losing, true) {
                    tracing::error!("{FILE} cannot keep up; records are in the store alone");
                }
            }
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the writer of {FILE} ended in a panic");
        }
    }
}

fn write_all(path: &Path, waiting: &Receiver<Arc<CallRecord>>) {
    let mut is_failing = false;
    while let Ok(first) = waiting.recv() {
        if waiting.len() < BATCH {
            std::thread::sleep(GATHER);
        }
        let mut lines = Vec::new();
        for record in std::iter::once(first).chain(waiting.try_iter()).take(BATCH) {
            match serde_json::to_vec(&*record) {
                Ok(line) => {
                    lines.extend_from_slice(&line);
                    lines.push(b'\n');
                }
                Err(error) => tracing::error!(%error, "a record cannot be written as JSON"),
            }
        }
        match append(path, &lines) {
            Ok(()) => is_failing = false,
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!(path = %path.display(), %error, "records are in the store alone");
                }
            }
        }
    }
}

fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    // Who called whom is nobody else's business.
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?.write_all(lines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn record(id: usize) -> Arc<CallRecord> {
        Arc::new(CallRecord { id: id.to_string(), ..CallRecord::default() })
    }

    fn ids(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str::<CallRecord>(line).unwrap().id).collect()
    }

    #[test]
    fn each_record_is_a_line_also_after_the_file_was_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join(FILE), dir.path().join("old"));
        let mut records = Records::start(dir.path()).unwrap();
        let count = BATCH + 5;
        (0..count).for_each(|id| records.add(record(id)));
        drop(records);
        assert_eq!(ids(&path), (0..count).map(|id| id.to_string()).collect::<Vec<_>>());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        std::fs::rename(&path, &old).unwrap();
        let mut records = Records::start(dir.path()).unwrap();
        records.add(record(count));
        drop(records);
        assert_eq!((ids(&path).len(), ids(&old).len()), (1, count));
    }

    #[test]
    fn a_directory_that_is_gone_costs_lines_and_nothing_else() {
        let mut records = Records::start(Path::new("/nonexistent/segue")).unwrap();
        records.add(record(1));
        records.add(record(2));
    }
}
