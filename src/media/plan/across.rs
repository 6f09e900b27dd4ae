//! An offer or an answer of one leg, as the other leg gets it.

use bytes::Bytes;
use smallvec::SmallVec;

use super::agreed::{Side, is_carried, read};
use super::compose::{self, Section};
use super::formats::{Formats, counterpart};
use super::leg::Bridging;
use super::leg::{MAX_LINES, Offer, Open};
use super::protect::{Keying, profile};
use super::{LegMedia, Pairing, PayloadHistory, Refusal, bridge, web};
use crate::media::codec::{Codec, Format};
use crate::wire::sdp::{Direction, Kind, Media, Sdp, SdpWriter};

/// The offer of `from` (its open offer) as an offer to `to`.
///
/// Ladder: `segue ── INVITE / re-INVITE / UPDATE, offer ──► B`, and 200 with an offer to an INVITE without one.
/// `ports(line)` is asked once for each m-line of `to` that is to carry media and gives our even RTP port there
/// (RTCP is the next one); the same line must get the same port again. `None` disables that line.
///
/// Lines that we do not carry (T.38, MSRP, BFCP, port 0) are not shown to `to`; the answer refuses them. So a
/// fax re-INVITE of T.38 alone gets 488, on which both ends fall back to G.711.
///
/// # Errors
/// See [`Refusal`]; both legs and the pairing are unchanged then.
pub fn offer_across(
    from: &LegMedia,
    to: &mut LegMedia,
    pairing: &mut Pairing,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    // A call whose speech is converted is changed without losing what the other side speaks. (Of one that is not, what a
    // side has is what the other one is offered.)
    let is_converted = super::streams(from, to, pairing).iter().any(|stream| stream.is_converted);
    let extras = |to: &LegMedia, line: Option<usize>, kind: Kind, formats: &[Format]| match line {
        Some(line) if is_converted => bridge::kept(to, line, kind, formats),
        _ => Formats::new(),
    };
    offer_with(from, to, pairing, extras, ports)
}

/// The same with formats of our own: what `extras` gives for a line of `to` (none for one that is new), beside the formats
/// that are there.
pub(super) fn offer_with(
    from: &LegMedia,
    to: &mut LegMedia,
    pairing: &mut Pairing,
    extras: impl Fn(&LegMedia, Option<usize>, Kind, &[Format]) -> Formats,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    let Some(Open::Received(offer)) = &from.open else { return Err(Refusal::OutOfTurn) };
    to.expect_idle()?;
    pairing.check(from, to)?;
    let source = offer.sdp();
    let crossing = crossing(source, from, to, pairing, extras)?;
    let next = pair_new_lines(source, &crossing, (from, to), pairing)?;
    let mut slots: Slots<'_> = SmallVec::new();
    slots.resize_with(to.lines.len(), || None);
    for Crossing { line, formats, extra } in crossing {
        let (Some(media), Some(slot)) = (source.medium(line), next.partner(from, line, to)) else { continue };
        set(&mut slots, slot, Slot { source: media, formats, extra, direction: media.direction() });
    }
    if slots.is_empty() {
        return Err(Refusal::NoUsableMedia);
    }
    let text = write_offer(to, source, &slots, ports)?;
    *pairing = next;
    Ok(text)
}

/// A line that goes across: its formats, and ours beside them.
struct Crossing {
    line: usize,
    formats: Formats,
    extra: Formats,
}

/// What of an offer of `from` goes across to `to`.
fn crossing(
    source: &Sdp,
    from: &LegMedia,
    to: &LegMedia,
    pairing: &Pairing,
    extras: impl Fn(&LegMedia, Option<usize>, Kind, &[Format]) -> Formats,
) -> Result<SmallVec<[Crossing; 2]>, Refusal> {
    let mut all: SmallVec<[Crossing; 2]> = SmallVec::new();
    // Audio, and anything at all: whether it was offered, and whether it goes across.
    let (mut offered, mut left) = ([false; 2], [false; 2]);
    for (line, media) in source.media().enumerate().filter(|(line, media)| from.takes(*line, media)) {
        let kinds = [media.kind() == Kind::Audio, true];
        let mark = |seen: &mut [bool; 2]| seen.iter_mut().zip(kinds).for_each(|(seen, is)| *seen |= is);
        mark(&mut offered);
        let formats = from.formats_of(line, &media);
        let mut extra = extras(to, pairing.partner(from, line, to), media.kind(), &formats);
        if lacks_keys(from, &media, &formats) && !extra.iter().any(|own| own.codec.is_telephone_event()) {
            extra.extend(KEYS);
        }
        if let Some((formats, extra)) = to.fit_or_convert(media.kind(), &formats, &extra) {
            mark(&mut left);
            all.push(Crossing { line, formats, extra });
        }
    }
    match (offered, left) {
        ([true, _], [false, _]) | ([_, true], [_, false]) => Err(Refusal::NoCommonCodec),
        _ => Ok(all),
    }
}

/// Telephone-event, where we understand it for somebody who does not.
const KEYS: [Format; 1] = [Format { number: 101, codec: Codec::TELEPHONE_EVENT }];

/// Whether an offer has audio on the clock of [`KEYS`] and no way to say keys in it, which we can make up for.
fn lacks_keys(from: &LegMedia, media: &Media<'_>, formats: &Formats) -> bool {
    let has = |fits: fn(&Codec) -> bool| formats.iter().any(|format| fits(&format.codec));
    from.hears_keys
        && media.kind() == Kind::Audio
        && !has(Codec::is_telephone_event)
        && has(|codec| codec.is_primary() && codec.clock_rate() == 8000)
}

/// What `from` last said (its answer to our offer, or at a move simply what it agreed), as the answer to the open
/// offer of `to`.
///
/// Ladder: `A ◄── 183 / 200, answer ── segue`; at a move without re-INVITE the answer to the new device. May be repeated.
/// The result is a valid answer (RFC 3264 6): as many m-lines as offered, formats a subset of those offered under the
/// offerer's numbers, direction within what was offered, port 0 for what is not carried.
///
/// # Errors
/// See [`Refusal`]; both legs are unchanged then.
pub fn answer_across(
    from: &LegMedia,
    to: &mut LegMedia,
    pairing: &Pairing,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    pairing.check(from, to)?;
    let agreed = from.agreed()?;
    let source = read(&agreed.theirs)?;
    let offer = to.offer_to_answer()?;
    let pick = |line: usize| {
        let line = pairing.partner(to, line, from).filter(|line| agreed.is_active(*line))?;
        let (formats, direction) = (agreed.acceptable(line), agreed.direction(line));
        Some(Slot { source: source.medium(line)?, formats, extra: Formats::new(), direction })
    };
    let (content, lines) = answer_content(to, &offer, &source, pick, ports)?;
    Ok(to.answer(&content, lines, offer))
}

/// Our own last description as the answer to a refresh.
pub(super) fn answer_again(leg: &mut LegMedia) -> Result<Bytes, Refusal> {
    let agreed = leg.agreed()?;
    let source = read(&agreed.ours)?;
    let offer = leg.offer_to_answer()?;
    let pick = |line: usize| {
        let (formats, direction) = (agreed.our_formats(line).to_vec(), agreed.our_direction(line));
        Some(Slot { source: source.medium(line)?, formats, extra: Formats::new(), direction })
    };
    let port = |line: usize| source.medium(line).map(|media| media.port());
    let (content, lines) = answer_content(leg, &offer, &source, pick, port)?;
    Ok(leg.answer(&content, lines, offer))
}

/// What one m-line of ours is made from.
pub(super) struct Slot<'a> {
    pub(super) source: Media<'a>,
    pub(super) formats: Formats,
    pub(super) extra: Formats,
    pub(super) direction: Direction,
}

/// By m-line of the receiving leg; `None` for one without media.
pub(super) type Slots<'a> = SmallVec<[Option<Slot<'a>>; 4]>;

/// Puts `slot` at `index`, which may lie behind the end.
pub(super) fn set<'a>(slots: &mut Slots<'a>, index: usize, slot: Slot<'a>) {
    if slots.len() <= index {
        slots.resize_with(index + 1, || None);
    }
    if let Some(place) = slots.get_mut(index) {
        *place = Some(slot);
    }
}

/// Writes and sends an offer to `to`. `slots` has at least as many entries as the dialog has m-lines.
pub(super) fn write_offer(
    to: &mut LegMedia,
    source: &Sdp,
    slots: &[Option<Slot<'_>>],
    mut ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    let last = to.ours.last_sdp();
    let (before, permitted) = (to.lines.len(), to.permitted.clone());
    let keys: SmallVec<[Keying; 2]> = (0..slots.len()).map(|line| to.offered_keys(line)).collect();
    to.lines.reserve_exact(slots.len().saturating_sub(before));
    to.lines.resize_with(slots.len().max(before), PayloadHistory::default);
    let mut writer = SdpWriter::with_capacity(source.bytes().len() + compose::SLACK);
    compose::session(&mut writer, source, to.ours.address());
    let of_web =
        slots.iter().zip(&keys).find_map(|(slot, keying)| web::carried(slot.as_ref()?.source, keying));
    if let Some(web) = of_web {
        web.session(&mut writer, None);
    }
    let (mut granted, mut why_not) = (0, None);
    let mut lines = Vec::with_capacity(slots.len());
    for (index, ((slot, history), keying)) in slots.iter().zip(&mut to.lines).zip(&keys).enumerate() {
        let like = last.as_ref().and_then(|last| last.medium(index));
        let Some(slot) = slot else {
            compose::disabled(&mut writer, like);
            lines.push(Side::DISABLED);
            continue;
        };
        // A browser's leg has one line with media.
        let is_one = !keying.is_web() || granted == 0 && web::carried(slot.source, keying).is_some();
        let port = if is_one { ports(index) } else { None };
        let Some(port) = port.map(|port| keying.port(port)) else {
            why_not = Some(if is_one { Refusal::OutOfPorts } else { Refusal::NoUsableMedia });
            compose::disabled(&mut writer, like.or(Some(slot.source)));
            lines.push(Side::DISABLED);
            continue;
        };
        granted += 1;
        let (pairs, extra) = renumbered(history, slot);
        let mut formats: Formats = pairs.iter().map(|(_, here)| *here).chain(extra.iter().copied()).collect();
        LegMedia::in_order(permitted.as_deref(), &mut formats);
        // A line of a dialog keeps its profile.
        let agreed = like.filter(|_| to.agreed.as_ref().is_some_and(|agreed| agreed.is_active(index)));
        let protocol = profile(agreed, &slot.source, keying);
        compose::section(
            &mut writer,
            &Section {
                sdp: source,
                source: slot.source,
                kind: slot.source.kind_name(),
                protocol,
                port,
                formats: &pairs,
                codecs: &slot.formats,
                extra: &extra,
                order: &formats,
                direction: slot.direction,
                keying,
            },
        );
        let (is_secure, is_web) = (keying.is_secure(), keying.is_web());
        lines.push(Side { carries: true, is_secure, is_web, formats, direction: slot.direction });
    }
    if let Some(why_not) = why_not.filter(|_| granted == 0) {
        to.lines.truncate(before);
        return Err(why_not);
    }
    Ok(to.offer(&writer.finish(), lines, to.next_start()))
}

/// The formats of a slot under the numbers of a dialog: those of its source with their numbers there, and our own.
fn renumbered(history: &mut PayloadHistory, slot: &Slot<'_>) -> (Pairs, Formats) {
    let both: Formats = slot.formats.iter().chain(&slot.extra).copied().collect();
    let (mut pairs, mut extra) = (Pairs::new(), Formats::new());
    for (index, (format, number)) in both.iter().zip(history.assign(&both)).enumerate() {
        let Some(number) = number else { continue };
        let here = Format { number, ..*format };
        if index < slot.formats.len() {
            pairs.push((format.number, here));
        } else {
            extra.push(here);
        }
    }
    (pairs, extra)
}

/// Numbers of a source, and what they become.
type Pairs = SmallVec<[(u8, Format); 8]>;

/// Everything after the `o=` line of an answer to `offer`, made from what `pick` gives for each of its m-lines.
pub(super) fn answer_content<'a>(
    to: &LegMedia,
    offer: &Offer,
    source: &'a Sdp,
    mut pick: impl FnMut(usize) -> Option<Slot<'a>>,
    mut ports: impl FnMut(usize) -> Option<u16>,
) -> Result<(Bytes, Vec<Side>), Refusal> {
    let mut writer = SdpWriter::with_capacity(source.bytes().len() + compose::SLACK);
    compose::session(&mut writer, source, to.ours.address());
    web_session(&mut writer, to, offer);
    let mut lines = Vec::with_capacity(offer.lines.len());
    let (mut granted, mut why_not) = (false, None);
    for (index, (offered, theirs)) in offer.sdp.media().zip(&offer.lines).enumerate() {
        let slot = pick(index).filter(|slot| theirs.side.carries && is_carried(&slot.source));
        let Some(slot) = slot else {
            compose::disabled(&mut writer, Some(offered));
            lines.push(Side::DISABLED);
            continue;
        };
        let pairs = shared(&slot.formats, &theirs.side.formats, theirs.kind);
        let own = match (pairs.is_empty(), to.bridging) {
            (true, Bridging::Allowed) => bridge::bridged(&slot.formats, &theirs.side.formats),
            _ => Formats::new(),
        };
        let is_mute = pairs.is_empty() && own.is_empty();
        let port = if is_mute { None } else { ports(index).filter(|port| *port != 0) };
        let Some(port) = port else {
            why_not = Some(if is_mute { Refusal::NoCommonCodec } else { Refusal::OutOfPorts });
            compose::disabled(&mut writer, Some(offered));
            lines.push(Side::DISABLED);
            continue;
        };
        granted = true;
        let mut formats: Formats = pairs.iter().map(|(_, here)| *here).chain(own.iter().copied()).collect();
        LegMedia::in_order(to.permitted(), &mut formats);
        let keying = to.answered_keys(index, theirs, &offered);
        let direction = slot.direction.and(theirs.side.direction.mirrored());
        compose::section(
            &mut writer,
            &Section {
                sdp: source,
                source: slot.source,
                kind: offered.kind_name(),
                protocol: offered.protocol_name(),
                port: keying.port(port),
                formats: &pairs,
                codecs: &slot.formats,
                extra: &own,
                order: &formats,
                direction,
                keying: &keying,
            },
        );
        let (is_secure, is_web) = (keying.is_secure(), keying.is_web());
        lines.push(Side { carries: true, is_secure, is_web, formats, direction });
    }
    match why_not {
        Some(refusal) if !granted => Err(refusal),
        _ => Ok((writer.finish(), lines)),
    }
}

/// What an answer to a browser says for the session.
pub(super) fn web_session(writer: &mut SdpWriter, to: &LegMedia, offer: &Offer) {
    let lines = offer.sdp.media().zip(&offer.lines).enumerate();
    let of_web = |(line, (media, theirs)): (usize, (Media<'_>, &_))| to.answered_web(line, theirs, &media);
    if let Some(web) = lines.into_iter().find_map(of_web) {
        web.session(writer, Some(&offer.sdp));
    }
}

/// Formats of `source` that `offered` has too, as (number there, format in the offer), in the order of `source`. Empty
/// if no one of them could carry the stream.
fn shared(source: &[Format], offered: &[Format], kind: Kind) -> Pairs {
    let mut pairs = Pairs::new();
    let mut carries = false;
    for format in source {
        let Some(here) = counterpart(*format, offered) else { continue };
        if pairs.iter().all(|(_, taken)| taken.number != here.number) {
            pairs.push((format.number, here));
            carries |= format.codec.is_primary() || kind != Kind::Audio;
        }
    }
    if !carries {
        pairs.clear();
    }
    pairs
}

/// The pairing with the lines of `source` that go across and that no line of `to` carries yet: each takes a line that
/// ended (RFC 3264 8.1), or a new one.
fn pair_new_lines(
    source: &Sdp,
    crossing: &[Crossing],
    (from, to): (&LegMedia, &LegMedia),
    pairing: &Pairing,
) -> Result<Pairing, Refusal> {
    let mut next = pairing.clone();
    let mut lines = to.lines.len();
    let mut last = None;
    for (line, media) in source.media().enumerate() {
        let crosses = crossing.iter().any(|crossing| crossing.line == line);
        if next.partner(from, line, to).is_some() || !crosses {
            continue;
        }
        let ended = |slot: &usize| {
            let last: &Option<Sdp> = last.get_or_insert_with(|| to.ours.last_sdp());
            let like = last.as_ref().and_then(|last| last.medium(*slot));
            next.partner(to, *slot, from).is_none()
                && like.is_some_and(|like| like.port() == 0 && like.kind() == media.kind())
        };
        let slot = (0..to.lines.len()).find(ended).unwrap_or(lines);
        if slot >= MAX_LINES {
            return Err(Refusal::TooManyLines);
        }
        lines = lines.max(slot + 1);
        next.add(from, line, to, slot)?;
    }
    Ok(next)
}
