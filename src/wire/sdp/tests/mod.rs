//! Reading: fixtures, limits, faults with their lines; beside sdp-types as a second pair of eyes; and mutations.

mod oracle;

pub(crate) use oracle::mutated;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../fixtures/sdp/", $name, ".sdp")))
    };
}

/// Descriptions as phones, gateways, browsers and RFCs write them.
pub(crate) const FIXTURES: &[(&str, &str)] = &[
    fixture!("best-effort-srtp"),
    fixture!("browser"),
    fixture!("desk-wideband"),
    fixture!("everything"),
    fixture!("fax-t38"),
    fixture!("g711"),
    fixture!("hold-old-style"),
    fixture!("hold-sendonly"),
    fixture!("hold-session-inactive"),
    fixture!("mobile-amr"),
    fixture!("rfc4475-esc01"),
    fixture!("rfc5118-ipv4-mapped-ipv6"),
    fixture!("rfc5118-ipv6-in-sdp"),
    fixture!("rfc5118-mult-ip-in-sdp"),
    fixture!("rtcp-elsewhere"),
    fixture!("softphone-opus-video"),
];

fn parse(text: &str) -> Result<Sdp, SdpError> {
    Sdp::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

fn named(name: &str) -> Sdp {
    let (_, text) = FIXTURES.iter().find(|(found, _)| *found == name).unwrap();
    parse(text).unwrap()
}

const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";

#[test]
fn every_fixture_is_read_and_its_lines_are_whole() {
    for (name, text) in FIXTURES {
        let sdp = parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut again = String::new();
        let sections = (0..sdp.media().len()).map(|index| sdp.medium(index).unwrap());
        for line in sdp.session_lines() {
            again += &format!("{}\r\n", String::from_utf8_lossy(sdp.line(line)));
        }
        for media in sections {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let ports = if media.ports() == 1 { String::new() } else { format!("/{}", media.ports()) };
            again += &format!(
                "m={} {}{ports} {} {}\r\n",
                text(media.kind_name()),
                media.port(),
                text(media.protocol_name()),
                text(media.format_text())
            );
            for line in media.lines() {
                again += &format!("{}\r\n", text(sdp.line(line)));
            }
        }
        assert_eq!(&again, text, "{name}");
    }
}

#[test]
fn media_lines_say_where_and_which_way() {
    let everything = named("everything");
    let origin = everything.origin();
    assert_eq!(
        (origin.username, origin.session_id, origin.version),
        (&b"jdoe"[..], &b"3724394400"[..], &b"3724394405"[..])
    );
    let kinds: Vec<_> = everything.media().map(|media| (media.kind(), media.protocol())).collect();
    assert_eq!(
        kinds,
        [
            (Kind::Audio, Protocol::RtpAvp),
            (Kind::Audio, Protocol::RtpAvp),
            (Kind::Video, Protocol::RtpAvpf),
            (Kind::Application, Protocol::Other),
            (Kind::Message, Protocol::Other)
        ]
    );
    assert_eq!(everything.medium(0).unwrap().ports(), 2);
    assert_eq!(everything.medium(1).unwrap().rtp(), Some("198.51.100.1:49180".parse().unwrap()));
    assert_eq!(everything.medium(2).unwrap().rtp(), Some("[2001:db8::2]:51372".parse().unwrap()));
    assert!(everything.medium(9).is_none());

    let mapped = named("rfc5118-ipv4-mapped-ipv6");
    assert_eq!(mapped.medium(0).unwrap().rtp(), Some("192.0.2.2:6000".parse().unwrap()));
    let several = named("rfc5118-mult-ip-in-sdp");
    assert_eq!(several.connection(), None);
    assert_eq!(several.medium(1).unwrap().address(), Some("2001:db8::1".parse().unwrap()));
}

#[test]
fn directions_are_inherited_and_an_unspecified_address_receives_nothing() {
    let directions = |name| named(name).media().map(|media| media.direction()).collect::<Vec<_>>();
    assert_eq!(directions("g711"), [Direction::SendRecv]);
    assert_eq!(directions("hold-sendonly"), [Direction::SendOnly]);
    assert_eq!(directions("hold-session-inactive"), [Direction::Inactive, Direction::RecvOnly]);
    assert_eq!(directions("hold-old-style"), [Direction::SendOnly]);
    assert_eq!(named("hold-old-style").medium(0).unwrap().declared_direction(), Direction::SendRecv);
    assert_eq!(named("hold-old-style").medium(0).unwrap().rtp(), None);
}

#[test]
fn rtcp_is_where_it_is_said_or_next_to_rtp() {
    let sdp = named("rtcp-elsewhere");
    let rtcp: Vec<_> = sdp.media().map(|media| media.rtcp().map(|place| place.to_string())).collect();
    assert_eq!(rtcp, [Some("203.0.113.5:53020".to_owned()), Some("203.0.113.7:53021".to_owned()), None]);
    for (value, expected) in
        [("0", None), ("x", None), ("70000", None), ("5005 IN IP4", None), ("5005 IN IP6 ::", None)]
    {
        let sdp = parse(&format!("{HEAD}m=audio 4000 RTP/AVP 0\r\na=rtcp:{value}\r\n")).unwrap();
        assert_eq!(sdp.medium(0).unwrap().rtcp(), expected, "{value}");
    }
}

#[test]
fn line_ends_and_blank_lines_do_not_matter() {
    let (_, text) = FIXTURES.iter().find(|(name, _)| *name == "g711").unwrap();
    for sloppy in [
        text.replace("\r\n", "\n"),
        text.trim_end().to_owned(),
        text.replace("t=0 0", "\r\nt=0 0\r\n\r\n"),
        format!("{text}\n\r\n"),
    ] {
        let sdp = parse(&sloppy).unwrap();
        let media = sdp.medium(0).unwrap();
        assert_eq!((media.lines().len(), media.payload_numbers().collect::<Vec<_>>()), (6, vec![0, 8, 101]));
        assert_eq!(media.attribute(Attribute::Ptime), Some(&b"20"[..]));
    }
}

#[test]
fn faults_are_told_with_their_line() {
    let media = |line: &str| format!("{HEAD}{line}\r\n");
    for (text, line, fault) in [
        (String::new(), 1, Fault::Origin),
        ("v=0\r\n".to_owned(), 1, Fault::Origin),
        ("o=- 1 2 IN IP4 x\r\n".to_owned(), 1, Fault::Version),
        (HEAD.replace("v=0", "v=1"), 1, Fault::Version),
        (HEAD.replace("v=0", "v=0 "), 1, Fault::Version),
        (HEAD.replace("o=- 1 2 IN IP4 192.0.2.1", "o=- 1 2 IN IP4"), 2, Fault::OriginForm),
        (HEAD.replace("o=- 1 2 IN IP4 192.0.2.1", "o=- 1 2 IN IP4 a b"), 2, Fault::OriginForm),
        (format!("{HEAD}o=- 1 2 IN IP4 x\r\n"), 6, Fault::Origin),
        (HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.256"), 4, Fault::Connection),
        (HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2"), 4, Fault::Connection),
        (HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP6 2001:db8:::1"), 4, Fault::Connection),
        (HEAD.replace("c=IN IP4 192.0.2.1", "c=IN IP4"), 4, Fault::Connection),
        (HEAD.replace("s=-", "garbage"), 3, Fault::Form),
        (HEAD.replace("s=-", "1=x"), 3, Fault::Form),
        (HEAD.replace("s=-", " s=x"), 3, Fault::Form),
        (HEAD.replace("s=-", "s=a\rb"), 3, Fault::Control),
        (HEAD.replace("s=-", "s=a\0b"), 3, Fault::Control),
        (media("m=audio 65536 RTP/AVP 0"), 6, Fault::Media),
        (media("m=audio -1 RTP/AVP 0"), 6, Fault::Media),
        (media("m=audio 4000/x RTP/AVP 0"), 6, Fault::Media),
        (media("m=audio 4000 RTP/AVP"), 6, Fault::Media),
        (media("m=audio"), 6, Fault::Media),
        (media("m="), 6, Fault::Media),
    ] {
        assert_eq!(parse(&text).map(|_| ()), Err(SdpError { line, fault }), "{text}");
    }
}

#[test]
fn every_count_has_a_cap() {
    let long = |count: usize, what: &str| format!("{HEAD}{}", what.repeat(count));
    let fault = |text: &str| parse(text).unwrap_err().fault;
    assert_eq!(fault(&long(4000, "a=x:0123456789\r\n")), Fault::TooLong);
    assert_eq!(fault(&long(600, "a=x\r\n")), Fault::TooManyLines);
    assert_eq!(fault(&long(17, "m=audio 1 RTP/AVP 0\r\n")), Fault::TooManyMedia);
    assert_eq!(fault(&format!("{HEAD}m=audio 1 RTP/AVP{}\r\n", " 0".repeat(65))), Fault::TooManyFormats);
    parse(&long(16, "m=audio 1 RTP/AVP 0\r\n")).unwrap();
}

#[test]
fn names_are_told_apart_from_addresses() {
    let host = |c: &str| parse(&HEAD.replace("c=IN IP4 192.0.2.1", c)).unwrap().connection().unwrap();
    assert_eq!(host("c=IN IP4 224.2.1.1/127"), Host::Address("224.2.1.1".parse().unwrap()));
    assert_eq!(host("c=IN IP6 FF15::101/3"), Host::Address("ff15::101".parse().unwrap()));
    assert_eq!(host("c=in ip4 192.0.2.9"), Host::Address("192.0.2.9".parse().unwrap()));
    for name in ["c=IN IP4 host.example", "c=IN IP6 host.example", "c=IN IP9 x", "c=ATM NSAP 47.0091"] {
        assert_eq!(host(name), Host::Name, "{name}");
    }
}

#[test]
fn a_detached_description_reads_the_same() {
    let packet = Bytes::from([b"SIP head ", HEAD.as_bytes(), b"m=audio 4000 RTP/AVP 0\r\n"].concat());
    let sdp = Sdp::parse(packet.slice(9..), &Limits::default()).unwrap();
    let kept = sdp.clone().detached();
    assert_eq!(sdp.bytes(), kept.bytes());
    assert_ne!(sdp.bytes().as_ptr(), kept.bytes().as_ptr());
    assert_eq!(kept.medium(0).unwrap().port(), 4000);
}

#[test]
fn numbers_are_written_as_they_are() {
    let mut writer = SdpWriter::default();
    for number in [0, 9, 10, 65535, u64::MAX] {
        writer.number(number);
        writer.put(b" ");
    }
    assert_eq!(writer.finish(), format!("0 9 10 65535 {} ", u64::MAX));
}
