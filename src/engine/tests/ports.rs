//! Media ports that run out: calls are refused with a word about when to come again, and go on when there are some.

use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::engine::store::Loaded;
use crate::media::relay::MediaCommand;

const SECOND: Duration = Duration::from_secs(1);

/// Alice and Bob talk so many times, and Carol calls Bob: the status that she gets and when she is to try again.
fn third_party_of(mut world: World, talks: usize) -> (World, Option<u16>, Option<u64>) {
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let carol = world.phone("carol", "desk");
    let talks: Vec<_> = (0..talks)
        .map(|index| {
            let talk = world.phones[alice].dial("bob");
            world.run(2 * SECOND);
            assert!(world.phones[alice].lines[talk].is_up && world.phones[bob].lines[index].is_up);
            talk
        })
        .collect();
    let line = world.phones[carol].dial("bob");
    world.run(2 * SECOND);
    let refused = &world.phones[carol].lines[line];
    let (status, wait) = (refused.status, refused.retry_after.map(u64::from));
    let stand = talks.iter().all(|talk| world.phones[alice].lines[*talk].is_up);
    assert!(stand, "the calls that stand are none the worse");
    // The ports of the call that ends come back after their rest.
    talks.into_iter().for_each(|talk| world.phones[alice].bye(talk));
    world.run(6 * SECOND);
    let line = world.phones[carol].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.phones[carol].lines[line].status, Some(200), "{}", world.tail());
    world.phones[carol].bye(line);
    world.run(100 * SECOND);
    world.check_idle();
    (world, status, wait)
}

fn people() -> crate::registrar::accounts::Accounts {
    accounts(&["alice", "bob", "carol"])
}

#[test]
fn calls_beyond_the_ports_that_may_be_open_are_told_when_to_come_again() {
    let mut settings = settings();
    settings.call.media.pairs = 2;
    let (world, status, wait) = third_party_of(World::with(5, settings, people(), &Loaded::default()), 1);
    assert_eq!((status, wait), (Some(503), Some(5)));
    let asked: Vec<_> = world
        .media
        .iter()
        .filter_map(|command| match command {
            MediaCommand::OpenPorts { count, .. } => Some(*count),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [2], "no more are asked for than may be");
}

#[test]
fn calls_are_told_when_to_come_again_where_the_system_opens_no_more_ports() {
    let mut world = World::with(5, settings(), people(), &Loaded::default());
    // Eight are asked for at once, and more when those are there.
    world.openable = 0;
    let (world, status, wait) = third_party_of(world, 4);
    assert_eq!((status, wait), (Some(503), Some(5)));
    let failure = world.engine.core().ports.failure().unwrap_or_default().to_owned();
    assert!(failure.contains("too many open files"), "{failure}");
}
