//! Secured legs through the relay: both ways, over moves and wraps, and what strangers send.

use super::*;
use crate::media::srtp::{Keys, MasterKey, Opener, Sealer, Security, Suite};

/// A phone that speaks SRTP: its own contexts, which are not those of the relay.
pub(super) struct Secured {
    pub(super) phone: Phone,
    sealer: Sealer,
    opener: Opener,
    extended: u32,
}

pub(super) fn key(suite: Suite, seed: u64) -> MasterKey {
    MasterKey::generate(suite, &mut Random::from_number(seed))
}

impl World {
    pub(super) fn secured(&mut self, address: &str, suite: Suite) -> Secured {
        let seed = self.relay.routes.len() as u64;
        let keys = Keys { theirs: key(suite, 100 + seed), ours: key(suite, 200 + seed) };
        let (sealer, opener) = (Sealer::new(&keys.theirs), Opener::new(&keys.ours));
        let phone = self.phone_with(address, |i| i.security = Security::Srtp(Box::new(keys)));
        let extended = u32::from(phone.sequence);
        Secured { phone, sealer, opener, extended }
    }

    /// The next packet of a secured phone.
    pub(super) fn send_sealed(&mut self, from: &mut Secured, payload: &[u8]) -> Verdict {
        let sealed = from.seal(payload);
        self.receive(from.phone.port, Component::Rtp, from.phone.addr, &sealed)
    }

    /// What a secured phone could open of what was sent to it.
    pub(super) fn opened_by(&mut self, to: &mut Secured) -> Vec<Sent> {
        let mut heard = self.heard_by(&to.phone);
        for sent in &mut heard {
            let len = to.opener.open_rtp(&mut sent.bytes).expect("sealed for this phone");
            sent.bytes.truncate(len);
        }
        heard
    }
}

impl Secured {
    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let plain = self.phone.packet(0, self.phone.timestamp, payload);
        self.phone.timestamp = self.phone.timestamp.wrapping_add(160);
        let mut sealed = vec![0; plain.len() + 20];
        let len = self.sealer.seal_rtp(self.extended, &plain, &mut sealed).unwrap();
        self.extended += 1;
        sealed.truncate(len);
        sealed
    }
}

#[test]
fn every_pair_of_suites_and_plain_hears_each_other() {
    for a_suite in Suite::ALL {
        for b_suite in Suite::ALL {
            let mut world = World::new();
            let mut a = world.secured("192.0.2.1:4000", a_suite);
            let mut b = world.secured("192.0.2.2:4000", b_suite);
            world.call(&a.phone, &b.phone);
            for n in 0..100u8 {
                assert_eq!(world.send_sealed(&mut a, &[n; 160]), Verdict::Forwarded(1));
                assert_eq!(world.send_sealed(&mut b, &[!n; 160]), Verdict::Forwarded(1));
                world.pass(ms(20));
            }
            let (at_b, at_a) = (world.opened_by(&mut b), world.opened_by(&mut a));
            assert_eq!((at_a.len(), at_b.len()), (100, 100));
            assert!((0..100).all(|n| at_b[n].bytes[12..] == [n as u8; 160]));
            assert!((0..100).all(|n| at_a[n].bytes[12..] == [!(n as u8); 160]));
            assert_continuous(&at_a);
            assert_continuous(&at_b);
        }
    }
}

#[test]
fn plain_and_secured_convert_either_way() {
    let mut world = World::new();
    let mut desk = world.phone("192.0.2.1:4000");
    let mut soft = world.secured("192.0.2.2:4000", Suite::AesCm128HmacSha1Tag80);
    world.call(&desk, &soft.phone);
    for _ in 0..3 {
        assert_eq!(world.send(&mut desk), Verdict::Forwarded(1));
        assert_eq!(world.send_sealed(&mut soft, &[7; 160]), Verdict::Forwarded(1));
        world.pass(ms(20));
    }
    assert!(world.opened_by(&mut soft).iter().all(|sent| sent.bytes[12..] == [0xd5; 160]));
    assert!(world.heard_by(&desk).iter().all(|sent| sent.bytes[12..] == [7; 160]));
}

#[test]
fn the_far_side_hears_one_sealed_stream_over_moves_and_past_wraps() {
    for suite in Suite::ALL {
        let mut world = World::new();
        let mut far = world.secured("192.0.2.1:4000", suite);
        let mut plain = world.phone("192.0.2.2:4000");
        let mut soft = world.secured("192.0.2.3:4000", Suite::AesCm128HmacSha1Tag80);
        let mut other = world.secured("192.0.2.4:4000", Suite::AeadAes256Gcm);
        world.call(&far.phone, &plain);
        let mut heard = Vec::new();
        // Each device has it for 30,000 packets, so that the stream wraps in the middle of a talk and around a move.
        for round in 0..3 {
            for _ in 0..30_000 {
                let verdict = match round {
                    0 => world.send_as(&mut plain, 0, &[0; 8]),
                    1 => world.send_sealed(&mut soft, &[1; 8]),
                    _ => world.send_sealed(&mut other, &[2; 8]),
                };
                assert_eq!(verdict, Verdict::Forwarded(1));
                world.pass(ms(20));
                heard.extend(world.opened_by(&mut far));
            }
            match round {
                0 => world.swap(&far.phone, &plain, &soft.phone),
                1 => world.swap(&far.phone, &soft.phone, &other.phone),
                _ => {}
            }
        }
        assert_eq!(heard.len(), 90_000);
        assert_continuous(&heard);
        let wraps =
            heard.windows(2).filter(|pair| pair[1].header().sequence < pair[0].header().sequence).count();
        assert_eq!(wraps, 1, "{suite:?}");
        assert!(heard.iter().zip(0..).all(|(sent, n)| sent.bytes[12] == (n / 30_000) as u8));
        assert_eq!(world.send_sealed(&mut far, &[9; 8]), Verdict::Forwarded(1));
        assert_eq!(world.opened_by(&mut other)[0].bytes[12..], [9; 8]);
    }
}

#[test]
fn while_a_move_is_pending_both_devices_hear_each_under_its_own_key() {
    let mut world = World::new();
    let mut far = world.secured("192.0.2.1:4000", Suite::AeadAes128Gcm);
    let mut old = world.secured("192.0.2.2:4000", Suite::AesCm128HmacSha1Tag80);
    let new = world.phone("192.0.2.3:4000");
    world.call(&far.phone, &old.phone);
    world.sinks(&far.phone, &[&old.phone, &new]);
    for n in 0..10u8 {
        assert_eq!(world.send_sealed(&mut far, &[n; 160]), Verdict::Forwarded(2));
        world.pass(ms(20));
    }
    let (at_old, at_new) = (world.opened_by(&mut old), world.heard_by(&new));
    assert!(
        (0..10).all(|n| at_old[n].bytes[12..] == [n as u8; 160] && at_new[n].bytes[12..] == [n as u8; 160])
    );
}

#[test]
fn nothing_is_learned_from_what_is_not_sealed_and_each_refusal_has_its_name() {
    let mut world = World::new();
    let mut soft = world.secured("192.0.2.1:4000", Suite::AesCm128HmacSha1Tag80);
    let desk = world.phone("192.0.2.2:4000");
    world.call(&soft.phone, &desk);
    let (port, at) = (soft.phone.port, soft.phone.addr);
    let first = soft.seal(&[1; 160]);
    let plain = soft.phone.clone().packet(0, 0, &[1; 160]);
    let stranger = addr("192.0.2.1:9999");
    for (src, packet, reason) in [
        (at, plain.clone(), DropReason::BadTag),
        (stranger, plain, DropReason::BadTag),
        (at, first[..first.len() - 1].to_vec(), DropReason::BadTag),
        (at, first[..20].to_vec(), DropReason::BadTag),
        (at, first[..11].to_vec(), DropReason::NotRtp),
    ] {
        assert_eq!(world.receive(port, Component::Rtp, src, &packet), Verdict::Dropped(reason));
    }
    assert!(world.heard_by(&desk).is_empty() && world.events().is_empty(), "not even that it was heard");
    assert_eq!(world.receive(port, Component::Rtp, at, &first), Verdict::Forwarded(1));
    assert_eq!(world.receive(port, Component::Rtp, at, &first), Verdict::Dropped(DropReason::Replayed));
    assert_eq!(world.receive(port, Component::Rtp, stranger, &first), Verdict::Dropped(DropReason::Replayed));
    let second = soft.seal(&[2; 160]);
    let elsewhere = addr("198.51.100.1:4000");
    assert_eq!(
        world.receive(port, Component::Rtp, elsewhere, &second),
        Verdict::Forwarded(1),
        "the peer itself"
    );
    let stats = world.stats(port);
    assert_eq!((stats.dropped(DropReason::BadTag), stats.dropped(DropReason::Replayed)), (4, 2));
    assert_eq!(stats.received, 2);
}

#[test]
fn a_number_that_a_source_repeats_is_not_sealed_twice() {
    let mut world = World::new();
    let mut desk = world.phone("192.0.2.1:4000");
    let mut soft = world.secured("192.0.2.2:4000", Suite::AeadAes128Gcm);
    world.call(&desk, &soft.phone);
    world.send(&mut desk);
    desk.sequence = desk.sequence.wrapping_sub(1);
    assert_eq!(world.send_as(&mut desk, 0, &[1; 160]), Verdict::Dropped(DropReason::Replayed));
    assert_eq!(world.opened_by(&mut soft).len(), 1);
}

#[test]
fn what_was_secured_stays_so_and_a_key_that_stays_goes_on_counting() {
    let mut world = World::new();
    let desk = world.phone("192.0.2.1:4000");
    let mut soft = world.secured("192.0.2.2:4000", Suite::AesCm128HmacSha1Tag80);
    world.call(&soft.phone, &desk);
    assert_eq!(world.send_sealed(&mut soft, &[1; 160]), Verdict::Forwarded(1));
    let (port, at) = (soft.phone.port, soft.phone.addr);
    let plain = Ingress::audio(Some(at), Some(at.ip()));
    world.command(MediaCommand::Configure { port, ingress: plain.clone() });
    let bytes = soft.phone.clone().packet(0, 0, &[1; 160]);
    assert_eq!(world.receive(port, Component::Rtp, at, &bytes), Verdict::Dropped(DropReason::BadTag));
    // The same keys again, as after each exchange: what was there is a replay still.
    let keys =
        Keys { theirs: key(Suite::AesCm128HmacSha1Tag80, 101), ours: key(Suite::AesCm128HmacSha1Tag80, 201) };
    let security = Security::Srtp(Box::new(keys.clone()));
    world.command(MediaCommand::Configure { port, ingress: Ingress { security, ..plain.clone() } });
    assert_eq!(world.send_sealed(&mut soft, &[2; 160]), Verdict::Forwarded(1));
    // A new key of theirs.
    let theirs = key(Suite::AesCm128HmacSha1Tag80, 999);
    soft.sealer = Sealer::new(&theirs);
    let security = Security::Srtp(Box::new(Keys { theirs, ..keys }));
    world.command(MediaCommand::Configure { port, ingress: Ingress { security, ..plain } });
    assert_eq!(world.send_sealed(&mut soft, &[3; 160]), Verdict::Forwarded(1));
    assert!(world.heard_by(&desk).len() == 3);
}

#[test]
fn sounds_and_reports_are_sealed() {
    let mut world = World::new();
    let mut soft = world.secured("192.0.2.1:4000", Suite::AeadAes256Gcm);
    let voice = Voice { law: Law::Mu, payload: 0 };
    world.command(MediaCommand::Play { port: soft.phone.port, sound: Sound::Tone(440), voice });
    for _ in 0..50 {
        world.pass(ms(20));
    }
    let heard = world.opened_by(&mut soft);
    assert!(heard.len() >= 49);
    assert_continuous(&heard);
    world.command(MediaCommand::Stop { port: soft.phone.port });

    let mut desk = world.phone("192.0.2.2:4000");
    world.call(&desk, &soft.phone);
    world.send(&mut desk);
    world.send_sealed(&mut soft, &[1; 160]);
    // A sender report of the secured side, sealed; in plain it is refused.
    let ssrc = soft.phone.ssrc.to_be_bytes();
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(ssrc);
    report.extend([0; 20]);
    let rtcp = SocketAddr::new(soft.phone.addr.ip(), soft.phone.addr.port() + 1);
    let refused = world.receive(soft.phone.port, Component::Rtcp, rtcp, &report);
    assert_eq!(refused, Verdict::Dropped(DropReason::BadTag));
    let mut sealed = [0; 100];
    let len = soft.sealer.seal_rtcp(&report, &mut sealed).unwrap();
    assert_eq!(world.receive(soft.phone.port, Component::Rtcp, rtcp, &sealed[..len]), Verdict::Forwarded(1));
    // And one of the plain side reaches it sealed.
    report[4..8].copy_from_slice(&desk.ssrc.to_be_bytes());
    let rtcp = SocketAddr::new(desk.addr.ip(), desk.addr.port() + 1);
    assert_eq!(world.receive(desk.port, Component::Rtcp, rtcp, &report), Verdict::Forwarded(1));
    let sent =
        world.log.sent.iter().rfind(|s| s.component == Component::Rtcp && s.slot == soft.phone.port.slot);
    let mut bytes = sent.unwrap().bytes.clone();
    let len = soft.opener.open_rtcp(&mut bytes).unwrap();
    assert!(crate::wire::rtcp::parse(&bytes[..len]).is_ok());
}

#[test]
fn mutated_packets_do_no_harm() {
    let mut random = Random::from_number(77);
    for suite in Suite::ALL {
        let mut world = World::new();
        let mut a = world.secured("192.0.2.1:4000", suite);
        let mut b = world.secured("192.0.2.2:4000", Suite::AesCm128HmacSha1Tag32);
        world.call(&a.phone, &b.phone);
        let mut good = 0;
        for n in 0..5000u32 {
            let mut packet = a.seal(&[n as u8; 40]);
            let original = packet.clone();
            match random.below(4) {
                0 => {}
                1 => packet.truncate(random.below(packet.len() as u64 + 1) as usize),
                2 => packet.extend((0..random.below(1600)).map(|_| 7)),
                _ => {
                    let at = random.below(packet.len() as u64) as usize;
                    packet[at] ^= 1 + random.below(255) as u8;
                }
            }
            let component = if random.below(8) == 0 { Component::Rtcp } else { Component::Rtp };
            let verdict = world.receive(a.phone.port, component, a.phone.addr, &packet);
            let is_good = packet == original && component == Component::Rtp;
            assert_eq!(matches!(verdict, Verdict::Forwarded(_)), is_good, "{suite:?} {n}: {verdict:?}");
            good += usize::from(is_good);
        }
        assert_eq!(world.opened_by(&mut b).len(), good);
    }
}

/// A packet that was seen on the way and is sent again from elsewhere, before it arrives itself.
#[test]
fn who_sends_what_he_saw_from_elsewhere_takes_nothing_away() {
    let mut world = World::new();
    let mut soft = world.secured("192.0.2.1:4000", Suite::AeadAes128Gcm);
    let desk = world.phone("192.0.2.2:4000");
    world.call(&soft.phone, &desk);
    let (port, at, thief) = (soft.phone.port, soft.phone.addr, addr("203.0.113.66:4000"));
    let refused = Verdict::Dropped(DropReason::WrongSource);
    for round in 0..200 {
        let sealed = soft.seal(&[1; 160]);
        // While the stream begins, somebody may carry it on from another address: it may have moved.
        if round == 0 || round > 150 {
            assert_eq!(world.receive(port, Component::Rtp, thief, &sealed), refused);
        }
        assert_eq!(world.receive(port, Component::Rtp, at, &sealed), Verdict::Forwarded(1), "{round}");
        world.pass(ms(20));
    }
    let mut report = vec![0x80, 200, 0, 6];
    report.extend(soft.phone.ssrc.to_be_bytes());
    report.extend([0; 20]);
    let mut sealed = [0; 100];
    let len = soft.sealer.seal_rtcp(&report, &mut sealed).unwrap();
    let rtcp = SocketAddr::new(at.ip(), at.port() + 1);
    assert_eq!(world.receive(port, Component::Rtcp, thief, &sealed[..len]), refused);
    assert_eq!(world.receive(port, Component::Rtcp, rtcp, &sealed[..len]), Verdict::Forwarded(1));
    assert_eq!(world.stats(port).dropped(DropReason::Replayed), 0);
}

#[test]
fn a_peer_goes_on_counting_under_other_keys_and_another_suite() {
    let mut world = World::new();
    let mut soft = world.secured("192.0.2.1:4000", Suite::AesCm128HmacSha1Tag80);
    let desk = world.phone("192.0.2.2:4000");
    world.call(&soft.phone, &desk);
    // Past two wraps.
    for _ in 0..150_000 {
        let sealed = soft.seal(&[1; 8]);
        assert_eq!(
            world.receive(soft.phone.port, Component::Rtp, soft.phone.addr, &sealed),
            Verdict::Forwarded(1)
        );
        world.heard_by(&desk);
    }
    let suites = [
        Suite::AesCm128HmacSha1Tag80,
        Suite::AesCm128HmacSha1Tag80,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ];
    for (seed, suite) in (900..).step_by(2).zip(suites) {
        let keys = Keys { theirs: key(suite, seed), ours: key(suite, seed + 1) };
        // What it would have sealed with them before, had it had them.
        soft.sealer = Sealer::new(&keys.theirs);
        for n in (0..soft.extended - 1).step_by(20_000) {
            let plain = soft.phone.clone().packet(0, 0, &[0; 8]);
            soft.sealer.seal_rtp(u32::from(n as u16) | n & !0xffff, &plain, &mut [0; 100]).unwrap();
        }
        let (at, security) = (soft.phone.addr, Security::Srtp(Box::new(keys)));
        let ingress = Ingress { security, ..Ingress::audio(Some(at), Some(at.ip())) };
        world.command(MediaCommand::Configure { port: soft.phone.port, ingress });
        // Only after the second and the last key of the four it says something.
        if seed == 902 || seed == 906 {
            assert_eq!(world.send_sealed(&mut soft, &[2; 160]), Verdict::Forwarded(1), "{suite:?}");
        }
    }
}

/// Text and whatever else is RTP, too.
#[test]
fn what_is_no_audio_is_opened_and_sealed_like_it() {
    let mut world = World::new();
    let mut a = world.secured("192.0.2.1:4000", Suite::AeadAes128Gcm);
    let mut b = world.secured("192.0.2.2:4000", Suite::AesCm128HmacSha1Tag80);
    for (end, seed) in [(&a, 0), (&b, 1)] {
        let suite = [Suite::AeadAes128Gcm, Suite::AesCm128HmacSha1Tag80][seed as usize];
        let keys = Keys { theirs: key(suite, 100 + seed), ours: key(suite, 200 + seed) };
        let (port, at, security) = (end.phone.port, end.phone.addr, Security::Srtp(Box::new(keys)));
        let ingress = Ingress { kind: Kind::Video, security, ..Ingress::audio(Some(at), Some(at.ip())) };
        world.command(MediaCommand::Configure { port, ingress });
    }
    world.call(&a.phone, &b.phone);
    assert_eq!(world.send_sealed(&mut a, b"text"), Verdict::Forwarded(1));
    assert_eq!(world.opened_by(&mut b)[0].bytes[12..], *b"text");
    let plain = a.phone.clone().packet(0, 0, b"text");
    let verdict = world.receive(a.phone.port, Component::Rtp, a.phone.addr, &plain);
    assert_eq!(verdict, Verdict::Dropped(DropReason::BadTag));
}
