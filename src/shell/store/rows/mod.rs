//! Values and rows: one file for each kind of thing, and here which operation means which.

mod accounts;
mod bindings;
mod columns;
mod failures;
mod hot_desks;
mod moves;
mod moving;
mod records;
mod runs;

use rusqlite::Connection;

use super::backlog::Save;
use super::fault::Fault;
use crate::base::UnixMillis;
use crate::engine::store::{Loaded, StoreOp, StoreReply};

pub(super) use self::failures::try_room;
pub(super) use self::records::after as records_after;
pub(super) use self::runs::report;

/// Writes one value that is written behind.
pub(super) fn save(connection: &Connection, save: &Save) -> Result<(), Fault> {
    match save {
        Save::Bindings(aor) => bindings::save(connection, aor),
        Save::Failures(counter) => failures::save(connection, counter),
        Save::HotDesk(desk) => hot_desks::save(connection, desk),
        Save::Move(view) => moves::save(connection, view),
        Save::Record(record) => records::add(connection, record),
    }
}

/// Carries out one operation that is answered.
pub(super) fn perform(connection: &Connection, op: &StoreOp) -> Result<StoreReply, Fault> {
    match op {
        StoreOp::PutAccount(account) => return accounts::put(connection, account),
        StoreOp::RemoveAccount { name } => accounts::remove(connection, name)?,
        StoreOp::PutHoldOff(row) => moving::put_hold_off(connection, row)?,
        StoreOp::RemoveHoldOff { move_id } => moving::remove_hold_off(connection, move_id)?,
        StoreOp::PutSnapshot(snapshot) => moving::put_snapshot(connection, snapshot)?,
        StoreOp::RemoveSnapshot { move_id } => moving::remove_snapshot(connection, move_id)?,
        StoreOp::ListMoves { user, page } => {
            return moves::list(connection, user.as_deref(), page).map(StoreReply::Moves);
        }
        StoreOp::FindMove { id } => {
            return Ok(StoreReply::Move(moves::find(connection, id)?.map(Box::new)));
        }
        StoreOp::ListRecords { wanted, page } => {
            return records::list(connection, wanted, page).map(StoreReply::Records);
        }
        StoreOp::FindRecord { id } => {
            return Ok(StoreReply::Record(records::find(connection, id)?.map(Box::new)));
        }
        StoreOp::SaveBindings(_)
        | StoreOp::SaveFailures(_)
        | StoreOp::SaveHotDesk(_)
        | StoreOp::SaveMove(_)
        | StoreOp::AddRecord(_) => return Err(Fault::of_the_value("this is written behind")),
    }
    Ok(StoreReply::Done)
}

/// Deletes bindings, hold-offs and sign-ins that have ended.
pub(super) fn forget_ended(connection: &Connection, now: UnixMillis) -> Result<(), Fault> {
    bindings::forget_expired(connection, now)?;
    moving::forget_ended(connection, now)?;
    hot_desks::forget_ended(connection, now)
}

/// All that a node needs at the start. A row that cannot be read is named in the log and left out: one bad row must
/// not keep a node down.
pub(super) fn load(connection: &Connection) -> Result<Loaded, Fault> {
    Ok(Loaded {
        accounts: accounts::load(connection)?,
        bindings: bindings::load(connection)?,
        hold_offs: moving::load_hold_offs(connection)?,
        snapshots: moving::load_snapshots(connection)?,
        failures: failures::load(connection)?,
        hot_desks: hot_desks::load(connection)?,
    })
}
