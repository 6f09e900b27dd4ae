//! Two sides that share no codec (contract 33): asked first, converted then, refused at last.

use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::engine::store::Loaded;
use crate::media::relay::Sink;
use crate::media::transcode::Speech;
use crate::moving::timeline::What;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

/// Alice's desk, mobile and tablet, and Bob's desk, each with its codecs and no others; so many calls may be converted.
pub(super) fn house(seed: u64, most: usize, codecs: [&'static str; 4]) -> (World, [usize; 4]) {
    let mut settings = settings();
    settings.call.media.transcode = most;
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let phones = [("alice", "desk"), ("alice", "mobile"), ("alice", "tablet"), ("bob", "desk")];
    let phones = phones.map(|(user, device)| world.phone(user, device));
    for (phone, codecs) in phones.into_iter().zip(codecs) {
        (world.phones[phone].codecs, world.phones[phone].is_picky) = (codecs, true);
    }
    (world, phones)
}

fn sink_of<'a>(world: &'a World, device: &str) -> &'a Sink {
    let port = world.port_of(device).expect("a port");
    world.routes[&port].first().unwrap_or_else(|| panic!("{device} is heard by nobody\n{}", world.tail()))
}

/// What the speech of a device becomes.
pub(super) fn becomes(world: &World, device: &str) -> Option<Speech> {
    sink_of(world, device).conversion.as_ref().map(|conversion| conversion.to.1)
}

pub(super) fn media_line(world: &World, phone: usize, line: usize) -> String {
    let heard = world.phones[phone].lines[line].last_heard();
    heard.lines().find(|line| line.starts_with("m=audio")).unwrap_or_default().to_owned()
}

#[test]
fn who_refuses_what_a_caller_has_is_offered_what_we_can_convert() {
    let (mut world, [desk, .., bob]) = house(500, 4, ["0 8 101", "0 101", "0 101", "9 101"]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    let invites = world.phones[bob].requests.iter().filter(|method| *method == "INVITE").count();
    assert_eq!(invites, 2, "the caller's own offer first\n{}", world.tail());
    assert!(media_line(&world, desk, 0).ends_with("RTP/AVP 0 8 101"), "{}", media_line(&world, desk, 0));
    assert_eq!(becomes(&world, "alice*desk"), Some(Speech::G722));
    assert!(matches!(becomes(&world, "bob*desk"), Some(Speech::G711(_))));
    assert_eq!(world.engine.core().transcoded, 1);
    // Hold and resume go across, with what Bob speaks beside what Alice does.
    for direction in ["sendonly", "sendrecv"] {
        world.phones[desk].reinvite(0, direction);
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[0].status, Some(200), "{direction}\n{}", world.tail());
    }
    assert_eq!(becomes(&world, "alice*desk"), Some(Speech::G722));
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    assert_eq!(world.engine.core().transcoded, 0);
    world.check_idle();
}

#[test]
fn a_move_converts_what_the_far_side_would_not_change() {
    let (mut world, [desk, mobile, tablet, bob]) = house(501, 4, ["0 101", "9 101", "0 101", "0 8 101"]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    let line = world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(
        world.phones[bob].requests.iter().filter(|method| *method == "INVITE").count(),
        2,
        "it was asked"
    );
    assert!(media_line(&world, mobile, line).ends_with("RTP/AVP 9 101"));
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"]);
    assert_eq!(becomes(&world, "bob*desk"), Some(Speech::G722));
    assert!(matches!(becomes(&world, "alice*mobile"), Some(Speech::G711(_))));
    let timeline = world.saved_moves().next().and_then(|view| view.timeline).unwrap();
    let is_told = |what: &What| matches!(what, What::Note { text } if text.contains("converted"));
    assert!(timeline.entries.iter().any(|entry| is_told(&entry.what)), "{timeline:?}");
    // A device with Bob's codec needs none of it.
    world.run(SECOND);
    let line = world.phones[tablet].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.phones[tablet].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!((becomes(&world, "bob*desk"), world.engine.core().transcoded), (None, 0));
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn beyond_the_cap_the_codecs_are_named() {
    let (mut world, [desk, mobile, _, bob]) = house(502, 0, ["0 101", "9 101", "0 101", "0 8 101"]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    let line = world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(488), "{}", world.tail());
    let named = "305 edge1 \"no common codec: G722 here, PCMU there\"";
    assert_eq!(world.phones[mobile].lines[line].warning, named);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "the old call is untouched");
    world.phones[bob].bye(0);
    world.run(SECOND);
    let line = world.phones[mobile].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(488), "{}", world.tail());
    assert_eq!(
        world.phones[mobile].lines[line].warning,
        "305 edge1 \"no common codec: none of G722 is taken\""
    );
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_service_names_the_codecs_that_it_does_not_speak() {
    let (mut world, [desk, ..]) = house(504, 1, ["18 101", "0 101", "0 101", "0 101"]);
    let line = world.phones[desk].dial("*44");
    world.run(SECOND);
    let heard = &world.phones[desk].lines[line];
    assert_eq!(
        (heard.status, &*heard.warning),
        (Some(488), "305 edge1 \"no common codec: none of G729 is taken\"")
    );
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_cap_counts_calls_and_frees_them() {
    let (mut world, [desk, mobile, tablet, bob]) = house(503, 1, ["0 101", "0 101", "0 101", "9 101"]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    assert_eq!((world.phones[desk].lines[0].status, world.engine.core().transcoded), (Some(200), 1));
    world.phones[tablet].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.phones[tablet].lines[0].status, Some(488), "{}", world.tail());
    // The one that is there may move; it stays one.
    let line = world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!((becomes(&world, "alice*mobile"), world.engine.core().transcoded), (Some(Speech::G722), 1));
    world.phones[bob].bye(0);
    world.run(SECOND);
    world.phones[tablet].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.phones[tablet].lines[1].status, Some(200), "{}", world.tail());
    world.phones[tablet].bye(1);
    world.run(A_MINUTE);
    world.check_idle();
}

/// Nobody hears anybody, and yet the place is that of the call: it would fail at the resumption.
#[test]
fn a_call_that_is_held_both_ways_keeps_its_place() {
    let (mut world, [desk, .., bob]) = house(520, 1, ["0 101", "0 101", "0 101", "9 101"]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(becomes(&world, "alice*desk"), Some(Speech::G722));
    for (phone, direction) in [(desk, "inactive"), (desk, "sendrecv"), (bob, "inactive"), (bob, "sendrecv")] {
        world.phones[phone].reinvite(0, direction);
        world.run(SECOND);
        assert_eq!(world.phones[phone].lines[0].status, Some(200), "{direction}\n{}", world.tail());
        assert_eq!(world.engine.core().transcoded, 1, "{direction}");
    }
    assert_eq!(becomes(&world, "alice*desk"), Some(Speech::G722));
    world.phones[desk].bye(0);
    world.run(A_MINUTE);
    assert_eq!(world.engine.core().transcoded, 0);
    world.check_idle();
}
