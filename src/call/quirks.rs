//! What user agents do in their own way: a table of patterns, of the configuration first and then ours. The first row
//! that says something of a setting decides it.

use regex::RegexSet;
use smallvec::SmallVec;

use crate::sip::digest::Algorithm;
use crate::wire::sip::{HeaderName, MessageWriter};

/// How a device is asked to answer by itself; each heeds its own form and ignores the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Hint {
    /// All but the last.
    #[default]
    All,
    /// `Call-Info: <sip:…>;answer-after=0`.
    CallInfo,
    /// `Alert-Info: <http://…>;info=alert-autoanswer;delay=0`.
    AlertInfo,
    /// `Alert-Info: Auto Answer`, a ring class by name.
    RingClass,
    /// `Answer-Mode: Auto` (RFC 5373).
    AnswerMode,
    /// None is of use.
    None,
}

/// How keys reach a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dtmf {
    /// As events of RFC 4733 where it agreed to them, and as it sends them itself.
    #[default]
    Auto,
    /// By INFO alone, whatever it agreed to.
    Info,
}

/// One word of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Setting {
    /// How it is asked to answer by itself.
    AutoAnswer(Hint),
    /// Whether it is also shown Remote-Party-ID, which it reads instead of P-Asserted-Identity.
    RemotePartyId(bool),
    /// How keys reach it.
    Dtmf(Dtmf),
    /// Whether MESSAGE is sent to it.
    Message(bool),
    /// Whether it is told of waiting messages unasked.
    Mwi(bool),
    /// Whether its word that it takes UPDATE is believed.
    Update(bool),
    /// Whether it is offered reliable provisional responses.
    Prack(bool),
    /// Whether its Replaces is read to the letter, in lenient mode too.
    StrictReplaces(bool),
    /// The digest algorithms that it can be offered; those of the user that are not among them are left out.
    Algorithms(Vec<Algorithm>),
}

/// What the table says of one user agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the configuration, and they are independent"
)]
pub struct Quirks {
    /// How it is asked to answer by itself.
    pub auto_answer: Hint,
    /// Whether it is shown Remote-Party-ID as well.
    pub rpid: bool,
    /// How keys reach it.
    pub dtmf: Dtmf,
    /// Whether it takes MESSAGE.
    pub message: bool,
    /// Whether it is told of waiting messages unasked.
    pub mwi: bool,
    /// Whether it takes UPDATE, if it says so.
    pub update: bool,
    /// Whether it is offered reliable provisional responses.
    pub prack: bool,
    /// Whether its Replaces is read to the letter.
    pub strict_replaces: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            auto_answer: Hint::All,
            rpid: false,
            dtmf: Dtmf::Auto,
            message: true,
            mwi: true,
            update: true,
            prack: true,
            strict_replaces: false,
        }
    }
}

/// A row: a pattern for User-Agent, and what it says.
#[derive(Clone, Debug)]
pub struct Row {
    /// The pattern, found anywhere in the value.
    pub user_agent: Box<str>,
    /// The settings.
    pub settings: Vec<Setting>,
}

/// Memory that the compiled patterns may take.
const MAX_PATTERNS: usize = 4 << 20;

/// The table.
#[derive(Clone, Debug)]
pub struct QuirkTable {
    patterns: RegexSet,
    rows: Vec<Vec<Setting>>,
}

impl Default for QuirkTable {
    fn default() -> Self {
        // Patterns of our own; a test compiles them.
        Self::new(Vec::new()).unwrap_or_else(|_| Self { patterns: RegexSet::empty(), rows: Vec::new() })
    }
}

impl QuirkTable {
    /// The rows of the configuration, and ours after them.
    ///
    /// # Errors
    /// A pattern that is none, or too large.
    pub fn new(configured: Vec<Row>) -> Result<Self, regex::Error> {
        let rows: Vec<Row> = configured.into_iter().chain(built_in()).collect();
        let patterns = rows.iter().map(|row| &*row.user_agent);
        let patterns = regex::RegexSetBuilder::new(patterns).size_limit(MAX_PATTERNS).build()?;
        Ok(Self { patterns, rows: rows.into_iter().map(|row| row.settings).collect() })
    }

    /// What is done otherwise for a user agent.
    #[must_use]
    pub fn of(&self, user_agent: &str) -> Quirks {
        let mut quirks = Quirks::default();
        for setting in self.settings_of(user_agent).rev() {
            match setting {
                Setting::AutoAnswer(hint) => quirks.auto_answer = *hint,
                Setting::RemotePartyId(is_on) => quirks.rpid = *is_on,
                Setting::Dtmf(dtmf) => quirks.dtmf = *dtmf,
                Setting::Message(is_on) => quirks.message = *is_on,
                Setting::Mwi(is_on) => quirks.mwi = *is_on,
                Setting::Update(is_on) => quirks.update = *is_on,
                Setting::Prack(is_on) => quirks.prack = *is_on,
                Setting::StrictReplaces(is_on) => quirks.strict_replaces = *is_on,
                Setting::Algorithms(_) => {}
            }
        }
        quirks
    }

    /// Those of `offered` that a user agent can be offered; all, where none would be left.
    #[must_use]
    pub fn algorithms(&self, user_agent: &str, offered: &[Algorithm]) -> SmallVec<[Algorithm; 3]> {
        let known = self.settings_of(user_agent).find_map(|setting| match setting {
            Setting::Algorithms(known) => Some(known),
            _ => None,
        });
        let can = |algorithm: &&Algorithm| known.is_none_or(|known| known.contains(algorithm));
        let fit: SmallVec<[Algorithm; 3]> = offered.iter().filter(can).copied().collect();
        if fit.is_empty() { SmallVec::from_slice(offered) } else { fit }
    }

    /// The settings of the rows that fit, the first row first.
    fn settings_of(&self, user_agent: &str) -> impl DoubleEndedIterator<Item = &Setting> {
        let fitting: SmallVec<[usize; 4]> = match user_agent {
            "" => SmallVec::new(),
            _ => self.patterns.matches(user_agent).iter().collect(),
        };
        fitting.into_iter().filter_map(|row| self.rows.get(row)).flatten()
    }
}

/// What is known of clients (docs/INTEROP.md says from where).
fn built_in() -> impl Iterator<Item = Row> {
    let row = |user_agent: &str, settings: &[Setting]| Row {
        user_agent: user_agent.into(),
        settings: settings.to_vec(),
    };
    let md5 = || Setting::Algorithms(vec![Algorithm::Md5]);
    let hint = Setting::AutoAnswer;
    [
        // Answers a challenge only where MD5 stands alone; refuses what it does not know.
        row("^baresip v?[01]\\.", &[md5()]),
        row("^(JsSIP|SIP\\.js)", &[md5()]),
        row("(?i)yealink|grandstream|linksys|sipura|Cisco/SPA|snom", &[hint(Hint::CallInfo)]),
        row("(?i)aastra|mitel", &[hint(Hint::AlertInfo)]),
        row("(?i)^poly|polycom", &[hint(Hint::RingClass)]),
        row("^(Cisco-|CSCO/)", &[Setting::RemotePartyId(true)]),
    ]
    .into_iter()
}

impl Hint {
    /// Writes the headers that make a device answer by itself.
    pub fn write(self, writer: &mut MessageWriter<'_>, domain: &str) {
        if matches!(self, Self::All | Self::CallInfo) {
            writer.header_parts(&HeaderName::CallInfo, &["<sip:", domain, ">;answer-after=0"]);
        }
        if matches!(self, Self::All | Self::AlertInfo) {
            writer.header_parts(
                &HeaderName::AlertInfo,
                &["<http://", domain, ">;info=alert-autoanswer;delay=0"],
            );
        }
        if self == Self::RingClass {
            writer.header(&HeaderName::AlertInfo, "Auto Answer");
        }
        if matches!(self, Self::All | Self::AnswerMode) {
            writer.header(&HeaderName::AnswerMode, "Auto");
        }
    }
}

/// The part of the one who is shown, in Remote-Party-ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Who calls, in an INVITE.
    Calling,
    /// Who was called, in an answer or later.
    Called,
}

/// Shows who is at the other end: P-Asserted-Identity (RFC 3325 9.1), and what older phones read.
pub fn write_identity(writer: &mut MessageWriter<'_>, identity: &str, quirks: Quirks, shown: Shown) {
    writer.header(&HeaderName::PAssertedIdentity, identity);
    if quirks.rpid {
        let party = if shown == Shown::Calling { "calling" } else { "called" };
        writer.header_parts(
            &HeaderName::RemotePartyId,
            &[identity, ";party=", party, ";screen=yes;privacy=off"],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &[Setting])]) -> QuirkTable {
        let row = |(user_agent, settings): &(&str, &[Setting])| Row {
            user_agent: (*user_agent).into(),
            settings: settings.to_vec(),
        };
        QuirkTable::new(rows.iter().map(row).collect()).unwrap()
    }

    #[test]
    fn ours_are_patterns_and_fit_what_they_are_for() {
        let ours = QuirkTable::default();
        assert!(!ours.rows.is_empty());
        for (user_agent, hint) in [
            ("Yealink SIP-T46U 108.86.0.20", Hint::CallInfo),
            ("snomD735/10.1.54.13", Hint::CallInfo),
            ("PolycomVVX-VVX_411-UA/5.9.0", Hint::RingClass),
            ("PolyEdge-E350-UA/8.0", Hint::RingClass),
            ("Mitel 6873i", Hint::AlertInfo),
            ("something else", Hint::All),
            ("", Hint::All),
        ] {
            assert_eq!(ours.of(user_agent).auto_answer, hint, "{user_agent}");
        }
        let both = [Algorithm::Sha256, Algorithm::Md5];
        for (user_agent, offered) in [
            ("baresip v1.0.0 (x86_64/linux)", vec![Algorithm::Md5]),
            ("baresip v4.1.0 (x86_64/Linux)", both.to_vec()),
            ("JsSIP 3.10.1", vec![Algorithm::Md5]),
        ] {
            assert_eq!(ours.algorithms(user_agent, &both).to_vec(), offered, "{user_agent}");
        }
        // It cannot do what its user must: it is told so, and not let in by less.
        assert_eq!(ours.algorithms("JsSIP 3.10.1", &[Algorithm::Sha256])[..], [Algorithm::Sha256]);
    }

    #[test]
    fn the_first_row_that_says_something_decides() {
        let rows = table(&[
            ("^Acme/1", &[Setting::Update(false)]),
            ("Acme", &[Setting::Update(true), Setting::RemotePartyId(true)]),
            ("(?i)yealink", &[Setting::AutoAnswer(Hint::None)]),
        ]);
        let (old, new) = (rows.of("Acme/1.2"), rows.of("Acme/2.0"));
        assert_eq!((old.update, old.rpid), (false, true));
        assert_eq!((new.update, new.rpid), (true, true));
        assert_eq!(rows.of("Yealink T46").auto_answer, Hint::None, "the configuration comes before us");
        assert!(QuirkTable::new(vec![Row { user_agent: "(".into(), settings: Vec::new() }]).is_err());
    }
}
