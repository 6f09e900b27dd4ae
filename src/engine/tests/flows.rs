//! Flows (RFC 5626): requests go over the connection that a phone made, and a connection that is gone is no way.

use std::time::Duration;

use super::world::{accounts, settings, trunk_to};
use super::{Answer, Kind, World};
use crate::call::targets::{Ranked, Target};
use crate::engine::Input;
use crate::engine::store::Loaded;
use crate::sip::Transport;
use crate::sip::dialog::Dialog;
use crate::wire::sip::{HeaderName, Limits, Message, Method, StatusCode};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_call_goes_past_a_connection_that_is_gone_at_once() {
    for transport in [Transport::Wss, Transport::Tls] {
        let mut world = World::new(41);
        let alice = world.phone("alice", "desk");
        let gone = world.phone_over(transport, "bob", "desk");
        // Nobody told the node: the browser is found to be gone when it is called.
        let flow = world.phones[gone].flow();
        world.phones[gone].connection += 1;
        let mobile = world.phone("bob", "mobile");
        world.phones[alice].dial("bob");
        world.run(2 * SECOND);
        assert_eq!(world.heard_by("alice*desk"), ["bob*mobile"], "{}", world.tail());
        let now = world.now.at;
        assert!(!world.engine.core().registrar.is_bound_to("bob", "desk", &flow, now), "{transport:?}");
        let _ = mobile;
        // With nobody else to ring, the answer does not take the time of a request.
        let carol = world.phones[alice].dial("bob*desk");
        world.run(SECOND);
        assert_eq!(world.phones[alice].lines[carol].status, Some(480), "{}", world.tail());
    }
}

#[test]
fn a_browser_that_comes_back_has_its_call_and_hears_its_end() {
    let mut world = World::new(42);
    let alice = world.phone("alice", "desk");
    let bob = world.phone_over(Transport::Wss, "bob", "desk");
    world.phones[bob].kind = Kind::Web;
    let line = world.phones[alice].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    world.break_connection(bob);
    world.run(SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "the call outlives the connection");
    world.phones[alice].bye(line);
    world.run(SECOND);
    assert_eq!(world.phones[bob].requests.last().map(String::as_str), Some("BYE"), "{}", world.tail());
    world.run(40 * SECOND);
    world.check_idle();
}

#[test]
fn a_phone_that_its_address_translator_moved_hears_the_end_of_its_call() {
    let mut world = World::new(43);
    let alice = world.phone("alice", "desk");
    let bob = world.phone("bob", "desk");
    world.phones[bob].is_translated = true;
    world.phones[bob].register(3600);
    world.run(SECOND);
    let line = world.phones[alice].dial("bob");
    world.run(2 * SECOND);
    world.phones[bob].stray();
    world.run(SECOND);
    world.phones[alice].bye(line);
    world.run(SECOND);
    assert_eq!(world.phones[bob].requests.last().map(String::as_str), Some("BYE"), "{}", world.tail());
}

/// Our side of the dialog with a device.
fn dialog_with<'w>(world: &'w World, user: &str, device: &str) -> &'w Dialog {
    let legs = world.engine.core().legs.iter();
    let mut of_it = legs.filter(|(_, leg)| leg.party.device() == Some((user, device)));
    &of_it.next().expect("a leg").1.dialog
}

/// What a request in `dialog` gets that comes from another address, with credentials of `phone`.
fn asked_from_elsewhere(world: &mut World, phone: usize, dialog: &mut Dialog) -> Option<u16> {
    let (mut status, number) = (None, dialog.local_cseq);
    for is_proven in [false, true] {
        dialog.local_cseq = number;
        let uri = dialog.target.to_string();
        let mut writer = dialog.request(&Method::Info, &format!("z9hG4bK{is_proven}{phone}{number}"));
        if is_proven {
            let value = world.phones[phone].credentials(&Method::Info, &uri).unwrap();
            writer.header(&HeaderName::Authorization, &value);
        }
        world.outside.clear();
        world.arrive(ELSEWHERE.parse().unwrap(), writer.finish());
        world.run(SECOND);
        let (_, answer) = world.outside.last().expect("an answer");
        let answer = Message::parse(answer.clone(), &Limits::default()).unwrap();
        world.phones[phone].challenged_by(&answer);
        status = answer.status().map(StatusCode::as_u16);
        assert!(is_proven || status == Some(401), "{status:?}");
    }
    status
}

const ELSEWHERE: &str = "198.51.100.200:40000";

#[test]
fn a_dialog_is_taken_elsewhere_by_its_own_device_and_by_no_other_of_its_user() {
    let mut world = World::new(48);
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    world.phone("bob", "desk");
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    let before = dialog_with(&world, "alice", "desk").flow;
    let mut dialog = world.phones[desk].lines[0].dialog.clone();
    assert_eq!(asked_from_elsewhere(&mut world, mobile, &mut dialog), Some(481));
    assert_eq!(dialog_with(&world, "alice", "desk").flow, before);
    // What is refused moves nothing: a request that was overheard is an old one.
    let mut old = Dialog { local_cseq: 0, ..dialog.clone() };
    assert_eq!(asked_from_elsewhere(&mut world, desk, &mut old), Some(500));
    assert_eq!(dialog_with(&world, "alice", "desk").flow, before);
    let status = asked_from_elsewhere(&mut world, desk, &mut dialog);
    assert_eq!(status, Some(200), "{}", world.tail());
    assert_eq!(dialog_with(&world, "alice", "desk").flow.peer.to_string(), ELSEWHERE);
    world.check();
}

#[test]
fn a_dialog_that_follows_its_phone_to_another_transport_says_so_in_its_contact() {
    let mut world = World::new(49);
    let (alice, _) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].dial("bob");
    world.run(2 * SECOND);
    assert!(!dialog_with(&world, "alice", "desk").contact.contains("transport="));
    (world.phones[alice].transport, world.phones[alice].connection) = (Transport::Tcp, 900);
    world.phones[alice].register(3600);
    world.run(SECOND);
    let dialog = dialog_with(&world, "alice", "desk");
    assert_eq!(dialog.flow.transport, Transport::Tcp, "{}", world.tail());
    assert!(dialog.contact.ends_with(";transport=tcp"), "{}", dialog.contact);
    world.check();
    // And it is known who is on that connection.
    let flow = dialog.flow;
    assert_eq!(world.engine.core().legs_on(flow).count(), 1);
    world.phones[alice].bye(0);
    world.run(40 * SECOND);
    assert_eq!(world.engine.core().legs_on(flow).count(), 0);
    world.check_idle();
}

#[test]
fn a_browser_is_called_by_what_it_said_of_itself() {
    let mut world = World::new(44);
    let alice = world.phone("alice", "desk");
    let bob = world.phone_over(Transport::Wss, "bob", "desk");
    world.phones[bob].answer = Answer::Ring;
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[alice].dial("bob");
    world.run(SECOND);
    let invite = world.heard_by_phones.iter().rfind(|bytes| bytes.starts_with(b"INVITE")).unwrap();
    let invite = String::from_utf8_lossy(invite);
    assert!(invite.starts_with("INVITE sip:bob-desk@bob-desk.invalid;transport=ws SIP/2.0\r\n"), "{invite}");
    assert!(invite.contains("Via: SIP/2.0/WSS "), "{invite}");
    let contact = invite.lines().find(|line| line.starts_with("Contact: ")).unwrap();
    assert!(contact.ends_with(";transport=ws>") && !contact.contains("sips:"), "{contact}");
}

/// A desk and a browser that are reached by `sips`, and a mobile that is not.
#[test]
fn who_is_reached_by_sips_finds_us_at_sips_in_every_message_and_nobody_else_does() {
    let mut world = World::new(45);
    let alice = world.phone_over(Transport::Tls, "alice", "desk");
    let bob = world.phone_over(Transport::Wss, "bob", "desk");
    let mobile = world.phone("alice", "mobile");
    (world.phones[alice].kind, world.phones[bob].kind) = (Kind::Sdes, Kind::Web);
    for phone in [alice, bob] {
        world.phones[phone].register(0);
        world.run(SECOND);
        world.phones[phone].scheme = "sips";
        world.phones[phone].register(3600);
        world.run(SECOND);
    }
    world.phones[mobile].answer = Answer::Ring;
    world.captured = Some(std::collections::VecDeque::new());
    world.phones[alice].dial("bob");
    world.run(SECOND);
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    world.phones[bob].reinvite(0, "sendrecv");
    world.run(SECOND);
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    world.phones[bob].request(0, &Method::Message, &[("Content-Type", "text/plain")], b"");
    world.phones[bob].bye(0);
    world.run(60 * SECOND);
    world.check_idle();
    let texts: Vec<String> =
        world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    let contacts = |of: &str| -> Vec<String> {
        let of = texts.iter().filter(|text| text.contains(of));
        of.flat_map(|text| text.lines().filter(|line| line.starts_with("Contact: ")))
            .map(str::to_owned)
            .collect()
    };
    let (desk, browser, other) =
        (contacts("Via: SIP/2.0/TLS "), contacts("Via: SIP/2.0/WSS "), contacts("Via: SIP/2.0/UDP "));
    assert!(desk.len() > 1 && desk.iter().all(|line| line.starts_with("Contact: <sips:")), "{desk:?}");
    assert!(desk.iter().all(|line| !line.contains("transport=")), "{desk:?}");
    assert!(
        browser.len() > 2 && browser.iter().all(|line| line.starts_with("Contact: <sips:")),
        "{browser:?}"
    );
    assert!(browser.iter().all(|line| line.ends_with(";transport=ws>")), "{browser:?}");
    assert!(!other.is_empty() && other.iter().all(|line| line.starts_with("Contact: <sip:")), "{other:?}");
}

/// A trunk with two targets, the phones at them, and who calls.
fn two_targets(seed: u64) -> (World, usize, [usize; 2]) {
    let peers = ["203.0.113.1:5060", "203.0.113.2:5060"].map(|peer| peer.parse().unwrap());
    let mut settings = settings();
    trunk_to(&mut settings, peers[0]).targets.push(Target { transport: Transport::Udp, peer: peers[1] });
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let targets = peers.map(|peer| world.outsider("bob", peer));
    (world, alice, targets)
}

fn invites(world: &World, phone: usize) -> usize {
    world.phones[phone].requests.iter().filter(|method| *method == "INVITE").count()
}

#[test]
fn a_target_that_says_503_is_followed_by_the_next_and_comes_last_for_a_while() {
    let (mut world, alice, [first, second]) = two_targets(45);
    world.phones[first].answer = Answer::Ring;
    let line = world.phones[alice].dial("0049");
    world.run(SECOND);
    world.phones[first].refuse(0, 503);
    world.run(2 * SECOND);
    assert!(world.phones[alice].lines[line].is_up, "{}", world.tail());
    assert_eq!((invites(&world, first), invites(&world, second)), (1, 1));
    world.phones[alice].bye(line);
    world.run(SECOND);
    let line = world.phones[alice].dial("0049");
    world.run(2 * SECOND);
    assert!(world.phones[alice].lines[line].is_up);
    assert_eq!((invites(&world, first), invites(&world, second)), (1, 2), "not asked again at once");
}

#[test]
fn a_target_that_is_silent_is_followed_by_the_next_and_one_that_says_no_is_not() {
    let (mut world, alice, [first, second]) = two_targets(46);
    let udp = |peer| Target { transport: Transport::Udp, peer };
    let (one, two) = (udp(world.phones[first].address), udp(world.phones[second].address));
    // Nobody is there.
    let nobody = udp("203.0.113.9:5060".parse().unwrap());
    world.input(Input::Resolved { trunk: 0, targets: Ranked::in_order([nobody, two]) });
    let line = world.phones[alice].dial("0049");
    world.run(40 * SECOND);
    assert!(world.phones[alice].lines[line].is_up, "{}", world.tail());
    world.phones[alice].bye(line);
    world.run(SECOND);
    world.input(Input::Resolved { trunk: 0, targets: Ranked::in_order([one, two]) });
    world.phones[first].answer = Answer::Busy;
    let line = world.phones[alice].dial("0049");
    world.run(2 * SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(486));
    assert_eq!(invites(&world, second), 1);
}

#[test]
fn what_is_looked_up_is_where_calls_go_from_then_on() {
    let (mut world, alice, [first, second]) = two_targets(47);
    let peer = world.phones[second].address;
    let targets = Ranked::in_order([Target { transport: Transport::Udp, peer }]);
    world.input(Input::Resolved { trunk: 0, targets });
    world.phones[alice].dial("0049");
    world.run(2 * SECOND);
    assert_eq!((invites(&world, first), invites(&world, second)), (0, 1));
    world.input(Input::Resolved { trunk: 0, targets: Vec::new() });
    let line = world.phones[alice].dial("0049");
    world.run(2 * SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(503), "a trunk that is nowhere");
}
