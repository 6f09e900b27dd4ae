//! Mutated descriptions through whole ladders: no panic, and every answer that comes out is valid.

use super::*;
use crate::base::Random;
use crate::wire::sdp::tests::{FIXTURES, mutated};

const ROUNDS: usize = 6000;

#[test]
fn hostile_descriptions_break_nothing() {
    let mut random = Random::from_number(0xdead);
    let (mut joined, mut answered) = (0, 0);
    for _ in 0..ROUNDS {
        let mut pick = || {
            let (_, text) = FIXTURES[random.below(FIXTURES.len() as u64) as usize];
            Bytes::from(if random.below(3) == 0 {
                text.into()
            } else {
                mutated(text.as_bytes(), &mut random)
            })
        };
        let (offer, answer, device) = (pick(), pick(), pick());
        let Ok(description) = screen().admit(offer.clone()) else { continue };
        let mut call = Call::new();
        if call.a.receive_offer(description).is_err() {
            continue;
        }
        let Ok(to_b) = offer_across(&call.a, &mut call.b, &mut call.pairing, ports(20100)) else { continue };
        check_ours(&to_b);
        let Ok(description) = screen().admit(answer) else { continue };
        call.b.receive_answer(description).unwrap();
        if let Ok(to_a) = answer_across(&call.b, &mut call.a, &call.pairing, ports(20000)) {
            answered += 1;
            check_answer(&offer, &to_a);
            check_ours(&to_a);
            let _ = call.streams();
        }
        let Ok(description) = screen().admit(device.clone()) else { continue };
        let mut new = leg(0xe, OUR_N);
        if new.receive_offer(description).is_err() {
            continue;
        }
        let snapshot = call.b.snapshot().unwrap();
        let Ok(verdict) = join(&call.b, &new, Some(0), Hold::Lift) else { continue };
        let pairing = verdict.into_pairing();
        if let Ok(offer) = reoffer(&new, &mut call.b, &pairing, (Hold::Lift, Bridging::Never), ports(20100)) {
            check_ours(&offer);
            call.b.abandon();
            check_ours(&call.b.restore(&snapshot).unwrap());
            call.b.abandon();
        }
        if let Ok(answer) = answer_across(&call.b, &mut new, &pairing, ports(20300)) {
            joined += 1;
            check_answer(&device, &answer);
            let _ = streams(&call.b, &new, &pairing);
            for bridging in [Bridging::Never, Bridging::Allowed] {
                let mut pushed = leg(0xf, OUR_N);
                let terms = (Hold::Keep, bridging);
                if let Ok(offer) = offer_far(&call.b, &mut pushed, None, terms, ports(20400)) {
                    check_ours(&offer);
                }
                let mut pushed = leg(0xf, OUR_N);
                if let Ok(offer) = offer_narrowed(&call.b, &mut pushed, Hold::Keep, ports(20400)) {
                    check_ours(&offer);
                }
            }
        }
    }
    assert!(answered > 100 && joined > 50, "{answered} calls, {joined} joined");
}

/// Our text must be readable by a strict reader, and hold no address of anyone's but ours.
fn check_ours(text: &Bytes) {
    let sdp = Sdp::parse(text.clone(), &Limits::NONE).unwrap();
    let ours = [OUR_A, OUR_B, OUR_N].map(|address| address.parse().unwrap());
    for media in sdp.media().filter(|media| media.port() != 0) {
        assert!(ours.contains(&media.address().unwrap()), "{}", text.escape_ascii());
        assert!(media.payload_numbers().next().is_some(), "{}", text.escape_ascii());
    }
    assert!(
        text.ends_with(b"\r\n") && !text.windows(2).any(|pair| pair == b"\n\n"),
        "{}",
        text.escape_ascii()
    );
    for end in memchr::memchr_iter(b'\n', text) {
        assert_eq!(text.get(end - 1), Some(&b'\r'), "{}", text.escape_ascii());
    }
}
