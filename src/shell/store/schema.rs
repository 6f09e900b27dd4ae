//! Opening the file, and what is in it.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{OpenError, Settings};

/// The step from each version to the next. A step that was released is never changed.
const STEPS: [&str; 1] = ["
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY,
        extension TEXT UNIQUE,
        account TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE identities (
        auth_user TEXT PRIMARY KEY,
        name TEXT NOT NULL REFERENCES accounts ON DELETE CASCADE
    ) WITHOUT ROWID;
    CREATE INDEX identities_name ON identities (name);
    CREATE TABLE bindings (
        user TEXT PRIMARY KEY,
        expires INTEGER NOT NULL,
        bindings TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE hold_offs (
        move TEXT PRIMARY KEY,
        ends INTEGER NOT NULL,
        hold_off TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE snapshots (
        move TEXT PRIMARY KEY,
        taken INTEGER NOT NULL,
        snapshot TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE failures (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        count INTEGER NOT NULL,
        window INTEGER NOT NULL,
        banned_until INTEGER,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE TABLE moves (
        id TEXT PRIMARY KEY,
        user TEXT NOT NULL,
        call TEXT NOT NULL,
        state TEXT NOT NULL,
        requested INTEGER NOT NULL,
        gap_ms REAL,
        move TEXT NOT NULL,
        timeline TEXT
    ) WITHOUT ROWID;
    CREATE INDEX moves_user ON moves (user, id);
    CREATE TABLE cdrs (
        id TEXT PRIMARY KEY,
        start INTEGER NOT NULL,
        answer INTEGER,
        end INTEGER,
        direction TEXT NOT NULL,
        caller TEXT NOT NULL,
        callee TEXT NOT NULL,
        user TEXT,
        trunk TEXT,
        disposition TEXT NOT NULL,
        sip_code INTEGER NOT NULL,
        moves INTEGER NOT NULL,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX cdrs_start ON cdrs (start);
    CREATE INDEX cdrs_user ON cdrs (user, start);
    CREATE TABLE cdr_segments (
        cdr TEXT NOT NULL REFERENCES cdrs ON DELETE CASCADE,
        place INTEGER NOT NULL,
        device TEXT NOT NULL,
        start INTEGER NOT NULL,
        end INTEGER,
        trigger TEXT,
        gap_ms REAL,
        lost INTEGER,
        codec TEXT,
        mos REAL,
        PRIMARY KEY (cdr, place)
    ) WITHOUT ROWID;
"];

/// Opens the file for one writer, or makes it for its owner alone.
pub(super) fn open(path: &Path, settings: &Settings) -> Result<Connection, OpenError> {
    let made = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    if let Err(source) = made {
        return Err(match source.kind() {
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::ReadOnly(path.to_owned())
            }
            _ => OpenError::Io { path: path.to_owned(), source },
        });
    }
    let failed = |error: rusqlite::Error| OpenError::of(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(settings.busy).map_err(failed)?;
    // FULL: an answered operation is on the disk, not only with the system. Group commit pays for it once a batch.
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")
        .map_err(failed)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::of(path, &error);
    let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    let known = STEPS.len() as u32;
    if version > known {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known });
    }
    let steps = STEPS.iter().zip(1_u32..).skip(version as usize);
    for (step, number) in steps {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction.pragma_update(None, "user_version", number).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
