//! Held calls: every combination of directions, of who offered last, and of the policy (contract 24).

use super::*;
use crate::wire::sdp::Direction;

const AUDIO: &str = "m=audio 4000 RTP/AVP 0";

fn audio(direction: Direction) -> String {
    format!("{AUDIO}\na={}", direction.as_str())
}

/// Every valid pair of (what we told far, what far told us), by who offered.
fn held_calls() -> Vec<(Offerer, Direction, Direction, Call)> {
    let mut calls = Vec::new();
    for offered in Direction::ALL {
        for answered in Direction::ALL.into_iter().filter(|d| d.and(offered.mirrored()) == *d) {
            // b is the far side throughout; a is the old device.
            let mut call = Call::up(AUDIO, AUDIO);
            call.exchange(&audio(offered), &audio(answered));
            calls.push((Offerer::Us, offered, answered, call));
            let mut call = Call::up(AUDIO, AUDIO);
            call.exchange_back(&audio(offered), &audio(answered));
            calls.push((Offerer::Them, answered, offered, call));
        }
    }
    calls
}

#[test]
fn all_the_combinations_are_there() {
    assert_eq!(held_calls().len(), 18);
}

#[test]
fn the_table_of_pulls_by_a_device_that_wants_to_talk() {
    use Direction::{Inactive as No, RecvOnly as Recv, SendOnly as Send, SendRecv as Both};
    // (who offered, we told far, far told us) → the far side is asked under Lift; what the new device hears if not asked
    let expected = |offerer, told, said| match (offerer, told, said) {
        // Nobody holds: nothing to do.
        (_, Both, Both) => (false, Both),
        // The far side holds us: it stays so, and the new device is told.
        (Offerer::Us, Both, Send) | (Offerer::Them, Recv, Send) => (false, Send),
        (Offerer::Us, Both, Recv) | (Offerer::Them, Send, Recv) => (false, Recv),
        (Offerer::Us, Both, No) | (Offerer::Them, No, No) => (false, No),
        // We hold it.
        (_, Send, _) => (true, Recv),
        (_, Recv, _) => (true, Send),
        (_, No, _) => (true, No),
        other => panic!("not a valid exchange: {other:?}"),
    };
    for (offerer, told, said, call) in held_calls() {
        let case = format!("{offerer:?} offered, told {told:?}, said {said:?}");
        let mut new = leg(0xe, OUR_N);
        new.receive_offer(description(30, AUDIO)).unwrap();
        let (asks, heard) = expected(offerer, told, said);
        match join(&call.b, &new, None, Hold::Lift).unwrap() {
            Join::Unchanged { .. } => assert!(!asks, "{case}"),
            Join::Reoffer { why, .. } => assert_eq!((asks, why), (true, Why::Direction), "{case}"),
        }
        // Keep never asks a device that would do everything anyway.
        let Join::Unchanged { pairing } = join(&call.b, &new, None, Hold::Keep).unwrap() else {
            panic!("{case}")
        };
        let answer = answer_across(&call.b, &mut new, &pairing, ports(20300)).unwrap();
        let sdp = Sdp::parse(answer, &Limits::default()).unwrap();
        let heard = if asks { told.mirrored().and(said) } else { heard };
        assert_eq!(sdp.medium(0).unwrap().direction(), heard, "{case}");
    }
}

/// Every combination of a held call, a new device's wish, and the policy: whatever `join` says, afterwards each side's
/// view of the call is that of the other, and nobody's wish is overruled.
#[test]
fn after_a_pull_all_directions_agree() {
    for (offerer, told, said, call) in held_calls() {
        for wish in Direction::ALL {
            for hold in [Hold::Lift, Hold::Keep] {
                let case =
                    format!("{offerer:?} offered, told {told:?}, said {said:?}, new {wish:?}, {hold:?}");
                let (mut far, mut new) = (call.b.clone(), leg(0xe, OUR_N));
                new.receive_offer(description(30, &audio(wish))).unwrap();
                let before = far.ours().last().clone();
                let pairing = match join(&far, &new, None, hold).unwrap() {
                    Join::Unchanged { pairing } => {
                        assert_eq!(far.ours().last(), &before, "{case}");
                        pairing
                    }
                    Join::Reoffer { pairing, .. } => {
                        let offer =
                            reoffer(&new, &mut far, &pairing, (hold, Bridging::Never), ports(20100)).unwrap();
                        let sdp = Sdp::parse(offer, &Limits::default()).unwrap();
                        let offered = sdp.medium(0).unwrap().direction();
                        assert_eq!(offered.and(wish), offered, "{case}: more than the new device wants");
                        if hold == Hold::Lift {
                            assert_eq!(offered, wish, "{case}");
                        }
                        // The far side does all that it is let.
                        far.receive_answer(description(20, &audio(offered.mirrored()))).unwrap();
                        pairing
                    }
                };
                let answer = answer_across(&far, &mut new, &pairing, ports(20300)).unwrap();
                check_answer(&text(30, 1, &audio(wish)), &answer);
                let [stream] = &streams(&far, &new, &pairing)[..] else { panic!("{case}") };
                let (a, b) = (stream.a.direction, stream.b.direction);
                assert_eq!(a.sends(), b.receives(), "{case}: far {a:?} new {b:?}");
                // What the new device would send and the far side takes is told to both alike.
                assert_eq!(a.receives(), b.sends(), "{case}: far {a:?} new {b:?}");
                assert_eq!(stream.a_to_b.is_some(), a.sends(), "{case}");
                assert_eq!(stream.b_to_a.is_some(), b.sends(), "{case}");
            }
        }
    }
}

/// The same by push: the offer to the new device, its answer, and the far side afterwards.
#[test]
fn after_a_push_all_directions_agree() {
    for (offerer, told, said, call) in held_calls() {
        for hold in [Hold::Lift, Hold::Keep] {
            let case = format!("{offerer:?} offered, told {told:?}, said {said:?}, {hold:?}");
            let (mut far, mut new) = (call.b.clone(), leg(0xe, OUR_N));
            let offer = offer_far(&far, &mut new, None, (hold, Bridging::Never), ports(20300)).unwrap();
            let sdp = Sdp::parse(offer, &Limits::default()).unwrap();
            let offered = sdp.medium(0).unwrap().direction();
            new.receive_answer(description(30, &audio(offered.mirrored()))).unwrap();
            match join(&far, &new, None, hold).unwrap() {
                Join::Unchanged { pairing } => {
                    let [stream] = &streams(&far, &new, &pairing)[..] else { panic!("{case}") };
                    assert_eq!(stream.a.direction, stream.b.direction.mirrored(), "{case}");
                }
                Join::Reoffer { pairing, why } => {
                    assert_eq!(
                        (why, hold),
                        (Why::Direction, Hold::Lift),
                        "{case}: only our own hold needs lifting"
                    );
                    let offer =
                        reoffer(&new, &mut far, &pairing, (hold, Bridging::Never), ports(20100)).unwrap();
                    let sdp = Sdp::parse(offer, &Limits::default()).unwrap();
                    assert_eq!(sdp.medium(0).unwrap().direction(), Direction::SendRecv, "{case}");
                }
            }
        }
    }
}

#[test]
fn the_old_style_hold_by_the_far_side_moves_held() {
    let mut call = Call::up(AUDIO, AUDIO);
    call.exchange_back("m=audio 5000 RTP/AVP 0\nc=IN IP4 0.0.0.0", AUDIO);
    let mut new = leg(0xe, OUR_N);
    new.receive_offer(description(30, AUDIO)).unwrap();
    let Join::Unchanged { pairing } = join(&call.b, &new, None, Hold::Lift).unwrap() else { panic!() };
    let answer = answer_across(&call.b, &mut new, &pairing, ports(20300)).unwrap();
    assert_eq!(media_of(&answer), "m=audio 20300 RTP/AVP 0\na=sendonly");
    // And it can be resumed by the far side.
    let mut moved = Call { a: new, b: call.b, pairing };
    let (to_new, to_far) = moved.exchange_back("m=audio 5000 RTP/AVP 0", AUDIO);
    assert_eq!(
        (media_of(&to_new).as_str(), media_of(&to_far).as_str()),
        ("m=audio 20000 RTP/AVP 0", "m=audio 20100 RTP/AVP 0")
    );
}
