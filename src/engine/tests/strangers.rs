//! Who is not the owner cannot tell a call that exists from one that does not: same answer, same work (contract 13).

use std::collections::VecDeque;
use std::time::Duration;

use super::World;
use super::world::{accounts, settings};
use crate::engine::event::Event;
use crate::engine::store::Loaded;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

/// What an attempt brings, and what it costs: the answers byte for byte but for what is minted, and the steps of the node.
#[derive(PartialEq, Debug)]
struct Told {
    answers: Vec<String>,
    events: usize,
    stored: usize,
    media: usize,
    /// How far the node's randomness went on.
    draws: u128,
}

/// Alice's desk talks with Bob; Eve is a user of her own, and her phone has a challenge to answer already.
fn house(seed: u64) -> (World, usize, usize) {
    let mut world = World::with(seed, settings(), accounts(&["alice", "bob", "eve"]), &Loaded::default());
    let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
    world.phone("bob", "desk");
    let eve = world.phone("eve", "desk");
    world.phones[mobile].request_to("alice", &Method::Subscribe, &[("Event", "dialog")]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    world.captured = Some(VecDeque::new());
    (world, desk, eve)
}

/// A message without what is minted for it, branches, tags, ids, and without what it was sent to.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let line = |line: &str| {
        let name = line.split(':').next().unwrap_or_default().to_owned();
        match name.as_str() {
            "Via" | "Call-ID" | "From" | "To" => name,
            _ => line.to_owned(),
        }
    };
    text.split("\r\n").map(line).collect::<Vec<_>>().join("\n")
}

fn attempt(world: &mut World, eve: usize, number: &str, headers: &[(&str, &str)]) -> Told {
    world.heard_by_phones.clear();
    let (events, stored, media) = (world.events.len(), world.stored.len(), world.media.len());
    let drawn = world.engine.core().random.drawn();
    world.phones[eve].dial_with(number, headers, true);
    world.run(SECOND);
    let is_final = |bytes: &&bytes::Bytes| bytes.starts_with(b"SIP/2.0 ") && !bytes.starts_with(b"SIP/2.0 1");
    let answers = world.heard_by_phones.iter().filter(is_final).map(|bytes| plain(bytes)).collect();
    Told {
        answers,
        events: world.events.len() - events,
        stored: world.stored.len() - stored,
        media: world.media.len() - media,
        draws: world.engine.core().random.drawn() - drawn,
    }
}

/// The value of an attribute in the newest dialog-info that Alice's mobile was told.
fn told_identifier(world: &World) -> String {
    let bodies = world.phones.iter().flat_map(|phone| phone.notified.iter().rev().map(|(_, body)| body));
    let id = bodies
        .filter_map(|body| Some(body.split(" call-id=\"").nth(1)?.split('"').next()?.to_owned()))
        .next();
    id.expect("an identifier")
}

#[test]
fn replaces_of_a_call_that_is_and_of_one_that_is_not() {
    let (mut world, desk, eve) = house(520);
    let dialog = &world.phones[desk].lines[0].dialog;
    let real = format!("{};to-tag={};from-tag={}", dialog.call_id, dialog.remote_tag, dialog.local_tag);
    let swapped = format!("{};to-tag={};from-tag={}", dialog.call_id, dialog.local_tag, dialog.remote_tag);
    let zero = format!("{};to-tag=0;from-tag=0", dialog.call_id);
    let none = real.replace(&*dialog.call_id, &"x".repeat(dialog.call_id.len()));
    let unreal = attempt(&mut world, eve, "alice", &[("Replaces", &none)]);
    assert!(unreal.answers.iter().any(|answer| answer.starts_with("SIP/2.0 481")), "{unreal:?}");
    for replaces in [real, swapped, zero] {
        assert_eq!(attempt(&mut world, eve, "alice", &[("Replaces", &replaces)]), unreal, "{replaces}");
    }
    // The far party is no owner either.
    let bob = world.phones.iter().position(|phone| phone.name == "bob").unwrap();
    let own = &world.phones[bob].lines[0].dialog;
    let far = format!("{};to-tag={};from-tag={}", own.call_id, own.remote_tag, own.local_tag);
    let theirs = attempt(&mut world, eve, "bob", &[("Replaces", &far)]);
    let nobodys = attempt(&mut world, eve, "bob", &[("Replaces", &none)]);
    assert_eq!(theirs, nobodys);
    world.check();
}

#[test]
fn an_identifier_that_is_anothers_and_one_that_never_was() {
    let (mut world, _, eve) = house(521);
    let real = told_identifier(&world);
    let mut letters: Vec<char> = real.chars().collect();
    let last = letters.last_mut().unwrap();
    *last = if *last == 'a' { 'b' } else { 'a' };
    let none: String = letters.into_iter().collect();
    let unreal = attempt(&mut world, eve, &none, &[]);
    assert!(unreal.answers.iter().any(|answer| answer.starts_with("SIP/2.0 403")), "{unreal:?}");
    assert_eq!(attempt(&mut world, eve, &real, &[]), unreal);
    let by_replaces = |id: &str| format!("{id};to-tag=a;from-tag=b");
    let theirs = attempt(&mut world, eve, "alice", &[("Replaces", &by_replaces(&real))]);
    let nobodys = attempt(&mut world, eve, "alice", &[("Replaces", &by_replaces(&none))]);
    assert_eq!(theirs, nobodys);
    let misused = |event: &&Event| matches!(event, Event::Security { what: "token_misused", .. });
    assert_eq!(world.events.iter().filter(misused).count(), 4);
}

#[test]
fn the_codes_while_another_talks_and_while_nobody_does() {
    for code in ["*11", "*11*desk", "*11*2", "*12", "*13", "**1001", "*111001"] {
        let (mut world, desk, eve) = house(522);
        let busy = attempt(&mut world, eve, code, &[]);
        world.phones[desk].bye(0);
        world.run(SECOND);
        let idle = attempt(&mut world, eve, code, &[]);
        assert!(busy.answers.iter().any(|answer| answer.starts_with("SIP/2.0 4")), "{code}: {busy:?}");
        assert_eq!(busy, idle, "{code}");
    }
}
