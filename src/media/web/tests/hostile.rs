//! What strangers, forgers and broken peers send.

use super::browser::Pick;
use super::*;
use crate::wire::stun::{Class, Writer};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_stranger_gets_no_answer_to_anything() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    house.connect(&mut browser);
    let (mut told, stranger) = (Told::default(), addr("203.0.113.66:5000"));
    let mut forged = browser.check_of(Pick::Yes);
    let last = forged.len() - 9;
    forged[last] ^= 1;
    let unsigned =
        Writer::new(Class::Request, &[1; 12]).username(&browser.house.ufrag, "them").fingerprinted();
    let bare = Writer::new(Class::Request, &[1; 12]).fingerprinted();
    let unknown = Writer::new(Class::Request, &[1; 12]).username("nobody", "them").signed(b"secret");
    let hello = browser.received.clone();
    let datagrams =
        [&forged, unsigned.bytes(), bare.bytes(), unknown.bytes(), &[0x80, 0, 0, 0][..], &[], &[22]];
    for datagram in datagrams.into_iter().chain(hello.iter().map(Vec::as_slice)) {
        let mut answers = 0;
        let arrival = house.web.handle_datagram(house.now, stranger, datagram, &mut |_, _| answers += 1);
        assert_eq!((arrival, answers), (Arrival::Stranger, 0));
    }
    assert_eq!(house.web.target(0), Some(browser.address));
    assert_eq!(house.web.sources.len(), 1);
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    assert_eq!(told.picked, None, "the leg is as it was");
}

#[test]
fn a_check_for_another_side_of_ours_is_none() {
    let mut house = House::new();
    let browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let check = Writer::new(Class::Request, &[1; 12])
        .username(&browser.house.ufrag, "somebody")
        .signed(browser.house.password.as_bytes());
    let arrival =
        house.web.handle_datagram(house.now, browser.address, check.bytes(), &mut |_, _| panic!("answered"));
    assert_eq!(arrival, Arrival::Stranger);
}

#[test]
fn an_address_in_use_is_not_taken_by_another_leg() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    house.connect(&mut browser);
    // Another user of ours, with good credentials of his own, forges the address.
    let mut thief = house.leg(1, "192.0.2.7:5000", Role::Passive);
    let check = thief.check_of(Pick::Yes);
    let forge = |house: &mut House, check: &[u8]| {
        house.web.handle_datagram(house.now, addr("192.0.2.7:5000"), check, &mut |_, _| {})
    };
    assert_eq!(forge(&mut house, &check), Arrival::Stranger);
    let media = house.deliver(browser.address, &[0x80, 0, 0, 1], &mut browser, &mut Told::default());
    assert!(matches!(media, Arrival::Media { slot: 0, .. }));
    // When nobody has checked from there for a while, it is somebody else's behind the same translation.
    house.pass(super::super::CLAIM + Duration::from_secs(1), &mut browser);
    let check = thief.check_of(Pick::Yes);
    assert!(matches!(forge(&mut house, &check), Arrival::Picked { slot: 1, .. }));
}

#[test]
fn addresses_of_one_leg_are_few() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    house.connect(&mut browser);
    for port in 1..200 {
        let check = browser.check_of(Pick::No);
        house.now = house.now + Duration::from_millis(1);
        house.web.handle_datagram(
            house.now,
            SocketAddr::new(browser.address.ip(), port),
            &check,
            &mut |_, _| {},
        );
    }
    assert_eq!(house.web.sources.len(), super::super::agent::MAX_SOURCES);
    assert!(house.web.sources.contains_key(&browser.address), "the picked one stays");
}

#[test]
fn a_certificate_that_is_not_in_the_description_gets_no_keys_and_the_right_one_does_later() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let mut other = Browser::new(
        browser.address,
        browser.house.clone(),
        Role::Passive,
        house.fingerprint(),
        house.origin,
    );
    let told = house.connect(&mut other);
    assert!(told.keys.is_none() && told.refused.is_some());
    let told = house.connect(&mut browser);
    assert!(told.keys.is_some() && browser.keys.is_some());
}

#[test]
fn bad_hellos_before_and_records_after_do_not_end_a_session() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let mut told = Told::default();
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    let src = browser.address;
    let alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    let mut hello = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 8];
    hello.extend([0xff; 8]);
    for datagram in [&hello[..], &alert, &[22, 0xfe, 0xfd], &[20; 40], &[23; 60]] {
        house.deliver(src, datagram, &mut browser, &mut told);
    }
    browser.start(house.now);
    house.settle(&mut browser, &mut told);
    let keys = told.keys.take().expect("keys");
    for datagram in [&hello[..], &alert, &[22, 0xfe, 0xfd], &[20; 40], &[23; 60]] {
        let arrival = house.deliver(src, datagram, &mut browser, &mut told);
        assert_eq!(arrival, Arrival::Handled);
    }
    assert!(told.keys.is_none() && told.refused.is_none(), "{keys:?} stand");
}

#[test]
fn handshakes_that_fail_are_bounded() {
    let mut house = House::new();
    let browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let mut refused = 0;
    for _ in 0..30 {
        let mut other = Browser::new(
            browser.address,
            browser.house.clone(),
            Role::Passive,
            house.fingerprint(),
            house.origin,
        );
        refused += usize::from(house.connect(&mut other).refused.is_some());
    }
    assert!((1..12).contains(&refused), "{refused}");
}

/// Random bytes, and datagrams of a real leg with bytes changed, cut and repeated, from the right address and others.
#[test]
fn mutated_datagrams_change_nothing_for_the_leg() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let mut corpus = vec![browser.check_of(Pick::Yes)];
    // What the browser sends, collected from a leg of its own.
    let mut sample = house.leg(9, "192.0.2.9:5000", Role::Passive);
    let mut told = Told::default();
    sample.check(Pick::Yes);
    house.settle(&mut sample, &mut told);
    sample.start(house.now);
    while let Some(datagram) = sample.outgoing.pop_front() {
        corpus.push(datagram.clone());
        house.deliver(sample.address, &datagram, &mut sample, &mut told);
    }
    corpus.extend(sample.received.clone());
    assert!(corpus.len() >= 6);
    let mut told = house.connect(&mut browser);
    assert!(told.keys.is_some());
    let mut random = Random::from_number(2026);
    for round in 0..20_000u32 {
        let mut datagram = corpus[random.below(corpus.len() as u64) as usize].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(datagram.len() as u64) as usize;
            match random.below(4) {
                0 => datagram.truncate(at.max(1)),
                1 => datagram.insert(at, random.bits() as u8),
                2 => datagram[at] = random.bits() as u8,
                _ => datagram = random.bytes::<64>().to_vec(),
            }
        }
        let src = if round % 3 == 0 { addr("203.0.113.66:5000") } else { browser.address };
        house.deliver(src, &datagram, &mut browser, &mut told);
    }
    assert_eq!(house.web.target(0), Some(browser.address));
    assert!(told.refused.is_none());
    let media = house.deliver(browser.address, &[0x80, 0, 0, 1], &mut browser, &mut told);
    assert!(matches!(media, Arrival::Media { slot: 0, .. }));
}

/// The same while the handshake is under way: whatever comes between, no panic, and memory stays bounded.
#[test]
fn mutated_datagrams_during_a_handshake_are_survived() {
    for seed in 0..40 {
        let mut random = Random::from_number(seed);
        let mut house = House::new();
        let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
        let mut told = Told::default();
        browser.check(Pick::Yes);
        house.settle(&mut browser, &mut told);
        browser.start(house.now);
        for _ in 0..200 {
            let Some(datagram) = browser.outgoing.pop_front() else { break };
            let mut changed = datagram.clone();
            let at = random.below(changed.len() as u64) as usize;
            changed[at] ^= random.bits() as u8;
            let src = browser.address;
            house.deliver(src, &changed, &mut browser, &mut told);
            house.deliver(src, &datagram, &mut browser, &mut told);
        }
        house.pass(Duration::from_secs(60), &mut browser);
    }
}

/// A record in clear, as anybody can send it.
fn in_clear(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number];
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

/// `close_notify`, complaints and data in clear, from the address of the browser: before its hello, and after each of the
/// datagrams of the handshake.
#[test]
fn what_anybody_can_send_ends_no_handshake_and_is_not_answered() {
    for role in [Role::Passive, Role::Active] {
        let mut house = House::new();
        let mut browser = house.leg(0, "192.0.2.7:5000", role);
        let mut told = Told::default();
        let mut number = 100;
        let mut forge = |house: &mut House, browser: &mut Browser| {
            let forged = [
                (21, &[1, 0][..]),
                (21, &[2, 40]),
                (21, &[9]),
                (23, b"data"),
                (20, &[7]),
                (20, &[1]),
                (99, b"?"),
            ];
            let src = browser.address;
            for (kind, body) in forged {
                number += 1;
                let mut together =
                    browser.outgoing.front().cloned().filter(|d| d[0] == 22).unwrap_or_default();
                let record = in_clear(kind, number, body);
                let arrival =
                    house.web.handle_datagram(house.now, src, &record, &mut |_, _| panic!("answered"));
                assert!(matches!(arrival, Arrival::Handled | Arrival::Stranger), "{arrival:?}");
                // And behind a good one.
                together.extend(record);
                let mut far_ahead = in_clear(22, 0, &[11, 0, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0]);
                far_ahead[5..11].fill(0xff);
                house.web.handle_datagram(house.now, src, &far_ahead, &mut |_, _| {});
                if together[0] == 22 {
                    *browser.outgoing.front_mut().unwrap() = together;
                }
            }
        };
        browser.check(Pick::Yes);
        let check = browser.outgoing.pop_front().unwrap();
        let src = browser.address;
        house.deliver(src, &check, &mut browser, &mut told);
        forge(&mut house, &mut browser);
        browser.start(house.now);
        while let Some(datagram) = browser.outgoing.pop_front() {
            let is_keyed = told.keys.is_some();
            house.deliver(src, &datagram, &mut browser, &mut told);
            if !is_keyed {
                forge(&mut house, &mut browser);
            }
        }
        assert!(told.keys.is_some() && browser.keys.is_some(), "{role:?}");
        assert_eq!(house.pass(Duration::from_secs(5), &mut browser), [0u32; 0], "nobody said goodbye");
    }
}

/// A hello with another random, from the address of the browser, at each moment before ours: the answers to it go nowhere.
#[test]
fn a_forged_hello_does_not_end_the_handshake_that_it_meets() {
    for moment in 0..4 {
        let mut house = House::new();
        let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
        let mut told = Told::default();
        browser.check(Pick::Yes);
        house.settle(&mut browser, &mut told);
        browser.start(house.now);
        let mut forged = browser.outgoing[0].clone();
        forged[40] ^= 0xff;
        let src = browser.address;
        for step in 0..10 {
            if step == moment {
                house.web.handle_datagram(house.now, src, &forged, &mut |_, _| {});
            }
            let Some(datagram) = browser.outgoing.pop_front() else { break };
            house.deliver(src, &datagram, &mut browser, &mut told);
        }
        assert!(told.keys.is_some() && browser.keys.is_some(), "{moment}");
    }
}

#[test]
fn what_comes_before_a_hello_leaves_room_for_it() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut Told::default());
    for number in 0..200 {
        house.deliver(
            browser.address,
            &in_clear(20, number, &[1]).repeat(50),
            &mut browser,
            &mut Told::default(),
        );
    }
    let mut told = Told::default();
    browser.start(house.now);
    house.settle(&mut browser, &mut told);
    assert!(told.keys.is_some() && browser.keys.is_some());
}

/// A message in thousands of pieces: to put it together once more with each of them costs their cube.
#[test]
fn pieces_of_messages_are_few() {
    for before in [false, true] {
        let mut house = House::new();
        let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
        if !before {
            house.connect(&mut browser);
        } else {
            browser.check(Pick::Yes);
            house.settle(&mut browser, &mut Told::default());
        }
        let (src, mut told) = (browser.address, Told::default());
        // Each of another length and one octet long, many in a record; the next that is expected, if not answered yet.
        let piece = |n: usize, sequence: u8| {
            let [_, high, middle, low] = (n as u32).to_be_bytes();
            vec![11, 0, 0, 1, 0, sequence, high, middle, low, 0, 0, 1, 7]
        };
        let begun = Instant::now();
        for sequence in [0, 1, 2, 3, 6] {
            for datagram in 0..200usize {
                let body: Vec<u8> = (0..100).flat_map(|n| piece(100 * datagram + n, sequence)).collect();
                let mut record = in_clear(22, 0, &body);
                record[5..11]
                    .copy_from_slice(&(1000 * u64::from(sequence + 1) + datagram as u64).to_be_bytes()[2..]);
                house.deliver(src, &record, &mut browser, &mut told);
            }
        }
        // Without a bound it takes minutes, or more stack than there is.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn an_address_that_one_leg_forgets_stays_that_of_another() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    house.connect(&mut browser);
    let check_from = |house: &mut House, browser: &mut Browser, port: u16| {
        let check = browser.check_of(Pick::No);
        let src = SocketAddr::new(browser.address.ip(), port);
        house.web.handle_datagram(house.now, src, &check, &mut |_, _| {});
    };
    check_from(&mut house, &mut browser, 6000);
    // Nobody checks from there for a while, and it becomes another's.
    for _ in 0..6 {
        house.now = house.now + Duration::from_secs(4);
        check_from(&mut house, &mut browser, 5000);
    }
    let mut other = house.leg(1, "192.0.2.7:6000", Role::Passive);
    house.connect(&mut other);
    // The first leg has so many addresses that it forgets those of before.
    for port in 7000..7020 {
        house.now = house.now + Duration::from_millis(1);
        check_from(&mut house, &mut browser, port);
    }
    let media = house.deliver(other.address, &[0x80, 0, 0, 1], &mut other, &mut Told::default());
    assert!(matches!(media, Arrival::Media { slot: 1, .. }), "{media:?}");
}
