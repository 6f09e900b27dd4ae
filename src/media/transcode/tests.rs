//! One direction at a time: what is heard, on which clock, over losses, pauses and events.

use std::f64::consts::TAU;

use super::*;
use crate::media::codec::Codec;
use crate::media::relay::Law;
use crate::wire::rtp::HEADER;

const MU: Speech = Speech::G711(Law::Mu);
const A: Speech = Speech::G711(Law::A);
const ALL: [Speech; 4] = [MU, A, Speech::G722, Speech::Opus];
const FEED: (u32, u32) = (7, 1);

fn header(payload_type: u8, timestamp: u32, len: usize) -> Header {
    Header {
        marker: false,
        payload_type,
        sequence: 0,
        timestamp,
        ssrc: FEED.0,
        payload_at: HEADER as u16,
        payload_end: (HEADER + len) as u16,
    }
}

fn number(speech: Speech) -> u8 {
    match speech {
        Speech::G711(Law::Mu) => 0,
        Speech::G711(Law::A) => 8,
        Speech::G722 => 9,
        Speech::Opus => 96,
    }
}

fn transcoder(from: Speech, to: Speech) -> Transcoder {
    let conversion = Conversion {
        from: SmallVec::from_slice(&[(number(from), from)]),
        to: (number(to), to),
        events: Some([(101, 8000), (110, 48_000)]),
    };
    Transcoder::new(conversion).unwrap()
}

/// A party that says a tone in packets of so many milliseconds.
struct Talker {
    speech: Speech,
    encoder: Encoder,
    rate: u32,
    said: usize,
    ms: u32,
}

impl Talker {
    fn new(speech: Speech, ms: u32) -> Self {
        let rate = if speech == Speech::Opus { 16_000 } else { speech.rate(std::iter::empty()) };
        Self { speech, encoder: Encoder::new(speech, rate).unwrap(), rate, said: 0, ms }
    }

    fn say(&mut self, hertz: f64) -> Vec<u8> {
        let count = (self.rate / 1000 * self.ms) as usize;
        let sample = |n: usize| (f64::sin(TAU * hertz * n as f64 / f64::from(self.rate)) * 8000.0) as i16;
        let samples: Vec<i16> = (self.said..self.said + count).map(sample).collect();
        self.said += count;
        let mut packet = vec![0; 1000];
        let len = self.encoder.encode(&samples, &mut packet).unwrap();
        packet.truncate(len);
        packet
    }

    fn timestamp(&self, packet: u32) -> u32 {
        packet * self.ms * (self.speech.clock_rate() / 1000)
    }
}

/// What a party hears.
struct Listener {
    decoder: Decoder,
    rate: u32,
    heard: Vec<i16>,
    pieces: Vec<Piece>,
}

impl Listener {
    fn new(speech: Speech) -> Self {
        let rate = if speech == Speech::Opus { 16_000 } else { speech.rate(std::iter::empty()) };
        Self { decoder: Decoder::new(speech, rate).unwrap(), rate, heard: Vec::new(), pieces: Vec::new() }
    }

    fn listen(&mut self, transcoder: &mut Transcoder) {
        let mut packet = [0; ROOM];
        let mut samples = [0; LONGEST];
        while let Some(piece) = transcoder.next(&mut packet) {
            if !piece.is_event {
                let count = self.decoder.decode(&packet[..piece.len], &mut samples).unwrap();
                assert_eq!(count as u32, self.rate / 50, "20 ms");
                self.heard.extend(&samples[..count]);
            }
            self.pieces.push(piece);
        }
    }

    /// The part of what is heard that is of one frequency (Goertzel's sum written out), and its level.
    fn share(&self, hertz: f64) -> (f64, f64) {
        let samples = &self.heard[self.heard.len() / 2..];
        let (mut re, mut im, mut all) = (0f64, 0f64, 1f64);
        for (n, sample) in samples.iter().enumerate() {
            let (sample, angle) = (f64::from(*sample), TAU * hertz * n as f64 / f64::from(self.rate));
            re += sample * angle.cos();
            im += sample * angle.sin();
            all += sample * sample;
        }
        (2.0 * (re * re + im * im) / (samples.len() as f64 * all), (all / samples.len() as f64).sqrt())
    }
}

#[test]
fn every_codec_is_heard_in_every_other() {
    for from in ALL {
        for to in ALL.into_iter().filter(|to| *to != from) {
            let (mut talker, mut listener) = (Talker::new(from, 20), Listener::new(to));
            let mut transcoder = transcoder(from, to);
            for n in 0..100 {
                let timestamp = 1000 + talker.timestamp(n);
                let packet = talker.say(1000.0);
                transcoder.take(FEED, n, &header(number(from), timestamp, packet.len()), &packet).unwrap();
                listener.listen(&mut transcoder);
            }
            let (share, level) = listener.share(1000.0);
            assert!(share > 0.95, "{from:?} to {to:?}: {share}");
            assert!((4500.0..6800.0).contains(&level), "{from:?} to {to:?}: level {level}");
            assert_eq!(listener.pieces.len(), 100);
            let step = to.clock_rate() / 50;
            for (n, piece) in (0..).zip(&listener.pieces) {
                assert_eq!((piece.extended, piece.timestamp), (n, n * step));
                assert_eq!((piece.marker, piece.payload_type), (n == 0, number(to)));
            }
        }
    }
}

#[test]
fn wide_band_stays_wide_where_both_sides_are() {
    for (from, to) in [(Speech::G722, Speech::Opus), (Speech::Opus, Speech::G722)] {
        let (mut talker, mut listener) = (Talker::new(from, 20), Listener::new(to));
        let mut transcoder = transcoder(from, to);
        for n in 0..100 {
            let timestamp = talker.timestamp(n);
            let packet = talker.say(5000.0);
            transcoder.take(FEED, n, &header(number(from), timestamp, packet.len()), &packet).unwrap();
            listener.listen(&mut transcoder);
        }
        assert!(listener.share(5000.0).0 > 0.9, "{from:?} to {to:?}: {:?}", listener.share(5000.0));
    }
}

#[test]
fn packets_of_any_length_become_packets_of_20_ms() {
    for ms in [10, 30, 40, 60] {
        let (mut talker, mut listener) = (Talker::new(MU, ms), Listener::new(Speech::G722));
        let mut transcoder = transcoder(MU, Speech::G722);
        for n in 0..600 / ms {
            let timestamp = talker.timestamp(n);
            let packet = talker.say(400.0);
            transcoder.take(FEED, n, &header(0, timestamp, packet.len()), &packet).unwrap();
            listener.listen(&mut transcoder);
        }
        assert_eq!(listener.pieces.len(), 30, "{ms}");
        assert_eq!(listener.pieces[29].timestamp, 29 * 160);
    }
}

#[test]
fn a_loss_stays_a_loss_or_is_made_up_and_the_clock_never_slips() {
    // G.711 knows no concealment of its own: the receiver sees the hole and has one.
    let mut talker = Talker::new(MU, 20);
    let (mut transcoder_, mut listener) = (transcoder(MU, Speech::Opus), Listener::new(Speech::Opus));
    for n in 0..50 {
        let timestamp = talker.timestamp(n);
        let packet = talker.say(700.0);
        if !(20..23).contains(&n) {
            transcoder_.take(FEED, n, &header(0, timestamp, packet.len()), &packet).unwrap();
            listener.listen(&mut transcoder_);
        }
    }
    let last = listener.pieces.last().unwrap();
    assert_eq!((listener.pieces.len(), last.extended, last.timestamp), (47, 49, 49 * 960));
    assert!(listener.pieces.iter().skip(1).all(|piece| !piece.marker), "a loss begins no talk spurt");

    // Opus has one, so nothing is missing at the other end.
    let mut talker = Talker::new(Speech::Opus, 20);
    let (mut transcoder_, mut listener) = (transcoder(Speech::Opus, MU), Listener::new(MU));
    for n in 0..50 {
        let timestamp = talker.timestamp(n);
        let packet = talker.say(700.0);
        if !(20..23).contains(&n) {
            transcoder_.take(FEED, n, &header(96, timestamp, packet.len()), &packet).unwrap();
            listener.listen(&mut transcoder_);
        }
    }
    let last = listener.pieces.last().unwrap();
    assert_eq!((listener.pieces.len(), last.extended, last.timestamp), (50, 49, 49 * 160));
}

#[test]
fn a_pause_is_a_pause_and_what_is_late_or_foreign_is_refused() {
    let mut talker = Talker::new(A, 20);
    let (mut transcoder, mut listener) = (transcoder(A, MU), Listener::new(MU));
    let packet = talker.say(700.0);
    let take = |t: &mut Transcoder, n, timestamp, pt| t.take(FEED, n, &header(pt, timestamp, 160), &packet);
    take(&mut transcoder, 10, 5000, 8).unwrap();
    listener.listen(&mut transcoder);
    take(&mut transcoder, 11, 5160 + 8000, 8).unwrap();
    listener.listen(&mut transcoder);
    let [first, second] = listener.pieces[..] else { panic!("{:?}", listener.pieces) };
    assert_eq!((second.extended - first.extended, second.timestamp - first.timestamp), (1, 8160));
    assert!(second.marker, "a new talk spurt");
    assert_eq!(take(&mut transcoder, 11, 5160, 8), Err(Useless::Late));
    assert_eq!(take(&mut transcoder, 5, 5160, 8), Err(Useless::Late));
    assert_eq!(take(&mut transcoder, 12, 14_000, 13), Err(Useless::Unknown), "comfort noise is not agreed");
    // A new source: what leaves goes on.
    transcoder.take((99, 1), 3, &header(8, 77, 160), &packet).unwrap();
    listener.listen(&mut transcoder);
    let third = listener.pieces[2];
    assert_eq!((third.extended, third.marker), (second.extended + 1, true));
    // A pause of an hour is one, too; that there was none is for who knows the time.
    transcoder.take((99, 1), 4, &header(8, 77 + 28_800_000, 160), &packet).unwrap();
    listener.listen(&mut transcoder);
    assert_eq!(listener.pieces[3].timestamp, third.timestamp + 28_800_000);
    // After a loss it is another clock.
    transcoder.take((99, 1), 6, &header(8, 77 + 57_600_000, 160), &packet).unwrap();
    listener.listen(&mut transcoder);
    assert_eq!(listener.pieces[4].timestamp, listener.pieces[3].timestamp + 160);
}

#[test]
fn the_length_of_a_packet_is_known_before_it_is_decoded() {
    let ms = Duration::from_millis;
    for speech in ALL {
        let (to, number) = (if speech == MU { A } else { MU }, number(speech));
        let mut transcoder = transcoder(speech, to);
        let (mut talker, mut spent) = (Talker::new(speech, 20), Duration::ZERO);
        for n in [0, 1, 4] {
            let (timestamp, packet) = (talker.timestamp(n), talker.say(700.0));
            let header = header(number, timestamp, packet.len());
            spent += transcoder.length(FEED, n, &header, &packet);
            transcoder.take(FEED, n, &header, &packet).unwrap();
            assert_eq!(transcoder.length(FEED, n, &header, &packet), ms(0), "it came already");
        }
        assert_eq!(spent, ms(20 + 20 + 40 + 20), "{speech:?}: with what was lost between");
        assert_eq!(transcoder.length(FEED, 5, &header(number, 0, 0), &[]), ms(1));
        assert_eq!(transcoder.length(FEED, 5, &header(101, 0, 4), &[0; 4]), ms(0), "an event");
    }
}

#[test]
fn an_event_keeps_its_beginning_and_its_length_changes_clock() {
    let mut talker = Talker::new(MU, 20);
    let (mut transcoder, mut listener) = (transcoder(MU, Speech::Opus), Listener::new(Speech::Opus));
    let packet = talker.say(700.0);
    transcoder.take(FEED, 0, &header(0, 0, 160), &packet).unwrap();
    let mut events = Vec::new();
    let mut out = [0; ROOM];
    for n in 0..5u32 {
        let length = (160 * (n + 1)) as u16;
        let [high, low] = length.to_be_bytes();
        let event = Header { marker: n == 0, ..header(101, 160, 4) };
        listener.listen(&mut transcoder);
        transcoder.take(FEED, 1 + n, &event, &[5, if n == 4 { 0x8a } else { 10 }, high, low]).unwrap();
        events.push((transcoder.next(&mut out).unwrap(), out[..4].to_vec()));
    }
    for (n, (piece, bytes)) in (0u32..).zip(&events) {
        assert_eq!((piece.extended, piece.timestamp, piece.payload_type), (1 + n, 960, 110));
        assert_eq!((piece.marker, piece.is_event), (n == 0, true));
        assert_eq!(u32::from(u16::from_be_bytes([bytes[2], bytes[3]])), 960 * (n + 1));
        assert_eq!((bytes[0], bytes[1] & 0x80), (5, if n == 4 { 0x80 } else { 0 }));
    }
    // Speech goes on where time is.
    transcoder.take(FEED, 6, &header(0, 960, 160), &packet).unwrap();
    listener.listen(&mut transcoder);
    assert_eq!(listener.pieces.last().map(|piece| (piece.extended, piece.timestamp)), Some((6, 5760)));
    assert_eq!(transcoder.take(FEED, 7, &header(101, 1120, 2), &[5, 0]), Err(Useless::Broken));
}

#[test]
fn hostile_packets_are_refused_or_decoded_and_nothing_grows() {
    let mut random = crate::base::Random::from_number(5);
    for from in [Speech::Opus, Speech::G722] {
        let mut transcoder = transcoder(from, MU);
        let mut out = [0; ROOM];
        for n in 0..3000 {
            let packet: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
            let timestamp = random.below(1 << 32) as u32;
            let extended = n + random.below(3) as u32;
            let _ = transcoder.take(FEED, extended, &header(number(from), timestamp, packet.len()), &packet);
            let pieces = std::iter::from_fn(|| transcoder.next(&mut out)).take(100).count();
            assert!(pieces < 20, "{pieces} pieces of one packet");
        }
    }
}

#[test]
fn only_what_shares_nothing_is_converted() {
    let format =
        |number: u8, rtpmap: &str| Format { number, codec: Codec::of_rtpmap(rtpmap.as_bytes()).unwrap() };
    let desk = [format(0, "PCMU/8000"), format(8, "PCMA/8000"), format(101, "telephone-event/8000")];
    let browser = [format(111, "opus/48000/2"), format(126, "telephone-event/8000")];
    let wide = [format(9, "G722/8000"), format(0, "PCMU/8000")];
    assert_eq!(Conversion::between(&desk, &wide), None);
    assert_eq!(Conversion::between(&desk, &[format(18, "G729/8000")]), None);
    assert_eq!(Conversion::between(&[format(18, "G729/8000")], &desk), None);
    let conversion = Conversion::between(&desk, &browser).unwrap();
    assert_eq!(conversion.from.as_slice(), [(0, MU), (8, A)]);
    assert_eq!((conversion.to, conversion.events), ((111, Speech::Opus), Some([(101, 8000), (126, 8000)])));
}
