//! Rows into values. A row that cannot be read is told and left out: one bad row does not keep a node from starting.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;

use super::account;
use crate::base::UnixMillis;
use crate::engine::store::{FailureCounter, Loaded, StoreReply};
use crate::engine::view::{MoveView, PAGE_MAX, Page, PageQuery};
use crate::moving::snapshot::Snapshot;

/// What the engine starts with: nothing that has ended by `now`.
pub(super) fn all(connection: &Connection, now: UnixMillis) -> rusqlite::Result<Loaded> {
    let now = i64::try_from(now.0).unwrap_or(i64::MAX);
    connection.execute("DELETE FROM bindings WHERE expires <= ?", [now])?;
    connection.execute("DELETE FROM hold_offs WHERE ends <= ?", [now])?;
    let texts = |query: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(query)?.query_map([], |row| row.get(0))?.collect()
    };
    let failures = connection
        .prepare("SELECT kind, key, count, window, banned_until FROM failures")?
        .query_map([], failure)?
        .collect::<Result<_, _>>()?;
    Ok(Loaded {
        accounts: readable("accounts", &texts("SELECT account FROM accounts ORDER BY name")?, |text| {
            account::from_json(text)
        }),
        bindings: readable("bindings", &texts("SELECT bindings FROM bindings ORDER BY user")?, json),
        hold_offs: readable("hold_offs", &texts("SELECT hold_off FROM hold_offs ORDER BY move")?, json),
        snapshots: readable("snapshots", &texts("SELECT snapshot FROM snapshots ORDER BY move")?, |text| {
            Snapshot::from_json(text).map_err(|error| error.to_string())
        }),
        failures,
    })
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn readable<T>(table: &str, texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
    let one = |text: &String| {
        read(text).inspect_err(|why| tracing::error!(table, why, "a row of the store cannot be read")).ok()
    };
    texts.iter().filter_map(one).collect()
}

fn failure(row: &Row<'_>) -> rusqlite::Result<FailureCounter> {
    let time = |value: i64| UnixMillis(u64::try_from(value).unwrap_or(0));
    Ok(FailureCounter {
        kind: row.get::<_, String>(0)?.into(),
        key: row.get::<_, String>(1)?.into(),
        count: row.get(2)?,
        window: time(row.get(3)?),
        banned_until: row.get::<_, Option<i64>>(4)?.map(time),
    })
}

/// Moves without their timelines, newest first: their ids rise with time.
pub(super) fn moves(
    connection: &Connection,
    user: Option<&str>,
    page: &PageQuery,
) -> rusqlite::Result<StoreReply> {
    let limit = usize::from(page.limit.clamp(1, PAGE_MAX));
    let mut statement = connection.prepare_cached(
        "SELECT move FROM moves WHERE (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR id < ?2)
         ORDER BY id DESC LIMIT ?3",
    )?;
    // One more than asked for tells whether there is a next page.
    let rows =
        statement.query_map(params![user, page.cursor.as_deref(), limit as i64 + 1], |row| row.get(0))?;
    let texts: Vec<String> = rows.collect::<Result<_, _>>()?;
    let is_more = texts.len() > limit;
    let mut items: Vec<MoveView> = readable("moves", &texts, json);
    items.truncate(limit);
    let next = items.last().filter(|_| is_more).map(|last| last.id.clone());
    Ok(StoreReply::Moves(Page { items, next }))
}

pub(super) fn one_move(connection: &Connection, id: &str) -> rusqlite::Result<StoreReply> {
    let row: Option<(String, Option<String>)> = connection
        .prepare_cached("SELECT move, timeline FROM moves WHERE id = ?")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((text, timeline)) = row else { return Ok(StoreReply::Move(None)) };
    let view = readable("moves", &[text], json::<MoveView>).pop();
    let timeline = timeline.and_then(|text| json(&text).ok());
    Ok(StoreReply::Move(view.map(|view| Box::new(MoveView { timeline, ..view }))))
}
