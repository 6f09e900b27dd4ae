//! What one dialog has said about media: the open exchange, what is agreed, and the numbers that were used.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::agreed::{Agreed, Side, Theirs, is_carried, read};
use super::compose;
use super::ours::content_of;
use super::protect::Protection;
use super::web::{Start, WebLeg};
use super::{Description, OurDescription, PayloadHistory, Refusal, RemoteMedia};
use crate::media::codec::Format;
use crate::media::permitted::Permitted;
use crate::wire::sdp::{Kind, Sdp, SdpWriter};

/// m-lines that one dialog may gather over its life.
pub(super) const MAX_LINES: usize = 16;

/// Who made the offer of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offerer {
    /// The peer of this dialog.
    Them,
    /// segue.
    Us,
}

/// An offer without its answer.
#[derive(Clone, Debug)]
pub(super) enum Open {
    Received(Description),
    Sent { text: Bytes, lines: Vec<Side>, start: Start },
}

/// Media state of one leg (one dialog).
#[derive(Clone, Debug)]
pub struct LegMedia {
    pub(super) ours: OurDescription,
    pub(super) protection: Protection,
    /// Where browsers are taken.
    pub(super) web: Option<Box<WebLeg>>,
    /// Payload numbers by m-line; as many as the dialog has m-lines.
    pub(super) lines: Vec<PayloadHistory>,
    pub(super) agreed: Option<Agreed>,
    pub(super) open: Option<Open>,
    /// Whether keys that the other side presses can be told to this one in signalling.
    pub(super) hears_keys: bool,
    /// Whether speech may be converted for it.
    pub(super) bridging: Bridging,
    /// What it may be offered and may offer; `None`: anything.
    pub(super) permitted: Option<Arc<Permitted>>,
}

/// Whether two legs without a common codec may be joined all the same, by converting speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bridging {
    /// No common codec is no call.
    #[default]
    Never,
    /// As a last resort.
    Allowed,
}

/// What a leg had agreed at some moment, to go back to: see [`LegMedia::restore`].
#[derive(Clone, Debug)]
pub struct Snapshot(Agreed);

impl Snapshot {
    /// Our description then, for the timeline.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.0.ours
    }
}

impl LegMedia {
    /// A leg before its first description. `session_id` is any random number, different for each leg of a call
    /// (`random.bits()`); `address` is our media address as this leg can reach it.
    #[must_use]
    pub fn new(session_id: u64, address: IpAddr) -> Self {
        Self {
            ours: OurDescription::new(session_id, address),
            protection: Protection::default(),
            web: None,
            lines: Vec::new(),
            agreed: None,
            open: None,
            hears_keys: false,
            bridging: Bridging::Never,
            permitted: None,
        }
    }

    /// Keys that the other side presses can be told to this one in signalling: so the other side is offered
    /// telephone-event, whether this one has it or not.
    pub fn set_hears_keys(&mut self) {
        self.hears_keys = true;
    }

    /// Says whether speech may be converted for it, from the next description on.
    pub fn set_bridging(&mut self, bridging: Bridging) {
        self.bridging = bridging;
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
            Open::Sent { .. } => Offerer::Us,
        })
    }

    /// Whether an exchange was ever finished.
    #[must_use]
    pub fn is_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    /// The text of their last description: the open offer, else the agreed one. For the timeline ("SDP before and
    /// after").
    #[must_use]
    pub fn theirs(&self) -> Option<&Bytes> {
        match (&self.open, &self.agreed) {
            (Some(Open::Received(offer)), _) => Some(offer.sdp().bytes()),
            (_, Some(agreed)) => Some(&agreed.theirs),
            _ => None,
        }
    }

    /// Whether this peer has put the other side on hold: it wants to hear nothing (RFC 3264 8.4), or gives no address to
    /// send to (RFC 2543). `None` before it has described any live stream.
    #[must_use]
    pub fn holds(&self) -> Option<bool> {
        let sdp = read(self.theirs()?).ok()?;
        let mut live = sdp.media().filter(is_carried).peekable();
        live.peek()?;
        Some(live.all(|media| !media.direction().receives()))
    }

    /// Ladder: `A ── INVITE / re-INVITE / UPDATE, offer ──► segue`, or an offer in a 2xx to our INVITE without one.
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] while another offer is open (491), [`Refusal::SecureMedia`], [`Refusal::Insecure`] or
    /// [`Refusal::NoUsableMedia`] if there is nothing in it that we carry or may carry, [`Refusal::NotPermitted`] if it has no
    /// codec of the leg's list (488). The leg is unchanged then.
    pub fn receive_offer(&mut self, offer: Description) -> Result<(), Refusal> {
        if self.open.is_some() {
            return Err(Refusal::OutOfTurn);
        }
        let sdp = offer.sdp();
        if sdp.media().len() > MAX_LINES {
            return Err(Refusal::TooManyLines);
        }
        // An offer that ends every stream is one; it needs no stream that we could carry.
        let ends_all =
            self.agreed.is_some() && sdp.media().len() > 0 && sdp.media().all(|media| media.port() == 0);
        if !ends_all {
            self.screen_offer(&offer)?;
            if self.forbids(sdp) {
                return Err(Refusal::NotPermitted);
            }
        }
        self.open = Some(Open::Received(offer));
        Ok(())
    }

    /// Ladder: `segue ◄── 183 / 200, answer ── B`, or the answer in an ACK. May be repeated (183, then 200) and may
    /// differ then (another branch of a fork). An answer that refuses every line is one.
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] if we never offered, [`Refusal::Insecure`] if it leaves the keys out. The leg is unchanged
    /// then.
    pub fn receive_answer(&mut self, answer: Description) -> Result<(), Refusal> {
        let (ours, lines, start) = match (&self.open, &self.agreed) {
            (Some(Open::Sent { text, lines, start }), _) => (text.clone(), lines.clone(), *start),
            (None, Some(agreed)) if agreed.offerer == Offerer::Us => {
                (agreed.ours.clone(), agreed.our_lines.clone(), agreed.start)
            }
            _ => return Err(Refusal::OutOfTurn),
        };
        let their_lines = Theirs::of_answer(answer.sdp(), &lines, self.permitted())?;
        self.open = None;
        let theirs = answer.sdp().bytes().clone();
        self.agree(Agreed {
            theirs,
            ours,
            offerer: Offerer::Us,
            their_lines,
            our_lines: lines,
            security: Vec::new(),
            start,
        });
        Ok(())
    }

    /// Ladder: the exchange failed (4xx, 491, timeout, CANCEL). What was agreed before stands; the text that was sent
    /// stays counted, so the next one has a higher version.
    pub fn abandon(&mut self) {
        self.open = None;
    }

    /// Whether `offer` only repeats what they said last (same text, so same `o=` version: a session refresh,
    /// RFC 4028 7.4), so that it can be answered with [`LegMedia::repeat`] and need not go across.
    #[must_use]
    pub fn repeats(&self, offer: &Description) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| agreed.theirs == offer.sdp().bytes())
    }

    /// Ladder: session refresh. Our agreed description again, as the offer of a refresh of ours or as the answer to
    /// one of theirs; same version unless another text went out in between.
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] before the first exchange is finished, or while an offer of ours is open.
    pub fn repeat(&mut self) -> Result<Bytes, Refusal> {
        match self.open() {
            None => {
                let agreed = self.agreed.as_ref().ok_or(Refusal::OutOfTurn)?;
                let (text, lines, start) = (agreed.ours.clone(), agreed.our_lines.clone(), agreed.start);
                Ok(self.offer(content_of(&text), lines, start))
            }
            Some(Offerer::Them) => super::across::answer_again(self),
            Some(Offerer::Us) => Err(Refusal::OutOfTurn),
        }
    }

    /// What is agreed, to go back to with [`LegMedia::restore`]. Take it before [`super::reoffer`].
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.agreed.clone().map(Snapshot)
    }

    /// Ladder: rollback. The far side accepted our re-INVITE, then the new device was lost: an offer that says again
    /// what was said at the snapshot, same `o=` id, next version. m-lines that came later are disabled. A browser whose
    /// association is not that of the snapshot any more starts another one.
    ///
    /// # Errors
    /// [`Refusal::OutOfTurn`] while an exchange is open: [`LegMedia::abandon`] it first.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<Bytes, Refusal> {
        self.expect_idle()?;
        let then = &snapshot.0;
        let mut writer = SdpWriter::with_capacity(then.ours.len() + compose::SLACK);
        let start = self.next_start();
        match then.start == start {
            true => writer.put(content_of(&then.ours)),
            false => writer.put(&self.started_anew(content_of(&then.ours))),
        }
        let mut lines = then.our_lines.clone();
        let last = self.ours.last_sdp();
        while lines.len() < self.lines.len() {
            compose::disabled(&mut writer, last.as_ref().and_then(|last| last.medium(lines.len())));
            lines.push(Side::DISABLED);
        }
        Ok(self.offer(&writer.finish(), lines, start))
    }

    /// Where this peer's media comes from and goes to, line by line, as agreed. For a leg that segue itself talks to
    /// (echo, tone, prompt); joined legs use [`super::streams`].
    #[must_use]
    pub fn remote_media(&self) -> SmallVec<[RemoteMedia; 2]> {
        let Ok(agreed) = self.agreed() else { return SmallVec::new() };
        (0..agreed.len()).filter_map(|line| RemoteMedia::read(agreed, line)).collect()
    }

    /// The names of the codecs in it, for people.
    #[must_use]
    pub fn audio_names(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for format in self.formats_at_hand().iter().filter(|format| format.codec.is_primary()) {
            let name = format.codec.spelling();
            if names.iter().all(|known| known != name) {
                names.push(name.to_owned());
            }
        }
        names.join(", ")
    }

    /// The formats of its audio: those of its open offer, or what it has agreed.
    pub(super) fn formats_at_hand(&self) -> Vec<Format> {
        let is_audio = |line: &&Theirs| line.kind == Kind::Audio && line.side.carries;
        match (&self.open, &self.agreed) {
            (Some(Open::Received(offer)), _) => {
                let lines = Theirs::of_offer(offer.sdp(), self);
                lines.iter().filter(is_audio).flat_map(|line| line.side.formats.clone()).collect()
            }
            (_, Some(agreed)) => (0..agreed.len())
                .filter(|line| agreed.is_active(*line) && agreed.kind(*line) == Some(Kind::Audio))
                .flat_map(|line| agreed.acceptable(line))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The finished exchange.
    pub(super) fn agreed(&self) -> Result<&Agreed, Refusal> {
        self.agreed.as_ref().ok_or(Refusal::OutOfTurn)
    }

    pub(super) fn expect_idle(&self) -> Result<(), Refusal> {
        if self.open.is_some() { Err(Refusal::OutOfTurn) } else { Ok(()) }
    }

    /// Sends `content` as an offer with these lines.
    pub(super) fn offer(&mut self, content: &[u8], lines: Vec<Side>, start: Start) -> Bytes {
        let text = self.ours.render(content);
        self.open = Some(Open::Sent { text: text.clone(), lines, start });
        text
    }

    /// Sends `content` as the answer to their offer.
    pub(super) fn answer(&mut self, content: &[u8], our_lines: Vec<Side>, offer: Offer) -> Bytes {
        let text = self.ours.render(content);
        self.open = None;
        let theirs = offer.sdp.bytes().clone();
        let start = self.answered_start(&offer.lines);
        self.agree(Agreed {
            theirs,
            ours: text.clone(),
            offerer: Offerer::Them,
            their_lines: offer.lines,
            our_lines,
            security: Vec::new(),
            start,
        });
        text
    }

    fn agree(&mut self, mut agreed: Agreed) {
        self.go_by(agreed.start);
        let active = |line: usize| agreed.their_line(line).filter(|_| agreed.is_active(line));
        let security = |line: usize| active(line).map(|theirs| self.security_of(line, theirs));
        agreed.security = (0..agreed.len()).map(|line| security(line).unwrap_or_default()).collect();
        self.protection.is_secured |= agreed.is_secured();
        let lines = agreed.their_lines.len().clamp(self.lines.len(), MAX_LINES.max(self.lines.len()));
        self.lines.reserve_exact(lines.saturating_sub(self.lines.len()));
        self.lines.resize_with(lines, PayloadHistory::default);
        for (line, history) in agreed.their_lines.iter().zip(&mut self.lines) {
            history.record(&line.side.formats);
        }
        self.agreed = Some(agreed);
    }

    /// The offer that has to be answered: the open one, or the last one (its answer is being repeated).
    pub(super) fn offer_to_answer(&self) -> Result<Offer, Refusal> {
        match (&self.open, &self.agreed) {
            (Some(Open::Received(offer)), _) => {
                let sdp = offer.sdp().clone();
                Ok(Offer { lines: Theirs::of_offer(&sdp, self), sdp })
            }
            (None, Some(agreed)) if agreed.offerer == Offerer::Them => {
                Ok(Offer { sdp: read(&agreed.theirs)?, lines: agreed.their_lines.clone() })
            }
            _ => Err(Refusal::OutOfTurn),
        }
    }
}

/// An offer of theirs with its formats.
pub(super) struct Offer {
    pub(super) sdp: Sdp,
    pub(super) lines: Vec<Theirs>,
}
