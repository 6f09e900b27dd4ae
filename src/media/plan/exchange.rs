//! A finished exchange, read: for each m-line what each side said and what came out of it.

use bytes::Bytes;

use super::formats::{Formats, answered_formats, formats};
use super::leg::Agreed;
use super::{LegMedia, Offerer, Refusal};
use crate::wire::sdp::{Direction, Limits, Media, Sdp};

/// Both descriptions of an exchange.
pub(super) struct Exchange<'a> {
    leg: &'a LegMedia,
    pub(super) theirs: Sdp,
    pub(super) ours: Sdp,
    pub(super) offerer: Offerer,
}

/// Text that was read before, or that is ours.
pub(super) fn read(text: &Bytes) -> Result<Sdp, Refusal> {
    Ok(Sdp::parse(text.clone(), &Limits::NONE)?)
}

/// Whether we can carry a line: plain RTP that is not refused or ended.
pub(super) fn is_carried(media: &Media<'_>) -> bool {
    media.port() != 0 && media.protocol().is_plain_rtp() && media.payload_numbers().next().is_some()
}

impl<'a> Exchange<'a> {
    pub(super) fn read(leg: &'a LegMedia, agreed: &Agreed) -> Result<Self, Refusal> {
        Ok(Self { leg, theirs: read(&agreed.theirs)?, ours: read(&agreed.ours)?, offerer: agreed.offerer })
    }

    /// m-lines that both have.
    pub(super) fn len(&self) -> usize {
        self.theirs.media().len().min(self.ours.media().len())
    }

    /// Whether media flows, or is only on hold, on a line.
    pub(super) fn is_active(&self, line: usize) -> bool {
        let carried = |sdp: &Sdp| sdp.medium(line).is_some_and(|media| is_carried(&media));
        carried(&self.theirs) && carried(&self.ours)
    }

    /// Formats of their description: what they accept.
    pub(super) fn their_formats(&self, line: usize) -> Formats {
        let Some(theirs) = self.theirs.medium(line) else { return Formats::new() };
        match self.offerer {
            Offerer::Them => formats(&theirs, self.known(line)),
            Offerer::Us => answered_formats(&theirs, &self.our_formats(line)),
        }
    }

    /// Formats of our description: what they may send.
    pub(super) fn our_formats(&self, line: usize) -> Formats {
        let Some(ours) = self.ours.medium(line) else { return Formats::new() };
        match self.offerer {
            Offerer::Us => formats(&ours, self.known(line)),
            Offerer::Them => answered_formats(&ours, &self.their_formats(line)),
        }
    }

    /// Formats that both named, in the order of the answer, under the numbers that they use to send.
    pub(super) fn agreed_formats(&self, line: usize) -> Formats {
        let (theirs, ours) = (self.their_formats(line), self.our_formats(line));
        let (answer, other) = match self.offerer {
            Offerer::Us => (&theirs, &ours),
            Offerer::Them => (&ours, &theirs),
        };
        let mut agreed = Formats::new();
        for format in answer {
            let is_shared = other.iter().any(|offered| offered.codec == format.codec);
            let sent = ours.iter().find(|ours| ours.codec == format.codec);
            if let Some(sent) = sent.filter(|_| is_shared) {
                agreed.push(*sent);
            }
        }
        agreed
    }

    /// Directions that both allow, from their point of view.
    pub(super) fn direction(&self, line: usize) -> Direction {
        match (self.theirs.medium(line), self.ours.medium(line)) {
            (Some(theirs), Some(ours)) => theirs.direction().and(ours.direction().mirrored()),
            _ => Direction::Inactive,
        }
    }

    /// What we told them of our direction.
    pub(super) fn our_direction(&self, line: usize) -> Direction {
        self.ours.medium(line).map_or(Direction::Inactive, |media| media.direction())
    }

    /// Our directions that their offer left no choice about: they were not offered to us.
    pub(super) fn forced(&self, line: usize) -> Direction {
        match (self.offerer, self.theirs.medium(line)) {
            (Offerer::Them, Some(theirs)) => theirs.direction().mirrored().negated(),
            _ => Direction::Inactive,
        }
    }

    /// What they would do if they were let: their directions, and those that our offer did not allow them.
    pub(super) fn their_wish(&self, line: usize) -> Direction {
        let Some(theirs) = self.theirs.medium(line) else { return Direction::Inactive };
        match self.offerer {
            Offerer::Them => theirs.direction(),
            Offerer::Us => theirs.direction().or(self.our_direction(line).mirrored().negated()),
        }
    }

    fn known(&self, line: usize) -> &[crate::media::codec::Format] {
        self.leg.lines.get(line).map_or(&[], |history| history.used())
    }
}
