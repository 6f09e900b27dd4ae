//! Calls with more than audio: video goes across and moves, fax by T.38 is declined and falls back to audio.

use std::time::Duration;

use super::world::{accounts, settings};
use super::{Answer, Kind, World, three_phones};
use crate::call::settings::Anchor;
use crate::engine::store::Loaded;
use crate::sip::Transport;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const BOTH: &[&str] = &["audio", "video"];

/// Ports that something which arrives at them is passed on from.
fn streams(world: &World) -> usize {
    world.routes.values().filter(|sinks| !sinks.is_empty()).count()
}

/// The m-lines of what a line was told last: kind, and whether it is on.
fn told(world: &World, phone: usize, line: usize) -> Vec<(String, bool)> {
    let text = world.phones[phone].lines[line].last_heard();
    let lines = text.lines().filter_map(|line| line.strip_prefix("m="));
    lines
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>())
        .map(|w| (w[0].into(), w[1] != "0"))
        .collect()
}

fn on(kinds: &[(&str, bool)]) -> Vec<(String, bool)> {
    kinds.iter().map(|(kind, is_on)| ((*kind).to_owned(), *is_on)).collect()
}

#[track_caller]
fn ends(mut world: World, phone: usize) {
    world.check();
    let line = world.phones[phone].lines.len() - 1;
    world.phones[phone].bye(line);
    world.run(70 * SECOND);
    world.check_idle();
}

/// Alice's desk, her mobile and Bob's desk, with these kinds of media.
fn phones(seed: u64, media: [&'static [&'static str]; 3]) -> (World, [usize; 3]) {
    let (mut world, desk, mobile, bob) = three_phones(seed);
    for (phone, media) in [desk, mobile, bob].into_iter().zip(media) {
        world.phones[phone].media = media;
    }
    world.phones[mobile].answer = Answer::Ring;
    (world, [desk, mobile, bob])
}

#[test]
fn video_goes_across_is_held_and_moves_to_where_it_can_be_seen() {
    for push in [false, true] {
        let (mut world, [desk, mobile, bob]) = phones(1000 + u64::from(push), [BOTH; 3]);
        world.phones[desk].dial("bob");
        world.run(2 * SECOND);
        assert_eq!(told(&world, desk, 0), on(&[("audio", true), ("video", true)]), "{}", world.tail());
        assert_eq!(streams(&world), 4, "{}", world.tail());
        world.phones[bob].reinvite(0, "sendonly");
        world.run(SECOND);
        world.phones[bob].reinvite(0, "sendrecv");
        world.run(SECOND);
        assert_eq!(streams(&world), 4, "{}", world.tail());
        if push {
            world.phones[mobile].answer = Answer::Now;
            let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
            world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
        } else {
            world.phones[mobile].dial("*11");
        }
        world.run(2 * SECOND);
        assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
        assert_eq!(told(&world, mobile, 0), on(&[("audio", true), ("video", true)]), "{}", world.tail());
        assert_eq!(streams(&world), 4, "{}", world.tail());
        ends(world, bob);
    }
}

#[test]
fn a_call_loses_its_video_at_a_phone_without_and_has_it_again_at_one_with() {
    let (mut world, [desk, mobile, bob]) = phones(1002, [BOTH, &["audio"], BOTH]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(streams(&world), 4, "{}", world.tail());
    world.phones[mobile].dial("*11");
    // From the exchange on, long before its BYE, the old device is neither seen nor shown anything; it is heard, and hears,
    // until the new one is there.
    world.run_until(SECOND, |world| world.heard_by("alice*mobile") == ["bob*desk"]);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk", "alice*mobile"], "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert_eq!(streams(&world), 3, "audio of both\n{}", world.tail());
    world.run_until(SECOND, |world| world.heard_by("bob*desk") == ["alice*mobile"]);
    assert!(world.heard_by("alice*desk").is_empty());
    assert_eq!(streams(&world), 2, "{}", world.tail());
    world.run(2 * SECOND);
    assert_eq!(told(&world, bob, 0), on(&[("audio", true), ("video", false)]), "{}", world.tail());
    assert_eq!(streams(&world), 2, "{}", world.tail());
    world.run(31 * SECOND);
    let line = world.phones[desk].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    let lines = told(&world, desk, line);
    assert_eq!((lines.len(), lines[0].1), (2, true), "{lines:?}\n{}", world.tail());
    // The ended line stays ended by the move itself; whoever wants it asks for it, with a new version.
    assert!(!lines[1].1);
    let offer = world.phones[desk].offer(line, BOTH, "sendrecv").replacen(" 1 IN", " 2 IN", 1);
    world.phones[desk].reinvite_with(line, offer);
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(told(&world, desk, line), on(&[("audio", true), ("video", true)]), "{}", world.tail());
    assert_eq!(streams(&world), 4, "{}", world.tail());
    ends(world, bob);
}

#[test]
fn video_comes_and_goes_in_a_call_and_is_declined_by_who_has_none() {
    for (seed, media, is_seen) in [(1003, BOTH, true), (1004, &["audio"][..], false)] {
        let (mut world, [desk, _, bob]) = phones(seed, [&["audio"], BOTH, media]);
        world.phones[desk].dial("bob");
        world.run(SECOND);
        assert_eq!((told(&world, bob, 0), streams(&world)), (on(&[("audio", true)]), 2));
        world.phones[desk].media = BOTH;
        let offer = world.phones[desk].offer(0, BOTH, "sendrecv");
        world.phones[desk].reinvite_with(0, offer);
        world.run(SECOND);
        assert_eq!(told(&world, desk, 0), on(&[("audio", true), ("video", is_seen)]), "{}", world.tail());
        assert_eq!(streams(&world), if is_seen { 4 } else { 2 }, "{}", world.tail());
        world.phones[desk].media = &["audio"];
        world.phones[desk].reinvite(0, "sendrecv");
        world.run(SECOND);
        assert_eq!(told(&world, desk, 0), on(&[("audio", true), ("video", false)]), "{}", world.tail());
        assert_eq!(streams(&world), 2, "{}", world.tail());
        ends(world, bob);
    }
}

/// A browser's leg carries audio alone; what it says of video in its place is no.
#[test]
fn a_video_call_moves_to_a_browser_and_back() {
    let mut world = World::new(1005);
    let (desk, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let browser = world.phone_over(Transport::Wss, "alice", "mobile");
    (world.phones[desk].media, world.phones[bob].media) = (BOTH, BOTH);
    world.phones[browser].kind = Kind::Web;
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(streams(&world), 4, "{}", world.tail());
    let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
    world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!(streams(&world), 2, "{}", world.tail());
    world.run(31 * SECOND);
    world.phones[desk].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    ends(world, bob);
}

#[test]
fn a_fax_that_asks_for_t38_is_declined_and_goes_on_in_audio_also_after_a_move() {
    let (mut world, [desk, mobile, bob]) = phones(1006, [&["audio"]; 3]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    // Either side, in place of the audio: the far side is not asked for what is not carried.
    for phone in [desk, bob] {
        let heard = world.phones[desk + bob - phone].lines[0].heard.len();
        let offer = world.phones[phone].offer(0, &["image"], "sendrecv");
        world.phones[phone].reinvite_with(0, offer);
        world.run(SECOND);
        assert_eq!(world.phones[phone].lines[0].status, Some(488), "{}", world.tail());
        assert_eq!(world.phones[desk + bob - phone].lines[0].heard.len(), heard);
        assert_eq!((world.heard_by("alice*desk"), streams(&world)), (vec!["bob*desk".to_owned()], 2));
    }
    // Beside it: the audio stands, the image is declined in its place, and the far side sees nothing of it.
    let offer = world.phones[desk].offer(0, &["audio", "image"], "sendrecv");
    world.phones[desk].reinvite_with(0, offer);
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[0].status, Some(200), "{}", world.tail());
    assert_eq!(told(&world, desk, 0), on(&[("audio", true), ("image", false)]));
    assert_eq!(told(&world, bob, 0), on(&[("audio", true)]));
    assert_eq!(streams(&world), 2, "{}", world.tail());
    // G.711 as fax machines use it.
    world.phones[desk].codecs = "0";
    world.phones[desk].reinvite(0, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[desk].lines[0].status, Some(200), "{}", world.tail());
    world.phones[mobile].dial("*11");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!(told(&world, mobile, 0), on(&[("audio", true)]));
    // And the one that has it now tries the same.
    let offer = world.phones[mobile].offer(0, &["image"], "sendrecv");
    world.phones[mobile].reinvite_with(0, offer);
    world.run(SECOND);
    assert_eq!(world.phones[mobile].lines[0].status, Some(488), "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(200), "{}", world.tail());
    ends(world, bob);
}

#[test]
fn a_call_that_begins_with_t38_is_488_or_has_its_audio() {
    for (kinds, status) in [(&["image"][..], 488), (&["image", "audio"][..], 200)] {
        let (mut world, [desk, _, bob]) = phones(1007, [kinds, &["audio"], &["audio"]]);
        world.phones[desk].dial("bob");
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[0].status, Some(status), "{}", world.tail());
        if status == 488 {
            assert!(world.phones[bob].lines.is_empty());
            world.run(70 * SECOND);
            world.check_idle();
            continue;
        }
        assert_eq!(told(&world, desk, 0), on(&[("image", false), ("audio", true)]), "{}", world.tail());
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
        ends(world, bob);
    }
}

/// Whose media goes past us say to each other what they like.
#[test]
fn where_media_is_not_anchored_t38_is_for_the_phones_to_answer_or_decline() {
    for takes in [true, false] {
        let mut settings = settings();
        settings.call.media.anchor = Anchor::Never;
        let mut world = World::with(1009, settings, accounts(&["alice", "bob"]), &Loaded::default());
        let (desk, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
        world.phones[desk].media = &["audio", "image"];
        world.phones[bob].media = if takes { &["audio", "image"] } else { &["audio"] };
        let audio = world.phones[desk].offer(0, &["audio"], "sendrecv");
        let image = world.phones[desk].offer(0, &["image"], "sendrecv");
        world.phones[desk].media = &["audio"];
        world.phones[desk].dial("bob");
        world.run(SECOND);
        world.phones[desk].media = &["audio", "image"];
        if !takes {
            world.phones[bob].reinvite = 488;
        }
        world.phones[desk].reinvite_with(0, image);
        world.run(SECOND);
        let status = world.phones[desk].lines[0].status;
        assert_eq!(status, Some(if takes { 200 } else { 488 }), "{}", world.tail());
        assert_eq!(told(&world, bob, 0)[0].0, "image", "it was asked");
        if takes {
            assert_eq!(told(&world, desk, 0), on(&[("image", true)]));
        }
        world.phones[bob].reinvite = 200;
        world.phones[desk].reinvite_with(0, audio);
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[0].status, Some(200), "{}", world.tail());
        assert_eq!(told(&world, desk, 0), on(&[("audio", true)]));
        ends(world, bob);
    }
}

/// A browser cannot be offered video alone.
#[test]
fn a_target_that_cannot_be_offered_does_not_keep_the_others_from_ringing() {
    for (seed, others) in [(1010, true), (1011, false)] {
        let mut world = World::new(seed);
        let alice = world.phone("alice", "desk");
        let browser = world.phone_over(Transport::Wss, "bob", "mobile");
        world.phones[browser].kind = Kind::Web;
        let desk = others.then(|| world.phone("bob", "desk"));
        world.phones[alice].media = &["video"];
        let line = world.phones[alice].dial("bob");
        if let Some(desk) = desk {
            world.phones[desk].media = BOTH;
            world.run(SECOND);
            assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
            assert_eq!(told(&world, alice, line), on(&[("video", true)]));
            assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
            assert!(world.phones[browser].lines.is_empty(), "{}", world.tail());
            ends(world, alice);
            continue;
        }
        world.run(SECOND);
        let line = &world.phones[alice].lines[line];
        assert_eq!(line.status, Some(488), "{}", world.tail());
        assert!(line.warning.starts_with("305 edge1 "), "{}", line.warning);
        assert!(world.phones[browser].lines.is_empty(), "{}", world.tail());
        world.run(70 * SECOND);
        world.check_idle();
    }
}
