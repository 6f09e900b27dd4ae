//! The INVITE client transaction: RFC 3261 17.1.1 as RFC 6026 8.4 corrects it.
//!
//! ```text
//!                     | INVITE from TU: send, arm A (datagrams), arm B
//!     A: send, A*2    v            B or transport error: tell the TU
//!         +------ Calling ---------------------------------+
//!         +-----> |  |  | 2xx: to TU -----------+           |
//!     300-699:    |  | 1xx: to TU               |           |
//!     ACK, to TU  |  v                          |           |
//!         +-------| Proceeding --- 2xx: to TU --+           |
//!         |       | |  1xx: to TU               |           |
//!         v         |                           v           |
//!     Completed <---+ 300-699: ACK, to TU    Accepted       |
//!       300-699: ACK again                     2xx: its ACK again, or to TU if it is of another fork
//!       D: end                                 M: end       v
//!         +-------------------------------------+------> Terminated
//! ```
//! Besides the figure: CANCEL waits for the first 1xx (9.1), and then arms B again: who neither answers nor
//! confirms the CANCEL within 64*T1 is given up.

use std::mem::replace;
use std::time::Duration;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::action::{Action, Actions};
use super::pace::Pace;
use crate::base::{Timers, Timestamp};
use crate::sip::Flow;

/// How many forks of one INVITE are told apart and acknowledged; further ones are ignored.
const MAX_FORKS: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Timer {
    A,
    B,
    D,
    M,
}

const TIMERS: [Timer; 4] = [Timer::A, Timer::B, Timer::D, Timer::M];

/// What happens to the machine.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A 1xx came.
    Provisional,
    /// A 2xx came; `fork` stands for its To tag.
    Accepted { fork: u64 },
    /// A 300-699 came; `ack` is what acknowledges it (17.1.1.3).
    Refused { ack: Bytes },
    /// The TU acknowledges the 2xx of a fork.
    Acked { fork: u64, flow: Flow, ack: Bytes },
    /// The TU gives up; the CANCEL to send.
    Cancel(Bytes),
    /// The transport cannot carry the request.
    TransportError,
}

#[derive(Debug)]
enum State {
    Calling { request: Bytes, interval: Duration, cancel: Option<Bytes> },
    Proceeding { request: Bytes },
    Completed { ack: Bytes },
    Accepted { forks: SmallVec<[Fork; 1]> },
    Terminated,
}

#[derive(Debug)]
struct Fork {
    tag: u64,
    ack: Option<(Flow, Bytes)>,
}

/// The machine. Starts by sending.
#[derive(Debug)]
pub(super) struct ClientInvite {
    state: State,
    timers: Timers<4>,
}

impl ClientInvite {
    pub(super) fn new(now: Timestamp, request: Bytes, pace: &Pace, out: &mut Actions) -> Self {
        let mut timers = Timers::default();
        if pace.repeats() {
            timers.arm(Timer::A as usize, now + pace.t1);
        }
        timers.arm(Timer::B as usize, now + pace.patience());
        out.push(Action::Send(request.clone()));
        Self { state: State::Calling { request, interval: pace.t1, cancel: None }, timers }
    }

    pub(super) fn handle(&mut self, now: Timestamp, event: Event, pace: &Pace, out: &mut Actions) {
        use State::{Accepted, Calling, Completed, Proceeding, Terminated};
        self.state = match (replace(&mut self.state, Terminated), event) {
            (Calling { request, cancel, .. }, Event::Provisional) => {
                self.timers.stop_all();
                out.push(Action::Deliver);
                if let Some(cancel) = cancel {
                    self.cancel(now, cancel, pace, out);
                }
                Proceeding { request }
            }
            (Proceeding { request }, Event::Provisional) => {
                out.push(Action::Deliver);
                Proceeding { request }
            }
            (Calling { .. } | Proceeding { .. }, Event::Accepted { fork }) => {
                self.timers.stop_all();
                self.timers.arm(Timer::M as usize, now + pace.patience());
                out.push(Action::Deliver);
                Accepted { forks: smallvec![Fork { tag: fork, ack: None }] }
            }
            (Calling { .. } | Proceeding { .. }, Event::Refused { ack }) => {
                self.timers.stop_all();
                out.extend([Action::Send(ack.clone()), Action::Deliver]);
                // Timer D of zero: straight on.
                if pace.d().is_zero() {
                    Terminated
                } else {
                    self.timers.arm(Timer::D as usize, now + pace.d());
                    Completed { ack }
                }
            }
            (Completed { ack }, Event::Refused { .. }) => {
                out.push(Action::Send(ack.clone()));
                Completed { ack }
            }
            (Accepted { mut forks }, Event::Accepted { fork }) => {
                match forks.iter().find(|known| known.tag == fork) {
                    // Repeated: our ACK was lost. The TU that has not acknowledged yet will.
                    Some(Fork { ack, .. }) => {
                        out.extend(ack.clone().map(|(flow, ack)| Action::SendOn(flow, ack)));
                    }
                    None if forks.len() < MAX_FORKS => {
                        forks.push(Fork { tag: fork, ack: None });
                        out.push(Action::Deliver);
                    }
                    None => {}
                }
                Accepted { forks }
            }
            (Accepted { mut forks }, Event::Acked { fork, flow, ack }) => {
                out.push(Action::SendOn(flow, ack.clone()));
                if let Some(known) = forks.iter_mut().find(|known| known.tag == fork) {
                    known.ack = Some((flow, ack));
                }
                Accepted { forks }
            }
            (Calling { request, interval, cancel }, Event::Cancel(bytes)) => {
                Calling { request, interval, cancel: Some(cancel.unwrap_or(bytes)) }
            }
            (Proceeding { request }, Event::Cancel(bytes)) => {
                // B runs here only after a CANCEL.
                if self.timers.deadline(Timer::B as usize).is_none() {
                    self.cancel(now, bytes, pace, out);
                }
                Proceeding { request }
            }
            (Calling { .. } | Proceeding { .. }, Event::TransportError) => {
                self.timers.stop_all();
                out.push(Action::Failed);
                Terminated
            }
            (state, _) => state,
        };
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp, out: &mut Actions) {
        while let Some(timer) = self.timers.expire(now).and_then(|letter| TIMERS.get(letter)) {
            self.fire(now, *timer, out);
        }
    }

    fn fire(&mut self, now: Timestamp, timer: Timer, out: &mut Actions) {
        match (&mut self.state, timer) {
            // Unlike E and G, A doubles without bound (17.1.1.2); B ends it.
            (State::Calling { request, interval, .. }, Timer::A) => {
                *interval *= 2;
                self.timers.arm(Timer::A as usize, now + *interval);
                out.push(Action::Send(request.clone()));
            }
            (State::Calling { .. } | State::Proceeding { .. }, Timer::B) => {
                out.push(Action::TimedOut);
                self.terminate();
            }
            (State::Completed { .. }, Timer::D) | (State::Accepted { .. }, Timer::M) => self.terminate(),
            _ => {}
        }
    }

    fn cancel(&mut self, now: Timestamp, cancel: Bytes, pace: &Pace, out: &mut Actions) {
        self.timers.arm(Timer::B as usize, now + pace.patience());
        out.push(Action::Cancel(cancel));
    }

    fn terminate(&mut self) {
        self.state = State::Terminated;
        self.timers.stop_all();
    }

    /// Whether nothing was heard yet.
    pub(super) fn is_calling(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }

    /// The INVITE, as long as there is no final response: ACK and CANCEL are made from it.
    pub(super) fn request(&self) -> Option<&Bytes> {
        match &self.state {
            State::Calling { request, .. } | State::Proceeding { request } => Some(request),
            _ => None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    pub(super) fn is_terminated(&self) -> bool {
        matches!(self.state, State::Terminated)
    }
}
