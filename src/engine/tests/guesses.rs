//! Guessing of passwords: by whom it is counted, who is shut out for it, and who is not.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::engine::Settings;
use crate::engine::event::Event;
use crate::engine::store::{Loaded, StoreOp};

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

/// How a phone's REGISTER with new credentials is answered; `None`: not at all.
fn register(world: &mut World, phone: usize) -> Option<u16> {
    let handset = &mut world.phones[phone];
    (handset.registered, handset.challenge, handset.tries) = (None, None, 0);
    handset.register(60);
    world.run(SECOND / 50);
    world.phones[phone].registered
}

/// The same from somewhere else.
fn register_from(world: &mut World, phone: usize, address: SocketAddr) -> Option<u16> {
    world.phones[phone].address = address;
    register(world, phone)
}

fn somewhere(number: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 1 + (number % 250) as u8], 40_000))
}

fn become_user(world: &mut World, phone: usize, user: &str, password: &str) {
    let phone = &mut world.phones[phone];
    (phone.name, phone.auth_user, phone.password) = (user.into(), format!("{user}-desk"), password.into());
}

fn slowed(world: &World) -> usize {
    let is_slowed = |event: &&Event| matches!(event, Event::Security { what: "auth_slowed", .. });
    world.events.iter().filter(is_slowed).count()
}

#[test]
fn a_proof_shields_only_whom_it_is_of() {
    let allowed = vec![(IpAddr::from([198, 51, 100, 0]), 24)];
    for (allow, looked_at, then) in [(Vec::new(), 10, None), (allowed, 20, Some(503))] {
        let mut world = house(|settings| settings.ban.allow = allow);
        let alice = world.phone("alice", "desk");
        become_user(&mut world, alice, "bob", "guess");
        let answers: Vec<_> = (0..200).map(|_| register(&mut world, alice)).collect();
        assert!(answers[..looked_at].iter().all(|answer| *answer == Some(401)), "{answers:?}");
        assert!(answers[looked_at..].iter().all(|answer| *answer == then), "{answers:?}");
        become_user(&mut world, alice, "bob", "secret");
        assert_eq!(register(&mut world, alice), then, "the right one is not looked at either");
        become_user(&mut world, alice, "alice", "secret");
        assert_eq!(register(&mut world, alice), Some(200), "{}", world.tail());
    }
}

#[test]
fn who_guesses_from_everywhere_is_slowed_down_and_the_owner_is_not() {
    let mut world = house(|_| {});
    let bob = world.phone("bob", "desk");
    let thief = world.outsider("bob", somewhere(0));
    world.phones[thief].password = "guess".into();
    let answers: Vec<_> = (0..60).map(|number| register_from(&mut world, thief, somewhere(number))).collect();
    assert!(answers[..20].iter().all(|answer| *answer == Some(401)), "{answers:?}");
    assert!(answers[20..].iter().all(|answer| *answer == Some(503)), "{answers:?}");
    let counted = world.engine.counters();
    let throttled = answers.len() as u64 - 20;
    assert_eq!((counted.auth_failures, counted.auth_throttled), (20, throttled));
    assert_eq!(slowed(&world), 1);
    world.phones[thief].password = "secret".into();
    assert_eq!(register_from(&mut world, thief, somewhere(100)), Some(503));
    // Calls, refreshes and a phone that comes back from another port go on, and so does every other device.
    assert_eq!(register(&mut world, bob), Some(200), "{}", world.tail());
    world.phone("bob", "mobile");
    let line = world.phones[bob].dial("alice");
    world.run(SECOND / 10);
    assert_eq!(world.phones[bob].lines[line].status, Some(480), "alice is not registered");
    let moved = SocketAddr::new(world.phones[bob].address.ip(), 45_000);
    assert_eq!(register_from(&mut world, bob, moved), Some(200), "{}", world.tail());
    // One try a minute is left to whoever is new.
    world.run(60 * SECOND);
    assert_eq!(register_from(&mut world, thief, somewhere(101)), Some(200), "{}", world.tail());
}

#[test]
fn whether_there_is_an_account_does_not_show_when_it_is_slowed_down() {
    let heard = |user: &str| {
        let mut world = house(|_| {});
        let thief = world.outsider("bob", somewhere(0));
        become_user(&mut world, thief, user, "guess");
        world.captured = Some(std::collections::VecDeque::new());
        for number in 0..25 {
            register_from(&mut world, thief, somewhere(number));
        }
        let shape = |bytes: &bytes::Bytes| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            (text.lines().next().map(str::to_owned), text.len())
        };
        let told = world.heard_by_phones.iter().map(shape).collect::<Vec<_>>();
        assert_eq!(slowed(&world), 1);
        told
    };
    let (known, unknown) = (heard("bob"), heard("bib"));
    assert!(
        known.len() >= 50
            && known.iter().any(|(line, _)| line.as_deref() == Some("SIP/2.0 503 Service Unavailable"))
    );
    assert_eq!(known, unknown);
}

#[test]
fn a_restart_lifts_no_ban_and_no_budget_and_shuts_no_neighbour_out() {
    let mut world = house(|_| {});
    let (alice, _bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let office = world.phones[alice].address.ip();
    let thief = world.outsider("bob", SocketAddr::new(office, 61_000));
    world.phones[thief].password = "guess".into();
    for _ in 0..10 {
        assert_eq!(register(&mut world, thief), Some(401));
    }
    for number in 0..10 {
        assert_eq!(register_from(&mut world, thief, somewhere(number)), Some(401));
    }
    world.run(2 * SECOND);
    let mut loaded = Loaded::default();
    for op in &world.stored {
        match op {
            StoreOp::SaveFailures(rows) => {
                for row in rows {
                    loaded.failures.retain(|known| known.key != row.key);
                    loaded.failures.push(row.clone());
                }
            }
            StoreOp::SaveBindings(aors) => {
                for aor in aors {
                    loaded.bindings.retain(|known| known.user != aor.user);
                    loaded.bindings.push(aor.clone());
                }
            }
            _ => {}
        }
    }
    assert_eq!(loaded.bindings.len(), 2);
    assert!(loaded.failures.iter().all(|row| *row.kind == *"digest"), "{:?}", loaded.failures);
    let mut world = World::with(18, settings(), accounts(&["alice", "bob"]), &loaded);
    // They are where they were: the one behind a banned source, the other with an account that is guessed at.
    let (alice, _bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    assert_eq!(world.phones[alice].address.ip(), office);
    let thief = world.outsider("bob", SocketAddr::new(office, 61_000));
    assert_eq!(register(&mut world, thief), None);
    assert_eq!(register_from(&mut world, thief, somewhere(200)), Some(503));
}
