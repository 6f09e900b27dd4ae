//! The times of RFC 3261 17 and RFC 6026, to the millisecond.

use super::super::action::{Action, Actions};
use super::super::client_invite::{self, ClientInvite};
use super::super::client_non_invite::{self, ClientNonInvite};
use super::super::pace::Pace;
use super::super::server_invite::{self, ServerInvite};
use super::super::server_non_invite::{self, ServerNonInvite};
use super::*;

fn pace(transport: Transport) -> Pace {
    Pace::new(&Settings::default(), transport)
}

fn bytes() -> Bytes {
    Bytes::from_static(b"x")
}

/// Times (ms from T0) of what timers did, until none is left.
fn timeline(
    mut poll: impl FnMut() -> Option<Timestamp>,
    mut fire: impl FnMut(Timestamp, &mut Actions),
) -> Vec<(u64, Option<Action>)> {
    let mut all = Vec::new();
    while let Some(at) = poll() {
        let (mut out, time) = (Actions::new(), at.since(T0).as_millis() as u64);
        fire(at, &mut out);
        match out.is_empty() {
            true => all.push((time, None)),
            false => all.extend(out.into_iter().map(|action| (time, Some(action)))),
        }
    }
    all
}

macro_rules! run {
    ($machine:ident, |$at:ident, $out:ident| $fire:expr) => {{
        let machine = std::cell::RefCell::new($machine);
        timeline(
            || machine.borrow().poll_timeout(),
            |$at, $out| {
                let mut $machine = machine.borrow_mut();
                $fire
            },
        )
    }};
}

fn sends(times: &[u64]) -> Vec<(u64, Option<Action>)> {
    times.iter().map(|time| (*time, Some(Action::Send(bytes())))).collect()
}

#[test]
fn an_invite_that_nobody_hears_is_sent_seven_times_in_32_s() {
    let mut out = Actions::new();
    let machine = ClientInvite::new(T0, bytes(), &pace(Transport::Udp), &mut out);
    assert_eq!(out.as_slice(), [Action::Send(bytes())]);
    let mut expected = sends(&[500, 1500, 3500, 7500, 15500, 31500]);
    expected.push((32_000, Some(Action::TimedOut)));
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, out)), expected);
}

#[test]
fn on_a_stream_it_is_sent_once() {
    let mut out = Actions::new();
    let machine = ClientInvite::new(T0, bytes(), &pace(Transport::Tls), &mut out);
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, out)), [(32_000, Some(Action::TimedOut))]);
}

#[test]
fn a_ringing_invite_waits_for_ever_until_cancelled_then_32_s() {
    let (pace, mut out) = (pace(Transport::Udp), Actions::new());
    let mut machine = ClientInvite::new(T0, bytes(), &pace, &mut out);
    machine.handle(T0, client_invite::Event::Provisional, &pace, &mut out);
    assert_eq!(machine.poll_timeout(), None);
    out.clear();
    for _ in 0..2 {
        machine.handle(T0 + ms(7), client_invite::Event::Cancel(bytes()), &pace, &mut out);
    }
    assert_eq!(out.as_slice(), [Action::Cancel(bytes())], "once");
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, out)), [(32_007, Some(Action::TimedOut))]);
}

#[test]
fn a_refused_invite_lingers_for_timer_d() {
    for (transport, expected) in [(Transport::Udp, vec![(32_000, None)]), (Transport::Tcp, vec![])] {
        let (pace, mut out) = (pace(transport), Actions::new());
        let mut machine = ClientInvite::new(T0, bytes(), &pace, &mut out);
        let refused = client_invite::Event::Refused { ack: bytes() };
        machine.handle(T0, refused, &pace, &mut out);
        assert_eq!(machine.is_terminated(), expected.is_empty());
        assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, out)), expected);
    }
}

#[test]
fn an_accepted_invite_lingers_for_timer_m_everywhere() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (pace, mut out) = (pace(transport), Actions::new());
        let mut machine = ClientInvite::new(T0, bytes(), &pace, &mut out);
        machine.handle(T0, client_invite::Event::Accepted { fork: 1 }, &pace, &mut out);
        assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, out)), [(32_000, None)]);
    }
}

#[test]
fn a_bye_that_nobody_hears_is_sent_eleven_times() {
    let (pace, mut out) = (pace(Transport::Udp), Actions::new());
    let machine = ClientNonInvite::new(T0, bytes(), &pace, &mut out);
    let mut expected = sends(&[500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    expected.push((32_000, Some(Action::TimedOut)));
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), expected);
}

#[test]
fn a_provisional_answer_slows_timer_e_to_t2() {
    let (pace, mut out) = (pace(Transport::Udp), Actions::new());
    let mut machine = ClientNonInvite::new(T0, bytes(), &pace, &mut out);
    machine.handle(T0 + ms(100), &client_non_invite::Event::Provisional, &pace, &mut out);
    let mut expected = sends(&[500, 4500, 8500, 12500, 16500, 20500, 24500, 28500]);
    expected.push((32_000, Some(Action::TimedOut)));
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), expected);
}

#[test]
fn an_answered_bye_lingers_for_timer_k() {
    for (transport, expected) in [(Transport::Udp, vec![(5_000, None)]), (Transport::Tcp, vec![])] {
        let (pace, mut out) = (pace(transport), Actions::new());
        let mut machine = ClientNonInvite::new(T0, bytes(), &pace, &mut out);
        machine.handle(T0, &client_non_invite::Event::Final, &pace, &mut out);
        assert_eq!(machine.is_terminated(), expected.is_empty());
        assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), expected);
    }
}

fn respond(status: StatusCode) -> server_invite::Event {
    server_invite::Event::Respond(status, bytes())
}

#[test]
fn unacked_486_is_sent_eleven_times_then_given_up() {
    let (pace, mut out) = (pace(Transport::Udp), Actions::new());
    let mut machine = ServerInvite::new(Timestamp::NEVER);
    machine.handle(T0, respond(StatusCode::BUSY_HERE), &pace, &mut out);
    assert_eq!(out.as_slice(), [Action::Send(bytes())]);
    let mut expected = sends(&[500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    expected.push((32_000, Some(Action::AckTimeout(Answered::Refused))));
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), expected);
}

#[test]
fn unacked_486_on_a_stream_is_sent_once() {
    let (pace, mut out) = (pace(Transport::Tcp), Actions::new());
    let mut machine = ServerInvite::new(Timestamp::NEVER);
    machine.handle(T0, respond(StatusCode::BUSY_HERE), &pace, &mut out);
    let expected = [(32_000, Some(Action::AckTimeout(Answered::Refused)))];
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), expected);
}

#[test]
fn acked_486_lingers_for_timer_i() {
    for (transport, expected) in [(Transport::Udp, vec![(5_100, None)]), (Transport::Tcp, vec![])] {
        let (pace, mut out) = (pace(transport), Actions::new());
        let mut machine = ServerInvite::new(Timestamp::NEVER);
        machine.handle(T0, respond(StatusCode::BUSY_HERE), &pace, &mut out);
        machine.handle(T0 + ms(100), server_invite::Event::Ack, &pace, &mut out);
        assert_eq!(machine.is_terminated(), expected.is_empty());
        assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), expected);
    }
}

#[test]
fn unacked_200_is_repeated_on_every_transport_then_reported() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (pace, mut out) = (pace(transport), Actions::new());
        let mut machine = ServerInvite::new(Timestamp::NEVER);
        machine.handle(T0, respond(StatusCode::OK), &pace, &mut out);
        let mut expected = sends(&[500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        expected.push((32_000, Some(Action::AckTimeout(Answered::Accepted))));
        assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), expected);
    }
}

#[test]
fn acked_200_is_repeated_no_more_and_lingers_for_timer_l() {
    let (pace, mut out) = (pace(Transport::Udp), Actions::new());
    let mut machine = ServerInvite::new(Timestamp::NEVER);
    machine.handle(T0, respond(StatusCode::OK), &pace, &mut out);
    machine.handle(T0 + ms(100), server_invite::Event::Acknowledged, &pace, &mut out);
    assert_eq!(machine.last_response(), None, "nothing is kept");
    out.clear();
    machine.handle(T0 + ms(200), server_invite::Event::Invite, &pace, &mut out);
    assert!(out.is_empty(), "RFC 6026 7.1: absorbed");
    assert_eq!(run!(machine, |at, out| machine.handle_timeout(at, &pace, out)), [(32_000, None)]);
}

#[test]
fn an_answered_request_lingers_for_timer_j() {
    for (transport, expected) in [(Transport::Udp, vec![(32_000, None)]), (Transport::Tcp, vec![])] {
        let (pace, mut out) = (pace(transport), Actions::new());
        let mut machine = ServerNonInvite::new();
        machine.handle(T0, server_non_invite::Event::Respond(StatusCode::OK, bytes()), &pace, &mut out);
        assert_eq!(machine.is_terminated(), expected.is_empty());
        assert_eq!(run!(machine, |at, _out| machine.handle_timeout(at)), expected);
    }
}
