//! The codecs of a trunk: what it is offered and what may be accepted from it, however a call comes to be changed.

use std::sync::Arc;
use std::time::Duration;

use super::world::{accounts, settings, trunk_to};
use super::{Answer, Early, World};
use crate::call::policy::Policy;
use crate::engine::store::Loaded;
use crate::media::permitted::{Named, Permitted};
use crate::media::transcode::Speech;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const A_MINUTE: Duration = Duration::from_secs(70);
const CARRIER: &str = "203.0.113.7:5060";

/// Alice's desk and mobile, and a carrier that has a list.
struct House {
    world: World,
    desk: usize,
    mobile: usize,
    carrier: usize,
}

fn list(names: &[&str]) -> Option<Arc<Permitted>> {
    Permitted::new(names.iter().map(|name| Named::parse(name).unwrap())).map(Arc::new)
}

/// So many calls may be converted.
fn house(seed: u64, most: usize, names: &[&str]) -> House {
    let mut settings = settings();
    settings.call.media.transcode = most;
    trunk_to(&mut settings, CARRIER.parse().unwrap()).policy.codecs = list(names);
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let [desk, mobile] = ["desk", "mobile"].map(|device| world.phone("alice", device));
    let carrier = world.outsider("bob", CARRIER.parse().unwrap());
    world.phones[carrier].name = "+4989777".into();
    (world.phones[mobile].is_picky, world.phones[mobile].answer) = (true, Answer::Ring);
    House { world, desk, mobile, carrier }
}

impl House {
    /// The payload numbers of the last description that a phone heard on its last line.
    fn told(&self, phone: usize) -> Vec<String> {
        numbers(&self.world.phones[phone].lines.last().expect("a call").last_heard())
    }

    fn status(&self, phone: usize, line: usize) -> Option<u16> {
        self.world.phones[phone].lines[line].status
    }

    fn end(mut self, phone: usize) {
        let line = self.world.phones[phone].lines.len() - 1;
        self.world.phones[phone].bye(line);
        self.world.run(A_MINUTE);
        self.world.check_idle();
    }

    /// How many hear a device.
    fn listeners(&self, device: &str) -> usize {
        let port = self.world.port_of(device);
        port.and_then(|port| self.world.routes.get(&port)).map_or(0, |sinks| sinks.len())
    }

    fn converts_to(&self, device: &str) -> Option<Speech> {
        let port = self.world.port_of(device).expect("a port");
        let sink = self.world.routes[&port].first().expect("it is heard");
        sink.conversion.as_ref().map(|conversion| conversion.to.1)
    }
}

fn numbers(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap_or_default();
    line.split(' ').skip(2).map(str::to_owned).collect()
}

#[test]
fn a_trunk_is_offered_its_codecs_alone_and_in_its_order() {
    for (names, told) in [
        (&["PCMA", "PCMU"][..], &["8", "0", "101"][..]),
        (&["pcmu"], &["0", "101"]),
        (&["G729", "PCMA", "opus"], &["8", "101"]),
        (&["G722/8000", "PCMU/8000", "PCMA"], &["9", "0", "8", "101"]),
    ] {
        let mut house = house(2001, 0, names);
        let (desk, carrier) = (house.desk, house.carrier);
        house.world.phones[desk].codecs = "0 8 9 101";
        house.world.phones[desk].dial("0049");
        house.world.run(SECOND);
        assert_eq!(house.status(desk, 0), Some(200), "{}", house.world.tail());
        assert_eq!(house.told(carrier), told, "{names:?}");
        // What the carrier names beside them in its answer counts for nothing.
        let agreed: Vec<&str> = told.iter().copied().filter(|number| "0 8 101".contains(number)).collect();
        let (mut heard, mut agreed) = (house.told(desk), agreed);
        heard.sort();
        agreed.sort_unstable();
        assert_eq!(heard, agreed, "{names:?}");
        // Hold, resume and UPDATE bring nothing else.
        house.world.phones[desk].reinvite(0, "sendonly");
        house.world.run(SECOND);
        assert_eq!((house.status(desk, 0), house.told(carrier)), (Some(200), strings(&told.join(" "))));
        let offer = house.world.phones[desk].offer(0, &["audio"], "sendrecv");
        let typed = [("Content-Type", "application/sdp")];
        house.world.phones[desk].request(0, &Method::Update, &typed, offer.as_bytes());
        house.world.run(SECOND);
        assert_eq!(house.told(carrier), told);
        house.end(desk);
    }
}

#[test]
fn an_offer_of_a_trunk_is_answered_with_its_codecs_alone() {
    let mut house = house(2002, 0, &["PCMA", "PCMU"]);
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[carrier].codecs = "9 0 8 101";
    house.world.phones[desk].codecs = "9 0 8 101";
    house.world.phones[carrier].dial("1001");
    house.world.run(SECOND);
    assert_eq!(house.status(carrier, 0), Some(200), "{}", house.world.tail());
    assert_eq!(house.told(carrier), ["8", "0", "101"]);
    assert_eq!(house.told(desk), ["8", "0", "101"], "the device is offered them in the order of the trunk");
    // A re-INVITE that leaves nothing is refused, and the call is as it was.
    house.world.phones[carrier].codecs = "9 101";
    house.world.phones[carrier].reinvite(0, "sendrecv");
    house.world.run(SECOND);
    let line = &house.world.phones[carrier].lines[0];
    let why = "305 edge1 \"none of G722 is taken: PCMA, PCMU may be offered\"";
    assert_eq!((line.status, &*line.warning), (Some(488), why), "{}", house.world.tail());
    assert_eq!(house.world.phones[desk].requests.iter().filter(|method| *method == "INVITE").count(), 1);
    assert_eq!(house.listeners("alice*desk"), 1, "it is heard as before");
    house.end(carrier);
}

#[test]
fn a_trunk_that_offers_nothing_of_its_list_is_told_so() {
    let mut house = house(2003, 4, &["PCMA", "G729"]);
    let carrier = house.carrier;
    house.world.phones[carrier].codecs = "9 0 101";
    house.world.phones[carrier].dial("1001");
    house.world.run(SECOND);
    let line = &house.world.phones[carrier].lines[0];
    let why = "305 edge1 \"none of G722, PCMU is taken: PCMA, G729 may be offered\"";
    assert_eq!((line.status, &*line.warning), (Some(488), why), "{}", house.world.tail());
    house.world.run(A_MINUTE);
    house.world.check_idle();
}

#[test]
fn who_speaks_none_of_them_is_converted_and_refused_at_last() {
    for most in [1, 0] {
        let mut house = house(2004, most, &["PCMA"]);
        let (desk, carrier) = (house.desk, house.carrier);
        (house.world.phones[carrier].codecs, house.world.phones[carrier].is_picky) = ("8 101", true);
        house.world.phones[desk].codecs = "9 101";
        let line = house.world.phones[desk].dial("0049");
        house.world.run(SECOND);
        if most == 0 {
            let line = &house.world.phones[desk].lines[line];
            let why = "305 edge1 \"no common codec: G722 here, PCMA there\"";
            assert_eq!((line.status, &*line.warning), (Some(488), why), "{}", house.world.tail());
            assert!(house.world.phones[carrier].lines.is_empty(), "it is not asked");
            house.world.run(A_MINUTE);
            house.world.check_idle();
            continue;
        }
        assert_eq!(house.status(desk, line), Some(200), "{}", house.world.tail());
        assert_eq!((house.told(carrier), house.told(desk)), (strings("8 101"), strings("9 101")));
        assert!(matches!(house.converts_to("alice*desk"), Some(Speech::G711(_))));
        // It stays so when the call is held and resumed, and when the trunk changes it.
        for phone in [desk, carrier] {
            for direction in ["sendonly", "sendrecv"] {
                house.world.phones[phone].reinvite(0, direction);
                house.world.run(SECOND);
                assert_eq!(house.status(phone, 0), Some(200), "{direction}\n{}", house.world.tail());
                assert_eq!(house.told(carrier), strings("8 101"));
            }
        }
        assert_eq!(house.world.engine.core().transcoded, 1);
        house.end(desk);
    }
}

fn strings(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_trunk_that_refuses_all_of_its_list_is_not_asked_twice() {
    let mut house = house(2005, 4, &["PCMA"]);
    let (desk, carrier) = (house.desk, house.carrier);
    (house.world.phones[carrier].codecs, house.world.phones[carrier].is_picky) = ("0 101", true);
    house.world.phones[desk].codecs = "9 101";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    assert_eq!(house.status(desk, 0), Some(488), "{}", house.world.tail());
    let asked = house.world.phones[carrier].requests.iter().filter(|method| *method == "INVITE").count();
    assert_eq!(asked, 1);
    house.world.run(A_MINUTE);
    house.world.check_idle();
}

#[test]
fn a_move_brings_no_codec_that_the_trunk_may_not_have() {
    // The new device shares nothing with the trunk but what is not permitted.
    for (most, outcome) in [(1, 200), (0, 488)] {
        let mut house = house(2006, most, &["PCMA", "G722"]);
        let (desk, mobile, carrier) = (house.desk, house.mobile, house.carrier);
        house.world.phones[carrier].codecs = "8 0 101";
        house.world.phones[mobile].codecs = "0 101";
        house.world.phones[desk].dial("0049");
        house.world.run(SECOND);
        let asked = house.world.phones[carrier].lines[0].heard.len();
        let line = house.world.phones[mobile].dial("*11");
        house.world.run(2 * SECOND);
        assert_eq!(house.status(mobile, line), Some(outcome), "{}", house.world.tail());
        assert_eq!(house.world.phones[carrier].lines[0].heard.len(), asked, "the trunk is told of nothing");
        if most == 0 {
            assert_eq!(
                house.world.phones[mobile].lines[line].warning,
                "305 edge1 \"no common codec: PCMU here, PCMA there\""
            );
            house.end(desk);
        } else {
            assert!(matches!(house.converts_to("alice*mobile"), Some(Speech::G711(_))));
            house.end(mobile);
        }
    }
    // One that shares a permitted one brings that.
    let mut house = house(2007, 0, &["PCMA", "PCMU"]);
    let (desk, mobile, carrier) = (house.desk, house.mobile, house.carrier);
    house.world.phones[desk].codecs = "8 101";
    house.world.phones[mobile].codecs = "9 0 101";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    assert_eq!(house.told(carrier), ["8", "101"]);
    let line = house.world.phones[mobile].dial("*11");
    house.world.run(2 * SECOND);
    assert_eq!(house.status(mobile, line), Some(200), "{}", house.world.tail());
    assert_eq!((house.told(carrier), house.told(mobile)), (strings("0 101"), strings("0 101")));
    house.end(mobile);
}

#[test]
fn a_push_offers_what_can_be_converted_and_never_asks_the_trunk_for_it() {
    let mut house = house(2008, 1, &["PCMA"]);
    let (desk, mobile, carrier) = (house.desk, house.mobile, house.carrier);
    house.world.phones[carrier].codecs = "8 0 101";
    house.world.phones[mobile].codecs = "0 101";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    let asked = house.world.phones[carrier].lines[0].heard.len();
    house.world.phones[mobile].answer = Answer::Now;
    house.world.phones[desk].dial("*12*mobile");
    house.world.run(2 * SECOND);
    assert_eq!(house.listeners("alice*mobile"), 1, "{}", house.world.tail());
    assert_eq!(house.world.phones[carrier].lines[0].heard.len(), asked);
    assert!(matches!(house.converts_to("alice*mobile"), Some(Speech::G711(_))));
    house.end(mobile);
}

/// Neither what the trunk names beside its list nor G.711 of ours.
#[test]
fn a_push_that_could_not_be_converted_offers_the_list_alone() {
    let mut house = house(2017, 0, &["PCMA"]);
    let (desk, mobile, carrier) = (house.desk, house.mobile, house.carrier);
    house.world.phones[carrier].codecs = "8 0 101";
    house.world.phones[mobile].answer = Answer::Now;
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    house.world.phones[desk].dial("*12*mobile");
    house.world.run(2 * SECOND);
    let offered = numbers(&String::from_utf8_lossy(&house.world.phones[mobile].lines[0].heard[0]));
    assert_eq!(offered, ["8", "101"], "{}", house.world.tail());
    house.end(mobile);
}

#[test]
fn early_media_and_offers_that_come_late_are_held_to_the_list() {
    // 183 with a description.
    let mut house = house(2009, 0, &["PCMA"]);
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[carrier].early = Early::Unreliable;
    house.world.phones[carrier].codecs = "0 8 101";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    let heard: Vec<Vec<String>> =
        house.world.phones[desk].progress.iter().map(|progress| numbers(&progress.body)).collect();
    assert_eq!(heard[0], ["8", "101"], "{}", house.world.tail());
    house.end(desk);
    // A caller without an offer gets that of the trunk, as far as it may be.
    let mut house = self::house(2010, 0, &["PCMA"]);
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[carrier].codecs = "0 9 8 101";
    house.world.phones[desk].dial_with("0049", &[], false);
    house.world.run(SECOND);
    assert_eq!(house.told(desk), ["8", "101"], "{}", house.world.tail());
    assert!(house.world.phones[desk].lines[0].is_up);
    house.end(desk);
    // And a trunk that calls without one gets that of the device.
    let mut house = self::house(2011, 0, &["PCMA"]);
    let (carrier, desk) = (house.carrier, house.desk);
    house.world.phones[desk].codecs = "0 9 8 101";
    house.world.phones[carrier].dial_with("1001", &[], false);
    house.world.run(SECOND);
    assert_eq!(house.told(carrier), ["8", "101"], "{}", house.world.tail());
    house.end(carrier);
}

#[test]
fn a_line_of_which_nothing_is_named_is_not_there() {
    for (names, shown) in [(&["PCMA"][..], false), (&["PCMA", "h264"], true)] {
        let mut house = house(2012, 0, names);
        let (desk, carrier) = (house.desk, house.carrier);
        for phone in [desk, carrier] {
            house.world.phones[phone].media = &["audio", "video"];
        }
        house.world.phones[desk].dial("0049");
        house.world.run(SECOND);
        assert_eq!(house.status(desk, 0), Some(200), "{}", house.world.tail());
        let [there, here] = [carrier, desk].map(|phone| house.world.phones[phone].lines[0].last_heard());
        assert_eq!(there.contains("m=video"), shown, "{there}");
        assert_eq!(here.contains("m=video 0 "), !shown, "{here}");
        house.end(desk);
    }
}

#[test]
fn a_call_keeps_the_list_that_it_began_with() {
    let mut house = house(2013, 0, &["PCMA"]);
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    assert_eq!(house.told(carrier), ["8", "101"]);
    let mut other = (*house.world.engine.settings).clone();
    other.call.trunks[0].policy = Policy { codecs: list(&["PCMU"]), ..other.call.trunks[0].policy.clone() };
    house.world.reconfigure(other, &accounts(&["alice", "bob"]));
    house.world.phones[desk].reinvite(0, "sendrecv");
    house.world.run(SECOND);
    assert_eq!(house.told(carrier), ["8", "101"], "{}", house.world.tail());
    house.world.phones[desk].bye(0);
    house.world.run(SECOND);
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    assert_eq!(house.told(carrier), ["0", "101"]);
    house.end(desk);
}

#[test]
fn who_is_transferred_to_a_trunk_brings_none_that_it_may_not_have() {
    for (codecs, told) in [("0 8 9 101", &["8 101"][..]), ("9 101", &["8 101"]), ("0 101", &["8 101"])] {
        let mut house = house(2014, 1, &["PCMA"]);
        let (desk, carrier) = (house.desk, house.carrier);
        let bob = house.world.phone("bob", "desk");
        house.world.phones[bob].codecs = codecs;
        house.world.phones[desk].codecs = codecs;
        house.world.phones[desk].dial("bob");
        house.world.run(SECOND);
        house.world.phones[desk].request(0, &Method::Refer, &[("Refer-To", "<sip:0049@example.org>")], b"");
        house.world.run(2 * SECOND);
        let offers = &house.world.phones[carrier].lines[0].heard;
        let offered: Vec<String> =
            offers.iter().map(|text| numbers(&String::from_utf8_lossy(text)).join(" ")).collect();
        assert!(offered.iter().all(|offer| told.contains(&&**offer)), "{codecs}: {offered:?}");
        house.world.hang_up_all();
        house.world.run(A_MINUTE);
        house.world.check_idle();
    }
}

#[test]
fn a_re_invite_of_a_trunk_without_an_offer_brings_its_codecs_alone() {
    let mut house = house(2015, 0, &["PCMA"]);
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[desk].codecs = "0 9 8 101";
    house.world.phones[desk].dial("0049");
    house.world.run(SECOND);
    house.world.phones[carrier].reinvite_with(0, String::new());
    house.world.run(SECOND);
    assert_eq!(house.told(carrier), ["8", "101"], "{}", house.world.tail());
    house.end(desk);
}

#[test]
fn an_offer_before_the_answer_is_held_to_the_list() {
    let mut house = house(2016, 0, &["PCMA"]);
    let (desk, carrier) = (house.desk, house.carrier);
    house.world.phones[carrier].early = Early::Reliable;
    house.world.phones[carrier].answer = Answer::Ring;
    house.world.phones[desk].codecs = "0 9 8 101";
    house.world.phones[desk].dial_with("0049", &[("Supported", "100rel"), ("Require", "100rel")], true);
    house.world.run(SECOND);
    let offer = house.world.phones[desk].offer(0, &["audio"], "sendrecv").replace(" 1 IN", " 2 IN");
    let typed = [("Content-Type", "application/sdp")];
    house.world.phones[desk].request(0, &Method::Update, &typed, offer.as_bytes());
    house.world.run(SECOND);
    assert_eq!(house.world.phones[carrier].requests.last().map(String::as_str), Some("UPDATE"));
    assert_eq!(house.told(carrier), ["8", "101"], "{}", house.world.tail());
    house.world.phones[desk].cancel(0);
    house.world.run(A_MINUTE);
    house.world.check_idle();
}
