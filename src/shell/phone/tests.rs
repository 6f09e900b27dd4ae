//! Phone against phone over loopback: what the demo and the interop tests build on must itself be right.

use std::time::Duration;

use tokio::net::UdpSocket;

use super::*;

const SOON: Duration = Duration::from_secs(5);

async fn pair(answering: Answering) -> (Phone, Phone) {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let callee = Options::new("bob", "127.0.0.1", nowhere).tone(600).answering(answering);
    let bob = Phone::start(callee).await.unwrap();
    let alice = Phone::start(Options::new("alice", "127.0.0.1", bob.address()).tone(400)).await.unwrap();
    (alice, bob)
}

#[tokio::test]
async fn a_call_stands_both_hear_each_other_and_the_bye_ends_it() {
    let (alice, bob) = pair(Answering::After(Duration::ZERO)).await;
    let out = alice.call("bob").await.unwrap();
    let back = bob.answered(SOON).await.unwrap();
    out.heard(0, 600, 10, SOON).await.unwrap();
    back.heard(0, 400, 10, SOON).await.unwrap();
    assert!(back.media().report(0).is_seamless(), "{}", back.media().report(0));
    assert_eq!(out.replaces().to_tag, back.replaces().from_tag);
    out.hang_up().await.unwrap();
    assert_eq!(back.ended(SOON).await.unwrap().by, Side::Remote);
    assert!(!back.media().is_sending());
    assert_eq!((alice.log().faults(), bob.log().faults()), (vec![], vec![]));
}

#[tokio::test]
async fn hold_stops_the_audio_and_resume_brings_it_back_with_a_higher_version() {
    let (alice, bob) = pair(Answering::After(Duration::ZERO)).await;
    let out = alice.call("bob").await.unwrap();
    let back = bob.answered(SOON).await.unwrap();
    let before = back.remote_description().unwrap().origin;
    out.hold().await.unwrap();
    assert!(!back.media().is_sending());
    let held = back.remote_description().unwrap();
    assert_eq!((held.direction, held.origin), (Direction::SendOnly, (before.0, before.1 + 1)));
    out.resume().await.unwrap();
    assert!(back.media().is_sending());
    out.hears(600, SOON).await.unwrap();
}

#[tokio::test]
async fn a_refused_offer_leaves_the_call_and_an_offer_in_the_answer_is_answered_in_the_ack() {
    let (alice, bob) = pair(Answering::After(Duration::ZERO)).await;
    let out =
        alice.dial(Dial::new("bob").offer(Offer::InAnswer)).await.unwrap().answered(SOON).await.unwrap();
    let back = bob.answered(SOON).await.unwrap();
    back.hears(400, SOON).await.unwrap();
    back.on_offer(OnOffer::Refuse(488));
    assert_eq!(out.hold().await.unwrap_err().status(), Some(488));
    back.hears(400, SOON).await.unwrap();
}

#[tokio::test]
async fn keys_are_heard_by_event_and_by_info() {
    let (alice, bob) = pair(Answering::After(Duration::ZERO)).await;
    let out = alice.call("bob").await.unwrap();
    let back = bob.answered(SOON).await.unwrap();
    back.hears(400, SOON).await.unwrap();
    out.press("12#").unwrap();
    let digits = |log: &EventLog| -> String {
        let digit = |entry: &Entry| if let Event::Digit(digit) = entry.event { Some(digit) } else { None };
        log.since(0).iter().filter_map(digit).collect()
    };
    let heard =
        bob.log().wait(0, "the #", SOON, |entry| matches!(entry.event, Event::Digit('#')).then_some(()));
    heard.await.unwrap();
    out.press_by_info("9").await.unwrap();
    assert_eq!(digits(bob.log()), "12#9");
    assert!(out.press("x").is_err());
}

#[tokio::test]
async fn cancel_reaches_a_ringing_phone_and_a_refusal_comes_back() {
    let (alice, bob) = pair(Answering::ByHand).await;
    let mut dialing = alice.dial(Dial::new("bob")).await.unwrap();
    dialing.progress(180, SOON).await.unwrap();
    let ringing = bob.ringing(SOON).await.unwrap();
    dialing.cancel(SOON).await.unwrap();
    ringing.cancelled(SOON).await.unwrap();
    assert!(ringing.answer().await.is_err());

    let dialing = alice.dial(Dial::new("bob")).await.unwrap();
    bob.ringing(SOON).await.unwrap().refuse(486).await.unwrap();
    let error = dialing.answered(SOON).await.err().unwrap();
    assert_eq!(error.status(), Some(486));
    assert!(error.to_string().contains("alice: a call to bob was answered 486 Busy Here"), "{error}");
}

#[tokio::test]
async fn no_common_codec_is_refused_and_a_foreign_replaces_matches_nothing() {
    let (_, bob) = pair(Answering::After(Duration::ZERO)).await;
    let options = Options::new("carol", "127.0.0.1", bob.address());
    let carol = Phone::start(options.codecs(&[])).await.unwrap();
    assert_eq!(carol.call("bob").await.err().unwrap().status(), Some(488));
    assert_eq!(bob.answered(SOON).await.err().unwrap().status(), Some(488));
    let replaces =
        Replaces { call_id: "x".into(), to_tag: "y".into(), from_tag: "z".into(), early_only: false };
    let dialing = carol.dial(Dial::new("bob").replacing(&replaces)).await.unwrap();
    assert_eq!(dialing.answered(SOON).await.err().unwrap().status(), Some(481));
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_the_nonce_is_counted_on_refresh() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let options =
        Options::new("alice", "pbx.example", server.local_addr().unwrap()).login("alice-desk", "secret");
    let phone = Phone::start(options).await.unwrap();
    let serve = async {
        let mut seen = Vec::new();
        for status in [401, 200, 200, 401, 401] {
            let mut buffer = vec![0; 4096];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let request = Message::parse(&buffer[..length]).unwrap();
            let mut reply = Message::reply(&request, status);
            if status == 401 {
                let nonce = seen.len();
                let challenge =
                    format!("Digest realm=\"r\", nonce=\"n{nonce}\", algorithm=MD5, qop=\"auth\"");
                reply.set("WWW-Authenticate", challenge);
            }
            server.send_to(&reply.to_bytes(), from).await.unwrap();
            seen.push(request);
        }
        seen
    };
    let register = async {
        phone.register(60).await.unwrap();
        phone.register(60).await.unwrap();
        phone.register(60).await.unwrap_err()
    };
    let (seen, error) =
        tokio::time::timeout(SOON, async { tokio::join!(serve, register) }).await.unwrap_or_else(|_| {
            panic!("the server waits for a request that does not come");
        });
    let signed: Vec<_> =
        seen.iter().map(|request| request.header("Authorization").unwrap_or_default()).collect();
    assert_eq!(signed[0], "");
    assert!(signed[1].contains("nonce=\"n0\"") && signed[1].contains("nc=00000001"), "{}", signed[1]);
    assert!(signed[2].contains("nonce=\"n0\"") && signed[2].contains("nc=00000002"), "{}", signed[2]);
    assert_eq!(error.status(), Some(401));
    let numbers: Vec<_> = seen.iter().map(|request| request.cseq().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}
