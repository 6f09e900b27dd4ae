//! The call of a user who signs in somewhere else (contract 16).

use std::time::Duration;

use super::world::{accounts, settings};
use super::{Answer, World};
use crate::engine::command::{Command, CommandError, Reply, Subject};
use crate::engine::store::Loaded;
use crate::moving::{Follow, Trigger};
use crate::registrar::accounts::{Accounts, Trust};
use crate::sip::digest::Ha1s;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

/// Alice talks with Bob at her desk; `rooms*lobby` is a handset in a room.
fn talking(seed: u64, follow: Follow) -> (World, usize, usize, usize, usize) {
    let mut settings = settings();
    settings.moving.follow = follow;
    let mut all: Accounts = accounts(&["alice", "bob"]);
    let mut rooms = (**accounts(&["rooms"]).by_name("rooms").unwrap()).clone();
    rooms.extension = Some("1009".into());
    rooms.devices.truncate(1);
    let lobby = &mut rooms.devices[0];
    (lobby.id, lobby.auth_user, lobby.trust) = ("lobby".into(), "rooms-lobby".into(), Trust::Shared);
    lobby.ha1 = Ha1s::from_password("rooms-lobby", "example.org", "secret");
    all.put(rooms).unwrap();
    let mut world = World::with(seed, settings, all, &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let (bob, lobby) = (world.phone("bob", "desk"), world.phone("rooms", "lobby"));
    world.phones[mobile].answer = Answer::Ring;
    world.phones[lobby].answer = Answer::Ring;
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    (world, desk, mobile, bob, lobby)
}

fn follow(world: &mut World, by: &str, device: &str) -> Reply {
    let command = Command::Follow { user: "alice".into(), device: device.into() };
    world.ask(Subject::User(by.into()), command)
}

#[test]
fn it_is_offered_where_its_user_signed_in() {
    let (mut world, desk, mobile, bob, _) = talking(510, Follow::Offer);
    let Reply::Move(view) = follow(&mut world, "alice", "mobile") else { panic!("{}", world.tail()) };
    assert_eq!(view.trigger, Trigger::Follow);
    world.run(SECOND);
    assert!(world.phones[mobile].lines[0].rings());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "until it is taken");
    world.phones[mobile].pick_up(0);
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert!(world.phones[desk].lines[0].is_over);
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    let last = world.records[0].segments.last().unwrap();
    assert_eq!(last.trigger.as_deref(), Some("follow"));
    world.check_idle();
}

#[test]
fn it_goes_to_a_shared_handset_too_and_stays_its_users() {
    let (mut world, _, mobile, bob, lobby) = talking(511, Follow::Move);
    world.captured = Some(std::collections::VecDeque::new());
    assert!(matches!(follow(&mut world, "alice", "rooms*lobby"), Reply::Move(_)), "{}", world.tail());
    world.run(SECOND);
    // Perhaps nobody is in the room: it rings there, and no microphone opens by itself, as an own one would.
    let sent = |world: &World, to: &str| {
        let texts = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        texts.filter(|text| text.starts_with(&format!("INVITE sip:{to}@"))).last().unwrap()
    };
    let invite = sent(&world, "rooms-lobby");
    for order in ["answer-after", "autoanswer", "Answer-Mode"] {
        assert!(!invite.contains(order), "{invite}");
    }
    world.phones[lobby].pick_up(0);
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["rooms*lobby"], "{}", world.tail());
    // Alice has it back by the code, as it is her call.
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn nothing_follows_unasked_or_to_where_nobody_is() {
    let (mut world, _, mobile, _, _) = talking(512, Follow::Off);
    assert_eq!(follow(&mut world, "alice", "mobile"), Reply::Done);
    world.run(SECOND);
    assert!(world.phones[mobile].lines.is_empty());

    let (mut world, desk, _, bob, _) = talking(513, Follow::Move);
    assert_eq!(follow(&mut world, "alice", "desk"), Reply::Done, "it is there");
    assert_eq!(
        follow(&mut world, "bob", "mobile"),
        Reply::Error(CommandError::NotFound),
        "not Bob's to move"
    );
    for (device, reason) in
        [("nosuch", "device_unknown"), ("tablet", "not_registered"), ("bob*desk", "device_unknown")]
    {
        let Reply::Error(CommandError::Refused { reason: told, .. }) = follow(&mut world, "alice", device)
        else {
            panic!("{device}");
        };
        assert_eq!(&*told, reason, "{device}");
    }
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert_eq!(follow(&mut world, "alice", "mobile"), Reply::Done, "no call, and no reason to fail");
    assert!(world.phones[desk].lines[0].is_over);
    world.run(A_MINUTE);
    world.check_idle();
}
