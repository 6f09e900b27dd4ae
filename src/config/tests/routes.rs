//! Rules of the dial plan and groups: what is right, and what is wrong with its line.

use super::*;
use crate::call::calendar::Clock;
use crate::call::rules::{Goal, Ring, Source};

/// Two trunks, a group and test numbers; what follows begins in line 23.
fn plan(more: &str) -> String {
    small(&format!(
        "[[trunk]]\nname = \"out\"\nuri = \"sip:192.0.2.1\"\n[[trunk]]\nname = \"in\"\nuri = \"sip:192.0.2.2\"\n\
         [[group]]\nname = \"sales\"\nmembers = [\"alice\"]\n[test]\necho = \"*43\"\ntone = \"*44\"\n\n\n{more}"
    ))
}

#[test]
fn a_rule_says_all_that_it_can() {
    let all = resolve(WHOLE);
    let rule = &all.routes[1];
    assert_eq!(rule.name.as_deref(), Some("head number"));
    assert_eq!(rule.number.as_ref().map(ToString::to_string).as_deref(), Some("^\\+49301234500$"));
    let sources: Vec<String> = rule.sources.iter().map(ToString::to_string).collect();
    assert_eq!(sources, ["trunk:carrier", "192.0.2.40/31"]);
    let when: Vec<&str> = rule.when.iter().map(|period| period.as_str()).collect();
    assert_eq!(when, ["mon-fri 08:00-18:00", "sat 09:00-12:00"]);
    assert_eq!((rule.clock, rule.overrides), (Clock::Local, false));
    assert_eq!(rule.patience, Some(Duration::from_secs(20)));
    assert_eq!(all.routes[0].sources, [Source::AnyUser, Source::AnyTrunk]);
    let group = &all.groups[0];
    assert_eq!((&*group.name, group.ring, group.timeout), ("sales", Ring::InTurn, Duration::from_secs(15)));
    let members = [Goal::User("alice".into()), Goal::User("bob*desk".into()), Goal::Extension("1003".into())];
    assert_eq!(group.members, members);
}

#[test]
fn what_is_left_out_of_a_rule_holds() {
    let all = resolve(&plan("[[route]]\nto = \"code:*43\"\n"));
    let rule = &all.routes[0];
    assert_eq!((&rule.number, &rule.not, &rule.from), (&None, &None, &None));
    assert!(rule.sources.is_empty() && rule.when.is_empty() && !rule.overrides && rule.patience.is_none());
    assert_eq!((all.groups[0].ring, all.groups[0].timeout), (Ring::All, Duration::from_secs(30)));
    let named = resolve(&plan(
        "[[route]]\nsource = [\"bob\", \"user:trunk\", \"10.0.0.0/8\", \"2001:db8::/32\"]\nto = \"user:alice\"\n",
    ));
    assert_eq!(named.routes[0].sources[..2], [Source::User("bob".into()), Source::User("trunk".into())]);
    assert!(matches!(named.routes[0].sources[3], Source::Network(_)));
}

#[test]
fn each_fault_of_a_rule_names_its_line() {
    for (line, expected) in [
        ("to = [\"trunk:none\"]", "route[0].to[0]: `trunk:none`: there is no such trunk"),
        ("to = \"group:none\"", "route[0].to: `group:none`: there is no such group"),
        ("to = \"code:*45\"", "route[0].to: `code:*45`: is no number of test.echo or test.tone"),
        ("to = \"route:0\"", "route[0].to: `route:0`: a rule leads to targets, not to rules"),
        ("to = \"alice\"", "route[0].to: `alice`: must be trunk:NAME"),
        ("to = \"user:a b\"", "route[0].to: `user:a b`: only letters"),
        ("to = \"extension:12a\"", "route[0].to: `extension:12a`: 1 to 15 digits"),
        ("to = []", "route[0].to: names no target"),
        ("to = \"reject:200\"", "route[0].to: `reject:200`: must be a status from 400 to 699"),
        ("to = \"reject:0486\"", "route[0].to: `reject:0486`: must be a status"),
        ("to = \"reject:407\"", "route[0].to: `reject:407`: 401 and 407 ask for credentials"),
        ("to = [\"reject:486\", \"user:alice\"]", "route[0].to[0]: `reject:486 Busy Here`: ends the call"),
        ("to = [\"user:alice\", \"code:*43\"]", "route[0].to[1]: `code:*43`: answers at once"),
        ("to = [\"trunk:out\", \"trunk:out\"]", "route[0].to[1]: `trunk:out`: is named twice"),
    ] {
        let found = faults(&plan(&format!("[[route]]\n{line}\n")));
        let at = if line.ends_with("[]") { 23 } else { 24 };
        let expected = format!("segue.toml:{at}: {expected}");
        assert!(found.iter().any(|fault| fault.starts_with(&expected)), "{line}: {found:?}\n{expected}");
    }
    for (line, expected) in [
        ("match = \"(\"", "route[0].match: `(`: is no pattern: unclosed group"),
        ("not = \"[\"", "route[0].not: `[`: is no pattern"),
        ("from = \"a{2000000}\"", "route[0].from: `a{2000000}`: is no pattern"),
        ("source = \"trunk:none\"", "route[0].source: `trunk:none`: there is no such trunk"),
        ("source = \"10.0.0.0/33\"", "route[0].source: `10.0.0.0/33`: the prefix is longer"),
        ("source = \"10.0.0.1:5060\"", "route[0].source: `10.0.0.1:5060`: a network has no port here"),
        ("source = \"a b\"", "route[0].source: `a b`: must be user, trunk, trunk:NAME"),
        ("when = \"monday\"", "route[0].when: `monday`: names no day"),
        ("when = [\"mon\", \"25:00-26:00\"]", "route[0].when[1]: `25:00-26:00`: must have its times"),
        ("zone = \"utc\"", "route[0].zone: means nothing without when"),
        ("when = \"mon\"\nzone = \"Europe/Berlin\"", "route[0].zone: `Europe/Berlin`: must be local, utc or"),
        ("timeout_s = 0", "route[0].timeout_s: must be a whole number from 1 to 180"),
        ("name = \"\"", "route[0].name: ``: 1 to 64 characters"),
        ("matches = \"^9\"", "route[0].matches: unknown key"),
    ] {
        let found = faults(&plan(&format!("[[route]]\n{line}\nto = \"user:alice\"\n")));
        let at = 23 + line.lines().count();
        let expected = format!("segue.toml:{at}: {expected}");
        assert!(found.iter().any(|fault| fault.starts_with(&expected)), "{line}: {found:?}\n{expected}");
    }
}

#[test]
fn each_fault_of_a_group_names_its_line() {
    for (line, at, expected) in [
        ("name = \"b\"\nmembers = [\"group:sales\"]", 25, "group[1].members[0]: `group:sales`: is a group"),
        ("name = \"b\"\nmembers = [\"trunk:out\"]", 25, "group[1].members[0]: `trunk:out`: must be a user"),
        ("name = \"b\"\nmembers = [\"a b\"]", 25, "group[1].members[0]: `a b`: only letters"),
        ("name = \"b\"\nmembers = [\"alice*\"]", 25, "group[1].members[0]: `alice*`: 1 to 64"),
        ("name = \"b\"\nmembers = []", 23, "group[1].members: names no member"),
        ("name = \"b\"", 23, "group[1].members: names no member"),
        (
            "name = \"b\"\nmembers = [\"alice\", \"alice\"]",
            23,
            "group[1].members: `user:alice` is a member twice",
        ),
        ("name = \"sales\"\nmembers = [\"alice\"]", 24, "group[1].name: `sales`: is the group at"),
        (
            "name = \"b\"\nmembers = [\"alice\"]\nring = \"random\"",
            26,
            "group[1].ring: `random`: must be all or in-turn",
        ),
        (
            "name = \"b\"\nmembers = [\"alice\"]\ntimeout_s = 181",
            26,
            "group[1].timeout_s: must be a whole number",
        ),
    ] {
        let found = faults(&plan(&format!("[[group]]\n{line}\n")));
        let expected = format!("segue.toml:{at}: {expected}");
        assert!(found.iter().any(|fault| fault.starts_with(&expected)), "{line}: {found:?}\n{expected}");
    }
    let many: Vec<String> = (0..33).map(|n| format!("\"u{n}\"")).collect();
    let found = faults(&plan(&format!("[[group]]\nname = \"b\"\nmembers = [{}]\n", many.join(","))));
    assert!(found[0].contains("at most 32"), "{found:?}");
}

#[test]
fn no_code_stands_before_an_emergency_number() {
    for (section, key, code) in [("test", "echo", "112"), ("move", "code", "11"), ("move", "undo_code", "9")]
    {
        let found = faults(&small(&format!("[{section}]\n{key} = \"{code}\"\n")));
        let expected =
            format!("segue.toml: {section}.{key}: `{code}` would take calls to the emergency number");
        assert!(found.iter().any(|fault| fault.starts_with(&expected)), "{found:?}");
    }
}

#[test]
fn codes_that_came_later_take_no_number_from_who_had_chosen_it() {
    let signs = |more: &str| {
        let codes = resolve(&small(more)).moving.codes;
        (codes.sign_in.unwrap_or_default().into_string(), codes.sign_out.unwrap_or_default().into_string())
    };
    let pair = |sign_in: &str, sign_out: &str| (sign_in.to_owned(), sign_out.to_owned());
    assert_eq!(signs(""), pair("*14", "*15"));
    let whole = resolve(WHOLE).moving;
    assert_eq!(whole.codes.sign_in.zip(whole.codes.sign_out), Some(("*14".into(), "*15".into())));
    assert_eq!(whole.hot_desk, Duration::from_secs(12 * 3600));
    assert_eq!(signs("[move]\nsign_in_code = \"*77\"\nsign_out_code = \"off\"\n"), pair("*77", ""));
    assert_eq!(signs("[move]\nundo_code = \"*14\"\n"), pair("", "*15"));
    assert_eq!(signs("[test]\necho = \"*150\"\n"), pair("*14", ""));
    assert_eq!(signs("[move]\nsign_in_code = \"*15\"\n"), pair("*15", ""));
    for (line, expected) in [
        ("sign_out_code = \"*11\"", ": move.sign_out_code: `*11` cannot be told from `*11` of move.code"),
        ("hot_desk_h = 169", ":10: move.hot_desk_h: must be a whole number from 1 to 168"),
    ] {
        let found = faults(&small(&format!("[move]\n{line}\n")));
        assert!(found[0].starts_with(&format!("segue.toml{expected}")), "{found:?}");
    }
}
