//! Phones report how their calls sound (RFC 6035).

use std::time::Duration;

use super::{World, three_phones};
use crate::base::Random;
use crate::engine::command::Subject;
use crate::engine::event::Event;
use crate::wire::sip::HeaderName;
use crate::wire::vq_report::tests::EXAMPLE;

const SECOND: Duration = Duration::from_secs(1);
const PACKAGE: (&str, &str) = ("Event", "vq-rtcpxr");
const KIND: (&str, &str) = ("Content-Type", "application/vq-rtcpxr");

/// The example, of the call that a phone has on a line.
fn report_of(world: &World, phone: usize, line: usize) -> String {
    EXAMPLE.replace("6dg37f1890463", &world.phones[phone].lines[line].dialog.call_id)
}

/// What was told of reports: the call and the device.
fn told(world: &World) -> Vec<(Option<&str>, String)> {
    let told = |event: &'_ Event| match event {
        Event::QualityReport { user, device, .. } => Some(format!("{user}*{device}")),
        _ => None,
    };
    world.events.iter().filter_map(|event| Some((event.call(), told(event)?))).collect()
}

#[test]
fn a_report_is_told_with_its_call_while_that_lives_and_for_a_while_after() {
    let mut world = World::new(1);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let line = world.phones[alice].dial("1002");
    world.run(SECOND);
    let body = report_of(&world, alice, line).replace("VQSessionReport: CallTerm", "VQIntervalReport");
    let publication = world.phones[alice].publish(&[PACKAGE, KIND, ("Expires", "60")], &body);
    world.run(SECOND);
    let answer = world.phones[alice].lines[publication].answer.clone().unwrap();
    assert_eq!(answer.status().map(|status| status.as_u16()), Some(200), "{}", world.tail());
    assert!(answer.has(HeaderName::SipEtag));
    assert_eq!(answer.expires(), Some(60));
    world.phones[bob].bye(0);
    world.run(SECOND);
    let (hers, his) = (report_of(&world, alice, line), report_of(&world, bob, 0));
    world.phones[alice].publish(&[PACKAGE, KIND], &hers);
    world.run(SECOND);
    world.phones[bob].publish(&[PACKAGE, KIND], &his);
    world.run(SECOND);
    let call = &*world.records[0].id.clone();
    let all = [(Some(call), "alice*desk"), (Some(call), "alice*desk"), (Some(call), "bob*desk")];
    assert_eq!(told(&world), all.map(|(call, device)| (call, device.to_owned())));
    let last = world.events.iter().rfind(|event| matches!(event, Event::QualityReport { .. })).unwrap();
    let data = last.data(&Subject::Admin);
    assert_eq!(
        (last.kind(), &data["local"]["mos_lq"], &data["final"]),
        ("quality.report".into(), &4.2.into(), &true.into())
    );
    assert_eq!((&data["remote"]["loss_percent"], data["remote"].get("jitter_ms")), (&3.0.into(), None));
    assert!(
        last.is_seen_by(&Subject::User("bob".into())) && !last.is_seen_by(&Subject::User("alice".into()))
    );
    // A minute later it is only known whose device it was.
    world.run(70 * SECOND);
    let line = world.phones[alice].dial("1002");
    world.run(SECOND);
    world.phones[alice].bye(line);
    world.run(SECOND);
    world.phones[alice].publish(&[PACKAGE, KIND], &hers);
    world.run(SECOND);
    assert_eq!(told(&world).last(), Some(&(None, "alice*desk".to_owned())));
    world.run(70 * SECOND);
    world.check_idle();
}

#[test]
fn a_device_that_was_moved_away_from_reports_and_nobody_reports_of_a_call_of_others() {
    let (mut world, desk, mobile, bob) = three_phones(3);
    let line = world.phones[desk].dial("1002");
    world.run(SECOND);
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    let body = report_of(&world, desk, line);
    for phone in [desk, mobile, bob] {
        world.phones[phone].publish(&[PACKAGE, KIND], &body);
        world.run(SECOND);
    }
    let told = told(&world);
    assert!(told[0].0.is_some() && told[0].1 == "alice*desk", "{told:?}");
    assert_eq!(told[1..], [(None, "alice*mobile".into()), (None, "bob*desk".into())]);
}

#[test]
fn what_is_no_report_is_refused_by_its_own_code_and_strangers_are_challenged() {
    let mut world = World::new(4);
    let alice = world.phone("alice", "desk");
    type Headers = [(&'static str, &'static str)];
    let cases: [(&Headers, &str, u16); 6] = [
        (&[("Event", "presence"), ("Content-Type", "application/pidf+xml")], "<presence/>", 489),
        (&[KIND], EXAMPLE, 489),
        (&[PACKAGE, ("SIP-If-Match", "x")], "", 412),
        (&[PACKAGE, ("Content-Type", "text/plain")], EXAMPLE, 415),
        (&[PACKAGE, KIND], "VQSessionReport\r\n", 400),
        (&[PACKAGE, KIND], "", 400),
    ];
    for (headers, body, status) in cases {
        let line = world.phones[alice].publish(headers, body);
        world.run(SECOND);
        let answer = world.phones[alice].lines[line].answer.clone().unwrap();
        assert_eq!(answer.status().map(|status| status.as_u16()), Some(status), "{headers:?}");
        let value = |name| answer.header(name).map(|header| header.value_str().unwrap().into_owned());
        match status {
            489 => assert_eq!(value(HeaderName::AllowEvents).as_deref(), Some("vq-rtcpxr")),
            415 => assert_eq!(value(HeaderName::Accept).as_deref(), Some("application/vq-rtcpxr")),
            _ => {}
        }
    }
    assert_eq!(told(&world), []);
    // With a wrong password it is challenged, again and again.
    world.phones[alice].password = "guess".into();
    let line = world.phones[alice].publish(&[PACKAGE, KIND], EXAMPLE);
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(401), "{}", world.tail());
    assert_eq!(told(&world), []);
}

#[test]
fn mutated_reports_are_told_or_refused() {
    let mut world = World::new(5);
    let alice = world.phone("alice", "desk");
    let mut random = Random::from_number(6);
    for _ in 0..300 {
        let mut body = EXAMPLE.as_bytes().to_vec();
        for _ in 0..=random.below(8) {
            let at = random.below(body.len() as u64) as usize;
            match random.below(3) {
                0 => body[at] = random.below(128) as u8,
                1 => body.truncate(at.max(1)),
                _ => body.insert(at, b":=\r\n 9"[random.below(6) as usize]),
            }
        }
        let before = told(&world).len();
        let line = world.phones[alice].publish(&[PACKAGE, KIND], std::str::from_utf8(&body).unwrap());
        world.run(SECOND / 10);
        let is_told = told(&world).len() > before;
        let wanted = if is_told { 200 } else { 400 };
        assert_eq!(
            world.phones[alice].lines[line].status,
            Some(wanted),
            "{}",
            String::from_utf8_lossy(&body)
        );
    }
    assert!(told(&world).len() > 50);
}
