//! Counters of a port, and the named reasons for which a packet is dropped.

use std::net::SocketAddr;
use std::time::Duration;

use super::bursts::BurstCounts;
use crate::media::quality::Measured;
use crate::wire::rtcp::VoipMetrics;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet was not forwarded. The names are the values of `reason` in `segue_rtp_dropped_total`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All of them, in the order of [`PortStats::dropped`].
            pub const ALL: [Self; [$($text,)*].len()] = [$(Self::$name,)*];

            /// The name in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// The port is open but belongs to no call.
    Unused = "unused",
    /// Not RTP of version 2, or shorter than its own header says.
    NotRtp = "not-rtp",
    /// RTCP on the RTP port; multiplexing was not agreed (RFC 5761).
    RtcpOnRtp = "rtcp-on-rtp",
    /// Longer than any packet that the path carries.
    TooLong = "too-long",
    /// From an address that is not the other end.
    WrongSource = "wrong-source",
    /// Not sealed with the key that was agreed (SRTP). Nothing is learned from it.
    BadTag = "bad-tag",
    /// From a browser whose handshake is not done yet.
    NoKeys = "no-keys",
    /// Under SRTP: a sequence number that came before. It is not opened twice, and never sealed twice.
    Replayed = "replayed",
    /// The other side is not there (hold, or not answered).
    NoSink = "no-sink",
    /// From a device that the call was moved away from.
    Moved = "moved",
    /// The payload type was not agreed on the other leg.
    NotAgreed = "not-agreed",
    /// A late packet from before the stream was joined; its place in the sequence is taken.
    Late = "late",
    /// Speech that is to be converted, or what goes to a media port of ours, and more of it than time has passed.
    TooFast = "too-fast",
    /// Far from the sequence, and the first there: a second that follows it begins a new run (RFC 3550 A.1).
    OutOfSequence = "out-of-sequence",
    /// A sound is played in its place.
    Covered = "covered",
    /// The address of the receiver is not known, or nothing was heard from it yet.
    NoRemote = "no-remote",
    /// Not a well-formed RTCP compound packet.
    NotRtcp = "not-rtcp",
    /// RTCP that says nothing that holds for the other leg.
    NothingToSay = "nothing-to-say",
    /// The system refused to send it.
    SendFailed = "send-failed",
}

/// What the other end says of what we send it (the last report block about our stream, RFC 3550 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reported {
    /// Lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning; negative with duplicates.
    pub lost: i32,
    /// Interarrival jitter in µs.
    pub jitter_us: u32,
}

/// The counters of one port since it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// RTP packets accepted from the other end.
    pub received: u64,
    /// Their bytes, headers included (RTP and up).
    pub received_bytes: u64,
    /// RTP packets sent to the other end.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// RTCP packets accepted and sent.
    pub rtcp_received: u64,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// Expected minus received, over all sources that the port had (RFC 3550 A.3); negative with duplicates.
    pub lost: i64,
    /// Packets that the sources should have sent by their sequence numbers.
    pub expected: u64,
    /// Holes in those numbers, each of one packet or more, late packets or not.
    pub holes: u64,
    /// How the losses bunched (RFC 3611 4.7.2).
    pub bursts: BurstCounts,
    /// Packets that came more than once.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// The way to the other end and back, by its last report about our stream.
    pub round_trip: Option<Duration>,
    /// What the other end says of how it hears us (RFC 3611 4.7).
    pub voip: Option<VoipMetrics>,
    /// Interarrival jitter in µs (RFC 3550 A.8).
    pub jitter_us: u32,
    /// What the other end says of us.
    pub reported: Option<Reported>,
    /// Where packets are taken from, if any was heard.
    pub source: Option<SocketAddr>,
    /// The SSRC of the last source.
    pub source_ssrc: Option<u32>,
    /// Dropped packets by reason, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
}

/// What a receiver waits at least: the packet that it plays, of 20 ms.
const FRAME: Duration = Duration::from_millis(20);
/// A receiver's buffer is taken to hold this many times the mean deviation: late packets are then rare.
const BUFFERED_JITTERS: u32 = 2;

impl PortStats {
    /// Packets that never came. One that came twice does not stand for another, as it does in RFC 3550 A.3.
    #[must_use]
    pub fn missing(&self) -> u64 {
        u64::try_from(self.lost.saturating_add_unsigned(self.duplicates)).unwrap_or(0)
    }

    /// What arrived on the port, as the E-model takes it. The delay is half the round trip, where reports tell it, and what
    /// the jitter costs a receiver; that of the other leg is not in it.
    #[must_use]
    pub fn measured(&self) -> Measured {
        let lost = self.missing().saturating_add(self.dropped(DropReason::Late));
        Measured {
            expected: self.expected,
            lost: lost.min(self.expected),
            bursts: self.holes,
            delay: FRAME
                + BUFFERED_JITTERS * Duration::from_micros(self.jitter_us.into())
                + self.round_trip.unwrap_or_default() / 2,
        }
    }

    /// How many packets were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many were dropped in all.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(super) fn count(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

/// Sums over all ports of a relay since its start, for metrics: they only go up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// RTP packets accepted.
    pub received: u64,
    /// RTP packets sent.
    pub sent: u64,
    /// Lost on the way to us; counted when a port is released.
    pub lost: u64,
    /// Dropped packets by reason, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
}

impl Totals {
    pub(super) fn count(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}
