//! What a capture server is told beside the messages.

use std::time::Duration;

use super::world::{accounts, settings};
use super::{World, talking, three_phones};
use crate::engine::Input;
use crate::engine::capture::{Capture, Quality, Settings};
use crate::engine::store::Loaded;
use crate::media::relay::{Component, MediaEvent};

const SECOND: Duration = Duration::from_secs(1);

fn reports(world: &World) -> Vec<&Quality> {
    let told = world.to_capture_server.iter();
    told.filter_map(|capture| if let Capture::Quality(quality) = capture { Some(&**quality) } else { None })
        .collect()
}

#[test]
fn a_dialog_is_told_with_that_of_its_caller_before_its_first_message() {
    let (mut world, desk, _, bob) = three_phones(70);
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let (caller, callee) = (
        world.phones[desk].lines[0].dialog.call_id.clone(),
        world.phones[bob].lines[0].dialog.call_id.clone(),
    );
    assert_ne!(caller, callee);
    let told: Vec<_> = world
        .to_capture_server
        .iter()
        .map(|capture| match capture {
            Capture::Dialog { call_id, caller } => (&**call_id, &**caller),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(&*callee, &*caller)]);
    let place = |what: &str| world.log.iter().position(|line| line.contains(what)).unwrap();
    let invite = world
        .log
        .iter()
        .position(|line| line.contains("INVITE sip:") && line.contains('→') && line.contains(&callee[..6]));
    assert!(place(&format!("capture {callee}")) < invite.unwrap(), "{}", world.tail());
}

#[test]
fn each_leg_is_told_as_it_sounded_with_its_dialog_and_its_time() {
    let (mut world, desk, mobile, bob) = talking(71);
    let dialogs = [desk, bob].map(|phone| world.phones[phone].lines[0].dialog.call_id.clone());
    let line = world.phones[mobile].dial("*11");
    world.run(5 * SECOND);
    let moved = world.phones[mobile].lines[line].dialog.call_id.clone();
    let [old] = reports(&world)[..] else { panic!("{:?}", world.to_capture_server) };
    assert_eq!(&*old.dialog.call_id, &*dialogs[0]);
    assert_eq!((old.stats.lost, old.codec.name()), (6, "PCMU"));
    assert!(old.dialog.since < old.until && old.until <= world.now.unix);
    assert!(old.dialog.remote_id.contains("alice") && !old.dialog.local.ip().is_unspecified());
    let until = old.until;

    world.phones[bob].bye(0);
    world.run(SECOND);
    let all = reports(&world);
    let mut of: Vec<_> = all.iter().skip(1).map(|quality| &*quality.dialog.call_id).collect();
    of.sort_unstable();
    let mut wanted = [&*dialogs[1], &*moved];
    wanted.sort_unstable();
    assert_eq!(of, wanted);
    let new = all.iter().find(|quality| *quality.dialog.call_id == *moved).unwrap();
    assert!(new.dialog.since.0.abs_diff(until.0) < 1000, "from the move on: {new:?}");
}

#[test]
fn what_a_device_reports_is_told_with_its_dialog_and_of_a_port_that_is_nobodys_nothing() {
    let (mut world, desk, _, bob) = talking(72);
    let dialog = world.phones[desk].lines[0].dialog.call_id.clone();
    let (port, peer) = (world.port_of("alice*desk").unwrap(), "192.0.2.1:4001".parse().unwrap());
    let report = |world: &mut World| {
        world.to_capture_server.clear();
        let packet = Box::from(&b"RTCP"[..]);
        world.input(Input::Media(MediaEvent::Rtcp { port, on: Component::Rtcp, peer, packet }));
        world.to_capture_server.len()
    };
    assert_eq!(report(&mut world), 1);
    let Capture::Rtcp { call_id, local, peer: from, packet } = &world.to_capture_server[0] else { panic!() };
    assert_eq!((&**call_id, *from, &**packet), (&*dialog, peer, &b"RTCP"[..]));
    assert_eq!(local.port() % 2, 1, "the port of RTCP");
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert_eq!(report(&mut world), 0);
}

#[test]
fn where_nobody_listens_nothing_is_told() {
    let mut quiet = settings();
    quiet.capture = Settings::default();
    quiet.call.tells_quality = false;
    let mut world = World::with(73, quiet, accounts(&["alice", "bob"]), &Loaded::default());
    let desk = world.phone("alice", "desk");
    let bob = world.phone("bob", "desk");
    world.phones[desk].dial("bob");
    world.run(3 * SECOND);
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert_eq!(world.records.len(), 1, "{}", world.tail());
    assert!(world.to_capture_server.is_empty(), "{:?}", world.to_capture_server);
}
