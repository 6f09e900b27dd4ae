//! While a user is signed in at a shared device it is a phone of that user: it rings, and calls in that name.

use std::collections::VecDeque;
use std::time::Duration;

use super::prompt::{PIN, Scene, people};
use super::sign_in::following;
use super::world::{accounts, leads, trunk_to};
use super::{Answer, World};
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::event::{CallEvent, Event};
use crate::engine::store::Loaded;
use crate::engine::view::PageQuery;
use crate::media::relay::Prompt;
use crate::moving::Follow;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);
const ALICE: &str = "\"Alice\" <sip:1001@example.org>";

/// Alice is signed in at the lobby, and nobody talks.
fn signed_in(seed: u64) -> Scene {
    let mut scene = Scene::following(seed, Follow::Off);
    scene.world.phones[scene.bob].bye(0);
    scene.world.run(SECOND);
    scene.world.phones[scene.desk].answer = Answer::Ring;
    scene.signs_in("1001", PIN);
    assert_eq!(scene.user().as_deref(), Some("alice"));
    scene.world.records.clear();
    scene.world.events.clear();
    scene
}

/// The line of a phone that rings.
fn ringing(world: &World, phone: usize) -> Option<usize> {
    world.phones[phone].lines.iter().position(super::phone::Line::rings)
}

fn ends(mut scene: Scene) {
    scene.world.run(A_MINUTE);
    scene.world.check_idle();
}

#[test]
fn a_call_to_the_user_rings_there_too_and_is_the_users() {
    let mut scene = signed_in(850);
    let call = scene.world.phones[scene.bob].dial("alice");
    scene.world.run(SECOND);
    assert!(ringing(&scene.world, scene.desk).is_some(), "{}", scene.world.tail());
    let lobby = ringing(&scene.world, scene.lobby).expect("the hot desk rings");
    scene.world.phones[scene.lobby].pick_up(lobby);
    scene.world.run(SECOND);
    scene.has_call("rooms*desk");
    assert!(ringing(&scene.world, scene.desk).is_none(), "the others do not any more");
    assert_eq!(scene.world.phones[scene.bob].lines[call].identity.as_deref(), Some(ALICE), "not the room");
    // She sees it, and hears of it; the room's own login does not.
    let list = || Command::ListCalls { user: None, page: PageQuery::default() };
    let Reply::Calls(seen) = scene.world.ask(Subject::User("alice".into()), list()) else { panic!() };
    let at_desk = seen.items[0].legs.iter().find(|leg| leg.signed_in.as_deref() == Some("alice")).unwrap();
    assert_eq!(at_desk.device.as_deref(), Some("desk"), "she sees where she talks");
    let Reply::Calls(seen) = scene.world.ask(Subject::User("rooms".into()), list()) else { panic!() };
    assert!(seen.items.is_empty());
    let answered = |event: &&Event| matches!(event, Event::Call { what: CallEvent::Answered, .. });
    let told = scene.world.events.iter().rfind(answered).unwrap();
    assert!(told.is_seen_by(&Subject::User("alice".into())), "{told:?}");
    // It moves as any other of hers, signed in or not.
    scene.world.phones[scene.lobby].dial("*15");
    scene.world.run(2 * SECOND);
    let mobile = scene.world.phone("alice", "mobile");
    scene.world.run(SECOND);
    scene.world.phones[mobile].dial("*11");
    scene.world.run(2 * SECOND);
    scene.has_call("alice*mobile");
    scene.world.phones[scene.bob].bye(call);
    scene.world.run(SECOND);
    let record = &scene.world.records[0];
    let devices: Vec<_> = record.segments.iter().map(|segment| &*segment.device).collect();
    assert_eq!(devices, ["bob*desk", "rooms*desk", "alice*mobile"]);
    ends(scene);
}

#[test]
fn a_call_from_it_is_the_users() {
    let mut scene = signed_in(851);
    let line = scene.world.phones[scene.lobby].dial("bob");
    scene.world.run(SECOND);
    assert_eq!(scene.world.phones[scene.lobby].lines[line].status, Some(200), "{}", scene.world.tail());
    let shown = scene.world.phones[scene.bob].lines.last().unwrap();
    assert_eq!(shown.identity.as_deref(), Some(ALICE));
    // By the push code it goes where Alice wants it.
    let mobile = scene.world.phone("alice", "mobile");
    scene.world.run(SECOND);
    scene.world.phones[scene.lobby].dial("*12*mobile");
    scene.world.run(2 * SECOND);
    scene.has_call("alice*mobile");
    let bob = scene.world.phones[scene.bob].lines.len() - 1;
    scene.world.phones[scene.bob].bye(bob);
    scene.world.run(SECOND);
    let record = &scene.world.records[0];
    assert_eq!((&*record.from, record.user.as_deref()), ("alice", Some("alice")));
    assert_eq!(record.first_device.as_deref(), Some("rooms*desk"));
    assert!(ringing(&scene.world, mobile).is_none());
    // Afterwards it is the room again.
    scene.world.phones[scene.lobby].dial("*15");
    scene.world.run(2 * SECOND);
    scene.world.phones[scene.lobby].dial("bob");
    scene.world.run(SECOND);
    let shown = scene.world.phones[scene.bob].lines.last().unwrap();
    assert_eq!(shown.identity.as_deref(), Some("\"Rooms\" <sip:1003@example.org>"));
    let bob = scene.world.phones[scene.bob].lines.len() - 1;
    scene.world.phones[scene.bob].bye(bob);
    ends(scene);
}

#[test]
fn what_is_for_one_device_or_for_reading_does_not_come_to_it() {
    let mut scene = signed_in(852);
    for number in ["alice*desk", "1001*desk"] {
        let call = scene.world.phones[scene.bob].dial(number);
        scene.world.run(SECOND);
        assert!(ringing(&scene.world, scene.desk).is_some(), "{number}");
        assert!(!scene.rings(), "{number}");
        scene.world.phones[scene.bob].cancel(call);
        scene.world.run(SECOND);
    }
    let texts = scene.world.phones[scene.lobby].texts.len();
    scene.world.phones[scene.bob].request_to("alice", &Method::Message, &[]);
    scene.world.run(SECOND);
    assert_eq!(scene.world.phones[scene.lobby].texts.len(), texts, "texts stay off phones of a room");
    // It does not ring itself.
    let call = scene.world.phones[scene.lobby].dial("alice");
    scene.world.run(SECOND);
    assert!(ringing(&scene.world, scene.desk).is_some() && !scene.rings());
    scene.world.phones[scene.lobby].cancel(call);
    scene.world.run(SECOND);
    // Calls to the room ring there as before.
    let call = scene.world.phones[scene.bob].dial("1003");
    scene.world.run(SECOND);
    assert!(scene.rings());
    scene.world.phones[scene.bob].cancel(call);
    ends(scene);
}

#[test]
fn the_pull_code_asks_who_it_is_all_the_same() {
    let mut scene = signed_in(853);
    scene.world.phones[scene.bob].dial("alice*desk");
    scene.world.run(SECOND);
    let desk = ringing(&scene.world, scene.desk).unwrap();
    scene.world.phones[scene.desk].pick_up(desk);
    scene.world.run(SECOND);
    scene.world.media.clear();
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(2 * SECOND);
    assert_eq!(scene.sounds(), [Prompt::Extension]);
    scene.has_call("alice*desk");
    scene.press(&format!("1001#{PIN}#"));
    scene.world.run(SECOND);
    scene.has_call("rooms*desk");
    scene.world.phones[scene.lobby].bye(line);
    ends(scene);
}

#[test]
fn a_call_for_help_is_the_phone_s_own() {
    let mut settings = following(Follow::Off);
    let peer = "203.0.113.9:5060".parse().unwrap();
    trunk_to(&mut settings, peer);
    settings.call.routes = vec![leads("^(112|001)$", &["trunk:outside"])];
    let mut all = people();
    all.put((**accounts(&["x", "y", "z", "help"]).by_name("help").unwrap()).clone()).unwrap();
    let mut world = World::with(854, settings, all, &Loaded::default());
    let help = world.outsider("help", peer);
    let (desk, lobby, bob) =
        (world.phone("alice", "desk"), world.phone("rooms", "desk"), world.phone("bob", "desk"));
    world.captured = Some(VecDeque::new());
    world.run(SECOND);
    let mut scene = Scene { world, desk, lobby, bob };
    scene.signs_in("1001", PIN);
    assert_eq!(scene.user().as_deref(), Some("alice"));
    for (number, caller) in [("001", "1001"), ("112", "1003")] {
        scene.world.heard_by_phones.clear();
        scene.world.phones[lobby].dial(number);
        scene.world.run(SECOND);
        let texts = scene.world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes));
        let invites: Vec<_> = texts.filter(|text| text.starts_with("INVITE sip:")).collect();
        let from = invites[0].lines().find(|line| line.starts_with("From:")).unwrap();
        assert!(from.contains(&format!("<sip:{caller}@")), "{number}: {from}");
        let line = scene.world.phones[help].lines.len() - 1;
        scene.world.phones[help].bye(line);
        scene.world.run(SECOND);
    }
    ends(scene);
}
