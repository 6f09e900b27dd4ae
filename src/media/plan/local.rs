//! segue itself as the other end: echo, tone, PIN prompt.

use bytes::Bytes;

use super::{LegMedia, Refusal};

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
/// [`Refusal::NoCommonCodec`] if there is no codec for `local` in it; [`Refusal::OutOfTurn`] without an offer.
pub fn answer_local(
    leg: &mut LegMedia,
    local: Local,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    let _ = (leg, local, ports);
    Err(Refusal::NoCommonCodec)
}

/// Ladder: `200, offer` to such a call whose INVITE had none: PCMU, PCMA, telephone-event.
///
/// # Errors
/// [`Refusal::OutOfPorts`], [`Refusal::OutOfTurn`].
pub fn offer_local(leg: &mut LegMedia, ports: impl FnMut(usize) -> Option<u16>) -> Result<Bytes, Refusal> {
    let _ = (leg, ports);
    Err(Refusal::OutOfPorts)
}
