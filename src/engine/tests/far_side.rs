//! What the far side sees of a move on its own wire: the numbers of its dialog and of its description, after moves that
//! were and moves that were not (contract 2, 12, 17, 20, 21, 25).

use std::time::Duration;

use super::world::{accounts, settings};
use super::{World, talking};
use crate::engine::store::Loaded;
use crate::moving::ReInvite;
use crate::moving::machine::State;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// As [`talking`], where the far side is asked at each move.
fn asked(seed: u64) -> (World, [usize; 4]) {
    let mut settings = settings();
    settings.moving.re_invite = ReInvite::Always;
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let phones = [("alice", "desk"), ("alice", "mobile"), ("bob", "desk"), ("bob", "mobile")]
        .map(|(user, device)| world.phone(user, device));
    world.phones[phones[0]].dial("bob*desk");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    (world, phones)
}

/// The last CSeq of ours that a phone saw, and id and version of our last `o=`; and all else that it was told.
fn seen(world: &World, phone: usize) -> (u32, String, u64, String) {
    let line = &world.phones[phone].lines[0];
    let text = line.last_heard();
    let origin = text.lines().find(|line| line.starts_with("o=")).unwrap().to_owned();
    let words: Vec<&str> = origin.split(' ').collect();
    let rest = text.lines().filter(|line| !line.starts_with("o=")).collect::<Vec<_>>().join("\n");
    (line.dialog.remote_cseq.unwrap_or(0), words[1].to_owned(), words[2].parse().unwrap(), rest)
}

fn end(mut world: World, phone: usize) {
    world.phones[phone].bye(0);
    world.run(TWO_MINUTES);
    world.check_idle();
}

#[test]
fn a_move_is_the_next_number_in_the_dialog_and_the_next_version_of_the_same_session() {
    let (mut world, [_, mobile, bob, _]) = asked(1500);
    let before = seen(&world, bob);
    world.phones[mobile].dial("*11");
    world.run(3 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    let after = seen(&world, bob);
    assert_eq!((after.0, &after.1, after.2), (before.0 + 1, &before.1, before.2 + 1));
    end(world, bob);
}

#[test]
fn after_a_move_that_failed_the_far_side_has_what_it_had() {
    for by in ["refuses", "is_silent", "new_gives_up"] {
        let (mut world, [desk, mobile, bob, _]) = asked(1501);
        let before = seen(&world, bob);
        match by {
            "refuses" => world.phones[bob].reinvite = 488,
            _ => {
                (world.phones[bob].holds_reinvites, world.phones[bob].heeds_cancel) =
                    (true, by == "is_silent")
            }
        }
        let line = world.phones[mobile].dial("*11");
        world.run(2 * SECOND);
        if by == "new_gives_up" {
            world.phones[mobile].cancel(line);
            world.run(SECOND);
            world.phones[bob].holds_reinvites = false;
            world.phones[bob].release_reinvites();
        }
        world.run(20 * SECOND);
        let status = world.phones[mobile].lines[line].status.unwrap_or_default();
        assert!([487, 488, 504].contains(&status), "{by}: {status}\n{}", world.tail());
        (world.phones[bob].reinvite, world.phones[bob].holds_reinvites) = (200, false);
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{by}\n{}", world.tail());
        assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
        assert!(world.engine.moves.live.is_empty() && !world.phones[desk].lines[0].is_over);
        let after = seen(&world, bob);
        if by == "new_gives_up" {
            // It had said yes: it is told again what stood before; an equal text keeps its version (RFC 3264 8).
            assert_eq!((&after.1, &after.3), (&before.1, &before.3), "{after:?}");
            assert!(after.2 > before.2 && after.2 <= before.2 + 2, "{after:?}");
            assert_eq!(after.0, before.0 + 2);
        }
        // And its dialog goes on with the next numbers either way.
        let cseq = world.phones[bob].lines[0].dialog.remote_cseq.unwrap();
        world.phones[desk].reinvite(0, "sendonly");
        world.run(SECOND);
        assert_eq!(world.phones[desk].lines[0].status, Some(200), "{by}\n{}", world.tail());
        assert_eq!(seen(&world, bob).0, cseq + 1);
        end(world, bob);
    }
}

#[test]
fn an_update_with_an_offer_during_a_move_is_told_to_wait() {
    let (mut world, _, mobile, bob) = talking(1502);
    world.silent.push("alice*mobile".into());
    world.phones[mobile].dial("*11");
    world.run(SECOND);
    assert!(!world.engine.moves.live.is_empty(), "it is under way");
    let update = |world: &mut World| {
        let sdp = world.phones[bob].sdp(0, "sendonly");
        let headers = [("Content-Type", "application/sdp")];
        world.phones[bob].request(0, &Method::Update, &headers, sdp.as_bytes());
        world.run(SECOND);
        world.phones[bob].finals.last().unwrap().1
    };
    assert_eq!(update(&mut world), 491, "{}", world.tail());
    world.run(5 * SECOND);
    assert_eq!(update(&mut world), 200, "{}", world.tail());
    end(world, bob);
}

#[test]
fn both_ends_that_move_at_once_end_with_two_devices_that_hear_each_other() {
    for late in 0..8 {
        let (mut world, [desk, mobile, bob, other]) = asked(1503);
        world.network.delay = Duration::from_millis(5);
        world.phones[mobile].dial("*11");
        world.run(Duration::from_millis(late * 4));
        world.phones[other].dial("*11");
        world.run(20 * SECOND);
        assert!(world.engine.moves.live.is_empty(), "{late}\n{}", world.tail());
        let of = |devices: [&str; 2]| {
            let heard = devices.map(|device| world.heard_by(device));
            let [first, second] = heard.map(|heard| heard.len());
            assert_eq!(first + second, 1, "{late}: {devices:?}\n{}", world.tail());
            if first == 1 { devices[0].to_owned() } else { devices[1].to_owned() }
        };
        let (alice, bobs) = (of(["alice*desk", "alice*mobile"]), of(["bob*desk", "bob*mobile"]));
        assert_eq!((world.heard_by(&alice), world.heard_by(&bobs)), (vec![bobs], vec![alice]));
        let up = [desk, mobile, bob, other]
            .into_iter()
            .filter(|phone| world.phones[*phone].lines.iter().any(|line| line.is_up && !line.is_over));
        assert_eq!(up.count(), 2, "{late}\n{}", world.tail());
        world.hang_up_all();
        world.run(TWO_MINUTES);
        world.check_idle();
    }
}

#[test]
fn the_new_device_is_told_by_update_whom_it_speaks_with_if_it_takes_one() {
    for takes in [true, false] {
        for is_push in [true, false] {
            let (mut world, desk, mobile, bob) = talking(1504);
            if !takes {
                world.phones[mobile].allow = "INVITE, ACK, BYE, CANCEL";
            }
            if is_push {
                let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
                world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
            } else {
                world.phones[mobile].dial("*11");
            }
            world.run(3 * SECOND);
            assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
            let updates = world.phones[mobile].requests.iter().filter(|method| *method == "UPDATE").count();
            assert_eq!(updates, usize::from(takes), "push: {is_push}\n{}", world.tail());
            let shown = world.phones[mobile].lines[0].identity.clone().unwrap_or_default();
            assert!(shown.contains("Bob"), "{shown}");
            end(world, bob);
        }
    }
}

#[test]
fn a_binding_that_ends_between_request_and_ack_ends_the_move() {
    for old_goes in [true, false] {
        let (mut world, desk, mobile, bob) = talking(1505);
        world.network.delay = Duration::from_millis(200);
        let line = world.phones[mobile].dial("*11");
        world.run(Duration::from_millis(100));
        // It arrives after the grant and before the ACK.
        world.phones[if old_goes { desk } else { mobile }].register(0);
        world.run(5 * SECOND);
        let last = world.engine.moves.recent.back().unwrap();
        assert_eq!((last.state, last.reason.as_deref()), (State::Refused, Some("not_registered")));
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
        assert!(world.phones[mobile].lines[line].is_over && !world.phones[desk].lines[0].is_over);
        end(world, bob);
    }
}

#[test]
fn an_invite_with_replaces_that_cannot_be_taken_leaves_the_dialog_that_it_names() {
    for what in ["require", "codec", "accept"] {
        let (mut world, desk, mobile, bob) = talking(1506);
        let dialog = &world.phones[desk].lines[0].dialog;
        let (id, ours, theirs) = (&dialog.call_id, &dialog.local_tag, &dialog.remote_tag);
        let replaces = format!("{id};to-tag={theirs};from-tag={ours}");
        let before = [desk, bob].map(|phone| world.phones[phone].requests.len());
        world.phones[bob].is_picky = true;
        let mut headers = vec![("Replaces", replaces.as_str())];
        match what {
            "require" => headers.push(("Require", "foo")),
            "codec" => world.phones[mobile].codecs = "9 101",
            _ => headers.push(("Accept", "text/plain")),
        }
        let line = world.phones[mobile].dial_with("alice", &headers, true);
        world.run(5 * SECOND);
        let status = world.phones[mobile].lines[line].status;
        let expected = match what {
            "require" => 420,
            "codec" => 488,
            _ => 406,
        };
        assert_eq!(status, Some(expected), "{what}\n{}", world.tail());
        assert_eq!(world.phones[desk].requests.len(), before[0], "{what}\n{}", world.tail());
        // The far side may have been asked for a codec, and has refused.
        assert!(world.phones[bob].requests.len() <= before[1] + usize::from(what == "codec") * 2);
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{what}");
        assert!(!world.phones[desk].lines[0].is_over);
        end(world, bob);
    }
}

/// Contract 2: nobody says anything, time alone ends the binding.
#[test]
fn a_binding_that_runs_out_while_the_far_side_is_asked_ends_the_move() {
    for old_goes in [true, false] {
        let (mut world, [desk, mobile, bob, _]) = asked(1508);
        world.phones[bob].holds_reinvites = true;
        world.phones[if old_goes { desk } else { mobile }].register(60);
        world.run(55 * SECOND);
        world.phones[mobile].dial("*11");
        world.run(10 * SECOND);
        world.phones[bob].holds_reinvites = false;
        world.phones[bob].release_reinvites();
        world.run(3 * SECOND);
        let last = world.engine.moves.recent.back().unwrap();
        assert_eq!((last.state, last.reason.as_deref()), (State::Refused, Some("not_registered")));
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
        assert!(!world.phones[desk].lines[0].is_over);
        end(world, bob);
    }
}
