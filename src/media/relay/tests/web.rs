//! Browsers through the relay: nothing before there are keys, then audio both ways with plain and secured legs, before
//! and after a move.

use std::sync::Arc;
use std::time::Instant;

use super::secure::key;
use super::*;
use crate::media::srtp::{Keys, Opener, Sealer, Security, Suite};
use crate::media::web::tests::browser::{Browser, Pick};
use crate::media::web::{Credentials, Identity, Role, Web, WebEnd};

/// A browser at the other end of a port.
pub(super) struct Caller {
    pub(super) phone: Phone,
    browser: Browser,
    end: WebEnd,
    srtp: Option<(Sealer, Opener)>,
    extended: u32,
}

impl Caller {
    pub(super) fn has_keys(&self) -> bool {
        self.srtp.is_some()
    }
}

pub(super) struct Houses {
    pub(super) world: World,
    identity: Arc<Identity>,
    origin: Instant,
}

impl Houses {
    pub(super) fn new() -> Self {
        let (identity, origin) = (Arc::new(Identity::generate().unwrap()), Instant::now());
        let mut world = World::new();
        world.relay = Relay::new(0, Random::from_number(1)).with_web(Web::new(Arc::clone(&identity), origin));
        Self { world, identity, origin }
    }

    pub(super) fn browser(&mut self, address: &str) -> Caller {
        let seed = self.world.relay.routes.len() as u8 + 1;
        let local = Credentials::from_bytes(&[seed; 32]);
        let fingerprint = self.identity.fingerprint().clone();
        let browser = Browser::new(addr(address), local.clone(), Role::Passive, fingerprint, self.origin);
        let end = WebEnd {
            local,
            remote: "them".into(),
            fingerprint: browser.fingerprint(),
            role: Role::Passive,
            association: 0,
            tls_id: None,
        };
        let phone = self.world.phone_with(address, |ingress| {
            (ingress.remote, ingress.remote_rtcp) = (None, None);
            ingress.security = Security::Web(Box::new(end.clone()));
        });
        let extended = u32::from(phone.sequence);
        Caller { phone, browser, end, srtp: None, extended }
    }

    /// Lets a browser and the relay talk until neither has anything to say; gives the sealed packets that went to it.
    pub(super) fn settle(&mut self, caller: &mut Caller) -> Vec<Vec<u8>> {
        let mut media = Vec::new();
        loop {
            while let Some(mut datagram) = caller.browser.outgoing.pop_front() {
                let (now, src) = (self.world.log.now, caller.browser.address);
                self.world.relay.handle_packet(
                    now,
                    0,
                    Component::Web,
                    src,
                    &mut datagram,
                    &mut self.world.log,
                );
            }
            let to = caller.browser.address;
            let (own, rest) = std::mem::take(&mut self.world.log.sent)
                .into_iter()
                .partition(|sent: &Sent| sent.component == Component::Web && sent.to == to);
            self.world.log.sent = rest;
            let own: Vec<Sent> = own;
            if own.is_empty() {
                return media;
            }
            for sent in own {
                match sent.bytes.first() {
                    Some(128..=191) => media.push(sent.bytes),
                    _ => caller.browser.receive(self.world.log.now, &sent.bytes),
                }
            }
        }
    }

    pub(super) fn connect(&mut self, caller: &mut Caller) {
        caller.browser.check(Pick::Yes);
        self.settle(caller);
        caller.browser.start(self.world.log.now);
        self.settle(caller);
        let keys = caller.browser.keys.as_ref().expect("keys");
        caller.srtp = Some((Sealer::new(&keys.ours), Opener::new(&keys.theirs)));
    }

    pub(super) fn send(&mut self, from: &mut Caller, payload: &[u8]) -> Verdict {
        let plain = from.phone.packet(0, from.phone.timestamp, payload);
        from.phone.timestamp = from.phone.timestamp.wrapping_add(160);
        let mut sealed = vec![0; plain.len() + 20];
        let (sealer, _) = from.srtp.as_mut().expect("keys");
        let len = sealer.seal_rtp(from.extended, &plain, &mut sealed).unwrap();
        from.extended += 1;
        sealed.truncate(len);
        let (now, src) = (self.world.log.now, from.browser.address);
        self.world.relay.handle_packet(now, 0, Component::Web, src, &mut sealed, &mut self.world.log)
    }

    /// What a browser could open of what was sent to it.
    pub(super) fn opened_by(&mut self, to: &mut Caller) -> Vec<Vec<u8>> {
        let sealed = self.settle(to);
        let (_, opener) = to.srtp.as_mut().expect("keys");
        let open = |mut bytes: Vec<u8>| {
            let len = opener.open_rtp(&mut bytes).expect("sealed for this browser");
            bytes.truncate(len);
            bytes
        };
        sealed.into_iter().map(open).collect()
    }
}

#[test]
fn a_desk_phone_and_a_browser_hear_each_other_once_there_are_keys() {
    let mut houses = Houses::new();
    let mut desk = houses.world.phone("192.0.2.1:4000");
    let mut web = houses.browser("192.0.2.7:50000");
    houses.world.call(&desk, &web.phone);
    assert_eq!(houses.world.send(&mut desk), Verdict::Dropped(DropReason::NoRemote));
    houses.connect(&mut web);
    for n in 0..50u8 {
        assert_eq!(houses.world.send(&mut desk), Verdict::Forwarded(1));
        assert_eq!(houses.send(&mut web, &[n; 160]), Verdict::Forwarded(1));
        houses.world.pass(ms(20));
    }
    let at_web = houses.opened_by(&mut web);
    assert_eq!(at_web.len(), 50);
    assert!(at_web.iter().all(|packet| packet[12..] == [0xd5; 160]));
    let at_desk = houses.world.heard_by(&desk);
    assert!((0..50).all(|n| at_desk[n].bytes[12..] == [n as u8; 160]));
    assert_continuous(&at_desk);
}

#[test]
fn a_call_moves_from_desk_to_browser_to_browser_and_back() {
    let mut houses = Houses::new();
    let mut far = houses.browser("192.0.2.6:50000");
    let mut desk = houses.world.phone("192.0.2.1:4000");
    let mut web = houses.browser("192.0.2.7:50000");
    let mut other = houses.browser("192.0.2.8:50000");
    houses.connect(&mut far);
    houses.connect(&mut web);
    houses.connect(&mut other);
    houses.world.call(&far.phone, &desk);
    let mut heard = Vec::new();
    let swap = |houses: &mut Houses, far: &Phone, old: &Phone, new: &Phone| {
        let (to_far, to_new) = (Sink::plain(far.port), Some(Sink::plain(new.port)));
        let command = MediaCommand::Swap { far: far.port, old: old.port, new: new.port, to_far, to_new };
        houses.world.command(command);
    };
    for round in 0..4 {
        for _ in 0..10 {
            match round {
                0 | 3 => _ = houses.world.send(&mut desk),
                1 => _ = houses.send(&mut web, &[1; 160]),
                _ => _ = houses.send(&mut other, &[2; 160]),
            }
            assert_eq!(houses.send(&mut far, &[9; 160]), Verdict::Forwarded(1));
            houses.world.pass(ms(20));
        }
        heard.extend(houses.opened_by(&mut far));
        let (desk_heard, web_heard, other_heard) = (
            houses.world.heard_by(&desk).len(),
            houses.opened_by(&mut web).len(),
            houses.opened_by(&mut other).len(),
        );
        let expected = [[10, 0, 0], [0, 10, 0], [0, 0, 10], [10, 0, 0]][round];
        assert_eq!([desk_heard, web_heard, other_heard], expected, "round {round}");
        match round {
            0 => swap(&mut houses, &far.phone, &desk, &web.phone),
            1 => swap(&mut houses, &far.phone, &web.phone, &other.phone),
            2 => {
                // The desk phone comes back as another leg would.
                let port = houses.world.relay.add_port();
                let ingress = Ingress::audio(Some(desk.addr), Some(desk.addr.ip()));
                houses.world.command(MediaCommand::Configure { port, ingress });
                desk.port = port;
                swap(&mut houses, &far.phone, &other.phone, &desk);
            }
            _ => {}
        }
    }
    assert_eq!(heard.len(), 40);
    let headers: Vec<Header> = heard.iter().map(|packet| Header::parse(packet).unwrap()).collect();
    let follows = |pair: &[Header]| {
        pair[1].ssrc == pair[0].ssrc && pair[1].sequence == pair[0].sequence.wrapping_add(1)
    };
    assert!(headers.windows(2).all(follows), "one stream for the far browser, whoever speaks");
}

#[test]
fn nothing_comes_in_or_goes_out_before_keys_nor_in_plain_after() {
    let mut houses = Houses::new();
    let mut desk = houses.world.phone("192.0.2.1:4000");
    let mut web = houses.browser("192.0.2.7:50000");
    houses.world.call(&desk, &web.phone);
    web.browser.check(Pick::Yes);
    houses.settle(&mut web);
    let mut plain = web.phone.packet(0, 0, &[1; 160]);
    let (now, src) = (houses.world.log.now, web.browser.address);
    let early = houses.world.relay.handle_packet(
        now,
        0,
        Component::Web,
        src,
        &mut plain.clone(),
        &mut houses.world.log,
    );
    assert_eq!(early, Verdict::Dropped(DropReason::NoKeys));
    assert_eq!(houses.world.send(&mut desk), Verdict::Dropped(DropReason::NoRemote));
    // The pair of sockets that the port has besides.
    let own = houses.world.receive(web.phone.port, Component::Rtp, src, &plain);
    assert_eq!(own, Verdict::Dropped(DropReason::NoKeys));
    houses.connect(&mut web);
    let late =
        houses.world.relay.handle_packet(now, 0, Component::Web, src, &mut plain, &mut houses.world.log);
    assert_eq!(late, Verdict::Dropped(DropReason::BadTag));
    assert!(houses.world.heard_by(&desk).is_empty());
}

#[test]
fn a_refresh_keeps_the_keys_and_a_new_certificate_waits_for_new_ones() {
    let mut houses = Houses::new();
    let mut desk = houses.world.phone("192.0.2.1:4000");
    let mut web = houses.browser("192.0.2.7:50000");
    houses.world.call(&desk, &web.phone);
    houses.connect(&mut web);
    let mut ingress = Ingress::audio(None, None);
    ingress.security = Security::Web(Box::new(web.end.clone()));
    houses.world.command(MediaCommand::Configure { port: web.phone.port, ingress: ingress.clone() });
    assert_eq!(houses.send(&mut web, &[1; 160]), Verdict::Forwarded(1));
    assert_eq!(houses.world.send(&mut desk), Verdict::Forwarded(1));
    let fingerprint = Identity::generate().unwrap().fingerprint().clone();
    let other = WebEnd { fingerprint, local: Credentials::from_bytes(&[99; 32]), ..web.end.clone() };
    ingress.security = Security::Web(Box::new(other));
    houses.world.command(MediaCommand::Configure { port: web.phone.port, ingress });
    assert_eq!(houses.send(&mut web, &[1; 160]), Verdict::Dropped(DropReason::NoKeys));
    // Nor in plain, by the sockets that the port has besides, from where the browser was.
    let (port, src) = (web.phone.port, web.browser.address);
    let plain = web.phone.packet(0, 0, &[1; 160]);
    let verdict = houses.world.receive(port, Component::Rtp, src, &plain);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoKeys));
    let report = reports::sender_report(&web.phone, &[]).bytes().to_vec();
    let verdict = houses.world.receive(port, Component::Rtcp, src, &report);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoKeys));
    assert_eq!(
        houses.world.send(&mut desk),
        Verdict::Dropped(DropReason::NoRemote),
        "nothing goes out unsealed"
    );
}

#[test]
fn who_no_longer_checks_is_told_as_quiet_and_a_released_port_is_nobodys() {
    let mut houses = Houses::new();
    let mut web = houses.browser("192.0.2.7:50000");
    houses.connect(&mut web);
    houses.world.pass(ms(31_000));
    let port = web.phone.port;
    assert!(houses.world.log.events.contains(&MediaEvent::Quiet { port }));
    houses.world.command(MediaCommand::Release { port });
    let mut check = web.browser.check_of(Pick::Yes);
    let (now, src) = (houses.world.log.now, web.browser.address);
    let verdict =
        houses.world.relay.handle_packet(now, 0, Component::Web, src, &mut check, &mut houses.world.log);
    assert_eq!(verdict, Verdict::Dropped(DropReason::WrongSource));
}

/// A browser's leg whose keys are in its description from now on, as when it is handed to a gateway.
#[test]
fn a_leg_that_goes_over_to_keys_in_its_description_is_no_browsers_any_more() {
    let mut houses = Houses::new();
    let mut desk = houses.world.phone("192.0.2.1:4000");
    let mut web = houses.browser("192.0.2.7:50000");
    houses.world.call(&desk, &web.phone);
    houses.connect(&mut web);
    assert_eq!(houses.send(&mut web, &[1; 160]), Verdict::Forwarded(1));
    let suite = Suite::AesCm128HmacSha1Tag80;
    let (keys, at) = (Keys { theirs: key(suite, 1), ours: key(suite, 2) }, addr("192.0.2.9:4000"));
    let (mut sealer, mut opener) = (Sealer::new(&keys.theirs), Opener::new(&keys.ours));
    let port = web.phone.port;
    let security = Security::Srtp(Box::new(keys));
    let ingress = Ingress { security, ..Ingress::audio(Some(at), Some(at.ip())) };
    houses.world.command(MediaCommand::Configure { port, ingress });
    houses.world.log.sent.clear();
    for n in 0..2000u32 {
        let (plain, mut sealed) = (web.phone.packet(0, 160 * n, &[2; 160]), [0; 200]);
        let len = sealer.seal_rtp(n, &plain, &mut sealed).unwrap();
        assert_eq!(houses.world.receive(port, Component::Rtp, at, &sealed[..len]), Verdict::Forwarded(1));
        assert_eq!(houses.world.send(&mut desk), Verdict::Forwarded(1));
        houses.world.pass(ms(20));
    }
    for mut sent in houses.world.heard_by(&web.phone) {
        assert_eq!(sent.to, at);
        opener.open_rtp(&mut sent.bytes).unwrap();
    }
    assert!(!houses.world.log.events.contains(&MediaEvent::Quiet { port }), "nobody has to check any more");
    assert_eq!(houses.send(&mut web, &[1; 160]), Verdict::Dropped(DropReason::WrongSource));
}

#[test]
fn a_phone_with_keys_in_its_description_and_a_browser_hear_each_other_before_and_after_moves() {
    for suite in Suite::ALL {
        let mut houses = Houses::new();
        let mut far = houses.world.secured("192.0.2.1:4000", suite);
        let mut desk = houses.world.phone("192.0.2.2:4000");
        let mut web = houses.browser("192.0.2.7:50000");
        let mut soft = houses.world.secured("192.0.2.3:4000", Suite::AesCm128HmacSha1Tag80);
        houses.connect(&mut web);
        houses.world.call(&far.phone, &desk);
        let mut heard = Vec::new();
        for round in 0..4u8 {
            for n in 0..20 {
                let verdict = match round {
                    0 => houses.world.send_as(&mut desk, 0, &[round; 160]),
                    2 => houses.world.send_sealed(&mut soft, &[round; 160]),
                    _ => houses.send(&mut web, &[round; 160]),
                };
                assert_eq!(verdict, Verdict::Forwarded(1), "{suite:?} {round}");
                let verdict = houses.world.send_sealed(&mut far, &[100 + n; 160]);
                assert_eq!(verdict, Verdict::Forwarded(1), "{suite:?} {round}");
                houses.world.pass(ms(20));
            }
            heard.extend(houses.world.opened_by(&mut far));
            let payloads: Vec<Vec<u8>> = match round {
                0 => houses.world.heard_by(&desk).into_iter().map(|sent| sent.bytes).collect(),
                2 => houses.world.opened_by(&mut soft).into_iter().map(|sent| sent.bytes).collect(),
                _ => houses.opened_by(&mut web),
            };
            assert_eq!(payloads.len(), 20, "{suite:?} {round}");
            assert!(payloads.iter().zip(100..).all(|(bytes, n)| bytes[12..] == [n; 160]));
            match round {
                0 => houses.world.swap(&far.phone, &desk, &web.phone),
                1 => houses.world.swap(&far.phone, &web.phone, &soft.phone),
                2 => {
                    // The browser's leg of before is over; it comes back as another one.
                    houses.world.command(MediaCommand::Release { port: web.phone.port });
                    web = houses.browser("192.0.2.7:50000");
                    houses.connect(&mut web);
                    houses.world.swap(&far.phone, &soft.phone, &web.phone);
                }
                _ => {}
            }
        }
        assert_eq!(heard.len(), 80);
        assert_continuous(&heard);
        assert!(heard.iter().zip(0..).all(|(sent, n)| sent.bytes[12..] == [(n / 20) as u8; 160]));
    }
}

/// What the media threads hold of a browser that talks: ICE, DTLS, keys both ways, its route, what goes out to it and what
/// is counted. (What signalling holds of a call is measured with the whole node, docs/PERFORMANCE.md: a tenth of that.) Other
/// tests of the process may run meanwhile: the least of some rounds counts, and the bound is that of the contract.
#[test]
fn a_browser_that_talks_costs_less_than_100_kilobytes() {
    const ROUNDS: u16 = 4;
    const CALLS: u16 = 25;
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let mut houses = Houses::new();
    let mut talk = |call: u16| {
        let [mut a, mut b] =
            [0, 1].map(|side| houses.browser(&format!("192.0.2.7:{}", 5000 + 2 * call + side)));
        houses.connect(&mut a);
        houses.connect(&mut b);
        houses.world.call(&a.phone, &b.phone);
        for n in 0..10u8 {
            assert_eq!(houses.send(&mut a, &[n; 160]), Verdict::Forwarded(1));
            assert_eq!(houses.send(&mut b, &[n; 160]), Verdict::Forwarded(1));
            houses.world.pass(ms(20));
        }
        assert_eq!((houses.opened_by(&mut a).len(), houses.opened_by(&mut b).len()), (10, 10));
    };
    let each = (0..ROUNDS).map(|round| {
        let before = resident();
        (0..CALLS).for_each(|call| talk(round * CALLS + call));
        resident().saturating_sub(before) / u64::from(2 * CALLS)
    });
    let each: Vec<u64> = each.collect();
    println!("{each:?} bytes a browser, by round");
    assert!(each.iter().any(|each| (1..100_000).contains(each)), "{each:?}");
}
