//! Files that are not, not yet, no longer or not only a store: what is said of them, and that they stay as they are.

use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::contract::{Desk, put, put_hold_off};
use super::sqlite::Sqlite;
use super::values::{NOW, account};
use crate::shell::store::{OpenError, Store};

fn refused(backend: &Sqlite) -> OpenError {
    let opened = Store::open(&backend.path(), backend.settings.clone(), NOW, |_, _| {});
    let error = opened.map(drop).unwrap_err();
    assert!(error.to_string().contains(backend.dir.path().to_str().unwrap()), "{error} does not say where");
    error
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_of_another_kind_is_not_touched() {
    let long = "a letter to a friend\n".repeat(500);
    for text in ["short", long.as_str()] {
        let backend = Sqlite::new();
        fs::write(backend.path(), text).unwrap();
        assert!(matches!(refused(&backend), OpenError::NotAStore { .. }), "{}", refused(&backend));
        assert_eq!(fs::read_to_string(backend.path()).unwrap(), text);
    }
}

#[test]
fn a_database_of_another_program_is_not_touched() {
    let backend = Sqlite::new();
    backend.operator().execute_batch("CREATE TABLE accounts (name TEXT)").unwrap();
    assert!(matches!(refused(&backend), OpenError::NotAStore { .. }));
    assert_eq!(backend.count("SELECT count(*) FROM sqlite_schema"), 1);
}

#[test]
fn a_store_of_a_newer_release_is_not_touched() {
    let backend = Sqlite::new();
    drop(Desk::open(&backend, NOW));
    let newest = backend.count("PRAGMA user_version");
    backend.operator().pragma_update(None, "user_version", 99).unwrap();
    let error = refused(&backend);
    assert!(matches!(error, OpenError::Newer { found: 99, known, .. } if known == newest), "{error}");
    assert_eq!(backend.count("PRAGMA user_version"), 99);
}

#[test]
fn a_second_node_is_refused_while_the_first_runs_and_an_operator_is_not() {
    let backend = Sqlite::new();
    let mut desk = Desk::open(&backend, NOW);
    desk.done(put_hold_off("m1"));
    assert!(matches!(refused(&backend), OpenError::InUse { .. }));
    assert_eq!(backend.count("SELECT count(*) FROM hold_offs"), 1);
    desk.done(put_hold_off("m2"));
    let desk = desk.restart(NOW);
    assert_eq!(desk.loaded.hold_offs.len(), 2);
}

#[test]
fn a_file_that_is_locked_is_said_to_be() {
    let mut backend = Sqlite::new();
    drop(Desk::open(&backend, NOW));
    backend.settings.busy = std::time::Duration::from_millis(1);
    let operator = backend.operator();
    operator.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(refused(&backend), OpenError::Locked { .. }));
    operator.execute_batch("ROLLBACK").unwrap();
    drop(Desk::open(&backend, NOW));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let backend = Sqlite::new();
    let path = backend.dir.path().join("none").join("segue.db");
    let error = Store::open(&path, backend.settings.clone(), NOW, |_, _| {}).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::NoDirectory { path } if path.ends_with("none")), "{error}");
    fs::create_dir(backend.path()).unwrap();
    refused(&backend);
}

#[test]
fn what_may_not_be_written_is_said_to_be() {
    let path = Path::new("/somewhere/segue.db");
    for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        let error = OpenError::of_file(path, &Error::from(kind));
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
        assert!(error.to_string().contains("/somewhere/segue.db"), "{error}");
    }
    let backend = Sqlite::new();
    fs::set_permissions(backend.dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // Permissions do not bind the superuser.
    if fs::write(backend.dir.path().join("probe"), "").is_err() {
        assert!(matches!(refused(&backend), OpenError::ReadOnly { .. }));
    }
    fs::set_permissions(backend.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn all_files_are_their_owner_s_alone_whatever_they_were() {
    let backend = Sqlite::new();
    let mut desk = Desk::open(&backend, NOW);
    desk.done(put_hold_off("m1"));
    let files = ["segue.db", "segue.db-wal", "segue.db-shm", "segue.db.lock"]
        .map(|name| backend.dir.path().join(name));
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    drop(desk);
    fs::set_permissions(&files[0], fs::Permissions::from_mode(0o644)).unwrap();
    let desk = Desk::open(&backend, NOW);
    assert_eq!(desk.loaded.hold_offs.len(), 1);
    assert_eq!([mode(&files[0]), mode(&files[1])], [0o600; 2]);
}

#[test]
fn rows_that_cannot_be_read_are_left_out_and_the_others_are_not() {
    let backend = Sqlite::new();
    let mut desk = Desk::open(&backend, NOW);
    for name in ["alice", "bob", "carol"] {
        desk.done(put(account(name, "")));
        desk.done(put_hold_off(name));
    }
    drop(desk);
    let breaks = "UPDATE accounts SET login = 'hunter2' WHERE name = 'alice';
                  UPDATE devices SET ha1_md5 = x'00' WHERE account = 'bob' AND id = 'desk';
                  UPDATE hold_offs SET length_ms = -1 WHERE move_id = 'bob';
                  UPDATE hold_offs SET scope = 'all' WHERE move_id = 'carol';";
    backend.operator().execute_batch(breaks).unwrap();
    let desk = Desk::open(&backend, NOW);
    let loaded: Vec<(&str, usize)> =
        desk.loaded.accounts.iter().map(|account| (&*account.name, account.devices.len())).collect();
    assert_eq!(loaded, [("bob", 1), ("carol", 2)]);
    assert_eq!(desk.loaded.hold_offs.iter().map(|row| &*row.move_id).collect::<Vec<_>>(), ["alice"]);
}
