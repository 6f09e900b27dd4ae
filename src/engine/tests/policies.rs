//! What is settled with a trunk about session timers and re-INVITE.

use std::time::Duration;

use super::World;
use super::world::{accounts, settings, trunk_to};
use crate::call::policy::{Policy, ReInvite};
use crate::call::session_timer::{By, Mode, Refresher, Terms};
use crate::engine::store::Loaded;
use crate::media::transcode::Speech;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TIMER: (&str, &str) = ("Supported", "timer");
const CARRIER: &str = "203.0.113.7:5060";

/// Alice's desk and mobile, and a carrier with a policy.
struct House {
    world: World,
    desk: usize,
    mobile: usize,
    carrier: usize,
}

fn house(seed: u64, change: impl FnOnce(&mut Policy)) -> House {
    let mut settings = settings();
    settings.call.media.transcode = 1;
    change(&mut trunk_to(&mut settings, CARRIER.parse().unwrap()).policy);
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let [desk, mobile] = ["desk", "mobile"].map(|device| world.phone("alice", device));
    let carrier = world.outsider("bob", CARRIER.parse().unwrap());
    world.phones[carrier].name = "+4989777".into();
    world.captured = Some(std::collections::VecDeque::new());
    House { world, desk, mobile, carrier }
}

fn timed(seed: u64, terms: Terms) -> House {
    house(seed, |policy| policy.session = terms)
}

impl House {
    /// Everything that the carrier got, as text.
    fn got(&self) -> Vec<String> {
        let at = self.world.phones[self.carrier].address;
        let all = self.world.addressed.iter().filter(|(to, _)| *to == at);
        all.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// How many hear a device.
    fn listeners(&self, device: &str) -> usize {
        let port = self.world.port_of(device);
        port.and_then(|port| self.world.routes.get(&port)).map_or(0, |sinks| sinks.len())
    }

    fn count(&self, phone: usize, method: &str) -> usize {
        self.world.phones[phone].requests.iter().filter(|known| *known == method).count()
    }

    /// What INVITE, UPDATE and 2xx said of the session to a phone.
    fn sessions(&self, phone: usize) -> Vec<&str> {
        self.world.phones[phone].sessions.iter().map(|(_, value)| value.as_str()).collect()
    }

    fn end(mut self, phone: usize) {
        let line = self.world.phones[phone].lines.len() - 1;
        self.world.phones[phone].bye(line);
        self.world.run(2 * MINUTE);
        self.world.check_idle();
    }
}

fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn a_trunk_is_asked_for_the_interval_that_it_wants() {
    let terms = Terms { expires: 600, min: 300, refresher: Some(Refresher::Them), ..Terms::default() };
    let mut house = timed(2101, terms);
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    assert_eq!(house.sessions(carrier), ["600;refresher=uas"], "{}", house.world.tail());
    let invite = house.got().into_iter().find(|text| text.starts_with("INVITE ")).unwrap();
    assert_eq!(header(&invite, "Min-SE"), Some("300"), "{invite}");
    house.world.phones[desk].bye(0);
    house.world.run(SECOND);
    // It calls: longer ones are cut, shorter ones refused, and who refreshes is for us to say.
    for (asked, status, agreed) in [
        ("3600", 200, "600;refresher=uac"),
        ("3600;refresher=uas", 200, "600;refresher=uas"),
        ("400", 200, "400;refresher=uac"),
        ("299", 422, ""),
    ] {
        let line = house.world.phones[carrier].dial_with("1001", &[TIMER, ("Session-Expires", asked)], true);
        house.world.run(SECOND);
        assert_eq!(house.world.phones[carrier].lines[line].status, Some(status), "{}", house.world.tail());
        if status == 200 {
            assert_eq!(house.sessions(carrier).last(), Some(&agreed), "{asked}");
            house.world.phones[carrier].bye(line);
            house.world.run(SECOND);
        }
    }
    let refused = house.got().into_iter().find(|text| text.starts_with("SIP/2.0 422 ")).unwrap();
    assert_eq!(header(&refused, "Min-SE"), Some("300"), "{refused}");
    house.world.run(2 * MINUTE);
    house.world.check_idle();
}

#[test]
fn a_trunk_that_is_not_asked_may_ask() {
    let mut house = timed(2102, Terms { mode: Mode::Accept, ..Terms::default() });
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    assert_eq!(house.sessions(carrier), [""], "{}", house.world.tail());
    house.world.phones[desk].bye(0);
    house.world.run(SECOND);
    for (asked, agreed) in [(None, ""), (Some("120;refresher=uas"), "120;refresher=uas")] {
        let mut headers = vec![TIMER];
        headers.extend(asked.map(|asked| ("Session-Expires", asked)));
        let line = house.world.phones[carrier].dial_with("1001", &headers, true);
        house.world.run(SECOND);
        assert_eq!(house.sessions(carrier).last(), Some(&agreed), "{}", house.world.tail());
        house.world.run(MINUTE);
        assert_eq!(house.count(carrier, "UPDATE"), usize::from(asked.is_some()), "{}", house.world.tail());
        house.world.phones[carrier].bye(line);
        house.world.run(SECOND);
    }
    // Its 2xx may ask, too (RFC 4028 9).
    house.world.phones[carrier].session = "120;refresher=uac";
    house.world.phones[desk].dial("0049");
    house.world.run(MINUTE + SECOND);
    assert_eq!(house.count(carrier, "UPDATE"), 2, "{}", house.world.tail());
    house.end(desk);
}

#[test]
fn a_trunk_that_breaks_on_timers_hears_nothing_of_them() {
    let mut house = timed(2103, Terms { mode: Mode::Off, ..Terms::default() });
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[carrier].session = "120;refresher=uac";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    house.world.phones[desk].reinvite(0, "sendonly");
    house.world.run(20 * MINUTE);
    assert!(house.world.phones[desk].lines[0].is_up && !house.world.phones[desk].lines[0].is_over);
    assert_eq!((house.count(carrier, "UPDATE"), house.count(carrier, "INVITE")), (0, 2));
    house.world.phones[desk].bye(0);
    house.world.run(SECOND);
    // What it asks is not seen, and what it requires refused by name (RFC 3261 8.2.2.3), in a dialog, too.
    let line = house.world.phones[carrier].dial_with("1001", &[TIMER, ("Session-Expires", "30")], true);
    house.world.run(SECOND);
    assert_eq!(house.world.phones[carrier].lines[line].status, Some(200), "{}", house.world.tail());
    let required = [("Require", "timer"), TIMER, ("Session-Expires", "120;refresher=uac")];
    house.world.phones[carrier].request(line, &Method::Update, &required, b"");
    house.world.run(SECOND);
    assert_eq!(house.world.phones[carrier].lines[line].status, Some(420), "{}", house.world.tail());
    house.world.phones[carrier].bye(line);
    house.world.run(SECOND);
    let line = house.world.phones[carrier].dial_with("1001", &required, true);
    house.world.run(SECOND);
    assert_eq!(house.world.phones[carrier].lines[line].status, Some(420), "{}", house.world.tail());
    let refused: Vec<_> = house.got().into_iter().filter(|text| text.starts_with("SIP/2.0 420 ")).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|text| header(text, "Unsupported") == Some("timer")), "{refused:?}");
    house.world.phones[carrier].request_to("", &Method::Options, &[]);
    house.world.run(2 * MINUTE);
    for text in house.got().iter().filter(|text| !text.starts_with("SIP/2.0 420 ")) {
        let says = |name| header(text, name).is_some_and(|value| value.contains("timer"));
        assert!(!says("Supported") && !says("Require"), "{text}");
        assert!(header(text, "Session-Expires").or(header(text, "Min-SE")).is_none(), "{text}");
    }
    // Others are asked as ever.
    assert!(house.got().iter().any(|text| text.contains("\r\nCSeq: 1 OPTIONS\r\n")), "it was answered");
    house.world.check_idle();
}

#[test]
fn a_trunk_that_says_update_and_breaks_on_it_is_refreshed_by_re_invite() {
    for (by, methods) in [(By::Update, (1, 1)), (By::Reinvite, (0, 2))] {
        let mut house = timed(2104, Terms { by, ..Terms::default() });
        let (desk, carrier) = (house.desk, house.carrier);
        house.world.phones[carrier].session = "120;refresher=uac";
        house.world.phones[desk].dial("0049");
        house.world.run(MINUTE + SECOND);
        let seen = (house.count(carrier, "UPDATE"), house.count(carrier, "INVITE"));
        assert_eq!(seen, methods, "{}", house.world.tail());
        let heard = &house.world.phones[carrier].lines[0].heard;
        assert!(heard.iter().all(|text| *text == heard[0]), "it says nothing new");
        house.end(desk);
    }
}

#[test]
fn a_trunk_that_takes_no_re_invite_hears_of_no_hold_and_no_move() {
    let mut house = house(2105, |policy| policy.re_invite = Some(ReInvite::Never));
    let (desk, mobile, carrier) = (house.desk, house.mobile, house.carrier);
    house.world.phones[desk].codecs = "8 101";
    house.world.phones[mobile].codecs = "9 101";
    house.world.phones[carrier].codecs = "8 101";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    for (direction, answered, heard) in
        [("inactive", "a=inactive", 0), ("sendonly", "a=recvonly", 1), ("sendrecv", "m=audio", 1)]
    {
        house.world.phones[desk].reinvite(0, direction);
        house.world.run(SECOND);
        let line = &house.world.phones[desk].lines[0];
        assert_eq!(line.status, Some(200), "{}", house.world.tail());
        let said = line.last_heard();
        assert!(said.contains(answered), "{said}");
        assert_eq!(house.listeners("alice*desk"), heard, "{direction} {}", house.world.tail());
    }
    // By UPDATE, too; and one that brings what the trunk does not speak is converted.
    house.world.phones[desk].codecs = "0 101";
    let offer = house.world.phones[desk].offer(0, &["audio"], "sendrecv");
    let typed = [("Content-Type", "application/sdp")];
    house.world.phones[desk].request(0, &Method::Update, &typed, offer.as_bytes());
    house.world.run(SECOND);
    assert_eq!(house.world.phones[desk].lines[0].status, Some(200), "{}", house.world.tail());
    assert_eq!(house.world.engine.core().transcoded, 1);
    let line = house.world.phones[mobile].dial("*11");
    house.world.run(2 * SECOND);
    assert_eq!(house.world.phones[mobile].lines[line].status, Some(200), "{}", house.world.tail());
    let port = house.world.port_of("alice*mobile").unwrap();
    let sink = house.world.routes[&port].first().unwrap();
    let to = sink.conversion.as_ref().map(|conversion| conversion.to.1);
    assert!(matches!(to, Some(Speech::G711(_))), "{to:?}");
    // What it asks itself goes across.
    house.world.phones[carrier].reinvite(0, "sendonly");
    house.world.run(SECOND);
    assert_eq!(house.world.phones[carrier].lines[0].status, Some(200), "{}", house.world.tail());
    assert_eq!((house.count(carrier, "INVITE"), house.count(carrier, "UPDATE")), (1, 0));
    assert_eq!(house.count(mobile, "INVITE"), 1);
    house.end(mobile);
}

#[test]
fn without_conversion_a_move_to_a_trunk_that_takes_no_re_invite_fails_and_the_call_stays() {
    let mut house = house(2106, |policy| policy.re_invite = Some(ReInvite::Never));
    let (desk, mobile, carrier) = (house.desk, house.mobile, house.carrier);
    (house.world.phones[desk].codecs, house.world.phones[carrier].codecs) = ("8 101", "8 18 101");
    house.world.phones[mobile].codecs = "18 101";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    let line = house.world.phones[mobile].dial("*11");
    house.world.run(2 * SECOND);
    assert_eq!(house.world.phones[mobile].lines[line].status, Some(488), "{}", house.world.tail());
    assert_eq!((house.count(carrier, "INVITE"), house.listeners("alice*desk")), (1, 1));
    house.end(desk);
}
