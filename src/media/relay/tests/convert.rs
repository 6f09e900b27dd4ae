//! Speech that is converted on its way (contract 33): one stream, its own clock, and nothing but media crosses.

use smallvec::SmallVec;

use super::reports::sender_report;
use super::*;
use crate::media::srtp::Suite;
use crate::media::transcode::{Conversion, Speech};

const DESK: &str = "192.0.2.1:4000";
const WIDE: &str = "192.0.2.2:5000";

fn sink(to: &Phone, from: (u8, Speech), into: (u8, Speech), events: [(u8, u32); 2]) -> Sink {
    let conversion = Conversion { from: SmallVec::from_slice(&[from]), to: into, events: Some(events) };
    Sink { conversion: Some(Box::new(conversion)), ..Sink::plain(to.port) }
}

/// A desk phone with G.711 and one with G.722 under another number.
fn joined() -> (World, Phone, Phone) {
    let mut world = World::new();
    let desk = world.phone_with(DESK, |ingress| ingress.telephone_event = Some(101));
    let wide = world.phone_with(WIDE, |ingress| ingress.telephone_event = Some(97));
    let (mu, g722) = ((0, Speech::G711(Law::Mu)), (9, Speech::G722));
    let to_wide = sink(&wide, mu, g722, [(101, 8000), (97, 8000)]);
    let to_desk = sink(&desk, g722, mu, [(97, 8000), (101, 8000)]);
    world.command(MediaCommand::SetSinks { port: desk.port, sinks: [to_wide].into_iter().collect() });
    world.command(MediaCommand::SetSinks { port: wide.port, sinks: [to_desk].into_iter().collect() });
    (world, desk, wide)
}

#[test]
fn speech_arrives_as_one_stream_of_the_other_codec() {
    let (mut world, mut desk, mut wide) = joined();
    for _ in 0..50 {
        assert_eq!(world.send(&mut desk), Verdict::Forwarded(1));
        assert_eq!(world.send_as(&mut wide, 9, &[0xfa; 160]), Verdict::Forwarded(1));
        world.pass(ms(20));
    }
    for (phone, payload_type) in [(&wide, 9), (&desk, 0)] {
        let heard = world.heard_by(phone);
        assert_eq!(heard.len(), 50);
        assert_continuous(&heard);
        assert!(heard.iter().all(|sent| sent.header().payload_type == payload_type));
        assert!(heard.iter().all(|sent| sent.bytes.len() == 12 + 160));
        assert_eq!(heard.iter().filter(|sent| sent.header().marker).count(), 1);
    }
    // What is no agreed codec goes nowhere, and what is late does not either.
    assert_eq!(world.send_as(&mut desk, 18, &[0; 20]), Verdict::Dropped(DropReason::NotAgreed));
    desk.sequence = desk.sequence.wrapping_sub(10);
    assert_eq!(world.send(&mut desk), Verdict::Dropped(DropReason::Late));
}

#[test]
fn digits_cross_and_reports_do_not() {
    let (mut world, mut desk, wide) = joined();
    world.send(&mut desk);
    world.pass(ms(20));
    let began = desk.timestamp;
    for n in 1..=5u16 {
        let [high, low] = (160 * n).to_be_bytes();
        let end = if n == 5 { 0x80 } else { 0 };
        let bytes = desk.packet(101, began, &[1, end, high, low]);
        assert_eq!(world.receive(desk.port, Component::Rtp, desk.addr, &bytes), Verdict::Forwarded(1));
        world.pass(ms(20));
    }
    let heard = world.heard_by(&wide);
    let events: Vec<_> = heard.iter().filter(|sent| sent.header().payload_type == 97).collect();
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|sent| sent.header().timestamp == events[0].header().timestamp));
    assert_eq!(&events[4].bytes[12..], [1, 0x80, 3, 0x20]);

    let bytes = sender_report(&desk, &[]).bytes().to_vec();
    let source = SocketAddr::new(desk.addr.ip(), desk.addr.port() + 1);
    let verdict = world.receive(desk.port, Component::Rtcp, source, &bytes);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NothingToSay));
}

#[test]
fn a_route_that_is_set_again_goes_on_and_one_without_conversion_ends_it() {
    let (mut world, mut desk, wide) = joined();
    for round in 0..3 {
        for _ in 0..5 {
            world.send(&mut desk);
            world.pass(ms(20));
        }
        let again = sink(&wide, (0, Speech::G711(Law::Mu)), (9, Speech::G722), [(101, 8000), (97, 8000)]);
        if round < 2 {
            world.command(MediaCommand::SetSinks { port: desk.port, sinks: [again].into_iter().collect() });
        }
    }
    let heard = world.heard_by(&wide);
    assert_eq!(heard.len(), 15);
    assert_continuous(&heard);
    world.sinks(&desk, &[&wide]);
    world.send(&mut desk);
    assert_eq!(world.heard_by(&wide).first().map(|sent| sent.header().payload_type), Some(0));
}

fn convert(world: &mut World, from: &Phone, sink: Sink) {
    world.command(MediaCommand::SetSinks { port: from.port, sinks: [sink].into_iter().collect() });
}

/// What is agreed may change in the middle of a call: other codecs, other numbers, conversion or none.
#[test]
fn a_conversion_that_changes_goes_on_in_the_same_stream_plain_and_sealed() {
    const EVENTS: [(u8, u32); 2] = [(101, 8000), (97, 8000)];
    let mu = (0, Speech::G711(Law::Mu));
    for is_sealed in [false, true] {
        let mut world = World::new();
        let mut desk = world.phone(DESK);
        let mut far = world.secured(WIDE, Suite::AeadAes128Gcm);
        if !is_sealed {
            far.phone = world.phone("192.0.2.3:5000");
        }
        let ways = [
            Some((mu, (9, Speech::G722))),
            Some((mu, (8, Speech::G711(Law::A)))),
            None,
            Some((mu, (8, Speech::G711(Law::A)))),
            Some((mu, (109, Speech::G722))),
            None,
        ];
        let mut heard = Vec::new();
        for way in ways {
            match way {
                Some((from, into)) => convert(&mut world, &desk, sink(&far.phone, from, into, EVENTS)),
                None => world.sinks(&desk, &[&far.phone]),
            }
            for _ in 0..10 {
                assert_eq!(world.send(&mut desk), Verdict::Forwarded(1), "{is_sealed} {way:?}");
                world.pass(ms(20));
            }
            heard.extend(if is_sealed { world.opened_by(&mut far) } else { world.heard_by(&far.phone) });
        }
        assert_eq!(heard.len(), 60);
        assert_continuous(&heard);
    }
}

#[test]
fn what_is_to_be_converted_never_goes_on_as_it_is() {
    let (mut world, mut desk, wide) = joined();
    world.send(&mut desk);
    assert_eq!(world.heard_by(&wide).len(), 1);
    // As a fault in the middle of its work leaves it.
    world.relay.routes.get_mut(desk.port.slot as usize).unwrap().sinks[0].transcoder = None;
    assert_eq!(world.send(&mut desk), Verdict::Dropped(DropReason::NotAgreed));
    assert!(world.heard_by(&wide).is_empty());
}

#[test]
fn a_long_pause_is_kept_and_another_clock_is_not_a_pause() {
    let (mut world, mut desk, wide) = joined();
    world.send(&mut desk);
    world.pass(ms(8020));
    desk.timestamp = desk.timestamp.wrapping_add(64_000);
    world.send(&mut desk);
    world.pass(ms(20));
    desk.timestamp = desk.timestamp.wrapping_add(28_800_000);
    world.send(&mut desk);
    let times: Vec<u32> = world.heard_by(&wide).iter().map(|sent| sent.header().timestamp).collect();
    let steps: Vec<u32> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(steps, [64_160, 160]);
}

#[test]
fn no_more_is_converted_than_can_be_said() {
    let (mut world, mut desk, wide) = joined();
    let mut converted = 0;
    // Ten packets at a time, for two seconds.
    for _ in 0..100 {
        for _ in 0..10 {
            match world.send(&mut desk) {
                Verdict::Forwarded(1) => converted += 1,
                verdict => assert_eq!(verdict, Verdict::Dropped(DropReason::TooFast)),
            }
        }
        world.pass(ms(20));
    }
    assert!((150..165).contains(&converted), "{converted}: two seconds, and one ahead");
    assert_eq!(world.heard_by(&wide).len(), converted);
    assert_eq!(world.stats(desk.port).dropped(DropReason::TooFast), 1000 - converted as u64);
    // And then as before, for as long as it lasts.
    world.pass(ms(2000));
    for _ in 0..3000 {
        assert_eq!(world.send(&mut desk), Verdict::Forwarded(1));
        world.pass(ms(20));
    }
}
