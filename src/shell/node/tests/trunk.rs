//! Connections of our own making, seen from both ends of a call.

use std::net::TcpListener;

use super::*;
use crate::shell::phone::{Message, Options, Phone};

/// A node with a trunk over TCP at `peer`, to which numbers that begin with 9 go.
fn with_trunk(dir: &Path, peer: SocketAddr) -> Node {
    let more = format!(
        "[[trunk]]\nname = \"carrier\"\nuri = \"sip:{peer};transport=tcp\"\n\
         [[route]]\nmatch = '^9'\nto = [\"trunk:carrier\"]\n"
    );
    start(dir, &more)
}

/// Calls the trunk as alice; the status it ends with, and how long that took.
fn call_out(node: &Node) -> (u16, Duration) {
    let server = address(node, Transport::Udp);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options::new("alice", "pbx.test", server).login("alice-desk", PASSWORD);
        let alice = Phone::start(options).await.unwrap();
        alice.register(300).await.unwrap();
        let begun = Instant::now();
        let Err(error) = alice.call("9123").await else { panic!("the call goes through") };
        let status = error.response().and_then(Message::status);
        (status.unwrap_or_else(|| panic!("{error}")), begun.elapsed())
    })
}

/// Answers the first INVITE on one connection with 486; gives the INVITE.
fn refuse_one(listener: &TcpListener) -> String {
    let (stream, peer) = listener.accept().unwrap();
    assert!(peer.ip().is_loopback());
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut stream = Stream(stream, Vec::new());
    let invite = stream.answer().unwrap();
    stream.write(&busy(&invite));
    // The ACK comes after the body of the INVITE, on the same connection.
    while !stream.answer().unwrap().contains("ACK sip:9123@127.0.0.1") {}
    invite
}

#[test]
fn a_call_to_a_trunk_over_tcp_goes_and_is_answered_on_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = with_trunk(dir.path(), listener.local_addr().unwrap());
    let carrier = std::thread::spawn(move || refuse_one(&listener));
    assert_eq!(call_out(&node).0, 486);
    let invite = carrier.join().unwrap();
    assert!(invite.starts_with("INVITE sip:9123@127.0.0.1"), "{invite}");
    let via = format!("Via: SIP/2.0/TCP {}", address(&node, Transport::Tcp));
    assert!(invite.contains(&via), "{via} is not in\n{invite}");
}

#[test]
fn a_trunk_that_cannot_be_connected_fails_the_call_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // From loopback, where this node listens, no way leads there: the system says so before anything is sent.
    let unreachable = "192.0.2.77:5060".parse().unwrap();
    for peer in [closed, unreachable] {
        let dir = tempfile::tempdir().unwrap();
        let node = with_trunk(dir.path(), peer);
        let (status, took) = call_out(&node);
        assert!((500..600).contains(&status), "{peer}: {status}");
        assert!(took < Duration::from_secs(5), "{peer}: the engine hears of it by a timer, after {took:?}");
    }
}

#[test]
fn a_trunk_that_need_not_be_called_over_tls_does_not_keep_the_node_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    secured::Authority::new().write(dir.path(), "own", &["pbx.test"]);
    // No authority can be read: as on a system that has none.
    std::fs::write(dir.path().join("none.pem"), "-----BEGIN NOTHING-----\n-----END NOTHING-----\n").unwrap();
    // A name server that is not there.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with = |uri: &str| {
        let more = format!(
            "[[trunk]]\nname = \"carrier\"\nuri = \"{uri}\"\nca = \"none.pem\"\n[dns]\nservers = [\"{closed}\"]\n"
        );
        resolve(dir.path(), &(secured::listens("") + &more))
    };
    drop(Node::start(with("sip:carrier.invalid")).unwrap());
    let told = start_error(with("sip:carrier.invalid;transport=tls"));
    assert!(told.contains("trunk carrier") && told.contains("none.pem"), "{told}");
}
