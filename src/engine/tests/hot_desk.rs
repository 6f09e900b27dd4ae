//! While a user is signed in at a shared device it is a phone of that user: it rings, and calls in that name.

use std::collections::VecDeque;
use std::time::Duration;

use super::prompt::{PIN, Scene, people};
use super::sign_in::following;
use super::world::{accounts, leads, trunk_to};
use super::{Answer, World};
use crate::call::rules::{Pattern, Rule};
use crate::engine::command::{Command, CommandError, MoveMode, Reply, StartMove, Subject};
use crate::engine::event::{CallEvent, Event};
use crate::engine::store::Loaded;
use crate::engine::view::PageQuery;
use crate::media::relay::Prompt;
use crate::moving::{Follow, Trigger};
use crate::registrar::accounts::Trust;
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
    let moves = Command::ListMoves { user: None, page: PageQuery::default() };
    let Reply::Moves(seen) = scene.world.ask(Subject::User("alice".into()), moves) else { panic!() };
    let shown = (seen.items[0].from_device.as_deref(), seen.items[0].to_device.as_deref());
    assert_eq!(shown, (Some("rooms*desk"), Some("mobile")), "the move is hers, too");
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

#[test]
fn its_user_sends_a_call_to_it_and_nobody_else_does() {
    let mut scene = signed_in(855);
    scene.world.phones[scene.bob].dial("alice*desk");
    scene.world.run(SECOND);
    let desk = ringing(&scene.world, scene.desk).unwrap();
    scene.world.phones[scene.desk].pick_up(desk);
    scene.world.run(SECOND);
    let send = |user: &str| {
        let start = StartMove {
            user: user.into(),
            call: None,
            to_device: Some("rooms*desk".into()),
            mode: MoveMode::AutoAnswer,
            trigger: Trigger::Http,
        };
        Command::StartMove(start)
    };
    let refused = scene.world.ask(Subject::User("bob".into()), send("bob"));
    assert!(matches!(refused, Reply::Error(CommandError::Refused { .. })), "{refused:?}");
    let sent = scene.world.ask(Subject::User("alice".into()), send("alice"));
    assert!(matches!(sent, Reply::Move(_)), "{sent:?}");
    scene.world.run(SECOND);
    let lobby = ringing(&scene.world, scene.lobby).expect("it rings, and answers not by itself");
    scene.world.phones[scene.lobby].pick_up(lobby);
    scene.world.run(2 * SECOND);
    scene.has_call("rooms*desk");
    // Signed out, it is no phone of hers.
    scene.world.phones[scene.lobby].dial("*15");
    scene.world.run(2 * SECOND);
    let gone = scene.world.ask(Subject::User("alice".into()), send("alice"));
    assert!(matches!(gone, Reply::Error(CommandError::Refused { .. })), "{gone:?}");
    scene.world.phones[scene.lobby].bye(lobby);
    ends(scene);
}

#[test]
fn rules_for_a_caller_are_those_of_who_is_signed_in() {
    let mut settings = following(Follow::Off);
    let rule =
        Rule { from: Some(Pattern(regex::Regex::new("^alice$").unwrap())), ..leads("^77$", &["user:bob"]) };
    settings.call.routes = vec![rule];
    let mut scene = Scene::with(856, settings, &Loaded::default(), "0 8 101");
    scene.world.phones[scene.bob].bye(0);
    scene.world.run(SECOND);
    let dials = |scene: &mut Scene| {
        let line = scene.world.phones[scene.lobby].dial("77");
        scene.world.run(SECOND);
        let status = scene.world.phones[scene.lobby].lines[line].status;
        if status == Some(200) {
            scene.world.phones[scene.lobby].bye(line);
            scene.world.run(SECOND);
        }
        status
    };
    assert_eq!(dials(&mut scene), Some(404));
    scene.signs_in("1001", PIN);
    assert_eq!(dials(&mut scene), Some(200));
    scene.world.phones[scene.lobby].dial("*15");
    scene.world.run(2 * SECOND);
    assert_eq!(dials(&mut scene), Some(404));
    ends(scene);
}

#[test]
fn two_hot_desks_of_one_account_talk_and_the_record_has_both_to_the_end() {
    let mut all = people();
    let mut rooms = (**all.by_name("rooms").unwrap()).clone();
    rooms.devices[1].trust = Trust::Shared;
    all.put(rooms).unwrap();
    let mut scene = signed_in(857);
    scene.world.reconfigure(following(Follow::Off), &all);
    let attic = scene.world.phone("rooms", "mobile");
    scene.world.run(SECOND);
    let call = scene.world.phones[scene.lobby].dial("rooms*mobile");
    scene.world.run(2 * SECOND);
    assert_eq!(scene.world.heard_by("rooms*mobile"), ["rooms*desk"], "{}", scene.world.tail());
    scene.world.phones[scene.lobby].bye(call);
    scene.world.run(SECOND);
    let segments = &scene.world.records[0].segments;
    let devices: Vec<_> = segments.iter().map(|segment| (&*segment.device, segment.end)).collect();
    assert_eq!(devices.iter().map(|(device, _)| *device).collect::<Vec<_>>(), ["rooms*desk", "rooms*mobile"]);
    assert_eq!(devices[0].1, devices[1].1, "neither ended before the other");
    assert!(scene.world.phones[attic].lines[0].is_over);
    ends(scene);
}
