//! The old device is told where its call went, and how to have it back (contract 41).

use std::time::Duration;

use super::world::{accounts, settings};
use super::{World, three_phones};
use crate::engine::event::{Event, MoveEvent};
use crate::engine::store::Loaded;
use crate::moving::Notice;
use crate::moving::timeline::{Heading, Side, What};
use crate::wire::sip::{Method, StatusCode};

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);
const WITH_MESSAGE: &str = "INVITE, ACK, BYE, CANCEL, UPDATE, INFO, REFER, NOTIFY, MESSAGE";

/// Alice talks with Bob at her desk phone, which takes texts, and pulls the call to her mobile.
fn moved(mut world: World, [desk, mobile, _]: [usize; 3]) -> World {
    world.phones[desk].allow = WITH_MESSAGE;
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    world
}

fn house(seed: u64, notice: Notice, hold_off: Duration) -> (World, [usize; 3]) {
    let mut settings = settings();
    (settings.moving.notice, settings.moving.hold_off) = (notice, hold_off);
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let phones = [("alice", "desk"), ("alice", "mobile"), ("bob", "desk")];
    let phones = phones.map(|(user, device)| world.phone(user, device));
    (world, phones)
}

#[test]
fn the_old_device_is_told_where_its_call_went_and_what_takes_it_back() {
    let (world, phones) = house(300, Notice::Message, 30 * SECOND);
    let mut world = moved(world, phones);
    let [desk, mobile, bob] = phones;
    let told = "Call moved to mobile. To undo, dial *13 on mobile. In 30 s you can dial *11 here.";
    assert_eq!(world.phones[desk].texts, [told], "{}", world.tail());
    assert!(world.phones[mobile].texts.is_empty() && world.phones[bob].texts.is_empty());
    let timeline = world.saved_moves().next().and_then(|view| view.timeline).unwrap();
    let sent = What::Request { side: Side::Old, way: Heading::Out, method: "MESSAGE".into() };
    assert!(timeline.entries.iter().any(|entry| entry.what == sent), "{timeline:?}");
    let security = world.events.iter().find_map(|event| match event {
        Event::Security { what: "call_moved", user, source, detail, .. } => Some((user, source, *detail)),
        _ => None,
    });
    let (user, source, detail) = security.expect("a security event");
    assert_eq!((user.as_deref(), detail), (Some("alice"), "star_code"));
    assert_eq!(*source, Some(world.phones[mobile].address), "where the call is now");
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_new_device_takes_the_move_back_by_the_code_that_the_notice_names() {
    let (world, phones) = house(301, Notice::Message, 30 * SECOND);
    let mut world = moved(world, phones);
    let [desk, mobile, bob] = phones;
    // The old device itself may not, by this code as by none.
    let own = world.phones[desk].dial("*13");
    world.run(SECOND);
    let line = &world.phones[desk].lines[own];
    assert_eq!((line.status, line.retry_after.is_some()), (Some(403), true), "{}", world.tail());
    let undo = world.phones[mobile].dial("%2A13#");
    world.run(2 * SECOND);
    let line = &world.phones[mobile].lines[undo];
    assert_eq!((line.status, line.phrase.as_str()), (Some(480), "Call moved to desk"), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert!(world.events.iter().any(|event| matches!(event, Event::Move { what: MoveEvent::Undone, .. })));
    assert!(world.phones[mobile].texts.is_empty(), "it does not take texts");
    // What is taken back stays with its device until that one moves it.
    let again = world.phones[mobile].dial("*13");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[again].status, Some(403), "the mobile is the old device now");
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn without_a_hold_off_the_old_device_may_take_it_back_itself() {
    let (world, phones) = house(302, Notice::Message, Duration::ZERO);
    let mut world = moved(world, phones);
    assert_eq!(world.phones[phones[0]].texts, ["Call moved to mobile. To take it back, dial *11 here."]);
    let undo = world.phones[phones[2]].dial("*13");
    world.run(SECOND);
    assert_eq!(world.phones[phones[2]].lines[undo].status, Some(404), "nothing was moved to Bob");
}

#[test]
fn who_does_not_take_texts_gets_none() {
    let (world, phones) = house(303, Notice::Off, 30 * SECOND);
    let world = moved(world, phones);
    assert!(world.phones[phones[0]].texts.is_empty(), "it is turned off");

    let (mut world, desk, mobile, _) = three_phones(304);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert!(!world.phones[desk].requests.iter().any(|method| method == "MESSAGE"), "its Allow has none");
}

#[test]
fn who_answers_405_is_asked_once_and_not_again() {
    let (mut world, phones) = house(305, Notice::Message, Duration::ZERO);
    let [desk, mobile, _] = phones;
    world.phones[desk].text_answer = Some(StatusCode::METHOD_NOT_ALLOWED);
    let mut world = moved(world, phones);
    for _ in 0..2 {
        world.phones[desk].dial("*11");
        world.run(2 * SECOND);
        world.phones[mobile].dial("*11");
        world.run(2 * SECOND);
    }
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!(world.phones[desk].texts.len(), 1);
}

#[test]
fn watchers_on_the_old_device_see_where_the_call_is() {
    let (mut world, desk, mobile, _) = three_phones(306);
    let headers = [("Event", "dialog"), ("Accept", "application/dialog-info+xml")];
    world.phones[desk].request_to("alice", &Method::Subscribe, &headers);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    let (_, body) = world.phones[desk].notified.last().expect("a NOTIFY");
    assert!(body.contains(">confirmed<") && body.contains("mobile"), "{body}");
    assert!(body.contains("hold-off") && !body.contains("call-id="), "and that it cannot be taken: {body}");
}
