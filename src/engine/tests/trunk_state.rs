//! Whether trunks answer, and our registrations there.

use std::time::Duration;

use super::World;
use super::carrier::{Carrier, run};
use super::world::{accounts, settings, trunk_to};
use crate::base::Secret;
use crate::call::settings::{Trunk, TrunkAuth};
use crate::call::targets::{Ranked, Target};
use crate::engine::Input;
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::event::{Event, TrunkEvent};
use crate::engine::store::Loaded;
use crate::engine::view::{PageQuery, TrunkRegistrationView, TrunkView};
use crate::sip::Transport;
use crate::wire::sip::{HeaderName, Message, Method, Uri};

const SECOND: Duration = Duration::from_secs(1);
const PEERS: [&str; 2] = ["203.0.113.1:5060", "203.0.113.2:5060"];

fn target(peer: &str) -> Target {
    Target { transport: Transport::Udp, peer: peer.parse().unwrap() }
}

/// A trunk with two targets.
fn world(seed: u64, change: impl FnOnce(&mut Trunk)) -> World {
    let mut settings = settings();
    let trunk = trunk_to(&mut settings, PEERS[0].parse().unwrap());
    trunk.targets = PEERS.map(target).to_vec();
    trunk.from.clear();
    change(trunk);
    World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default())
}

fn pinged(seed: u64) -> (World, Carrier, Carrier) {
    let world = world(seed, |trunk| trunk.ping = Some(30 * SECOND));
    (world, Carrier::new(PEERS[0]), Carrier::new(PEERS[1]))
}

fn view(world: &mut World) -> TrunkView {
    match world.ask(Subject::Admin, Command::ListTrunks { page: PageQuery::default() }) {
        Reply::Trunks(mut page) => page.items.remove(0),
        other => panic!("{other:?}"),
    }
}

fn states(world: &mut World) -> (String, Vec<String>) {
    let view = view(world);
    (view.state, view.targets.into_iter().map(|target| target.state).collect())
}

/// What was told of trunks since this was asked last: `up 203.0.113.1 up`.
fn told(world: &mut World) -> Vec<String> {
    let events = std::mem::take(&mut world.events).into_iter().filter_map(|event| match event {
        Event::Trunk { what, target, reason, state, .. } => {
            let what = if what == TrunkEvent::Up { "up" } else { "down" };
            let target = target.map_or("-".into(), |target| target.replace("udp:203.0.113.", ""));
            Some(format!("{what} {target} {reason}; {state}"))
        }
        _ => None,
    });
    events.collect()
}

#[test]
fn a_target_is_down_after_two_failures_in_a_row_and_up_with_one_answer() {
    let (mut world, mut first, mut second) = pinged(1001);
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    assert_eq!((first.count(&Method::Options), second.count(&Method::Options)), (1, 1));
    let (state, targets) = states(&mut world);
    assert_eq!((&*state, targets.join(" ")), ("up", "up up".into()));
    let answered = " it answers OPTIONS; up";
    let mut said = told(&mut world);
    said.sort();
    assert_eq!(said, [format!("up 1:5060{answered}"), format!("up 2:5060{answered}")]);
    // Between two pings it falls silent: 33 s at most to the next, 4 s for each of the two.
    first.options = None;
    run(&mut world, &mut [&mut first, &mut second], 42 * SECOND);
    assert_eq!(told(&mut world), ["down 1:5060 no answer; up"]);
    assert_eq!(states(&mut world), ("up".into(), vec!["down".into(), "up".into()]));
    assert_eq!(view(&mut world).targets[0].reason.as_deref(), Some("no answer"));
    // Down it is asked every ten seconds.
    first.options = Some(503);
    run(&mut world, &mut [&mut first, &mut second], 12 * SECOND);
    assert_eq!(told(&mut world), Vec::<String>::new(), "503 is no answer");
    assert_eq!(view(&mut world).targets[0].reason.as_deref(), Some("503 Service Unavailable"));
    first.options = Some(403);
    run(&mut world, &mut [&mut first, &mut second], 12 * SECOND);
    assert_eq!(told(&mut world), [format!("up 1:5060{answered}")]);
    // Both are gone.
    (first.options, second.options) = (Some(408), None);
    run(&mut world, &mut [&mut first, &mut second], 45 * SECOND);
    let said = told(&mut world);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].ends_with("; down"), "{said:?}");
    assert_eq!(view(&mut world).state, "down");
    // A question that is given up is not repeated for 32 s.
    world.run(SECOND);
    let open = world.engine.core().transactions.len();
    assert!(open <= 4, "{open} transactions");
}

#[test]
fn one_ping_that_is_lost_takes_nothing_down() {
    let (mut world, mut first, mut second) = pinged(1002);
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    told(&mut world);
    first.options = None;
    let before = first.heard.len();
    for _ in 0..400 {
        run(&mut world, &mut [&mut first, &mut second], SECOND / 10);
        if first.heard.len() > before {
            break;
        }
    }
    // All of the first question is lost, with its repetitions.
    run(&mut world, &mut [&mut first, &mut second], 3900 * SECOND / 1000);
    first.options = Some(200);
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    assert_eq!(told(&mut world), Vec::<String>::new());
    assert_eq!(view(&mut world).targets[0].reason, None);
    assert!(view(&mut world).pings_failed <= 1);
}

#[test]
fn who_is_down_is_passed_over_at_once_and_a_call_that_meets_silence_has_it_asked() {
    let mut world = world(1003, |trunk| trunk.ping = Some(60 * SECOND));
    let alice = world.phone("alice", "desk");
    let second = world.outsider("bob", PEERS[1].parse().unwrap());
    let mut first = Carrier::new(PEERS[0]);
    run(&mut world, &mut [&mut first], 2 * SECOND);
    first.options = None;
    let asked = first.count(&Method::Options);
    let begun = world.now.at;
    let line = world.phones[alice].dial("0049");
    run(&mut world, &mut [&mut first], 1900 * SECOND / 1000);
    assert!(world.phones[alice].lines[line].is_up, "the other target has it\n{}", world.tail());
    assert!(first.count(&Method::Options) > asked, "the silence has it asked at once");
    run(&mut world, &mut [&mut first], 4 * SECOND);
    assert_eq!(view(&mut world).targets[0].state, "down", "after {:?}", world.now.at.since(begun));
    world.phones[alice].bye(line);
    run(&mut world, &mut [&mut first], SECOND);
    let invites = first.count(&Method::Invite);
    let line = world.phones[alice].dial("0049");
    run(&mut world, &mut [&mut first], SECOND / 10);
    assert!(world.phones[alice].lines[line].is_up, "at once\n{}", world.tail());
    assert_eq!(first.count(&Method::Invite), invites);
    world.phones[alice].bye(line);
    let requests = &world.phones[second].requests;
    assert!(requests.iter().any(|method| method == "OPTIONS"), "{requests:?}");
}

#[test]
fn targets_that_stay_when_a_name_is_looked_up_again_stay_as_they_are() {
    let (mut world, mut first, mut second) = pinged(1004);
    second.options = None;
    run(&mut world, &mut [&mut first, &mut second], 10 * SECOND);
    assert_eq!(states(&mut world).1, ["up", "down"]);
    let third = "203.0.113.3:5060";
    let targets = Ranked::in_order([target(third), target(PEERS[1])]);
    world.input(Input::Resolved { trunk: 0, targets });
    assert_eq!(states(&mut world).1, ["unknown", "down"]);
    run(&mut world, &mut [&mut first, &mut second, &mut Carrier::new(third)], SECOND);
    assert_eq!(states(&mut world).1, ["up", "down"]);
    world.input(Input::Resolved { trunk: 0, targets: Vec::new() });
    assert_eq!(states(&mut world), ("down".into(), vec![]));
}

fn account(realm: Option<&str>, password: &str) -> Option<TrunkAuth> {
    let password = Secret::new(password);
    Some(TrunkAuth { user: "acct".into(), password, realm: realm.map(Into::into) })
}

/// One that registers, at a registrar that asks for credentials.
fn registering(seed: u64, password: &str) -> (World, Carrier, Carrier) {
    let world = world(seed, |trunk| {
        (trunk.register, trunk.auth) = (true, account(None, password));
    });
    let carriers = PEERS.map(|peer| Carrier { realm: Some("carrier.example"), ..Carrier::new(peer) });
    let [first, second] = carriers;
    (world, first, second)
}

fn registration(world: &mut World) -> TrunkRegistrationView {
    view(world).registration.expect("it registers")
}

fn contact(message: &Message) -> String {
    message.header(HeaderName::Contact).unwrap().value_str().unwrap().into_owned()
}

#[test]
fn a_registration_stands_and_is_refreshed_at_four_fifths_of_what_was_granted() {
    let (mut world, mut first, mut second) = registering(1011, "open sesame");
    first.grants = Some(100);
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    let known = registration(&mut world);
    assert_eq!((&*known.state, known.expires_s), ("registered", Some(99)));
    assert_eq!(known.target.as_deref(), Some("udp:203.0.113.1:5060"));
    assert_eq!(told(&mut world), ["up - registered; up"]);
    let request = first.registered();
    assert_eq!(request.uri(), "sip:outside.example");
    assert_eq!(request.to().unwrap().uri, "sip:acct@outside.example");
    assert_eq!(request.expires(), Some(3600));
    let line = contact(request);
    assert!(line.starts_with("<sip:acct@192.0.2.1:5060;line="), "{line}");
    let numbers = |carrier: &Carrier| -> Vec<(String, u32)> {
        let of = |message: &Message| (message.call_id().unwrap().into(), message.cseq().unwrap().number);
        carrier.heard.iter().map(of).collect()
    };
    assert_eq!(first.count(&Method::Register), 2, "without and with credentials");
    run(&mut world, &mut [&mut first, &mut second], 78 * SECOND);
    assert_eq!(first.count(&Method::Register), 2);
    run(&mut world, &mut [&mut first, &mut second], 2 * SECOND);
    assert_eq!(first.count(&Method::Register), 4);
    assert_eq!(contact(first.registered()), line, "the same Contact");
    let numbers = numbers(&first);
    assert!(
        numbers.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1),
        "{numbers:?}"
    );
    assert_eq!(told(&mut world), Vec::<String>::new(), "a refresh is no news");
    assert_eq!(second.heard.len(), 0);
}

#[test]
fn wrong_credentials_are_shown_once_and_then_not_for_a_long_time() {
    let (mut world, mut first, mut second) = registering(1012, "wrong");
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    assert_eq!(first.count(&Method::Register), 2);
    let known = registration(&mut world);
    assert_eq!(&*known.state, "refused");
    assert_eq!(known.reason.as_deref(), Some("401 Unauthorized: the credentials are refused"));
    run(&mut world, &mut [&mut first, &mut second], 440 * SECOND);
    assert_eq!(first.count(&Method::Register), 2, "it waits for ten minutes, a quarter less at most");
    run(&mut world, &mut [&mut first, &mut second], 400 * SECOND);
    assert_eq!(first.count(&Method::Register), 4);
    assert_eq!(told(&mut world).len(), 1, "it is told once");
    assert_eq!(second.heard.len(), 0, "the other target is of the same registrar");
    assert_eq!(view(&mut world).registers_failed, 2);
}

#[test]
fn a_nonce_that_is_too_old_is_followed_once_and_a_foreign_realm_never() {
    for (stale, realm, expected, count) in [
        (1, "carrier.example", "registered", 3),
        (9, "carrier.example", "refused", 3),
        (0, "another.example", "refused", 1),
    ] {
        let mut world = world(1013, |trunk| {
            (trunk.register, trunk.auth) = (true, account(Some("carrier.example"), "open sesame"));
        });
        let mut first = Carrier { realm: Some(realm), stale, ..Carrier::new(PEERS[0]) };
        run(&mut world, &mut [&mut first], 60 * SECOND);
        assert_eq!(registration(&mut world).state, expected, "{stale} {realm}");
        assert_eq!(first.count(&Method::Register), count, "{stale} {realm}");
        let shown = first.heard.iter().filter(|message| message.has(HeaderName::Authorization)).count();
        assert_eq!(shown, count - 1);
    }
}

#[test]
fn a_longer_registration_is_asked_for_where_ours_is_too_brief() {
    let (mut world, mut first, _) = registering(1014, "open sesame");
    (first.realm, first.register) = (None, Some(423));
    first.headers = vec![("Min-Expires", "7200".into())];
    run(&mut world, &mut [&mut first], SECOND);
    // It says so again, which is not followed a second time.
    assert_eq!(first.count(&Method::Register), 2);
    assert_eq!(first.registered().expires(), Some(7200));
    assert_eq!(registration(&mut world).state, "refused");
    (first.register, first.grants) = (Some(200), None);
    first.headers = vec![("Expires", "7200".into())];
    run(&mut world, &mut [&mut first], 60 * SECOND);
    let known = registration(&mut world);
    assert_eq!(&*known.state, "registered");
    assert!(known.expires_s.is_some_and(|left| left > 7000), "{known:?}");
}

#[test]
fn who_does_not_answer_is_left_for_the_other_target_and_then_for_pauses_that_double() {
    let (mut world, mut first, mut second) = registering(1015, "open sesame");
    (first.register, second.register, second.realm) = (None, Some(503), None);
    second.headers = vec![("Retry-After", "120 (maintenance)".into())];
    run(&mut world, &mut [&mut first, &mut second], 5 * SECOND);
    assert_eq!(second.count(&Method::Register), 1, "after four seconds");
    let known = registration(&mut world);
    assert_eq!((&*known.state, known.reason.as_deref()), ("unreachable", Some("503 Service Unavailable")));
    second.headers.clear();
    run(&mut world, &mut [&mut first, &mut second], 115 * SECOND);
    assert_eq!(second.count(&Method::Register), 1, "Retry-After is heeded");
    let mut times = Vec::new();
    let mut seen = 1;
    for _ in 0..20_000 {
        run(&mut world, &mut [&mut first, &mut second], SECOND);
        if second.count(&Method::Register) > seen {
            seen = second.count(&Method::Register);
            times.push(world.now.at);
        }
    }
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
    for (place, doubled) in [60, 120, 240, 480, 960, 1800, 1800, 1800].into_iter().enumerate() {
        let pause = pauses[place];
        assert!(pause >= doubled * 3 / 4 && pause <= doubled * 5 / 4 + 8, "{place}: {pauses:?}");
    }
    assert_eq!(told(&mut world).len(), 1);
    second.register = Some(200);
    run(&mut world, &mut [&mut first, &mut second], 2300 * SECOND);
    assert_eq!(registration(&mut world).target.as_deref(), Some("udp:203.0.113.2:5060"));
    assert_eq!(told(&mut world), ["up - registered; up"]);
}

#[test]
fn a_registration_moves_on_when_its_target_goes_down_and_comes_back_with_one_that_is_up() {
    let mut world = world(1019, |trunk| {
        (trunk.register, trunk.auth, trunk.ping) = (true, account(None, "any"), Some(5 * SECOND));
    });
    let (mut first, mut second) = (Carrier::new(PEERS[0]), Carrier::new(PEERS[1]));
    second.options = None;
    run(&mut world, &mut [&mut first, &mut second], 60 * SECOND);
    assert_eq!(registration(&mut world).target.as_deref(), Some("udp:203.0.113.1:5060"));
    second.options = Some(200);
    run(&mut world, &mut [&mut first, &mut second], 6 * SECOND);
    (first.options, first.register) = (None, None);
    run(&mut world, &mut [&mut first, &mut second], 20 * SECOND);
    assert_eq!(registration(&mut world).target.as_deref(), Some("udp:203.0.113.2:5060"), "{}", world.tail());
    // No registrar is left, and one comes back: it is not waited for until the pause is over.
    (second.options, second.register) = (None, None);
    run(&mut world, &mut [&mut first, &mut second], 7200 * SECOND);
    assert_eq!(registration(&mut world).state, "unreachable");
    (second.options, second.register) = (Some(200), Some(200));
    run(&mut world, &mut [&mut first, &mut second], 6 * SECOND);
    assert_eq!(registration(&mut world).state, "registered");
}

#[test]
fn a_node_that_drains_is_forgotten_by_its_registrar_and_waits_for_that_no_longer_than_two_seconds() {
    let (mut world, mut first, mut second) = registering(1016, "open sesame");
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    first.grants = None;
    world.ask(Subject::Admin, Command::Drain);
    assert!(world.engine.is_leaving());
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    assert!(!world.engine.is_leaving());
    let last = first.registered();
    assert_eq!(last.expires(), Some(0));
    assert!(last.has(HeaderName::Authorization), "it is challenged like any other");
    assert_eq!(registration(&mut world).state, "unregistered");
    let heard = first.heard.len();
    run(&mut world, &mut [&mut first, &mut second], 7200 * SECOND);
    assert_eq!((first.heard.len(), second.heard.len()), (heard, 0));
    world.check_idle();

    let (mut world, mut first, mut second) = registering(1017, "open sesame");
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    first.register = None;
    world.ask(Subject::Admin, Command::Drain);
    world.ask(Subject::Admin, Command::Drain);
    run(&mut world, &mut [&mut first, &mut second], 1900 * SECOND / 1000);
    assert!(world.engine.is_leaving());
    run(&mut world, &mut [&mut first, &mut second], SECOND / 5);
    assert!(!world.engine.is_leaving());
    assert_eq!(first.count(&Method::Register), 5, "one REGISTER, three times, and no more");
    run(&mut world, &mut [&mut first, &mut second], 5 * SECOND);
    assert_eq!(first.count(&Method::Register), 5);
    world.check_idle();
}

/// What a registrar sends to `uri` from `peer`: the status of its answer.
fn invite(world: &mut World, peer: &str, uri: &str, to: &str) -> u16 {
    let text = format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {peer};branch=z9hG4bK{}\r\nFrom: <sip:0301@carrier.example>;tag=f\r\n\
         To: <{to}>\r\nCall-ID: {}\r\nCSeq: 1 INVITE\r\nContact: <sip:0301@{peer}>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n",
        world.now.at.as_micros(),
        world.now.at.as_micros(),
    );
    let answers = world.exchange(peer.parse().unwrap(), text);
    world.run(SECOND);
    let later = world
        .outside
        .iter()
        .filter(|(to, _)| to.to_string() == peer)
        .map(|(_, bytes)| Message::parse(bytes.clone(), &Default::default()).unwrap());
    let all: Vec<u16> =
        answers.into_iter().chain(later).filter_map(|m| m.status()).map(|s| s.as_u16()).collect();
    all.into_iter().filter(|status| *status != 100).max().unwrap_or(0)
}

#[test]
fn a_call_to_the_contact_that_was_registered_is_the_trunks_and_is_for_whom_to_names() {
    let (mut world, mut first, mut second) = registering(1018, "open sesame");
    let bob = world.phone("bob", "desk");
    world.phones[bob].answer = super::Answer::Ring;
    run(&mut world, &mut [&mut first, &mut second], SECOND);
    let uri = contact(first.registered()).trim_matches(['<', '>']).to_owned();
    assert!(Uri::parse(&uri).unwrap().param("line").is_some());
    let forged = uri.replace(";line=", ";line=0");
    let stranger = "198.51.100.77:5060";
    assert_eq!(invite(&mut world, PEERS[0], &forged, "sip:1002@carrier.example"), 401, "another line");
    assert_eq!(invite(&mut world, stranger, &uri, "sip:1002@carrier.example"), 401, "another source");
    assert_eq!(
        invite(&mut world, PEERS[0], &uri, "sip:0049301@carrier.example"),
        404,
        "not out over a trunk"
    );
    assert_eq!(invite(&mut world, PEERS[1], &uri, "sip:1002@carrier.example"), 180, "{}", world.tail());
    let bob = &world.phones[bob];
    assert_eq!(bob.requests.iter().filter(|method| *method == "INVITE").count(), 1);
}
