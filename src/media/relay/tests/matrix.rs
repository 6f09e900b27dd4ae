//! Packets over the moves of each kind of device to each, whatever the far side is: plain RTP, SRTP by keys in the
//! description, and browsers, whose keys come from a handshake.

use super::secure::Secured;
use super::web::{Caller, Houses};
use super::*;
use crate::media::srtp::Suite;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Sdes,
    Web,
}

const KINDS: [Kind; 3] = [Kind::Plain, Kind::Sdes, Kind::Web];

enum End {
    Plain(Phone),
    Sdes(Box<Secured>),
    Web(Box<Caller>),
}

impl End {
    fn phone(&self) -> &Phone {
        match self {
            Self::Plain(phone) => phone,
            Self::Sdes(secured) => &secured.phone,
            Self::Web(caller) => &caller.phone,
        }
    }
}

impl Houses {
    fn end(&mut self, kind: Kind, address: &str) -> End {
        match kind {
            Kind::Plain => End::Plain(self.world.phone(address)),
            Kind::Sdes => End::Sdes(Box::new(self.world.secured(address, Suite::AesCm128HmacSha1Tag80))),
            Kind::Web => End::Web(Box::new(self.browser(address))),
        }
    }

    /// What it takes until it can speak: for a browser its way and its keys.
    fn ready(&mut self, end: &mut End) {
        if let End::Web(caller) = end {
            self.connect(caller);
        }
    }

    fn says(&mut self, end: &mut End, word: u8) -> Verdict {
        match end {
            End::Plain(phone) => self.world.send_as(phone, 0, &[word; 160]),
            End::Sdes(secured) => self.world.send_sealed(secured, &[word; 160]),
            End::Web(caller) => self.send(caller, &[word; 160]),
        }
    }

    /// The headers and the words of what a device could open of what was sent to it.
    fn heard(&mut self, end: &mut End) -> (Vec<Header>, Vec<u8>) {
        let packets: Vec<Vec<u8>> = match end {
            End::Plain(phone) => self.world.heard_by(phone).into_iter().map(|sent| sent.bytes).collect(),
            End::Sdes(secured) => self.world.opened_by(secured).into_iter().map(|sent| sent.bytes).collect(),
            End::Web(caller) if caller.has_keys() => self.opened_by(caller),
            End::Web(caller) => {
                assert_eq!(self.settle(caller), Vec::<Vec<u8>>::new(), "nothing before there are keys");
                Vec::new()
            }
        };
        let word = |packet: &Vec<u8>| {
            assert_eq!(packet[12..], [packet[12]; 160], "what was said, whole");
            packet[12]
        };
        let words = packets.iter().map(word).collect();
        (packets.iter().map(|packet| Header::parse(packet).unwrap()).collect(), words)
    }
}

/// What each side says, so that nobody's packet is taken for another's.
const FAR: u8 = 9;
const OLD: u8 = 1;
const NEW: u8 = 2;

/// A far side of one kind moves from a device of another to one of a third; gives what the far side got.
fn moves(far: Kind, old: Kind, new: Kind) -> Vec<Header> {
    let of = format!("{far:?}: {old:?} to {new:?}");
    let mut houses = Houses::new();
    let [mut far, mut old] =
        [(far, "192.0.2.1:4000"), (old, "192.0.2.2:4000")].map(|(kind, at)| houses.end(kind, at));
    houses.ready(&mut far);
    houses.ready(&mut old);
    houses.world.call(far.phone(), old.phone());
    for _ in 0..10 {
        assert_eq!(houses.says(&mut far, FAR), Verdict::Forwarded(1), "{of}");
        assert_eq!(houses.says(&mut old, OLD), Verdict::Forwarded(1), "{of}");
        houses.world.pass(ms(20));
    }
    let (mut got, words) = houses.heard(&mut far);
    assert_eq!(words, [OLD; 10], "{of}");
    assert_eq!(houses.heard(&mut old).1, [FAR; 10], "{of}");

    // The move is agreed; the new device is not there yet, for 100 ms. Nothing is lost by that.
    let mut new = houses.end(new, "192.0.2.3:4000");
    houses.world.sinks(far.phone(), &[old.phone(), new.phone()]);
    houses.world.swap(far.phone(), old.phone(), new.phone());
    for _ in 0..5 {
        houses.says(&mut far, FAR);
        assert_eq!(houses.says(&mut old, OLD), Verdict::Forwarded(1), "{of}");
        houses.world.pass(ms(20));
    }
    assert_eq!(houses.heard(&mut old).1, [FAR; 5], "{of}");
    let by_new = houses.heard(&mut new).1;
    assert_eq!(by_new, vec![FAR; if matches!(new, End::Web(_)) { 0 } else { 5 }], "{of}");
    houses.ready(&mut new);
    houses.world.events();
    for _ in 0..10 {
        assert_eq!(houses.says(&mut new, NEW), Verdict::Forwarded(1), "{of}");
        assert_eq!(houses.says(&mut far, FAR), Verdict::Forwarded(1), "{of}");
        assert_eq!(houses.says(&mut old, OLD), Verdict::Dropped(DropReason::Moved), "{of}");
        houses.world.pass(ms(20));
    }
    let gaps = houses.world.events().into_iter().filter_map(|event| match event {
        MediaEvent::Swapped { gap_us, lost, .. } => Some((gap_us, lost)),
        _ => None,
    });
    assert_eq!(gaps.collect::<Vec<_>>(), [(20_000, 0)], "{of}");
    let (rest, words) = houses.heard(&mut far);
    assert_eq!(words, [[OLD; 5].as_slice(), [NEW; 10].as_slice()].concat(), "{of}");
    assert_eq!(houses.heard(&mut new).1, [FAR; 10], "{of}");
    assert_eq!(houses.heard(&mut old).1, [0; 0], "{of}");
    got.extend(rest);
    got
}

/// Contract 29 to 32.
#[test]
fn what_is_said_arrives_over_a_move_of_each_kind_to_each_whatever_the_far_side_is() {
    for far in KINDS {
        for old in KINDS {
            for new in KINDS {
                let got = moves(far, old, new);
                let follows = |pair: &[Header]| {
                    let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
                    (pair[1].ssrc, pair[1].sequence, step)
                        == (pair[0].ssrc, pair[0].sequence.wrapping_add(1), 160)
                };
                assert!(got.windows(2).all(follows), "one stream: {far:?}: {old:?} to {new:?}\n{got:?}");
                let marked: Vec<usize> = (0..got.len()).filter(|at| got[*at].marker).collect();
                assert_eq!(marked, [0, 15], "{far:?}: {old:?} to {new:?}");
            }
        }
    }
}
