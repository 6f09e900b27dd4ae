//! A shared device asks for extension and PIN (contract 11).

use std::time::Duration;

use super::world::{accounts, settings};
use super::{Answer, World};
use crate::engine::event::Event;
use crate::engine::store::{FailureCounter, Loaded, StoreOp};
use crate::engine::{Input, Settings};
use crate::media::relay::{MediaCommand, MediaEvent, PortId, Prompt, Sound};
use crate::registrar::accounts::{Accounts, PhcString, Trust};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);
pub(super) const PIN: &str = "4714";

/// Alice and Bob with PINs; a room whose desk is shared.
pub(super) fn people() -> Accounts {
    let mut accounts = accounts(&["alice", "bob", "rooms"]);
    for (name, pin) in [("alice", PIN), ("bob", "8523"), ("rooms", "")] {
        let mut account = (**accounts.by_name(name).unwrap()).clone();
        if !pin.is_empty() {
            // The simulated check of a secret looks at the end of the hash.
            let hash = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}{pin}", "A".repeat(39));
            account.pin = Some(PhcString::parse(&hash).unwrap());
        } else {
            account.devices[0].trust = Trust::Shared;
        }
        accounts.put(account).unwrap();
    }
    accounts
}

pub(super) struct Scene {
    pub(super) world: World,
    pub(super) desk: usize,
    pub(super) lobby: usize,
    pub(super) bob: usize,
}

impl Scene {
    /// Alice's desk talks with Bob; the lobby's phone is registered.
    pub(super) fn talking(seed: u64) -> Self {
        Self::with(seed, settings(), &Loaded::default(), "0 8 101")
    }

    pub(super) fn with(seed: u64, settings: Settings, loaded: &Loaded, codecs: &'static str) -> Self {
        let mut world = World::with(seed, settings, people(), loaded);
        let desk = world.phone("alice", "desk");
        let (lobby, bob) = (world.phone("rooms", "desk"), world.phone("bob", "desk"));
        (world.phones[desk].codecs, world.phones[bob].codecs) = (codecs, codecs);
        world.phones[desk].dial("bob");
        world.run(2 * SECOND);
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
        Self { world, desk, lobby, bob }
    }

    pub(super) fn lobby_port(&self) -> PortId {
        let ports = self.world.engine.core().port_legs.keys().copied();
        let mut of_lobby = ports.filter(|port| self.world.device_at(*port).as_deref() == Some("rooms*desk"));
        of_lobby.next().expect("the lobby has a port")
    }

    pub(super) fn press(&mut self, digits: &str) {
        for digit in digits.chars() {
            let port = self.lobby_port();
            self.world.input(Input::Media(MediaEvent::Dtmf { port, digit }));
            self.world.run(Duration::from_millis(100));
        }
    }

    pub(super) fn sounds(&self) -> Vec<Prompt> {
        let prompt = |command: &MediaCommand| match command {
            MediaCommand::Play { sound: Sound::Prompt(prompt), .. } => Some(*prompt),
            _ => None,
        };
        self.world.media.iter().filter_map(prompt).collect()
    }

    pub(super) fn failures(&self) -> Vec<FailureCounter> {
        let mut last: Vec<FailureCounter> = Vec::new();
        for op in &self.world.stored {
            if let StoreOp::SaveFailures(rows) = op {
                for row in rows {
                    last.retain(|known| known.key != row.key);
                    last.push(row.clone());
                }
            }
        }
        last
    }

    #[track_caller]
    pub(super) fn has_call(&self, device: &str) {
        assert_eq!(self.world.heard_by("bob*desk"), [device], "{}", self.world.tail());
        assert_eq!(self.world.heard_by(device), ["bob*desk"]);
    }

    #[track_caller]
    pub(super) fn end(mut self) {
        self.world.phones[self.bob].bye(0);
        self.world.run(A_MINUTE);
        assert_eq!(self.world.records.len(), 1, "one call, one record: none of the prompt");
        self.world.check_idle();
    }
}

#[test]
fn extension_and_pin_bring_the_call_to_a_shared_device() {
    let mut scene = Scene::talking(200);
    let requests = scene.world.phones[scene.bob].requests.len();
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    assert_eq!(scene.world.phones[scene.lobby].lines[line].status, Some(200), "{}", scene.world.tail());
    assert_eq!(scene.sounds(), [Prompt::Extension]);
    assert!(scene.world.heard_by("rooms*desk").is_empty(), "nobody hears what is typed");
    let listens = scene
        .world
        .media
        .iter()
        .any(|command| matches!(command, MediaCommand::Configure { ingress, .. } if ingress.report_dtmf));
    assert!(listens);
    scene.press("77*1001#");
    assert_eq!(scene.sounds(), [Prompt::Extension, Prompt::Pin]);
    scene.press("4714#");
    scene.world.run(SECOND);
    scene.has_call("rooms*desk");
    assert!(scene.world.phones[scene.desk].lines[0].is_over);
    assert_eq!(scene.world.phones[scene.bob].requests.len(), requests, "the far side hears of nothing");
    assert_eq!(scene.world.engine.moves.hold_offs.len(), 1);
    let bob = "\"Bob\" <sip:1002@example.org>";
    assert_eq!(scene.world.phones[scene.lobby].lines[line].identity.as_deref(), Some(bob));
    assert!(scene.failures().iter().all(|row| row.count == 0), "{:?}", scene.failures());
    let shown = format!("{:?}{:?}", scene.world.events, scene.world.stored) + &scene.world.log.join("\n");
    assert!(!shown.contains(PIN), "the PIN is in a log");
    // What the room's keypad says from now on is for the far side, and tells us nothing.
    let last = scene.world.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { port, ingress } if *port == scene.lobby_port() => Some(ingress.report_dtmf),
        _ => None,
    });
    assert_eq!(last, Some(false));
    // Alice takes it along again; the room is held off then.
    let mobile = scene.world.phone("alice", "mobile");
    scene.world.run(SECOND);
    let back = scene.world.phones[mobile].dial("*11");
    scene.world.run(SECOND);
    assert_eq!(scene.world.phones[mobile].lines[back].status, Some(200), "{}", scene.world.tail());
    scene.has_call("alice*mobile");
    assert!(scene.world.phones[scene.lobby].lines[line].is_over);
    scene.world.phones[scene.bob].bye(0);
    scene.world.run(A_MINUTE);
    let devices: Vec<_> = scene.world.records[0].segments.iter().map(|s| s.device.clone()).collect();
    assert_eq!(devices, ["alice*desk", "bob*desk", "rooms*desk", "alice*mobile"]);
    assert!(scene.world.records[0].segments.iter().all(|segment| segment.end.is_some()));
    assert_eq!(scene.world.records.len(), 1);
    scene.world.check_idle();
}

#[test]
fn digits_come_by_info_too_and_not_twice() {
    let mut scene = Scene::talking(201);
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    for (index, digit) in "1001#4714#".chars().enumerate() {
        let (kind, body) = match index % 2 {
            0 => ("application/dtmf-relay", format!("Signal= {digit}\r\nDuration=160\r\n")),
            _ => ("application/dtmf", digit.to_string()),
        };
        let headers = [("Content-Type", kind)];
        scene.world.phones[scene.lobby].request(line, &Method::Info, &headers, body.as_bytes());
        scene.world.run(Duration::from_millis(50));
        // The same press once more, as some phones tell it.
        if digit != '#' {
            scene.press(&digit.to_string());
        }
    }
    scene.world.run(SECOND);
    scene.has_call("rooms*desk");
    let infos = scene.world.phones[scene.lobby].finals.iter().filter(|(method, ..)| method == "INFO");
    assert!(infos.clone().count() == 10 && infos.clone().all(|(_, status, _)| *status == 200));
    assert!(!scene.world.phones[scene.bob].requests.iter().any(|method| method == "INFO"));
    scene.end();
}

#[test]
fn three_wrong_entries_and_the_device_is_hung_up() {
    for (number, pin) in [("1001", "0000"), ("9999", "4714"), ("1002", "4714"), ("", "")] {
        let mut scene = Scene::talking(202);
        let line = scene.world.phones[scene.lobby].dial("*11");
        scene.world.run(SECOND);
        for _ in 0..3 {
            scene.press(&format!("{number}#{pin}#"));
            scene.world.run(SECOND);
        }
        scene.world.run(SECOND);
        use Prompt::{Extension, Pin, Refused};
        let once = [Extension, Pin, Refused];
        assert_eq!(scene.sounds(), [once, once, once].concat(), "{number}");
        assert!(scene.world.phones[scene.lobby].lines[line].is_over);
        scene.has_call("alice*desk");
        let told = scene
            .world
            .events
            .iter()
            .filter(|event| matches!(event, Event::Security { what: "pin_wrong", .. }));
        assert_eq!(told.count(), 3);
        assert!(scene.failures().iter().any(|row| &*row.key == "device rooms*desk" && row.count == 3));
        scene.end();
    }
}

#[test]
fn keys_pressed_ahead_of_the_questions_count() {
    let mut scene = Scene::talking(214);
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    let port = scene.lobby_port();
    for digit in format!("1001#0000#1001#1111#1001#{PIN}#").chars() {
        scene.world.input(Input::Media(MediaEvent::Dtmf { port, digit }));
    }
    scene.world.run(SECOND);
    scene.has_call("rooms*desk");
    assert!(!scene.world.phones[scene.lobby].lines[line].is_over);
    scene.end();

    let mut scene = Scene::talking(215);
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    let port = scene.lobby_port();
    for digit in "1001#0000#".repeat(3).chars().chain("7".repeat(500).chars()) {
        scene.world.input(Input::Media(MediaEvent::Dtmf { port, digit }));
    }
    scene.world.run(5 * SECOND);
    assert!(scene.world.phones[scene.lobby].lines[line].is_over, "{}", scene.world.tail());
    scene.has_call("alice*desk");
    scene.end();
}

#[test]
fn after_five_wrong_ones_the_right_one_is_wrong_too_even_over_a_restart() {
    let mut scene = Scene::talking(203);
    // Three, and two more by another hand; then nobody is believed.
    for pins in [&["0000", "1111", "2222"][..], &["3333", "4444", PIN], &[PIN, PIN, PIN]] {
        scene.world.phones[scene.lobby].dial("*11");
        scene.world.run(SECOND);
        for pin in pins {
            scene.press(&format!("1001#{pin}#"));
            scene.world.run(SECOND);
        }
        scene.world.run(5 * SECOND);
    }
    scene.has_call("alice*desk");
    let rows = scene.failures();
    assert!(rows.iter().any(|row| &*row.key == "user alice" && row.banned_until.is_some()), "{rows:?}");
    scene.end();
    // The rows are what a new process starts with.
    let loaded = Loaded { failures: rows, ..Loaded::default() };
    let mut scene = Scene::with(204, settings(), &loaded, "0 8 101");
    scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("1001#4714#");
    scene.world.run(SECOND);
    scene.has_call("alice*desk");
    scene.world.run(16 * A_MINUTE);
    scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("1001#4714#");
    scene.world.run(SECOND);
    scene.has_call("rooms*desk");
    scene.end();
}

#[test]
fn who_types_nothing_is_hung_up() {
    let mut scene = Scene::talking(205);
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("10");
    scene.world.run(14 * SECOND);
    assert!(!scene.world.phones[scene.lobby].lines[line].is_over);
    scene.world.run(5 * SECOND);
    assert!(scene.world.phones[scene.lobby].lines[line].is_over, "{}", scene.world.tail());
    assert_eq!(scene.sounds().last(), Some(&Prompt::Refused));
    // Nor does who keeps typing stay for ever.
    let line = scene.world.phones[scene.lobby].dial("*11");
    for _ in 0..100 {
        scene.world.run(SECOND);
        if !scene.world.phones[scene.lobby].lines[line].is_over {
            scene.press("1");
        }
    }
    assert!(scene.world.phones[scene.lobby].lines[line].is_over);
    scene.has_call("alice*desk");
    scene.end();
}

#[test]
fn a_device_that_hangs_up_while_its_pin_is_checked_gets_nothing() {
    let mut scene = Scene::talking(206);
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("1001#4714");
    let port = scene.lobby_port();
    scene.world.input(Input::Media(MediaEvent::Dtmf { port, digit: '#' }));
    scene.world.phones[scene.lobby].bye(line);
    scene.world.run(SECOND);
    scene.has_call("alice*desk");
    scene.end();
}

#[test]
fn a_device_whose_codec_does_not_fit_is_asked_for_another() {
    // The call is in G.722, which no prompt is.
    let mut scene = Scene::with(207, settings(), &Loaded::default(), "9 101");
    scene.world.phones[scene.lobby].codecs = "9 0 101";
    let requests = scene.world.phones[scene.bob].requests.len();
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("1001#4714#");
    scene.world.run(SECOND);
    scene.has_call("rooms*desk");
    let heard = &scene.world.phones[scene.lobby].lines[line].heard;
    assert_eq!(heard.len(), 2, "the answer of the prompt and one re-INVITE");
    let offer = String::from_utf8_lossy(&heard[1]);
    assert!(offer.contains("RTP/AVP 9 101") && offer.matches("m=audio").count() == 1, "{offer}");
    assert_eq!(scene.world.phones[scene.bob].requests.len(), requests);
    scene.end();
}

#[test]
fn a_call_on_another_media_thread_takes_the_device_over_to_it() {
    for seed in 0..4 {
        let mut settings = settings();
        settings.call.media.threads = 2;
        let mut scene = Scene::with(210 + seed, settings, &Loaded::default(), "0 101");
        // Prompts that end again move on what is chosen next.
        for _ in 0..seed {
            let line = scene.world.phones[scene.lobby].dial("*11");
            scene.world.run(SECOND);
            scene.world.phones[scene.lobby].bye(line);
            scene.world.run(SECOND);
        }
        scene.world.phones[scene.lobby].dial("*11");
        scene.world.run(SECOND);
        scene.press("1001#4714#");
        scene.world.run(SECOND);
        scene.has_call("rooms*desk");
        let threads: Vec<u8> = scene.world.engine.core().port_legs.keys().map(|port| port.thread).collect();
        assert!(threads.windows(2).all(|pair| pair[0] == pair[1]), "{threads:?}");
        scene.end();
    }
}

#[test]
fn ports_on_the_thread_that_is_left_are_there_until_others_are_agreed_on() {
    let mut moved = 0;
    for seed in 0..2 {
        let mut settings = settings();
        settings.call.media.threads = 2;
        let mut scene = Scene::with(220 + seed, settings, &Loaded::default(), "0 101");
        for _ in 0..seed {
            let line = scene.world.phones[scene.lobby].dial("*11");
            scene.world.run(SECOND);
            scene.world.phones[scene.lobby].bye(line);
            scene.world.run(SECOND);
        }
        let of_call: Vec<PortId> = scene.world.engine.core().port_legs.keys().copied().collect();
        scene.world.phones[scene.lobby].dial("*11");
        scene.world.run(SECOND);
        let mut ports = scene.world.engine.core().port_legs.keys();
        let port = *ports.find(|port| !of_call.contains(port)).unwrap();
        let is_released = |world: &World| {
            world
                .media
                .iter()
                .any(|command| matches!(command, MediaCommand::Release { port: of } if *of == port))
        };
        scene.world.media.clear();
        scene.world.phones[scene.lobby].holds_reinvites = true;
        scene.press("1001#4714#");
        scene.world.run(SECOND);
        assert!(!is_released(&scene.world), "{}", scene.world.tail());
        scene.world.phones[scene.lobby].holds_reinvites = false;
        scene.world.phones[scene.lobby].release_reinvites();
        scene.world.run(SECOND);
        scene.has_call("rooms*desk");
        let is_elsewhere = scene.world.port_of("rooms*desk").unwrap().thread != port.thread;
        assert_eq!(is_released(&scene.world), is_elsewhere, "{}", scene.world.tail());
        moved += u32::from(is_elsewhere);
        scene.end();
    }
    assert_eq!(moved, 1);
}

#[test]
fn a_device_that_refuses_the_other_codec_leaves_the_call_where_it_is() {
    let mut scene = Scene::with(208, settings(), &Loaded::default(), "9 101");
    scene.world.phones[scene.lobby].reinvite = 488;
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("1001#4714#");
    scene.world.run(2 * SECOND);
    scene.has_call("alice*desk");
    assert!(scene.world.phones[scene.lobby].lines[line].is_over, "{}", scene.world.tail());
    scene.end();
}

#[test]
fn without_the_store_or_without_a_call_the_device_is_hung_up() {
    let mut scene = Scene::talking(209);
    scene.world.store_works = false;
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("1001#4714#");
    scene.world.run(3 * SECOND);
    scene.has_call("alice*desk");
    assert!(scene.world.phones[scene.lobby].lines[line].is_over, "{}", scene.world.tail());
    scene.world.store_works = true;
    scene.world.phones[scene.bob].bye(0);
    scene.world.run(SECOND);
    let line = scene.world.phones[scene.lobby].dial("*11");
    scene.world.run(SECOND);
    scene.press("1001#4714#");
    scene.world.run(3 * SECOND);
    assert!(scene.world.phones[scene.lobby].lines[line].is_over, "no call to take");
    scene.world.run(A_MINUTE);
    assert_eq!(scene.world.records.len(), 1);
    scene.world.check_idle();
}

#[test]
fn a_ringing_call_is_picked_up_at_a_shared_device() {
    for codecs in ["0 8 101", "9 0 101"] {
        let mut scene = Scene::talking(220);
        scene.world.phones[scene.bob].bye(0);
        scene.world.run(SECOND);
        scene.world.phones[scene.desk].answer = Answer::Ring;
        scene.world.phones[scene.bob].codecs = codecs;
        let call = scene.world.phones[scene.bob].dial("alice");
        scene.world.run(SECOND);
        let line = scene.world.phones[scene.lobby].dial("*11");
        scene.world.run(SECOND);
        scene.press("1001#4714#");
        scene.world.run(SECOND);
        assert_eq!(scene.world.phones[scene.bob].lines[call].status, Some(200), "{}", scene.world.tail());
        scene.has_call("rooms*desk");
        assert!(!scene.world.phones[scene.lobby].lines[line].is_over);
        scene.world.phones[scene.bob].bye(call);
        scene.world.run(A_MINUTE);
        assert_eq!(scene.world.records.len(), 2);
        scene.world.check_idle();
    }
}
