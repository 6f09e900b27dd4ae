//! A leg changes hands; the far side hears one stream (contract 29 to 31).

use super::*;

const FAR: &str = "198.51.100.9:7000";
const DESK: &str = "192.0.2.1:4000";
const MOBILE: &str = "192.0.2.2:5000";

/// A call between far and desk that runs since 200 ms; mobile is there, and hears far as the move is pending.
fn moving() -> (World, Phone, Phone, Phone) {
    let mut world = World::new();
    let (mut far, mut desk, mobile) = (world.phone(FAR), world.phone(DESK), world.phone(MOBILE));
    world.call(&far, &desk);
    for _ in 0..10 {
        world.send(&mut far);
        world.send(&mut desk);
        world.pass(ms(20));
    }
    world.sinks(&far, &[&desk, &mobile]);
    (world, far, desk, mobile)
}

#[test]
fn the_far_side_hears_one_stream_over_a_move_and_back() {
    let (mut world, mut far, mut desk, mut mobile) = moving();
    for round in 0..6u32 {
        // 13 ms out of phase, both devices sending all the time.
        for n in 0..10 {
            world.send(&mut far);
            world.send(&mut desk);
            world.pass(ms(13));
            world.send(&mut mobile);
            world.pass(ms(7));
            if n == 4 {
                match round % 2 {
                    0 => world.swap(&far, &desk, &mobile),
                    _ => world.swap(&far, &mobile, &desk),
                }
            }
        }
    }
    let heard = world.heard_by(&far);
    assert!(heard.len() > 65);
    let ssrc = assert_continuous(&heard);
    assert!(![far.ssrc, desk.ssrc, mobile.ssrc].contains(&ssrc));
    let marked = heard.iter().filter(|s| s.header().marker).count();
    assert_eq!(marked, 1 + 6, "the first packet and the first after each move");
    let gaps: Vec<u64> = world
        .events()
        .into_iter()
        .filter_map(|e| match e {
            MediaEvent::Swapped { far: port, gap_us, lost } => {
                assert_eq!((port, lost), (far.port, 0));
                Some(gap_us)
            }
            _ => None,
        })
        .collect();
    assert_eq!(gaps.len(), 6);
    assert!(gaps.iter().all(|gap| *gap <= 40_000), "{gaps:?}");
}

#[test]
fn sequence_and_timestamp_wrap_within_a_stream_and_over_a_move() {
    let (mut world, mut far, mut desk, mut mobile) = moving();
    for n in 0..70_000u32 {
        world.send(if n < 40_000 { &mut desk } else { &mut mobile });
        world.pass(ms(20));
        if n == 39_999 {
            world.swap(&far, &desk, &mobile);
        }
    }
    let heard = world.heard_by(&far);
    assert_eq!(heard.len(), 70_010);
    assert_continuous(&heard);
    assert_eq!(world.stats(mobile.port).lost, 0);
    world.send(&mut far);
    assert_eq!(world.heard_by(&mobile).len(), 1);
}

#[test]
fn while_pending_both_hear_the_far_side_and_only_the_old_one_is_heard() {
    let (mut world, mut far, mut desk, mut mobile) = moving();
    world.heard_by(&far);
    world.heard_by(&desk);
    for _ in 0..5 {
        assert_eq!(world.send(&mut far), Verdict::Forwarded(2));
        assert_eq!(world.send(&mut desk), Verdict::Forwarded(1));
        assert_eq!(world.send(&mut mobile), Verdict::Dropped(DropReason::NoSink));
        world.pass(ms(20));
    }
    let (by_desk, by_mobile) = (world.heard_by(&desk), world.heard_by(&mobile));
    assert_eq!((by_desk.len(), by_mobile.len()), (5, 5));
    assert_ne!(assert_continuous(&by_desk), assert_continuous(&by_mobile));
    assert!(by_mobile[0].header().marker && !by_desk[0].header().marker);
    assert_eq!(by_desk[0].bytes[12..], by_mobile[0].bytes[12..]);
    assert_continuous(&world.heard_by(&far));
}

#[test]
fn after_the_swap_the_old_device_is_neither_heard_nor_sent_to() {
    let (mut world, mut far, mut desk, mut mobile) = moving();
    world.swap(&far, &desk, &mobile);
    world.send(&mut mobile);
    world.log.sent.clear();
    for _ in 0..5 {
        world.pass(ms(20));
        assert_eq!(world.send(&mut desk), Verdict::Dropped(DropReason::Moved));
        assert_eq!(world.send(&mut far), Verdict::Forwarded(1));
        assert_eq!(world.send(&mut mobile), Verdict::Forwarded(1));
    }
    assert!(world.heard_by(&desk).is_empty());
    assert_eq!(world.stats(desk.port).dropped(DropReason::Moved), 5);
    assert_eq!(world.heard_by(&far).len(), 5);
}

/// Contract 19, 29 and 30, whatever keeps the new one.
#[test]
fn until_the_first_packet_of_the_new_device_the_old_one_is_heard_and_both_hear() {
    let (mut world, mut far, mut desk, mut mobile) = moving();
    world.heard_by(&far);
    world.swap(&far, &desk, &mobile);
    world.log.sent.clear();
    for _ in 0..10 {
        world.pass(ms(20));
        assert_eq!(world.send(&mut desk), Verdict::Forwarded(1));
        assert_eq!(world.send(&mut far), Verdict::Forwarded(2));
    }
    world.events();
    world.pass(ms(13));
    assert_eq!(world.send(&mut mobile), Verdict::Forwarded(1));
    let swapped = MediaEvent::Swapped { far: far.port, gap_us: 13_000, lost: 0 };
    assert_eq!(world.events(), [MediaEvent::Heard { port: mobile.port }, swapped]);
    world.pass(ms(7));
    assert_eq!(world.send(&mut desk), Verdict::Dropped(DropReason::Moved));
    assert_eq!(world.send(&mut far), Verdict::Forwarded(1));
    let heard = world.heard_by(&far);
    assert_eq!(heard.len(), 11);
    assert_continuous(&heard);
    let marked: Vec<bool> = heard.iter().map(|sent| sent.header().marker).collect();
    assert_eq!(marked.iter().position(|marked| *marked), Some(10), "one joint, where the new one begins");
    assert_eq!((world.heard_by(&desk).len(), world.heard_by(&mobile).len()), (10, 11));
}

#[test]
fn an_old_device_that_is_released_before_the_new_one_speaks_leaves_nothing_behind() {
    let (mut world, mut far, desk, mut mobile) = moving();
    world.swap(&far, &desk, &mobile);
    world.command(MediaCommand::Release { port: desk.port });
    let before = world.relay.totals().clone();
    assert_eq!(world.send(&mut far), Verdict::Forwarded(1));
    assert_eq!(world.relay.totals().dropped, before.dropped);
    world.events();
    world.pass(ms(30));
    world.send(&mut mobile);
    let swapped = MediaEvent::Swapped { far: far.port, gap_us: 50_000, lost: 1 };
    assert_eq!(world.events(), [MediaEvent::Heard { port: mobile.port }, swapped]);
}

/// A hold, or an end, comes in between.
#[test]
fn whoever_is_set_to_hear_another_meanwhile_is_not_heard_by_two() {
    for goes_back in [false, true] {
        let (mut world, mut far, mut desk, mut mobile) = moving();
        world.swap(&far, &desk, &mobile);
        let party = if goes_back { &desk } else { &mobile };
        world.call(&far, party);
        if goes_back {
            world.sinks(&mobile, &[]);
        }
        let verdicts = [world.send(&mut desk), world.send(&mut mobile)];
        let (heard, not) = (Verdict::Forwarded(1), Verdict::Dropped(DropReason::NoSink));
        let moved = Verdict::Dropped(DropReason::Moved);
        assert_eq!(verdicts, if goes_back { [heard, not] } else { [moved, heard] });
        world.pass(ms(20));
        assert_eq!(world.send(&mut far), Verdict::Forwarded(1));
        assert_eq!(world.send(if goes_back { &mut desk } else { &mut mobile }), Verdict::Forwarded(1));
    }
}

/// Contract 34.
#[test]
fn a_swap_that_is_taken_back_before_the_new_device_spoke_is_not_heard() {
    let (mut world, mut far, mut desk, mut mobile) = moving();
    world.swap(&far, &desk, &mobile);
    for _ in 0..100 {
        world.pass(ms(20));
        world.send(&mut desk);
    }
    world.swap(&far, &mobile, &desk);
    assert_eq!(world.send(&mut mobile), Verdict::Dropped(DropReason::Moved), "at once");
    assert_eq!(world.send(&mut far), Verdict::Forwarded(1));
    world.events();
    world.pass(ms(20));
    world.send(&mut desk);
    assert_eq!(world.events(), [MediaEvent::Swapped { far: far.port, gap_us: 20_000, lost: 0 }]);
    let heard = world.heard_by(&far);
    assert_continuous(&heard);
    assert_eq!(heard.iter().filter(|sent| sent.header().marker).count(), 1, "the first of the call");
}

/// The same of one that had begun to speak.
#[test]
fn a_swap_that_is_taken_back_is_heard_as_any() {
    let (mut world, far, mut desk, mut mobile) = moving();
    world.swap(&far, &desk, &mobile);
    world.send(&mut mobile);
    for _ in 0..20 {
        world.pass(ms(20));
        world.send(&mut desk);
    }
    world.swap(&far, &mobile, &desk);
    world.events();
    world.send(&mut desk);
    world.pass(ms(20));
    world.send(&mut desk);
    assert_continuous(&world.heard_by(&far));
    assert_eq!(world.events(), [MediaEvent::Swapped { far: far.port, gap_us: 400_000, lost: 19 }]);
}

#[test]
fn a_new_device_that_starts_late_is_told_with_its_gap() {
    let (mut world, far, mut desk, mut mobile) = moving();
    world.send(&mut desk);
    world.swap(&far, &desk, &mobile);
    world.events();
    // Nor does the old one speak any more.
    world.pass(ms(110));
    world.send(&mut mobile);
    world.pass(ms(20));
    world.send(&mut mobile);
    let swapped = MediaEvent::Swapped { far: far.port, gap_us: 110_000, lost: 4 };
    assert_eq!(world.events(), [MediaEvent::Heard { port: mobile.port }, swapped]);
    let heard = world.heard_by(&far);
    assert_continuous(&heard);
    let [.., a, b, _] = &heard[..] else { panic!() };
    assert_eq!(b.header().timestamp.wrapping_sub(a.header().timestamp), 880);
}

#[test]
fn a_device_may_change_its_ssrc_or_start_its_sequence_anew() {
    let (mut world, far, mut desk, _) = moving();
    world.heard_by(&far);
    for n in 0..40u32 {
        match n {
            10 => (desk.ssrc, desk.sequence, desk.timestamp) = (77, 9, 12),
            20 => (desk.sequence, desk.timestamp) = (30_000, 0x8000_0000),
            30 => desk.timestamp = 0x4000_0000,
            _ => {}
        }
        world.send(&mut desk);
        world.pass(ms(20));
    }
    let heard = world.heard_by(&far);
    assert_continuous(&heard);
    assert_eq!(heard.len(), 39, "one packet shows that the sequence is a new one");
}

#[test]
fn loss_on_the_way_to_us_is_seen_behind_us_and_late_packets_keep_their_place() {
    let (mut world, far, mut desk, _) = moving();
    world.heard_by(&far);
    world.send(&mut desk);
    let late = desk.packet(0, desk.timestamp, &[1; 160]);
    desk.timestamp += 160;
    desk.packet(0, 0, &[]);
    desk.timestamp += 160;
    world.pass(ms(60));
    world.send(&mut desk);
    world.receive(desk.port, Component::Rtp, desk.addr, &late);
    let numbers: Vec<u16> = world.heard_by(&far).iter().map(|s| s.header().sequence).collect();
    let first = numbers[0];
    assert_eq!(numbers, [first, first.wrapping_add(3), first.wrapping_add(1)]);
    assert_eq!(world.stats(desk.port).lost, 1);
}

#[test]
fn a_late_packet_from_before_the_move_takes_no_number_of_the_stream() {
    let (mut world, far, desk, mut mobile) = moving();
    let early = mobile.packet(0, mobile.timestamp, &[1; 160]);
    mobile.timestamp += 160;
    world.swap(&far, &desk, &mobile);
    world.send(&mut mobile);
    assert_eq!(
        world.receive(mobile.port, Component::Rtp, mobile.addr, &early),
        Verdict::Dropped(DropReason::Late)
    );
    world.pass(ms(20));
    world.send(&mut mobile);
    assert_continuous(&world.heard_by(&far));
}

#[test]
fn hold_and_resumption_leave_no_hole_in_the_sequence() {
    let (mut world, mut far, mut desk, _) = moving();
    world.sinks(&far, &[&desk]);
    let remote = |remote: Option<SocketAddr>| Ingress::audio(remote, Some(addr(DESK).ip()));
    world.command(MediaCommand::Configure { port: desk.port, ingress: remote(None) });
    world.sinks(&desk, &[]);
    for _ in 0..50 {
        world.pass(ms(20));
        assert_eq!(world.send(&mut far), Verdict::Dropped(DropReason::NoRemote));
        assert_eq!(world.send(&mut desk), Verdict::Dropped(DropReason::NoSink));
    }
    world.command(MediaCommand::Configure { port: desk.port, ingress: remote(Some(addr(DESK))) });
    world.sinks(&desk, &[&far]);
    world.send(&mut far);
    world.send(&mut desk);
    assert_continuous(&world.heard_by(&desk));
    assert_continuous(&world.heard_by(&far));
}

#[test]
fn payload_types_are_those_of_each_leg_and_what_was_not_agreed_is_dropped() {
    let (mut world, mut far, desk, _) = moving();
    let mut map: PayloadMap = Box::new([255; 128]);
    (map[0], map[101]) = (0, 96);
    world.command(MediaCommand::SetSinks {
        port: far.port,
        sinks: [Sink { to: desk.port, map: Some(map), conversion: None }].into_iter().collect(),
    });
    world.heard_by(&desk);
    world.send(&mut far);
    world.send_as(&mut far, 101, &[1, 10, 0, 160]);
    assert_eq!(world.send_as(&mut far, 8, &[0; 160]), Verdict::Dropped(DropReason::NotAgreed));
    let types: Vec<u8> = world.heard_by(&desk).iter().map(|s| s.header().payload_type).collect();
    assert_eq!(types, [0, 96]);
}

#[test]
fn video_keeps_its_own_marker_bits() {
    let mut world = World::new();
    let video = |ingress: &mut Ingress| (ingress.kind, ingress.clock_rate) = (Kind::Video, 90_000);
    let (mut a, b) = (world.phone_with(FAR, video), world.phone_with(DESK, video));
    world.call(&a, &b);
    world.send(&mut a);
    assert!(!world.heard_by(&b)[0].header().marker);
}

#[test]
fn a_swap_with_a_port_that_is_not_there_changes_nothing() {
    let (mut world, mut far, mut desk, mobile) = moving();
    world.command(MediaCommand::Release { port: mobile.port });
    world.events();
    world.swap(&far, &desk, &mobile);
    assert_eq!(world.events(), [MediaEvent::Failed { port: mobile.port }]);
    assert_eq!(world.send(&mut desk), Verdict::Forwarded(1));
    assert_eq!(world.send(&mut far), Verdict::Forwarded(1), "the released port is no sink any more");
}
