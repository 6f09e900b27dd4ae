//! What many tests begin with.

use std::time::Duration;

use super::World;
use crate::engine::command::{Command, MoveMode, Reply, StartMove, Subject};
use crate::moving::Trigger;

/// The world, Alice's desk, her mobile, Bob's desk: registered.
pub(super) fn three_phones(seed: u64) -> (World, usize, usize, usize) {
    let mut world = World::new(seed);
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let bob = world.phone("bob", "desk");
    (world, desk, mobile, bob)
}

/// The same, and Alice's desk talks with Bob's.
#[track_caller]
pub(super) fn talking(seed: u64) -> (World, usize, usize, usize) {
    let (mut world, desk, mobile, bob) = three_phones(seed);
    world.phones[desk].dial("bob");
    world.run(Duration::from_secs(2));
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    (world, desk, mobile, bob)
}

/// A device of Alice's is asked to call; what she is told.
pub(super) fn refer_to(world: &mut World, device: &str) -> Reply {
    let start = StartMove {
        user: "alice".into(),
        call: None,
        to_device: Some(device.into()),
        mode: MoveMode::Refer,
        trigger: Trigger::Http,
    };
    world.ask(Subject::User("alice".into()), Command::StartMove(start))
}

/// The same, where it can be asked; the id of the move.
#[track_caller]
pub(super) fn refer(world: &mut World, device: &str) -> String {
    match refer_to(world, device) {
        Reply::Move(view) => view.id,
        other => panic!("{other:?}"),
    }
}
