//! Two sides that share no codec, joined by converting speech: what each of them is told then.
//!
//! Nothing here decides that speech is converted: that follows from what the two sides have agreed
//! ([`super::streams`]). This makes such agreements possible, as the last resort.

use bytes::Bytes;

use super::across::offer_with;
use super::formats::Formats;
use super::leg::Open;
use super::{LegMedia, Pairing, Refusal};
use crate::media::codec::{Codec, Format};
use crate::media::transcode::Speech;
use crate::wire::sdp::Kind;

/// Ladder: `segue ── INVITE, offer ──► B` once more, after B has refused what `from` offers: the same offer with what we can
/// convert from and to behind it. Its answer is for [`super::answer_across`], as any other.
///
/// # Errors
/// See [`Refusal`]; both legs and the pairing are unchanged then.
pub fn offer_bridged(
    from: &LegMedia,
    to: &mut LegMedia,
    pairing: &mut Pairing,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    offer_with(from, to, pairing, |_, _, kind, formats| ours(kind, formats), ports)
}

/// Whether that would be another offer than the one that `to` has, and is still to answer.
#[must_use]
pub fn has_more(from: &LegMedia, to: &LegMedia) -> bool {
    let Some(Open::Sent { lines, .. }) = &to.open else { return false };
    let is_told = |own: &Format| lines.iter().flat_map(|line| &line.formats).any(|f| f.codec == own.codec);
    let own = ours(Kind::Audio, &from.formats_at_hand());
    own.iter().any(|own| own.codec.is_primary() && to.permits(&own.codec) && !is_told(own))
}

/// Whether speech of each side must be made into speech of the other, and can be.
#[must_use]
pub fn bridges(far: &LegMedia, new: &LegMedia) -> bool {
    let speaks = |leg: &LegMedia| leg.formats_at_hand().iter().any(is_known);
    speaks(far) && speaks(new) && !shares_codec(far, new)
}

/// Whether the two have a codec in common.
#[must_use]
pub fn shares_codec(far: &LegMedia, new: &LegMedia) -> bool {
    let there = far.formats_at_hand();
    let is_shared =
        |format: &Format| format.codec.is_primary() && there.iter().any(|f| f.codec == format.codec);
    new.formats_at_hand().iter().any(is_shared)
}

/// Whether the two are to talk, and have no codec in common.
#[must_use]
pub fn lacks_codec(far: &LegMedia, new: &LegMedia, pairing: &Pairing) -> bool {
    let is_audio = |line: usize| far.agreed().is_ok_and(|there| there.kind(line) == Some(Kind::Audio));
    pairing.pairs(far, new).any(|(line, _)| is_audio(line)) && !shares_codec(far, new)
}

/// Whether a leg has agreed on no codec, though it may have on telephone-event.
#[must_use]
pub fn is_mute(leg: &LegMedia) -> bool {
    !leg.formats_at_hand().iter().any(|format| format.codec.is_primary())
}

fn is_known(format: &Format) -> bool {
    Speech::of(&format.codec).is_some()
}

/// Whether a leg speaks something that we can convert.
#[must_use]
pub fn is_convertible(leg: &LegMedia) -> bool {
    can_convert(&leg.formats_at_hand())
}

/// Whether there is something in it that we can convert.
pub(super) fn can_convert(formats: &[Format]) -> bool {
    formats.iter().any(is_known)
}

/// What we speak and `formats` do not have, if we can convert what they do have. G.722 comes first: it costs least and is
/// wide-band; Opus last, since it costs most.
pub(super) fn ours(kind: Kind, formats: &[Format]) -> Formats {
    const OWN: [(u8, &[u8]); 5] = [
        (9, b"G722/8000"),
        (0, b"PCMU/8000"),
        (8, b"PCMA/8000"),
        (96, b"opus/48000/2"),
        (101, b"telephone-event/8000"),
    ];
    if kind != Kind::Audio || !formats.iter().any(is_known) {
        return Formats::new();
    }
    let own = OWN
        .iter()
        .filter_map(|(number, rtpmap)| Some(Format { number: *number, codec: Codec::of_rtpmap(rtpmap)? }));
    let is_there = |own: &Format| match own.codec.is_telephone_event() {
        true => formats.iter().any(|format| format.codec.is_telephone_event()),
        false => formats.iter().any(|format| format.codec == own.codec),
    };
    own.filter(|own| !is_there(own)).collect()
}

/// What line `line` of `to` speaks now, if it has nothing of `formats`: its call is one whose speech is converted. Where it
/// has taken nothing of an offer, what we can convert `formats` to.
pub(super) fn kept(to: &LegMedia, line: usize, kind: Kind, formats: &[Format]) -> Formats {
    let Ok(agreed) = to.agreed() else { return Formats::new() };
    let now = agreed.acceptable(line);
    if !agreed.is_active(line) || !now.iter().any(|format| format.codec.is_primary()) {
        return ours(kind, formats);
    }
    let is_shared =
        |format: &Format| format.codec.is_primary() && formats.iter().any(|f| f.codec == format.codec);
    let is_ours = kind == Kind::Audio && formats.iter().any(is_known) && now.iter().any(is_known);
    if is_ours && !now.iter().any(is_shared) {
        let has_events = formats.iter().any(|format| format.codec.is_telephone_event());
        return now
            .into_iter()
            .filter(|f| is_known(f) || (f.codec.is_telephone_event() && !has_events))
            .collect();
    }
    Formats::new()
}

/// Which of the `offered` formats an answer names whose other side has `source`: what we can convert, and events.
pub(super) fn bridged(source: &[Format], offered: &[Format]) -> Formats {
    if !source.iter().any(is_known) || !offered.iter().any(is_known) {
        return Formats::new();
    }
    let has_events = source.iter().any(|format| format.codec.is_telephone_event());
    let is_taken = |format: &&Format| is_known(format) || (has_events && format.codec.is_telephone_event());
    offered.iter().filter(is_taken).copied().collect()
}
