//! How a call sounded: in its record, and in the timelines of its moves.

use std::time::Duration;

use super::{World, talking};
use crate::engine::Input;
use crate::engine::command::{Command, CommandError, Reply, Subject};
use crate::engine::event::Event;
use crate::engine::view::QualityView;
use crate::media::quality::Measured;
use crate::media::relay::MediaEvent;
use crate::moving::timeline::{What, When};

const SECOND: Duration = Duration::from_secs(1);
const HOLD_OFF: Duration = Duration::from_secs(31);

/// Of the 300 packets that a device sends on the port it has now, so many get lost.
fn lose(world: &mut World, device: &str, lost: i64) {
    let port = world.port_of(device).unwrap();
    world.lost.insert(port, lost);
}

fn scores_of_moves(world: &World) -> Vec<Vec<(When, f64)>> {
    let mut last: Vec<_> = world.saved_moves().collect();
    last.sort_by(|a, b| a.id.cmp(&b.id));
    // Sorting is stable and the newest came first: of each move the last word.
    last.dedup_by(|later, first| later.id == first.id);
    let scores = last.into_iter().map(|view| {
        let entries = view.timeline.unwrap().entries.into_iter();
        entries.filter_map(|entry| match entry.what {
            What::Quality { when, mos } => Some((when, mos)),
            _ => None,
        })
    });
    scores.map(Iterator::collect).collect()
}

#[test]
fn each_segment_has_the_score_of_its_own_leg_and_each_move_that_of_both() {
    let (mut world, desk, mobile, bob) = talking(90);
    lose(&mut world, "alice*desk", 0);
    lose(&mut world, "bob*desk", 9);
    world.phones[mobile].dial("*11");
    world.run(5 * SECOND);
    lose(&mut world, "alice*mobile", 3);
    world.run(HOLD_OFF);
    world.phones[desk].dial("*11");
    world.run(5 * SECOND);
    lose(&mut world, "alice*desk", 15);
    world.phones[bob].bye(0);
    world.run(SECOND);

    let record = &world.records[0];
    let segments: Vec<_> =
        record.segments.iter().map(|s| (s.device.as_str(), s.lost.unwrap(), s.mos.unwrap())).collect();
    let expected =
        [("alice*desk", 0, 4.41), ("bob*desk", 9, 4.13), ("alice*mobile", 3, 4.33), ("alice*desk", 15, 3.92)];
    assert_eq!(segments, expected, "each device as the other side heard it");
    assert_eq!(record.mos_min, Some(3.92), "the worst of both directions");
    let told = world.events.iter().find_map(|event| match event {
        Event::Cdr { record, .. } => Some(record.mos_min),
        _ => None,
    });
    assert_eq!(told, Some(Some(3.92)));
    let moves = [[(When::Before, 4.41), (When::After, 4.33)], [(When::Before, 4.33), (When::After, 3.92)]];
    assert_eq!(scores_of_moves(&world), moves);
    world.run(2 * HOLD_OFF);
    world.check_idle();
}

#[test]
fn a_leg_that_got_its_call_back_shows_one_score_for_both_its_segments() {
    let (mut world, desk, mobile, _) = talking(91);
    world.silent.push("alice*mobile".into());
    lose(&mut world, "alice*desk", 15);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    lose(&mut world, "alice*mobile", 0);
    world.run(4 * SECOND);
    world.phones[desk].bye(0);
    world.run(SECOND);
    let record = &world.records[0];
    let of = |device: &str| -> Vec<_> {
        record.segments.iter().filter(|s| s.device == device).map(|s| s.mos.unwrap()).collect()
    };
    assert_eq!((of("alice*desk"), of("alice*mobile")), (vec![3.92, 3.92], vec![4.41]), "{record:?}");
    assert_eq!(scores_of_moves(&world), [[]], "a move that went back has no before and after");
    world.run(2 * HOLD_OFF);
    world.check_idle();
}

#[test]
fn an_alert_says_whose_sound_is_bad_to_those_who_are_in_the_call() {
    let (mut world, ..) = talking(93);
    let port = world.port_of("bob*desk").unwrap();
    let measured = Measured { expected: 200, lost: 40, bursts: 40, ..Measured::default() };
    for is_poor in [true, false] {
        world.input(Input::Media(MediaEvent::Sounds { port, is_poor, measured }));
    }
    let alerts: Vec<_> = world.events.iter().filter(|event| event.kind() == "quality.alert").collect();
    assert_eq!(alerts.len(), 2);
    let data = alerts[0].data(&Subject::Admin);
    assert_eq!(data["party"], "callee");
    assert_eq!((&data["device"], &data["state"]), (&"bob*desk".into(), &"poor".into()));
    assert_eq!((&data["mos"], &data["loss_percent"]), (&2.63.into(), &20.0.into()), "{data}");
    assert_eq!(alerts[1].data(&Subject::Admin)["state"], "well");
    let (alice, carol) = (Subject::User("alice".into()), Subject::User("carol".into()));
    assert!(alerts[0].is_seen_by(&alice) && !alerts[0].is_seen_by(&carol));
    assert!(alerts[0].data(&alice).get("device").is_none(), "of others no device");
    assert!(alerts[0].call().is_some_and(|call| !call.is_empty()));
}

#[test]
fn ports_that_counted_next_to_nothing_have_no_score() {
    let (mut world, desk, mobile, _) = talking(92);
    world.expected = 249;
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    world.phones[mobile].bye(0);
    world.run(SECOND);
    let record = &world.records[0];
    assert!(world.phones[desk].lines[0].is_over);
    assert!(record.segments.iter().all(|segment| segment.mos.is_none() && segment.lost == Some(6)));
    assert_eq!(record.mos_min, None);
    assert_eq!(scores_of_moves(&world), [[]]);
}

fn sounds(world: &mut World, by: &str) -> Reply {
    let call = world.engine.core().calls.iter().next().map(|(_, call)| call.id.clone()).unwrap();
    let before = world.replies.len();
    let command = Command::ShowQuality { call };
    world.send_command(Subject::User(by.into()), command.clone());
    world.send_command(Subject::User(by.into()), command);
    world.run(2 * SECOND);
    assert_eq!(world.replies.len(), before + 2, "one answer each");
    assert_eq!(world.replies[before], world.replies[before + 1]);
    world.replies[before].clone()
}

fn streams(reply: Reply) -> Vec<(String, Option<String>, Option<f64>)> {
    let Reply::Quality(view) = reply else { panic!("{reply:?}") };
    let QualityView { streams, .. } = *view;
    streams.into_iter().map(|stream| (stream.role, stream.device, stream.mos)).collect()
}

#[test]
fn a_party_that_is_not_heard_is_named_unless_somebody_is_on_hold() {
    let (mut world, desk, ..) = talking(96);
    let silent = |world: &mut World| match sounds(world, "alice") {
        Reply::Quality(view) => view.silent,
        reply => panic!("{reply:?}"),
    };
    assert_eq!(silent(&mut world), None);
    world.silent.push("bob*desk".into());
    assert_eq!(silent(&mut world).as_deref(), Some("callee"));
    world.phones[desk].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(silent(&mut world), None, "bob hears that nobody listens");
}

#[test]
fn a_live_call_tells_how_each_party_sounds_and_whose_device_is_whose_business() {
    let (mut world, ..) = talking(95);
    lose(&mut world, "alice*desk", 0);
    lose(&mut world, "bob*desk", 9);
    let desk = || Some("desk".to_owned());
    let (caller, callee) = ("caller".to_owned(), "callee".to_owned());
    let seen = streams(sounds(&mut world, "alice"));
    assert_eq!(seen, [(caller.clone(), desk(), Some(4.41)), (callee.clone(), None, Some(4.13))]);
    let seen = streams(sounds(&mut world, "bob"));
    assert_eq!(seen, [(caller, None, Some(4.41)), (callee, desk(), Some(4.13))]);
    assert_eq!(sounds(&mut world, "eve"), Reply::Error(CommandError::NotFound));
}
