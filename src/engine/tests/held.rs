//! What a device that is held off may do and may not, request by request; and emergency calls, which nothing holds off and
//! nothing moves (contract 8, 27, 35, 37).

use std::collections::VecDeque;
use std::time::Duration;

use super::phone::Early;
use super::watch::{no, only, subscribe};
use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, World, talking, three_phones};
use crate::engine::command::{Command, CommandError, MoveMode, Reply, StartMove, Subject};
use crate::engine::store::Loaded;
use crate::moving::Trigger;
use crate::moving::hold_off::Scope;
use crate::sip::Transport;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// Alice's desk and mobile; Bob; help, behind a trunk.
fn house(seed: u64, scope: Scope) -> (World, usize, usize, usize, usize) {
    let mut settings = settings();
    settings.moving.hold_off_scope = scope;
    let peer = "203.0.113.9:5060".parse().unwrap();
    trunk_to(&mut settings, peer);
    settings.call.routes = vec![leads("^112$", &["trunk:outside"])];
    let mut world = World::with(seed, settings, accounts(&["alice", "bob", "help"]), &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let bob = world.phone("bob", "desk");
    let help = world.outsider("help", peer);
    (world, desk, mobile, bob, help)
}

/// Final answers that phones got, by method: status, whether it says how long, and why.
fn answers(world: &World, method: &str) -> Vec<(String, bool, bool)> {
    let texts = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let of_method = |text: &String| {
        text.starts_with("SIP/2.0 ")
            && !text.starts_with("SIP/2.0 1")
            && text.lines().any(|line| line.starts_with("CSeq: ") && line.ends_with(&format!(" {method}")))
    };
    let found = texts.filter(of_method);
    found
        .map(|t| (t[8..11].to_owned(), t.contains("\r\nRetry-After: "), t.contains("\r\nReason: SIP;")))
        .collect()
}

#[test]
fn every_request_of_the_old_device_hears_how_long_and_why_and_its_end_is_served() {
    let (mut world, desk, mobile, bob) = talking(1520);
    world.phones[mobile].dial("*11");
    world.run(3 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    world.captured = Some(VecDeque::new());
    let sdp = world.phones[desk].sdp(0, "sendrecv");
    world.phones[desk].request(0, &Method::Update, &[("Content-Type", "application/sdp")], sdp.as_bytes());
    world.phones[desk].request(0, &Method::Info, &[], b"");
    world.phones[desk].request(0, &Method::Refer, &[("Refer-To", "<sip:alice*tablet@example.org>")], b"");
    world.phones[desk].reinvite(0, "sendrecv");
    world.run(SECOND);
    for method in ["UPDATE", "INFO", "REFER", "INVITE"] {
        let told = answers(&world, method);
        assert_eq!(told, [("403".to_owned(), true, true)], "{method}\n{}", world.tail());
    }
    world.heard_by_phones.clear();
    // The push code finds no call of the device; the pull code finds the one that it lost.
    world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(answers(&world, "INVITE"), [("403".to_owned(), true, true)], "{}", world.tail());
    // Nor may it take the move back: the new device may.
    world.heard_by_phones.clear();
    world.phones[desk].dial("*13");
    world.run(SECOND);
    assert_eq!(answers(&world, "INVITE"), [("403".to_owned(), true, true)], "{}", world.tail());
    // What ends its dialog is served.
    world.phones[desk].bye(0);
    world.run(SECOND);
    let ended: Vec<_> = answers(&world, "BYE").into_iter().map(|told| told.0).collect();
    assert_eq!(ended, ["200"], "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn under_the_scope_system_nothing_is_served_but_calls_for_help_and_registers() {
    for early in [Early::No, Early::Reliable] {
        let (mut world, desk, mobile, bob, help) = house(1521, Scope::System);
        world.phones[desk].dial("bob");
        world.run(SECOND);
        world.phones[mobile].dial("*11");
        world.run(3 * SECOND);
        assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
        let line = world.phones[desk].request_to("bob", &Method::Message, &[]);
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[line].status, Some(403), "{}", world.tail());
        assert!(world.phones[bob].texts.is_empty(), "nothing was said");
        let line = world.phones[desk].dial("bob");
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[line].status, Some(403), "{}", world.tail());
        // Help is called, answers, and is spoken with as in any call.
        (world.phones[help].answer, world.phones[help].early) = (Answer::Ring, early);
        let line = world.phones[desk].dial_with("112", &[("Supported", "100rel")], true);
        world.run(2 * SECOND);
        world.phones[help].pick_up(0);
        world.run(2 * SECOND);
        assert_eq!(world.phones[desk].lines[line].status, Some(200), "{early:?}\n{}", world.tail());
        let pracks: Vec<_> = world.phones[desk].finals.iter().filter(|told| told.0 == "PRACK").collect();
        assert_eq!(pracks.is_empty(), early == Early::No);
        assert!(pracks.iter().all(|told| told.1 == 200), "{pracks:?}");
        world.phones[desk].reinvite(line, "sendonly");
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[line].status, Some(200), "{early:?}\n{}", world.tail());
        world.phones[desk].bye(line);
        world.phones[bob].bye(0);
        world.run(TWO_MINUTES);
        world.check_idle();
    }
}

#[test]
fn an_emergency_call_goes_through_while_the_node_drains() {
    let (mut world, _, mobile, _, help) = house(1524, Scope::Call);
    assert_eq!(world.ask(Subject::Admin, Command::Drain), Reply::Done);
    let line = world.phones[mobile].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(503));
    let line = world.phones[mobile].dial("112");
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert!(world.phones[help].lines[0].is_up);
}

#[test]
fn an_emergency_call_is_moved_by_no_door_and_says_so() {
    let (mut world, desk, mobile, _, help) = house(1522, Scope::Call);
    subscribe(&mut world, mobile, "alice");
    world.phones[desk].dial("112");
    world.run(2 * SECOND);
    assert!(world.phones[desk].lines[0].is_up, "{}", world.tail());
    assert_eq!(only(&world, mobile).movable, no("emergency"), "{}", world.tail());
    let refused = |world: &World, line: usize| {
        let status = world.phones[mobile].lines[line].status.unwrap();
        assert!((400..500).contains(&status), "{status}\n{}", world.tail());
    };
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    refused(&world, line);
    let dialog = &world.phones[desk].lines[0].dialog;
    let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
    let replaces = format!("{id};to-tag={theirs};from-tag={ours}");
    let line = world.phones[mobile].dial_with("alice", &[("Replaces", &replaces)], true);
    world.run(SECOND);
    refused(&world, line);
    for to in ["<sip:alice*mobile@example.org>", "<sip:bob@example.org>"] {
        world.phones[desk].request(0, &Method::Refer, &[("Refer-To", to)], b"");
        world.run(SECOND);
        assert_eq!(world.phones[desk].finals.last().unwrap().1, 403, "{to}\n{}", world.tail());
    }
    for mode in [MoveMode::Ring, MoveMode::AutoAnswer, MoveMode::Refer] {
        let start = StartMove {
            user: "alice".into(),
            call: None,
            to_device: Some("mobile".into()),
            mode,
            trigger: Trigger::Http,
        };
        let reply = world.ask(Subject::User("alice".into()), Command::StartMove(start));
        let Reply::Error(CommandError::Refused { reason, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!(&*reason, "emergency");
    }
    assert!(!world.phones[desk].lines[0].is_over && world.phones[help].lines[0].is_up);
    assert_eq!(world.phones[mobile].lines.iter().filter(|line| line.is_up).count(), 0);
    world.phones[desk].bye(0);
    world.phones[mobile].register(0);
    world.run(2 * TWO_MINUTES);
    world.hang_up_all();
}

#[test]
fn a_call_that_is_transferred_says_that_it_is_busy() {
    let (mut world, desk, mobile, bob, _) = house(1523, Scope::Call);
    let tablet = world.phone("bob", "tablet");
    world.phones[tablet].answer = Answer::Ring;
    subscribe(&mut world, mobile, "alice");
    world.phones[desk].dial("bob*desk");
    world.run(SECOND);
    world.phones[desk].request(0, &Method::Refer, &[("Refer-To", "<sip:bob*tablet@example.org>")], b"");
    world.run(SECOND);
    assert_eq!(only(&world, mobile).movable, no("busy"), "{}", world.tail());
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(486), "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
}

#[test]
fn a_device_whose_connection_broke_is_asked_about_no_more_once_its_ports_are_gone() {
    let mut world = World::new(1524);
    let desk = world.phone_over(Transport::Tcp, "alice", "desk");
    let (mobile, bob) = (world.phone("alice", "mobile"), world.phone("bob", "desk"));
    world.phones[desk].dial("bob");
    world.run(SECOND);
    world.break_connection(desk);
    world.run(Duration::from_millis(500));
    assert_eq!(world.engine.moves.probes.len(), 1, "{}", world.tail());
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    world.run(10 * SECOND);
    assert!(world.engine.moves.probes.is_empty(), "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_call_that_was_moved_and_transferred_keeps_its_record() {
    let (mut world, desk, mobile, bob, _) = house(1525, Scope::Call);
    let tablet = world.phone("bob", "tablet");
    world.phones[desk].dial("bob*desk");
    world.run(SECOND);
    world.phones[mobile].dial("*11");
    world.run(3 * SECOND);
    world.phones[mobile].dial("help*desk");
    // Alice hands Bob on to Bob's tablet, which is another call; that to Bob's desk has its record with its move.
    world.phones[mobile].request(0, &Method::Refer, &[("Refer-To", "<sip:bob*tablet@example.org>")], b"");
    world.run(2 * SECOND);
    assert!(world.phones[tablet].lines[0].is_up, "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(10 * SECOND);
    let first = world.records.iter().find(|record| record.to == "bob*desk").unwrap();
    let devices: Vec<&str> = first.segments.iter().map(|segment| segment.device.as_str()).collect();
    assert_eq!((first.moves, devices), (1, vec!["alice*desk", "bob*desk", "alice*mobile"]), "{first:?}");
    assert!(first.segments.iter().all(|segment| segment.end.is_some()));
    let second = world.records.iter().find(|record| record.to == "bob*tablet").unwrap();
    assert_eq!((&*second.from, second.transferred_by.as_deref()), ("bob", Some("alice")), "{second:?}");
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_device_that_calls_another_of_its_user_does_not_get_both_ends() {
    let (mut world, desk, mobile, _) = three_phones(1720);
    let tablet = world.phone("alice", "tablet");
    world.phones[desk].dial("alice*mobile");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*mobile"), ["alice*desk"], "{}", world.tail());
    for (caller, called) in [(desk, "*11*mobile"), (mobile, "*11*desk"), (desk, "*11"), (mobile, "*11")] {
        let line = world.phones[caller].dial(called);
        world.run(SECOND);
        assert_eq!(world.phones[caller].lines[line].status, Some(404), "{called}\n{}", world.tail());
    }
    let refer_to = [("Refer-To", "<sip:alice*desk@example.org>")];
    world.phones[mobile].request(0, &Method::Refer, &refer_to, b"");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].finals.last().map(|found| found.1), Some(482), "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["alice*desk"]);
    world.phones[tablet].dial("*11*mobile");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*tablet"), ["alice*desk"], "{}", world.tail());
    world.phones[desk].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

/// A transfer can leave a phone with both ends of a call, on two of its lines. What it sends away is one of them.
#[test]
fn a_device_that_keeps_the_other_end_is_not_held_off() {
    let (mut world, desk, mobile, bob) = talking(1721);
    let line = world.phones[bob].dial("alice*desk");
    world.run(2 * SECOND);
    let dialog = &world.phones[bob].lines[line].dialog;
    let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
    let to = format!("<sip:alice@example.org?Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}>");
    world.phones[bob].request(0, &Method::Refer, &[("Refer-To", &to)], b"");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["alice*desk"], "{}", world.tail());
    assert!(world.phones[bob].lines.iter().all(|line| line.is_over), "{}", world.tail());
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*mobile"), ["alice*desk"], "{}", world.tail());
    assert!(world.engine.moves.hold_offs.is_empty());
    let line = world.phones[desk].lines.iter().position(|line| line.is_up && !line.is_over).unwrap();
    for direction in ["sendonly", "sendrecv"] {
        world.phones[desk].reinvite(line, direction);
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    }
    world.phones[desk].bye(line);
    world.run(TWO_MINUTES);
    world.check_idle();
}
