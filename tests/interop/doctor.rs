//! `segue doctor` and `segue top` against a node that runs, and against none.

use std::process::{Command, Output};

use serde_json::Value;

use crate::house::House;
use crate::node::{Node, Settings};

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The finding about `what`.
fn finding<'a>(all: &'a Value, what: &str) -> &'a Value {
    let found = all.as_array().and_then(|all| all.iter().find(|one| one["what"] == what));
    found.unwrap_or_else(|| panic!("{what} is not in {all:#}"))
}

#[tokio::test]
async fn a_node_that_runs_is_found_and_its_ports_are_its_own() {
    let mut node = Node::start(&Settings::default()).await;
    let (code, out, err) = text(&node.run(&["doctor", "-o", "json"]));
    let all: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!(finding(&all, "node")["told"], "one runs and answers");
    for what in
        [format!("udp://{}", node.sip), format!("tcp://{}", node.sip), format!("http://{}", node.http)]
    {
        assert_eq!(finding(&all, &what)["told"], "held by the running node");
    }
    assert_eq!(finding(&all, "store")["state"], "ok");
    assert_eq!(finding(&all, "media.ports")["state"], "ok", "they are below those of the system");
    assert!(code.is_some_and(|code| code < 2), "no faults: {out}");
    node.end();
    let (_, out, _) = text(&node.run(&["doctor"]));
    assert!(out.contains("none runs with this data directory") && out.contains("  free\n"), "{out}");
    assert!(out.lines().last().is_some_and(|line| line.contains(" looked at: 0 faults, ")), "{out}");
    // A fault of the configuration hides nothing of the rest.
    node.configure("[node]\ndomian = \"x\"\n");
    let (code, out, _) = text(&node.run(&["doctor"]));
    assert_eq!(code, Some(2));
    assert!(
        out.starts_with("fault") && out.contains("did you mean `domain`?") && out.contains("clock"),
        "{out}"
    );
}

#[test]
fn without_a_configuration_the_machine_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_segue")).arg("doctor").current_dir(dir.path()).output().unwrap();
    let (code, out, err) = text(&output);
    assert!(code.is_some_and(|code| code > 0), "{out}{err}");
    assert!(out.starts_with("warning  configuration") && out.contains("> segue serve --init"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_tells_of_a_live_call_in_plain_lines_and_in_json() {
    let house = House::open().await;
    let _talk = house.talk().await;
    let node = &house.node;
    let (code, out, err) = text(&node.run(&["top", "--once", "-d", "0.5"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("test (pbx.test)  running") && out.contains("1 answered, 0 ringing"), "{out}");
    let row = out.lines().find(|line| line.starts_with("alice")).unwrap_or_else(|| panic!("{out}"));
    assert!(row.contains("bob") && row.contains("answered"), "{row}");
    // Through a pipe it is plain lines by itself, as often as it is told.
    let (_, out, _) = text(&node.run(&["top", "-n", "2", "-d", "0.2"]));
    assert_eq!(out.matches("test (pbx.test)").count(), 2, "{out}");
    assert!(!out.contains('\u{1b}'));
    let (_, out, _) = text(&node.run(&["top", "--once", "-o", "json"]));
    let sample: Value = serde_json::from_str(&out).expect("JSON");
    assert!(
        sample["rates"]["rtp_in"].as_f64().is_some_and(|rate| rate > 20.0),
        "two phones talk: {sample:#}"
    );
    assert_eq!(sample["calls"][0]["from"], "alice");
}
