//! Registration and ordinary calls: what must work before anything can be moved.

use segue::shell::phone::{Dial, Direction, Offer, OnOffer, Options, Side};

use crate::house::{BOB_HZ, DESK_HZ, House, SOON, device, phone, refusal};
use crate::node::{Node, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_registers_refreshes_and_leaves() {
    let node = Node::start(&Settings::default()).await;
    let desk = phone(device(&node, "alice", "desk", DESK_HZ)).await;
    let again = desk.register(90).await.unwrap();
    let contact = again.header("Contact").expect("the 200 lists the binding").to_owned();
    assert!(contact.contains(&desk.address().to_string()) && contact.contains("expires="), "{contact}");
    let gone = desk.unregister().await.unwrap();
    assert_eq!(gone.header("Contact"), None);
    assert_eq!(desk.log().faults(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_user_look_alike() {
    let node = Node::start(&Settings::default()).await;
    let wrong =
        segue::shell::phone::Phone::start(device(&node, "alice", "desk", DESK_HZ).login("alice-desk", "no"))
            .await;
    let unknown = Options::new("nobody", crate::node::DOMAIN, node.sip).login("nobody-desk", "no");
    let unknown = segue::shell::phone::Phone::start(unknown).await;
    let mut answers = Vec::new();
    for phone in [wrong.unwrap(), unknown.unwrap()] {
        let error = phone.register(60).await.unwrap_err();
        let response = error.response().expect("an answer").clone();
        let names: Vec<String> = response.headers.iter().map(|(name, _)| name.clone()).collect();
        answers.push((response.status(), names));
    }
    assert_eq!(answers[0], answers[1]);
    assert!(matches!(answers[0].0, Some(401 | 403)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_users_talk_and_either_hangs_up() {
    let house = House::open().await;
    let talk = house.talk().await;
    talk.bob.hang_up().await.unwrap();
    assert_eq!(talk.desk.ended(SOON).await.unwrap().by, Side::Remote);
    let talk = house.talk().await;
    talk.desk.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn echo_and_tone_answer_a_single_phone() {
    let house = House::open().await;
    let echo = house.desk.call("*43").await.unwrap();
    echo.hears(DESK_HZ, SOON).await.expect("its own tone");
    echo.hang_up().await.unwrap();
    let tone = house.desk.call("*44").await.unwrap();
    let heard = |heard: &[segue::shell::phone::Heard]| heard.iter().filter_map(|packet| packet.tone).nth(10);
    tone.media().until("desk", 0, "any tone", SOON, heard).await.unwrap();
    tone.hang_up().await.unwrap();
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_and_a_device_address_are_dialled() {
    let house = House::open().await;
    let call = house.desk.call("1002").await.unwrap();
    house.bob.answered(SOON).await.unwrap();
    call.hang_up().await.unwrap();

    let dialing = house.bob.dial(Dial::new("alice*mobile")).await.unwrap();
    let ringing = house.mobile.ringing(SOON).await.expect("mobile rings");
    let call = ringing.answer().await.unwrap();
    dialing.answered(SOON).await.unwrap().hears(crate::house::MOBILE_HZ, SOON).await.unwrap();
    let rang = house.desk.log().request(0, "INVITE", std::time::Duration::from_millis(1)).await;
    assert!(rang.is_err(), "desk must not ring for alice*mobile");
    call.hang_up().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_devices_ring_one_answers_and_the_others_are_cancelled() {
    let house = House::open().await;
    let dialing = house.bob.dial(Dial::new("alice")).await.unwrap();
    let desk = house.desk.ringing(SOON).await.expect("desk rings");
    let mobile = house.mobile.ringing(SOON).await.expect("mobile rings");
    let call = mobile.answer().await.unwrap();
    let reason = desk.cancelled(SOON).await.expect("desk is cancelled");
    assert!(reason.unwrap_or_default().contains("200"), "a Reason keeps it from logging a missed call");
    let bob = dialing.answered(SOON).await.unwrap();
    bob.hears(crate::house::MOBILE_HZ, SOON).await.unwrap();
    call.hears(BOB_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_refusal_and_an_absent_user_each_get_their_answer() {
    let house = House::open().await;
    let mut dialing = house.bob.dial(Dial::new("alice*desk")).await.unwrap();
    dialing.progress(180, SOON).await.unwrap();
    let ringing = house.desk.ringing(SOON).await.unwrap();
    dialing.cancel(SOON).await.expect("487");
    ringing.cancelled(SOON).await.unwrap();

    let dialing = house.bob.dial(Dial::new("alice*desk")).await.unwrap();
    house.desk.ringing(SOON).await.unwrap().refuse(486).await.unwrap();
    assert_eq!(dialing.answered(SOON).await.err().and_then(|error| error.status()), Some(486));

    assert_eq!(refusal(&house.desk, Dial::new("eve")).await.status(), Some(480), "known, not registered");
    assert_eq!(refusal(&house.desk, Dial::new("nobody")).await.status(), Some(404), "unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_and_resume_cross_and_the_answers_mirror_the_offers() {
    let house = House::open().await;
    let talk = house.talk().await;
    talk.desk.hold().await.unwrap();
    let held = talk.bob.remote_description().unwrap();
    assert_eq!(held.direction, Direction::SendOnly);
    assert!(!talk.bob.media().is_sending());
    assert_eq!(talk.desk.remote_description().unwrap().direction, Direction::RecvOnly);
    talk.desk.resume().await.unwrap();
    house.untouched(&talk).await;
    let resumed = talk.bob.remote_description().unwrap();
    assert_eq!(
        (resumed.origin.0, resumed.origin.1),
        (held.origin.0, held.origin.1 + 1),
        "one session, version + 1"
    );
    talk.bob.hold().await.unwrap();
    assert_eq!(talk.desk.remote_description().unwrap().direction, Direction::SendOnly);
    talk.bob.resume().await.unwrap();
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_re_invite_is_refused_across_and_changes_nothing() {
    let house = House::open().await;
    let talk = house.talk().await;
    talk.bob.on_offer(OnOffer::Refuse(488));
    assert_eq!(talk.desk.hold().await.unwrap_err().status(), Some(488));
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_without_an_offer_is_answered_with_one() {
    let house = House::open().await;
    let dial = Dial::new("bob").offer(Offer::InAnswer);
    let desk = house.desk.dial(dial).await.unwrap().answered(SOON).await.unwrap();
    let bob = house.bob.answered(SOON).await.unwrap();
    desk.hears(BOB_HZ, SOON).await.unwrap();
    bob.hears(DESK_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_cross_by_event_and_by_info() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mark = house.bob.log().mark();
    let digit = |wanted: char| {
        move |entry: &segue::shell::phone::Entry| match entry.event {
            segue::shell::phone::Event::Digit(digit) if digit == wanted => Some(()),
            _ => None,
        }
    };
    talk.desk.press("7#").unwrap();
    house.bob.log().wait(mark, "7", SOON, digit('7')).await.unwrap();
    house.bob.log().wait(mark, "#", SOON, digit('#')).await.unwrap();
    talk.desk.press_by_info("5").await.unwrap();
    house.bob.log().wait(mark, "5", SOON, digit('5')).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn options_and_message_and_a_stranger() {
    let house = House::open().await;
    assert!(house.desk.request("OPTIONS", crate::node::DOMAIN, &[]).await.unwrap().is_success());
    assert!(house.desk.request("MESSAGE", "bob", &[]).await.unwrap().is_success());
    house.bob.log().request(0, "MESSAGE", SOON).await.expect("it reaches bob");
    // Whoever has no credentials gets a challenge and nothing else, whether or not the number exists.
    let stranger = Options::new("alice", crate::node::DOMAIN, house.node.sip).login("x", "y");
    let stranger = segue::shell::phone::Phone::start(stranger).await.unwrap();
    let (real, unreal) =
        (refusal(&stranger, Dial::new("bob")).await, refusal(&stranger, Dial::new("nobody")).await);
    assert_eq!(real.status(), unreal.status());
    assert!(matches!(real.status(), Some(401 | 403 | 407)));
}
