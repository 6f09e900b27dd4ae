//! Call records in the order in which they were written, for those who copy them elsewhere and must neither miss one
//! nor copy one twice: each reader has its place, and the place outlives the process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::database::connect;
use super::fault::{Fault, OpenError};
use super::rows;
use crate::call::record::CallRecord;

/// How long the store may hold the lock: its transactions take some milliseconds.
const BUSY: Duration = Duration::from_secs(2);

/// How far a reader is: the last record that it has, and where in which file that ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The record.
    pub n: i64,
    /// The file.
    pub inode: u64,
    /// Its length with that record.
    pub length: u64,
}

/// A record and its number; `None` for one that cannot be read.
pub type Numbered = (i64, Option<Arc<CallRecord>>);

/// Why the feed does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FeedError(Fault);

impl From<Fault> for FeedError {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<rusqlite::Error> for FeedError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.into())
    }
}

/// A connection of its own to an open store.
pub struct Feed(Connection);

impl Feed {
    /// For the store at `path`, which is open, and for these readers; what others have not read is forgotten.
    ///
    /// # Errors
    /// The file cannot be opened or written.
    pub fn open(path: &Path, readers: &[&str]) -> Result<Self, OpenError> {
        let failed = |fault: Fault| OpenError::of(path, fault);
        let feed = Self(connect(path).map_err(failed)?);
        feed.set_up(readers).map_err(failed)?;
        Ok(feed)
    }

    fn set_up(&self, readers: &[&str]) -> Result<(), Fault> {
        self.0.busy_timeout(BUSY)?;
        // A place that a power cut takes back is found again by what stands in the file. The log is carried over elsewhere.
        self.0.pragma_update(None, "synchronous", "NORMAL")?;
        self.0.pragma_update(None, "wal_autocheckpoint", 0)?;
        let names = serde_json::to_string(readers).unwrap_or_else(|_| "[]".into());
        self.0.execute(
            "DELETE FROM cdr_readers WHERE name NOT IN (SELECT value FROM json_each(?1))",
            [&names],
        )?;
        // Who is new begins with the next record.
        self.0.execute(
            "INSERT INTO cdr_readers (name, n, inode, length)
             SELECT value, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'cdr_order'), 0), 0, 0
             FROM json_each(?1) WHERE true ON CONFLICT (name) DO NOTHING",
            [&names],
        )?;
        self.forget_read()
    }

    /// How far a reader is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn place(&self, reader: &str) -> Result<Place, FeedError> {
        let mut statement =
            self.0.prepare_cached("SELECT n, inode, length FROM cdr_readers WHERE name = ?1")?;
        let place = statement.query_row([reader], |row| {
            let (inode, length): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok(Place { n: row.get(0)?, inode: inode.cast_unsigned(), length: length.cast_unsigned() })
        });
        Ok(place.optional()?.unwrap_or_default())
    }

    /// Remembers how far a reader is.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn keep(&self, reader: &str, place: &Place) -> Result<(), FeedError> {
        self.0
            .prepare_cached(
                "UPDATE cdr_readers SET n = :n, inode = :inode, length = :length WHERE name = :name",
            )?
            .execute(named_params! {
                ":n": place.n,
                ":inode": place.inode.cast_signed(),
                ":length": place.length.cast_signed(),
                ":name": reader,
            })?;
        Ok(self.forget_read()?)
    }

    /// The records after the `n`th, at most so many. What `known` has of an id is not read.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn after(
        &self,
        n: i64,
        most: usize,
        known: impl Fn(&str) -> Option<Arc<CallRecord>>,
    ) -> Result<Vec<Numbered>, FeedError> {
        Ok(rows::records_after(&self.0, n, most, known)?)
    }

    /// The order of what every reader has is of no use any more; the records stay.
    fn forget_read(&self) -> Result<(), Fault> {
        self.0.prepare_cached(
            "DELETE FROM cdr_order WHERE n <= (SELECT coalesce(min(n), 9223372036854775807) FROM cdr_readers)",
        )?
        .execute([])?;
        Ok(())
    }
}
