//! Users behind a PBX: how they are registered there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::World;
use super::carrier::{Carrier, run};
use super::world::{accounts, settings, trunk_to};
use crate::base::{Secret, UnixMillis};
use crate::engine::Settings;
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::event::Event;
use crate::engine::store::{Loaded, StoreOp};
use crate::engine::view::{PageQuery, PbxView, TrunkView};
use crate::registrar::accounts::{Accounts, PhcString, Trust};
use crate::registrar::hot_desk::{SavedDesk, SignIn, proof_of};
use crate::registrar::{Pbx, SavedAor, SavedBinding};
use crate::wire::sip::{HeaderName, Message, Method, Uri};

const SECOND: Duration = Duration::from_secs(1);
pub(super) const PEER: &str = "203.0.113.1:5060";
const KNOWN: &[(&str, &str)] = &[("1001", "open sesame"), ("1002", "open sesame")];

/// What the account of a user at the PBX is: that of the extension.
pub(super) fn at_pbx(extension: &str, password: &str) -> Pbx {
    Pbx {
        trunk: "outside".into(),
        user: extension.into(),
        auth_user: extension.into(),
        password: Secret::new(password),
        realm: None,
    }
}

/// These users, all but the last behind the PBX.
pub(super) fn behind(names: &[&str], password: &str) -> Accounts {
    let mut all = Accounts::default();
    for account in accounts(names).iter() {
        let mut account = (**account).clone();
        let is_last = names.last() == Some(&&*account.name);
        account.pbx = account.extension.as_deref().filter(|_| !is_last).map(|own| at_pbx(own, password));
        all.put(account).unwrap();
    }
    all
}

/// A node with a PBX that lets in nobody but who is called by a Contact.
pub(super) fn config() -> Settings {
    let mut settings = settings();
    trunk_to(&mut settings, PEER.parse().unwrap()).from.clear();
    settings
}

/// Alice and Bob are behind the PBX, Carol is not.
fn world(seed: u64) -> (World, Carrier) {
    let accounts = behind(&["alice", "bob", "carol"], "open sesame");
    (World::with(seed, config(), accounts, &Loaded::default()), pbx())
}

fn pbx() -> Carrier {
    Carrier { realm: Some("carrier.example"), accounts: KNOWN, ..Carrier::new(PEER) }
}

fn standing(world: &mut World, user: &str) -> PbxView {
    match world.ask(Subject::Admin, Command::ShowUser { name: user.into() }) {
        Reply::User(view) => view.pbx.expect("behind a PBX"),
        other => panic!("{other:?}"),
    }
}

fn trunk(world: &mut World) -> TrunkView {
    match world.ask(Subject::Admin, Command::ListTrunks { page: PageQuery::default() }) {
        Reply::Trunks(mut page) => page.items.remove(0),
        other => panic!("{other:?}"),
    }
}

pub(super) fn header(message: &Message, name: HeaderName) -> String {
    message.header(name).map(|header| header.value_str().unwrap().into_owned()).unwrap_or_default()
}

pub(super) fn token(message: &Message) -> String {
    let contact = header(message, HeaderName::Contact);
    let uri = contact.trim_matches(['<', '>']);
    Uri::parse(uri).unwrap().param("line").flatten().expect("a line").to_owned()
}

fn numbers(carrier: &Carrier) -> Vec<u32> {
    carrier.heard.iter().map(|message| message.cseq().unwrap().number).collect()
}

#[test]
fn however_many_devices_a_user_has_the_pbx_sees_one_contact_while_there_is_any() {
    let (mut world, mut pbx) = world(1301);
    let desk = world.phone("alice", "desk");
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(pbx.count(&Method::Register), 2, "without and with credentials");
    let request = pbx.registered().clone();
    assert_eq!(
        (request.uri(), request.to().unwrap().uri),
        ("sip:outside.example", "sip:1001@outside.example")
    );
    assert_eq!(request.expires(), Some(3600));
    let contact = header(&request, HeaderName::Contact);
    assert!(contact.starts_with("<sip:1001@192.0.2.1:5060;line="), "{contact}");
    assert_eq!(token(&request).len(), 32);
    assert!(header(&request, HeaderName::Authorization).contains("username=\"1001\""));
    let known = standing(&mut world, "alice");
    assert_eq!((&*known.trunk, &*known.user, &*known.state), ("outside", "1001", "registered"));
    assert!(known.expires_s.is_some_and(|left| left > 3590), "{known:?}");
    assert_eq!(standing(&mut world, "bob").state, "unregistered", "no device of Bob's is here");
    // A second device, a refresh, and the end of the first are nothing to the PBX.
    let mobile = world.phone("alice", "mobile");
    world.phones[desk].register(3600);
    world.phones[desk].register(0);
    run(&mut world, &mut [&mut pbx], 2 * SECOND);
    assert_eq!(pbx.count(&Method::Register), 2, "{}", world.tail());
    let view = trunk(&mut world);
    assert_eq!((view.users, view.users_registered, view.registers_granted), (1, 1, 1));
    assert!(world.events.iter().all(|event| !matches!(event, Event::Trunk { .. })), "it is no trunk's");
    world.phones[mobile].register(0);
    run(&mut world, &mut [&mut pbx], 2 * SECOND);
    let last = pbx.registered();
    assert_eq!((last.expires(), header(last, HeaderName::Contact)), (Some(0), contact));
    assert_eq!(last.call_id().unwrap(), request.call_id().unwrap());
    let numbers = numbers(&pbx);
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert_eq!(standing(&mut world, "alice").state, "unregistered");
    let heard = pbx.heard.len();
    run(&mut world, &mut [&mut pbx], 7200 * SECOND);
    assert_eq!(pbx.heard.len(), heard, "it is over");
    world.check_idle();
}

#[test]
fn who_is_not_behind_it_is_not_registered_and_a_refresh_comes_in_time() {
    let (mut world, mut pbx) = world(1302);
    pbx.grants = Some(100);
    world.phone("carol", "desk");
    run(&mut world, &mut [&mut pbx], 5 * SECOND);
    assert_eq!(pbx.heard.len(), 0);
    world.phone("bob", "desk");
    run(&mut world, &mut [&mut pbx], 78 * SECOND);
    assert_eq!(pbx.count(&Method::Register), 2);
    run(&mut world, &mut [&mut pbx], 4 * SECOND);
    assert_eq!(pbx.count(&Method::Register), 4, "at four fifths");
    (pbx.register, pbx.headers) = (Some(423), vec![("Min-Expires", "7200".into())]);
    run(&mut world, &mut [&mut pbx], 82 * SECOND);
    assert_eq!(pbx.registered().expires(), Some(7200), "what it wants");
}

#[test]
fn who_is_refused_there_is_told_of_once_and_is_a_user_here_like_any_other() {
    let accounts = behind(&["alice", "bob", "carol"], "wrong");
    let mut world = World::with(1303, config(), accounts, &Loaded::default());
    let mut pbx = pbx();
    let alice = world.phone("alice", "desk");
    run(&mut world, &mut [&mut pbx], 10 * SECOND);
    assert_eq!(world.phones[alice].registered, Some(200), "a phone does not wait for a PBX");
    let known = standing(&mut world, "alice");
    assert_eq!(
        (&*known.state, known.reason.as_deref()),
        ("refused", Some("401 Unauthorized: the credentials are refused"))
    );
    run(&mut world, &mut [&mut pbx], 430 * SECOND);
    assert_eq!(pbx.count(&Method::Register), 2, "a person has to do something first");
    // The right password, by a reload.
    world.reconfigure(config(), &behind(&["alice", "bob", "carol"], "open sesame"));
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(standing(&mut world, "alice").state, "registered");
    // Forbidden: the same, and a PBX that has no time says when it will.
    (pbx.realm, pbx.register) = (None, Some(403));
    world.phone("bob", "desk");
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(standing(&mut world, "bob").state, "refused");
    let (mut world, mut pbx) = self::world(1304);
    (pbx.realm, pbx.register) = (None, Some(503));
    pbx.headers = vec![("Retry-After", "300".into())];
    world.phone("bob", "desk");
    run(&mut world, &mut [&mut pbx], 290 * SECOND);
    assert_eq!((standing(&mut world, "bob").state.as_str(), pbx.heard.len()), ("unreachable", 1));
    pbx.register = Some(200);
    run(&mut world, &mut [&mut pbx], 20 * SECOND);
    assert_eq!(standing(&mut world, "bob").state, "registered");
}

#[test]
fn what_a_pbx_says_to_a_password_that_was_is_nothing_to_the_one_that_is() {
    let accounts = behind(&["alice", "bob", "carol"], "wrong");
    let (mut world, mut pbx) = (World::with(1313, config(), accounts, &Loaded::default()), pbx());
    world.phone("alice", "desk");
    for _ in 0..50 {
        if pbx.heard.is_empty() {
            run(&mut world, &mut [&mut pbx], Duration::from_millis(20));
        }
    }
    world.run(Duration::from_millis(20));
    let is_open =
        |(_, bytes): &(_, bytes::Bytes)| String::from_utf8_lossy(bytes).contains("\r\nAuthorization: ");
    assert!(world.outside.iter().any(is_open), "by the old password it is asked");
    // Before it answers, a reload.
    world.reconfigure(config(), &behind(&["alice", "bob", "carol"], "open sesame"));
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(standing(&mut world, "alice").state, "registered");
    assert_eq!(pbx.count(&Method::Register), 4, "each password once");
}

#[test]
fn a_device_that_comes_back_while_the_pbx_is_asked_to_let_its_user_go_is_registered_after_that() {
    let (mut world, mut pbx) = world(1305);
    let desk = world.phone("alice", "desk");
    run(&mut world, &mut [&mut pbx], SECOND);
    let (call_id, first) = (pbx.registered().call_id().unwrap().to_owned(), token(pbx.registered()));
    world.phones[desk].register(0);
    world.run(SECOND / 10);
    world.phones[desk].register(3600);
    world.run(SECOND / 10);
    run(&mut world, &mut [&mut pbx], 2 * SECOND);
    let asked: Vec<Option<u32>> = pbx.heard.iter().skip(2).map(Message::expires).collect();
    assert_eq!(asked.first(), Some(&Some(0)), "{asked:?}");
    assert_eq!(asked.last(), Some(&Some(3600)), "{asked:?}");
    assert!(pbx.heard.iter().all(|message| message.call_id().unwrap() == call_id));
    assert_eq!(token(pbx.registered()), first);
    let numbers = numbers(&pbx);
    assert!(numbers.windows(2).all(|pair| pair[0] <= pair[1]), "{numbers:?}");
    assert_eq!(standing(&mut world, "alice").state, "registered");
}

#[test]
fn a_pbx_that_was_away_is_told_again_where_its_users_are() {
    let mut settings = config();
    settings.call.trunks[0].ping = Some(30 * SECOND);
    let accounts = behind(&["alice", "bob", "carol"], "open sesame");
    let mut world = World::with(1312, settings, accounts, &Loaded::default());
    let mut pbx = pbx();
    world.phone("alice", "desk");
    run(&mut world, &mut [&mut pbx], 60 * SECOND);
    assert_eq!(pbx.count(&Method::Register), 2);
    pbx.options = None;
    run(&mut world, &mut [&mut pbx], 60 * SECOND);
    assert_eq!(trunk(&mut world).state, "down");
    assert_eq!(pbx.count(&Method::Register), 2, "what stands stands");
    pbx.options = Some(200);
    run(&mut world, &mut [&mut pbx], 15 * SECOND);
    assert_eq!(pbx.count(&Method::Register), 4, "it may have lost everything");
    run(&mut world, &mut [&mut pbx], 600 * SECOND);
    assert_eq!(pbx.count(&Method::Register), 4);
}

fn saved(world: &World) -> Vec<SavedAor> {
    let mut last: BTreeMap<Arc<str>, SavedAor> = BTreeMap::new();
    for op in &world.stored {
        if let StoreOp::SaveBindings(saves) = op {
            last.extend(saves.iter().map(|aor| (aor.user.clone(), aor.clone())));
        }
    }
    last.into_values().collect()
}

#[test]
fn a_restart_registers_the_same_contact_and_another_node_another_one() {
    let (mut world, mut pbx) = world(1306);
    world.phone("alice", "desk");
    run(&mut world, &mut [&mut pbx], 3 * SECOND);
    let before = token(pbx.registered());
    let loaded = Loaded { bindings: saved(&world), ..Loaded::default() };
    for (key, is_same) in [([7; 32], true), ([8; 32], false)] {
        let settings = Settings { contact_key: key, ..config() };
        let accounts = behind(&["alice", "bob", "carol"], "open sesame");
        let (mut world, mut pbx) = (World::with(1307, settings, accounts, &loaded), self::pbx());
        run(&mut world, &mut [&mut pbx], SECOND);
        assert_eq!(standing(&mut world, "alice").state, "registered", "without a word of the phone");
        assert_eq!(token(pbx.registered()) == before, is_same);
    }
}

#[test]
fn what_begins_for_many_at_once_is_spread() {
    const USERS: usize = 250;
    let names: Vec<String> = (0..=USERS).map(|number| format!("u{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let template = {
        let (mut world, _) = world(1308);
        world.phone("alice", "desk");
        world.run(3 * SECOND);
        saved(&world).remove(0).bindings.remove(0)
    };
    let binding = SavedBinding { expires: UnixMillis(1_800_007_200_000), ..template };
    let bindings =
        names.iter().map(|name| SavedAor { user: (*name).into(), bindings: vec![binding.clone()] });
    let loaded = Loaded { bindings: bindings.collect(), ..Loaded::default() };
    let mut world = World::with(1309, config(), behind(&names, "open sesame"), &loaded);
    let mut pbx = Carrier { realm: None, ..pbx() };
    let mut most = 0;
    for _ in 0..4 {
        let before = pbx.heard.len();
        run(&mut world, &mut [&mut pbx], SECOND);
        most = most.max(pbx.heard.len() - before);
    }
    assert!((90..=110).contains(&most), "{most} in a second");
    assert_eq!(pbx.heard.len(), USERS, "each once");
    assert_eq!(trunk(&mut world).users_registered, USERS as u64);
    // The PBX falls silent until all are told to be unreachable, and is back: no more at once than at a start.
    pbx.register = None;
    run(&mut world, &mut [&mut pbx], 3700 * SECOND);
    assert_eq!(trunk(&mut world).users_registered, 0);
    // A node that drains asks for a few at once and leaves the rest to their end.
    pbx.register = Some(200);
    run(&mut world, &mut [&mut pbx], 3000 * SECOND);
    assert_eq!(trunk(&mut world).users_registered, USERS as u64);
    let before = pbx.heard.len();
    world.ask(Subject::Admin, Command::Drain);
    run(&mut world, &mut [&mut pbx], 3 * SECOND);
    assert_eq!(pbx.heard.len() - before, 200);
    assert!(!world.engine.is_leaving());
}

#[test]
fn another_configuration_registers_who_came_behind_it_and_lets_go_who_left() {
    let (mut world, mut pbx) = world(1310);
    (pbx.accounts, pbx.realm) =
        (&[("1001", "open sesame"), ("2001", "open sesame"), ("1003", "open sesame")], None);
    for user in ["alice", "bob", "carol"] {
        world.phone(user, "desk");
    }
    run(&mut world, &mut [&mut pbx], SECOND);
    let to = |message: &Message| (message.to().unwrap().uri.to_owned(), message.expires());
    let own = |user: &str, expires| (format!("sip:{user}@outside.example"), Some(expires));
    let told = |pbx: &mut Carrier| -> Vec<_> {
        let mut all: Vec<_> = std::mem::take(&mut pbx.heard).iter().map(to).collect();
        all.sort();
        all
    };
    assert_eq!(told(&mut pbx), [own("1001", 3600), own("1002", 3600)]);
    // Alice is another there, Bob is none any more, Carol is one by now.
    let mut changed = Accounts::default();
    for account in behind(&["alice", "bob", "carol"], "open sesame").iter() {
        let mut account = (**account).clone();
        account.pbx = match &*account.name {
            "alice" => Some(at_pbx("2001", "open sesame")),
            "bob" => None,
            _ => Some(at_pbx("1003", "open sesame")),
        };
        changed.put(account).unwrap();
    }
    world.reconfigure(config(), &changed);
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(told(&mut pbx), [own("1001", 0), own("1002", 0), own("1003", 3600), own("2001", 3600)]);
    // The same once more is nothing.
    world.reconfigure(config(), &changed);
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(told(&mut pbx), []);
    // Without the trunk there is no PBX.
    let mut without = config();
    without.call.trunks.clear();
    without.call.routes.clear();
    world.reconfigure(without, &behind(&["alice"], "any"));
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(told(&mut pbx), [own("1003", 0), own("2001", 0)]);
}

#[test]
fn a_call_goes_by_the_route_that_the_registrar_names_while_it_names_one() {
    let mut settings = settings();
    let trunk = trunk_to(&mut settings, PEER.parse().unwrap());
    trunk.register = true;
    trunk.auth = Some(crate::call::settings::TrunkAuth {
        user: "acct".into(),
        password: Secret::new("open sesame"),
        realm: None,
    });
    let mut world = World::with(1311, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let mut pbx = Carrier::new(PEER);
    pbx.grants = Some(100);
    pbx.headers =
        vec![("Service-Route", "<sip:edge.outside.example;lr>, <sip:core.outside.example;lr>".into())];
    let alice = world.phone("alice", "desk");
    run(&mut world, &mut [&mut pbx], SECOND);
    let routes = |world: &mut World, pbx: &mut Carrier| -> Vec<String> {
        world.phones[alice].dial("0049");
        run(world, &mut [pbx], SECOND);
        let invite = pbx.heard.iter().rfind(|message| *message.method() == Method::Invite).expect("a call");
        assert_eq!(invite.uri(), "sip:0049@outside.example", "a loose route leaves the Request-URI");
        invite
            .values(HeaderName::Route)
            .map(|value| String::from_utf8_lossy(value).trim().to_owned())
            .collect()
    };
    let named = ["<sip:edge.outside.example;lr>", "<sip:core.outside.example;lr>"];
    assert_eq!(routes(&mut world, &mut pbx), named);
    assert!(!pbx.registered().has(HeaderName::Route), "it is for everything but REGISTER");
    // A 200 without it takes it away, and one that is too long to be repeated is none.
    pbx.headers = vec![("Service-Route", vec!["<sip:edge.outside.example;lr>"; 17].join(", "))];
    run(&mut world, &mut [&mut pbx], 85 * SECOND);
    assert_eq!(routes(&mut world, &mut pbx), [""; 0]);
}

#[test]
fn who_is_signed_in_at_a_shared_device_alone_is_registered_there_while_that_is_here() {
    let hash = format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ${}4714", "A".repeat(39));
    let pin = PhcString::parse(&hash).unwrap();
    let mut all = behind(&["alice", "bob", "rooms"], "open sesame");
    let mut alice = (**all.by_name("alice").unwrap()).clone();
    alice.pin = Some(pin.clone());
    all.put(alice).unwrap();
    let mut rooms = (**all.by_name("rooms").unwrap()).clone();
    rooms.devices[0].trust = Trust::Shared;
    all.put(rooms).unwrap();
    let since = UnixMillis(1_800_000_000_000);
    let sign_in = SignIn { user: "alice".into(), proof: proof_of(&pin), since, length_ms: 3_600_000 };
    let desk = SavedDesk { device: "rooms*desk".into(), sign_in: Some(sign_in) };
    let loaded = Loaded { hot_desks: vec![desk], ..Loaded::default() };
    let mut world = World::with(1320, config(), all, &loaded);
    let mut pbx = pbx();
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(standing(&mut world, "alice").state, "unregistered", "the phone is not here");
    let lobby = world.phone("rooms", "desk");
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(standing(&mut world, "alice").state, "registered", "{}", world.tail());
    world.phones[lobby].register(0);
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(standing(&mut world, "alice").state, "unregistered");
    world.phones[lobby].register(3600);
    run(&mut world, &mut [&mut pbx], 2 * SECOND);
    assert_eq!(standing(&mut world, "alice").state, "registered");
    let out = Command::SignOut { user: "alice".into() };
    assert_eq!(world.ask(Subject::Admin, out), Reply::Done);
    run(&mut world, &mut [&mut pbx], SECOND);
    assert_eq!(standing(&mut world, "alice").state, "unregistered", "{}", world.tail());
}
