//! The SIPp cases of `fixtures/sipp`, played against a node each.

use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::node::{DOMAIN, Node, PASSWORD, Settings};

/// SIPp in the background, until it is dropped.
pub(crate) fn in_background(sipp: &mut Command) -> Child {
    let quiet = sipp.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.kill_on_drop(true).spawn().expect("sipp is there")
}

/// Plays a case; what SIPp and the report of the run count must be the same. Gives what was said.
async fn play(case: &str, transport: &str) -> String {
    play_against(&Node::start(&Settings::default()).await, case, transport).await
}

async fn play_against(node: &Node, case: &str, transport: &str) -> String {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sipp/run");
    let output = Command::new(runner)
        .arg(case)
        .env("SERVER", node.sip.to_string())
        .env("DOMAIN", DOMAIN)
        .env("TRANSPORT", transport)
        .env("DESK", format!("alice-desk:{PASSWORD}"))
        .env("MOBILE", format!("alice-mobile:{PASSWORD}"))
        .env("BOB", format!("bob-desk:{PASSWORD}"))
        .env("BOB2", format!("bob-mobile:{PASSWORD}"))
        .env("SEGUE", node.program())
        // Of the hundred pairs of ports that a test node has, they take two each, which rest for a while.
        .envs([("CALLS", "40"), ("RATE", "30"), ("HOLD", "500")])
        .output()
        .await
        .expect("the runner runs");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{case}: {text}");
    text
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            play(stringify!($name), "u1").await;
        })*
    };
}

cases! { register register_refused call audio hold reliable refused cancel fork replaces push hold_off race }
cases! { blf timer_own invite_storm register_storm audio_checked pcap ban }

/// A row of the joined table: what segue says, and what SIPp does.
fn row(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.split_whitespace().rev().take(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn star_pull() {
    let text = play("star_pull", "u1").await;
    let measured = |name| row(&text, name).first().and_then(|value| value.parse::<f64>().ok());
    assert!(measured("worst score, p5").is_some_and(|score| score > 3.0), "{text}");
    assert!(measured("gap of moves, p50 ms").is_some(), "{text}");
}

#[tokio::test]
async fn the_runner_and_the_report_count_the_same_calls() {
    let text = play("load", "u1").await;
    assert_eq!(
        (row(&text, "calls placed"), row(&text, "answered")),
        (vec!["40".into(); 2], vec!["40".into(); 2])
    );
    assert_eq!(row(&text, "answer, n"), ["40", "40"]);
}

#[tokio::test]
async fn a_storm_is_turned_away_by_a_node_that_takes_no_calls() {
    let node = Node::start(&Settings::default()).await;
    node.command(&["drain"]);
    let text = play_against(&node, "invite_storm", "u1").await;
    assert!(text.contains("40 calls, 40 of them turned away with Retry-After"), "{text}");
}

/// It takes 45 s: half of the shortest session.
#[tokio::test]
async fn timer_theirs() {
    play("timer_theirs", "u1").await;
}

macro_rules! cases_over_tcp {
    ($($name:ident: $case:literal)*) => {
        $(#[tokio::test]
        async fn $name() {
            play($case, "t1").await;
        })*
    };
}

cases_over_tcp! { register_over_tcp: "register" call_over_tcp: "call" star_pull_over_tcp: "star_pull" }
// Not `push`: SIPp takes a BYE for unexpected that stands behind the last NOTIFY in what it reads at once.
cases_over_tcp! { replaces_over_tcp: "replaces" hold_off_over_tcp: "hold_off" }
