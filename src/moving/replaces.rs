//! Replaces (RFC 3891) and Join (RFC 3911): reading the header, and matching it with the legs of its sender.
//!
//! Matching looks only at legs of the authenticated sender's own user. Everybody else gets the one answer that
//! an unknown dialog gets, after the same work: the whole list is looked at in every case.

use super::identifier::Token;
use super::{DeviceKey, LegKey, Refusal, ReplacesMode};

/// Caps on one header value: no real Call-ID or tag comes near them.
const MAX_VALUE: usize = 1024;
const MAX_PARAMS: usize = 16;

/// A Replaces value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// The Call-ID of the dialog to replace, or an identifier that we minted.
    pub call_id: Box<str>,
    /// The tag of the other side as the replaced agent sees it: our remote tag.
    pub from_tag: Option<Box<str>>,
    /// Our local tag.
    pub to_tag: Option<Box<str>>,
    /// `early-only`.
    pub early: Early,
}

/// The `early-only` flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// Present: a confirmed dialog is not to be replaced.
    Only,
    /// Absent.
    NotOnly,
}

/// Reads the Replaces of a request: `None` where it has none and no Join.
///
/// `replaces` are the header's lines (not split at commas: the grammar has no list), `joins` the Join lines.
///
/// # Errors
/// [`Refusal::ReplacesMalformed`] (400): several, outside INVITE, together with Join (RFC 3891 section 3,
/// RFC 3911 section 4), a Join alone (not offered here), or a value that is none.
///
/// ```
/// use segue::moving::replaces;
/// let read = replaces::read("INVITE", ["98732@h;from-tag=r33th4x0r;to-tag=ff87ff"], 0)?;
/// assert_eq!(read.unwrap().to_tag.as_deref(), Some("ff87ff"));
/// assert!(replaces::read("REFER", ["98732@h;from-tag=a;to-tag=b"], 0).is_err());
/// # Ok::<(), segue::moving::Refusal>(())
/// ```
pub fn read<'a>(
    method: &str,
    replaces: impl IntoIterator<Item = &'a str>,
    joins: usize,
) -> Result<Option<Replaces>, Refusal> {
    let mut lines = replaces.into_iter();
    match (lines.next(), lines.next(), joins) {
        (None, _, 0) => Ok(None),
        (Some(value), None, 0) if method == "INVITE" => Replaces::parse(value).map(Some),
        _ => Err(Refusal::ReplacesMalformed),
    }
}

impl Replaces {
    /// Reads one value: of the header, or (after percent-decoding) of a `?Replaces=` in a URI.
    ///
    /// # Errors
    /// [`Refusal::ReplacesMalformed`]: no Call-ID, a second value, a parameter twice, or too long.
    pub fn parse(value: &str) -> Result<Self, Refusal> {
        let value = value.trim();
        let clean = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b';'))
        };
        let mut parts = value.split(';').map(str::trim);
        let call_id = parts.next().unwrap_or_default();
        if value.len() > MAX_VALUE || !clean(call_id) {
            return Err(Refusal::ReplacesMalformed);
        }
        let mut read = Self { call_id: call_id.into(), from_tag: None, to_tag: None, early: Early::NotOnly };
        for (count, param) in parts.enumerate() {
            let (name, content) =
                param.split_once('=').map_or((param, None), |(n, v)| (n.trim_end(), Some(v.trim_start())));
            // RFC 3891 section 6.1: exactly one of each tag and at most one early-only; the count of tags that are
            // missing is judged in matching, because the lenient mode lives with it.
            let twice = match (name.to_ascii_lowercase().as_str(), content) {
                ("from-tag", Some(tag)) if clean(tag) => read.from_tag.replace(tag.into()).is_some(),
                ("to-tag", Some(tag)) if clean(tag) => read.to_tag.replace(tag.into()).is_some(),
                ("early-only", None) => std::mem::replace(&mut read.early, Early::Only) == Early::Only,
                ("from-tag" | "to-tag" | "early-only" | "", _) => true,
                (_, Some(other)) => other.contains(','),
                (other, None) => other.contains(','),
            };
            if twice || count >= MAX_PARAMS {
                return Err(Refusal::ReplacesMalformed);
            }
        }
        Ok(read)
    }

    /// Whether it names the dialog of this Call-ID, with this tag of ours and that of theirs.
    #[must_use]
    pub fn names(&self, (call_id, ours, theirs): (&str, &str, &str), mode: ReplacesMode) -> bool {
        *self.call_id == *call_id && tags_fit(self, (ours, theirs), mode)
    }

    /// The token in it, where the Call-ID is one that we minted. Redeem it with
    /// [`Identifiers::redeem`](super::identifier::Identifiers::redeem); such a value is not for [`find`].
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        Token::read(&self.call_id)
    }
}

/// A leg that Replaces may mean, as our side sees its dialog.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The leg.
    pub leg: LegKey,
    /// Its Call-ID.
    pub call_id: &'a str,
    /// Our tag.
    pub local_tag: &'a str,
    /// The device's tag; empty while it is unknown.
    pub remote_tag: &'a str,
    /// How far the dialog is.
    pub phase: Phase,
    /// Whose leg it is; `None` for a trunk.
    pub owner: Option<&'a DeviceKey>,
}

/// The state of a candidate's dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It rings at the device: we sent the INVITE.
    EarlyByUs,
    /// The device called and is not answered yet.
    EarlyByThem,
    /// Answered.
    Confirmed,
    /// Over; kept for a while so that a late Replaces is told so.
    Terminated,
}

/// What Replaces means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An answered leg of another device of the user: a pull.
    Move(LegKey),
    /// A leg that rings at another device of the user: a pickup.
    Pickup(LegKey),
    /// The sender's own answered leg: it repairs it after a network change, which is no move (no hold-off).
    Repair(LegKey),
}

/// Matches `wanted` with the legs of `by`'s user among `candidates`. Pure, and without an early way out.
///
/// # Errors
/// As RFC 3891 section 3: [`Refusal::DialogUnknown`] (481; also whatever belongs to somebody else),
/// [`Refusal::DialogTerminated`] (603), [`Refusal::EarlyOnly`] (486).
pub fn find<'a>(
    wanted: &Replaces,
    by: &DeviceKey,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    mode: ReplacesMode,
) -> Result<Found, Refusal> {
    let mut found: Option<Candidate<'a>> = None;
    let mut matches = 0_usize;
    for candidate in candidates {
        let owned = candidate.owner.is_some_and(|owner| owner.user() == by.user());
        let same = wanted.names((candidate.call_id, candidate.local_tag, candidate.remote_tag), mode);
        if owned & same & (mode != ReplacesMode::Off) {
            matches += 1;
            // A dialog that is over does not make one that lives ambiguous.
            match &found {
                Some(kept) if kept.phase == Phase::Terminated => (found, matches) = (Some(candidate), 1),
                Some(_) if candidate.phase == Phase::Terminated => matches -= 1,
                _ => found = Some(candidate),
            }
        }
    }
    match found {
        // RFC 3891 section 3: more than one match is no match.
        Some(leg) if matches == 1 => judge(wanted, by, &leg, mode),
        _ => Err(Refusal::DialogUnknown),
    }
}

fn judge(
    wanted: &Replaces,
    by: &DeviceKey,
    leg: &Candidate<'_>,
    mode: ReplacesMode,
) -> Result<Found, Refusal> {
    match leg.phase {
        Phase::Terminated => Err(Refusal::DialogTerminated),
        // "an early dialog that was not initiated by this UA": 481.
        Phase::EarlyByThem => Err(Refusal::DialogUnknown),
        Phase::EarlyByUs => Ok(Found::Pickup(leg.leg)),
        Phase::Confirmed if wanted.early == Early::Only && mode == ReplacesMode::Strict => {
            Err(Refusal::EarlyOnly)
        }
        Phase::Confirmed if leg.owner == Some(by) => Ok(Found::Repair(leg.leg)),
        Phase::Confirmed => Ok(Found::Move(leg.leg)),
    }
}

/// RFC 3891 section 3: to-tag with our local tag, from-tag with our remote tag; a tag of `0` also means none
/// (RFC 2543 peers). Lenient: a tag that is missing or `0` fits, and the two may be swapped; a tag that is there
/// and fits neither way does not.
fn tags_fit(wanted: &Replaces, (ours, theirs): (&str, &str), mode: ReplacesMode) -> bool {
    let strict = |tag: &Option<Box<str>>, known: &str| match tag.as_deref() {
        Some("0") => known.is_empty() || known == "0",
        Some(tag) => tag == known,
        None => false,
    };
    let lenient = |tag: &Option<Box<str>>, known: &str| match tag.as_deref() {
        None | Some("0") => true,
        Some(tag) => tag == known,
    };
    match mode {
        ReplacesMode::Strict => strict(&wanted.to_tag, ours) & strict(&wanted.from_tag, theirs),
        ReplacesMode::Lenient | ReplacesMode::Off => {
            let straight = lenient(&wanted.to_tag, ours) & lenient(&wanted.from_tag, theirs);
            let swapped = lenient(&wanted.to_tag, theirs) & lenient(&wanted.from_tag, ours);
            straight | swapped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEG: LegKey = LegKey(7);

    fn parse(value: &str) -> Result<Replaces, Refusal> {
        Replaces::parse(value)
    }

    fn outcome(value: &str, by: &str, phase: Phase, mode: ReplacesMode) -> Result<Found, Refusal> {
        let desk = DeviceKey::new("alice", "desk");
        let (user, device) = by.split_once('*').unwrap();
        let leg = Candidate {
            leg: LEG,
            call_id: "c1@h",
            local_tag: "ours",
            remote_tag: "theirs",
            phase,
            owner: Some(&desk),
        };
        find(&parse(value)?, &DeviceKey::new(user, device), [leg], mode)
    }

    const EXACT: &str = "c1@h;to-tag=ours;from-tag=theirs";

    #[test]
    fn several_elsewhere_or_with_join_is_400() {
        let value = "c@h;from-tag=a;to-tag=b";
        assert_eq!(read("INVITE", [], 0), Ok(None));
        assert!(read("INVITE", [value], 0).unwrap().is_some());
        for (method, lines, joins) in [
            ("INVITE", vec![value, value], 0),
            ("REFER", vec![value], 0),
            ("invite", vec![value], 0),
            ("INVITE", vec![value], 1),
            ("INVITE", vec![], 1),
        ] {
            assert_eq!(
                read(method, lines.iter().copied(), joins),
                Err(Refusal::ReplacesMalformed),
                "{method}"
            );
        }
    }

    #[test]
    fn values_are_read_or_refused() {
        let read = parse(" 425928@bobster.example ; to-tag = 7743 ;from-tag=6472;EARLY-ONLY;x=y").unwrap();
        assert_eq!((&*read.call_id, read.to_tag.as_deref()), ("425928@bobster.example", Some("7743")));
        assert_eq!((read.from_tag.as_deref(), read.early), (Some("6472"), Early::Only));
        assert_eq!(parse("only@callid").unwrap().from_tag, None);
        for bad in [
            "",
            ";from-tag=a;to-tag=b",
            "a b;from-tag=a;to-tag=b",
            "c;to-tag=a;to-tag=b",
            "c;from-tag=;to-tag=b",
            "c;early-only;early-only",
            "c;early-only=1",
            "c;from-tag=a;to-tag=b,d;from-tag=e;to-tag=f",
            "c,d;from-tag=a",
            "c;;",
            "c\u{7f};to-tag=a",
        ] {
            assert_eq!(parse(bad), Err(Refusal::ReplacesMalformed), "{bad:?}");
        }
        assert!(parse(&"x".repeat(MAX_VALUE + 1)).is_err());
        assert!(parse(&format!("c{}", ";a=b".repeat(MAX_PARAMS + 1))).is_err());
    }

    #[test]
    fn strict_is_rfc_3891_section_3() {
        use Phase::*;
        let strict = |value, phase| outcome(value, "alice*mobile", phase, ReplacesMode::Strict);
        assert_eq!(strict(EXACT, Confirmed), Ok(Found::Move(LEG)));
        assert_eq!(strict(EXACT, EarlyByUs), Ok(Found::Pickup(LEG)));
        assert_eq!(strict(EXACT, EarlyByThem), Err(Refusal::DialogUnknown));
        assert_eq!(strict(EXACT, Terminated), Err(Refusal::DialogTerminated));
        let early = "c1@h;to-tag=ours;from-tag=theirs;early-only";
        assert_eq!(strict(early, Confirmed), Err(Refusal::EarlyOnly));
        assert_eq!(strict(early, EarlyByUs), Ok(Found::Pickup(LEG)));
        for other in [
            "c2@h;to-tag=ours;from-tag=theirs",
            "C1@h;to-tag=ours;from-tag=theirs",
            "c1@h;to-tag=theirs;from-tag=ours",
            "c1@h;to-tag=ours",
            "c1@h;from-tag=theirs",
            "c1@h;to-tag=ours;from-tag=0",
            "c1@h",
        ] {
            assert_eq!(strict(other, Confirmed), Err(Refusal::DialogUnknown), "{other}");
        }
        assert_eq!(Refusal::DialogUnknown.status(), 481);
        assert_eq!(Refusal::DialogTerminated.status(), 603);
        assert_eq!(Refusal::EarlyOnly.status(), 486);
    }

    #[test]
    fn lenient_understands_what_phones_send() {
        for value in [
            EXACT,
            "c1@h",
            "c1@h;to-tag=0",
            "c1@h;to-tag=0;from-tag=0",
            "c1@h;to-tag=theirs;from-tag=ours",
            "c1@h;to-tag=ours;from-tag=theirs;early-only",
            "c1@h;from-tag=ours",
        ] {
            assert_eq!(
                outcome(value, "alice*mobile", Phase::Confirmed, ReplacesMode::Lenient),
                Ok(Found::Move(LEG)),
                "{value}"
            );
        }
        for value in
            ["c1@h;to-tag=x", "c1@h;to-tag=ours;from-tag=x", "c1@h;to-tag=ours;from-tag=ours", "c9@h"]
        {
            assert_eq!(
                outcome(value, "alice*mobile", Phase::Confirmed, ReplacesMode::Lenient),
                Err(Refusal::DialogUnknown),
                "{value}"
            );
        }
    }

    #[test]
    fn a_stranger_learns_nothing_whatever_the_state() {
        for phase in [Phase::EarlyByUs, Phase::EarlyByThem, Phase::Confirmed, Phase::Terminated] {
            for mode in [ReplacesMode::Strict, ReplacesMode::Lenient, ReplacesMode::Off] {
                for value in [EXACT, "c1@h;to-tag=ours;from-tag=theirs;early-only", "nothing@like;it=x"] {
                    assert_eq!(outcome(value, "mallory*desk", phase, mode), Err(Refusal::DialogUnknown));
                }
            }
        }
    }

    #[test]
    fn an_own_leg_is_repaired_and_off_is_off() {
        assert_eq!(
            outcome("c1@h;to-tag=0", "alice*desk", Phase::Confirmed, ReplacesMode::Lenient),
            Ok(Found::Repair(LEG))
        );
        assert_eq!(
            outcome(EXACT, "alice*mobile", Phase::Confirmed, ReplacesMode::Off),
            Err(Refusal::DialogUnknown)
        );
    }

    #[test]
    fn several_matches_are_none_but_the_dead_do_not_count() {
        let (desk, by) = (DeviceKey::new("alice", "desk"), DeviceKey::new("alice", "mobile"));
        let leg = |n, phase| Candidate {
            leg: LegKey(n),
            call_id: "c1@h",
            local_tag: "ours",
            remote_tag: "theirs",
            phase,
            owner: Some(&desk),
        };
        let wanted = parse(EXACT).unwrap();
        let find = |legs: Vec<Candidate<'_>>| find(&wanted, &by, legs, ReplacesMode::Strict);
        let (live, dead) = (Phase::Confirmed, Phase::Terminated);
        assert_eq!(find(vec![leg(1, live), leg(2, live)]), Err(Refusal::DialogUnknown));
        assert_eq!(find(vec![leg(1, dead), leg(2, live)]), Ok(Found::Move(LegKey(2))));
        assert_eq!(find(vec![leg(1, live), leg(2, dead)]), Ok(Found::Move(LegKey(1))));
        assert_eq!(find(vec![leg(1, dead), leg(2, dead)]), Err(Refusal::DialogTerminated));
        let trunk = Candidate { owner: None, ..leg(1, live) };
        assert_eq!(find(vec![trunk]), Err(Refusal::DialogUnknown));
    }
}
