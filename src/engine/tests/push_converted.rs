//! A call is sent to a device that has none of the far side's codecs (contract 33): the device is offered what can be
//! converted, the far side is asked first, and where neither changes speech is converted.

use std::time::Duration;

use super::transcoding::{becomes, house, media_line};
use super::{Answer, Kind, Unfit, World};
use crate::engine::command::{Command, MoveMode, Reply, StartMove, Subject};
use crate::engine::view::MoveView;
use crate::media::transcode::Speech;
use crate::moving::Trigger;
use crate::moving::machine::State;
use crate::moving::timeline::What;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);

/// Bob, Alice's desk and her tablet speak PCMU, her mobile G.722.
const G722_MOBILE: [&str; 4] = ["0 101", "9 101", "0 101", "0 101"];

/// The desk talks with Bob.
#[track_caller]
fn talking(seed: u64, most: usize, codecs: [&'static str; 4]) -> (World, [usize; 4]) {
    let (mut world, phones) = house(seed, most, codecs);
    world.phones[phones[0]].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    (world, phones)
}

fn refer(world: &mut World, from: usize, to: &str) {
    let refer_to = format!("<sip:alice*{to}@example.org>");
    let line = world.phones[from].lines.iter().position(|line| line.is_up && !line.is_over).unwrap();
    world.phones[from].request(line, &Method::Refer, &[("Refer-To", &refer_to)], b"");
    world.run(2 * SECOND);
}

fn start(world: &mut World, mode: MoveMode) {
    let start = StartMove {
        user: "alice".into(),
        call: None,
        to_device: Some("mobile".into()),
        mode,
        trigger: Trigger::Http,
    };
    let reply = world.ask(Subject::User("alice".into()), Command::StartMove(start));
    assert!(matches!(reply, Reply::Move(_)), "{reply:?}");
    world.run(2 * SECOND);
}

fn invites(world: &World, phone: usize) -> usize {
    world.phones[phone].requests.iter().filter(|method| *method == "INVITE").count()
}

fn last_move(world: &World) -> MoveView {
    world.saved_moves().last().expect("a move")
}

fn is_told(view: &MoveView) -> bool {
    let is_it = |what: &What| matches!(what, What::Note { text } if text.contains("converted"));
    view.timeline.as_ref().unwrap().entries.iter().any(|entry| is_it(&entry.what))
}

#[track_caller]
fn is_converted(world: &World) {
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!(world.heard_by("alice*mobile"), ["bob*desk"], "{}", world.tail());
    assert_eq!(becomes(world, "bob*desk"), Some(Speech::G722), "{}", world.tail());
    assert!(matches!(becomes(world, "alice*mobile"), Some(Speech::G711(_))), "{}", world.tail());
    assert_eq!(world.engine.core().transcoded, 1);
}

/// The desk talks with Bob as if nobody had asked for anything.
#[track_caller]
fn is_untouched(world: &mut World, [desk, mobile, _, bob]: [usize; 4]) {
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    assert_eq!((becomes(world, "bob*desk"), becomes(world, "alice*desk")), (None, None));
    assert!(world.phones[mobile].lines.iter().all(|line| line.is_over), "{}", world.tail());
    for (phone, direction) in [(desk, "sendonly"), (desk, "sendrecv"), (bob, "sendrecv")] {
        world.phones[phone].reinvite(0, direction);
        world.run(SECOND);
        assert_eq!(world.phones[phone].lines[0].status, Some(200), "{}", world.tail());
    }
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
}

fn end(mut world: World, bob: usize) {
    world.phones[bob].bye(0);
    world.run(A_MINUTE);
    assert_eq!(world.engine.core().transcoded, 0);
    world.check_idle();
}

#[test]
fn a_push_is_offered_what_can_be_converted_and_converts_what_the_far_side_would_not_change() {
    let ways: [fn(&mut World, usize); 5] = [
        |world, desk| refer(world, desk, "mobile"),
        |world, desk| _ = world.phones[desk].dial("*12*mobile"),
        |world, _| start(world, MoveMode::Ring),
        |world, _| start(world, MoveMode::AutoAnswer),
        |world, _| start(world, MoveMode::Refer),
    ];
    for (way, send) in ways.into_iter().enumerate() {
        let (mut world, [desk, mobile, tablet, bob]) = talking(1700, 1, G722_MOBILE);
        send(&mut world, desk);
        world.run(2 * SECOND);
        if way < 4 {
            let offer = String::from_utf8_lossy(&world.phones[mobile].lines[0].heard[0]).into_owned();
            let line = offer.lines().find(|line| line.starts_with("m=audio")).unwrap();
            assert!(line.ends_with("RTP/AVP 0 101 9 8 96"), "what Bob speaks comes first: {line}");
            assert!(offer.contains("a=rtpmap:9 G722/8000") && offer.contains("a=rtpmap:96 opus/48000/2"));
        }
        assert_eq!(invites(&world, bob), 2, "it was asked\n{}", world.tail());
        is_converted(&world);
        assert!(world.phones[desk].lines[0].is_over);
        let view = last_move(&world);
        assert!(view.state == State::Done && is_told(&view), "{view:?}");
        // A device with Bob's codec needs none of it, and Bob is not asked again.
        refer(&mut world, mobile, "tablet");
        assert_eq!(world.heard_by("bob*desk"), ["alice*tablet"], "{way}\n{}", world.tail());
        assert_eq!((becomes(&world, "bob*desk"), becomes(&world, "alice*tablet")), (None, None));
        assert_eq!((invites(&world, bob), world.engine.core().transcoded), (2, 0));
        assert!(world.phones[tablet].lines.iter().any(|line| line.is_up));
        end(world, bob);
    }
}

#[test]
fn it_goes_into_opus_and_out_of_it() {
    for codecs in [["0 101", "96 101", "0 101", "0 101"], ["96 101", "0 101", "96 101", "96 101"]] {
        let (mut world, [desk, _, _, bob]) = talking(1701, 1, codecs);
        refer(&mut world, desk, "mobile");
        assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
        let speech = [becomes(&world, "bob*desk"), becomes(&world, "alice*mobile")];
        assert!(speech.contains(&Some(Speech::Opus)) && !speech.contains(&None), "{speech:?}");
        end(world, bob);
    }
}

#[test]
fn a_far_side_that_has_the_codec_after_all_changes_to_it() {
    let (mut world, [desk, _, _, bob]) = talking(1702, 1, ["0 101", "9 101", "0 101", "0 9 101"]);
    refer(&mut world, desk, "mobile");
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!((becomes(&world, "bob*desk"), world.engine.core().transcoded), (None, 0));
    assert!(media_line(&world, bob, 0).ends_with("RTP/AVP 9 101"), "{}", media_line(&world, bob, 0));
    assert!(!is_told(&last_move(&world)));
    end(world, bob);
}

#[test]
fn nothing_is_offered_that_could_not_be_converted() {
    for most in [0, 1] {
        let (mut world, phones) = talking(1703, most, G722_MOBILE);
        let [desk, mobile, _, bob] = phones;
        if most == 1 {
            // Another call has the only place.
            world.phones[mobile].dial("bob");
            world.run(2 * SECOND);
            assert_eq!(world.engine.core().transcoded, 1, "{}", world.tail());
        }
        let before = invites(&world, mobile);
        refer(&mut world, desk, "mobile");
        assert_eq!(invites(&world, mobile), before + 1);
        let told = &world.phones[desk].lines[0].referred;
        assert_eq!(told.last().map(String::as_str), Some("SIP/2.0 480 Temporarily Unavailable"), "{told:?}");
        let view = last_move(&world);
        assert_eq!((view.state, view.reason.as_deref()), (State::Refused, Some("target_refused")));
        assert_eq!(invites(&world, bob), 1 + 2 * most, "nobody else hears of it");
        if most == 1 {
            world.phones[mobile].bye(0);
            world.run(SECOND);
        }
        is_untouched(&mut world, phones);
        end(world, bob);
    }
    // What the far side speaks is none of ours: it can be asked for G.711, and that is all.
    let (mut world, [desk, mobile, _, bob]) = talking(1704, 1, ["18 101", "0 101", "9 101", "18 101"]);
    refer(&mut world, desk, "mobile");
    let offer = String::from_utf8_lossy(&world.phones[mobile].lines[0].heard[0]).into_owned();
    assert!(offer.contains("RTP/AVP 18 101 0 8\r\n"), "{offer}");
    let view = last_move(&world);
    assert_eq!((view.state, view.reason.as_deref()), (State::Refused, Some("far_refused")));
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    end(world, bob);
}

#[test]
fn a_place_that_is_gone_when_the_device_answers_leaves_the_call_where_it_is() {
    let (mut world, phones) = talking(1705, 1, ["0 101", "9 101", "9 101", "0 101"]);
    let [desk, mobile, tablet, bob] = phones;
    world.phones[mobile].answer = Answer::Ring;
    refer(&mut world, desk, "mobile");
    world.phones[tablet].dial("bob");
    world.run(2 * SECOND);
    assert_eq!(world.engine.core().transcoded, 1, "{}", world.tail());
    world.phones[mobile].pick_up(0);
    world.run(2 * SECOND);
    let view = last_move(&world);
    assert_eq!((view.state, view.reason.as_deref()), (State::Refused, Some("far_refused")));
    assert!(world.phones[mobile].lines[0].is_over, "{}", world.tail());
    world.phones[tablet].bye(0);
    world.run(SECOND);
    is_untouched(&mut world, phones);
    end(world, bob);
}

/// While the far side is asked both hear already, which is a conversion like any other.
#[test]
fn a_device_that_waits_for_the_far_side_has_its_place_already() {
    let (mut world, [desk, mobile, tablet, bob]) = talking(1712, 1, G722_MOBILE);
    world.phones[tablet].dial("bob");
    world.run(2 * SECOND);
    (world.phones[bob].is_picky, world.phones[bob].holds_reinvites, world.phones[bob].reinvite) =
        (false, true, 488);
    refer(&mut world, desk, "mobile");
    assert_eq!((invites(&world, bob), world.engine.core().transcoded), (3, 1), "{}", world.tail());
    let asked = invites(&world, mobile);
    refer(&mut world, tablet, "mobile");
    assert_eq!(invites(&world, mobile), asked + 1);
    let view = last_move(&world);
    assert_eq!((view.state, view.reason.as_deref()), (State::Refused, Some("target_refused")));
    world.phones[bob].holds_reinvites = false;
    world.phones[bob].release_reinvites();
    world.run(2 * SECOND);
    assert_eq!(world.engine.core().transcoded, 1, "{}", world.tail());
    assert!(world.saved_moves().any(|view| view.state == State::Done), "{}", world.tail());
    assert!(world.phones[desk].lines[0].is_over, "{}", world.tail());
    for phone in [mobile, tablet] {
        assert!(world.phones[phone].lines.iter().any(|line| line.is_up && !line.is_over), "{}", world.tail());
    }
    world.phones[tablet].bye(0);
    end(world, bob);
}

/// Some answer an offer without their codecs not by a refusal but by a line without media (RFC 3264 6), or one of
/// telephone-event alone.
#[test]
fn a_far_side_that_takes_the_offer_without_media_is_offered_its_own_beside_it() {
    for (is_pull, unfit) in [
        (false, Unfit::LineDropped),
        (true, Unfit::LineDropped),
        (false, Unfit::EventsAlone),
        (true, Unfit::EventsAlone),
    ] {
        let (mut world, [desk, mobile, _, bob]) = talking(1706, 1, G722_MOBILE);
        world.phones[bob].unfit = unfit;
        if is_pull {
            world.phones[mobile].dial("*11");
            world.run(2 * SECOND);
        } else {
            refer(&mut world, desk, "mobile");
        }
        is_converted(&world);
        assert_eq!(invites(&world, bob), 3, "once with the device's codecs, once with its own beside them");
        assert!(is_told(&last_move(&world)));
        end(world, bob);
    }
}

#[test]
fn a_far_side_that_took_no_media_gets_it_back_where_the_move_fails() {
    for (status, unfit) in [(488, Unfit::LineDropped), (500, Unfit::EventsAlone)] {
        let (mut world, phones) = talking(1707, 1, G722_MOBILE);
        let [desk, _, _, bob] = phones;
        world.phones[bob].unfit = unfit;
        world.network.delay = Duration::from_millis(20);
        let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
        world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
        world.run_until(2 * SECOND, |world| invites(world, bob) == 2);
        world.phones[bob].reinvite = status;
        world.run_until(2 * SECOND, |world| invites(world, bob) == 3);
        world.phones[bob].reinvite = 200;
        world.run(3 * SECOND);
        let view = last_move(&world);
        assert_eq!((view.state, view.reason.as_deref()), (State::Refused, Some("offer_unusable")));
        is_untouched(&mut world, phones);
        end(world, bob);
    }
}

/// Most send what stands first in their answer, whatever was offered first.
#[test]
fn a_device_that_puts_another_codec_first_is_asked_to_speak_what_the_far_side_does() {
    for refuses in [false, true] {
        let (mut world, [desk, mobile, _, bob]) = talking(1708, 1, ["0 101", "9 0 101", "0 101", "0 101"]);
        world.phones[mobile].reinvite = if refuses { 488 } else { 200 };
        refer(&mut world, desk, "mobile");
        assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
        assert_eq!((invites(&world, mobile), invites(&world, bob)), (2, 1), "Bob is not bothered");
        assert!(
            media_line(&world, mobile, 0).ends_with("RTP/AVP 0 101"),
            "{}",
            media_line(&world, mobile, 0)
        );
        assert_eq!((becomes(&world, "alice*mobile"), world.engine.core().transcoded), (None, 0));
        end(world, bob);
    }
    // It is taken back, or hung up, while it is asked.
    for hangs_up in [false, true] {
        let (mut world, phones) = talking(1709, 1, ["0 101", "9 0 101", "0 101", "0 101"]);
        let [desk, mobile, _, bob] = phones;
        world.phones[mobile].holds_reinvites = true;
        refer(&mut world, desk, "mobile");
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
        if hangs_up {
            world.phones[mobile].bye(0);
        } else {
            let id = world.engine.moves.live.values().next().unwrap().id.clone();
            world.ask(Subject::Admin, Command::UndoMove { id });
        }
        world.run(SECOND);
        world.phones[mobile].holds_reinvites = false;
        world.phones[mobile].release_reinvites();
        world.run(2 * SECOND);
        is_untouched(&mut world, phones);
        end(world, bob);
    }
}

#[test]
fn a_call_is_converted_on_its_way_to_secured_phones_and_browsers() {
    for kind in Kind::ALL {
        let (mut world, phones) = house(1710, 2, G722_MOBILE);
        let [desk, mobile, _, bob] = phones;
        world.phones[mobile].kind = kind;
        // The node learns what it speaks.
        world.phones[mobile].dial("*43");
        world.run(SECOND);
        world.phones[mobile].bye(0);
        world.phones[desk].dial("bob");
        world.run(2 * SECOND);
        refer(&mut world, desk, "mobile");
        assert_eq!(world.phones[mobile].lines[1].status, None, "it was called: {kind:?}");
        is_converted(&world);
        end(world, bob);
    }
}

#[test]
fn a_device_that_pulls_without_an_offer_is_made_the_same_one() {
    let (mut world, [_, mobile, _, bob]) = talking(1711, 1, G722_MOBILE);
    world.phones[mobile].dial_with("*11", &[], false);
    world.run(2 * SECOND);
    assert!(media_line(&world, mobile, 0).ends_with("RTP/AVP 0 101 9 8 96"), "{}", world.tail());
    is_converted(&world);
    end(world, bob);
}
