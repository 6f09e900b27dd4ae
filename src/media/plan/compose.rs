//! Writes a description of ours from the lines of another: our address and ports, the receiving dialog's payload
//! numbers, no line that belongs to the author's own path; every other line byte for byte.

use std::net::IpAddr;

use super::formats::{codec_of, payload_attribute};
use super::protect::Keying;
use crate::base::names_place;
use crate::media::codec::{Codec, Format};
use crate::wire::sdp::{Attribute, Direction, Line, Media, Sdp, SdpWriter, payload_number};

/// Room for what is added beyond the source's text.
pub(super) const SLACK: usize = 128;

/// One m-line that carries media.
pub(super) struct Section<'a> {
    pub(super) sdp: &'a Sdp,
    pub(super) source: Media<'a>,
    pub(super) kind: &'a [u8],
    pub(super) protocol: &'a [u8],
    pub(super) port: u16,
    /// Number in the source, and what it becomes in our text: another number, and for DTMF perhaps another clock.
    pub(super) formats: &'a [(u8, Format)],
    /// What the source's numbers stand for.
    pub(super) codecs: &'a [Format],
    /// Codecs of our own after those of the source: number in our text.
    pub(super) extra: &'a [Format],
    /// All of these, best first.
    pub(super) order: &'a [Format],
    pub(super) direction: Direction,
    pub(super) keying: &'a Keying,
}

/// Session lines of `source` after its `o=` line, with our address, in the order of RFC 8866 5 whatever theirs was.
pub(super) fn session(writer: &mut SdpWriter, source: &Sdp, address: IpAddr) {
    let lines = source.session_lines();
    let copy = |writer: &mut SdpWriter, letters: &[u8], most: usize| {
        let chosen =
            lines.iter().filter(|line| letters.contains(&line.letter()) && passes(source, line)).take(most);
        chosen.map(|line| writer.copy(source, line)).count()
    };
    if copy(writer, b"s", 1) == 0 {
        writer.put(b"s=-\r\n");
    }
    copy(writer, b"i", 1);
    copy(writer, b"u", 1);
    copy(writer, b"e", usize::MAX);
    copy(writer, b"p", usize::MAX);
    writer.connection(address);
    copy(writer, b"b", usize::MAX);
    if !lines.iter().any(|line| line.letter() == b't') {
        writer.put(b"t=0 0\r\n");
    }
    copy(writer, b"tr", usize::MAX);
    copy(writer, b"z", 1);
    copy(writer, b"a", usize::MAX);
}

/// Session lines of a description that has no source.
pub(super) fn plain_session(writer: &mut SdpWriter, address: IpAddr) {
    writer.put(b"s=-\r\n");
    writer.connection(address);
    writer.put(b"t=0 0\r\n");
}

/// Whether a line may go on as it is (direction and payload attributes of media sections are dealt with apart): one that
/// names an address tells where its author is, and to whom media goes through us that is of no use.
fn passes(source: &Sdp, line: &Line) -> bool {
    if names_place(source.line(line)) {
        return false;
    }
    match line.letter() {
        b'a' => !line.attribute().is_of_transport() && !matches!(line.attribute(), Attribute::Direction(_)),
        b's' | b'i' | b'u' | b'e' | b'p' | b'b' | b't' | b'r' | b'z' => true,
        // Address and keys are of the author's path; a letter that nobody knows would void the whole (RFC 8866 5).
        _ => false,
    }
}

/// An m-line with its section.
pub(super) fn section(writer: &mut SdpWriter, section: &Section<'_>) {
    writer.media(section.kind, section.port, section.protocol);
    for format in section.order {
        writer.number_word(format.number);
    }
    writer.end_line();
    let mut is_directed = false;
    let mut mapped: u128 = 0;
    for line in section.source.lines() {
        match line.attribute() {
            Attribute::Direction(_) if !is_directed => {
                writer.direction(section.direction);
                is_directed = true;
            }
            Attribute::Direction(_) => {}
            attribute if attribute.is_of_payload() => {
                let number = payload_line(writer, section, line);
                if let (Attribute::Rtpmap, Some(number)) = (attribute, number) {
                    mapped |= 1 << (number & 127);
                }
            }
            _ if matches!(line.letter(), b'i' | b'b' | b'a') && passes(section.sdp, line) => {
                writer.copy(section.sdp, line)
            }
            _ => {}
        }
    }
    for (_, here) in section.formats {
        // An author who left a dynamic mapping out meant ours; say it, as the other side may not know it.
        if mapped & (1 << (here.number & 127)) == 0 && here.number >= 96 {
            rtpmap(writer, *here);
        }
    }
    for format in section.extra {
        rtpmap(writer, *format);
        if format.codec.is_telephone_event() {
            writer.put(b"a=fmtp:");
            writer.number(u64::from(format.number));
            writer.put(b" 0-15\r\n");
        }
    }
    section.keying.section(writer);
    if !is_directed && section.direction != Direction::SendRecv {
        writer.direction(section.direction);
    }
}

/// `a=rtpmap` of our own. A number that nobody explained stays so.
pub(super) fn rtpmap(writer: &mut SdpWriter, format: Format) {
    if format.codec.clock_rate() == 0 {
        return;
    }
    writer.put(b"a=rtpmap:");
    writer.number(u64::from(format.number));
    writer.put(b" ");
    writer.put(format.codec.spelling().as_bytes());
    writer.put(b"/");
    writer.number(u64::from(format.codec.clock_rate()));
    if format.codec.channels() > 1 {
        writer.put(b"/");
        writer.number(u64::from(format.codec.channels()));
    }
    writer.end_line();
}

/// An m-line without media: refused, ended, or never used (RFC 3264 6, 8.2).
pub(super) fn disabled(writer: &mut SdpWriter, like: Option<Media<'_>>) {
    match like {
        Some(media) => {
            writer.media(media.kind_name(), 0, media.protocol_name());
            writer.word(media.format_text());
        }
        None => writer.put(b"m=audio 0 RTP/AVP 0"),
    }
    writer.end_line();
}

/// A line whose value starts with a payload number, under its new number; gone with its format. Gives the new number.
fn payload_line(writer: &mut SdpWriter, section: &Section<'_>, line: &Line) -> Option<u8> {
    // What a browser tells of its congestion needs header extensions, which do not cross.
    let is_web = section.keying.is_web() || section.source.protocol().is_dtls();
    if is_web && line.attribute() == Attribute::RtcpFb {
        return None;
    }
    let text = section.sdp.value(line);
    let colon = memchr::memchr(b':', text)?;
    let (name, value) = (text.get(..colon)?, text.get(colon + 1..)?);
    let Some((number, rest)) = payload_attribute(value) else {
        // `a=rtcp-fb:*` speaks of every format.
        if value.starts_with(b"*") {
            writer.copy(section.sdp, line);
        }
        return None;
    };
    let (_, target) = section.formats.iter().find(|(there, _)| *there == number)?;
    let (here, codec) = (target.number, codec_of(section.codecs, number));
    if line.attribute() == Attribute::Rtpmap && codec != Some(target.codec) {
        return None;
    }
    let refers = line.attribute() == Attribute::Fmtp && is_renumbered(section.formats);
    if here == number && !refers {
        writer.copy(section.sdp, line);
        return Some(here);
    }
    writer.put(b"a=");
    writer.put(name);
    writer.put(b":");
    writer.number(u64::from(here));
    writer.put(b" ");
    match codec.as_ref().map(Codec::name) {
        Some("RED") if refers => redundancy(writer, section.formats, rest),
        Some("RTX") if refers => retransmission(writer, section.formats, rest),
        _ => writer.put(rest),
    }
    writer.end_line();
    Some(here)
}

fn renumber(formats: &[(u8, Format)], number: u8) -> Option<u8> {
    formats.iter().find(|(there, _)| *there == number).map(|(_, here)| here.number)
}

fn is_renumbered(formats: &[(u8, Format)]) -> bool {
    formats.iter().any(|(there, here)| *there != here.number)
}

/// `101/101`: the payload numbers of RFC 2198 5.
fn redundancy(writer: &mut SdpWriter, formats: &[(u8, Format)], text: &[u8]) {
    for (index, part) in text.split(|byte| *byte == b'/').enumerate() {
        if index > 0 {
            writer.put(b"/");
        }
        match payload_number(part.trim_ascii()).and_then(|number| renumber(formats, number)) {
            Some(number) => writer.number(u64::from(number)),
            None => writer.put(part),
        }
    }
}

/// `apt=96;rtx-time=3000`: the payload number of RFC 4588 8.1.
fn retransmission(writer: &mut SdpWriter, formats: &[(u8, Format)], text: &[u8]) {
    for (index, part) in text.split(|byte| *byte == b';').enumerate() {
        if index > 0 {
            writer.put(b";");
        }
        let number = part.trim_ascii().strip_prefix(b"apt=").and_then(payload_number);
        match number.and_then(|number| renumber(formats, number)) {
            Some(number) => {
                writer.put(b"apt=");
                writer.number(u64::from(number));
            }
            None => writer.put(part),
        }
    }
}
