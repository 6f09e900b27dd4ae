//! A call that rings is answered elsewhere (contract 26); a device repairs its own leg (contract 38).

use std::time::Duration;

use super::world::{accounts, settings};
use super::{Answer, World, three_phones};
use crate::engine::store::Loaded;
use crate::registrar::accounts::Accounts;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// Bob calls Alice; her desk and her mobile ring. The world, her two phones, his phone and his line.
fn ringing(seed: u64) -> (World, usize, usize, usize) {
    let (mut world, desk, mobile, bob) = three_phones(seed);
    world.phones[desk].answer = Answer::Ring;
    world.phones[mobile].answer = Answer::Ring;
    world.phones[bob].dial("alice");
    world.run(SECOND);
    assert!(world.phones[desk].lines[0].rings() && world.phones[mobile].lines[0].rings());
    (world, desk, mobile, bob)
}

#[test]
fn a_pull_answers_what_rings_at_another_device() {
    let (mut world, desk, mobile, bob) = ringing(100);
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.phones[bob].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    // Both lines that rang are told why they stop: no missed call.
    for phone in [desk, mobile] {
        assert!(world.phones[phone].lines[0].is_over, "{}", world.tail());
        assert_eq!(world.phones[phone].lines[0].reason, ELSEWHERE);
    }
    assert_eq!(world.phones[mobile].lines[line].identity.as_deref(), Some("\"Bob\" <sip:1002@example.org>"));
    assert_eq!(world.phones[bob].lines[0].identity.as_deref(), Some("\"Alice\" <sip:1001@example.org>"));
    assert_eq!(world.engine.moves.hold_offs.len(), 0, "nobody had the call, so nobody is held off");
    world.check();
    // And it moves like any other.
    world.run(SECOND);
    let back = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[back].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    let [record] = &world.records[..] else { panic!("one call is one record") };
    assert_eq!((record.moves, record.answer.is_some()), (1, true));
    let segments: Vec<_> =
        record.segments.iter().map(|segment| (segment.device.as_str(), segment.trigger.as_deref())).collect();
    assert_eq!(
        segments,
        [("bob*desk", None), ("alice*mobile", Some("pickup")), ("alice*desk", Some("star_code"))]
    );
    world.check_idle();
}

#[test]
fn two_offers_meet_in_the_codec_that_both_have() {
    let (mut world, desk, mobile, bob) = three_phones(101);
    world.phones[desk].answer = Answer::Ring;
    world.phones[mobile].answer = Answer::Ring;
    (world.phones[bob].codecs, world.phones[mobile].codecs) = ("9 0 101", "8 0 101");
    world.phones[bob].dial("alice");
    world.run(SECOND);
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    for (phone, line) in [(bob, 0), (mobile, line)] {
        let heard = world.phones[phone].lines[line].last_heard();
        let media = heard.lines().find(|line| line.starts_with("m=audio")).unwrap();
        assert!(media.ends_with("RTP/AVP 0 101"), "{media}");
    }
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
}

#[test]
fn a_device_without_a_common_codec_leaves_the_call_ringing() {
    let (mut world, desk, mobile, bob) = ringing(102);
    world.phones[mobile].codecs = "9 101";
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(488), "{}", world.tail());
    assert!(world.phones[desk].lines[0].rings() && world.phones[bob].lines[0].status.is_none());
    world.phones[desk].pick_up(0);
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn an_invite_without_an_offer_gets_the_callers() {
    let (mut world, _, mobile, bob) = ringing(103);
    let line = world.phones[mobile].dial_with("*11", &[], false);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.phones[bob].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"]);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    world.phones[mobile].bye(line);
    world.run(A_MINUTE);
    assert!(world.phones[bob].lines[0].is_over);
    world.check_idle();
}

#[test]
fn replaces_of_a_dialog_that_rings_is_a_pickup() {
    let (mut world, desk, mobile, bob) = ringing(104);
    let dialog = world.phones[desk].lines[0].dialog.clone();
    let (call_id, theirs, ours) = (dialog.call_id, dialog.local_tag, dialog.remote_tag);
    let value = format!("{call_id};to-tag={ours};from-tag={theirs};early-only");
    let line = world.phones[mobile].dial_with("bob", &[("Replaces", &value)], true);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert_eq!(world.phones[desk].lines[0].reason, ELSEWHERE);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn whoever_answers_first_has_the_call_and_the_other_hears_one_answer() {
    for delay in 0..12 {
        for pickup_first in [true, false] {
            let (mut world, desk, mobile, bob) = ringing(110 + delay);
            let wait = Duration::from_micros(500 * delay);
            let line = if pickup_first {
                let line = world.phones[mobile].dial("*11");
                world.run(wait);
                world.phones[desk].pick_up(0);
                line
            } else {
                world.phones[desk].pick_up(0);
                world.run(wait);
                world.phones[mobile].dial("*11")
            };
            world.run(5 * SECOND);
            let heard = world.heard_by("bob*desk");
            assert_eq!(heard.len(), 1, "{delay} {pickup_first}\n{}", world.tail());
            let (desk_line, mobile_line) = (&world.phones[desk].lines[0], &world.phones[mobile].lines[line]);
            // The pickup lost, or came late and was a move: in any case one of them has it, the other knows.
            let has_it = (desk_line.is_up && !desk_line.is_over, mobile_line.is_up && !mobile_line.is_over);
            assert!(matches!(has_it, (true, false) | (false, true)), "{delay} {has_it:?}\n{}", world.tail());
            assert_eq!(heard[0] == "alice*mobile", has_it.1);
            assert_eq!(world.phones[bob].lines[0].status, Some(200));
            world.phones[bob].bye(0);
            world.run(A_MINUTE);
            assert_eq!(world.records.len(), 1);
            world.check_idle();
        }
    }
}

#[test]
fn the_ringing_device_wins_while_our_answer_is_not_acknowledged() {
    let (mut world, desk, mobile, bob) = ringing(130);
    world.phones[mobile].acks = false;
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200));
    assert_eq!(world.phones[bob].lines[0].status, None, "the caller waits for the ACK");
    world.phones[desk].pick_up(0);
    world.run(A_MINUTE);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert!(world.phones[mobile].lines[line].is_over, "what lost is hung up");
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_caller_gives_up_while_the_call_is_picked_up() {
    for acks in [true, false] {
        let (mut world, desk, mobile, bob) = ringing(131);
        world.phones[mobile].acks = acks;
        world.store_answers = acks;
        let line = world.phones[mobile].dial("*11");
        world.run(Duration::from_millis(3));
        world.phones[bob].cancel(0);
        world.run(5 * SECOND);
        if world.phones[bob].lines[0].status == Some(487) {
            assert!(world.phones[mobile].lines[line].is_over, "{}", world.tail());
            assert!(world.phones[desk].lines[0].is_over);
        } else {
            // The answer was faster than the CANCEL.
            assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
            world.phones[bob].bye(0);
        }
        world.run(2 * A_MINUTE);
        assert_eq!(world.records.len(), 1);
        world.check_idle();
    }
}

#[test]
fn a_device_that_declines_does_not_end_a_pickup() {
    for gives_up in [false, true] {
        let (mut world, desk, mobile, bob) = ringing(132);
        world.phones[mobile].refuse(0, 486);
        world.run(SECOND);
        world.store_answers = false;
        let line = world.phones[mobile].dial("*11");
        world.run(Duration::from_millis(100));
        world.phones[desk].refuse(0, 486);
        world.run(Duration::from_millis(100));
        assert_eq!(world.phones[bob].lines[0].status, None, "the pickup may yet answer\n{}", world.tail());
        if gives_up {
            world.phones[mobile].cancel(line);
            world.run(SECOND);
            assert_eq!(world.phones[mobile].lines[line].status, Some(487), "{}", world.tail());
            assert_eq!(world.phones[bob].lines[0].status, Some(486), "{}", world.tail());
            world.answer_store();
        } else {
            world.answer_store();
            world.run(SECOND);
            assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
            world.phones[bob].bye(0);
        }
        world.run(A_MINUTE);
        world.check_idle();
    }
}

/// Alice lets Carol see and answer what rings at her devices; she does not let Bob.
fn with_watcher() -> Accounts {
    let mut accounts = accounts(&["alice", "bob", "carol", "dave"]);
    let mut alice = (**accounts.by_name("alice").unwrap()).clone();
    alice.watchers = vec!["carol".into()];
    accounts.put(alice).unwrap();
    accounts
}

#[test]
fn a_colleague_picks_up_by_code_and_a_stranger_hears_of_nothing() {
    let mut world = World::with(140, settings(), with_watcher(), &Loaded::default());
    let desk = world.phone("alice", "desk");
    let (bob, carol, dave) =
        (world.phone("bob", "desk"), world.phone("carol", "desk"), world.phone("dave", "desk"));
    world.phones[desk].answer = Answer::Ring;
    world.phones[bob].dial("alice");
    world.run(SECOND);
    let answer = |world: &mut World, phone: usize, number: &str| {
        let line = world.phones[phone].dial(number);
        world.run(SECOND);
        let line = &world.phones[phone].lines[line];
        (line.status, line.phrase.clone(), line.retry_after)
    };
    let stranger = answer(&mut world, dave, "**1001");
    assert_eq!(stranger.0, Some(404));
    assert_eq!(answer(&mut world, dave, "**1002"), stranger, "nothing rings there");
    assert_eq!(answer(&mut world, dave, "**9999"), stranger, "nobody has that number");
    assert!(world.phones[desk].lines[0].rings());
    assert_eq!(answer(&mut world, carol, "**1001").0, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["carol*desk"]);
    assert_eq!(world.phones[desk].lines[0].reason, ELSEWHERE);
    // What is answered is not for a colleague to take.
    world.phones[carol].bye(0);
    world.run(SECOND);
    world.phones[desk].answer = Answer::Now;
    world.phones[bob].dial("alice");
    world.run(SECOND);
    assert_eq!(answer(&mut world, carol, "**1001"), stranger);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[bob].bye(1);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_pickup_code_with_ones_own_number_takes_what_is_answered_there() {
    let (mut world, desk, mobile, bob) = three_phones(141);
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let line = world.phones[mobile].dial("**1001");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert_eq!(world.engine.moves.hold_offs.len(), 1, "that is a move");
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_device_replaces_its_own_dialog_after_it_lost_its_network() {
    for offer in [true, false] {
        let mut world = World::new(142);
        let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
        let bob = world.phone("bob", "desk");
        world.phones[desk].dial("bob");
        world.run(2 * SECOND);
        let before = world.phones[bob].requests.len();
        let dialog = world.phones[desk].lines[0].dialog.clone();
        // liblinphone names its own dialog with `to-tag=0`.
        let value = format!("{};to-tag=0;from-tag={}", dialog.call_id, dialog.local_tag);
        let line = world.phones[desk].dial_with("bob", &[("Replaces", &value)], offer);
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
        assert_eq!(world.phones[desk].lines[0].reason, "SIP;cause=200;text=\"Dialog replaced\"");
        assert!(!world.phones[desk].lines[line].is_over);
        assert_eq!(world.phones[bob].requests.len(), before, "the far side is untouched");
        assert_eq!(world.engine.moves.hold_offs.len(), 0);
        // It may hand the call on, and is then an old device like any other.
        let pulled = world.phones[mobile].dial("*11");
        world.run(2 * SECOND);
        assert_eq!(world.phones[mobile].lines[pulled].status, Some(503), "one change a second");
        let pulled = world.phones[mobile].dial("*11");
        world.run(SECOND);
        assert_eq!(world.phones[mobile].lines[pulled].status, Some(200), "{}", world.tail());
        assert_eq!(world.engine.moves.hold_offs.len(), 1);
        world.phones[bob].bye(0);
        world.run(A_MINUTE);
        let record = &world.records[0];
        assert_eq!(record.moves, 1);
        let devices: Vec<_> = record.segments.iter().map(|segment| segment.device.as_str()).collect();
        assert_eq!(devices, ["alice*desk", "bob*desk", "alice*mobile"]);
        world.check_idle();
    }
}

#[test]
fn nobody_repairs_the_leg_of_another() {
    let mut world = World::with(143, settings(), with_watcher(), &Loaded::default());
    let (desk, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let mallory = world.phone("dave", "desk");
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    let dialog = world.phones[desk].lines[0].dialog.clone();
    let value = format!("{};to-tag=0;from-tag={}", dialog.call_id, dialog.local_tag);
    let line = world.phones[mallory].dial_with("alice", &[("Replaces", &value)], true);
    world.run(SECOND);
    assert_eq!(world.phones[mallory].lines[line].status, Some(481), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}
