//! Audio at the far side, and strangers who want it (contract E, threats: RTP bleed and injection).

use std::time::Duration;

use segue::shell::phone::Codec;
use tokio::net::UdpSocket;

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, seamless};
use crate::node::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn five_moves_in_a_row_each_leave_at_most_two_packet_times() {
    let house = House::with(&Settings::moving("hold_off_s = 0\n")).await;
    for round in 0..5 {
        let talk = house.talk().await;
        let heard = talk.bob.media().mark();
        let mobile = house.pull(&talk).await;
        let report = talk.bob.media().report(heard);
        seamless(&report);
        let (last, first) = report.switch_instants(DESK_HZ, MOBILE_HZ).expect("both were heard");
        let around = Duration::from_millis(60);
        let late = talk
            .desk
            .media()
            .lateness(last - around, first)
            .max(mobile.media().lateness(last, first + around));
        let gap = first.duration_since(last);
        assert!(gap <= Duration::from_millis(40) + late, "round {round}: gap {gap:?}, senders late {late:?}");
        mobile.hang_up().await.unwrap();
        talk.bob.ended(SOON).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_handset_hears_from_its_first_packet_on() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mobile = house.pull(&talk).await;
    let heard = mobile.media().heard(0);
    assert_eq!(heard.first().and_then(|packet| packet.tone), Some(BOB_HZ), "bob is in its first packet");
    seamless(&mobile.media().report(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_neither_heard_nor_answered() {
    let house = House::open().await;
    let talk = house.talk().await;
    let anchor = talk.bob.remote_description().unwrap().address.expect("our port toward bob");
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mark = talk.desk.media().mark();
    let payload = segue::shell::phone::tone::tone(Codec::Pcmu, 2000);
    for sequence in 0..50u16 {
        let mut packet = vec![0x80, 0, (sequence >> 8) as u8, sequence as u8, 0, 0, 0, 0, 9, 9, 9, 9];
        packet.extend(&payload);
        stranger.send_to(&packet, anchor).await.unwrap();
    }
    talk.desk.heard(mark, BOB_HZ, 25, SOON).await.unwrap();
    let report = talk.desk.media().report(mark);
    assert_eq!(report.tones(), [BOB_HZ], "{report}");
    let mut buffer = [0; 2048];
    let answered = tokio::time::timeout(Duration::from_millis(100), stranger.recv_from(&mut buffer)).await;
    assert!(answered.is_err(), "a stranger got {answered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn telephone_events_keep_each_legs_number() {
    let house = House::furnished(&Settings::default(), |options| match options.name.as_str() {
        "alice-mobile" => options.telephone_event(Some(96)),
        _ => options.telephone_event(Some(101)),
    })
    .await;
    let talk = house.talk().await;
    let mobile = house.pull(&talk).await;
    let mark = house.bob.log().mark();
    mobile.press("5").unwrap();
    let digit = |entry: &segue::shell::phone::Entry| match entry.event {
        segue::shell::phone::Event::Digit('5') => Some(()),
        _ => None,
    };
    house.bob.log().wait(mark, "the digit under bob's own number", SOON, digit).await.unwrap();
    let types = talk.bob.media().report(0).payload_types;
    assert!(types.iter().all(|number| [0, 101].contains(number)), "payload types at bob: {types:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_handset_that_stays_silent_gives_the_call_back() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nrollback_ms = 600\n")).await;
    let talk = house.talk().await;
    // A phone that answers but whose audio never arrives: it sends no packet at all.
    let dialing = house.mobile.dial(segue::shell::phone::Dial::new("*11")).await.unwrap();
    let mobile = dialing.answered(SOON).await.unwrap();
    mobile.media().stop();
    let heard = talk.bob.media().mark();
    let outcome = tokio::time::timeout(SOON, async {
        tokio::select! {
            back = talk.bob.heard(heard, DESK_HZ, 30, SOON) => back.map(|()| "back"),
            over = mobile.ended(SOON) => over.map(|_| "over"),
        }
    });
    outcome.await.expect("in time").expect("the call goes back");
    assert!(!talk.bob.has_ended());
}
