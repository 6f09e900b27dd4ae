//! `[[trunk.rewrite]]` and `caller_id`: how numbers change on their way to a trunk and from it.

use super::routes::pattern;
use super::tree::Section;
use crate::call::numbers::{self, CallerId, Rewrite, Told, Toward, Whose};

/// Rules are looked at one after the other, for each call.
const MAX_RULES: usize = 64;
/// Patterns of numbers that a trunk takes as they are.
const MAX_OWN: usize = 64;

/// `direction`, of rules that hold one way.
pub(super) const DIRECTIONS: [(&str, Toward); 2] = [("out", Toward::Trunk), ("in", Toward::Us)];

pub(super) fn rewrites(trunk: &mut Section<'_>) -> Vec<Rewrite> {
    trunk.each_of("rewrite", MAX_RULES, rewrite)
}

fn rewrite(mut section: Section<'_>) -> Option<Rewrite> {
    let number = section.choice_needed("number", &[("called", Whose::Called), ("calling", Whose::Calling)]);
    let direction = section.choice_needed("direction", &DIRECTIONS);
    let pattern = section.read_needed("match", pattern).map(|taken| taken.value);
    let with = section.read_needed("with", |text| match &pattern {
        Some(pattern) => numbers::check_template(&pattern.0, text).map(|()| Box::<str>::from(text)),
        None => Ok(text.into()),
    });
    let emergency = section.flag("emergency").unwrap_or(false);
    let is_dialled = number == Some(Whose::Called) && direction == Some(Toward::Trunk);
    if emergency && number.is_some() && direction.is_some() && !is_dialled {
        section.fault("emergency", "is for called numbers that go out");
    }
    section.finish();
    Some(Rewrite {
        number: number?,
        direction: direction?,
        pattern: pattern?,
        with: with?.value,
        emergency,
        told: Told::default(),
    })
}

pub(super) fn caller_id(trunk: &mut Section<'_>) -> Option<CallerId> {
    let number = trunk.read("caller_id", |text| match numbers::is_number(text) {
        true => Ok(Box::<str>::from(text)),
        false => Err("must be a number as it stands in a URI, of at most 64 characters"),
    });
    let is_named = trunk.has("caller_ids");
    let own = trunk.read_some("caller_ids", pattern).unwrap_or_default();
    if own.len() > MAX_OWN {
        trunk.fault("caller_ids", format!("at most {MAX_OWN} are possible"));
    }
    if is_named && number.is_none() {
        trunk.fault("caller_ids", "means nothing without caller_id");
    }
    let own = own.into_iter().map(|taken| taken.value).collect();
    Some(CallerId { number: number?.value, own })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Resolved, Source};

    fn resolve(text: &str) -> Result<Resolved, Vec<String>> {
        let (path, head) = (Path::new("segue.toml"), "[node]\ndomain = \"a.example\"\n");
        let text = format!("{head}[[trunk]]\nname = \"c\"\nuri = \"sip:192.0.2.1\"\n{text}");
        let source =
            Source { path, text: &text, variables: &[], hostname: "host", read: &|_| Ok(String::new()) };
        source.resolve().map_err(|faults| faults.0.iter().map(ToString::to_string).collect())
    }

    fn rule(number: &str, direction: &str, pattern: &str, with: &str) -> String {
        format!(
            "[[trunk.rewrite]]\nnumber = \"{number}\"\ndirection = \"{direction}\"\nmatch = '{pattern}'\nwith = \"{with}\"\n"
        )
    }

    #[test]
    fn rules_are_kept_in_their_order_and_so_is_the_number_that_stands_in() {
        let text = format!(
            "caller_id = \"+49301230\"\ncaller_ids = '^\\+4930'\n{}{}emergency = true\n",
            rule("calling", "in", "^\\+49", "0"),
            rule("called", "out", "^(1)1(?<rest>[02])$", "+49${1}1$rest")
        );
        let resolved = resolve(&text).unwrap();
        let trunk = &resolved.trunks[0];
        let shown: Vec<String> = trunk
            .policy
            .rewrites
            .iter()
            .map(|r| format!("{} {} {} {}", r.number, r.direction, r.pattern, r.with))
            .collect();
        assert_eq!(shown, ["calling in ^\\+49 0", "called out ^(1)1(?<rest>[02])$ +49${1}1$rest"]);
        assert!(trunk.policy.rewrites[1].emergency && !trunk.policy.rewrites[0].emergency);
        let caller_id = trunk.policy.caller_id.as_ref().unwrap();
        assert_eq!((&*caller_id.number, caller_id.own.len()), ("+49301230", 1));
        assert_eq!(resolve("").unwrap().trunks[0].policy.caller_id, None);
    }

    #[test]
    fn each_fault_of_a_number_names_its_line() {
        for (text, wanted) in [
            (
                rule("called", "out", "^(0", "+49"),
                "segue.toml:9: trunk[0].rewrite[0].match: `^(0`: is no pattern: ",
            ),
            (
                rule("called", "out", "^0", "$1"),
                "segue.toml:10: trunk[0].rewrite[0].with: `$1`: `$1` is no group",
            ),
            (
                rule("called", "out", "^(0)", "$1a"),
                "segue.toml:10: trunk[0].rewrite[0].with: `$1a`: `$1a` is no group",
            ),
            (
                rule("called", "out", "^0", "a b"),
                "segue.toml:10: trunk[0].rewrite[0].with: `a b`: ` ` cannot stand",
            ),
            (
                rule("dialled", "out", "^0", "1"),
                "segue.toml:7: trunk[0].rewrite[0].number: `dialled`: must be called or",
            ),
            (
                rule("called", "up", "^0", "1"),
                "segue.toml:8: trunk[0].rewrite[0].direction: `up`: must be out or in",
            ),
            (
                rule("called", "in", "^0", "1") + "emergency = true\n",
                "segue.toml:6: trunk[0].rewrite[0].emergency: is for called numbers that go out",
            ),
            (
                rule("called", "in", "^0", "1") + "whit = \"\"\n",
                "segue.toml:11: trunk[0].rewrite[0].whit: unknown key",
            ),
            (
                "[[trunk.rewrite]]\ndirection = \"in\"\nmatch = \"x\"\nwith = \"\"\n".to_owned(),
                "segue.toml:6: trunk[0].rewrite[0].number: is needed",
            ),
            (
                rule("called", "in", "^0", "1").repeat(65),
                "segue.toml:3: trunk[0].rewrite: at most 64 are possible",
            ),
            ("caller_id = \"a b\"\n".to_owned(), "segue.toml:6: trunk[0].caller_id: `a b`: must be a number"),
            (
                "caller_ids = \"^1\"\n".to_owned(),
                "segue.toml:3: trunk[0].caller_ids: means nothing without caller_id",
            ),
        ] {
            let found = resolve(&text).unwrap_err();
            assert!(
                found.iter().any(|fault| fault.starts_with(wanted)),
                "{text}\nwanted {wanted}\nfound  {found:#?}"
            );
        }
    }
}
