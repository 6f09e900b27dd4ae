//! Plain RTP, SRTP by keys in the description and browsers: each calls each, and a call moves from each to each and back
//! whatever the far side is.

use std::time::Duration;

use super::{Kind, World, three_phones};
use crate::media::relay::MediaCommand;
use crate::media::srtp::Security;

const SECOND: Duration = Duration::from_secs(1);

/// Three phones of these kinds, of which the node knows what they speak.
fn phones(seed: u64, kinds: [Kind; 3]) -> (World, [usize; 3]) {
    let (mut world, desk, mobile, bob) = three_phones(seed);
    for (phone, kind) in [desk, mobile, bob].into_iter().zip(kinds) {
        world.phones[phone].kind = kind;
        let line = world.phones[phone].dial("*43");
        world.run(SECOND);
        assert_eq!(world.phones[phone].lines[line].status, Some(200), "{kind:?}\n{}", world.tail());
        world.phones[phone].bye(line);
        world.run(SECOND);
    }
    (world, [desk, mobile, bob])
}

/// What the media threads were told last of the port of a device.
fn kind_of(world: &World, device: &str) -> Kind {
    let port = world.port_of(device).unwrap();
    let told = world.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { port: of, ingress } if *of == port => Some(ingress),
        _ => None,
    });
    let told = told.unwrap();
    match &told.security {
        Security::Plain => Kind::Plain,
        Security::Srtp(_) => Kind::Sdes,
        Security::Web(_) => {
            assert_eq!((told.remote, told.remote_rtcp), (None, None), "ICE finds it");
            Kind::Web
        }
    }
}

#[track_caller]
fn talk(world: &World, device: &str, kind: Kind, far: Kind) {
    assert_eq!(world.heard_by(device), ["bob*desk"], "{}", world.tail());
    assert_eq!(world.heard_by("bob*desk"), [device], "{}", world.tail());
    assert_eq!((kind_of(world, device), kind_of(world, "bob*desk")), (kind, far), "{}", world.tail());
}

#[test]
fn a_call_moves_from_each_kind_to_each_and_back_whatever_the_far_side_is() {
    let mut seed = 900;
    for far in Kind::ALL {
        for old in Kind::ALL {
            for new in Kind::ALL {
                seed += 1;
                let (mut world, [desk, mobile, bob]) = phones(seed, [old, new, far]);
                world.phones[desk].dial("bob");
                world.run(2 * SECOND);
                talk(&world, "alice*desk", old, far);
                world.phones[mobile].dial("*11");
                world.run(2 * SECOND);
                talk(&world, "alice*mobile", new, far);
                world.run(31 * SECOND);
                world.phones[desk].dial("*11");
                world.run(2 * SECOND);
                talk(&world, "alice*desk", old, far);
                let line = world.phones[bob].lines.len() - 1;
                world.phones[bob].bye(line);
                world.run(60 * SECOND);
                world.check_idle();
            }
        }
    }
}

#[test]
fn a_call_is_pushed_to_a_browser() {
    let (mut world, [desk, ..]) = phones(950, [Kind::Plain, Kind::Web, Kind::Plain]);
    world.phones[desk].dial("bob");
    world.run(2 * SECOND);
    let push = |world: &mut World, from: usize, to: &str| {
        let refer_to = format!("<sip:alice*{to}@example.org>");
        let headers = [("Refer-To", &*refer_to), ("Contact", "<sip:a@198.51.100.10>")];
        let line = world.phones[from].lines.len() - 1;
        world.phones[from].request(line, &crate::wire::sip::Method::Refer, &headers, b"");
        world.run(2 * SECOND);
    };
    push(&mut world, desk, "mobile");
    talk(&world, "alice*mobile", Kind::Web, Kind::Plain);
}
