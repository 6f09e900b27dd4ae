//! Who may hold how many connections for how long, whatever they are: TCP, TLS or WebSocket.

use std::time::Duration;

use crate::shell::files::{self, Shares};

/// Who may hold how many connections for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) most: usize,
    /// Of them those from one address; an IPv6 /64 is one.
    pub(super) most_each: usize,
    /// Of them those from one IPv6 /48, in which one site may have 65,536 addresses of the kind above.
    pub(super) most_wide: usize,
    /// Connections of our own making beyond `most`: those who come do not keep us from going.
    pub(super) reserve: usize,
    /// Connections at once whose handshake (TLS, WebSocket) is not over.
    pub(super) handshakes: usize,
    /// Of them those from one address.
    pub(super) handshakes_each: usize,
    /// Of them those from one IPv6 /48.
    pub(super) handshakes_wide: usize,
    /// Handshakes that one address may begin in a second, once it has begun `most_each`.
    pub(super) arrivals_each: u32,
    /// Messages that one address may send in a second over TLS and WebSocket, once it has sent as many at once. What
    /// is beyond waits in its own connections.
    pub(super) rate_each: u32,
    /// Bytes of messages from TLS and WebSocket that may wait for the engine.
    pub(super) inbound: usize,
    /// Bytes that may wait to be written on one connection; a peer that does not read is let go.
    pub(super) queue: usize,
    /// Bytes that may wait on all connections of one address; those of others are none the worse for them.
    pub(super) queues_each: usize,
    /// Bytes that may wait on all of them.
    pub(super) queues: usize,
    /// A connection brings its first whole message, and ends each message it begins, within this.
    pub(super) patience: Duration,
    /// A handshake takes no longer than this once half of `handshakes` are under way.
    pub(super) hurry: Duration,
    /// A connection of ours stands within this.
    pub(super) connect: Duration,
    /// A connection on which nothing came for so long is closed.
    pub(super) idle: Duration,
    /// A WebSocket on which nothing came for so long is pinged; one that does not answer for so long is closed.
    pub(super) ping: Duration,
    /// After a last word, for the peer to read it.
    pub(super) parting: Duration,
    /// A listener is left alone for this long when the system has no descriptor for one more connection.
    pub(super) pause: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            most: usize::try_from(files::CONNECTIONS).unwrap_or(usize::MAX),
            // A proxy, or an office behind one address.
            most_each: 256,
            most_wide: 4_096,
            reserve: usize::try_from(files::OUTGOING).unwrap_or(usize::MAX),
            // A handshake costs half a millisecond of a processor: what waits here is a second or two of work.
            handshakes: 1_024,
            handshakes_each: 64,
            handshakes_wide: 256,
            // An office whose power comes back is all there at once (`most_each`); after that, it is attacks.
            arrivals_each: 20,
            // An office of 256 phones that all call somebody within a second.
            rate_each: 1_000,
            inbound: 8 * 1024 * 1024,
            queue: 512 * 1024,
            queues_each: 8 * 1024 * 1024,
            queues: 64 * 1024 * 1024,
            patience: Duration::from_secs(20),
            // Far away, over a lossy line, a handshake takes a second.
            hurry: Duration::from_secs(2),
            // Of the 32 s that a request may take, something must be left for another way.
            connect: Duration::from_secs(8),
            // Longer than any keep-alive and any registration.
            idle: Duration::from_secs(2 * 3600),
            // Below the minute after which proxies and address translators forget a silent connection.
            ping: Duration::from_secs(45),
            parting: Duration::from_secs(1),
            pause: Duration::from_secs(1),
        }
    }
}

impl Bounds {
    /// As far as there are files for it. What one address may have stays below the half of all, so that a low limit is
    /// not a way to shut others out.
    pub(super) fn within(self, files: &Shares) -> Self {
        let most = self.most.min(files.connections);
        Self {
            most,
            most_each: self.most_each.min(most.div_ceil(2)),
            reserve: self.reserve.min(files.outgoing),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_as_many_as_there_are_files_for() {
        let all = Shares { pairs: 0, connections: 16_384, outgoing: 1024, pages: 0 };
        let of = |files: &Shares| {
            let bounds = Bounds::default().within(files);
            (bounds.most, bounds.most_each, bounds.reserve)
        };
        assert_eq!(of(&all), (16_384, 256, 1024));
        assert_eq!(of(&Shares { connections: 49, outgoing: 4, ..all }), (49, 25, 4));
        assert_eq!(of(&Shares { connections: 3, outgoing: 1, ..all }), (3, 2, 1));
    }
}
