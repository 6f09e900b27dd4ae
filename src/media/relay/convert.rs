//! Packets whose speech is converted on the way. Everything else of their way is as that of others.

use std::time::Duration;

use super::egress::Arrival;
use super::route::Admitted;
use super::{DropReason, Outlet, PortId, Relay, Sink};
use crate::base::Timestamp;
use crate::media::transcode::{ROOM, Transcoder, Useless};
use crate::wire::rtp::{HEADER, Header};

/// Speech may come so far ahead of time, as after a hiccup of the network. To convert it costs as much as hundreds of
/// packets that cross as they are, so that more than one party can say is not converted.
const AHEAD: Duration = Duration::from_secs(1);

impl Relay {
    /// The transcoder of a sink, if it needs one: the one that it had, or else a new one, which is where memory is taken.
    /// What a new one makes is numbered from the beginning, and joins the stream as that of a new source does.
    pub(super) fn transcoder_for(&mut self, port: PortId, sink: &Sink, life: u32) -> Option<Box<Transcoder>> {
        let conversion = sink.conversion.as_deref()?;
        let route = self.routes.get_mut(port.slot as usize)?;
        let is_same = |transcoder: &Transcoder| transcoder.conversion() == conversion;
        let known = route.sinks.iter_mut().find(|known| (known.to, known.life) == (sink.to.slot, life));
        let known = known.and_then(|known| known.transcoder.take_if(|transcoder| is_same(transcoder)));
        known.or_else(|| {
            self.routes.get_mut(sink.to.slot as usize)?.egress.part_from(port.slot);
            Transcoder::new(conversion.clone()).map(Box::new)
        })
    }

    /// Sends what becomes of an admitted packet to sink `n` of its port: nothing yet, or some packets.
    pub(super) fn convert(
        &mut self,
        now: Timestamp,
        slot: u32,
        n: usize,
        admitted: &Admitted,
        packet: &[u8],
        out: &mut impl Outlet,
    ) -> Result<(), DropReason> {
        let sink = self.routes.get_mut(slot as usize).and_then(|route| route.sinks.get_mut(n));
        let sink = sink.ok_or(DropReason::NoSink)?;
        let length = sink.transcoder.as_ref().map(|transcoder| {
            let source = (admitted.feed.ssrc, admitted.feed.run);
            transcoder.length(source, admitted.extended, &admitted.header, admitted.header.payload(packet))
        });
        // A clock may go a little fast.
        if length.is_some_and(|length| !sink.pace.admits(now, length - length / 16, AHEAD)) {
            return Err(DropReason::TooFast);
        }
        let way = (slot, sink.to, sink.life);
        let mut transcoder = sink.transcoder.take().ok_or(DropReason::NoSink)?;
        let result = self.pass_through(now, way, &mut transcoder, admitted, packet, out);
        if let Some(sink) = self.routes.get_mut(slot as usize).and_then(|route| route.sinks.get_mut(n)) {
            sink.transcoder = Some(transcoder);
        }
        result
    }

    fn pass_through(
        &mut self,
        now: Timestamp,
        way: (u32, u32, u32),
        transcoder: &mut Transcoder,
        admitted: &Admitted,
        packet: &[u8],
        out: &mut impl Outlet,
    ) -> Result<(), DropReason> {
        let source = (admitted.feed.ssrc, admitted.feed.run);
        let payload = admitted.header.payload(packet);
        transcoder.take(source, admitted.extended, &admitted.header, payload).map_err(|why| match why {
            Useless::Late => DropReason::Late,
            Useless::Unknown | Useless::Broken => DropReason::NotAgreed,
        })?;
        let (mut made, mut result) = ([0; HEADER + ROOM], Ok(()));
        while let Some(piece) = made.get_mut(HEADER..).and_then(|room| transcoder.next(room)) {
            let end = HEADER + piece.len;
            let header = Header {
                marker: piece.marker,
                payload_type: piece.payload_type,
                timestamp: piece.timestamp,
                payload_at: HEADER as u16,
                payload_end: end as u16,
                ..admitted.header
            };
            let arrival = Arrival {
                event: piece.is_event,
                ..Arrival::of(&header, admitted.feed, piece.extended, transcoder.clock_rate())
            };
            let Some(packet) = made.get_mut(..end) else { break };
            header.write_new(packet);
            // What cannot go now is over: kept, it would go later, in one burst with what came after it.
            result = result.and(self.depart(now, way, &arrival, header, packet, out));
        }
        result
    }
}
