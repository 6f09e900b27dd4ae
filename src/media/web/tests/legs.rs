//! What a leg goes through: checks, the handshake, restarts, other networks, silence.

use super::browser::Pick;
use super::*;

#[test]
fn a_browser_checks_shakes_hands_and_both_have_the_same_keys() {
    for role in [Role::Passive, Role::Active] {
        let mut house = House::new();
        let mut browser = house.leg(3, "192.0.2.7:5000", role);
        let told = house.connect(&mut browser);
        assert_eq!(browser.answers, [browser.address], "its own address is told");
        assert_eq!((told.picked, house.web.target(3)), (Some(browser.address), Some(browser.address)));
        let (ours, theirs) = (told.keys.expect("keys"), browser.keys.take().expect("keys"));
        assert_eq!((&ours.ours, &ours.theirs), (&theirs.theirs, &theirs.ours), "{role:?}");
        assert_ne!(ours.ours, ours.theirs);
        let media = house.deliver(browser.address, &[0x80, 0, 0, 1], &mut browser, &mut Told::default());
        assert_eq!(media, Arrival::Media { slot: 3, component: crate::media::relay::Component::Rtp });
        let report = house.deliver(browser.address, &[0x80, 200, 0, 1], &mut browser, &mut Told::default());
        assert_eq!(report, Arrival::Media { slot: 3, component: crate::media::relay::Component::Rtcp });
    }
}

/// A house and a browser in it whose handshake goes in datagrams of that size.
fn in_datagrams_of(mtu: usize) -> (House, Browser, SocketAddr) {
    let mut house = House::new();
    let local = Credentials::from_bytes(&[9; 32]);
    let identity = Identity::with_mtu(mtu).unwrap();
    let address: SocketAddr = "192.0.2.7:5000".parse().unwrap();
    let (fingerprint, origin) = (house.fingerprint(), house.origin);
    let browser = Browser::with(identity, address, local.clone(), Role::Passive, fingerprint, origin);
    let fingerprint = browser.fingerprint();
    house.configure(
        0,
        &WebEnd {
            local,
            remote: "them".into(),
            fingerprint,
            role: Role::Passive,
            association: 0,
            tls_id: None,
        },
    );
    (house, browser, address)
}

/// Browsers offer a post-quantum key share, and need two datagrams for it.
#[test]
fn a_hello_in_several_datagrams_is_one() {
    let (mut house, mut browser, _) = in_datagrams_of(80);
    assert!(house.connect(&mut browser).keys.is_some() && browser.keys.is_some());
}

/// A browser repeats its hello before the answer is there, where the way is longer than its patience (50 ms with some).
#[test]
fn a_hello_that_comes_twice_is_answered_with_the_same_cookie() {
    for mtu in [1200, 80] {
        let (mut house, mut browser, address) = in_datagrams_of(mtu);
        let mut told = Told::default();
        browser.check(Pick::Yes);
        house.settle(&mut browser, &mut told);
        browser.start(house.now);
        let hello: Vec<Vec<u8>> = browser.outgoing.drain(..).collect();
        for datagram in &hello {
            house.deliver(address, datagram, &mut browser, &mut told);
        }
        assert!(!browser.outgoing.is_empty(), "the second hello, with our cookie");
        for datagram in &hello {
            // A browser passes over the second answer: it has gone on.
            house.web.handle_datagram(house.now, address, datagram, &mut |_, _| {});
        }
        house.settle(&mut browser, &mut told);
        assert!(told.keys.is_some() && browser.keys.is_some(), "{mtu}");
    }
}

#[test]
fn who_says_hello_and_is_not_heard_for_long_says_it_again() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Active);
    let mut told = Told::default();
    browser.check(Pick::Yes);
    let check = browser.outgoing.pop_front().unwrap();
    house.web.handle_datagram(house.now, browser.address, &check, &mut |_, _| {});
    for _ in 0..20 {
        // Checks go on; nothing else gets through.
        let check = browser.check_of(Pick::No);
        house.web.handle_datagram(house.now, browser.address, &check, &mut |_, _| {});
        house.now = house.now + Duration::from_secs(2);
        while house.web.handle_timeout(house.now, &mut |_, _| {}).is_some() {}
    }
    for _ in 0..15 {
        house.pass(Duration::from_secs(1), &mut browser);
        house.settle(&mut browser, &mut told);
    }
    assert!(told.keys.is_some() && browser.keys.is_some());
}

#[test]
fn no_handshake_before_a_pair_is_picked() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let mut told = Told::default();
    browser.check(Pick::No);
    browser.start(house.now);
    house.settle(&mut browser, &mut told);
    assert_eq!((browser.answers.len(), browser.received.len()), (1, 0));
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    house.now = house.now + Duration::from_secs(2);
    browser.again(house.now);
    house.settle(&mut browser, &mut told);
    assert!(told.keys.is_some() && browser.keys.is_some(), "the hello that was sent again is answered");
}

#[test]
fn what_is_lost_on_the_way_is_sent_again() {
    for role in [Role::Passive, Role::Active] {
        let mut house = House::new();
        let mut browser = house.leg(0, "192.0.2.7:5000", role);
        let mut told = Told::default();
        browser.check(Pick::Yes);
        browser.start(house.now);
        for round in 0..40 {
            let mut n = 0;
            while let Some(datagram) = browser.outgoing.pop_front() {
                n += 1;
                // Every third datagram of ours to them and the first of each round of theirs are lost.
                if n > 1 || round % 2 == 1 {
                    let src = browser.address;
                    house.deliver(src, &datagram, &mut browser, &mut told);
                }
            }
            house.pass(Duration::from_millis(1100), &mut browser);
            browser.again(house.now);
            if round % 4 == 0 {
                browser.check(Pick::Yes);
            }
        }
        assert!(told.keys.is_some() && browser.keys.is_some(), "{role:?}");
    }
}

#[test]
fn another_network_takes_the_leg_along_and_the_keys_stay() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    assert!(house.connect(&mut browser).keys.is_some());
    browser.address = "198.51.100.9:40000".parse().unwrap();
    let mut told = Told::default();
    browser.check(Pick::No);
    house.settle(&mut browser, &mut told);
    assert_eq!(told.picked, None, "a check alone moves nothing");
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    assert_eq!((told.picked, told.keys), (Some(browser.address), None));
    assert_eq!(house.web.target(0), Some(browser.address));
}

#[test]
fn an_ice_restart_keeps_pair_and_keys_until_its_credentials_are_used() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    house.connect(&mut browser);
    let local = Credentials::from_bytes(&house.random.bytes());
    let end = WebEnd {
        local: local.clone(),
        remote: "them".into(),
        fingerprint: browser.fingerprint(),
        role: Role::Passive,
        association: 0,
        tls_id: None,
    };
    assert!(!house.configure(0, &end), "the association stays");
    assert!(!house.configure(0, &end), "a refresh changes nothing");
    let mut told = Told::default();
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    assert_eq!(browser.answers.len(), 2, "the old credentials still hold");
    let before = std::mem::replace(&mut browser.house, local);
    browser.address = "192.0.2.7:5001".parse().unwrap();
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    assert_eq!((browser.answers.len(), told.picked), (3, Some(browser.address)));
    browser.house = before;
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    assert_eq!(browser.answers.len(), 3, "and then no longer");
    assert_eq!(house.web.names.len(), 1);
}

#[test]
fn another_certificate_in_the_same_dialog_is_another_association() {
    let mut house = House::new();
    let mut first = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let before = house.connect(&mut first).keys.unwrap();
    let local = Credentials::from_bytes(&house.random.bytes());
    let mut second = Browser::new(
        "192.0.2.8:6000".parse().unwrap(),
        local.clone(),
        Role::Passive,
        house.fingerprint(),
        house.origin,
    );
    let end = WebEnd {
        local,
        remote: "them".into(),
        fingerprint: second.fingerprint(),
        role: Role::Passive,
        association: 0,
        tls_id: None,
    };
    assert!(house.configure(0, &end));
    let after = house.connect(&mut second).keys.expect("keys with the second");
    assert_ne!(before, after);
}

#[test]
fn a_side_that_no_longer_checks_is_told_once() {
    let mut house = House::new();
    let mut browser = house.leg(5, "192.0.2.7:5000", Role::Passive);
    house.connect(&mut browser);
    assert_eq!(house.pass(Duration::from_secs(29), &mut browser), [0u32; 0]);
    let mut told = Told::default();
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    assert_eq!(house.pass(Duration::from_secs(29), &mut browser), [0u32; 0]);
    assert_eq!(house.pass(Duration::from_secs(120), &mut browser), [5]);
    browser.check(Pick::Yes);
    house.settle(&mut browser, &mut told);
    assert_eq!(house.pass(Duration::from_secs(120), &mut browser), [5], "and again after it came back");
}

#[test]
fn goodbyes_are_said_and_heard() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let mut told = house.connect(&mut browser);
    browser.close(house.now);
    house.settle(&mut browser, &mut told);
    assert_eq!(house.pass(Duration::from_millis(1900), &mut browser), [0u32; 0], "its BYE may be on the way");
    assert_eq!(house.pass(Duration::from_millis(200), &mut browser), [0]);
    let mut other = house.leg(1, "192.0.2.8:5000", Role::Passive);
    house.connect(&mut other);
    let before = other.received.len();
    let mut sent = Vec::new();
    house.web.release(house.now, 1, &mut |to, bytes| sent.push((to, bytes.to_vec())));
    assert!(sent.iter().all(|(to, _)| *to == other.address) && sent.len() == 1 && before > 0);
    house.web.release(house.now, 0, &mut |_, _| panic!("it is gone"));
    assert!(house.web.is_empty() && house.web.names.is_empty() && house.web.sources.is_empty());
}

/// What a leg holds when its handshake is done: the memory of the process before and after many of them. Other tests of
/// the process may run meanwhile, so the bound is that of the contract, not what was measured (docs/adr).
#[test]
fn a_leg_costs_less_than_100_kilobytes() {
    const LEGS: u32 = 300;
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let mut house = House::new();
    let (before, mut longest, mut spent) = (resident(), Duration::ZERO, Duration::ZERO);
    for slot in 0..LEGS {
        let address = format!("192.0.2.7:{}", 5000 + slot);
        let mut browser = house.leg(slot, &address, Role::Passive);
        let mut told = Told::default();
        browser.check(Pick::Yes);
        house.settle(&mut browser, &mut told);
        browser.start(house.now);
        while let Some(datagram) = browser.outgoing.pop_front() {
            let mut answers = Vec::new();
            let begun = Instant::now();
            let src = browser.address;
            let arrival = house
                .web
                .handle_datagram(house.now, src, &datagram, &mut |_, bytes| answers.push(bytes.to_vec()));
            let took = begun.elapsed();
            (longest, spent) = (longest.max(took), spent + took);
            if let Arrival::Secured { keys, .. } = arrival {
                told.keys = Some(keys);
            }
            answers.iter().for_each(|answer| browser.receive(house.now, answer));
        }
        assert!(told.keys.is_some());
    }
    let each = resident().saturating_sub(before) / u64::from(LEGS);
    println!("{each} bytes a leg, {:?} of a handshake, {longest:?} the longest step", spent / LEGS);
    assert!(each < 100_000, "{each}");
    assert_eq!((house.web.len(), house.web.names.len(), house.web.sources.len()), (300, 300, 300));
}

/// As with aggressive nomination (RFC 5245 8.1.1.2): every check picks its pair, and the handshake goes over the one that
/// the browser likes best.
#[test]
fn a_handshake_may_go_over_any_pair_that_was_picked() {
    for role in [Role::Passive, Role::Active] {
        let mut house = House::new();
        let mut browser = house.leg(0, "192.0.2.7:5000", role);
        let (mut told, best, other) =
            (Told::default(), browser.address, "198.51.100.9:6000".parse().unwrap());
        let tried = "198.51.100.9:7000".parse().unwrap();
        for (pick, src) in [(Pick::Yes, best), (Pick::Yes, other), (Pick::No, tried)] {
            let check = browser.check_of(pick);
            house.deliver(src, &check, &mut browser, &mut told);
        }
        assert_eq!(house.web.target(0), Some(other));
        browser.start(house.now);
        let hello = browser.outgoing.front().cloned().unwrap_or_else(|| vec![22; 40]);
        assert_eq!(
            house.deliver(tried, &hello, &mut browser, &mut told),
            Arrival::Stranger,
            "it picked no pair"
        );
        house.settle(&mut browser, &mut told);
        assert!(told.keys.is_some() && browser.keys.is_some(), "{role:?}");
    }
}

#[test]
fn a_new_association_with_the_same_address_is_begun_by_who_is_to_begin_it() {
    let mut house = House::new();
    let mut first = house.leg(0, "192.0.2.7:5000", Role::Active);
    let before = house.connect(&mut first).keys.unwrap();
    let local = first.house.clone();
    let (fingerprint, origin) = (house.fingerprint(), house.origin);
    let mut second = Browser::new(first.address, local.clone(), Role::Active, fingerprint, origin);
    let end = WebEnd {
        local,
        remote: "them".into(),
        fingerprint: second.fingerprint(),
        role: Role::Active,
        association: 0,
        tls_id: None,
    };
    let mut said = Vec::new();
    assert!(house.web.configure(house.now, 0, &end, &mut |to, bytes| said.push((to, bytes.to_vec()))));
    assert!(said.iter().all(|(to, _)| *to == second.address) && !said.is_empty());
    let mut told = Told::default();
    for (_, hello) in said {
        second.receive(house.now, &hello);
    }
    house.settle(&mut second, &mut told);
    assert!(told.keys.is_some_and(|keys| keys != before));
}

#[test]
fn an_association_that_its_descriptions_replace_is_shaken_anew_with_the_same_certificates() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    house.connect(&mut browser);
    let fingerprint = browser.fingerprint();
    let end = |local: &Credentials, association, tls_id: Option<&str>| WebEnd {
        local: local.clone(),
        remote: "them".into(),
        fingerprint: fingerprint.clone(),
        role: Role::Passive,
        association,
        tls_id: tls_id.map(Box::from),
    };
    let local = browser.house.clone();
    assert!(house.configure(0, &end(&local, 1, None)), "ours says so");
    assert!(!house.configure(0, &end(&local, 1, Some("one"))), "it has a name from now on");
    assert!(house.configure(0, &end(&local, 1, Some("other"))), "theirs says so");
    assert!(!house.configure(0, &end(&local, 1, Some("other"))));
}

#[test]
fn a_check_as_long_as_a_datagram_is_answered() {
    let mut house = House::new();
    let mut browser = house.leg(0, "192.0.2.7:5000", Role::Passive);
    let mut told = Told::default();
    for len in [604, 1500] {
        let check = browser.check_of(Pick::Yes);
        let long = crate::wire::stun::stretched(&check, len, browser.house.password.as_bytes());
        browser.outgoing.push_back(long);
        house.settle(&mut browser, &mut told);
    }
    assert_eq!((browser.answers.len(), told.picked), (2, Some(browser.address)));
}
