//! What a signalling worker counts: plain numbers of its own, bumped without a lock and added up on a scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sip::Transport;
use crate::wire::sip::{Method, StatusCode};

/// Names of methods in labels; a method that is none of these is `other`, so that no peer can make new series.
pub(super) const METHODS: [&str; Method::KINDS] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "SUBSCRIBE",
    "NOTIFY",
    "REFER",
    "INFO",
    "MESSAGE",
    "UPDATE",
    "PRACK",
    "PUBLISH",
    "other",
];

/// Names of transports in labels.
pub(super) const TRANSPORTS: [&str; 5] = ["udp", "tcp", "tls", "ws", "wss"];

/// Names of directions in labels.
pub(super) const DIRECTIONS: [&str; 2] = ["in", "out"];

/// Status codes: 100 to 699.
pub(super) const CODES: usize = 600;

/// Whether a message came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// Why credentials were not accepted; the `reason` of `segue_auth_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// Wrong password, or no such user: one reason, as the answer is one.
    Wrong,
    /// The nonce has run out; the next try will do.
    Stale,
    /// Cannot be read, or an algorithm that was not offered.
    Malformed,
    /// Too many tries.
    Throttled,
}

impl AuthFailure {
    pub(super) const NAMES: [&str; 4] = ["wrong", "stale", "malformed", "throttled"];
}

/// The counters of one worker.
#[derive(Debug)]
pub struct WorkerCounters {
    requests: Box<[AtomicU64]>,
    responses: Box<[AtomicU64]>,
    retransmissions: [AtomicU64; METHODS.len()],
    auth_failures: [AtomicU64; AuthFailure::NAMES.len()],
    parse_errors: AtomicU64,
    /// Percent.
    overload: AtomicU64,
    overload_refusals: AtomicU64,
    strangers_dropped: AtomicU64,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            requests: zeros(METHODS.len() * TRANSPORTS.len() * DIRECTIONS.len()),
            responses: zeros(METHODS.len() * CODES),
            retransmissions: std::array::from_fn(|_| AtomicU64::new(0)),
            auth_failures: std::array::from_fn(|_| AtomicU64::new(0)),
            parse_errors: AtomicU64::new(0),
            overload: AtomicU64::new(0),
            overload_refusals: AtomicU64::new(0),
            strangers_dropped: AtomicU64::new(0),
        }
    }
}

impl WorkerCounters {
    /// A request came or went.
    pub fn request(&self, method: &Method, transport: Transport, direction: Direction) {
        let row = method.kind() * TRANSPORTS.len() + transport_index(transport);
        bump(&self.requests, row * DIRECTIONS.len() + direction as usize);
    }

    /// A response came or went.
    pub fn response(&self, method: &Method, status: StatusCode) {
        let code = usize::from(status.as_u16()).saturating_sub(100).min(CODES - 1);
        bump(&self.responses, method.kind() * CODES + code);
    }

    /// So many more messages of methods of a [kind](Method::kind) were sent again, or came again and were absorbed.
    pub fn retransmissions_of(&self, kind: usize, count: u64) {
        if let Some(counter) = self.retransmissions.get(kind) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Bytes that are no message.
    pub fn parse_error(&self) {
        self.parse_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// So many percent of what is new are refused now.
    pub fn set_overload(&self, share: u8) {
        self.overload.store(u64::from(share), Ordering::Relaxed);
    }

    /// So many more were.
    pub fn overload_refusals(&self, count: u64) {
        self.overload_refusals.fetch_add(count, Ordering::Relaxed);
    }

    /// So many more messages of strangers were dropped.
    pub fn strangers_dropped(&self, count: u64) {
        self.strangers_dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Credentials were not accepted, so many times more.
    pub fn auth_failures_of(&self, reason: AuthFailure, count: u64) {
        if let Some(counter) = self.auth_failures.get(reason as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn requests(&self, method: usize, transport: usize, direction: usize) -> u64 {
        load(&self.requests, (method * TRANSPORTS.len() + transport) * DIRECTIONS.len() + direction)
    }

    pub(super) fn responses(&self, method: usize, code: usize) -> u64 {
        load(&self.responses, method * CODES + code)
    }

    pub(super) fn retransmissions(&self, method: usize) -> u64 {
        load(&self.retransmissions, method)
    }

    pub(super) fn auth_failures(&self, reason: usize) -> u64 {
        load(&self.auth_failures, reason)
    }

    pub(super) fn overload(&self) -> (u64, u64) {
        (self.overload.load(Ordering::Relaxed), self.overload_refusals.load(Ordering::Relaxed))
    }

    pub(super) fn dropped_of_strangers(&self) -> u64 {
        self.strangers_dropped.load(Ordering::Relaxed)
    }

    pub(super) fn parse_errors(&self) -> u64 {
        self.parse_errors.load(Ordering::Relaxed)
    }
}

fn bump(counters: &[AtomicU64], index: usize) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn load(counters: &[AtomicU64], index: usize) -> u64 {
    counters.get(index).map_or(0, |counter| counter.load(Ordering::Relaxed))
}

fn transport_index(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_the_name_that_it_is_counted_under() {
        for (index, name) in METHODS.iter().enumerate() {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(method.kind(), index, "{name}");
        }
    }

    #[test]
    fn no_two_counts_share_a_place() {
        let counters = WorkerCounters::default();
        counters.request(&Method::Invite, Transport::Udp, Direction::In);
        counters.request(&Method::Publish, Transport::Wss, Direction::Out);
        counters.request(&Method::Other("X".into()), Transport::Udp, Direction::Out);
        let all = |f: &dyn Fn(usize, usize, usize) -> u64| {
            let mut sum = 0;
            for method in 0..METHODS.len() {
                for transport in 0..TRANSPORTS.len() {
                    sum += f(method, transport, 0) + f(method, transport, 1);
                }
            }
            sum
        };
        assert_eq!(all(&|m, t, d| counters.requests(m, t, d)), 3);
        assert_eq!(counters.requests(0, 0, 0), 1);
        assert_eq!(counters.requests(13, 4, 1), 1);
        assert_eq!(counters.requests(14, 0, 1), 1);
        for code in [100, 200, 699] {
            counters.response(&Method::Bye, StatusCode::new(code).unwrap());
            assert_eq!(counters.responses(2, usize::from(code) - 100), 1);
        }
    }
}
