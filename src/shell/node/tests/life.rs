//! Starts that fail say why; ends are orderly.

use std::net::TcpListener;

use super::*;
use crate::call::record::CallRecord;
use crate::shell::phone::{Options, Phone};

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let mut resolved = resolve(dir.path(), "");
    resolved.listens[0].bind = udp.local_addr().unwrap();
    let error = start_error(resolved);
    let expected = format!("udp://{} (listen[0].uri): the address is in use", udp.local_addr().unwrap());
    assert!(error.contains(&expected), "{error}");

    let mut resolved = resolve(dir.path(), "");
    resolved.listens[1].bind = tcp.local_addr().unwrap();
    let error = start_error(resolved);
    assert!(error.contains("(listen[1].uri): the address is in use"), "{error}");

    let mut resolved = resolve(dir.path(), "");
    resolved.http.bind = tcp.local_addr().unwrap();
    let error = start_error(resolved);
    assert!(error.contains("http.bind") && error.contains(&tcp.local_addr().unwrap().to_string()), "{error}");

    let mut resolved = resolve(dir.path(), "");
    resolved.listens[0].bind = "192.0.2.77:5060".parse().unwrap();
    assert!(start_error(resolved).contains("this machine does not have that address"));
}

#[test]
fn a_directory_that_is_taken_or_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    assert!(start_error(resolve(dir.path(), "")).contains("another node is running"));
    drop(node);
    std::fs::write(dir.path().join("file"), b"").unwrap();
    let mut resolved = resolve(dir.path(), "");
    resolved.node.data_dir = dir.path().join("file").join("data");
    let error = start_error(resolved);
    assert!(error.contains("node.data_dir") && error.contains("file/data"), "{error}");
}

#[test]
fn a_store_that_is_damaged_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let damaged = b"this is no database, however long one looks at it".repeat(100);
    std::fs::write(data.join(super::super::start::STORE), &damaged).unwrap();
    let error = start_error(resolve(dir.path(), ""));
    assert!(error.contains(super::super::start::STORE), "{error}");
    assert_eq!(std::fs::read(data.join(super::super::start::STORE)).unwrap(), damaged);
}

#[test]
fn what_is_not_there_yet_is_refused_instead_of_done_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let mut resolved = resolve(dir.path(), "");
    let url = crate::config::Secret::new("redis://127.0.0.1");
    resolved.node.store = crate::config::StoreKind::Redis { url };
    assert!(start_error(resolved).starts_with("node.store: "));
}

#[test]
fn a_node_that_is_stopped_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let mut stream = Stream::to(&node);
    let question = stream.options("a");
    stream.write(&question);
    assert!(stream.answer().is_some());
    let (addresses, http) = (node.addresses().to_vec(), node.http());
    node.stop();
    assert!(ends(node) < SOON);
    assert_eq!(stream.answer(), None);
    for (transport, address) in addresses {
        match transport {
            Transport::Udp => drop(UdpSocket::bind(address).unwrap()),
            _ => assert!(TcpStream::connect(address).is_err()),
        }
    }
    assert!(TcpStream::connect(http).is_err());
    assert!(!dir.path().join("data").join(crate::shell::control::SOCKET_NAME).exists());
    drop(start(dir.path(), ""));
}

#[test]
fn the_api_answers_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let socket = Datagrams::to(&node);
    socket.ask("a");
    socket.answer();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(node.http()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/readyz").starts_with("HTTP/1.1 200 "));
    let metrics = get("/metrics");
    for line in [
        "segue_sip_requests_total{method=\"OPTIONS\",transport=\"udp\",direction=\"in\"} 1",
        "segue_sip_responses_total{method=\"OPTIONS\",code=\"200\"} 1",
        "segue_calls{state=\"answered\"} 0",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn readiness_follows_the_store_though_nobody_asks_it_anything() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let server = address(&node, Transport::Udp);
    let readiness = || {
        let mut stream = TcpStream::connect(node.http()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let becomes = |status: &str, reason: &str| {
        let end = Instant::now() + SOON;
        loop {
            let answer = readiness();
            if answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(reason) {
                return;
            }
            assert!(Instant::now() < end, "{answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    becomes("200", "ready");
    let operator = rusqlite::Connection::open(dir.path().join("data").join("segue.db")).unwrap();
    operator.execute_batch("BEGIN IMMEDIATE").unwrap();
    // A registration is written behind: it gets its 200, and nobody gets an answer from the store.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let alice = runtime.block_on(phone(server, "alice"));
    becomes("503", "\"reason\":\"the store is locked by another process\"");
    operator.execute_batch("ROLLBACK").unwrap();
    becomes("200", "ready");
    drop((alice, runtime));
}

async fn phone(server: SocketAddr, user: &str) -> Phone {
    let options = Options::new(user, "pbx.test", server).login(&format!("{user}-desk"), PASSWORD);
    let phone = Phone::start(options).await.unwrap();
    phone.register(300).await.unwrap();
    phone
}

#[test]
fn draining_lets_a_call_end_by_itself_and_keeps_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let server = address(&node, Transport::Udp);
    let probe = Datagrams::to(&node);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (alice, bob) = (phone(server, "alice").await, phone(server, "bob").await);
        let calling = alice.call("bob").await.unwrap();
        let called = bob.answered(SOON).await.unwrap();
        node.drain(SOON * 6);
        // A question after the drain was told shows that it is under way.
        let begun = Instant::now();
        for round in 0.. {
            probe.ask(&format!("probe{round}"));
            let answer = probe.answer();
            if answer.starts_with("SIP/2.0 503 ") {
                assert!(answer.contains("Retry-After: "), "{answer}");
                break;
            }
            assert!(begun.elapsed() < SOON, "{answer}");
        }
        assert!(alice.call("1002").await.is_err(), "a new call");
        assert!(!calling.has_ended() && !called.has_ended());
        calling.hang_up().await.unwrap();
        called.ended(SOON).await.unwrap();
        tokio::time::timeout(SOON, node.ended()).await.unwrap().unwrap();
    });
    drop(node);
    let text = std::fs::read_to_string(dir.path().join("data").join("cdr.jsonl")).unwrap();
    let records: Vec<CallRecord> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered: Vec<_> = records.iter().filter(|record| record.answer.is_some()).collect();
    assert_eq!(answered.len(), 1, "{text}");
    assert_eq!((&*answered[0].from, &*answered[0].to, &*answered[0].node), ("alice", "bob", "edge1"));
}

#[test]
fn the_end_of_patience_hangs_up_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path(), "");
    let server = address(&node, Transport::Udp);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (alice, bob) = (phone(server, "alice").await, phone(server, "bob").await);
        let calling = alice.call("bob").await.unwrap();
        let called = bob.answered(SOON).await.unwrap();
        node.drain(Duration::from_millis(50));
        calling.ended(SOON).await.unwrap();
        called.ended(SOON).await.unwrap();
        tokio::time::timeout(SOON, node.ended()).await.unwrap().unwrap();
    });
    drop(node);
}
