//! The SIPp cases of `fixtures/sipp`, played against a node each.

use std::path::Path;

use tokio::process::Command;

use crate::node::{DOMAIN, Node, PASSWORD, Settings};

async fn play(case: &str, transport: &str) {
    let node = Node::start(&Settings::default()).await;
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
        .output()
        .await
        .expect("the runner runs");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{case}: {text}");
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[tokio::test]
        async fn $name() {
            play(stringify!($name), "u1").await;
        })*
    };
}

cases! { register register_refused call audio hold reliable refused cancel fork star_pull replaces push hold_off race }

#[tokio::test]
async fn register_over_tcp() {
    play("register", "t1").await;
}
