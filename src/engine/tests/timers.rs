//! Session timers (RFC 4028, contract 28).

use std::time::Duration;

use super::{Refers, World, refer, three_phones};
use crate::engine::event::{CallEvent, Event};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TIMER: (&str, &str) = ("Supported", "timer");

fn count(world: &World, phone: usize, method: &str) -> usize {
    world.phones[phone].requests.iter().filter(|known| *known == method).count()
}

#[track_caller]
fn end(mut world: World, phone: usize) {
    world.phones[phone].bye(0);
    world.run(2 * MINUTE);
    world.check_idle();
}

#[test]
fn a_party_that_knows_the_timer_is_refreshed_at_half_time_and_one_that_does_not_is_left_alone() {
    let (mut world, desk, _, bob) = three_phones(300);
    world.phones[bob].session = "120;refresher=uac";
    world.phones[desk].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[bob].sessions, [("INVITE".into(), "1800".into())], "we ask for it");
    assert_eq!(world.phones[desk].sessions, [("200".into(), String::new())], "she did not");
    world.run(58 * SECOND);
    assert_eq!(count(&world, bob, "UPDATE"), 0);
    world.run(2 * SECOND);
    assert_eq!(count(&world, bob, "UPDATE"), 1, "{}", world.tail());
    assert_eq!(world.phones[bob].sessions[1], ("UPDATE".into(), "120;refresher=uac".into()));
    world.run(10 * MINUTE);
    assert_eq!(count(&world, bob, "UPDATE"), 11);
    assert_eq!((count(&world, desk, "UPDATE"), count(&world, desk, "INVITE")), (0, 0));
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    end(world, bob);
}

#[test]
fn a_phone_without_update_is_refreshed_by_the_same_description() {
    let (mut world, desk, _, bob) = three_phones(301);
    (world.phones[bob].session, world.phones[bob].allow) = ("120;refresher=uac", "INVITE, ACK, BYE, CANCEL");
    world.phones[desk].dial("bob");
    world.run(10 * MINUTE);
    let heard = &world.phones[bob].lines[0].heard;
    assert!((9..=11).contains(&heard.len()), "{}", heard.len());
    assert!(heard.windows(2).all(|pair| pair[0] == pair[1]), "same text, same version");
    assert_eq!((count(&world, bob, "UPDATE"), count(&world, desk, "INVITE")), (0, 0));
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    end(world, bob);
}

#[test]
fn a_party_that_is_gone_ends_the_call_in_time() {
    for refresher in ["120;refresher=uac", "120;refresher=uas"] {
        let (mut world, desk, _, bob) = three_phones(302);
        world.phones[bob].session = refresher;
        world.phones[desk].dial("bob");
        world.run(SECOND);
        // Bob's network is gone: nothing comes from there, nothing arrives.
        world.phones[bob].address = "203.0.113.99:9".parse().unwrap();
        world.run(80 * SECOND);
        assert!(!world.phones[desk].lines[0].is_over);
        world.run(MINUTE);
        assert!(world.phones[desk].lines[0].is_over, "{refresher}\n{}", world.tail());
        world.run(2 * MINUTE);
        world.check_idle();
    }
}

/// How often a device was found dead.
fn count_lost(world: &World) -> usize {
    let is_lost = |event: &&Event| matches!(event, Event::Call { what: CallEvent::Lost, .. });
    world.events.iter().filter(is_lost).count()
}

#[test]
fn who_calls_may_refresh_itself_and_is_told_so() {
    let (mut world, desk, _, bob) = three_phones(303);
    let headers = [TIMER, ("Session-Expires", "120;refresher=uac")];
    world.phones[desk].dial_with("bob", &headers, true);
    world.run(SECOND);
    assert_eq!(world.phones[desk].sessions, [("200".into(), "120;refresher=uac".into())]);
    // Refreshes of both kinds are answered here and do not trouble Bob.
    let before = world.phones[bob].requests.len();
    for minute in 0..6 {
        world.run(45 * SECOND);
        if minute % 2 == 0 {
            world.phones[desk].request(0, &Method::Update, &headers, b"");
        } else {
            world.phones[desk].reinvite_headers =
                headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            world.phones[desk].reinvite(0, "sendrecv");
        }
        world.run(SECOND);
        assert_eq!(world.phones[desk].sessions.last().unwrap().1, "120;refresher=uac", "{}", world.tail());
    }
    assert_eq!(world.phones[bob].requests.len(), before);
    assert!(!world.phones[desk].lines[0].is_over);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    // And when it does so no more, it is dead before its time is over, and nobody takes up the call.
    world.run(87 * SECOND);
    assert!(!world.phones[desk].lines[0].is_over);
    world.run(3 * SECOND);
    assert_eq!(count_lost(&world), 1, "{}", world.tail());
    world.run(20 * SECOND);
    assert!(world.phones[desk].lines[0].is_over && world.phones[bob].lines[0].is_over, "{}", world.tail());
    world.run(MINUTE);
    world.check_idle();
}

#[test]
fn who_leaves_it_to_us_is_refreshed() {
    let (mut world, desk, _, bob) = three_phones(304);
    world.phones[desk].session = "200;refresher=uac";
    world.phones[desk].dial_with("bob", &[TIMER, ("Session-Expires", "200"), ("Min-SE", "100")], true);
    world.run(SECOND);
    assert_eq!(world.phones[desk].sessions, [("200".into(), "200;refresher=uas".into())]);
    world.run(101 * SECOND);
    assert_eq!(count(&world, desk, "UPDATE"), 1, "{}", world.tail());
    end(world, bob);
}

#[test]
fn an_interval_that_is_too_short_is_refused_where_that_is_understood() {
    let (mut world, desk, _, bob) = three_phones(305);
    let line = world.phones[desk].dial_with("bob", &[TIMER, ("x", "30")], true);
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(422), "{}", world.tail());
    assert!(world.phones[bob].lines.is_empty());
    // Whoever does not know 422 gets what can be given.
    let line = world.phones[desk].dial_with("bob", &[("Session-Expires", "30")], true);
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200));
    assert_eq!(world.phones[desk].sessions.last().unwrap().1, "90;refresher=uas");
    // In the dialog, too, and the session stays as it was.
    world.phones[desk].request(line, &Method::Update, &[TIMER, ("Session-Expires", "10")], b"");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(422));
    end(world, bob);
}

#[test]
fn a_422_is_followed_by_the_same_invite_with_more_time() {
    let (mut world, desk, mobile, bob) = three_phones(306);
    (world.phones[bob].session, world.phones[bob].min_se) = ("3600;refresher=uas", 3600);
    world.phones[desk].dial_with("bob", &[("Subject", "tea"), ("X-Note", "kept")], true);
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[0].status, Some(200), "{}", world.tail());
    let asked: Vec<_> = world.phones[bob].sessions.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(asked, ["1800", "3600"]);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    // A push as well.
    world.phones[mobile].min_se = 2400;
    world.phones[desk].request(0, &Method::Refer, &[("Refer-To", "<sip:alice*mobile@example.org>")], b"");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    // One that always wants more is not asked for ever.
    world.phones[bob].bye(0);
    world.run(SECOND);
    world.phones[bob].min_se = u32::MAX;
    let line = world.phones[desk].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(422));
    world.run(2 * MINUTE);
    world.check_idle();
}

#[test]
fn a_refresh_that_is_too_short_is_repeated_with_more_time() {
    let (mut world, desk, _, bob) = three_phones(307);
    world.phones[bob].session = "120;refresher=uac";
    world.phones[desk].dial("bob");
    world.run(SECOND);
    (world.phones[bob].session, world.phones[bob].min_se) = ("600;refresher=uac", 600);
    world.run(MINUTE);
    let asked: Vec<_> = world.phones[bob].sessions.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(asked, ["1800", "120;refresher=uac", "600;refresher=uac"], "{}", world.tail());
    world.run(4 * MINUTE);
    assert!(!world.phones[bob].lines[0].is_over);
    world.run(2 * MINUTE);
    assert_eq!(world.phones[bob].sessions.len(), 4);
    end(world, bob);
}

#[test]
fn a_move_leaves_the_far_timer_running_and_starts_a_new_one() {
    let (mut world, desk, mobile, bob) = three_phones(308);
    world.phones[bob].session = "120;refresher=uac";
    let theirs = [TIMER, ("Session-Expires", "300;refresher=uac")];
    world.phones[desk].dial_with("bob", &theirs, true);
    world.run(50 * SECOND);
    let own = [TIMER, ("Session-Expires", "400;refresher=uac")];
    world.phones[mobile].session = "400;refresher=uas";
    let line = world.phones[mobile].dial_with("*11", &own, true);
    world.run(SECOND);
    // Our UPDATE with the name of the far party leaves the role where it is.
    let said = [("200", "400;refresher=uac"), ("UPDATE", "400;refresher=uas")];
    assert_eq!(world.phones[mobile].sessions, said.map(|(what, value)| (what.into(), value.into())));
    assert_eq!(count(&world, bob, "UPDATE"), 0);
    // Its refresh comes when it would have come without the move, and the old device's time ends nothing.
    world.run(10 * SECOND);
    assert_eq!(count(&world, bob, "UPDATE"), 1, "{}", world.tail());
    world.run(300 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    // What was agreed with the new device ends the call when it is gone, and nobody takes it up.
    world.run(MINUTE + 20 * SECOND);
    assert!(world.phones[mobile].lines[line].is_over && world.phones[bob].lines[0].is_over);
    world.run(MINUTE);
    world.check_idle();
}

#[test]
fn what_the_far_side_is_asked_in_a_move_refreshes_its_session() {
    let (mut world, desk, mobile, bob) = three_phones(309);
    world.phones[bob].session = "120;refresher=uac";
    (world.phones[desk].codecs, world.phones[mobile].codecs) = ("0 101", "8 101");
    world.phones[desk].dial("bob");
    world.run(50 * SECOND);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    let last = world.phones[bob].sessions.last().unwrap();
    assert_eq!(last, &("INVITE".to_owned(), "120;refresher=uac".to_owned()));
    world.run(55 * SECOND);
    assert_eq!(count(&world, bob, "UPDATE"), 0, "{}", world.tail());
    world.run(10 * SECOND);
    assert_eq!(count(&world, bob, "UPDATE"), 1);
    end(world, bob);
}

/// A device rings for longer than a short session lasts; the refresh goes on, and the call is there afterwards.
#[test]
fn a_short_session_outlives_a_device_that_is_waited_for() {
    for (allow, method) in [(None, "UPDATE"), (Some("INVITE, ACK, BYE, CANCEL"), "INVITE")] {
        let (mut world, desk, mobile, bob) = three_phones(310);
        world.phones[bob].session = "90;refresher=uac";
        world.phones[bob].allow = allow.unwrap_or(world.phones[bob].allow);
        world.phones[mobile].refers = Refers::Ignore;
        world.phones[desk].dial("bob");
        world.run(20 * SECOND);
        refer(&mut world, "mobile");
        let before = count(&world, bob, method);
        world.run(50 * SECOND);
        assert!(!world.engine.moves.live.is_empty(), "it is still waited for");
        assert_eq!(count(&world, bob, method), before + 1, "{}", world.tail());
        world.run(MINUTE);
        assert!(world.engine.moves.live.is_empty());
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
        end(world, bob);
    }
}

/// The other side refreshes by re-INVITE and gets 491 while the device is waited for: the session does not run out
/// under it.
#[test]
fn a_refresh_that_a_move_refused_finds_the_call_after_it() {
    let (mut world, desk, mobile, bob) = three_phones(311);
    let headers = [TIMER, ("Session-Expires", "90;refresher=uac")];
    world.phones[bob].session = "90;refresher=uas";
    world.phones[bob].reinvite_headers =
        headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    world.phones[mobile].refers = Refers::Ignore;
    world.phones[desk].dial("bob");
    world.run(25 * SECOND);
    refer(&mut world, "mobile");
    world.run(20 * SECOND);
    world.phones[bob].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(491), "{}", world.tail());
    // The session would have ended after 60 s, and the wait ends after 85.
    world.run(42 * SECOND);
    assert!(world.engine.moves.live.is_empty());
    assert!(!world.phones[bob].lines[0].is_over, "{}", world.tail());
    world.phones[bob].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(200), "{}", world.tail());
    world.run(30 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    // Who never refreshes is gone in the end.
    world.run(MINUTE);
    assert!(world.phones[desk].lines[0].is_over);
    world.run(2 * MINUTE);
    world.check_idle();
}
