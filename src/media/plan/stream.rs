//! What the relay needs to know of agreed descriptions: addresses, directions, payload maps.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::agreed::Agreed;
use super::formats::counterpart;
use super::{LegMedia, Pairing, PtMap};
use crate::media::codec::Format;
use crate::media::srtp::Security;
use crate::wire::sdp::{Direction, Kind};

/// One peer's end of one media line, as agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteMedia {
    /// Index of the m-line in this leg's descriptions: the key of our port.
    pub line: usize,
    /// Audio, video.
    pub kind: Kind,
    /// Where it says it is; none for an unspecified address (old-style hold). On hold it still is where its own
    /// media comes from, so it feeds the source check; whether to send there is [`RemoteMedia::hears`].
    pub rtp: Option<SocketAddr>,
    /// Where its RTCP is: `a=rtcp` (RFC 3605) or the next port.
    pub rtcp: Option<SocketAddr>,
    /// Directions that both sides agreed, from the peer's point of view.
    pub direction: Direction,
    /// Agreed formats under the numbers that it accepts, in the order of the answer: what we may send to it.
    pub accepts: Vec<Format>,
    /// Agreed formats under the numbers that it was told to use: what we may receive from it.
    pub sends: Vec<Format>,
    /// Number of telephone-event in what it sends, on the clock of the first codec if there are several.
    pub telephone_event: Option<u8>,
    /// How its packets are protected, both ways.
    pub security: Security,
}

impl RemoteMedia {
    /// Whether media may be sent to it.
    #[must_use]
    pub fn hears(&self) -> bool {
        self.direction.receives() && self.rtp.is_some()
    }

    /// Whether media is expected from it.
    #[must_use]
    pub fn speaks(&self) -> bool {
        self.direction.sends()
    }

    pub(super) fn read(agreed: &Agreed, line: usize) -> Option<Self> {
        let end = agreed.their_line(line).filter(|_| agreed.is_active(line))?;
        let sends: Vec<Format> = agreed.agreed_formats(line).collect();
        let clock_rate =
            sends.iter().find(|format| format.codec.is_primary()).map(|format| format.codec.clock_rate());
        let events = || sends.iter().filter(|format| format.codec.is_telephone_event());
        let event =
            events().find(|event| Some(event.codec.clock_rate()) == clock_rate).or_else(|| events().next());
        Some(Self {
            line,
            kind: end.kind,
            rtp: end.rtp,
            rtcp: end.rtcp,
            direction: agreed.direction(line),
            accepts: sends.iter().filter_map(|sent| counterpart(*sent, &end.side.formats)).collect(),
            telephone_event: event.map(|event| event.number),
            security: agreed.security(line).clone(),
            sends,
        })
    }
}

/// One media stream through the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// End at the first leg.
    pub a: RemoteMedia,
    /// End at the second leg.
    pub b: RemoteMedia,
    /// Payload numbers from the first leg to the second; `None` where nothing is to be forwarded (hold).
    pub a_to_b: Option<PtMap>,
    /// And back.
    pub b_to_a: Option<PtMap>,
    /// Whether speech is converted on its way, or will be when it is forwarded again: what is held keeps its place.
    pub is_converted: bool,
}

/// Ladder: `segue = relay`, after each finished exchange, and at the swap with the far leg and the new one.
/// One entry per pair of lines that is active on both legs; none before both legs have agreed.
#[must_use]
pub fn streams(a: &LegMedia, b: &LegMedia, pairing: &Pairing) -> SmallVec<[Stream; 2]> {
    let (Ok(at_a), Ok(at_b)) = (a.agreed(), b.agreed()) else { return SmallVec::new() };
    let stream = |(line_a, line_b): (usize, usize)| {
        let (end_a, end_b) = (RemoteMedia::read(at_a, line_a)?, RemoteMedia::read(at_b, line_b)?);
        let a_to_b = PtMap::between(at_a.our_formats(line_a), at_b.their_formats(line_b))
            .or_converted(&end_a.sends, &end_b.accepts);
        let b_to_a = PtMap::between(at_b.our_formats(line_b), at_a.their_formats(line_a))
            .or_converted(&end_b.sends, &end_a.accepts);
        let is_converted = a_to_b.conversion().or(b_to_a.conversion()).is_some();
        let a_to_b = (end_a.speaks() && end_b.hears()).then_some(a_to_b);
        let b_to_a = (end_b.speaks() && end_a.hears()).then_some(b_to_a);
        Some(Stream { a: end_a, b: end_b, a_to_b, b_to_a, is_converted })
    };
    pairing.pairs(a, b).filter_map(stream).collect()
}
