//! Strangers, injections, malformed and random packets (docs/THREATS.md: RTP bleed, RTCP bleed).

use proptest::prelude::*;

use super::*;

const ALICE: &str = "192.0.2.1:4000";
const BOB: &str = "198.51.100.9:7000";
const STRANGER: &str = "203.0.113.66:6666";

fn call() -> (World, Phone, Phone) {
    let mut world = World::new();
    let (mut alice, mut bob) = (world.phone(ALICE), world.phone(BOB));
    world.call(&alice, &bob);
    for _ in 0..5 {
        world.send(&mut alice);
        world.send(&mut bob);
        world.pass(ms(20));
    }
    world.log.sent.clear();
    (world, alice, bob)
}

#[test]
fn a_stranger_who_sprays_the_port_gets_nothing_and_is_not_heard() {
    let (mut world, mut alice, mut bob) = call();
    let mut stranger = Phone { addr: addr(STRANGER), ssrc: 5, sequence: 1, timestamp: 1, ..alice.clone() };
    for n in 0..500 {
        assert_eq!(world.send(&mut stranger), Verdict::Dropped(DropReason::WrongSource));
        let rtcp = [0x80, 201, 0, 1, 0, 0, 0, 5];
        assert_eq!(
            world.receive(alice.port, Component::Rtcp, stranger.addr, &rtcp),
            Verdict::Dropped(DropReason::WrongSource)
        );
        if n % 10 == 0 {
            world.send(&mut alice);
            world.send(&mut bob);
            world.pass(ms(20));
        }
    }
    assert!(world.log.sent.iter().all(|s| s.to.ip() != stranger.addr.ip()));
    assert_continuous(&world.heard_by(&bob));
    assert_eq!(world.stats(alice.port).dropped(DropReason::WrongSource), 1000);
}

#[test]
fn before_the_first_packet_only_the_signalled_host_is_taken() {
    let mut world = World::new();
    let (alice, mut bob) = (world.phone(ALICE), world.phone(BOB));
    world.call(&alice, &bob);
    let mut stranger = Phone { addr: addr(STRANGER), ..alice.clone() };
    assert_eq!(world.send(&mut stranger), Verdict::Dropped(DropReason::WrongSource));
    world.send(&mut bob);
    assert_eq!(world.heard_by(&alice)[0].to, addr(ALICE));
    assert!(world.heard_by(&bob).is_empty());
}

#[test]
fn who_guesses_neither_ssrc_nor_sequence_cannot_take_over_in_the_window() {
    let (mut world, alice, _) = call();
    for sequence in [alice.sequence.wrapping_add(200), alice.sequence.wrapping_sub(1)] {
        let mut stranger = Phone { addr: addr(STRANGER), sequence, ..alice.clone() };
        assert_eq!(world.send(&mut stranger), Verdict::Dropped(DropReason::WrongSource));
    }
    let mut stranger = Phone { addr: addr(STRANGER), ssrc: 1, ..alice.clone() };
    assert_eq!(world.send(&mut stranger), Verdict::Dropped(DropReason::WrongSource));
}

#[test]
fn a_phone_whose_nat_rebinds_early_is_followed_once_and_told() {
    let (mut world, mut alice, mut bob) = call();
    world.events();
    alice.addr = addr("192.0.2.1:60001");
    assert_eq!(world.send(&mut alice), Verdict::Forwarded(1));
    assert_eq!(world.events(), [MediaEvent::Latched { port: alice.port, addr: alice.addr }]);
    world.send(&mut bob);
    assert_eq!(world.heard_by(&alice)[0].to, alice.addr);
    alice.addr = addr("192.0.2.1:60002");
    assert_eq!(world.send(&mut alice), Verdict::Dropped(DropReason::WrongSource));
    // A re-INVITE opens the window anew.
    world.command(MediaCommand::Configure {
        port: alice.port,
        ingress: Ingress::audio(Some(addr(ALICE)), Some(addr(ALICE).ip())),
    });
    assert_eq!(world.send(&mut alice), Verdict::Forwarded(1));
}

#[test]
fn behind_nat_the_private_address_is_replaced_by_the_host_of_the_signalling() {
    let mut world = World::new();
    let mut alice =
        world.phone_with("10.0.0.7:4000", |i| *i = Ingress::audio(i.remote, Some(addr(ALICE).ip())));
    let mut bob = world.phone(BOB);
    world.call(&alice, &bob);
    assert_eq!(world.send(&mut bob), Verdict::Dropped(DropReason::NoRemote), "a third host is not flooded");
    alice.addr = addr("192.0.2.1:61000");
    assert_eq!(world.send(&mut alice), Verdict::Forwarded(1));
    world.send(&mut bob);
    assert_eq!(world.heard_by(&alice)[0].to, alice.addr);
}

#[test]
fn every_malformed_packet_is_dropped_by_name() {
    let (mut world, mut alice, _) = call();
    let good = alice.packet(0, 0, &[0; 160]);
    let verdict = |world: &mut World, component, bytes: &[u8]| match world
        .receive(alice.port, component, alice.addr, bytes)
    {
        Verdict::Dropped(reason) => reason,
        other => panic!("{other:?}"),
    };
    let rtp = |world: &mut World, bytes: &[u8]| verdict(world, Component::Rtp, bytes);
    assert_eq!(rtp(&mut world, &[]), DropReason::NotRtp);
    assert_eq!(rtp(&mut world, &good[..11]), DropReason::NotRtp);
    assert_eq!(rtp(&mut world, &[0x40; 160]), DropReason::NotRtp);
    assert_eq!(rtp(&mut world, &[0x80, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), DropReason::RtcpOnRtp);
    assert_eq!(rtp(&mut world, &[0x80; MAX_PACKET + 1]), DropReason::TooLong);
    assert_eq!(verdict(&mut world, Component::Rtcp, &good), DropReason::NotRtcp);
    let stats = world.stats(alice.port);
    assert_eq!(stats.dropped_total(), 6);
    assert_eq!(world.receive(PortId { thread: 0, slot: 99 }, Component::Rtp, alice.addr, &good), {
        Verdict::Dropped(DropReason::Unused)
    });
    let total: u64 = world.relay.totals().dropped.iter().sum();
    assert_eq!(total, 7, "nothing is dropped without a name");
}

#[test]
fn a_port_in_its_next_life_gets_nothing_of_the_last_one() {
    let (mut world, mut alice, bob) = call();
    world.command(MediaCommand::Release { port: bob.port });
    assert_eq!(world.send(&mut alice), Verdict::Dropped(DropReason::NoSink));
    let ingress = Ingress::audio(Some(addr(STRANGER)), Some(addr(STRANGER).ip()));
    world.command(MediaCommand::Configure { port: bob.port, ingress });
    assert_eq!(world.send(&mut alice), Verdict::Dropped(DropReason::NoSink));
    assert_eq!(world.stats(bob.port), PortStats::default());
}

#[test]
fn no_packet_that_goes_out_looks_like_rtcp() {
    let (mut world, mut alice, bob) = call();
    world.sinks(&alice, &[]);
    world.sinks(&alice, &[&bob]);
    // The first packet of a stream that is joined gets the marker bit; with this payload type it must not.
    assert_eq!(world.send_as(&mut alice, 72, &[0; 20]), Verdict::Forwarded(1));
    assert!(!world.heard_by(&bob)[0].header().marker);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Random and mutated packets from the right and the wrong source: nothing panics, and every packet that
    /// goes out is whole, carries our SSRC and goes to a known end.
    #[test]
    fn random_packets_and_commands_never_panic(
        steps in proptest::collection::vec((0..12u8, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..80)), 1..120),
    ) {
        let (mut world, alice, bob) = call();
        let carol = world.phone("192.0.2.3:4000");
        let phones = [alice, bob, carol];
        for (step, number, mut bytes) in steps {
            let phone = phones[(number % 3) as usize].clone();
            let other = phones[(number / 3 % 3) as usize].clone();
            let src = if number & 0x100 == 0 { phone.addr } else { other.addr };
            match step {
                0..=4 => {
                    if let [first, second, ..] = &mut bytes[..] {
                        *first = 0x80 | *first & 0x3f;
                        *second &= 0xe5;
                    }
                    world.receive(phone.port, Component::Rtp, src, &bytes);
                }
                5..=6 => {
                    let mut rtcp = Vec::new();
                    for chunk in bytes.chunks(28) {
                        let whole = chunk.len() / 4 * 4;
                        if whole >= 4 {
                            rtcp.extend([0x80 | chunk[0] & 0x1f, 200 + chunk[1] % 8, 0, (whole / 4 - 1) as u8]);
                            rtcp.extend(&chunk[4..whole]);
                        }
                    }
                    world.receive(phone.port, Component::Rtcp, SocketAddr::new(src.ip(), src.port() + 1), &rtcp);
                }
                7 => world.sinks(&phone, &[&other, &phones[2]]),
                8 => world.swap(&phone, &other, &phones[(number / 9 % 3) as usize]),
                9 => world.command(MediaCommand::Play {
                    port: phone.port,
                    sound: Sound::Prompt(Prompt::Pin),
                    voice: Voice { law: Law::A, payload: 8 },
                }),
                10 => world.command(MediaCommand::Stop { port: phone.port }),
                _ => world.pass(Duration::from_micros(number % 300_000)),
            }
        }
        for sent in &world.log.sent {
            prop_assert!(phones.iter().any(|p| p.addr.ip() == sent.to.ip()));
            prop_assert!(sent.bytes.len() <= MAX_PACKET);
            if sent.component == Component::Rtp {
                prop_assert!(Header::parse(&sent.bytes).is_ok());
            } else {
                prop_assert!(crate::wire::rtcp::parse(&sent.bytes).is_ok());
            }
        }
    }
}

/// Runs what leaves for a port of ours round, for a second; gives how much went.
fn circle(
    mut world: World,
    ports: &[(PortId, SocketAddr)],
    mut packet: (PortId, SocketAddr, Vec<u8>),
) -> usize {
    let mut rounds = 0;
    for _ in 0..1000 {
        world.pass(ms(1));
        // A machine has time for far more than ten in a millisecond.
        for _ in 0..10 {
            let (port, from, bytes) = &packet;
            world.log.sent.clear();
            world.receive(*port, Component::Rtp, *from, bytes);
            let Some(sent) = world.log.sent.iter().find(|sent| sent.component == Component::Rtp) else {
                continue;
            };
            rounds += 1;
            let (_, from) = ports.iter().find(|(port, _)| port.slot == sent.slot).unwrap();
            let (to, _) = ports.iter().find(|(_, at)| *at == sent.to).unwrap();
            packet = (*to, *from, sent.bytes.clone());
        }
    }
    rounds
}

#[test]
fn a_circle_through_our_own_ports_does_not_run_away() {
    let ours = [addr("203.0.113.1:20000"), addr("203.0.113.1:20002")];
    for (is_ours, ends) in [(true, [0, 1]), (true, [1, 0]), (false, [1, 0])] {
        let mut world = World::new();
        // Both ends of a call are a PBX, which names for each the port of one of the two.
        let name = |i: &mut Ingress| i.is_ours = is_ours;
        let mut one = world.phone_with(&ours[ends[0]].to_string(), name);
        let other = world.phone_with(&ours[ends[1]].to_string(), name);
        world.call(&one, &other);
        let first = (one.port, one.addr, one.packet(0, 0, &[0xd5; 160]));
        let rounds = circle(world, &[(one.port, ours[0]), (other.port, ours[1])], first);
        assert!(rounds > 10, "it is a circle: {rounds}");
        assert_eq!(rounds <= 700, is_ours, "{ends:?}: {rounds}");
    }
}

#[test]
fn what_one_call_leads_to_another_goes_there_in_real_time() {
    let mut world = World::new();
    let (mut alice, pbx) = (world.phone(ALICE), world.phone_with("203.0.113.1:20002", |i| i.is_ours = true));
    world.call(&alice, &pbx);
    for _ in 0..500 {
        assert_eq!(world.send(&mut alice), Verdict::Forwarded(1));
        world.pass(ms(5));
    }
}
