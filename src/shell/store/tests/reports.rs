//! Reports of runs: read beside the writer, complete, of any length.

use std::sync::Arc;

use super::contract::{Backend as _, Desk, save_move};
use super::sqlite::{Held, Sqlite};
use super::values::{NOW, a_move, after, record};
use crate::call::record::{CallRecord, Disposition};
use crate::engine::store::{StoreOp, Unavailable};
use crate::engine::view::MoveState;

fn add(record: CallRecord) -> StoreOp {
    StoreOp::AddRecord(Arc::new(record))
}

#[test]
fn a_report_has_the_calls_of_its_run_and_their_moves_and_no_others() {
    let backend = Sqlite::new();
    let mut desk = Desk::open(&backend, NOW);
    for (id, run) in [("c1", Some("night-1")), ("c2", Some("night-1")), ("c3", Some("night-2")), ("c4", None)]
    {
        desk.tell(add(CallRecord {
            run: run.map(str::to_owned),
            disposition: Disposition::Answered,
            answer: Some(after(250)),
            end: Some(after(5250)),
            ..record(id, None)
        }));
    }
    // All moves of `values` are of the call `c1`.
    desk.tell(save_move("m1", "alice", MoveState::Done));
    desk.tell(save_move("m2", "alice", MoveState::RolledBack));
    let mut other = a_move("m3", "alice", MoveState::Done);
    other.call = "c4".into();
    desk.tell(StoreOp::SaveMove(Box::new(other)));
    let reader = desk.store.reader();
    let report = reader.report("night-1").unwrap();
    assert_eq!((report.calls, report.dispositions["answered"], report.sip_codes["200"]), (2, 2, 2));
    assert_eq!((report.answer_ms.p50, report.duration_s.max), (Some(250.0), Some(5.0)));
    assert_eq!(
        (report.mos.min, report.loss_percent.max, report.jitter_ms.max),
        (Some(3.5), Some(25.0), Some(1.25))
    );
    assert_eq!((report.moves.begun, report.moves.done, report.moves.rolled_back), (2, 1, 1));
    assert_eq!((report.moves.gap_ms.p50, report.moves.lost.max), (Some(20.5), Some(3.0)));
    assert_eq!((reader.report("night-2").unwrap().calls, reader.report("night").unwrap().calls), (1, 0));
}

#[test]
fn a_hundred_thousand_calls_are_read_while_the_writer_stands_still() {
    let backend = Sqlite::new();
    drop(Desk::open(&backend, NOW));
    backend
        .operator()
        .execute_batch(
            "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 99999)
             INSERT INTO cdrs (id, sip_call_id, direction, \"from\", \"to\", start, ring, answer, \"end\", disposition,
             sip_code, codecs, srtp, transports, user_agents, moves, node, run)
             SELECT printf('%06d', n), '[]', 'internal', 'a', 'b', n, n + n % 1000 / 2, n + n % 1000, n + 5000,
             'answered', 200, '[]', 0, '[]', '[]', 0, 'edge1', 'storm' FROM n",
        )
        .unwrap();
    let held = Held::open(&backend);
    let report = held.store.reader().report("storm").unwrap();
    assert_eq!(
        (report.calls, report.answer_ms.p50, report.answer_ms.max),
        (100_000, Some(499.0), Some(999.0))
    );
    held.replies(0);
}

#[test]
fn a_store_that_cannot_be_read_says_why() {
    let backend = Sqlite::new();
    let desk = Desk::open(&backend, NOW);
    let reader = desk.store.reader();
    backend.operator().execute_batch("UPDATE cdrs SET disposition = 'lost'").unwrap();
    assert_eq!(reader.report("x").map(|report| report.calls), Ok(0));
    Sqlite::close(&desk.store);
    drop(desk);
    std::fs::write(backend.path(), vec![7; 8192]).unwrap();
    assert!(matches!(reader.report("x"), Err(Unavailable::Corrupt | Unavailable::Failed)));
}
