//! Trunks: how much they carry, and where a call goes that one of them does not take.

use std::net::SocketAddr;
use std::time::Duration;

use super::phone::Demand;
use super::world::{accounts, leads, settings, trunk_to};
use super::{Answer, Early, World};
use crate::base::Secret;
use crate::call::rules::Rule;
use crate::call::settings::{Trunk, TrunkAuth};
use crate::call::targets::Target;
use crate::engine::store::Loaded;
use crate::sip::Transport;
use crate::wire::sip::Method;

const SECOND: Duration = Duration::from_secs(1);
const TWO_MINUTES: Duration = Duration::from_secs(120);
/// Longer than an INVITE runs, shorter than a target that failed comes last.
const A_WHILE: Duration = Duration::from_secs(35);

/// Alice, and two trunks with a phone each; numbers that begin with 00 go to the first, then to the second.
struct House {
    world: World,
    alice: usize,
    first: usize,
    second: usize,
}

fn house(seed: u64, change: impl FnOnce(&mut [Trunk], &mut Vec<Rule>)) -> House {
    let peers: [SocketAddr; 2] = ["203.0.113.1:5060", "203.0.113.2:5060"].map(|peer| peer.parse().unwrap());
    let mut settings = settings();
    let mut other = trunk_to(&mut settings, peers[0]).clone();
    other.name = "other".into();
    other.targets = vec![Target { transport: Transport::Udp, peer: peers[1] }];
    other.from[0].network = peers[1].ip();
    settings.call.trunks.push(other);
    settings.call.routes = vec![leads("^00", &["trunk:outside", "trunk:other"])];
    change(&mut settings.call.trunks, &mut settings.call.routes);
    let mut world = World::with(seed, settings, accounts(&["alice", "bob"]), &Loaded::default());
    let alice = world.phone("alice", "desk");
    let [first, second] = peers.map(|peer| world.outsider("bob", peer));
    House { world, alice, first, second }
}

impl House {
    /// What a call by `phone` came to after a short while: its status and Retry-After.
    fn dial(&mut self, phone: usize, number: &str) -> (usize, Option<u16>, Option<u32>) {
        let line = self.world.phones[phone].dial(number);
        self.world.run(Duration::from_millis(100));
        let found = &self.world.phones[phone].lines[line];
        (line, found.status, found.retry_after)
    }

    fn invites(&self) -> (usize, usize) {
        let of = |phone: usize| {
            self.world.phones[phone].requests.iter().filter(|method| *method == "INVITE").count()
        };
        (of(self.first), of(self.second))
    }

    fn carried(&self) -> Vec<u32> {
        self.world.engine.core().capacity.calls().collect()
    }

    fn ends(mut self) {
        self.world.run(TWO_MINUTES);
        self.world.check_idle();
        assert_eq!(self.carried(), [0, 0]);
    }
}

#[test]
fn calls_over_the_rate_of_a_trunk_go_to_the_next_and_are_503_where_none_is_left() {
    let mut house = house(901, |trunks, _| {
        (trunks[0].policy.max_cps, trunks[1].policy.max_cps) = (Some(2), Some(1));
    });
    let alice = house.alice;
    let mut lines = Vec::new();
    for _ in 0..3 {
        let (line, status, _) = house.dial(alice, "0049");
        assert_eq!(status, Some(200), "{}", house.world.tail());
        lines.push(line);
    }
    assert_eq!(house.invites(), (2, 1));
    // A tenth of a second for each call has gone by, so the first has part of one again, and not a whole one.
    let (_, status, retry_after) = house.dial(alice, "0049");
    assert_eq!((status, retry_after), (Some(503), Some(1)), "{}", house.world.tail());
    assert_eq!(house.invites(), (2, 1));
    house.world.run(SECOND);
    let (line, status, _) = house.dial(alice, "0049");
    assert_eq!((status, house.invites()), (Some(200), (3, 1)));
    lines.push(line);
    for line in lines {
        house.world.phones[alice].bye(line);
    }
    house.ends();
}

#[test]
fn calls_from_a_trunk_over_its_rate_are_503_and_it_may_call_again_in_a_second() {
    let mut house = house(902, |trunks, _| trunks[0].policy.max_cps = Some(1));
    let (first, second) = (house.first, house.second);
    let (line, status, _) = house.dial(first, "alice");
    assert_eq!(status, Some(200), "{}", house.world.tail());
    house.world.phones[first].bye(line);
    let (_, status, retry_after) = house.dial(first, "alice");
    assert_eq!((status, retry_after), (Some(503), Some(1)), "{}", house.world.tail());
    let (line, status, _) = house.dial(second, "alice");
    assert_eq!(status, Some(200), "the other has its own");
    house.world.phones[second].bye(line);
    house.world.run(SECOND);
    let (line, status, _) = house.dial(first, "alice");
    assert_eq!(status, Some(200));
    house.world.phones[first].bye(line);
    house.ends();
}

#[test]
fn calls_in_both_directions_take_the_lines_of_a_trunk() {
    let mut house = house(903, |trunks, routes| {
        trunks[0].policy.max_calls = Some(2);
        *routes = vec![leads("^00", &["trunk:outside"])];
    });
    let (alice, first) = (house.alice, house.first);
    let (inbound, status, _) = house.dial(first, "alice");
    assert_eq!((status, house.carried()), (Some(200), vec![1, 0]), "{}", house.world.tail());
    let (outbound, status, _) = house.dial(alice, "0049");
    assert_eq!((status, house.carried()), (Some(200), vec![2, 0]), "{}", house.world.tail());
    let (_, status, retry_after) = house.dial(first, "alice");
    assert_eq!((status, retry_after), (Some(503), Some(5)), "in: {}", house.world.tail());
    let (_, status, retry_after) = house.dial(alice, "0049");
    assert_eq!((status, retry_after), (Some(503), Some(5)), "out: {}", house.world.tail());
    house.world.phones[first].bye(inbound);
    house.world.run(SECOND);
    let (again, status, _) = house.dial(alice, "0049");
    assert_eq!(status, Some(200), "{}", house.world.tail());
    house.world.phones[alice].bye(outbound);
    house.world.phones[alice].bye(again);
    house.ends();
}

#[test]
fn a_call_that_goes_on_to_the_next_target_of_its_trunk_is_no_further_call() {
    let mut house = house(904, |trunks, routes| {
        let targets = trunks[1].targets.clone();
        trunks[0].targets.extend(targets);
        (trunks[0].policy.max_cps, trunks[0].policy.max_calls) = (Some(1), Some(1));
        *routes = vec![leads("^00", &["trunk:outside"])];
    });
    let (alice, first) = (house.alice, house.first);
    house.world.phones[first].answer = Answer::Ring;
    let line = house.world.phones[alice].dial("0049");
    house.world.run(Duration::from_millis(100));
    house.world.phones[first].refuse(0, 503);
    house.world.run(Duration::from_millis(200));
    assert_eq!(house.invites(), (1, 1), "{}", house.world.tail());
    assert!(house.world.phones[alice].lines[line].is_up, "{}", house.world.tail());
    house.world.phones[alice].bye(line);
    house.ends();
}

#[test]
fn an_emergency_call_finds_a_line_where_none_is_free() {
    let mut house = house(905, |trunks, routes| {
        (trunks[0].policy.max_calls, trunks[0].policy.max_cps) = (Some(1), Some(1));
        *routes = vec![leads("^(00|112$)", &["trunk:outside"])];
    });
    let alice = house.alice;
    let (usual, status, _) = house.dial(alice, "0049");
    assert_eq!(status, Some(200), "{}", house.world.tail());
    assert_eq!(house.dial(alice, "0049").1, Some(503));
    let (urgent, status, _) = house.dial(alice, "112");
    assert_eq!((status, house.carried()), (Some(200), vec![2, 0]), "{}", house.world.tail());
    house.world.phones[alice].bye(usual);
    house.world.phones[alice].bye(urgent);
    house.ends();
}

fn account(realm: Option<&str>) -> TrunkAuth {
    TrunkAuth { user: "acct".into(), password: Secret::new("open sesame"), realm: realm.map(Into::into) }
}

/// A trunk that asks for credentials, by 407 or by 401.
fn demanding(seed: u64, is_proxy: bool, auth: TrunkAuth) -> House {
    let mut house = house(seed, |trunks, routes| {
        trunks[0].auth = Some(auth);
        *routes = vec![leads("^00", &["trunk:outside"])];
    });
    let first = house.first;
    house.world.phones[first].demand = Some(Demand::new("carrier.example", is_proxy));
    house
}

#[test]
fn a_trunk_that_asks_for_credentials_gets_them_with_every_request() {
    for is_proxy in [false, true] {
        let mut house = demanding(911, is_proxy, account(Some("carrier.example")));
        let (alice, first) = (house.alice, house.first);
        let carrier = &mut house.world.phones[first];
        (carrier.answer, carrier.early) = (Answer::Ring, Early::Reliable);
        // It wants more time, too, of the INVITE whose credentials were right.
        (carrier.session, carrier.min_se) = ("3600;refresher=uas", 3600);
        let line = house.world.phones[alice].dial("0049");
        house.world.run(SECOND);
        house.world.phones[first].pick_up(0);
        house.world.run(SECOND);
        assert!(house.world.phones[alice].lines[line].is_up, "{}", house.world.tail());
        house.world.phones[alice].reinvite(line, "sendonly");
        house.world.run(SECOND);
        house.world.phones[alice].request(line, &Method::Info, &[], b"");
        house.world.run(SECOND);
        house.world.phones[alice].bye(line);
        house.world.run(SECOND);
        let demand = house.world.phones[first].demand.as_ref().unwrap();
        for method in [Method::Invite, Method::Prack, Method::Info, Method::Bye] {
            assert!(demand.judged.iter().any(|(of, _)| *of == method), "{method:?}: {}", house.world.tail());
        }
        assert!(demand.judged.iter().all(|(_, is_right)| *is_right), "{:?}", demand.judged);
        // RFC 3261 22.1: the ACK of a 2xx says what its INVITE said.
        let acks = demand.shown.iter().filter(|(method, ..)| *method == Method::Ack);
        let mut count = 0;
        for (_, cseq, proof) in acks {
            let of = |shown: &&(Method, u32, Option<String>)| shown.0 == Method::Invite && shown.1 == *cseq;
            let invite = demand.shown.iter().find(of).expect("its INVITE");
            assert!(proof.is_some() && invite.2 == *proof, "{cseq}: {proof:?}");
            count += 1;
        }
        assert!(count >= 2, "{count}");
        house.ends();
    }
}

#[test]
fn credentials_are_sent_again_for_their_age_once_and_for_nothing_else() {
    for (stale, password, is_up, judged) in
        [(1, "open sesame", true, 2), (9, "open sesame", false, 2), (0, "wrong", false, 1)]
    {
        let auth = TrunkAuth { password: Secret::new(password), ..account(None) };
        let mut house = demanding(912, true, auth);
        let (alice, first) = (house.alice, house.first);
        house.world.phones[first].demand.as_mut().unwrap().stale = stale;
        let line = house.world.phones[alice].dial("0049");
        house.world.run(SECOND);
        assert_eq!(house.world.phones[alice].lines[line].is_up, is_up, "{stale}: {}", house.world.tail());
        assert_eq!(house.world.phones[first].demand.as_ref().unwrap().judged.len(), judged);
        house.world.phones[first].demand = None;
        if is_up {
            house.world.phones[alice].bye(line);
        }
        house.ends();
    }
}

#[test]
fn no_password_is_proved_to_another_realm_or_to_a_user() {
    let mut house = demanding(913, false, account(Some("another.example")));
    let (alice, first) = (house.alice, house.first);
    let line = house.world.phones[alice].dial("0049");
    let bob = house.world.phone("bob", "desk");
    house.world.phones[bob].demand = Some(Demand::new("another.example", false));
    let to_user = house.world.phones[alice].dial("bob");
    house.world.run(SECOND);
    for (line, asks) in [(line, first), (to_user, bob)] {
        assert!(house.world.phones[alice].lines[line].is_over, "{}", house.world.tail());
        let demand = house.world.phones[asks].demand.as_ref().unwrap();
        assert!(!demand.shown.is_empty() && demand.judged.is_empty());
        assert!(demand.shown.iter().all(|(_, _, proof)| proof.is_none()));
    }
    house.ends();
}

/// Where the configuration names none: a callee behind the carrier could ask in its own name.
#[test]
fn the_first_realm_of_a_trunk_is_the_only_one() {
    let mut house = demanding(914, true, account(None));
    let (alice, first) = (house.alice, house.first);
    let line = house.world.phones[alice].dial("0049");
    house.world.run(SECOND);
    assert!(house.world.phones[alice].lines[line].is_up, "{}", house.world.tail());
    house.world.phones[alice].bye(line);
    house.world.run(SECOND);
    house.world.phones[first].demand = Some(Demand::new("callee.example", true));
    let line = house.world.phones[alice].dial("0049");
    house.world.run(SECOND);
    assert!(house.world.phones[alice].lines[line].is_over, "{}", house.world.tail());
    assert!(house.world.phones[first].demand.as_ref().unwrap().judged.is_empty());
    house.ends();
}

#[test]
fn the_password_of_a_trunk_is_shown_nowhere() {
    assert!(!format!("{:?}", account(None)).contains("sesame"));
}

#[test]
fn a_target_without_any_response_is_given_up_within_two_seconds_and_hung_up_if_it_answers_late() {
    for answers_late in [false, true] {
        let mut house = house(921, |trunks, routes| {
            let targets = trunks[1].targets.clone();
            trunks[0].targets.extend(targets);
            trunks[0].policy.max_calls = Some(1);
            *routes = vec![leads("^00", &["trunk:outside"])];
        });
        let (alice, first) = (house.alice, house.first);
        // Nothing arrives there, or nothing arrives from there for a while.
        let asleep = house.world.phones[first].address;
        house.world.phones[first].address = "203.0.113.77:5060".parse().unwrap();
        let line = house.world.phones[alice].dial("0049");
        house.world.run(Duration::from_millis(1400));
        assert_eq!(house.invites(), (0, 0));
        house.world.run(Duration::from_millis(600));
        assert!(house.world.phones[alice].lines[line].is_up, "{}", house.world.tail());
        assert_eq!((house.invites(), house.carried()), ((0, 1), vec![1, 0]));
        if answers_late {
            // A repetition of the INVITE gets there, and it answers.
            house.world.phones[first].address = asleep;
            house.world.run(10 * SECOND);
            assert_eq!(house.invites().0, 1);
            let requests = &house.world.phones[first].requests;
            assert_eq!(requests.last().map(String::as_str), Some("BYE"), "{requests:?}");
            assert!(house.world.phones[alice].lines[line].is_up);
            assert_eq!(house.carried(), [1, 0]);
        }
        house.world.run(A_WHILE);
        assert!(house.world.phones[alice].lines[line].is_up, "its end is nobody's: {}", house.world.tail());
        house.world.phones[alice].bye(line);
        // It comes last from here on.
        house.world.run(SECOND);
        let (line, status, _) = house.dial(alice, "0049");
        assert_eq!((status, house.invites().1), (Some(200), 2), "{}", house.world.tail());
        house.world.phones[alice].bye(line);
        house.ends();
    }
}

#[test]
fn a_target_that_rings_or_is_the_only_one_is_waited_for() {
    let mut house = house(922, |_, routes| *routes = vec![leads("^00", &["trunk:outside", "trunk:other"])]);
    let (alice, first) = (house.alice, house.first);
    house.world.phones[first].answer = Answer::Ring;
    let line = house.world.phones[alice].dial("0049");
    house.world.run(20 * SECOND);
    assert_eq!(house.invites(), (1, 0));
    house.world.phones[first].pick_up(0);
    house.world.run(SECOND);
    assert!(house.world.phones[alice].lines[line].is_up, "{}", house.world.tail());
    house.world.phones[alice].bye(line);
    house.world.run(SECOND);
    house.world.phones[first].answer = Answer::Now;
    let mut alone = self::house(923, |_, routes| *routes = vec![leads("^00", &["trunk:outside"])]);
    let (alice, first) = (alone.alice, alone.first);
    let asleep = alone.world.phones[first].address;
    alone.world.phones[first].address = "203.0.113.77:5060".parse().unwrap();
    let line = alone.world.phones[alice].dial("0049");
    alone.world.run(3 * SECOND);
    alone.world.phones[first].address = asleep;
    alone.world.run(5 * SECOND);
    assert!(alone.world.phones[alice].lines[line].is_up, "{}", alone.world.tail());
    alone.world.phones[alice].bye(line);
    alone.ends();
    house.ends();
}
