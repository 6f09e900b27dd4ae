//! Calls that a device is shown as not movable since it shares no codec with the far side.

use std::time::Duration;

use super::watch::{no, only, subscribe};
use super::{World, three_phones};
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::view::PageQuery;
use crate::wire::dialog_info::Movable;

const SECOND: Duration = Duration::from_secs(1);

/// A device calls the echo and hangs up: so its codecs get known.
fn show_abilities(world: &mut World, phone: usize, codecs: &'static str) {
    world.phones[phone].codecs = codecs;
    let line = world.phones[phone].dial("*43");
    world.run(SECOND);
    if !world.phones[phone].lines[line].is_over {
        world.phones[phone].bye(line);
    }
    world.run(SECOND);
}

/// Why the desk's leg cannot be moved, as the list of calls has it.
fn immovable(world: &mut World) -> Option<String> {
    let list = Command::ListCalls { user: None, page: PageQuery::default() };
    let Reply::Calls(mut page) = world.ask(Subject::Admin, list) else { panic!() };
    page.items.remove(0).legs.remove(0).immovable
}

#[test]
fn a_device_without_a_codec_of_the_far_side_sees_that_it_cannot_take_the_call() {
    let (mut world, desk, mobile, bob) = three_phones(420);
    show_abilities(&mut world, bob, "0 8 101");
    show_abilities(&mut world, mobile, "9 101");
    subscribe(&mut world, mobile, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let dialog = only(&world, mobile);
    assert_eq!((dialog.movable, dialog.call_id), (no("no-common-media"), None), "G.722 against G.711");
    assert_eq!(immovable(&mut world).as_deref(), Some("offer_unusable"), "the mobile is the only other one");
    world.phone("alice", "tablet");
    world.run(SECOND);
    assert_eq!(immovable(&mut world), None, "of the tablet nothing is known");

    show_abilities(&mut world, mobile, "9 8 101");
    let dialog = only(&world, mobile);
    assert_eq!(dialog.movable, Some(Movable::Yes), "it has G.711 now");
    assert!(dialog.call_id.is_some());
}

#[test]
fn what_is_not_known_bars_nothing_and_what_is_shown_bars_no_offer() {
    let (mut world, desk, mobile, bob) = three_phones(421);
    show_abilities(&mut world, mobile, "9 101");
    subscribe(&mut world, mobile, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    assert_eq!(
        only(&world, mobile).movable,
        Some(Movable::Yes),
        "an answer says little of what Bob's phone can do"
    );
    world.phones[desk].bye(0);
    world.run(SECOND);

    show_abilities(&mut world, bob, "0 8 101");
    let line = world.phones[desk].dial("bob");
    world.run(SECOND);
    assert_eq!(only(&world, mobile).movable, no("no-common-media"));
    // Its user has changed the settings of the mobile meanwhile: what counts is what it offers.
    world.phones[mobile].codecs = "8 101";
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert!(world.phones[desk].lines[line].is_over);
}

#[test]
fn software_with_a_long_name_is_known_again() {
    let (mut world, desk, mobile, bob) = three_phones(422);
    show_abilities(&mut world, bob, "0 8 101");
    let software = "Phone ".repeat(40);
    world.phones[mobile].software.clone_from(&software);
    world.phones[mobile].register(3600);
    world.run(SECOND);
    world.phones[mobile].codecs = "9 101";
    let line = world.phones[mobile].dial_with("*43", &[("User-Agent", &software)], true);
    world.run(SECOND);
    world.phones[mobile].bye(line);
    world.run(SECOND);
    subscribe(&mut world, mobile, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    assert_eq!(only(&world, mobile).movable, no("no-common-media"), "{}", world.tail());
}
