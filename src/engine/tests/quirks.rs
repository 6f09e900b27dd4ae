//! What is done otherwise for a user agent, by the table of the configuration.

use std::collections::VecDeque;
use std::time::Duration;

use super::world::{accounts, settings, trunk_to};
use super::{Answer, World};
use crate::call::quirks::{Hint, QuirkTable, Row, Setting};
use crate::engine::store::Loaded;
use crate::sip::digest::Algorithm;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

/// A world whose phones are all of the one kind, which is written down so.
fn house(quirk: &[Setting]) -> World {
    let mut settings = settings();
    trunk_to(&mut settings, "203.0.113.9:5060".parse().unwrap());
    let row = Row { user_agent: "^Odd/[0-9]".into(), settings: quirk.to_vec() };
    settings.call.quirks = QuirkTable::new(vec![row]).unwrap();
    World::with(1200, settings, accounts(&["alice", "bob"]), &Loaded::default())
}

fn phone(world: &mut World, user: &str, device: &str, software: &str) -> usize {
    let phone = world.phone(user, device);
    world.phones[phone].software = software.into();
    world.phones[phone].register(3600);
    world.run(SECOND);
    phone
}

/// What went to phones and begins so.
fn sent(world: &World, start: &str) -> Vec<String> {
    let texts = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    texts.filter(|text| text.starts_with(start)).collect()
}

#[test]
fn a_device_is_asked_to_answer_in_its_own_form() {
    for (hint, forms) in [
        (Hint::All, vec!["Call-Info: <sip:", "info=alert-autoanswer", "Answer-Mode: Auto"]),
        (Hint::CallInfo, vec!["Call-Info: <sip:example.org>;answer-after=0"]),
        (Hint::AlertInfo, vec!["Alert-Info: <http://example.org>;info=alert-autoanswer;delay=0"]),
        (Hint::RingClass, vec!["Alert-Info: Auto Answer"]),
        (Hint::AnswerMode, vec!["Answer-Mode: Auto"]),
        (Hint::None, vec![]),
    ] {
        let mut world = house(&[Setting::AutoAnswer(hint)]);
        let desk = phone(&mut world, "alice", "desk", "Odd/1");
        phone(&mut world, "alice", "mobile", "Odd/1");
        phone(&mut world, "bob", "desk", "Odd/1");
        world.phones[desk].dial("bob");
        world.run(SECOND);
        world.captured = Some(VecDeque::new());
        let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
        world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
        world.run(SECOND);
        let invite = sent(&world, "INVITE sip:alice-mobile@").remove(0);
        for form in ["Call-Info: ", "Alert-Info: ", "Answer-Mode: "] {
            let expected = forms.iter().any(|wanted| wanted.starts_with(form))
                || (form == "Alert-Info: " && forms.contains(&"info=alert-autoanswer"));
            assert_eq!(invite.contains(form), expected, "{hint:?}\n{invite}");
        }
        assert!(forms.iter().all(|form| invite.contains(form)), "{hint:?}\n{invite}");
    }
}

#[test]
fn an_older_phone_is_shown_the_other_party_in_the_header_that_it_reads() {
    for software in ["Odd/1", "Even/1"] {
        let mut world = house(&[Setting::RemotePartyId(true)]);
        let alice = phone(&mut world, "alice", "desk", "Odd/1");
        phone(&mut world, "bob", "desk", software);
        world.captured = Some(VecDeque::new());
        world.phones[alice].dial_with("bob", &[("User-Agent", "Odd/1")], true);
        world.run(SECOND);
        let invite = sent(&world, "INVITE sip:bob-desk@").remove(0);
        assert!(invite.contains("P-Asserted-Identity: \"Alice\" <sip:1001@example.org>\r\n"), "{invite}");
        let line =
            "Remote-Party-ID: \"Alice\" <sip:1001@example.org>;party=calling;screen=yes;privacy=off\r\n";
        assert_eq!(invite.contains(line), software == "Odd/1", "{invite}");
        for status in ["SIP/2.0 180", "SIP/2.0 200"] {
            let answer = sent(&world, status).into_iter().find(|text| text.contains("INVITE")).unwrap();
            assert!(answer.contains("P-Asserted-Identity: \"Bob\" <sip:1002@example.org>\r\n"), "{answer}");
            assert!(
                answer.contains("Remote-Party-ID: \"Bob\" <sip:1002@example.org>;party=called;"),
                "{answer}"
            );
        }
    }
}

#[test]
fn what_a_phone_cannot_do_is_not_asked_of_it() {
    let mut world = house(&[Setting::Update(false), Setting::Prack(false)]);
    let alice = phone(&mut world, "alice", "desk", "");
    let bob = phone(&mut world, "bob", "desk", "Odd/2");
    world.captured = Some(VecDeque::new());
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert!(!sent(&world, "INVITE sip:bob-desk@")[0].contains("100rel"));
    let offer = world.phones[alice].sdp(0, "sendonly");
    let headers = [("Content-Type", "application/sdp"), ("Contact", "<sip:alice-desk@198.51.100.10>")];
    world.phones[alice].request(0, &Method::Update, &headers, offer.as_bytes());
    world.run(SECOND);
    assert_eq!(world.phones[alice].finals.last().map(|found| found.1), Some(200), "{}", world.tail());
    assert!(!world.phones[bob].requests.contains(&"UPDATE".to_owned()), "it came as a re-INVITE");
    assert!(world.phones[bob].lines[0].last_heard().contains("a=sendonly"));
}

#[test]
fn a_message_passes_by_a_phone_that_takes_none() {
    let mut world = house(&[Setting::Message(false), Setting::Mwi(false)]);
    let alice = phone(&mut world, "alice", "desk", "");
    let (odd, even) =
        (phone(&mut world, "bob", "desk", "Odd/1"), phone(&mut world, "bob", "mobile", "Even/1"));
    let line = world.phones[alice].request_to("bob", &Method::Message, &[]);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
    let has = |phone: usize| world.phones[phone].requests.contains(&"MESSAGE".to_owned());
    assert!(!has(odd) && has(even));
}

/// A word of waiting messages for Alice, as a trunk says it unasked.
fn waiting(from: &str, body: &str) -> String {
    format!(
        "NOTIFY sip:1001@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKmwi1\r\nMax-Forwards: 70\r\n\
         From: <sip:voicemail@carrier.example>;tag=v\r\nTo: <sip:1001@example.org>\r\nCall-ID: mwi@carrier\r\n\
         CSeq: 1 NOTIFY\r\nContact: <sip:{from}>\r\nEvent: message-summary\r\n\
         Subscription-State: active\r\nContent-Type: application/simple-message-summary\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn a_trunk_tells_of_waiting_messages_and_nobody_else_does() {
    for (may_notify, from, told) in [
        (true, "203.0.113.9:5060", true),
        (false, "203.0.113.9:5060", false),
        (true, "203.0.113.66:5060", false),
    ] {
        let mut settings = settings();
        trunk_to(&mut settings, "203.0.113.9:5060".parse().unwrap()).policy.may_notify = may_notify;
        let mut world = World::with(1201, settings, accounts(&["alice", "bob"]), &Loaded::default());
        let phones = [phone(&mut world, "alice", "desk", ""), phone(&mut world, "alice", "mobile", "")];
        phone(&mut world, "bob", "desk", "");
        world.captured = Some(VecDeque::new());
        let body = "Messages-Waiting: yes\r\nVoice-Message: 2/8 (0/2)\r\n";
        world.arrive(from.parse().unwrap(), waiting(from, body).into());
        world.run(SECOND);
        for phone in phones {
            let lamp =
                world.phones[phone].notified.last().map(|(state, body)| (state.as_str(), body.as_str()));
            assert_eq!(lamp, told.then_some(("active", body)), "{from}\n{}", world.tail());
        }
        let sent = sent(&world, "NOTIFY sip:alice-");
        assert!(sent.iter().all(|text| text.contains("Event: message-summary\r\n")), "{sent:?}");
        assert!(sent.iter().all(|text| !text.contains("carrier.example")), "{sent:?}");
        let status = world.outside.last().map(|(_, bytes)| String::from_utf8_lossy(bytes)[8..11].to_owned());
        assert_eq!(status.as_deref(), Some(if told { "200" } else { "481" }));
        world.run(60 * SECOND);
        world.check_idle();
    }
}

#[test]
fn a_phone_in_the_network_of_a_trunk_does_not_speak_for_it() {
    let mut settings = settings();
    trunk_to(&mut settings, "203.0.113.9:5060".parse().unwrap());
    settings.call.trunks[0].from[0] =
        crate::call::settings::Source { network: "198.51.100.0".parse().unwrap(), prefix: 24, port: None };
    let mut world = World::with(1203, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (alice, bob) = (phone(&mut world, "alice", "desk", ""), phone(&mut world, "bob", "desk", ""));
    let address = world.phones[bob].address;
    let own = waiting(&address.to_string(), "Messages-Waiting: yes\r\n")
        .replace("sip:voicemail@carrier.example", "sip:bob@example.org");
    world.arrive(address, own.into());
    world.run(SECOND);
    assert_eq!(world.phones[alice].notified, []);
}

#[test]
fn who_subscribes_to_waiting_messages_hears_of_them_in_the_subscription_alone() {
    let mut settings = settings();
    trunk_to(&mut settings, "203.0.113.9:5060".parse().unwrap());
    let mut world = World::with(1202, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (desk, mobile) = (phone(&mut world, "alice", "desk", ""), phone(&mut world, "alice", "mobile", ""));
    let headers = [("Event", "message-summary"), ("Expires", "600")];
    // Whatever its mailbox is called.
    let line = world.phones[desk].request_to("alice", &Method::Subscribe, &headers);
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    let lamps = |world: &World, phone: usize| -> Vec<String> {
        world.phones[phone].notified.iter().map(|(_, body)| body.clone()).collect()
    };
    assert_eq!(lamps(&world, desk), ["Messages-Waiting: no\r\n"]);
    let body = "Messages-Waiting: yes\r\n";
    world.arrive("203.0.113.9:5060".parse().unwrap(), waiting("203.0.113.9:5060", body).into());
    world.run(SECOND);
    assert_eq!(lamps(&world, desk), ["Messages-Waiting: no\r\n", body]);
    assert_eq!(lamps(&world, mobile), [body]);
    // Who comes later hears what there is.
    let line = world.phones[mobile].request_to("alice", &Method::Subscribe, &headers);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200));
    assert_eq!(lamps(&world, mobile), [body, body]);
    // Calls are none of its business.
    world.phones[mobile].dial("*43");
    world.run(SECOND);
    assert_eq!((lamps(&world, desk).len(), lamps(&world, mobile).len()), (2, 2));
}

#[test]
fn a_client_is_offered_the_algorithms_that_it_can_do() {
    let mut world = house(&[Setting::Algorithms(vec![Algorithm::Md5])]);
    let alice = world.phone("alice", "desk");
    world.phones[alice].answer = Answer::Now;
    for (agent, count) in [("Odd/1", 1), ("Even/1", 2)] {
        let register = format!(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.77:5060;branch=z9hG4bK{count}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag=x\r\nTo: <sip:alice@example.org>\r\n\
             Call-ID: alg{count}\r\nCSeq: 1 REGISTER\r\nUser-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
        );
        let answers = world.exchange("203.0.113.77:5060".parse().unwrap(), register);
        let challenges = answers[0].all(crate::wire::sip::HeaderName::WwwAuthenticate).count();
        assert_eq!(challenges, count, "{agent}");
    }
}
