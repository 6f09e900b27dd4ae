//! Test runs: their calls and moves, row by row into a report.

use rusqlite::{Connection, Error, Row};

use super::super::fault::Fault;
use super::columns::Columns as _;
use crate::engine::report::{CallFacts, Gathering, MoveFacts, RunReport};

/// The report of a run; one without calls is empty.
pub(in super::super) fn report(connection: &Connection, run: &str) -> Result<RunReport, Fault> {
    let mut gathering = Gathering::default();
    let mut calls = connection.prepare(
        "SELECT start, ring, answer, \"end\", disposition, sip_code, mos_min, loss, jitter FROM cdrs
         WHERE run = ?1",
    )?;
    for call in calls.query_map([run], read_call)? {
        gathering.add_call(&call?);
    }
    let mut moves = connection.prepare(
        "SELECT moves.trigger, moves.state, moves.gap_ms, moves.lost FROM cdrs
         JOIN moves ON moves.call = cdrs.id WHERE cdrs.run = ?1",
    )?;
    for one in moves.query_map([run], read_move)? {
        gathering.add_move(&one?);
    }
    Ok(gathering.finish(run))
}

fn read_call(row: &Row<'_>) -> Result<CallFacts, Error> {
    Ok(CallFacts {
        start: row.at("start")?,
        ring: row.at_or_null("ring")?,
        answer: row.at_or_null("answer")?,
        end: row.at_or_null("end")?,
        disposition: row.word("disposition")?,
        sip_code: row.get("sip_code")?,
        mos: row.get("mos_min")?,
        loss: row.get("loss")?,
        jitter: row.get("jitter")?,
    })
}

fn read_move(row: &Row<'_>) -> Result<MoveFacts, Error> {
    Ok(MoveFacts {
        trigger: row.word("trigger")?,
        state: row.word("state")?,
        gap_ms: row.get("gap_ms")?,
        lost: row.uint_or_null("lost")?,
    })
}
