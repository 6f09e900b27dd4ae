//! What the relay does by itself: digits, sounds, echo, silence, counters.

use super::*;
use crate::wire::rtp::TelephoneEvent;

const ALICE: &str = "192.0.2.1:4000";
const BOB: &str = "198.51.100.9:7000";
const MU: Voice = Voice { law: Law::Mu, payload: 0 };

/// Presses a key for 100 ms; packets whose number (0 to 7) is in `lost` do not arrive.
fn press(world: &mut World, phone: &mut Phone, digit: char, lost: &[usize]) {
    let started = phone.timestamp;
    for n in 0..8usize {
        let event = TelephoneEvent {
            event: TelephoneEvent::of(digit).unwrap(),
            end: n >= 5,
            volume: 10,
            duration: 160 * (n as u16 + 1).min(6),
        };
        let bytes = phone.packet(101, started, &event.to_bytes());
        if !lost.contains(&n) {
            world.receive(phone.port, Component::Rtp, phone.addr, &bytes);
        }
        world.pass(if n < 5 { ms(20) } else { ms(0) });
    }
    phone.timestamp = started.wrapping_add(960);
}

fn digits(events: Vec<MediaEvent>) -> String {
    events
        .into_iter()
        .filter_map(|e| if let MediaEvent::Dtmf { digit, .. } = e { Some(digit) } else { None })
        .collect()
}

#[test]
fn digits_are_told_once_whatever_is_lost_and_without_anybody_to_send_to() {
    let mut world = World::new();
    let mut alice = world.phone_with(ALICE, |i| (i.telephone_event, i.report_dtmf) = (Some(101), true));
    for (digit, lost) in [('1', &[][..]), ('1', &[0]), ('0', &[5, 6, 7]), ('#', &[0, 1, 2, 3, 4, 5, 6])] {
        press(&mut world, &mut alice, digit, lost);
        world.pass(ms(100));
        alice.timestamp = alice.timestamp.wrapping_add(800);
    }
    assert_eq!(digits(world.events()), "110#");
}

#[test]
fn a_key_that_was_pressed_before_anybody_listened_is_not_heard_from_its_middle() {
    let mut world = World::new();
    let mut alice = world.phone_with(ALICE, |i| (i.telephone_event, i.report_dtmf) = (Some(101), true));
    let bob = world.phone(BOB);
    let key = |phone: &mut Phone, started: u32, n: u16, end: bool| {
        let event =
            TelephoneEvent { event: TelephoneEvent::of('#').unwrap(), end, volume: 10, duration: 160 * n };
        phone.packet(101, started, &event.to_bytes())
    };
    let started = alice.timestamp;
    let first = key(&mut alice, started, 1, false);
    world.receive(alice.port, Component::Rtp, alice.addr, &first);
    assert_eq!(digits(world.events()), "#");
    world.call(&alice, &bob);
    for n in 2..6 {
        let held = key(&mut alice, started, n, n > 3);
        assert_eq!(
            world.receive(alice.port, Component::Rtp, alice.addr, &held),
            Verdict::Dropped(DropReason::NoSink)
        );
    }
    alice.timestamp = started.wrapping_add(960);
    world.send(&mut alice);
    press(&mut world, &mut alice, '5', &[]);
    assert_eq!(world.heard_by(&bob).len(), 9, "speech and the next key are heard");
}

#[test]
fn digits_cross_untold_unless_asked_for() {
    let mut world = World::new();
    let mut alice = world.phone_with(ALICE, |i| i.telephone_event = Some(101));
    let bob = world.phone(BOB);
    world.call(&alice, &bob);
    world.send(&mut alice);
    world.pass(ms(20));
    press(&mut world, &mut alice, '5', &[]);
    world.send(&mut alice);
    assert_eq!(digits(world.events()), "");
    let heard = world.heard_by(&bob);
    assert_eq!(heard.len(), 10);
    let stamps: Vec<u32> =
        heard.iter().map(|s| s.header().timestamp.wrapping_sub(heard[0].header().timestamp)).collect();
    assert_eq!(stamps, [0, 160, 160, 160, 160, 160, 160, 160, 160, 1120]);
    assert_eq!(world.stats(alice.port).jitter_us, 0, "event packets are not part of the jitter");
}

#[test]
fn a_tone_is_paced_and_takes_the_place_of_the_other_side_until_stopped() {
    let mut world = World::new();
    let (alice, mut bob) = (world.phone(ALICE), world.phone(BOB));
    world.call(&alice, &bob);
    for _ in 0..5 {
        world.send(&mut bob);
        world.pass(ms(20));
    }
    world.command(MediaCommand::Play { port: alice.port, sound: Sound::Tone(440), voice: MU });
    for _ in 0..50 {
        while world.relay.poll_timeout().is_some_and(|due| due < world.log.now + ms(20)) {
            let due = world.relay.poll_timeout().unwrap();
            let wait = due.since(world.log.now);
            world.pass(wait);
        }
        assert_eq!(world.send(&mut bob), Verdict::Dropped(DropReason::Covered));
        world.pass(
            ms(20)
                - world.log.now.since(Timestamp::ZERO).as_micros() as u32 % 20_000 * Duration::from_micros(1),
        );
    }
    world.command(MediaCommand::Stop { port: alice.port });
    world.pass(ms(20));
    world.send(&mut bob);
    world.pass(ms(20));
    world.send(&mut bob);
    let heard = world.heard_by(&alice);
    assert!((57..=59).contains(&heard.len()), "{}", heard.len());
    assert_continuous(&heard);
    assert_eq!(heard.iter().filter(|s| s.header().marker).count(), 3);
}

#[test]
fn a_prompt_is_told_when_it_is_through_and_digits_are_heard_meanwhile() {
    let mut world = World::new();
    let mut alice = world.phone_with(ALICE, |i| (i.telephone_event, i.report_dtmf) = (Some(101), true));
    world.command(MediaCommand::Play { port: alice.port, sound: Sound::Prompt(Prompt::Pin), voice: MU });
    press(&mut world, &mut alice, '7', &[]);
    for _ in 0..30 {
        world.pass(ms(20));
    }
    let events = world.events();
    assert_eq!(events.iter().filter(|e| **e == MediaEvent::Played { port: alice.port }).count(), 1);
    assert_eq!(digits(events), "7");
    world.heard_by(&alice);
    world.pass(ms(20));
    assert_eq!(world.heard_by(&alice)[0].bytes[12..], [0xff; 160], "silence until stopped");
}

#[test]
fn an_echo_comes_back_under_another_ssrc() {
    let mut world = World::new();
    let mut alice = world.phone(ALICE);
    world.command(MediaCommand::Echo { port: alice.port });
    for n in 0..20u8 {
        world.send_as(&mut alice, 0, &[n; 160]);
        world.pass(ms(20));
    }
    let heard = world.heard_by(&alice);
    assert_ne!(assert_continuous(&heard), alice.ssrc, "else it is a loop (RFC 3550 8.2)");
    assert!(heard.iter().enumerate().all(|(n, s)| s.to == alice.addr && s.bytes[20] == n as u8));
    world.command(MediaCommand::Stop { port: alice.port });
    assert_eq!(world.send(&mut alice), Verdict::Dropped(DropReason::NoSink));
}

#[test]
fn silence_is_told_once_and_again_after_a_packet() {
    let mut world = World::new();
    let mut alice = world.phone_with(ALICE, |i| i.timeout = Some(ms(1000)));
    let quiet = MediaEvent::Quiet { port: alice.port };
    world.send(&mut alice);
    world.events();
    for _ in 0..49 {
        world.pass(ms(20));
        world.send(&mut alice);
    }
    world.pass(ms(990));
    assert_eq!(world.events(), []);
    world.pass(ms(10));
    assert_eq!(world.events(), std::slice::from_ref(&quiet));
    world.pass(ms(5000));
    assert_eq!(world.events(), [], "once");
    world.send(&mut alice);
    world.pass(ms(2000));
    assert_eq!(world.events(), [MediaEvent::Heard { port: alice.port }, quiet], "and that it is back");
    world.command(MediaCommand::Configure {
        port: alice.port,
        ingress: Ingress::audio(Some(alice.addr), Some(alice.addr.ip())),
    });
    world.pass(ms(60_000));
    assert_eq!(world.events(), [], "silence is expected");
    world.command(MediaCommand::Release { port: alice.port });
    world.pass(ms(8_000));
    assert_eq!(world.relay.poll_timeout(), None);
}

#[test]
fn counters_say_what_happened_and_the_last_word_comes_with_the_release() {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.phone(ALICE), world.phone(BOB));
    world.call(&alice, &bob);
    for n in 0..100 {
        if n % 10 == 3 {
            alice.packet(0, 0, &[]);
            alice.timestamp += 160;
        } else {
            world.send(&mut alice);
        }
        world.send(&mut bob);
        world.pass(ms(20));
    }
    let events = world.events();
    assert_eq!(events, [alice.port, bob.port].map(|port| MediaEvent::Heard { port }));
    world.command(MediaCommand::Release { port: alice.port });
    let Some(MediaEvent::Stats { stats, .. }) = world.events().pop() else { panic!() };
    assert_eq!((stats.received, stats.received_bytes, stats.sent), (90, 90 * 172, 100));
    assert_eq!((stats.expected, stats.lost), (100, 10));
    assert_eq!((stats.source, stats.source_ssrc), (Some(alice.addr), Some(alice.ssrc)));
    assert_eq!(world.relay.totals().lost, 10);
    assert_eq!((world.relay.totals().received, world.relay.totals().sent), (190, 190));
    assert_eq!(world.send(&mut alice), Verdict::Dropped(DropReason::Unused));
}

#[test]
fn a_send_that_fails_is_counted() {
    struct Broken;
    impl Outlet for Broken {
        fn send(&mut self, _: u32, _: Component, _: SocketAddr, _: &[u8]) -> bool {
            false
        }
        fn event(&mut self, _: MediaEvent) {}
    }
    let mut world = World::new();
    let (mut alice, bob) = (world.phone(ALICE), world.phone(BOB));
    world.call(&alice, &bob);
    let mut bytes = alice.packet(0, 0, &[0; 160]);
    let slot = alice.port.slot;
    let verdict =
        world.relay.handle_packet(world.log.now, slot, Component::Rtp, alice.addr, &mut bytes, &mut Broken);
    assert_eq!(verdict, Verdict::Dropped(DropReason::SendFailed));
    assert_eq!(world.stats(bob.port).sent, 0);
}

#[test]
fn more_keys_than_can_be_pressed_are_not_told() {
    let mut world = World::new();
    let mut alice = world.phone_with(ALICE, |ingress| {
        (ingress.telephone_event, ingress.report_dtmf) = (Some(101), true);
    });
    // 500 a second, for two seconds.
    for n in 0..1000u32 {
        let bytes = alice.packet(101, n * 16, &[(n % 10) as u8, 0x80, 0, 160]);
        world.receive(alice.port, Component::Rtp, alice.addr, &bytes);
        world.pass(ms(2));
    }
    let told = digits(world.events()).len();
    assert!((50..=62).contains(&told), "{told}: one in 40 ms, and some at once");
    world.pass(ms(1000));
    alice.timestamp = 16_000;
    press(&mut world, &mut alice, '5', &[]);
    assert_eq!(digits(world.events()), "5");
}
