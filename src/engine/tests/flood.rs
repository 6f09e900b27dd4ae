//! Who sends too much, and that nobody else notices.

use super::Answer;
use super::threats::{OFFER, SECOND, STRANGER, TRUNK, Talk, at, final_status, house, request, talk};
use crate::engine::command::{Command, Reply, Subject};
use crate::wire::sip::HeaderName;

#[test]
fn floods_meet_their_caps() {
    let mut world = house(|settings| {
        settings.transactions.max_servers = 50;
        settings.call.limits.calls = 5;
        settings.ban.strangers = 0;
    });
    let alice = world.phone("alice", "desk");
    world.phones[alice].answer = Answer::Ring;
    // A stranger's challenges leave nothing behind.
    let before = world.engine.core().transactions.len();
    for number in 0..1000 {
        let uri = format!("sip:{number}@example.org");
        let answers = world.exchange(at(STRANGER), request("INVITE", &uri, at(STRANGER), &[], OFFER));
        assert_eq!(final_status(&answers), Some(401));
    }
    assert_eq!(world.engine.core().transactions.len(), before);
    // A trunk that floods is told when to come again.
    let mut refused = 0;
    for number in 0..200 {
        let id = format!("flood-{number}");
        let via = format!("SIP/2.0/UDP {TRUNK};branch=z9hG4bKflood{number}");
        let more = [("Call-ID", id.as_str()), ("Via", via.as_str())];
        let answers =
            world.exchange(at(TRUNK), request("INVITE", "sip:alice@example.org", at(TRUNK), &more, OFFER));
        if let Some(answer) =
            answers.last().filter(|answer| answer.status().is_some_and(|s| s.as_u16() == 503))
        {
            refused += 1;
            assert!(answer.has(HeaderName::RetryAfter), "{number}");
        }
        assert!(world.engine.core().calls.len() <= 5);
        assert!(world.engine.core().transactions.servers() <= 50);
    }
    assert!(refused >= 195, "{refused}");
    world.hang_up_all();
    world.run(100 * SECOND);
    world.check_idle();
}

#[test]
fn what_a_stranger_asks_leaves_nothing_and_the_same_question_has_the_same_answer() {
    let mut world = house(|_| {});
    world.phone("alice", "desk");
    let before = world.engine.core().transactions.len();
    let stranger = at(STRANGER);
    type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)], u16);
    let unreadable = &[("Authorization", "Digest realm=\"example.org\", nonce")];
    let asked: [Asked; 8] = [
        ("OPTIONS", "sip:example.org", &[], 200),
        ("OPTIONS", "sip:example.org", &[("To", "<sip:a@example.org>;tag=9")], 481),
        ("BYE", "sip:alice@example.org", &[("To", "<sip:a@example.org>;tag=9")], 481),
        ("INFO", "sip:alice@example.org", &[], 481),
        ("REFER", "sip:alice@example.org", &[], 405),
        ("OPTIONS", "sip:example.org", &[("Require", "nothing")], 420),
        ("INVITE", "http://example.org", &[], 416),
        ("MESSAGE", "sip:alice@example.org", unreadable, 400),
    ];
    for (method, uri, more, status) in asked {
        let bytes = request(method, uri, stranger, more, "");
        let (first, second) = (world.exchange(stranger, bytes.clone()), world.exchange(stranger, bytes));
        assert_eq!(final_status(&first), Some(status), "{method}");
        let [first, second] = [first, second].map(|all| all.last().unwrap().to_tag().map(str::to_owned));
        assert_eq!(first, second, "{method}: RFC 3261 8.2.7");
    }
    assert_eq!(world.ask(Subject::Admin, Command::Drain), Reply::Done);
    let bytes = request("INVITE", "sip:alice@example.org", stranger, &[("Call-ID", "draining")], OFFER);
    assert_eq!(final_status(&world.exchange(stranger, bytes)), Some(503));
    assert_eq!(world.engine.core().transactions.len(), before);
}

#[test]
fn who_floods_is_not_heard_and_nobody_else_notices() {
    let Talk { mut world, alice, mobile, .. } = talk();
    let stranger = at(STRANGER);
    let ask = |n: usize| {
        let id = n.to_string();
        request("OPTIONS", "sip:example.org", stranger, &[("Call-ID", &id)], "")
    };
    let answered = (0..5_000).filter(|n| !world.exchange(stranger, ask(*n)).is_empty()).count();
    assert_eq!(answered, 400, "a burst");
    assert_eq!(world.engine.counters().strangers_dropped, 4_600);
    let other = at("203.0.113.100:40000");
    let bytes = request("OPTIONS", "sip:example.org", other, &[], "");
    assert_eq!(final_status(&world.exchange(other, bytes)), Some(200), "another source");
    // Behind the same address, who has proved to be somebody goes on.
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    let line = world.phones[mobile].lines.len() - 1;
    world.phones[mobile].bye(line);
    world.run(SECOND);
    assert!(world.engine.core().calls.is_empty(), "{}", world.tail());
    assert!(!world.exchange(stranger, ask(9_999)).is_empty(), "it may ask again when it is slower");
    let _ = alice;
}

#[test]
fn a_full_table_has_room_for_the_calls_that_live() {
    let mut world = house(|settings| {
        settings.transactions.max_servers = 80;
        settings.call.limits.calls = 1_000;
    });
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].dial("bob");
    world.run(40 * SECOND);
    // A trunk's INVITEs are kept while they are answered.
    let mut refused = 0;
    for n in 0..200 {
        let via = format!("SIP/2.0/UDP {TRUNK};branch=z9hG4bKfull{n}");
        let id = format!("full-{n}");
        let more = [("Call-ID", id.as_str()), ("Via", via.as_str())];
        let answers =
            world.exchange(at(TRUNK), request("INVITE", "sip:1234@example.org", at(TRUNK), &more, OFFER));
        if let Some(answer) =
            answers.last().filter(|answer| answer.status().is_some_and(|s| s.as_u16() == 503))
        {
            refused += 1;
            assert!(answer.has(HeaderName::RetryAfter));
        }
    }
    assert!(refused >= 100, "{refused}");
    assert_eq!(world.engine.counters().overload_refusals, refused);
    world.phones[alice].bye(0);
    world.run(SECOND);
    assert!(!world.phones[bob].lines[0].is_up, "{}", world.tail());
}
