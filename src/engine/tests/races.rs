//! Races: three devices, two calls, hang-ups, loss and a store that fails, in every order that a seed makes.

use std::time::Duration;

use super::world::{Network, accounts, settings};
use super::{Answer, World};
use crate::base::Random;
use crate::call::LegState;
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

/// Seeds that once found a fault; they are run each time.
const KEPT: [u64; 0] = [];

/// Seeds run each time.
const EACH_TIME: u64 = 400;

#[test]
fn races_leave_every_call_whole() {
    run(KEPT.into_iter().chain(0..EACH_TIME));
}

/// `cargo test --release --lib -- --ignored ten_thousand`.
#[test]
#[ignore = "takes minutes in a debug build"]
fn ten_thousand_races_leave_every_call_whole() {
    run(0..10_000);
}

fn run(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        assert!(std::panic::catch_unwind(|| race(seed)).is_ok(), "seed {seed}");
    }
}

fn race(seed: u64) {
    let mut random = Random::from_number(seed);
    let mut settings = settings();
    if random.below(3) == 0 {
        settings.moving.re_invite = crate::moving::ReInvite::Always;
    }
    settings.moving.hold_off = Duration::from_secs(random.below(4));
    let mut world = World::with(seed, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default());
    let own = [world.phone("alice", "desk"), world.phone("alice", "mobile"), world.phone("alice", "tablet")];
    let (bob, carol) = (world.phone("bob", "desk"), world.phone("carol", "desk"));
    for phone in [own[0], own[1], own[2], bob, carol] {
        world.phones[phone].codecs = ["0 8 101", "0 101", "8 101", "8 0 101"][random.below(4) as usize];
    }
    for phone in own {
        world.phones[phone].answer = if random.below(3) == 0 { Answer::Now } else { Answer::Ring };
    }
    world.network = Network {
        delay: Duration::from_millis(1 + random.below(10)),
        jitter: Duration::from_millis(random.below(30)),
        loss: if random.below(2) == 0 { 0 } else { random.below(60) },
    };
    world.phones[own[0]].dial("bob");
    world.phones[carol].dial("alice");
    world.run(Duration::from_millis(300 + random.below(700)));
    for phone in own {
        // Whoever rings may answer.
        let ringing = world.phones[phone].lines.iter().position(|line| line.rings());
        if let Some(line) = ringing {
            world.phones[phone].pick_up(line);
        }
    }
    for _ in 0..4 + random.below(12) {
        world.run(Duration::from_millis(random.below(400)));
        act(&mut world, &mut random, own, [bob, carol]);
        world.check();
    }
    settle(&mut world, [own[0], own[1], own[2], bob, carol]);
}

/// One thing that somebody does.
fn act(world: &mut World, random: &mut Random, own: [usize; 3], far: [usize; 2]) {
    let device = own[random.below(3) as usize];
    let other = far[random.below(2) as usize];
    let line_of = |world: &World, phone: usize| {
        world.phones[phone].lines.iter().position(|line| line.is_up && !line.is_over)
    };
    match random.below(12) {
        0..=3 => {
            world.phones[device].dial(["*11", "*11*2", "*11*desk", "*11*mobile"][random.below(4) as usize]);
        }
        4 => {
            if let Some(line) = line_of(world, device) {
                let target = ["desk", "mobile", "tablet"][random.below(3) as usize];
                let refer_to = format!("<sip:alice*{target}@example.org>");
                world.phones[device].request(line, &Method::Refer, &[("Refer-To", &refer_to)], b"");
            }
        }
        5 => {
            world.phones[device].dial(["*12*tablet", "*12"][random.below(2) as usize]);
        }
        6 => {
            if let Some(line) = line_of(world, device) {
                world.phones[device].bye(line);
            }
        }
        7 => {
            if let Some(line) = line_of(world, other)
                && random.below(3) == 0
            {
                world.phones[other].bye(line);
            }
        }
        8 => {
            if let Some(line) = line_of(world, other) {
                let direction = ["sendrecv", "sendonly", "inactive"][random.below(3) as usize];
                world.phones[other].reinvite(line, direction);
            }
        }
        9 => world.phones[other].reinvite = [200, 491, 488, 500][random.below(4) as usize],
        10 => {
            if let Some(line) = world.phones[device].lines.iter().rposition(|line| line.status.is_none()) {
                world.phones[device].cancel(line);
            }
        }
        _ => {
            world.store_works = random.below(2) == 0;
            world.store_answers = random.below(4) != 0;
            if random.below(2) == 0 {
                world.silent =
                    vec![format!("alice*{}", ["desk", "mobile", "tablet"][random.below(3) as usize])];
            } else {
                world.silent.clear();
            }
        }
    }
}

/// All that is under way comes to its end; then everybody hangs up, and nothing may be left.
fn settle(world: &mut World, phones: [usize; 5]) {
    (world.store_works, world.store_answers) = (true, true);
    world.network.loss = 0;
    for phone in phones {
        world.phones[phone].reinvite = 200;
    }
    world.run(Duration::from_secs(200));
    world.check();
    for (_, call) in world.engine.core().calls.iter() {
        assert!(!call.moving, "a move never ended\n{}", world.tail());
    }
    for phone in phones {
        for line in &world.phones[phone].lines {
            let is_idle = line.status.is_some() || line.is_up || line.is_over;
            assert!(is_idle, "an INVITE never got its final answer\n{}", world.tail());
            if line.is_up && !line.is_over {
                let known = world.engine.core().legs.iter().any(|(_, leg)| {
                    *leg.dialog.call_id == *line.dialog.call_id && leg.state == LegState::Confirmed
                });
                assert!(known, "phone {phone} is in a call that nobody else is in\n{}", world.tail());
            }
        }
    }
    for phone in phones {
        for line in 0..world.phones[phone].lines.len() {
            let found = &world.phones[phone].lines[line];
            if found.is_up && !found.is_over {
                world.phones[phone].bye(line);
            }
        }
    }
    world.run(Duration::from_secs(120));
    world.check_idle();
}
