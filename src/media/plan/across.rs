//! An offer or an answer of one leg, as the other leg gets it.

use bytes::Bytes;

use super::{LegMedia, Pairing, Refusal};

/// The offer of `from` (its open offer) as an offer to `to`.
///
/// Ladder: `segue ── INVITE / re-INVITE / UPDATE, offer ──► B`, and 200 with an offer to an INVITE without one.
/// `ports(line)` is asked once for each m-line of `to` that is to carry media and gives our even RTP port there
/// (RTCP is the next one); the same line must get the same port again. `None` disables that line.
///
/// # Errors
/// See [`Refusal`]; both legs and the pairing are unchanged then.
pub fn offer_across(
    from: &LegMedia,
    to: &mut LegMedia,
    pairing: &mut Pairing,
    ports: impl FnMut(usize) -> Option<u16>,
) -> Result<Bytes, Refusal> {
    let _ = (from, to, pairing, ports);
    Err(Refusal::NoUsableMedia)
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
    let _ = (from, to, pairing, ports);
    Err(Refusal::NoUsableMedia)
}
