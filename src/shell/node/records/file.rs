//! One file of call records, and how far it is.
//!
//! The place in the store says which record is the last in the file and how long the file is with it. What stands
//! behind that was written by a run that ended before it could say so, or by a write that a full disk cut short: it
//! is compared with what is to be written, and only what is missing is added. The place moves on only with what is on
//! the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lately::Lately;
use crate::call::record::CallRecord;
use crate::config::CdrFormat;
use crate::shell::store::{Feed, FeedError, Place};

/// Records written at once.
const BATCH: usize = 512;

/// See the head of the file.
pub(super) struct Copy {
    format: CdrFormat,
    path: PathBuf,
    place: Place,
    /// The place that the store knows of.
    kept: Place,
    is_failing: bool,
}

impl Copy {
    pub(super) fn new(format: CdrFormat, data_dir: &Path, feed: &Feed) -> Result<Self, FeedError> {
        let place = feed.place(format.name())?;
        Ok(Self { format, path: data_dir.join(format.file()), place, kept: place, is_failing: false })
    }

    /// Writes all that the store has and the file has not.
    pub(super) fn catch_up(&mut self, feed: &Feed, lately: &Lately) {
        loop {
            let result = self.write_some(feed, lately).and_then(|count| {
                self.keep(feed)?;
                Ok(count)
            });
            let is_failing = result.is_err();
            let was_failing = std::mem::replace(&mut self.is_failing, is_failing);
            match &result {
                Err(error) if !was_failing => {
                    tracing::error!(path = %self.path.display(), %error, "call records wait in the store");
                }
                Ok(_) if was_failing => {
                    tracing::warn!(path = %self.path.display(), "call records are written again");
                }
                _ => {}
            }
            if !matches!(result, Ok(BATCH)) {
                return;
            }
        }
    }

    /// A batch. Gives how many there were.
    fn write_some(&mut self, feed: &Feed, lately: &Lately) -> io::Result<usize> {
        let records = feed.after(self.place.n, BATCH, |id| lately.get(id)).map_err(io::Error::other)?;
        if records.is_empty() {
            return Ok(0);
        }
        let line = |record: &Option<Arc<CallRecord>>| {
            record.as_ref().map_or_else(String::new, |record| self.format.line(record))
        };
        let lines: Vec<_> = records.iter().map(|(n, record)| (*n, line(record))).collect();
        append(&self.path, &self.format.header(), &lines, self.is_failing, &mut self.place)?;
        Ok(records.len())
    }

    /// Tells the store how far the file is, if it does not know.
    fn keep(&mut self, feed: &Feed) -> io::Result<()> {
        if self.place != self.kept {
            feed.keep(self.format.name(), &self.place).map_err(io::Error::other)?;
            self.kept = self.place;
        }
        Ok(())
    }
}

/// Appends numbered lines, but for what of them is there, and moves the place on when they are on the disk. `again`: the
/// last time failed, and what is there may not be on the disk though it can be read.
pub(super) fn append(
    path: &Path,
    header: &str,
    lines: &[(i64, String)],
    again: bool,
    place: &mut Place,
) -> io::Result<()> {
    // Who called whom is nobody else's business.
    let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    let (inode, length) = size(&file)?;
    let mut begin = *place;
    if inode != begin.inode || length < begin.length {
        // The one before was moved away, or emptied.
        (begin.inode, begin.length) = (inode, length);
    }
    let header = if begin.length == 0 { header } else { "" };
    let text: String = std::iter::once(header).chain(lines.iter().map(|(_, line)| line.as_str())).collect();
    let there = common(&mut file, begin.length, &text)?;
    if there == 0 && length > 0 {
        begin.length = length;
        if last_byte(&mut file)? != Some(b'\n') {
            // A line that somebody left unfinished does not become part of ours.
            file.write_all(b"\n")?;
            begin.length += 1;
        }
    }
    let (found, rest) = text.as_bytes().split_at_checked(there).unwrap_or_default();
    if again && !found.is_empty() {
        // A page whose writing failed counts as written from then on (fsync(2)): it is made new.
        OpenOptions::new().write(true).open(path)?.write_all_at(found, begin.length)?;
    }
    file.write_all(rest)?;
    file.sync_data()?;
    begin.length += text.len() as u64;
    begin.n = lines.last().map_or(begin.n, |(n, _)| *n);
    *place = begin;
    Ok(())
}

fn size(file: &File) -> io::Result<(u64, u64)> {
    let meta = file.metadata()?;
    Ok((meta.ino(), meta.len()))
}

/// How much of `text` stands in the file from `from` on; 0 if something else does.
fn common(file: &mut File, from: u64, text: &str) -> io::Result<usize> {
    let mut found = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    io::Read::by_ref(file).take(text.len() as u64).read_to_end(&mut found)?;
    Ok(if text.as_bytes().starts_with(&found) { found.len() } else { 0 })
}

fn last_byte(file: &mut File) -> io::Result<Option<u8>> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    Ok((file.read(&mut last)? == 1).then_some(last[0]))
}
