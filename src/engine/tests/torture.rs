//! RFC 4475 and RFC 5118 through the whole engine: what a stranger, a trunk and a user with credentials get for each
//! message, and what of it reaches the phone that it is for.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::Deserialize;

use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, World};
use crate::call::settings::Anchor;
use crate::engine::store::Loaded;
use crate::registrar::accounts::Account;
use crate::wire::sip::{HeaderName, Limits, Message, Method, StatusCode};

/// Where the trunk speaks from, and where a stranger does.
const TRUNK: &str = "203.0.113.7:5060";
const STRANGER: &str = "203.0.113.99:5060";

macro_rules! fixtures {
    ($($folder:literal: $($name:literal)+;)+) => {
        [$($((concat!($folder, "/", $name), include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/fixtures/torture/", $folder, "/", $name, ".dat"
        )) as &[u8]),)+)+]
    };
}

const FILES: &[(&str, &[u8])] = &fixtures! {
    "rfc4475": "badaspec" "badbranch" "baddate" "baddn" "badinv01" "badvers" "bcast" "bext01" "bigcode" "clerr"
        "cparam01" "cparam02" "dblreq" "esc01" "esc02" "escnull" "escruri" "insuf" "intmeth" "inv2543" "invut"
        "longreq" "ltgtruri" "lwsdisp" "lwsruri" "lwsstart" "mcl01" "mismatch01" "mismatch02" "mpart01" "multi01"
        "ncl" "noreason" "novelsc" "quotbal" "regaut01" "regbadct" "regescrt" "scalar02" "scalarlg" "sdp01"
        "semiuri" "test" "transports" "trws" "unkscm" "unksm2" "unreason" "wsinv" "zeromf";
    "rfc5118": "ipv4-mapped-ipv6" "ipv6-bad" "ipv6-bug-abnf-3-colons" "ipv6-correct-abnf-2-colons" "ipv6-good"
        "ipv6-in-sdp" "mult-ip-in-header" "mult-ip-in-sdp" "port-ambiguous" "port-unambiguous"
        "via-received-param-no-delim" "via-received-param-with-delim";
    "rfc5118-wire": "ipv4-mapped-ipv6" "ipv6-bad" "ipv6-bug-abnf-3-colons" "ipv6-correct-abnf-2-colons" "ipv6-good"
        "ipv6-in-sdp" "mult-ip-in-header" "mult-ip-in-sdp" "port-ambiguous" "port-unambiguous"
        "via-received-param-no-delim" "via-received-param-with-delim";
};

#[derive(Deserialize)]
struct Verdicts {
    message: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    verdict: toml::Value,
}

/// What the wire layer says of a file: `None` for silence, `Some(0)` where it lets the message pass.
fn verdict(name: &str) -> Option<u16> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/torture/verdicts.toml"));
    let cases = toml::from_str::<Verdicts>(text).unwrap().message;
    let case = cases.into_iter().find(|case| case.file == format!("{name}.dat")).unwrap();
    match case.verdict {
        toml::Value::Integer(status) => Some(status as u16),
        toml::Value::String(word) if word == "accept" => Some(0),
        _ => None,
    }
}

fn file(name: &str) -> &'static [u8] {
    FILES.iter().find(|(known, _)| *known == name).unwrap().1
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The users whom the messages are for, a trunk that they come from, and every other number at Bob's.
fn world(anchor: Anchor) -> World {
    let mut settings = settings();
    settings.call.aliases =
        ["example.com", "example.net", "chair-dnrc.example.com", "2001:db8::10", "[2001:db8::10]"]
            .map(Box::from)
            .to_vec();
    settings.call.aliases.push("[::ffff:192.0.2.10]".into());
    settings.call.media.anchor = anchor;
    // One of the messages has media at the address that is ours in the other tests.
    settings.call.media.screen.own_addresses = vec!["203.0.113.1".parse().unwrap()];
    trunk_to(&mut settings, address(TRUNK));
    settings.call.routes = vec![leads(".*", &["user:bob"])];
    let mut accounts = accounts(&["alice", "bob"]);
    for name in ["user", "j.user", "watson", "kumiko"] {
        let template: Account = (**accounts.by_name("alice").unwrap()).clone();
        let mut account = Account { name: name.into(), extension: None, ..template };
        for device in &mut account.devices {
            device.auth_user = format!("{name}-{}", device.id).into();
            let user = &device.auth_user;
            device.ha1 = crate::sip::digest::Ha1s::from_password(user, "example.org", "secret");
        }
        accounts.put(account).unwrap();
    }
    let mut world = World::with(4475, settings, accounts, &Loaded::default());
    for user in ["bob", "user", "kumiko"] {
        let phone = world.phone(user, "desk");
        world.phones[phone].answer = Answer::Now;
    }
    world.captured = Some(std::collections::VecDeque::new());
    world
}

/// The final answer to a message from `from`, if any, and what of it reached a phone.
fn send(world: &mut World, from: &str, bytes: &[u8]) -> (Option<Message>, Vec<Message>) {
    world.heard_by_phones.clear();
    let mut answers = world.exchange(address(from), bytes.to_vec());
    world.run(std::time::Duration::from_secs(2));
    let late = world.outside.iter().filter(|(to, _)| to.ip() == address(from).ip());
    answers.extend(late.map(|(_, bytes)| Message::parse(bytes.clone(), &Limits::default()).unwrap()));
    let last = answers.into_iter().rfind(|m| !m.is_request() && m.status().is_some_and(StatusCode::is_final));
    let heard = std::mem::take(&mut world.heard_by_phones);
    let heard = heard.into_iter().map(|bytes| Message::parse(bytes, &Limits::default()).unwrap());
    let begins = |message: &Message| ![Method::Ack, Method::Bye].contains(message.method());
    (last, heard.filter(|message| message.is_request() && begins(message)).collect())
}

fn status(answer: &Option<Message>) -> Option<u16> {
    answer.as_ref().and_then(|answer| answer.status()).map(StatusCode::as_u16)
}

/// Ends what a message began.
fn end(world: &mut World) {
    world.hang_up_all();
    world.run(std::time::Duration::from_secs(100));
    world.check();
    world.check_idle();
}

#[test]
fn what_is_not_sip_gets_its_answer_or_silence_from_anybody() {
    for from in [STRANGER, TRUNK] {
        let mut world = world(Anchor::Always);
        for (name, bytes) in FILES {
            let expected = verdict(name);
            if expected == Some(0) {
                continue;
            }
            let (answer, heard) = send(&mut world, from, bytes);
            assert_eq!(status(&answer), expected, "{name}");
            assert!(heard.is_empty(), "{name} reached a phone");
            end(&mut world);
        }
    }
}

#[test]
fn a_stranger_gets_nowhere() {
    let mut world = world(Anchor::Always);
    for (name, bytes) in FILES.iter().filter(|(name, _)| verdict(name) == Some(0)) {
        let (answer, heard) = send(&mut world, STRANGER, bytes);
        let message = Message::parse(Bytes::from_static(bytes), &Limits::default()).unwrap();
        let expected = match (message.is_request(), message.method(), message.to_tag()) {
            (false, ..) => None,
            (_, Method::Options, _) if message.has(HeaderName::Require) => Some(420),
            (_, Method::Options, _) => Some(200),
            (.., Some(_)) | (_, Method::Bye, _) => Some(481),
            (_, Method::Register | Method::Invite | Method::Message, _) => Some(401),
            _ => Some(405),
        };
        assert_eq!(status(&answer), expected, "{name}");
        assert!(heard.is_empty(), "{name} reached a phone");
        end(&mut world);
    }
}

fn offers_g711(message: &Message) -> bool {
    let text = String::from_utf8_lossy(&message.body()).into_owned();
    text.lines().any(|line| {
        line.starts_with("m=audio ") && line.split(' ').skip(3).any(|format| ["0", "8"].contains(&format))
    })
}

/// Headers that no table knows, and the body, as they stand in the file.
fn assert_unharmed(name: &str, original: &Message, arrived: &Message) {
    let kept = |message: &Message| -> Vec<(Vec<u8>, Vec<u8>)> {
        let known = |name| {
            matches!(name, HeaderName::Other | HeaderName::Date | HeaderName::Subject | HeaderName::Accept)
        };
        let headers = message.headers().filter(|header| known(header.name));
        headers.map(|header| (header.raw_name.to_vec(), header.value.to_vec())).collect()
    };
    assert_eq!(kept(arrived), kept(original), "{name}");
    assert_eq!(arrived.body(), original.body(), "{name}");
    assert_eq!(arrived.content_type(), original.content_type(), "{name}");
    let hops = |message: &Message| message.max_forwards().unwrap().unwrap_or(70);
    assert_eq!(hops(arrived) + 1, hops(original), "{name}");
    arrived.check().unwrap();
}

#[test]
fn what_is_valid_reaches_its_phone_unharmed() {
    for anchor in [Anchor::Never, Anchor::Always] {
        let mut world = world(anchor);
        let mut forwarded = Vec::new();
        for (name, bytes) in FILES.iter().filter(|(name, _)| verdict(name) == Some(0)) {
            let original = Message::parse(Bytes::from_static(bytes), &Limits::default()).unwrap();
            if !original.is_request() || original.to_tag().is_some() {
                continue;
            }
            let (answer, heard) = send(&mut world, TRUNK, bytes);
            let expected = match (*name, original.method()) {
                (_, Method::Register) => 401,
                ("rfc4475/bext01", _) => 420,
                ("rfc4475/invut", _) => 415,
                ("rfc4475/sdp01", _) => 406,
                (_, Method::Options) => 200,
                (_, Method::Bye) => 481,
                // The phone answers with codecs of its own that were not offered.
                (_, Method::Invite) if anchor == Anchor::Always && !offers_g711(&original) => 488,
                (_, Method::Invite | Method::Message) => 200,
                _ => 405,
            };
            assert_eq!(status(&answer), Some(expected), "{name} {anchor:?}\n{}", world.tail());
            let reaches = [200, 488].contains(&expected) && *original.method() != Method::Options;
            assert_eq!(heard.len(), usize::from(reaches), "{name} {anchor:?}\n{}", world.tail());
            if reaches {
                forwarded.push(*name);
                if anchor == Anchor::Never || *original.method() == Method::Message {
                    assert_unharmed(name, &original, &heard[0]);
                }
            }
            end(&mut world);
        }
        assert!(forwarded.len() > 7, "{forwarded:?}");
    }
}

#[test]
fn a_user_with_credentials_registers_what_the_tests_register() {
    for (name, user, contacts) in [
        ("rfc4475/dblreq", "j.user", 1),
        ("rfc4475/cparam01", "watson", 1),
        ("rfc4475/cparam02", "watson", 1),
        ("rfc4475/regescrt", "user", 1),
    ] {
        let mut world = world(Anchor::Always);
        let before = world.engine.core().registrar.lookup(user, world.now.at).len();
        let (answer, _) = send(&mut world, STRANGER, file(name));
        let account = world.engine.core().accounts.by_name(user).unwrap().clone();
        let mut phone = super::phone::Phone::new(&account, 1, address(STRANGER), 7);
        phone.challenged_by(&answer.unwrap());
        let original = Message::parse(Bytes::from_static(file(name)), &Limits::default()).unwrap();
        let credentials = phone.credentials(&Method::Register, original.uri()).unwrap();
        let text = String::from_utf8(original.bytes().to_vec()).unwrap();
        let text = text.replacen("\r\n", &format!("\r\nAuthorization: {credentials}\r\n"), 1);
        let (answer, _) =
            send(&mut world, STRANGER, text.replace("branch=z9hG4bK", "branch=z9hG4bK2").as_bytes());
        assert_eq!(status(&answer), Some(200), "{name}");
        let answer = answer.unwrap();
        assert_eq!(answer.values(HeaderName::Contact).count(), before + contacts, "{name}");
        // RFC 4475 3.1.2.13 to 3.3.14: what belongs to the URI stays in it, what belongs to the header does not.
        let bindings = world.engine.core().registrar.lookup(user, world.now.at);
        let uris: Vec<String> = bindings.iter().map(|binding| binding.contact.to_string()).collect();
        let expected = match name {
            "rfc4475/cparam01" => "sip:+19725552222@gw1.example.net",
            "rfc4475/cparam02" => "sip:+19725552222@gw1.example.net;unknownparam",
            "rfc4475/regescrt" => "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            _ => "sip:j.user@host.example.com",
        };
        assert!(uris.iter().any(|uri| uri == expected), "{name}: {uris:?}");
    }
}
