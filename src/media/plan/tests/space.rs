//! A small space of calls, walked whole: every answer is valid (RFC 3264 6) and every packet finds its codec.

use super::*;
use crate::media::codec::Codec;

/// m-lines over a few codecs, numbered in ways that clash.
const LINES: [&str; 9] = [
    "m=audio 4000 RTP/AVP 0",
    "m=audio 4000 RTP/AVP 8 0 101\na=rtpmap:101 telephone-event/8000",
    "m=audio 4000 RTP/AVP 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/48000",
    "m=audio 4000 RTP/AVP 101 96 0 13\na=rtpmap:101 opus/48000/2\na=rtpmap:96 telephone-event/8000\na=inactive",
    "m=audio 0 RTP/AVP 0 8",
    "m=audio 4000 RTP/SAVP 0\na=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20",
    "m=video 4000 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=1",
    "m=video 4000 RTP/AVPF 101 96\na=rtpmap:101 VP8/90000\na=rtpmap:96 H264/90000\na=sendonly",
    "m=image 4000 udptl t38",
];

/// Descriptions of one or two of them.
fn descriptions() -> Vec<String> {
    let one = LINES.iter().map(|line| (*line).to_owned());
    let two = LINES.iter().flat_map(|a| LINES.iter().map(move |b| format!("{a}\n{b}")));
    one.chain(two).collect()
}

/// Every number that one side sends arrives under a number that means the same codec there.
fn check_streams(a: &LegMedia, b: &LegMedia, pairing: &Pairing) {
    for stream in streams(a, b, pairing) {
        for (map, from, to) in
            [(&stream.a_to_b, &stream.a, &stream.b), (&stream.b_to_a, &stream.b, &stream.a)]
        {
            let Some(map) = map else { continue };
            for sent in &from.sends {
                let Some(number) = map.map(sent.number) else { continue };
                let Some(heard) = to.accepts.iter().find(|format| format.number == number) else { continue };
                let same = |a: Codec, b: Codec| a == b || (a.is_telephone_event() && b.is_telephone_event());
                assert!(same(heard.codec, sent.codec), "{} became {}", sent.codec, heard.codec);
            }
        }
    }
}

#[test]
fn every_call_and_every_pull_in_the_space_is_valid() {
    let all = descriptions();
    let (mut calls, mut pulls, mut unchanged) = (0, 0, 0);
    for offer in &all {
        let mut call = Call::new();
        if call.a.receive_offer(description(10, offer)).is_err() {
            continue;
        }
        let to_b = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)).unwrap();
        for answer in answers_to(&to_b) {
            let mut call = Call { a: call.a.clone(), b: call.b.clone(), pairing: call.pairing.clone() };
            call.b.receive_answer(screen().admit(answer).unwrap()).unwrap();
            let Ok(to_a) = answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)) else { continue };
            check_answer(&text(10, 1, offer), &to_a);
            check_streams(&call.a, &call.b, &call.pairing);
            calls += 1;
            for device in &all {
                let (is_pulled, is_unchanged) = pull(&call, device);
                pulls += u32::from(is_pulled);
                unchanged += u32::from(is_unchanged);
            }
        }
    }
    // The space is not empty by mistake.
    assert!(
        calls > 150 && pulls > 3000 && unchanged > 500,
        "{calls} calls, {pulls} pulls, {unchanged} unchanged"
    );
}

/// A device with this offer pulls the call: whether it could, and whether without asking the far side.
fn pull(call: &Call, device: &str) -> (bool, bool) {
    let (mut far, mut new) = (call.b.clone(), leg(0xe, OUR_N));
    if new.receive_offer(description(30, device)).is_err() {
        return (false, false);
    }
    let Ok(verdict) = join(&far, &new, None, Hold::Lift) else { return (false, false) };
    let is_unchanged = matches!(verdict, Join::Unchanged { .. });
    let pairing = verdict.into_pairing();
    if !is_unchanged {
        let lines_before = Sdp::parse(far.ours().last().clone(), &Limits::NONE).unwrap().media().len();
        let Ok(offer) = reoffer(&new, &mut far, &pairing, (Hold::Lift, Bridging::Never), ports(20100)) else {
            return (false, false);
        };
        let sdp = Sdp::parse(offer.clone(), &Limits::NONE).unwrap();
        assert_eq!(sdp.media().len(), lines_before, "m-lines keep their count");
        let Some(answer) = answers_to(&offer).pop() else { return (false, false) };
        far.receive_answer(screen().admit(answer).unwrap()).unwrap();
    }
    match answer_across(&far, &mut new, &pairing, ports(20300)) {
        Ok(answer) => check_answer(&text(30, 1, device), &answer),
        Err(refusal) => {
            assert!(!is_unchanged, "promised, then {refusal}: {device}");
            return (false, false);
        }
    }
    check_streams(&far, &new, &pairing);
    (true, is_unchanged)
}

/// Answers of a peer to `offer`: only its first format, all formats, only its last format, and the second line refused.
fn answers_to(offer: &Bytes) -> Vec<Bytes> {
    let sdp = Sdp::parse(offer.clone(), &Limits::default()).unwrap();
    let head = "v=0\r\no=peer 5 5 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\n";
    let answer = |pick: fn(usize, &[u8]) -> (u16, Vec<u8>)| {
        let mut text = head.to_owned();
        for (index, media) in sdp.media().enumerate() {
            let numbers: Vec<u8> = media.payload_numbers().collect();
            let (port, chosen) = pick(index, &numbers);
            let port = if media.port() == 0 { 0 } else { port };
            let words: Vec<String> = chosen.iter().map(u8::to_string).collect();
            let (kind, protocol) = (media.kind_name().escape_ascii(), media.protocol_name().escape_ascii());
            text += &format!("m={kind} {port} {protocol} {}\r\n", words.join(" "));
            for line in media.lines().iter().filter(|line| line.attribute().is_of_payload()) {
                let line = String::from_utf8_lossy(sdp.line(line)).into_owned();
                let number = line.split([':', ' ']).nth(1).and_then(|number| number.parse().ok());
                if number.is_some_and(|number| chosen.contains(&number)) {
                    text += &format!("{line}\r\n");
                }
            }
            text += &format!("a={}\r\n", media.direction().mirrored().as_str());
        }
        Bytes::from(text)
    };
    vec![
        answer(|_, numbers| (5000, numbers[..1].to_vec())),
        answer(|_, numbers| (5000, vec![numbers[numbers.len() - 1]])),
        answer(|index, numbers| (if index == 1 { 0 } else { 5000 }, numbers.to_vec())),
        answer(|_, numbers| (5000, numbers.to_vec())),
    ]
}
