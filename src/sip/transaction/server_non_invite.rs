//! The non-INVITE server transaction: RFC 3261 17.2.2.
//!
//! ```text
//!                 | request: to TU
//!                 v
//!              Trying -- request: nothing
//!               |  | 1xx from TU: send
//!               |  v
//!               | Proceeding -- request: last 1xx again; 1xx from TU: send
//!               |  |
//!               |  | 200-699 from TU: send, arm J
//!               +--+--> Completed -- request: send again
//!                          | J
//!                          v
//!                      Terminated
//! ```

use std::mem::replace;

use bytes::Bytes;

use super::action::{Action, Actions};
use super::pace::Pace;
use crate::base::{Timers, Timestamp};
use crate::wire::sip::StatusCode;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    J,
}

/// What happens to the machine.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The request came again.
    Request,
    /// The TU answers.
    Respond(StatusCode, Bytes),
}

#[derive(Debug)]
enum State {
    Trying,
    Proceeding { last: Bytes },
    Completed { response: Bytes },
    Terminated,
}

/// The machine.
#[derive(Debug)]
pub(super) struct ServerNonInvite {
    state: State,
    timers: Timers<1>,
}

impl ServerNonInvite {
    pub(super) fn new() -> Self {
        Self { state: State::Trying, timers: Timers::default() }
    }

    pub(super) fn handle(&mut self, now: Timestamp, event: Event, pace: &Pace, out: &mut Actions) {
        use State::{Completed, Proceeding, Terminated, Trying};
        self.state = match (replace(&mut self.state, Terminated), event) {
            (Proceeding { last }, Event::Request) => {
                out.push(Action::Send(last.clone()));
                Proceeding { last }
            }
            (Completed { response }, Event::Request) => {
                out.push(Action::Send(response.clone()));
                Completed { response }
            }
            (Trying | Proceeding { .. }, Event::Respond(status, response)) => {
                out.push(Action::Send(response.clone()));
                if status.is_provisional() {
                    Proceeding { last: response }
                } else if pace.j().is_zero() {
                    // Timer J of zero: straight on.
                    Terminated
                } else {
                    self.timers.arm(Timer::J as usize, now + pace.j());
                    Completed { response }
                }
            }
            (state, _) => state,
        };
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        if self.timers.expire(now) == Some(Timer::J as usize) && matches!(self.state, State::Completed { .. })
        {
            self.state = State::Terminated;
        }
    }

    /// Whether a final response is still owed.
    pub(super) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding { .. })
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
