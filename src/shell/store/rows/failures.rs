//! Failure counters.

use rusqlite::Connection;

use super::super::fault::Fault;
use super::columns::{Columns as _, execute, ms, readable};
use crate::engine::store::FailureCounter;

pub(super) fn save(connection: &Connection, counter: &FailureCounter) -> Result<(), Fault> {
    let key = (&*counter.kind, &*counter.key);
    if counter.count == 0 && counter.banned_until.is_none() {
        return execute(connection, "DELETE FROM failures WHERE kind = ?1 AND key = ?2", key).map(drop);
    }
    execute(
        connection,
        "INSERT OR REPLACE INTO failures (kind, key, count, window, banned_until) VALUES (?1, ?2, ?3, ?4, ?5)",
        (key.0, key.1, counter.count, ms(counter.window), counter.banned_until.map(ms)),
    )
    .map(drop)
}

/// Whether there is room for some pages: writes them, and takes them out again.
pub(in super::super) fn try_room(connection: &Connection) -> Result<(), Fault> {
    let wanted = "INSERT OR REPLACE INTO failures (kind, key, count, window) VALUES ('trial', hex(zeroblob(8192)), 1, 0)";
    execute(connection, wanted, ())?;
    execute(connection, "DELETE FROM failures WHERE kind = 'trial'", ()).map(drop)
}

pub(super) fn load(connection: &Connection) -> Result<Vec<FailureCounter>, Fault> {
    readable(connection, "failures", "SELECT * FROM failures ORDER BY kind, key", |row| {
        Ok(FailureCounter {
            kind: row.get("kind")?,
            key: row.get("key")?,
            count: row.get("count")?,
            window: row.at("window")?,
            banned_until: row.at_or_null("banned_until")?,
        })
    })
}
