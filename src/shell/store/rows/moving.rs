//! What a move needs after a restart: hold-offs, and the session information that a grant captured.

use rusqlite::Connection;

use super::super::fault::Fault;
use super::columns::{Columns as _, execute, int, ms, readable, unreadable, word};
use crate::base::UnixMillis;
use crate::moving::hold_off;
use crate::moving::snapshot::Snapshot;

pub(super) fn put_hold_off(connection: &Connection, row: &hold_off::Row) -> Result<(), Fault> {
    let scope = word(&row.scope)?;
    execute(
        connection,
        "INSERT OR REPLACE INTO hold_offs (move_id, user, device, call_id, scope, started, length_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (&row.move_id, &row.user, &row.device, &row.call_id, scope, ms(row.started), int(row.length_ms)),
    )
    .map(drop)
}

pub(super) fn remove_hold_off(connection: &Connection, move_id: &str) -> Result<(), Fault> {
    execute(connection, "DELETE FROM hold_offs WHERE move_id = ?1", [move_id]).map(drop)
}

/// Deletes hold-offs that are over.
pub(super) fn forget_ended(connection: &Connection, now: UnixMillis) -> Result<(), Fault> {
    // Written so that no sum overflows. One that begins in the future stays: the clock went back.
    let over = "DELETE FROM hold_offs WHERE started <= ?1 AND length_ms <= ?1 - started";
    execute(connection, over, [ms(now)]).map(drop)
}

pub(super) fn load_hold_offs(connection: &Connection) -> Result<Vec<hold_off::Row>, Fault> {
    readable(connection, "hold_offs", "SELECT * FROM hold_offs ORDER BY move_id", |row| {
        Ok(hold_off::Row {
            move_id: row.get("move_id")?,
            user: row.get("user")?,
            device: row.get("device")?,
            call_id: row.get("call_id")?,
            scope: row.word("scope")?,
            started: row.at("started")?,
            length_ms: row.uint("length_ms")?,
        })
    })
}

pub(super) fn put_snapshot(connection: &Connection, snapshot: &Snapshot) -> Result<(), Fault> {
    let text = snapshot.to_json().map_err(Fault::of_the_value)?;
    execute(
        connection,
        "INSERT OR REPLACE INTO snapshots (move_id, taken, snapshot) VALUES (?1, ?2, ?3)",
        (&snapshot.move_id, ms(snapshot.taken), text),
    )
    .map(drop)
}

pub(super) fn remove_snapshot(connection: &Connection, move_id: &str) -> Result<(), Fault> {
    execute(connection, "DELETE FROM snapshots WHERE move_id = ?1", [move_id]).map(drop)
}

pub(super) fn load_snapshots(connection: &Connection) -> Result<Vec<Snapshot>, Fault> {
    readable(connection, "snapshots", "SELECT move_id, snapshot FROM snapshots ORDER BY move_id", |row| {
        Snapshot::from_json(&row.get::<_, String>("snapshot")?).map_err(|_| unreadable("snapshot"))
    })
}
