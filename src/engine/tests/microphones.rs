//! Nobody but a push makes a phone answer by itself: such a call would open the microphone of a room.

use std::collections::VecDeque;
use std::time::Duration;

use super::World;
use super::world::{accounts, settings, trunk_to};
use crate::engine::store::Loaded;

const SECOND: Duration = Duration::from_secs(1);

/// Every way to ask for it that phones are known to obey, and its disguises.
const ORDERS: [(&str, &str); 12] = [
    ("Call-Info", "<sip:example.org>;answer-after=0"),
    ("Call-Info", "<http://example.org/a.png>;purpose=icon, <sip:x>; Answer-After = 0"),
    ("Alert-Info", "<http://example.org>;info=alert-autoanswer;delay=0"),
    ("Alert-Info", "Auto Answer"),
    ("Alert-Info", "AUTO\r\n \t answer"),
    ("alert-info", "<http://example.org>;info=Auto-Answer"),
    ("Answer-Mode", "Auto"),
    ("Priv-Answer-Mode", "Auto;require"),
    ("P-Auto-Answer", "normal"),
    ("X-Intercom", "auto-answer"),
    ("X-AutoAnswer", "yes"),
    ("segue-move", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
];

#[test]
fn a_caller_makes_no_phone_answer_by_itself() {
    for is_trunk in [false, true] {
        let mut settings = settings();
        let peer = "203.0.113.9:5060".parse().unwrap();
        trunk_to(&mut settings, peer);
        let mut world = World::with(1400, settings, accounts(&["alice", "bob"]), &Loaded::default());
        world.phone("bob", "desk");
        let caller = if is_trunk { world.outsider("alice", peer) } else { world.phone("alice", "desk") };
        world.captured = Some(VecDeque::new());
        // What is no order crosses as before.
        let harmless = [
            ("Alert-Info", "<http://example.org/bellcore-dr3>"),
            ("Call-Info", "<http://example.org/alice.png>;purpose=icon"),
        ];
        let headers: Vec<_> = ORDERS.into_iter().chain(harmless).collect();
        world.phones[caller].dial_with("bob", &headers, true);
        world.run(SECOND);
        let invite = |world: &World| {
            let texts = world.heard_by_phones.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let of_bob = |text: &String| text.starts_with("INVITE sip:bob-desk@");
            texts.filter(of_bob).last().unwrap_or_else(|| panic!("{}", world.tail()))
        };
        let is_clean = |text: &str| {
            let words = text.to_ascii_lowercase().split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            ["answer-after", "auto-answer", "autoanswer", "auto answer", "answer-mode", "segue-move"]
                .iter()
                .all(|order| !words.contains(order))
        };
        let first = invite(&world);
        assert!(is_clean(&first), "{first}");
        assert!(harmless.iter().all(|(_, value)| first.contains(value)), "{first}");
        // Nor later, in the dialog.
        let headers = ORDERS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        world.phones[caller].reinvite_headers = headers.collect();
        world.phones[caller].reinvite(0, "sendonly");
        world.run(SECOND);
        let second = invite(&world);
        assert!(second != first && is_clean(&second), "{second}");
        world.check();
    }
}
