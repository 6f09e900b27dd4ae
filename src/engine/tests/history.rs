//! What trunks are told of calls that were diverted, and the headers that operators write to them.

use std::time::Duration;

use super::Early;
use super::identity::{House, house_with, values};
use super::world::leads;
use crate::call::diversion::Tells;
use crate::call::header_rules::{Deed, HeaderRule};
use crate::call::numbers::{CallerId, Rewrite, Told, Toward, Whose};
use crate::call::rules::{Pattern, Rule, Source};
use crate::call::settings::Trunk;

const SECOND: Duration = Duration::from_secs(1);

/// Numbers of the house are 10.. inside and +493012310.. outside.
fn outside_number() -> Rewrite {
    let pattern = Pattern(regex::Regex::new("^10").unwrap());
    let (number, direction, with) = (Whose::Calling, Toward::Trunk, "+493012310".into());
    Rewrite { number, direction, pattern, with, emergency: false, told: Told::default() }
}

/// A call from the carrier to Bob, who has no phone here, goes on to the other trunk; so does one to 7.
fn house(seed: u64, tells: Tells, change: impl FnOnce(&mut [Trunk])) -> House {
    house_with(seed, |settings| {
        let source = || vec![Source::Trunk("outside".into())];
        settings.call.routes = vec![
            Rule { sources: source(), ..leads("^7", &["trunk:other"]) },
            Rule { sources: source(), overrides: true, ..leads("^1002$", &["user:bob", "trunk:other"]) },
            Rule { overrides: true, ..leads("^1001$", &["user:alice", "trunk:other"]) },
            leads("^00", &["trunk:outside"]),
        ];
        settings.call.trunks[1].policy.tells = tells;
        settings.call.trunks[1].policy.rewrites = vec![outside_number()];
        change(&mut settings.call.trunks);
    })
}

const BEFORE: (&str, &str) = ("Diversion", "<sip:+49555@203.0.113.7>;reason=user-busy");

#[test]
fn who_is_not_here_diverts_a_call_and_the_trunk_is_told_in_its_own_form() {
    let ours = "<sip:+49301231002@example.org>;reason=unavailable;counter=1;privacy=off";
    let before = "<sip:+49555@example.org>;reason=user-busy;counter=1;privacy=off";
    let history = [
        "<sip:+49555@example.org>;index=1",
        "<sip:+49301231002@example.org;cause=486>;index=1.1;mp=1",
        "<sip:1002@example.org;cause=503>;index=1.1.1;mp=1.1",
    ];
    for (tells, diversions, entries) in [
        (Tells::Keep, vec!["<sip:+49555@example.org>;reason=user-busy"], vec![]),
        (Tells::Diversion, vec![ours, before], vec![]),
        (Tells::HistoryInfo, vec![], history.to_vec()),
        (Tells::Both, vec![ours, before], history.to_vec()),
        (Tells::Nothing, vec![], vec![]),
    ] {
        let mut house = house(1501, tells, |_| {});
        let (carrier, other) = (house.carrier, house.other);
        let invite = house.invite(carrier, "1002", &[BEFORE], other);
        assert_eq!(values(&invite, "Diversion"), diversions, "{tells:?} {invite}");
        assert_eq!(values(&invite, "History-Info"), entries, "{tells:?} {invite}");
    }
}

#[test]
fn who_does_not_answer_or_is_busy_diverts_a_call_too() {
    for (status, reason) in [(None, "no-answer"), (Some(486), "user-busy")] {
        let mut house = house(1502, Tells::Diversion, |_| {});
        let (carrier, other, alice) = (house.carrier, house.other, house.alice);
        house.world.phones[alice].answer = super::Answer::Ring;
        let line = house.world.phones[carrier].dial("1001");
        house.world.run(SECOND);
        match status {
            Some(status) => house.world.phones[alice].refuse(0, status),
            None => house.world.run(Duration::from_secs(31)),
        }
        house.world.run(SECOND);
        // A rule without `source` leads nobody from a trunk to a trunk.
        assert_eq!(house.got(other).len(), 0);
        house.world.phones[carrier].cancel(line);
        house.world.run(SECOND);
        let bob = house.world.phone("bob", "desk");
        house.world.phones[bob].dial("1001");
        house.world.run(SECOND);
        let last = house.world.phones[alice].lines.len() - 1;
        match status {
            Some(status) => house.world.phones[alice].refuse(last, status),
            None => house.world.run(Duration::from_secs(31)),
        }
        house.world.run(SECOND);
        let got = house.got(other);
        let invite = got.iter().find(|text| text.starts_with("INVITE ")).unwrap();
        let told = format!("<sip:+49301231001@example.org>;reason={reason};counter=1;privacy=off");
        assert_eq!(values(invite, "Diversion"), [told], "{invite}");
        assert!(values(invite, "From")[0].contains("<sip:+49301231002@"), "{invite}");
    }
}

#[test]
fn a_forwarded_call_shows_who_really_calls_and_by_whose_number_it_came() {
    let fixed = CallerId { number: "+49301230".into(), own: vec![] };
    for (tells, caller, diversions) in [
        (
            Tells::Diversion,
            "+4989777",
            vec!["<sip:+49301230@example.org>;reason=unconditional;counter=1;privacy=off"],
        ),
        (Tells::Keep, "+49301230", vec![]),
    ] {
        let mut house = house(1503, tells, |trunks| trunks[1].policy.caller_id = Some(fixed.clone()));
        let (carrier, other) = (house.carrier, house.other);
        let invite = house.invite(carrier, "7", &[], other);
        assert!(values(&invite, "From")[0].contains(&format!("<sip:{caller}@")), "{invite}");
        assert_eq!(values(&invite, "Diversion"), diversions, "{invite}");
    }
    let private = [BEFORE, ("Privacy", "id")];
    for (trust, count) in
        [(crate::call::headers::Trust::Trusted, 2), (crate::call::headers::Trust::Untrusted, 0)]
    {
        let mut house = house(1504, Tells::Both, |trunks| trunks[1].policy.trust = trust);
        let (carrier, other) = (house.carrier, house.other);
        let invite = house.invite(carrier, "7", &private, other);
        assert_eq!(values(&invite, "Diversion").len(), count, "{invite}");
        assert_eq!(values(&invite, "History-Info").len(), count + count.min(1), "{invite}");
    }
}

fn rule(direction: Toward, name: &str, deed: Deed) -> HeaderRule {
    HeaderRule { direction, name: name.into(), deed }
}

#[test]
fn headers_are_written_to_a_trunk_and_taken_from_what_passes() {
    let set = |value: &str| Deed::Set(value.into());
    let mut house = house(1505, Tells::Keep, |trunks| {
        trunks[0].policy.headers = vec![
            rule(Toward::Us, "X-Score", Deed::Remove),
            rule(Toward::Us, "Subject", set("from outside")),
            rule(Toward::Us, "X-Both", set("in")),
            rule(Toward::Trunk, "X-Answer", set("${call}")),
        ];
        trunks[1].policy.headers = vec![
            rule(Toward::Trunk, "X-Account", set("acct=${caller};to=${called}")),
            rule(Toward::Trunk, "X-Secret", Deed::Remove),
            rule(Toward::Trunk, "X-Both", set("out")),
            rule(Toward::Trunk, "X-More", Deed::Add("second".into())),
        ];
    });
    let (carrier, other, alice) = (house.carrier, house.other, house.alice);
    let said = [
        ("X-Score", "99"),
        ("s", "hello"),
        ("X-Account", "forged"),
        ("x-secret", "1"),
        ("X-Both", "theirs"),
        ("X-More", "first"),
        ("X-Other", "stays"),
    ];
    let invite = house.invite(carrier, "7", &said, other);
    assert_eq!(values(&invite, "X-Account"), ["acct=+4989777;to=7"], "{invite}");
    assert_eq!(values(&invite, "X-More"), ["first", "second"], "{invite}");
    assert_eq!((values(&invite, "X-Both"), values(&invite, "X-Other")), (vec!["out"], vec!["stays"]));
    assert_eq!((values(&invite, "Subject"), values(&invite, "s")), (vec!["from outside"], vec![]));
    assert!(!invite.contains("X-Score") && !invite.to_lowercase().contains("secret"), "{invite}");
    let invite = house.invite(carrier, "alice", &said, alice);
    assert_eq!(values(&invite, "x-secret"), ["1"], "that is the other trunk's rule: {invite}");
    assert_eq!((values(&invite, "X-Both"), values(&invite, "X-Account")), (vec!["in"], vec!["forged"]));
    // The carrier's answers have its own.
    let ids: Vec<String> = house.world.records.iter().map(|record| record.id.clone()).collect();
    let answers = house.got(carrier);
    let answers =
        answers.iter().filter(|text| text.starts_with("SIP/2.0 200") && text.contains(" INVITE\r\n"));
    let told: Vec<&str> = answers.flat_map(|text| values(text, "X-Answer")).collect();
    assert_eq!(told, ids);
}

/// Ports whose packets go anywhere.
fn routed(house: &House) -> usize {
    house.world.routes.values().filter(|sinks| !sinks.is_empty()).count()
}

#[test]
fn what_a_trunk_plays_before_it_answers_may_be_kept_from_callers() {
    for early in [Early::Unreliable, Early::Reliable, Early::Settled] {
        for (is_mute, heard) in [(false, 183), (true, 180)] {
            let mut house = house(1506, Tells::Keep, |trunks| trunks[0].policy.is_mute_early = is_mute);
            let (alice, carrier) = (house.alice, house.carrier);
            let phone = &mut house.world.phones[carrier];
            (phone.early, phone.answer) = (early, super::Answer::Ring);
            let line = house.world.phones[alice].dial("0049");
            house.world.run(SECOND);
            let progress = &house.world.phones[alice].progress;
            let said: Vec<u16> =
                progress.iter().map(|said| said.status).filter(|status| *status != 100).collect();
            assert_eq!(said[0], heard, "{early:?} {}", house.world.tail());
            assert_eq!(progress.iter().any(|said| !said.body.is_empty()), !is_mute, "{early:?}");
            assert_eq!(routed(&house) > 0, !is_mute, "{early:?}: nobody hears anything yet");
            house.world.phones[carrier].pick_up(0);
            house.world.run(SECOND);
            assert!(house.world.phones[alice].lines[line].is_up, "{early:?} {}", house.world.tail());
            assert_eq!(routed(&house), 2, "{early:?}: both hear each other then");
            house.world.phones[alice].bye(line);
            house.world.run(Duration::from_secs(120));
            house.world.check_idle();
        }
    }
}
