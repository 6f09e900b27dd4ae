//! Calls of users behind a PBX, out and in, and how they move while the PBX notices nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::pbx::{PEER, behind, config, header, token};
use super::phone::Demand;
use super::world::leads;
use super::{Answer, World};
use crate::call::headers::Trust;
use crate::call::policy::ReInvite;
use crate::engine::Settings;
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::store::Loaded;
use crate::engine::view::{RouteQuestion, RouteTestView};
use crate::media::relay::MediaCommand;
use crate::wire::sip::{HeaderName, Limits, Message, Method};

const SECOND: Duration = Duration::from_secs(1);

/// Alice with two phones and Bob with one are behind a PBX, Carol with one is not; the PBX is a phone that registers everybody
/// and takes every call.
struct House {
    world: World,
    desk: usize,
    mobile: usize,
    bob: usize,
    carol: usize,
    pbx: usize,
}

fn house(seed: u64, settings: Settings) -> House {
    let accounts = behind(&["alice", "bob", "carol"], "open sesame");
    let mut world = World::with(seed, settings, accounts, &Loaded::default());
    world.captured = Some(VecDeque::new());
    let pbx = world.outsider("carol", PEER.parse().unwrap());
    let mut demand = Demand::new("pbx.example", true);
    demand.users = vec!["1001", "1002"];
    world.phones[pbx].demand = Some(demand);
    let phones = [("alice", "desk"), ("alice", "mobile"), ("bob", "desk"), ("carol", "desk")];
    let [desk, mobile, bob, carol] = phones.map(|(user, device)| world.phone(user, device));
    world.phones[mobile].answer = Answer::Ring;
    world.run(SECOND);
    House { world, desk, mobile, bob, carol, pbx }
}

impl House {
    /// Requests of a method that the PBX got, those without credentials left out.
    fn asked(&self, method: &Method) -> Vec<Message> {
        let all = self.world.heard_by_phones.iter();
        let all = all.filter_map(|bytes| Message::parse(bytes.clone(), &Limits::default()).ok());
        let is_for_pbx =
            |message: &Message| message.uri().contains("outside.example") || message.uri().contains(PEER);
        all.filter(|message| message.is_request() && message.method() == method && is_for_pbx(message))
            .filter(|message| message.has(HeaderName::ProxyAuthorization))
            .collect()
    }

    fn dial(&mut self, phone: usize, number: &str) -> (usize, Option<u16>) {
        let line = self.world.phones[phone].dial(number);
        self.world.run(2 * SECOND);
        (line, self.world.phones[phone].lines[line].status)
    }

    /// The PBX calls whom it knows by this number, at the Contact.
    fn ring(&mut self, extension: &str) -> usize {
        let known = self.asked(&Method::Register);
        let own = format!("sip:{extension}@outside.example");
        let last = known.iter().rfind(|message| message.to().unwrap().uri == own).expect("registered");
        let line = token(last);
        self.ring_at(&format!("192.0.2.1:5060;line={line}"), extension)
    }

    fn ring_at(&mut self, place: &str, number: &str) -> usize {
        self.world.phones[self.pbx].domain = place.into();
        let line = self.world.phones[self.pbx].dial(number);
        self.world.run(2 * SECOND);
        line
    }

    fn methods(&self, phone: usize, method: &str) -> usize {
        self.world.phones[phone].requests.iter().filter(|heard| *heard == method).count()
    }

    fn test(&mut self, to: &str) -> RouteTestView {
        let question = RouteQuestion { from: "alice".into(), to: to.into(), source: None, at: None };
        match self.world.ask(Subject::Admin, Command::TestRoute(question)) {
            Reply::RouteTest(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    fn ends(mut self, phone: usize, line: usize) {
        self.world.phones[phone].bye(line);
        self.world.run(70 * SECOND);
        self.world.check_idle();
    }
}

#[test]
fn a_call_out_is_the_users_own_at_the_pbx() {
    let mut house = house(1401, config());
    let (line, status) = house.dial(house.desk, "030123");
    assert_eq!(status, Some(200), "{}", house.world.tail());
    let invite = house.asked(&Method::Invite).pop().expect("a call");
    assert_eq!(invite.uri(), "sip:030123@outside.example");
    let from = header(&invite, HeaderName::From);
    assert!(from.starts_with("\"Alice\" <sip:1001@outside.example>;tag="), "{from}");
    assert_eq!(header(&invite, HeaderName::PAssertedIdentity), "\"Alice\" <sip:1001@outside.example>");
    assert!(header(&invite, HeaderName::ProxyAuthorization).contains("username=\"1001\""));
    assert_eq!(house.world.engine.core().capacity.calls().collect::<Vec<_>>(), [1]);
    let view = house.test("030123");
    assert_eq!((&*view.by, view.goes, &*view.targets[0].target), ("pbx", true, "trunk:outside"));
    assert_eq!(view.targets[0].calling.as_deref(), Some("1001"));
    let desk = house.desk;
    house.ends(desk, line);
}

#[test]
fn media_that_the_pbx_leads_to_a_port_of_ours_is_sent_there_in_real_time() {
    // What the PBX names as its place is a port of ours.
    let mut settings = config();
    let screen = &mut settings.call.media.screen;
    let place: SocketAddr = PEER.parse().unwrap();
    screen.own_addresses.push(place.ip());
    (4000..4010).for_each(|port| screen.own_ports.insert(port));
    let mut house = house(1415, settings);
    let (line, status) = house.dial(house.desk, "030123");
    assert_eq!(status, Some(200), "{}", house.world.tail());
    let told = |at: std::net::IpAddr| {
        let all = house.world.media.iter().filter_map(|command| match command {
            MediaCommand::Configure { ingress, .. } => Some(ingress),
            _ => None,
        });
        all.filter(|ingress| ingress.remote.is_some_and(|remote| remote.ip() == at))
            .map(|ingress| ingress.is_ours)
            .collect::<Vec<_>>()
    };
    let (there, here) = (told(place.ip()), told(house.world.phones[house.desk].address.ip()));
    assert!(!there.is_empty() && there.iter().all(|is_ours| *is_ours), "{there:?}");
    assert!(!here.is_empty() && here.iter().all(|is_ours| !is_ours), "{here:?}");
    let desk = house.desk;
    house.ends(desk, line);
}

#[test]
fn what_is_of_the_pbx_goes_there_and_what_is_of_this_node_alone_stays() {
    let mut settings = config();
    settings.call.routes = vec![leads("^77", &["user:carol"])];
    let mut house = house(1402, settings);
    let (desk, mobile, bob, carol) = (house.desk, house.mobile, house.bob, house.carol);
    // Bob by name and by number is whom the PBX knows by his.
    for number in ["bob", "1002"] {
        let (line, status) = house.dial(desk, number);
        assert_eq!(status, Some(200), "{number}\n{}", house.world.tail());
        assert_eq!(house.asked(&Method::Invite).last().unwrap().uri(), "sip:1002@outside.example");
        house.world.phones[desk].bye(line);
        house.world.run(SECOND);
    }
    assert_eq!(house.methods(bob, "INVITE"), 0, "that is for the PBX to say");
    // Carol is not behind it, a rule comes first, one's own device and the test numbers are of this node.
    let at_pbx = house.asked(&Method::Invite).len();
    for (number, phone) in [("carol", carol), ("1003", carol), ("7712", carol), ("alice*mobile", mobile)] {
        let before = house.methods(phone, "INVITE");
        let line = house.world.phones[desk].dial(number);
        house.world.run(SECOND);
        assert_eq!(house.methods(phone, "INVITE"), before + 1, "{number}\n{}", house.world.tail());
        if phone == mobile {
            house.world.phones[desk].cancel(line);
        } else {
            house.world.phones[desk].bye(line);
        }
        house.world.run(SECOND);
    }
    let (echo, status) = house.dial(desk, "*43");
    assert_eq!(status, Some(200), "the echo");
    assert_eq!(house.asked(&Method::Invite).len(), at_pbx);
    // Carol's calls are as they were, and help is called over the PBX where no rule says more.
    assert_eq!(house.dial(carol, "030123").1, Some(404));
    let line = house.world.phones[carol].dial("bob");
    house.world.run(SECOND);
    assert_eq!(house.methods(bob, "INVITE"), 1);
    house.world.phones[carol].bye(line);
    house.world.phones[desk].bye(echo);
    house.world.run(SECOND);
    let (line, status) = house.dial(desk, "112");
    assert_eq!(
        (status, house.asked(&Method::Invite).last().unwrap().uri()),
        (Some(200), "sip:112@outside.example")
    );
    assert_eq!(house.test("112").by, "emergency");
    house.ends(desk, line);
}

#[test]
fn a_call_for_the_contact_rings_all_devices_and_nobody_elses() {
    let mut house = house(1403, config());
    let (desk, mobile, pbx) = (house.desk, house.mobile, house.pbx);
    house.world.phones[desk].answer = Answer::Ring;
    let line = house.ring("1001");
    assert!(house.world.phones[desk].lines[0].rings() && house.world.phones[mobile].lines[0].rings());
    assert!(house.world.phones[house.bob].lines.is_empty());
    house.world.phones[mobile].pick_up(0);
    house.world.run(SECOND);
    assert!(house.world.phones[pbx].lines[line].is_up, "{}", house.world.tail());
    assert!(house.world.phones[desk].lines[0].is_over, "the other one is told");
    house.world.phones[pbx].bye(line);
    house.world.run(SECOND);
    assert!(house.world.phones[mobile].lines[0].is_over);
    // Given up, busy, nobody there.
    let line = house.ring("1001");
    house.world.phones[pbx].cancel(line);
    house.world.run(SECOND);
    assert_eq!(house.world.phones[pbx].lines[line].status, Some(487));
    for phone in [desk, mobile] {
        house.world.phones[phone].answer = Answer::Busy;
    }
    let line = house.ring("1001");
    assert_eq!(house.world.phones[pbx].lines[line].status, Some(486));
    house.world.run(40 * SECOND);
    house.world.check_idle();
}

#[test]
fn a_contact_is_of_use_from_the_pbx_alone_and_for_its_user_alone() {
    let mut house = house(1404, config());
    let known = house.asked(&Method::Register);
    let contact =
        |message: &Message| header(message, HeaderName::Contact).trim_matches(['<', '>']).to_owned();
    let own = known.iter().find(|message| message.to().unwrap().uri.contains("1001")).map(contact).unwrap();
    let invite = |house: &mut House, peer: &str, uri: &str| {
        let now = house.world.now.at.as_micros();
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {peer};branch=z9hG4bK{now}\r\nFrom: <sip:1@pbx.example>;tag=f\r\n\
             To: <sip:1002@pbx.example>\r\nCall-ID: {now}\r\nCSeq: 1 INVITE\r\nContact: <sip:1@{peer}>\r\n\
             Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let answers = house.world.exchange(peer.parse().unwrap(), text);
        house.world.run(SECOND);
        answers.iter().filter_map(Message::status).map(|status| status.as_u16()).max().unwrap_or(0)
    };
    let stranger = "198.51.100.77:5060";
    assert_eq!(invite(&mut house, stranger, &own), 401, "as anybody who is nobody");
    assert_eq!(invite(&mut house, stranger, "sip:1001@192.0.2.1:5060"), 401);
    // The PBX itself reaches nobody without a Contact, and by one its user, whatever To says.
    assert_eq!(invite(&mut house, "203.0.113.1:5061", "sip:1002@192.0.2.1:5060"), 401);
    assert_eq!(invite(&mut house, "203.0.113.1:5061", &own.replace(";line=", ";line=0")), 401);
    assert!(house.world.phones[house.bob].lines.is_empty());
    invite(&mut house, "203.0.113.1:5061", &own);
    assert_eq!(house.world.phones[house.mobile].lines.len(), 1, "{}", house.world.tail());
    assert!(house.world.phones[house.bob].lines.is_empty());
}

#[test]
fn what_opens_a_dialog_repeats_the_record_route_and_what_refuses_does_not() {
    let mut house = house(1412, config());
    let known = house.asked(&Method::Register);
    let own = known.iter().find(|message| message.to().unwrap().uri.contains("1001")).map(token).unwrap();
    let peer = "203.0.113.1:5061";
    let text = format!(
        "INVITE sip:1001@192.0.2.1:5060;line={own} SIP/2.0\r\nVia: SIP/2.0/UDP {peer};branch=z9hG4bKr\r\n\
         Record-Route: <sip:203.0.113.1:5061;lr;did=1>, <sip:203.0.113.9;lr>\r\nRecord-Route: <sip:203.0.113.8;lr>\r\n\
         From: <sip:1@pbx.example>;tag=f\r\nTo: <sip:1001@pbx.example>\r\nCall-ID: r\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:1@203.0.113.7>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    house.world.outside.clear();
    house.world.arrive(peer.parse().unwrap(), text.into());
    house.world.run(SECOND);
    house.world.phones[house.mobile].pick_up(0);
    house.world.run(SECOND);
    let answers = house
        .world
        .outside
        .iter()
        .map(|(_, bytes)| Message::parse(bytes.clone(), &Limits::default()).unwrap());
    let routes = |message: &Message| {
        message
            .values(HeaderName::RecordRoute)
            .map(|value| String::from_utf8_lossy(value).trim().to_owned())
            .collect::<Vec<_>>()
    };
    let seen: Vec<_> =
        answers.filter_map(|message| Some((message.status()?.as_u16(), routes(&message)))).collect();
    let all = ["<sip:203.0.113.1:5061;lr;did=1>", "<sip:203.0.113.9;lr>", "<sip:203.0.113.8;lr>"];
    for (status, routes) in &seen {
        assert_eq!(routes, if *status == 100 { &all[..0] } else { &all[..] }, "{status}");
    }
    assert!(
        seen.iter().any(|(status, _)| *status == 180) && seen.iter().any(|(status, _)| *status == 200),
        "{seen:?}"
    );
}

#[test]
fn a_call_moves_between_the_handsets_and_the_pbx_keeps_its_dialog() {
    for (seed, is_out, always) in
        [(1405, true, false), (1406, false, false), (1407, true, true), (1408, false, true)]
    {
        let mut settings = config();
        settings.call.trunks[0].policy.re_invite = always.then_some(ReInvite::Always);
        let mut house = house(seed, settings);
        let (desk, mobile, pbx) = (house.desk, house.mobile, house.pbx);
        let line = if is_out {
            house.dial(desk, "030123");
            0
        } else {
            house.ring("1001")
        };
        assert!(house.world.phones[pbx].lines[line].is_up, "{}", house.world.tail());
        let (dialog, before) = {
            let found = &house.world.phones[pbx].lines[line].dialog;
            let known = (
                found.call_id.clone(),
                found.local_tag.clone(),
                found.remote_tag.clone(),
                found.target.clone(),
            );
            (known, house.world.phones[pbx].requests.len())
        };
        let pulled = house.world.phones[mobile].dial("*11");
        house.world.run(2 * SECOND);
        assert!(house.world.phones[mobile].lines[pulled].is_up, "{}", house.world.tail());
        assert!(house.world.port_of("alice*mobile").is_some());
        assert!(house.world.phones[desk].lines[0].is_over, "{}", house.world.tail());
        assert_eq!(house.dial(desk, "*11").1, Some(403), "held off");
        // Nothing, or a re-INVITE that is challenged, in the dialog that there was.
        let since = &house.world.phones[pbx].requests[before..];
        let wanted: &[&str] = if always { &["INVITE", "INVITE"] } else { &[] };
        assert_eq!(since, wanted, "{}", house.world.tail());
        let found = &house.world.phones[pbx].lines[line];
        assert!(found.is_up);
        let now = &found.dialog;
        assert_eq!(
            (&now.call_id, &now.local_tag, &now.remote_tag, &now.target),
            (&dialog.0, &dialog.1, &dialog.2, &dialog.3)
        );
        if always {
            let again = house.asked(&Method::Invite).pop().unwrap();
            assert_eq!(again.call_id().unwrap(), &*dialog.0);
            assert!(header(&again, HeaderName::ProxyAuthorization).contains("username=\"1001\""));
        }
        house.ends(mobile, pulled);
    }
}

#[test]
fn hold_goes_through_with_the_users_credentials_and_the_pbx_refers_only_where_it_may() {
    for (seed, may_refer) in [(1413, false), (1414, true)] {
        let mut settings = config();
        settings.call.trunks[0].policy.may_refer = may_refer;
        let mut house = house(seed, settings);
        let (desk, bob, pbx) = (house.desk, house.bob, house.pbx);
        let (line, _) = house.dial(desk, "030123");
        house.world.phones[desk].reinvite(line, "sendonly");
        house.world.run(SECOND);
        let held = house.asked(&Method::Invite).pop().unwrap();
        assert!(
            held.to_tag().is_some()
                && header(&held, HeaderName::ProxyAuthorization).contains("username=\"1001\"")
        );
        assert!(String::from_utf8_lossy(&held.body()).contains("a=sendonly"), "{}", house.world.tail());
        house.world.phones[desk].reinvite(line, "sendrecv");
        house.world.run(SECOND);
        house.world.phones[pbx].reinvite(0, "sendonly");
        house.world.run(SECOND);
        assert!(
            house.world.phones[desk].lines[line].last_heard().contains("a=sendonly"),
            "{}",
            house.world.tail()
        );
        house.world.phones[pbx].reinvite(0, "sendrecv");
        house.world.run(SECOND);
        let to = [("Refer-To", "<sip:1002@192.0.2.1:5060>")];
        house.world.phones[pbx].request(0, &Method::Refer, &to, b"");
        house.world.run(2 * SECOND);
        assert_eq!(house.world.phones[bob].lines.len(), usize::from(may_refer), "{}", house.world.tail());
        let (phone, line) = if may_refer { (bob, 0) } else { (desk, line) };
        house.ends(phone, line);
    }
}

#[test]
fn who_is_transferred_out_calls_by_the_account_of_who_did_it() {
    let mut house = house(1409, config());
    let (desk, carol) = (house.desk, house.carol);
    let (line, status) = house.dial(desk, "carol");
    assert_eq!(status, Some(200));
    let to = [("Refer-To", "<sip:030123@example.org>")];
    house.world.phones[desk].request(line, &Method::Refer, &to, b"");
    house.world.run(2 * SECOND);
    let invite = house.asked(&Method::Invite).pop().expect("a call");
    assert_eq!(invite.uri(), "sip:030123@outside.example");
    assert!(header(&invite, HeaderName::From).contains("<sip:1001@outside.example>"));
    assert!(header(&invite, HeaderName::ProxyAuthorization).contains("username=\"1001\""));
    assert!(header(&invite, HeaderName::PAssertedIdentity).contains("Carol"), "who really speaks");
    house.ends(carol, 0);
}

#[test]
fn the_pbx_tells_of_waiting_messages_at_the_contact() {
    let mut house = house(1410, config());
    let known = house.asked(&Method::Register);
    let own = known.iter().find(|message| message.to().unwrap().uri.contains("1001")).map(token).unwrap();
    let headers = [
        ("Event", "message-summary"),
        ("Subscription-State", "active"),
        ("Content-Type", "application/simple-message-summary"),
    ];
    house.world.phones[house.pbx].domain = format!("192.0.2.1:5060;line={own}");
    let line = house.world.phones[house.pbx].request_to("1001", &Method::Notify, &headers);
    house.world.run(SECOND);
    assert_eq!(house.world.phones[house.pbx].lines[line].status, Some(200), "{}", house.world.tail());
    for phone in [house.desk, house.mobile] {
        assert_eq!(house.world.phones[phone].notified.len(), 1);
    }
    assert_eq!(house.world.phones[house.bob].notified.len(), 0);
}

#[test]
fn a_text_between_users_stays_here_and_a_pbx_that_is_down_is_503_or_the_next_target() {
    let mut settings = config();
    let mut rule = leads("^1002$", &["trunk:outside", "extension:1002"]);
    rule.overrides = true;
    settings.call.routes = vec![rule];
    let mut house = house(1411, settings);
    let (desk, bob, pbx) = (house.desk, house.bob, house.pbx);
    let line = house.world.phones[desk].request_to("bob", &Method::Message, &[]);
    house.world.run(SECOND);
    assert_eq!(house.world.phones[desk].lines[line].status, Some(200), "{}", house.world.tail());
    assert_eq!((house.world.phones[bob].texts.len(), house.world.phones[pbx].texts.len()), (1, 0));
    // The PBX is full or ill.
    house.world.phones[pbx].demand = None;
    house.world.phones[pbx].answer = Answer::Ring;
    let line = house.world.phones[desk].dial("030123");
    house.world.run(SECOND);
    let at_pbx = house.world.phones[pbx].lines.len() - 1;
    house.world.phones[pbx].refuse(at_pbx, 503);
    house.world.run(SECOND);
    assert_eq!(house.world.phones[desk].lines[line].status, Some(503), "{}", house.world.tail());
    let line = house.world.phones[desk].dial("1002");
    house.world.run(SECOND);
    let at_pbx = house.world.phones[pbx].lines.len() - 1;
    house.world.phones[pbx].refuse(at_pbx, 503);
    house.world.run(SECOND);
    assert!(
        house.world.phones[bob].lines.last().is_some_and(|line| line.is_up),
        "by the rule\n{}",
        house.world.tail()
    );
    house.ends(desk, line);
}

#[test]
fn a_pbx_that_is_not_trusted_is_told_all_the_same_whom_it_is_not_to_name() {
    let mut settings = config();
    settings.call.trunks[0].policy.trust = Trust::Untrusted;
    let mut house = house(1699, settings);
    let desk = house.desk;
    house.world.phones[desk].dial_with("0049", &[("Privacy", "id")], true);
    house.world.run(2 * SECOND);
    let invites = house.asked(&Method::Invite);
    let invite = invites.last().unwrap_or_else(|| panic!("{}", house.world.tail()));
    assert!(invite.from().unwrap().uri.contains("1001"), "it knows its users by From");
    assert_eq!(header(invite, HeaderName::Privacy), "id");
    assert!(!invite.has(HeaderName::PAssertedIdentity));
}
