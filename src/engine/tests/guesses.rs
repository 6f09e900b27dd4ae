//! Guessing of passwords: by whom it is counted, who is shut out for it, and who is not.

use std::net::SocketAddr;
use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::engine::Settings;
use crate::engine::event::Event;
use crate::engine::store::Loaded;

const SECOND: Duration = Duration::from_secs(1);
const STRANGER: &str = "203.0.113.99:40000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn house(change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    change(&mut settings);
    World::with(17, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default())
}

#[test]
fn wrong_passwords_shut_out_their_source_and_nobody_else() {
    let mut world = house(|_| {});
    let alice = world.phone("alice", "desk");
    let thief = world.outsider("alice", at(STRANGER));
    world.phones[thief].password = "guess".into();
    for _ in 0..10 {
        world.phones[thief].register(60);
        world.run(SECOND);
    }
    let banned = |event: &&Event| matches!(event, Event::Security { what: "banned", .. });
    assert_eq!(world.events.iter().filter(banned).count(), 1, "{}", world.tail());
    world.log.clear();
    world.phones[thief].password = "secret".into();
    world.phones[thief].register(60);
    world.run(SECOND);
    assert!(!world.log.iter().any(|line| line.contains("→ 203.0.113.99")), "{}", world.tail());
    world.phones[alice].register(600);
    world.run(SECOND);
    assert_eq!(world.phones[alice].registered, Some(200));
}

#[test]
fn a_phone_with_an_old_password_does_not_shut_out_its_neighbours() {
    let mut world = house(|_| {});
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    // One office behind one address: its phones differ by port.
    let office = world.phones[alice].address.ip();
    let stale = world.outsider("carol", SocketAddr::new(office, 61_000));
    world.phones[alice].dial("bob");
    world.run(SECOND);
    world.phones[stale].password = "old".into();
    for _ in 0..12 {
        world.phones[stale].register(60);
        world.run(SECOND);
    }
    assert!(world.events.iter().any(|event| matches!(event, Event::Security { what: "banned", .. })));
    world.phones[alice].bye(0);
    world.run(SECOND);
    assert!(world.phones[bob].lines[0].is_over, "its BYE is heard\n{}", world.tail());
    world.phones[alice].register(600);
    let line = world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200));
    world.log.clear();
    world.phones[stale].register(60);
    world.run(SECOND);
    assert!(!world.log.iter().any(|line| line.contains(&format!("→ {office}"))), "{}", world.tail());
}

#[test]
fn a_wrong_password_of_a_neighbour_lifts_no_ban() {
    let mut world = house(|settings| {
        (settings.ban.failures, settings.ban.window) = (3, 2 * SECOND);
    });
    let alice = world.phone("alice", "desk");
    let thief = world.outsider("bob", SocketAddr::new(world.phones[alice].address.ip(), 61_000));
    world.phones[thief].password = "guess".into();
    world.phones[thief].registered = None;
    for _ in 0..3 {
        world.phones[thief].register(60);
        world.run(SECOND / 4);
    }
    let is_banned = |world: &World| world.engine.bans.is_banned(world.now.at, world.phones[thief].address);
    assert!(is_banned(&world), "{}", world.tail());
    world.run(11 * SECOND / 5);
    world.phones[alice].password = "mistyped".into();
    world.phones[alice].register(600);
    world.run(SECOND);
    assert!(is_banned(&world), "{}", world.tail());
    world.log.clear();
    world.phones[thief].register(60);
    world.run(SECOND);
    assert!(!world.log.iter().any(|line| line.contains("→ 198.51.100.")), "{}", world.tail());
}
