//! A node that cannot keep up refuses what is new, and serves what it has begun.

use std::time::Duration;

use super::World;
use super::world::accounts;
use crate::engine::Input;
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let names = accounts(&["alice", "bob", "carol"]);
    World::with(5, super::world::settings(), names, &Loaded::default())
}

#[test]
fn calls_that_live_and_moves_go_on_while_new_calls_are_refused() {
    let mut world = world();
    let (alice, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let (bob, carol) = (world.phone("bob", "desk"), world.phone("carol", "desk"));
    let talk = world.phones[alice].dial("bob");
    world.run(2 * SECOND);
    assert!(world.phones[alice].lines[talk].is_up && world.phones[bob].lines[0].is_up);
    world.input(Input::Pressure { share: 100 });

    let line = world.phones[carol].dial("bob");
    world.run(SECOND);
    let refused = &world.phones[carol].lines[line];
    assert_eq!(refused.status, Some(503), "{}", world.tail());
    assert!(
        refused.retry_after.is_some_and(|seconds| (2..8).contains(&seconds)),
        "{:?}",
        refused.retry_after
    );
    for method in [Method::Message, Method::Subscribe] {
        let line = world.phones[carol].request_to("bob", &method, &[("Event", "dialog")]);
        world.run(SECOND);
        assert_eq!(world.phones[carol].lines[line].status, Some(503), "{method:?}");
    }
    let line = world.phones[carol].dial("112");
    world.run(SECOND);
    assert_ne!(world.phones[carol].lines[line].status, Some(503), "an emergency call is judged by its route");

    world.phones[alice].reinvite(talk, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[talk].status, Some(200));
    let pull = world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert!(world.phones[mobile].lines[pull].is_up, "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"]);
    world.phones[mobile].bye(pull);
    world.run(SECOND);
    assert!(world.phones[bob].lines[0].is_over);

    world.input(Input::Pressure { share: 0 });
    let line = world.phones[carol].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[carol].lines[line].status, Some(200));
    assert_eq!(world.engine.counters().overload_refusals, 3);
    world.hang_up_all();
    world.run(70 * SECOND);
    world.check_idle();
}

#[test]
fn a_share_is_a_share_and_registrations_come_before_calls() {
    let mut world = world();
    let carol = world.phone("carol", "desk");
    world.input(Input::Pressure { share: 40 });
    let refused = (0..200)
        .filter(|_| {
            let line = world.phones[carol].dial("404");
            world.run(Duration::from_millis(200));
            world.phones[carol].lines[line].status == Some(503)
        })
        .count();
    assert!((55..105).contains(&refused), "{refused} of 200 at 40 %");
    // Who is not registered, and who is and renews that.
    let [one, other] = [9, 10].map(|host| world.outsider("carol", ([203, 0, 113, host], 5060).into()));
    for (phone, share, is_refused) in [(one, 50, false), (other, 100, true), (carol, 100, false)] {
        world.input(Input::Pressure { share });
        let line = world.phones[phone].request_to("carol", &Method::Register, &[]);
        world.run(SECOND);
        let status = world.phones[phone].lines[line].status;
        assert_eq!(status == Some(503), is_refused, "{status:?} at {share} %");
    }
}
