//! Moves: every door, every end.

use std::time::Duration;

use super::{Answer, World, talking, three_phones};
use crate::call::policy::ReInvite;
use crate::engine::event::{Event, MoveEvent};
use crate::moving::timeline::{What, When};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

#[test]
fn a_pull_moves_the_call_and_the_far_side_hears_of_nothing() {
    let (mut world, desk, mobile, bob) = talking(10);
    let before = world.phones[bob].requests.len();
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(world.phones[desk].lines[0].is_over, "the old device is released");
    assert!(world.phones[desk].lines[0].reason.contains("Call moved to mobile"));
    assert_eq!(world.phones[bob].requests.len(), before, "no re-INVITE was needed");
    assert_eq!(world.phones[mobile].lines[line].identity.as_deref(), Some("\"Bob\" <sip:1002@example.org>"));
    world.check();
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert!(world.phones[mobile].lines[line].is_over);
    let record = &world.records[0];
    assert_eq!(record.moves, 1);
    let devices: Vec<_> = record.segments.iter().map(|segment| segment.device.as_str()).collect();
    assert_eq!(devices, ["alice*desk", "bob*desk", "alice*mobile"]);
    assert_eq!(record.segments[2].gap_ms, Some(20.0));
    assert_eq!((record.loss, record.jitter), (Some(0.02), Some(1.5)), "as the ports told at their end");
    assert!(record.segments.iter().all(|segment| segment.lost == Some(6)), "{record:?}");
    // 300 packets of G.711, 2 % of them lost.
    let mos = Some(4.23);
    assert!(record.segments.iter().all(|segment| segment.mos == mos), "{record:?}");
    assert_eq!(record.mos_min, mos);
    let line = world.saved_moves().next().and_then(|view| view.timeline).unwrap();
    let scores = line.entries.into_iter().filter_map(|entry| match entry.what {
        What::Quality { when, mos } => Some((when, mos)),
        _ => None,
    });
    let scores: Vec<_> = scores.collect();
    assert_eq!(scores, [(When::Before, 4.23), (When::After, 4.23)]);
    assert_eq!(record.codecs, ["PCMU"]);
    assert!(record.segments.iter().all(|segment| segment.codec.as_deref() == Some("PCMU")), "{record:?}");
    let switched = world.events.iter().find_map(|event| match event {
        Event::Move { what: MoveEvent::Switched, phases, .. } => Some(phases.clone()),
        _ => None,
    });
    let names: Vec<_> = switched.unwrap().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["authorize", "negotiate", "switch", "total"]);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_old_device_is_held_off_for_its_time() {
    let (mut world, desk, mobile, _) = talking(11);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    let line = world.phones[desk].dial("*11");
    world.run(SECOND);
    let found = &world.phones[desk].lines[line];
    assert_eq!(found.status, Some(403), "{}", world.tail());
    assert!(
        found.retry_after.is_some_and(|seconds| (28..=30).contains(&seconds)),
        "{:?}\n{}",
        found.retry_after,
        world.tail()
    );
    world.phones[desk].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[0].status, Some(403), "{}", world.tail());
    world.run(30 * SECOND);
    let line = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
}

#[test]
fn a_pushed_call_goes_to_the_one_device_that_was_named() {
    let (mut world, desk, mobile, bob) = talking(12);
    let tablet = world.phone("alice", "tablet");
    world.phones[mobile].answer = Answer::Ring;
    let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>"), ("Contact", "<sip:a@198.51.100.10>")];
    world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
    world.run(SECOND);
    assert_eq!(world.phones[desk].finals.last().map(|f| f.1), Some(202), "{}", world.tail());
    assert_eq!(
        (world.phones[mobile].lines.len(), world.phones[tablet].lines.len()),
        (1, 0),
        "{}",
        world.tail()
    );
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "the old leg stands until the new one answers");
    world.phones[mobile].pick_up(0);
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!(world.phones[desk].lines[0].referred, ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]);
    assert!(world.phones[desk].lines[0].is_over);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_refer_to_an_own_device_is_a_push_also_with_replaces_of_an_own_leg() {
    let (mut world, desk, mobile, bob) = talking(53);
    let asked = world.phones[desk].dial("alice*mobile");
    world.run(SECOND);
    let dialog = &world.phones[desk].lines[asked].dialog;
    let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
    let refer_to =
        format!("<sip:alice*mobile@example.org?Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}>");
    world.phones[desk].request(0, &Method::Refer, &[("Refer-To", &refer_to)], b"");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[0].referred, ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]);
    assert!(world.phones[desk].lines[0].is_over && world.phones[mobile].lines[1].is_up, "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(!world.phones[desk].lines[asked].is_over, "the call that the device was asked in is another");
    world.phones[desk].bye(asked);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_device_that_refuses_leaves_the_call_where_it_is() {
    let (mut world, desk, mobile, bob) = talking(13);
    world.phones[mobile].answer = Answer::Busy;
    let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
    world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
    world.run(SECOND);
    assert_eq!(
        world.phones[desk].lines[0].referred.last().map(String::as_str),
        Some("SIP/2.0 480 Temporarily Unavailable")
    );
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_push_code_sends_the_call_from_a_second_line() {
    let (mut world, desk, mobile, _) = talking(14);
    let line = world.phones[desk].dial("*12*mobile");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!(world.phones[desk].lines[line].status, Some(480));
    assert_eq!(world.phones[desk].lines[line].phrase, "Call moved to mobile");
    assert!(world.phones[mobile].lines[0].is_up);
}

#[test]
fn a_silent_new_device_gives_the_call_back() {
    let (mut world, desk, mobile, _) = talking(15);
    world.silent.push("alice*mobile".into());
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk", "alice*mobile"], "{}", world.tail());
    world.run(3 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert!(world.phones[mobile].lines[line].is_over && !world.phones[desk].lines[0].is_over);
    assert_eq!(world.engine.moves.hold_offs.len(), 0, "the hold-off is lifted");
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn where_both_are_silent_the_move_stands() {
    let (mut world, desk, mobile, _) = talking(16);
    world.silent.extend(["alice*mobile".to_owned(), "alice*desk".to_owned()]);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert!(world.phones[desk].lines[0].is_over, "who never sent is not waited for");
}

#[test]
fn without_the_store_nothing_is_touched() {
    for answers in [true, false] {
        let (mut world, desk, mobile, _) = talking(17);
        (world.store_works, world.store_answers) = (false, answers);
        let line = world.phones[mobile].dial("*11");
        world.run(4 * SECOND);
        assert_eq!(world.phones[mobile].lines[line].status, Some(503), "{}", world.tail());
        assert!(world.phones[mobile].lines[line].retry_after.is_some());
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
        world.phones[desk].bye(0);
        world.run(A_MINUTE);
        world.check_idle();
    }
}

/// A codec that the far side has not agreed: it must be asked.
pub(super) fn other_codec(seed: u64) -> (World, usize, usize, usize) {
    let (mut world, desk, mobile, bob) = three_phones(seed);
    world.phones[desk].codecs = "0 101";
    world.phones[mobile].codecs = "8 101";
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    (world, desk, mobile, bob)
}

#[test]
fn the_far_side_is_asked_where_the_codec_differs() {
    let (mut world, desk, mobile, bob) = other_codec(18);
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(world.phones[desk].lines[0].is_over);
    let offers = &world.phones[bob].lines[0].heard;
    assert_eq!(offers.len(), 2);
    let origin = |body: &[u8]| {
        let text = String::from_utf8_lossy(body).into_owned();
        let line = text.lines().find(|line| line.starts_with("o=")).unwrap().to_owned();
        let words: Vec<u64> = line.split(' ').skip(1).take(2).map(|word| word.parse().unwrap()).collect();
        (words[0], words[1])
    };
    let (before, after) = (origin(&offers[0]), origin(&offers[1]));
    assert_eq!((after.0, after.1), (before.0, before.1 + 1), "same session, next version (contract 17)");
}

#[test]
fn a_far_side_that_refuses_keeps_the_old_call() {
    for status in [488, 500] {
        let (mut world, desk, mobile, bob) = other_codec(19);
        world.phones[bob].reinvite = status;
        let line = world.phones[mobile].dial("*11");
        world.run(SECOND);
        assert_eq!(world.phones[mobile].lines[line].status, Some(488), "{}", world.tail());
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
        assert!(!world.phones[desk].lines[0].is_over);
        world.phones[bob].bye(0);
        world.run(A_MINUTE);
        world.check_idle();
    }
}

#[test]
fn glare_at_the_far_side_is_waited_out() {
    let (mut world, _, mobile, bob) = other_codec(20);
    world.phones[bob].reinvite = 491;
    let line = world.phones[mobile].dial("*11");
    world.run(Duration::from_millis(500));
    assert_eq!(world.phones[mobile].lines[line].status, None);
    world.phones[bob].reinvite = 200;
    // RFC 3261 14.1: the next try comes within 4 s.
    world.run_until(5 * SECOND, |world| world.phones[mobile].lines[line].status.is_some());
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
}

#[test]
fn a_far_side_that_says_491_for_ever_has_refused() {
    let (mut world, desk, mobile, bob) = other_codec(44);
    world.phones[bob].reinvite = 491;
    let line = world.phones[mobile].dial("*11");
    world.run(14 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(488), "{}", world.tail());
    assert_eq!(world.phones[bob].requests.iter().filter(|method| *method == "INVITE").count(), 1 + 4);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_far_side_that_will_not_be_restored_does_not_keep_the_move_open() {
    let (mut world, desk, mobile, bob) = other_codec(45);
    world.phones[mobile].acks = false;
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    world.phones[bob].reinvite = 491;
    world.run(60 * SECOND);
    assert!(world.engine.moves.live.is_empty(), "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_new_device_that_gives_up_while_the_far_side_is_asked_changes_nothing() {
    let (mut world, desk, mobile, bob) = other_codec(21);
    world.phones[bob].holds_reinvites = true;
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    world.phones[mobile].cancel(line);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(487), "{}", world.tail());
    // The far side says yes after all: it is taken back.
    world.phones[bob].holds_reinvites = false;
    world.phones[bob].release_reinvites();
    world.run(3 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert!(
        world.phones[bob].lines[0].last_heard().contains("PCMU"),
        "{}",
        world.phones[bob].lines[0].last_heard()
    );
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_call_that_ends_while_a_failed_move_waits_for_the_far_side_is_over() {
    for by_operator in [true, false] {
        let (mut world, desk, mobile, bob) = other_codec(26);
        world.phones[bob].holds_reinvites = true;
        let line = world.phones[mobile].dial("*11");
        world.run(SECOND);
        world.phones[mobile].cancel(line);
        world.run(SECOND);
        assert!(!world.engine.moves.live.is_empty(), "what the far side says is still waited for");
        if by_operator {
            world.hang_up_all();
        } else {
            world.phones[bob].bye(0);
        }
        world.run(SECOND);
        assert!(world.phones[desk].lines[0].is_over, "{}", world.tail());
        assert!(world.engine.moves.live.is_empty());
        world.run(A_MINUTE);
        world.check_idle();
    }
}

#[test]
fn a_new_device_that_never_acknowledges_loses() {
    let (mut world, desk, mobile, _) = talking(22);
    world.phones[mobile].acks = false;
    world.phones[mobile].dial("*11");
    world.run(40 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert!(!world.phones[desk].lines[0].is_over);
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn two_pulls_at_once_have_one_winner() {
    let (mut world, _, mobile, _) = talking(23);
    let tablet = world.phone("alice", "tablet");
    world.phones[mobile].dial("*11");
    world.phones[tablet].dial("*11");
    world.run(5 * SECOND);
    let mut statuses = [world.phones[mobile].lines[0].status, world.phones[tablet].lines[0].status];
    statuses.sort();
    assert_eq!(statuses, [Some(200), Some(486)], "{}", world.tail());
}

#[test]
fn the_far_side_s_bye_ends_all_and_the_old_device_s_does_not() {
    let (mut world, desk, mobile, bob) = other_codec(24);
    world.phones[bob].holds_reinvites = true;
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    world.phones[desk].bye(0);
    world.run(SECOND);
    assert!(!world.phones[bob].lines[0].is_over, "{}", world.tail());
    world.phones[bob].holds_reinvites = false;
    world.phones[bob].release_reinvites();
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();

    let (mut world, desk, mobile, bob) = other_codec(25);
    world.phones[bob].holds_reinvites = true;
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(481), "{}", world.tail());
    assert!(world.phones[desk].lines[0].is_over);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_chain_of_moves_leaves_two_legs() {
    let (mut world, desk, mobile, bob) = talking(26);
    let tablet = world.phone("alice", "tablet");
    for by in [mobile, tablet] {
        world.phones[by].dial("*11");
        world.run(5 * SECOND);
    }
    world.run(30 * SECOND);
    world.phones[desk].dial("*11");
    world.run(5 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    let talking = world
        .engine
        .core()
        .legs
        .iter()
        .filter(|(_, leg)| leg.state == crate::call::LegState::Confirmed)
        .count();
    assert_eq!(talking, 2, "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert_eq!(world.records[0].moves, 3);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn replaces_moves_a_dialog_of_the_same_user_and_of_nobody_else() {
    let (mut world, desk, mobile, bob) = talking(27);
    let dialog = world.phones[desk].lines[0].dialog.clone();
    let value = format!("{};to-tag={};from-tag={}", dialog.call_id, dialog.remote_tag, dialog.local_tag);
    let stranger = world.phones[bob].dial_with("alice", &[("Replaces", &value)], true);
    let unknown = world.phones[bob].dial_with("alice", &[("Replaces", "none@x;to-tag=1;from-tag=2")], true);
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[stranger].status, Some(481), "{}", world.tail());
    assert_eq!(world.phones[bob].lines[unknown].status, Some(481));
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    let line = world.phones[mobile].dial_with("alice", &[("Replaces", &value)], true);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    // The old device names its lost dialog in the window: it hears of the hold-off.
    let late = world.phones[desk].dial_with("alice", &[("Replaces", &value)], true);
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[late].status, Some(403), "{}", world.tail());
}

#[test]
fn a_pull_without_an_offer_moves_the_call() {
    let (mut world, desk, mobile, _) = talking(28);
    let line = world.phones[mobile].dial_with("*11", &[], false);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(world.phones[desk].lines[0].is_over);
}

#[test]
fn far_offers_during_a_move_get_491_and_work_after_it() {
    let (mut world, desk, mobile, bob) = talking(29);
    world.silent.push("alice*mobile".into());
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(491), "{}", world.tail());
    world.run(5 * SECOND);
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(200), "{}", world.tail());
    assert!(world.phones[desk].lines[0].last_heard().contains("sendonly"));
}

/// Where Bob is outside, behind a trunk that may want each move shown to it.
#[test]
fn a_trunk_that_demands_it_is_asked_at_every_move() {
    use crate::engine::tests::world::{accounts, settings, trunk_to};
    for demands in [true, false] {
        let mut settings = settings();
        let peer: std::net::SocketAddr = "198.51.100.12:5060".parse().unwrap();
        trunk_to(&mut settings, peer).policy.re_invite = demands.then_some(ReInvite::Always);
        let people = accounts(&["alice", "bob"]);
        let mut world = World::with(46, settings, people, &crate::engine::store::Loaded::default());
        let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
        let far = world.outsider("bob", peer);
        world.phones[desk].dial("0044");
        world.run(2 * SECOND);
        let before = world.phones[far].requests.len();
        let line = world.phones[mobile].dial("*11");
        world.run(2 * SECOND);
        assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
        let asked = world.phones[far].requests[before..].iter().filter(|method| *method == "INVITE").count();
        assert_eq!(asked, usize::from(demands), "{}", world.tail());
        assert!(world.phones[desk].lines[0].is_over);
    }
}

#[test]
fn a_hold_off_has_the_length_that_its_user_has() {
    use crate::engine::tests::world::{accounts, settings};
    let mut people = accounts(&["alice", "bob"]);
    let mut account = (**people.by_name("alice").unwrap()).clone();
    account.hold_off = Some(5 * SECOND);
    people.put(account).unwrap();
    let mut world = World::with(47, settings(), people, &crate::engine::store::Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    world.phone("bob", "desk");
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    let refused = world.phones[desk].dial("*11");
    world.run(SECOND);
    let found = &world.phones[desk].lines[refused];
    assert_eq!((found.status, found.retry_after), (Some(403), Some(5)), "{}", world.tail());
    world.run(4 * SECOND);
    let accepted = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[accepted].status, Some(200), "{}", world.tail());
}

#[test]
fn a_push_asks_the_device_to_answer_by_itself_only_where_it_may() {
    use crate::engine::tests::world::{accounts, settings};
    for may in [true, false] {
        let mut people = accounts(&["alice", "bob"]);
        let mut account = (**people.by_name("alice").unwrap()).clone();
        account.devices.iter_mut().for_each(|device| device.auto_answer = may);
        people.put(account).unwrap();
        let mut world = World::with(48, settings(), people, &crate::engine::store::Loaded::default());
        let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
        world.phone("bob", "desk");
        world.phones[desk].dial("bob");
        world.run(2 * SECOND);
        world.captured = Some(std::collections::VecDeque::new());
        let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
        world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
        world.run(SECOND);
        let ours = world.phones[mobile].address.to_string();
        let invite = world
            .heard_by_phones
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .find(|text| text.starts_with("INVITE") && text.contains(&ours));
        let invite = invite.unwrap_or_else(|| panic!("{}", world.tail()));
        for hint in ["answer-after=0", "info=alert-autoanswer", "Answer-Mode: Auto"] {
            assert_eq!(invite.contains(hint), may, "{hint}\n{invite}");
        }
    }
}

#[test]
fn a_refer_that_wants_no_word_of_the_outcome_gets_none() {
    let (mut world, desk, mobile, _) = talking(49);
    let headers = [("Refer-To", "<sip:alice*mobile@example.org>"), ("Refer-Sub", "false")];
    world.phones[desk].request(0, &Method::Refer, &headers, b"");
    world.run(2 * SECOND);
    assert_eq!(world.phones[desk].finals.last().map(|found| found.1), Some(202), "{}", world.tail());
    assert_eq!(world.phones[desk].lines[0].referred, Vec::<String>::new());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"]);
    assert!(world.phones[mobile].lines[0].is_up);
}

#[test]
fn session_information_of_a_move_that_a_crash_cut_off_is_forgotten() {
    use crate::engine::store::{Loaded, StoreOp};
    use crate::engine::tests::world::{accounts, settings};
    let (mut world, _, mobile, _) = talking(50);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    let snapshot = world.stored.iter().find_map(|op| match op {
        StoreOp::PutSnapshot(snapshot) => Some((**snapshot).clone()),
        _ => None,
    });
    let snapshot = snapshot.unwrap();
    let id = snapshot.move_id.clone();
    let loaded = Loaded { snapshots: vec![snapshot], ..Loaded::default() };
    let world = World::with(51, settings(), accounts(&["alice", "bob"]), &loaded);
    let is_it = |op: &StoreOp| matches!(op, StoreOp::RemoveSnapshot { move_id } if **move_id == *id);
    assert!(world.stored.iter().any(is_it));
}

#[test]
fn another_transport_does_not_shed_a_hold_off() {
    let (mut world, _, mobile, _) = talking(52);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    let again = world.phone_over(crate::sip::Transport::Tcp, "alice", "desk");
    let line = world.phones[again].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[again].lines[line].status, Some(403), "{}", world.tail());
    assert!(world.phones[again].lines[line].retry_after.is_some());
}
