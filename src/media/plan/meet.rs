//! Two offers that meet: a call that rings at one device is answered at another, which comes with an offer of its own.

use bytes::Bytes;

use super::across::{Slot, answer_content};
use super::formats::Formats;
use super::leg::Offer;
use super::{LegMedia, Pairing, Refusal};
use crate::wire::sdp::Kind;

/// Ladder: `new ── INVITE, offer ──► segue` for a call whose caller's offer waits too. Which m-line of one is which of
/// the other; nothing is sent by it. Then:
/// ```text
///  new    ◄── 200, answer ── segue      answer_offer(&caller, &mut new, &pairing, ports_of_new)?
///  caller ◄── 200, answer ── segue      answer_across(&new, &mut caller, &pairing, ports_of_caller)?
/// ```
/// Both answers name the formats that both offers have, so what one sends the other understands.
///
/// # Errors
/// [`Refusal::NoCommonCodec`] if the two have no audio in common; [`Refusal::OutOfTurn`] without two offers.
pub fn meet(caller: &LegMedia, new: &LegMedia) -> Result<Pairing, Refusal> {
    let (waiting, coming) = (caller.offer_to_answer()?, new.offer_to_answer()?);
    let mut pairing = Pairing::of(caller, new);
    for (line, theirs) in waiting.lines.iter().enumerate().filter(|(_, theirs)| theirs.side.carries) {
        let is_common = |index: usize| {
            let other =
                coming.lines.get(index).filter(|other| other.side.carries && other.kind == theirs.kind);
            other.is_some_and(|other| {
                theirs.side.formats.iter().any(|format| {
                    (format.codec.is_primary() || theirs.kind != Kind::Audio)
                        && other.side.formats.iter().any(|known| known.codec == format.codec)
                })
            })
        };
        let is_free = |index: &usize| pairing.partner(new, *index, caller).is_none() && is_common(*index);
        if let Some(partner) = (0..coming.lines.len()).find(is_free) {
            pairing.add(caller, line, new, partner)?;
        }
    }
    let is_audio = |offer: &Offer, line: usize| {
        offer.lines.get(line).is_some_and(|theirs| theirs.side.carries && theirs.kind == Kind::Audio)
    };
    let has_audio = (0..waiting.lines.len()).any(|line| is_audio(&waiting, line));
    let is_heard = pairing.pairs(caller, new).any(|(line, _)| is_audio(&waiting, line));
    if pairing.is_empty() || (has_audio && !is_heard) {
        return Err(Refusal::NoCommonCodec);
    }
    Ok(pairing)
}

/// What `from` offers, as the answer to the open offer of `to`: see [`meet`].
///
/// # Errors
/// See [`Refusal`]; both legs are unchanged then.
pub fn answer_offer(
    from: &LegMedia,
    to: &mut LegMedia,
    pairing: &Pairing,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    pairing.check(from, to)?;
    let source = from.offer_to_answer()?;
    let offer = to.offer_to_answer()?;
    let pick = |line: usize| {
        let line = pairing.partner(to, line, from)?;
        let side = &source.lines.get(line)?.side;
        let (formats, direction) = (side.formats.clone(), side.direction);
        Some(Slot { source: source.sdp.medium(line)?, formats, extra: Formats::new(), direction })
    };
    let (content, lines) = answer_content(to, &offer, &source.sdp, pick, ports)?;
    Ok(to.answer(&content, lines, offer))
}
