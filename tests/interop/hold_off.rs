//! The time after a move in which the old handset may not touch the call (contract F).

use std::time::{Duration, Instant};

use segue::shell::phone::{Dial, Direction, Options};
use serde_json::json;

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, device, held_off, phone, refusal};
use crate::node::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn the_old_handset_is_refused_until_the_window_ends_and_then_accepted() {
    let house = House::open().await;
    let talk = house.talk().await;
    let old = talk.desk.replaces();
    let mobile = house.pull(&talk).await;
    let moved = Instant::now();
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 3);
    held_off(&refusal(&house.desk, Dial::new("alice").replacing(&old)).await, 3);
    // Its dialog is over, so a re-INVITE in it must be refused too.
    let answer = talk.desk.request("INVITE", &[], None).await.unwrap();
    held_off(&answer, 3);
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
    let wait = refusal(&house.desk, Dial::new("*11")).await.retry_after().unwrap();
    tokio::time::sleep(Duration::from_secs(u64::from(wait))).await;
    let back = house.desk.call("*11").await.expect("after the window the old handset may pull");
    assert!(moved.elapsed() < Duration::from_secs(6));
    talk.bob.hears(DESK_HZ, SOON).await.unwrap();
    back.hears(BOB_HZ, SOON).await.unwrap();
    mobile.ended(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_contact_and_call_id_do_not_shed_it() {
    let house = House::open().await;
    let talk = house.talk().await;
    house.pull(&talk).await;
    house.desk.unregister().await.unwrap();
    let mut options: Options = device(&house.node, "alice", "desk", DESK_HZ);
    options.instance = Some("urn:uuid:00000000-0000-4000-8000-000000000001".to_owned());
    let reborn = phone(options).await;
    held_off(&refusal(&reborn, Dial::new("*11")).await, 3);
    // Another call of the same handset is its own business.
    let other = reborn.call("*43").await.expect("scope call: other calls are free");
    other.hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scope_system_holds_off_everything() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nhold_off_scope = \"system\"\n")).await;
    let talk = house.talk().await;
    house.pull(&talk).await;
    held_off(&refusal(&house.desk, Dial::new("*43")).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_shed_it() {
    let mut house = House::with(&Settings::moving("hold_off_s = 20\n")).await;
    let talk = house.talk().await;
    house.pull(&talk).await;
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 20);
    house.node.crash_and_restart().await;
    house.desk.register(120).await.unwrap();
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_survive_a_restart() {
    let mut house = House::open().await;
    house.node.has_stored_binding("bob").await;
    house.node.crash_and_restart().await;
    let call = house.desk.call("bob").await.expect("bob is still bound");
    let _bob = house.bob.answered(SOON).await.unwrap();
    call.hears(BOB_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_ends_it_early_and_brings_the_call_back() {
    let house = House::with(&Settings::moving("hold_off_s = 30\n")).await;
    let talk = house.talk().await;
    let api = house.node.api().login("alice").await;
    let heard = talk.bob.media().mark();
    let mobile = house.pull(&talk).await;
    let moves = api
        .until("/v1/moves", SOON, |list| list["items"].as_array().filter(|items| !items.is_empty()).cloned())
        .await;
    let id = moves[0]["id"].as_str().expect("an id").to_owned();
    let reply = api.post(&format!("/v1/moves/{id}/undo"), &json!({})).await;
    assert!((200..300).contains(&reply.status), "{} {}", reply.status, reply.body);
    let back = house.desk.ringing(SOON).await.expect("the old handset is called").answer().await.unwrap();
    talk.bob.hears(DESK_HZ, SOON).await.unwrap();
    back.hears(BOB_HZ, SOON).await.unwrap();
    mobile.ended(SOON).await.unwrap();
    crate::house::seamless(&talk.bob.media().report(heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_turns_it_off() {
    let house = House::with(&Settings::moving("hold_off_s = 0\n")).await;
    let talk = house.talk().await;
    house.pull(&talk).await;
    // One move a second and call, then it is free.
    let refused = refusal(&house.desk, Dial::new("*11")).await;
    assert_eq!(refused.status(), Some(503));
    tokio::time::sleep(Duration::from_secs(u64::from(refused.retry_after().unwrap()))).await;
    let back = house.desk.call("*11").await.unwrap();
    back.hears(BOB_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_handsets_audio_is_dropped_and_it_hears_nothing() {
    let house = House::open().await;
    let talk = house.talk().await;
    // Kept: a call that is dropped stops its audio.
    let _mobile = house.pull(&talk).await;
    let (bob, desk) = (talk.bob.media().mark(), talk.desk.media().mark());
    talk.desk.media().send_anyway();
    talk.bob.heard(bob, MOBILE_HZ, 25, SOON).await.unwrap();
    let tones = talk.bob.media().report(bob).tones();
    assert_eq!(tones, [MOBILE_HZ], "bob hears the new handset only");
    assert_eq!(talk.desk.media().heard(desk).len(), 0, "nothing is sent to the old handset");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_handset_may_do_what_the_old_may_not() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mobile = house.pull(&talk).await;
    mobile.hold().await.unwrap();
    assert_eq!(talk.bob.remote_description().unwrap().direction, Direction::SendOnly);
    mobile.resume().await.unwrap();
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
    let mut answers = Vec::new();
    for method in ["UPDATE", "INFO", "REFER"] {
        let answer =
            talk.desk.request(method, &[("Refer-To", "<sip:alice*desk@pbx.test>")], None).await.unwrap();
        answers.push((method, answer.status()));
    }
    assert_eq!(answers, [("UPDATE", Some(403)), ("INFO", Some(403)), ("REFER", Some(403))]);
}
