//! MESSAGE to every device of a user, and what a trunk tells of waiting messages.

use std::time::Duration;

use super::{Answer, World};
use crate::wire::sip::{HeaderName, Method, StatusCode};

const SECOND: Duration = Duration::from_secs(1);

fn count(world: &World, phone: usize, method: &str) -> usize {
    world.phones[phone].requests.iter().filter(|request| *request == method).count()
}

/// The answer to a MESSAGE of Alice's to Bob's devices, which answer so.
fn send(seed: u64, answers: [u16; 2]) -> (World, Option<u16>) {
    let mut world = World::new(seed);
    let alice = world.phone("alice", "desk");
    let bobs = [world.phone("bob", "desk"), world.phone("bob", "mobile")];
    for (phone, answer) in bobs.into_iter().zip(answers) {
        world.phones[phone].text_answer = StatusCode::new(answer);
        world.phones[phone].answer = Answer::Ring;
    }
    let line = world.phones[alice].request_to("bob", &Method::Message, &[]);
    world.run(40 * SECOND);
    for phone in bobs {
        assert!(count(&world, phone, "MESSAGE") >= 1, "{}", world.tail());
    }
    let status = world.phones[alice].lines[line].status;
    (world, status)
}

#[test]
fn a_message_goes_to_every_device_and_the_best_answer_comes_back() {
    for (answers, best) in [
        ([200, 200], 200),
        ([486, 200], 200),
        ([202, 486], 202),
        ([480, 486], 486),
        ([415, 603], 603),
        ([0, 200], 200),
        ([401, 401], 403),
    ] {
        let (mut world, status) = send(950, answers);
        assert_eq!(status, Some(best), "{answers:?}\n{}", world.tail());
        world.run(40 * SECOND);
        assert!(world.engine.core().spreads.is_empty());
        world.check_idle();
    }
}

#[test]
fn a_message_to_one_device_goes_there_alone() {
    let mut world = World::new(951);
    let alice = world.phone("alice", "desk");
    let (desk, mobile) = (world.phone("bob", "desk"), world.phone("bob", "mobile"));
    let line = world.phones[alice].request_to("bob*mobile", &Method::Message, &[]);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!((count(&world, desk, "MESSAGE"), count(&world, mobile, "MESSAGE")), (0, 1));
}

/// RFC 3261 8.2.3: what is packed is nothing to read, whatever asks for it and wherever.
#[test]
fn a_packed_body_is_415_with_what_is_not_and_the_call_goes_on() {
    let mut world = World::new(960);
    for (method, encoding, status) in [
        ("INVITE", "Content-Encoding: gzip", 415),
        ("INVITE", "e: identity, deflate", 415),
        ("MESSAGE", "Content-Encoding: x-mine", 415),
        ("INVITE", "Content-Encoding: Identity", 401),
        ("INFO", "Content-Encoding: gzip", 481),
        ("OPTIONS", "Content-Encoding: gzip", 200),
    ] {
        let text = format!(
            "{method} sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.77;branch=z9hG4bK{method}{}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@example.org>;tag=1\r\nTo: <sip:bob@example.org>\r\nCall-ID: {}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:a@198.51.100.77>\r\nContent-Type: application/sdp\r\n{encoding}\r\n\
             Content-Length: 4\r\n\r\nv=0\n",
            encoding.len(),
            encoding.len()
        );
        let answers = world.exchange("198.51.100.77:5060".parse().unwrap(), text);
        let answer = answers.iter().rfind(|answer| answer.status().is_some_and(|s| s.is_final())).unwrap();
        assert_eq!(answer.status().unwrap().as_u16(), status, "{method} {encoding}");
        let accepted = answer.header(HeaderName::AcceptEncoding).map(|header| header.value.to_vec());
        assert_eq!(accepted.is_some_and(|value| value == b"identity"), [415, 200].contains(&status));
    }
    // In a call, which is as it was.
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let line = world.phones[alice].dial("bob");
    world.run(SECOND);
    let packed = [("Content-Type", "application/sdp"), ("Content-Encoding", "gzip")];
    world.phones[alice].request(line, &Method::Update, &packed, b"\x1f\x8b");
    world.run(SECOND);
    assert_eq!(world.phones[alice].finals.last().unwrap(), &("UPDATE".to_owned(), 415, None));
    world.phones[alice].reinvite_headers = vec![("Content-Encoding".into(), "gzip".into())];
    world.phones[alice].reinvite(line, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(415), "{}", world.tail());
    assert_eq!(count(&world, bob, "INVITE") + count(&world, bob, "UPDATE"), 1, "the far side was not asked");
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[alice].reinvite_headers.clear();
    world.phones[alice].reinvite(line, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
    world.phones[alice].bye(line);
    world.run(70 * SECOND);
    world.check_idle();
}
