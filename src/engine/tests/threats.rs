//! What attackers do, row by row, and that it leads nowhere.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::world::{accounts, settings, trunk_to};
use super::{Answer, World};
use crate::engine::store::Loaded;
use crate::engine::{Input, Settings};
use crate::registrar::Own;
use crate::sip::digest::{Algorithm, Secret};
use crate::sip::{Flow, Transport};
use crate::wire::sip::{HeaderName, Limits, Message, Method};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const TRUNK: &str = "203.0.113.7:5060";
pub(super) const STRANGER: &str = "203.0.113.99:40000";

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A house with a trunk, which Carol's devices are no part of.
pub(super) fn house(change: impl FnOnce(&mut Settings)) -> World {
    let mut settings = settings();
    trunk_to(&mut settings, at(TRUNK)).from[0].port = Some(5060);
    settings.registrar.own = Own {
        names: vec!["example.org".into()],
        addresses: vec!["192.0.2.1".parse().unwrap()],
        ports: vec![5060],
    };
    change(&mut settings);
    World::with(7, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default())
}

/// Alice's desk talks with Bob's; Alice's mobile and Carol's desk are there too.
pub(super) struct Talk {
    pub(super) world: World,
    pub(super) alice: usize,
    pub(super) mobile: usize,
    pub(super) bob: usize,
    pub(super) carol: usize,
}

pub(super) fn talk() -> Talk {
    let mut world = house(|_| {});
    let (alice, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let (bob, carol) = (world.phone("bob", "desk"), world.phone("carol", "desk"));
    world.phones[alice].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    Talk { world, alice, mobile, bob, carol }
}

/// A request as anyone may write it.
pub(super) fn request(method: &str, uri: &str, from: SocketAddr, more: &[(&str, &str)], body: &str) -> Bytes {
    let mark: u64 = more.iter().flat_map(|(_, value)| value.bytes()).chain(uri.bytes()).map(u64::from).sum();
    let mut lines = vec![
        ("Via", format!("SIP/2.0/UDP {from};branch=z9hG4bK{method}{mark};rport")),
        ("Max-Forwards", "70".into()),
        ("From", "<sip:alice@example.org>;tag=x1".into()),
        ("To", format!("<{uri}>")),
        ("Call-ID", format!("c{method}{mark}@stranger")),
        ("CSeq", format!("1 {method}")),
        ("Contact", format!("<sip:x@{from}>")),
    ];
    for (name, value) in more {
        match lines.iter_mut().find(|(known, _)| known == name) {
            Some(line) => line.1 = (*value).into(),
            None => lines.push((name, (*value).into())),
        }
    }
    let head: String = lines.into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {uri} SIP/2.0\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len()).into()
}

pub(super) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 203.0.113.7\r\ns=-\r\nc=IN IP4 203.0.113.7\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 0\r\n";

pub(super) fn final_status(answers: &[Message]) -> Option<u16> {
    answers.iter().filter_map(Message::status).map(|status| status.as_u16()).rfind(|status| *status >= 200)
}

/// The names of an answer's headers, in order, and its size.
fn shape(answer: &Message) -> (Option<u16>, Vec<HeaderName>) {
    (answer.status().map(|status| status.as_u16()), answer.headers().map(|header| header.name).collect())
}

#[test]
fn a_call_is_not_stolen_by_its_identifiers() {
    let Talk { mut world, alice, carol, .. } = talk();
    let dialog = world.phones[alice].lines[0].dialog.clone();
    let right = format!("{};to-tag={};from-tag={}", dialog.call_id, dialog.remote_tag, dialog.local_tag);
    let swapped = format!("{};to-tag={};from-tag={}", dialog.call_id, dialog.local_tag, dialog.remote_tag);
    let mut heard = Vec::new();
    for replaces in [right.as_str(), swapped.as_str(), "nothing;to-tag=a;from-tag=b"] {
        let line = world.phones[carol].dial_with("alice", &[("Replaces", replaces)], true);
        world.run(SECOND);
        let found = &world.phones[carol].lines[line];
        heard.push((found.status, found.phrase.clone(), found.retry_after));
    }
    assert_eq!(heard[0].0, Some(481), "{}", world.tail());
    assert!(heard.iter().all(|answer| *answer == heard[2]), "{heard:?}");
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
}

/// A request in the dialog of a phone's first line, from somewhere else.
fn hijack(world: &World, phone: usize, method: &str, from: SocketAddr, more: &[(&str, &str)]) -> Bytes {
    let dialog = &world.phones[phone].lines[0].dialog;
    let (from_value, to) = (
        format!("{};tag={}", dialog.local, dialog.local_tag),
        format!("{};tag={}", dialog.remote, dialog.remote_tag),
    );
    let cseq = format!("{} {method}", dialog.local_cseq + 100);
    let mut headers = vec![
        ("From", from_value.as_str()),
        ("To", to.as_str()),
        ("Call-ID", &*dialog.call_id),
        ("CSeq", &cseq),
    ];
    headers.extend_from_slice(more);
    request(method, &dialog.target, from, &headers, if method == "INVITE" { OFFER } else { "" })
}

#[test]
fn a_dialog_is_not_hijacked_from_elsewhere() {
    let Talk { mut world, alice, carol, .. } = talk();
    for method in ["BYE", "INVITE", "REFER", "UPDATE", "INFO", "MESSAGE", "NOTIFY", "SUBSCRIBE", "FOO"] {
        let more = [("Refer-To", "<sip:carol@example.org>"), ("Event", "dialog")];
        let bytes = hijack(&world, alice, method, at(STRANGER), &more);
        let answers = world.exchange(at(STRANGER), bytes);
        assert_eq!(final_status(&answers), Some(401), "{method}");
        // With credentials of somebody else it is a dialog that does not exist.
        let uri = world.phones[alice].lines[0].dialog.target.to_string();
        world.phones[carol].challenged_by(answers.last().unwrap());
        let method_of = Method::from_bytes(method.as_bytes()).unwrap();
        let value = world.phones[carol].credentials(&method_of, &uri).unwrap();
        let more =
            [("Authorization", value.as_str()), ("Refer-To", "<sip:carol@example.org>"), ("Event", "dialog")];
        let bytes = hijack(&world, alice, method, at(STRANGER), &more);
        assert_eq!(final_status(&world.exchange(at(STRANGER), bytes)), Some(481), "{method}");
    }
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert!(!world.phones[alice].lines[0].is_over);
}

#[test]
fn an_ack_or_cancel_from_elsewhere_changes_nothing() {
    let mut world = house(|_| {});
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[bob].answer = Answer::Ring;
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[alice].dial("bob");
    world.run(SECOND);
    let invite = world.captured.as_ref().unwrap().iter().rfind(|(_, bytes)| bytes.starts_with(b"INVITE"));
    let text = String::from_utf8(invite.unwrap().1.to_vec()).unwrap();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    let cancel: String = head
        .lines()
        .filter(|line| !line.starts_with("Content-") && !line.starts_with("Authorization"))
        .map(|line| line.replace("INVITE", "CANCEL") + "\r\n")
        .collect();
    let cancel = cancel + "Content-Length: 0\r\n\r\n";
    let answers = world.exchange(at(STRANGER), cancel);
    world.run(SECOND);
    assert_eq!(final_status(&answers), Some(481), "{}", world.tail());
    assert!(world.phones[bob].lines[0].rings(), "{}", world.tail());
}

#[test]
fn what_was_overheard_is_of_no_use_again() {
    let mut world = house(|_| {});
    let alice = world.phone("alice", "desk");
    world.captured = Some(std::collections::VecDeque::new());
    let line = world.phones[alice].dial("*43");
    world.run(SECOND);
    world.phones[alice].bye(line);
    world.run(100 * SECOND);
    let captured = world.captured.take().unwrap();
    let (_, invite) = captured.iter().rfind(|(_, bytes)| bytes.starts_with(b"INVITE")).unwrap().clone();
    let calls = world.engine.counters().calls;
    let text = String::from_utf8(invite.to_vec()).unwrap();
    let address = world.phones[alice].address;
    for (from, text) in [
        (address, text.clone()),
        (address, text.replace("branch=z9hG4bK", "branch=z9hG4bKagain")),
        (at(STRANGER), text.replace("branch=z9hG4bK", "branch=z9hG4bKthird")),
    ] {
        world.heard_by_phones.clear();
        world.captured = Some(std::collections::VecDeque::new());
        world.arrive(from, text.into());
        world.run(SECOND);
        assert_eq!(world.engine.counters().calls, calls, "{}", world.tail());
    }
}

#[test]
fn known_and_unknown_users_are_told_the_same() {
    let mut world = house(|settings| settings.ban.failures = 1000);
    world.phone("alice", "desk");
    let mut shapes = Vec::new();
    for user in ["alice", "bob", "nobody"] {
        for method in ["REGISTER", "INVITE", "MESSAGE", "SUBSCRIBE"] {
            let uri = if method == "REGISTER" {
                "sip:example.org".into()
            } else {
                format!("sip:{user}@example.org")
            };
            let own = format!("<sip:{user}@example.org>");
            let tagged = format!("{own};tag=1");
            let more = [("From", tagged.as_str()), ("To", own.as_str()), ("Event", "dialog")];
            let first = world.exchange(at(STRANGER), request(method, &uri, at(STRANGER), &more, ""));
            let first = first.last().unwrap().clone();
            let header = first.header(HeaderName::WwwAuthenticate).unwrap();
            let challenge = crate::sip::digest::Challenge::parse(header.value).unwrap();
            let name = format!("{user}-desk");
            let secret = Secret::Password("wrong");
            let method_of = Method::from_bytes(method.as_bytes()).unwrap();
            let value = challenge.answer(&name, secret, &method_of, &uri, "0a4f113b", 1).unwrap();
            let more = [more[0], more[1], more[2], ("Authorization", value.as_str())];
            let second = world.exchange(at(STRANGER), request(method, &uri, at(STRANGER), &more, ""));
            shapes.push((method, shape(&first), shape(second.last().unwrap())));
        }
    }
    for known in &shapes[..8] {
        assert!(shapes[8..].contains(known), "{known:?} is not what a stranger is told");
    }
}

#[test]
fn hops_run_out_and_the_node_is_no_ones_contact() {
    let mut world = house(|_| {});
    let alice = world.phone("alice", "desk");
    world.phones[alice].answer = Answer::Ring;
    let from = at(TRUNK);
    let invite =
        |hops: &str| request("INVITE", "sip:alice@example.org", from, &[("Max-Forwards", hops)], OFFER);
    assert_eq!(final_status(&world.exchange(from, invite("0"))), Some(483));
    world.captured = Some(std::collections::VecDeque::new());
    world.exchange(from, invite("1"));
    let sent = Message::parse(world.heard_by_phones[0].clone(), &Limits::default()).unwrap();
    assert_eq!(sent.max_forwards(), Ok(Some(0)));
    // RFC 3261 16.3 step 4 in a user agent: nobody registers us as their phone.
    for contact in ["<sip:x@192.0.2.1:5060>", "<sip:x@192.0.2.1>", "<sip:bob@example.org>"] {
        let address = world.phones[alice].address;
        let value = world.phones[alice].credentials(&Method::Register, "sip:example.org").unwrap();
        let own = "<sip:alice@example.org>";
        let more = [("To", own), ("Authorization", &*value), ("Contact", contact)];
        let before = world.engine.core().registrar.lookup("alice", world.now.at).len();
        world.arrive(address, request("REGISTER", "sip:example.org", address, &more, ""));
        assert_eq!(world.engine.core().registrar.lookup("alice", world.now.at).len(), before, "{contact}");
    }
}

#[test]
fn who_calls_is_who_proved_it() {
    let mut world = house(|_| {});
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.captured = Some(std::collections::VecDeque::new());
    let lies = [
        ("P-Asserted-Identity", "<sip:carol@example.org>"),
        ("P-Asserted-Identity ", "<sip:carol@example.org>"),
        ("p-preferred-identity", "<sip:carol@example.org>"),
        ("Remote-Party-ID", "<sip:carol@example.org>"),
        ("P-Charge-Info", "<sip:carol@example.org>"),
        ("Diversion", "<sip:carol@example.org>"),
        ("X-Harmless", "stays"),
    ];
    world.phones[alice].name = "carol".into();
    world.phones[alice].dial_with("bob", &lies, true);
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines.len(), 1, "{}", world.tail());
    let invite = world.heard_by_phones.iter().rfind(|bytes| bytes.starts_with(b"INVITE")).unwrap();
    let text = String::from_utf8(invite.to_vec()).unwrap();
    assert!(text.contains("X-Harmless: stays\r\n"), "{text}");
    assert!(!text.contains("carol"), "{text}");
    assert!(text.contains("P-Asserted-Identity: \"Alice\" <sip:1001@example.org>\r\n"), "{text}");
}

#[test]
fn a_trunk_is_its_address_and_port_and_has_no_handsets() {
    let Talk { mut world, alice, .. } = talk();
    for source in ["203.0.113.7:5061", "203.0.113.8:5060"] {
        let more = [("From", "<sip:0049@outside.example>;tag=1")];
        let answers =
            world.exchange(at(source), request("INVITE", "sip:alice@example.org", at(source), &more, OFFER));
        assert_eq!(final_status(&answers), Some(401), "{source}");
    }
    let dialog = world.phones[alice].lines[0].dialog.clone();
    let replaces = format!("{};to-tag={};from-tag={}", dialog.call_id, dialog.remote_tag, dialog.local_tag);
    let more = [("Replaces", replaces.as_str())];
    let answers =
        world.exchange(at(TRUNK), request("INVITE", "sip:alice@example.org", at(TRUNK), &more, OFFER));
    assert_eq!(final_status(&answers), Some(481));
    for number in ["*11", "*12", "%2A11", "**1001"] {
        let uri = format!("sip:{number}@example.org");
        let answers = world.exchange(at(TRUNK), request("INVITE", &uri, at(TRUNK), &[], OFFER));
        assert_eq!(final_status(&answers), Some(404), "{number}");
    }
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
}

#[test]
fn a_websocket_from_the_address_of_a_trunk_is_no_trunk() {
    let mut world = house(|settings| settings.call.trunks[0].from[0].port = None);
    let alice = world.phone("alice", "desk");
    world.captured = Some(std::collections::VecDeque::new());
    let status = |world: &mut World, transport, bytes: Bytes| {
        world.heard_by_phones.clear();
        let flow = Flow { transport, listener: 0, connection: 77, peer: at("203.0.113.7:40000") };
        world.input(Input::Received { flow, bytes });
        let read = |bytes: &Bytes| Message::parse(bytes.clone(), &Limits::default()).unwrap();
        let answers: Vec<Message> =
            world.heard_by_phones.iter().filter(|bytes| bytes.starts_with(b"SIP")).map(read).collect();
        final_status(&answers)
    };
    for (transport, number) in [(Transport::Ws, 1), (Transport::Wss, 2), (Transport::Tcp, 3)] {
        let is_web = transport != Transport::Tcp;
        let id = format!("{number}@proxy");
        let more = [("Call-ID", id.as_str()), ("From", "<sip:0049@outside.example>;tag=1")];
        let invite = request("INVITE", "sip:0044@example.org", at(TRUNK), &more, OFFER);
        assert_eq!(status(&mut world, transport, invite) == Some(401), is_web, "{transport:?}");
        let more = [more[0], more[1], ("Event", "message-summary"), ("Subscription-State", "active")];
        let notify = request("NOTIFY", "sip:1001@example.org", at(TRUNK), &more, "Messages-Waiting: yes\r\n");
        status(&mut world, transport, notify);
        world.run(SECOND);
        assert_eq!(world.phones[alice].notified.is_empty(), is_web, "{transport:?}");
    }
    // A call that the trunk has is none of a browser's business either.
    let line = world.phones[alice].dial("0049");
    world.run(SECOND);
    let (_, invite) = world.outside.iter().rfind(|(_, bytes)| bytes.starts_with(b"INVITE")).unwrap().clone();
    let invite = Message::parse(invite, &Limits::default()).unwrap();
    let text = |name| invite.header(name).unwrap().value_str().unwrap().into_owned();
    let to = text(HeaderName::To) + ";tag=far";
    let (from, id) = (text(HeaderName::From), text(HeaderName::CallId));
    let via = text(HeaderName::Via);
    let ok = format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {} INVITE\r\n\
         Contact: <sip:{TRUNK}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{OFFER}",
        invite.cseq().unwrap().number,
        OFFER.len()
    );
    world.arrive(at(TRUNK), ok.into());
    world.run(SECOND);
    assert!(world.phones[alice].lines[line].is_up, "{}", world.tail());
    let more = [("Call-ID", id.as_str()), ("From", to.as_str()), ("To", from.as_str())];
    let bye = request("BYE", "sip:example.org", at(TRUNK), &more, "");
    assert_eq!(status(&mut world, Transport::Wss, bye), Some(401));
    assert!(world.phones[alice].lines[line].is_up);
}

#[test]
fn a_description_is_no_weapon() {
    let mut world = house(|_| {});
    world.phone("alice", "desk");
    for (index, address) in
        ["192.0.2.1", "224.0.0.1", "255.255.255.255", "0.0.0.1", "victim.example"].into_iter().enumerate()
    {
        let id = format!("weapon-{index}");
        let offer =
            OFFER.replace("c=IN IP4 203.0.113.7", &format!("c=IN IP4 {address}")).replace("4000", "20002");
        let more = [("Call-ID", id.as_str()), ("Content-Type", "application/sdp")];
        let answers =
            world.exchange(at(TRUNK), request("INVITE", "sip:alice@example.org", at(TRUNK), &more, &offer));
        assert_eq!(final_status(&answers), Some(488), "{address}");
    }
    world.run(40 * SECOND);
    world.check_idle();
}

#[test]
fn a_refer_makes_nobody_dial_what_it_should_not() {
    let Talk { mut world, alice, bob, carol, .. } = talk();
    let refer = [("Refer-To", "<sip:carol@example.org>")];
    let address = world.phones[carol].address;
    let bytes = request("REFER", "sip:bob@example.org", address, &refer, "");
    world.captured = Some(std::collections::VecDeque::new());
    world.arrive(address, bytes);
    world.run(SECOND);
    assert!(!world.phones[bob].requests.iter().any(|method| method == "REFER"), "outside of a dialog");
    world.phones[alice].request(0, &Method::Refer, &[("Refer-To", "<sip:+900@toll.example>")], b"");
    world.run(SECOND);
    assert_eq!(world.phones[alice].finals.last().map(|last| last.1), Some(403), "{}", world.tail());
    assert!(!world.phones[bob].requests.iter().any(|method| method == "REFER"), "to a foreign domain");
    world.heard_by_phones.clear();
    let lie = [("Refer-To", "<sip:1003@example.org>"), ("Referred-By", "<sip:carol@example.org>")];
    world.phones[alice].request(0, &Method::Refer, &lie, b"");
    world.run(SECOND);
    assert!(!world.phones[bob].requests.iter().any(|method| method == "REFER"), "nobody is told to dial");
    let invite = world.heard_by_phones.iter().find(|bytes| bytes.starts_with(b"INVITE sip:carol"));
    let text = String::from_utf8(invite.expect("the node dials").to_vec()).unwrap();
    assert!(text.contains("Referred-By: \"Alice\" <sip:1001@example.org>\r\n"), "{text}");
    assert_eq!(text.matches("Referred-By").count(), 1);
    assert!(!text.contains("Refer-To"), "{text}");
}

#[test]
fn a_challenge_does_not_tell_who_exists() {
    let mut people = accounts(&["alice", "bob", "carol", "dave"]);
    for name in ["alice", "bob"] {
        let mut account = (**people.by_name(name).unwrap()).clone();
        account.algorithms = vec![Algorithm::Sha512_256];
        people.put(account).unwrap();
    }
    let mut world = World::with(9, settings(), people, &Loaded::default());
    let mut offered = |name: &str| {
        let from = format!("<sip:{name}@example.org>;tag=x1");
        let more = [("From", from.as_str()), ("Call-ID", name)];
        let bytes = request("REGISTER", &format!("sip:{name}@example.org"), at(STRANGER), &more, "");
        let answers = world.exchange(at(STRANGER), bytes);
        let last = answers.last().unwrap();
        assert_eq!(final_status(&answers), Some(401));
        last.all(HeaderName::WwwAuthenticate)
            .map(|h| h.value_str().unwrap().contains("SHA-512-256"))
            .collect()
    };
    let (own, usual): (Vec<bool>, Vec<bool>) = (offered("alice"), offered("carol"));
    assert_ne!(own, usual);
    let strangers: Vec<Vec<bool>> = (0..64).map(|n| offered(&format!("nobody{n}"))).collect();
    // Half of the accounts have lists of their own, so about half of the names that nobody has look like those.
    let like_own = strangers.iter().filter(|list| **list == own).count();
    assert!((16..=48).contains(&like_own), "{like_own} of 64");
    assert!(strangers.iter().all(|list| *list == own || *list == usual));
    assert_eq!(offered("nobody1"), strangers[1], "the same each time");
}

#[test]
fn what_asks_for_a_secure_way_is_not_served_in_the_clear() {
    let mut world = house(|_| {});
    for uri in ["sips:bob@example.org", "nobodyknows:bob"] {
        let bytes = request("INVITE", uri, at(TRUNK), &[("Call-ID", uri)], OFFER);
        assert_eq!(final_status(&world.exchange(at(TRUNK), bytes)), Some(416), "{uri}");
    }
}

#[test]
fn the_old_device_never_learns_where_the_new_one_is() {
    let Talk { mut world, alice, mobile, .. } = talk();
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    world.phones[alice].reinvite(0, "sendrecv");
    world.phones[alice].dial("*11");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    let (old, new) = (world.phones[alice].address, world.phones[mobile].address);
    for bytes in &world.heard_by_phones {
        let text = String::from_utf8_lossy(bytes);
        let is_for_old =
            text.contains(&format!("received={}", old.ip())) || text.contains(&format!("@{old}"));
        assert!(!is_for_old || !text.contains(&new.ip().to_string()), "{text}");
    }
}

#[test]
fn a_nonce_is_of_its_flow_and_a_request_of_its_uri() {
    let mut world = house(|settings| settings.call.algorithms = vec![Algorithm::Sha256]);
    let alice = world.phone("alice", "desk");
    let from = at(STRANGER);
    let uri = "sip:*43@example.org";
    let calls = world.engine.counters().calls;
    // A challenge that was made for another source.
    let value = world.phones[alice].credentials(&Method::Invite, uri).unwrap();
    let more = [("Authorization", value.as_str()), ("CSeq", "2 INVITE")];
    let answers = world.exchange(from, request("INVITE", uri, from, &more, OFFER));
    assert_eq!(final_status(&answers), Some(401));
    // Credentials that were made for another number, for the server as a whole, or another method.
    let address = world.phones[alice].address;
    let others = [
        (Method::Invite, "sip:*44@example.org"),
        (Method::Invite, "sip:example.org"),
        (Method::Register, uri),
    ];
    for (method, signed) in others {
        let value = world.phones[alice].credentials(&method, signed).unwrap();
        let more = [("Authorization", value.as_str()), ("CSeq", "3 INVITE")];
        world.arrive(address, request("INVITE", uri, address, &more, OFFER));
        world.run(SECOND);
    }
    assert_eq!(world.engine.counters().calls, calls, "{}", world.tail());
}

/// All that is logged and told, as text.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<String>>);

impl tracing::field::Visit for Log {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        *self.0.lock().unwrap() += &format!("{field}={value:?}\n");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn no_secret_and_no_digit_is_logged_or_told() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let Talk { mut world, alice, bob, mobile, .. } = talk();
        let port = world.routes.keys().next().copied().unwrap();
        let headers = [("Content-Type", "application/dtmf-relay")];
        for digit in ['7', '3', '9', '1'] {
            let event = crate::media::relay::MediaEvent::Dtmf { port, digit };
            world.input(Input::Media(event));
            let body = format!("Signal={digit}\r\nDuration=777739\r\n");
            world.phones[alice].request(0, &Method::Info, &headers, body.as_bytes());
            world.run(SECOND);
        }
        world.phones[alice].password = "not-the-secret".into();
        world.phones[alice].dial("bob");
        world.phones[mobile].dial("*11");
        world.arrive(at(STRANGER), Bytes::from_static(b"INVITE sip:Signal=7@x SIP/2.0\r\n\r\n"));
        world.run(SECOND);
        world.phones[bob].bye(0);
        world.run(40 * SECOND);
        *log.0.lock().unwrap() += &format!("{:?}{:?}", world.events, world.records);
    });
    let text = log.0.lock().unwrap().clone();
    assert!(text.contains("auth_failed"), "nothing was caught: {text}");
    for secret in ["Signal", "777739", "not-the-secret", "'7'", "digit=", "response=", "nonce", "ha1"] {
        assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{secret}: {text}");
    }
}
