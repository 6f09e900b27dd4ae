//! Reliable provisional responses (RFC 3262), and offers before the answer.

use std::time::Duration;

use super::{Answer, Early, World, talking};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

/// Alice's desk and Bob's, which rings until told.
fn two(seed: u64, early: Early) -> (World, usize, usize) {
    let mut world = World::new(seed);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[bob].answer = Answer::Ring;
    world.phones[bob].early = early;
    (world, alice, bob)
}

fn count(world: &World, phone: usize, method: &str) -> usize {
    world.phones[phone].requests.iter().filter(|request| *request == method).count()
}

/// Statuses of what was said before the answer, and whether it was reliable and described.
fn heard(world: &World, phone: usize) -> Vec<(u16, bool, bool)> {
    let progress = world.phones[phone].progress.iter().filter(|progress| progress.status != 100);
    progress.map(|found| (found.status, found.number.is_some(), !found.body.is_empty())).collect()
}

#[track_caller]
fn answered_and_ended(mut world: World, alice: usize, bob: usize) {
    world.phones[bob].pick_up(0);
    world.run(SECOND);
    assert!(world.phones[alice].lines[0].is_up, "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.check();
    world.phones[alice].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_caller_that_requires_it_is_told_reliably_and_one_that_does_not_know_it_is_not() {
    for (header, reliable) in [("Require", true), ("Supported", false), ("Subject", false)] {
        let (mut world, alice, bob) = two(900, Early::No);
        world.phones[alice].dial_with("bob", &[(header, "100rel")], true);
        world.run(SECOND);
        // A 180 without a description is worth a PRACK only to who insists.
        assert_eq!(heard(&world, alice), [(180, reliable, false)], "{header}\n{}", world.tail());
        let pracks = world.phones[alice].finals.iter().filter(|found| found.0 == "PRACK");
        assert_eq!(pracks.map(|found| found.1).collect::<Vec<_>>(), vec![200; usize::from(reliable)]);
        answered_and_ended(world, alice, bob);
    }
}

#[test]
fn early_media_is_reliable_on_the_legs_that_want_it_each_by_itself() {
    for early in [Early::Reliable, Early::Unreliable] {
        for (header, is_reliable) in [("Require", true), ("Supported", true), ("Subject", false)] {
            let (mut world, alice, bob) = two(901, early);
            world.phones[alice].dial_with("bob", &[(header, "100rel")], true);
            world.run(SECOND);
            let first = heard(&world, alice)[0];
            assert_eq!(first, (183, is_reliable, true), "{early:?} {header}\n{}", world.tail());
            assert_eq!(
                count(&world, bob, "PRACK"),
                usize::from(early == Early::Reliable),
                "once, though told twice"
            );
            assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "the caller hears it");
            answered_and_ended(world, alice, bob);
        }
    }
}

#[test]
fn what_is_reliable_without_a_description_is_acknowledged_and_passed_on_as_it_is() {
    for (header, is_reliable) in [("Require", true), ("Supported", false), ("Subject", false)] {
        let (mut world, alice, bob) = two(931, Early::Bare);
        world.phones[alice].dial_with("bob", &[(header, "100rel")], true);
        world.run(SECOND);
        let told = heard(&world, alice);
        assert_eq!(told[0], (183, is_reliable, false), "{header}\n{}", world.tail());
        assert!(
            told.iter().all(|(_, reliable, described)| *reliable == is_reliable && !described),
            "{told:?}"
        );
        assert_eq!(count(&world, bob, "PRACK"), 1);
        assert!(world.heard_by("bob*desk").is_empty(), "nothing is agreed yet");
        answered_and_ended(world, alice, bob);
    }
}

/// RFC 3262 5, RFC 3261 13.2.1: the first reliable response to an INVITE without an offer makes one. There is none to
/// make before the callee has.
#[test]
fn a_caller_without_an_offer_is_told_nothing_reliably_and_gets_one_with_the_answer() {
    for early in [Early::No, Early::Unreliable, Early::Reliable, Early::Bare] {
        for header in ["Require", "Supported", "Subject"] {
            let (mut world, alice, bob) = two(932, early);
            world.captured = Some(std::collections::VecDeque::new());
            world.phones[alice].dial_with("bob", &[(header, "100rel")], false);
            world.run(SECOND);
            let told = heard(&world, alice);
            assert!(
                told.iter().all(|told| !told.1 && !told.2),
                "{early:?} {header} {told:?}\n{}",
                world.tail()
            );
            assert_eq!(told.is_empty(), header == "Require", "unreliably it must not be told");
            let invite = world.heard_by_phones.iter().find(|bytes| bytes.starts_with(b"INVITE")).unwrap();
            let invite = String::from_utf8_lossy(invite).into_owned();
            let supported = invite.lines().find(|line| line.starts_with("Supported: ")).unwrap();
            assert!(!supported.contains("100rel") && !invite.contains("Require"), "{invite}");
            answered_and_ended(world, alice, bob);
        }
    }
}

#[test]
fn what_was_answered_reliably_need_not_be_said_again_in_a_call_or_a_push() {
    for header in ["Require", "Supported", "Subject"] {
        let (mut world, alice, bob) = two(933, Early::Settled);
        world.phones[alice].dial_with("bob", &[(header, "100rel")], true);
        world.run(SECOND);
        assert_eq!(count(&world, bob, "PRACK"), 1, "{}", world.tail());
        answered_and_ended(world, alice, bob);
    }
    let (mut world, desk, mobile, bob) = talking(934);
    world.phones[mobile].early = Early::Settled;
    let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
    world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
    world.run(2 * SECOND);
    assert_eq!(count(&world, mobile, "PRACK"), 1, "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn an_answer_waits_for_the_prack_of_a_description() {
    let (mut world, alice, bob) = two(902, Early::Unreliable);
    world.phones[alice].pracks = false;
    world.phones[alice].dial_with("bob", &[("Supported", "100rel")], true);
    world.run(SECOND / 10);
    world.phones[bob].pick_up(0);
    world.run(3 * SECOND);
    assert_eq!(world.phones[alice].lines[0].status, None, "{}", world.tail());
    // Sent at 0, 0.5 and 1.5 s.
    let sent: Vec<_> = world.phones[alice].progress.iter().filter_map(|found| found.number).collect();
    assert_eq!(sent.len(), 3, "{sent:?}\n{}", world.tail());
    world.phones[alice].prack(0, sent[0], 1);
    world.run(SECOND);
    assert!(world.phones[alice].lines[0].is_up, "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn who_never_acknowledges_is_refused_after_32_s() {
    for answers in [true, false] {
        let (mut world, alice, bob) = two(903, Early::Unreliable);
        world.phones[alice].pracks = false;
        world.phones[alice].dial_with("bob", &[("Require", "100rel")], true);
        world.run(SECOND);
        if answers {
            world.phones[bob].pick_up(0);
        }
        world.run(33 * SECOND);
        let status = world.phones[alice].lines[0].status;
        assert_eq!(status, Some(if answers { 500 } else { 504 }), "{}", world.tail());
        assert!(world.phones[bob].lines[0].is_over);
        let numbers = world.phones[alice].progress.iter().filter(|found| found.number.is_some()).count();
        assert_eq!(numbers, 7, "0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s");
        world.run(A_MINUTE);
        world.check_idle();
    }
}

#[test]
fn a_caller_may_give_up_while_the_answer_waits() {
    let (mut world, alice, bob) = two(904, Early::Unreliable);
    world.phones[alice].pracks = false;
    world.phones[alice].dial_with("bob", &[("Supported", "100rel")], true);
    world.run(SECOND / 10);
    world.phones[bob].pick_up(0);
    world.run(SECOND);
    world.phones[alice].cancel(0);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[0].status, Some(487), "{}", world.tail());
    assert!(world.phones[bob].lines[0].is_over, "{}", world.tail());
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_prack_of_nothing_is_481() {
    let (mut world, alice, bob) = two(905, Early::No);
    world.phones[alice].dial_with("bob", &[("Require", "100rel")], true);
    world.run(SECOND);
    let number = world.phones[alice].progress.iter().find_map(|found| found.number).unwrap();
    for (number, invite) in [(number, 2), (number + 1, 1), (number, 1)] {
        world.phones[alice].prack(0, number, invite);
        world.run(SECOND);
        let last = world.phones[alice].finals.last().cloned();
        assert_eq!(last.map(|found| (found.0, found.1)), Some(("PRACK".into(), 481)), "{}", world.tail());
    }
    answered_and_ended(world, alice, bob);
}

#[test]
fn several_devices_are_no_ground_for_a_reliable_answer() {
    let (mut world, alice, bob) = two(906, Early::Unreliable);
    let mobile = world.phone("bob", "mobile");
    world.phones[mobile].answer = Answer::Ring;
    world.phones[alice].dial_with("bob", &[("Supported", "100rel")], true);
    world.run(SECOND);
    assert!(heard(&world, alice).iter().all(|(_, reliable, _)| !reliable), "{:?}", heard(&world, alice));
    assert!(heard(&world, alice).contains(&(183, false, true)));
    world.phones[mobile].pick_up(0);
    world.run(SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*mobile"]);
    assert!(world.phones[bob].lines[0].is_over);
}

#[test]
fn an_offer_before_the_answer_goes_across_as_update() {
    for in_prack in [true, false] {
        let (mut world, alice, bob) = two(907, Early::Reliable);
        let offer = world.phones[alice].sdp(0, "sendonly");
        if in_prack {
            world.phones[alice].prack_offer.clone_from(&offer);
        }
        world.phones[alice].dial_with("bob", &[("Supported", "100rel")], true);
        world.run(SECOND);
        if !in_prack {
            let headers = [("Content-Type", "application/sdp")];
            world.phones[alice].request(0, &Method::Update, &headers, offer.as_bytes());
            world.run(SECOND);
        }
        let method = if in_prack { "PRACK" } else { "UPDATE" };
        let last = world.phones[alice].finals.last().cloned();
        assert_eq!(last.map(|found| (found.0, found.1)), Some((method.into(), 200)), "{}", world.tail());
        assert_eq!(count(&world, bob, "UPDATE"), 1);
        assert!(world.phones[bob].lines[0].last_heard().contains("a=sendonly"), "{}", world.tail());
        world.phones[bob].pick_up(0);
        world.run(SECOND);
        assert!(world.phones[alice].lines[0].is_up, "{}", world.tail());
        assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
        assert!(world.heard_by("bob*desk").is_empty(), "it is held");
        world.phones[alice].bye(0);
        world.run(A_MINUTE);
        world.check_idle();
    }
}

#[test]
fn an_offer_that_cannot_go_across_is_refused_and_the_call_rings_on() {
    let (mut world, alice, bob) = two(908, Early::Unreliable);
    let offer = world.phones[alice].sdp(0, "sendonly");
    world.phones[alice].prack_offer.clone_from(&offer);
    world.phones[alice].dial_with("bob", &[("Supported", "100rel")], true);
    world.run(SECOND);
    assert_eq!(world.phones[alice].finals.last().map(|found| found.1), Some(488), "{}", world.tail());
    let headers = [("Content-Type", "application/sdp")];
    world.phones[alice].request(0, &Method::Update, &headers, offer.as_bytes());
    world.run(SECOND);
    let last = world.phones[alice].finals.last().cloned().unwrap();
    assert_eq!((last.1, last.2.is_some()), (500, true), "not now: {}", world.tail());
    answered_and_ended(world, alice, bob);
}

#[test]
fn over_a_bad_network_each_is_acknowledged_in_the_end() {
    for seed in 910..930 {
        let (mut world, alice, bob) = two(seed, Early::Reliable);
        (world.network.loss, world.network.twice) = (200, 200);
        world.network.jitter = Duration::from_millis(40);
        world.phones[alice].dial_with("bob", &[("Supported", "100rel")], true);
        world.run(8 * SECOND);
        world.phones[bob].pick_up(0);
        world.run(20 * SECOND);
        assert!(world.phones[alice].lines[0].is_up, "{seed}\n{}", world.tail());
        world.network.loss = 0;
        world.phones[alice].bye(0);
        world.run(2 * A_MINUTE);
        world.check_idle();
    }
}
