//! Several are rung: groups, all at once and in turn, and targets that follow each other.

use std::time::Duration;

use super::world::{accounts, goal, leads, settings, trunk_to};
use super::{Answer, World};
use crate::call::record::{Direction, Disposition};
use crate::call::rules::{Group, Ring, Rule};
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);
const PEER: &str = "203.0.113.1:5060";
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// Alice, Bob and Carol are the group, which is rung as 60; Dave calls it. Their phones, in that order.
struct Office {
    world: World,
    dave: usize,
    outside: usize,
}

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;

fn office(seed: u64, ring: Ring, rules: Vec<Rule>) -> Office {
    let mut settings = settings();
    trunk_to(&mut settings, PEER.parse().unwrap());
    let members = ["alice", "bob", "carol"].map(|name| goal(&format!("user:{name}"))).to_vec();
    settings.call.groups =
        vec![Group { name: "sales".into(), members, ring, timeout: Duration::from_secs(10) }];
    settings.call.routes = rules;
    let names = ["alice", "bob", "carol", "dave"];
    let mut world = World::with(seed, settings, accounts(&names), &Loaded::default());
    for (expected, name) in names.iter().enumerate() {
        let phone = world.phone(name, "desk");
        assert_eq!(phone, expected);
        world.phones[phone].answer = Answer::Ring;
    }
    let outside = world.outsider("dave", PEER.parse().unwrap());
    Office { world, dave: 3, outside }
}

fn sales() -> Vec<Rule> {
    vec![leads("^60$", &["group:sales"])]
}

impl Office {
    fn dial(&mut self, phone: usize) -> usize {
        let line = self.world.phones[phone].dial("60");
        self.world.run(SECOND);
        line
    }

    fn rings(&self) -> Vec<bool> {
        (0..3).map(|phone| self.world.phones[phone].lines.last().is_some_and(|line| line.rings())).collect()
    }

    fn status(&self, phone: usize) -> Option<u16> {
        self.world.phones[phone].lines.last().and_then(|line| line.status)
    }

    fn ends(mut self) {
        self.world.run(TWO_MINUTES);
        self.world.check_idle();
    }
}

#[test]
fn the_call_of_a_group_is_that_of_the_member_who_answers_and_moves_between_that_ones_devices() {
    let mut office = office(2101, Ring::All, sales());
    let mobile = office.world.phone("bob", "mobile");
    office.world.phones[mobile].answer = Answer::Ring;
    let outside = office.outside;
    office.dial(outside);
    assert_eq!(office.rings(), [true, true, true], "{}", office.world.tail());
    office.world.phones[BOB].pick_up(0);
    office.world.run(SECOND);
    assert!(office.world.phones[outside].lines[0].is_up);
    for phone in [ALICE, CAROL, mobile] {
        assert!(office.world.phones[phone].lines[0].is_over, "{}", office.world.tail());
        assert_eq!(office.world.phones[phone].lines[0].reason, ELSEWHERE);
    }
    // It is Bob's: his mobile takes it, and nobody else's.
    let line = office.world.phones[ALICE].dial("*11");
    office.world.run(SECOND);
    assert_ne!(office.world.phones[ALICE].lines[line].status, Some(200), "{}", office.world.tail());
    let line = office.world.phones[mobile].dial("*11");
    office.world.run(3 * SECOND);
    assert_eq!(office.world.phones[mobile].lines[line].status, Some(200), "{}", office.world.tail());
    assert!(office.world.phones[BOB].lines[0].is_over);
    office.world.check();
    office.world.phones[outside].bye(0);
    office.world.run(TWO_MINUTES);
    let record = office.world.records.last().unwrap();
    assert_eq!((record.user.as_deref(), record.trunk.as_deref()), (Some("bob"), Some("outside")));
    let devices: Vec<_> = record.segments.iter().map(|segment| &*segment.device).collect();
    assert_eq!(devices, ["bob*desk", "bob*mobile"]);
    office.ends();
}

#[test]
fn a_call_of_a_group_that_is_picked_up_counts_to_the_one_who_has_it() {
    let mut office = office(2111, Ring::All, sales());
    let (outside, mobile) = (office.outside, office.world.phone("carol", "mobile"));
    office.world.phones[mobile].answer = Answer::Silent;
    office.dial(outside);
    let line = office.world.phones[mobile].dial("*11");
    office.world.run(SECOND);
    assert_eq!(office.world.phones[mobile].lines[line].status, Some(200), "{}", office.world.tail());
    assert_eq!(office.rings(), [false; 3]);
    office.world.phones[outside].bye(0);
    office.world.run(TWO_MINUTES);
    let record = office.world.records.last().unwrap();
    assert_eq!((record.user.as_deref(), record.trunk.as_deref()), (Some("carol"), Some("outside")));
    office.ends();
}

#[test]
fn the_best_answer_of_a_group_is_the_callers_and_who_declines_does_so_alone() {
    for (answers, expected) in [
        ([Some(486), Some(486), Some(486)], 486),
        ([Some(480), Some(486), Some(404)], 486),
        // One declines, the others go on ringing until their time is over.
        ([Some(603), None, None], 603),
        ([None, None, None], 480),
    ] {
        let mut office = office(2102, Ring::All, sales());
        let dave = office.dave;
        office.dial(dave);
        for (phone, answer) in answers.iter().enumerate() {
            if let Some(status) = answer {
                office.world.phones[phone].refuse(0, *status);
            }
        }
        office.world.run(SECOND);
        assert_eq!(office.rings(), answers.map(|answer| answer.is_none()), "{}", office.world.tail());
        office.world.run(10 * SECOND);
        assert_eq!(office.status(dave), Some(expected), "{answers:?}\n{}", office.world.tail());
        assert_eq!(office.rings(), [false; 3]);
        let record = office.world.records.last().unwrap();
        assert_eq!((record.user.as_deref(), record.answer), (Some("dave"), None));
        office.ends();
    }
}

#[test]
fn a_group_in_turn_rings_one_after_the_other_each_for_its_time() {
    let mut office = office(2103, Ring::InTurn, sales());
    let dave = office.dave;
    office.dial(dave);
    assert_eq!(office.rings(), [true, false, false]);
    office.world.run(9 * SECOND);
    // Ten seconds have passed for Alice; Bob is busy, and so it is Carol's turn.
    office.world.phones[BOB].answer = Answer::Busy;
    office.world.run(SECOND);
    assert_eq!(office.rings(), [false, false, true], "{}", office.world.tail());
    assert_eq!(office.world.phones[ALICE].lines[0].reason, "SIP;cause=480;text=\"No answer\"");
    office.world.phones[CAROL].pick_up(0);
    office.world.run(20 * SECOND);
    assert!(office.world.phones[dave].lines[0].is_up, "her time is over, and she has the call");
    assert_eq!(office.world.heard_by("carol*desk"), ["dave*desk"]);
    office.world.phones[dave].bye(0);
    office.ends();
}

#[test]
fn whoever_declines_in_turn_is_followed_by_the_next() {
    let mut office = office(2104, Ring::InTurn, sales());
    let dave = office.dave;
    office.dial(dave);
    office.world.phones[ALICE].refuse(0, 603);
    office.world.run(SECOND);
    assert_eq!(office.rings(), [false, true, false], "{}", office.world.tail());
    office.world.phones[BOB].refuse(0, 486);
    office.world.run(SECOND);
    assert_eq!(office.rings(), [false, false, true]);
    office.world.run(10 * SECOND);
    assert_eq!(office.status(dave), Some(603), "the best of them (RFC 3261 16.7)");
    office.ends();
}

#[test]
fn a_caller_who_gives_up_stops_the_turns() {
    let mut office = office(2105, Ring::InTurn, sales());
    let dave = office.dave;
    let line = office.dial(dave);
    office.world.run(10 * SECOND);
    assert_eq!(office.rings(), [false, true, false]);
    office.world.phones[dave].cancel(line);
    office.world.run(30 * SECOND);
    assert_eq!(office.status(dave), Some(487));
    assert!(office.world.phones[CAROL].lines.is_empty());
    let record = office.world.records.last().unwrap();
    assert_eq!(record.disposition, Disposition::Cancelled);
    office.ends();
}

#[test]
fn an_answer_that_crosses_the_end_of_a_turn_is_hung_up_and_the_next_rings_on() {
    let mut office = office(2106, Ring::InTurn, sales());
    let dave = office.dave;
    office.dial(dave);
    // The answer of Alice and the CANCEL meet on the way.
    office.world.run(Duration::from_millis(9003));
    let mut last = 0;
    while office.world.phones[BOB].lines.is_empty() && last < 100 {
        office.world.run(Duration::from_micros(500));
        last += 1;
    }
    office.world.run(SECOND);
    assert_eq!(office.rings(), [false, true, false], "{}", office.world.tail());
    office.world.phones[BOB].pick_up(0);
    office.world.run(SECOND);
    assert_eq!(office.world.heard_by("dave*desk"), ["bob*desk"]);
    office.world.phones[dave].bye(0);
    office.ends();
}

#[test]
fn targets_follow_each_other_from_users_to_a_trunk_and_back() {
    let rules = vec![Rule {
        patience: Some(5 * SECOND),
        ..leads("^60$", &["user:alice", "trunk:outside", "group:sales"])
    }];
    let mut office = office(2107, Ring::All, rules);
    let (dave, outside) = (office.dave, office.outside);
    office.world.phones[outside].answer = Answer::Busy;
    office.dial(dave);
    assert_eq!(office.rings(), [true, false, false]);
    office.world.run(5 * SECOND);
    assert_eq!(office.rings(), [true, true, true], "the trunk was busy: {}", office.world.tail());
    assert_eq!(office.world.phones[outside].lines.len(), 1);
    office.world.phones[CAROL].pick_up(0);
    office.world.run(SECOND);
    office.world.phones[dave].bye(0);
    office.world.run(SECOND);
    let record = office.world.records.last().unwrap();
    assert_eq!(
        (record.direction, record.user.as_deref(), record.trunk.as_deref()),
        (Direction::Internal, Some("dave"), None),
        "{record:?}"
    );
    office.ends();
}

#[test]
fn who_is_not_registered_is_passed_over_and_a_rule_has_the_last_word() {
    let rules = vec![leads(
        "^60$",
        &["user:erin", "extension:1005", "user:alice*mobile", "user:bob", "reject:480 Closed"],
    )];
    let mut office = office(2108, Ring::All, rules);
    let dave = office.dave;
    office.dial(dave);
    assert_eq!(office.rings(), [false, true, false], "{}", office.world.tail());
    office.world.phones[BOB].refuse(0, 486);
    office.world.run(SECOND);
    let line = office.world.phones[dave].lines.last().unwrap();
    assert_eq!((line.status, &*line.phrase), (Some(480), "Closed"), "{}", office.world.tail());
    // And at once where nobody is there at all.
    office.world.phones[BOB].register(0);
    office.world.run(SECOND);
    let line = office.world.phones[dave].dial("60");
    office.world.run(SECOND);
    assert_eq!(office.world.phones[dave].lines[line].phrase, "Closed");
    office.ends();
}

#[test]
fn a_decline_of_a_user_who_is_no_member_is_for_all_that_follow() {
    let rules = vec![leads("^60$", &["user:alice", "user:bob"])];
    let mut office = office(2109, Ring::All, rules);
    let dave = office.dave;
    office.dial(dave);
    office.world.phones[ALICE].refuse(0, 603);
    office.world.run(SECOND);
    assert_eq!((office.status(dave), office.rings()), (Some(603), vec![false; 3]), "{}", office.world.tail());
    office.ends();
}

#[test]
fn a_call_that_is_transferred_to_a_group_rings_it() {
    let mut office = office(2110, Ring::InTurn, sales());
    let (dave, outside) = (office.dave, office.outside);
    office.world.phones[dave].answer = Answer::Now;
    office.world.phones[outside].dial("dave");
    office.world.run(SECOND);
    office.world.phones[dave].request(0, &Method::Refer, &[("Refer-To", "<sip:60@example.org>")], b"");
    office.world.run(SECOND);
    assert_eq!(office.rings(), [true, false, false], "{}", office.world.tail());
    office.world.run(10 * SECOND);
    assert_eq!(office.rings(), [false, true, false], "{}", office.world.tail());
    office.world.phones[BOB].pick_up(0);
    office.world.run(SECOND);
    assert!(office.world.phones[outside].lines[0].is_up);
    let told = office.world.phones[dave].lines[0].referred.last().cloned().unwrap_or_default();
    assert!(told.contains("200"), "{told}");
    office.world.phones[outside].bye(0);
    office.ends();
}

#[test]
fn a_message_to_a_group_goes_to_all_of_it_but_its_sender() {
    for (ring, got) in [(Ring::All, [true, true, true]), (Ring::InTurn, [true, false, false])] {
        let mut office = office(2120, ring, sales());
        let dave = office.dave;
        let line = office.world.phones[dave].request_to("60", &Method::Message, &[]);
        office.world.run(SECOND);
        assert_eq!(office.world.phones[dave].lines[line].status, Some(200), "{}", office.world.tail());
        let has = |office: &Office, phone: usize| {
            office.world.phones[phone].requests.iter().any(|request| request == "MESSAGE")
        };
        assert_eq!([ALICE, BOB, CAROL].map(|phone| has(&office, phone)), got, "{ring:?}");
    }
    let mut office = office(2121, Ring::All, sales());
    office.world.phones[ALICE].request_to("60", &Method::Message, &[]);
    office.world.run(SECOND);
    let got = [ALICE, BOB, CAROL]
        .map(|phone| office.world.phones[phone].requests.iter().any(|request| request == "MESSAGE"));
    assert_eq!(got, [false, true, true]);
}

#[test]
fn a_message_that_a_rule_refuses_is_refused_as_a_call_is() {
    let rules = vec![
        leads("^61$", &["reject:403 Barred"]),
        leads("^62$", &["user:erin", "reject:480 Closed"]),
        leads("^63$", &["user:erin", "user:bob"]),
        leads("^64$", &["trunk:outside"]),
    ];
    let mut office = office(2122, Ring::All, rules);
    let dave = office.dave;
    for (number, status) in [("61", 403), ("62", 480), ("63", 200), ("64", 404), ("65", 404)] {
        let line = office.world.phones[dave].request_to(number, &Method::Message, &[]);
        office.world.run(SECOND);
        assert_eq!(office.world.phones[dave].lines[line].status, Some(status), "{number}");
    }
}

#[test]
fn a_call_of_which_nobody_is_rung_has_its_record() {
    use crate::call::record::Disposition::{Failed, NoAnswer};
    let mut settings = settings();
    trunk_to(&mut settings, PEER.parse().unwrap()).policy.max_calls = Some(0);
    settings.call.routes =
        vec![leads("^61$", &["reject:403 Barred"]), leads("^0", &["trunk:outside", "user:bob"])];
    let mut world = World::with(2123, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let told = [("61", 403, Failed), ("1002", 480, NoAnswer), ("0049", 480, NoAnswer), ("99", 404, Failed)];
    for (number, status, disposition) in told {
        let line = world.phones[alice].dial(number);
        world.run(2 * SECOND);
        assert_eq!(world.phones[alice].lines[line].status, Some(status), "{number}");
        if status == 404 {
            continue;
        }
        let record = world.records.last().unwrap();
        assert_eq!((&*record.to, record.sip_code, record.disposition), (number, status, disposition));
        assert_eq!((record.user.as_deref(), record.ring, record.answer), (Some("alice"), None, None));
    }
    assert_eq!(world.records.len(), 3, "what is nobody's number is no call");
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_call_that_a_user_missed_for_want_of_a_device_is_that_users() {
    let mut settings = settings();
    trunk_to(&mut settings, PEER.parse().unwrap());
    let mut world = World::with(2124, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let outside = world.outsider("alice", PEER.parse().unwrap());
    let line = world.phones[outside].dial("1002");
    world.run(2 * SECOND);
    assert_eq!(world.phones[outside].lines[line].status, Some(480), "{}", world.tail());
    let record = &world.records[0];
    assert_eq!((record.user.as_deref(), record.trunk.as_deref()), (Some("bob"), Some("outside")));
    world.run(TWO_MINUTES);
    world.check_idle();
}
