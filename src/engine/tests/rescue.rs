//! A device dies in mid-call, and the other side is kept for whoever takes the call up (contract 42).

use std::time::Duration;

use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, World, talking, three_phones};
use crate::call::record::HangupBy;
use crate::call::settings::Anchor;
use crate::engine::Input;
use crate::engine::command::{Command, MoveMode, StartMove, Subject};
use crate::engine::event::{CallEvent, Event};
use crate::engine::store::Loaded;
use crate::media::relay::{MediaCommand, MediaEvent, PortId, Sound};
use crate::moving::Trigger;
use crate::moving::hold_off::Scope;
use crate::sip::Transport;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

fn quiet(world: &mut World, device: &str) {
    let port = world.port_of(device).expect("a port");
    world.input(Input::Media(MediaEvent::Quiet { port }));
    world.run(Duration::from_millis(50));
}

/// Whether a port of a device is played that the line stands.
fn is_comforted(world: &World, device: &str) -> bool {
    let port = world.port_of(device);
    let of_port = |to: &PortId| Some(*to) == port;
    let last = world.media.iter().rev().find(|command| match command {
        MediaCommand::Play { port, .. } | MediaCommand::Stop { port } => of_port(port),
        _ => false,
    });
    matches!(last, Some(MediaCommand::Play { sound: Sound::Waiting, .. }))
}

fn told(world: &World, what: CallEvent) -> usize {
    world
        .events
        .iter()
        .filter(|event| matches!(event, Event::Call { what: told, .. } if *told == what))
        .count()
}

#[test]
fn another_device_takes_up_the_call_of_one_that_died() {
    let (mut world, desk, mobile, bob) = talking(400);
    quiet(&mut world, "alice*desk");
    assert!(is_comforted(&world, "bob*desk"), "the far side hears that the line stands");
    assert_eq!(told(&world, CallEvent::Lost), 1);
    assert!(!world.phones[bob].lines[0].is_over && !world.phones[desk].lines[0].is_over);
    world.run(10 * SECOND);
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"]);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(!is_comforted(&world, "bob*desk"));
    assert!(world.phones[desk].lines[0].is_over, "should it hear anything, it hears that it is over");
    // It comes back by itself and must not take the call from under the user's hands.
    let back = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[back].status, Some(403), "{}", world.tail());
    world.check();
    world.run(30 * SECOND);
    assert!(!world.phones[bob].lines[0].is_over, "nothing ends any more");
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    let record = &world.records[0];
    assert_eq!(record.moves, 1);
    let [first, _, second] = &record.segments[..] else { panic!("{record:?}") };
    assert_eq!((first.device.as_str(), second.device.as_str()), ("alice*desk", "alice*mobile"));
    let alone = second.start.0 - first.end.unwrap().0;
    assert!((10_000..12_000).contains(&alone), "nobody had it for {alone} ms");
    world.check_idle();
}

#[test]
fn when_nobody_takes_it_up_the_far_side_is_told_why() {
    let (mut world, desk, mobile, bob) = talking(401);
    quiet(&mut world, "alice*desk");
    world.run(19 * SECOND);
    assert!(!world.phones[bob].lines[0].is_over);
    world.run(2 * SECOND);
    assert!(world.phones[bob].lines[0].is_over, "{}", world.tail());
    assert_eq!(world.phones[bob].lines[0].reason, "SIP;cause=503;text=\"Media timeout\"");
    let line = world.phones[mobile].dial("*11");
    world.run(A_MINUTE);
    assert_eq!(world.phones[mobile].lines[line].status, Some(404));
    assert!(world.phones[desk].lines[0].is_over);
    let record = &world.records[0];
    assert_eq!((record.hangup_by, record.moves), (Some(HangupBy::System), 0));
    assert!(record.segments[0].end.unwrap().0 + 19_000 < record.end.unwrap().0, "it had died before");
    world.check_idle();
}

#[test]
fn a_device_that_sends_again_has_its_call_again() {
    let (mut world, desk, _, bob) = talking(402);
    quiet(&mut world, "alice*desk");
    let port = world.port_of("alice*desk").unwrap();
    world.run(5 * SECOND);
    world.input(Input::Media(MediaEvent::Heard { port }));
    world.run(SECOND);
    assert!(!is_comforted(&world, "bob*desk"));
    assert_eq!((told(&world, CallEvent::Lost), told(&world, CallEvent::Resumed)), (1, 1));
    world.run(A_MINUTE);
    assert!(!world.phones[bob].lines[0].is_over, "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    let triggers: Vec<_> =
        world.records[0].segments.iter().map(|s| (&*s.device, s.trigger.as_deref())).collect();
    assert_eq!(triggers, [("alice*desk", None), ("bob*desk", None), ("alice*desk", Some("resumed"))]);
    world.check_idle();
}

#[test]
fn a_re_invite_of_the_device_brings_it_back() {
    let (mut world, desk, _, bob) = talking(403);
    quiet(&mut world, "alice*desk");
    // The far side's offers wait meanwhile.
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(491));
    world.phones[desk].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!((told(&world, CallEvent::Resumed), is_comforted(&world, "bob*desk")), (1, false));
    world.run(A_MINUTE);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn who_hangs_up_means_it() {
    for (by_device, seed) in [(true, 404), (false, 405)] {
        let (mut world, desk, _, bob) = talking(seed);
        quiet(&mut world, "alice*desk");
        let phone = if by_device { desk } else { bob };
        world.phones[phone].bye(0);
        world.run(A_MINUTE);
        assert!(world.phones[desk].lines[0].is_over && world.phones[bob].lines[0].is_over);
        let by = if by_device { HangupBy::Caller } else { HangupBy::Callee };
        assert_eq!(world.records[0].hangup_by, Some(by));
        world.check_idle();
    }
    let (mut world, desk, _, bob) = talking(406);
    world.phones[desk].bye(0);
    world.run(SECOND);
    assert!(world.phones[bob].lines[0].is_over, "a BYE is no death");
}

#[test]
fn with_nobody_at_either_end_it_is_over() {
    let (mut world, _, _, bob) = talking(407);
    quiet(&mut world, "alice*desk");
    quiet(&mut world, "bob*desk");
    world.run(SECOND);
    assert!(world.phones[bob].lines[0].is_over, "{}", world.tail());
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_device_that_started_anew_takes_up_its_own_call() {
    let (mut world, desk, _, bob) = talking(408);
    // It has forgotten its calls, and says so when it is asked in one of them.
    world.phones[desk].reinvite = 481;
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(told(&world, CallEvent::Lost), 1, "{}", world.tail());
    assert!(!world.phones[bob].lines[0].is_over);
    let line = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    assert!(world.engine.moves.hold_offs.is_empty(), "nothing has changed hands");
    world.run(A_MINUTE);
    world.phones[desk].bye(line);
    world.run(A_MINUTE);
    assert!(world.phones[bob].lines[0].is_over);
    world.check_idle();
}

#[test]
fn a_forgotten_call_that_nobody_takes_up_leaves_nothing() {
    let (mut world, desk, _, bob) = talking(409);
    world.phones[desk].reinvite = 481;
    world.phones[bob].reinvite(0, "sendonly");
    world.run(A_MINUTE);
    assert!(world.phones[bob].lines[0].is_over);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_broken_connection_and_silence_are_a_death_and_either_alone_is_none() {
    for (is_silent, seed) in [(false, 410), (true, 411)] {
        let mut world = World::new(seed);
        let desk = world.phone_over(Transport::Tcp, "alice", "desk");
        let (_, bob) = (world.phone("alice", "mobile"), world.phone("bob", "desk"));
        world.phones[desk].dial("bob");
        world.run(2 * SECOND);
        if is_silent {
            world.silent.push("alice*desk".into());
        }
        world.break_connection(desk);
        world.run(2 * SECOND);
        assert_eq!(told(&world, CallEvent::Lost), 0, "it has a moment to come back");
        world.run(2 * SECOND);
        assert_eq!(told(&world, CallEvent::Lost), usize::from(is_silent), "{}", world.tail());
        assert_eq!(is_comforted(&world, "bob*desk"), is_silent);
        world.run(30 * SECOND);
        assert_eq!(world.phones[bob].lines[0].is_over, is_silent);
    }
}

#[test]
fn a_device_that_dies_while_its_call_is_pushed_saves_it_all_the_same() {
    for (answers, seed) in [(true, 412), (false, 413)] {
        let (mut world, _, mobile, bob) = talking(seed);
        world.phones[mobile].answer = Answer::Ring;
        let start = StartMove {
            user: "alice".into(),
            call: None,
            to_device: Some("mobile".into()),
            mode: MoveMode::Ring,
            trigger: Trigger::Http,
        };
        world.ask(Subject::Admin, Command::StartMove(start));
        world.run(SECOND);
        quiet(&mut world, "alice*desk");
        assert!(is_comforted(&world, "bob*desk"));
        world.run(5 * SECOND);
        if answers {
            world.phones[mobile].pick_up(0);
            world.run(SECOND);
            assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
            assert!(!is_comforted(&world, "bob*desk"));
            world.phones[bob].bye(0);
        } else {
            world.phones[mobile].refuse(0, 486);
            world.run(SECOND);
            assert!(!world.phones[bob].lines[0].is_over, "who refuses ends nothing");
            world.run(20 * SECOND);
            assert!(world.phones[bob].lines[0].is_over);
        }
        world.run(A_MINUTE);
        world.check_idle();
    }
}

#[test]
fn zero_turns_it_off_and_a_trunk_that_dies_is_not_waited_for() {
    let mut settings = settings();
    settings.call.limits.rescue = Duration::ZERO;
    let mut world = World::with(414, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (desk, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    quiet(&mut world, "alice*desk");
    assert!(world.phones[bob].lines[0].is_over, "{}", world.tail());

    let mut settings = self::settings();
    let peer = "203.0.113.7:5060".parse().unwrap();
    trunk_to(&mut settings, peer);
    let mut world = World::with(415, settings, accounts(&["alice", "carol"]), &Loaded::default());
    let desk = world.phone("alice", "desk");
    world.outsider("carol", peer);
    world.phones[desk].dial("0049");
    world.run(2 * SECOND);
    let of_trunk =
        world.routes.keys().copied().find(|port| world.device_at(*port).is_none()).expect("a port");
    world.input(Input::Media(MediaEvent::Quiet { port: of_trunk }));
    world.run(SECOND);
    assert!(world.phones[desk].lines[0].is_over, "{}", world.tail());
}

#[test]
fn an_emergency_call_waits_for_its_own_device_alone() {
    let mut settings = settings();
    let peer = "203.0.113.7:5060".parse().unwrap();
    let trunk = trunk_to(&mut settings, peer);
    trunk.policy.max_calls = Some(1);
    settings.call.routes = vec![leads("^112$", &["trunk:outside"])];
    let mut world = World::with(416, settings, accounts(&["alice", "carol"]), &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let centre = world.outsider("carol", peer);
    world.phones[desk].dial("112");
    world.run(2 * SECOND);
    quiet(&mut world, "alice*desk");
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(403), "{}", world.tail());
    assert!(!world.phones[centre].lines[0].is_over);
    let line = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
}

#[test]
fn media_that_does_not_run_through_us_tells_nothing_and_hears_nothing() {
    let mut settings = settings();
    settings.call.media.anchor = Anchor::Never;
    let mut world = World::with(417, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let bob = world.phone("bob", "desk");
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.phones[desk].reinvite = 481;
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(told(&world, CallEvent::Lost), 1);
    assert!(!world.media.iter().any(|command| matches!(command, MediaCommand::Play { .. })));
    let line = world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_dead_device_is_held_off_its_call_and_nothing_else_and_need_not_be_registered() {
    let mut settings = settings();
    settings.moving.hold_off_scope = Scope::System;
    let mut world = World::with(418, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let bob = world.phone("bob", "desk");
    world.phones[mobile].request_to("*11", &Method::Subscribe, &[("Event", "dialog")]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    quiet(&mut world, "alice*desk");
    let kick = Command::KickRegistration { user: "alice".into(), device: Some("desk".into()) };
    world.ask(Subject::Admin, kick);
    let (_, body) = world.phones[mobile].notified.last().expect("a NOTIFY");
    assert!(body.contains(">confirmed<"), "its lamp is lit: {body}");
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    world.phones[desk].register(3600);
    world.run(SECOND);
    let other = world.phones[desk].dial("*43");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[other].status, Some(200), "another call is its own business");
    let back = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[back].status, Some(403));
    world.phones[bob].bye(0);
    world.run(SECOND);
    world.phones[desk].bye(other);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn an_offered_call_that_rings_is_not_kept() {
    let (mut world, desk, _, bob) = three_phones(419);
    world.phones[bob].answer = Answer::Ring;
    world.phones[desk].dial("bob");
    world.run(SECOND);
    world.phones[desk].cancel(0);
    world.run(A_MINUTE);
    assert_eq!(told(&world, CallEvent::Lost), 0);
    world.check_idle();
}
