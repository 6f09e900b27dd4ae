//! Moves: every door, every end.

use std::time::Duration;

use super::World;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

/// Alice's desk talks with Bob's desk; Alice's mobile is registered: the three phones.
fn talking(seed: u64) -> (World, usize, usize, usize) {
    let mut world = World::new(seed);
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let bob = world.phone("bob", "desk");
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    (world, desk, mobile, bob)
}

#[test]
fn a_pull_moves_the_call_and_the_far_side_hears_of_nothing() {
    let (mut world, desk, mobile, bob) = talking(10);
    let before = world.phones[bob].requests.len();
    let line = world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(world.phones[desk].lines[0].is_over, "the old device is released");
    assert!(world.phones[desk].lines[0].reason.contains("Call moved to mobile"));
    assert_eq!(world.phones[bob].requests.len(), before, "no re-INVITE was needed");
    assert_eq!(world.phones[mobile].lines[line].identity.as_deref(), Some("\"Bob\" <sip:1002@example.org>"));
    world.check();
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert!(world.phones[mobile].lines[line].is_over);
    let record = &world.records[0];
    assert_eq!(record.moves, 1);
    let devices: Vec<_> = record.segments.iter().map(|segment| segment.device.as_str()).collect();
    assert_eq!(devices, ["alice*desk", "bob*desk", "alice*mobile"]);
    assert_eq!(record.segments[2].gap_ms, Some(20.0));
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_old_device_is_held_off_for_its_time() {
    let (mut world, desk, mobile, _) = talking(11);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    let line = world.phones[desk].dial("*11");
    world.run(SECOND);
    let found = &world.phones[desk].lines[line];
    assert_eq!(found.status, Some(403), "{}", world.tail());
    assert!(found.retry_after.is_some_and(|seconds| (27..=29).contains(&seconds)), "{:?}", found.retry_after);
    world.phones[desk].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[0].status, Some(403), "{}", world.tail());
    world.run(30 * SECOND);
    let line = world.phones[desk].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
}
