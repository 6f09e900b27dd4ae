//! RFC 4475 and RFC 5118: each message gets the verdict that `fixtures/torture/verdicts.toml` gives with its reason.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use segue::wire::sip::{
    Contacts, Frame, HeaderName, Host, Limits, Message, MessageWriter, Scheme, StatusCode, StreamFramer, Uri,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Verdicts {
    message: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    section: String,
    verdict: Verdict,
    reason: String,
}

#[derive(Deserialize, Debug, PartialEq, Clone)]
#[serde(untagged)]
enum Verdict {
    Status(u16),
    Word(String),
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torture")
}

fn bytes(file: &str) -> Bytes {
    fs::read(folder().join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).into()
}

fn message(file: &str) -> Message {
    let message =
        Message::parse(bytes(file), &Limits::default()).unwrap_or_else(|error| panic!("{file}: {error}"));
    message.check().unwrap_or_else(|violation| panic!("{file}: {violation}"));
    message
}

fn cases() -> Vec<Case> {
    let text = fs::read_to_string(folder().join("verdicts.toml")).unwrap();
    toml::from_str::<Verdicts>(&text).unwrap().message
}

/// What the lowest layer of a server does: pass on, answer, or stay silent.
fn judge(bytes: Bytes) -> (Verdict, Option<Bytes>) {
    let (message, status) = match Message::parse(bytes, &Limits::default()) {
        Ok(message) => match message.check() {
            Ok(()) => return (Verdict::Word("accept".into()), None),
            Err(violation) => (Some(message), violation.status),
        },
        Err(error) => {
            let status = error.status();
            (error.reply.map(|message| *message), status)
        }
    };
    match message.filter(Message::can_be_answered) {
        Some(request) => {
            let source = "198.51.100.7:5099".parse().unwrap();
            let mut answer = MessageWriter::reply_from(&request, status, None, source, Some("ours"));
            (Verdict::Status(status.as_u16()), Some(answer.finish()))
        }
        None => (Verdict::Word("drop".into()), None),
    }
}

#[test]
fn every_file_has_its_verdict() {
    let mut seen = BTreeSet::new();
    for case in cases() {
        let (verdict, answer) = judge(bytes(&case.file));
        assert_eq!(verdict, case.verdict, "{} ({}): {}", case.file, case.section, case.reason);
        if let (Verdict::Status(status), Some(answer)) = (verdict, answer) {
            let answer = Message::parse(answer, &Limits::default()).unwrap();
            assert_eq!(answer.status(), StatusCode::new(status), "{}", case.file);
            assert!(
                answer.has(HeaderName::Via) && answer.cseq().is_ok() || case.section == "3.1.2.4",
                "{}",
                case.file
            );
        }
        assert!(seen.insert(case.file.clone()), "{} twice", case.file);
    }
    let mut files = BTreeSet::new();
    for set in ["rfc4475", "rfc5118", "rfc5118-wire"] {
        for entry in fs::read_dir(folder().join(set)).unwrap() {
            files.insert(format!("{set}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    assert_eq!(seen, files, "every file has a verdict and every verdict a file");
}

/// "13 of 13 valid accepted and forwarded unharmed".
#[test]
fn valid_messages_are_forwarded_byte_for_byte() {
    let valid: Vec<Case> = cases().into_iter().filter(|case| case.section.starts_with("3.1.1.")).collect();
    assert_eq!(valid.len(), 13);
    for Case { file, .. } in
        valid.into_iter().chain(cases().into_iter().filter(|c| c.verdict == Verdict::Word("accept".into())))
    {
        let original = message(&file);
        let body = original.body();
        let mut writer = match original.status() {
            None => MessageWriter::request(original.method(), original.uri()),
            Some(status) => MessageWriter::response(status, Some(original.reason_phrase())),
        };
        for header in original.headers().filter(|header| header.name != HeaderName::ContentLength) {
            writer.copy(&header);
        }
        let copy = Message::parse(writer.raw_body(&body).finish(), &Limits::default()).unwrap();
        copy.check().unwrap_or_else(|violation| panic!("{file}: {violation}"));
        let lines = |message: &Message| -> Vec<(Vec<u8>, Vec<u8>)> {
            let all = message.headers().filter(|header| header.name != HeaderName::ContentLength);
            all.map(|header| (header.raw_name.to_vec(), header.value.to_vec())).collect()
        };
        assert_eq!(lines(&copy), lines(&original), "{file}");
        assert_eq!(copy.body(), body, "{file}");
        assert_eq!((copy.uri(), copy.reason_phrase()), (original.uri(), original.reason_phrase()), "{file}");
        // The value as it stands in the file, not only as we read it twice.
        let file_bytes = bytes(&file);
        for (_, value) in lines(&copy) {
            assert!(value.is_empty() || memchr::memmem::find(&file_bytes, &value).is_some(), "{file}");
        }
    }
}

/// The same messages over a stream give the same bytes, however the stream is cut.
#[test]
fn a_stream_of_valid_messages_is_cut_at_its_seams() {
    let files: Vec<String> = cases()
        .into_iter()
        .filter(|case| case.verdict == Verdict::Word("accept".into()))
        .map(|case| case.file)
        // Not framed for a stream: no Content-Length.
        .filter(|file| message(file).has(HeaderName::ContentLength))
        .collect();
    assert!(files.len() > 25);
    let stream: Vec<u8> = files.iter().flat_map(|file| message(file).bytes().to_vec()).collect();
    for step in [1, 7, 100, 1500, stream.len()] {
        let mut framer = StreamFramer::new(Limits::default());
        let mut frames = Vec::new();
        for part in stream.chunks(step) {
            framer.push(part);
            while let Some(frame) = framer.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        let expected: Vec<Frame> =
            files.iter().map(|file| Frame::Message(message(file).bytes().clone())).collect();
        assert_eq!(frames, expected, "in parts of {step}");
        assert!(!framer.is_partial());
    }
}

fn rfc4475(name: &str) -> Message {
    message(&format!("rfc4475/{name}.dat"))
}

#[test]
fn tortuous_invite() {
    let m = rfc4475("wsinv");
    assert_eq!(m.uri(), "sip:vivekg@chair-dnrc.example.com;unknownparam");
    assert_eq!(m.to_tag(), Some("1918181833n"));
    let from = m.from().unwrap();
    assert_eq!((from.display().as_deref(), from.tag()), (Some("J Rosenberg \\\""), Some("98asjd8")));
    assert_eq!(m.max_forwards(), Ok(Some(68)));
    assert_eq!(m.cseq().map(|cseq| cseq.number), Ok(9));
    let vias: Vec<_> =
        m.vias().map(|via| via.map(|via| (via.transport, via.sent_by, via.branch()))).collect();
    assert_eq!(
        vias,
        [
            Ok(("UDP", "192.0.2.2", Some("390skdjuw"))),
            Ok(("TCP", "spindle.example.com", Some("z9hG4bK9ikj8"))),
            Ok(("UDP", "192.168.255.111", Some("z9hG4bK30239"))),
        ]
    );
    assert_eq!(m.header(HeaderName::Subject).map(|header| header.value), Some(&b""[..]));
    let contact = m.contact().unwrap();
    assert_eq!(
        (contact.uri, contact.q(), contact.param("secondparam")),
        ("sip:jdrosen@example.com", Some(330), Some(None))
    );
    assert_eq!(contact.param("newparam"), Some(Some("newvalue")));
    assert_eq!(contact.display().as_deref(), Some("Quoted string \"\""));
    assert_eq!(
        m.routes().filter_map(Result::ok).map(|route| route.uri).collect::<Vec<_>>(),
        ["sip:services.example.com;lr;unknownwith=value;unknown-no-value"]
    );
    let new = m.other("newfangledheader").unwrap().value_str().unwrap();
    assert_eq!(new, "newfangled value continued newfangled value");
    assert_eq!(m.body().len(), 150);
}

#[test]
fn what_the_other_valid_messages_mean() {
    let m = rfc4475("intmeth");
    assert_eq!(m.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(m.to().unwrap().display().as_deref(), Some("BEL:\x07 NUL:\0 DEL:\x7f"));
    assert_eq!(m.from_tag(), Some("_token~1'+`*%!-."));
    assert_eq!(m.other("extensionHeader-!.%*+_`'~").unwrap().value_str().unwrap(), "\u{feff}大停電");

    let m = rfc4475("esc01");
    assert_eq!(Uri::parse(m.uri()).unwrap().user_decoded().as_deref(), Some("sips:user@example.com"));
    assert_eq!(m.to().unwrap().parsed_uri().unwrap().user_decoded().as_deref(), Some("user"));

    let m = rfc4475("escnull");
    let Contacts::List(list) = m.contacts().unwrap() else { panic!("not a star") };
    let users: Vec<_> =
        list.iter().filter_map(|c| c.parsed_uri().unwrap().user_decoded().map(|user| user.len())).collect();
    assert_eq!(users, [1, 2], "a NUL does not end a string");

    let m = rfc4475("esc02");
    assert_eq!(m.method().as_str(), "RE%47IST%45R");
    assert_eq!(m.to().unwrap().display().as_deref(), Some("%Z%45"));
    assert_eq!(m.values(HeaderName::Contact).count(), 2, "C%6Fntact is no Contact");
    assert!(m.other("C%6Fntact").is_some());

    assert_eq!(rfc4475("lwsdisp").from().unwrap().display().as_deref(), Some("caller"));

    let m = rfc4475("longreq");
    assert_eq!(m.vias().count(), 34);
    assert!(m.vias().all(|via| via.is_ok()));

    let m = rfc4475("dblreq");
    assert_eq!((m.body().len(), m.bytes().ends_with(b"Content-Length: 0\r\n\r\n")), (0, true));

    let m = rfc4475("semiuri");
    assert_eq!(Uri::parse(m.uri()).unwrap().user_decoded().as_deref(), Some("user;par=u@example.net"));
    assert!(Uri::parse(m.uri()).unwrap().params().is_empty());
    assert_eq!(m.values(HeaderName::Accept).count(), 6);

    let transports: Vec<_> =
        rfc4475("transports").vias().map(|via| via.unwrap().transport.to_owned()).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);

    let m = rfc4475("mpart01");
    assert_eq!((m.content_type(), m.body().len()), (Some("multipart/mixed"), 553));

    assert!(rfc4475("unreason").reason_phrase().ends_with("девять - простое"));
    let m = rfc4475("noreason");
    assert_eq!((m.status(), m.reason_phrase()), (Some(StatusCode::TRYING), ""));
}

#[test]
fn what_some_accepted_messages_mean() {
    let param = |name: &str| {
        let m = rfc4475(name);
        let contact = m.contact().unwrap();
        (
            contact.param("unknownparam").is_some(),
            contact.parsed_uri().unwrap().param("unknownparam").is_some(),
        )
    };
    assert_eq!(param("cparam01"), (true, false));
    assert_eq!(param("cparam02"), (false, true));
    let m = rfc4475("regescrt");
    let uri = m.contact().unwrap().parsed_uri().unwrap();
    assert_eq!(uri.header("Route").as_deref(), Some("<sip:sip.example.com>"));
    assert_eq!(rfc4475("badbranch").via().unwrap().rfc3261_branch(), None);
    assert_eq!(rfc4475("inv2543").from_tag(), None);

    // RFC 4475 3.1.2.4: the expiry values alone would count as the default.
    let scalar = Message::parse(bytes("rfc4475/scalar02.dat"), &Limits::default()).unwrap();
    assert_eq!(scalar.expires(), Some(3600));
    assert_eq!(scalar.contact().unwrap().expires(), Some(3600));

    let v6 = |name: &str| message(&format!("rfc5118-wire/{name}.dat"));
    let m = v6("port-ambiguous");
    let uri = Uri::parse(m.uri()).unwrap();
    assert_eq!((uri.host(), uri.port()), (Host::V6("2001:db8::10:5070".parse().unwrap()), None));
    assert_eq!(Uri::parse(v6("port-unambiguous").uri()).unwrap().port(), Some(5070));
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        assert_eq!(v6(name).via().unwrap().received(), "2001:db8::9:255".parse().ok());
    }
    let (three, two) = (v6("ipv6-bug-abnf-3-colons"), v6("ipv6-correct-abnf-2-colons"));
    assert!(Uri::parse(three.uri()).unwrap().equivalent(&Uri::parse(two.uri()).unwrap()));
    assert_eq!(Uri::parse(two.uri()).unwrap().scheme(), Scheme::Sip);
}
