//! Trunks against SIPp as the carrier, with the cases and the configuration of `fixtures/sipp`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::node::{DOMAIN, Node, PASSWORD, Settings, free_port};
use crate::sipp::in_background;

/// A registration that met nobody is tried again at the latest with the first ping after somebody is there; a target that
/// is gone is found out by two pings.
const PATIENCE: Duration = Duration::from_secs(25);

fn sipp() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sipp")
}

/// A node with the trunks of `trunks.toml`, whose carrier is at a port that was free, over `transport`.
async fn node(transport: &str) -> (Node, SocketAddr) {
    let (carrier, dead) = (free_port(), free_port());
    let text = std::fs::read_to_string(sipp().join("trunks.toml")).expect("it is there");
    let more = text.replace("127.0.0.1:5090", &format!("{carrier};transport={transport}"));
    let more = more.replace("127.0.0.1:5091", &dead.to_string());
    (Node::start(&Settings { more, ..Settings::default() }).await, carrier)
}

/// What SIPp and the report of the run count must be the same.
async fn play(node: &Node, carrier: SocketAddr, cases: &str) {
    let output = Command::new(sipp().join("run"))
        .arg(cases)
        .env("SERVER", node.sip.to_string())
        .env("CARRIER", carrier.to_string())
        .env("DOMAIN", DOMAIN)
        .env("DESK", format!("alice-desk:{PASSWORD}"))
        .env("BOB", format!("bob-desk:{PASSWORD}"))
        .env("SEGUE", node.program())
        .output()
        .await
        .expect("the runner runs");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{cases}: {text}");
}

/// Afterwards another carrier is there, at which the node, which has seen nobody go, has yet to register.
#[tokio::test]
async fn the_list_is_played_against_one_node() {
    let (node, carrier) = node("udp").await;
    play(&node, carrier, "trunks").await;
    play(&node, carrier, "trunk_in").await;
}

/// SIPp as the carrier, until it is dropped.
fn carrier(at: SocketAddr, transport: &str) -> Child {
    let mode = if transport == "tcp" { "t1" } else { "u1" };
    let keys =
        ["-key", "account", "acct", "-key", "secret", "green-lamp-77", "-key", "realm", "carrier.test"];
    in_background(
        Command::new("sipp")
            .args([&*at.to_string(), "-sf", "carrier.xml", "-i", "127.0.0.1", "-p", &at.port().to_string()])
            .args(["-t", mode, "-nostdin", "-m", "100000", "-timeout", "120s", "-key", "expires", "60"])
            .args(keys)
            .current_dir(sipp()),
    )
}

/// What `segue trunks` says of the carrier, once it is as `is_so` wants it.
async fn until(node: &Node, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let all: Value = serde_json::from_str(&node.command(&["trunks", "-o", "json"])).expect("JSON");
        let found = all.as_array().and_then(|all| all.iter().find(|trunk| trunk["name"] == "carrier"));
        let found = found.expect("the carrier").clone();
        if is_so(&found) {
            return found;
        }
        assert!(Instant::now() < end, "it did not come to that: {found:#}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for a line of the metrics: what the node says of itself is asked for twice a second at most.
async fn measured(node: &Node, line: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = node.api().get("/metrics").await.expect("an answer").body;
        if text.lines().any(|known| known == line) {
            return;
        }
        assert!(Instant::now() < end, "{line} is not in\n{text}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Over UDP a registrar that is not there is waited for, over TCP the system says so.
async fn goes_and_comes_back(transport: &str, alone: &str) {
    let (node, at) = node(transport).await;
    let gone = until(&node, |trunk| trunk["state"] == "down").await;
    assert_eq!(gone["registration"]["state"], alone, "{gone:#}");
    let mut first = carrier(at, transport);
    let up = until(&node, |trunk| trunk["registration"]["state"] == "registered").await;
    assert!(up["registration"]["expires_s"].as_u64().is_some_and(|left| left <= 60), "{up:#}");
    let up = until(&node, |trunk| trunk["targets"][0]["state"] == "up").await;
    assert!(up["targets"][0]["rtt_ms"].as_f64().is_some_and(|rtt| rtt < 1000.0), "{up:#}");
    measured(&node, "segue_trunk_up{trunk=\"carrier\"} 1").await;
    first.kill().await.expect("killed");
    until(&node, |trunk| trunk["state"] == "down").await;
    measured(&node, "segue_trunk_up{trunk=\"carrier\"} 0").await;
    let _second = carrier(at, transport);
    until(&node, |trunk| trunk["state"] == "up").await;
}

#[tokio::test]
async fn a_carrier_that_goes_and_comes_back_is_seen_and_registered_at_again() {
    goes_and_comes_back("udp", "registering").await;
}

#[tokio::test]
async fn so_is_one_that_is_reached_over_tcp() {
    goes_and_comes_back("tcp", "unreachable").await;
}
