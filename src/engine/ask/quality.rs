//! How a live call sounds: the media threads are asked for what they have counted so far.

use std::time::Duration;

use crate::base::Timestamp;
use crate::call::{CallState, LegHandle};
use crate::engine::command::{CommandError, Reply, Subject};
use crate::engine::view::{QualityView, StreamView};
use crate::engine::{CommandId, Engine};
use crate::media::codec::Codec;
use crate::media::quality::MIN_PACKETS;
use crate::media::relay::{MediaCommand, PortId, PortStats};

/// How long the media threads may take. They answer between two batches of packets.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions that may be open at once: pages ask every few seconds, each for a call or two.
const MAX_OPEN: usize = 64;

/// Questions to the media threads.
#[derive(Default)]
pub(super) struct Inquiries(Vec<Inquiry>);

/// One call's.
struct Inquiry {
    id: CommandId,
    view: QualityView,
    /// Ports that have not answered, and which stream each is.
    open: Vec<(PortId, usize, Codec)>,
    until: Timestamp,
    /// Whether nobody is on hold: then sound is due from both.
    is_open_line: bool,
}

/// The party of which nothing came while that of the other did.
fn silent(streams: &[StreamView]) -> Option<String> {
    let [a, b] = streams else { return None };
    let found = [(a, b), (b, a)].into_iter().find(|(x, y)| x.expected == 0 && y.expected >= MIN_PACKETS);
    found.map(|(silent, _)| silent.role.clone())
}

impl Inquiries {
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.0.iter().map(|inquiry| inquiry.until).min()
    }

    fn asks(&self, port: PortId) -> bool {
        self.0.iter().any(|inquiry| inquiry.open.iter().any(|(open, ..)| *open == port))
    }
}

impl Engine {
    /// Answers at once where there is nothing to ask: no audio through us, or a move, which asks the same ports for
    /// its own ends.
    pub(super) fn show_quality(
        &mut self,
        id: CommandId,
        by: &Subject,
        call: &str,
    ) -> Result<Option<Reply>, CommandError> {
        let handle = self.visible_call(by, call)?;
        let found = self.core.calls.get(handle).ok_or(CommandError::NotFound)?;
        let mut view = QualityView { call: found.id.to_string(), streams: Vec::new(), silent: None };
        let legs = [Some(("caller", found.caller)), found.callee.map(|leg| ("callee", leg))];
        let is_quiet = found.state != CallState::Talking || found.moving || !found.anchored;
        let holds = |(_, leg): (&str, LegHandle)| self.core.legs.get(leg).is_none_or(|leg| leg.holds);
        let is_open_line = !legs.into_iter().flatten().any(holds);
        let mut open = Vec::new();
        for (role, leg) in legs.into_iter().flatten().filter(|_| !is_quiet) {
            let Some((port, codec)) = self.core.audio_of(leg) else { continue };
            open.push((port, view.streams.len(), codec));
            view.streams.push(self.stream_view(by, role, leg));
        }
        if open.is_empty() {
            return Ok(Some(Reply::Quality(Box::new(view))));
        }
        if self.asks.inquiries.0.len() >= MAX_OPEN {
            return Err(CommandError::TooMany { retry_after: 1 });
        }
        for (port, ..) in &open {
            // One answer is for all that wait for it.
            if !self.asks.inquiries.asks(*port) {
                self.core.media.push(MediaCommand::Report { port: *port });
            }
        }
        let until = self.core.now.at + PATIENCE;
        self.asks.inquiries.0.push(Inquiry { id, view, open, until, is_open_line });
        Ok(None)
    }

    fn stream_view(&self, by: &Subject, role: &str, leg: LegHandle) -> StreamView {
        let found = self.core.legs.get(leg);
        let (user, device) = found.and_then(|leg| leg.party.device()).unzip();
        let is_shown = user.is_none_or(|user| by.may_see(user));
        StreamView {
            role: role.to_owned(),
            user: user.map(str::to_owned),
            device: device.filter(|_| is_shown).map(str::to_owned),
            expected: 0,
            loss: None,
            duplicates: 0,
            reordered: 0,
            bursts: 0,
            burst_loss: None,
            gap_loss: None,
            jitter_ms: None,
            round_trip_ms: None,
            mos: None,
            hears: None,
        }
    }

    /// What a port has counted, where a question waits for it; false where none does.
    pub(in crate::engine) fn on_counted(&mut self, port: PortId, stats: &PortStats) -> bool {
        if !self.asks.inquiries.asks(port) {
            return false;
        }
        for inquiry in &mut self.asks.inquiries.0 {
            let Some(at) = inquiry.open.iter().position(|(open, ..)| *open == port) else { continue };
            let (_, stream, codec) = inquiry.open.swap_remove(at);
            if let Some(stream) = inquiry.view.streams.get_mut(stream) {
                stream.count(stats, stats.measured().mos(&codec));
            }
        }
        self.answer_inquiries(|inquiry| inquiry.open.is_empty());
        true
    }

    /// What does not answer in time is shown without its numbers.
    pub(super) fn on_inquiries_timeout(&mut self) {
        let now = self.core.now.at;
        self.answer_inquiries(|inquiry| inquiry.until <= now);
    }

    fn answer_inquiries(&mut self, is_done: impl Fn(&Inquiry) -> bool) {
        let (done, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.asks.inquiries.0).into_iter().partition(is_done);
        self.asks.inquiries.0 = open;
        for Inquiry { id, mut view, is_open_line, open, .. } in done {
            view.silent = silent(&view.streams).filter(|_| is_open_line && open.is_empty());
            self.reply(id, Reply::Quality(Box::new(view)));
        }
    }
}
