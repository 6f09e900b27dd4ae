//! Browsers whose call goes to another media thread, where neither their ICE nor their keys are known.

use std::time::Duration;

use super::three::Three;
use super::world::{accounts, settings};
use super::{Kind, World};
use crate::engine::store::Loaded;
use crate::media::relay::MediaCommand;
use crate::media::srtp::Security;
use crate::media::web::WebEnd;

const SECOND: Duration = Duration::from_secs(1);

/// Alice talks with Bob, who is a browser, and both calls that she can have are on media threads of their own.
fn talking(seed: u64) -> Three {
    let mut settings = settings();
    settings.call.media.threads = 2;
    let mut world = World::with(seed, settings, accounts(&["alice", "bob", "carol"]), &Loaded::default());
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| world.phone(name, "desk"));
    world.phones[bob].kind = Kind::Web;
    // What it speaks is known from a call of its own; the one after it is on the other thread again.
    let own = world.phones[bob].dial("*43");
    world.run(SECOND);
    world.phones[bob].bye(own);
    world.run(SECOND);
    world.phones[alice].dial("bob");
    world.run(SECOND);
    assert_eq!(world.heard_by("alice*desk"), ["bob*desk"], "{}", world.tail());
    Three { world, alice, bob, carol }
}

/// What a description says of where and as what a browser meets us: port, ICE, certificate, association.
fn terms(sdp: &str) -> [String; 6] {
    let value = |name: &str| {
        let found = sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert!(!found.is_empty(), "no {name} in\n{sdp}");
        found.split(" UDP/").next().unwrap_or_default().to_owned()
    };
    ["m=audio ", "a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=tls-id:", "a=candidate:0 1 udp "]
        .map(value)
}

fn told(three: &Three) -> String {
    three.world.phones[three.bob].lines.last().unwrap().last_heard()
}

/// How often Bob was told of media.
fn offers(three: &Three) -> usize {
    three.world.phones[three.bob].lines.last().unwrap().heard.len()
}

/// The media thread of Bob's leg, and how that was last told to protect it.
fn transport(world: &World) -> (u8, WebEnd) {
    let port = world.port_of("bob*desk").expect("a port");
    let set = world.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { port: of, ingress } if *of == port => Some(ingress.security.clone()),
        _ => None,
    });
    match set {
        Some(Security::Web(end)) => (port.thread, *end),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_browser_that_is_transferred_to_another_media_thread_starts_ice_and_dtls_anew() {
    let mut three = talking(1500);
    let (first, (thread, before)) = (terms(&told(&three)), transport(&three.world));
    let to = three.consult();
    three.refer(three.alice, &to);
    three.joined();
    let (text, (other, after)) = (told(&three), transport(&three.world));
    assert_ne!(thread, other);
    for (before, after) in first.iter().zip(&terms(&text)) {
        assert_ne!(before, after, "{text}");
    }
    assert!(text.contains("a=setup:actpass"), "{text}");
    assert_eq!(terms(&text)[1], *after.local.ufrag);
    assert!(before.local != after.local && before.association != after.association);
    // From there on nothing changes.
    for direction in ["sendonly", "sendrecv"] {
        three.world.phones[three.carol].reinvite(0, direction);
        three.world.run(SECOND);
        assert_eq!(terms(&told(&three)), terms(&text), "{}", three.world.tail());
        assert_eq!(transport(&three.world), (other, after.clone()));
    }
    three.end();
}

#[test]
fn a_browser_that_refuses_stays_with_what_it_had() {
    let mut three = talking(1501);
    let (first, before) = (terms(&told(&three)), transport(&three.world));
    let to = three.consult();
    let heard = offers(&three);
    three.world.phones[three.bob].reinvite = 488;
    three.refer(three.alice, &to);
    three.world.run(SECOND);
    assert_eq!((three.told(three.alice), offers(&three)), (vec!["100", "488"], heard + 1));
    three.world.phones[three.bob].reinvite = 200;
    three.untouched();
    assert_eq!((terms(&told(&three)), transport(&three.world)), (first, before));
    three.end();
}

#[test]
fn a_browser_that_agreed_too_late_comes_back_and_starts_anew_once_more() {
    let mut three = talking(1502);
    let (first, (thread, before)) = (terms(&told(&three)), transport(&three.world));
    let to = three.consult();
    three.world.phones[three.bob].holds_reinvites = true;
    three.world.phones[three.bob].heeds_cancel = false;
    three.refer(three.alice, &to);
    three.world.run(16 * SECOND);
    assert_eq!(three.told(three.alice), ["100", "408"], "{}", three.world.tail());
    let away = terms(&told(&three));
    three.world.phones[three.bob].holds_reinvites = false;
    three.world.phones[three.bob].release_reinvites();
    three.world.run(5 * SECOND);
    let (back, (after_thread, after)) = (terms(&told(&three)), transport(&three.world));
    assert_eq!((after_thread, &back[0], &back[3]), (thread, &first[0], &first[3]), "{}", three.world.tail());
    for n in [1, 2, 4] {
        assert!(back[n] != first[n] && back[n] != away[n], "{}", three.world.tail());
    }
    assert_eq!(back[1], *after.local.ufrag);
    assert_ne!(before.association, after.association, "the keys of before are gone at the browser's end");
    three.untouched();
    assert_eq!(terms(&told(&three)), back);
    three.end();
}
