//! The registrar over time: who is found, what ends, what is written, what a restart gives back.

use super::tests::{at, flow, message, settings};
use super::*;
use crate::base::{Now, Timestamp};
use crate::sip::{Flow, Transport};

struct World {
    registrar: Registrar,
    happened: Vec<Happened>,
}

impl World {
    fn new() -> Self {
        Self { registrar: Registrar::default(), happened: Vec::new() }
    }

    fn register(&mut self, user: &str, device: &str, cseq: u32, contact: &str, from: Flow, now: Now) {
        let message = message(device, cseq, &format!("Contact: {contact}\r\n"));
        let request = Register::read(&message, from, device).unwrap();
        self.registrar.register(user, &request, &settings(), now, &mut self.happened).unwrap();
        self.registrar.check_index();
    }

    fn contacts(&self, user: &str, now: Now) -> Vec<String> {
        self.registrar.lookup(user, now.at).iter().map(|b| b.contact.to_string()).collect()
    }

    /// Runs all timers up to and including `now`.
    fn run_until(&mut self, now: Now) {
        let mut rounds = 0;
        while self.registrar.poll_timeout().is_some_and(|due| due <= now.at) {
            self.registrar.handle_timeout(now, &mut self.happened);
            self.registrar.take_saves(now, usize::MAX);
            rounds += 1;
            assert!(rounds < 100, "a timer that never ends");
        }
    }
}

#[test]
fn lookup_is_by_preference_then_the_newest() {
    let mut world = World::new();
    world.register("alice", "a", 1, "<sip:a@h>", flow(1), at(1));
    world.register("alice", "b", 1, "<sip:b@h>;q=0.5", flow(2), at(2));
    world.register("alice", "c", 1, "<sip:c@h>", flow(3), at(3));
    assert_eq!(world.contacts("alice", at(4)), ["sip:c@h", "sip:a@h", "sip:b@h"]);
    world.register("alice", "a", 2, "<sip:a@h>", flow(1), at(5));
    assert_eq!(world.contacts("alice", at(5)), ["sip:a@h", "sip:c@h", "sip:b@h"]);
    assert_eq!(world.registrar.lookup_device("alice", "b", at(5).at).len(), 1);
    assert!(world.registrar.is_registered("alice", "b", at(5).at));
    assert!(world.registrar.is_bound_to("alice", "b", &flow(2), at(5).at));
    assert!(!world.registrar.is_bound_to("alice", "b", &flow(3), at(5).at));
    assert!(!world.registrar.is_registered("alice", "d", at(5).at));
    assert!(world.contacts("bob", at(5)).is_empty());
}

#[test]
fn a_binding_ends_on_time_and_is_not_found_a_moment_before_its_timer() {
    let mut world = World::new();
    world.register("alice", "a", 1, "<sip:a@h>;expires=60", flow(1), at(0));
    world.register("alice", "b", 1, "<sip:b@h>;expires=90", flow(2), at(0));
    world.register("alice", "a", 2, "<sip:a@h>;expires=60", flow(1), at(30));
    world.run_until(at(60));
    assert_eq!(world.registrar.len(), 2, "a refresh moved the end");
    assert_eq!(world.contacts("alice", at(90)).len(), 0, "found by time, not by timer");
    world.happened.clear();
    world.run_until(at(90));
    assert!(world.registrar.is_empty());
    let ended: Vec<_> = world.happened.iter().map(|h| (&*h.user, &h.change)).collect();
    assert!(
        ended
            .iter()
            .all(|(user, change)| *user == "alice" && matches!(change, Change::Removed(_, Ended::Expired)))
    );
    assert_eq!(ended.len(), 2);
    world.run_until(at(100));
    assert_eq!(world.registrar.poll_timeout(), None, "nothing is left behind");
    assert_eq!(world.registrar.iter().count(), 0);
}

#[test]
fn ten_thousand_refreshes_ask_for_one_wake_up_and_one_write() {
    let mut world = World::new();
    world.register("alice", "a", 1, "<sip:a@h>", flow(1), at(0));
    assert_eq!(world.registrar.take_saves(at(0), 10).len(), 0, "not due yet");
    assert_eq!(world.registrar.take_saves(at(1), 10).len(), 1, "a new device within a second");
    for n in 0..10_000 {
        world.register("alice", "a", n + 2, "<sip:a@h>", flow(1), at(2));
    }
    assert_eq!(world.registrar.take_saves(at(11), 10).len(), 0);
    let saved = world.registrar.take_saves(at(12), 10);
    assert_eq!((saved.len(), saved[0].bindings.len(), saved[0].bindings[0].cseq), (1, 1, 10_001));
    assert_eq!(world.registrar.take_saves(at(30), 10).len(), 0);
    assert_eq!(world.registrar.poll_timeout(), Some(at(3600).at));
}

#[test]
fn an_end_is_written_as_an_empty_set_and_then_forgotten() {
    let mut world = World::new();
    world.register("alice", "a", 1, "<sip:a@h>", flow(1), at(0));
    world.registrar.take_saves(at(1), 10);
    world.register("alice", "a", 2, "<sip:a@h>;expires=0", flow(1), at(2));
    assert!(world.registrar.is_empty());
    let saved = world.registrar.take_saves(at(3), 10);
    assert_eq!((&*saved[0].user, saved[0].bindings.len()), ("alice", 0));
    // Came and went between two writes: the row may or may not be there, so the end is written all the same.
    world.register("bob", "a", 1, "<sip:a@h>", flow(1), at(4));
    world.register("bob", "a", 2, "<sip:a@h>;expires=0", flow(1), at(4));
    assert_eq!(world.registrar.take_all_saves(at(4)).len(), 1);
    assert_eq!(world.registrar.take_all_saves(at(4)).len(), 0);
}

#[test]
fn a_restart_gives_back_what_had_not_expired() {
    let mut world = World::new();
    world.register("alice", "a", 1, "<sip:a@h>;expires=60;q=0.5;audio", flow(1), at(0));
    world.register("alice", "b", 1, "<sip:b@h>", flow(2), at(0));
    let ws = Flow { transport: Transport::Ws, connection: 3, ..flow(3) };
    world.register("alice", "c", 1, "<sip:c@h>", ws, at(0));
    let tcp = Flow { transport: Transport::Tcp, connection: 7, listener: 1, ..flow(4) };
    world.register("bob", "d", 1, "<sip:d@h>", tcp, at(0));
    let saved = world.registrar.take_all_saves(at(10));
    // Another process: its monotonic clock begins elsewhere, the wall clock goes on.
    let now = |seconds: u64| Now {
        at: Timestamp::from_micros(5 + seconds * 1_000_000),
        unix: at(20 + seconds).unix,
    };
    let listeners = [Transport::Udp, Transport::Udp, Transport::Tcp];
    let mut after = World::new();
    after.registrar.restore(&saved, &listeners, now(0));
    assert_eq!(after.registrar.len(), 3, "a browser cannot be called back");
    let a = after.registrar.lookup_device("alice", "a", now(0).at)[0].clone();
    assert_eq!((a.seconds_left(now(0).at), a.flow, a.cseq), (40, flow(1), 1));
    let d = after.registrar.lookup("bob", now(0).at)[0].clone();
    assert_eq!(d.flow, Flow { connection: 0, listener: 2, ..tcp });
    assert!(after.happened.is_empty());
    after.run_until(now(40));
    assert_eq!(after.contacts("alice", now(40)), ["sip:b@h"]);
    let mut late = World::new();
    late.registrar.restore(&saved, &[Transport::Udp], now(40));
    assert_eq!(late.registrar.len(), 1, "expired, or on a transport that is gone");
}

#[test]
fn kicks_and_closed_flows_end_what_they_concern() {
    let mut world = World::new();
    let ws = Flow { transport: Transport::Wss, connection: 9, ..flow(1) };
    let tcp = Flow { transport: Transport::Tcp, connection: 8, ..flow(2) };
    let tls = Flow { transport: Transport::Tls, connection: 7, ..flow(4) };
    world.register("alice", "d", 1, "<sip:d@h>", tls, at(0));
    world.registrar.flow_closed(&tls, at(0), &mut world.happened);
    assert!(world.contacts("alice", at(0)).is_empty(), "a name cannot be proved to who called us");
    world.happened.clear();
    world.register("alice", "a", 1, "<sip:a@h>", ws, at(0));
    world.register("alice", "b", 1, "<sip:b@h>", tcp, at(0));
    world.register("alice", "c", 1, "<sip:c@h>", flow(3), at(0));
    world.registrar.flow_closed(&tcp, at(1), &mut world.happened);
    world.registrar.flow_closed(&ws, at(1), &mut world.happened);
    world.registrar.check_index();
    assert_eq!(world.contacts("alice", at(1)), ["sip:b@h", "sip:c@h"]);
    assert_eq!(world.registrar.lookup_device("alice", "b", at(1).at)[0].flow.connection, 0);
    assert_eq!(world.registrar.kick("alice", Some("b"), at(1), &mut world.happened), 1);
    assert_eq!(world.registrar.kick("alice", None, at(1), &mut world.happened), 1);
    assert_eq!(world.registrar.kick("bob", None, at(1), &mut world.happened), 0);
    let why = world.happened.iter().filter_map(|h| match h.change {
        Change::Removed(_, why) => Some(why),
        _ => None,
    });
    let why: Vec<_> = why.collect();
    assert_eq!(why, [Ended::FlowClosed, Ended::Kicked, Ended::Kicked]);
}
