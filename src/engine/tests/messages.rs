//! MESSAGE to every device of a user, and what a trunk tells of waiting messages.

use std::time::Duration;

use super::{Answer, World};
use crate::wire::sip::{Method, StatusCode};

const SECOND: Duration = Duration::from_secs(1);

fn count(world: &World, phone: usize, method: &str) -> usize {
    world.phones[phone].requests.iter().filter(|request| *request == method).count()
}

/// The answer to a MESSAGE of Alice's to Bob's devices, which answer so.
fn send(seed: u64, answers: [u16; 2]) -> (World, Option<u16>) {
    let mut world = World::new(seed);
    let alice = world.phone("alice", "desk");
    let bobs = [world.phone("bob", "desk"), world.phone("bob", "mobile")];
    for (phone, answer) in bobs.into_iter().zip(answers) {
        world.phones[phone].text_answer = StatusCode::new(answer);
        world.phones[phone].answer = Answer::Ring;
    }
    let line = world.phones[alice].request_to("bob", &Method::Message, &[]);
    world.run(40 * SECOND);
    for phone in bobs {
        assert!(count(&world, phone, "MESSAGE") >= 1, "{}", world.tail());
    }
    let status = world.phones[alice].lines[line].status;
    (world, status)
}

#[test]
fn a_message_goes_to_every_device_and_the_best_answer_comes_back() {
    for (answers, best) in [
        ([200, 200], 200),
        ([486, 200], 200),
        ([202, 486], 202),
        ([480, 486], 486),
        ([415, 603], 603),
        ([0, 200], 200),
        ([401, 401], 403),
    ] {
        let (mut world, status) = send(950, answers);
        assert_eq!(status, Some(best), "{answers:?}\n{}", world.tail());
        world.run(40 * SECOND);
        assert!(world.engine.core().spreads.is_empty());
        world.check_idle();
    }
}

#[test]
fn a_message_to_one_device_goes_there_alone() {
    let mut world = World::new(951);
    let alice = world.phone("alice", "desk");
    let (desk, mobile) = (world.phone("bob", "desk"), world.phone("bob", "mobile"));
    let line = world.phones[alice].request_to("bob*mobile", &Method::Message, &[]);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!((count(&world, desk, "MESSAGE"), count(&world, mobile, "MESSAGE")), (0, 1));
}
