//! Clauses of the contract of the move that no scene of another file holds: spellings that pick a call, who hangs up when,
//! the waits after 491, who hears whom before the ACK, and what a timeline has.

use std::time::Duration;

use super::moves::other_codec;
use super::world::{accounts, settings};
use super::{Answer, Kind, World, talking, three_phones};
use crate::engine::Input;
use crate::engine::event::Event;
use crate::engine::store::Loaded;
use crate::media::relay::MediaEvent;
use crate::moving::machine::State;
use crate::moving::timeline::{Heading, Side, What, When};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);
const TO_MOBILE: [(&str, &str); 1] = [("Refer-To", "<sip:alice*mobile@example.org>")];

fn invites(world: &World, phone: usize) -> usize {
    world.phones[phone].requests.iter().filter(|name| *name == "INVITE").count()
}

/// Contract 10.
#[test]
fn a_code_picks_one_of_several_calls_however_it_is_written() {
    for (code, far) in [
        ("*11", "carol*desk"),
        ("*11#", "carol*desk"),
        ("%2A11%23", "carol*desk"),
        ("*11*2", "bob*desk"),
        ("%2a11%2A2#", "bob*desk"),
        ("*11*desk", "bob*desk"),
        ("*111002", "bob*desk"),
        ("*111003", "carol*desk"),
    ] {
        let people = accounts(&["alice", "bob", "carol"]);
        let mut world = World::with(53, settings(), people, &Loaded::default());
        let (desk, tablet) = (world.phone("alice", "desk"), world.phone("alice", "tablet"));
        let mobile = world.phone("alice", "mobile");
        world.phone("bob", "desk");
        world.phone("carol", "desk");
        world.phones[desk].dial("bob");
        world.run(2 * SECOND);
        world.phones[tablet].dial("carol");
        world.run(2 * SECOND);
        let line = world.phones[mobile].dial(code);
        world.run(2 * SECOND);
        assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{code}\n{}", world.tail());
        assert_eq!(world.heard_by("alice*mobile"), [far], "{code}");
    }
}

/// Contract 15.
#[test]
fn the_old_device_may_hang_up_right_after_its_202() {
    for answers in [true, false] {
        let (mut world, desk, mobile, bob) = talking(54);
        world.phones[mobile].answer = Answer::Ring;
        world.phones[desk].request(0, &Method::Refer, &TO_MOBILE, b"");
        world.run_until(SECOND, |world| world.phones[desk].finals.iter().any(|told| told.0 == "REFER"));
        assert_eq!(world.phones[desk].finals.last().map(|told| told.1), Some(202));
        world.phones[desk].bye(0);
        world.run(SECOND);
        let is_rung = world.phones[mobile].lines[0].rings();
        assert!(!world.phones[bob].lines[0].is_over && is_rung, "{}", world.tail());
        if answers {
            world.phones[mobile].pick_up(0);
            world.run(SECOND);
            assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
            world.phones[bob].bye(0);
        } else {
            world.phones[mobile].refuse(0, 486);
            world.run(SECOND);
            assert!(world.phones[bob].lines[0].is_over, "nobody is left\n{}", world.tail());
        }
        world.run(A_MINUTE);
        world.check_idle();
    }
}

/// Contract 20.
#[test]
fn a_far_side_that_was_asked_for_who_never_acknowledges_has_its_codec_again() {
    let (mut world, desk, mobile, bob) = other_codec(55);
    world.phones[mobile].acks = false;
    let line = world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(invites(&world, bob), 2, "{}", world.tail());
    world.run(40 * SECOND);
    assert_eq!(invites(&world, bob), 3, "and put back\n{}", world.tail());
    assert!(world.phones[bob].lines[0].last_heard().contains("PCMU"));
    assert!(world.engine.moves.live.is_empty() && world.phones[mobile].lines[line].is_over);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

/// Contract 21, RFC 3261 14.1.
#[test]
fn after_491_the_wait_is_that_of_whoever_made_the_call_id() {
    for (ours, least, most) in [(true, 2100, 4000), (false, 0, 2000)] {
        let mut waits = Vec::new();
        for seed in 0..12 {
            let (mut world, desk, mobile, bob) = three_phones(1600 + seed);
            (world.phones[desk].codecs, world.phones[mobile].codecs) = ("0 101", "8 101");
            if ours {
                world.phones[desk].dial("bob");
            } else {
                world.phones[bob].dial("alice*desk");
            }
            world.run(2 * SECOND);
            let before = invites(&world, bob);
            world.phones[bob].reinvite = 491;
            world.phones[mobile].dial("*11");
            world.run_until(SECOND, |world| invites(world, bob) > before);
            let first = world.now.at;
            world.run_until(5 * SECOND, |world| invites(world, bob) > before + 1);
            waits.push(world.now.at.since(first).as_millis());
        }
        // The world looks each 5 ms.
        assert!(waits.iter().all(|wait| (least..=most + 15).contains(wait)), "{ours}: {waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "drawn by lot: {waits:?}");
    }
}

/// Contract 22.
#[test]
fn the_far_side_s_bye_ends_what_rings_for_its_call() {
    let (mut world, desk, mobile, bob) = talking(56);
    world.phones[mobile].answer = Answer::Ring;
    world.phones[desk].request(0, &Method::Refer, &TO_MOBILE, b"");
    world.run(SECOND);
    assert!(world.phones[mobile].lines[0].rings(), "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert!(world.phones[mobile].lines[0].is_over && world.phones[desk].lines[0].is_over, "{}", world.tail());
    assert!(world.engine.moves.live.is_empty() && world.engine.moves.hold_offs.is_empty());
    world.run(A_MINUTE);
    world.check_idle();
}

/// Contract 30.
#[test]
fn until_the_ack_both_devices_hear_the_far_side_and_the_old_one_alone_is_heard() {
    let (mut world, _, mobile, _) = talking(57);
    world.phones[mobile].acks = false;
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk", "alice*mobile"], "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert_eq!(world.heard_by("alice*mobile"), [""; 0]);
}

/// Contract 19, 29 and 34: its media is agreed, and nothing of it is here yet (a browser looks for its way and agrees on keys).
#[test]
fn until_the_new_device_is_there_the_old_one_is_heard_and_both_hear() {
    for comes in [true, false] {
        let (mut world, _, mobile, _) = talking(58);
        world.silent.push("alice*mobile".into());
        world.phones[mobile].kind = Kind::Web;
        world.phones[mobile].dial("*11");
        world.run(SECOND);
        let state = |world: &World| world.engine.moves.live.values().next().map(|m| m.machine.state());
        assert_eq!(state(&world), Some(State::Switching), "{}", world.tail());
        assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
        assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"]);
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk", "alice*mobile"]);
        if comes {
            let far = world.port_of("bob*desk").unwrap();
            world.input(Input::Media(MediaEvent::Swapped { far, gap_us: 20_000, lost: 0 }));
        }
        world.run(5 * SECOND);
        let (stays, goes) =
            if comes { ("alice*mobile", "alice*desk") } else { ("alice*desk", "alice*mobile") };
        assert_eq!(world.heard_by("bob*desk"), [stays], "{}", world.tail());
        assert_eq!(world.heard_by(stays), ["bob*desk"]);
        assert_eq!(world.heard_by(goes), [""; 0]);
        world.hang_up_all();
        world.run(A_MINUTE);
        world.check_idle();
    }
}

/// Contract 38: it has gone to another network.
#[test]
fn a_device_that_repairs_its_leg_from_another_network_is_told_of_no_move() {
    let (mut world, desk, _, bob) = three_phones(144);
    world.phones[desk].allow = "INVITE, ACK, BYE, CANCEL, UPDATE, INFO, REFER, NOTIFY, MESSAGE";
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    let dialog = world.phones[desk].lines[0].dialog.clone();
    world.phones[desk].address = "203.0.113.77:5062".parse().unwrap();
    world.phones[desk].register(3600);
    world.run(SECOND);
    let value = format!("{};to-tag=0;from-tag={}", dialog.call_id, dialog.local_tag);
    let line = world.phones[desk].dial_with("bob", &[("Replaces", &value)], true);
    world.run(3 * SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    assert!(world.engine.moves.hold_offs.is_empty());
    assert!(world.phones[desk].texts.is_empty(), "nothing was moved");
    assert!(!world.events.iter().any(|event| matches!(event, Event::Security { what: "call_moved", .. })));
    // It is no old device: what it asks in the new dialog is served.
    world.phones[desk].reinvite(line, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(2 * A_MINUTE);
    let [record] = &world.records[..] else { panic!("one call is one record") };
    assert_eq!(record.moves, 0);
    world.check_idle();
}

/// Contract 40, and 19: the swap comes before the old device is let go of.
#[test]
fn a_timeline_has_requests_grant_descriptions_swap_counters_and_verdict_in_their_order() {
    let (mut world, desk, mobile, bob) = talking(58);
    let pull = world.phones[mobile].dial("*11");
    world.run(3 * SECOND);
    world.phones[desk].dial("*11");
    world.run(SECOND);
    // The hold-off ends, and what was moved is taken back.
    world.run(31 * SECOND);
    let saved = world.saved_moves().next().unwrap();
    assert_eq!(saved.state, State::Done);
    let entries = saved.timeline.unwrap().entries;
    let place = |is_it: &dyn Fn(&What) -> bool| {
        entries.iter().position(|entry| is_it(&entry.what)).unwrap_or_else(|| panic!("{entries:#?}"))
    };
    let said = |of: Side, at: When| {
        place(&move |what: &What| {
            let What::Description { side, when, text } = what else { return false };
            (*side, *when) == (of, at) && text.contains("m=audio")
        })
    };
    let request = |of: Side, heading: Heading, name: &str| {
        place(
            &|what| matches!(what, What::Request { side, way, method } if (*side, *way) == (of, heading) && method == name),
        )
    };
    let answer = |of: Side, heading: Heading, code: u16| {
        place(
            &|what| matches!(what, What::Response { side, way, status, .. } if (*side, *way, *status) == (of, heading, code)),
        )
    };
    let order = [
        place(&|what| matches!(what, What::Requested { by, .. } if by == "alice*mobile")),
        place(
            &|what| matches!(what, What::Granted { from, to } if from == "alice*desk" && to == "alice*mobile"),
        ),
        said(Side::Old, When::Before),
        said(Side::Far, When::Before),
        request(Side::New, Heading::In, "INVITE"),
        place(&|what| matches!(what, What::Stored)),
        answer(Side::New, Heading::Out, 200),
        request(Side::New, Heading::In, "ACK"),
        place(&|what| matches!(what, What::Swapped)),
        place(&|what| matches!(what, What::HoldOff { seconds: 30 })),
        place(&|what| matches!(what, What::Media { side: Side::Old, received, .. } if *received > 0)),
        place(&|what| matches!(what, What::Heard { gap_us: 20_000, lost: 0 })),
        place(&|what| matches!(what, What::Released)),
        request(Side::Old, Heading::Out, "BYE"),
        said(Side::New, When::After),
        said(Side::Far, When::After),
        place(
            &|what| matches!(what, What::Rejected { method, retry_after } if method == "INVITE" && *retry_after > 20),
        ),
        place(&|what| matches!(what, What::HoldOffEnded)),
    ];
    assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}\n{entries:#?}");
    let last = entries.iter().rev().find_map(|entry| match entry.what {
        What::State { state } => Some(state),
        _ => None,
    });
    assert_eq!(last, Some(State::Done));
    world.phones[mobile].bye(pull);
    world.run(A_MINUTE);
    assert!(world.phones[bob].lines[0].is_over);
    world.check_idle();
}

/// Contract 40: the far side that was asked is in it.
#[test]
fn a_timeline_tells_what_the_far_side_was_asked_and_said() {
    let (mut world, _, mobile, bob) = other_codec(59);
    world.phones[mobile].dial("*11");
    world.run(3 * SECOND);
    let entries = world.saved_moves().next().unwrap().timeline.unwrap().entries;
    let far: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Request { side: Side::Far, way: Heading::Out, method } => Some(method.clone()),
            What::Response { side: Side::Far, way: Heading::In, status, .. } => Some(status.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(far, ["INVITE", "200"], "{entries:#?}");
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
}
