//! The move's question: can the far leg stay as it is when another device takes the call?

use bytes::Bytes;
use smallvec::SmallVec;

use super::across::{Slot, Slots, set, write_offer};
use super::agreed::{Agreed, Theirs, read};
use super::formats::Formats;
use super::leg::{MAX_LINES, Open};
use super::{Bridging, LegMedia, Pairing, Refusal, bridge};
use crate::media::codec::{Codec, Format};
use crate::wire::sdp::{Direction, Kind, Sdp};

/// What becomes of a hold that the old device had put on the far side (contract 24). A hold by the far side always
/// stays: only the far side can lift it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// Who pulls a held call wants to talk.
    #[default]
    Lift,
    /// The far side stays on hold until the new device resumes.
    Keep,
}

/// The verdict of [`join`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Join {
    /// The far side need not hear of it: its codec and its directions fit the new device.
    Unchanged {
        /// m-lines of the far leg and the new leg.
        pairing: Pairing,
    },
    /// The far side must be offered something else first: [`reoffer`].
    Reoffer {
        /// m-lines of the far leg and the new leg.
        pairing: Pairing,
        /// For the timeline.
        why: Why,
    },
}

/// Why the far side must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The codec that the far side uses is not one of the new device's.
    Codec,
    /// Hold must be lifted or put on.
    Direction,
    /// A stream of the far side (video) has no counterpart on the new device and ends.
    Stream,
}

impl Join {
    /// The pairing, either way: with `re_invite = "always"` [`reoffer`] is used whatever the verdict.
    #[must_use]
    pub fn into_pairing(self) -> Pairing {
        match self {
            Self::Unchanged { pairing } | Self::Reoffer { pairing, .. } => pairing,
        }
    }
}

/// Ladder: the new device's offer came (pull), or its answer to [`offer_far`] (push, pull without offer), or it is
/// already in a call with us (PIN prompt). `sending` is the payload type that the relay saw last from the far side, if
/// it saw any: it tells which of several agreed codecs is in use.
///
/// # Errors
/// [`Refusal::NoCommonCodec`] if the new device has no audio that could be offered to the far side (488 to it),
/// [`Refusal::OutOfTurn`] if one of the legs has nothing to join.
pub fn join(far: &LegMedia, new: &LegMedia, sending: Option<u8>, hold: Hold) -> Result<Join, Refusal> {
    let there = far.agreed()?;
    let device = Device::read(new)?;
    let mut pairing = Pairing::of(far, new);
    let mut why: Option<Why> = None;
    for line in (0..there.len()).filter(|line| there.is_active(*line)) {
        let kind = there.kind(line);
        let is_counterpart = |candidate: &usize| {
            device.is_active(*candidate)
                && device.kind(*candidate) == kind
                && pairing.partner(new, *candidate, far).is_none()
                && (kind != Some(Kind::Audio)
                    || device.formats(*candidate).iter().any(|f| f.codec.is_primary()))
        };
        let Some(partner) = (0..device.len()).find(is_counterpart) else {
            why = why.or(Some(Why::Stream));
            continue;
        };
        pairing.add(far, line, new, partner)?;
        let in_use = codec_in_use(there, line, sending);
        let is_shared = device.formats(partner).iter().any(|format| Some(format.codec) == in_use);
        if !is_shared {
            why = why.or(Some(Why::Codec));
        } else if !is_told(there, line, wanted(there, line, device.wish(partner), hold)) {
            why = why.or(Some(Why::Direction));
        }
    }
    let is_audio = |(line, _): &(usize, usize)| there.kind(*line) == Some(Kind::Audio);
    let has_audio = (0..there.len()).any(|line| there.is_active(line) && is_audio(&(line, 0)));
    if pairing.is_empty() || (has_audio && !pairing.pairs(far, new).any(|pair| is_audio(&pair))) {
        return Err(Refusal::NoCommonCodec);
    }
    Ok(match why {
        None => Join::Unchanged { pairing },
        Some(why) => Join::Reoffer { pairing, why },
    })
}

/// Whether the new device, which was offered more than the far side has agreed, has put something of that first, though it
/// has something that the far side has agreed, too. Most send what stands first in their own description, whatever they
/// were offered first (RFC 3264 6.1 lets them), and a far side that never agreed to it cannot play it.
#[must_use]
pub fn prefers_another(far: &LegMedia, new: &LegMedia, pairing: &Pairing) -> bool {
    let (Ok(there), Ok(here)) = (far.agreed(), new.agreed()) else { return false };
    pairing.pairs(far, new).filter(|(line, _)| there.kind(*line) == Some(Kind::Audio)).any(
        |(line, partner)| {
            let is_agreed = |codec: &Codec| there.agreed_formats(line).any(|format| format.codec == *codec);
            let mut spoken =
                here.agreed_formats(partner).map(|format| format.codec).filter(Codec::is_primary);
            spoken.next().is_some_and(|first| !is_agreed(&first)) && spoken.any(|codec| is_agreed(&codec))
        },
    )
}

/// Ladder: `segue ── re-INVITE, offer ──► far` with the media of the new device, after [`Join::Reoffer`] or always.
/// m-lines keep count and order, payload numbers keep their codec, `o=` keeps its id. After the far side's answer:
/// [`super::answer_across`] from far to new (pull); nothing (push, PIN prompt: only what the new device has agreed
/// already is offered).
///
/// # Errors
/// See [`Refusal`]; the legs are unchanged then.
pub fn reoffer(
    new: &LegMedia,
    far: &mut LegMedia,
    pairing: &Pairing,
    (hold, bridging): (Hold, Bridging),
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    far.expect_idle()?;
    pairing.check(new, far)?;
    let there = far.agreed()?;
    let device = Device::read(new)?;
    let offer = device.sdp()?;
    // A far side whose speech is converted goes on with what it speaks: some answer an offer without it not by a refusal
    // but by a line without media.
    let kept: SmallVec<[(usize, usize, Formats); 2]> = pairing
        .pairs(new, far)
        .map(|(partner, line)| {
            let kept = match (bridging, device.kind(partner)) {
                (Bridging::Allowed, Some(kind)) => bridge::kept(far, line, kind, device.formats(partner)),
                _ => Formats::new(),
            };
            (partner, line, kept)
        })
        .collect();
    let mut slots = Slots::new();
    slots.resize_with(far.lines.len(), || None);
    let mut is_barred = false;
    for (partner, line, extra) in kept {
        let Some(source) = offer.medium(partner).filter(|media| new.admits(media)) else { continue };
        let direction = wanted(there, line, device.wish(partner), hold);
        match far.fit(device.formats(partner), &extra) {
            Some((formats, extra)) => set(&mut slots, line, Slot { source, formats, extra, direction }),
            None => is_barred |= source.kind() == Kind::Audio,
        }
    }
    if is_barred {
        return Err(Refusal::NoCommonCodec);
    }
    if slots.iter().all(Option::is_none) {
        return Err(Refusal::NoUsableMedia);
    }
    far.ours.renew();
    write_offer(far, &offer, &slots, ports)
}

/// Ladder: push, `segue ── INVITE, offer ──► new`; pull by an INVITE without offer, `200, offer`; PIN prompt whose
/// codec does not fit, `re-INVITE, offer`. The far side's codec in use comes first, then what else it knows, then PCMU
/// and PCMA, and where speech may be converted whatever we can convert it to ([`join`] turns what the far side has not
/// agreed into a re-INVITE of it if the new device takes nothing else).
///
/// # Errors
/// See [`Refusal`]; the legs are unchanged then.
pub fn offer_far(
    far: &LegMedia,
    new: &mut LegMedia,
    sending: Option<u8>,
    (hold, bridging): (Hold, Bridging),
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    offer_agreed(
        far,
        new,
        sending,
        hold,
        (|there, line| there.their_formats(line).to_vec(), |there, line| beside(far, there, line, bridging)),
        ports,
    )
}

/// Ladder: `segue ── re-INVITE, offer ──► new`, after its answer to [`offer_far`] has put first what the far side has not
/// agreed ([`prefers_another`]): what the far side has agreed, and nothing else.
///
/// # Errors
/// See [`Refusal`]; the legs are unchanged then.
pub fn offer_narrowed(
    far: &LegMedia,
    new: &mut LegMedia,
    hold: Hold,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    offer_agreed(far, new, None, hold, (Agreed::acceptable, |_, _| Formats::new()), ports)
}

fn offer_agreed(
    far: &LegMedia,
    new: &mut LegMedia,
    sending: Option<u8>,
    hold: Hold,
    (own, extra): (impl Fn(&Agreed, usize) -> Formats, impl Fn(&Agreed, usize) -> Formats),
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    new.expect_idle()?;
    let there = far.agreed()?;
    let theirs = read(&there.theirs)?;
    let last = new.ours.last_sdp();
    let kind_at = |slot: usize| last.as_ref().and_then(|last| last.medium(slot)).map(|media| media.kind());
    let mut is_barred = false;
    let mut slots = Slots::new();
    slots.resize_with(new.lines.len(), || None);
    for line in (0..there.len()).filter(|line| there.is_active(*line)) {
        let Some(source) = theirs.medium(line) else { continue };
        let is_free = |slot: &usize| {
            slots.get(*slot).is_some_and(Option::is_none) && kind_at(*slot) == Some(source.kind())
        };
        let slot = (0..new.lines.len()).find(is_free).unwrap_or(slots.len());
        if slot >= MAX_LINES {
            return Err(Refusal::TooManyLines);
        }
        let (mut formats, extra) = (own(there, line), extra(there, line));
        if formats.is_empty() && extra.is_empty() {
            continue;
        }
        if let Some(codec) = codec_in_use(there, line, sending)
            && let Some(first) = formats.iter().position(|format| format.codec == codec)
        {
            formats.get_mut(..=first).unwrap_or_default().rotate_right(1);
        }
        let direction = offered_direction(there, line, hold);
        match new.fit(&formats, &extra) {
            Some((formats, extra)) => set(&mut slots, slot, Slot { source, formats, extra, direction }),
            None => is_barred |= source.kind() == Kind::Audio,
        }
    }
    if is_barred {
        return Err(Refusal::NoCommonCodec);
    }
    if slots.iter().all(Option::is_none) {
        return Err(Refusal::NoUsableMedia);
    }
    write_offer(new, &theirs, &slots, ports)
}

/// The new device as it stands: with an offer of its own, or in an exchange that is finished.
struct Device<'a> {
    leg: &'a LegMedia,
    lines: Vec<Candidate>,
}

/// One m-line of the new device.
struct Candidate {
    is_active: bool,
    kind: Kind,
    /// What can be chosen from without asking the device again, under its own numbers.
    formats: Formats,
    /// What the device would do if it were let.
    wish: Direction,
}

impl<'a> Device<'a> {
    fn read(leg: &'a LegMedia) -> Result<Self, Refusal> {
        let lines = match &leg.open {
            Some(Open::Received(offer)) => Theirs::of_offer(offer.sdp(), leg)
                .into_iter()
                .map(|Theirs { side, kind, .. }| Candidate {
                    is_active: side.carries,
                    kind,
                    formats: side.formats,
                    wish: side.direction,
                })
                .collect(),
            Some(Open::Sent { .. }) => return Err(Refusal::OutOfTurn),
            None => {
                let agreed = leg.agreed()?;
                let candidate = |line: usize| {
                    Some(Candidate {
                        is_active: agreed.is_active(line),
                        kind: agreed.kind(line)?,
                        formats: agreed.acceptable(line),
                        wish: agreed.their_wish(line),
                    })
                };
                (0..agreed.len()).filter_map(candidate).collect()
            }
        };
        Ok(Self { leg, lines })
    }

    fn sdp(&self) -> Result<Sdp, Refusal> {
        read(self.leg.theirs().ok_or(Refusal::OutOfTurn)?)
    }

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn kind(&self, line: usize) -> Option<Kind> {
        self.lines.get(line).map(|line| line.kind)
    }

    fn is_active(&self, line: usize) -> bool {
        self.lines.get(line).is_some_and(|line| line.is_active)
    }

    fn formats(&self, line: usize) -> &[Format] {
        self.lines.get(line).map_or(&[], |line| &line.formats)
    }

    fn wish(&self, line: usize) -> Direction {
        self.lines.get(line).map_or(Direction::Inactive, |line| line.wish)
    }
}

/// The codec that the far side sends: what the relay saw, else the first of the agreed ones.
fn codec_in_use(there: &Agreed, line: usize, sending: Option<u8>) -> Option<Codec> {
    let is_audio = there.kind(line) == Some(Kind::Audio);
    let agreed = || there.agreed_formats(line).map(|format| format.codec);
    let seen = sending.filter(|_| is_audio).and_then(|number| there.sent_codec(line, number));
    seen.filter(|seen| seen.is_primary() && agreed().any(|codec| codec == *seen))
        .or_else(|| agreed().find(Codec::is_primary))
        .or_else(|| agreed().next().filter(|_| !is_audio))
}

/// What the far side should be told of our direction when a device with this wish takes the call.
fn wanted(there: &Agreed, line: usize, wish: Direction, hold: Hold) -> Direction {
    match hold {
        Hold::Lift => wish,
        // Only what the far side's own offer forbade is not our hold.
        Hold::Keep => wish.and(there.our_direction(line).or(there.forced(line))),
    }
}

/// Whether the far side has been told so already, as far as it let us tell.
fn is_told(there: &Agreed, line: usize, wanted: Direction) -> bool {
    let (told, forced) = (there.our_direction(line), there.forced(line));
    (wanted.sends() == told.sends() || (!told.sends() && forced.sends()))
        && (wanted.receives() == told.receives() || (!told.receives() && forced.receives()))
}

/// The far side's directions as an offer to the new device, with our hold of it taken off or not.
fn offered_direction(there: &Agreed, line: usize, hold: Hold) -> Direction {
    let now = there.direction(line);
    let (told, forced) = (there.our_direction(line), there.forced(line));
    match hold {
        Hold::Keep => now,
        Hold::Lift => now.or(told.or(forced).negated().mirrored()),
    }
}

/// What a new device is offered beside what the far side's own description has.
fn beside(far: &LegMedia, there: &Agreed, line: usize, bridging: Bridging) -> Formats {
    match (bridging, there.kind(line)) {
        // Only what it has agreed on is what it sends, and can be converted.
        (Bridging::Allowed, Some(kind)) if bridge::can_convert(&there.acceptable(line)) => {
            bridge::ours(kind, there.their_formats(line))
        }
        // The far side would be asked for these.
        _ => {
            let mut own = own_codecs(there, line);
            own.retain(|own| far.permits(&own.codec));
            own
        }
    }
}

/// G.711 and DTMF, where the far side's own description does not have them.
fn own_codecs(there: &Agreed, line: usize) -> Formats {
    const OWN: [Format; 3] = [
        Format { number: 0, codec: Codec::PCMU },
        Format { number: 8, codec: Codec::PCMA },
        Format { number: 101, codec: Codec::TELEPHONE_EVENT },
    ];
    if there.kind(line) != Some(Kind::Audio) {
        return Formats::new();
    }
    let theirs = there.their_formats(line);
    let has_events = theirs.iter().any(|format| format.codec.is_telephone_event());
    let is_missing = |own: &Format| match own.codec.is_telephone_event() {
        true => !has_events,
        false => theirs.iter().all(|format| format.codec != own.codec),
    };
    OWN.into_iter().filter(is_missing).collect()
}
