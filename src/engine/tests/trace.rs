//! The messages of calls that are kept, whose they are, and what is masked in them.

use std::time::Duration;

use super::scenes::refer;
use super::world::{accounts, settings};
use super::{Answer, World};
use crate::engine::command::{Command, CommandError, Reply, Subject};
use crate::engine::store::Loaded;
use crate::engine::trace::{Settings, TraceView, Way};

const SECOND: Duration = Duration::from_secs(1);

/// A world that keeps what is said.
fn world(bytes: usize, age: Duration) -> World {
    let mut settings = settings();
    settings.trace = Settings { bytes, age };
    settings.ban.failures = 10_000;
    World::with(1, settings, accounts(&["alice", "bob"]), &Loaded::default())
}

fn ask(world: &mut World, call: &str) -> Reply {
    world.ask(Subject::Admin, Command::ShowTrace { call: call.into() })
}

#[track_caller]
fn trace(world: &mut World, call: &str) -> TraceView {
    match ask(world, call) {
        Reply::Trace(view) => *view,
        other => panic!("{other:?}"),
    }
}

/// Who said what, in order, without repetitions and what stands between the request and its final answer.
fn story(view: &TraceView) -> Vec<String> {
    let told = view.messages.iter().filter(|message| message.status.is_none_or(|status| status >= 180));
    told.map(|message| {
        let party = &view.parties[message.party].name;
        let way = if message.way == Way::In { "<" } else { ">" };
        let what =
            message.status.map_or_else(|| message.method.clone(), |s| format!("{s} {}", message.method));
        format!("{party} {way} {what}")
    })
    .collect()
}

#[test]
fn a_call_is_told_from_its_challenge_to_its_end() {
    let mut world = world(1 << 20, 60 * SECOND);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].challenge = None;
    let line = world.phones[alice].dial("1002");
    world.run(SECOND);
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert!(world.phones[alice].lines[line].is_over);
    let id = world.records[0].id.clone();
    let view = trace(&mut world, &id);
    let (alice, bob) = ("alice*desk", "bob*desk");
    assert_eq!(
        story(&view),
        [
            format!("{alice} < INVITE"),
            format!("{alice} > 401 INVITE"),
            format!("{alice} < ACK"),
            format!("{alice} < INVITE"),
            format!("{bob} > INVITE"),
            format!("{bob} < 180 INVITE"),
            format!("{alice} > 180 INVITE"),
            format!("{bob} < 200 INVITE"),
            format!("{bob} > ACK"),
            format!("{alice} > 200 INVITE"),
            format!("{alice} < ACK"),
            format!("{bob} < BYE"),
            format!("{bob} > 200 BYE"),
            format!("{alice} > BYE"),
            format!("{alice} < 200 BYE"),
        ]
    );
    assert_eq!((view.call.as_str(), view.parties.len(), view.left_out), (id.as_str(), 2, 0));
    assert_eq!(view.messages[0].local, "192.0.2.1:5060");
    let offer = view.messages.iter().find_map(|message| message.sdp.as_deref()).unwrap();
    assert!(offer.starts_with("audio 198.51.100.10:"), "{offer}");
    assert!(view.messages.is_sorted_by_key(|message| message.offset_us));
    // The same by either Call-ID.
    for party in &view.parties {
        assert_eq!(trace(&mut world, &party.call_id), view);
    }
    // Credentials came, and are not shown.
    let text: String = view.messages.iter().map(|message| message.text.as_str()).collect();
    assert!(text.contains("Authorization: Digest ****") && !text.contains("response="), "{text}");
}

#[test]
fn a_move_shows_the_device_that_took_the_call_and_a_fork_that_did_not() {
    let mut world = world(1 << 20, 60 * SECOND);
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let (bob, other) = (world.phone("bob", "desk"), world.phone("bob", "mobile"));
    world.phones[other].answer = Answer::Ring;
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(SECOND);
    let id = world.records[0].id.clone();
    let view = trace(&mut world, &id);
    let names: Vec<&str> = view.parties.iter().map(|party| party.name.as_str()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for name in ["alice*desk", "alice*mobile", "bob*desk", "bob*mobile"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let story = story(&view);
    for said in ["bob*mobile > CANCEL", "alice*mobile > 200 INVITE", "alice*desk > BYE", "alice*mobile > BYE"]
    {
        assert!(story.iter().any(|line| line == said), "{said} is not in {story:#?}");
    }
}

#[test]
fn a_one_time_identifier_is_masked_and_the_refer_belongs_to_the_call() {
    let mut world = world(1 << 20, 60 * SECOND);
    let (desk, _) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let bob = world.phone("bob", "desk");
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    refer(&mut world, "mobile");
    world.run(3 * SECOND);
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    world.phones[bob].bye(0);
    world.run(SECOND);
    let id = world.records[0].id.clone();
    let view = trace(&mut world, &id);
    let refer = view.messages.iter().find(|message| message.method == "REFER").expect("the REFER is there");
    assert_eq!(view.parties[refer.party].name, "alice*mobile");
    assert!(refer.text.contains("m-******"), "{}", refer.text);
    let told = format!("{view:?}");
    let mut after = told.match_indices("m-").map(|(at, _)| told[at + 2..].chars().take(34));
    assert!(!after.any(|mut token| token.all(|digit| digit.is_ascii_hexdigit())), "{told}");
}

#[test]
fn what_strangers_say_does_not_push_out_what_calls_say() {
    let mut world = world(64 * 1024, 3600 * SECOND);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].dial("1002");
    world.run(SECOND);
    world.phones[bob].bye(0);
    world.run(SECOND);
    let id = world.records[0].id.clone();
    let before = trace(&mut world, &id).messages.len();
    let stranger = world.phone("alice", "mobile");
    world.phones[stranger].password = "wrong".into();
    for _ in 0..200 {
        world.phones[stranger].dial("1002");
        world.run(Duration::from_millis(50));
    }
    let view = trace(&mut world, &id);
    // The challenge was a stranger's too.
    assert!(view.messages.len() >= before - 3, "{} of {before}", view.messages.len());
    assert!(view.messages.iter().any(|message| message.method == "BYE"));
}

#[test]
fn room_and_age_are_bounds_and_a_live_call_outlives_the_age() {
    let mut world = world(1 << 20, 60 * SECOND);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].dial("1002");
    world.run(SECOND);
    let Reply::Calls(calls) = world.ask(
        Subject::Admin,
        Command::ListCalls { user: None, page: crate::engine::view::PageQuery::default() },
    ) else {
        panic!()
    };
    let id = calls.items[0].id.clone();
    world.run(300 * SECOND);
    assert!(trace(&mut world, &id).messages.iter().any(|message| message.method == "INVITE"));
    world.phones[bob].bye(0);
    world.run(SECOND);
    assert_eq!(trace(&mut world, &id).messages.last().unwrap().method, "BYE");
    world.run(200 * SECOND);
    assert_eq!(ask(&mut world, &id), Reply::Error(CommandError::NotFound));
    assert_eq!(world.engine.trace.held(), (0, 0), "nothing is left of it");
}

#[test]
fn a_node_that_keeps_nothing_says_so_and_nobody_else_may_ask() {
    let mut world = World::new(1);
    let Reply::Error(CommandError::Conflict { why }) = ask(&mut world, "1") else { panic!() };
    assert!(why.contains("trace.memory_mb"), "{why}");
    let by = Subject::User("alice".into());
    let reply = world.ask(by, Command::ShowTrace { call: "1".into() });
    assert_eq!(reply, Reply::Error(CommandError::Forbidden));
}
