//! What the node says of a call that nobody makes: it is what happens to one that is made.

use std::time::Duration;

use super::world::{accounts, goal, leads, settings, trunk_to};
use super::{Answer, World};
use crate::call::calendar::Period;
use crate::call::rules::{Group, Ring, Rule, Source};
use crate::engine::Input;
use crate::engine::command::{Command, CommandError, Reply, Subject};
use crate::engine::store::Loaded;
use crate::engine::view::{PageQuery, RouteQuestion, RouteTestView, RouteView};

const SECOND: Duration = Duration::from_secs(1);
const PEER: &str = "203.0.113.1:5060";

/// Alice, Bob and Carol; premium numbers are barred, 0 leads out to one line, 60 is a group in turn, and 112 goes out.
fn house() -> World {
    let mut settings = settings();
    trunk_to(&mut settings, PEER.parse().unwrap()).policy.max_calls = Some(1);
    let members = ["user:alice", "user:bob", "user:carol"].map(goal).to_vec();
    settings.call.groups =
        vec![Group { name: "sales".into(), members, ring: Ring::InTurn, timeout: 15 * SECOND }];
    let office = vec![Period::parse("mon-fri 08:00-18:00").unwrap()];
    settings.call.routes = vec![
        Rule { name: Some("premium".into()), ..leads("^0900", &["reject:403 Barred"]) },
        Rule { sources: vec![Source::AnyUser], ..leads("^0", &["trunk:outside"]) },
        Rule {
            when: office,
            patience: Some(20 * SECOND),
            ..leads("^60$", &["group:sales", "reject:480 Closed"])
        },
        Rule { overrides: true, ..leads("^112$", &["reject:403 Never", "trunk:outside"]) },
        leads("^61$", &["user:erin", "user:carol*desk"]),
        leads("^62$", &["code:*43"]),
    ];
    World::with(2201, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default())
}

fn question(from: &str, to: &str) -> RouteQuestion {
    RouteQuestion { from: from.into(), to: to.into(), source: None, at: None }
}

fn asked(world: &mut World, question: RouteQuestion) -> Result<RouteTestView, CommandError> {
    match world.ask(Subject::Admin, Command::TestRoute(question)) {
        Reply::RouteTest(view) => Ok(*view),
        Reply::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

/// What decides, the rule, the targets with their states, and what the caller hears.
fn shown(view: &RouteTestView) -> String {
    let targets = view.targets.iter().map(|target| {
        let limit = target.timeout_s.map(|limit| format!("/{limit}")).unwrap_or_default();
        format!("{}:{}={}{limit}", target.turn, target.target, target.state)
    });
    let heard = view.status.map(|status| format!("!{status}"));
    let rule = view.rule.map(|rule| rule.to_string());
    let head = [view.by.clone()].into_iter().chain(rule);
    let goes = if view.goes { "goes" } else { "fails" };
    head.chain(targets).chain(heard).chain([goes.to_owned()]).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_rule_says_whether_it_holds_and_why_not() {
    let mut world = house();
    world.phone("alice", "desk");
    let view = asked(&mut world, question("alice", "0049")).unwrap();
    let rules: Vec<_> =
        view.rules.iter().map(|rule| (rule.holds, rule.followed, rule.why.as_deref())).collect();
    let other = Some("match does not fit the number");
    let expected = [(false, false, other), (true, true, None), (false, false, other)];
    assert_eq!(rules[..3], expected);
    assert_eq!(
        (view.rules[0].name.as_deref(), view.rules[0].to.join(" ")),
        (Some("premium"), "reject:403 Barred".into())
    );
    let view = asked(&mut world, question("1001", "09001")).unwrap();
    assert_eq!(view.rules[1].why.as_deref(), Some("an earlier rule is followed"));
    assert_eq!((&*view.source, view.rule, view.reason.as_deref()), ("user:alice", Some(1), Some("Barred")));
    let from_trunk = RouteQuestion { source: Some("trunk:outside".into()), ..question("+4930", "0049") };
    let view = asked(&mut world, from_trunk).unwrap();
    assert_eq!(view.rules[1].why.as_deref(), Some("source is another"));
    assert_eq!((&*view.source, shown(&view)), ("trunk:outside", "nothing !404 fails".into()));
    let late = RouteQuestion { at: Some("2026-12-24T18:00".into()), ..question("bob", "60") };
    let view = asked(&mut world, late).unwrap();
    assert_eq!(view.rules[2].why.as_deref(), Some("when is another time"));
    assert_eq!((&*view.at, view.goes), ("2026-12-24T18:00:00Z", false));
}

#[test]
fn targets_are_told_with_what_is_there_now() {
    let mut world = house();
    let (alice, carol) = (world.phone("alice", "desk"), world.phone("carol", "desk"));
    world.phone("carol", "mobile");
    let outside = world.outsider("bob", PEER.parse().unwrap());
    let noon = |question: RouteQuestion| RouteQuestion { at: Some("2026-11-27T12:00".into()), ..question };
    for (from, to, expected) in [
        ("alice", "0049", "rule 2 1:trunk:outside=unknown goes"),
        ("alice", "60", "rule 3 1:user:bob=unregistered/15 2:user:carol=registered/15 !480 goes"),
        ("alice", "61", "rule 5 1:user:carol*desk=registered goes"),
        ("alice", "62", "rule 6 1:code:*43=answers goes"),
        ("alice", "112", "emergency 1:trunk:outside=unknown goes"),
        ("alice", "1003", "own-number 1:user:carol=registered goes"),
        ("alice", "1002", "own-number 1:user:bob=unregistered !480 fails"),
        ("alice", "*11", "code goes"),
        ("alice", "*43", "own-number 1:code:*43=answers goes"),
        ("alice", "99", "nothing !404 fails"),
        ("alice", "sip:1003@example.org", "own-number 1:user:carol=registered goes"),
        ("alice", "tel:10-03", "own-number 1:user:carol=registered goes"),
    ] {
        let view = asked(&mut world, noon(question(from, to))).unwrap();
        assert_eq!(shown(&view), expected, "{from} {to}");
    }
    let view = asked(&mut world, question("alice", "1003")).unwrap();
    assert_eq!(view.targets[0].devices.len(), 2);
    // Its one line is taken; asking takes none, and sends nothing.
    let line = world.phones[alice].dial("0049");
    world.run(SECOND);
    assert!(world.phones[alice].lines[line].is_up);
    let sent = world.log.len();
    for _ in 0..3 {
        let view = asked(&mut world, question("bob", "0049")).unwrap();
        assert_eq!(shown(&view), "rule 2 1:trunk:outside=full !503 fails");
        assert_eq!((view.targets[0].calls, view.targets[0].max_calls), (Some(1), Some(1)));
    }
    assert_eq!(world.log.len(), sent);
    world.phones[alice].bye(line);
    world.run(SECOND);
    assert_eq!(
        shown(&asked(&mut world, question("alice", "0049")).unwrap()),
        "rule 2 1:trunk:outside=unknown goes"
    );
    // Where it is nobody knows.
    world.input(Input::Resolved { trunk: 0, targets: Vec::new() });
    let view = asked(&mut world, question("alice", "0049")).unwrap();
    assert_eq!(shown(&view), "rule 2 1:trunk:outside=unresolved !480 fails");
    assert_eq!((world.phones[carol].answer, world.phones[outside].lines.len()), (Answer::Now, 1));
    world.ask(Subject::Admin, Command::Drain);
    assert_eq!(
        shown(&asked(&mut world, question("alice", "1003")).unwrap()),
        "own-number 1:user:carol=registered !503 fails"
    );
}

#[test]
fn what_makes_no_sense_is_said() {
    let mut world = house();
    let wrong = |question: RouteQuestion| question;
    let long = "1".repeat(129);
    for (field, question) in [
        ("from", wrong(question("nobody", "0049"))),
        ("to", question("alice", "")),
        ("to", question("alice", &long)),
        ("to", question("alice", "sip:bob@example.com")),
        ("to", question("alice", "sip:@")),
        ("source", RouteQuestion { source: Some("trunk:none".into()), ..question("+49", "0049") }),
        ("source", RouteQuestion { source: Some("carrier".into()), ..question("alice", "0049") }),
        ("at", RouteQuestion { at: Some("tomorrow".into()), ..question("alice", "0049") }),
    ] {
        let error = asked(&mut world, question).unwrap_err();
        assert!(
            matches!(&error, CommandError::Invalid { field: at, .. } if **at == *field),
            "{field}: {error:?}"
        );
    }
    for command in
        [Command::TestRoute(question("alice", "0049")), Command::ListRoutes { page: PageQuery::default() }]
    {
        let reply = world.ask(Subject::User("alice".into()), command);
        assert_eq!(reply, Reply::Error(CommandError::Forbidden));
    }
}

#[test]
fn rules_are_listed_in_their_order_part_by_part() {
    let mut world = house();
    let mut list = |cursor: Option<&str>| {
        let page = PageQuery { cursor: cursor.map(Box::from), limit: 4 };
        match world.ask(Subject::Admin, Command::ListRoutes { page }) {
            Reply::Routes(page) => page,
            other => panic!("{other:?}"),
        }
    };
    let first = list(None);
    let rest = list(first.next.as_deref());
    let all: Vec<RouteView> = first.items.into_iter().chain(rest.items).collect();
    assert_eq!(all.iter().map(|rule| rule.place).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!((all[0].number.as_deref(), &all[0].zone, all[3].overrides), (Some("^0900"), &None, true));
    assert_eq!(all[2].when, ["mon-fri 08:00-18:00"]);
    assert_eq!((all[2].zone.as_deref(), all[2].timeout_s), (Some("local"), Some(20)));
    assert_eq!(all[2].to, ["group:sales", "reject:480 Closed"]);
}

#[test]
fn a_trunk_that_has_its_name_of_one_that_is_gone_is_meant() {
    let mut world = house();
    let alice = world.phone("alice", "desk");
    world.outsider("bob", PEER.parse().unwrap());
    world.phones[alice].dial("0049");
    world.run(SECOND);
    // The call keeps the old one at its place; the new one has the name.
    let mut settings = settings();
    let trunk = trunk_to(&mut settings, PEER.parse().unwrap());
    trunk.host = "elsewhere.example".into();
    trunk.targets[0].peer = "203.0.113.9:5060".parse().unwrap();
    let by_place = Source::Network(crate::call::settings::Source {
        network: "203.0.113.9".parse().unwrap(),
        prefix: 32,
        port: None,
    });
    settings.call.routes = vec![Rule { sources: vec![by_place], ..leads("^70$", &["user:bob"]) }];
    world.reconfigure(settings, &accounts(&["alice", "bob", "carol"]));
    let from_trunk = RouteQuestion { source: Some("trunk:outside".into()), ..question("0301", "70") };
    let view = asked(&mut world, from_trunk).unwrap();
    assert_eq!(view.rule, Some(1), "{}", shown(&view));
}
