//! What a session description costs: reading, passing on as an offer and as an answer, joining a new device.
//!
//! `cargo bench --bench sdp`

#![expect(clippy::unwrap_used, reason = "a bench that cannot set itself up has nothing to say")]

use bytes::Bytes;
use divan::Bencher;
use segue::media::plan::{Hold, LegMedia, Pairing, Screen, answer_across, join, offer_across, streams};
use segue::wire::sdp::{Limits, Sdp};

const FIXTURES: [(&str, &str); 4] = [
    ("g711", include_str!("../fixtures/sdp/g711.sdp")),
    ("desk-wideband", include_str!("../fixtures/sdp/desk-wideband.sdp")),
    ("softphone-opus-video", include_str!("../fixtures/sdp/softphone-opus-video.sdp")),
    ("mobile-amr", include_str!("../fixtures/sdp/mobile-amr.sdp")),
];
const NAMES: [&str; 4] = ["g711", "desk-wideband", "softphone-opus-video", "mobile-amr"];

fn main() {
    divan::main();
}

fn text(name: &str) -> Bytes {
    let found = FIXTURES.iter().find(|(found, _)| *found == name).unwrap();
    Bytes::from_static(found.1.as_bytes())
}

fn screen() -> Screen {
    Screen {
        own_addresses: vec!["198.51.100.1".parse().unwrap()],
        own_ports: std::sync::Arc::new((20_000..=29_999).collect()),
        limits: Limits::default(),
    }
}

fn leg(id: u64) -> LegMedia {
    LegMedia::new(id, "198.51.100.1".parse().unwrap())
}

#[divan::bench(args = NAMES, sample_size = 200)]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let text = text(name);
    bencher.bench(|| Sdp::parse(text.clone(), &Limits::default()).unwrap());
}

/// Parse, screen, and write the offer for the other leg: the target is 2 µs.
#[divan::bench(args = NAMES, sample_size = 200)]
fn parse_and_pass_offer(bencher: Bencher<'_, '_>, name: &str) {
    let (screen, text) = (screen(), text(name));
    bencher.with_inputs(|| (leg(1), leg(2), Pairing::default())).bench_values(
        |(mut a, mut b, mut pairing)| {
            a.receive_offer(screen.admit(text.clone()).unwrap()).unwrap();
            offer_across(&a, &mut b, &mut pairing, |line| Some(20000 + 2 * line as u16)).unwrap()
        },
    );
}

/// The whole media part of setting up a call: offer, answer, and the routes.
#[divan::bench(args = NAMES, sample_size = 200)]
fn set_up_call(bencher: Bencher<'_, '_>, name: &str) {
    let (screen, text) = (screen(), text(name));
    bencher.with_inputs(|| (leg(1), leg(2), Pairing::default())).bench_values(
        |(mut a, mut b, mut pairing)| {
            let ports = |line: usize| Some(20000 + 2 * line as u16);
            a.receive_offer(screen.admit(text.clone()).unwrap()).unwrap();
            offer_across(&a, &mut b, &mut pairing, ports).unwrap();
            b.receive_answer(screen.admit(text.clone()).unwrap()).unwrap();
            answer_across(&b, &mut a, &pairing, ports).unwrap();
            streams(&a, &b, &pairing)
        },
    );
}

/// A new device pulls: verdict, its answer, and the new routes.
#[divan::bench(args = NAMES, sample_size = 200)]
fn pull(bencher: Bencher<'_, '_>, name: &str) {
    let (screen, text) = (screen(), text(name));
    let ports = |line: usize| Some(20000 + 2 * line as u16);
    let (mut a, mut far, mut pairing) = (leg(1), leg(2), Pairing::default());
    a.receive_offer(screen.admit(text.clone()).unwrap()).unwrap();
    offer_across(&a, &mut far, &mut pairing, ports).unwrap();
    far.receive_answer(screen.admit(text.clone()).unwrap()).unwrap();
    bencher.with_inputs(|| leg(3)).bench_values(|mut new| {
        new.receive_offer(screen.admit(text.clone()).unwrap()).unwrap();
        let pairing = join(&far, &new, None, Hold::Lift).unwrap().into_pairing();
        answer_across(&far, &mut new, &pairing, ports).unwrap();
        streams(&far, &new, &pairing)
    });
}
