//! A node that is watched over: what it tells systemd, and how it drains.

use std::cell::RefCell;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use segue::shell::phone::Dial;

use crate::house::{BOB_HZ, DESK_HZ, SOON, device, phone, refusal};
use crate::node::{Node, Settings};

/// The socket of a supervisor.
struct Supervisor {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Supervisor {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { dir, socket, heard: RefCell::default() }
    }

    fn variables(&self, watchdog: &str) -> Vec<(String, String)> {
        let path = self.dir.path().join("notify").display().to_string();
        vec![("NOTIFY_SOCKET".to_owned(), path), ("WATCHDOG_USEC".to_owned(), watchdog.to_owned())]
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("the node tells something");
        let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
        self.heard.borrow_mut().push(told.clone());
        told
    }

    /// The next word that is such a one.
    fn find(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + SOON;
        loop {
            let told = self.next();
            if is_it(&told) {
                return told;
            }
            assert!(Instant::now() < end, "`{what}` is not told: {:?}", self.heard.borrow());
        }
    }

    /// The next word that has such a line.
    fn until(&self, line: &str) -> String {
        self.find(line, |told| has(told, line))
    }

    /// How many of the words so far have such a line, those among them that nobody has waited for.
    fn count(&self, line: &str) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 1024];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.borrow_mut().push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).unwrap();
        self.heard.borrow().iter().filter(|told| has(told, line)).count()
    }
}

fn has(told: &str, line: &str) -> bool {
    told.lines().any(|known| known.starts_with(line))
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
    assert!(has(&told, "MONOTONIC_USEC="), "{told}");
    supervisor.until("READY=1");
    // A node that lives says so whenever it says how it is.
    let told = supervisor.until("STATUS=Ready: ");
    assert!(has(&told, "WATCHDOG=1"), "{told}");
    node.end();
    let told = supervisor.until("STOPPING=1");
    assert!(told.contains("EXTEND_TIMEOUT_USEC="), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_waits_is_no_node_that_hangs_and_an_ending_one_reloads_no_more() {
    let supervisor = Supervisor::new();
    let mut node = Node::start_with(&Settings::default(), supervisor.variables("400000")).await;
    // The configuration has to be waited for: a file that somebody has yet to write.
    let slow = node.data("secret");
    let made = std::process::Command::new("mkfifo").arg(&slow).status();
    assert!(made.is_ok_and(|status| status.success()));
    let before = node.configuration();
    let user = format!(
        "[[user]]\nname = \"carol\"\n[[user.device]]\nid = \"desk\"\nauth_user = \"carol-desk\"\n\
         password_file = {slow:?}\n"
    );
    node.configure(&format!("{before}{user}"));
    node.signal("HUP");
    supervisor.until("RELOADING=1");
    for _ in 0..5 {
        let told = supervisor.until("WATCHDOG=1");
        assert!(!has(&told, "READY=1"), "it is not read yet: {told}");
    }
    let mut file = std::fs::OpenOptions::new().write(true).open(&slow).expect("it is being read");
    file.write_all(b"9041-blue-lamp\n").expect("it is taken");
    drop(file);
    supervisor.until("READY=1");
    node.configure(&before);
    // A node that ends has nothing to be ready for.
    let desk = phone(device(&node, "alice", "desk", DESK_HZ)).await;
    let call = desk.call("*43").await.expect("an answer");
    let ready = supervisor.count("READY=1");
    node.signal("TERM");
    supervisor.until("STOPPING=1");
    node.signal("HUP");
    node.has_logged("not reloaded: the node is ending").await;
    supervisor.until("STATUS=Draining: 1 calls");
    assert_eq!((supervisor.count("READY=1"), supervisor.count("RELOADING=1")), (ready, 1));
    node.signal("TERM");
    call.ended(SOON).await.expect("it is hung up");
    assert!(node.has_ended(), "it ended well");
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
    // It goes on to say how it is, and not that it lives.
    supervisor.find("STATUS without WATCHDOG", |told| has(told, "STATUS=") && !has(told, "WATCHDOG=1"));
    store.execute_batch("ROLLBACK").unwrap();
    supervisor.find("STATUS without a fault of the store", |told| {
        has(told, "STATUS=") && !told.contains("store") && has(told, "WATCHDOG=1")
    });
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
    assert_eq!(supervisor.count("WATCHDOG=1"), 0, "nobody has asked for that");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_waited_for_comes_back_when_no_call_lives() {
    let node = Node::start(&Settings::default()).await;
    let (desk, bob) = (
        phone(device(&node, "alice", "desk", DESK_HZ)).await,
        phone(device(&node, "bob", "desk", BOB_HZ)).await,
    );
    let call = desk.call("bob").await.expect("an answer");
    let other = bob.answered(SOON).await.expect("a call for bob");
    let late = node.run(&["drain", "--wait", "1"]);
    assert_eq!(late.status.code(), Some(1));
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(said.contains("1 call lives; the node goes on draining"), "{said}");
    call.hears(BOB_HZ, SOON).await.expect("it goes on");
    call.hang_up().await.expect("it hangs up");
    other.ended(SOON).await.expect("it is over");
    assert!(node.command(&["drain", "--wait"]).contains("none lives any more"));
}
