//! SRTP by keys in the description: who gets which lines, and that nobody gets less than before.

use super::*;
use crate::media::srtp::{Security, Suite};

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";
const PLAIN: &str = "m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000";

/// An audio line with these crypto lines.
fn secured(profile: &str, crypto: &[(u32, &str, &str)]) -> String {
    let mut text = format!("m=audio 4000 {profile} 0 101\na=rtpmap:101 telephone-event/8000");
    for (tag, suite, key) in crypto {
        text += &format!("\na=crypto:{tag} {suite} inline:{key}|2^31");
    }
    text
}

fn savp(tag: u32) -> String {
    secured("RTP/SAVP", &[(tag, "AES_CM_128_HMAC_SHA1_80", KEY)])
}

fn protected(id: u64, address: &str, rule: Rule, offers_srtp: bool) -> LegMedia {
    leg(id, address).protected(rule, offers_srtp, [id as u8; 32])
}

fn call(a: (Rule, bool), b: (Rule, bool)) -> Call {
    Call {
        a: protected(0xa, OUR_A, a.0, a.1),
        b: protected(0xb, OUR_B, b.0, b.1),
        pairing: Pairing::default(),
    }
}

fn crypto_of(text: &Bytes) -> Vec<String> {
    lines(text).into_iter().filter(|line| line.starts_with("a=crypto:")).collect()
}

/// What a peer would answer that takes the line of an offer of ours with this tag.
fn answer_with(offer: &Bytes, tag: u32) -> String {
    let sdp = Sdp::parse(offer.clone(), &Limits::default()).unwrap();
    let media = sdp.medium(0).unwrap();
    let prefix = format!("a=crypto:{tag} ");
    let suite = crypto_of(offer)
        .iter()
        .find_map(|line| line.strip_prefix(&prefix)?.split(' ').next().map(str::to_owned));
    secured(&media.protocol_name().escape_ascii().to_string(), &[(tag, &suite.unwrap(), OTHER)])
}

fn keys(media: &LegMedia) -> Option<(Suite, Vec<u8>, Vec<u8>)> {
    match media.remote_media().first()?.security.clone() {
        Security::Plain | Security::Web(_) => None,
        Security::Srtp(keys) => {
            Some((keys.ours.suite(), keys.theirs.expose().to_vec(), keys.ours.expose().to_vec()))
        }
    }
}

#[test]
fn a_secure_caller_and_a_plain_callee_are_told_what_each_can_do() {
    let mut call = call((Rule::Either, false), (Rule::Either, false));
    let offer = secured(
        "RTP/SAVP",
        &[
            (5, "F8_128_HMAC_SHA1_80", KEY),
            (7, "AES_CM_128_HMAC_SHA1_32", KEY),
            (9, "AES_CM_128_HMAC_SHA1_80", OTHER),
        ],
    );
    let (to_b, to_a) = call.exchange(&offer, PLAIN);
    assert!(media_of(&to_b).starts_with("m=audio 20100 RTP/AVP 0 101\n") && crypto_of(&to_b).is_empty());
    assert!(media_of(&to_a).starts_with("m=audio 20000 RTP/SAVP 0 101\n"));
    let [line] = &crypto_of(&to_a)[..] else { panic!("{to_a:?}") };
    assert!(
        line.starts_with("a=crypto:7 AES_CM_128_HMAC_SHA1_32 inline:"),
        "the first that is spoken: {line}"
    );
    assert!(!line.contains(KEY), "a key of our own");
    let (suite, theirs, ours) = keys(&call.a).unwrap();
    assert_eq!((suite, theirs.len()), (Suite::AesCm128HmacSha1Tag32, 30));
    assert_ne!(theirs, ours);
    assert_eq!(keys(&call.b), None);
    assert_eq!((call.a.is_secured(), call.b.is_secured()), (true, false));
}

#[test]
fn a_device_that_is_offered_srtp_gets_every_suite_and_a_key_for_each() {
    let mut call = call((Rule::Either, false), (Rule::Either, true));
    call.a.receive_offer(description(10, PLAIN)).unwrap();
    let offer = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
    assert!(media_of(&offer).starts_with("m=audio 20100 RTP/SAVP 0 101\n"));
    let offered = crypto_of(&offer);
    assert_eq!(offered.len(), 4);
    for (line, (suite, tag)) in offered.iter().zip(Suite::ALL.iter().zip(1..)) {
        assert!(line.starts_with(&format!("a=crypto:{tag} {} inline:", suite.as_str())), "{line}");
    }
    call.b.receive_answer(description(20, &answer_with(&offer, 2))).unwrap_err();
    let gcm = format!("m=audio 4000 RTP/SAVP 0\na=crypto:2 AEAD_AES_256_GCM inline:{}", "A".repeat(59));
    call.b.receive_answer(description(20, &gcm)).unwrap();
    let to_a = answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)).unwrap();
    assert!(media_of(&to_a).starts_with("m=audio 20000 RTP/AVP 0"));
    assert_eq!(keys(&call.b).unwrap().0, Suite::AeadAes256Gcm);
}

#[test]
fn an_answer_without_our_keys_is_none() {
    for answer in [
        PLAIN.to_owned(),
        PLAIN.replace("AVP", "SAVP"),
        savp(2),
        savp(99),
        secured("RTP/SAVP", &[(1, "AES_CM_128_HMAC_SHA1_32", KEY)]),
        format!("{} UNENCRYPTED_SRTP", savp(1)),
    ] {
        let mut call = call((Rule::Either, false), (Rule::Either, true));
        call.a.receive_offer(description(10, PLAIN)).unwrap();
        offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
        assert_eq!(call.b.receive_answer(description(20, &answer)), Err(Refusal::Insecure), "{answer}");
        assert!(!call.b.is_agreed() && call.b.open() == Some(Offerer::Us), "unchanged");
    }
}

#[test]
fn the_rule_says_what_is_let_in() {
    let best_effort = secured("RTP/AVP", &[(1, "AES_CM_128_HMAC_SHA1_80", KEY)]);
    let unknown = secured("RTP/SAVP", &[(1, "F8_128_HMAC_SHA1_80", KEY)]);
    let unknown_best_effort = secured("RTP/AVP", &[(1, "F8_128_HMAC_SHA1_80", KEY)]);
    let dtls = "m=audio 4000 UDP/TLS/RTP/SAVPF 0\na=fingerprint:sha-256 00";
    use Refusal::{Insecure, SecureMedia};
    for (rule, offer, verdict) in [
        (Rule::PlainOnly, PLAIN, Ok(false)),
        (Rule::PlainOnly, &savp(1), Err(SecureMedia)),
        (Rule::PlainOnly, &best_effort, Ok(false)),
        (Rule::PlainOnly, dtls, Err(SecureMedia)),
        (Rule::Either, PLAIN, Ok(false)),
        (Rule::Either, &savp(1), Ok(true)),
        (Rule::Either, &best_effort, Ok(true)),
        (Rule::Either, &unknown, Err(SecureMedia)),
        (Rule::Either, &unknown_best_effort, Ok(false)),
        (Rule::SecureOnly, PLAIN, Err(Insecure)),
        (Rule::SecureOnly, &savp(1), Ok(true)),
        (Rule::SecureOnly, &best_effort, Ok(true)),
        (Rule::SecureOnly, &unknown_best_effort, Err(Insecure)),
        (Rule::SecureOnly, dtls, Err(SecureMedia)),
    ] {
        let mut call = call((rule, false), (Rule::PlainOnly, false));
        let taken = call.a.receive_offer(description(10, offer)).map(|()| {
            let to_b = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
            assert!(crypto_of(&to_b).is_empty());
            call.b.receive_answer(description(20, PLAIN)).unwrap();
            let to_a = answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)).unwrap();
            assert_eq!(crypto_of(&to_a).len(), usize::from(call.a.is_secured()));
            call.a.is_secured()
        });
        assert_eq!(taken, verdict, "{rule:?} {offer}");
    }
}

#[test]
fn only_what_may_be_taken_is_shown_to_the_other_side() {
    let mut call = call((Rule::SecureOnly, false), (Rule::Either, false));
    let video = "m=video 4002 RTP/AVP 96\na=rtpmap:96 H264/90000";
    let (to_b, to_a) = call.exchange(&format!("{}\n{video}", savp(1)), PLAIN);
    assert!(!media_of(&to_b).contains("video"));
    assert!(media_of(&to_a).contains("m=video 0 RTP/AVP 96"));
}

#[test]
fn our_key_stays_over_every_exchange_and_the_suite_with_it() {
    let mut call = call((Rule::Either, false), (Rule::Either, true));
    let offer = PLAIN.to_owned();
    call.a.receive_offer(description(10, &offer)).unwrap();
    let to_b = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
    call.b.receive_answer(description(20, &answer_with(&to_b, 1))).unwrap();
    answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)).unwrap();
    let first = keys(&call.b).unwrap();

    // A hold: offered again with the agreed suite alone.
    let hold = offer + "\na=sendonly";
    call.a.receive_offer(description(10, &hold)).unwrap();
    let again = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
    assert_eq!(crypto_of(&again), crypto_of(&to_b)[..1]);
    call.b.receive_answer(description(20, &(answer_with(&again, 1) + "\na=recvonly"))).unwrap();
    answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)).unwrap();
    assert_eq!(keys(&call.b), Some(first.clone()));

    // Its own offer, with another tag and a new key of its own: ours stays.
    let (_, to_b) = call.exchange_back(&savp(4), PLAIN);
    assert!(crypto_of(&to_b)[0].starts_with("a=crypto:4 AES_CM_128_HMAC_SHA1_80 "));
    let renewed = keys(&call.b).unwrap();
    assert_eq!(renewed.2, first.2);
    assert_ne!(renewed.1, first.1);

    // A refresh of ours repeats it.
    assert_eq!(crypto_of(&call.b.repeat().unwrap()), crypto_of(&to_b));
}

#[test]
fn a_secured_leg_never_becomes_plain() {
    let up = || {
        let mut call = call((Rule::Either, false), (Rule::Either, false));
        call.exchange(&savp(1), PLAIN);
        call
    };
    let insecure = Err(Refusal::Insecure);
    for offer in [PLAIN.to_owned(), PLAIN.replace("AVP", "SAVP"), format!("m=audio 0 RTP/SAVP 0\n{PLAIN}")] {
        let mut call = up();
        let before = keys(&call.a);
        let refused = call.a.receive_offer(description(10, &offer));
        assert!(matches!(refused, Err(Refusal::Insecure | Refusal::SecureMedia)), "{offer}");
        assert_eq!(keys(&call.a), before);
        call.exchange(&savp(1), PLAIN);
    }

    // Our offer to it names keys, and it must take them.
    let mut call = up();
    call.b.receive_offer(description(20, PLAIN)).unwrap();
    let to_a = offer_across(&call.b, &mut call.a, &mut call.pairing, ports(20000)).unwrap();
    assert!(media_of(&to_a).starts_with("m=audio 20000 RTP/SAVP 0 101\n"));
    assert_eq!(crypto_of(&to_a).len(), 1);
    assert_eq!(call.a.receive_answer(description(10, PLAIN)), insecure);
    call.a.abandon();

    // Not even after its stream was ended.
    call.a.receive_offer(description(10, "m=audio 0 RTP/SAVP 0")).unwrap();
    call.b.abandon();
    let _ = answer_across(&call.b, &mut call.a, &call.pairing, ports(20000));
    call.a.abandon();
    assert_eq!(call.a.receive_offer(description(10, PLAIN)), insecure);
}

/// Sound with keys beside a picture, or the same sound, without: once and in every later offer of the same shape.
#[test]
fn beside_a_secured_line_none_goes_in_clear_and_the_same_offer_is_taken_again() {
    let video = "m=video 4002 RTP/AVP 99\na=rtpmap:99 H264/90000";
    for beside in [video, &PLAIN.replace("4000", "4004")] {
        let mut leg = protected(0xa, OUR_A, Rule::Either, false);
        for (version, direction) in [(1, "sendrecv"), (2, "sendonly"), (2, "sendonly"), (3, "sendrecv")] {
            let offer = format!("{}\na={direction}\n{beside}", savp(1));
            leg.receive_offer(screen().admit(text(10, version, &offer)).unwrap()).unwrap();
            let answer = answer_local(&mut leg, Local::Echo, ports(20000)).unwrap();
            let ports: Vec<u16> =
                Sdp::parse(answer, &Limits::default()).unwrap().media().map(|media| media.port()).collect();
            assert_eq!(ports, [20_000, 0], "{version}: {beside}");
            assert!(leg.is_secured());
        }
    }
}

/// Sound in clear that is live goes on when a picture with keys is offered beside it, and gets keys where it has them too. (The echo has no picture.)
#[test]
fn keys_of_another_line_end_no_line_that_talks_in_clear() {
    let keys = "\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^31";
    let video = format!("m=video 4002 RTP/SAVP 99\na=rtpmap:99 H264/90000{keys}");
    let mut leg = protected(0xa, OUR_A, Rule::Either, false);
    for (version, offer, expected, is_secured) in [
        (1, PLAIN.to_owned(), &[20_000][..], false),
        (2, format!("{PLAIN}\n{video}"), &[20_000, 0], false),
        (3, format!("{}\n{video}", savp(1)), &[20_000, 0], true),
    ] {
        leg.receive_offer(screen().admit(text(10, version, &offer)).unwrap()).unwrap();
        let answer = answer_local(&mut leg, Local::Echo, ports(20000)).unwrap();
        let answer = Sdp::parse(answer, &Limits::default()).unwrap();
        let ports: Vec<u16> = answer.media().map(|media| media.port()).collect();
        assert_eq!((&*ports, leg.is_secured()), (expected, is_secured), "{offer}");
    }
}

#[test]
fn best_effort_keeps_its_profile_and_its_keys() {
    let mut call = call((Rule::Either, false), (Rule::Either, false));
    let offer = secured("RTP/AVP", &[(1, "AES_CM_128_HMAC_SHA1_80", KEY)]);
    let (_, to_a) = call.exchange(&offer, PLAIN);
    assert!(media_of(&to_a).starts_with("m=audio 20000 RTP/AVP 0 101\n"));
    assert_eq!(crypto_of(&to_a).len(), 1);
    call.b.receive_offer(description(20, PLAIN)).unwrap();
    let again = offer_across(&call.b, &mut call.a, &mut call.pairing, ports(20000)).unwrap();
    assert!(media_of(&again).starts_with("m=audio 20000 RTP/AVP 0 101\n"));
    assert_eq!(crypto_of(&again).len(), 1);
    assert_eq!(call.a.receive_answer(description(10, PLAIN)), Err(Refusal::Insecure));
    call.a.receive_answer(description(10, &answer_with(&again, 1))).unwrap();
}

#[test]
fn feedback_profiles_have_their_secure_twins() {
    let mut call = call((Rule::Either, false), (Rule::Either, true));
    call.a.receive_offer(description(10, "m=video 4000 RTP/AVPF 96\na=rtpmap:96 VP8/90000")).unwrap();
    let offer = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
    assert!(media_of(&offer).starts_with("m=video 20100 RTP/SAVPF 96\n"));
}

#[test]
fn a_move_leaves_the_far_side_its_keys_whatever_the_devices_have() {
    for (old_secure, new_secure) in [(false, true), (true, false), (true, true)] {
        let line = |is_secure: bool| if is_secure { savp(1) } else { PLAIN.to_owned() };
        let mut call = call((Rule::Either, false), (Rule::Either, true));
        call.a.receive_offer(description(10, &line(old_secure))).unwrap();
        let to_far = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
        call.b.receive_answer(description(20, &answer_with(&to_far, 1))).unwrap();
        answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)).unwrap();
        let before = keys(&call.b);

        let mut new = protected(0xe, OUR_N, Rule::Either, false);
        new.receive_offer(description(30, &line(new_secure))).unwrap();
        let Join::Unchanged { pairing } = join(&call.b, &new, None, Hold::Lift).unwrap() else { panic!() };
        // Also where the far side is asked nevertheless.
        let again =
            reoffer(&new, &mut call.b, &pairing, (Hold::Lift, Bridging::Never), ports(20100)).unwrap();
        assert_eq!(crypto_of(&again), crypto_of(&to_far)[..1]);
        assert_eq!(
            call.b.receive_answer(description(20, PLAIN)),
            Err(Refusal::Insecure),
            "no less by a move"
        );
        call.b.receive_answer(description(20, &answer_with(&again, 1))).unwrap();
        let answer = answer_across(&call.b, &mut new, &pairing, ports(20300)).unwrap();
        check_answer(&text(30, 1, &line(new_secure)), &answer);
        assert_eq!((keys(&call.b), new.is_secured()), (before, new_secure));
        let [stream] = &streams(&call.b, &new, &pairing)[..] else { panic!() };
        assert!(stream.a_to_b.is_some() && stream.b_to_a.is_some());

        // Push: the same, with an offer of ours.
        let mut pushed = protected(0xf, OUR_N, Rule::Either, new_secure);
        let offer =
            offer_far(&call.b, &mut pushed, None, (Hold::Lift, Bridging::Never), ports(20400)).unwrap();
        assert_eq!(crypto_of(&offer).len(), if new_secure { 4 } else { 0 });
        let answer = if new_secure { answer_with(&offer, 1) } else { PLAIN.to_owned() };
        pushed.receive_answer(description(30, &answer)).unwrap();
        assert!(matches!(join(&call.b, &pushed, None, Hold::Lift), Ok(Join::Unchanged { .. })));
    }
}

#[test]
fn our_services_speak_it_too() {
    let mut leg = protected(0xa, OUR_A, Rule::Either, false);
    leg.receive_offer(description(10, &savp(3))).unwrap();
    let answer = answer_local(&mut leg, Local::Echo, ports(20000)).unwrap();
    check_answer(&text(10, 1, &savp(3)), &answer);
    assert!(leg.is_secured());
    let mut leg = protected(0xa, OUR_A, Rule::SecureOnly, false);
    let offer = offer_local(&mut leg, ports(20000)).unwrap();
    assert!(media_of(&offer).starts_with("m=audio 20000 RTP/SAVP "));
    assert_eq!(crypto_of(&offer).len(), 4);
    leg.receive_answer(description(10, &answer_with(&offer, 1))).unwrap();
    assert!(keys(&leg).is_some());
}
