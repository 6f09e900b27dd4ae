//! Calls without a move: what crosses, what does not, and what later exchanges change.

use super::*;
use crate::wire::sdp::Direction;

const PHONE: &str = "m=audio 4000 RTP/AVP 9 0 8 101\na=rtpmap:9 G722/8000\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=sendrecv";
const ANSWER: &str = "m=audio 5000 RTP/AVP 8 101\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=sendrecv";

#[test]
fn a_call_passes_line_for_line_with_our_address_and_ports() {
    let mut call = Call::new();
    let (to_b, to_a) = call.exchange(PHONE, ANSWER);
    let head =
        |id, address: &str| format!("v=0\no=- {id} 1 IN IP4 {address}\ns=call\nc=IN IP4 {address}\nt=0 0\n");
    assert_eq!(lines(&to_b).join("\n"), head(0xb, OUR_B) + &PHONE.replace("4000", "20100"));
    assert_eq!(lines(&to_a).join("\n"), head(0xa, OUR_A) + &ANSWER.replace("5000", "20000"));

    let [stream] = &call.streams()[..] else { panic!() };
    assert_eq!(stream.a.rtp, Some("192.0.2.10:4000".parse().unwrap()));
    assert_eq!(stream.b.rtcp, Some("192.0.2.20:5001".parse().unwrap()));
    assert_eq!(
        (stream.a_to_b.clone(), stream.b_to_a.clone()),
        (Some(PtMap::IDENTITY), Some(PtMap::IDENTITY))
    );
    assert_eq!((stream.a.telephone_event, stream.b.telephone_event), (Some(101), Some(101)));
    assert_eq!(stream.b.accepts.iter().map(|f| f.number).collect::<Vec<_>>(), [8, 101]);
}

#[test]
fn what_belongs_to_the_authors_own_path_does_not_cross_and_all_else_does() {
    let offer = "i=about\na=label:192.0.2.98\na=X-nat:[fd00::1]\nb=AS:64\nk=clear:x\na=rtcp:4007\na=rtcp-mux\na=ice-ufrag:x\na=candidate:1 1 UDP 1 192.0.2.10 4000 typ host\na=crypto:1 AES x\na=setup:actpass\na=fingerprint:sha-1 x\na=ssrc:1 cname:x\na=mid:0\na=x-vendor:yes\na=pcfg:1 t=1\na=silenceSupp:off - - - -\na=rtpmap:0 PCMU/8000\na=rtpmap:55 stray/8000\na=rtcp-fb:* nack\na=X-nat:0 Unknown";
    let offer = format!("m=audio 4000 RTP/AVP 0\nc=IN IP4 192.0.2.99\n{offer}");
    let (to_b, _) = Call::new().exchange(&offer, "m=audio 5000 RTP/AVP 0");
    assert_eq!(
        media_of(&to_b),
        "m=audio 20100 RTP/AVP 0\ni=about\nb=AS:64\na=x-vendor:yes\na=silenceSupp:off - - - -\na=rtpmap:0 PCMU/8000\na=rtcp-fb:* nack\na=X-nat:0 Unknown"
    );
    assert!(!lines(&to_b).join("\n").contains("192.0.2."), "an address of the author crossed");
}

#[test]
fn no_line_tells_where_its_author_is() {
    let raw = "v=0\no=x 1 1 IN IP4 192.0.2.99\ns=at 10.9.8.7\ni=10.9.8.7\nu=http://10.9.8.7/x\ne=alice@10.9.8.7\np=+49 30\nc=IN IP4 192.0.2.99\nt=0 0\na=label:fd00::1\na=tool:x\nm=audio 4000 RTP/AVP 0\n";
    let (mut a, mut b, mut pairing) = (leg(1, OUR_A), leg(2, OUR_B), Pairing::default());
    a.receive_offer(screen().admit(raw.into()).unwrap()).unwrap();
    let to_b = offer_across(&a, &mut b, &mut pairing, ports(20100)).unwrap();
    let expected = format!(
        "v=0\no=- 2 1 IN IP4 {OUR_B}\ns=-\np=+49 30\nc=IN IP4 {OUR_B}\nt=0 0\na=tool:x\nm=audio 20100 RTP/AVP 0"
    );
    assert_eq!(lines(&to_b).join("\n"), expected);
}

#[test]
fn session_lines_stay_in_order_and_missing_ones_are_added() {
    let raw = "v=0\no=x 1 1 IN IP6 2001:db8::5\ni=desk\nb=CT:100\na=group:BUNDLE 0\na=sendonly\na=tool:x\nm=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::5\n";
    let (mut a, mut b, mut pairing) = (leg(1, OUR_A), leg(2, "2001:db8::2"), Pairing::default());
    a.receive_offer(screen().admit(raw.into()).unwrap()).unwrap();
    let to_b = offer_across(&a, &mut b, &mut pairing, ports(20100)).unwrap();
    assert_eq!(
        lines(&to_b).join("\n"),
        "v=0\no=- 2 1 IN IP6 2001:db8::2\ns=-\ni=desk\nc=IN IP6 2001:db8::2\nb=CT:100\nt=0 0\na=tool:x\nm=audio 20100 RTP/AVP 0\na=sendonly"
    );
}

#[test]
fn hold_and_resume_cross_and_only_a_changed_text_gets_a_new_version() {
    let mut call = Call::up(PHONE, ANSWER);
    let hold = PHONE.replace("sendrecv", "sendonly");
    let (to_b, to_a) = call.exchange(&hold, &ANSWER.replace("sendrecv", "recvonly"));
    assert_eq!((version(&to_b), version(&to_a)), (2, 2));
    assert!(media_of(&to_b).ends_with("a=sendonly") && media_of(&to_a).ends_with("a=recvonly"));
    let [stream] = &call.streams()[..] else { panic!() };
    assert!(stream.a_to_b.is_some() && stream.b_to_a.is_none());
    assert_eq!((call.a.holds(), call.b.holds()), (Some(true), Some(false)));

    let (again_b, again_a) = call.exchange(&hold, &ANSWER.replace("sendrecv", "recvonly"));
    assert_eq!((again_b, again_a), (to_b, to_a), "a refresh repeats the text, version included");

    let (to_b, to_a) = call.exchange(PHONE, ANSWER);
    assert_eq!((version(&to_b), version(&to_a)), (3, 3));
    assert!(media_of(&to_b).ends_with("a=sendrecv"));
}

#[test]
fn the_old_hold_by_an_unspecified_address_becomes_an_attribute() {
    let mut call = Call::up(PHONE, ANSWER);
    let hold =
        PHONE.replace("\na=sendrecv", "").replace("RTP/AVP 9 0 8 101", "RTP/AVP 9 0 8 101\nc=IN IP4 0.0.0.0");
    let (to_b, to_a) = call.exchange(&hold, ANSWER);
    assert!(media_of(&to_b).ends_with("a=sendonly"), "{}", media_of(&to_b));
    assert!(media_of(&to_a).ends_with("a=recvonly"), "an answer that ignores the hold is put right");
    let [stream] = &call.streams()[..] else { panic!() };
    assert_eq!((stream.a.rtp, stream.a.hears(), stream.b_to_a.is_some()), (None, false, false));
}

#[test]
fn an_invite_without_offer_lets_the_callee_offer() {
    let mut call = Call::new();
    let (to_a, to_b) = call.exchange_back(PHONE, ANSWER);
    assert_eq!(media_of(&to_a), PHONE.replace("4000", "20000"));
    assert_eq!(media_of(&to_b), ANSWER.replace("5000", "20100"));
    assert_eq!(call.streams().len(), 1);
}

#[test]
fn early_media_may_repeat_its_answer_and_a_fork_may_change_it() {
    let mut call = Call::up(PHONE, ANSWER);
    call.b.receive_answer(description(20, ANSWER)).unwrap();
    let again = answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)).unwrap();
    assert_eq!(version(&again), 1);

    let (mut other, mut pairing) = (leg(0xc, OUR_B), Pairing::default());
    let mut caller = call.a.clone();
    caller.receive_offer(description(10, PHONE)).unwrap();
    offer_across(&caller, &mut other, &mut pairing, ports(20100)).unwrap();
    other.receive_answer(description(30, "m=audio 6000 RTP/AVP 0")).unwrap();
    let won = answer_across(&other, &mut caller, &pairing, ports(20000)).unwrap();
    assert_eq!((version(&won), media_of(&won).as_str()), (2, "m=audio 20000 RTP/AVP 0"));
}

#[test]
fn video_has_its_own_ports_and_may_come_and_go() {
    let video = "m=video 4002 RTP/AVP 96\nb=AS:512\na=rtpmap:96 H264/90000\na=fmtp:96 profile-level-id=42e01f;packetization-mode=1\na=rtcp-fb:96 nack pli";
    let both = format!("{PHONE}\n{video}");
    let mut call = Call::up(PHONE, ANSWER);
    let (to_b, to_a) = call.exchange(&both, &format!("{ANSWER}\n{}", video.replace("4002", "5002")));
    assert!(media_of(&to_b).ends_with(&video.replace("4002", "20102")));
    assert!(media_of(&to_a).ends_with(&video.replace("4002", "20002")));
    assert_eq!(call.streams().len(), 2);

    let (to_b, _) = call.exchange(&both.replace("4002", "0"), &format!("{ANSWER}\nm=video 0 RTP/AVP 96"));
    assert!(media_of(&to_b).ends_with("m=video 0 RTP/AVP 96"), "{}", media_of(&to_b));
    assert_eq!(call.streams().len(), 1);

    let (to_b, _) = call.exchange(&both, &format!("{ANSWER}\n{}", video.replace("4002", "5002")));
    assert_eq!(
        lines(&to_b).iter().filter(|line| line.starts_with("m=")).count(),
        2,
        "the ended line is used again"
    );
    assert_eq!(call.streams().len(), 2);
}

#[test]
fn a_video_line_that_the_callee_refuses_is_refused() {
    let offer = format!("{PHONE}\nm=video 4002 RTP/AVP 34");
    let mut call = Call::new();
    let (_, to_a) = call.exchange(&offer, &format!("{ANSWER}\nm=video 0 RTP/AVP 34"));
    assert!(media_of(&to_a).ends_with("m=video 0 RTP/AVP 34"));
    assert_eq!(call.streams().len(), 1);
    // Phones that simply leave it out mean the same.
    let (_, to_a) = call.exchange(&offer, ANSWER);
    assert!(media_of(&to_a).ends_with("m=video 0 RTP/AVP 34"));
}

#[test]
fn lines_that_we_do_not_carry_are_refused_in_place_and_not_shown() {
    let offer = format!(
        "m=audio 3998 RTP/SAVP 0\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\n{PHONE}\nm=image 4004 udptl t38\nm=application 4006 TCP/BFCP *\nm=video 0 RTP/AVP 34\nm=audio 4008 RTP/AVP 0"
    );
    let mut call = Call::new();
    let (to_b, to_a) = call.exchange(&offer, &format!("{ANSWER}\nm=audio 5008 RTP/AVP 0"));
    let m_lines = |text| lines(text).into_iter().filter(|line| line.starts_with("m=")).collect::<Vec<_>>();
    assert_eq!(m_lines(&to_b), ["m=audio 20100 RTP/AVP 9 0 8 101", "m=audio 20102 RTP/AVP 0"]);
    assert_eq!(
        m_lines(&to_a),
        [
            "m=audio 0 RTP/SAVP 0",
            "m=audio 20002 RTP/AVP 8 101",
            "m=image 0 udptl t38",
            "m=application 0 TCP/BFCP *",
            "m=video 0 RTP/AVP 34",
            "m=audio 20010 RTP/AVP 0"
        ]
    );
    assert_eq!(call.streams().iter().map(|s| (s.a.line, s.b.line)).collect::<Vec<_>>(), [(1, 0), (5, 1)]);
}

#[test]
fn offers_without_anything_for_us_are_refused_by_reason() {
    for (media, refusal) in [
        ("m=audio 4000 RTP/SAVP 0", Refusal::SecureMedia),
        ("m=audio 4000 UDP/TLS/RTP/SAVPF 111\na=rtpmap:111 opus/48000/2", Refusal::SecureMedia),
        ("m=image 4000 udptl t38", Refusal::NoUsableMedia),
        ("m=audio 0 RTP/AVP 0", Refusal::NoUsableMedia),
        ("m=audio 4000 RTP/AVP pcmu", Refusal::NoUsableMedia),
        ("a=nothing", Refusal::NoUsableMedia),
    ] {
        let mut a = leg(1, OUR_A);
        assert_eq!(a.receive_offer(description(10, media)), Err(refusal), "{media}");
        assert_eq!(a.open(), None);
    }
}

#[test]
fn a_refused_exchange_leaves_what_was_agreed() {
    let mut call = Call::up(PHONE, ANSWER);
    let before = call.streams();
    let t38 = description(10, "m=image 4004 udptl t38");
    assert_eq!(call.a.receive_offer(t38), Err(Refusal::NoUsableMedia));

    call.a.receive_offer(description(10, &PHONE.replace("4000", "4444"))).unwrap();
    let sent = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20200)).unwrap();
    assert_eq!((call.a.open(), call.b.open()), (Some(Offerer::Them), Some(Offerer::Us)));
    assert_eq!(call.b.receive_offer(description(20, PHONE)), Err(Refusal::OutOfTurn), "glare");
    call.a.abandon();
    call.b.abandon();
    assert_eq!(call.streams(), before);
    let again = call.b.repeat().unwrap();
    assert_eq!(version(&again), version(&sent) + 1, "the refused text was sent, so its version is spent");
    assert!(media_of(&again).contains("20100"));
}

#[test]
fn a_refresh_is_recognised_and_answered_without_the_other_side() {
    let mut call = Call::up(PHONE, ANSWER);
    let same = description(20, ANSWER);
    assert!(call.b.repeats(&same) && !call.b.repeats(&description(20, PHONE)));
    call.b.receive_offer(same).unwrap();
    let answer = call.b.repeat().unwrap();
    check_answer(&text(20, 1, ANSWER), &answer);
    assert!(media_of(&answer).starts_with("m=audio 20100 RTP/AVP 8 101\n"), "{}", media_of(&answer));
    assert_eq!(call.streams().len(), 1);
    let refresh = call.a.repeat().unwrap();
    assert_eq!(version(&refresh), 1);
    call.a.receive_answer(description(10, PHONE)).unwrap();
}

#[test]
fn no_common_codec_and_no_port_are_told_apart_and_change_nothing() {
    let mut call = Call::new();
    call.a.receive_offer(description(10, PHONE)).unwrap();
    let mut other = leg(2, OUR_B);
    assert_eq!(offer_across(&call.a, &mut other, &mut call.pairing, |_| None), Err(Refusal::OutOfPorts));
    assert!(call.pairing.is_empty() && other.open().is_none() && other.lines.is_empty());
    offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
    call.b
        .receive_answer(description(20, "m=audio 5000 RTP/AVP 18 101\na=rtpmap:101 telephone-event/8000"))
        .unwrap();
    let refused = answer_across(&call.b, &mut call.a, &call.pairing, ports(20000));
    assert_eq!(refused, Err(Refusal::NoCommonCodec), "telephone-event alone is no call");
    assert_eq!(call.a.open(), Some(Offerer::Them));
}

#[test]
fn sloppy_answers_are_understood() {
    let offer = "m=audio 4000 RTP/AVP 96 97 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\na=rtpmap:97 AMR/8000\na=fmtp:97 octet-align=1\na=rtpmap:101 telephone-event/8000";
    // No rtpmap at all; no direction; a format that was never offered.
    let mut call = Call::new();
    let (_, to_a) = call.exchange(offer, "m=audio 5000 RTP/AVP 97 18 101");
    assert_eq!(
        media_of(&to_a),
        "m=audio 20000 RTP/AVP 97 101\na=rtpmap:97 AMR/8000\na=rtpmap:101 telephone-event/8000"
    );
    // Other case, channels spelled out, parameters changed.
    let (_, to_a) =
        call.exchange(offer, "m=audio 5000 RTP/AVP 97\na=rtpmap:97 amr/8000/1\na=fmtp:97 mode-set=7");
    assert_eq!(media_of(&to_a), "m=audio 20000 RTP/AVP 97\na=rtpmap:97 amr/8000/1\na=fmtp:97 mode-set=7");
}

#[test]
fn an_answer_under_other_numbers_is_translated() {
    // RFC 3264 6.1 lets the answerer number for itself what it receives.
    let offer = "m=audio 4000 RTP/AVP 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000";
    let answer = "m=audio 5000 RTP/AVP 111 100\na=rtpmap:111 opus/48000/2\na=fmtp:111 stereo=0\na=rtpmap:100 telephone-event/8000";
    let mut call = Call::new();
    let (_, to_a) = call.exchange(offer, answer);
    assert_eq!(
        media_of(&to_a),
        "m=audio 20000 RTP/AVP 96 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=0\na=rtpmap:101 telephone-event/8000"
    );
    let [stream] = &call.streams()[..] else { panic!() };
    let map = stream.a_to_b.as_ref().unwrap();
    assert_eq!((map.map(96), map.map(101)), (Some(111), Some(100)));
    assert!(
        stream.b_to_a.as_ref().unwrap().is_identity(),
        "the callee sends as it was told: with the caller's numbers"
    );
    assert_eq!((stream.a.telephone_event, stream.b.telephone_event), (Some(101), Some(101)));
}

#[test]
fn clamped_directions_hold_for_the_relay_too() {
    let mut call = Call::new();
    call.exchange(&PHONE.replace("sendrecv", "inactive"), ANSWER);
    let [stream] = &call.streams()[..] else { panic!() };
    assert_eq!((stream.a.direction, stream.b.direction), (Direction::Inactive, Direction::Inactive));
    assert!(stream.a_to_b.is_none() && stream.b_to_a.is_none());
}

#[test]
fn services_of_our_own_answer_and_offer() {
    let offer =
        format!("m=video 4002 RTP/AVP 34\n{}\nm=audio 4008 RTP/AVP 0", PHONE.replace("sendrecv", "sendonly"));
    let mut leg_a = leg(1, OUR_A);
    leg_a.receive_offer(description(10, &offer)).unwrap();
    let answer = answer_local(&mut leg_a, Local::Play, ports(20000)).unwrap();
    check_answer(&text(10, 1, &offer), &answer);
    assert_eq!(
        media_of(&answer),
        "m=video 0 RTP/AVP 34\nm=audio 20002 RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=recvonly\nm=audio 0 RTP/AVP 0"
    );
    let [remote] = &leg_a.remote_media()[..] else { panic!() };
    assert_eq!((remote.line, remote.hears(), remote.telephone_event), (1, false, Some(101)));

    leg_a.receive_offer(description(10, &offer)).unwrap();
    let echo = answer_local(&mut leg_a, Local::Echo, ports(20000)).unwrap();
    assert!(media_of(&echo).contains("m=audio 20002 RTP/AVP 9 101"));

    let mut opus = leg(2, OUR_A);
    opus.receive_offer(description(
        10,
        "m=audio 4000 RTP/AVP 96\na=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=1",
    ))
    .unwrap();
    assert_eq!(answer_local(&mut opus, Local::Play, ports(20000)), Err(Refusal::NoCommonCodec));
    let echo = answer_local(&mut opus, Local::Echo, ports(20000)).unwrap();
    assert!(media_of(&echo).contains("a=rtpmap:96 opus/48000/2\na=fmtp:96 stereo=1"));

    let mut late = leg(3, OUR_A);
    let offer = offer_local(&mut late, ports(20000)).unwrap();
    assert!(media_of(&offer).starts_with("m=audio 20000 RTP/AVP 0 8 101\n"));
    late.receive_answer(description(10, "m=audio 4000 RTP/AVP 8")).unwrap();
    assert_eq!(late.remote_media()[0].accepts[0].number, 8);
    assert_eq!(late.remote_media()[0].telephone_event, None);
}
