//! The contract of a store, over a real file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::base::Now;
use crate::call::record::{CallRecord, Segment};
use crate::engine::store::{FailureCounter, Unavailable};
use crate::engine::view::{MoveState, MoveView, PageQuery, Time, Trigger};
use crate::moving::hold_off::{Row, Scope};
use crate::moving::snapshot::{DialogState, Snapshot};
use crate::moving::timeline::Timeline;
use crate::registrar::accounts::{Account, Device, Origin, PhcString, Trust};
use crate::registrar::{SavedAor, SavedBinding};
use crate::sip::digest::Ha1s;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// A store and the replies that it gives.
struct Desk {
    store: Store,
    replies: mpsc::Receiver<(StoreTicket, StoreReply)>,
    tickets: u64,
}

fn open_at(path: &Path, now: UnixMillis) -> Result<(Desk, Loaded), OpenError> {
    let (sender, replies) = mpsc::channel();
    let settings =
        Settings { retry: Duration::from_millis(20), busy: Duration::from_millis(50), ..Settings::default() };
    let (store, loaded) = Store::open(path, settings, now, move |ticket, reply| {
        // A test that is over does not listen any more.
        let _ = sender.send((ticket, reply));
    })?;
    Ok((Desk { store, replies, tickets: 0 }, loaded))
}

fn open(path: &Path) -> (Desk, Loaded) {
    open_at(path, NOW).unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segue.db");
    (dir, path)
}

impl Desk {
    fn ask(&mut self, op: StoreOp) -> StoreReply {
        self.tickets += 1;
        let ticket = StoreTicket(self.tickets);
        self.store.submit(ticket, op);
        let (of, reply) = self.replies.recv_timeout(Duration::from_secs(20)).expect("a reply");
        assert_eq!(of, ticket);
        reply
    }

    fn write(&self, op: StoreOp) {
        self.store.submit(StoreTicket(0), op);
    }
}

fn account(name: &str, extension: &str, auth_user: &str) -> Account {
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21l$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMg";
    Account {
        name: name.into(),
        display: Some("A \"B\"".into()),
        extension: Some(extension.into()),
        algorithms: vec![crate::sip::digest::Algorithm::Sha256],
        login: Some(PhcString::parse(hash).unwrap()),
        admin: true,
        pin: None,
        hold_off: Some(Duration::from_secs(7)),
        watchers: vec!["boss".into()],
        devices: vec![Device {
            id: "desk".into(),
            auth_user: auth_user.into(),
            ha1: Ha1s::from_password(auth_user, "r", "p"),
            trust: Trust::Shared,
            auto_answer: true,
        }],
        origin: Origin::Store,
    }
}

fn aor(user: &str, expires: u64) -> SavedAor {
    let binding = SavedBinding {
        contact: "sip:a@192.0.2.1".into(),
        instance: Some("urn:uuid:1".into()),
        reg_id: Some(1),
        q: Some(500),
        features: ";x=y".into(),
        expires: UnixMillis(expires),
        registered: NOW,
        call_id: "c".into(),
        cseq: 3,
        transport: "udp".into(),
        listener: 0,
        peer: "192.0.2.1:5060".into(),
        path: vec!["<sip:p>".into()],
        user_agent: "phone".into(),
        device: "desk".into(),
    };
    SavedAor { user: user.into(), bindings: vec![binding] }
}

fn a_move(id: &str, user: &str, state: MoveState) -> MoveView {
    MoveView {
        id: id.into(),
        call: "c1".into(),
        user: user.into(),
        from_device: Some("desk".into()),
        to_device: Some("mobile".into()),
        trigger: Trigger::StarCode,
        state,
        reason: None,
        requested: Time(NOW),
        ended: None,
        gap_ms: Some(20.5),
        lost: Some(0),
        hold_off_until: None,
        timeline: Some(Timeline::new(Now { unix: NOW, ..Now::default() })),
    }
}

fn hold_off(move_id: &str, length_ms: u64) -> Row {
    Row {
        move_id: move_id.into(),
        user: "alice".into(),
        device: "desk".into(),
        call_id: "c1".into(),
        scope: Scope::Call,
        started: NOW,
        length_ms,
    }
}

fn snapshot(move_id: &str) -> Snapshot {
    Snapshot {
        move_id: move_id.into(),
        call_id: "c1".into(),
        taken: NOW,
        user: "alice".into(),
        old_device: "alice*desk".into(),
        new_device: "alice*mobile".into(),
        old: DialogState { call_id: "x".into(), local_cseq: 4, ..DialogState::default() },
        far: DialogState::default(),
        media: Vec::new(),
    }
}

fn record(id: &str) -> CallRecord {
    let segment =
        Segment { device: "alice*desk".into(), start: NOW, gap_ms: Some(1.5), ..Segment::default() };
    CallRecord {
        id: id.into(),
        from: "alice".into(),
        to: "1002".into(),
        start: NOW,
        segments: vec![segment],
        ..CallRecord::default()
    }
}

fn count(path: &Path, query: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let (_dir, path) = place();
    let (mut desk, loaded) = open(&path);
    assert_eq!(loaded, Loaded::default());
    assert_eq!(
        desk.ask(StoreOp::PutAccount(Box::new(account("alice", "1001", "alice-desk")))),
        StoreReply::Done
    );
    desk.write(StoreOp::SaveBindings(vec![aor("alice", NOW.0 + 60_000), aor("bob", NOW.0 + 1000)]));
    let failure = FailureCounter {
        kind: "pin".into(),
        key: "alice".into(),
        count: 2,
        window: NOW,
        banned_until: Some(UnixMillis(NOW.0 + 1)),
    };
    desk.write(StoreOp::SaveFailures(vec![failure.clone()]));
    assert_eq!(desk.ask(StoreOp::PutHoldOff(Box::new(hold_off("m1", 30_000)))), StoreReply::Done);
    assert_eq!(desk.ask(StoreOp::PutSnapshot(Box::new(snapshot("m1")))), StoreReply::Done);
    drop(desk);
    let (_, loaded) = open_at(&path, UnixMillis(NOW.0 + 2000)).unwrap();
    assert_eq!(loaded.accounts, [account("alice", "1001", "alice-desk")]);
    assert_eq!(loaded.bindings, [aor("alice", NOW.0 + 60_000)], "bob's has expired");
    assert_eq!(loaded.hold_offs, [hold_off("m1", 30_000)]);
    assert_eq!(loaded.snapshots, [snapshot("m1")]);
    assert_eq!(loaded.failures, [failure]);
    let (_, loaded) = open_at(&path, UnixMillis(NOW.0 + 31_000)).unwrap();
    assert_eq!(loaded.hold_offs, [], "its time is over");
}

#[test]
fn what_is_removed_is_gone_and_what_is_not_there_is_no_error() {
    let (_dir, path) = place();
    let (mut desk, _) = open(&path);
    for _ in 0..2 {
        desk.ask(StoreOp::PutAccount(Box::new(account("alice", "1001", "alice-desk"))));
        desk.ask(StoreOp::PutHoldOff(Box::new(hold_off("m1", 30_000))));
        desk.ask(StoreOp::PutSnapshot(Box::new(snapshot("m1"))));
        for _ in 0..2 {
            assert_eq!(desk.ask(StoreOp::RemoveAccount { name: "alice".into() }), StoreReply::Done);
            assert_eq!(desk.ask(StoreOp::RemoveHoldOff { move_id: "m1".into() }), StoreReply::Done);
            assert_eq!(desk.ask(StoreOp::RemoveSnapshot { move_id: "m1".into() }), StoreReply::Done);
        }
    }
    desk.write(StoreOp::SaveBindings(vec![aor("alice", NOW.0 + 60_000)]));
    desk.write(StoreOp::SaveBindings(vec![SavedAor { user: "alice".into(), bindings: Vec::new() }]));
    drop(desk);
    assert_eq!(open(&path).1, Loaded::default());
}

#[test]
fn a_name_of_another_account_is_a_conflict_and_changes_nothing() {
    let (_dir, path) = place();
    let (mut desk, _) = open(&path);
    desk.ask(StoreOp::PutAccount(Box::new(account("alice", "1001", "alice-desk"))));
    let put = |account| StoreOp::PutAccount(Box::new(account));
    assert_eq!(desk.ask(put(account("bob", "1001", "bob-desk"))), StoreReply::Conflict);
    assert_eq!(desk.ask(put(account("bob", "1002", "alice-desk"))), StoreReply::Conflict);
    assert_eq!(desk.ask(put(account("bob", "1002", "bob-desk"))), StoreReply::Done);
    assert_eq!(
        desk.ask(put(account("alice", "1003", "alice-new"))),
        StoreReply::Done,
        "its own row is replaced"
    );
    assert_eq!(
        desk.ask(put(account("carol", "1001", "alice-desk"))),
        StoreReply::Done,
        "both names are free again"
    );
    drop(desk);
    let names: Vec<_> = open(&path).1.accounts.iter().map(|a| a.name.to_string()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
}

#[test]
fn moves_are_listed_newest_first_in_pages_and_shown_whole() {
    let (_dir, path) = place();
    let (mut desk, _) = open(&path);
    for number in 0..5 {
        desk.write(StoreOp::SaveMove(Box::new(a_move(&format!("01{number}"), "alice", MoveState::Done))));
    }
    desk.write(StoreOp::SaveMove(Box::new(a_move("019", "bob", MoveState::Requested))));
    desk.write(StoreOp::SaveMove(Box::new(a_move("019", "bob", MoveState::Refused))));
    let mut page = |user: Option<&str>, cursor: Option<&str>| {
        let page = PageQuery { cursor: cursor.map(Into::into), limit: 2 };
        match desk.ask(StoreOp::ListMoves { user: user.map(Into::into), page }) {
            StoreReply::Moves(page) => {
                assert!(page.items.iter().all(|view| view.timeline.is_none()));
                (page.items.into_iter().map(|view| view.id).collect::<Vec<_>>(), page.next)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(page(None, None), (vec!["019".into(), "014".into()], Some("014".into())));
    assert_eq!(page(Some("alice"), Some("013")), (vec!["012".into(), "011".into()], Some("011".into())));
    assert_eq!(page(Some("alice"), Some("011")), (vec!["010".into()], None));
    let found = desk.ask(StoreOp::FindMove { id: "019".into() });
    assert_eq!(found, StoreReply::Move(Some(Box::new(a_move("019", "bob", MoveState::Refused)))));
    assert_eq!(desk.ask(StoreOp::FindMove { id: "none".into() }), StoreReply::Move(None));
}

#[test]
fn a_call_record_is_written_once_with_its_segments() {
    let (_dir, path) = place();
    let (desk, _) = open(&path);
    for _ in 0..3 {
        desk.write(StoreOp::AddRecord(Box::new(record("r1"))));
    }
    drop(desk);
    let (desk, _) = open(&path);
    desk.write(StoreOp::AddRecord(Box::new(CallRecord { to: "other".into(), ..record("r1") })));
    drop(desk);
    assert_eq!(count(&path, "SELECT count(*) FROM cdrs WHERE callee = '1002' AND direction = 'internal'"), 1);
    assert_eq!(
        count(&path, "SELECT count(*) FROM cdr_segments WHERE device = 'alice*desk' AND gap_ms = 1.5"),
        1
    );
}

#[test]
fn the_file_is_its_owner_s_alone() {
    let (_dir, path) = place();
    drop(open(&path));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_full_disk_refuses_what_is_asked_and_keeps_what_is_written_behind() {
    let (_dir, path) = place();
    let mut connection = schema::open(&path, &Settings::default()).unwrap();
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    connection.pragma_update(None, "max_page_count", pages).unwrap();
    // Small rows find room in the pages that are there; a large one needs another.
    let large = |id: &str| CallRecord { to: "x".repeat(20_000), ..record(id) };
    let queue = Queue::new(8);
    queue.push(StoreTicket(0), StoreOp::AddRecord(Box::new(large("r1")))).unwrap();
    let batch = queue.take(None).unwrap();
    let error = {
        let transaction = connection.transaction().unwrap();
        write::behind(&transaction, &batch.behind).unwrap_err()
    };
    assert_eq!(error::unavailable(&error), Unavailable::DiskFull);
    assert!(queue.put_back(batch.behind));
    connection.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    let transaction = connection.transaction().unwrap();
    write::behind(&transaction, &queue.take(None).unwrap().behind).unwrap();
    transaction.commit().unwrap();
    assert_eq!(count(&path, "SELECT count(*) FROM cdrs"), 1);
}

#[test]
fn a_locked_file_is_waited_for_by_what_is_written_behind() {
    let (_dir, path) = place();
    let (mut desk, _) = open(&path);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    desk.write(StoreOp::AddRecord(Box::new(record("r1"))));
    let refused = desk.ask(StoreOp::PutHoldOff(Box::new(hold_off("m1", 1))));
    assert_eq!(refused, StoreReply::Unavailable(Unavailable::Locked));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(desk.ask(StoreOp::PutHoldOff(Box::new(hold_off("m1", 1)))), StoreReply::Done);
    drop(desk);
    assert_eq!(count(&path, "SELECT count(*) FROM cdrs"), 1, "it waited");
}

#[test]
fn a_newer_value_is_not_overwritten_by_one_that_is_tried_again() {
    let queue = Queue::new(8);
    queue
        .push(StoreTicket(0), StoreOp::SaveMove(Box::new(a_move("m", "alice", MoveState::Requested))))
        .unwrap();
    let failed = queue.take(None).unwrap();
    queue.push(StoreTicket(0), StoreOp::SaveMove(Box::new(a_move("m", "alice", MoveState::Done)))).unwrap();
    queue.put_back(failed.behind);
    let next = queue.take(None).unwrap();
    assert_eq!(next.behind.moves["m"].state, MoveState::Done);
}

#[test]
fn a_full_queue_refuses_what_has_to_be_answered_only() {
    let queue = Queue::new(1);
    let remove = || StoreOp::RemoveHoldOff { move_id: "m".into() };
    assert_eq!(queue.push(StoreTicket(1), remove()), Ok(()));
    assert_eq!(queue.push(StoreTicket(2), remove()), Err(Unavailable::QueueFull));
    for number in 0..100 {
        assert_eq!(
            queue.push(StoreTicket(0), StoreOp::AddRecord(Box::new(record(&number.to_string())))),
            Ok(())
        );
    }
    queue.close();
    assert_eq!(queue.push(StoreTicket(3), remove()), Err(Unavailable::Closed));
    assert_eq!(queue.take(None).unwrap().behind.records.len(), 100);
    assert!(queue.take(None).is_none());
}

#[test]
fn what_is_no_store_is_said_to_be_none() {
    let (dir, path) = place();
    std::fs::write(&path, "something else, long enough to be looked at as a header of a database file")
        .unwrap();
    assert!(matches!(open_at(&path, NOW), Err(OpenError::NotAStore(_))));
    let newer = dir.path().join("newer.db");
    drop(open(&newer));
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(open_at(&newer, NOW), Err(OpenError::Newer { found: 99, .. })));
    let nowhere = dir.path().join("none").join("segue.db");
    let error = open_at(&nowhere, NOW).err().unwrap().to_string();
    assert!(error.contains("none/segue.db"), "{error}");
}

#[test]
fn a_row_that_cannot_be_read_is_left_out() {
    let (_dir, path) = place();
    let (mut desk, _) = open(&path);
    desk.ask(StoreOp::PutAccount(Box::new(account("alice", "1001", "alice-desk"))));
    drop(desk);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("INSERT INTO accounts VALUES ('bad', NULL, '{')").unwrap();
    drop(connection);
    assert_eq!(open(&path).1.accounts.len(), 1);
}

#[test]
fn a_copy_taken_while_it_writes_opens() {
    let (dir, path) = place();
    let (mut desk, _) = open(&path);
    for number in 0..200 {
        desk.write(StoreOp::AddRecord(Box::new(record(&format!("r{number}")))));
    }
    assert_eq!(desk.ask(StoreOp::PutHoldOff(Box::new(hold_off("m1", 30_000)))), StoreReply::Done);
    // What a power cut leaves: the file and its log as they are, nobody having closed anything.
    let copy = dir.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(dir.path().join("segue.db-wal"), dir.path().join("copy.db-wal")).unwrap();
    assert_eq!(open(&copy).1.hold_offs.len(), 1, "what was answered is there");
}
