//! The move itself (contract C and D), by star code unless said otherwise.

use std::time::Duration;

use segue::shell::phone::{Codec, Dial, Direction, Event, MediaReport, OnOffer};

use crate::house::{BOB_HZ, DESK_HZ, House, MOBILE_HZ, SOON, Talk, device, phone, refusal, seamless};
use crate::node::Settings;

/// The requests that bob got in the call since `mark`, by method.
fn requests(house: &House, mark: usize) -> Vec<String> {
    let method = |entry: segue::shell::phone::Entry| match entry.event {
        Event::Received(message) if message.status().is_none() => Some(message.method().to_owned()),
        _ => None,
    };
    house.bob.log().since(mark).into_iter().filter_map(method).collect()
}

/// Bob's judgement from `mark` on.
fn at_bob(talk: &Talk, mark: usize) -> MediaReport {
    talk.bob.media().report(mark)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_star_code_moves_the_call_and_bob_notices_nothing() {
    let house = House::open().await;
    let talk = house.talk().await;
    let (mark, heard) = (house.bob.log().mark(), talk.bob.media().mark());
    let mobile = house.pull(&talk).await;
    let report = at_bob(&talk, heard);
    seamless(&report);
    assert_eq!(report.tones(), [DESK_HZ, MOBILE_HZ]);
    let (last, first) = report.switch_instants(DESK_HZ, MOBILE_HZ).unwrap();
    // What the two senders were late by is not the server's doing.
    let around = Duration::from_millis(60);
    let late =
        talk.desk.media().lateness(last - around, first).max(mobile.media().lateness(last, first + around));
    let gap = first.duration_since(last);
    assert!(gap <= Duration::from_millis(40) + late, "gap {gap:?}, senders late by {late:?}: {report}");
    assert_eq!(requests(&house, mark), Vec::<String>::new(), "when-needed: no re-INVITE for the same codec");
    assert!(mobile.shows().contains("bob"), "the display shows {}", mobile.shows());
    mobile.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_handset_is_released_only_after_the_new_ones_ack() {
    let house = House::open().await;
    let talk = house.talk().await;
    let mobile = house.pull(&talk).await;
    let acked = house.mobile.log().since(0).into_iter().find_map(|entry| match entry.event {
        Event::Sent(message) if message.method() == "ACK" && message.call_id() == mobile.id() => {
            Some(entry.at)
        }
        _ => None,
    });
    let released = house.desk.log().since(0).into_iter().find_map(|entry| match entry.event {
        Event::Received(message) if message.method() == "BYE" => Some(entry.at),
        _ => None,
    });
    assert!(acked.unwrap() < released.unwrap(), "make before break");
}

#[tokio::test(flavor = "multi_thread")]
async fn always_re_invites_the_far_side_in_its_own_dialog() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nre_invite = \"always\"\n")).await;
    let talk = house.talk().await;
    let before = talk.bob.remote_description().unwrap();
    let (mark, heard) = (house.bob.log().mark(), talk.bob.media().mark());
    house.pull(&talk).await;
    let invite = house.bob.log().request(mark, "INVITE", SOON).await.expect("a re-INVITE");
    assert_eq!(invite.call_id(), talk.bob.id());
    let replaces = talk.bob.replaces();
    assert_eq!((invite.from_tag(), invite.to_tag()), (Some(&*replaces.to_tag), Some(&*replaces.from_tag)));
    let after = talk.bob.remote_description().unwrap();
    assert_eq!(after.origin, (before.origin.0, before.origin.1 + 1), "o= keeps its id, version + 1");
    assert_eq!(after.lines, before.lines);
    assert_eq!(after.address, before.address, "the anchored media stays where it is");
    seamless(&at_bob(&talk, heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_known_in_every_spelling() {
    let house = House::with(&Settings::moving("hold_off_s = 0\n")).await;
    for spelling in ["*11", "%2A11", "*11%23", "sip:*11@pbx.test;user=phone"] {
        let talk = house.talk().await;
        let call = house.mobile.call(spelling).await.unwrap_or_else(|error| panic!("{spelling}: {error}"));
        house.settled(&talk, &call).await;
        call.hang_up().await.unwrap();
        talk.bob.ended(SOON).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_calls_are_picked_by_number_and_device() {
    let house = House::with(&Settings::moving("hold_off_s = 0\n")).await;
    let third = phone(device(&house.node, "alice", "third", 800)).await;
    let eve = phone(device(&house.node, "eve", "desk", 1400)).await;
    let first = house.talk().await;
    let second = third.call("eve").await.unwrap();
    let at_eve = eve.answered(SOON).await.unwrap();
    // `*11` takes the one answered last, `*11*2` the other.
    let newest = house.mobile.call("*11").await.unwrap();
    newest.hears(1400, SOON).await.expect("eve's call was answered last");
    second.ended(SOON).await.unwrap();
    house.untouched(&first).await;
    newest.hang_up().await.unwrap();
    at_eve.ended(SOON).await.unwrap();
    let by_device = house.mobile.call("*11*desk").await.unwrap();
    house.settled(&first, &by_device).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_call_of_ones_own_the_code_is_refused() {
    let house = House::open().await;
    let eve = phone(device(&house.node, "eve", "desk", 800)).await;
    let talk = house.talk().await;
    let nothing = refusal(&eve, Dial::new("*11")).await;
    assert_eq!(nothing.status(), Some(404));
    house.untouched(&talk).await;
    // The handset that has the call cannot pull it from itself.
    let own = refusal(&house.desk, Dial::new("*11")).await;
    assert!(matches!(own.status(), Some(404 | 482)), "{}", own.summary());
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_handset_gets_nothing() {
    let house = House::open().await;
    let talk = house.talk().await;
    house.mobile.unregister().await.unwrap();
    let refused = refusal(&house.mobile, Dial::new("*11")).await;
    assert_eq!(refused.status(), Some(403), "{}", refused.summary());
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_at_once_have_one_winner() {
    let house = House::open().await;
    let third = phone(device(&house.node, "alice", "third", 800)).await;
    let talk = house.talk().await;
    let one = house.mobile.dial(Dial::new("*11")).await.unwrap();
    let other = third.dial(Dial::new("*11")).await.unwrap();
    let (one, other) = tokio::join!(one.answered(SOON), other.answered(SOON));
    let (winner, loser, hz) = match (one, other) {
        (Ok(winner), Err(loser)) => (winner, loser, MOBILE_HZ),
        (Err(loser), Ok(winner)) => (winner, loser, 800),
        (Ok(_), Ok(late)) => {
            // The second may win a move of its own only if the first stood already; then the first is released.
            panic!("both were answered; the later has {}", late.id());
        }
        (Err(one), Err(other)) => panic!("nobody won: {one}; {other}"),
    };
    assert!(loser.status().is_some(), "the loser gets a final answer: {loser}");
    talk.bob.hears(hz, SOON).await.unwrap();
    winner.hears(BOB_HZ, SOON).await.unwrap();
    talk.desk.ended(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_common_codec_leaves_the_old_call_alone() {
    // Nothing may be converted, so that the refusal is the last word.
    let settings = Settings { media: "transcode = 0\n".to_owned(), ..Settings::default() };
    let house = House::furnished(&settings, |options| match options.name.as_str() {
        "alice-mobile" => options.codecs(&[Codec::Pcma]),
        _ => options.codecs(&[Codec::Pcmu]),
    })
    .await;
    let talk = house.talk().await;
    let refused = refusal(&house.mobile, Dial::new("*11")).await;
    assert_eq!(refused.status(), Some(488), "{}", refused.summary());
    let warning = refused.header("Warning").unwrap_or_default();
    assert!(warning.ends_with("\"no common codec: PCMA here, PCMU there\""), "{warning}");
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_far_side_will_not_speak_is_converted() {
    let house = House::furnished(&Settings::default(), |options| match options.name.as_str() {
        "alice-mobile" => options.codecs(&[Codec::Pcma]),
        _ => options.codecs(&[Codec::Pcmu]),
    })
    .await;
    let talk = house.talk().await;
    let heard = talk.bob.media().mark();
    let mobile = house.pull(&talk).await;
    assert_eq!(mobile.media().codec(), Codec::Pcma);
    assert_eq!(talk.bob.media().codec(), Codec::Pcmu);
    seamless(&talk.bob.media().report(heard));
    house.clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_codec_is_agreed_with_the_far_side_first() {
    let house = House::furnished(&Settings::default(), |options| match options.name.as_str() {
        "alice-mobile" => options.codecs(&[Codec::Pcma]),
        "alice-desk" => options.codecs(&[Codec::Pcmu]),
        _ => options,
    })
    .await;
    let talk = house.talk().await;
    let (mark, heard) = (house.bob.log().mark(), talk.bob.media().mark());
    house.pull(&talk).await;
    house.bob.log().request(mark, "INVITE", SOON).await.expect("a re-INVITE to the codec that both have");
    assert_eq!(talk.bob.media().codec(), Codec::Pcma);
    let report = at_bob(&talk, heard);
    assert_eq!((report.ssrc_changes, report.sequence_breaks, report.lost), (0, 0, 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_side_that_refuses_the_re_invite_keeps_the_old_call() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nre_invite = \"always\"\n")).await;
    let talk = house.talk().await;
    talk.bob.on_offer(OnOffer::Refuse(488));
    let refused = refusal(&house.mobile, Dial::new("*11")).await;
    assert_eq!(refused.status(), Some(488), "{}", refused.summary());
    house.untouched(&talk).await;
    // Nothing is held off: the move did not happen, and the old handset may still hold the call.
    talk.bob.on_offer(OnOffer::Accept);
    talk.desk.hold().await.unwrap();
    talk.desk.resume().await.unwrap();
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn glare_at_the_far_side_is_retried() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nre_invite = \"always\"\n")).await;
    let talk = house.talk().await;
    let mark = house.bob.log().mark();
    talk.bob.on_offer(OnOffer::Refuse(491));
    let dialing = house.mobile.dial(Dial::new("*11")).await.unwrap();
    house.bob.log().request(mark, "INVITE", SOON).await.expect("a first re-INVITE");
    talk.bob.on_offer(OnOffer::Accept);
    let mobile = dialing.answered(SOON).await.expect("the retry of RFC 3261 14.1");
    house.settled(&talk, &mobile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_far_side_may_hang_up_while_the_move_is_under_way() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nre_invite = \"always\"\n")).await;
    let talk = house.talk().await;
    let mark = house.bob.log().mark();
    talk.bob.on_offer(OnOffer::Ignore);
    let dialing = house.mobile.dial(Dial::new("*11")).await.unwrap();
    house.bob.log().request(mark, "INVITE", SOON).await.expect("a re-INVITE");
    talk.bob.hang_up().await.unwrap();
    let error = dialing.answered(SOON).await.err().expect("the call is gone");
    assert!(error.status().is_some(), "{error}");
    talk.desk.ended(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_and_an_old_bye_under_way() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nre_invite = \"always\"\n")).await;
    let talk = house.talk().await;
    let mark = house.bob.log().mark();
    talk.bob.on_offer(OnOffer::Ignore);
    let dialing = house.mobile.dial(Dial::new("*11")).await.unwrap();
    house.bob.log().request(mark, "INVITE", SOON).await.expect("a re-INVITE");
    dialing.cancel(SOON).await.expect("487");
    house.untouched(&talk).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_bye_does_not_end_the_move() {
    let house = House::with(&Settings::moving("hold_off_s = 3\nre_invite = \"always\"\n")).await;
    let talk = house.talk().await;
    let mark = house.bob.log().mark();
    talk.bob.on_offer(OnOffer::Refuse(491));
    let dialing = house.mobile.dial(Dial::new("*11")).await.unwrap();
    house.bob.log().request(mark, "INVITE", SOON).await.expect("a re-INVITE");
    talk.desk.hang_up().await.unwrap();
    talk.bob.on_offer(OnOffer::Accept);
    let mobile = dialing.answered(SOON).await.expect("the move goes on");
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
    assert!(!talk.bob.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_moves_and_is_heard_again() {
    let house = House::open().await;
    let talk = house.talk().await;
    talk.desk.hold().await.unwrap();
    assert!(!talk.bob.media().is_sending());
    let mobile = house.mobile.call("*11").await.unwrap();
    talk.desk.ended(SOON).await.unwrap();
    // Lifted by the move, or by the new handset's own resume: it is the one that holds the call now.
    if !talk.bob.media().is_sending() {
        mobile.resume().await.unwrap();
    }
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
    assert_eq!(talk.bob.remote_description().unwrap().direction, Direction::SendRecv);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_held_by_the_far_side_moves_held() {
    let house = House::open().await;
    let talk = house.talk().await;
    talk.bob.hold().await.unwrap();
    let mobile = house.mobile.call("*11").await.unwrap();
    talk.desk.ended(SOON).await.unwrap();
    let seen = mobile.remote_description().unwrap().direction;
    assert!(matches!(seen, Direction::SendOnly | Direction::Inactive), "the new handset is held: {seen:?}");
    talk.bob.resume().await.unwrap();
    talk.bob.hears(MOBILE_HZ, SOON).await.unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_moves_comes_back_and_leaves_two_legs() {
    let house = House::with(&Settings::moving("hold_off_s = 0\n")).await;
    let third = phone(device(&house.node, "alice", "third", 800)).await;
    let talk = house.talk().await;
    let heard = talk.bob.media().mark();
    let mobile = house.pull(&talk).await;
    let on_third = pull_when_allowed(&third, "*11").await;
    talk.bob.hears(800, SOON).await.unwrap();
    mobile.ended(SOON).await.unwrap();
    let back = pull_when_allowed(&house.desk, "*11").await;
    talk.bob.hears(DESK_HZ, SOON).await.unwrap();
    back.hears(BOB_HZ, SOON).await.unwrap();
    on_third.ended(SOON).await.unwrap();
    let report = at_bob(&talk, heard);
    seamless(&report);
    assert_eq!(report.tones(), [DESK_HZ, MOBILE_HZ, 800, DESK_HZ]);
    let calls = house.node.api().login("alice").await.read("/v1/calls").await;
    assert_eq!(calls["items"].as_array().map(Vec::len), Some(1), "one call: {calls:#}");
    back.hang_up().await.unwrap();
    talk.bob.ended(SOON).await.unwrap();
}

/// At most one move a second and call: 503 with Retry-After says when.
async fn pull_when_allowed(phone: &segue::shell::phone::Phone, code: &str) -> segue::shell::phone::Call {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let dialing = phone.dial(Dial::new(code)).await.unwrap();
        match dialing.answered(SOON).await {
            Ok(call) => return call,
            Err(error) => {
                let response = error.response().unwrap_or_else(|| panic!("{error}"));
                assert_eq!(response.status(), Some(503), "{error}");
                let wait = response.retry_after().expect("Retry-After");
                assert!(std::time::Instant::now() < deadline, "{error}");
                tokio::time::sleep(Duration::from_secs(u64::from(wait))).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ringing_call_is_picked_up_by_a_pull() {
    let house = House::open().await;
    let dialing = house.bob.dial(Dial::new("alice*desk")).await.unwrap();
    let ringing = house.desk.ringing(SOON).await.unwrap();
    let mobile = house.mobile.call("*11").await.expect("the pull answers the ringing call");
    let bob = dialing.answered(SOON).await.unwrap();
    ringing.cancelled(SOON).await.unwrap();
    bob.hears(MOBILE_HZ, SOON).await.unwrap();
    mobile.hears(BOB_HZ, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_moves_as_well_as_a_call_out() {
    let house = House::open().await;
    let dialing = house.bob.dial(Dial::new("alice*desk")).await.unwrap();
    let desk = house.desk.ringing(SOON).await.unwrap().answer().await.unwrap();
    let bob = dialing.answered(SOON).await.unwrap();
    bob.hears(DESK_HZ, SOON).await.unwrap();
    let talk = Talk { desk, bob };
    let heard = talk.bob.media().mark();
    house.pull(&talk).await;
    seamless(&at_bob(&talk, heard));
}
