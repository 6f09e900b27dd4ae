//! The other ways into a move: Replaces, tokens, REFER, `*12`, the API, a shared handset with a PIN (contract A, C).

use segue::shell::phone::{Answering, Dial, Event, Replaces};
use serde_json::json;

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, device, held_off, phone, refusal, seamless};
use crate::node::{Node, PIN, Settings};

fn nothing() -> Replaces {
    Replaces { call_id: "no-such-call".into(), to_tag: "a".into(), from_tag: "b".into(), early_only: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn replaces_by_its_owner_moves_the_call() {
    let house = House::open().await;
    let talk = house.talk().await;
    let heard = talk.bob.media().mark();
    let dial = Dial::new("alice").replacing(&talk.desk.replaces());
    let mobile = house.mobile.dial(dial).await.unwrap().answered(SOON).await.expect("a pull");
    house.settled(&talk, &mobile).await;
    seamless(&talk.bob.media().report(heard));
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_letter_of_rfc_3891() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nreplaces = \"strict\"\n")).await;
    let talk = house.talk().await;
    let own = talk.desk.replaces();
    let two = Dial::new("alice").replacing(&own).replacing(&nothing());
    assert_eq!(refusal(&house.mobile, two).await.status(), Some(400), "several");
    let joined = Dial::new("alice").replacing(&own).header("Join", own.to_string());
    assert_eq!(refusal(&house.mobile, joined).await.status(), Some(400), "with Join");
    let answer = house.mobile.request("OPTIONS", "bob", &[("Replaces", &own.to_string())]).await.unwrap();
    assert_eq!(answer.status(), Some(400), "outside INVITE");
    assert_eq!(refusal(&house.mobile, Dial::new("alice").replacing(&nothing())).await.status(), Some(481));
    let swapped = Replaces { to_tag: own.from_tag.clone(), from_tag: own.to_tag.clone(), ..own.clone() };
    assert_eq!(
        refusal(&house.mobile, Dial::new("alice").replacing(&swapped)).await.status(),
        Some(481),
        "tags matter"
    );
    let early = Replaces { early_only: true, ..own.clone() };
    assert_eq!(refusal(&house.mobile, Dial::new("alice").replacing(&early)).await.status(), Some(486));
    house.untouched(&talk).await;
    let mobile =
        house.mobile.dial(Dial::new("alice").replacing(&own)).await.unwrap().answered(SOON).await.unwrap();
    house.settled(&talk, &mobile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lenient_takes_what_phones_really_send() {
    for variant in ["swapped", "zero", "early"] {
        let house = House::open().await;
        let talk = house.talk().await;
        let own = talk.desk.replaces();
        let sent = match variant {
            "swapped" => Replaces { to_tag: own.from_tag.clone(), from_tag: own.to_tag.clone(), ..own },
            "zero" => Replaces { to_tag: "0".into(), ..own },
            _ => Replaces { early_only: true, ..own },
        };
        let dial = Dial::new("bob").replacing(&sent);
        let mobile = house.mobile.dial(dial).await.unwrap().answered(SOON).await;
        let mobile = mobile.unwrap_or_else(|error| panic!("{variant}: {error}"));
        house.settled(&talk, &mobile).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_else_cannot_tell_a_call_that_exists() {
    let house = House::open().await;
    let eve = phone(device(&house.node, "eve", "desk", 800)).await;
    let talk = house.talk().await;
    let real = refusal(&eve, Dial::new("alice").replacing(&talk.desk.replaces())).await;
    let unreal = refusal(&eve, Dial::new("alice").replacing(&nothing())).await;
    assert_eq!((real.status(), unreal.status()), (Some(481), Some(481)));
    let names = |message: &segue::shell::phone::Message| -> Vec<String> {
        message.headers.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&real), names(&unreal));
    // The far party is no owner either.
    let far = refusal(&house.bob, Dial::new("alice").replacing(&talk.desk.replaces())).await;
    assert_eq!(far.status(), Some(481));
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_finds_nothing() {
    let house = House::with(&Settings::moving("hold_off_s = 0\n")).await;
    let third = phone(device(&house.node, "alice", "third", 800)).await;
    let talk = house.talk().await;
    let own = talk.desk.replaces();
    let mobile =
        house.mobile.dial(Dial::new("alice").replacing(&own)).await.unwrap().answered(SOON).await.unwrap();
    house.settled(&talk, &mobile).await;
    let again = refusal(&third, Dial::new("alice").replacing(&own)).await;
    // RFC 3891 3: the dialog is over, and remembered as long as its call lives.
    assert_eq!(again.status(), Some(603), "{}", again.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn refer_pushes_to_an_own_device_and_tells_the_truth() {
    let house = House::open().await;
    let talk = house.talk().await;
    let (mark, heard) = (house.desk.log().mark(), talk.bob.media().mark());
    assert_eq!(talk.desk.refer("<sip:alice*mobile@pbx.test>").await.unwrap().status(), Some(202));
    let ringing = house.mobile.ringing(SOON).await.expect("mobile rings");
    assert!(!talk.desk.has_ended(), "the old leg stays until it answers");
    talk.desk.hears(BOB_HZ, SOON).await.unwrap();
    let mobile = ringing.answer().await.unwrap();
    house.settled(&talk, &mobile).await;
    assert_eq!(talk.desk.referral(mark, SOON).await.unwrap(), 200);
    seamless(&talk.bob.media().report(heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_push_leaves_the_call_and_says_so() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mark = house.desk.log().mark();
    talk.desk.refer("<sip:alice*mobile@pbx.test>").await.unwrap();
    house.mobile.ringing(SOON).await.unwrap().refuse(486).await.unwrap();
    let told = talk.desk.referral(mark, SOON).await.unwrap();
    assert!(told >= 400, "the final NOTIFY says {told}");
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_handset_may_hang_up_right_after_its_push() {
    let house = House::open().await;
    let talk = house.talk().await;
    talk.desk.refer("<sip:alice*mobile@pbx.test>").await.unwrap();
    let ringing = house.mobile.ringing(SOON).await.unwrap();
    talk.desk.hang_up().await.unwrap();
    let mobile = ringing.answer().await.expect("the call lives");
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
    assert!(!talk.bob.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_push_code_sends_the_other_call() {
    let house = House::open().await;
    let talk = house.talk().await;
    let second = house.desk.dial(Dial::new("*12*mobile")).await.unwrap();
    let mobile = house.mobile.ringing(SOON).await.expect("mobile rings").answer().await.unwrap();
    house.settled(&talk, &mobile).await;
    drop(second);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_moves_a_call_and_tells_its_timeline() {
    let house = House::open().await;
    let talk = house.talk().await;
    let api = house.node.api().login("alice").await;
    let reply = api.post("/v1/moves", &json!({"to_device": "mobile", "mode": "ring"})).await.expect(202);
    let id = reply["id"].as_str().expect("an id").to_owned();
    let mobile = house.mobile.ringing(SOON).await.expect("mobile rings").answer().await.unwrap();
    house.settled(&talk, &mobile).await;
    let done = api
        .until(&format!("/v1/moves/{id}"), SOON, |view| (view["state"] == "done").then(|| view.clone()))
        .await;
    let gap = done["gap_ms"].as_f64().unwrap_or_else(|| panic!("no gap_ms in {done:#}"));
    assert!((0.0..=60.0).contains(&gap), "gap {gap} ms");
    let shown = house.node.command(&["moves", "show", &id]);
    assert!(shown.contains("desk") && shown.contains("mobile"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handset_that_is_asked_to_call_gets_the_call() {
    let house = House::open().await;
    let talk = house.talk().await;
    let heard = talk.bob.media().mark();
    house.node.command(&["move", "alice", "--to", "mobile", "--refer", "--wait", "0"]);
    let mobile = house.mobile.answered(SOON).await.expect("mobile calls");
    house.settled(&talk, &mobile).await;
    seamless(&talk.bob.media().report(heard));
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 3);
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handset_is_sent_after_its_call_by_302() {
    let house =
        House::with(&Settings { mobile: "pull = \"redirect\"\n".to_owned(), ..Settings::default() }).await;
    let talk = house.talk().await;
    let heard = talk.bob.media().mark();
    house.pull(&talk).await;
    seamless(&talk.bob.media().report(heard));
    assert!(house.node.command(&["moves"]).contains("token"), "it came by its identifier");
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 3);
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_needs_a_login_and_sees_only_its_users_calls() {
    let house = House::open().await;
    let talk = house.talk().await;
    assert_eq!(house.node.api().get("/v1/calls").await.unwrap().status, 401);
    let eve = house.node.api().login("eve").await;
    assert_eq!(eve.read("/v1/calls").await["items"].as_array().map(Vec::len), Some(0));
    let reply = eve.post("/v1/moves", &json!({"to_device": "desk", "mode": "ring"})).await;
    assert!(matches!(reply.status, 403 | 404 | 409), "{} {}", reply.status, reply.body);
    let wrong = house.node.api().post("/v1/login", &json!({"user": "alice", "password": "no"})).await;
    assert_eq!(wrong.status, 401);
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_moves_a_call() {
    let house = House::open().await;
    let talk = house.talk().await;
    house.node.command(&["move", "alice", "--to", "mobile", "--wait", "0"]);
    let mobile = house.mobile.ringing(SOON).await.expect("mobile rings").answer().await.unwrap();
    house.settled(&talk, &mobile).await;
}

/// What was pressed since `asked` has reached neither the far side nor a log.
fn the_keys_stay_here(house: &House, asked: usize) {
    let heard = house.bob.log().since(asked);
    let leaked = heard.iter().any(|entry| matches!(entry.event, Event::Digit(_)));
    assert!(!leaked, "digits never reach the far side");
    assert!(!house.node.log().contains(PIN), "nor a log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_handset_asks_extension_and_pin() {
    let house = House::open().await;
    let room = phone(device(&house.node, "lobby", "room", 800).answering(Answering::ByHand)).await;
    let talk = house.talk().await;
    let asked = house.bob.log().mark();
    let call = room.call("*11").await.expect("the prompt answers");
    call.press(&format!("1001#{PIN}#")).unwrap();
    talk.bob.hears(800, SOON).await.expect("bob hears the room");
    call.hears(BOB_HZ, SOON).await.unwrap();
    talk.desk.ended(SOON).await.unwrap();
    the_keys_stay_here(&house, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_handset_rings_with_the_call_of_who_signs_in_by_its_keys() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nfollow = \"move\"\n")).await;
    let room = phone(device(&house.node, "lobby", "room", 800).answering(Answering::ByHand)).await;
    let talk = house.talk().await;
    let asked = house.bob.log().mark();
    let call = room.call("*14").await.expect("the prompt answers");
    call.press(&format!("1001#{PIN}#")).unwrap();
    call.ended(SOON).await.expect("and hangs up");
    let taken = room.ringing(SOON).await.expect("the call is offered").answer().await.unwrap();
    talk.bob.hears(800, SOON).await.expect("bob hears the room");
    taken.hears(BOB_HZ, SOON).await.unwrap();
    talk.desk.ended(SOON).await.unwrap();
    the_keys_stay_here(&house, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signed_in_is_so_after_a_restart_and_is_signed_out_by_command() {
    let mut node = Node::start(&Settings::default()).await;
    let room = phone(device(&node, "lobby", "room", 800).answering(Answering::ByHand)).await;
    let bob = phone(device(&node, "bob", "desk", BOB_HZ)).await;
    let call = room.call("*14").await.expect("the prompt answers");
    call.press(&format!("1001#{PIN}#")).unwrap();
    call.ended(SOON).await.expect("and hangs up");
    let shown = node.command(&["registrations", "--user", "lobby", "-o", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["signed_in"], "alice", "{shown}");
    node.end();
    node.restart(None).await;
    // Alice has no phone of her own: she is to be reached at her hot desk, and bob sees that it is she who answers.
    let room = phone(device(&node, "lobby", "room", 800).answering(Answering::ByHand)).await;
    let bob_again = phone(device(&node, "bob", "desk", BOB_HZ)).await;
    drop(bob);
    let (call, ringing) = tokio::join!(bob_again.call("alice"), async {
        room.ringing(SOON).await.expect("the hot desk rings").answer().await.unwrap()
    });
    let call = call.expect("answered");
    call.hears(800, SOON).await.unwrap();
    call.hang_up().await.unwrap();
    ringing.ended(SOON).await.unwrap();
    assert!(node.command(&["registrations", "sign-out", "alice"]).contains("Signed out"));
    let refused = refusal(&bob_again, Dial::new("alice")).await;
    assert_eq!(refused.status(), Some(480), "{}", refused.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_moves_nothing() {
    let house = House::open().await;
    let room = phone(device(&house.node, "lobby", "room", 800).answering(Answering::ByHand)).await;
    let talk = house.talk().await;
    let call = room.call("*11").await.expect("the prompt answers");
    // Each entry is both, since nobody is told which of the two was wrong; pressed without waiting for the tones.
    for _ in 0..3 {
        call.press_by_info("1001#000000#").await.unwrap();
    }
    call.ended(SOON).await.expect("the prompt gives up");
    talk.bob.hears(DESK_HZ, SOON).await.unwrap();
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_handset_is_told_and_the_new_one_takes_it_back() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mark = house.desk.log().mark();
    let mobile = house.pull(&talk).await;
    let told = house.desk.log().request(mark, "MESSAGE", SOON).await.expect("the old handset is told");
    let text = String::from_utf8_lossy(&told.body).into_owned();
    assert_eq!(text, "Call moved to mobile. To undo, dial *13 on mobile. In 3 s you can dial *11 here.");
    let dialled = refusal(&house.mobile, Dial::new("*13"));
    let taken_back = async {
        let ringing = house.desk.ringing(SOON).await.expect("the call comes back");
        ringing.answer().await.unwrap()
    };
    let (answer, desk) = tokio::join!(dialled, taken_back);
    assert_eq!(answer.status(), Some(480), "{}", answer.summary());
    talk.bob.hears(DESK_HZ, SOON).await.unwrap();
    desk.hears(BOB_HZ, SOON).await.unwrap();
    mobile.ended(SOON).await.unwrap();
}
