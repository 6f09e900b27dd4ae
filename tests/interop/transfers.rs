//! Transfers by real phones (RFC 5589): blind, attended, refused. Bob transfers alice's desk to her other handset, which
//! is none of his devices.

use segue::shell::phone::{Call, Replaces};

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, Talk};

/// Desk and mobile hear each other; bob is out of it.
async fn joined(house: &House, talk: &Talk, mobile: &Call) {
    talk.desk.hears(MOBILE_HZ, SOON).await.expect("desk hears mobile");
    mobile.hears(DESK_HZ, SOON).await.expect("mobile hears desk");
    let ending = talk.bob.ended(SOON).await.expect("bob is released");
    assert!(ending.reason.unwrap_or_default().contains("Call transferred"));
    assert!(!talk.desk.has_ended());
    house.clean();
}

fn refer_to(replaces: &Replaces) -> String {
    let value = replaces.to_string().replace('@', "%40").replace(';', "%3B").replace('=', "%3D");
    format!("<sip:alice*mobile@pbx.test?Replaces={value}>")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blind_transfer_brings_the_two_together() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mark = house.bob.log().mark();
    talk.bob.hold().await.unwrap();
    assert_eq!(talk.bob.refer("<sip:alice*mobile@pbx.test>").await.unwrap().status(), Some(202));
    let ringing = house.mobile.ringing(SOON).await.expect("mobile rings");
    assert!(!talk.bob.has_ended(), "the old leg stays until it answers");
    let mobile = ringing.answer().await.unwrap();
    joined(&house, &talk, &mobile).await;
    assert_eq!(talk.bob.referral(mark, SOON).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attended_transfer_brings_the_two_together() {
    let house = House::open().await;
    let talk = house.talk().await;
    talk.bob.hold().await.unwrap();
    let dialing = house.bob.dial(segue::shell::phone::Dial::new("alice*mobile")).await.unwrap();
    let mobile = house.mobile.ringing(SOON).await.expect("mobile rings").answer().await.unwrap();
    let consulted = dialing.answered(SOON).await.unwrap();
    consulted.hears(MOBILE_HZ, SOON).await.unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
    let mark = house.bob.log().mark();
    assert_eq!(talk.bob.refer(&refer_to(&consulted.replaces())).await.unwrap().status(), Some(202));
    joined(&house, &talk, &mobile).await;
    consulted.ended(SOON).await.expect("both calls of bob are over");
    assert_eq!(talk.bob.referral(mark, SOON).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_transfer_leaves_the_call_and_says_so() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mark = house.bob.log().mark();
    talk.bob.refer("<sip:alice*mobile@pbx.test>").await.unwrap();
    house.mobile.ringing(SOON).await.unwrap().refuse(486).await.unwrap();
    assert_eq!(talk.bob.referral(mark, SOON).await.unwrap(), 486);
    house.untouched(&talk).await;
}
