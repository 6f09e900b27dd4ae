//! The file: found or made, locked for this process, checked, brought to this release's schema; and transactions.

use std::cell::Cell;
use std::fs::{self, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::Settings;
use super::checkpoint::LIMIT;
use super::fault::{Fault, OpenError};
use super::{rows, schema};
use crate::base::UnixMillis;
use crate::engine::store::{Loaded, Unavailable};

/// It holds what a password is worth, so nobody else reads it.
const MODE: u32 = 0o600;
/// Statements kept ready: there are about forty.
const STATEMENTS: usize = 64;
/// The log is cut to this size after a checkpoint, so that one burst does not keep the disk.
const LOG_SIZE: i64 = 16 << 20;

/// What a commit must outlive before it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outlives {
    /// The process: the log has been handed to the system. A device that waits for its call does not wait for a disk,
    /// and what a power cut takes of a move it takes of the call as well.
    Process,
    /// A power cut: the log has been flushed. What an operator was told is done stays done.
    Power,
}

/// An open file that no other node writes.
pub(super) struct Database {
    connection: Connection,
    outlives: Cell<Outlives>,
    /// Held until the end; the connection is closed before it.
    _lock: Connection,
    path: PathBuf,
}

impl Database {
    /// See [`Store::open`](super::Store::open).
    pub(super) fn open(
        path: &Path,
        settings: &Settings,
        now: UnixMillis,
    ) -> Result<(Self, Loaded), OpenError> {
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = lock(path, Path::new(&lock_path))?;
        make(path)?;
        let failed = |fault| OpenError::of(path, fault);
        let connection = connect(path).map_err(failed)?;
        connection.busy_timeout(settings.busy).map_err(|error| failed(error.into()))?;
        match schema::bring_up(&connection).map_err(|fault| not_a_store(path, fault))? {
            schema::Found::Ours => {}
            schema::Found::Foreign => return Err(OpenError::NotAStore { path: path.into() }),
            schema::Found::Newer { found, known } => {
                return Err(OpenError::Newer { path: path.into(), found, known });
            }
        }
        set_up(&connection, settings).map_err(failed)?;
        let outlives = Cell::new(Outlives::Power);
        let database = Self { connection, outlives, _lock: lock, path: path.into() };
        let loaded = database
            .transaction(Outlives::Power, || {
                rows::forget_ended(database.connection(), now)?;
                rows::load(database.connection())
            })
            .map_err(failed)?;
        Ok((database, loaded))
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Does `work` wholly or not at all.
    pub(super) fn transaction<T>(
        &self,
        outlives: Outlives,
        work: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.outlives.get() != outlives {
            // In WAL mode both keep the file whole (sqlite.org/pragma.html#pragma_synchronous).
            let mode = if outlives == Outlives::Power { "FULL" } else { "NORMAL" };
            self.connection.pragma_update(None, "synchronous", mode)?;
            self.outlives.set(outlives);
        }
        transaction(&self.connection, work)
    }
}

pub(super) fn transaction<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    transaction_of(connection, "BEGIN IMMEDIATE", work)
}

/// Does `work` wholly or not at all, in a transaction that begins so.
pub(super) fn transaction_of<T>(
    connection: &Connection,
    begin: &str,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, Fault> {
    connection.execute_batch(begin)?;
    let done = work().and_then(|value| {
        connection.execute_batch("COMMIT")?;
        Ok(value)
    });
    // A full disk may have ended the transaction already.
    if done.is_err() && !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    done
}

/// Holds the node's own lock. It is not a lock on the store itself, so that operators can read that while the node
/// runs; a process that dies gives it back.
fn lock(path: &Path, lock_path: &Path) -> Result<Connection, OpenError> {
    make(lock_path)?;
    let locked = connect(lock_path).and_then(|lock| {
        lock.busy_timeout(std::time::Duration::ZERO)?;
        lock.execute_batch("BEGIN EXCLUSIVE")?;
        Ok(lock)
    });
    locked.map_err(|fault| match fault.why {
        Unavailable::Locked => OpenError::InUse { path: path.into() },
        _ => OpenError::of(lock_path, fault),
    })
}

/// Makes the file where there is none, readable for its owner only; an old one and its log become so.
fn make(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(MODE).open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(OpenError::of_file(path, &error)),
    }
    OpenOptions::new().write(true).open(path).map_err(|error| OpenError::of_file(path, &error))?;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let file = Path::new(&name);
        match fs::metadata(file) {
            Ok(found) if found.permissions().mode() & 0o077 != 0 => {
                fs::set_permissions(file, Permissions::from_mode(MODE))
                    .map_err(|error| OpenError::of_file(file, &error))?;
                tracing::warn!(file = %file.display(), "others could read this file; now only its owner can");
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::of_file(file, &error)),
        }
    }
    Ok(())
}

pub(super) fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn set_up(connection: &Connection, settings: &Settings) -> Result<(), Fault> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Fault::of_the_value("its disk does not support a write-ahead log; use a local disk"));
    }
    // Each transaction says what it must outlive; see `Outlives`.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_SIZE)?;
    connection.pragma_update(None, "wal_autocheckpoint", LIMIT)?;
    // What a deleted password was worth does not stay in free pages.
    connection.pragma_update(None, "secure_delete", true)?;
    if let Some(most) = settings.max_size {
        let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let pages = i64::try_from(most).unwrap_or(i64::MAX) / page.max(1);
        connection.pragma_update(None, "max_page_count", pages.clamp(1, i64::from(u32::MAX) - 2))?;
    }
    Ok(())
}

/// A file that SQLite does not know never was a store.
fn not_a_store(path: &Path, fault: Fault) -> OpenError {
    if fault.is_foreign() { OpenError::NotAStore { path: path.into() } } else { OpenError::of(path, fault) }
}
