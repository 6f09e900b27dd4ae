//! The non-INVITE client transaction: RFC 3261 17.1.2.
//!
//! ```text
//!                     | request from TU: send, arm E (datagrams), arm F
//!     E: send, E*2    v           F or transport error: tell the TU
//!         +------ Trying ------------------------------+
//!         +----->  |  | 1xx: to TU                     |
//!                  |  v                                |
//!         +------- | Proceeding -----------------------+
//!     E: send,     |  |  1xx: to TU                     |
//!     E = T2       |  | 200-699: to TU                  |
//!                  +--+--> Completed -- K: end --> Terminated
//! ```

use std::mem::replace;
use std::time::Duration;

use bytes::Bytes;

use super::action::{Action, Actions};
use super::pace::Pace;
use crate::base::{Timers, Timestamp};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    E,
    F,
    K,
}

const TIMERS: [Timer; 3] = [Timer::E, Timer::F, Timer::K];

/// What happens to the machine.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A 1xx came.
    Provisional,
    /// A 200-699 came.
    Final,
    /// The transport cannot carry the request.
    TransportError,
}

#[derive(Debug)]
enum State {
    Trying { request: Bytes, interval: Duration },
    Proceeding { request: Bytes },
    Completed,
    Terminated,
}

/// The machine. Starts by sending.
#[derive(Debug)]
pub(super) struct ClientNonInvite {
    state: State,
    timers: Timers<3>,
}

impl ClientNonInvite {
    pub(super) fn new(now: Timestamp, request: Bytes, pace: &Pace, out: &mut Actions) -> Self {
        let mut timers = Timers::default();
        if pace.repeats() {
            timers.arm(Timer::E as usize, now + pace.t1);
        }
        timers.arm(Timer::F as usize, now + pace.patience());
        out.push(Action::Send(request.clone()));
        Self { state: State::Trying { request, interval: pace.t1 }, timers }
    }

    pub(super) fn handle(&mut self, now: Timestamp, event: &Event, pace: &Pace, out: &mut Actions) {
        use State::{Completed, Proceeding, Terminated, Trying};
        self.state = match (replace(&mut self.state, Terminated), event) {
            (Trying { request, .. } | Proceeding { request }, Event::Provisional) => {
                out.push(Action::Deliver);
                Proceeding { request }
            }
            (Trying { .. } | Proceeding { .. }, Event::Final) => {
                self.timers.stop_all();
                out.push(Action::Deliver);
                // Timer K of zero: straight on.
                if pace.i_or_k().is_zero() {
                    Terminated
                } else {
                    self.timers.arm(Timer::K as usize, now + pace.i_or_k());
                    Completed
                }
            }
            (Trying { .. } | Proceeding { .. }, Event::TransportError) => {
                self.timers.stop_all();
                out.push(Action::Failed);
                Terminated
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
            (State::Trying { request, interval }, Timer::E) => {
                *interval = pace.slower(*interval);
                self.timers.arm(Timer::E as usize, now + *interval);
                out.push(Action::Send(request.clone()));
            }
            (State::Proceeding { request }, Timer::E) => {
                self.timers.arm(Timer::E as usize, now + pace.t2);
                out.push(Action::Send(request.clone()));
            }
            (State::Trying { .. } | State::Proceeding { .. }, Timer::F) => {
                out.push(Action::TimedOut);
                self.terminate();
            }
            (State::Completed, Timer::K) => self.terminate(),
            _ => {}
        }
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timers.stop_all();
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
