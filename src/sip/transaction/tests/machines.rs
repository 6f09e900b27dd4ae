//! Every string of five events through each machine, on datagrams and on streams.

use super::super::action::{Action, Actions};
use super::super::client_invite::{self, ClientInvite};
use super::super::client_non_invite::{self, ClientNonInvite};
use super::super::pace::Pace;
use super::super::server_invite::{self, ServerInvite};
use super::super::server_non_invite::{self, ServerNonInvite};
use super::*;

const LENGTH: u32 = 5;

/// A machine and its alphabet; symbol 0 is "the next timer fires", for all.
trait Subject: Sized {
    const SYMBOLS: usize;
    fn start(pace: &Pace, out: &mut Actions) -> Self;
    fn feed(&mut self, now: Timestamp, symbol: usize, pace: &Pace, out: &mut Actions);
    fn fire(&mut self, now: Timestamp, pace: &Pace, out: &mut Actions);
    fn poll_timeout(&self) -> Option<Timestamp>;
    fn is_terminated(&self) -> bool;
    /// Whether only the user or the peer, and no timer, can end the present state.
    fn waits_for_others(&self) -> bool;
    /// Whether this action, as an answer to `symbol`, is the end that the user is owed.
    fn is_end(symbol: usize, action: &Action) -> bool;
    /// How many ends there may be.
    const MOST_ENDS: usize = 1;
}

fn exhaust<S: Subject>() {
    let settings = Settings::default();
    for transport in [Transport::Udp, Transport::Tcp] {
        let pace = Pace::new(&settings, transport);
        for string in 0..S::SYMBOLS.pow(LENGTH) {
            run::<S>(&pace, string);
        }
    }
}

fn run<S: Subject>(pace: &Pace, string: usize) {
    let (mut now, mut out, mut rest, mut ends) = (T0, Actions::new(), string, 0);
    let mut machine = S::start(pace, &mut out);
    for _ in 0..LENGTH {
        let symbol = rest % S::SYMBOLS;
        rest /= S::SYMBOLS;
        let over = machine.is_terminated();
        out.clear();
        if symbol == 0 {
            now = machine.poll_timeout().unwrap_or(now);
            machine.fire(now, pace, &mut out);
        } else {
            now = now + ms(1);
            machine.feed(now, symbol, pace, &mut out);
        }
        ends += out.iter().filter(|action| S::is_end(symbol, action)).count();
        check(&machine, over, &out, now, string);
    }
    // Left alone it ends by its timers, or waits for somebody.
    for _ in 0..40 {
        let Some(at) = machine.poll_timeout() else { break };
        out.clear();
        machine.fire(at, pace, &mut out);
        ends += out.iter().filter(|action| S::is_end(0, action)).count();
    }
    assert!(machine.is_terminated() || machine.waits_for_others(), "{string}: hangs");
    assert!(ends <= S::MOST_ENDS, "{string}: {ends} ends");
    assert!(ends > 0 || !machine.is_terminated(), "{string}: ended without a word");
}

fn check<S: Subject>(machine: &S, was_over: bool, out: &Actions, now: Timestamp, string: usize) {
    if was_over {
        assert!(machine.is_terminated() && out.is_empty(), "{string}: alive after its end: {out:?}");
    }
    match machine.poll_timeout() {
        Some(at) => {
            assert!(!machine.is_terminated(), "{string}: a timer after the end");
            assert!(at > now, "{string}: a timer in the past");
        }
        None => assert!(machine.is_terminated() || machine.waits_for_others(), "{string}: no timer"),
    }
}

impl Subject for ClientInvite {
    const SYMBOLS: usize = 9;
    const MOST_ENDS: usize = 2; // two forks

    fn start(pace: &Pace, out: &mut Actions) -> Self {
        Self::new(T0, Bytes::from_static(b"INVITE"), pace, out)
    }
    fn feed(&mut self, now: Timestamp, symbol: usize, pace: &Pace, out: &mut Actions) {
        use client_invite::Event::{Accepted, Acked, Cancel, Provisional, Refused, TransportError};
        let ack = Bytes::from_static(b"ACK");
        let event = match symbol {
            1 => Provisional,
            2 => Accepted { fork: 1 },
            3 => Accepted { fork: 2 },
            4 => Refused { ack },
            5 => Acked { fork: 1, flow: udp(), ack },
            6 => Acked { fork: 2, flow: udp(), ack },
            7 => Cancel(Bytes::from_static(b"CANCEL")),
            _ => TransportError,
        };
        self.handle(now, event, pace, out);
    }
    fn fire(&mut self, now: Timestamp, _: &Pace, out: &mut Actions) {
        self.handle_timeout(now, out);
    }
    fn poll_timeout(&self) -> Option<Timestamp> {
        self.poll_timeout()
    }
    fn is_terminated(&self) -> bool {
        self.is_terminated()
    }
    fn waits_for_others(&self) -> bool {
        self.request().is_some() && !self.is_calling()
    }
    fn is_end(symbol: usize, action: &Action) -> bool {
        matches!((symbol, action), (2..=4, Action::Deliver) | (_, Action::TimedOut | Action::Failed))
    }
}

impl Subject for ClientNonInvite {
    const SYMBOLS: usize = 4;

    fn start(pace: &Pace, out: &mut Actions) -> Self {
        Self::new(T0, Bytes::from_static(b"BYE"), pace, out)
    }
    fn feed(&mut self, now: Timestamp, symbol: usize, pace: &Pace, out: &mut Actions) {
        use client_non_invite::Event::{Final, Provisional, TransportError};
        let event = match symbol {
            1 => Provisional,
            2 => Final,
            _ => TransportError,
        };
        self.handle(now, &event, pace, out);
    }
    fn fire(&mut self, now: Timestamp, pace: &Pace, out: &mut Actions) {
        self.handle_timeout(now, pace, out);
    }
    fn poll_timeout(&self) -> Option<Timestamp> {
        self.poll_timeout()
    }
    fn is_terminated(&self) -> bool {
        self.is_terminated()
    }
    fn waits_for_others(&self) -> bool {
        false
    }
    fn is_end(symbol: usize, action: &Action) -> bool {
        matches!((symbol, action), (2, Action::Deliver) | (_, Action::TimedOut | Action::Failed))
    }
}

impl Subject for ServerInvite {
    const SYMBOLS: usize = 8;
    const MOST_ENDS: usize = LENGTH as usize; // each 2xx of the user is passed on

    fn start(_: &Pace, _: &mut Actions) -> Self {
        Self::new(T0 + ms(200))
    }
    fn feed(&mut self, now: Timestamp, symbol: usize, pace: &Pace, out: &mut Actions) {
        use server_invite::Event::{Ack, Acknowledged, Invite, Respond};
        let bytes = Bytes::from_static(b"SIP/2.0");
        let event = match symbol {
            1 => Invite,
            2 => Respond(StatusCode::TRYING, bytes),
            3 => Respond(StatusCode::RINGING, bytes),
            4 => Respond(StatusCode::OK, bytes),
            5 => Respond(StatusCode::BUSY_HERE, bytes),
            6 => Ack,
            _ => Acknowledged,
        };
        self.handle(now, event, pace, out);
    }
    fn fire(&mut self, now: Timestamp, pace: &Pace, out: &mut Actions) {
        self.handle_timeout(now, pace, out);
    }
    fn poll_timeout(&self) -> Option<Timestamp> {
        self.poll_timeout()
    }
    fn is_terminated(&self) -> bool {
        self.is_terminated()
    }
    fn waits_for_others(&self) -> bool {
        self.is_proceeding()
    }
    fn is_end(symbol: usize, action: &Action) -> bool {
        matches!((symbol, action), (4 | 5, Action::Send(_)))
    }
}

impl Subject for ServerNonInvite {
    const SYMBOLS: usize = 5;

    fn start(_: &Pace, _: &mut Actions) -> Self {
        Self::new()
    }
    fn feed(&mut self, now: Timestamp, symbol: usize, pace: &Pace, out: &mut Actions) {
        use server_non_invite::Event::{Request, Respond};
        let bytes = Bytes::from_static(b"SIP/2.0");
        let event = match symbol {
            1 => Request,
            2 => Respond(StatusCode::TRYING, bytes),
            3 => Respond(StatusCode::OK, bytes),
            _ => Respond(StatusCode::FORBIDDEN, bytes),
        };
        self.handle(now, event, pace, out);
    }
    fn fire(&mut self, now: Timestamp, _: &Pace, _: &mut Actions) {
        self.handle_timeout(now);
    }
    fn poll_timeout(&self) -> Option<Timestamp> {
        self.poll_timeout()
    }
    fn is_terminated(&self) -> bool {
        self.is_terminated()
    }
    fn waits_for_others(&self) -> bool {
        self.is_proceeding()
    }
    fn is_end(symbol: usize, action: &Action) -> bool {
        matches!((symbol, action), (3 | 4, Action::Send(_)))
    }
}

#[test]
fn every_string_of_events_leaves_each_machine_whole() {
    exhaust::<ClientInvite>();
    exhaust::<ClientNonInvite>();
    exhaust::<ServerInvite>();
    exhaust::<ServerNonInvite>();
}

#[test]
fn a_refusal_is_never_followed_by_another_word_of_the_user() {
    let pace = Pace::new(&Settings::default(), Transport::Udp);
    let (mut machine, mut out) = (ServerInvite::new(Timestamp::NEVER), Actions::new());
    let say = |status| server_invite::Event::Respond(status, Bytes::from_static(b"x"));
    machine.handle(T0, say(StatusCode::BUSY_HERE), &pace, &mut out);
    out.clear();
    machine.handle(T0, say(StatusCode::OK), &pace, &mut out);
    machine.handle(T0, say(StatusCode::RINGING), &pace, &mut out);
    assert!(out.is_empty());
}

#[test]
fn forks_are_told_apart_up_to_a_bound() {
    let pace = Pace::new(&Settings::default(), Transport::Udp);
    let mut out = Actions::new();
    let mut machine = ClientInvite::new(T0, Bytes::from_static(b"INVITE"), &pace, &mut out);
    out.clear();
    for fork in (0..20).chain(0..20) {
        machine.handle(T0, client_invite::Event::Accepted { fork }, &pace, &mut out);
    }
    assert_eq!(out.iter().filter(|action| **action == Action::Deliver).count(), 8);
}
