//! sdp-types beside us: whatever both accept they must understand alike.
//!
//! Known differences, by design: we ignore the order of session lines, read `o=` values as text, take `b=`, `t=`, `r=`,
//! `z=`, `k=`, `u=` as they are, let `s=`, `t=` and blank lines be missing or extra, and judge addresses; sdp-types does
//! not, takes a doubled blank for an empty word, and allows several `c=` lines in a section of which we use the first.

use super::*;
use crate::base::Random;

/// Mutations per fixture; the whole run stays under a few seconds in a debug build.
const ROUNDS: usize = 4000;

#[test]
fn fixtures_are_understood_alike() {
    for (name, text) in FIXTURES {
        let theirs =
            sdp_types::Session::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        compare(&parse(text).unwrap(), &theirs, text);
    }
}

#[test]
fn mutations_never_panic_and_what_both_accept_is_understood_alike() {
    let mut random = Random::from_number(0x5d9);
    let (mut accepted, mut both, mut only_they) = (0u32, 0u32, 0u32);
    for round in 0..ROUNDS * FIXTURES.len() {
        let (_, text) = FIXTURES[round % FIXTURES.len()];
        let bytes = mutated(text.as_bytes(), &mut random);
        let ours = Sdp::parse(bytes.clone().into(), &Limits::default());
        let theirs = sdp_types::Session::parse(&bytes);
        match (&ours, &theirs) {
            // It takes a doubled blank for an empty word.
            (Ok(_), Ok(_)) if bytes.windows(2).any(|pair| pair == b"  ") || bytes.contains(&b'\t') => {}
            (Ok(ours), Ok(theirs)) => {
                compare(ours, theirs, &String::from_utf8_lossy(&bytes));
                both += 1;
            }
            (Err(error), Ok(_)) => {
                // What only they accept we must have refused for a reason of our own.
                let own = [
                    Fault::Connection,
                    Fault::Control,
                    Fault::Media,
                    Fault::Origin,
                    Fault::OriginForm,
                    Fault::Form,
                    Fault::Version,
                ];
                assert!(own.contains(&error.fault), "{error}: {}", bytes.escape_ascii());
                only_they += 1;
            }
            _ => {}
        }
        if let Ok(ours) = ours {
            accepted += 1;
            touch(&ours);
        }
    }
    let rounds = (ROUNDS * FIXTURES.len()) as u32;
    assert!(accepted > rounds / 4 && both > rounds / 10, "{accepted} accepted, {both} by both of {rounds}");
    assert!(only_they < rounds / 10, "{only_they} accepted by sdp-types alone");
}

/// One to four edits: a byte, a cut, a doubled piece, a line from elsewhere, a number.
pub(crate) fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let length = (random.below(24) as usize).min(bytes.len() - at);
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] = random.bits() as u8,
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => bytes.truncate(at),
            4 => {
                let word: &[u8] = [
                    &b"\r\n"[..],
                    b"\n",
                    b"\r",
                    b"\0",
                    b"=",
                    b":",
                    b"/",
                    b" ",
                    b"65536",
                    b"IN IP4 0.0.0.0",
                    b"a=sendonly",
                ][random.below(11) as usize];
                bytes.splice(at..at, word.iter().copied());
            }
            5 => {
                let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                if lines.len() > 1 {
                    let (from, to) = (random.below(lines.len() as u64), random.below(lines.len() as u64));
                    lines.swap(from as usize, to as usize);
                    bytes = lines.concat();
                }
            }
            _ => {
                if let Some(digit) = bytes.iter().skip(at).position(u8::is_ascii_digit) {
                    bytes[at + digit] = b'0' + random.below(10) as u8;
                }
            }
        }
    }
    bytes
}

fn compare(ours: &Sdp, theirs: &sdp_types::Session, text: &str) {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(lossy(ours.origin().session_id), theirs.origin.sess_id, "{text}");
    let version = theirs.origin.sess_version;
    assert_eq!(lossy(ours.origin().version).parse().ok(), Some(version), "{text}");
    assert_eq!(ours.media().len(), theirs.medias.len(), "{text}");
    compare_host(ours.connection(), theirs.connection.as_ref(), text);
    for (media, other) in ours.media().zip(&theirs.medias) {
        assert_eq!(lossy(media.kind_name()), other.media, "{text}");
        assert_eq!((media.port(), media.ports()), (other.port, other.num_ports.unwrap_or(1)), "{text}");
        assert_eq!(lossy(media.protocol_name()), other.proto, "{text}");
        assert_eq!(lossy(media.format_text()), other.fmt.trim_matches([' ', '\t']), "{text}");
        compare_host(media.connection(), other.connections.first().or(theirs.connection.as_ref()), text);
        let attributes: Vec<_> = media.lines().iter().filter(|line| line.letter() == b'a').collect();
        assert_eq!(attributes.len(), other.attributes.len(), "{text}");
        for (line, attribute) in attributes.into_iter().zip(&other.attributes) {
            let whole = match &attribute.value {
                Some(value) => format!("{}:{value}", attribute.attribute),
                None => attribute.attribute.clone(),
            };
            assert_eq!(lossy(ours.value(line)), whole, "{text}");
        }
    }
}

fn compare_host(ours: Option<Host>, theirs: Option<&sdp_types::Connection>, text: &str) {
    assert_eq!(ours.is_some(), theirs.is_some(), "{text}");
    if let (Some(Host::Address(ours)), Some(theirs)) = (ours, theirs) {
        let literal = theirs.connection_address.split('/').next().unwrap_or_default();
        let theirs: IpAddr = literal.parse().unwrap_or_else(|_| panic!("{ours} read from {text}"));
        assert_eq!(ours, theirs.to_canonical(), "{text}");
    }
}

/// Reads everything there is to read.
fn touch(sdp: &Sdp) {
    for media in sdp.media() {
        let _ = (media.rtp(), media.rtcp(), media.direction(), media.payload_numbers().count());
        for line in media.lines() {
            assert!(
                !sdp.line(line).is_empty()
                    && !sdp.line(line).contains(&b'\n')
                    && !sdp.line(line).contains(&b'\r')
            );
        }
    }
}
