//! A finished exchange: for each m-line what each side said, and what came out of it. Worked out once, when the answer
//! is there; the texts are read again only where their lines are copied.

use std::net::SocketAddr;

use bytes::Bytes;

use super::formats::{Formats, answered_formats, codec_of};
use super::protect::{only_secured, taken_by_answer};
use super::sdes::Crypto;
use super::web::{self, Remote, Start};
use super::{LegMedia, Offerer, Refusal};
use crate::media::codec::Format;
use crate::media::permitted::Permitted;
use crate::media::srtp::Security;
use crate::wire::sdp::{Direction, Kind, Limits, Media, Protocol, Sdp};

/// One side of one m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Side {
    /// Whether it is RTP with a port, protected as the rule of the leg allows.
    pub(super) carries: bool,
    /// Ours: whether it names keys, or a certificate.
    pub(super) is_secure: bool,
    /// Whether it is a browser's line.
    pub(super) is_web: bool,
    /// In its author's order. Theirs: what they accept; ours: what they were told to send.
    pub(super) formats: Formats,
    pub(super) direction: Direction,
}

/// One m-line of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Theirs {
    pub(super) side: Side,
    pub(super) kind: Kind,
    pub(super) rtp: Option<SocketAddr>,
    pub(super) rtcp: Option<SocketAddr>,
    /// The key that they send with, as we took it up.
    pub(super) crypto: Option<Box<Crypto>>,
    /// A browser's transport.
    pub(super) web: Option<Box<Remote>>,
}

/// The outcome of the last finished exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) theirs: Bytes,
    pub(super) ours: Bytes,
    pub(super) offerer: Offerer,
    pub(super) their_lines: Vec<Theirs>,
    pub(super) our_lines: Vec<Side>,
    /// By m-line; plain where there is none.
    pub(super) security: Vec<Security>,
    /// What ours says of ICE and DTLS.
    pub(super) start: Start,
}

/// Text that was read before, or that is ours.
pub(super) fn read(text: &Bytes) -> Result<Sdp, Refusal> {
    Ok(Sdp::parse(text.clone(), &Limits::NONE)?)
}

/// Whether we can carry a line, if the leg's rule lets us: RTP, plain or with keys that we understand, that is not
/// refused or ended.
pub(super) fn is_carried(media: &Media<'_>) -> bool {
    let is_spoken = match media.protocol() {
        Protocol::RtpAvp | Protocol::RtpAvpf => true,
        Protocol::RtpSavp | Protocol::RtpSavpf => Crypto::chosen(media).is_some(),
        Protocol::DtlsSavp | Protocol::DtlsSavpf => Remote::read(media).is_some(),
        Protocol::Udptl | Protocol::Other => false,
    };
    media.port() != 0 && is_spoken && media.payload_numbers().next().is_some()
}

impl Side {
    /// A line without media.
    pub(super) const DISABLED: Self = Self {
        carries: false,
        is_secure: false,
        is_web: false,
        formats: Formats::new(),
        direction: Direction::Inactive,
    };
}

impl Theirs {
    /// The lines of an offer; numbers that it does not explain mean what they meant before.
    pub(super) fn of_offer(offer: &Sdp, leg: &LegMedia) -> Vec<Self> {
        let read = |(line, media): (usize, Media<'_>)| {
            let carries = leg.takes(line, &media);
            Self::read(&media, carries, leg.rule().taken(&media), |media| leg.formats_of(line, media))
        };
        let mut lines = Vec::with_capacity(offer.media().len());
        lines.extend(offer.media().enumerate().map(read));
        web::only_one(&mut lines);
        only_secured(&mut lines, leg.agreed.as_ref());
        lines
    }

    /// Takes the line no more than one that ended.
    pub(super) fn decline(&mut self) {
        (self.side.carries, self.web, self.crypto) = (false, None, None);
        (self.rtp, self.rtcp) = (None, None);
        self.side.formats.clear();
    }

    /// The lines of an answer to our offer.
    ///
    /// # Errors
    /// [`Refusal::Insecure`] for an answer without keys to a line that was offered with them.
    pub(super) fn of_answer(
        answer: &Sdp,
        offer: &[Side],
        permitted: Option<&Permitted>,
    ) -> Result<Vec<Self>, Refusal> {
        let read = |(line, media): (usize, Media<'_>)| -> Result<Self, Refusal> {
            let disabled = Side::DISABLED;
            let ours = offer.get(line).unwrap_or(&disabled);
            let crypto = taken_by_answer(&media, ours)?;
            let protocol = media.protocol();
            let fits = match ours.is_web {
                true => protocol.is_dtls(),
                false => protocol.is_plain_rtp() || ours.is_secure && !protocol.is_dtls(),
            };
            let carries = is_carried(&media) && fits;
            let formats = |media: &Media<'_>| {
                let named = answered_formats(media, &ours.formats);
                if let Some(list) = permitted { list.sift(&named) } else { named }
            };
            Ok(Self::read(&media, carries, crypto, formats))
        };
        let mut lines = Vec::with_capacity(answer.media().len());
        for line in answer.media().enumerate().map(read) {
            lines.push(line?);
        }
        Ok(lines)
    }

    fn read(
        media: &Media<'_>,
        carries: bool,
        crypto: Option<Box<Crypto>>,
        formats: impl FnOnce(&Media<'_>) -> Formats,
    ) -> Self {
        let formats = if carries { formats(media) } else { Formats::new() };
        let web = Remote::read(media).filter(|_| carries).map(Box::new);
        let (is_secure, is_web) = (crypto.is_some() || web.is_some(), web.is_some());
        let side = Side { carries, is_secure, is_web, formats, direction: media.direction() };
        let place = |place: Option<SocketAddr>| match &web {
            Some(_) => Some(web::NOWHERE),
            None => place.filter(|_| carries),
        };
        let (rtp, rtcp) = (place(media.rtp()), place(media.rtcp()));
        Self { side, kind: media.kind(), rtp, rtcp, crypto: crypto.filter(|_| carries), web }
    }
}

impl Agreed {
    /// m-lines that both have.
    pub(super) fn len(&self) -> usize {
        self.their_lines.len().min(self.our_lines.len())
    }

    pub(super) fn their_line(&self, line: usize) -> Option<&Theirs> {
        self.their_lines.get(line)
    }

    pub(super) fn kind(&self, line: usize) -> Option<Kind> {
        self.their_line(line).map(|line| line.kind)
    }

    /// Whether media flows, or is only on hold, on a line.
    pub(super) fn is_active(&self, line: usize) -> bool {
        self.their_line(line).is_some_and(|line| line.side.carries)
            && self.our_lines.get(line).is_some_and(|line| line.carries)
    }

    /// How the packets of a line are protected.
    pub(super) fn security(&self, line: usize) -> &Security {
        self.security.get(line).unwrap_or(&Security::Plain)
    }

    /// Whether any line is.
    pub(super) fn is_secured(&self) -> bool {
        self.security.iter().any(|security| *security != Security::Plain)
    }

    /// Formats of their description: what they accept.
    pub(super) fn their_formats(&self, line: usize) -> &[Format] {
        self.their_line(line).map_or(&[], |line| &line.side.formats)
    }

    /// Formats of our description: what they may send.
    pub(super) fn our_formats(&self, line: usize) -> &[Format] {
        self.our_lines.get(line).map_or(&[], |line| &line.formats)
    }

    /// Formats that both named, in the order of the answer, under the numbers that they use to send.
    pub(super) fn agreed_formats(&self, line: usize) -> impl Iterator<Item = Format> {
        let (theirs, ours) = (self.their_formats(line), self.our_formats(line));
        let (answer, other) = match self.offerer {
            Offerer::Us => (theirs, ours),
            Offerer::Them => (ours, theirs),
        };
        let find = |list: &'_ [Format], format: &Format| {
            list.iter().find(|other| other.codec == format.codec).copied()
        };
        answer
            .iter()
            .filter(move |format| find(other, format).is_some())
            .filter_map(move |format| if ours.contains(format) { Some(*format) } else { find(ours, format) })
    }

    /// Formats of theirs that we named too, under their own numbers.
    pub(super) fn acceptable(&self, line: usize) -> Formats {
        let ours = self.our_formats(line);
        let is_agreed = |format: &&Format| ours.iter().any(|known| known.codec == format.codec);
        self.their_formats(line).iter().filter(is_agreed).copied().collect()
    }

    /// What a number that they send stands for.
    pub(super) fn sent_codec(&self, line: usize, number: u8) -> Option<crate::media::codec::Codec> {
        codec_of(self.our_formats(line), number)
    }

    /// Directions that both allow, from their point of view.
    pub(super) fn direction(&self, line: usize) -> Direction {
        self.their_direction(line).and(self.our_direction(line).mirrored())
    }

    /// What we told them of our direction.
    pub(super) fn our_direction(&self, line: usize) -> Direction {
        self.our_lines.get(line).map_or(Direction::Inactive, |side| side.direction)
    }

    fn their_direction(&self, line: usize) -> Direction {
        self.their_line(line).map_or(Direction::Inactive, |line| line.side.direction)
    }

    /// Our directions that their offer left no choice about: they were not offered to us.
    pub(super) fn forced(&self, line: usize) -> Direction {
        match self.offerer {
            Offerer::Them => self.their_direction(line).mirrored().negated(),
            Offerer::Us => Direction::Inactive,
        }
    }

    /// What they would do if they were let: their directions, and those that our offer did not allow them.
    pub(super) fn their_wish(&self, line: usize) -> Direction {
        match self.offerer {
            Offerer::Them => self.their_direction(line),
            Offerer::Us => self.their_direction(line).or(self.our_direction(line).mirrored().negated()),
        }
    }
}
