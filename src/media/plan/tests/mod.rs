//! Offer/answer ladders of calls and moves, every direction, and the validity of every answer (RFC 3264).

mod calls;
mod holds;
mod moves;
mod mutations;
mod secure;
mod space;
mod web;

use std::net::IpAddr;

use bytes::Bytes;

use super::*;
use crate::wire::sdp::{Attribute, Limits, Media, Sdp};

pub(super) const OUR_A: &str = "198.51.100.1";
pub(super) const OUR_B: &str = "198.51.100.2";
pub(super) const OUR_N: &str = "198.51.100.3";

pub(super) fn screen() -> Screen {
    Screen {
        own_addresses: vec![OUR_A.parse().unwrap(), OUR_B.parse().unwrap()],
        own_ports: std::sync::Arc::new((20_000..=29_999).collect()),
        limits: Limits::default(),
    }
}

/// A description with `c=IN IP4 192.0.2.HOST` and the given media lines, which are separated by newlines.
pub(super) fn text(host: u8, version: u32, media: &str) -> Bytes {
    let head = format!(
        "v=0\no=phone 77 {version} IN IP4 192.0.2.{host}\ns=call\nc=IN IP4 192.0.2.{host}\nt=0 0\n{media}\n"
    );
    head.replace('\n', "\r\n").into()
}

pub(super) fn description(host: u8, media: &str) -> Description {
    screen().admit(text(host, 1, media)).unwrap()
}

pub(super) fn leg(id: u64, address: &str) -> LegMedia {
    LegMedia::new(id, address.parse::<IpAddr>().unwrap())
}

/// Ports `base`, `base + 2`, … by line.
pub(super) fn ports(base: u16) -> impl FnMut(usize) -> Option<u16> {
    move |line| Some(base + 2 * line as u16)
}

pub(super) fn lines(text: &Bytes) -> Vec<String> {
    String::from_utf8(text.to_vec()).unwrap().split_terminator("\r\n").map(str::to_owned).collect()
}

/// Everything after the `o=` line's origin, joined by newlines.
pub(super) fn media_of(text: &Bytes) -> String {
    let lines = lines(text);
    let first = lines.iter().position(|line| line.starts_with("m=")).unwrap_or(lines.len());
    lines[first..].join("\n")
}

pub(super) fn version(text: &Bytes) -> u64 {
    let sdp = Sdp::parse(text.clone(), &Limits::default()).unwrap();
    std::str::from_utf8(sdp.origin().version).unwrap().parse().unwrap()
}

/// A call between a caller at 192.0.2.10 and a callee at 192.0.2.20.
pub(super) struct Call {
    pub(super) a: LegMedia,
    pub(super) b: LegMedia,
    pub(super) pairing: Pairing,
}

impl Call {
    pub(super) fn new() -> Self {
        Self { a: leg(0xa, OUR_A), b: leg(0xb, OUR_B), pairing: Pairing::default() }
    }

    /// INVITE and 200 with these media lines.
    pub(super) fn up(offer: &str, answer: &str) -> Self {
        let mut call = Self::new();
        call.exchange(offer, answer);
        call
    }

    /// An exchange begun by the caller: the offer that the callee saw, the answer that the caller saw.
    pub(super) fn exchange(&mut self, offer: &str, answer: &str) -> (Bytes, Bytes) {
        self.a.receive_offer(description(10, offer)).unwrap();
        let to_b = offer_across(&self.a, &mut self.b, &mut self.pairing, ports(20100)).unwrap();
        self.b.receive_answer(description(20, answer)).unwrap();
        let to_a = answer_across(&self.b, &mut self.a, &self.pairing, ports(20000)).unwrap();
        check_answer(&text(10, 1, offer), &to_a);
        (to_b, to_a)
    }

    /// An exchange begun by the callee.
    pub(super) fn exchange_back(&mut self, offer: &str, answer: &str) -> (Bytes, Bytes) {
        self.b.receive_offer(description(20, offer)).unwrap();
        let to_a = offer_across(&self.b, &mut self.a, &mut self.pairing, ports(20000)).unwrap();
        self.a.receive_answer(description(10, answer)).unwrap();
        let to_b = answer_across(&self.a, &mut self.b, &self.pairing, ports(20100)).unwrap();
        check_answer(&text(20, 1, offer), &to_b);
        (to_a, to_b)
    }

    pub(super) fn streams(&self) -> Vec<Stream> {
        streams(&self.a, &self.b, &self.pairing).into_vec()
    }
}

/// What RFC 3264 6 demands of an answer, checked on the texts alone.
pub(super) fn check_answer(offer: &Bytes, answer: &Bytes) {
    let show = || format!("offer:\n{}\nanswer:\n{}", lines(offer).join("\n"), lines(answer).join("\n"));
    let offer = Sdp::parse(offer.clone(), &Limits::default()).unwrap();
    let parsed = Sdp::parse(answer.clone(), &Limits::default()).unwrap_or_else(|e| panic!("{e}\n{}", show()));
    assert_eq!(offer.media().len(), parsed.media().len(), "count of m-lines\n{}", show());
    for (offered, answered) in offer.media().zip(parsed.media()) {
        assert_eq!(offered.kind_name(), answered.kind_name(), "{}", show());
        assert_eq!(offered.protocol_name(), answered.protocol_name(), "{}", show());
        if answered.port() == 0 {
            continue;
        }
        assert!(agreed::is_carried(&offered), "a line was accepted that was not offered\n{}", show());
        let formats = formats::formats(&offered, &[]);
        for format in formats::answered_formats(&answered, &formats) {
            assert_eq!(formats::codec_of(&formats, format.number), Some(format.codec), "{}", show());
        }
        assert!(answered.payload_numbers().next().is_some(), "{}", show());
        let taken = answered.attributes(Attribute::Crypto).count();
        assert_eq!(taken, usize::from(sdes::Crypto::chosen(&offered).is_some()), "{}", show());
        let tag = |media: &Media<'_>| sdes::Crypto::chosen(media).map(|crypto| crypto.tag);
        assert_eq!(tag(&answered), tag(&offered), "{}", show());
        let allowed = offered.direction().mirrored();
        assert_eq!(answered.direction().and(allowed), answered.direction(), "direction\n{}", show());
        assert_eq!(answered.rtcp().map(|rtcp| rtcp.port()), answered.port().checked_add(1), "{}", show());
    }
}
