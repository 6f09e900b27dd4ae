//! A device is asked to call: REFER with Replaces of ours, what the phone makes of it, and every way it can fail.

use std::collections::VecDeque;
use std::time::Duration;

use super::world::{accounts, settings};
use super::{Refers, World, refer, refer_to, talking};
use crate::engine::command::{Command, CommandError, Reply, Subject};
use crate::engine::event::Event;
use crate::engine::store::Loaded;
use crate::engine::view::{MoveState, MoveView};
use crate::moving::Trigger;
use crate::moving::hold_off::Scope;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);

fn view(world: &World, id: &str) -> MoveView {
    world.engine.moves.find(id).unwrap()
}

/// The identifier in the REFER that a phone got as its first line.
fn identifier(world: &World, phone: usize) -> String {
    let uri = world.phones[phone].lines[0].moved_to.as_deref().unwrap();
    uri.strip_prefix("sip:").and_then(|rest| rest.split_once('@')).unwrap().0.to_owned()
}

/// The old call goes on as if nothing had been.
#[track_caller]
fn untouched(world: &mut World, desk: usize, bob: usize) {
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert!(!world.phones[desk].lines[0].is_over && world.engine.moves.live.is_empty());
    assert_eq!(world.engine.moves.hold_offs.len(), 0);
    assert!(world.engine.moves.identifiers.is_empty(), "what the device could call with is void");
    world.phones[bob].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(200), "the call can be changed again");
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_device_that_is_asked_to_call_gets_the_call() {
    let (mut world, desk, mobile, bob) = talking(800);
    world.captured = Some(VecDeque::new());
    let before = world.phones[bob].requests.len();
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    assert_eq!(view(&world, &id).state, MoveState::Done, "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    assert!(world.phones[desk].lines[0].reason.contains("Call moved to mobile"));
    assert!(!world.phones[mobile].requests.contains(&"INVITE".to_owned()), "it was not rung");
    assert_eq!(world.phones[bob].requests.len(), before, "the far side hears of nothing");
    let found = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let sent = found.into_iter().find(|text| text.starts_with("REFER sip:alice-mobile@")).unwrap();
    let token = identifier(&world, mobile);
    let refer_to = format!("Refer-To: <sip:{token}@example.org?Replaces={token}%3Bto-tag%3D");
    assert!(sent.contains(&refer_to) && sent.contains("%3Bfrom-tag%3D"), "{sent}");
    assert!(sent.contains("Referred-By: \"Alice\" <sip:1001@example.org>\r\n"), "{sent}");
    let notified = world.phones[mobile].finals.iter().filter(|found| found.0 == "NOTIFY");
    assert_eq!(notified.map(|found| found.1).collect::<Vec<_>>(), [200, 200]);
    let told = serde_json::to_string(&view(&world, &id).timeline).unwrap();
    assert!(told.contains("REFER") && !told.contains(&token), "{told}");
    assert_eq!(view(&world, &id).trigger, Trigger::Http);
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_phone_that_loses_the_replaces_dials_the_identifier() {
    let (mut world, _, mobile, _) = talking(801);
    world.phones[mobile].refers = Refers::Follow { with_replaces: false };
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    assert_eq!(view(&world, &id).state, MoveState::Done, "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
}

#[test]
fn a_device_that_will_not_call_leaves_the_call_where_it_is() {
    for (refers, wait) in [
        (Refers::Refuse(405), 1),
        (Refers::Refuse(603), 1),
        (Refers::Refuse(401), 1),
        (Refers::Decline, 1),
        (Refers::Silent, 33),
    ] {
        let (mut world, desk, mobile, bob) = talking(802);
        world.phones[mobile].refers = refers;
        let id = refer(&mut world, "mobile");
        world.run(wait * SECOND);
        let found = view(&world, &id);
        assert_eq!((found.state, found.reason.as_deref()), (MoveState::Refused, Some("target_refused")));
        untouched(&mut world, desk, bob);
    }
}

#[test]
fn a_device_that_never_calls_has_a_minute() {
    let (mut world, desk, mobile, bob) = talking(803);
    world.phones[mobile].refers = Refers::Ignore;
    let id = refer(&mut world, "mobile");
    world.run(59 * SECOND);
    assert_eq!(view(&world, &id).state, MoveState::Ringing, "{}", world.tail());
    world.run(2 * SECOND);
    let found = view(&world, &id);
    assert_eq!((found.state, found.reason.as_deref()), (MoveState::Refused, Some("target_silent")));
    let token = identifier(&world, mobile);
    let late = world.phones[mobile].dial(&token);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[late].status, Some(403), "{}", world.tail());
    untouched(&mut world, desk, bob);
}

#[test]
fn nobody_else_can_call_with_it_and_the_device_only_once() {
    let (mut world, _, mobile, bob) = talking(804);
    let tablet = world.phone("alice", "tablet");
    world.phones[mobile].refers = Refers::Ignore;
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    let token = identifier(&world, mobile);
    for thief in [tablet, bob] {
        let line = world.phones[thief].dial(&token);
        world.run(SECOND);
        assert_eq!(world.phones[thief].lines[line].status, Some(403), "{}", world.tail());
    }
    let misused = |event: &&Event| matches!(event, Event::Security { what: "token_misused", .. });
    assert_eq!(world.events.iter().filter(misused).count(), 2);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    let line = world.phones[mobile].dial(&token);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(view(&world, &id).state, MoveState::Done);
    let again = world.phones[mobile].dial(&token);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[again].status, Some(403), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
}

#[test]
fn while_it_is_waited_for_the_call_is_its_own_by_any_door_and_no_others() {
    let (mut world, _, mobile, _) = talking(805);
    let tablet = world.phone("alice", "tablet");
    world.phones[mobile].refers = Refers::Ignore;
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    let other = world.phones[tablet].dial("*11");
    world.run(SECOND);
    assert_eq!(world.phones[tablet].lines[other].status, Some(486), "{}", world.tail());
    let (call, ours, theirs) = {
        let live = world.engine.moves.live.values().next().unwrap();
        let dialog = &world.engine.core().legs.get(live.old).unwrap().dialog;
        (dialog.call_id.clone(), dialog.local_tag.clone(), dialog.remote_tag.clone())
    };
    let replaces = format!("{call};to-tag={ours};from-tag={theirs}");
    let line = world.phones[mobile].dial_with("bob", &[("Replaces", &replaces)], true);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(view(&world, &id).state, MoveState::Done);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
}

#[test]
fn the_old_device_may_hang_up_while_the_new_one_is_asked() {
    let (mut world, desk, mobile, bob) = talking(806);
    world.phones[mobile].refers = Refers::Ignore;
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    world.phones[desk].bye(0);
    world.run(SECOND);
    assert!(!world.phones[bob].lines[0].is_over, "{}", world.tail());
    let token = identifier(&world, mobile);
    let line = world.phones[mobile].dial(&token);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(view(&world, &id).state, MoveState::Done);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
    world.phones[bob].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn when_nobody_is_left_the_far_side_is_not_left_alone() {
    let (mut world, desk, mobile, bob) = talking(807);
    world.phones[mobile].refers = Refers::Ignore;
    refer(&mut world, "mobile");
    world.run(SECOND);
    world.phones[desk].bye(0);
    world.run(61 * SECOND);
    assert!(world.phones[bob].lines[0].is_over, "{}", world.tail());
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_move_that_is_taken_back_takes_its_identifier_with_it() {
    let (mut world, desk, mobile, bob) = talking(808);
    world.phones[mobile].refers = Refers::Ignore;
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    world.ask(Subject::User("alice".into()), Command::UndoMove { id: id.as_str().into() });
    world.run(SECOND);
    let found = view(&world, &id);
    assert_eq!((found.state, found.reason.as_deref()), (MoveState::Refused, Some("cancelled")));
    let token = identifier(&world, mobile);
    let line = world.phones[mobile].dial(&token);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(403), "{}", world.tail());
    untouched(&mut world, desk, bob);
}

#[test]
fn a_far_side_that_refuses_keeps_the_old_call() {
    let (mut world, desk, mobile, bob) = talking(809);
    world.phones[mobile].codecs = "9";
    world.phones[bob].reinvite = 488;
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    assert_eq!(view(&world, &id).state, MoveState::Refused, "{}", world.tail());
    assert_eq!(world.phones[mobile].lines[1].status, Some(488), "{}", world.tail());
    untouched(&mut world, desk, bob);
}

#[test]
fn a_device_that_is_held_off_or_not_there_is_not_asked() {
    let (mut world, desk, mobile, _) = talking(810);
    assert!(matches!(refer_to(&mut world, "tablet"), Reply::Error(CommandError::Refused { .. })));
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    let reply = refer_to(&mut world, "desk");
    assert!(matches!(reply, Reply::Error(_)), "{reply:?}");
    assert!(
        format!("{reply:?}").contains("HoldOff") || format!("{reply:?}").contains("hold_off"),
        "{reply:?}"
    );
    assert!(!world.phones[desk].requests.contains(&"REFER".to_owned()));
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
}

#[test]
fn a_report_from_elsewhere_or_of_another_package_ends_nothing() {
    let (mut world, desk, mobile, bob) = talking(811);
    world.phones[mobile].refers = Refers::Ignore;
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    let told = |package| {
        [("Event", package), ("Subscription-State", "terminated"), ("Content-Type", "message/sipfrag")]
    };
    world.phones[mobile].request(0, &Method::Notify, &told("presence"), b"SIP/2.0 603 Decline\r\n");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].finals.last().map(|found| found.1), Some(489), "{}", world.tail());
    let mut stolen = world.phones[mobile].lines[0].dialog.clone();
    stolen.flow = world.phones[bob].flow();
    let from = "203.0.113.66:5060".parse().unwrap();
    stolen.sent_by = "203.0.113.66:5060".into();
    let mut writer = stolen.request(&Method::Notify, "z9hG4bKforged");
    for (name, value) in told("refer") {
        writer.header(name, value);
    }
    writer.raw_body(b"SIP/2.0 603 Decline\r\n");
    let forged = writer.finish();
    let answers = world.exchange(from, forged);
    assert_eq!(answers[0].status().map(|status| status.as_u16()), Some(401), "{}", world.tail());
    assert_eq!(view(&world, &id).state, MoveState::Ringing);
    stolen.local_tag = "guessed".into();
    let bytes = stolen.request(&Method::Notify, "z9hG4bKforged2").finish();
    let answers = world.exchange(from, bytes);
    assert_eq!(answers[0].status().map(|status| status.as_u16()), Some(481), "{}", world.tail());
    world.phones[mobile].request(0, &Method::Notify, &told("refer"), b"SIP/2.0 603 Decline\r\n");
    world.run(SECOND);
    assert_eq!(view(&world, &id).state, MoveState::Refused, "{}", world.tail());
    untouched(&mut world, desk, bob);
}

#[test]
fn who_lost_another_call_meanwhile_does_not_get_this_one() {
    let mut settings = settings();
    settings.moving.hold_off_scope = Scope::System;
    let mut world = World::with(820, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    let (tablet, bob) = (world.phone("alice", "tablet"), world.phone("bob", "desk"));
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.phones[mobile].refers = Refers::Ignore;
    let id = refer(&mut world, "mobile");
    world.run(SECOND);
    let token = identifier(&world, mobile);
    let other = world.phones[mobile].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[other].status, Some(200), "{}", world.tail());
    world.phones[tablet].dial("*11");
    world.run(SECOND);
    assert!(world.phones[mobile].lines[other].is_over, "{}", world.tail());
    let line = world.phones[mobile].dial(&token);
    world.run(SECOND);
    let refused = &world.phones[mobile].lines[line];
    assert_eq!(refused.status, Some(403), "{}", world.tail());
    assert_eq!(view(&world, &id).state, MoveState::Refused, "its identifier is spent: nothing is waited for");
    assert!(!world.phones[desk].lines[0].is_over && !world.phones[bob].lines[0].is_over);
}
