//! Where a call goes: the decision, as a table.

use std::time::Duration;

use super::world::{accounts, goal, leads, settings, trunk_to};
use super::{Answer, World};
use crate::base::{UnixMillis, Zone, day_of};
use crate::call::calendar::{Clock, Period};
use crate::call::dial_plan::{Destination, Ground, Plan};
use crate::call::rules::{Asks, Caller, CallerKind, Dialling, Group, Pattern, Ring, Rule, Source};
use crate::call::settings::Source as Network;
use crate::engine::store::Loaded;

const SECOND: Duration = Duration::from_secs(1);
const PEER: &str = "203.0.113.1:5060";
const OTHER: &str = "203.0.113.2:5060";

/// Alice (1001), Bob (1002), Carol (1003); the trunks `outside` and `other`, and the numbers of tests.
fn world(rules: Vec<Rule>, groups: Vec<Group>) -> World {
    let mut settings = settings();
    let mut other = trunk_to(&mut settings, PEER.parse().unwrap()).clone();
    let peer: std::net::SocketAddr = OTHER.parse().unwrap();
    (other.name, other.targets[0].peer, other.from[0].network) = ("other".into(), peer, peer.ip());
    settings.call.trunks.push(other);
    settings.call.zone = Zone::fixed(3600);
    (settings.call.routes, settings.call.groups) = (rules, groups);
    World::with(2001, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default())
}

fn group(name: &str, members: &[&str], ring: Ring) -> Group {
    let members = members.iter().map(|member| goal(member)).collect();
    Group { name: name.into(), members, ring, timeout: Duration::from_secs(20) }
}

fn shown(ground: Ground, plan: &Plan) -> String {
    let stop = |to: &Destination| match to {
        Destination::User { account, device } => {
            let id = device.map(|at| format!("*{}", account.devices[at].id)).unwrap_or_default();
            format!("{}{id}", account.name)
        }
        Destination::Group(members) => {
            members.iter().map(|(account, _)| &*account.name).collect::<Vec<_>>().join("+")
        }
        Destination::Trunks(trunks) => format!("{:?}", trunks.as_slice()),
        Destination::Service(service) => format!("{service:?}"),
    };
    let stops = plan.stops.iter().map(|at| {
        let limit = at.limit.map(|limit| format!("/{}", limit.as_secs())).unwrap_or_default();
        stop(&at.to) + &limit
    });
    let last = plan.last_word.iter().map(|last| format!("!{} {}", last.status.as_u16(), last.reason));
    let ground = match ground {
        Ground::Emergency => "emergency".to_owned(),
        Ground::Ours => "ours".to_owned(),
        Ground::Pbx => "pbx".to_owned(),
        Ground::Rule(place) => format!("rule {place}"),
        Ground::Nobody => "nobody".to_owned(),
    };
    std::iter::once(ground).chain(stops).chain(last).collect::<Vec<_>>().join(" ")
}

/// What is decided for a call by a user (`alice`) or a trunk (`outside +4930…`), at a time of the local clock.
fn decided(world: &World, by: &str, number: &str, at: &str) -> String {
    let core = world.engine.core();
    let account = core.accounts.by_name(by).cloned();
    let (name, said) = by.split_once(' ').unwrap_or((by, ""));
    let kind = match &account {
        Some(account) => CallerKind::User(account),
        None => CallerKind::Trunk { name, number: said, is_transferor: false },
    };
    let by = Caller { kind, address: Some("10.1.2.3".parse().unwrap()) };
    let (date, time) = at.split_once('T').unwrap();
    let parts: Vec<i64> = date.split('-').map(|part| part.parse().unwrap()).collect();
    let day = day_of(parts[0], u8::try_from(parts[1]).unwrap(), u8::try_from(parts[2]).unwrap()).unwrap();
    let (hour, minute) = time.split_once(':').unwrap();
    let second = hour.parse::<u32>().unwrap() * 3600 + minute.parse::<u32>().unwrap() * 60;
    let call = Dialling { number, by, at: core.settings.zone.when(day, second), asks: Asks::Call };
    let (ground, plan) = core.decide(&call, None);
    let mut verdicts = Vec::new();
    let (again, explained) = core.decide(&call, Some(&mut verdicts));
    assert_eq!(shown(ground, &plan), shown(again, &explained), "a witness changes nothing");
    assert_eq!(verdicts.len(), core.settings.routes.len());
    shown(ground, &plan)
}

const FRIDAY: &str = "2026-11-27T12:00";

#[test]
fn the_first_rule_that_holds_is_followed_and_every_condition_must_hold() {
    let period = |text: &str| Period::parse(text).unwrap();
    let pattern = |text: &str| Some(Pattern(regex::Regex::new(text).unwrap()));
    let rules = vec![
        Rule {
            not: pattern("^0900"),
            sources: vec![Source::User("alice".into())],
            ..leads("^09", &["trunk:other"])
        },
        Rule { when: vec![period("mon-fri 08:00-18:00")], ..leads("^30$", &["user:alice", "user:bob"]) },
        Rule {
            when: vec![period("mon-fri 10:00-11:00")],
            clock: Clock::Offset(0),
            ..leads("^31$", &["user:bob"])
        },
        leads("^30$", &["user:carol", "reject:480 Closed"]),
        Rule { from: pattern("^(alice|1002)$"), ..leads("^32$", &["trunk:outside"]) },
        Rule { sources: vec![Source::AnyTrunk], from: pattern("^\\+49"), ..leads("^33$", &["user:alice"]) },
        Rule {
            sources: vec![Source::Network(Network {
                network: "10.0.0.0".parse().unwrap(),
                prefix: 8,
                port: None,
            })],
            ..leads("^34$", &["extension:1002", "user:alice*desk"])
        },
        leads("^35$", &["reject:603 No"]),
        leads("^36$", &["user:nobody"]),
        leads("^09", &["trunk:outside", "trunk:other"]),
        Rule { patience: Some(5 * SECOND), ..leads("^37$", &["trunk:outside", "user:bob", "trunk:other"]) },
    ];
    let world = world(rules, Vec::new());
    for (by, number, at, expected) in [
        ("alice", "0911", FRIDAY, "rule 0 [1]"),
        ("alice", "0900", FRIDAY, "rule 9 [0, 1]"),
        ("bob", "0911", FRIDAY, "rule 9 [0, 1]"),
        ("alice", "30", FRIDAY, "rule 1 alice/30 bob"),
        ("alice", "30", "2026-11-27T17:59", "rule 1 alice/30 bob"),
        ("alice", "30", "2026-11-27T18:00", "rule 3 carol/30 !480 Closed"),
        ("alice", "30", "2026-11-28T12:00", "rule 3 carol/30 !480 Closed"),
        // Its clock is an hour behind.
        ("alice", "31", "2026-11-27T11:30", "rule 2 bob"),
        ("alice", "31", "2026-11-27T10:30", "nobody"),
        ("alice", "32", FRIDAY, "rule 4 [0]"),
        ("bob", "32", FRIDAY, "rule 4 [0]"),
        ("carol", "32", FRIDAY, "nobody"),
        ("outside +4930", "33", FRIDAY, "rule 5 alice"),
        ("outside +3360", "33", FRIDAY, "nobody"),
        ("alice", "33", FRIDAY, "nobody"),
        ("bob", "34", FRIDAY, "rule 6 bob/30 alice*desk"),
        ("bob", "35", FRIDAY, "rule 7 !603 No"),
        ("bob", "36", FRIDAY, "rule 8"),
        ("bob", "37", FRIDAY, "rule 10 [0]/5 bob/5 [1]"),
        ("bob", "99", FRIDAY, "nobody"),
    ] {
        assert_eq!(decided(&world, by, number, at), expected, "{by} dials {number} at {at}");
    }
}

#[test]
fn our_own_numbers_are_ours_unless_a_rule_says_that_it_means_them() {
    let usual = world(vec![leads(".*", &["trunk:outside"])], Vec::new());
    for (number, expected) in [
        ("1001", "ours alice"),
        ("alice", "ours alice"),
        ("alice*desk", "ours alice*desk"),
        ("*43", "ours Echo"),
        ("1009", "rule 0 [0]"),
    ] {
        assert_eq!(decided(&usual, "bob", number, FRIDAY), expected);
    }
    assert_eq!(decided(&usual, "other", "1001", FRIDAY), "ours alice");
    let closed = Period::parse("sat,sun").unwrap();
    let rules = vec![
        leads("^1001$", &["trunk:outside"]),
        Rule { overrides: true, when: vec![closed], ..leads("^1001$", &["reject:480 Closed"]) },
    ];
    let closing = world(rules, Vec::new());
    assert_eq!(decided(&closing, "bob", "1001", FRIDAY), "ours alice");
    assert_eq!(decided(&closing, "bob", "1001", "2026-11-28T12:00"), "rule 1 !480 Closed");
    assert_eq!(decided(&closing, "bob", "1002", "2026-11-28T12:00"), "ours bob");
}

#[test]
fn a_trunk_reaches_a_trunk_only_where_a_rule_names_it() {
    let through = |source: Source| Rule { sources: vec![source], ..leads("^6", &["trunk:other"]) };
    let rules = vec![
        leads("^5", &["trunk:other", "user:alice"]),
        through(Source::AnyTrunk),
        through(Source::Network(Network { network: "0.0.0.0".parse().unwrap(), prefix: 0, port: None })),
        leads(".*", &["trunk:outside"]),
    ];
    let mut all = world(rules.clone(), Vec::new());
    for (by, number, expected) in [
        ("outside +4930", "5", "rule 0 alice"),
        ("outside +4930", "6", "nobody"),
        ("outside +4930", "7", "nobody"),
        ("other", "7", "nobody"),
        ("bob", "5", "rule 0 [1]  alice"),
        ("bob", "7", "rule 3 [0]"),
    ] {
        assert_eq!(decided(&all, by, number, FRIDAY), expected.replace("  ", " "), "{by} {number}");
    }
    let mut named = rules;
    named[1] = through(Source::Trunk("outside".into()));
    all = world(named, Vec::new());
    assert_eq!(decided(&all, "outside +4930", "6", FRIDAY), "rule 1 [1]");
    assert_eq!(decided(&all, "other +4930", "6", FRIDAY), "nobody");
}

#[test]
fn a_call_for_help_comes_before_every_rule() {
    let never = Period::parse("2000-01-01").unwrap();
    let rules = vec![
        Rule { overrides: true, ..leads(".*", &["reject:403 No"]) },
        leads("^1", &["code:*43"]),
        leads("^112$", &["user:carol"]),
        Rule {
            when: vec![never],
            sources: vec![Source::User("alice".into())],
            ..leads("^11", &["trunk:other"])
        },
        leads("^112$", &["trunk:outside", "user:alice"]),
        Rule { sources: vec![Source::AnyUser], ..Rule::default() },
    ];
    let all = world(rules, Vec::new());
    assert_eq!(decided(&all, "bob", "112", FRIDAY), "emergency carol/30 [0] alice/30 [1]");
    assert_eq!(decided(&all, "bob", "110", FRIDAY), "emergency [1]");
    assert_eq!(decided(&all, "bob", "119", FRIDAY), "rule 0 !403 No");
    // Who calls over a trunk gets no other one.
    assert_eq!(decided(&all, "outside +4930", "112", FRIDAY), "emergency carol/30 alice");
    assert_eq!(decided(&all, "bob", "911", FRIDAY), "nobody", "no rule leads anywhere");
}

#[test]
fn a_group_is_rung_without_its_caller_and_who_is_not_there() {
    let members = ["user:alice", "extension:1002", "user:nobody", "user:carol*desk"];
    let groups = vec![group("all", &members, Ring::All), group("turns", &members, Ring::InTurn)];
    let rules = vec![leads("^60$", &["group:all"]), leads("^61$", &["group:turns", "trunk:outside"])];
    let all = world(rules, groups);
    assert_eq!(decided(&all, "outside +4930", "60", FRIDAY), "rule 0 alice+bob+carol/20");
    assert_eq!(decided(&all, "alice", "60", FRIDAY), "rule 0 bob+carol/20");
    assert_eq!(decided(&all, "bob", "61", FRIDAY), "rule 1 alice/20 carol*desk/20 [0]");
}

#[test]
fn a_rule_is_of_its_time_when_the_clock_of_the_machine_is_set() {
    let day = Rule { when: vec![Period::parse("08:00-18:00").unwrap()], ..leads("^30$", &["user:alice"]) };
    let mut world = world(vec![day], Vec::new());
    let turn = day_of(2026, 3, 29).unwrap() * 86_400 + 3600;
    let mut settings = (*world.engine.core.settings).clone();
    settings.zone = Zone::changing(3600, vec![(turn, 7200)]);
    world.engine.core.settings = settings.into();
    let holds = |world: &World, unix: i64| {
        let core = world.engine.core();
        let account = core.accounts.by_name("bob").cloned().unwrap();
        let by = Caller { kind: CallerKind::User(&account), address: None };
        let at = UnixMillis(u64::try_from(unix).unwrap() * 1000);
        matches!(core.decide(&Dialling { number: "30", by, at, asks: Asks::Call }, None).0, Ground::Rule(0))
    };
    // 08:00 is 07:00 UTC on the day before, and 06:00 UTC from then on.
    let midnight = day_of(2026, 3, 28).unwrap() * 86_400;
    assert!(!holds(&world, midnight + 7 * 3600 - 1) && holds(&world, midnight + 7 * 3600));
    let midnight = midnight + 86_400;
    assert!(!holds(&world, midnight + 6 * 3600 - 1) && holds(&world, midnight + 6 * 3600));
}

#[test]
fn what_is_decided_is_what_happens() {
    let rules = vec![
        leads("^0900", &["reject:403 Premium numbers are barred"]),
        leads("^00", &["trunk:outside"]),
        leads("^77$", &["user:alice"]),
    ];
    let mut world = world(rules, Vec::new());
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let outside = world.outsider("carol", PEER.parse().unwrap());
    let line = world.phones[bob].dial("0900123");
    world.run(SECOND);
    let found = &world.phones[bob].lines[line];
    assert_eq!((found.status, &*found.phrase), (Some(403), "Premium numbers are barred"));
    assert!(world.phones[outside].lines.is_empty());
    let record = &world.records[0];
    assert_eq!((record.sip_code, &*record.to, record.trunk.as_deref()), (403, "0900123", None));
    // A call that comes from a trunk does not go out by one, nor by this one itself.
    let line = world.phones[outside].dial("0049");
    world.run(SECOND);
    assert_eq!(world.phones[outside].lines[line].status, Some(404), "{}", world.tail());
    let line = world.phones[outside].dial("77");
    world.run(SECOND);
    assert!(world.phones[outside].lines[line].is_up, "{}", world.tail());
    world.phones[alice].bye(0);
    world.run(Duration::from_secs(120));
    world.check_idle();
    assert_eq!(world.records.last().unwrap().user.as_deref(), Some("alice"));
    assert_eq!(world.phones[alice].answer, Answer::Now);
}
