//! SUBSCRIBE to the dialog package: who is told what, and when.

use std::time::Duration;

use super::world::{accounts, settings};
use super::{Answer, World, three_phones};
use crate::base::{Random, Timestamp, UnixMillis};
use crate::engine::Engine;
use crate::engine::command::{Command, Reply, Subject};
use crate::engine::event::Event;
use crate::engine::store::Loaded;
use crate::moving::hold_off::Scope;
use crate::registrar::accounts::{Origin, Trust};
use crate::wire::dialog_info::{Dialog, DialogInfo, DialogState, Direction, Movable};
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

fn try_subscribe(world: &mut World, phone: usize, target: &str, event: &str, expires: u32) -> (usize, u16) {
    let expires = expires.to_string();
    let headers = [("Event", event), ("Expires", expires.as_str())];
    let line = world.phones[phone].request_to(target, &Method::Subscribe, &headers);
    world.run(SECOND);
    let status = world.phones[phone].lines[line].status;
    (line, status.unwrap_or_else(|| panic!("no answer\n{}", world.tail())))
}

#[track_caller]
pub(super) fn subscribe(world: &mut World, phone: usize, target: &str) -> usize {
    let (line, status) = try_subscribe(world, phone, target, "dialog", 3600);
    assert_eq!(status, 200, "{}", world.tail());
    line
}

fn refresh(world: &mut World, phone: usize, line: usize, expires: &str) {
    let headers = [("Event", "dialog"), ("Expires", expires)];
    world.phones[phone].request(line, &Method::Subscribe, &headers, b"");
    world.run(SECOND);
}

/// What a phone was told, all of it.
fn told(world: &World, phone: usize) -> Vec<DialogInfo> {
    let bodies = world.phones[phone].notified.iter();
    bodies.map(|(_, body)| DialogInfo::read(body.as_bytes()).unwrap()).collect()
}

#[track_caller]
fn last(world: &World, phone: usize) -> Vec<Dialog> {
    told(world, phone).pop().unwrap_or_else(|| panic!("nothing was told\n{}", world.tail())).dialogs
}

#[track_caller]
pub(super) fn only(world: &World, phone: usize) -> Dialog {
    let mut dialogs = last(world, phone);
    assert_eq!(dialogs.len(), 1, "{dialogs:?}");
    dialogs.remove(0)
}

fn state(world: &World, phone: usize) -> &str {
    world.phones[phone].notified.last().map_or("", |(state, _)| state)
}

pub(super) fn no(reason: &str) -> Option<Movable> {
    Some(Movable::No { reason: reason.into(), retry_after: None })
}

#[test]
fn the_owner_is_told_of_the_call_with_identifiers_of_our_own() {
    let (mut world, desk, mobile, bob) = three_phones(400);
    subscribe(&mut world, mobile, "alice");
    assert_eq!((last(&world, mobile).len(), state(&world, mobile)), (0, "active;expires=3600"));
    world.phones[bob].answer = Answer::Ring;
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let calling = only(&world, mobile);
    assert_eq!((calling.state, calling.direction), (DialogState::Proceeding, Some(Direction::Initiator)));
    assert_eq!((calling.movable, calling.call_id), (no("not-answered"), None));
    world.phones[bob].pick_up(0);
    world.run(SECOND);
    let dialog = only(&world, mobile);
    assert_eq!((dialog.state, &dialog.movable), (DialogState::Confirmed, &Some(Movable::Yes)));
    assert_eq!(dialog.id, calling.id, "the dialog keeps its name");
    let (local, remote) = (dialog.local.unwrap(), dialog.remote.unwrap());
    assert_eq!((local.display.as_str(), local.identity.as_str()), ("desk", "sip:alice@example.org"));
    assert_eq!((remote.display.as_str(), remote.identity.as_str()), ("Bob", "sip:bob@example.org"));
    assert_eq!(local.target, remote.target);
    assert_eq!(local.target, format!("sip:{}@example.org", dialog.call_id.unwrap()));
    for line in world.phones[desk].lines.iter().chain(&world.phones[bob].lines) {
        let dialog = &line.dialog;
        for secret in [&dialog.call_id, &dialog.local_tag, &dialog.remote_tag] {
            assert!(world.phones[mobile].notified.iter().all(|(_, body)| !body.contains(&**secret)));
        }
    }
    world.phones[desk].bye(0);
    world.run(SECOND);
    assert!(last(&world, mobile).is_empty());
    let versions: Vec<u32> = told(&world, mobile).iter().map(|document| document.version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    assert_eq!(world.phones[mobile].notify_numbers, versions, "both begin at the time of day");
}

#[test]
fn a_lamp_that_is_pressed_brings_the_call() {
    for by_replaces in [true, false] {
        let (mut world, desk, mobile, _) = three_phones(401);
        subscribe(&mut world, mobile, "alice");
        world.phones[desk].dial("bob");
        world.run(SECOND);
        let dialog = only(&world, mobile);
        let token = dialog.call_id.unwrap();
        let (to, from) = (dialog.local_tag.unwrap(), dialog.remote_tag.unwrap());
        let replaces = format!("{token};to-tag={to};from-tag={from}");
        let line = if by_replaces {
            world.phones[mobile].dial_with("alice", &[("Replaces", &replaces)], true)
        } else {
            world.phones[mobile].dial(&token)
        };
        world.run(SECOND);
        assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
        assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
        assert_eq!(only(&world, mobile).movable, no("own"));
        assert!(world.phones[desk].lines[0].is_over);
    }
}

#[test]
fn an_identifier_works_for_the_device_that_it_was_given_to() {
    let (mut world, desk, mobile, bob) = three_phones(402);
    let tablet = world.phone("alice", "tablet");
    subscribe(&mut world, mobile, "alice");
    subscribe(&mut world, tablet, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let token = only(&world, mobile).call_id.unwrap();
    assert_ne!(Some(&token), only(&world, tablet).call_id.as_ref());
    for thief in [tablet, bob] {
        let line = world.phones[thief].dial(&token);
        world.run(SECOND);
        assert_eq!(world.phones[thief].lines[line].status, Some(403), "{}", world.tail());
    }
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
    let misused = |event: &&Event| matches!(event, Event::Security { what: "token_misused", .. });
    assert_eq!(world.events.iter().filter(misused).count(), 2);
}

#[test]
fn an_identifier_that_is_spent_in_vain_is_replaced() {
    let (mut world, desk, mobile, _) = three_phones(403);
    subscribe(&mut world, mobile, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let first = only(&world, mobile).call_id.unwrap();
    world.phones[mobile].codecs = "9";
    let line = world.phones[mobile].dial(&first);
    world.run(SECOND);
    assert!(world.phones[mobile].lines[line].status.is_some_and(|status| status >= 400), "{}", world.tail());
    let second = only(&world, mobile).call_id.unwrap();
    assert_ne!(first, second);
    world.phones[mobile].codecs = "0 8 101";
    let line = world.phones[mobile].dial(&first);
    world.run(2 * SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(403), "it works once");
    let line = world.phones[mobile].dial(&second);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
}

#[test]
fn identifiers_are_told_anew_before_they_run_out() {
    let (mut world, desk, mobile, _) = three_phones(404);
    subscribe(&mut world, mobile, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let before = world.phones[mobile].notified.len();
    world.run(300 * SECOND);
    let since = world.phones[mobile].notified.len() - before;
    assert!((6..=7).contains(&since), "every 45 s: {since}");
    let token = only(&world, mobile).call_id.unwrap();
    let line = world.phones[mobile].dial(&token);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
}

#[test]
fn what_is_not_ones_own_looks_like_what_is_not_there() {
    let (mut world, _, mobile, bob) = three_phones(405);
    for (phone, target) in [
        (bob, "alice"),
        (bob, "1001"),
        (bob, "alice*desk"),
        (bob, "nobody"),
        (mobile, "bob"),
        (mobile, "*12"),
    ] {
        assert_eq!(try_subscribe(&mut world, phone, target, "dialog", 600).1, 404, "{target}");
    }
    let mut phrases: Vec<_> = world.phones[bob].lines.iter().map(|line| line.phrase.clone()).collect();
    phrases.dedup();
    assert_eq!(phrases.len(), 1);
    assert!(world.engine.watch.is_empty());
}

#[test]
fn who_is_on_the_list_looks_and_takes_nothing() {
    let mut accounts = accounts(&["alice", "bob", "carol"]);
    let mut alice = (**accounts.by_name("alice").unwrap()).clone();
    alice.watchers = vec!["carol".into()];
    accounts.put(alice).unwrap();
    let mut world = World::with(406, settings(), accounts, &Loaded::default());
    let (desk, _) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let carol = world.phone("carol", "desk");
    subscribe(&mut world, carol, "1001");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    assert_eq!(told(&world, carol).pop().unwrap().entity, "sip:1001@example.org");
    let dialog = only(&world, carol);
    assert_eq!(dialog.state, DialogState::Confirmed);
    assert_eq!((dialog.call_id, dialog.movable), (None, None));
    assert!(dialog.local.is_some_and(|local| local.target.is_empty()));
    // The list is looked at for every NOTIFY.
    let alice = (**world.engine.core().accounts.by_name("alice").unwrap()).clone();
    let changed = crate::registrar::accounts::Account { watchers: Vec::new(), ..alice };
    world.engine.core.accounts.put(changed).unwrap();
    world.phones[desk].bye(0);
    world.run(SECOND);
    assert_eq!(state(&world, carol), "terminated;reason=rejected");
    assert!(world.engine.watch.is_empty());
}

#[test]
fn ones_own_leg_is_not_movable_and_every_call_is_in_one_document() {
    let (mut world, desk, mobile, _) = three_phones(407);
    let tablet = world.phone("alice", "tablet");
    subscribe(&mut world, mobile, "alice");
    subscribe(&mut world, tablet, "alice*desk");
    world.phones[desk].dial("bob");
    world.phones[mobile].dial("bob");
    world.run(SECOND);
    let dialogs = last(&world, mobile);
    let mut words: Vec<_> = dialogs
        .iter()
        .map(|dialog| (dialog.local.as_ref().unwrap().display.as_str(), dialog.movable == Some(Movable::Yes)))
        .collect();
    words.sort_unstable();
    assert_eq!(words, [("desk", true), ("mobile", false)]);
    assert!(dialogs.iter().any(|dialog| dialog.movable == no("own") && dialog.call_id.is_none()));
    assert_eq!(only(&world, tablet).local.unwrap().display, "desk", "of the one device");
}

#[test]
fn a_call_that_rings_at_the_desk_can_be_taken_elsewhere_and_is_early() {
    let (mut world, desk, _, bob) = three_phones(408);
    let tablet = world.phone("alice", "tablet");
    for phone in [desk, 1] {
        world.phones[phone].answer = Answer::Ring;
    }
    world.phones[tablet].answer = Answer::Silent;
    subscribe(&mut world, tablet, "alice*desk");
    subscribe(&mut world, tablet, "*11");
    world.phones[bob].dial("alice");
    world.run(SECOND);
    let early = told(&world, tablet).into_iter().flat_map(|document| document.dialogs);
    let early: Vec<_> = early.filter(|dialog| dialog.state == DialogState::Early).collect();
    assert_eq!(early.len(), 1, "the lamp is never early");
    assert_eq!((early[0].direction, &early[0].movable), (Some(Direction::Recipient), &Some(Movable::Yes)));
}

#[test]
fn the_lamp_is_lit_while_there_is_a_call_to_take() {
    for code in ["*11", "%2A11", "*11%23"] {
        let (mut world, desk, mobile, bob) = three_phones(409);
        world.phones[bob].answer = Answer::Ring;
        subscribe(&mut world, mobile, code);
        subscribe(&mut world, desk, code);
        assert_eq!(only(&world, mobile).state, DialogState::Terminated);
        assert_eq!(told(&world, mobile)[0].entity, "sip:*11@example.org");
        world.phones[desk].dial("bob");
        world.run(SECOND);
        assert_eq!(world.phones[mobile].notified.len(), 1, "what looks the same is not told");
        world.phones[bob].pick_up(0);
        world.run(SECOND);
        let lit = only(&world, mobile);
        assert_eq!((lit.state, lit.call_id), (DialogState::Confirmed, None));
        assert_eq!(lit.remote.unwrap().target, "sip:*11@example.org", "a press dials the code");
        assert_eq!(only(&world, desk).state, DialogState::Terminated, "it is on this device");
        world.phones[mobile].dial("*11");
        world.run(SECOND);
        assert_eq!(only(&world, mobile).state, DialogState::Terminated, "{}", world.tail());
        assert_eq!(only(&world, desk).state, DialogState::Terminated, "held off");
        world.run(31 * SECOND);
        assert_eq!(only(&world, desk).state, DialogState::Confirmed, "free again\n{}", world.tail());
        let states: Vec<_> = told(&world, mobile).iter().map(|document| document.dialogs[0].state).collect();
        assert_eq!(states, [DialogState::Terminated, DialogState::Confirmed, DialogState::Terminated]);
    }
}

#[test]
fn a_shared_device_sees_that_it_is_locked() {
    let mut accounts = accounts(&["alice", "bob"]);
    let mut alice = (**accounts.by_name("alice").unwrap()).clone();
    alice.devices[1].trust = Trust::Shared;
    accounts.put(alice).unwrap();
    let mut world = World::with(410, settings(), accounts, &Loaded::default());
    let (desk, room) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    world.phone("bob", "desk");
    subscribe(&mut world, room, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let dialog = only(&world, room);
    assert_eq!((dialog.movable, dialog.call_id), (no("locked"), None));
}

#[test]
fn the_old_device_sees_its_hold_off_and_may_not_name_the_call() {
    let (mut world, desk, mobile, _) = three_phones(411);
    subscribe(&mut world, desk, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let call = world.phones[desk].lines[1].dialog.call_id.to_string();
    let contact = world.phones[desk].lines[1].dialog.target.to_string();
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    let dialog = only(&world, desk);
    let Some(Movable::No { reason, retry_after }) = &dialog.movable else { panic!("{dialog:?}") };
    assert_eq!((reason.as_str(), dialog.call_id.as_deref()), ("hold-off", None));
    assert!(retry_after.is_some_and(|seconds| (29..=30).contains(&seconds)));
    let event = format!("dialog;call-id=\"{call}\"");
    assert_eq!(try_subscribe(&mut world, desk, "alice", &event, 600).1, 403);
    assert!(world.phones[desk].finals.last().unwrap().2.is_some_and(|seconds| seconds <= 30));
    let user = contact.strip_prefix("sip:").and_then(|rest| rest.split('@').next()).unwrap();
    assert_eq!(try_subscribe(&mut world, desk, user, "dialog", 600).1, 403);
    assert_eq!(
        try_subscribe(&mut world, desk, "alice", "dialog;id=2", 600).1,
        200,
        "one's calls are no access"
    );
    assert_eq!(world.engine.counters().hold_off_rejections, 2);
    world.run(31 * SECOND);
    assert_eq!(only(&world, desk).movable, Some(Movable::Yes), "{}", world.tail());
    assert_eq!(try_subscribe(&mut world, desk, "alice", &event, 600).1, 200);
}

#[test]
fn a_hold_off_of_everything_covers_subscriptions() {
    let mut settings = settings();
    settings.moving.hold_off_scope = Scope::System;
    let mut world = World::with(412, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    world.phone("bob", "desk");
    let watch = subscribe(&mut world, desk, "alice");
    world.phones[desk].dial("bob");
    world.run(SECOND);
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert_eq!(try_subscribe(&mut world, desk, "*11", "dialog", 600).1, 403);
    refresh(&mut world, desk, watch, "600");
    assert_eq!(world.phones[desk].lines[watch].status, Some(403));
    refresh(&mut world, desk, watch, "0");
    assert_eq!(world.phones[desk].lines[watch].status, Some(200), "who ends it may");
    assert_eq!(state(&world, desk), "terminated;reason=timeout");
}

#[test]
fn a_subscription_is_refreshed_ended_and_runs_out() {
    let (mut world, _, mobile, _) = three_phones(413);
    let line = subscribe(&mut world, mobile, "alice");
    refresh(&mut world, mobile, line, "120");
    assert_eq!((world.phones[mobile].notified.len(), state(&world, mobile)), (2, "active;expires=120"));
    refresh(&mut world, mobile, line, "30");
    assert_eq!(world.phones[mobile].lines[line].status, Some(423));
    assert_eq!(world.phones[mobile].notified.len(), 2);
    world.run(120 * SECOND);
    assert_eq!(state(&world, mobile), "terminated;reason=timeout");
    refresh(&mut world, mobile, line, "120");
    assert_eq!(world.phones[mobile].lines[line].status, Some(481), "it is over");
    let line = subscribe(&mut world, mobile, "alice");
    refresh(&mut world, mobile, line, "0");
    assert_eq!(state(&world, mobile), "terminated;reason=timeout");
    assert!(world.engine.watch.is_empty());
    let before = world.phones[mobile].notified.len();
    let (_, status) = try_subscribe(&mut world, mobile, "alice", "dialog", 0);
    assert_eq!((status, world.phones[mobile].notified.len()), (200, before + 1), "a fetch is one NOTIFY");
    assert!(world.engine.watch.is_empty());
    assert_eq!(try_subscribe(&mut world, mobile, "alice", "dialog", 10).1, 423);
    // Four subscriptions, and the numbers never went back: a phone that remembers them finds none too low.
    let versions: Vec<u32> = told(&world, mobile).iter().map(|document| document.version).collect();
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    assert!(world.phones[mobile].notify_numbers.windows(2).all(|pair| pair[0] < pair[1]));
    world.run(70 * SECOND);
    world.check_idle();
}

#[test]
fn numbers_go_on_over_a_quick_restart() {
    let versions = |world: &World, phone: usize| -> Vec<u32> {
        told(world, phone).iter().map(|document| document.version).collect()
    };
    let (mut world, desk, mobile, _) = three_phones(422);
    subscribe(&mut world, mobile, "alice");
    world.run(3 * SECOND);
    for _ in 0..4 {
        let line = world.phones[desk].dial("bob");
        world.run(Duration::from_millis(60));
        world.phones[desk].bye(line);
        world.run(Duration::from_millis(60));
    }
    let before = versions(&world, mobile).pop().unwrap();
    // A tenth of a second later the node is up again.
    let now = crate::base::Now { at: Timestamp::from_micros(5), unix: UnixMillis(world.now.unix.0 + 100) };
    let accounts = accounts(&["alice", "bob"]);
    let after = Engine::new(settings(), accounts, &Loaded::default(), 0, Random::from_number(1), now);
    assert!(after.watch.first_number(now) > before, "{} after {before}", after.watch.first_number(now));
    subscribe(&mut world, mobile, "alice");
    assert!(versions(&world, mobile).pop().unwrap() > before);
}

#[test]
fn what_is_not_the_dialog_package_is_refused_with_what_is() {
    let (mut world, desk, mobile, _) = three_phones(414);
    for event in ["presence", "message-summar", "Dialog"] {
        assert_eq!(try_subscribe(&mut world, mobile, "alice", event, 600).1, 489, "{event}");
    }
    let headers = [("Event", "dialog"), ("Accept", "application/pidf+xml")];
    let line = world.phones[mobile].request_to("alice", &Method::Subscribe, &headers);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(406));
    let headers = [("Event", "dialog"), ("Accept", "text/plain, application/dialog-info+xml;q=0.5")];
    let line = world.phones[mobile].request_to("alice", &Method::Subscribe, &headers);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(200));
    world.phones[desk].dial("bob");
    world.run(SECOND);
    for (event, status) in [("dialog", 403), ("presence", 489)] {
        world.phones[desk].request(0, &Method::Subscribe, &[("Event", event)], b"");
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[0].status, Some(status), "in the dialog of a call");
    }
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
}

#[test]
fn a_watcher_that_knows_nothing_of_it_is_forgotten() {
    let (mut world, _, mobile, _) = three_phones(415);
    world.phones[mobile].notify_answer = 481;
    subscribe(&mut world, mobile, "alice");
    assert!(world.engine.watch.is_empty());
    let answered = world.phones[mobile].notified.len();
    world.run(70 * SECOND);
    assert_eq!(world.phones[mobile].notified.len(), answered);
}

#[test]
fn a_slow_watcher_is_told_once_of_all_that_changed_and_given_up_after_three() {
    let (mut world, desk, mobile, _) = three_phones(416);
    subscribe(&mut world, mobile, "alice");
    world.phones[mobile].notify_answer = 0;
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let before = world.phones[mobile].notified.len();
    for _ in 0..3 {
        let line = world.phones[desk].dial("bob");
        world.run(SECOND);
        world.phones[desk].bye(line);
        world.run(SECOND);
    }
    assert_eq!(world.phones[mobile].notified.len(), before, "one is in flight");
    world.run(35 * SECOND);
    assert_eq!(world.engine.watch.len(), 1, "one timeout does not end it");
    assert!(world.phones[mobile].notified.len() > before);
    world.phones[mobile].notify_answer = 200;
    world.run(40 * SECOND);
    assert_eq!(only(&world, mobile).state, DialogState::Confirmed);
    world.phones[mobile].notify_answer = 0;
    world.run(200 * SECOND);
    assert!(world.engine.watch.is_empty(), "three in a row do");
}

#[test]
fn a_device_has_room_for_so_many_and_no_more() {
    let (mut world, _, mobile, _) = three_phones(417);
    for _ in 0..128 {
        world.phones[mobile].request_to("alice", &Method::Subscribe, &[("Event", "dialog")]);
        world.run(Duration::from_millis(20));
    }
    world.run(SECOND);
    assert_eq!(world.engine.watch.len(), 128, "{}", world.tail());
    let (_, status) = try_subscribe(&mut world, mobile, "alice", "dialog", 600);
    assert_eq!((status, world.phones[mobile].finals.last().unwrap().2), (503, Some(60)));
    world.run(3700 * SECOND);
    assert!(world.engine.watch.is_empty());
}

#[test]
fn a_subscription_follows_its_device_and_no_other() {
    let (mut world, _, mobile, bob) = three_phones(418);
    let line = subscribe(&mut world, mobile, "alice");
    // Bob has seen Call-ID and tags on the wire.
    let stolen = world.phones[mobile].lines[line].dialog.clone();
    let thief = world.phones[bob].request_to("alice", &Method::Subscribe, &[("Event", "presence")]);
    world.run(SECOND);
    let own = std::mem::replace(&mut world.phones[bob].lines[thief].dialog, stolen);
    world.phones[bob].lines[thief].dialog.sent_by = own.sent_by;
    refresh(&mut world, bob, thief, "0");
    assert_eq!(world.phones[bob].lines[thief].status, Some(481), "{}", world.tail());
    assert_eq!(world.engine.watch.len(), 1);
    // The phone itself is behind another address now.
    let before = world.phones[mobile].notified.len();
    world.phones[mobile].address = "198.51.100.99:5080".parse().unwrap();
    world.phones[mobile].lines[line].dialog.local_cseq += 10;
    refresh(&mut world, mobile, line, "600");
    assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.phones[mobile].notified.len(), before + 1, "told where it is now");
}

#[test]
fn a_watcher_that_has_moved_is_found_by_its_registration() {
    let (mut world, desk, mobile, _) = three_phones(421);
    subscribe(&mut world, mobile, "alice");
    world.phones[mobile].address = "198.51.100.99:5080".parse().unwrap();
    world.phones[mobile].register(3600);
    world.run(SECOND);
    let before = world.phones[mobile].notified.len();
    world.phones[desk].dial("bob");
    world.run(30 * SECOND);
    assert_eq!(world.phones[mobile].notified.len(), before, "it was sent to where the phone had been");
    world.run(10 * SECOND);
    assert_eq!(world.phones[mobile].notified.len(), before + 1, "{}", world.tail());
    assert_eq!(only(&world, mobile).state, DialogState::Confirmed);
}

#[test]
fn a_device_that_is_gone_watches_no_more() {
    let mut accounts = accounts(&["bob", "alice"]);
    let carol = crate::registrar::accounts::Account {
        name: "carol".into(),
        extension: None,
        origin: Origin::Store,
        devices: accounts
            .by_name("alice")
            .unwrap()
            .devices
            .iter()
            .map(|device| {
                let auth_user = format!("carol-{}", device.id);
                let ha1 = crate::sip::digest::Ha1s::from_password(&auth_user, "example.org", "secret");
                crate::registrar::accounts::Device { auth_user: auth_user.into(), ha1, ..device.clone() }
            })
            .collect(),
        ..(**accounts.by_name("alice").unwrap()).clone()
    };
    accounts.put(carol).unwrap();
    let mut world = World::with(419, settings(), accounts, &Loaded::default());
    let (desk, mobile) = (world.phone("carol", "desk"), world.phone("carol", "mobile"));
    subscribe(&mut world, desk, "carol");
    subscribe(&mut world, mobile, "carol*desk");
    let kick = Command::KickRegistration { user: "carol".into(), device: Some("desk".into()) };
    assert_eq!(world.ask(Subject::Admin, kick), Reply::Done);
    world.run(SECOND);
    assert_eq!(state(&world, desk), "terminated;reason=deactivated");
    assert_eq!(world.engine.watch.len(), 1);
    let remove = |device: &str| {
        use crate::engine::command::AccountChange;
        Command::ChangeAccount(AccountChange::RemoveDevice { user: "carol".into(), device: device.into() })
    };
    assert_eq!(world.ask(Subject::Admin, remove("desk")), Reply::Done);
    world.run(SECOND);
    assert_eq!(state(&world, mobile), "terminated;reason=noresource");
    subscribe(&mut world, mobile, "carol");
    assert_eq!(world.ask(Subject::Admin, remove("mobile")), Reply::Done);
    world.run(SECOND);
    assert_eq!(state(&world, mobile), "terminated;reason=rejected");
    assert!(last(&world, mobile).is_empty() && world.engine.watch.is_empty());
}

#[test]
fn a_stranger_is_asked_who_it_is_and_nothing_is_kept() {
    let (mut world, _, mobile, _) = three_phones(420);
    world.phones[mobile].password = "wrong".into();
    let line = world.phones[mobile].request_to("nobody", &Method::Subscribe, &[("Event", "presence")]);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[line].status, Some(401), "{}", world.tail());
    assert!(world.engine.watch.is_empty());
}
