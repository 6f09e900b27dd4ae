//! SRTP by policy: who is offered it, who must have it, and that nobody is talked out of it.

use std::time::Duration;

use super::phone::ENGINE;
use super::world::{accounts, settings, trunk_to};
use super::{Answer, Early, Kind, World};
use crate::call::settings::Listener;
use crate::engine::store::Loaded;
use crate::media::plan::Rule;
use crate::media::relay::MediaCommand;
use crate::media::srtp::Security;
use crate::sip::Transport;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64, rule: Rule) -> World {
    let mut settings = settings();
    settings.call.media.srtp = rule;
    World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default())
}

fn secured(is_secure: bool) -> Kind {
    if is_secure { Kind::Sdes } else { Kind::Plain }
}

/// What a phone was last told about its media.
fn told(world: &World, phone: usize) -> String {
    let line = world.phones[phone].lines.last().expect("a call");
    String::from_utf8_lossy(line.heard.last().expect("a description")).into_owned()
}

/// How the media threads were last told to protect the leg of a device.
fn security_of(world: &World, device: &str) -> Security {
    let port_of = world.port_of(device).expect("a port");
    let set = world.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { port, ingress } if *port == port_of => Some(ingress.security.clone()),
        _ => None,
    });
    set.expect("configured")
}

#[test]
fn a_device_on_an_encrypted_flow_is_offered_srtp_and_the_other_stays_plain() {
    let mut world = world(1, Rule::Either);
    let alice = world.phone("alice", "desk");
    let bob = world.phone_over(Transport::Tls, "bob", "desk");
    world.phones[bob].kind = Kind::Sdes;
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert!(
        told(&world, bob).contains("RTP/SAVP") && told(&world, bob).contains("a=crypto:1 "),
        "{}",
        world.tail()
    );
    assert!(told(&world, alice).contains("RTP/AVP") && !told(&world, alice).contains("crypto"));
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"]);
    assert_eq!(security_of(&world, "alice*desk"), Security::Plain);
    assert_ne!(security_of(&world, "bob*desk"), Security::Plain);
    world.phones[alice].bye(0);
    world.run(SECOND);
    assert!(world.records[0].srtp);
}

#[test]
fn a_device_that_refuses_srtp_is_rung_again_with_plain_rtp_and_remembered() {
    let mut world = world(2, Rule::Either);
    let alice = world.phone("alice", "desk");
    let bob = world.phone_over(Transport::Tls, "bob", "desk");
    let line = world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
    assert_eq!(world.phones[bob].lines.len(), 2, "asked twice");
    assert!(told(&world, bob).contains("RTP/AVP"));
    world.phones[alice].bye(line);
    world.run(SECOND);
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines.len(), 3, "asked once");
    world.phones[alice].bye(1);
    world.run(70 * SECOND);
    world.check_idle();
}

/// A browser's keys are none that it could be offered: the media is converted, with the phone's keys or without.
#[test]
fn a_browser_reaches_a_phone_that_refuses_srtp_whatever_it_says_of_that() {
    for status in [415, 488, 606] {
        let mut world = world(20 + u64::from(status), Rule::Either);
        let alice = world.phone_over(Transport::Wss, "alice", "desk");
        let bob = world.phone_over(Transport::Tls, "bob", "desk");
        world.phones[alice].kind = Kind::Web;
        world.phones[bob].refusal = status;
        let line = world.phones[alice].dial("bob");
        world.run(SECOND);
        assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
        assert!(told(&world, bob).contains("RTP/AVP") && told(&world, alice).contains("UDP/TLS/RTP/SAVPF"));
        assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"]);
        world.phones[alice].bye(line);
        world.run(70 * SECOND);
        world.check_idle();
    }
}

/// Alice's call is pushed to her mobile, which refuses SRTP: how often that rang, and where the call is then.
fn pushed(seed: u64, rule: Rule, has_spoken: bool) -> (usize, World) {
    let mut world = world(seed, rule);
    let (desk, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    let mobile = world.phone_over(Transport::Tls, "alice", "mobile");
    for phone in [desk, bob] {
        world.phones[phone].kind = secured(rule == Rule::SecureOnly);
    }
    if has_spoken {
        world.phones[mobile].kind = Kind::Sdes;
        let line = world.phones[mobile].dial("*43");
        world.run(SECOND);
        world.phones[mobile].bye(line);
        world.run(SECOND);
        world.phones[mobile].kind = Kind::Plain;
    }
    world.phones[desk].dial("bob");
    world.run(SECOND);
    let rung = world.phones[mobile].lines.len();
    let refer_to = [("Refer-To", "<sip:alice*mobile@example.org>")];
    world.phones[desk].request(0, &Method::Refer, &refer_to, b"");
    world.run(2 * SECOND);
    (world.phones[mobile].lines.len() - rung, world)
}

#[test]
fn a_device_that_a_call_is_pushed_to_is_rung_again_with_plain_rtp_where_that_may_be() {
    let (rung, mut world) = pushed(30, Rule::Either, false);
    assert_eq!(rung, 2, "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"], "{}", world.tail());
    assert_eq!(security_of(&world, "alice*mobile"), Security::Plain);
    assert_eq!(world.phones[0].lines[0].referred.last().map(String::as_str), Some("SIP/2.0 200 OK"));
    world.hang_up_all();
    world.run(70 * SECOND);
    world.check_idle();
    for (seed, rule, has_spoken) in [(31, Rule::SecureOnly, false), (32, Rule::Either, true)] {
        let (rung, mut world) = pushed(seed, rule, has_spoken);
        assert_eq!(rung, 1, "{}", world.tail());
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
        let told = world.phones[0].lines[0].referred.last().unwrap();
        assert!(!told.contains("200"), "{told}");
        world.hang_up_all();
        world.run(70 * SECOND);
        world.check_idle();
    }
}

#[test]
fn a_trunk_that_refuses_srtp_is_called_again_with_plain_rtp_unless_it_has_spoken_it() {
    // Whether it spoke SRTP in a call of before, and how many INVITEs it has had after the next two calls. Who refuses does
    // so for itself, so each call asks; and that a caller of the trunk has keys binds nobody whom we call.
    for (seed, rule, has_spoken, calls_in, expected) in [
        (40, Rule::Either, false, false, [2, 4]),
        (41, Rule::SecureOnly, false, false, [1, 2]),
        (42, Rule::Either, true, false, [2, 3]),
        (43, Rule::Either, false, true, [2, 4]),
    ] {
        let peer = "203.0.113.1:5061".parse().unwrap();
        let mut settings = settings();
        settings.call.media.srtp = rule;
        trunk_to(&mut settings, peer).targets[0].transport = Transport::Tls;
        let address = ENGINE.parse().unwrap();
        settings.call.listeners.push(Listener::new(Transport::Tls, address, address));
        let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
        let (alice, outside) = (world.phone("alice", "desk"), world.outsider("bob", peer));
        world.phones[outside].transport = Transport::Tls;
        world.phones[alice].kind = secured(rule == Rule::SecureOnly);
        if has_spoken {
            world.phones[outside].kind = Kind::Sdes;
            world.phones[alice].dial("0049");
            world.run(SECOND);
            assert_eq!(world.phones[outside].lines.len(), 1);
            world.hang_up_all();
            world.run(SECOND);
            world.phones[outside].kind = Kind::Plain;
        }
        if calls_in {
            world.phones[outside].kind = Kind::Sdes;
            let line = world.phones[outside].dial("1001");
            world.run(SECOND);
            assert_eq!(world.phones[outside].lines[line].status, Some(200), "{}", world.tail());
            world.hang_up_all();
            world.run(SECOND);
            world.phones[outside].kind = Kind::Plain;
            world.phones[outside].lines.clear();
        }
        for times in expected {
            let line = world.phones[alice].dial("0049");
            world.run(SECOND);
            let wanted = if rule == Rule::Either && !has_spoken { 200 } else { 488 };
            assert_eq!(world.phones[alice].lines[line].status, Some(wanted), "{}", world.tail());
            assert_eq!(world.phones[outside].lines.len(), times, "{}", world.tail());
            world.hang_up_all();
            world.run(SECOND);
        }
        world.run(70 * SECOND);
        world.check_idle();
    }
}

#[test]
fn who_spoke_srtp_before_is_not_rung_in_plain() {
    let mut world = world(3, Rule::Either);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[bob].kind = Kind::Sdes;
    let line = world.phones[bob].dial("*43");
    world.run(SECOND);
    world.phones[bob].bye(line);
    world.run(SECOND);
    world.phones[bob].kind = Kind::Plain;
    let line = world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(488), "{}", world.tail());
}

#[test]
fn where_srtp_is_required_plain_is_488_and_where_it_is_off_srtp_is() {
    for (rule, is_secure) in [(Rule::SecureOnly, false), (Rule::PlainOnly, true)] {
        let mut world = world(4, rule);
        let (alice, _) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
        world.phones[alice].kind = secured(is_secure);
        let line = world.phones[alice].dial("bob");
        world.run(SECOND);
        assert_eq!(world.phones[alice].lines[line].status, Some(488), "{}", world.tail());
        world.phones[alice].kind = secured(!is_secure);
        let bob = world.phones.len() - 1;
        world.phones[bob].kind = secured(!is_secure);
        let line = world.phones[alice].dial("bob");
        world.run(SECOND);
        assert_eq!(world.phones[alice].lines[line].status, Some(200), "{}", world.tail());
    }
    // Who refuses it may lack the codec or SRTP: both are said.
    let mut world = world(6, Rule::SecureOnly);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].kind = Kind::Sdes;
    world.phones[bob].kind = Kind::Plain;
    let line = world.phones[alice].dial("bob");
    world.run(SECOND);
    let heard = &world.phones[alice].lines[line];
    assert_eq!(heard.status, Some(488), "{}", world.tail());
    assert!(heard.warning.contains("or not with SRTP, which is required here"), "{}", heard.warning);
}

#[test]
fn a_re_invite_that_takes_srtp_away_fails_and_the_call_goes_on_as_it_was() {
    let mut world = world(5, Rule::Either);
    let (alice, bob) = (world.phone("alice", "desk"), world.phone("bob", "desk"));
    world.phones[alice].kind = Kind::Sdes;
    let line = world.phones[alice].dial("bob");
    world.run(SECOND);
    let before = security_of(&world, "alice*desk");
    assert_ne!(before, Security::Plain, "{}", world.tail());
    world.phones[alice].kind = Kind::Plain;
    world.phones[alice].reinvite(line, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(488), "{}", world.tail());
    assert_eq!(security_of(&world, "alice*desk"), before);
    world.phones[alice].kind = Kind::Sdes;
    world.phones[alice].reinvite(line, "sendrecv");
    world.run(SECOND);
    assert_eq!(world.phones[alice].lines[line].status, Some(200));
    // The far side puts it on hold: what segue offers on that behalf has keys, and an answer without them is none.
    world.phones[alice].kind = Kind::Plain;
    world.phones[bob].reinvite(0, "sendonly");
    world.run(SECOND);
    assert_eq!(world.phones[bob].lines[0].status, Some(488), "{}", world.tail());
    assert_eq!(security_of(&world, "alice*desk"), before);
    world.phones[alice].kind = Kind::Sdes;
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
}

#[test]
fn a_move_between_plain_and_secure_devices_keeps_the_far_keys() {
    for (seed, far, old, new) in [
        (6, true, false, true),
        (7, true, true, false),
        (8, true, true, true),
        (9, false, false, true),
        (10, false, true, false),
    ] {
        let mut world = world(seed, Rule::Either);
        let (desk, mobile) = (world.phone("alice", "desk"), world.phone("alice", "mobile"));
        let bob = world.phone_over(if far { Transport::Tls } else { Transport::Udp }, "bob", "desk");
        world.phones[mobile].answer = Answer::Ring;
        for (phone, is_secure) in [(bob, far), (desk, old), (mobile, new)] {
            world.phones[phone].kind = secured(is_secure);
        }
        world.phones[desk].dial("bob");
        world.run(SECOND);
        let before = security_of(&world, "bob*desk");
        assert_eq!(before != Security::Plain, far, "{}", world.tail());
        let line = world.phones[mobile].dial("*11");
        world.run(SECOND);
        assert_eq!(world.phones[mobile].lines[line].status, Some(200), "{}", world.tail());
        assert_eq!(told(&world, mobile).contains("a=crypto:"), new);
        assert_eq!(world.heard_by("bob*desk"), ["alice*mobile"]);
        assert_eq!(security_of(&world, "bob*desk"), before, "the far leg's keys go on");
        assert_eq!(security_of(&world, "alice*mobile") != Security::Plain, new);
        world.check();
        let kept = format!("{:?}{:?}", world.stored, world.events);
        assert!(!kept.contains("inline:W") && !kept.contains("cGhvbmU"), "no key is kept");
        world.hang_up_all();
        world.run(70 * SECOND);
        world.check_idle();
    }
}

/// All forks are told the same ports. One that has keys is heard before another one without answers, or it answers itself.
#[test]
fn keys_of_a_fork_that_was_heard_early_are_nothing_to_another_that_answers() {
    for is_other in [true, false] {
        let mut world = world(8, Rule::Either);
        let alice = world.phone("alice", "desk");
        let (desk, mobile) = (world.phone_over(Transport::Tls, "bob", "desk"), world.phone("bob", "mobile"));
        world.phones[desk].kind = Kind::Sdes;
        world.phones[desk].early = Early::Unreliable;
        for phone in [desk, mobile] {
            world.phones[phone].answer = Answer::Ring;
        }
        world.phones[alice].dial("bob");
        world.run(SECOND);
        assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
        world.phones[if is_other { mobile } else { desk }].pick_up(0);
        world.run(SECOND);
        assert!(world.phones[alice].lines[0].is_up, "{}", world.tail());
        let winner = if is_other { "bob*mobile" } else { "bob*desk" };
        assert_eq!(world.heard_by(winner), ["alice*desk"], "{}", world.tail());
        let port_of = world.port_of(winner).expect("a port");
        // Whether it is released, or with keys or without.
        let steps: Vec<Option<bool>> = (world.media.iter())
            .filter_map(|command| match command {
                MediaCommand::Configure { port, ingress } if *port == port_of => {
                    Some(Some(ingress.security != Security::Plain))
                }
                MediaCommand::Release { port } if *port == port_of => Some(None),
                _ => None,
            })
            .collect();
        assert_eq!((steps.first(), steps.last()), (Some(&Some(true)), Some(&Some(!is_other))));
        assert_eq!(steps.contains(&None), is_other);
        world.phones[alice].bye(0);
        world.run(70 * SECOND);
        world.check_idle();
    }
}

#[test]
fn a_fork_that_was_heard_early_and_fails_gives_its_place_to_the_next() {
    let mut world = world(9, Rule::Either);
    let alice = world.phone("alice", "desk");
    let (desk, mobile) = (world.phone("bob", "desk"), world.phone("bob", "mobile"));
    for phone in [desk, mobile] {
        world.phones[phone].answer = Answer::Ring;
    }
    world.phones[desk].early = Early::Unreliable;
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.heard_by("bob*desk"), ["alice*desk"], "{}", world.tail());
    // While one is heard, the other is not.
    world.phones[mobile].early = Early::Unreliable;
    world.phones[mobile].play(0);
    world.run(SECOND);
    let played = |world: &World| {
        world.phones[alice].progress.iter().filter(|progress| !progress.body.is_empty()).count()
    };
    let once = played(&world);
    assert!(once > 0 && world.heard_by("bob*mobile").is_empty(), "{}", world.tail());
    world.phones[desk].refuse(0, 486);
    world.run(SECOND);
    world.phones[mobile].play(0);
    world.run(SECOND);
    assert!(played(&world) > once, "{}", world.tail());
    assert_eq!(world.heard_by("bob*mobile"), ["alice*desk"], "{}", world.tail());
    world.phones[mobile].pick_up(0);
    world.run(SECOND);
    assert!(world.phones[alice].lines[0].is_up, "{}", world.tail());
    world.phones[alice].bye(0);
    world.run(70 * SECOND);
    world.check_idle();
}
