//! segue itself as the other end: echo, tone, PIN prompt.

use bytes::Bytes;

use super::across::web_session;
use super::agreed::Side;
use super::compose;
use super::formats::{Formats, payload_attribute};
use super::protect::Keying;
use super::{LegMedia, Offerer, PayloadHistory, Refusal};
use crate::media::codec::{Codec, Format};
use crate::wire::sdp::{Attribute, Direction, Kind, Media, SdpWriter};

/// What segue does with the media of such a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Plays something of its own: G.711 only, with telephone-event.
    Play,
    /// Sends back what comes: any one codec of the offer, with telephone-event.
    Echo,
}

/// Ladder: `200 (or 183), answer` to a call to `*43`, `*44`, or to a PIN prompt: answers the open offer of `leg`. The
/// first audio line is taken, the others are refused with port 0.
///
/// # Errors
/// [`Refusal::NoCommonCodec`] if there is no codec for `local` in it; [`Refusal::OutOfPorts`];
/// [`Refusal::OutOfTurn`] without an offer. The leg is unchanged then.
pub fn answer_local(
    leg: &mut LegMedia,
    local: Local,
    mut ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    if leg.open() != Some(Offerer::Them) {
        return Err(Refusal::OutOfTurn);
    }
    let offer = leg.offer_to_answer()?;
    let mut writer = SdpWriter::with_capacity(offer.sdp.bytes().len() + compose::SLACK);
    compose::plain_session(&mut writer, leg.ours.address());
    web_session(&mut writer, leg, &offer);
    let (mut is_taken, mut lines) = (false, Vec::new());
    for (line, (media, theirs)) in offer.sdp.media().zip(&offer.lines).enumerate() {
        let chosen = match is_taken || theirs.kind != Kind::Audio || !theirs.side.carries {
            true => Formats::new(),
            false => choose(&theirs.side.formats, local),
        };
        if chosen.is_empty() {
            compose::disabled(&mut writer, Some(media));
            lines.push(Side::DISABLED);
            continue;
        }
        is_taken = true;
        let port = ports(line).ok_or(Refusal::OutOfPorts)?;
        let direction = theirs.side.direction.mirrored();
        let keying = leg.answered_keys(line, theirs, &media);
        section(&mut writer, &media, keying.port(port), &chosen, direction);
        keying.section(&mut writer);
        let (is_secure, is_web) = (keying.is_secure(), keying.is_web());
        lines.push(Side { carries: true, is_secure, is_web, formats: chosen, direction });
    }
    if !is_taken {
        return Err(Refusal::NoCommonCodec);
    }
    Ok(leg.answer(&writer.finish(), lines, offer))
}

/// Ladder: `200, offer` to such a call whose INVITE had none: PCMU, PCMA, telephone-event on the first line.
///
/// # Errors
/// [`Refusal::OutOfPorts`], [`Refusal::OutOfTurn`], [`Refusal::NoCommonCodec`] if G.711 is not for this peer. The leg is
/// unchanged then.
pub fn offer_local(
    leg: &mut LegMedia,
    mut ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    leg.expect_idle()?;
    let own = leg.sift(vec![
        Format { number: 0, codec: Codec::PCMU },
        Format { number: 8, codec: Codec::PCMA },
        Format { number: 101, codec: Codec::TELEPHONE_EVENT },
    ]);
    if own.is_empty() {
        return Err(Refusal::NoCommonCodec);
    }
    let port = ports(0).ok_or(Refusal::OutOfPorts)?;
    if leg.lines.is_empty() {
        leg.lines.push(PayloadHistory::default());
    }
    let numbers = leg.lines.first_mut().map(|history| history.assign(&own)).unwrap_or_default();
    let chosen: Formats = own
        .iter()
        .zip(numbers)
        .filter_map(|(own, number)| Some(Format { number: number?, ..*own }))
        .collect();
    let mut writer = SdpWriter::with_capacity(256);
    compose::plain_session(&mut writer, leg.ours.address());
    let keying = leg.offered_keys(0);
    let protocol: &[u8] = match &keying {
        Keying::Plain => b"RTP/AVP",
        Keying::Sdes(_) => b"RTP/SAVP",
        Keying::Web(web) => {
            web.session(&mut writer, None);
            super::web::PROFILE
        }
    };
    writer.media(b"audio", keying.port(port), protocol);
    for format in &chosen {
        writer.number_word(format.number);
    }
    writer.end_line();
    for format in &chosen {
        compose::rtpmap(&mut writer, *format);
        if format.codec.is_telephone_event() {
            events(&mut writer, format.number);
        }
    }
    writer.put(b"a=ptime:20\r\n");
    keying.section(&mut writer);
    let last = leg.ours.last_sdp();
    let (is_secure, is_web) = (keying.is_secure(), keying.is_web());
    let first = Side { carries: true, is_secure, is_web, formats: chosen, direction: Direction::SendRecv };
    let mut lines = vec![first];
    while lines.len() < leg.lines.len() {
        compose::disabled(&mut writer, last.as_ref().and_then(|last| last.medium(lines.len())));
        lines.push(Side::DISABLED);
    }
    Ok(leg.offer(&writer.finish(), lines, leg.next_start()))
}

/// One codec, and DTMF on its clock.
fn choose(offered: &[Format], local: Local) -> Formats {
    let fits = |format: &&Format| match local {
        Local::Play => format.codec == Codec::PCMU || format.codec == Codec::PCMA,
        Local::Echo => format.codec.is_primary(),
    };
    let Some(speech) = offered.iter().find(fits) else { return Formats::new() };
    let is_event = |format: &&Format| format.codec.is_telephone_event();
    let on_its_clock =
        |format: &&Format| is_event(format) && format.codec.clock_rate() == speech.codec.clock_rate();
    let event = offered.iter().find(on_its_clock).or_else(|| offered.iter().find(is_event));
    [Some(speech), event].into_iter().flatten().copied().collect()
}

fn section(writer: &mut SdpWriter, offered: &Media<'_>, port: u16, chosen: &[Format], direction: Direction) {
    writer.media(offered.kind_name(), port, offered.protocol_name());
    for format in chosen {
        writer.number_word(format.number);
    }
    writer.end_line();
    for format in chosen {
        compose::rtpmap(writer, *format);
        if format.codec.is_telephone_event() {
            events(writer, format.number);
            continue;
        }
        // What is echoed must be acceptable to its author, so its own parameters hold for us.
        for value in offered.attributes(Attribute::Fmtp) {
            if payload_attribute(value).is_some_and(|(number, _)| number == format.number) {
                writer.put(b"a=fmtp:");
                writer.put(value);
                writer.end_line();
            }
        }
    }
    writer.put(b"a=ptime:20\r\n");
    writer.direction(direction);
}

/// The sixteen DTMF events.
fn events(writer: &mut SdpWriter, number: u8) {
    writer.put(b"a=fmtp:");
    writer.number(u64::from(number));
    writer.put(b" 0-15\r\n");
}
