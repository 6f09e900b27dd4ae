//! The INVITE server transaction: RFC 3261 17.2.1 as RFC 6026 8.5 corrects it, and the repetition of a 2xx that
//! RFC 3261 13.3.1.4 asks of the UAS core.
//!
//! ```text
//!                  | INVITE: to TU (the layer sends 100 at once or after a while)
//!                  v
//!     INVITE: last 1xx again       1xx from TU: send
//!              Proceeding
//!               |      | 300-699 from TU: send, arm G (datagrams) and H
//!     2xx from  |      v
//!     TU: send, |   Completed -- INVITE or G: send again, G*2 up to T2
//!     arm G, L  v      | ACK: arm I      H: tell the TU, end
//!           Accepted   v
//!            |      Confirmed -- ACK: nothing
//!            | ACK: to TU, which says `acknowledge`
//!            | INVITE: nothing         | I: end
//!            | G: send 2xx again       v
//!            +-- L: end ---------> Terminated
//! ```
//! L ends when 13.3.1.4 stops repeating (64*T1), so one letter does both: an L that finds the 2xx
//! unacknowledged tells the TU. A transport error ends nothing here (RFC 6026 7.1, last paragraph):
//! repeated INVITEs must go on being recognised.

use std::mem::replace;
use std::time::Duration;

use bytes::Bytes;

use super::Answered;
use super::action::{Action, Actions};
use super::pace::Pace;
use crate::base::{Timers, Timestamp};
use crate::wire::sip::StatusCode;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    G,
    H,
    I,
    L,
    /// The 200 ms of 17.2.1 after which 100 is due.
    Trying,
}

const TIMERS: [Timer; 5] = [Timer::G, Timer::H, Timer::I, Timer::L, Timer::Trying];

/// What happens to the machine.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The INVITE came again.
    Invite,
    /// The TU answers.
    Respond(StatusCode, Bytes),
    /// An ACK of this transaction came.
    Ack,
    /// The TU has seen the ACK of the 2xx.
    Acknowledged,
}

#[derive(Debug)]
enum State {
    Proceeding { last: Option<Bytes> },
    Completed { response: Bytes, interval: Duration },
    Confirmed,
    Accepted { unacknowledged: Option<Repeat> },
    Terminated,
}

#[derive(Debug)]
struct Repeat {
    response: Bytes,
    interval: Duration,
}

/// The machine.
#[derive(Debug)]
pub(super) struct ServerInvite {
    state: State,
    timers: Timers<5>,
}

impl ServerInvite {
    /// `trying_at`: when to ask for a 100 if the TU has not answered by then.
    pub(super) fn new(trying_at: Timestamp) -> Self {
        let mut timers = Timers::default();
        timers.arm(Timer::Trying as usize, trying_at);
        Self { state: State::Proceeding { last: None }, timers }
    }

    pub(super) fn handle(&mut self, now: Timestamp, event: Event, pace: &Pace, out: &mut Actions) {
        use State::{Accepted, Completed, Confirmed, Proceeding, Terminated};
        self.state = match (replace(&mut self.state, Terminated), event) {
            (Proceeding { last }, Event::Invite) => {
                out.extend(last.clone().map(Action::Send));
                Proceeding { last }
            }
            (Proceeding { .. }, Event::Respond(status, response)) => {
                self.timers.stop(Timer::Trying as usize);
                out.push(Action::Send(response.clone()));
                if status.is_provisional() {
                    Proceeding { last: Some(response) }
                } else if status.is_success() {
                    self.timers.arm(Timer::L as usize, now + pace.patience());
                    self.accepted(now, response, pace)
                } else {
                    if pace.repeats() {
                        self.timers.arm(Timer::G as usize, now + pace.t1);
                    }
                    self.timers.arm(Timer::H as usize, now + pace.patience());
                    Completed { response, interval: pace.t1 }
                }
            }
            (Completed { response, interval }, Event::Invite) => {
                out.push(Action::Send(response.clone()));
                Completed { response, interval }
            }
            (Completed { .. }, Event::Ack) => {
                self.timers.stop_all();
                // Timer I of zero: straight on.
                if pace.i_or_k().is_zero() {
                    Terminated
                } else {
                    self.timers.arm(Timer::I as usize, now + pace.i_or_k());
                    Confirmed
                }
            }
            (Accepted { unacknowledged }, Event::Ack) => {
                out.push(Action::Deliver);
                Accepted { unacknowledged }
            }
            (Accepted { .. }, Event::Acknowledged) => {
                self.timers.stop(Timer::G as usize);
                Accepted { unacknowledged: None }
            }
            // RFC 6026 7.1: a further 2xx from the TU is passed on; it replaces the one that is repeated.
            (Accepted { unacknowledged }, Event::Respond(status, response)) if status.is_success() => {
                out.push(Action::Send(response.clone()));
                match unacknowledged {
                    Some(_) => self.accepted(now, response, pace),
                    None => Accepted { unacknowledged: None },
                }
            }
            (state, _) => state,
        };
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp, pace: &Pace, out: &mut Actions) {
        while let Some(timer) = self.timers.expire(now).and_then(|letter| TIMERS.get(letter)) {
            self.fire(now, *timer, pace, out);
        }
    }

    fn fire(&mut self, now: Timestamp, timer: Timer, pace: &Pace, out: &mut Actions) {
        match (&mut self.state, timer) {
            (State::Completed { response, interval }, Timer::G)
            | (State::Accepted { unacknowledged: Some(Repeat { response, interval }) }, Timer::G) => {
                *interval = pace.slower(*interval);
                self.timers.arm(Timer::G as usize, now + *interval);
                out.push(Action::Send(response.clone()));
            }
            (State::Completed { .. }, Timer::H) => {
                out.push(Action::AckTimeout(Answered::Refused));
                self.terminate();
            }
            (State::Accepted { unacknowledged: Some(_) }, Timer::L) => {
                out.push(Action::AckTimeout(Answered::Accepted));
                self.terminate();
            }
            (State::Confirmed, Timer::I) | (State::Accepted { .. }, Timer::L) => self.terminate(),
            (State::Proceeding { last: None }, Timer::Trying) => out.push(Action::Trying),
            _ => {}
        }
    }

    /// 13.3.1.4: whatever the transport, for a proxy further on may have datagrams.
    fn accepted(&mut self, now: Timestamp, response: Bytes, pace: &Pace) -> State {
        self.timers.arm(Timer::G as usize, now + pace.t1);
        State::Accepted { unacknowledged: Some(Repeat { response, interval: pace.t1 }) }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timers.stop_all();
    }

    /// Whether a final response is still owed.
    pub(super) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// The response that is repeated when the INVITE is.
    pub(super) fn last_response(&self) -> Option<&Bytes> {
        match &self.state {
            State::Proceeding { last } => last.as_ref(),
            State::Completed { response, .. } => Some(response),
            State::Accepted { unacknowledged } => unacknowledged.as_ref().map(|repeat| &repeat.response),
            State::Confirmed | State::Terminated => None,
        }
    }

    /// Whether a 2xx is out and its ACK is not here.
    pub(super) const fn waits_for_ack(&self) -> bool {
        matches!(self.state, State::Accepted { unacknowledged: Some(_) })
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
