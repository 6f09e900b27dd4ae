//! What a lossy stream scores, counted by the relay and computed by the E-model.

use super::*;
use crate::media::codec::Codec;
use crate::media::quality::{Impairment, Measured, score};

/// Sends `count` packets of a phone on its clock; of each `every`, the first `missing` get lost on the way.
fn send_lossy(world: &mut World, phone: &mut Phone, count: u32, every: u32, missing: u32) {
    for n in 0..count {
        world.pass(ms(20));
        if n % every >= every - missing {
            phone.packet(0, phone.timestamp, &[]);
            phone.timestamp = phone.timestamp.wrapping_add(160);
        } else {
            world.send(phone);
        }
    }
}

/// The score of 1000 packets under that loss, and what was measured.
fn lossy(every: u32, missing: u32) -> (f64, Measured) {
    let mut world = World::new();
    let (mut desk, far) = (world.phone("192.0.2.1:4000"), world.phone("192.0.2.2:4000"));
    world.call(&desk, &far);
    send_lossy(&mut world, &mut desk, 1001, every, missing);
    let measured = world.stats(desk.port).measured();
    (measured.mos(&Codec::PCMU).unwrap(), measured)
}

#[test]
fn injected_loss_scores_as_the_formula_says() {
    for (every, percent, published) in [(u32::MAX, 0.0, 4.41), (100, 1.0, 4.33), (20, 5.0, 3.92)] {
        let missing = u32::from(every != u32::MAX);
        let (mos, measured) = lossy(every, missing);
        assert!((measured.loss() * 100.0 - percent).abs() < 0.02, "{measured:?}");
        assert!((mos - published).abs() <= 0.02, "{mos} is not {published}");
    }
}

#[test]
fn holes_are_counted_once_however_long_and_bunched_loss_scores_less() {
    let (alone, single) = lossy(20, 1);
    let (bunched, measured) = lossy(100, 5);
    assert_eq!((single.lost, single.bursts), (50, 50));
    assert_eq!((measured.lost, measured.bursts), (50, 10));
    let loss = 50.0 / 1001.0;
    let formula = score(93.2 - Impairment::G711.effective(loss, 5.0 * (1.0 - loss)));
    assert!((bunched - formula).abs() <= 0.02, "{bunched} is not {formula}");
    assert!(bunched < alone - 0.05, "{bunched} {alone}");
}

#[test]
fn jitter_costs_delay_and_a_move_keeps_the_streams_apart() {
    let mut world = World::new();
    let [mut desk, mut mobile, far] =
        ["192.0.2.1:4000", "192.0.2.3:4000", "192.0.2.2:4000"].map(|address| world.phone(address));
    world.call(&desk, &far);
    send_lossy(&mut world, &mut desk, 501, 20, 1);
    world.swap(&far, &desk, &mobile);
    for n in 0..500u64 {
        world.pass(ms(if n % 2 == 0 { 0 } else { 40 }));
        world.send(&mut mobile);
    }
    let (before, after) = (world.stats(desk.port).measured(), world.stats(mobile.port).measured());
    assert_eq!((before.lost, after.lost, after.bursts), (25, 0, 0));
    assert_eq!(before.delay, ms(20), "no jitter");
    assert!(
        (ms(58)..=ms(60)).contains(&after.delay),
        "one packet, and twice a deviation of 20 ms: {after:?}"
    );
    assert_eq!((before.mos(&Codec::PCMA), after.mos(&Codec::PCMA)), (Some(3.92), Some(4.41)));
}

#[test]
fn a_packet_that_nobody_expected_is_none_that_was_lost() {
    let mut world = World::new();
    let (mut desk, far) = (world.phone("192.0.2.1:4000"), world.phone("192.0.2.2:4000"));
    world.call(&desk, &far);
    for _ in 0..10 {
        send_lossy(&mut world, &mut desk, 50, u32::MAX, 0);
        let sequence = desk.sequence;
        desk.sequence = sequence.wrapping_add(30_000);
        world.send(&mut desk);
        desk.sequence = sequence;
    }
    let stats = world.stats(desk.port);
    assert_eq!(stats.dropped(DropReason::OutOfSequence), 10);
    assert_eq!((stats.measured().expected, stats.measured().lost), (500, 0));
}
