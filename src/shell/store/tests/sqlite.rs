//! The contract over SQLite, and how it runs: group commit, the bounded queue, what a log may show.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};

use super::contract::{
    Answered, Backend, Desk, SOON, contract, put, put_hold_off, remove_hold_off, save_move,
};
use super::values::{HASH, NOW, account, record, snapshot};
use crate::base::UnixMillis;
use crate::engine::store::{Loaded, StoreOp, StoreReply, StoreTicket, Unavailable};
use crate::engine::view::MoveState;
use crate::shell::store::{Settings, Store};

/// A directory of its own, and the store in it.
pub(super) struct Sqlite {
    pub(super) dir: tempfile::TempDir,
    pub(super) settings: Settings,
}

impl Sqlite {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), settings: Settings::default() }
    }

    pub(super) fn with(settings: Settings) -> Self {
        Self { settings, ..Self::new() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("segue.db")
    }

    /// As an operator would, with `sqlite3`.
    pub(super) fn operator(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }

    pub(super) fn count(&self, query: &str) -> i64 {
        self.operator().query_row(query, [], |row| row.get(0)).unwrap()
    }
}

impl Backend for Sqlite {
    type Store = Store;

    fn open(&self, now: UnixMillis, answered: Answered) -> (Store, Loaded) {
        Store::open(&self.path(), self.settings.clone(), now, answered).unwrap()
    }

    fn submit(store: &Store, ticket: StoreTicket, op: StoreOp) {
        store.submit(ticket, op);
    }

    fn close(store: &Store) {
        assert_eq!(store.close(), 0, "values are lost");
    }
}

contract!(Sqlite::new());

/// A store whose thread stands still in the answer to its first operation, until it is let go.
pub(super) struct Held {
    pub(super) store: Store,
    pub(super) replies: mpsc::Receiver<(StoreTicket, StoreReply)>,
    pub(super) release: mpsc::Sender<()>,
}

impl Held {
    pub(super) const FIRST: StoreTicket = StoreTicket(u64::MAX);

    pub(super) fn open(backend: &Sqlite) -> Self {
        let (sender, replies) = mpsc::channel();
        let (release, gate) = mpsc::channel::<()>();
        let (entered, standing) = mpsc::channel();
        let gate = Mutex::new(gate);
        let answered = move |ticket, reply| {
            if ticket == Self::FIRST {
                entered.send(()).unwrap();
                gate.lock().unwrap().recv_timeout(SOON).unwrap();
            }
            let _ = sender.send((ticket, reply));
        };
        let (store, _) = Store::open(&backend.path(), backend.settings.clone(), NOW, answered).unwrap();
        store.submit(Self::FIRST, remove_hold_off("none"));
        standing.recv_timeout(SOON).unwrap();
        Self { store, replies, release }
    }

    /// Lets the thread go on, and gives this many replies after the first.
    pub(super) fn replies(&self, count: usize) -> Vec<(StoreTicket, StoreReply)> {
        self.release.send(()).unwrap();
        assert_eq!(self.replies.recv_timeout(SOON).unwrap().0, Self::FIRST);
        (0..count).map(|_| self.replies.recv_timeout(SOON).unwrap()).collect()
    }
}

#[test]
fn a_full_queue_refuses_what_is_answered_and_takes_what_is_written_behind() {
    let backend = Sqlite::with(Settings { queue: 3, ..Settings::default() });
    let held = Held::open(&backend);
    for n in 1..=3 {
        held.store.submit(StoreTicket(n), put_hold_off(&n.to_string()));
    }
    for (ticket, op) in [(4, put_hold_off("4")), (5, StoreOp::FindMove { id: "1".into() })] {
        held.store.submit(StoreTicket(ticket), op);
        let full = StoreReply::Unavailable(Unavailable::QueueFull);
        assert_eq!(held.replies.try_recv().unwrap(), (StoreTicket(ticket), full), "refused at once");
    }
    for n in 0..500 {
        held.store.submit(StoreTicket(0), save_move(&n.to_string(), "alice", MoveState::Done));
    }
    assert_eq!(held.store.waiting(), 500);
    let done = (1..=3).map(|n| (StoreTicket(n), StoreReply::Done)).collect::<Vec<_>>();
    assert_eq!(held.replies(3), done);
    assert_eq!(held.store.close(), 0);
    assert_eq!(backend.count("SELECT count(*) FROM moves"), 500);
    assert_eq!(backend.count("SELECT count(*) FROM hold_offs"), 3);
}

#[test]
fn a_read_sees_all_of_a_long_backlog_that_came_before_it() {
    let backend = Sqlite::new();
    let held = Held::open(&backend);
    for n in 0..5000 {
        held.store.submit(StoreTicket(0), save_move(&n.to_string(), "alice", MoveState::Done));
    }
    held.store.submit(StoreTicket(1), StoreOp::FindMove { id: "4999".into() });
    let [(_, StoreReply::Move(Some(found)))] = &held.replies(1)[..] else { panic!("it is not there") };
    assert_eq!(found.id, "4999");
}

/// Transactions in the log: frames whose header says that a commit ends with them.
fn commits(path: &Path) -> usize {
    let log = std::fs::read(path.with_extension("db-wal")).unwrap();
    if log.is_empty() {
        return 0;
    }
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let (page, salt) = (number(8) as usize, (number(16), number(20)));
    let frames = (32..log.len()).step_by(24 + page);
    frames.filter(|at| (number(at + 8), number(at + 12)) == salt && number(at + 4) != 0).count()
}

#[test]
fn what_waits_together_is_one_transaction() {
    let backend = Sqlite::new();
    let held = Held::open(&backend);
    let before = commits(&backend.path());
    for n in 0..50 {
        held.store.submit(StoreTicket(n), put_hold_off(&n.to_string()));
        held.store.submit(StoreTicket(0), save_move(&n.to_string(), "alice", MoveState::Done));
        held.store
            .submit(StoreTicket(0), StoreOp::AddRecord(std::sync::Arc::new(record(&n.to_string(), None))));
    }
    held.replies(50);
    assert_eq!(commits(&backend.path()) - before, 1);
    assert_eq!(backend.count("SELECT count(*) FROM cdr_segments"), 150);
    // One more is one more, so the count does count.
    held.store.submit(StoreTicket(1), put_hold_off("more"));
    held.replies.recv_timeout(SOON).unwrap();
    assert_eq!(commits(&backend.path()) - before, 2);
}

#[test]
fn what_lingers_is_written_with_what_is_asked_and_otherwise_in_time() {
    let hour = std::time::Duration::from_secs(3600);
    let backend = Sqlite::with(Settings { linger: hour, ..Settings::default() });
    let mut desk = Desk::open(&backend, NOW);
    desk.tell(save_move("1", "alice", MoveState::Done));
    assert_eq!(desk.store.waiting(), 1);
    desk.done(put_hold_off("m"));
    assert_eq!((desk.store.waiting(), backend.count("SELECT count(*) FROM moves")), (0, 1));
    drop(desk);
    let backend = Sqlite::with(Settings { linger: hour / 3_600_000, ..Settings::default() });
    let mut desk = Desk::open(&backend, NOW);
    desk.tell(save_move("1", "alice", MoveState::Done));
    let limit = std::time::Instant::now() + SOON;
    while backend.count("SELECT count(*) FROM moves") == 0 {
        assert!(std::time::Instant::now() < limit, "nobody asked, and nothing was written");
        std::thread::yield_now();
    }
}

#[test]
fn operators_find_what_they_look_for() {
    let backend = Sqlite::new();
    let mut desk = Desk::open(&backend, NOW);
    desk.done(put(account("alice", "1001")));
    desk.tell(save_move("1", "alice", MoveState::Done));
    desk.tell(StoreOp::AddRecord(std::sync::Arc::new(record("r1", Some("alice")))));
    desk.done(put_hold_off("m1"));
    for query in [
        "SELECT count(*) FROM cdrs WHERE \"from\" = '+4930123' AND disposition = 'no_answer' AND sip_code = 200",
        "SELECT count(*) FROM cdrs WHERE json_extract(codecs, '$[1]') = 'PCMU' AND hangup_by = 'system'",
        "SELECT count(*) FROM cdrs JOIN cdr_segments ON cdr = id WHERE device = 'alice*mobile' AND gap_ms > 1",
        "SELECT count(*) FROM moves WHERE state = 'done' AND trigger = 'star_code' AND gap_ms = 20.5",
        "SELECT count(*) FROM devices WHERE auth_user = 'alice-desk' AND trust = 'shared'",
    ] {
        assert_eq!(backend.count(query), 1, "{query}");
    }
}

#[test]
fn no_secret_is_shown() {
    let ha1 = account("alice", "").devices[0].ha1.md5.unwrap();
    let ops = [put(account("alice", "1001")), StoreOp::PutSnapshot(Box::new(snapshot("m1")))];
    let loaded = Loaded { accounts: vec![account("alice", "1001")], ..Loaded::default() };
    for shown in ops.iter().map(|op| format!("{op:?}")).chain([format!("{loaded:?}")]) {
        assert!(!shown.contains(HASH) && !shown.contains("dialog-id") && !shown.contains("v=0"), "{shown}");
        assert!(!shown.contains(&format!("{ha1:?}")), "{shown}");
    }
}
