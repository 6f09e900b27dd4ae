//! What waits to be delivered, on disk: `webhooks.db` in the data directory, an SQLite file of its own so that neither
//! it nor the store waits for the other.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, Error, OpenFlags, named_params};

use crate::base::UnixMillis;

/// Its name in the data directory.
pub(super) const FILE: &str = "webhooks.db";
/// The log is cut to this size after a checkpoint.
const LOG_SIZE: i64 = 16 << 20;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS waiting (
    n INTEGER PRIMARY KEY, hook TEXT NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS waiting_of_hook ON waiting (hook, n);
";

/// An event that waits for one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    /// Its place in the order; rises.
    pub(super) n: i64,
    /// That of the event: the same however often it is sent.
    pub(super) id: Box<str>,
    /// When it happened.
    pub(super) at: UnixMillis,
    /// What is sent.
    pub(super) body: Bytes,
}

/// What changes together.
#[derive(Default)]
pub(super) struct Change<'a> {
    /// New letters, each with the name of its webhook.
    pub(super) new: Vec<(&'a str, &'a Letter)>,
    /// Names of webhooks, and up to which letter theirs are over.
    pub(super) over: Vec<(&'a str, i64)>,
}

/// The open file.
pub(super) struct Outbox {
    connection: Connection,
}

impl Outbox {
    /// Opens it, or makes it, readable for its owner only.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // SQLite makes its other files with the rights of this one. What is wrong here, opening says.
        let _ = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "journal_size_limit", LOG_SIZE)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection })
    }

    /// Forgets what waits for webhooks that are none of `names`. Gives how much that was.
    pub(super) fn keep_only(&self, names: &[&str]) -> Result<usize, Error> {
        let names = serde_json::to_string(names).unwrap_or_else(|_| "[]".into());
        let sql = "DELETE FROM waiting WHERE hook NOT IN (SELECT value FROM json_each(?1))";
        self.connection.execute(sql, [names])
    }

    /// The letters of a webhook, each with the length of its body.
    pub(super) fn list(&self, hook: &str) -> Result<VecDeque<(i64, u64)>, Error> {
        let sql = "SELECT n, length(body) FROM waiting WHERE hook = ?1 ORDER BY n";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([hook], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
        rows.map(|row| row.map(|(n, length)| (n, length.unsigned_abs()))).collect()
    }

    /// The place of the next letter.
    pub(super) fn next(&self) -> Result<i64, Error> {
        self.connection.query_row("SELECT coalesce(max(n), 0) + 1 FROM waiting", [], |row| row.get(0))
    }

    /// Does all of a change or nothing. New letters are on the disk when it returns.
    pub(super) fn commit(&self, change: &Change<'_>) -> Result<(), Error> {
        // A letter that is sent twice after a power cut does no harm; one that is not sent does.
        let mode = if change.new.is_empty() { "NORMAL" } else { "FULL" };
        self.connection.pragma_update(None, "synchronous", mode)?;
        let transaction = self.connection.unchecked_transaction()?;
        {
            let mut delete = transaction.prepare_cached("DELETE FROM waiting WHERE hook = ?1 AND n <= ?2")?;
            for (hook, n) in &change.over {
                delete.execute((hook, n))?;
            }
            let sql = "INSERT INTO waiting (n, hook, id, time, body) VALUES (:n, :hook, :id, :time, :body)";
            let mut insert = transaction.prepare_cached(sql)?;
            for (hook, letter) in &change.new {
                let time = i64::try_from(letter.at.0).unwrap_or(i64::MAX);
                let (n, id, body) = (letter.n, &letter.id, &letter.body[..]);
                insert.execute(
                    named_params! { ":n": n, ":hook": hook, ":id": id, ":time": time, ":body": body },
                )?;
            }
        }
        transaction.commit()
    }

    /// The first letters of a webhook after `n`.
    pub(super) fn after(&self, hook: &str, n: i64, most: usize) -> Result<Vec<Letter>, Error> {
        let sql = "SELECT n, id, time, body FROM waiting WHERE hook = ?1 AND n > ?2 ORDER BY n LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql)?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map((hook, n, most), |row| {
            Ok(Letter {
                n: row.get(0)?,
                id: row.get(1)?,
                at: UnixMillis(row.get::<_, i64>(2)?.unsigned_abs()),
                body: row.get::<_, Vec<u8>>(3)?.into(),
            })
        })?;
        rows.collect()
    }
}
