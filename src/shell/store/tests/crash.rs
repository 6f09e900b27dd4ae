//! What was answered is there after the process is killed, and in a copy of the files taken while it writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::contract::{Desk, put, put_hold_off, save_move};
use super::sqlite::Sqlite;
use super::values::{NOW, account};
use crate::engine::view::MoveState;
use crate::shell::store::{Settings, Store};

/// Tells the child where to write.
const PLACE: &str = "SEGUE_TEST_CRASH";
/// Before each account that the child was told is stored.
const STORED: &str = "stored ";

/// Not a test of its own: what the child of the next one runs, until it is killed.
#[test]
#[ignore = "run by another test in a process of its own"]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(PLACE) else { return };
    let path = std::path::Path::new(&dir).join("segue.db");
    let (sender, replies) = std::sync::mpsc::channel();
    let answered = move |ticket, reply| sender.send((ticket, reply)).unwrap();
    let (store, _) = Store::open(&path, Settings::default(), NOW, answered).unwrap();
    for n in 0..1_000_000 {
        store.submit(crate::engine::store::StoreTicket(n), put(account(&format!("u{n}"), "")));
        store.submit(crate::engine::store::StoreTicket(n), save_move(&n.to_string(), "u", MoveState::Done));
        replies.recv().unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "{STORED}u{n}").and_then(|()| out.flush()).unwrap();
    }
}

#[test]
fn what_was_answered_is_there_after_the_process_is_killed() {
    let backend = Sqlite::new();
    let name = "shell::store::tests::crash::child_that_writes_until_it_is_killed";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(PLACE, backend.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stored: Vec<String> = lines
        .map_while(Result::ok)
        .filter_map(|line| line.split_once(STORED).map(|(_, name)| name.to_owned()))
        .take(30)
        .collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(stored.len(), 30, "the child ended by itself");
    // The lock died with the process.
    let desk = Desk::open(&backend, NOW);
    let there: Vec<&str> = desk.loaded.accounts.iter().map(|account| &*account.name).collect();
    assert!(stored.iter().all(|name| there.contains(&name.as_str())), "{stored:?} is not in {there:?}");
    assert!(
        desk.loaded.accounts.iter().all(|known| *known == account(&known.name, "")),
        "none is there in part"
    );
}

#[test]
fn a_copy_of_the_files_holds_what_was_answered_before_it() {
    let backend = Sqlite::new();
    let mut desk = Desk::open(&backend, NOW);
    for n in 0..200 {
        desk.tell(save_move(&n.to_string(), "alice", MoveState::Done));
    }
    desk.done(put_hold_off("m1"));
    // What a power cut leaves: the file and its log, which nobody has closed.
    let copy = Sqlite::new();
    for name in ["segue.db", "segue.db-wal"] {
        std::fs::copy(backend.dir.path().join(name), copy.dir.path().join(name)).unwrap();
    }
    desk.done(put_hold_off("m2"));
    let mut desk = Desk::open(&copy, NOW);
    assert_eq!(desk.loaded.hold_offs.len(), 1);
    assert_eq!(copy.count("SELECT count(*) FROM moves"), 200);
    desk.done(put_hold_off("m2"));
}
