//! Call records and their segments. A record is written once; its rows are never changed.

use std::sync::Arc;

use rusqlite::{Connection, Error, OptionalExtension as _, Row, ToSql, named_params};

use super::super::fault::Fault;
use super::super::feed::Numbered;
use super::columns::{Columns as _, cut, execute, int, json, ms, word};
use crate::call::record::{CallRecord, Segment};
use crate::engine::event::Ulid;
use crate::engine::view::{PAGE_MAX, Page, PageQuery, RecordQuery};

/// Writes a record, unless there is one of its id.
pub(super) fn add(connection: &Connection, record: &CallRecord) -> Result<(), Fault> {
    let values = named_params! {
        ":id": record.id,
        ":sip_call_id": json(&record.sip_call_id)?,
        ":direction": word(&record.direction)?,
        ":from": record.from,
        ":to": record.to,
        ":user": record.user,
        ":transferred_by": record.transferred_by,
        ":first_device": record.first_device,
        ":last_device": record.last_device,
        ":trunk": record.trunk,
        ":start": ms(record.start),
        ":ring": record.ring.map(ms),
        ":answer": record.answer.map(ms),
        ":end": record.end.map(ms),
        ":disposition": word(&record.disposition)?,
        ":sip_code": record.sip_code,
        ":hangup_by": record.hangup_by.as_ref().map(word).transpose()?,
        ":codecs": json(&record.codecs)?,
        ":srtp": record.srtp,
        ":transports": json(&record.transports)?,
        ":user_agents": json(&record.user_agents)?,
        ":moves": record.moves,
        ":mos_min": record.mos_min,
        ":loss": record.loss,
        ":jitter": record.jitter,
        ":node": record.node,
        ":run": record.run,
        ":trunk_from": record.trunk_from,
        ":trunk_to": record.trunk_to,
    };
    let added = execute(
        connection,
        "INSERT INTO cdrs (id, sip_call_id, direction, \"from\", \"to\", user, first_device, last_device, trunk,
         start, ring, answer, \"end\", disposition, sip_code, hangup_by, codecs, srtp, transports, user_agents,
         moves, mos_min, loss, jitter, node, transferred_by, run, trunk_from, trunk_to)
         VALUES (:id, :sip_call_id, :direction, :from, :to, :user, :first_device, :last_device, :trunk,
         :start, :ring, :answer, :end, :disposition, :sip_code, :hangup_by, :codecs, :srtp, :transports,
         :user_agents, :moves, :mos_min, :loss, :jitter, :node, :transferred_by, :run, :trunk_from, :trunk_to)
         ON CONFLICT (id) DO NOTHING",
        values,
    )?;
    if added > 0 {
        // Where nobody copies records, no order of them is kept.
        execute(
            connection,
            "INSERT INTO cdr_order (cdr) SELECT :id WHERE EXISTS (SELECT 1 FROM cdr_readers)",
            named_params! { ":id": record.id },
        )?;
        for (n, segment) in (0_i64..).zip(&record.segments) {
            add_segment(connection, &record.id, n, segment)?;
        }
    }
    Ok(())
}

fn add_segment(connection: &Connection, record: &str, n: i64, segment: &Segment) -> Result<(), Fault> {
    let values = named_params! {
        ":cdr": record,
        ":n": n,
        ":device": segment.device,
        ":start": ms(segment.start),
        ":end": segment.end.map(ms),
        ":trigger": segment.trigger,
        ":gap_ms": segment.gap_ms,
        ":lost": segment.lost.map(int),
        ":codec": segment.codec,
        ":mos": segment.mos,
    };
    execute(
        connection,
        "INSERT INTO cdr_segments (cdr, n, device, start, \"end\", trigger, gap_ms, lost, codec, mos)
         VALUES (:cdr, :n, :device, :start, :end, :trigger, :gap_ms, :lost, :codec, :mos)",
        values,
    )
    .map(drop)
}

pub(super) fn list(
    connection: &Connection,
    wanted: &RecordQuery,
    query: &PageQuery,
) -> Result<Page<CallRecord>, Fault> {
    // The id begins with the time, and every index ends with it: so no more is read than what is of the time.
    let id_at = |at| Ulid::first_at(at).to_string();
    let (since, until) = (wanted.since.map(id_at), wanted.until.map(id_at));
    let conditions: [(&str, &str, &dyn ToSql, bool); 6] = [
        ("user = :user", ":user", &wanted.user, wanted.user.is_some()),
        ("\"from\" = :from", ":from", &wanted.from, wanted.from.is_some()),
        ("\"to\" = :to", ":to", &wanted.to, wanted.to.is_some()),
        ("id >= :since", ":since", &since, since.is_some()),
        ("id < :until", ":until", &until, until.is_some()),
        ("id < :cursor", ":cursor", &query.cursor, query.cursor.is_some()),
    ];
    let (mut sql, mut values) = (String::from("SELECT * FROM cdrs WHERE TRUE"), Vec::new());
    for (condition, name, value, _) in conditions.into_iter().filter(|(.., is_asked)| *is_asked) {
        sql = sql + " AND " + condition;
        values.push((name, value));
    }
    let limit = int(u64::from(query.limit.clamp(1, PAGE_MAX)) + 1);
    values.push((":limit", &limit));
    let mut statement = connection.prepare_cached(&(sql + " ORDER BY id DESC LIMIT :limit"))?;
    let rows = statement.query_map(&values[..], read)?;
    Ok(cut(rows.collect::<Result<_, _>>()?, query))
}

pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<CallRecord>, Error> {
    let mut statement = connection.prepare_cached("SELECT * FROM cdrs WHERE id = ?1")?;
    let Some(mut record) = statement.query_row([id], read).optional()? else { return Ok(None) };
    record.segments = segments(connection, id)?;
    Ok(Some(record))
}

/// In the order in which they were written, but for what `known` has of an id; `None` for one that cannot be read, which
/// must not keep others from being copied.
pub(in super::super) fn after(
    connection: &Connection,
    n: i64,
    most: usize,
    known: impl Fn(&str) -> Option<Arc<CallRecord>>,
) -> Result<Vec<Numbered>, Fault> {
    let sql = "SELECT n, cdr FROM cdr_order WHERE n > ?1 ORDER BY n LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map((n, int(most as u64)), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let ids: Vec<(i64, String)> = ids.collect::<Result<_, _>>()?;
    let mut records = Vec::with_capacity(ids.len());
    for (n, id) in ids {
        let record = match known(&id) {
            Some(record) => Some(record),
            None => readable(connection, &id)?.map(Arc::new),
        };
        records.push((n, record));
    }
    Ok(records)
}

/// A record; `None` where it or one of its segments is no such thing.
fn readable(connection: &Connection, id: &str) -> Result<Option<CallRecord>, Error> {
    match find(connection, id) {
        Err(error) if error.sqlite_error_code().is_none() => {
            tracing::error!(id, %error, "a call record cannot be read, and is not copied");
            Ok(None)
        }
        found => found,
    }
}

fn segments(connection: &Connection, id: &str) -> Result<Vec<Segment>, Error> {
    let mut statement = connection.prepare_cached("SELECT * FROM cdr_segments WHERE cdr = ?1 ORDER BY n")?;
    statement.query_map([id], read_segment)?.collect()
}

fn read(row: &Row<'_>) -> Result<CallRecord, Error> {
    Ok(CallRecord {
        id: row.get("id")?,
        sip_call_id: row.json("sip_call_id")?,
        direction: row.word("direction")?,
        from: row.get("from")?,
        to: row.get("to")?,
        user: row.get("user")?,
        transferred_by: row.get("transferred_by")?,
        first_device: row.get("first_device")?,
        last_device: row.get("last_device")?,
        trunk: row.get("trunk")?,
        start: row.at("start")?,
        ring: row.at_or_null("ring")?,
        answer: row.at_or_null("answer")?,
        end: row.at_or_null("end")?,
        disposition: row.word("disposition")?,
        sip_code: row.get("sip_code")?,
        hangup_by: row.word_or_null("hangup_by")?,
        codecs: row.json("codecs")?,
        srtp: row.get("srtp")?,
        transports: row.json("transports")?,
        user_agents: row.json("user_agents")?,
        moves: row.get("moves")?,
        mos_min: row.get("mos_min")?,
        loss: row.get("loss")?,
        jitter: row.get("jitter")?,
        node: row.get("node")?,
        run: row.get("run")?,
        trunk_from: row.get("trunk_from")?,
        trunk_to: row.get("trunk_to")?,
        segments: Vec::new(),
    })
}

fn read_segment(row: &Row<'_>) -> Result<Segment, Error> {
    Ok(Segment {
        device: row.get("device")?,
        start: row.at("start")?,
        end: row.at_or_null("end")?,
        trigger: row.get("trigger")?,
        gap_ms: row.get("gap_ms")?,
        lost: row.uint_or_null("lost")?,
        codec: row.get("codec")?,
        mos: row.get("mos")?,
    })
}
