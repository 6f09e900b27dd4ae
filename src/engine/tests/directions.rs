//! Hold in each of its forms, by either side or both, across a call, over a move, and off again.

use std::time::Duration;

use super::{World, talking};
use crate::media::plan::Hold;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

/// How a phone puts the other side on hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// It goes on playing.
    SendOnly,
    Inactive,
    /// RFC 2543: no address to send to, nothing said of directions.
    NoAddress,
}

/// Who holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Nobody,
    Local,
    Remote,
    Both,
}

impl Form {
    const fn direction(self) -> &'static str {
        match self {
            Self::SendOnly => "sendonly",
            Self::Inactive => "inactive",
            Self::NoAddress => "sendrecv",
        }
    }

    /// What a phone that holds nobody answers.
    const fn answer(self) -> &'static str {
        match self {
            Self::SendOnly => "recvonly",
            Self::Inactive => "inactive",
            Self::NoAddress => "sendrecv",
        }
    }
}

fn hold(world: &mut World, phone: usize, form: Form) {
    let sdp = world.phones[phone].sdp(0, form.direction());
    let sdp = match form {
        Form::NoAddress => {
            let address = format!("c=IN IP4 {}", world.phones[phone].address.ip());
            sdp.replace(&address, "c=IN IP4 0.0.0.0")
        }
        Form::SendOnly | Form::Inactive => sdp,
    };
    world.phones[phone].reinvite_with(0, sdp);
    world.run(SECOND);
    assert_eq!(world.phones[phone].lines[0].status, Some(200), "{}", world.tail());
}

#[track_caller]
fn hears(world: &World, from: &str, to: &str, is_heard: bool, what: &str) {
    let heard = world.heard_by(from);
    let expected: &[&str] = if is_heard { &[to] } else { &[] };
    assert_eq!(heard, expected, "{what}: {from}\n{}", world.tail());
}

/// Nobody is on hold any more, and nothing is left of the call when it is over.
#[track_caller]
fn talk_and_end(world: &mut World, bob: usize, what: &str) {
    hears(world, "alice*mobile", "bob*desk", true, what);
    hears(world, "bob*desk", "alice*mobile", true, what);
    world.phones[bob].bye(0);
    world.run(120 * SECOND);
    world.check_idle();
}

#[test]
fn every_hold_goes_across_moves_as_it_should_and_comes_off() {
    for form in [Form::SendOnly, Form::Inactive, Form::NoAddress] {
        for who in [Who::Nobody, Who::Local, Who::Remote, Who::Both] {
            let what = format!("{form:?} {who:?}");
            let (local, remote) =
                (matches!(who, Who::Local | Who::Both), matches!(who, Who::Remote | Who::Both));
            let (mut world, desk, mobile, bob) = talking(1300);
            if local {
                world.phones[bob].direction = form.answer();
                hold(&mut world, desk, form);
            }
            if remote {
                world.phones[desk].direction = if local { "inactive" } else { form.answer() };
                hold(&mut world, bob, form);
            }
            // Who holds may play, unless the form or the other side says no.
            let plays = form != Form::Inactive;
            hears(&world, "alice*desk", "bob*desk", !remote && (!local || plays), &what);
            hears(&world, "bob*desk", "alice*desk", !local && (!remote || plays), &what);

            // The far side's hold stays, that of the old device is lifted.
            world.phones[bob].direction = if remote { form.direction() } else { "sendrecv" };
            if remote && form == Form::NoAddress {
                world.phones[bob].direction = "sendonly";
            }
            world.phones[mobile].dial("*11");
            world.run(3 * SECOND);
            assert!(world.phones[mobile].lines[0].is_up, "{what}\n{}", world.tail());
            hears(&world, "alice*mobile", "bob*desk", !remote, &what);
            hears(&world, "bob*desk", "alice*mobile", !remote || plays, &what);
            assert_eq!(world.heard_by("alice*desk"), [""; 0], "{what}");

            // And off.
            (world.phones[mobile].direction, world.phones[bob].direction) = ("sendrecv", "sendrecv");
            world.phones[bob].reinvite(0, "sendrecv");
            world.run(SECOND);
            assert_eq!(world.phones[bob].lines[0].status, Some(200), "{what}\n{}", world.tail());
            talk_and_end(&mut world, bob, &what);
        }
    }
}

/// Contract 24: by policy the hold of the old device stays, until the new one resumes.
#[test]
fn a_hold_that_is_to_stay_stays_until_the_new_device_resumes() {
    for form in [Form::SendOnly, Form::Inactive] {
        for is_pushed in [false, true] {
            let what = format!("{form:?} {is_pushed}");
            let (mut world, desk, mobile, bob) = talking(1301);
            std::sync::Arc::make_mut(&mut world.engine.settings).moving.hold = Hold::Keep;
            world.phones[bob].direction = form.answer();
            hold(&mut world, desk, form);
            let asked = world.phones[bob].requests.iter().filter(|name| *name == "INVITE").count();
            if is_pushed {
                let target = [("Refer-To", "<sip:alice*mobile@example.org>")];
                world.phones[desk].request(0, &Method::Refer, &target, b"");
            } else {
                world.phones[mobile].dial("*11");
            }
            world.run(3 * SECOND);
            assert!(world.phones[mobile].lines[0].is_up, "{what}\n{}", world.tail());
            let now = world.phones[bob].requests.iter().filter(|name| *name == "INVITE").count();
            assert_eq!(now, asked, "{what}: the far side is not asked\n{}", world.tail());
            hears(&world, "bob*desk", "alice*mobile", false, &what);

            // The phones of this world never count `o=` up: the same text twice is a session refresh.
            hold(&mut world, mobile, form);
            world.phones[bob].direction = "sendrecv";
            world.phones[mobile].reinvite(0, "sendrecv");
            world.run(SECOND);
            talk_and_end(&mut world, bob, &what);
        }
    }
}

/// A far side that only listens (an announcement that is recorded, a gateway) hears the new device, so nothing goes back.
#[test]
fn a_far_side_that_only_listens_keeps_the_new_device() {
    let (mut world, _, mobile, bob) = talking(1302);
    world.phones[bob].reinvite(0, "recvonly");
    world.run(SECOND);
    world.phones[mobile].dial("*11");
    world.run(5 * SECOND);
    assert!(world.phones[mobile].lines[0].is_up, "{}", world.tail());
    hears(&world, "alice*mobile", "bob*desk", true, "listens");
    hears(&world, "bob*desk", "alice*mobile", false, "listens");
    assert_eq!(world.saved_moves().next().unwrap().gap_ms, Some(20.0), "it was measured");
    world.phones[bob].bye(0);
    world.run(120 * SECOND);
    world.check_idle();
}
