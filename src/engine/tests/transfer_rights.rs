//! What a transfer may not do: shed a hold-off, reach for another device's call, make a phone believe what is not so, call
//! for help in another's name, cost somebody who asked for nothing.

use std::time::Duration;

use super::three::Three;
use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, World, talking};
use crate::call::record::Direction;
use crate::engine::command::{Command, Subject};
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);

#[test]
fn a_hold_off_goes_with_who_is_transferred() {
    for attended in [false, true] {
        let mut three = Three::talking(1440);
        let mobile = three.world.phone("alice", "mobile");
        three.world.phones[mobile].dial("*11");
        three.world.run(SECOND);
        assert_eq!(three.world.heard_by("alice*mobile"), ["bob*desk"], "{}", three.world.tail());
        // Bob hands Alice on to Carol: her mobile stays, her desk is still held off.
        if attended {
            let line = three.world.phones[three.bob].dial("carol");
            three.world.run(SECOND);
            let dialog = &three.world.phones[three.bob].lines[line].dialog;
            let to = format!("<sip:carol@example.org?Replaces={}>", dialog.call_id);
            three.refer(three.bob, &to);
        } else {
            three.refer(three.bob, "<sip:carol@example.org>");
        }
        three.world.run(SECOND);
        assert_eq!(three.world.heard_by("alice*mobile"), ["carol*desk"], "{}", three.world.tail());
        let desk = three.alice;
        let line = three.world.phones[desk].dial("*11");
        // And what it says in the dialog that it has lost.
        three.world.phones[desk].request(0, &Method::Info, &[], b"");
        three.world.run(SECOND);
        let found = &three.world.phones[desk].lines[line];
        assert_eq!(found.status, Some(403), "{attended}\n{}", three.world.tail());
        assert!(found.retry_after.is_some_and(|left| (20..=30).contains(&left)), "{:?}", found.retry_after);
        let info = three.world.phones[desk].finals.last().unwrap();
        assert_eq!((&*info.0, info.1), ("INFO", 403), "{}", three.world.tail());
        // When it is over, the call is Alice's as any.
        three.world.run(40 * SECOND);
        three.world.phones[desk].dial("*11");
        three.world.run(2 * SECOND);
        assert_eq!(three.world.heard_by("alice*desk"), ["carol*desk"], "{}", three.world.tail());
        three.world.phones[three.carol].bye(0);
        three.world.run(TWO_MINUTES);
        three.world.check_idle();
    }
}

#[test]
fn a_move_is_taken_back_also_after_a_transfer() {
    for by_code in [false, true] {
        let mut three = Three::talking(1441);
        let mobile = three.world.phone("alice", "mobile");
        three.world.phones[mobile].dial("*11");
        three.world.run(3 * SECOND);
        three.refer(three.bob, "<sip:carol@example.org>");
        three.world.run(SECOND);
        if by_code {
            three.world.phones[mobile].dial("*13");
        } else {
            let id = three.world.engine.moves.recent.back().unwrap().id.clone();
            three.world.ask(Subject::User("alice".into()), Command::UndoMove { id: id.into() });
        }
        three.world.run(3 * SECOND);
        assert_eq!(three.world.heard_by("alice*desk"), ["carol*desk"], "{}", three.world.tail());
        assert!(three.world.heard_by("alice*mobile").is_empty());
        three.world.phones[three.carol].bye(0);
        three.world.run(TWO_MINUTES);
        three.world.check_idle();
    }
}

#[test]
fn a_device_hands_on_no_call_of_another_one() {
    let (mut world, desk, mobile, bob) = talking(1442);
    world.phones[mobile].dial("*11");
    world.run(3 * SECOND);
    // The desk has lost the call to Bob; on its second line it calls him anew.
    let line = world.phones[desk].dial("bob");
    world.run(SECOND);
    let taken = world.phones[mobile].lines[0].dialog.clone();
    for to in [format!("<sip:bob@example.org?Replaces={}>", taken.call_id), format!("<{}>", taken.target)] {
        world.phones[desk].request(line, &Method::Refer, &[("Refer-To", &to)], b"");
        world.run(SECOND);
        let status = world.phones[desk].finals.last().unwrap().1;
        assert!([404, 481].contains(&status), "{to}: {status}\n{}", world.tail());
    }
    assert!(!world.phones[mobile].lines[0].is_over);
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    for line in 0..2 {
        world.phones[bob].bye(line);
    }
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn nobody_makes_the_phone_at_the_other_end_believe_an_event() {
    let (mut world, desk, _, bob) = talking(1443);
    let before = world.phones[desk].requests.len();
    for event in ["check-sync", "message-summary", "refer", "dialog", "ua-profile"] {
        let headers = [
            ("Event", event),
            ("Subscription-State", "terminated;reason=noresource"),
            ("Content-Type", "message/sipfrag"),
        ];
        world.phones[bob].request(0, &Method::Notify, &headers, b"SIP/2.0 200 OK\r\n");
        world.run(SECOND);
        let told = world.phones[bob].finals.last().unwrap();
        assert_eq!((&*told.0, told.1), ("NOTIFY", 489), "{event}\n{}", world.tail());
    }
    assert_eq!(world.phones[desk].requests.len(), before, "{:?}", world.phones[desk].requests);
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn an_own_number_is_a_push_however_it_is_written() {
    for to in ["<tel:1001>", "<tel:+1-001>", "<sip:00777@example.org>", "<sip:1001@example.org;user=phone>"] {
        for is_held in [false, true] {
            let mut settings = settings();
            settings.call.routes =
                ["^00777$", "^\\+1001$"].map(|number| leads(number, &["user:alice"])).to_vec();
            let mut world = World::with(1444, settings, accounts(&["alice", "bob"]), &Loaded::default());
            let (desk, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
            world.phones[desk].dial("bob");
            world.run(SECOND);
            let refer = |world: &mut World| {
                world.phones[desk].request(0, &Method::Refer, &[("Refer-To", to)], b"");
                world.run(SECOND);
                world.phones[desk].finals.last().unwrap().1
            };
            // Nobody else is there.
            assert_eq!(refer(&mut world), 480, "{to}\n{}", world.tail());
            let mobile = world.phone("alice", "mobile");
            if is_held {
                // The only other device is the one that has lost the call.
                world.phones[mobile].dial("*11");
                world.run(3 * SECOND);
                world.phones[mobile].request(0, &Method::Refer, &[("Refer-To", to)], b"");
                world.run(SECOND);
                assert_eq!(world.phones[mobile].finals.last().unwrap().1, 403, "{}", world.tail());
            } else {
                assert_eq!(refer(&mut world), 202, "{to}\n{}", world.tail());
            }
            assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{to}\n{}", world.tail());
            let moves =
                world.engine.moves.recent.iter().filter(|view| view.trigger == crate::moving::Trigger::Refer);
            assert!(is_held || moves.count() == 1 || world.engine.moves.live.len() == 1);
            world.phones[bob].bye(0);
            world.run(TWO_MINUTES);
            world.check_idle();
        }
    }
}

#[test]
fn nobody_is_transferred_to_an_emergency_service() {
    let mut settings = settings();
    let peer = "203.0.113.9:5060".parse().unwrap();
    trunk_to(&mut settings, peer);
    settings.call.routes = vec![leads("^112$", &["trunk:outside"])];
    let mut three = Three::talking_in(1445, settings);
    for to in ["<sip:112@example.org>", "<tel:112>"] {
        three.refer(three.alice, to);
        assert_eq!(three.refer_status(three.alice), Some(403), "{to}\n{}", three.world.tail());
    }
    assert!(three.world.outside.is_empty());
    three.untouched();
    three.end();
}

#[test]
fn who_transfers_pays() {
    for attended in [false, true] {
        let mut settings = settings();
        let peer = "203.0.113.9:5060".parse().unwrap();
        trunk_to(&mut settings, peer);
        let mut three = Three::talking_in(1446, settings);
        let outside = three.world.outsider("carol", peer);
        three.world.phones[outside].answer = Answer::Now;
        if attended {
            let line = three.world.phones[three.alice].dial("00123");
            three.world.run(SECOND);
            let dialog = &three.world.phones[three.alice].lines[line].dialog;
            let to = format!("<sip:00123@example.org?Replaces={}>", dialog.call_id);
            three.refer(three.alice, &to);
        } else {
            three.refer(three.alice, "<sip:00123@example.org>");
        }
        assert_eq!(three.told(three.alice).last(), Some(&"200"), "{}", three.world.tail());
        three.world.phones[three.bob].bye(0);
        three.world.run(10 * SECOND);
        let record = three.world.records.last().unwrap();
        assert_eq!(record.direction, Direction::Outbound, "{record:?}");
        assert_eq!(record.transferred_by.as_deref(), Some("alice"), "{record:?}");
        assert_eq!((record.user.as_deref(), record.trunk.as_deref()), (Some("alice"), Some("outside")));
        let first = three.world.records.first().unwrap();
        assert_eq!((first.user.as_deref(), &first.transferred_by), (Some("alice"), &None));
        three.end();
    }
    // What came in by a trunk and goes out by one is a call out, and somebody's.
    let mut settings = settings();
    let peer = "203.0.113.9:5060".parse().unwrap();
    trunk_to(&mut settings, peer);
    let mut world = World::with(1447, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let outside = world.outsider("bob", peer);
    world.phones[outside].dial("alice");
    world.run(SECOND);
    world.phones[alice].request(0, &Method::Refer, &[("Refer-To", "<sip:00123@example.org>")], b"");
    world.run(SECOND);
    world.phones[outside].bye(0);
    world.run(10 * SECOND);
    let record = world.records.last().unwrap();
    assert_eq!(
        (record.direction, record.user.as_deref()),
        (Direction::Outbound, Some("alice")),
        "{record:?}"
    );
    world.run(TWO_MINUTES);
    world.check_idle();
}

/// A call that lives goes on to its end; one that is handed on is a new one, at the cost of who hands it on.
#[test]
fn who_is_no_more_hands_on_nothing() {
    for to in ["<sip:0900123@example.org>", "<sip:carol@example.org>"] {
        let mut settings = settings();
        trunk_to(&mut settings, "203.0.113.1:5060".parse().unwrap());
        settings.call.routes = vec![leads("^0", &["trunk:outside"])];
        let mut three = Three::talking_in(1450, settings.clone());
        let outside = three.world.outsider("bob", "203.0.113.1:5060".parse().unwrap());
        three.world.reconfigure(settings, &accounts(&["alice", "carol"]));
        three.refer(three.bob, to);
        assert_eq!(three.refer_status(three.bob), Some(403), "{}", three.world.tail());
        assert!(three.world.phones[outside].lines.is_empty(), "nobody is called at his cost");
        assert!(three.world.phones[three.carol].lines.is_empty());
        assert_eq!(three.world.heard_by("alice*desk"), ["bob*desk"], "the call goes on");
        // Who is there still does so.
        three.refer(three.alice, "<sip:carol@example.org>");
        assert_eq!(three.refer_status(three.alice), Some(202), "{}", three.world.tail());
    }
}

#[test]
fn a_trunk_that_is_no_more_hands_on_nothing() {
    for is_gone in [false, true] {
        let mut settings = settings();
        trunk_to(&mut settings, "203.0.113.1:5060".parse().unwrap()).policy.may_refer = true;
        settings.call.routes = vec![leads("^0", &["trunk:outside"])];
        let names = ["alice", "bob"];
        let mut world = World::with(1451, settings.clone(), accounts(&names), &Loaded::default());
        let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
        let far = world.outsider("bob", "203.0.113.1:5060".parse().unwrap());
        let line = world.phones[alice].dial("0049");
        world.run(SECOND);
        assert!(world.phones[alice].lines[line].is_up, "{}", world.tail());
        if is_gone {
            (settings.call.trunks, settings.call.routes) = (Vec::new(), Vec::new());
            world.reconfigure(settings, &accounts(&names));
        }
        world.phones[far].request(0, &Method::Refer, &[("Refer-To", "<sip:bob@example.org>")], b"");
        world.run(SECOND);
        let refer = world.phones[far].finals.iter().rfind(|found| found.0 == "REFER").map(|found| found.1);
        assert_eq!(refer, Some(if is_gone { 403 } else { 202 }), "{}", world.tail());
        assert_eq!(world.phones[bob].lines.is_empty(), is_gone);
    }
}
