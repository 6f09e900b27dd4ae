//! Numbers change on their way to trunks and from them, and everybody has those that are theirs.

use std::net::SocketAddr;
use std::time::Duration;

use super::World;
use super::world::{accounts, leads, settings, trunk_to};
use crate::call::numbers::{CallerId, Rewrite, Told, Toward, Whose};
use crate::call::rules::Pattern;
use crate::call::settings::Trunk;
use crate::engine::Settings;
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::store::Loaded;
use crate::engine::view::RouteQuestion;

const SECOND: Duration = Duration::from_secs(1);
const TRUNK: &str = "203.0.113.7:5060";
const OTHER: &str = "203.0.113.8:5060";

/// Alice and Bob, and a trunk with a phone behind it.
struct House {
    world: World,
    alice: usize,
    outside: usize,
}

fn rule(number: Whose, direction: Toward, pattern: &str, with: &str) -> Rewrite {
    let pattern = Pattern(regex::Regex::new(pattern).unwrap());
    Rewrite { number, direction, pattern, with: with.into(), emergency: false, told: Told::default() }
}

/// As a carrier wants it: numbers in E.164 out, national and internal ones in.
fn e164() -> Vec<Rewrite> {
    use Toward::{Trunk, Us};
    use Whose::{Called, Calling};
    vec![
        rule(Called, Trunk, "^00", "+"),
        rule(Called, Trunk, "^0", "+49"),
        rule(Calling, Trunk, r"^1(\d{3})$", "+4930123$1"),
        rule(Called, Us, r"^\+4930123(\d{3})$", "1$1"),
        rule(Calling, Us, r"^\+49", "0"),
    ]
}

fn house(seed: u64, change: impl FnOnce(&mut Trunk)) -> House {
    with(seed, |settings| change(&mut settings.call.trunks[0]))
}

fn with(seed: u64, change: impl FnOnce(&mut Settings)) -> House {
    let peer: SocketAddr = TRUNK.parse().unwrap();
    let mut settings = settings();
    trunk_to(&mut settings, peer);
    settings.call.routes = vec![leads("^(0|112$)", &["trunk:outside"])];
    change(&mut settings);
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let outside = world.outsider("bob", peer);
    world.captured = Some(std::collections::VecDeque::new());
    House { world, alice, outside }
}

impl House {
    /// The last INVITE that a phone got.
    fn invite(&self, begin: &str) -> String {
        let begin = format!("INVITE {begin}");
        let texts =
            self.world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        texts.into_iter().rfind(|text| text.starts_with(&begin)).unwrap_or_else(|| self.world.tail())
    }

    fn ends(&mut self, phone: usize, line: usize) {
        self.world.phones[phone].bye(line);
        self.world.run(Duration::from_secs(120));
        self.world.check_idle();
    }
}

fn header<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn a_call_out_has_the_numbers_that_the_trunk_wants_and_the_caller_sees_its_own() {
    let mut house = house(1301, |trunk| trunk.policy.rewrites = e164());
    let alice = house.alice;
    let line = house.world.phones[alice].dial("030555");
    house.world.run(SECOND);
    assert_eq!(house.world.phones[alice].lines[line].status, Some(200), "{}", house.world.tail());
    let invite = house.invite("sip:+4930555@outside.example ");
    assert_eq!(header(&invite, "To"), "<sip:+4930555@outside.example>");
    assert!(header(&invite, "From").starts_with("\"Alice\" <sip:+4930123001@example.org>;tag="), "{invite}");
    assert_eq!(header(&invite, "P-Asserted-Identity"), "\"Alice\" <sip:+4930123001@example.org>");
    // Who is called is shown to the caller as the caller dialled it, and the address of the trunk is not.
    let shown = house.world.phones[alice].lines[line].identity.clone();
    assert_eq!(shown.as_deref(), Some("<sip:030555@example.org>"));
    house.ends(alice, line);
    let record = &house.world.records[0];
    assert_eq!((&*record.from, &*record.to), ("alice", "030555"));
    let sent = (record.trunk_from.as_deref(), record.trunk_to.as_deref());
    assert_eq!(sent, (Some("+4930123001"), Some("+4930555")));
}

#[test]
fn a_call_in_is_known_by_the_numbers_of_this_house() {
    let mut house = house(1302, |trunk| trunk.policy.rewrites = e164());
    let outside = house.outside;
    house.world.phones[outside].name = "+4989777".into();
    let line = house.world.phones[outside].dial("+4930123001");
    house.world.run(SECOND);
    assert_eq!(house.world.phones[outside].lines[line].status, Some(200), "{}", house.world.tail());
    let invite = house.invite("sip:alice");
    assert!(header(&invite, "From").contains("<sip:089777@example.org>;tag="), "{invite}");
    house.ends(outside, line);
    let record = &house.world.records[0];
    assert_eq!((&*record.from, &*record.to), ("089777", "1001"));
    let said = (record.trunk_from.as_deref(), record.trunk_to.as_deref());
    assert_eq!(said, (Some("+4989777"), Some("+4930123001")));
}

#[test]
fn without_a_rule_that_fits_nothing_changes_and_records_say_nothing_of_it() {
    let mut house = house(1303, |trunk| trunk.policy.rewrites = e164()[4..].to_vec());
    let alice = house.alice;
    let line = house.world.phones[alice].dial("030555");
    house.world.run(SECOND);
    let invite = house.invite("sip:030555@outside.example ");
    assert!(header(&invite, "From").starts_with("\"Alice\" <sip:1001@example.org>;tag="), "{invite}");
    house.ends(alice, line);
    assert_eq!((&house.world.records[0].trunk_from, &house.world.records[0].trunk_to), (&None, &None));
}

#[test]
fn an_emergency_number_is_dialled_as_it_is_unless_the_rule_knows_it() {
    for (knows, sent) in [(false, "112"), (true, "+49112")] {
        let mut house = house(1304, |trunk| {
            trunk.policy.rewrites = vec![rule(Whose::Called, Toward::Trunk, "^", "+49")];
            trunk.policy.rewrites[0].emergency = knows;
        });
        let alice = house.alice;
        let line = house.world.phones[alice].dial("112");
        house.world.run(SECOND);
        assert_eq!(house.world.phones[alice].lines[line].status, Some(200), "{}", house.world.tail());
        house.invite(&format!("sip:{sent}@outside.example "));
        house.ends(alice, line);
        assert_eq!(house.world.records[0].to, "112");
    }
}

#[test]
fn each_trunk_has_its_own_numbers_when_a_call_goes_on_to_the_next() {
    let mut house = with(1305, |settings| {
        let mut other = settings.call.trunks[0].clone();
        (other.name, other.host) = ("other".into(), "other.example".into());
        other.targets[0].peer = OTHER.parse().unwrap();
        other.from[0].network = other.targets[0].peer.ip();
        settings.call.trunks[0].policy.rewrites = e164();
        settings.call.trunks.push(other);
        settings.call.routes = vec![leads("^0", &["trunk:outside", "trunk:other"])];
    });
    let (alice, outside) = (house.alice, house.outside);
    let other = house.world.outsider("bob", OTHER.parse().unwrap());
    house.world.phones[outside].answer = super::Answer::Ring;
    let line = house.world.phones[alice].dial("030555");
    house.world.run(SECOND);
    house.world.phones[outside].refuse(0, 503);
    house.world.run(SECOND);
    assert!(house.world.phones[alice].lines[line].is_up, "{}", house.world.tail());
    assert_eq!(house.world.phones[other].lines.len(), 1);
    let invite = house.invite("sip:030555@other.example ");
    assert!(header(&invite, "From").starts_with("\"Alice\" <sip:1001@example.org>;tag="), "{invite}");
    house.ends(alice, line);
    assert_eq!((&house.world.records[0].trunk_from, &house.world.records[0].trunk_to), (&None, &None));
}

#[test]
fn a_number_of_the_subscriber_stands_in_for_one_that_the_trunk_does_not_take() {
    for (own, shown) in [("^1001$", "1001"), ("^9", "+49301230")] {
        let mut house = house(1306, |trunk| {
            let own = vec![Pattern(regex::Regex::new(own).unwrap())];
            trunk.policy.caller_id = Some(CallerId { number: "+49301230".into(), own });
        });
        let alice = house.alice;
        let line = house.world.phones[alice].dial("030555");
        house.world.run(SECOND);
        let invite = house.invite("sip:030555@");
        assert_eq!(header(&invite, "P-Asserted-Identity"), format!("\"Alice\" <sip:{shown}@example.org>"));
        house.ends(alice, line);
    }
}

#[test]
fn who_wants_to_be_nobody_is_nobody_with_rules_too() {
    let mut house = house(1307, |trunk| trunk.policy.rewrites = e164());
    let alice = house.alice;
    let line = house.world.phones[alice].dial_with("030555", &[("Privacy", "id")], true);
    house.world.run(SECOND);
    let invite = house.invite("sip:+4930555@");
    assert!(
        header(&invite, "From").starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="),
        "{invite}"
    );
    assert_eq!(header(&invite, "P-Asserted-Identity"), "\"Alice\" <sip:+4930123001@example.org>");
    assert_eq!(header(&invite, "Privacy"), "id");
    house.ends(alice, line);
}

#[test]
fn what_is_dialled_cannot_leave_the_user_part_of_a_uri() {
    let mut house = house(1308, |_| {});
    let alice = house.alice;
    house.world.phones[alice].dial("0%40evil.example%3E%3Bx%23");
    house.world.run(SECOND);
    let invite = house.invite("sip:0%40evil.example%3E;x%23@outside.example ");
    assert_eq!(header(&invite, "To"), "<sip:0%40evil.example%3E;x%23@outside.example>");
}

#[test]
fn a_route_that_is_tested_says_what_the_trunk_is_sent_and_what_it_is_known_by_here() {
    let mut house = house(1309, |trunk| trunk.policy.rewrites = e164());
    let mut test = |from: &str, to: &str, source: Option<&str>| {
        let (from, to) = (from.into(), to.into());
        let question = RouteQuestion { from, to, source: source.map(Into::into), at: None };
        match house.world.ask(Subject::Admin, Command::TestRoute(question)) {
            Reply::RouteTest(view) => *view,
            other => panic!("{other:?}"),
        }
    };
    let view = test("alice", "030555", None);
    let target = &view.targets[0];
    let sent = (target.called.as_deref(), target.calling.as_deref());
    assert_eq!(sent, (Some("+4930555"), Some("+4930123001")));
    assert_eq!((view.trunk_from, view.trunk_to), (None, None));
    let view = test("+4989777", "+4930123001", Some("trunk:outside"));
    assert_eq!((&*view.from, &*view.to, &*view.targets[0].target), ("089777", "1001", "user:alice"));
    assert_eq!(view.trunk_from.as_deref(), Some("+4989777"));
    assert_eq!((view.trunk_to.as_deref(), view.targets[0].called.as_deref()), (Some("+4930123001"), None));
}
