//! Calls between users.

use std::time::Duration;

use super::{Answer, World};
use crate::call::record::{Disposition, HangupBy};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

/// Long enough for every transaction to be forgotten.
const A_MINUTE: Duration = Duration::from_secs(70);

#[test]
fn a_call_is_set_up_heard_and_ended() {
    let mut world = World::new(1);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let line = world.phones[alice].dial("1002");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
    assert!(world.phones[bob].lines[0].is_up);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    assert!(world.phones[alice].lines[line].last_heard().contains("192.0.2.1"), "media runs through us");
    world.check();
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert!(world.phones[alice].lines[line].is_over);
    let record = &world.records[0];
    assert_eq!((record.disposition, record.hangup_by), (Disposition::Answered, Some(HangupBy::Callee)));
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_call_of_a_test_run_is_recorded_as_one() {
    let mut world = World::new(6);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let line = world.phones[alice].dial_with("1002", &[("X-Test-Run", "night-1")], true);
    world.run(SECOND);
    assert!(world.phones[alice].lines[line].is_up, "{}", world.tail());
    let other = world.phones[bob].dial("*43");
    world.run(SECOND);
    world.phones[bob].bye(other);
    world.phones[alice].bye(line);
    world.run(SECOND);
    let runs: Vec<_> = world.records.iter().map(|record| (&*record.to, record.run.as_deref())).collect();
    assert_eq!(runs, [("1002", Some("night-1")), ("*43", None)]);
}

#[test]
fn all_devices_of_a_user_ring_and_one_wins() {
    let mut world = World::new(2);
    let alice = world.phone("alice", "desk");
    let (desk, mobile) = (world.phone("bob", "desk"), world.phone("bob", "mobile"));
    world.phones[desk].answer = Answer::Ring;
    world.phones[mobile].answer = Answer::Ring;
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(
        (world.phones[desk].lines.len(), world.phones[mobile].lines.len()),
        (1, 1),
        "{}",
        world.tail()
    );
    world.phones[mobile].pick_up(0);
    world.run(SECOND);
    assert!(world.phones[desk].lines[0].is_over, "the other device stops ringing");
    assert_eq!(world.heard_by("alice*desk"), ["bob*mobile"]);
    world.phones[alice].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

/// RFC 3261 15 forbids it to who is called, and it is done all the same.
#[test]
fn a_device_that_says_bye_while_it_rings_is_out_and_the_others_ring_on() {
    for answers_too in [false, true] {
        let mut world = World::new(19);
        let alice = world.phone("alice", "desk");
        let (desk, mobile) = (world.phone("bob", "desk"), world.phone("bob", "mobile"));
        for phone in [desk, mobile] {
            world.phones[phone].answer = Answer::Ring;
        }
        world.phones[alice].dial("bob");
        world.run(SECOND);
        world.phones[desk].bye(0);
        if answers_too {
            world.phones[desk].pick_up(0);
        }
        world.run(SECOND);
        assert!(!world.phones[alice].lines[0].is_over, "{}", world.tail());
        // Its INVITE is cancelled, or its answer acknowledged and ended.
        assert!(world.phones[desk].lines[0].is_over, "{}", world.tail());
        world.phones[mobile].pick_up(0);
        world.run(SECOND);
        assert_eq!(world.heard_by("alice*desk"), ["bob*mobile"], "{}", world.tail());
        world.phones[alice].bye(0);
        world.run(A_MINUTE);
        world.check_idle();
    }
}

#[test]
fn a_caller_gives_up_and_a_busy_device_says_so() {
    let mut world = World::new(3);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[bob].answer = Answer::Ring;
    world.phones[alice].dial("bob");
    world.run(SECOND);
    world.phones[alice].cancel(0);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(487), "{}", world.tail());
    assert!(world.phones[bob].lines[0].is_over);
    world.phones[bob].answer = Answer::Busy;
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[1].status, Some(486), "{}", world.tail());
    let ends: Vec<_> = world.records.iter().map(|record| record.disposition).collect();
    assert_eq!(ends, [Disposition::Cancelled, Disposition::Busy]);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn hold_goes_across_and_comes_back() {
    let mut world = World::new(4);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].dial("bob");
    world.run(SECOND);
    world.phones[alice].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(200), "{}", world.tail());
    assert!(
        world.phones[bob].lines[0].last_heard().contains("a=sendonly"),
        "{}",
        world.phones[bob].lines[0].last_heard()
    );
    world.phones[alice].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert!(!world.phones[bob].lines[0].last_heard().contains("a=sendonly"));
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[alice].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_echo_answers_at_once() {
    let mut world = World::new(5);
    let alice = world.phone("alice", "desk");
    world.phones[alice].dial("*43");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["alice*desk"]);
    world.phones[alice].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn wrong_credentials_get_nothing_but_a_challenge() {
    let mut world = World::new(6);
    let (alice, _) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].password = "guess".into();
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(401), "{}", world.tail());
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_call_without_an_offer_takes_the_callee_s() {
    let mut world = World::new(7);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].dial_with("bob", &[], false);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(world.phones[bob].lines[0].heard.len(), 2, "no offer in the INVITE, the answer in the ACK");
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

fn offer_in_update(world: &mut World, phone: usize, direction: &str) {
    let offer = world.phones[phone].sdp(0, direction);
    let contact = format!("<sip:alice-desk@{}>", world.phones[phone].address);
    let headers = [("Content-Type", "application/sdp"), ("Contact", contact.as_str())];
    world.phones[phone].request(0, &Method::Update, &headers, offer.as_bytes());
}

#[test]
fn an_update_that_is_open_when_its_call_ends_gets_its_answer() {
    for alice_ends in [true, false] {
        let mut world = World::new(12);
        let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
        world.phones[alice].dial("bob");
        world.run(SECOND);
        // What is passed on does not arrive.
        let bobs = std::mem::replace(&mut world.phones[bob].address, "203.0.113.99:9".parse().unwrap());
        offer_in_update(&mut world, alice, "sendonly");
        world.run(SECOND);
        assert!(world.phones[alice].finals.iter().all(|found| found.0 != "UPDATE"), "{}", world.tail());
        world.phones[bob].address = bobs;
        world.phones[if alice_ends { alice } else { bob }].bye(0);
        world.run(SECOND / 100);
        let update = world.phones[alice].finals.iter().find(|found| found.0 == "UPDATE");
        assert_eq!(update.map(|found| found.1), Some(487), "{}", world.tail());
        world.run(A_MINUTE);
        world.check_idle();
    }
}

#[test]
fn an_offer_in_update_goes_across_and_its_answer_comes_back() {
    let mut world = World::new(8);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].dial("bob");
    world.run(SECOND);
    for direction in ["sendonly", "sendrecv"] {
        offer_in_update(&mut world, alice, direction);
        world.run(SECOND);
        let update = world.phones[alice].finals.last().map(|found| (found.0.as_str(), found.1));
        assert_eq!(update, Some(("UPDATE", 200)), "{}", world.tail());
        assert!(world.phones[bob].lines[0].last_heard().contains(&format!("a={direction}")));
    }
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[alice].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn an_ack_of_nothing_leaves_the_invite_to_be_answered() {
    let mut world = World::new(13);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[bob].answer = Answer::Ring;
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[alice].dial("bob");
    world.run(SECOND);
    // The tag of ours that the 180 told.
    let found = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let ringing = found.into_iter().find(|text| text.starts_with("SIP/2.0 180")).unwrap();
    let line = |name: &str| ringing.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let address = world.phones[alice].address;
    let ack = format!(
        "ACK sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKearly\r\n\
         Max-Forwards: 70\r\n{}\r\n{}\r\n{}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
        line("From:"),
        line("To:"),
        line("Call-ID:"),
        line("CSeq:").split(' ').nth(1).unwrap(),
    );
    world.arrive(address, ack.into());
    world.run(SECOND);
    world.phones[bob].pick_up(0);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[alice].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn who_wants_privacy_is_not_named_to_the_other_device() {
    let mut world = World::new(10);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[alice].dial_with("bob", &[("Privacy", "id;critical")], true);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(world.phones[bob].lines[0].identity, None);
    let heard = |world: &World| {
        let to_bob = |text: &String| text.starts_with("INVITE sip:bob");
        let mut texts = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        texts.rfind(to_bob).unwrap()
    };
    let invite = heard(&world);
    assert!(invite.contains("From: \"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{invite}");
    assert!(!invite.contains("1001") && !invite.contains("Alice"), "{invite}");
    world.phones[alice].bye(0);
    world.run(SECOND);
    world.phones[alice].dial_with("bob", &[("Privacy", "none")], true);
    world.run(SECOND);
    assert!(heard(&world).contains("<sip:1001@example.org>"), "{}", heard(&world));
}

#[test]
fn a_refusal_says_why_and_a_refusal_for_all_is_no_answer_elsewhere() {
    let mut world = World::new(14);
    let alice = world.phone("alice", "desk");
    let (desk, mobile) = (world.phone("bob", "desk"), world.phone("bob", "mobile"));
    for phone in [desk, mobile] {
        world.phones[phone].answer = Answer::Ring;
    }
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[alice].dial("bob");
    world.run(SECOND);
    let reason = [("Reason", "Q.850;cause=21"), ("Warning", "399 pbx \"not now\""), ("X-Secret", "1")];
    world.phones[desk].refuse_with(0, 603, &reason);
    world.run(SECOND);
    let found = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let refusal = found.into_iter().find(|text| text.starts_with("SIP/2.0 603")).unwrap();
    assert!(
        refusal.contains("Reason: Q.850;cause=21\r\n") && refusal.contains("Warning: 399 pbx"),
        "{refusal}"
    );
    assert!(!refusal.contains("X-Secret"), "{refusal}");
    assert_eq!(world.phones[mobile].lines[0].reason, "SIP;cause=603", "{}", world.tail());
    world.run(A_MINUTE);
    world.check_idle();
}

/// A BYE before the answer is against RFC 3261 15, and a 2xx that follows it is one of nobody who is there.
#[test]
fn a_target_that_hangs_up_and_answers_all_the_same_is_out_and_the_others_ring_on() {
    for is_alone in [false, true] {
        let mut world = World::new(1730);
        let bob = world.phone("bob", "desk");
        let desk = world.phone("alice", "desk");
        let mobile = (!is_alone).then(|| world.phone("alice", "mobile"));
        for phone in [Some(desk), mobile].into_iter().flatten() {
            world.phones[phone].answer = Answer::Ring;
        }
        let line = world.phones[bob].dial("alice");
        world.run(SECOND);
        world.phones[desk].bye(0);
        world.phones[desk].pick_up(0);
        world.run(SECOND);
        world.check();
        if let Some(mobile) = mobile {
            world.phones[mobile].pick_up(0);
            world.run(SECOND);
            assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
            world.phones[bob].bye(line);
        } else {
            assert_eq!(world.phones[bob].lines[line].status, Some(487), "{}", world.tail());
        }
        world.run(A_MINUTE);
        world.check_idle();
    }
}
