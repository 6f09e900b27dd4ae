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
        match came {
            Came::Message(bytes) => {
                // Beyond its rate, a source waits: we read nothing more, and its own system holds it back.
                let wait = seat.meter();
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
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
