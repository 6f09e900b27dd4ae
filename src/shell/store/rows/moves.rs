//! Moves: columns for the list, and the timeline as JSON.

use rusqlite::{Connection, Error, OptionalExtension as _, Row, named_params};

use super::super::fault::Fault;
use super::columns::{Columns as _, execute, int, json, ms, page, shown, word};
use crate::engine::view::{MoveView, Page, PageQuery, Time};

pub(super) fn save(connection: &Connection, view: &MoveView) -> Result<(), Fault> {
    let at = |time: Option<Time>| time.map(|Time(time)| ms(time));
    let values = named_params! {
        ":id": view.id,
        ":call": view.call,
        ":user": view.user,
        ":from_device": view.from_device,
        ":to_device": view.to_device,
        ":trigger": word(&view.trigger)?,
        ":state": word(&view.state)?,
        ":reason": view.reason,
        ":requested": ms(view.requested.0),
        ":ended": at(view.ended),
        ":gap_ms": view.gap_ms,
        ":lost": view.lost.map(int),
        ":hold_off_until": at(view.hold_off_until),
        ":timeline": view.timeline.as_ref().map(json).transpose()?,
    };
    execute(
        connection,
        "INSERT OR REPLACE INTO moves (id, call, user, from_device, to_device, trigger, state, reason, requested,
         ended, gap_ms, lost, hold_off_until, timeline)
         VALUES (:id, :call, :user, :from_device, :to_device, :trigger, :state, :reason, :requested,
         :ended, :gap_ms, :lost, :hold_off_until, :timeline)",
        values,
    )
    .map(drop)
}

pub(super) fn list(
    connection: &Connection,
    user: Option<&str>,
    query: &PageQuery,
) -> Result<Page<MoveView>, Fault> {
    let select =
        "SELECT id, call, user, from_device, to_device, trigger, state, reason, requested, ended, gap_ms,
                  lost, hold_off_until FROM moves";
    page(connection, select, user, query, read)
}

pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<MoveView>, Fault> {
    let mut statement = connection.prepare_cached("SELECT * FROM moves WHERE id = ?1")?;
    let found = statement.query_row([id], |row| {
        let timeline = match row.get_ref("timeline")? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(row.json("timeline")?),
        };
        Ok(MoveView { timeline, ..read(row)? })
    });
    Ok(found.optional()?)
}

fn read(row: &Row<'_>) -> Result<MoveView, Error> {
    Ok(MoveView {
        id: row.get("id")?,
        call: row.get("call")?,
        user: row.get("user")?,
        from_device: row.get("from_device")?,
        to_device: row.get("to_device")?,
        trigger: row.word("trigger")?,
        state: row.word("state")?,
        reason: row.get("reason")?,
        requested: Time(row.at("requested")?),
        ended: shown(row.at_or_null("ended")?),
        gap_ms: row.get("gap_ms")?,
        lost: row.uint_or_null("lost")?,
        hold_off_until: shown(row.at_or_null("hold_off_until")?),
        timeline: None,
    })
}
