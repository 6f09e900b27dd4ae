//! Values into rows.

use rusqlite::{Transaction, params};
use serde::Serialize;

use super::account;
use super::queue::Behind;
use crate::call::record::CallRecord;
use crate::engine::store::{FailureCounter, StoreReply, Unavailable};
use crate::engine::view::MoveView;
use crate::moving::hold_off;
use crate::moving::snapshot::Snapshot;
use crate::registrar::SavedAor;
use crate::registrar::accounts::Account;

/// A number as SQLite holds it.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// JSON of plain values, which always have one.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The name of a value of an enumeration, as its JSON has it.
fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Everything that waits to be written behind.
pub(super) fn behind(transaction: &Transaction<'_>, behind: &Behind) -> rusqlite::Result<()> {
    for aor in behind.bindings.values() {
        save_bindings(transaction, aor)?;
    }
    for counter in behind.failures.values() {
        save_failures(transaction, counter)?;
    }
    for view in behind.moves.values() {
        save_move(transaction, view)?;
    }
    for record in behind.records.values() {
        add_record(transaction, record)?;
    }
    Ok(())
}

fn save_bindings(transaction: &Transaction<'_>, aor: &SavedAor) -> rusqlite::Result<()> {
    let Some(expires) = aor.bindings.iter().map(|binding| binding.expires.0).max() else {
        transaction.prepare_cached("DELETE FROM bindings WHERE user = ?")?.execute([&*aor.user])?;
        return Ok(());
    };
    transaction
        .prepare_cached("INSERT OR REPLACE INTO bindings (user, expires, bindings) VALUES (?, ?, ?)")?
        .execute(params![&*aor.user, number(expires), json(aor)])?;
    Ok(())
}

fn save_failures(transaction: &Transaction<'_>, counter: &FailureCounter) -> rusqlite::Result<()> {
    if counter.count == 0 && counter.banned_until.is_none() {
        transaction
            .prepare_cached("DELETE FROM failures WHERE kind = ? AND key = ?")?
            .execute(params![&*counter.kind, &*counter.key])?;
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO failures (kind, key, count, window, banned_until) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            &*counter.kind,
            &*counter.key,
            counter.count,
            number(counter.window.0),
            counter.banned_until.map(|until| number(until.0)),
        ])?;
    Ok(())
}

fn save_move(transaction: &Transaction<'_>, view: &MoveView) -> rusqlite::Result<()> {
    let timeline = view.timeline.as_ref().map(json);
    let listed = MoveView { timeline: None, ..view.clone() };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO moves (id, user, call, state, requested, gap_ms, move, timeline)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            view.id,
            view.user,
            view.call,
            view.state.as_str(),
            number(view.requested.0.0),
            view.gap_ms,
            json(&listed),
            timeline,
        ])?;
    Ok(())
}

/// Once: a record that is there stays as it is.
fn add_record(transaction: &Transaction<'_>, record: &CallRecord) -> rusqlite::Result<()> {
    let added = transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO cdrs (id, start, answer, end, direction, caller, callee, user, trunk,
                disposition, sip_code, moves, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            record.id,
            number(record.start.0),
            record.answer.map(|at| number(at.0)),
            record.end.map(|at| number(at.0)),
            name(&record.direction),
            record.from,
            record.to,
            record.user,
            record.trunk,
            name(&record.disposition),
            record.sip_code,
            record.moves,
            json(record),
        ])?;
    if added == 0 {
        return Ok(());
    }
    let mut statement = transaction.prepare_cached(
        "INSERT INTO cdr_segments (cdr, place, device, start, end, trigger, gap_ms, lost, codec, mos)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for (place, segment) in record.segments.iter().enumerate() {
        statement.execute(params![
            record.id,
            number(place as u64),
            segment.device,
            number(segment.start.0),
            segment.end.map(|at| number(at.0)),
            segment.trigger,
            segment.gap_ms,
            segment.lost.map(number),
            segment.codec,
            segment.mos,
        ])?;
    }
    Ok(())
}

/// An account with its digest identities; each of its names may be another account's.
pub(super) fn put_account(transaction: &Transaction<'_>, account: &Account) -> rusqlite::Result<StoreReply> {
    let mut taken = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts WHERE extension = ?2 AND name <> ?1)")?;
    if taken.query_row(params![&*account.name, account.extension.as_deref()], |row| row.get::<_, bool>(0))? {
        return Ok(StoreReply::Conflict);
    }
    let mut taken = transaction
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM identities WHERE auth_user = ?2 AND name <> ?1)")?;
    for device in &account.devices {
        if taken.query_row(params![&*account.name, &*device.auth_user], |row| row.get::<_, bool>(0))? {
            return Ok(StoreReply::Conflict);
        }
    }
    transaction.prepare_cached("DELETE FROM identities WHERE name = ?")?.execute([&*account.name])?;
    transaction
        .prepare_cached(
            "INSERT INTO accounts (name, extension, account) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET extension = ?2, account = ?3",
        )?
        .execute(params![&*account.name, account.extension.as_deref(), account::to_json(account)])?;
    let mut identity =
        transaction.prepare_cached("INSERT INTO identities (auth_user, name) VALUES (?, ?)")?;
    for device in &account.devices {
        identity.execute(params![&*device.auth_user, &*account.name])?;
    }
    Ok(StoreReply::Done)
}

pub(super) fn put_hold_off(
    transaction: &Transaction<'_>,
    row: &hold_off::Row,
) -> rusqlite::Result<StoreReply> {
    let ends = row.started.0.saturating_add(row.length_ms);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO hold_offs (move, ends, hold_off) VALUES (?, ?, ?)")?
        .execute(params![row.move_id, number(ends), json(row)])?;
    Ok(StoreReply::Done)
}

pub(super) fn put_snapshot(
    transaction: &Transaction<'_>,
    snapshot: &Snapshot,
) -> rusqlite::Result<StoreReply> {
    let Ok(text) = snapshot.to_json() else { return Ok(StoreReply::Unavailable(Unavailable::Failed)) };
    transaction
        .prepare_cached("INSERT OR REPLACE INTO snapshots (move, taken, snapshot) VALUES (?, ?, ?)")?
        .execute(params![snapshot.move_id, number(snapshot.taken.0), text])?;
    Ok(StoreReply::Done)
}
