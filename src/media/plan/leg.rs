//! What one dialog has said about media: the open exchange, what is agreed, and the numbers that were used.

use std::net::IpAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Description, OurDescription, PayloadHistory, Refusal, RemoteMedia};

/// Who made the offer of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offerer {
    /// The peer of this dialog.
    Them,
    /// segue.
    Us,
}

/// The outcome of the last finished exchange.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) theirs: Description,
    pub(super) ours: Bytes,
    pub(super) offerer: Offerer,
}

/// An offer without its answer.
#[derive(Clone, Debug)]
pub(super) enum Open {
    Received(Description),
    Sent(Bytes),
}

/// Media state of one leg (one dialog).
#[derive(Clone, Debug)]
pub struct LegMedia {
    pub(super) ours: OurDescription,
    pub(super) lines: Vec<PayloadHistory>,
    pub(super) agreed: Option<Agreed>,
    pub(super) open: Option<Open>,
}

/// What a leg had agreed at some moment, to go back to: see [`LegMedia::restore`].
#[derive(Clone, Debug)]
pub struct Snapshot(Agreed);

impl LegMedia {
    /// A leg before its first description. `session_id` is any random number, different for each leg of a call
    /// (`random.bits()`); `address` is our media address as this leg can reach it.
    #[must_use]
    pub fn new(session_id: u64, address: IpAddr) -> Self {
        Self { ours: OurDescription::new(session_id, address), lines: Vec::new(), agreed: None, open: None }
    }

    /// Our side: session id, version, text last sent.
    #[must_use]
    pub fn ours(&self) -> &OurDescription {
        &self.ours
    }

    /// Whose offer waits for its answer. While there is one, a further offer is glare (491, RFC 3261 14.1).
    #[must_use]
    pub fn open(&self) -> Option<Offerer> {
        self.open.as_ref().map(|open| match open {
            Open::Received(_) => Offerer::Them,
            Open::Sent(_) => Offerer::Us,
        })
    }

    /// Whether an exchange was ever finished.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    /// Their last description: the open offer, else the agreed one. For the timeline ("SDP before and after").
    #[must_use]
    pub fn theirs(&self) -> Option<&Description> {
        match (&self.open, &self.agreed) {
            (Some(Open::Received(offer)), _) => Some(offer),
            (_, Some(agreed)) => Some(&agreed.theirs),
            _ => None,
        }
    }

    /// Ladder: `A ── INVITE / re-INVITE / UPDATE, offer ──► segue`, or an offer in a 2xx to our INVITE without one.
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] while another offer is open (491), [`Refusal::SecureMedia`] or
    /// [`Refusal::NoUsableMedia`] if there is nothing in it that we carry (488). The leg is unchanged then.
    pub fn receive_offer(&mut self, offer: Description) -> Result<(), Refusal> {
        let _ = offer;
        Err(Refusal::NoUsableMedia)
    }

    /// Ladder: `segue ◄── 183 / 200, answer ── B`, or the answer in an ACK. May be repeated (183, then 200) and may
    /// differ then (another branch of a fork).
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] if we never offered; [`Refusal::NoCommonCodec`] if it accepts no line of our offer.
    pub fn receive_answer(&mut self, answer: Description) -> Result<(), Refusal> {
        let _ = answer;
        Err(Refusal::OutOfTurn)
    }

    /// Ladder: the exchange failed (4xx, 491, timeout, CANCEL). What was agreed before stands; the text that was sent
    /// stays counted, so the next one has a higher version.
    pub fn abandon(&mut self) {
        self.open = None;
    }

    /// Whether `offer` only repeats what they said last (same `o=` id and version: a session refresh, RFC 4028 7.4),
    /// so that it can be answered with [`LegMedia::repeat`] and need not go across.
    #[must_use]
    pub fn repeats(&self, offer: &Description) -> bool {
        let _ = offer;
        false
    }

    /// Ladder: session refresh. Our agreed description again, as the offer of a refresh of ours or as the answer to
    /// one of theirs; same version unless another text went out in between.
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] before the first exchange is finished.
    pub fn repeat(&mut self) -> Result<Bytes, Refusal> {
        Err(Refusal::OutOfTurn)
    }

    /// What is agreed, to go back to with [`LegMedia::restore`]. Take it before [`super::reoffer`].
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.agreed.clone().map(Snapshot)
    }

    /// Ladder: rollback. The far side accepted our re-INVITE, then the new device was lost: an offer that says again
    /// what was said at the snapshot, same `o=` id, next version. m-lines that came later are disabled.
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] while an exchange is open: [`LegMedia::abandon`] it first.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<Bytes, Refusal> {
        let _ = snapshot;
        Err(Refusal::OutOfTurn)
    }

    /// Where this peer's media comes from and goes to, line by line, as agreed. For a leg that segue itself talks to
    /// (echo, tone, prompt); joined legs use [`super::streams`].
    #[must_use]
    pub fn remote_media(&self) -> SmallVec<[RemoteMedia; 2]> {
        SmallVec::new()
    }
}
