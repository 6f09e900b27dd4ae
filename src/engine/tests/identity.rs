//! Who is shown to whom over trunks, and that neither side learns where the other one is.

use std::time::Duration;

use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, Early, World};
use crate::call::header_rules::{Deed, HeaderRule};
use crate::call::headers::Trust;
use crate::call::identity::Shows;
use crate::call::numbers::{Rewrite, Told, Toward, Whose};
use crate::call::rules::{Pattern, Rule, Source};
use crate::call::settings::Trunk;
use crate::engine::Settings;
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TRUNK: &str = "203.0.113.7:5060";
const OTHER: &str = "203.0.113.8:5060";

/// Alice, and a carrier; numbers that begin with 00 go there, those of the carrier that begin with 7 to another one.
pub(super) struct House {
    pub(super) world: World,
    pub(super) alice: usize,
    pub(super) carrier: usize,
    pub(super) other: usize,
}

fn house(seed: u64, change: impl FnOnce(&mut [Trunk])) -> House {
    house_with(seed, |settings| change(&mut settings.call.trunks))
}

pub(super) fn house_with(seed: u64, change: impl FnOnce(&mut Settings)) -> House {
    let mut settings = settings();
    let mut other = trunk_to(&mut settings, TRUNK.parse().unwrap()).clone();
    (other.name, other.host) = ("other".into(), "other.example".into());
    other.targets[0].peer = OTHER.parse().unwrap();
    other.from[0].network = other.targets[0].peer.ip();
    settings.call.trunks.push(other);
    let transit = Rule { sources: vec![Source::Trunk("outside".into())], ..leads("^7", &["trunk:other"]) };
    settings.call.routes = vec![leads("^00", &["trunk:outside"]), transit];
    change(&mut settings);
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let [carrier, other] = [TRUNK, OTHER].map(|at| world.outsider("bob", at.parse().unwrap()));
    world.phones[carrier].name = "+4989777".into();
    world.captured = Some(std::collections::VecDeque::new());
    House { world, alice, carrier, other }
}

impl House {
    /// The INVITE that a phone gets of a call, with these headers.
    pub(super) fn invite(
        &mut self,
        from: usize,
        number: &str,
        headers: &[(&str, &str)],
        to: usize,
    ) -> String {
        let line = self.world.phones[from].dial_with(number, headers, true);
        self.world.run(SECOND);
        let got = self.got(to).into_iter().rfind(|text| text.starts_with("INVITE "));
        let got = got.unwrap_or_else(|| panic!("no call: {}", self.world.tail()));
        self.world.phones[from].bye(line);
        self.world.run(Duration::from_secs(120));
        self.world.check_idle();
        got
    }

    /// Everything that a phone got.
    pub(super) fn got(&self, phone: usize) -> Vec<String> {
        let at = self.world.phones[phone].address;
        let all = self.world.addressed.iter().filter(|(to, _)| *to == at);
        all.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// What names the machine and the dialogs of a phone.
    fn names_of(&self, phone: usize) -> Vec<String> {
        let phone = &self.world.phones[phone];
        let dialogs = phone.lines.iter().map(|line| &line.dialog);
        let names = dialogs.flat_map(|dialog| [dialog.call_id.to_string(), dialog.local_tag.to_string()]);
        names.chain([phone.address.ip().to_string()]).filter(|name| !name.is_empty()).collect()
    }

    fn assert_hidden(&self, phone: usize, names: &[String]) {
        for text in self.got(phone) {
            // A Call-ID and a tag of ours are both sides' of one dialog.
            let own: String =
                text.lines().filter(|line| !line.starts_with("Via: ")).collect::<Vec<_>>().join("\n");
            for name in names {
                assert!(!own.contains(name.as_str()), "{name} in\n{text}");
            }
        }
    }
}

/// The values of a header.
pub(super) fn values<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

const ALICE: &str = "\"Alice\" <sip:1001@example.org>";
const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

#[test]
fn a_trunk_is_shown_the_caller_as_it_is_configured() {
    let rpid = |privacy: &str| format!("{ALICE};party=calling;screen=yes;privacy={privacy}");
    for (shows, trust, privacy, from, asserted, older, wish) in [
        (Shows::Asserted, Trust::Trusted, "", ALICE, Some(ALICE), None, None),
        (Shows::Asserted, Trust::Trusted, "id", ANONYMOUS, Some(ALICE), None, Some("id")),
        (
            Shows::Asserted,
            Trust::Trusted,
            "user;critical",
            ANONYMOUS,
            Some(ALICE),
            None,
            Some("user;id;critical"),
        ),
        (Shows::Asserted, Trust::Trusted, "none", ALICE, Some(ALICE), None, Some("none")),
        (Shows::Asserted, Trust::Untrusted, "", ALICE, Some(ALICE), None, None),
        (Shows::Asserted, Trust::Untrusted, "id", ANONYMOUS, None, None, None),
        (Shows::Asserted, Trust::Untrusted, "none", ALICE, Some(ALICE), None, Some("none")),
        (Shows::RemoteParty, Trust::Trusted, "", ALICE, None, Some(rpid("off")), None),
        (Shows::RemoteParty, Trust::Trusted, "id", ANONYMOUS, None, Some(rpid("full")), Some("id")),
        (Shows::RemoteParty, Trust::Untrusted, "id", ANONYMOUS, None, None, None),
        (Shows::From, Trust::Trusted, "", ALICE, None, None, None),
        (Shows::From, Trust::Trusted, "id", ANONYMOUS, None, None, None),
        (Shows::Nobody, Trust::Trusted, "", ANONYMOUS, None, None, None),
    ] {
        let mut house =
            house(1401, |trunks| (trunks[0].policy.shows, trunks[0].policy.trust) = (shows, trust));
        let headers: Vec<(&str, &str)> =
            [("Privacy", privacy)].into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let (alice, carrier) = (house.alice, house.carrier);
        let invite = house.invite(alice, "0049", &headers, carrier);
        let case = format!("{shows:?} {trust:?} {privacy}\n{invite}");
        assert!(values(&invite, "From")[0].starts_with(&format!("{from};tag=")), "{case}");
        assert_eq!(values(&invite, "P-Asserted-Identity"), Vec::from_iter(asserted), "{case}");
        assert_eq!(values(&invite, "Remote-Party-ID"), Vec::from_iter(older.as_deref()), "{case}");
        assert_eq!(values(&invite, "Privacy"), Vec::from_iter(wish), "{case}");
    }
}

#[test]
fn a_trunk_is_believed_what_it_asserts_only_where_it_is_trusted() {
    let claims = [
        ("P-Asserted-Identity", "<sip:+4930555@203.0.113.7>"),
        ("Diversion", "<sip:+4930100@203.0.113.7>;reason=no-answer"),
        ("History-Info", "<sip:+4930100@203.0.113.7>;index=1, <sip:alice@203.0.113.7;cause=302>;index=1.1"),
    ];
    for (trust, from, asserted, diverted) in [
        (
            Trust::Trusted,
            "+4930555",
            vec!["<sip:+4930555@example.org>"],
            vec!["<sip:+4930100@example.org>;reason=no-answer"],
        ),
        (Trust::Untrusted, "+4989777", vec![], vec![]),
    ] {
        let mut house = house(1402, |trunks| trunks[0].policy.trust = trust);
        let (alice, carrier) = (house.alice, house.carrier);
        let invite = house.invite(carrier, "alice", &claims, alice);
        assert!(
            values(&invite, "From")[0].starts_with(&format!("<sip:{from}@example.org>;tag=")),
            "{invite}"
        );
        assert_eq!(values(&invite, "P-Asserted-Identity"), asserted, "{invite}");
        assert_eq!(values(&invite, "Diversion"), diverted, "{invite}");
        assert_eq!(values(&invite, "History-Info").len(), 2 * diverted.len(), "{invite}");
        assert_eq!(house.world.records[0].from, from);
        // Who wants to be nobody is nobody to a device, and so is who diverted the call.
        let privately = [claims[0], claims[1], claims[2], ("Privacy", "id")];
        let invite = house.invite(carrier, "alice", &privately, alice);
        assert!(values(&invite, "From")[0].starts_with(ANONYMOUS), "{invite}");
        for name in ["P-Asserted-Identity", "Diversion", "History-Info", "Remote-Party-ID"] {
            assert_eq!(values(&invite, name), Vec::<&str>::new(), "{invite}");
        }
    }
}

#[test]
fn a_call_from_trunk_to_trunk_carries_what_both_are_trusted_with() {
    let claims = [
        ("P-Asserted-Identity", "\"X\" <sip:+4930555@203.0.113.7>"),
        ("Privacy", "id"),
        ("Diversion", "<sip:+4930100@203.0.113.7>;reason=no-answer"),
        ("Identity", "eyJhbGci.eyJhdHQ.sig;info=<https://cert.example/a.pem>;alg=ES256"),
    ];
    for (trust, asserted, diversions) in [(Trust::Trusted, 1, 1), (Trust::Untrusted, 0, 0)] {
        let mut house = house(1403, |trunks| trunks[1].policy.trust = trust);
        let (carrier, other) = (house.carrier, house.other);
        let invite = house.invite(carrier, "7", &claims, other);
        assert_eq!(values(&invite, "P-Asserted-Identity").len(), asserted, "{invite}");
        assert_eq!(values(&invite, "Privacy").len(), asserted, "{invite}");
        assert_eq!(values(&invite, "Diversion").len(), diversions, "{invite}");
        assert!(!invite.contains("203.0.113.7"), "{invite}");
        assert_eq!(
            values(&invite, "Identity").len(),
            0,
            "From is anonymous, of which it does not speak: {invite}"
        );
    }
    // The signature crosses while both numbers are what it speaks of, and not to devices.
    let signed = [("P-Asserted-Identity", "<sip:+4989777@203.0.113.7>"), claims[3]];
    let pattern = Pattern(regex::Regex::new("^71").unwrap());
    for (number, kept) in [("7", 1), ("715", 0)] {
        let mut house = house(1404, |trunks| {
            let number = Whose::Called;
            let (direction, with) = (Toward::Trunk, "+".into());
            let pattern = pattern.clone();
            trunks[1].policy.rewrites =
                vec![Rewrite { number, direction, pattern, with, emergency: false, told: Told::default() }];
        });
        let (alice, carrier, other) = (house.alice, house.carrier, house.other);
        let invite = house.invite(carrier, number, &signed, other);
        assert_eq!(values(&invite, "Identity").len(), kept, "{invite}");
        let invite = house.invite(carrier, "alice", &signed, alice);
        assert_eq!(values(&invite, "Identity").len(), 0, "{invite}");
    }
}

#[test]
fn privacy_that_is_critical_and_not_to_be_had_is_a_500_that_says_which() {
    let mut house = house(1405, |_| {});
    let alice = house.alice;
    let line = house.world.phones[alice].dial_with("0049", &[("Privacy", "id;silence;critical")], true);
    house.world.run(SECOND);
    let found = &house.world.phones[alice].lines[line];
    assert_eq!((found.status, &*found.phrase), (Some(500), "Privacy not available: silence"));
    assert_eq!(house.got(house.carrier), Vec::<String>::new());
    let line = house.world.phones[alice].dial_with("0049", &[("Privacy", "session;id;critical")], true);
    house.world.run(SECOND);
    assert!(house.world.phones[alice].lines[line].is_up, "media runs through us: {}", house.world.tail());
}

/// Headers with which each side tells of itself: its address, its Call-ID, its tag, its branch, its host.
fn telling(world: &World, phone: usize, line: usize) -> Vec<(String, String)> {
    let phone = &world.phones[phone];
    let (ip, dialog) = (phone.address.ip(), phone.lines.get(line).map(|line| line.dialog.clone()));
    let (call_id, tag) = dialog.map_or_else(Default::default, |dialog| (dialog.call_id, dialog.local_tag));
    [
        ("Call-Info", format!("<http://{ip}/photo.jpg>;purpose=icon")),
        ("Alert-Info", format!("<http://{ip}/ring.wav>")),
        ("Error-Info", format!("<sip:announcement@{ip}>")),
        ("Reply-To", format!("<sip:me@{ip}>")),
        ("In-Reply-To", format!("{call_id}, 70710@{ip}")),
        ("Warning", format!("399 {ip}:5060 \"not today\"")),
        ("Reason", format!("SIP;cause=503;text=\"{ip} is away\"")),
        ("Organization", format!("the house at {ip}")),
        ("Subject", format!("from {ip}")),
        ("X-Came-From", format!("{ip}:5060")),
        ("X-Call", format!("{call_id};tag={tag}")),
        ("P-Charging-Vector", format!("icid-value=1;icid-generated-at={ip}")),
        ("P-Access-Network-Info", format!("IEEE-802.11;i-wlan-node-id={ip}")),
        ("History-Info", format!("<sip:x@{ip}>;index=1")),
        ("Diversion", format!("<sip:x@{ip}>;reason=unknown")),
        ("X-Harmless", "stays".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// What one side says in every kind of message, and what the other one hears of it.
fn talks(house: &mut House, by: usize, line: usize, headers: &[(&str, &str)]) {
    for (method, body) in [
        (Method::Info, &b""[..]),
        (Method::Message, b"hello"),
        (Method::Update, b""),
        (Method::from_bytes(b"FOO").unwrap(), b""),
    ] {
        house.world.phones[by].request(line, &method, headers, body);
        house.world.run(SECOND);
    }
    let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    house.world.phones[by].reinvite_headers = owned.collect();
    house.world.phones[by].reinvite(line, "sendonly");
    house.world.run(SECOND);
}

#[test]
fn neither_side_of_a_trunk_learns_where_the_other_one_is() {
    for (from_alice, is_late) in [(true, false), (false, true)] {
        let mut house = house(1406, |trunks| trunks[0].policy.may_refer = true);
        let (alice, carrier) = (house.alice, house.carrier);
        let (caller, callee, number) =
            if from_alice { (alice, carrier, "0049") } else { (carrier, alice, "alice") };
        let said = telling(&house.world, caller, 0);
        let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
        let line = house.world.phones[caller].dial_with(number, &said, true);
        house.world.run(SECOND);
        assert!(house.world.phones[caller].lines[line].is_up, "{}", house.world.tail());
        for (by, line) in [(caller, line), (callee, 0)] {
            let said = telling(&house.world, by, line);
            let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
            talks(&mut house, by, line, &said);
        }
        let (by, of) = if is_late { (callee, 0) } else { (caller, line) };
        let said = telling(&house.world, by, of);
        let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
        house.world.phones[by].request(of, &Method::Bye, &said, b"");
        house.world.run(SECOND);
        for (phone, other) in [(alice, carrier), (carrier, alice)] {
            let names = house.names_of(other);
            house.assert_hidden(phone, &names);
            assert!(
                house.got(phone).iter().any(|text| text.contains("X-Harmless: stays")),
                "it is not all that stays"
            );
        }
        assert!(!house.got(alice).iter().any(|text| text.contains("outside.example")), "nor its name");
    }
}

#[test]
fn who_is_transferred_or_rung_early_learns_no_more_of_the_other_side() {
    for (by_carrier, seed) in [(true, 1409), (false, 1410)] {
        let mut house = house(seed, |trunks| trunks[0].policy.may_refer = true);
        let (alice, carrier) = (house.alice, house.carrier);
        let bob = house.world.phone("bob", "desk");
        let (caller, callee, number) =
            if by_carrier { (carrier, alice, "alice") } else { (alice, carrier, "0049") };
        (house.world.phones[callee].early, house.world.phones[caller].pracks) = (Early::Reliable, true);
        let said = telling(&house.world, caller, 0);
        let mut said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
        said.push(("Supported", "100rel"));
        let line = house.world.phones[caller].dial_with(number, &said, true);
        house.world.run(SECOND);
        assert!(house.world.phones[caller].lines[line].is_up, "{}", house.world.tail());
        assert!(house.world.phones[callee].requests.iter().any(|method| method == "INVITE"));
        let said = telling(&house.world, caller, line);
        let mut said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
        said.extend([("Refer-To", "<sip:bob@example.org>"), ("Referred-By", "<sip:me@203.0.113.7>")]);
        house.world.phones[caller].request(line, &Method::Refer, &said, b"");
        house.world.run(SECOND);
        assert!(house.world.phones[bob].lines.iter().any(|line| line.is_up), "{}", house.world.tail());
        assert_eq!(
            house.world.phones[caller].lines[line].referred.last().map(|said| &said[..11]),
            Some("SIP/2.0 200")
        );
        let names = house.names_of(carrier);
        house.assert_hidden(bob, &names);
        house.assert_hidden(alice, &names);
        for user in [alice, bob] {
            let names = house.names_of(user);
            house.assert_hidden(carrier, &names);
        }
    }
}

#[test]
fn a_refusal_tells_why_and_not_where_and_a_redirection_is_followed_by_nobody() {
    for (status, heard) in [(503, 503), (404, 404), (302, 480), (401, 403)] {
        for from_alice in [true, false] {
            let mut house = house(1407, |_| {});
            let (alice, carrier) = (house.alice, house.carrier);
            let (caller, callee, number) =
                if from_alice { (alice, carrier, "0049") } else { (carrier, alice, "alice") };
            house.world.phones[callee].answer = Answer::Ring;
            let line = house.world.phones[caller].dial(number);
            house.world.run(SECOND);
            let mut said = telling(&house.world, callee, 0);
            said.push(("Contact".into(), "<sip:elsewhere@198.51.100.200>".into()));
            let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
            house.world.phones[callee].refuse_with(0, status, &said);
            house.world.run(SECOND);
            let found = &house.world.phones[caller].lines[line];
            assert_eq!(found.status, Some(heard), "{status} {}", house.world.tail());
            let names = house.names_of(callee);
            house.assert_hidden(caller, &names);
            let refusal = house.got(caller).into_iter().rfind(|text| text.starts_with("SIP/2.0 ")).unwrap();
            assert!(!refusal.contains("198.51.100.200"), "{refusal}");
            assert_eq!(values(&refusal, "Warning"), ["399 segue \"not today\""], "{refusal}");
            assert_eq!(house.world.outside.len(), 0, "nobody goes there");
        }
    }
}

#[test]
fn a_text_of_a_trunk_says_nothing_of_where_it_is() {
    let mut house = house(1408, |_| {});
    let (alice, carrier) = (house.alice, house.carrier);
    let said = telling(&house.world, carrier, 0);
    let said: Vec<(&str, &str)> = said.iter().map(|(name, value)| (&**name, &**value)).collect();
    house.world.phones[carrier].request_to("alice", &Method::Message, &said);
    house.world.run(SECOND);
    assert_eq!(house.world.phones[alice].texts.len(), 1, "{}", house.world.tail());
    let names = [house.names_of(carrier), house.names_of(alice)];
    house.assert_hidden(alice, &names[0]);
    house.assert_hidden(carrier, &names[1]);
}

#[test]
fn who_calls_anonymously_by_remote_party_id_alone_is_anonymous() {
    let said = [("Remote-Party-ID", "\"X\" <sip:+4930555@203.0.113.7>;party=calling;privacy=full")];
    let mut house = house(1411, |trunks| {
        trunks[0].policy.shows = Shows::RemoteParty;
        trunks[1].policy.trust = Trust::Untrusted;
    });
    let (alice, carrier, other) = (house.alice, house.carrier, house.other);
    for (number, to) in [("7", other), ("alice", alice)] {
        let invite = house.invite(carrier, number, &said, to);
        assert!(values(&invite, "From")[0].starts_with(ANONYMOUS), "{invite}");
        assert!(!invite.contains("4930555"), "{invite}");
    }
}

#[test]
fn a_transfer_vouches_for_nobody_whom_the_call_itself_did_not_vouch_for() {
    let claim = [("P-Asserted-Identity", "<sip:+4930555@203.0.113.7>")];
    for (trust, said, asserted) in
        [(Trust::Trusted, &claim[..], 1), (Trust::Trusted, &[], 0), (Trust::Untrusted, &claim[..], 0)]
    {
        let mut house = house_with(1412, |settings| {
            settings.call.trunks[0].policy.trust = trust;
            settings.call.routes.push(leads("^8", &["trunk:other"]));
        });
        let (alice, carrier, other) = (house.alice, house.carrier, house.other);
        house.world.phones[carrier].dial_with("alice", said, true);
        house.world.run(SECOND);
        let refer = [("Refer-To", "<sip:8123@example.org>")];
        house.world.phones[alice].request(0, &Method::Refer, &refer, b"");
        house.world.run(2 * SECOND);
        let invite = house.got(other).into_iter().find(|text| text.starts_with("INVITE "));
        let invite = invite.unwrap_or_else(|| panic!("{}", house.world.tail()));
        assert_eq!(values(&invite, "P-Asserted-Identity").len(), asserted, "{invite}");
    }
}

#[test]
fn a_rule_that_names_the_caller_names_nobody_who_wants_to_be_nobody() {
    let deed = Deed::Set("${caller}".into());
    let named = HeaderRule { direction: Toward::Trunk, name: "X-Caller".into(), deed };
    let mut house = house(1413, |trunks| {
        trunks[0].policy.trust = Trust::Untrusted;
        trunks[0].policy.headers = vec![named.clone()];
    });
    let (alice, carrier) = (house.alice, house.carrier);
    house.world.phones[alice].dial_with("0049", &[("Privacy", "id")], true);
    house.world.run(SECOND);
    house.world.phones[carrier].reinvite(0, "sendonly");
    house.world.run(SECOND);
    assert_eq!(house.world.phones[carrier].lines[0].status, Some(200), "{}", house.world.tail());
    let got = house.got(carrier);
    let named: Vec<&str> = got.iter().flat_map(|text| values(text, "X-Caller")).collect();
    assert!(named.len() > 1 && named.iter().all(|name| *name == "anonymous"), "{named:?}");
}

#[test]
fn a_trunk_that_transfers_says_numbers_as_it_does_when_it_calls() {
    let rule = Rewrite {
        number: Whose::Called,
        direction: Toward::Us,
        pattern: Pattern(regex::Regex::new(r"^\+4989").unwrap()),
        with: "".into(),
        emergency: false,
        told: Told::default(),
    };
    let mut house = house(1414, |trunks| {
        trunks[0].policy.may_refer = true;
        trunks[0].policy.rewrites = vec![rule.clone()];
    });
    let carrier = house.carrier;
    let bob = house.world.phone("bob", "desk");
    house.world.phones[carrier].dial("+4989alice");
    house.world.run(SECOND);
    let refer = [("Refer-To", "<sip:+4989bob@example.org>")];
    house.world.phones[carrier].request(0, &Method::Refer, &refer, b"");
    house.world.run(2 * SECOND);
    assert!(house.world.phones[bob].lines.iter().any(|line| line.is_up), "{}", house.world.tail());
}
