//! The configuration is exchanged under load: nobody notices but those whom it is about.

use std::time::{Duration, Instant};

use segue::shell::phone::Phone;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::counted::{Load, play};
use crate::house::{SOON, device, phone};
use crate::node::{Node, PASSWORD, Settings, free_port};
use crate::sipp::in_background;

const CAROL: &str = "[[user]]\nname = \"carol\"\nextension = \"1004\"\n[[user.device]]\nid = \"desk\"\n\
                     auth_user = \"carol-desk\"\npassword = \"9041-blue-lamp\"\n";

/// SIPp as a carrier that answers every call, until it is dropped.
fn carrier(at: std::net::SocketAddr) -> Child {
    let port = at.port().to_string();
    let plays = ["-sn", "uas", "-i", "127.0.0.1", "-p", &port, "-nostdin", "-timeout", "300s"];
    in_background(Command::new("sipp").args(plays))
}

/// `segue reload` of what is in the file by now: exit code, standard output, standard error.
fn reload(node: &Node, more: &[&str]) -> (i32, String, String) {
    let output = node.run(&[&["reload"], more].concat());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

async fn status_of_register(phone: &Phone) -> Option<u16> {
    let refused = phone.register(120).await.err()?;
    refused.response().and_then(|response| response.status())
}

fn given(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_while_a_trunk_comes_and_a_user_goes() {
    let at = free_port();
    let settings = Settings {
        more: CAROL.to_owned(),
        media: "anchor = \"never\"\n".to_owned(),
        ..Settings::moving("hold_off_s = 1\nnotice = \"off\"\n")
    };
    let mut node = Node::start(&settings).await;
    let (carol, eve) =
        (phone(device(&node, "carol", "desk", 700)).await, phone(device(&node, "eve", "mobile", 800)).await);
    let _carrier = carrier(at);
    let before = node.configuration();
    let trunk = format!(
        "[[trunk]]\nname = \"carrier\"\nuri = \"sip:{at}\"\n[[route]]\nmatch = '^9'\nto = [\"trunk:carrier\"]\n"
    );
    let after = before.replace(CAROL, &trunk);
    let rate = given("SEGUE_TEST_RATE", 60);
    let load = Load { calls: rate * 15, refused: 20, moves: 5, rate, patience_s: 120 };
    let exchanging = async {
        node.measures("segue_calls{state=\"answered\"}", |calls| calls >= 5.0).await;
        let mut took = Duration::ZERO;
        // Again and again, so that each step of a call meets one.
        for _ in 0..20 {
            node.configure(&after);
            let begun = Instant::now();
            let (code, out, err) = reload(&node, &[]);
            took = took.max(begun.elapsed());
            assert_eq!(code, 0, "{out}{err}");
            let told = "user carol removed\ntrunk carrier added\nroute ^9 added\nApplied: 3 changes.\n";
            assert_eq!(out, told);
            node.configure(&before);
            let (code, out, err) = reload(&node, &[]);
            assert_eq!(code, 0, "{out}{err}");
        }
        node.configure(&after);
        assert_eq!(reload(&node, &[]).0, 0);
        assert_eq!(status_of_register(&carol).await, Some(401), "who is removed is nobody");
        let call = tokio::time::timeout(SOON, eve.call("9123")).await.expect("in time");
        call.expect("the new trunk answers").hang_up().await.expect("ended");
        took
    };
    let (counted, took) = tokio::join!(play(&node, &load), exchanging);
    assert_eq!(counted["answered"], load.calls, "{counted:?}");
    assert_eq!(counted["refused"], load.refused, "{counted:?}");
    assert_eq!(counted["there"], load.calls + load.moves, "{counted:?}");
    node.end();
    println!("{} calls at {rate} a second over 41 reloads, the longest took {took:.0?}", load.calls);
}

#[tokio::test]
async fn a_fault_changes_nothing_and_a_restart_is_asked_for() {
    let mut node = Node::start(&Settings { more: CAROL.to_owned(), ..Settings::default() }).await;
    let carol = phone(device(&node, "carol", "desk", 700)).await;
    let before = node.configuration();
    let line = before.lines().position(|line| line == "name = \"carol\"").expect("she is there") + 1;
    let faulty = before.replace("name = \"carol\"", "nam = \"carol\"");
    node.configure(&faulty);
    let (code, out, err) = reload(&node, &[]);
    assert_eq!((code, &*out), (2, ""), "{err}");
    assert!(err.contains(&format!("segue.toml:{line}: user[4].nam: unknown key")), "{err}");
    // The same by a signal: the log tells of it.
    node.signal("HUP");
    node.has_logged(&format!("segue.toml:{line}: user[4].nam: unknown key")).await;
    assert_eq!(status_of_register(&carol).await, None, "she is still there");
    // Only a look.
    node.configure(&before.replace("password = \"9041-blue-lamp\"\n[[user", "password = \"other\"\n[[user"));
    let (code, out, _) = reload(&node, &["--dry-run", "-o", "json"]);
    let view: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &view["applied"]), (0, &Value::Bool(false)));
    assert!(view["changes"].to_string().contains("password changed") && !out.contains("blue-lamp"), "{out}");
    assert_eq!(status_of_register(&carol).await, None);
    // Some of it now, some of it later.
    let other =
        before.replace(CAROL, "").replace(&format!("bind = \"{}\"", node.http), "bind = \"127.0.0.1:1\"");
    node.configure(&other);
    let (code, out, err) = reload(&node, &[]);
    assert_eq!((code, &*err), (7, "segue: 1 change waits for a restart of the node\n"));
    let bind = format!("restart needed: http.bind {} -> 127.0.0.1:1", node.http);
    assert_eq!(out, format!("user carol removed\n{bind}\nApplied: 1 change.\n"));
    assert_eq!(status_of_register(&carol).await, Some(401));
    // By a signal and by HTTP, and she is back.
    node.configure(&before);
    // The reload before this one is logged, too.
    let logged = node.log().len();
    node.signal("HUP");
    node.has_logged_since(logged, "configuration reloaded").await;
    let back = async {
        while status_of_register(&carol).await.is_some() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, back).await.expect("she is known again");
    let token = std::fs::read_to_string(node.data("admin.token")).expect("the administrator's");
    let api = node.api().with_token(token.trim());
    let told = api.post("/v1/reload", &Value::Null).await.expect(200);
    assert_eq!(told, serde_json::json!({"applied": true, "changes": [], "restart": [], "notes": []}));
    node.configure(&faulty);
    assert!(
        api.post("/v1/reload", &Value::Null).await.expect(422)["detail"].to_string().contains("unknown key")
    );
    assert!(!node.log().contains(PASSWORD));
    node.end();
}
