//! What can go wrong with the file, in the words of the engine and of the operator. No text here holds a value of a
//! row: SQLite's messages name tables and columns only.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::engine::store::Unavailable;

/// Why an operation failed.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What the engine is told.
    pub why: Unavailable,
    /// The value is at fault, not the file: the next may succeed.
    pub is_of_the_value: bool,
    /// What SQLite says.
    detail: String,
    code: Option<ErrorCode>,
}

impl Fault {
    /// A value that has no row.
    pub(super) fn of_the_value(detail: impl fmt::Display) -> Self {
        Self { why: Unavailable::Failed, is_of_the_value: true, detail: detail.to_string(), code: None }
    }

    /// Whether a rule of the schema forbids it.
    pub(super) fn is_constraint(&self) -> bool {
        self.code == Some(ErrorCode::ConstraintViolation)
    }

    /// Whether the file is none of SQLite's.
    pub(super) fn is_foreign(&self) -> bool {
        self.code == Some(ErrorCode::NotADatabase)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.why, self.detail)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let why = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Unavailable::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Unavailable::Locked,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Unavailable::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Unavailable::Corrupt,
            _ => Unavailable::Failed,
        };
        let is_of_the_value = match error.sqlite_error_code() {
            Some(code) => {
                matches!(code, ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
            }
            None => true,
        };
        Self { why, is_of_the_value, detail: error.to_string(), code: error.sqlite_error_code() }
    }
}

/// Why a store cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there.
    #[error("{}: there is no such directory: make it, or set node.data_dir", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The file, or files beside it, may not be written.
    #[error("{}: may not be written: give the file and its directory to the user that runs segue", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another node has it open.
    #[error("{}: is in use by another segue: stop that one, or give this one its own node.data_dir", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Another program writes it.
    #[error("{}: is locked by another program, such as sqlite3: end what it does there", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is some other file.
    #[error("{}: is not a store of segue: move it away, or set node.data_dir", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// A newer release made it.
    #[error("{}: was made by a newer segue (schema {found}, this one knows {known}): run that one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema of this program.
        known: i64,
    },
    /// It is damaged.
    #[error("{}: is damaged: restore a copy, or save what `sqlite3 FILE .recover` finds", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// No room.
    #[error("{}: no space is left on its disk: make room", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// Anything else.
    #[error("{}: {detail}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
}

impl OpenError {
    pub(super) fn failed(path: &Path, detail: String) -> Self {
        Self::Failed { path: path.into(), detail }
    }

    pub(super) fn of(path: &Path, fault: Fault) -> Self {
        let path = path.into();
        match fault.why {
            Unavailable::DiskFull => Self::DiskFull { path },
            Unavailable::Locked => Self::Locked { path },
            Unavailable::ReadOnly => Self::ReadOnly { path },
            Unavailable::Corrupt => Self::Damaged { path },
            Unavailable::QueueFull | Unavailable::Failed | Unavailable::Closed => {
                Self::Failed { path, detail: fault.detail }
            }
        }
    }

    pub(super) fn of_file(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { path: path.into() }
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path: path.into() },
            ErrorKind::NotFound => Self::NoDirectory { path: path.parent().unwrap_or(path).into() },
            _ => Self::failed(path, error.to_string()),
        }
    }
}
