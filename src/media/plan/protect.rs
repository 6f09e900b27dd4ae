//! How the media of a leg is protected: what may be agreed, what is offered, and that it never gets less.

use super::agreed::{Agreed, Side, Theirs};
use super::sdes::{Crypto, Lines, Secret, suite_of, tag_of};
use super::web::{self, Remote, WebLines};
use super::{Description, LegMedia, Refusal};
use crate::media::srtp::{Keys, Security, Suite};
use crate::wire::sdp::{Media, Protocol, SdpWriter};

/// What may be agreed with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Plain RTP alone.
    PlainOnly,
    /// SRTP where the peer has it.
    #[default]
    Either,
    /// SRTP alone.
    SecureOnly,
}

/// What a leg starts with: the policy, what the peer is offered first, and what our keys are made from.
#[derive(Clone, Debug)]
pub(super) struct Protection {
    pub(super) rule: Rule,
    pub(super) offers_srtp: bool,
    pub(super) secret: Secret,
    /// Whether anything was ever secured: then all is, for the life of the dialog.
    pub(super) is_secured: bool,
}

impl Default for Protection {
    fn default() -> Self {
        Self { rule: Rule::Either, offers_srtp: false, secret: Secret::new([0; 32]), is_secured: false }
    }
}

/// What a line of ours says of its protection.
pub(super) enum Keying {
    /// Nothing.
    Plain,
    /// Keys, in the line.
    Sdes(Lines),
    /// A certificate, and where ICE and DTLS meet us.
    Web(WebLines),
}

impl Keying {
    fn of(lines: Lines) -> Self {
        if lines.is_empty() { Self::Plain } else { Self::Sdes(lines) }
    }

    pub(super) fn is_secure(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    pub(super) fn is_web(&self) -> bool {
        matches!(self, Self::Web(_))
    }

    /// The port of the line, where a port of the call would be `port`.
    pub(super) fn port(&self, port: u16) -> u16 {
        if let Self::Web(web) = self { web.port() } else { port }
    }

    /// Lines below the `m=` line.
    pub(super) fn section(&self, writer: &mut SdpWriter) {
        match self {
            Self::Plain => {}
            Self::Sdes(lines) => lines.iter().for_each(|crypto| crypto.write(writer)),
            Self::Web(web) => web.section(writer),
        }
    }
}

/// Beside a line with keys none goes in clear: who can have both has what it says in both. What is live decides: a line
/// that talks in clear and is offered so again is not ended by keys of another, which then is not taken.
pub(super) fn only_secured(lines: &mut [Theirs], agreed: Option<&Agreed>) {
    if !lines.iter().any(|line| line.side.carries && line.side.is_secure) {
        return;
    }
    let is_clear = |line: usize, theirs: &Theirs| {
        let agreed = agreed.filter(|agreed| agreed.is_active(line) && !agreed.is_secured());
        theirs.side.carries && !theirs.side.is_secure && agreed.is_some()
    };
    let in_clear = lines.iter().enumerate().any(|(line, theirs)| is_clear(line, theirs));
    lines.iter_mut().filter(|line| line.side.is_secure == in_clear).for_each(Theirs::decline);
}

impl LegMedia {
    /// With the rule for this peer, whether it is offered SRTP, and 32 random bytes for our keys.
    #[must_use]
    pub fn protected(mut self, rule: Rule, offers_srtp: bool, secret: [u8; 32]) -> Self {
        let offers_srtp = rule == Rule::SecureOnly || offers_srtp && rule == Rule::Either;
        self.protection = Protection { rule, offers_srtp, secret: Secret::new(secret), is_secured: false };
        self
    }

    /// Offers no keys.
    #[must_use]
    pub fn offering_plain(mut self: Box<Self>) -> Box<Self> {
        self.protection.offers_srtp = false;
        self
    }

    /// Whether media of this leg is secured, as agreed.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.protection.is_secured
    }

    /// Whether this peer is offered SRTP.
    #[must_use]
    pub fn offers_srtp(&self) -> bool {
        self.protection.offers_srtp
    }

    /// The rule as it stands: what was secured once is never less (threat: a downgrade by a re-INVITE, an answer, a move).
    pub(super) fn rule(&self) -> Rule {
        if self.is_secured() { Rule::SecureOnly } else { self.protection.rule }
    }

    /// Whether a line of theirs would be taken.
    pub(super) fn admits(&self, media: &Media<'_>) -> bool {
        let is_taken = !media.protocol().is_dtls() || self.web.is_some();
        is_taken && super::agreed::is_carried(media) && self.rule().admits(media)
    }

    /// Why an offer of which nothing can be taken, or that takes protection away, is refused.
    pub(super) fn screen_offer(&self, offer: &Description) -> Result<(), Refusal> {
        let sdp = offer.sdp();
        let is_insecure = |media: &Media<'_>| {
            super::agreed::is_carried(media) && !self.rule().admits(media) && self.rule() == Rule::SecureOnly
        };
        // A line that had keys is not declined quietly: the peer would be without that stream. Others are.
        let had_keys = |line: usize| {
            let agreed = self.agreed.as_ref().filter(|agreed| agreed.is_active(line));
            agreed.is_some_and(|agreed| *agreed.security(line) != Security::Plain)
        };
        if sdp.media().enumerate().any(|(line, media)| had_keys(line) && is_insecure(&media)) {
            return Err(Refusal::Insecure);
        }
        if sdp.media().any(|media| self.admits(&media)) {
            return Ok(());
        }
        if sdp.media().any(|media| is_insecure(&media)) {
            return Err(Refusal::Insecure);
        }
        let is_secure = |media: &Media<'_>| media.port() != 0 && media.protocol().is_secure();
        Err(if sdp.media().any(|media| is_secure(&media)) {
            Refusal::SecureMedia
        } else {
            Refusal::NoUsableMedia
        })
    }

    /// What our offer says of the keys of an m-line: what was agreed there, else every suite, else nothing.
    pub(super) fn offered_keys(&self, line: usize) -> Keying {
        if let Some(web) = self.offered_web(line) {
            return Keying::Web(web);
        }
        let agreed = self.agreed.as_ref().filter(|agreed| agreed.is_active(line));
        let ours =
            |suite: Suite| Some(Crypto { tag: tag_of(suite), key: self.protection.secret.key(line, suite)? });
        match agreed.map(|agreed| agreed.security(line)) {
            Some(Security::Srtp(keys)) => Keying::of(ours(keys.ours.suite()).into_iter().collect()),
            Some(Security::Plain | Security::Web(_)) => Keying::Plain,
            None if self.is_secured() || self.protection.offers_srtp => {
                Keying::of(Suite::ALL.into_iter().filter_map(ours).collect())
            }
            None => Keying::Plain,
        }
    }

    /// What our answer says to a line of their offer.
    pub(super) fn answered_keys(&self, line: usize, theirs: &Theirs, offer: &Media<'_>) -> Keying {
        if let Some(web) = self.answered_web(line, theirs, offer) {
            return Keying::Web(web);
        }
        let answer = |crypto: &Crypto| {
            Some(Crypto { tag: crypto.tag, key: self.protection.secret.key(line, crypto.key.suite())? })
        };
        Keying::of(theirs.crypto.as_deref().and_then(answer).into_iter().collect())
    }

    /// The keys of a line that both have described.
    pub(super) fn security_of(&self, line: usize, theirs: &Theirs) -> Security {
        if let Some(web) = theirs.web.as_deref().and_then(|remote| self.web_security(line, remote)) {
            return web;
        }
        let keys = |crypto: &Crypto| {
            let ours = self.protection.secret.key(line, crypto.key.suite())?;
            Some(Security::Srtp(Box::new(Keys { theirs: crypto.key.clone(), ours })))
        };
        theirs.crypto.as_deref().and_then(keys).unwrap_or_default()
    }
}

impl Rule {
    /// Whether a line that we could carry may be taken.
    pub(super) fn admits(self, media: &Media<'_>) -> bool {
        match self {
            // Browsers have nothing else, and are taken by a setting of their own.
            _ if media.protocol().is_dtls() => true,
            Self::PlainOnly => media.protocol().is_plain_rtp(),
            Self::Either => true,
            Self::SecureOnly => Crypto::chosen(media).is_some(),
        }
    }

    /// The line of an offer that is taken up; with RTP/AVP it is one that may be left (RFC 8643).
    pub(super) fn taken(self, media: &Media<'_>) -> Option<Box<Crypto>> {
        if self == Self::PlainOnly || media.protocol().is_dtls() {
            None
        } else {
            Crypto::chosen(media).map(Box::new)
        }
    }
}

/// The line that an answer takes of our offer. RFC 4568 5.1.3: exactly one, by its tag; anything else leaves the stream
/// without keys, and is no answer to an offer of SRTP.
pub(super) fn taken_by_answer(media: &Media<'_>, ours: &Side) -> Result<Option<Box<Crypto>>, Refusal> {
    if !ours.is_secure || media.port() == 0 {
        return Ok(None);
    }
    if ours.is_web {
        return if Remote::read(media).is_some() { Ok(None) } else { Err(Refusal::Insecure) };
    }
    let taken = Crypto::answered(media, suite_of).ok_or(Refusal::Insecure)?;
    Ok(Some(Box::new(taken)))
}

/// The profile of a line of ours: that of the dialog's line as it was agreed; else by what is offered and whether the
/// source has feedback (RFC 4585, RFC 5124).
pub(super) fn profile<'a>(agreed: Option<Media<'a>>, source: &Media<'_>, keying: &Keying) -> &'a [u8] {
    if keying.is_web() {
        return web::PROFILE;
    }
    if let Some(agreed) = agreed.filter(|media| media.protocol().is_rtp()) {
        return agreed.protocol_name();
    }
    let has_feedback = matches!(source.protocol(), Protocol::RtpAvpf | Protocol::RtpSavpf);
    match (keying.is_secure(), has_feedback) {
        (false, false) => b"RTP/AVP",
        (false, true) => b"RTP/AVPF",
        (true, false) => b"RTP/SAVP",
        (true, true) => b"RTP/SAVPF",
    }
}
