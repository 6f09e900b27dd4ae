//! `segue demo`, as a newcomer runs it.

use std::time::{Duration, Instant};

use tokio::process::Command;

#[tokio::test]
async fn the_demonstration_succeeds_and_says_what_it_measured() {
    let begun = Instant::now();
    let output =
        Command::new(env!("CARGO_BIN_EXE_segue")).args(["demo", "-o", "json"]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    let json: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(json["success"], true);
    assert_eq!(json["gaps"].as_array().map(Vec::len), Some(2));
}
