//! The dial plan: a group of real phones, a rule that refuses, and a test that says so beforehand.

use std::process::Command;

use segue::shell::phone::Dial;
use serde_json::Value;

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, Talk, refusal, seamless};
use crate::node::Settings;

const PLAN: &str = "[[group]]\nname = \"sales\"\nmembers = [\"alice\", \"bob\", \"eve\"]\ntimeout_s = 20\n\
    [[route]]\nname = \"premium\"\nmatch = \"^0900\"\nto = \"reject:403 Premium numbers are barred\"\n\
    [[route]]\nmatch = \"^60$\"\nwhen = \"00:00-24:00\"\nto = \"group:sales\"\n\
    [[route]]\nmatch = \"^61$\"\nto = [\"user:eve\", \"extension:1001\"]\n";

async fn house() -> House {
    House::with(&Settings { more: PLAN.to_owned(), ..Settings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_group_is_that_of_who_answers_and_moves_without_a_gap() {
    let house = house().await;
    let dialing = house.bob.dial(Dial::new("60")).await.unwrap();
    let ringing = house.desk.ringing(SOON).await.expect("desk rings");
    let other = house.mobile.ringing(SOON).await.expect("mobile rings");
    let desk = ringing.answer().await.unwrap();
    let reason = other.cancelled(SOON).await.expect("mobile is cancelled");
    assert!(reason.unwrap_or_default().contains("cause=200"), "it was answered elsewhere");
    let talk = Talk { bob: dialing.answered(SOON).await.unwrap(), desk };
    talk.desk.hears(BOB_HZ, SOON).await.unwrap();
    talk.bob.hears(DESK_HZ, SOON).await.unwrap();
    let heard = talk.bob.media().mark();
    let mobile = house.pull(&talk).await;
    seamless(&talk.bob.media().report(heard));
    mobile.hears(BOB_HZ, SOON).await.unwrap();
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_test_says_of_a_call_is_what_happens_to_it() {
    let house = house().await;
    let node = &house.node;
    let refused = refusal(&house.bob, Dial::new("0900123")).await;
    assert!(refused.summary().starts_with("403 Premium numbers are barred"), "{}", refused.summary());
    let output = Command::new("sh")
        .args(["-c", &format!("{} route test bob 0900123", node.program())])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        (output.status.code(), &*said),
        (Some(5), "segue: the call would reach nobody: 403 Premium numbers are barred\n")
    );
    let table = node.command(&["route", "test", "bob", "61"]);
    for part in
        ["bob dials 61 from user:bob at ", "match does not fit the number", "1     user:eve    unregistered"]
    {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let test: Value =
        serde_json::from_str(&node.command(&["route", "test", "bob", "61", "-o", "json"])).expect("JSON");
    assert_eq!((&test["rule"], &test["goes"]), (&3.into(), &true.into()), "{test:#}");
    let mut devices: Vec<&str> =
        test["targets"][1]["devices"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["alice*desk", "alice*mobile"], "{test:#}");
    // Eve is nowhere, and so Alice rings.
    let dialing = house.bob.dial(Dial::new("61")).await.unwrap();
    let ringing = house.mobile.ringing(SOON).await.expect("mobile rings");
    let call = ringing.answer().await.unwrap();
    dialing.answered(SOON).await.unwrap();
    call.hang_up().await.unwrap();
    let list = node.command(&["route", "-o", "csv"]);
    assert_eq!(list.lines().count(), 4, "{list}");
    let fault = node.api().get("/v1/routes").await.expect("an answer");
    assert_eq!(fault.status, 401);
}
