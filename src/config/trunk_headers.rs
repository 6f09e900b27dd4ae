//! `[[trunk.header]]`: headers that an operator writes to a trunk, or takes from what passes.

use super::numbers::DIRECTIONS;
use super::tree::Section;
use crate::call::header_rules::{Deed, HeaderRule, check_name, check_value};

/// They are looked at for each call.
const MAX_RULES: usize = 32;

pub(super) fn read(trunk: &mut Section<'_>) -> Vec<HeaderRule> {
    trunk.each_of("header", MAX_RULES, rule)
}

fn rule(mut section: Section<'_>) -> Option<HeaderRule> {
    let name = section.read_needed("name", |text| check_name(text).map(|()| Box::<str>::from(text)));
    let direction = section.choice_needed("direction", &DIRECTIONS);
    let said = ["set", "add", "remove"].iter().filter(|key| section.has(key)).count();
    if said != 1 {
        section.fault("set", "one of set, add and remove is needed");
    }
    let name = name.map(|taken| taken.value);
    let value =
        |text: &str| check_value(name.as_deref().unwrap_or_default(), text).map(|()| Box::<str>::from(text));
    let set = section.read("set", value).map(|taken| Deed::Set(taken.value));
    let add = section.read("add", value).map(|taken| Deed::Add(taken.value));
    let remove = section.flag("remove");
    if remove == Some(false) {
        section.fault("remove", "can be true only: leave the rule out");
    }
    section.finish();
    let deed = set.or(add).or(remove.map(|_| Deed::Remove));
    Some(HeaderRule { direction: direction?, name: name?, deed: deed? })
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

    fn rule(direction: &str, name: &str, deed: &str) -> String {
        format!("[[trunk.header]]\ndirection = \"{direction}\"\nname = \"{name}\"\n{deed}\n")
    }

    #[test]
    fn rules_are_kept_in_their_order() {
        let text = rule("out", "X-Account", "set = \"${caller}\"")
            + &rule("in", "P-Charge-Info", "remove = true")
            + &rule("out", "Subject", "add = \"hello\"");
        let resolved = resolve(&text).unwrap();
        let shown: Vec<String> = resolved.trunks[0]
            .policy
            .headers
            .iter()
            .map(|rule| format!("{} {} {}", rule.direction, rule.name, rule.deed))
            .collect();
        assert_eq!(
            shown,
            ["out X-Account set ${caller}", "in P-Charge-Info remove", "out Subject add hello"]
        );
    }

    #[test]
    fn each_fault_of_a_header_names_its_line() {
        let set = "set = \"x\"";
        for (text, wanted) in [
            (
                rule("out", "Via", set),
                "segue.toml:8: trunk[0].header[0].name: `Via`: is written by the node alone",
            ),
            (
                rule("out", "Diversion", set),
                "segue.toml:8: trunk[0].header[0].name: `Diversion`: is written as diversion",
            ),
            (rule("out", "X Y", set), "segue.toml:8: trunk[0].header[0].name: `X Y`: is no name of a header"),
            (rule("up", "X-Y", set), "segue.toml:7: trunk[0].header[0].direction: `up`: must be out or in"),
            (
                rule("out", "X-Y", ""),
                "segue.toml:6: trunk[0].header[0].set: one of set, add and remove is needed",
            ),
            (
                rule("out", "X-Y", "set = \"x\"\nremove = true"),
                "segue.toml:6: trunk[0].header[0].set: one of set, add and remove is needed",
            ),
            (
                rule("out", "X-Y", "remove = false"),
                "segue.toml:6: trunk[0].header[0].remove: can be true only",
            ),
            (
                rule("out", "X-Y", "add = \"a\\r\\nVia: b\""),
                "segue.toml:9: trunk[0].header[0].add: `a\r\nVia: b`: 1 to 256 characters without control",
            ),
            (
                rule("out", "X-Y", "add = \"${x}\""),
                "segue.toml:9: trunk[0].header[0].add: `${x}`: `${x}` is none of",
            ),
            (
                rule("in", "Alert-Info", "set = \"<http://x>;info=alert-autoanswer\""),
                "segue.toml:9: trunk[0].header[0].set: `<http://x>;info=alert-autoanswer`: makes phones answer",
            ),
            (rule("out", "X-Y", set).repeat(33), "segue.toml:3: trunk[0].header: at most 32 are possible"),
        ] {
            let found = resolve(&text).unwrap_err();
            assert!(
                found.iter().any(|fault| fault.starts_with(wanted)),
                "{text}\nwanted {wanted}\nfound  {found:#?}"
            );
        }
    }
}
