//! Transfers that somebody is late in, silent in, or crosses: targets with two devices, who is asked and never answers,
//! re-INVITEs of the target, calls whose media does not run through us, a node that drains.

use std::time::Duration;

use super::three::Three;
use super::world::{accounts, settings};
use super::{Answer, Kind, World};
use crate::call::settings::Anchor;
use crate::engine::Settings;
use crate::engine::store::Loaded;
use crate::moving::ReInvite;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// Who stays is asked each time.
fn asking() -> Settings {
    let mut settings = settings();
    settings.moving.re_invite = ReInvite::Always;
    settings
}

#[test]
fn a_target_with_two_devices_talks_on_the_one_that_answers() {
    for refuses in [None, Some(486), Some(603)] {
        for takes_it in [true, false] {
            let mut three = Three::talking_in(1420, asking());
            let second = three.world.phone("carol", "mobile");
            three.world.phones[three.carol].answer = Answer::Ring;
            three.world.phones[second].answer = Answer::Ring;
            three.world.phones[three.bob].holds_reinvites = true;
            three.refer(three.alice, "<sip:carol@example.org>");
            three.world.phones[three.carol].pick_up(0);
            if let Some(status) = refuses {
                // It crosses our CANCEL.
                three.world.phones[second].refuse(0, status);
            }
            three.world.run(SECOND);
            assert!(three.world.phones[second].lines[0].is_over, "{}", three.world.tail());
            assert_eq!(three.told(three.alice), ["100", "180"], "{refuses:?}\n{}", three.world.tail());
            three.world.phones[three.bob].reinvite = if takes_it { 200 } else { 488 };
            three.world.phones[three.bob].holds_reinvites = false;
            three.world.phones[three.bob].release_reinvites();
            three.world.run(SECOND);
            three.world.phones[three.bob].reinvite = 200;
            let told = if takes_it { "200" } else { "488" };
            assert_eq!(three.told(three.alice), ["100", "180", told], "{}", three.world.tail());
            if takes_it {
                three.joined();
            } else {
                assert!(three.world.phones[three.carol].lines[0].is_over, "{}", three.world.tail());
                three.untouched();
            }
            three.end();
        }
    }
}

#[test]
fn who_is_asked_and_never_answers_is_given_up() {
    for who in 0..2 {
        for is_late in [false, true] {
            let mut three = Three::talking(1421);
            let to = three.consult();
            let silent = if who == 0 { three.carol } else { three.bob };
            three.world.phones[silent].holds_reinvites = true;
            three.world.phones[silent].heeds_cancel = !is_late;
            three.refer(three.alice, &to);
            three.world.run(13 * SECOND);
            assert_eq!(three.told(three.alice), ["100"], "{who}\n{}", three.world.tail());
            three.world.run(2 * SECOND);
            assert_eq!(three.told(three.alice), ["100", "408"], "{who}\n{}", three.world.tail());
            assert!(three.world.engine.transfers.is_empty());
            // A yes that comes all the same is taken back.
            three.world.phones[silent].holds_reinvites = false;
            three.world.phones[silent].release_reinvites();
            three.world.run(5 * SECOND);
            assert_eq!(three.world.heard_by("carol*desk"), ["alice*desk"], "{}", three.world.tail());
            three.untouched();
            three.refer(three.alice, &to);
            three.joined();
            three.end();
        }
    }
}

#[test]
fn a_target_may_describe_itself_anew_as_soon_as_it_has_answered() {
    let mut three = Three::talking_in(1422, asking());
    three.world.phones[three.carol].answer = Answer::Ring;
    three.world.phones[three.bob].holds_reinvites = true;
    three.refer(three.alice, "<sip:carol@example.org>");
    three.world.phones[three.carol].pick_up(0);
    three.world.run(Duration::from_millis(100));
    let heard = three.world.phones[three.carol].lines[0].heard.len();
    three.world.phones[three.carol].reinvite(0, "sendrecv");
    three.world.run(SECOND);
    let line = &three.world.phones[three.carol].lines[0];
    assert_eq!((line.status, line.heard.len()), (Some(491), heard), "{}", three.world.tail());
    three.world.phones[three.bob].holds_reinvites = false;
    three.world.phones[three.bob].release_reinvites();
    three.world.run(SECOND);
    three.joined();
    three.world.phones[three.carol].reinvite(0, "sendrecv");
    three.world.run(SECOND);
    assert_eq!(three.world.phones[three.carol].lines[0].status, Some(200), "{}", three.world.tail());
    three.joined();
    three.end();
}

/// Alice talks with Bob and has called Carol; nobody's media runs through us.
fn past_us(seed: u64) -> (World, [usize; 3], String) {
    let mut settings = settings();
    settings.call.media.anchor = Anchor::Never;
    let mut world = World::with(seed, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default());
    let phones = ["alice", "bob", "carol"].map(|user| world.phone(user, "desk"));
    world.phones[phones[0]].dial("bob");
    world.run(SECOND);
    let line = world.phones[phones[0]].dial("carol");
    world.run(SECOND);
    let dialog = &world.phones[phones[0]].lines[line].dialog;
    let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
    let to = format!("<sip:carol@example.org?Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}>");
    (world, phones, to)
}

/// Whether a phone sends where another one listens.
fn sends_to(world: &World, phone: usize, to: usize, line: usize) -> bool {
    let heard = world.phones[phone].lines[0].last_heard();
    let address = format!("c=IN IP4 {}\r\n", world.phones[to].address.ip());
    heard.contains(&address) && heard.contains(&format!("m=audio {} ", 4000 + 2 * line))
}

#[test]
fn calls_whose_media_goes_past_us_are_joined_or_hear_each_other_as_before() {
    for refuser in [None, Some(1), Some(2)] {
        let (mut world, phones, to) = past_us(1423);
        let [alice, bob, carol] = phones;
        if let Some(refuser) = refuser {
            world.phones[phones[refuser]].reinvite = 488;
        }
        world.phones[alice].request(0, &Method::Refer, &[("Refer-To", &to)], b"");
        world.run(2 * SECOND);
        assert!(world.engine.transfers.is_empty(), "{refuser:?}\n{}", world.tail());
        if refuser.is_none() {
            assert!(sends_to(&world, bob, carol, 0) && sends_to(&world, carol, bob, 0), "{}", world.tail());
            assert!(world.phones[alice].lines.iter().all(|line| line.is_over));
            world.phones[bob].bye(0);
        } else {
            // Who has refused goes on as it was by itself.
            let (other, line) = if refuser == Some(1) { (carol, 1) } else { (bob, 0) };
            assert!(sends_to(&world, other, alice, line), "{refuser:?}\n{}", world.tail());
            assert!(world.phones[alice].lines.iter().all(|line| !line.is_over));
            world.phones[alice].bye(0);
            world.phones[alice].bye(1);
        }
        world.run(TWO_MINUTES);
        world.check_idle();
    }
}

#[test]
fn media_through_us_and_media_past_us_are_not_joined() {
    let mut settings = settings();
    settings.call.media.anchor = Anchor::WhenNeeded;
    let mut world = World::with(1424, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default());
    let phones = ["alice", "bob", "carol"].map(|user| world.phone(user, "desk"));
    let [alice, bob, carol] = phones;
    // A browser's media has to run through us, that of two phones need not.
    world.phones[bob].kind = Kind::Web;
    world.phones[bob].dial("alice");
    world.run(SECOND);
    world.phones[alice].dial("carol");
    world.run(SECOND);
    let anchored: Vec<bool> = world.engine.core().calls.iter().map(|(_, call)| call.anchored).collect();
    assert_eq!(anchored, [true, false], "{}", world.tail());
    let dialog = &world.phones[alice].lines[1].dialog;
    let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
    let to = format!("<sip:carol@example.org?Replaces={id}%3Bto-tag%3D{theirs}%3Bfrom-tag%3D{ours}>");
    let heard = [bob, carol].map(|phone| world.phones[phone].lines[0].heard.len());
    world.phones[alice].request(0, &Method::Refer, &[("Refer-To", &to)], b"");
    world.run(SECOND);
    assert_eq!(world.phones[alice].finals.last().map(|found| found.1), Some(488), "{}", world.tail());
    assert_eq!([bob, carol].map(|phone| world.phones[phone].lines[0].heard.len()), heard);
    assert!(phones.iter().flat_map(|phone| &world.phones[*phone].lines).all(|line| line.is_up));
    world.phones[alice].bye(0);
    world.phones[alice].bye(1);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_node_that_drains_rings_nobody_for_a_transfer() {
    let mut three = Three::talking(1425);
    let to = three.consult();
    let now = three.world.now;
    three.world.engine.drain(now);
    three.refer(three.alice, "<sip:carol*mobile@example.org>");
    three.refer(three.alice, "<sip:carol@example.org>");
    assert_eq!(three.refer_status(three.alice), Some(503), "{}", three.world.tail());
    // Calls that are there may be joined all the same.
    three.refer(three.alice, &to);
    three.joined();
    three.end();
}
