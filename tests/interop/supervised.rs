//! A node that is watched over: what it tells systemd, and how it drains.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use segue::shell::phone::Dial;

use crate::house::{BOB_HZ, DESK_HZ, SOON, device, phone, refusal};
use crate::node::{Node, Settings};

/// The socket of a supervisor.
struct Supervisor {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { dir, socket }
    }

    fn variables(&self, watchdog: &str) -> Vec<(String, String)> {
        let path = self.dir.path().join("notify").display().to_string();
        vec![("NOTIFY_SOCKET".to_owned(), path), ("WATCHDOG_USEC".to_owned(), watchdog.to_owned())]
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("the node tells something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// The next word that has such a line.
    fn until(&self, line: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            let told = self.next();
            if told.lines().any(|known| known.starts_with(line)) {
                return told;
            }
            assert!(Instant::now() < end, "`{line}` is not told");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_when_the_node_is_ready_lives_and_reloads() {
    let supervisor = Supervisor::new();
    let mut node = Node::start_with(&Settings::default(), supervisor.variables("600000")).await;
    assert_eq!(supervisor.next(), "READY=1\nSTATUS=Ready");
    let _phone = phone(device(&node, "alice", "desk", DESK_HZ)).await;
    for _ in 0..3 {
        supervisor.until("WATCHDOG=1");
    }
    let told = supervisor.until("STATUS=Ready: ");
    assert!(told.contains("0 calls, 1 registrations"), "{told}");
    node.signal("HUP");
    let told = supervisor.until("RELOADING=1");
    assert!(told.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{told}");
    supervisor.until("READY=1");
    node.end();
    let told = supervisor.until("STOPPING=1");
    assert!(told.contains("EXTEND_TIMEOUT_USEC="), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_turn_does_not_say_that_it_lives() {
    let supervisor = Supervisor::new();
    let mut node = Node::start_with(&Settings::default(), supervisor.variables("400000")).await;
    supervisor.until("WATCHDOG=1");
    // The store's thread waits for its file, which somebody else has.
    let store = rusqlite::Connection::open(node.data("segue.db")).unwrap();
    store.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let _phone = phone(device(&node, "alice", "desk", DESK_HZ)).await;
    node.has_logged("a thread does not turn").await;
    store.execute_batch("ROLLBACK").unwrap();
    while supervisor.until("STATUS=").contains("store") {}
    supervisor.until("WATCHDOG=1");
    node.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_takes_nothing_new_and_a_second_signal_ends_it() {
    let supervisor = Supervisor::new();
    let mut node = Node::start_with(&Settings::default(), supervisor.variables("0")).await;
    let (desk, bob, eve) = (
        phone(device(&node, "alice", "desk", DESK_HZ)).await,
        phone(device(&node, "bob", "desk", BOB_HZ)).await,
        phone(device(&node, "eve", "desk", 800)).await,
    );
    let call = desk.call("bob").await.expect("an answer");
    let other = bob.answered(SOON).await.expect("a call for bob");
    call.hears(BOB_HZ, SOON).await.expect("it is heard");
    node.signal("TERM");
    assert!(supervisor.until("STOPPING=1").contains("STATUS=Draining"));
    let refused = refusal(&eve, Dial::new("bob")).await;
    assert_eq!(refused.status(), Some(503), "{}", refused.summary());
    assert!(refused.retry_after().is_some());
    // What the node says of itself is asked for twice a second at most.
    let api = node.api();
    let unready = async {
        loop {
            let ready = api.get("/readyz").await.expect("an answer");
            if (ready.status, ready.json()["status"].as_str()) == (503, Some("draining")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, unready).await.expect("it is not ready");
    supervisor.until("STATUS=Draining: 1 calls");
    // The call goes on meanwhile, in its dialog as well.
    call.hears(BOB_HZ, SOON).await.expect("it is still heard");
    assert!(!call.has_ended() && !other.has_ended());
    let begun = Instant::now();
    node.signal("TERM");
    call.ended(SOON).await.expect("it is hung up");
    other.ended(SOON).await.expect("on both sides");
    assert!(node.has_ended(), "it ended well");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}
