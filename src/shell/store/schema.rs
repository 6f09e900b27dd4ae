//! The tables, as operators see them with `sqlite3`, and the steps from an older schema to this one.
//!
//! Times are milliseconds since 1970, lists are JSON. Columns of call records have the names of the record's fields.

use rusqlite::Connection;

use super::database::transaction;
use super::fault::Fault;

/// Marks a file as ours (`segu`), for us and for `file`.
const APPLICATION: i64 = 0x7365_6775;

/// Step `n` leads from schema `n` to `n + 1`. A step that was released is never changed.
const STEPS: &[&str] = &[FIRST, TRANSFERS, PARTIES, RUNS, READERS, BY_ID, NUMBERS, HOT_DESKS];

const TRANSFERS: &str = "ALTER TABLE cdrs ADD COLUMN transferred_by TEXT;";

/// Records are looked for by caller and by number, also among millions, and nobody waits for that.
const PARTIES: &str = "
CREATE INDEX cdrs_by_from ON cdrs (\"from\", id);
CREATE INDEX cdrs_by_to ON cdrs (\"to\", id);
";

/// Calls of test runs, and the moves of a call.
const RUNS: &str = "
ALTER TABLE cdrs ADD COLUMN run TEXT;
CREATE INDEX cdrs_of_run ON cdrs (run) WHERE run IS NOT NULL;
CREATE INDEX moves_of_call ON moves (call);
";

/// The order in which records were written, and how far those are who copy them. Numbers are never used twice.
const READERS: &str = "
CREATE TABLE cdr_order (n INTEGER PRIMARY KEY AUTOINCREMENT, cdr TEXT NOT NULL) STRICT;
CREATE TABLE cdr_readers (
    name TEXT PRIMARY KEY, n INTEGER NOT NULL, inode INTEGER NOT NULL, length INTEGER NOT NULL
) STRICT;
";

/// The id of a record begins with its time: nothing is looked for by `start`.
const BY_ID: &str = "DROP INDEX cdrs_by_start;";

/// Numbers as trunks have them, where rules make them others.
const NUMBERS: &str = "
ALTER TABLE cdrs ADD COLUMN trunk_from TEXT;
ALTER TABLE cdrs ADD COLUMN trunk_to TEXT;
";

/// Who is signed in at which shared device.
const HOT_DESKS: &str = "
CREATE TABLE hot_desks (
    device TEXT PRIMARY KEY, user TEXT NOT NULL, proof TEXT NOT NULL, since INTEGER NOT NULL, length_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

const FIRST: &str = "
CREATE TABLE accounts (
    name TEXT PRIMARY KEY, display TEXT, extension TEXT UNIQUE, algorithms TEXT NOT NULL, login TEXT,
    admin INTEGER NOT NULL, pin TEXT, hold_off_ms INTEGER, watchers TEXT NOT NULL
) STRICT;
CREATE TABLE devices (
    account TEXT NOT NULL REFERENCES accounts (name) ON DELETE CASCADE, n INTEGER NOT NULL, id TEXT NOT NULL,
    auth_user TEXT NOT NULL UNIQUE, ha1_md5 BLOB, ha1_sha256 BLOB, ha1_sha512_256 BLOB, trust TEXT NOT NULL,
    auto_answer INTEGER NOT NULL,
    PRIMARY KEY (account, n), UNIQUE (account, id)
) STRICT;
CREATE TABLE bindings (
    user TEXT NOT NULL, n INTEGER NOT NULL, contact TEXT NOT NULL, instance TEXT, reg_id INTEGER, q INTEGER,
    features TEXT NOT NULL, expires INTEGER NOT NULL, registered INTEGER NOT NULL, call_id TEXT NOT NULL,
    cseq INTEGER NOT NULL, transport TEXT NOT NULL, listener INTEGER NOT NULL, peer TEXT NOT NULL,
    path TEXT NOT NULL, user_agent TEXT NOT NULL, device TEXT NOT NULL,
    PRIMARY KEY (user, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE hold_offs (
    move_id TEXT PRIMARY KEY, user TEXT NOT NULL, device TEXT NOT NULL, call_id TEXT NOT NULL, scope TEXT NOT NULL,
    started INTEGER NOT NULL, length_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (move_id TEXT PRIMARY KEY, taken INTEGER NOT NULL, snapshot TEXT NOT NULL) STRICT;
CREATE TABLE moves (
    id TEXT PRIMARY KEY, call TEXT NOT NULL, user TEXT NOT NULL, from_device TEXT, to_device TEXT,
    trigger TEXT NOT NULL, state TEXT NOT NULL, reason TEXT, requested INTEGER NOT NULL, ended INTEGER, gap_ms REAL,
    lost INTEGER, hold_off_until INTEGER, timeline TEXT
) STRICT;
CREATE INDEX moves_of_user ON moves (user, id);
CREATE TABLE cdrs (
    id TEXT PRIMARY KEY, sip_call_id TEXT NOT NULL, direction TEXT NOT NULL, \"from\" TEXT NOT NULL,
    \"to\" TEXT NOT NULL, user TEXT, first_device TEXT, last_device TEXT, trunk TEXT, start INTEGER NOT NULL,
    ring INTEGER, answer INTEGER, \"end\" INTEGER, disposition TEXT NOT NULL, sip_code INTEGER NOT NULL,
    hangup_by TEXT, codecs TEXT NOT NULL, srtp INTEGER NOT NULL, transports TEXT NOT NULL,
    user_agents TEXT NOT NULL, moves INTEGER NOT NULL, mos_min REAL, loss REAL, jitter REAL, node TEXT NOT NULL
) STRICT;
CREATE INDEX cdrs_of_user ON cdrs (user, id);
CREATE INDEX cdrs_by_start ON cdrs (start);
CREATE TABLE cdr_segments (
    cdr TEXT NOT NULL REFERENCES cdrs (id) ON DELETE CASCADE, n INTEGER NOT NULL, device TEXT NOT NULL,
    start INTEGER NOT NULL, \"end\" INTEGER, trigger TEXT, gap_ms REAL, lost INTEGER, codec TEXT, mos REAL,
    PRIMARY KEY (cdr, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE failures (
    kind TEXT NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL, window INTEGER NOT NULL, banned_until INTEGER,
    PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
";

/// What a file turned out to be.
pub(super) enum Found {
    /// A store, now of this release's schema.
    Ours,
    /// A database of some other program.
    Foreign,
    /// A store of a newer release. Nothing was changed.
    Newer {
        /// Its schema.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
}

/// Brings an empty file or an older store to this release's schema, each step wholly or not at all.
pub(super) fn bring_up(connection: &Connection) -> Result<Found, Fault> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let is_empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    if !is_empty && number("PRAGMA application_id")? != APPLICATION {
        return Ok(Found::Foreign);
    }
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found = number("PRAGMA user_version")?;
    if found > known {
        return Ok(Found::Newer { found, known });
    }
    for (step, version) in STEPS.iter().zip(1_i64..).filter(|(_, version)| *version > found) {
        transaction(connection, || {
            connection.execute_batch(step)?;
            connection.pragma_update(None, "application_id", APPLICATION)?;
            connection.pragma_update(None, "user_version", version)?;
            Ok(())
        })?;
    }
    Ok(Found::Ours)
}
