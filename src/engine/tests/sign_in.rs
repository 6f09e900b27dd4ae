//! Users sign in at the keys of a shared device, and their calls come along (contract 16).

use std::collections::VecDeque;
use std::time::Duration;

use super::prompt::{PIN, Scene, people};
use super::world::settings;
use super::{Answer, World};
use crate::engine::command::{AccountChange, Command, CommandError, Reply, Secret, Subject};
use crate::engine::event::{Event, HotDeskEvent, MoveEvent};
use crate::engine::store::{Loaded, StoreOp};
use crate::engine::view::PageQuery;
use crate::engine::{Input, Settings};
use crate::media::relay::{MediaEvent, Prompt};
use crate::moving::Follow;
use crate::moving::star_code::Codes;
use crate::registrar::accounts::{Origin, PhcString, Trust};
use crate::registrar::hot_desk::SavedDesk;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

pub(super) fn following(follow: Follow) -> Settings {
    let mut settings = settings();
    settings.moving.follow = follow;
    settings
}

impl Scene {
    pub(super) fn following(seed: u64, follow: Follow) -> Self {
        let mut scene = Self::with(seed, following(follow), &Loaded::default(), "0 8 101");
        scene.world.phones[scene.lobby].answer = Answer::Ring;
        scene
    }

    /// Dials the sign-in code at the lobby and types; the line of that call.
    pub(super) fn signs_in(&mut self, extension: &str, pin: &str) -> usize {
        let line = self.world.phones[self.lobby].dial("*14");
        self.world.run(SECOND);
        self.press(&format!("{extension}#{pin}#"));
        self.world.run(2 * SECOND);
        line
    }

    pub(super) fn rings(&self) -> bool {
        self.world.phones[self.lobby].lines.iter().any(super::phone::Line::rings)
    }

    /// Who is signed in at the lobby.
    pub(super) fn user(&self) -> Option<String> {
        self.world.engine.core().hot_desks.user_at("rooms", "desk").map(str::to_owned)
    }

    fn told(&self) -> Vec<(HotDeskEvent, String, Option<&'static str>)> {
        let told = |event: &Event| match event {
            Event::HotDesk { what, user, reason, .. } => Some((*what, user.to_string(), *reason)),
            _ => None,
        };
        self.world.events.iter().filter_map(told).collect()
    }

    /// The desks as the store has them.
    fn saved(&self) -> Vec<SavedDesk> {
        let mut saved: Vec<SavedDesk> = Vec::new();
        for op in &self.world.stored {
            if let StoreOp::SaveHotDesk(desk) = op {
                saved.retain(|known| known.device != desk.device);
                saved.push((**desk).clone());
            }
        }
        saved.retain(|desk| desk.sign_in.is_some());
        saved
    }

    fn refusals(&self) -> Vec<&'static str> {
        let refused = |event: &Event| match event {
            Event::Move { what: MoveEvent::Refused, reason, .. } => *reason,
            _ => None,
        };
        self.world.events.iter().filter_map(refused).collect()
    }
}

#[test]
fn who_signs_in_has_the_call_offered_there_as_soon_as_the_phone_is_free() {
    for (seed, follow) in [(800, Follow::Offer), (801, Follow::Move)] {
        let mut scene = Scene::following(seed, follow);
        scene.world.captured = Some(VecDeque::new());
        let requests = scene.world.phones[scene.bob].requests.len();
        let line = scene.signs_in("1001", PIN);
        assert_eq!(scene.sounds(), [Prompt::Extension, Prompt::Pin, Prompt::Accepted]);
        let lobby = &scene.world.phones[scene.lobby];
        assert_eq!((lobby.lines[line].status, lobby.lines[line].is_over), (Some(200), true));
        assert!(lobby.lines[line].reason.contains("Signed in"), "{}", lobby.lines[line].reason);
        assert!(scene.rings(), "{}", scene.world.tail());
        scene.has_call("alice*desk");
        // It rings, whatever the policy: no microphone of a room opens by itself.
        let sent: Vec<String> =
            scene.world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into()).collect();
        let invite = sent.iter().rposition(|text| text.starts_with("INVITE sip:rooms-desk@")).unwrap();
        for order in ["answer-after", "autoanswer", "Answer-Mode"] {
            assert!(!sent[invite].contains(order), "{}", sent[invite]);
        }
        // Not before its other call was over, by its own word.
        let said = |what: &str| {
            let lines = scene.world.log.iter();
            lines
                .rev()
                .position(|line| line.contains(what))
                .unwrap_or_else(|| panic!("{}", scene.world.tail()))
        };
        assert!(said("phone 1 → SIP/2.0 200 OK (CSeq: 1 BYE") > said("INVITE sip:rooms-desk@"));
        scene.world.phones[scene.lobby].pick_up(line + 1);
        scene.world.run(2 * SECOND);
        scene.has_call("rooms*desk");
        assert!(scene.world.phones[scene.desk].lines[0].is_over);
        assert_eq!(scene.world.phones[scene.bob].requests.len(), requests, "the far side hears of nothing");
        assert!(scene.failures().iter().all(|row| row.count == 0), "{:?}", scene.failures());
        let shown = format!("{:?}{:?}", scene.world.events, scene.world.stored) + &scene.world.log.join("\n");
        assert!(!shown.contains(PIN), "the PIN is in a log");
        scene.world.phones[scene.bob].bye(0);
        scene.world.run(A_MINUTE);
        let last = scene.world.records[0].segments.last().unwrap();
        assert_eq!((&*last.device, last.trigger.as_deref()), ("rooms*desk", Some("follow")));
        assert_eq!(scene.world.records.len(), 1, "signing in is no call");
        scene.world.check_idle();
    }
}

#[test]
fn nothing_follows_unasked_and_a_device_of_ones_own_has_no_such_code() {
    let mut scene = Scene::following(802, Follow::Off);
    scene.signs_in("1001", PIN);
    assert_eq!(scene.sounds().last(), Some(&Prompt::Accepted));
    assert!(!scene.rings());
    scene.has_call("alice*desk");
    let mobile = scene.world.phone("alice", "mobile");
    scene.world.run(SECOND);
    let line = scene.world.phones[mobile].dial("*14");
    scene.world.run(SECOND);
    assert_eq!(scene.world.phones[mobile].lines[line].status, Some(404), "a number like any other");
    scene.end();

    let mut settings = following(Follow::Offer);
    settings.moving.codes = Codes { sign_in: None, ..Codes::default() };
    let mut scene = Scene::with(803, settings, &Loaded::default(), "0 8 101");
    let line = scene.world.phones[scene.lobby].dial("*14");
    scene.world.run(SECOND);
    assert_eq!(scene.world.phones[scene.lobby].lines[line].status, Some(404));
    scene.end();
}

#[test]
fn keys_come_by_info_too() {
    let mut scene = Scene::following(804, Follow::Offer);
    let line = scene.world.phones[scene.lobby].dial("*14");
    scene.world.run(SECOND);
    for digit in format!("1001#{PIN}#").chars() {
        let headers = [("Content-Type", "application/dtmf-relay")];
        let body = format!("Signal={digit}\r\nDuration=160\r\n");
        scene.world.phones[scene.lobby].request(line, &Method::Info, &headers, body.as_bytes());
        scene.world.run(Duration::from_millis(50));
    }
    scene.world.run(2 * SECOND);
    assert!(scene.rings(), "{}", scene.world.tail());
    assert!(!scene.world.phones[scene.bob].requests.iter().any(|method| method == "INFO"));
    scene.world.phones[scene.lobby].refuse(line + 1, 486);
    scene.world.run(SECOND);
    scene.has_call("alice*desk");
    scene.end();
}

#[test]
fn a_wrong_pin_is_told_and_counted_as_for_the_pull_code() {
    let mut scene = Scene::following(805, Follow::Offer);
    let line = scene.world.phones[scene.lobby].dial("*14");
    scene.world.run(SECOND);
    for entry in ["1001#0000#", "9999#4714#", "1002#4714#"] {
        scene.press(entry);
        scene.world.run(SECOND);
    }
    scene.world.run(2 * SECOND);
    assert!(scene.world.phones[scene.lobby].lines[line].is_over);
    assert!(!scene.sounds().contains(&Prompt::Accepted) && !scene.rings());
    let told = scene.world.events.iter();
    let told = told.filter(|event| matches!(event, Event::Security { what: "pin_wrong", .. })).count();
    assert_eq!(told, 3);
    // Two more there, by the other code; then nobody is believed by either.
    scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    for _ in 0..2 {
        scene.press("1001#1111#");
        scene.world.run(SECOND);
    }
    scene.world.run(A_MINUTE);
    scene.signs_in("1001", PIN);
    scene.world.run(5 * SECOND);
    assert!(!scene.sounds().contains(&Prompt::Accepted) && !scene.rings(), "{:?}", scene.sounds());
    scene.world.run(16 * A_MINUTE);
    scene.signs_in("1001", PIN);
    assert!(scene.rings(), "{}", scene.world.tail());
    scene.end();
}

#[test]
fn who_hangs_up_in_the_notes_has_signed_in_and_who_does_so_before_has_not() {
    let mut scene = Scene::following(806, Follow::Offer);
    let line = scene.world.phones[scene.lobby].dial("*14");
    scene.world.run(SECOND);
    scene.press(&format!("1001#{PIN}"));
    let port = scene.lobby_port();
    scene.world.input(Input::Media(MediaEvent::Dtmf { port, digit: '#' }));
    scene.world.phones[scene.lobby].bye(line);
    scene.world.run(2 * SECOND);
    assert!(!scene.rings() && !scene.sounds().contains(&Prompt::Accepted));

    let line = scene.world.phones[scene.lobby].dial("*14");
    scene.world.run(SECOND);
    scene.press(&format!("1001#{PIN}#"));
    assert_eq!(scene.sounds().last(), Some(&Prompt::Accepted));
    // Keys in the notes are nobody's.
    scene.press("5#");
    scene.world.phones[scene.lobby].bye(line);
    scene.world.run(SECOND);
    assert!(scene.rings(), "{}", scene.world.tail());
    scene.end();
}

#[test]
fn a_call_that_ends_while_its_user_signs_in_leaves_nothing_behind() {
    for (seed, after) in [(807, 0), (808, 1), (809, 2)] {
        let mut scene = Scene::following(seed, Follow::Offer);
        scene.world.phones[scene.lobby].dial("*14");
        scene.world.run(SECOND);
        let end = |world: &mut World, bob: usize| world.phones[bob].bye(0);
        let bob = scene.bob;
        scene.press("1001#4714");
        if after == 0 {
            end(&mut scene.world, bob);
        }
        let port = scene.lobby_port();
        scene.world.input(Input::Media(MediaEvent::Dtmf { port, digit: '#' }));
        if after == 1 {
            end(&mut scene.world, bob);
        }
        scene.world.run(Duration::from_millis(300));
        if after == 2 {
            end(&mut scene.world, bob);
        }
        scene.world.run(2 * SECOND);
        assert_eq!(scene.sounds().last(), Some(&Prompt::Accepted), "whoever signs in needs no call");
        assert!(!scene.rings());
        scene.world.run(A_MINUTE);
        scene.world.check_idle();
    }
}

#[test]
fn a_device_that_is_held_off_gets_the_call_by_no_sign_in() {
    let mut scene = Scene::following(810, Follow::Move);
    scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press(&format!("1001#{PIN}#"));
    scene.world.run(2 * SECOND);
    scene.has_call("rooms*desk");
    let mobile = scene.world.phone("alice", "mobile");
    scene.world.run(SECOND);
    scene.world.phones[mobile].dial("*11");
    scene.world.run(2 * SECOND);
    scene.has_call("alice*mobile");
    scene.signs_in("1001", PIN);
    assert_eq!(scene.sounds().last(), Some(&Prompt::Accepted));
    assert!(!scene.rings(), "{}", scene.world.tail());
    assert_eq!(scene.refusals(), ["hold_off"]);
    scene.has_call("alice*mobile");
    // Afterwards it may.
    scene.world.run(30 * SECOND);
    scene.signs_in("1001", PIN);
    assert!(scene.rings(), "{}", scene.world.tail());
    scene.end();
}

#[test]
fn a_sign_in_that_waits_for_its_device_ends_with_it() {
    // The BYE is answered by nobody: the call is offered when that is given up, and the desk keeps it.
    let mut scene = Scene::following(811, Follow::Offer);
    scene.world.phones[scene.lobby].dial("*14");
    scene.world.run(SECOND);
    scene.press(&format!("1001#{PIN}#"));
    scene.world.phones[scene.lobby].address.set_port(9);
    scene.world.run(3 * A_MINUTE);
    scene.has_call("alice*desk");
    scene.end();
}

#[test]
fn a_user_stays_signed_in_until_the_code_says_otherwise() {
    let mut scene = Scene::following(820, Follow::Off);
    scene.signs_in("1001", PIN);
    assert_eq!(scene.user().as_deref(), Some("alice"));
    assert_eq!(scene.saved().len(), 1);
    let line = scene.world.phones[scene.lobby].dial("*15");
    scene.world.run(2 * SECOND);
    assert_eq!(scene.sounds().last(), Some(&Prompt::Accepted));
    let lobby = &scene.world.phones[scene.lobby].lines[line];
    assert!(lobby.is_over && lobby.reason.contains("Signed out"), "{}", lobby.reason);
    assert_eq!((scene.user(), scene.saved().len()), (None, 0));
    // There is nobody any more.
    scene.world.phones[scene.lobby].dial("*15");
    scene.world.run(2 * SECOND);
    assert_eq!(scene.sounds().last(), Some(&Prompt::Refused));
    use HotDeskEvent::{SignedIn, SignedOut};
    assert_eq!(scene.told(), [(SignedIn, "alice".into(), None), (SignedOut, "alice".into(), Some("code"))]);
    assert!(!scene.rings());
    scene.end();
}

#[test]
fn another_user_replaces_the_first_and_a_user_has_one_desk() {
    let mut accounts = people();
    let mut rooms = (**accounts.by_name("rooms").unwrap()).clone();
    rooms.devices[1].trust = Trust::Shared;
    accounts.put(rooms).unwrap();
    let mut scene = Scene::following(821, Follow::Off);
    scene.world.reconfigure(following(Follow::Off), &accounts);
    scene.signs_in("1001", PIN);
    scene.signs_in("1002", "8523");
    assert_eq!(scene.user().as_deref(), Some("bob"));
    scene.signs_in("1001", "0000");
    assert_eq!(scene.user().as_deref(), Some("bob"), "a wrong PIN signs nobody out");
    scene.world.phones[scene.lobby].bye(2);
    scene.world.run(SECOND);
    let attic = scene.world.phone("rooms", "mobile");
    scene.world.run(SECOND);
    scene.world.phones[attic].dial("*14");
    scene.world.run(SECOND);
    let mut ports = scene.world.engine.core().port_legs.keys().copied();
    let port = ports.find(|port| scene.world.device_at(*port).as_deref() == Some("rooms*mobile")).unwrap();
    for digit in "1002#8523#".chars() {
        scene.world.input(Input::Media(MediaEvent::Dtmf { port, digit }));
        scene.world.run(Duration::from_millis(100));
    }
    scene.world.run(2 * SECOND);
    let desks = &scene.world.engine.core().hot_desks;
    assert_eq!((desks.user_at("rooms", "desk"), desks.desk_of("bob")), (None, Some("rooms*mobile")));
    let reasons: Vec<_> = scene.told().into_iter().map(|(_, user, reason)| (user, reason)).collect();
    let word = |user: &str, reason| (user.to_owned(), reason);
    let replaced = [word("alice", None), word("alice", Some("replaced")), word("bob", None)];
    assert_eq!(reasons[..3], replaced);
    assert_eq!(reasons[3..], [word("bob", Some("elsewhere")), word("bob", None)]);
    scene.end();
}

#[test]
fn a_sign_in_ends_with_its_time_its_pin_its_user_and_its_device() {
    let mut settings = following(Follow::Off);
    settings.moving.hot_desk = Duration::from_secs(60);
    let mut scene = Scene::with(822, settings.clone(), &Loaded::default(), "0 8 101");
    scene.signs_in("1001", PIN);
    scene.world.run(50 * SECOND);
    assert_eq!(scene.user().as_deref(), Some("alice"));
    scene.world.run(15 * SECOND);
    assert_eq!((scene.user(), scene.saved().len()), (None, 0));
    // Signing in again begins anew.
    scene.signs_in("1001", PIN);
    scene.world.reconfigure(settings.clone(), &people());
    assert_eq!(scene.user().as_deref(), Some("alice"), "nothing of it has changed");
    let mut accounts = people();
    let mut alice = (**accounts.by_name("alice").unwrap()).clone();
    let hash = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}0815", "A".repeat(39));
    alice.pin = Some(PhcString::parse(&hash).unwrap());
    accounts.put(alice).unwrap();
    scene.world.reconfigure(settings.clone(), &accounts);
    assert_eq!(scene.user(), None);
    scene.signs_in("1001", "0815");
    let mut rooms = (**accounts.by_name("rooms").unwrap()).clone();
    rooms.devices[0].trust = Trust::Personal;
    accounts.put(rooms).unwrap();
    scene.world.reconfigure(settings.clone(), &accounts);
    assert_eq!(scene.user(), None);
    scene.world.reconfigure(settings.clone(), &people());
    scene.signs_in("1002", "8523");
    let others = super::world::accounts(&["alice"]);
    scene.world.reconfigure(settings, &others);
    assert_eq!(scene.user(), None);
    let reasons: Vec<_> = scene.told().into_iter().filter_map(|(_, _, reason)| reason).collect();
    assert_eq!(reasons, ["expired", "pin_changed", "device_removed", "user_removed"]);
    assert!(scene.saved().is_empty());
}

#[test]
fn a_pin_that_changes_while_it_is_checked_signs_nobody_in() {
    let mut scene = Scene::following(823, Follow::Off);
    scene.world.phones[scene.lobby].dial("*14");
    scene.world.run(SECOND);
    scene.press(&format!("1001#{PIN}"));
    let port = scene.lobby_port();
    scene.world.input(Input::Media(MediaEvent::Dtmf { port, digit: '#' }));
    let mut accounts = people();
    let mut alice = (**accounts.by_name("alice").unwrap()).clone();
    let hash = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}0815", "A".repeat(39));
    alice.pin = Some(PhcString::parse(&hash).unwrap());
    accounts.put(alice).unwrap();
    scene.world.reconfigure(following(Follow::Off), &accounts);
    scene.world.run(3 * SECOND);
    assert_eq!((scene.user(), scene.sounds().last()), (None, Some(&Prompt::Refused)));
    scene.end();
}

#[test]
fn a_restart_keeps_who_is_signed_in_unless_the_pin_is_another() {
    let mut scene = Scene::following(824, Follow::Off);
    scene.signs_in("1001", PIN);
    let hot_desks = scene.saved();
    assert_eq!(hot_desks[0].device.as_ref(), "rooms*desk");
    assert!(!format!("{hot_desks:?}").contains(PIN), "the store knows no PIN");
    scene.end();
    let loaded = Loaded { hot_desks, ..Loaded::default() };
    let scene = Scene::with(825, following(Follow::Off), &loaded, "0 8 101");
    assert_eq!(scene.user().as_deref(), Some("alice"));
    scene.end();
    let world =
        World::with(826, following(Follow::Off), super::world::accounts(&["alice", "rooms"]), &loaded);
    assert!(world.engine.core().hot_desks.is_empty());
    // One whose time is over goes.
    let mut over = loaded;
    over.hot_desks[0].sign_in.as_mut().unwrap().length_ms = 0;
    let scene = Scene::with(827, following(Follow::Off), &over, "0 8 101");
    assert_eq!((scene.user(), scene.saved().len()), (None, 0));
    scene.end();
}

#[test]
fn who_is_signed_in_is_shown_and_may_be_signed_out_by_command() {
    let mut scene = Scene::following(828, Follow::Off);
    scene.signs_in("1001", PIN);
    let (alice, bob) = (Subject::User("alice".into()), Subject::User("bob".into()));
    let show = || Command::ShowUser { name: "alice".into() };
    let Reply::User(view) = scene.world.ask(alice.clone(), show()) else { panic!() };
    let desk = view.hot_desk.expect("it is shown");
    assert_eq!((&*desk.device, desk.until.0.0 - desk.since.0.0), ("rooms*desk", 12 * 3_600_000));
    let list = Command::ListRegistrations { user: Some("rooms".into()), page: PageQuery::default() };
    let Reply::Registrations(page) = scene.world.ask(Subject::Admin, list) else { panic!() };
    assert_eq!(page.items[0].signed_in.as_deref(), Some("alice"));
    let Reply::User(rooms) = scene.world.ask(Subject::Admin, Command::ShowUser { name: "rooms".into() })
    else {
        panic!()
    };
    assert_eq!(rooms.devices[0].signed_in.as_deref(), Some("alice"));
    let out = || Command::SignOut { user: "alice".into() };
    let not_found = Reply::Error(CommandError::NotFound);
    assert_eq!(scene.world.ask(bob, out()), not_found, "no more than of one who is not signed in");
    assert_eq!(scene.world.ask(alice, out()), Reply::Done);
    assert_eq!(scene.user(), None);
    assert_eq!(scene.world.ask(Subject::Admin, out()), not_found);
    scene.end();
}

#[test]
fn a_pin_or_a_user_that_a_command_changes_ends_the_sign_in() {
    let hash = |pin: &str| format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}{pin}", "A".repeat(39));
    let mut carol = (**super::world::accounts(&["x", "y", "z", "carol"]).by_name("carol").unwrap()).clone();
    (carol.origin, carol.pin) = (Origin::Store, Some(PhcString::parse(&hash("7777")).unwrap()));
    let mut all = people();
    all.put(carol.clone()).unwrap();
    let loaded = Loaded { accounts: vec![carol], ..Loaded::default() };
    let mut world = World::with(829, following(Follow::Off), all, &loaded);
    let (desk, lobby, bob) =
        (world.phone("alice", "desk"), world.phone("rooms", "desk"), world.phone("bob", "desk"));
    world.run(SECOND);
    let mut scene = Scene { world, desk, lobby, bob };
    scene.signs_in("1004", "7777");
    assert_eq!(scene.user().as_deref(), Some("carol"));
    let change = |scene: &mut Scene, change| {
        let reply = scene.world.ask(Subject::Admin, Command::ChangeAccount(change));
        assert_eq!(reply, Reply::Done);
    };
    let pin = |pin: &str| AccountChange::SetPin { user: "carol".into(), pin: Some(Secret::from(hash(pin))) };
    change(&mut scene, pin("8888"));
    assert_eq!(scene.user(), None);
    scene.signs_in("1004", "8888");
    assert_eq!(scene.user().as_deref(), Some("carol"));
    change(&mut scene, AccountChange::Remove { user: "carol".into() });
    assert_eq!(scene.user(), None);
    let reasons: Vec<_> = scene.told().into_iter().filter_map(|(_, _, reason)| reason).collect();
    assert_eq!(reasons, ["pin_changed", "user_removed"]);
}
