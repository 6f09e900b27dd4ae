//! Browsers: what they are answered and offered, and what of it never crosses to the other side.

use std::sync::Arc;

use super::*;
use crate::media::srtp::Security;
use crate::media::web::{Role, WebEnd};

const THEIRS: &str =
    "sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF";
const OURS: &str = "sha-256 01:02";
const DESK: &str = "m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000";

/// Audio as Chromium offers it, cut to what matters.
fn audio(ufrag: &str, setup: &str, fingerprint: &str, more: &str) -> String {
    format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8 110 126\nc=IN IP4 0.0.0.0\na=rtcp:9 IN IP4 0.0.0.0\n\
         a=candidate:1 1 udp 2113937151 9d0c5cb3-0a7a-4b6f-b5c5-6a6b6a1b0c11.local 54400 typ host generation 0\n\
         a=ice-ufrag:{ufrag}\na=ice-pwd:0123456789abcdef01234567\na=ice-options:trickle\n\
         a=fingerprint:{fingerprint}\na=setup:{setup}\na=mid:0\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n\
         a=msid:- 4f0c\na=rtcp-mux\na=rtcp-rsize\na=rtpmap:111 opus/48000/2\na=rtcp-fb:111 transport-cc\n\
         a=fmtp:111 minptime=10;useinbandfec=1\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\n\
         a=rtpmap:110 telephone-event/48000\na=rtpmap:126 telephone-event/8000\na=ssrc:2587 cname:x{more}"
    )
}

fn chrome() -> String {
    audio("aBcD", "actpass", THEIRS, "")
}

/// A browser's description; its session lines come before the first m-line.
fn browser(media: &str) -> Description {
    screen()
        .admit(text(
            20,
            1,
            &format!("a=group:BUNDLE 0 1\na=extmap-allow-mixed\na=msid-semantic: WMS\n{media}"),
        ))
        .unwrap()
}

fn web_leg(id: u64, address: &str) -> LegMedia {
    let leg = leg(id, address).protected(Rule::Either, false, [id as u8; 32]);
    leg.with_web([address.parse().unwrap()].into_iter().collect(), place(29_984, OURS))
}

fn place(port: u16, fingerprint: &str) -> Arc<WebPlace> {
    Arc::new(WebPlace { port, fingerprint: fingerprint.into() })
}

fn end(leg: &LegMedia) -> WebEnd {
    match leg.remote_media().first().map(|media| media.security.clone()) {
        Some(Security::Web(end)) => *end,
        other => panic!("{other:?}"),
    }
}

/// The value of a line of ours.
fn value(text: &Bytes, name: &str) -> String {
    let found = lines(text).into_iter().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    found.unwrap_or_else(|| panic!("no {name} in\n{}", lines(text).join("\n")))
}

#[test]
fn a_browser_that_calls_a_service_is_answered_in_its_own_terms() {
    let mut leg = web_leg(0xa, OUR_A);
    let video = "\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:1\na=rtpmap:96 VP8/90000\na=rtcp-mux";
    leg.receive_offer(browser(&format!("{}{video}", chrome()))).unwrap();
    let answer = answer_local(&mut leg, Local::Play, ports(20_000)).unwrap();
    let shown = lines(&answer).join("\n");
    assert!(shown.contains("a=ice-lite\na=group:BUNDLE 0\n"), "{shown}");
    let media = media_of(&answer);
    assert!(media.starts_with("m=audio 29984 UDP/TLS/RTP/SAVPF 0 126\n"), "{media}");
    assert!(media.contains("\nm=video 0 UDP/TLS/RTP/SAVPF 96"), "declined in place: {media}");
    assert!(
        shown.contains("\na=candidate:0 1 udp 2130706431 198.51.100.1 29984 typ host\na=end-of-candidates")
    );
    for line in ["a=mid:0", "a=rtcp-mux", "a=setup:passive", "a=fingerprint:sha-256 01:02"] {
        assert!(lines(&answer).iter().any(|found| found == line), "{line} in\n{shown}");
    }
    let end = end(&leg);
    assert_eq!((&*end.remote, end.role), ("aBcD", Role::Passive));
    assert_eq!(value(&answer, "a=ice-ufrag:"), *end.local.ufrag);
    assert_eq!(value(&answer, "a=ice-pwd:"), *end.local.password);
    assert!(leg.remote_media()[0].hears(), "the address of a browser is no hold");
    assert_eq!(leg.holds(), Some(false));
}

#[test]
fn nothing_of_a_browser_s_transport_crosses_to_a_desk_phone_and_nothing_of_plain_rtp_back() {
    let mut call = Call { a: web_leg(0xa, OUR_A), b: leg(0xb, OUR_B), pairing: Pairing::default() };
    call.a.receive_offer(browser(&chrome())).unwrap();
    let to_b = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20_100)).unwrap();
    let shown = lines(&to_b).join("\n");
    assert!(media_of(&to_b).starts_with("m=audio 20100 RTP/AVP 111 0 8 110 126\n"), "{shown}");
    for word in
        ["ice", "candidate", "fingerprint", "setup", "mid", "group", "ssrc", "extmap", "rtcp-", "0.0.0.0"]
    {
        assert!(!shown.contains(word), "{word} in\n{shown}");
    }
    call.b.receive_answer(description(20, DESK)).unwrap();
    let to_a = answer_across(&call.b, &mut call.a, &call.pairing, ports(20_000)).unwrap();
    assert!(media_of(&to_a).starts_with("m=audio 29984 UDP/TLS/RTP/SAVPF 0 126\n"), "{to_a:?}");
    let [stream] = &call.streams()[..] else { panic!() };
    assert!(matches!(stream.a.security, Security::Web(_)) && stream.b.security == Security::Plain);
    assert!(stream.a_to_b.is_some() && stream.b_to_a.is_some());
}

#[test]
fn a_browser_is_offered_what_it_understands_and_its_answer_is_taken() {
    let mut call =
        Call { a: leg(0xa, OUR_A), b: web_leg(0xb, OUR_B).offering_web(), pairing: Pairing::default() };
    let video = "\nm=video 4002 RTP/AVP 99\na=rtpmap:99 H264/90000";
    call.a.receive_offer(description(10, &format!("{DESK}{video}"))).unwrap();
    let to_b = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20_100)).unwrap();
    let shown = lines(&to_b).join("\n");
    assert!(media_of(&to_b).starts_with("m=audio 29984 UDP/TLS/RTP/SAVPF 0 101\n"), "{shown}");
    assert!(
        shown.contains("\nm=video 0 ")
            && shown.contains("a=setup:actpass")
            && shown.contains("a=group:BUNDLE 0\n")
    );
    let answer = audio("efGh", "active", THEIRS, "\nm=video 0 RTP/AVP 99");
    call.b
        .receive_answer(browser(&answer.replace("111 0 8 110 126", "0 101").replace("126 tele", "101 tele")))
        .unwrap();
    let to_a = answer_across(&call.b, &mut call.a, &call.pairing, ports(20_000)).unwrap();
    assert!(media_of(&to_a).starts_with("m=audio 20000 RTP/AVP 0 101\n"), "{to_a:?}");
    assert_eq!((end(&call.b).role, &*end(&call.b).remote), (Role::Passive, "efGh"));
    assert_eq!(value(&to_b, "a=ice-ufrag:"), *end(&call.b).local.ufrag);
    // Later offers of ours go on with the same credentials and the same name of the line.
    let again = call.b.repeat().unwrap();
    assert_eq!(value(&again, "a=ice-ufrag:"), *end(&call.b).local.ufrag);
}

#[test]
fn an_answer_without_dtls_to_an_offer_with_it_is_none() {
    let mut b = web_leg(0xb, OUR_B).offering_web();
    let mut a = leg(0xa, OUR_A);
    a.receive_offer(description(10, DESK)).unwrap();
    offer_across(&a, &mut b, &mut Pairing::default(), ports(20_100)).unwrap();
    assert_eq!(b.receive_answer(description(20, DESK)), Err(Refusal::Insecure));
}

#[test]
fn a_hold_keeps_the_transport_and_a_restart_of_ice_changes_our_credentials_once() {
    let mut leg = web_leg(0xa, OUR_A);
    leg.receive_offer(browser(&chrome())).unwrap();
    answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    let first = end(&leg);
    leg.receive_offer(browser(&format!("{}\na=sendonly", chrome()))).unwrap();
    let held = answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    assert!(lines(&held).contains(&"a=recvonly".to_owned()));
    assert_eq!((end(&leg), leg.holds()), (first.clone(), Some(true)));
    leg.receive_offer(browser(&audio("new1", "actpass", THEIRS, ""))).unwrap();
    let restarted = answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    let second = end(&leg);
    assert_ne!(first.local, second.local);
    assert_eq!(value(&restarted, "a=ice-ufrag:"), *second.local.ufrag);
    assert_eq!((&*second.remote, &second.fingerprint), ("new1", &first.fingerprint));
    let repeated = leg.repeat().unwrap();
    assert_eq!(value(&repeated, "a=ice-ufrag:"), *second.local.ufrag);
}

#[test]
fn another_certificate_is_told_as_it_is_and_a_role_stays() {
    let mut leg = web_leg(0xa, OUR_A);
    leg.receive_offer(browser(&audio("aBcD", "passive", THEIRS, ""))).unwrap();
    let answer = answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    assert_eq!((value(&answer, "a=setup:").as_str(), end(&leg).role), ("active", Role::Active));
    leg.receive_offer(browser(&chrome())).unwrap();
    answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    assert_eq!(end(&leg).role, Role::Active, "the association stands");
    let other = THEIRS.replace("4A:AD", "4B:AD");
    leg.receive_offer(browser(&audio("eFgH", "actpass", &other, ""))).unwrap();
    answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    assert_eq!(end(&leg).role, Role::Passive, "with a new one we wait, as ever");
}

#[test]
fn what_is_not_whole_is_not_taken_and_without_browsers_nothing_is() {
    for broken in [
        chrome().replace("a=ice-ufrag:aBcD\n", ""),
        chrome().replace("a=ice-pwd:0123456789abcdef01234567\n", "a=ice-pwd:short\n"),
        chrome().replace("a=rtcp-mux\n", ""),
        chrome().replace("sha-256", "sha-1"),
        chrome().replace("actpass", "holdconn"),
    ] {
        let refused = web_leg(0xa, OUR_A).receive_offer(browser(&broken));
        assert_eq!(refused, Err(Refusal::SecureMedia), "{broken}");
    }
    let mut off = leg(0xa, OUR_A);
    assert_eq!(off.receive_offer(browser(&chrome())), Err(Refusal::SecureMedia));
}

#[test]
fn a_call_moves_from_a_desk_phone_to_a_browser_and_to_another_one() {
    let mut call = Call::up(DESK, DESK);
    let mut first = web_leg(0xc, OUR_N).offering_web();
    offer_far(&call.a, &mut first, None, (Hold::Lift, Bridging::Never), ports(20_200)).unwrap();
    let answer = audio("efGh", "active", THEIRS, "")
        .replace("111 0 8 110 126", "0 101")
        .replace("126 tele", "101 tele");
    first.receive_answer(browser(&answer)).unwrap();
    let Join::Unchanged { pairing } = join(&call.a, &first, None, Hold::Lift).unwrap() else { panic!() };
    let [stream] = &streams(&call.a, &first, &pairing)[..] else { panic!() };
    assert!(stream.a.security == Security::Plain && stream.a_to_b.is_some() && stream.b_to_a.is_some());
    // The second pulls with an offer of its own; the far side need not hear of any certificate.
    let mut second = web_leg(0xd, OUR_N);
    let other = THEIRS.replace("4A:AD", "4B:AD");
    second.receive_offer(browser(&audio("zzzz", "actpass", &other, ""))).unwrap();
    let Join::Unchanged { pairing } = join(&call.a, &second, None, Hold::Lift).unwrap() else { panic!() };
    let text = answer_across(&call.a, &mut second, &pairing, ports(20_300)).unwrap();
    assert!(media_of(&text).starts_with("m=audio 29984 UDP/TLS/RTP/SAVPF 0 126\n"));
    assert_ne!(end(&first).local, end(&second).local);
    assert!(call.a.open().is_none() && call.b.is_agreed());
    call.b.abandon();
}

/// Credentials, certificate and association of a description of ours.
fn start(text: &Bytes) -> [String; 4] {
    ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=tls-id:"].map(|name| value(text, name))
}

#[test]
fn another_place_is_another_start_and_back_without_an_agreement_is_none() {
    let (here, there) = (place(29_984, OURS), place(29_985, "sha-256 03:04"));
    let mut leg = web_leg(0xa, OUR_A);
    leg.receive_offer(browser(&chrome())).unwrap();
    let first = answer_local(&mut leg, Local::Play, ports(20_000)).unwrap();
    let (agreed, before) = (end(&leg), leg.snapshot().unwrap());
    leg.meet_browsers_at(&there);
    let moved = offer_local(&mut leg, ports(20_000)).unwrap();
    assert!(start(&first).iter().zip(&start(&moved)).all(|(one, other)| one != other), "{moved:?}");
    assert!(media_of(&moved).starts_with("m=audio 29985 "), "{moved:?}");
    assert_eq!((value(&moved, "a=setup:"), start(&moved)[2].as_str()), ("actpass".into(), "sha-256 03:04"));
    // It was refused, and nothing was ever different.
    leg.abandon();
    leg.meet_browsers_at(&here);
    let again = leg.restore(&before).unwrap();
    assert_eq!((start(&again), end(&leg)), (start(&first), agreed.clone()));
    leg.abandon();
    // It was accepted: what comes after it is a third one, wherever it is.
    leg.meet_browsers_at(&there);
    let moved = offer_local(&mut leg, ports(20_000)).unwrap();
    leg.receive_answer(browser(&audio("new1", "active", THEIRS, "").replace(" 111 0 8 110 126", " 0 126")))
        .unwrap();
    assert_eq!(value(&moved, "a=ice-ufrag:"), *end(&leg).local.ufrag);
    assert_ne!(end(&leg).association, agreed.association);
    leg.meet_browsers_at(&here);
    let back = leg.restore(&before).unwrap();
    let [ufrag, password, fingerprint, tls_id] = start(&back);
    assert_eq!(fingerprint, OURS);
    for (n, fresh) in [(0, ufrag), (1, password), (3, tls_id)] {
        assert!(fresh != start(&first)[n] && fresh != start(&moved)[n], "{back:?}");
    }
    assert_eq!(lines(&back).len(), lines(&first).len(), "nothing else changed");
}

#[test]
fn another_tls_id_of_theirs_is_another_association_and_ours_is_new_as_well() {
    let named =
        |id: &str, ufrag: &str| browser(&audio(ufrag, "actpass", THEIRS, &format!("\na=tls-id:{id}")));
    let (one, other) = ("abcdefghijklmnopqrstu", "ABCDEFGHIJKLMNOPQRSTU");
    let mut leg = web_leg(0xa, OUR_A);
    leg.receive_offer(named(one, "aBcD")).unwrap();
    let first = answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    let before = end(&leg);
    leg.receive_offer(named(one, "aBcD")).unwrap();
    let same = answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    assert_eq!((start(&same), end(&leg)), (start(&first), before.clone()));
    leg.receive_offer(named(other, "aBcD")).unwrap();
    let anew = answer_local(&mut leg, Local::Echo, ports(20_000)).unwrap();
    let ([ufrag, .., tls_id], [was, .., had]) = (start(&anew), start(&first));
    assert_eq!(ufrag, was, "ICE goes on");
    assert_ne!(tls_id, had);
    assert!(tls_id.len() >= 20, "RFC 8842 5.1");
    assert_ne!((end(&leg).association, end(&leg).tls_id), (before.association, before.tls_id));
}
