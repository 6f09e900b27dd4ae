//! A pull by 302: the star code gets an identifier, the INVITE to it gets the call.

use std::time::Duration;

use super::world::{accounts, settings};
use super::{Answer, World};
use crate::engine::event::Event;
use crate::engine::store::Loaded;
use crate::moving::Trigger;
use crate::registrar::accounts::Pull;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

/// Alice's desk, mobile and tablet, and Bob's desk. All of Alice's phones are sent after what they pull.
fn house(seed: u64) -> (World, usize, usize, usize, usize) {
    let mut people = accounts(&["alice", "bob"]);
    let mut account = (**people.by_name("alice").unwrap()).clone();
    account.devices.iter_mut().for_each(|device| device.pull = Pull::Redirect);
    people.put(account).unwrap();
    let mut world = World::with(seed, settings(), people, &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let (tablet, bob) = (world.phone("alice", "tablet"), world.phone("bob", "desk"));
    (world, desk, mobile, tablet, bob)
}

/// The same, and the desk talks with Bob.
fn talking(seed: u64) -> (World, usize, usize, usize, usize) {
    let (mut world, desk, mobile, tablet, bob) = house(seed);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    (world, desk, mobile, tablet, bob)
}

/// Dials the code and is sent away; the line.
#[track_caller]
fn redirected(world: &mut World, phone: usize) -> usize {
    let line = world.phones[phone].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[phone].lines[line].status, Some(302), "{}", world.tail());
    line
}

#[test]
fn the_code_is_answered_302_and_who_follows_gets_the_call() {
    let (mut world, desk, mobile, _, bob) = talking(700);
    let line = redirected(&mut world, mobile);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "nothing is touched by the 302");
    assert!(world.engine.moves.live.is_empty() && !world.phones[desk].lines[0].is_over);
    world.phones[mobile].follow(line);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(world.phones[desk].lines[0].reason.contains("Call moved to mobile"));
    assert_eq!(world.engine.moves.recent.back().map(|view| view.trigger), Some(Trigger::Token));
    assert_eq!(world.engine.moves.hold_offs.len(), 1, "the old device is held off as ever");
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn another_device_or_user_cannot_follow_and_the_right_one_still_can() {
    let (mut world, _, mobile, tablet, bob) = talking(701);
    let line = redirected(&mut world, mobile);
    let token = world.phones[mobile].identifier(line);
    let unknown = world.phones[tablet].dial("m-0000112233445566778899aabbccddeeff");
    world.run(SECOND);
    let refused = |world: &World, phone: usize, line: usize| {
        let line = &world.phones[phone].lines[line];
        (line.status, line.phrase.clone(), line.retry_after)
    };
    let expected = refused(&world, tablet, unknown);
    assert_eq!(expected.0, Some(403), "{}", world.tail());
    for thief in [tablet, bob] {
        let line = world.phones[thief].dial(&token);
        world.run(SECOND);
        assert_eq!(refused(&world, thief, line), expected, "a stolen one is refused like one that never was");
    }
    let misused = |event: &&Event| matches!(event, Event::Security { what: "token_misused", .. });
    assert_eq!(world.events.iter().filter(misused).count(), 3, "and told like one");
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[mobile].follow(line);
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
}

#[test]
fn it_works_once() {
    let (mut world, _, mobile, _, _) = talking(702);
    let line = redirected(&mut world, mobile);
    world.phones[mobile].codecs = "9";
    world.phones[mobile].lines[line].sdp = world.phones[mobile].sdp(line, "sendrecv");
    world.phones[mobile].follow(line);
    world.run(SECOND);
    assert!(world.phones[mobile].lines[line].status.is_some_and(|status| status >= 400), "{}", world.tail());
    world.phones[mobile].codecs = "0 8 101";
    world.phones[mobile].lines[line].sdp = world.phones[mobile].sdp(line, "sendrecv");
    world.phones[mobile].lines[line].status = None;
    world.phones[mobile].follow(line);
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(403), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    let line = redirected(&mut world, mobile);
    world.phones[mobile].follow(line);
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
}

#[test]
fn it_works_for_a_minute_and_not_for_longer() {
    for (wait, status) in [(57, 200), (61, 403)] {
        let (mut world, _, mobile, _, _) = talking(703);
        let line = redirected(&mut world, mobile);
        world.run(wait * SECOND);
        world.phones[mobile].follow(line);
        world.run(SECOND);
        assert_eq!(world.phones[mobile].lines[line].status, Some(status), "{}", world.tail());
    }
}

#[test]
fn a_call_that_is_over_is_not_followed() {
    let (mut world, desk, mobile, _, _) = talking(704);
    let line = redirected(&mut world, mobile);
    world.phones[desk].bye(0);
    world.run(SECOND);
    world.phones[mobile].follow(line);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(403), "{}", world.tail());
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn what_is_refused_is_refused_at_once_and_without_an_identifier() {
    let (mut world, desk, mobile, _, bob) = talking(705);
    let line = redirected(&mut world, mobile);
    world.phones[mobile].follow(line);
    world.run(2 * SECOND);
    let minted = world.engine.moves.identifiers.len();
    let line = world.phones[desk].dial("*11");
    world.run(SECOND);
    let found = &world.phones[desk].lines[line];
    assert_eq!((found.status, found.moved_to.clone()), (Some(403), None), "{}", world.tail());
    assert!(found.retry_after.is_some_and(|seconds| (26..=29).contains(&seconds)), "{:?}", found.retry_after);
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(404), "it has the call itself");
    world.phones[bob].bye(0);
    world.run(SECOND);
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(404), "{}", world.tail());
    assert_eq!(world.engine.moves.identifiers.len(), minted);
}

#[test]
fn a_device_that_is_not_registered_is_not_sent_after_the_call() {
    let (mut world, _, mobile, _, _) = talking(706);
    world.phones[mobile].register(0);
    world.run(SECOND);
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(403), "{}", world.tail());
    assert!(world.engine.moves.identifiers.is_empty());
}

#[test]
fn a_call_that_rings_is_answered_by_who_follows() {
    let (mut world, desk, mobile, tablet, bob) = house(707);
    world.phones[desk].answer = Answer::Ring;
    (world.phones[mobile].answer, world.phones[tablet].answer) = (Answer::Silent, Answer::Silent);
    let call = world.phones[bob].dial("alice*desk");
    world.run(SECOND);
    let line = redirected(&mut world, mobile);
    assert!(world.phones[desk].lines[0].rings(), "{}", world.tail());
    world.phones[mobile].follow(line);
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[call].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert_eq!(world.engine.moves.hold_offs.len(), 0, "nobody had the call");
}
