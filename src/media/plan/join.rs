//! The move's question: can the far leg stay as it is when another device takes the call?

use bytes::Bytes;

use super::{LegMedia, Pairing, Refusal};

/// What becomes of a hold that the old device had put on the far side (move.md 24). A hold by the far side always
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
#[derive(Clone, Debug)]
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
    let _ = (far, new, sending, hold);
    Err(Refusal::NoCommonCodec)
}

/// Ladder: `segue ── re-INVITE, offer ──► far` with the media of the new device, after [`Join::Reoffer`] or always.
/// m-lines keep count and order, payload numbers keep their codec, `o=` keeps its id. After the far side's answer:
/// [`super::answer_across`] from far to new (pull); nothing (push).
///
/// # Errors
/// See [`Refusal`]; the legs are unchanged then.
pub fn reoffer(
    new: &LegMedia,
    far: &mut LegMedia,
    pairing: &mut Pairing,
    hold: Hold,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    let _ = (new, far, pairing, hold, ports);
    Err(Refusal::NoUsableMedia)
}

/// Ladder: push, `segue ── INVITE, offer ──► new`; pull by an INVITE without offer, `200, offer`; PIN prompt whose
/// codec does not fit, `re-INVITE, offer`. The far side's codec in use comes first, then what else it knows, then PCMU
/// and PCMA (which [`join`] turns into a re-INVITE of the far side if the new device takes them).
///
/// # Errors
/// See [`Refusal`]; the legs are unchanged then.
pub fn offer_far(
    far: &LegMedia,
    new: &mut LegMedia,
    sending: Option<u8>,
    hold: Hold,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    let _ = (far, new, sending, hold, ports);
    Err(Refusal::NoUsableMedia)
}
