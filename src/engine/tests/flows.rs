//! Flows (RFC 5626): requests go over the connection that a phone made, and a connection that is gone is no way.

use std::time::Duration;

use super::{Answer, World};
use crate::sip::Transport;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_call_goes_past_a_connection_that_is_gone_at_once() {
    for transport in [Transport::Wss, Transport::Tls] {
        let mut world = World::new(41);
        let alice = world.phone("alice", "desk");
        let gone = world.phone_over(transport, "bob", "desk");
        // Nobody told the node: the browser is found to be gone when it is called.
        let flow = world.phones[gone].flow();
        world.phones[gone].connection += 1;
        let mobile = world.phone("bob", "mobile");
        world.phones[alice].dial("bob");
        world.run(2 * SECOND);
        assert_eq!(world.heard_by("alice*desk"), ["bob*mobile"], "{}", world.tail());
        let now = world.now.at;
        assert!(!world.engine.core().registrar.is_bound_to("bob", "desk", &flow, now), "{transport:?}");
        let _ = mobile;
        // With nobody else to ring, the answer does not take the time of a request.
        let carol = world.phones[alice].dial("bob*desk");
        world.run(SECOND);
        assert_eq!(world.phones[alice].lines[carol].status, Some(480), "{}", world.tail());
    }
}

#[test]
fn a_browser_that_comes_back_has_its_call_and_hears_its_end() {
    let mut world = World::new(42);
    let alice = world.phone("alice", "desk");
    let bob = world.phone_over(Transport::Wss, "bob", "desk");
    let line = world.phones[alice].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    world.break_connection(bob);
    world.run(SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "the call outlives the connection");
    world.phones[alice].bye(line);
    world.run(SECOND);
    assert_eq!(world.phones[bob].requests.last().map(String::as_str), Some("BYE"), "{}", world.tail());
    world.run(40 * SECOND);
    world.check_idle();
}

#[test]
fn a_phone_that_its_address_translator_moved_hears_the_end_of_its_call() {
    let mut world = World::new(43);
    let alice = world.phone("alice", "desk");
    let bob = world.phone("bob", "desk");
    world.phones[bob].is_translated = true;
    world.phones[bob].register(3600);
    world.run(SECOND);
    let line = world.phones[alice].dial("bob");
    world.run(2 * SECOND);
    world.phones[bob].stray();
    world.run(SECOND);
    world.phones[alice].bye(line);
    world.run(SECOND);
    assert_eq!(world.phones[bob].requests.last().map(String::as_str), Some("BYE"), "{}", world.tail());
}

#[test]
fn a_browser_is_called_by_what_it_said_of_itself() {
    let mut world = World::new(44);
    let alice = world.phone("alice", "desk");
    let bob = world.phone_over(Transport::Wss, "bob", "desk");
    world.phones[bob].answer = Answer::Ring;
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[alice].dial("bob");
    world.run(SECOND);
    let invite = world.heard_by_phones.iter().rfind(|bytes| bytes.starts_with(b"INVITE")).unwrap();
    let invite = String::from_utf8_lossy(invite);
    assert!(invite.starts_with("INVITE sip:bob-desk@bob-desk.invalid;transport=ws SIP/2.0\r\n"), "{invite}");
    assert!(invite.contains("Via: SIP/2.0/WSS "), "{invite}");
    let contact = invite.lines().find(|line| line.starts_with("Contact: ")).unwrap();
    assert!(contact.ends_with(";transport=ws>") && !contact.contains("sips:"), "{contact}");
}
