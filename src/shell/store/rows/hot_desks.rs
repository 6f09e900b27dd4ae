//! Shared devices at which somebody is signed in.

use rusqlite::Connection;

use super::super::fault::Fault;
use super::columns::{Columns as _, execute, int, ms, readable};
use crate::base::UnixMillis;
use crate::registrar::hot_desk::{SavedDesk, SignIn};

pub(super) fn save(connection: &Connection, desk: &SavedDesk) -> Result<(), Fault> {
    let Some(sign_in) = &desk.sign_in else {
        return execute(connection, "DELETE FROM hot_desks WHERE device = ?1", [&*desk.device]).map(drop);
    };
    execute(
        connection,
        "INSERT OR REPLACE INTO hot_desks (device, user, proof, since, length_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        (&*desk.device, &*sign_in.user, &*sign_in.proof, ms(sign_in.since), int(sign_in.length_ms)),
    )
    .map(drop)
}

/// Deletes sign-ins that are over.
pub(super) fn forget_ended(connection: &Connection, now: UnixMillis) -> Result<(), Fault> {
    // Written so that no sum overflows. One that begins in the future stays: the clock went back.
    let over = "DELETE FROM hot_desks WHERE since <= ?1 AND length_ms <= ?1 - since";
    execute(connection, over, [ms(now)]).map(drop)
}

pub(super) fn load(connection: &Connection) -> Result<Vec<SavedDesk>, Fault> {
    readable(connection, "hot_desks", "SELECT * FROM hot_desks ORDER BY device", |row| {
        let sign_in = SignIn {
            user: row.get("user")?,
            proof: row.get("proof")?,
            since: row.at("since")?,
            length_ms: row.uint("length_ms")?,
        };
        Ok(SavedDesk { device: row.get("device")?, sign_in: Some(sign_in) })
    })
}
