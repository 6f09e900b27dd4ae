//! Mutations: real traffic of phones that register, call and move calls, cut up, spliced and blown up, through parser
//! and engine, while the calls go on.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::world::{accounts, settings, trunk_to};
use super::{Answer, World};
use crate::base::Random;
use crate::call::settings::Anchor;
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

/// Messages in one world; then everybody hangs up, and nothing may be left.
const IN_ONE_WORLD: u64 = 1_000;
/// Worlds that once found a fault.
///
/// 1086: an UPDATE that was passed on got no answer when its call ended.
/// 1337: an ACK that came before the 2xx made us forget that the re-INVITE was to be answered.
/// 1797, 9357: a move that had failed waited for the far side's answer when the call ended, and went on waiting.
const KEPT: [u64; 4] = [1086, 1337, 1797, 9357];
/// Tables of the small node that is attacked.
const MOST_SERVERS: usize = 400;
const MOST_CALLS: usize = 12;
const TRUNK: &str = "203.0.113.7:5060";

#[test]
fn twenty_thousand_mutations_do_no_harm() {
    run(KEPT.into_iter().chain(0..20));
}

/// `cargo test --release --lib -- --ignored mutations`.
#[test]
#[ignore = "takes long, and wants a release build"]
fn ten_million_mutations_do_no_harm() {
    run(1_000..11_000);
}

fn run(worlds: impl Iterator<Item = u64>) {
    let failed: Vec<u64> =
        worlds.filter(|seed| std::panic::catch_unwind(|| attack(*seed)).is_err()).take(20).collect();
    assert!(failed.is_empty(), "worlds {failed:?}");
}

/// One world under attack.
fn attack(seed: u64) {
    let mut random = Random::from_number(seed);
    let mut world = house(&mut random, seed);
    world.captured = Some(VecDeque::new());
    for phone in 0..world.phones.len() {
        world.phones[phone].register(600);
    }
    world.phones[0].dial("bob");
    world.phones[4].dial("alice");
    world.run(Duration::from_millis(500));
    for number in 0..IN_ONE_WORLD {
        if number % 20 == 0 {
            live_on(&mut world, &mut random);
            world.run(Duration::from_millis(random.below(300)));
            world.check();
            check_bounds(&world);
        }
        let (from, bytes) = mutated(&mut world, &mut random);
        world.arrive(from, bytes);
        // What it sends nobody hears, or the memory of the test would grow.
        world.outside.clear();
        world.heard_by_phones.clear();
    }
    world.hang_up_all();
    world.run(Duration::from_secs(300));
    world.check();
    world.hang_up_all();
    world.run(Duration::from_secs(150));
    world.check_idle();
}

/// Alice's three devices, Bob's and Carol's, a trunk that needs no credentials, and nobody banned.
fn house(random: &mut Random, seed: u64) -> World {
    let mut settings = settings();
    settings.transactions.max_servers = MOST_SERVERS;
    settings.ban.strangers = 0;
    settings.call.limits.calls = MOST_CALLS;
    settings.call.media.anchor = if random.below(4) == 0 { Anchor::Never } else { Anchor::Always };
    settings.ban.allow = vec![("0.0.0.0".parse().unwrap(), 0)];
    trunk_to(&mut settings, TRUNK.parse().unwrap()).policy.max_calls = Some(5);
    let mut world = World::with(seed, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default());
    for device in ["desk", "mobile", "tablet"] {
        world.phone("alice", device);
    }
    world.phone("bob", "desk");
    world.phone("carol", "desk");
    for phone in &mut world.phones {
        phone.answer = if random.below(4) == 0 { Answer::Ring } else { Answer::Now };
    }
    world
}

/// The phones go on doing what phones do, so that there is always something to disturb.
fn live_on(world: &mut World, random: &mut Random) {
    let phone = random.below(world.phones.len() as u64) as usize;
    let up = world.phones[phone].lines.iter().rposition(|line| line.is_up && !line.is_over);
    match (random.below(12), up) {
        (0..=2, _) => {
            let numbers =
                ["*11", "*12", "*43", "*44", "bob", "carol", "alice*tablet", "1003", "0049", "*11*2"];
            world.phones[phone].dial(numbers[random.below(numbers.len() as u64) as usize]);
        }
        (3, _) => {
            let headers =
                [("Event", "dialog"), ("Accept", "application/dialog-info+xml"), ("Expires", "600")];
            world.phones[phone].request_to("alice", &Method::Subscribe, &headers);
        }
        (4, Some(line)) => {
            let headers = [("Refer-To", "<sip:alice*mobile@example.org>")];
            world.phones[phone].request(line, &Method::Refer, &headers, b"");
        }
        (5, Some(line)) => {
            let headers = [("Content-Type", "application/dtmf-relay")];
            world.phones[phone].request(line, &Method::Info, &headers, b"Signal=1\r\nDuration=100\r\n");
        }
        (6 | 7, Some(line)) => {
            world.phones[phone]
                .reinvite(line, ["sendrecv", "sendonly", "inactive"][random.below(3) as usize]);
        }
        (8, Some(line)) => world.phones[phone].bye(line),
        (9, _) => world.phones[phone].register(if random.below(4) == 0 { 0 } else { 600 }),
        (10, _) => {
            let ringing = world.phones[phone].lines.iter().position(|line| line.rings());
            if let Some(line) = ringing {
                world.phones[phone].pick_up(line);
            }
        }
        _ => {
            world.phones[phone].request_to("bob", &Method::Message, &[]);
        }
    }
}

/// However much comes, no table grows beyond its cap.
fn check_bounds(world: &World) {
    let core = world.engine.core();
    assert!(core.transactions.servers() <= MOST_SERVERS, "{} transactions", core.transactions.servers());
    assert!(core.calls.len() <= MOST_CALLS, "{} calls", core.calls.len());
    let legs = MOST_CALLS * (2 + core.settings.limits.forks) + MOST_SERVERS;
    assert!(core.legs.len() <= legs, "{} legs", core.legs.len());
    for user in ["alice", "bob", "carol"] {
        assert!(core.registrar.lookup(user, world.now.at).len() <= 10, "bindings of {user}");
    }
    let ports: usize = core.port_legs.len();
    assert!(ports <= 8 * core.legs.len(), "{ports} ports");
}

/// A message that a phone has sent lately, no longer as it was; and where it comes from.
fn mutated(world: &mut World, random: &mut Random) -> (SocketAddr, Bytes) {
    let captured = world.captured.as_ref().unwrap();
    let pick = |random: &mut Random| captured[random.below(captured.len() as u64) as usize].clone();
    let (mut from, original) = pick(random);
    let (_, other) = pick(random);
    let mut bytes = original.to_vec();
    for _ in 0..1 + random.below(3) {
        mutate(&mut bytes, &other, random);
    }
    if random.below(2) == 0 {
        set_header(&mut bytes, "Via", &format!("SIP/2.0/UDP {from};branch=z9hG4bK{}", random.tag()));
    }
    if random.below(2) == 0 {
        let body = find(&bytes, b"\r\n\r\n").map_or(0, |at| bytes.len() - at - 4);
        set_header(&mut bytes, "Content-Length", &body.to_string());
    }
    match random.below(8) {
        0 => {
            from = TRUNK.parse().unwrap();
            remove_header(&mut bytes, "Authorization");
        }
        1 => from.set_port(random.below(65_536) as u16),
        // With credentials that are right again, so that it gets beyond the door.
        2..=4 => sign(world, &mut bytes, from),
        _ => {}
    }
    (from, bytes.into())
}

fn sign(world: &mut World, bytes: &mut Vec<u8>, from: SocketAddr) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let (Some(method), Some(uri)) = (words.next(), words.next()) else { return };
    let Some(phone) = world.phones.iter_mut().find(|phone| phone.address == from) else { return };
    let Some(method) = Method::from_bytes(method.as_bytes()) else { return };
    if let Some(value) = phone.credentials(&method, uri) {
        set_header(bytes, "Authorization", &value);
    }
}

/// Lines that mean much to some part of the engine.
const LINES: [&str; 30] = [
    "Replaces: a;to-tag=0;from-tag=0",
    "Replaces: ;;;",
    "Join: a;to-tag=b;from-tag=c",
    "Refer-To: <sip:alice*tablet@example.org?Replaces=a%3Bto-tag%3Db>",
    "Refer-To: <sip:bob@example.org>",
    "Refer-Sub: false",
    "Require: 100rel, replaces",
    "Max-Forwards: 0",
    "Expires: 0",
    "Expires: 99999999999999999999",
    "Event: dialog",
    "Event: dialog;id=1;sla",
    "Subscription-State: terminated",
    "Contact: *",
    "Contact: <sip:192.0.2.1:5060>",
    "Contact: <sip:a@198.51.100.10>;expires=0;q=1.001",
    "Contact: <sip:alice@198.51.100.10;transport=tcp>;+sip.instance=\"<urn:uuid:0>\";reg-id=1",
    "Content-Type: multipart/mixed;boundary=\"\"",
    "Content-Type: application/dtmf-relay",
    "Content-Length: -1",
    "Content-Length: 4294967296",
    "Content-Length : 0",
    "Accept: text/plain",
    "Route: <sip:192.0.2.1;lr>, <sip:[::1]>",
    "Record-Route: <sip:[2001:db8::1];lr>",
    "Session-Expires: 1",
    "RAck: 1 1 INVITE",
    "Timestamp: 1",
    "To: <sip:*11@example.org>;tag=1;tag=2",
    "From: \"\\\" <sip:@:0>",
];

const URIS: [&str; 12] = [
    "sip:*11@example.org",
    "sip:%2A11%2A2@example.org;user=phone",
    "sip:*12*mobile@example.org",
    "sip:*43@example.org",
    "sip:1002@example.org",
    "sip:0049@example.org",
    "tel:+1-201-555-0123;phone-context=x",
    "sip:@example.org",
    "sip:alice*@example.org",
    "sip:%00@example.org",
    "sips:bob@[::ffff:192.0.2.1]:65536",
    "sip:112@example.org",
];

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let length = bytes.len().max(1) as u64;
    let at = random.below(length) as usize;
    let end = (at + 1 + random.below(40) as usize).min(bytes.len());
    match random.below(18) {
        0 => {
            for _ in 0..1 + random.below(8) {
                if let Some(byte) = bytes.get_mut(random.below(length) as usize) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
        1 => drop(bytes.drain(at.min(end)..end)),
        2 => {
            let part = bytes.get(at..end).unwrap_or_default().repeat(1 + random.below(20) as usize);
            bytes.splice(at..at, part);
        }
        3 => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() as u64) as usize..]);
        }
        4 => huge_number(bytes, at, random),
        5 => {
            let line = line_at(bytes, at);
            let copies = bytes[line.clone()].repeat(1 + random.below(60) as usize);
            bytes.splice(line.end..line.end, copies);
        }
        6 => drop(bytes.drain(line_at(bytes, at))),
        7 => {
            let odd = [
                &b"\0"[..],
                b"\r",
                b"\n",
                b"\r\n",
                b"\r\n\r\n",
                b"\t",
                b"\x80",
                b"%00",
                b"\"",
                b"<",
                b",",
                b";",
            ];
            bytes.splice(at..at, odd[random.below(odd.len() as u64) as usize].iter().copied());
        }
        8 => {
            let number =
                [0, 1, random.below(10), 0x7fff_ffff, 0xffff_ffff, u64::MAX][random.below(6) as usize];
            let methods = ["INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "UPDATE", "REFER", "X"];
            set_header(bytes, "CSeq", &format!("{number} {}", methods[random.below(8) as usize]));
        }
        9 => swap_headers(bytes, "From", "To"),
        10 => {
            let names = ["From", "To", "Call-ID", "CSeq", "Contact", "Via", "Authorization", "Record-Route"];
            let name = names[random.below(names.len() as u64) as usize];
            if let Some(value) = header(other, name) {
                set_header(bytes, name, &value);
            }
        }
        11 | 12 => set_method(bytes, random),
        13 | 14 => {
            let line = format!("{}\r\n", LINES[random.below(LINES.len() as u64) as usize]);
            let after = line_at(bytes, 0).end;
            bytes.splice(after..after, line.into_bytes());
        }
        15 => {
            let uri = URIS[random.below(URIS.len() as u64) as usize];
            let first = String::from_utf8_lossy(&bytes[line_at(bytes, 0)]).into_owned();
            let mut words: Vec<&str> = first.splitn(3, ' ').collect();
            if words.len() == 3 && !first.starts_with("SIP/") {
                words[1] = uri;
                let line = line_at(bytes, 0);
                bytes.splice(line, words.join(" ").into_bytes());
            }
        }
        16 => {
            // Somewhere in the body.
            let body = find(bytes, b"\r\n\r\n").map_or(at, |start| start + 4);
            let inside = body + random.below((bytes.len() - body.min(bytes.len())).max(1) as u64) as usize;
            let line = line_at(bytes, inside);
            match random.below(3) {
                0 => drop(bytes.drain(line)),
                1 => huge_number(bytes, inside, random),
                _ => {
                    let copies = bytes[line.clone()].repeat(1 + random.below(40) as usize);
                    bytes.splice(line.end..line.end, copies);
                }
            }
        }
        // As it was: a replay.
        _ => {}
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

/// The line around a place, with its end.
fn line_at(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let at = at.min(bytes.len());
    let start = memchr::memrchr(b'\n', &bytes[..at]).map_or(0, |found| found + 1);
    let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found + 1);
    start..end
}

fn huge_number(bytes: &mut Vec<u8>, from: usize, random: &mut Random) {
    let Some(start) = bytes.iter().skip(from).position(u8::is_ascii_digit).map(|found| from + found) else {
        return;
    };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let numbers =
        ["0", "-1", "256", "65536", "4294967296", "18446744073709551616", "00000000000000000000001", ""];
    let number = numbers[random.below(numbers.len() as u64) as usize];
    bytes.splice(start..start + length, number.bytes());
}

/// The place of a header's line.
fn place(bytes: &[u8], name: &str) -> Option<std::ops::Range<usize>> {
    let found = find(bytes, format!("\r\n{name}: ").as_bytes())?;
    Some(line_at(bytes, found + 2))
}

fn header(bytes: &[u8], name: &str) -> Option<String> {
    let line = String::from_utf8_lossy(&bytes[place(bytes, name)?]).into_owned();
    Some(line.trim_end().get(name.len() + 2..)?.to_owned())
}

fn set_header(bytes: &mut Vec<u8>, name: &str, value: &str) {
    let after = line_at(bytes, 0).end;
    let place = place(bytes, name).unwrap_or(after..after);
    bytes.splice(place, format!("{name}: {value}\r\n").into_bytes());
}

fn remove_header(bytes: &mut Vec<u8>, name: &str) {
    if let Some(place) = place(bytes, name) {
        bytes.drain(place);
    }
}

fn swap_headers(bytes: &mut Vec<u8>, a: &str, b: &str) {
    if let (Some(value_a), Some(value_b)) = (header(bytes, a), header(bytes, b)) {
        set_header(bytes, a, &value_b);
        set_header(bytes, b, &value_a);
    }
}

fn set_method(bytes: &mut Vec<u8>, random: &mut Random) {
    let methods = [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "REGISTER",
        "OPTIONS",
        "SUBSCRIBE",
        "NOTIFY",
        "REFER",
        "INFO",
        "MESSAGE",
        "UPDATE",
        "PRACK",
        "PUBLISH",
        "FOO",
    ];
    let method = methods[random.below(methods.len() as u64) as usize];
    let first = String::from_utf8_lossy(&bytes[line_at(bytes, 0)]).into_owned();
    let Some((_, rest)) = first.split_once(' ').filter(|(word, _)| !word.starts_with("SIP/")) else { return };
    let line = line_at(bytes, 0);
    bytes.splice(line, format!("{method} {rest}").into_bytes());
    let number = header(bytes, "CSeq").and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    set_header(bytes, "CSeq", &format!("{} {method}", number.unwrap_or(1).saturating_add(random.below(3))));
}
