//! A handset dies in mid-call (contract 42), or its user signs in elsewhere (contract 16): how the call is had again.

use segue::shell::phone::Dial;
use serde_json::json;

use crate::api::Api;
use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, held_off, refusal};
use crate::node::{PASSWORD, Settings};

/// The tone that says that the line stands.
const WAITING_HZ: u32 = 450;

async fn house() -> House {
    let media = "timeout_s = 2\n".to_owned();
    House::with(&Settings { media, ..Settings::moving("hold_off_s = 3\nrescue_s = 8\n") }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_handset_takes_up_the_call_of_one_that_died() {
    let house = house().await;
    let talk = house.talk().await;
    let mark = talk.bob.media().mark();
    talk.desk.media().stop();
    talk.bob.heard(mark, WAITING_HZ, 5, SOON).await.expect("bob hears that the line stands");
    let mobile = house.mobile.call("*11").await.expect("the call can be taken up");
    house.settled(&talk, &mobile).await;
    held_off(&refusal(&house.desk, Dial::new("*11")).await, 3);
    assert!(!talk.bob.has_ended());
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handset_that_is_heard_again_has_its_call_again_and_one_that_is_not_loses_it() {
    let house = house().await;
    let talk = house.talk().await;
    let mark = talk.bob.media().mark();
    talk.desk.media().stop();
    talk.bob.heard(mark, WAITING_HZ, 5, SOON).await.expect("bob hears that the line stands");
    talk.desk.media().send_anyway();
    talk.bob.hears(DESK_HZ, SOON).await.expect("bob hears the desk again");
    talk.desk.hears(BOB_HZ, SOON).await.unwrap();
    talk.desk.media().stop();
    let ending = talk.bob.ended(2 * SOON).await.expect("nobody took the call up");
    assert!(ending.reason.unwrap_or_default().contains("Media timeout"));
    let late = refusal(&house.mobile, Dial::new("*11")).await;
    assert_eq!(late.status(), Some(404), "{}", late.summary());
    let again = house.mobile.call("bob").await.expect("the next call is as any other");
    again.hears(BOB_HZ, SOON).await.unwrap();
    house.bob.answered(SOON).await.unwrap().hears(MOBILE_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_follows_who_signs_in_elsewhere() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nfollow = \"offer\"\n")).await;
    let talk = house.talk().await;
    let api = Api::new(house.node.http);
    let body = json!({ "user": "alice", "password": PASSWORD, "device": "mobile", "follow": true });
    let (answer, ringing) = tokio::join!(api.post("/v1/login", &body), house.mobile.ringing(SOON));
    let answer = answer.expect(200);
    assert_eq!(answer["move"]["trigger"], "follow", "{answer}");
    let mobile = ringing.expect("the call is offered").answer().await.unwrap();
    house.settled(&talk, &mobile).await;
    // Nothing to move is no reason not to sign in.
    mobile.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();
    let answer = api.post("/v1/login", &body).await.expect(200);
    assert_eq!((answer["move"].is_null(), answer["token"].is_string()), (true, true), "{answer}");
}
