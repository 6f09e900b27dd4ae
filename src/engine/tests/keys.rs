//! Keys that one side tells by INFO and the other takes as events, and back.

use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::call::quirks::{Dtmf, QuirkTable, Row, Setting};
use crate::engine::Input;
use crate::engine::store::Loaded;
use crate::media::relay::{MediaCommand, MediaEvent, PortId};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

/// Alice's desk and Bob's with these codecs; Bob's runs this software. They talk.
fn talking(codecs: [&'static str; 2], software: &str) -> (World, usize, usize) {
    let mut settings = settings();
    let only_info = Row { user_agent: "^Info".into(), settings: vec![Setting::Dtmf(Dtmf::Info)] };
    settings.call.quirks = QuirkTable::new(vec![only_info]).unwrap();
    let mut world = World::with(1100, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    (world.phones[alice].codecs, world.phones[bob].codecs) = (codecs[0], codecs[1]);
    world.phones[bob].software = software.into();
    world.phones[bob].register(3600);
    world.run(SECOND);
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    (world, alice, bob)
}

fn press_by_info(world: &mut World, phone: usize, kind: &str, body: &str) {
    world.phones[phone].request(0, &Method::Info, &[("Content-Type", kind)], body.as_bytes());
    world.run(SECOND);
    assert_eq!(world.phones[phone].finals.last().map(|found| found.1), Some(200), "{}", world.tail());
}

fn infos(world: &World, phone: usize) -> usize {
    world.phones[phone].requests.iter().filter(|method| *method == "INFO").count()
}

fn pressed(world: &World) -> Vec<(PortId, u8, u8)> {
    let press = |command: &MediaCommand| match command {
        MediaCommand::Press { port, event, payload, .. } => Some((*port, *event, *payload)),
        _ => None,
    };
    world.media.iter().filter_map(press).collect()
}

#[test]
fn a_phone_that_sends_info_alone_presses_keys_at_one_that_takes_events() {
    let (mut world, alice, bob) = talking(["0 8", "0 8 101"], "");
    press_by_info(&mut world, alice, "application/dtmf-relay", "Signal=5\r\nDuration=160\r\n");
    press_by_info(&mut world, alice, "application/dtmf", "#");
    let port = world.port_of("bob*desk").unwrap();
    assert_eq!(pressed(&world), [(port, 5, 101), (port, 11, 101)], "{}", world.tail());
    assert_eq!(infos(&world, bob), 0, "not twice");
}

#[test]
fn info_crosses_as_it_is_where_its_sender_has_events_too_or_the_other_end_has_none() {
    for (codecs, software) in [(["0 101", "0 101"], ""), (["0", "0"], ""), (["0", "0 101"], "Info/1")] {
        let (mut world, alice, bob) = talking(codecs, software);
        press_by_info(&mut world, alice, "application/dtmf-relay", "Signal=5\r\nDuration=160\r\n");
        assert_eq!((pressed(&world).len(), infos(&world, bob)), (0, 1), "{codecs:?}\n{}", world.tail());
        press_by_info(&mut world, alice, "application/other", "Signal=5");
        assert_eq!(infos(&world, bob), 2, "what is no key is none of our business");
    }
}

#[test]
fn an_event_is_told_by_info_to_whom_has_none() {
    for (codecs, software, is_told) in [("0", "", true), ("0 101", "Info/1", true), ("0 101", "", false)] {
        let (mut world, _, bob) = talking(["0 101", codecs], software);
        let port = world.port_of("alice*desk").unwrap();
        let asks = world.media.iter().rev().find_map(|command| match command {
            MediaCommand::Configure { port: of, ingress } if *of == port => Some(ingress.report_dtmf),
            _ => None,
        });
        assert_eq!(asks, Some(is_told));
        world.captured = Some(std::collections::VecDeque::new());
        world.input(Input::Media(MediaEvent::Dtmf { port, digit: '7' }));
        world.run(SECOND);
        assert_eq!(infos(&world, bob), usize::from(is_told), "{}", world.tail());
        if is_told {
            let found = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let info = found.into_iter().find(|text| text.starts_with("INFO ")).unwrap();
            assert!(
                info.contains("application/dtmf-relay") && info.ends_with("Signal=7\r\nDuration=160\r\n")
            );
        }
    }
}
