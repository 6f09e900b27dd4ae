//! What can go wrong with the file, in the words of an operator and of the engine.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::engine::store::Unavailable;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is something else.
    #[error("{}: this is no segue store (not an SQLite database): move it away, or give another data_dir", .0.display())]
    NotAStore(PathBuf),
    /// Made by a later release.
    #[error("{}: written by a later release (schema {found}, this one knows {known}): run that release", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another process writes to it.
    #[error("{}: another program has it locked", .0.display())]
    Locked(PathBuf),
    /// It may not be written.
    #[error("{}: it cannot be written: check the permissions of the file and its directory", .0.display())]
    ReadOnly(PathBuf),
    /// No room.
    #[error("{}: no space left on the disk", .0.display())]
    Full(PathBuf),
    /// Parts of it cannot be read.
    #[error("{}: it is damaged ({why}): restore a copy, or move it away to start anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The system refuses it.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotAStore(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(path),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::ReadOnly(path)
            }
            Some(ErrorCode::DiskFull) => Self::Full(path),
            _ => Self::Damaged { path, why: error.to_string() },
        }
    }
}

/// What the engine is told of a failure.
pub(super) fn unavailable(error: &rusqlite::Error) -> Unavailable {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Unavailable::DiskFull,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Unavailable::Locked,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Unavailable::ReadOnly
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Unavailable::Corrupt,
        _ => Unavailable::Failed,
    }
}
