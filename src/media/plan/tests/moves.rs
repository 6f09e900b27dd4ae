//! The media side of every way to move a call (contract 17, 18, 20, 23, 33).

use super::*;

/// The desk phone called with this; the far side answered with that.
const DESK: &str =
    "m=audio 4000 RTP/AVP 96 0 8 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000";
const FAR: &str =
    "m=audio 5000 RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=ptime:20";
/// The mobile numbers things its own way: DTMF on the desk's opus number.
const MOBILE: &str = "m=audio 6000 RTP/AVP 101 0 96\na=rtpmap:101 opus/48000/2\na=rtpmap:96 telephone-event/8000\na=fmtp:96 0-15";

fn pulling(media: &str) -> LegMedia {
    let mut new = leg(0xe, OUR_N);
    new.receive_offer(description(30, media)).unwrap();
    new
}

#[test]
fn a_pull_with_the_codec_in_use_leaves_the_far_side_alone() {
    let call = Call::up(DESK, FAR);
    let (far, mut new) = (call.b, pulling(MOBILE));
    let Join::Unchanged { pairing } = join(&far, &new, Some(0), Hold::Lift).unwrap() else { panic!() };
    let answer = answer_across(&far, &mut new, &pairing, ports(20300)).unwrap();
    check_answer(&text(30, 1, MOBILE), &answer);
    assert_eq!(
        media_of(&answer),
        "m=audio 20300 RTP/AVP 0 96\na=rtpmap:0 PCMU/8000\na=rtpmap:96 telephone-event/8000\na=ptime:20"
    );
    let [stream] = &streams(&far, &new, &pairing)[..] else { panic!() };
    let (to_new, to_far) = (stream.a_to_b.as_ref().unwrap(), stream.b_to_a.as_ref().unwrap());
    assert_eq!([0, 101, 96].map(|n| to_new.map(n)), [Some(0), Some(96), Some(101)]);
    assert_eq!([0, 96, 101].map(|n| to_far.map(n)), [Some(0), Some(101), None]);
    assert_eq!((stream.a.telephone_event, stream.b.telephone_event), (Some(101), Some(96)));

    // Later exchanges between the two go on under each side's own numbers.
    let mut moved = Call { a: far, b: new, pairing };
    let hold = MOBILE.to_owned() + "\na=sendonly";
    moved.b.receive_offer(description(30, &hold)).unwrap();
    let to_far = offer_across(&moved.b, &mut moved.a, &mut moved.pairing, ports(20100)).unwrap();
    assert_eq!(
        media_of(&to_far),
        "m=audio 20100 RTP/AVP 96 0 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=sendonly"
    );
    assert_eq!(version(&to_far), 2);
    moved.a.receive_answer(description(20, &(FAR.to_owned() + "\na=recvonly"))).unwrap();
    let to_new = answer_across(&moved.a, &mut moved.b, &moved.pairing, ports(20300)).unwrap();
    check_answer(&text(30, 1, &hold), &to_new);
    assert!(media_of(&to_new).starts_with("m=audio 20300 RTP/AVP 0 96\n"));
}

#[test]
fn the_codec_that_the_far_side_really_sends_decides() {
    let call = Call::up(
        DESK,
        "m=audio 5000 RTP/AVP 96 0 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000",
    );
    let new = pulling("m=audio 6000 RTP/AVP 0");
    let verdict = |sending| join(&call.b, &new, sending, Hold::Lift).unwrap();
    assert!(matches!(verdict(None), Join::Reoffer { why: Why::Codec, .. }), "the first of the agreed ones");
    assert!(matches!(verdict(Some(96)), Join::Reoffer { why: Why::Codec, .. }));
    assert!(matches!(verdict(Some(0)), Join::Unchanged { .. }));
    assert!(matches!(verdict(Some(101)), Join::Reoffer { .. }), "DTMF is not the codec in use");
    assert!(matches!(verdict(Some(77)), Join::Reoffer { .. }), "nor is a number that means nothing");
}

#[test]
fn another_codec_is_offered_to_the_far_side_under_its_history() {
    let mut call = Call::up(DESK, FAR);
    let before = call.streams();
    let mut new =
        pulling("m=audio 6000 RTP/AVP 96 8 100\na=rtpmap:96 G726-32/8000\na=rtpmap:100 telephone-event/8000");
    let Join::Reoffer { pairing, why: Why::Codec } = join(&call.b, &new, None, Hold::Lift).unwrap() else {
        panic!()
    };
    let snapshot = call.b.snapshot().unwrap();
    let offer = reoffer(&new, &mut call.b, &pairing, (Hold::Lift, Bridging::Never), ports(20100)).unwrap();
    // 96 was opus in this dialog and stays it; DTMF keeps 101.
    assert_eq!(
        media_of(&offer),
        "m=audio 20100 RTP/AVP 127 8 101\na=rtpmap:127 G726-32/8000\na=rtpmap:101 telephone-event/8000"
    );
    assert!(lines(&offer)[1].starts_with("o=- 11 2 IN"), "{:?}", lines(&offer)[1]);

    // Refused: nothing has changed.
    let mut refused = call.b.clone();
    refused.abandon();
    assert_eq!(streams(&call.a, &refused, &call.pairing).into_vec(), before);

    // Accepted: the new device gets its answer.
    call.b
        .receive_answer(description(20, "m=audio 5000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000"))
        .unwrap();
    let answer = answer_across(&call.b, &mut new, &pairing, ports(20300)).unwrap();
    assert_eq!(media_of(&answer), "m=audio 20300 RTP/AVP 8 100\na=rtpmap:100 telephone-event/8000");
    let [stream] = &streams(&call.b, &new, &pairing)[..] else { panic!() };
    assert_eq!(stream.a_to_b.as_ref().unwrap().map(101), Some(100));

    // Accepted, but the new device never came: back to what was.
    let restored = call.b.restore(&snapshot).unwrap();
    assert_eq!(media_of(&restored), media_of(snapshot.text()));
    assert_eq!(version(&restored), 3);
    call.b.receive_answer(description(20, FAR)).unwrap();
    assert_eq!(streams(&call.a, &call.b, &call.pairing).into_vec(), before);
}

#[test]
fn a_pull_without_offer_and_a_push_offer_the_codec_in_use_first() {
    let call = Call::up(
        DESK,
        "m=audio 5000 RTP/AVP 96 0 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000",
    );
    let (far, mut new) = (call.b, leg(0xe, OUR_N));
    let offer = offer_far(&far, &mut new, Some(0), (Hold::Lift, Bridging::Never), ports(20300)).unwrap();
    assert_eq!(
        media_of(&offer),
        "m=audio 20300 RTP/AVP 0 96 101 8\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\na=rtpmap:8 PCMA/8000"
    );
    let mut other = new.clone();
    new.receive_answer(description(30, "m=audio 6000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000"))
        .unwrap();
    let Join::Unchanged { pairing } = join(&far, &new, Some(0), Hold::Lift).unwrap() else { panic!() };
    assert!(streams(&far, &new, &pairing)[0].a_to_b.as_ref().unwrap().is_identity());

    // It takes only what we added: the far side is asked.
    other.receive_answer(description(30, "m=audio 6000 RTP/AVP 8")).unwrap();
    let Join::Reoffer { pairing, why: Why::Codec } = join(&far, &other, Some(0), Hold::Lift).unwrap() else {
        panic!()
    };
    let mut far = far;
    let offer = reoffer(&other, &mut far, &pairing, (Hold::Lift, Bridging::Never), ports(20100)).unwrap();
    assert_eq!(media_of(&offer), "m=audio 20100 RTP/AVP 8");
    far.receive_answer(description(20, "m=audio 5000 RTP/AVP 8")).unwrap();
    assert!(streams(&far, &other, &pairing)[0].a_to_b.as_ref().unwrap().is_identity());
}

#[test]
fn a_phone_that_gave_its_pin_is_joined_as_it_stands_or_asked_again() {
    let call = Call::up(DESK, FAR);
    let mut new = pulling(MOBILE);
    answer_local(&mut new, Local::Play, ports(20300)).unwrap();
    let Join::Unchanged { pairing } = join(&call.b, &new, None, Hold::Lift).unwrap() else { panic!() };
    assert_eq!(streams(&call.b, &new, &pairing)[0].a_to_b.as_ref().unwrap().map(101), Some(96));

    let wide = Call::up(DESK, "m=audio 5000 RTP/AVP 96\na=rtpmap:96 opus/48000/2");
    assert!(matches!(join(&wide.b, &new, None, Hold::Lift), Ok(Join::Reoffer { why: Why::Codec, .. })));
    let offer = offer_far(&wide.b, &mut new, None, (Hold::Lift, Bridging::Never), ports(20300)).unwrap();
    // opus is 101 in the phone's dialog, so DTMF, which is 96 there, stays that.
    assert_eq!(
        media_of(&offer),
        "m=audio 20300 RTP/AVP 101 0 8 96\na=rtpmap:101 opus/48000/2\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:96 telephone-event/8000\na=fmtp:96 0-15"
    );
    assert_eq!(version(&offer), 2);
    new.receive_answer(description(30, "m=audio 6000 RTP/AVP 101\na=rtpmap:101 opus/48000/2")).unwrap();
    let Join::Unchanged { pairing } = join(&wide.b, &new, None, Hold::Lift).unwrap() else { panic!() };
    assert_eq!(streams(&wide.b, &new, &pairing)[0].a_to_b.as_ref().unwrap().map(96), Some(101));
}

#[test]
fn video_without_a_counterpart_ends_in_its_place() {
    let video = "\nm=video 4002 RTP/AVP 97\na=rtpmap:97 H264/90000";
    let mut call = Call::up(&format!("{DESK}{video}"), &format!("{FAR}{}", video.replace("4002", "5002")));
    let mut new = pulling("m=audio 6000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000");
    let Join::Reoffer { pairing, why: Why::Stream } = join(&call.b, &new, None, Hold::Lift).unwrap() else {
        panic!()
    };
    let offer = reoffer(&new, &mut call.b, &pairing, (Hold::Lift, Bridging::Never), ports(20100)).unwrap();
    assert!(media_of(&offer).ends_with("\nm=video 0 RTP/AVP 97"), "{}", media_of(&offer));
    call.b.receive_answer(description(20, &format!("{FAR}\nm=video 0 RTP/AVP 97"))).unwrap();
    answer_across(&call.b, &mut new, &pairing, ports(20300)).unwrap();

    // Moved on to a device with video: audio is joined, the ended line stays ended, its own is refused.
    let with_video = "m=video 6002 RTP/AVP 97\na=rtpmap:97 H264/90000\nm=audio 6000 RTP/AVP 0";
    let mut third = pulling(with_video);
    let Join::Unchanged { pairing } = join(&call.b, &third, None, Hold::Lift).unwrap() else { panic!() };
    let answer = answer_across(&call.b, &mut third, &pairing, ports(20400)).unwrap();
    check_answer(&text(30, 1, with_video), &answer);
    assert!(media_of(&answer).starts_with("m=video 0 RTP/AVP 97\nm=audio 20402 RTP/AVP 0\n"));

    // It asks for video: the far side's ended line carries it again, though the order differs.
    third.receive_offer(description(30, with_video)).unwrap();
    let mut pairing = pairing;
    let offer = offer_across(&third, &mut call.b, &mut pairing, ports(20100)).unwrap();
    assert_eq!(media_of(&offer), "m=audio 20100 RTP/AVP 0\nm=video 20102 RTP/AVP 97\na=rtpmap:97 H264/90000");
}

#[test]
fn devices_that_cannot_join_are_told_so() {
    let call = Call::up(DESK, FAR);
    for media in [
        "m=video 6002 RTP/AVP 34",
        "m=audio 6000 RTP/AVP 101\na=rtpmap:101 telephone-event/8000",
        "m=audio 0 RTP/AVP 0\nm=video 6002 RTP/AVP 34",
        "m=audio 6000 RTP/SAVP 0\nm=video 6002 RTP/AVP 34",
    ] {
        assert_eq!(join(&call.b, &pulling(media), None, Hold::Lift), Err(Refusal::NoCommonCodec), "{media}");
    }
    let empty = leg(9, OUR_N);
    assert_eq!(join(&call.b, &empty, None, Hold::Lift), Err(Refusal::OutOfTurn));
    assert_eq!(join(&empty, &pulling(MOBILE), None, Hold::Lift), Err(Refusal::OutOfTurn));
    let mut busy = call.b.clone();
    busy.receive_offer(description(20, FAR)).unwrap();
    let pairing = join(&call.b, &pulling(MOBILE), None, Hold::Lift).unwrap().into_pairing();
    assert_eq!(
        reoffer(&pulling(MOBILE), &mut busy, &pairing, (Hold::Lift, Bridging::Never), ports(20100)),
        Err(Refusal::OutOfTurn),
        "glare"
    );
}

#[test]
fn either_party_may_be_the_one_that_moves() {
    let call = Call::up(DESK, FAR);
    // The callee moves: the caller is far. It offered, so it knows more than was agreed.
    let mut new = pulling("m=audio 6000 RTP/AVP 96 0 8\na=rtpmap:96 opus/48000/2");
    let Join::Unchanged { pairing } = join(&call.a, &new, None, Hold::Lift).unwrap() else { panic!() };
    let answer = answer_across(&call.a, &mut new, &pairing, ports(20300)).unwrap();
    assert_eq!(media_of(&answer), "m=audio 20300 RTP/AVP 0", "only what both ways are agreed on");
    let mut pushed = leg(0xf, OUR_N);
    let offer = offer_far(&call.a, &mut pushed, None, (Hold::Lift, Bridging::Never), ports(20300)).unwrap();
    assert!(media_of(&offer).starts_with("m=audio 20300 RTP/AVP 0 96 8 101\n"), "{}", media_of(&offer));
}

#[test]
fn a_chain_of_moves_keeps_the_far_dialog_sound() {
    let mut far = Call::up(DESK, FAR).b;
    let devices = [
        "m=audio 6000 RTP/AVP 8 101\na=rtpmap:101 telephone-event/8000",
        "m=audio 6000 RTP/AVP 96 97\na=rtpmap:96 iLBC/8000\na=rtpmap:97 telephone-event/8000",
        "m=audio 6000 RTP/AVP 101 96\na=rtpmap:101 opus/48000/2\na=rtpmap:96 G726-32/8000",
        DESK,
    ];
    let mut meanings: std::collections::BTreeMap<u8, crate::media::codec::Codec> =
        std::collections::BTreeMap::new();
    let first = version(far.ours().last()) + 1;
    for round in 0..12 {
        let mut new = pulling(devices[round % devices.len()]);
        let pairing = join(&far, &new, None, Hold::Lift).unwrap().into_pairing();
        let offer = reoffer(&new, &mut far, &pairing, (Hold::Lift, Bridging::Never), ports(20100)).unwrap();
        let sdp = Sdp::parse(offer.clone(), &Limits::default()).unwrap();
        assert_eq!(sdp.media().len(), 1);
        for format in formats::formats(&sdp.medium(0).unwrap(), &[]) {
            assert_eq!(*meanings.entry(format.number).or_insert(format.codec), format.codec, "round {round}");
        }
        assert_eq!(version(&offer), first + round as u64);
        // The far side takes whatever is offered.
        far.receive_answer(description(20, &media_of(&offer).replace("20100", "5000"))).unwrap();
        let answer = answer_across(&far, &mut new, &pairing, ports(20300)).unwrap();
        check_answer(&text(30, 1, devices[round % devices.len()]), &answer);
        let [stream] = &streams(&far, &new, &pairing)[..] else { panic!() };
        for format in &stream.b.sends {
            let there = stream.b_to_a.as_ref().unwrap().map(format.number).unwrap();
            assert_eq!(meanings[&there], format.codec, "round {round}");
        }
    }
}

#[test]
fn dtmf_on_another_clock_is_answered_as_it_was_offered() {
    let call = Call::up(DESK, FAR);
    let wide = "m=audio 6000 RTP/AVP 0 110\na=rtpmap:110 telephone-event/48000";
    let mut new = pulling(wide);
    let Join::Unchanged { pairing } = join(&call.b, &new, None, Hold::Lift).unwrap() else { panic!() };
    let answer = answer_across(&call.b, &mut new, &pairing, ports(20300)).unwrap();
    check_answer(&text(30, 1, wide), &answer);
    assert_eq!(
        media_of(&answer),
        "m=audio 20300 RTP/AVP 0 110\na=rtpmap:0 PCMU/8000\na=ptime:20\na=rtpmap:110 telephone-event/48000"
    );
    let stream = &streams(&call.b, &new, &pairing)[0];
    assert_eq!(stream.a_to_b.as_ref().unwrap().map(101), Some(110));
    assert_eq!(stream.b_to_a.as_ref().unwrap().map(110), Some(101));
}
