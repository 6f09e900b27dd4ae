//! The life of one connection that stands: messages in, messages out, and every reason to end it.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until, timeout};

use super::super::bounds::Bounds;
use super::super::census::Seat;
use super::super::stream::OURS;
use super::outbox::Outbox;
use super::wire::{Came, Closing, Wire};
use super::{Door, News};
use crate::sip::Flow;

/// A message that the peer does not take within this is never taken.
const STALL: Duration = Duration::from_secs(30);

/// Carries messages until the connection ends; its end is told by whoever called.
pub(super) async fn carry(mut wire: impl Wire, flow: Flow, seat: &Seat, outbox: &Outbox, door: &Door) {
    let bounds = &door.bounds;
    let mut life = Life::new();
    if flow.connection & OURS == 0 {
        life.must_begin_within(bounds.patience);
    }
    let why = loop {
        // Where something is always there to be read, nothing below gets to it.
        if life.is_over(bounds) {
            break Closing::Late;
        }
        let waits = life.until(bounds);
        let came = tokio::select! {
            biased;
            () = outbox.is_cut() => return,
            next = outbox.next() => {
                let Some(bytes) = next else { break Closing::Away };
                if write(&mut wire, bytes, outbox).await {
                    continue;
                }
                return;
            }
            came = wire.receive() => came,
            () = sleep_until(waits) => {
                if life.is_over(bounds) {
                    break Closing::Late;
                }
                match timeout(STALL, wire.ping()).await {
                    Ok(Ok(is_answered)) => life.pings(is_answered, bounds.ping),
                    Ok(Err(_)) | Err(_) => return,
                }
                continue;
            }
        };
        life.hears(&came, bounds.patience);
        if matches!(came, Came::Message(_) | Came::Alive | Came::Ping) {
            // Beyond its rate, a source waits: we read nothing more, and its own system holds it back.
            let wait = seat.meter();
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        match came {
            Came::Message(bytes) => {
                let Some(room) = door.room(bytes.len()).await else { return };
                door.tell(News::Received { flow, bytes, room });
            }
            // Who lets answers pile up does not wait for one more.
            Came::Ping if outbox.is_empty() => {
                if !write(&mut wire, Bytes::from_static(b"\r\n"), outbox).await {
                    return;
                }
            }
            Came::Ping | Came::Alive | Came::Part => {}
            Came::Broken(word) => {
                if let Some(word) = word {
                    write(&mut wire, word, outbox).await;
                }
                break Closing::Wrong;
            }
            Came::End => return,
        }
    };
    let _ = timeout(bounds.parting, async {
        wire.close(why).await;
        // Closed at once, with bytes of the peer unread, it would be reset, and the last word lost on the way.
        while !matches!(wire.receive().await, Came::End) {}
    })
    .await;
}

/// Writes, unless the connection is cut meanwhile.
async fn write(wire: &mut impl Wire, bytes: Bytes, outbox: &Outbox) -> bool {
    tokio::select! {
        biased;
        () = outbox.is_cut() => false,
        written = timeout(STALL, wire.send(bytes)) => matches!(written, Ok(Ok(()))),
    }
}

/// What a connection has to do to be let live.
struct Life {
    heard: Instant,
    /// When its first message must have come.
    first: Option<Instant>,
    /// When the message that has begun must have come.
    part: Option<Instant>,
    /// When it must have answered a ping.
    pong: Option<Instant>,
    pinged: bool,
}

impl Life {
    fn new() -> Self {
        Self { heard: Instant::now(), first: None, part: None, pong: None, pinged: false }
    }

    /// Who connects to us has something to say.
    fn must_begin_within(&mut self, patience: Duration) {
        self.first = Some(Instant::now() + patience);
    }

    fn hears(&mut self, came: &Came, patience: Duration) {
        let now = Instant::now();
        (self.heard, self.pong, self.pinged) = (now, None, false);
        self.part = matches!(came, Came::Part).then(|| self.part.unwrap_or(now + patience));
        if matches!(came, Came::Message(_)) {
            self.first = None;
        }
    }

    fn pings(&mut self, is_answered: bool, wait: Duration) {
        self.pinged = true;
        self.pong = is_answered.then(|| Instant::now() + wait);
    }

    /// When to look again.
    fn until(&self, bounds: &Bounds) -> Instant {
        let silence = if self.pinged { bounds.idle } else { bounds.ping.min(bounds.idle) };
        [self.first, self.part, self.pong].into_iter().flatten().fold(self.heard + silence, Instant::min)
    }

    fn is_over(&self, bounds: &Bounds) -> bool {
        let now = Instant::now();
        let is_late = [self.first, self.part, self.pong].into_iter().flatten().any(|due| due <= now);
        is_late || now >= self.heard + bounds.idle
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;

    use super::super::super::census::{Arrival, Census};
    use super::*;
    use crate::sip::Transport;
    use crate::wire::sip::Limits;

    /// A peer from whom there is always something to read, so often; then it goes.
    struct Talkative {
        say: fn() -> Came,
        left: usize,
        pause: Duration,
    }

    impl Wire for &mut Talkative {
        async fn receive(&mut self) -> Came {
            if self.left == 0 {
                return Came::End;
            }
            self.left -= 1;
            // Time goes by, and whoever asks finds it ready all the same.
            std::thread::sleep(self.pause);
            (self.say)()
        }

        async fn send(&mut self, _: Bytes) -> std::io::Result<()> {
            Ok(())
        }

        async fn ping(&mut self) -> std::io::Result<bool> {
            Ok(false)
        }

        async fn close(&mut self, _: Closing) {
            self.left = 0;
        }
    }

    /// A connection with a peer, from its beginning to its end.
    async fn carried(mut peer: Talkative, bounds: Bounds) {
        let at = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let census = Census::new(bounds);
        let door = Door::new(bounds, Limits::default(), Arc::clone(&census), |_| ());
        let seat = census.admit(at, Arrival::Open).unwrap();
        let outbox = Outbox::new(seat.backlog());
        let flow = Flow { transport: Transport::Wss, listener: 0, connection: 1, peer: (at, 9).into() };
        carry(&mut peer, flow, &seat, &outbox, &door).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_that_asks_for_nothing_is_metered_too() {
        let bounds = Bounds { rate_each: 10, patience: Duration::from_secs(3600), ..Bounds::default() };
        for say in [|| Came::Alive, || Came::Ping, || Came::Message(Bytes::from_static(b"x"))] {
            let begun = Instant::now();
            carried(Talkative { say, left: 50, pause: Duration::ZERO }, bounds).await;
            assert!(
                begun.elapsed() >= Duration::from_secs(3),
                "{:?} for 40 above the burst",
                begun.elapsed()
            );
        }
    }

    #[tokio::test]
    async fn who_always_has_something_to_say_but_never_a_message_is_let_go_in_time() {
        let bounds = Bounds { patience: Duration::from_millis(20), ..Bounds::default() };
        let peer = Talkative { say: || Came::Part, left: 2000, pause: Duration::from_millis(1) };
        let begun = Instant::now();
        carried(peer, bounds).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}
