//! Another configuration while calls go on: who is there, who is no more, and who notices nothing.

use std::net::SocketAddr;
use std::time::Duration;

use super::carrier::{Carrier, run};
use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, World};
use crate::base::Secret;
use crate::call::settings::TrunkAuth;
use crate::engine::Settings;
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::store::Loaded;
use crate::engine::view::PageQuery;
use crate::registrar::accounts::{Account, Accounts, Origin};
use crate::sip::digest::{Algorithm, Ha1s};
use crate::wire::sip::{HeaderName, Method};

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);
const PEERS: [&str; 2] = ["203.0.113.1:5060", "203.0.113.2:5060"];

fn changed(names: &[&str], change: impl Fn(&mut Account)) -> Accounts {
    let mut all = Accounts::default();
    for account in accounts(names).iter() {
        let mut account = (**account).clone();
        change(&mut account);
        all.put(account).unwrap();
    }
    all
}

fn registers(world: &mut World, phone: usize) -> Option<u16> {
    world.phones[phone].registered = None;
    world.phones[phone].register(3600);
    world.run(SECOND);
    world.phones[phone].registered
}

fn dial(world: &mut World, phone: usize, number: &str) -> (usize, Option<u16>) {
    let line = world.phones[phone].dial(number);
    world.run(SECOND);
    (line, world.phones[phone].lines[line].status)
}

/// Alice and Bob, and a trunk for 00 with a phone at its far end.
fn with_trunk(seed: u64) -> (World, usize, usize, Settings) {
    let mut settings = settings();
    trunk_to(&mut settings, PEERS[0].parse().unwrap());
    let mut world = World::with(seed, settings.clone(), accounts(&["alice", "bob"]), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let far = world.outsider("bob", PEERS[0].parse().unwrap());
    (world, alice, far, settings)
}

fn trunk_names(world: &mut World) -> Vec<String> {
    match world.ask(Subject::Admin, Command::ListTrunks { page: PageQuery::default() }) {
        Reply::Trunks(page) => page.items.into_iter().map(|trunk| trunk.name).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_configuration_changes_nothing() {
    let (mut world, alice, _, settings) = with_trunk(3001);
    let bob = world.phone("bob", "desk");
    let (line, status) = dial(&mut world, alice, "bob");
    assert_eq!(status, Some(200));
    let (messages, events) = (world.log.len(), world.events.len());
    assert_eq!(world.reconfigure(settings, &accounts(&["alice", "bob"])), (vec![0], Vec::new()));
    world.run(SECOND);
    assert_eq!((world.log.len(), world.events.len()), (messages, events), "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert!(!world.phones[bob].lines[0].is_over);
    world.phones[alice].bye(line);
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn a_user_who_is_removed_talks_to_the_end_and_is_nobody_then() {
    let mut world = World::new(3002);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let (line, status) = dial(&mut world, alice, "1002");
    assert_eq!(status, Some(200));
    world.reconfigure(settings(), &accounts(&["alice"]));
    world.run(SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "the call goes on");
    // In its dialog he may hold it, and end it.
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(dial(&mut world, alice, "1002").1, Some(404), "nobody has his number");
    assert_eq!(dial(&mut world, alice, "bob").1, Some(404));
    assert_eq!(dial(&mut world, bob, "1001").1, Some(401), "his next call is refused");
    assert_eq!(registers(&mut world, bob), Some(401));
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert!(world.phones[alice].lines[line].is_over);
    assert_eq!(world.records[0].user.as_deref(), Some("alice"));
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn who_is_removed_is_answered_as_who_never_was() {
    let mut world = World::new(3003);
    let bob = world.phone("bob", "desk");
    let ask = |world: &mut World, phone: usize| {
        world.captured = Some(std::collections::VecDeque::new());
        world.heard_by_phones.clear();
        registers(world, phone);
        let told: Vec<String> =
            world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        let names = |text: &str| {
            let lines = text.lines().take_while(|line| !line.is_empty());
            let shape = |line: &str| match line.split_once(": ") {
                Some(("WWW-Authenticate", value)) => value.split("nonce").next().unwrap_or("").to_owned(),
                Some((name, _)) => name.to_owned(),
                None => line.to_owned(),
            };
            lines.map(shape).collect::<Vec<_>>()
        };
        let mut shapes: Vec<_> = told.iter().map(|text| names(text)).collect();
        // A phone that was challenged before knows the way.
        shapes.dedup();
        shapes
    };
    world.reconfigure(settings(), &accounts(&["alice"]));
    let removed = ask(&mut world, bob);
    let stranger = world.outsider("alice", "198.51.100.77:5060".parse().unwrap());
    world.phones[stranger].name = "nobody".into();
    world.phones[stranger].auth_user = "nobody-desk".into();
    assert_eq!(removed, ask(&mut world, stranger));
    // Wrong credentials of who is there look the same.
    let alice = world.outsider("alice", "198.51.100.78:5060".parse().unwrap());
    world.phones[alice].password = "guess".into();
    assert_eq!(removed, ask(&mut world, alice));
}

#[test]
fn a_number_passes_from_one_to_another_and_nobody_is_lost() {
    let mut world = World::new(3004);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].answer = Answer::Now;
    // Bob's number is Alice's by now, hers is his.
    let swapped = {
        let number = |account: &mut Account, number: &str| account.extension = Some(number.into());
        let mut all = Vec::new();
        for (name, extension) in [("alice", "1002"), ("bob", "1001")] {
            let mut account = (**accounts(&["alice", "bob"]).by_name(name).unwrap()).clone();
            number(&mut account, extension);
            all.push(account);
        }
        all
    };
    let mut file = Accounts::default();
    file.put(Account { extension: None, ..swapped[0].clone() }).unwrap();
    file.put(swapped[1].clone()).unwrap();
    file.put(swapped[0].clone()).unwrap();
    assert_eq!(world.reconfigure(settings(), &file).1, Vec::<String>::new());
    assert_eq!(dial(&mut world, bob, "1002").1, Some(200), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert_eq!(dial(&mut world, alice, "1001").1, Some(200));
    world.phones[alice].bye(1);
    world.run(SECOND);
    // The number is nobody's: both are still there by name.
    let none = changed(&["alice", "bob"], |account| account.extension = None);
    world.reconfigure(settings(), &none);
    assert_eq!(dial(&mut world, bob, "1002").1, Some(404));
    assert_eq!(dial(&mut world, bob, "alice").1, Some(200));
}

#[test]
fn passwords_algorithms_and_devices_change_and_registrations_stay() {
    let mut world = World::new(3005);
    let (alice, bob, mobile) =
        (world.phone("alice", "desk"), world.phone("bob", "desk"), world.phone("bob", "mobile"));
    let file = changed(&["alice", "bob"], |account| {
        if &*account.name == "bob" {
            account.devices.retain(|device| &*device.id != "mobile");
            account.devices.reverse();
            for device in &mut account.devices {
                device.ha1 = Ha1s::from_password(&device.auth_user, "example.org", "other");
            }
        }
    });
    let mut other = settings();
    other.call.algorithms = vec![Algorithm::Md5];
    other.registrar.max_expires = 120 * SECOND;
    world.reconfigure(other, &file);
    assert_eq!(dial(&mut world, alice, "bob").1, Some(200), "the desk is still registered");
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert_eq!(world.phones[mobile].lines.len(), 0, "a device that is gone does not ring");
    assert_eq!(registers(&mut world, bob), Some(401), "the old password");
    world.phones[bob].password = "other".into();
    assert_eq!(registers(&mut world, bob), Some(200));
    assert_eq!(registers(&mut world, mobile), Some(401));
    let now = world.now.at;
    let left = world.engine.core().registrar.lookup("bob", now)[0].expires.since(now);
    assert!(left <= 120 * SECOND, "{left:?}");
}

#[test]
fn the_file_wins_and_gives_back_what_it_took_from_the_store() {
    let carol = |number: &str, origin| Account {
        name: "carol".into(),
        extension: Some(number.into()),
        devices: Vec::new(),
        origin,
        ..(**accounts(&["alice"]).by_name("alice").unwrap()).clone()
    };
    let mut both = accounts(&["alice"]);
    both.put(carol("1003", Origin::Store)).unwrap();
    let stored = Loaded { accounts: vec![carol("1003", Origin::Store)], ..Loaded::default() };
    let mut world = World::with(3006, settings(), both, &stored);
    let origin = |world: &World| {
        let found = world.engine.core().accounts.by_name("carol");
        found.map(|account| (account.origin, account.extension.clone().unwrap_or_default().to_string()))
    };
    let mut file = accounts(&["alice"]);
    file.put(carol("1004", Origin::File)).unwrap();
    let notes = world.reconfigure(settings(), &file).1;
    assert_eq!(origin(&world), Some((Origin::File, "1004".into())));
    assert!(notes.len() == 1 && notes[0].starts_with("user carol: not used, "), "{notes:?}");
    assert_eq!(world.reconfigure(settings(), &file).1, Vec::<String>::new(), "it is told once");
    // Somebody of the file has her number.
    let number = changed(&["alice"], |account| account.extension = Some("1003".into()));
    let notes = world.reconfigure(settings(), &number).1;
    assert_eq!((origin(&world), notes.len()), (None, 0), "it was told before");
    world.reconfigure(settings(), &accounts(&["alice"]));
    assert_eq!(origin(&world), Some((Origin::Store, "1003".into())), "what the store has is back");
}

#[test]
fn a_trunk_that_goes_keeps_its_calls_and_a_new_one_takes_the_next() {
    let (mut world, alice, far, mut settings) = with_trunk(3007);
    let (line, status) = dial(&mut world, alice, "0049");
    assert_eq!(status, Some(200), "{}", world.tail());
    // Another carrier instead.
    let trunk = &mut settings.call.trunks[0];
    (trunk.name, trunk.host) = ("other".into(), "other.example".into());
    settings.call.routes = vec![leads("^00", &["trunk:other"])];
    let trunk = &mut settings.call.trunks[0];
    trunk.targets[0].peer = PEERS[1].parse().unwrap();
    trunk.from[0].network = trunk.targets[0].peer.ip();
    let second = world.outsider("bob", PEERS[1].parse().unwrap());
    assert_eq!(world.reconfigure(settings.clone(), &accounts(&["alice", "bob"])).0, [1]);
    assert_eq!(trunk_names(&mut world), ["other"]);
    assert!(!world.phones[far].lines[0].is_over && world.phones[alice].lines[line].is_up);
    assert_eq!(dial(&mut world, alice, "0049").1, Some(200));
    assert_eq!(world.phones[second].lines.len(), 1, "{}", world.tail());
    // The old carrier still ends its call, and from another address of its network, too.
    world.phones[far].bye(0);
    world.run(SECOND);
    assert!(world.phones[alice].lines[line].is_over, "{}", world.tail());
    world.phones[far].password = "guess".into();
    let (_, status) = dial(&mut world, far, "1001");
    assert_ne!(status, Some(200), "it may not call any more");
    world.phones[alice].bye(1);
    world.run(A_MINUTE);
    // Its place is another's, when the last call is off it.
    let mut third = settings.call.trunks[0].clone();
    third.name = "third".into();
    settings.call.trunks.insert(0, third);
    assert_eq!(world.reconfigure(settings, &accounts(&["alice", "bob"])).0, [0, 1]);
    assert_eq!(trunk_names(&mut world), ["other", "third"]);
    assert_eq!(dial(&mut world, alice, "0049").1, Some(200));
    let on: Vec<u32> = world.engine.core().capacity.calls().collect();
    assert_eq!(on, [0, 1], "the route found its trunk");
    let records: Vec<_> = world.records.iter().map(|record| record.trunk.as_deref()).collect();
    assert_eq!(records, [Some("outside"), Some("other")]);
}

#[test]
fn bounds_of_a_trunk_change_under_its_calls() {
    let (mut world, alice, _, mut settings) = with_trunk(3008);
    assert_eq!(dial(&mut world, alice, "001").1, Some(200));
    settings.call.trunks[0].policy.max_calls = Some(1);
    world.reconfigure(settings.clone(), &accounts(&["alice", "bob"]));
    assert_eq!(dial(&mut world, alice, "002").1, Some(503), "the call that was there counts");
    assert!(world.phones[alice].lines[0].is_up);
    settings.call.trunks[0].policy.max_calls = Some(2);
    settings.call.trunks[0].policy.max_cps = Some(1);
    world.reconfigure(settings, &accounts(&["alice", "bob"]));
    assert_eq!(dial(&mut world, alice, "003").1, Some(200));
    world.phones[alice].bye(0);
    world.phones[alice].bye(2);
    world.run(A_MINUTE);
    world.check_idle();
    assert_eq!(world.engine.core().capacity.calls().collect::<Vec<_>>(), [0]);
}

#[test]
fn registrations_and_pings_follow_the_configuration() {
    let (mut settings, mut carrier) = (settings(), Carrier::new(PEERS[0]));
    trunk_to(&mut settings, PEERS[0].parse().unwrap());
    carrier.realm = Some("carrier.example");
    let mut world = World::with(3009, settings.clone(), accounts(&["alice"]), &Loaded::default());
    run(&mut world, &mut [&mut carrier], SECOND);
    assert_eq!(carrier.heard.len(), 0);
    let trunk = &mut settings.call.trunks[0];
    let password = Secret::new("open sesame");
    trunk.auth = Some(TrunkAuth { user: "acct".into(), password, realm: None });
    (trunk.register, trunk.ping) = (true, Some(30 * SECOND));
    assert_eq!(world.reconfigure(settings.clone(), &accounts(&["alice"])).0, [0]);
    run(&mut world, &mut [&mut carrier], 2 * SECOND);
    assert_eq!((carrier.count(&Method::Register), carrier.count(&Method::Options)), (2, 1));
    // What is not changed is neither asked nor registered anew.
    settings.call.trunks[0].policy.max_calls = Some(3);
    world.reconfigure(settings.clone(), &accounts(&["alice"]));
    run(&mut world, &mut [&mut carrier], 2 * SECOND);
    assert_eq!((carrier.count(&Method::Register), carrier.count(&Method::Options)), (2, 1));
    // Without registration and pings: the registrar is asked to forget us, with the credentials that it wants.
    (settings.call.trunks[0].register, settings.call.trunks[0].ping) = (false, None);
    world.reconfigure(settings.clone(), &accounts(&["alice"]));
    run(&mut world, &mut [&mut carrier], A_MINUTE);
    let expires = carrier.registered().header(HeaderName::Expires).unwrap().value_str().unwrap().into_owned();
    assert_eq!((&*expires, carrier.count(&Method::Options)), ("0", 1));
    // A trunk that goes asks the same, though nothing is left of its settings in the file.
    settings.call.trunks[0].register = true;
    world.reconfigure(settings.clone(), &accounts(&["alice"]));
    run(&mut world, &mut [&mut carrier], 2 * SECOND);
    let line = |carrier: &Carrier| {
        carrier.registered().header(HeaderName::Contact).unwrap().value_str().unwrap().into_owned()
    };
    let contact = line(&carrier);
    let asked = carrier.count(&Method::Register);
    settings.call.trunks.clear();
    settings.call.routes.clear();
    world.reconfigure(settings, &accounts(&["alice"]));
    run(&mut world, &mut [&mut carrier], 4 * SECOND);
    assert_eq!(carrier.count(&Method::Register), asked + 2, "once, and once with credentials");
    let expires = carrier.registered().header(HeaderName::Expires).unwrap().value_str().unwrap().into_owned();
    assert_eq!((&*expires, line(&carrier)), ("0", contact));
    assert!(trunk_names(&mut world).is_empty());
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn routes_codes_and_bans_hold_from_the_next_request_on() {
    let mut world = World::new(3010);
    let (alice, _bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    assert_eq!(dial(&mut world, alice, "77").1, Some(404));
    let (echo, _) = dial(&mut world, alice, "*43");
    let mut other = settings();
    other.call.routes = vec![leads("^77$", &["user:bob"])];
    other.call.echo = Some("*99".into());
    other.ban.failures = 2;
    other.call.domain = "elsewhere.example".into();
    world.reconfigure(other.clone(), &accounts(&["alice", "bob"]));
    assert!(!world.phones[alice].lines[echo].is_over, "an echo that is heard goes on");
    assert_eq!(dial(&mut world, alice, "77").1, Some(200), "{}", world.tail());
    assert_eq!(dial(&mut world, alice, "*43").1, Some(404));
    assert_eq!(dial(&mut world, alice, "*99").1, Some(200));
    let source: SocketAddr = "198.51.100.77:5060".parse().unwrap();
    let stranger = world.outsider("alice", source);
    world.phones[stranger].password = "guess".into();
    for _ in 0..2 {
        registers(&mut world, stranger);
    }
    let is_banned = |world: &World| world.engine.bans.is_banned(world.now.at, source);
    assert!(is_banned(&world), "by the new bound");
    // A network that is never banned is let in at once.
    other.ban.allow = vec![(source.ip(), 32)];
    world.reconfigure(other, &accounts(&["alice", "bob"]));
    assert!(!is_banned(&world));
}

#[test]
fn whoever_may_not_watch_any_more_sees_no_more() {
    let allowed = changed(&["alice", "bob"], |account| account.watchers = vec!["alice".into()]);
    let mut world = World::with(3011, settings(), allowed.clone(), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let headers = [("Event", "dialog"), ("Accept", "application/dialog-info+xml"), ("Expires", "3600")];
    for number in ["bob", "alice"] {
        world.phones[alice].request_to(number, &Method::Subscribe, &headers);
        world.run(SECOND);
    }
    assert_eq!(world.engine.watch.len(), 2, "{}", world.tail());
    world.reconfigure(settings(), &allowed);
    assert_eq!(world.engine.watch.len(), 2);
    world.reconfigure(settings(), &accounts(&["alice", "bob"]));
    world.run(A_MINUTE);
    assert_eq!(world.engine.watch.len(), 1, "her own calls she sees");
}

#[test]
fn a_trunk_that_a_call_may_still_come_to_gives_its_place_to_no_other() {
    let (_, _, _, mut settings) = with_trunk(3011);
    settings.call.routes = vec![leads("^60$", &["user:bob", "trunk:outside"])];
    let names = ["alice", "bob"];
    let mut world = World::with(3011, settings.clone(), accounts(&names), &Loaded::default());
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let other = world.outsider("bob", PEERS[1].parse().unwrap());
    world.phones[bob].answer = Answer::Ring;
    let (line, _) = dial(&mut world, alice, "60");
    let mut next = settings.call.trunks[0].clone();
    (next.name, next.host) = ("elsewhere".into(), "elsewhere.example".into());
    next.targets[0].peer = PEERS[1].parse().unwrap();
    settings.call.trunks = vec![next];
    settings.call.routes.clear();
    assert_eq!(world.reconfigure(settings, &accounts(&names)).0, [1]);
    world.phones[bob].refuse(0, 486);
    world.run(SECOND);
    assert!(world.phones[other].lines.is_empty(), "{}", world.tail());
    assert!(world.phones[alice].lines[line].status.is_some_and(|status| status >= 400), "{}", world.tail());
    world.run(A_MINUTE);
    world.check_idle();
}

#[test]
fn the_place_of_a_trunk_comes_without_the_routes_of_the_one_before() {
    let (mut world, _, _, mut settings) = with_trunk(3012);
    let key = (0, Box::from("alice"));
    let route = vec![Box::from("<sip:edge.outside.example;lr>")];
    world.engine.core.service_routes.insert(key.clone(), route);
    world.reconfigure(settings.clone(), &accounts(&["alice", "bob"]));
    assert!(world.engine.core.service_routes.contains_key(&key), "the same trunk keeps it");
    settings.call.trunks[0].host = "other.example".into();
    assert_eq!(world.reconfigure(settings, &accounts(&["alice", "bob"])).0, [0]);
    assert!(!world.engine.core.service_routes.contains_key(&key));
}
