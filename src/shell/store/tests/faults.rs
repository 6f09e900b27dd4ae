//! A disk that is full, a file that is locked, read-only or damaged, and a value that is not taken.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use super::contract::{Desk, SOON, put, put_hold_off, remove_hold_off, save_move};
use super::sqlite::{Held, Sqlite};
use super::values::*;
use crate::engine::store::{StoreOp, StoreReply, StoreTicket, Unavailable};
use crate::engine::view::MoveState;
use crate::registrar::accounts::Account;
use crate::shell::store::database::{Database, Outlives};
use crate::shell::store::{Settings, rows};

const HOUR: Duration = Duration::from_secs(3600);

fn full() -> Settings {
    Settings { max_size: Some(400 * 1024), retry: HOUR, retry_most: HOUR, ..Settings::default() }
}

/// Takes some 20 KiB.
fn large(name: &str) -> Account {
    Account { display: Some("x".repeat(20_000).into()), ..account(name, "") }
}

/// Adds accounts until the disk is full; gives how many found room.
fn fill(desk: &mut Desk<'_, Sqlite>) -> usize {
    for n in 0..20 {
        match desk.ask(put(large(&format!("u{n}")))) {
            StoreReply::Done => {}
            StoreReply::Unavailable(Unavailable::DiskFull) => return n,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk is not full");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_full_disk_refuses_what_is_asked_and_keeps_what_is_written_behind() {
    let backend = Sqlite::with(full());
    let mut desk = Desk::open(&backend, NOW);
    let accounts = fill(&mut desk);
    assert_eq!(desk.store.failing(), Some(Unavailable::DiskFull));
    // More than was left for the last account.
    let big = |id: &str| {
        StoreOp::AddRecord(std::sync::Arc::new(crate::call::record::CallRecord {
            trunk: Some("y".repeat(40_000)),
            ..record(id, None)
        }))
    };
    desk.tell(big("1"));
    assert_eq!(desk.ask(StoreOp::FindRecord { id: "1".into() }), StoreReply::Record(None));
    assert_eq!(desk.store.waiting(), 1, "it waits for the next try, an hour from now");
    // What does not need room is done meanwhile, and what was there is there.
    desk.done(remove_hold_off("none"));
    for n in 0..3 {
        desk.done(StoreOp::RemoveAccount { name: format!("u{n}").into() });
    }
    assert_eq!(desk.store.waiting(), 1);
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.accounts.len(), accounts - 3);
    assert_eq!(backend.count("SELECT count(*) FROM cdrs"), 1, "closing tried once more");
}

#[test]
fn what_could_not_be_written_is_tried_again_without_being_asked() {
    let backend = Sqlite::with(Settings { retry: Duration::from_millis(1), ..full() });
    let mut desk = Desk::open(&backend, NOW);
    fill(&mut desk);
    let aors: Vec<_> = (0..100).map(|n| aor(&format!("u{n}"))).collect();
    desk.tell(StoreOp::SaveBindings(aors));
    wait_until("the disk is not full", || desk.store.failing() == Some(Unavailable::DiskFull));
    for n in 0..7 {
        desk.done(StoreOp::RemoveAccount { name: format!("u{n}").into() });
    }
    wait_until("nobody tried again", || desk.store.failing().is_none() && desk.store.waiting() == 0);
    assert_eq!(backend.count("SELECT count(*) FROM bindings"), 200);
}

#[test]
fn a_store_that_is_well_again_knows_it_without_being_asked() {
    let soon = Duration::from_millis(1);
    let settings = Settings { busy: soon, retry: soon, retry_most: soon, ..Settings::default() };
    let backend = Sqlite::with(settings);
    let mut desk = Desk::open(&backend, NOW);
    let operator = backend.operator();
    operator.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(desk.ask(put_hold_off("m1")), StoreReply::Unavailable(Unavailable::Locked));
    assert_eq!((desk.store.waiting(), desk.store.failing()), (0, Some(Unavailable::Locked)));
    operator.execute_batch("ROLLBACK").unwrap();
    wait_until("nobody tried", || desk.store.failing().is_none());
    assert_eq!(backend.count("SELECT count(*) FROM failures"), 0, "a trial leaves nothing");
}

#[test]
fn closing_says_what_is_lost() {
    let settings = Settings { busy: Duration::from_millis(1), retry: HOUR, ..Settings::default() };
    let backend = Sqlite::with(settings);
    let mut desk = Desk::open(&backend, NOW);
    let operator = backend.operator();
    operator.execute_batch("BEGIN IMMEDIATE").unwrap();
    for id in ["1", "2", "3"] {
        desk.tell(save_move(id, "alice", MoveState::Done));
    }
    assert_eq!(desk.store.close(), 3);
    operator.execute_batch("ROLLBACK").unwrap();
    assert_eq!(backend.count("SELECT count(*) FROM moves"), 0);
}

#[test]
fn a_locked_file_is_waited_for_by_what_is_written_behind_and_read_meanwhile() {
    let settings =
        Settings { busy: Duration::from_millis(1), retry: Duration::from_millis(1), ..Settings::default() };
    let backend = Sqlite::with(settings);
    let mut desk = Desk::open(&backend, NOW);
    desk.tell(save_move("1", "alice", MoveState::Done));
    desk.done(put_hold_off("m1"));
    let operator = backend.operator();
    operator.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = StoreReply::Unavailable(Unavailable::Locked);
    assert_eq!(desk.ask(put_hold_off("m2")), locked);
    assert_eq!(desk.ask(remove_hold_off("m1")), locked);
    desk.tell(save_move("2", "alice", MoveState::Done));
    let found = desk.ask(StoreOp::FindMove { id: "1".into() });
    assert_eq!(found, StoreReply::Move(Some(Box::new(a_move("1", "alice", MoveState::Done)))));
    assert_eq!(desk.store.failing(), Some(Unavailable::Locked));
    desk.tell(save_move("2", "alice", MoveState::RolledBack));
    operator.execute_batch("ROLLBACK").unwrap();
    wait_until("nobody tried again", || desk.store.failing().is_none() && desk.store.waiting() == 0);
    assert_eq!(backend.count("SELECT count(*) FROM moves WHERE state = 'rolled_back'"), 1);
    desk.done(put_hold_off("m2"));
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.hold_offs.len(), 2);
}

#[test]
fn a_file_that_became_read_only_is_said_to_be() {
    let backend = Sqlite::new();
    let (database, _) = Database::open(&backend.path(), &backend.settings, NOW).unwrap();
    let put = || {
        database.transaction(Outlives::Power, || rows::perform(database.connection(), &put_hold_off("m1")))
    };
    database.connection().pragma_update(None, "query_only", true).unwrap();
    let fault = put().unwrap_err();
    assert_eq!((fault.why, fault.is_of_the_value), (Unavailable::ReadOnly, false));
    database.connection().pragma_update(None, "query_only", false).unwrap();
    assert_eq!(put().unwrap(), StoreReply::Done);
}

#[test]
fn a_damaged_part_is_said_to_be_and_the_rest_serves() {
    let backend = Sqlite::with(Settings { retry: HOUR, ..Settings::default() });
    let mut desk = Desk::open(&backend, NOW);
    desk.tell(save_move("1", "alice", MoveState::Done));
    desk.done(put_hold_off("m1"));
    drop(desk);
    let page = backend.count("SELECT rootpage FROM sqlite_schema WHERE name = 'moves'");
    let size = backend.count("PRAGMA page_size");
    let mut file = std::fs::OpenOptions::new().write(true).open(backend.path()).unwrap();
    file.seek(SeekFrom::Start(u64::try_from((page - 1) * size).unwrap())).unwrap();
    file.write_all(&vec![0xff; usize::try_from(size).unwrap()]).unwrap();
    drop(file);
    let mut desk = Desk::open(&backend, NOW);
    assert_eq!(desk.loaded.hold_offs.len(), 1);
    let corrupt = StoreReply::Unavailable(Unavailable::Corrupt);
    assert_eq!(desk.ask(StoreOp::ListMoves { user: None, page: Default::default() }), corrupt);
    desk.done(put_hold_off("m2"));
    assert_eq!(desk.store.failing(), None);
    desk.tell(save_move("2", "alice", MoveState::Done));
    desk.tell(StoreOp::SaveBindings(vec![aor("alice")]));
    desk.done(put_hold_off("m3"));
    assert_eq!((desk.store.waiting(), desk.store.failing()), (1, Some(Unavailable::Corrupt)));
    assert_eq!(backend.count("SELECT count(*) FROM bindings"), 2);
}

#[test]
fn a_value_that_is_not_taken_takes_no_other_with_it() {
    let backend = Sqlite::new();
    let held = Held::open(&backend);
    let poison =
        "CREATE TRIGGER a BEFORE INSERT ON moves WHEN new.id = 'bad' BEGIN SELECT raise(ABORT, 'no'); END;
                  CREATE TRIGGER b BEFORE INSERT ON hold_offs WHEN new.move_id = 'bad'
                  BEGIN SELECT raise(ABORT, 'no'); END;";
    backend.operator().execute_batch(poison).unwrap();
    for (ticket, id) in [(1, "a"), (2, "bad"), (3, "c")] {
        held.store.submit(StoreTicket(0), save_move(id, "alice", MoveState::Done));
        held.store.submit(StoreTicket(ticket), put_hold_off(id));
    }
    let failed = StoreReply::Unavailable(Unavailable::Failed);
    let expected = [(1, StoreReply::Done), (2, failed), (3, StoreReply::Done)];
    assert_eq!(held.replies(3), expected.map(|(ticket, reply)| (StoreTicket(ticket), reply)));
    assert_eq!((held.store.waiting(), held.store.failing()), (0, None));
    drop(held);
    assert_eq!(backend.count("SELECT count(*) FROM moves WHERE id IN ('a', 'c')"), 2);
    assert_eq!(backend.count("SELECT count(*) FROM hold_offs WHERE move_id IN ('a', 'c')"), 2);
}
