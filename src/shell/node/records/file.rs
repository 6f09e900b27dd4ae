//! One file of call records, and how far it is.
//!
//! The place in the store says which record is the last in the file and how long the file is with it. What stands
//! behind that was written by a run that ended before it could say so, or by a write that a full disk cut short: it
//! is compared with what is to be written, and only what is missing is added.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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
    is_failing: bool,
}

impl Copy {
    pub(super) fn new(format: CdrFormat, data_dir: &Path, feed: &Feed) -> Result<Self, FeedError> {
        let place = feed.place(format.name())?;
        Ok(Self { format, path: data_dir.join(format.file()), place, is_failing: false })
    }

    /// Writes all that the store has and the file has not.
    pub(super) fn catch_up(&mut self, feed: &Feed) {
        loop {
            let result = self.write_some(feed);
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
    fn write_some(&mut self, feed: &Feed) -> io::Result<usize> {
        let records = feed.after(self.place.n, BATCH).map_err(io::Error::other)?;
        if records.is_empty() {
            return Ok(0);
        }
        let before = self.place;
        let line = |record: &Option<CallRecord>| {
            record.as_ref().map_or_else(String::new, |record| self.format.line(record))
        };
        let lines: Vec<_> = records.iter().map(|(n, record)| (*n, line(record))).collect();
        let written = append(&self.path, self.format.header(), &lines, &mut self.place);
        if self.place != before {
            feed.keep(self.format.name(), &self.place).map_err(io::Error::other)?;
        }
        written.map(|()| records.len())
    }
}

/// Appends numbered lines, but for what of them is there, and moves the place on: to the end, or where it fails to the
/// last line that is whole.
pub(super) fn append(
    path: &Path,
    header: &str,
    lines: &[(i64, String)],
    place: &mut Place,
) -> io::Result<()> {
    // Who called whom is nobody else's business.
    let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    let (inode, length) = size(&file)?;
    if inode != place.inode || length < place.length {
        // The one before was moved away, or emptied.
        (place.inode, place.length) = (inode, length);
    }
    let header = if place.length == 0 { header } else { "" };
    let text: String = std::iter::once(header).chain(lines.iter().map(|(_, line)| line.as_str())).collect();
    let mut there = common(&mut file, place.length, &text)?;
    if there == 0 && length > 0 {
        place.length = length;
        if last_byte(&mut file)? != Some(b'\n') {
            // A line that somebody left unfinished does not become part of ours.
            file.write_all(b"\n")?;
            place.length += 1;
        }
    }
    let rest = text.as_bytes().get(there..).unwrap_or_default();
    let written = file.write_all(rest).and_then(|()| file.sync_data());
    there = match written {
        Ok(()) => text.len(),
        Err(_) => usize::try_from(size(&file)?.1.saturating_sub(place.length)).unwrap_or(0),
    };
    let mut end = header.len();
    for (n, line) in lines {
        end += line.len();
        if end > there {
            break;
        }
        place.n = *n;
    }
    place.length += whole(&text, there);
    written
}

/// The length of the lines that are whole within the first `there` bytes.
fn whole(text: &str, there: usize) -> u64 {
    let written = text.as_bytes().get(..there).unwrap_or(text.as_bytes());
    memchr::memrchr(b'\n', written).map_or(0, |last| last as u64 + 1)
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
