//! Our reading of messages beside that of rsip, an independent parser, over the torture corpora and a set of plain
//! messages as phones and carriers write them. Where the two differ, the difference is listed with who is right.

#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rsip::prelude::{HasHeaders as _, HeadersExt as _, ToTypedHeader as _, UntypedHeader as _};
use segue::wire::sip::{Limits, Message};

/// What both parsers can say of a message.
#[derive(Debug, PartialEq, Eq, Default)]
struct Reading {
    start: String,
    call_id: String,
    cseq: u32,
    method: String,
    from_tag: Option<String>,
    to_tag: Option<String>,
    branch: Option<String>,
    max_forwards: Option<u32>,
    body: Vec<u8>,
}

fn ours(bytes: &[u8]) -> Option<Reading> {
    let message = Message::parse(Bytes::copy_from_slice(bytes), &Limits::default()).ok()?;
    message.check().ok()?;
    let cseq = message.cseq().ok()?;
    let start = match message.status() {
        Some(status) => status.as_u16().to_string(),
        None => message.method().to_string(),
    };
    Some(Reading {
        start,
        call_id: message.call_id().ok()?.to_owned(),
        cseq: cseq.number,
        method: message.method().to_string(),
        from_tag: message.from_tag().map(str::to_owned),
        to_tag: message.to_tag().map(str::to_owned),
        branch: message.via().ok().and_then(|via| via.branch().map(str::to_owned)),
        max_forwards: message.max_forwards().ok().flatten().map(u32::from),
        body: message.body().to_vec(),
    })
}

fn theirs(bytes: &[u8]) -> Option<Reading> {
    // rsip panics on some inputs; that counts as not read.
    let read = std::panic::catch_unwind(|| {
        let message = rsip::SipMessage::try_from(bytes).ok()?;
        let start = match &message {
            rsip::SipMessage::Request(request) => request.method.to_string(),
            rsip::SipMessage::Response(response) => response.status_code.code().to_string(),
        };
        let cseq = message.cseq_header().ok()?.clone().typed().ok()?;
        let from = message.from_header().ok()?.clone().typed().ok()?;
        let to = message.to_header().ok()?.clone().typed().ok()?;
        let via = message.via_header().ok()?.clone().typed().ok()?;
        Some(Reading {
            start,
            call_id: message.call_id_header().ok()?.value().to_owned(),
            cseq: cseq.seq,
            method: cseq.method.to_string(),
            from_tag: from.tag().map(ToString::to_string),
            to_tag: to.tag().map(ToString::to_string),
            branch: via.branch().map(ToString::to_string),
            max_forwards: message.headers().iter().find_map(|header| match header {
                rsip::Header::MaxForwards(hops) => hops.value().trim().parse().ok(),
                _ => None,
            }),
            body: message.body().clone(),
        })
    });
    read.ok().flatten()
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torture");
    let mut files: Vec<PathBuf> = ["rfc4475", "rfc5118-wire"]
        .iter()
        .flat_map(|name| fs::read_dir(folder.join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

/// Messages of the corpora that we let in and rsip 0.4.0 does not read, or reads otherwise.
const THEIR_FAULTS: [(&str, &str); 18] = [
    ("dblreq", "not read"), // two requests in one datagram: the body ends at Content-Length, the rest is dropped
    ("esc01", "not read"),  // escapes in a user part
    ("esc02", "not read"),  // a header name with an escape is a name that nobody knows, not a fault
    ("intmeth", "not read"), // a method of legal but odd characters
    ("longreq", "not read"), // folded header lines
    ("semiuri", "not read"), // semicolons in a user part
    ("wsinv", "not read"),  // folds, compact names, white space around separators
    // Of RFC 5118: no address of IPv6 is read, in a URI or in Via.
    ("ipv4-mapped-ipv6", "not read"),
    ("ipv6-bug-abnf-3-colons", "not read"),
    ("ipv6-correct-abnf-2-colons", "not read"),
    ("ipv6-good", "not read"),
    ("ipv6-in-sdp", "not read"),
    ("mult-ip-in-header", "not read"),
    ("mult-ip-in-sdp", "not read"),
    ("port-ambiguous", "not read"),
    ("port-unambiguous", "not read"),
    ("via-received-param-no-delim", "not read"),
    ("via-received-param-with-delim", "not read"),
];

#[test]
fn the_corpora_are_read_alike_but_for_the_faults_that_are_listed() {
    let mut found = Vec::new();
    for (name, bytes) in corpus() {
        if let Some(ours) = ours(&bytes) {
            match theirs(&bytes) {
                Some(theirs) if theirs == ours => {}
                Some(_) => found.push((name, "read otherwise")),
                None => found.push((name, "not read")),
            }
        }
    }
    let known: Vec<_> = THEIR_FAULTS.iter().map(|(name, what)| ((*name).to_owned(), *what)).collect();
    assert_eq!(found, known);
}

const PLAIN: [&str; 4] = [
    "INVITE sip:1002@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK74bf9;rport\r\n\
     From: \"Alice\" <sip:alice@example.org>;tag=9fxced76sl\r\nTo: <sip:1002@example.org>\r\n\
     Call-ID: 3848276298220188511@example.org\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
     Contact: <sip:alice@198.51.100.1:5060>\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n",
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 198.51.100.1:5060;branch=z9hG4bK74bf9;received=198.51.100.9\r\n\
     From: <sip:alice@example.org>;tag=9fxced76sl\r\nTo: <sip:1002@example.org>;tag=314159\r\n\
     Call-ID: 3848276298220188511@example.org\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
    "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKnashds7\r\n\
     From: <sip:alice@example.org>;tag=456248\r\nTo: <sip:alice@example.org>\r\nCall-ID: 843817637684230\r\n\
     CSeq: 1826 REGISTER\r\nMax-Forwards: 70\r\nContact: <sip:alice@198.51.100.1>;expires=3600\r\n\
     Content-Length: 0\r\n\r\n",
    "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK1\r\nFrom: <sip:a@b.example>;tag=1\r\n\
     To: <sip:c@d.example>;tag=2\r\nCall-ID: x\r\nCSeq: 2147483647 INVITE\r\nContent-Length: 0\r\n\r\n",
];

#[test]
fn plain_messages_are_read_alike() {
    for text in PLAIN {
        let read = ours(text.as_bytes());
        assert!(read.is_some(), "{text}");
        assert_eq!(theirs(text.as_bytes()), read, "{text}");
    }
}

/// One character of a plain message replaced by another legal one: where both still read it, they read the same.
#[test]
fn messages_with_another_character_are_read_alike() {
    let alphabet = b"azAZ09-.!%*_+`'~";
    let (mut both, mut number) = (0, 1_u64);
    for text in PLAIN {
        for at in 0..text.len() {
            // A linear congruential step: any sequence will do that is the same each time.
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut bytes = text.as_bytes().to_vec();
            // Separators stay: what a message without them means is anyone's guess.
            if !bytes[at].is_ascii_alphanumeric() {
                continue;
            }
            bytes[at] = alphabet[(number >> 33) as usize % alphabet.len()];
            let (Some(ours), Some(theirs)) = (ours(&bytes), theirs(&bytes)) else { continue };
            both += 1;
            assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(&bytes));
        }
    }
    assert!(both > 400, "only {both} were read by both");
}
