//! Numbers as a trunk has them: the rules by which the called and the calling number change on their way out to it and in
//! from it. Without rules nothing is looked at.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regex::Regex;

use super::core::Core;
use super::dial_plan::is_emergency;
use super::model::Party;
use super::rules::Pattern;
use super::settings::Trunk;
use crate::wire::sip::Message;

/// Longest number that a rule may make: E.164 has 15 digits, the rest is parameters of RFC 4694.
pub const MAX_NUMBER: usize = 64;

/// What may stand in a number: the user part of RFC 3261 25.1 but for `?` and `/`, which peers take for its end, and `$`;
/// and `#`, which is escaped on the wire.
#[must_use]
pub fn may_stand(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.!~*'()&=+,;#".contains(letter)
}

/// Whether it can be a number: not empty, not too long, nothing in it that a user part cannot have.
#[must_use]
pub fn is_number(text: &str) -> bool {
    (1..=MAX_NUMBER).contains(&text.len()) && text.chars().all(may_stand)
}

/// Whose number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// Who is called.
    Called,
    /// Who calls.
    Calling,
}

/// Which way a call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Toward {
    /// `out`: to the trunk.
    Trunk,
    /// `in`: from it.
    Us,
}

/// One rule of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Whose number it is for.
    pub number: Whose,
    /// Of which calls.
    pub direction: Toward,
    /// What it looks for in the number.
    pub pattern: Pattern,
    /// What takes the place of that, with `$1` and `${name}` for the groups of the pattern.
    pub with: Box<str>,
    /// Whether it is for emergency numbers, too.
    pub emergency: bool,
    /// Whether it was told already that it makes no number.
    pub told: Told,
}

/// Whether something was logged; no part of what a rule is.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<AtomicBool>);

impl PartialEq for Told {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Told {}

/// The number that a trunk is shown where the caller's own is none of those that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerId {
    /// It.
    pub number: Box<str>,
    /// Numbers that the trunk takes as they are.
    pub own: Vec<Pattern>,
}

impl Rewrite {
    /// What it makes of a number that it fits; `None` where that would be no number.
    fn apply(&self, number: &str) -> Option<Box<str>> {
        let made = self.pattern.0.replace(number, &*self.with);
        is_number(&made).then(|| made.into())
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Called { "called" } else { "calling" })
    }
}

impl fmt::Display for Toward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Trunk { "out" } else { "in" })
    }
}

/// Whether the references of `with` are groups of `pattern`, and whether what stands between them may be in a number.
///
/// # Errors
/// What is wrong, for whoever wrote it.
pub fn check_template(pattern: &Regex, with: &str) -> Result<(), String> {
    let mut plain = 0;
    let mut rest = with;
    while let Some(first) = rest.chars().next() {
        let Some(behind) = rest.strip_prefix('$') else {
            if !may_stand(first) {
                return Err(format!("`{first}` cannot stand in a number"));
            }
            plain += first.len_utf8();
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        };
        let (name, after) = match behind.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or("a `{` is not closed")?,
            None => {
                let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                behind.split_at(behind.find(|c| !is_of_name(c)).unwrap_or(behind.len()))
            }
        };
        let is_group = match name.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|known| known == name),
        };
        if !is_group {
            let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
            let hint = match name.split_at_checked(digits).filter(|(number, _)| !number.is_empty()) {
                Some((number, text)) => format!(" (`${{{number}}}{text}` is group {number} and `{text}`)"),
                None => String::new(),
            };
            return Err(format!("`${name}` is no group of match{hint}"));
        }
        rest = after;
    }
    if plain > MAX_NUMBER {
        return Err(format!("makes more than {MAX_NUMBER} characters"));
    }
    Ok(())
}

impl Trunk {
    /// What the first rule that fits makes of a number; `None` where it stays.
    #[must_use]
    pub fn rewritten(&self, whose: Whose, direction: Toward, number: &str) -> Option<Box<str>> {
        // Who calls for help gets through whatever a rule does, unless it says that it knows.
        let is_urgent = !self.policy.rewrites.is_empty() && whose == Whose::Called && is_emergency(number);
        let mut rules =
            self.policy.rewrites.iter().filter(|rule| rule.number == whose && rule.direction == direction);
        let rule = rules.find(|rule| (rule.emergency || !is_urgent) && rule.pattern.0.is_match(number))?;
        let made = rule.apply(number);
        if made.is_none() && !rule.told.0.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                trunk = &*self.name,
                "the rewrite of {whose} numbers {direction} by `{}` makes no number of one that it fits; that stays as it is",
                rule.pattern
            );
        }
        made.filter(|made| **made != *number)
    }

    /// The calling number that the trunk is shown; `None` where it is the caller's own.
    #[must_use]
    pub fn shown_caller(&self, number: &str) -> Option<Box<str>> {
        let made = self.rewritten(Whose::Calling, Toward::Trunk, number);
        let Some(caller_id) = &self.policy.caller_id else { return made };
        let shown = made.as_deref().unwrap_or(number);
        if caller_id.own.iter().any(|own| own.0.is_match(shown)) {
            return made;
        }
        Some(caller_id.number.clone()).filter(|fixed| **fixed != *number)
    }

    /// Whether it may be shown another caller than who calls.
    #[must_use]
    pub fn changes_caller(&self) -> bool {
        let is_of_caller = |rule: &Rewrite| rule.number == Whose::Calling && rule.direction == Toward::Trunk;
        self.policy.caller_id.is_some() || self.policy.rewrites.iter().any(is_of_caller)
    }
}

impl Core {
    /// The number of who calls, as rules of its trunk make it; `None` where that is the one which it says.
    #[must_use]
    pub fn caller_here(&self, party: &Party, message: &Message) -> Option<Box<str>> {
        let trunk = self.trunk(party).filter(|trunk| !trunk.policy.rewrites.is_empty())?;
        trunk.rewritten(Whose::Calling, Toward::Us, &self.said_number(party, message))
    }

    /// The number of who calls, as the dial plan, users and records know it.
    #[must_use]
    pub fn caller_number(&self, party: &Party, message: &Message) -> String {
        self.caller_here(party, message).map_or_else(|| self.said_number(party, message), String::from)
    }

    /// What a trunk calls a number that it dials here; `None` where that stays.
    #[must_use]
    pub fn called_here(&self, trunk: usize, number: &str) -> Option<Box<str>> {
        self.settings.trunks.get(trunk)?.rewritten(Whose::Called, Toward::Us, number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::Policy;
    use super::*;

    fn rule(number: Whose, direction: Toward, pattern: &str, with: &str) -> Rewrite {
        Rewrite {
            number,
            direction,
            pattern: Pattern(Regex::new(pattern).unwrap()),
            with: with.into(),
            emergency: false,
            told: Told::default(),
        }
    }

    fn trunk(rewrites: Vec<Rewrite>) -> Trunk {
        let policy = Policy { rewrites, ..Policy::default() };
        Trunk { name: "carrier".into(), policy, ..Trunk::default() }
    }

    #[test]
    fn the_first_rule_that_fits_makes_the_number() {
        use Toward::{Trunk as Out, Us as In};
        use Whose::{Called, Calling};
        let carrier = trunk(vec![
            rule(Called, Out, "^00", "+"),
            rule(Called, Out, "^0(?<rest>[1-9].*)$", "+49${rest}"),
            rule(Called, Out, "^0", "never"),
            rule(Calling, Out, r"^1(\d\d\d)$", "+4930123$1"),
            rule(Called, In, r"^\+4930123(\d{4})$", "$1"),
            rule(Calling, In, r"^\+49", "0"),
        ]);
        for (whose, direction, number, made) in [
            (Called, Out, "004420", Some("+4420")),
            (Called, Out, "030123", Some("+4930123")),
            (Called, Out, "+4930", None),
            (Called, In, "030123", None),
            (Calling, Out, "1001", Some("+4930123001")),
            (Calling, Out, "alice", None),
            (Called, In, "+49301231001", Some("1001")),
            (Calling, In, "+4989", Some("089")),
            (Calling, In, "+4489", None),
        ] {
            assert_eq!(carrier.rewritten(whose, direction, number).as_deref(), made, "{whose} {number}");
        }
    }

    #[test]
    fn what_would_be_no_number_leaves_it_as_it_is() {
        let long = "1".repeat(MAX_NUMBER);
        for (pattern, with, number) in [
            ("^9$", "", "9"),
            ("^(.*)$", "9$1", &*long),
            ("^9", "", "9 space"),
            ("^9", "", "9<x"),
            ("^", "", "9@h"),
        ] {
            let carrier = trunk(vec![rule(Whose::Called, Toward::Trunk, pattern, with)]);
            assert_eq!(carrier.rewritten(Whose::Called, Toward::Trunk, number), None, "{number}");
            assert!(carrier.policy.rewrites[0].told.0.load(Ordering::Relaxed), "{number}");
        }
        let carrier = trunk(vec![rule(Whose::Called, Toward::Trunk, "^9", "")]);
        assert_eq!(carrier.rewritten(Whose::Called, Toward::Trunk, "9112").as_deref(), Some("112"));
        assert_eq!(carrier.rewritten(Whose::Called, Toward::Trunk, "#31#9"), None);
    }

    #[test]
    fn emergency_numbers_stay_unless_a_rule_says_that_it_is_for_them() {
        for number in super::super::dial_plan::EMERGENCY {
            let mut carrier = trunk(vec![rule(Whose::Called, Toward::Trunk, "^", "+49")]);
            carrier.policy.rewrites.push(rule(Whose::Called, Toward::Us, "^", "9"));
            assert_eq!(carrier.rewritten(Whose::Called, Toward::Trunk, number), None);
            assert_eq!(carrier.rewritten(Whose::Called, Toward::Us, number), None);
            carrier.policy.rewrites[0].emergency = true;
            let made = carrier.rewritten(Whose::Called, Toward::Trunk, number).unwrap();
            assert_eq!(*made, *format!("+49{number}"));
            // A calling number that looks like one is not dialled by anybody.
            carrier.policy.rewrites.insert(0, rule(Whose::Calling, Toward::Trunk, "^", "+49"));
            assert!(carrier.rewritten(Whose::Calling, Toward::Trunk, number).is_some());
        }
    }

    #[test]
    fn a_fixed_number_stands_in_for_those_that_the_trunk_does_not_take() {
        let own = vec![Pattern(Regex::new(r"^\+4930123\d{1,4}$").unwrap())];
        let mut carrier = trunk(vec![rule(Whose::Calling, Toward::Trunk, r"^1(\d{3})$", "+49301231$1")]);
        carrier.policy.caller_id = Some(CallerId { number: "+49301230".into(), own });
        for (number, shown) in [
            ("1001", Some("+493012310".to_owned() + "01")),
            ("+4930123777", None),
            ("alice", Some("+49301230".to_owned())),
            ("+4420", Some("+49301230".to_owned())),
            ("+49301230", None),
        ] {
            assert_eq!(carrier.shown_caller(number).as_deref(), shown.as_deref(), "{number}");
        }
    }

    #[test]
    fn a_template_names_groups_that_there_are() {
        let pattern = Regex::new(r"^0(\d)(?<rest>.*)$").unwrap();
        for with in ["", "+49$1", "$1$2", "${rest}", "$0", "+49${1}00${rest}", "$rest", "*#"] {
            assert_eq!(check_template(&pattern, with), Ok(()), "{with}");
        }
        for (with, why) in [
            ("$3", "`$3` is no group of match"),
            ("$1a", "`$1a` is no group of match (`${1}a` is group 1 and `a`)"),
            ("+49$", "`$` is no group of match"),
            ("$$1", "`$` is no group of match"),
            ("${1", "a `{` is not closed"),
            ("+49 $1", "` ` cannot stand in a number"),
            ("sip:$1", "`:` cannot stand in a number"),
            ("$1@host", "`@` cannot stand in a number"),
        ] {
            assert_eq!(check_template(&pattern, with), Err(why.to_owned()), "{with}");
        }
        let long = "1".repeat(MAX_NUMBER + 1);
        assert_eq!(check_template(&pattern, &long), Err("makes more than 64 characters".to_owned()));
    }
}
