//! SRTP by keys in the description: every pair of plain and secured handsets, before and after a move. The handsets seal
//! and open with another implementation than the server.

use segue::shell::phone::{Dial, Phone};

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, refusal, seamless};
use crate::node::Settings;

/// A handset with SRTP is known for it once it has called: so it is offered SRTP from then on.
async fn shows_srtp(phone: &Phone, hz: u32) {
    let call = phone.call("*43").await.expect("the echo answers");
    call.hears(hz, SOON).await.expect("it hears itself");
    call.hang_up().await.expect("hung up");
}

/// Handsets of these names have SRTP.
async fn house(settings: &Settings, secured: &[&str]) -> House {
    let house = House::furnished(settings, |options| match secured.contains(&options.name.as_str()) {
        // Close to a rollover of its sequence numbers, which comes two seconds into the call.
        true => options.secured().first_sequence(65_430),
        false => options,
    })
    .await;
    if secured.contains(&"bob-desk") {
        shows_srtp(&house.bob, BOB_HZ).await;
    }
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_plain_and_secured_handsets_moves_and_hears() {
    for secured in [
        &["bob-desk"][..],
        &["alice-desk"],
        &["alice-mobile"],
        &["bob-desk", "alice-desk"],
        &["bob-desk", "alice-mobile"],
        &["alice-desk", "alice-mobile"],
        &["bob-desk", "alice-desk", "alice-mobile"],
    ] {
        let house = house(&Settings::default(), secured).await;
        let talk = house.talk().await;
        let heard = talk.bob.media().mark();
        let mobile = house.pull(&talk).await;
        seamless(&talk.bob.media().report(heard));
        // Past the rollover on every secured side, and both still hear.
        for _ in 0..2 {
            talk.bob.heard(talk.bob.media().mark(), MOBILE_HZ, 60, SOON).await.expect("bob hears mobile");
            mobile.heard(mobile.media().mark(), BOB_HZ, 30, SOON).await.expect("mobile hears bob");
        }
        for media in [talk.bob.media(), talk.desk.media(), mobile.media()] {
            assert_eq!(media.unopened(), 0, "{secured:?}: what came was sealed as agreed");
        }
        mobile.hang_up().await.unwrap();
        talk.bob.ended(SOON).await.unwrap();
        house.clean();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn srtp_is_required_or_off_by_the_configuration() {
    let settings = |srtp: &str| Settings { media: format!("srtp = \"{srtp}\"\n"), ..Settings::default() };
    let required = house(&settings("require"), &["alice-desk"]).await;
    let response = refusal(&required.mobile, Dial::new("*43")).await;
    assert_eq!(response.status(), Some(488), "{}", response.summary());
    assert!(
        response.header("Warning").is_some_and(|why| why.contains("SRTP is required")),
        "{}",
        response.summary()
    );
    shows_srtp(&required.desk, DESK_HZ).await;
    let off = house(&settings("off"), &["alice-desk"]).await;
    let response = refusal(&off.desk, Dial::new("*43")).await;
    assert_eq!(response.status(), Some(488), "{}", response.summary());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_in_no_log_record_or_timeline() {
    let house = house(&Settings::default(), &["bob-desk", "alice-desk", "alice-mobile"]).await;
    let talk = house.talk().await;
    let mobile = house.pull(&talk).await;
    let keys: Vec<String> = [talk.bob.media(), talk.desk.media(), mobile.media()]
        .into_iter()
        .filter_map(|media| media.crypto())
        .map(|crypto| crypto.to_line().split("inline:").nth(1).unwrap_or_default().trim_end().to_owned())
        .collect();
    assert_eq!(keys.len(), 3);
    let calls = house.node.command(&["calls", "-o", "json"]);
    mobile.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();
    let moves = house.node.command(&["moves", "-o", "json"]);
    let told = [house.node.log(), calls, moves].concat();
    assert!(keys.iter().all(|key| key.len() == 40 && !told.contains(key)), "a key was told");
    assert!(!told.contains("inline:") || told.contains("inline:..."), "nor any of ours");
}
