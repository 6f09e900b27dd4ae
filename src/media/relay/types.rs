//! What the engine says to the media threads, and what they say back. Plain values; every command names a port
//! or a thread, and all ports of one call are on one thread.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use smallvec::SmallVec;

use super::PortStats;
use crate::media::quality::Measured;
use crate::media::srtp::Security;
use crate::media::transcode::Conversion;

/// One RTP port (and the RTCP port after it) of ours: the thread that owns it and its place there.
///
/// A slot is bound once and used again and again; whose it is, is the engine's business ([`PortPair`] goes to a
/// free list, comes back after quarantine). `Release` puts it back to the state of a slot never used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId {
    /// The media thread.
    pub thread: u8,
    /// The index into that thread's routes.
    pub slot: u32,
}

/// A bound pair of sockets: RTP on the even port `rtp`, RTCP on `rtp + 1`, both at `address`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortPair {
    /// The name for commands.
    pub id: PortId,
    /// The local address that it is bound to (may be unspecified; what is advertised is configuration).
    pub address: IpAddr,
    /// The RTP port; even.
    pub rtp: u16,
}

/// What the media line is, as far as the packet path minds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// RTP audio: the marker bit begins a talk spurt, so it is set where the stream is joined anew.
    #[default]
    Audio,
    /// RTP video and other RTP: the marker bit belongs to the payload format and is left alone.
    Video,
}

/// Whether another source than the signalled one may be taken for the remote end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Learning {
    /// Nothing is learned: sent to the signalled address, accepted from its host (the port that sends first is
    /// pinned, since trunks with asymmetric ports exist).
    Off,
    /// The signalled address; or, before it was heard, a source at the address that the signalling came from
    /// (NAT); and once more, in a short window after `Configure`, a source that carries on the same SSRC and
    /// sequence run. All else is dropped, neither forwarded nor answered (RTP bleed).
    #[default]
    Guarded,
    /// Whoever sends RTP, at any time, at most a few times a second. For closed networks only.
    Always,
}

/// Whether the signalled address may be sent to before anything came from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sending {
    /// At once: a trunk, or an address that is the host of the signalling itself.
    #[default]
    AtOnce,
    /// Only after a packet came from it: the description names a third host, which may be a victim.
    OnceHeard,
}

/// What is to arrive on a port, and from whom. What leaves the port goes to the same end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ingress {
    /// Where the description says media is to be sent. `None`: held without address, or not known yet.
    pub remote: Option<SocketAddr>,
    /// Its RTCP address where that is not the next port (`a=rtcp`, RFC 3605).
    pub remote_rtcp: Option<SocketAddr>,
    /// Whether that is a media port of ours (a PBX leads one call to another): no more is sent there than real time has, so
    /// that packets which come back, whoever contrived that, do not go round as fast as they can.
    pub is_ours: bool,
    /// The host that the signalling comes from: the only one that may stand in for a signalled address behind NAT.
    pub signalling: Option<IpAddr>,
    /// How far sources are trusted.
    pub learning: Learning,
    /// Whether to send before anything was heard.
    pub sending: Sending,
    /// Audio or not.
    pub kind: Kind,
    /// RTP clock of what arrives, in Hz: for jitter, and for the timestamps where a stream is joined. Not 0.
    pub clock_rate: u32,
    /// [`MediaEvent::Quiet`] after this long without an accepted packet. `None`: silence is expected (hold).
    pub timeout: Option<Duration>,
    /// The payload type of RFC 4733 events that arrive here.
    pub telephone_event: Option<u8>,
    /// Whether digits are told by [`MediaEvent::Dtmf`]. They are forwarded as the sinks say in any case.
    pub report_dtmf: bool,
    /// How packets are protected, both ways. Keys that stay the same go on counting where they were.
    pub security: Security,
}

impl Ingress {
    /// Audio at 8000 Hz from and to `remote`, signalled by the host `signalling`; guarded, no timeout. Sends at
    /// once only if the media address is the host of the signalling; set `sending` otherwise for a trusted trunk.
    #[must_use]
    pub fn audio(remote: Option<SocketAddr>, signalling: Option<IpAddr>) -> Self {
        let same_host = remote.is_some_and(|r| Some(r.ip()) == signalling);
        Self {
            remote,
            remote_rtcp: None,
            is_ours: false,
            signalling,
            learning: Learning::Guarded,
            sending: if same_host { Sending::AtOnce } else { Sending::OnceHeard },
            kind: Kind::Audio,
            clock_rate: 8000,
            timeout: None,
            telephone_event: None,
            report_dtmf: false,
            security: Security::Plain,
        }
    }
}

/// Payload types as they arrive → as they leave; 128 and above: not agreed on the other leg, dropped.
pub type PayloadMap = Box<[u8; 128]>;

/// One place to which packets of a port go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sink {
    /// The port out of which they go (to whoever is at its other end).
    pub to: PortId,
    /// How payload types change on the way. `None`: they do not.
    pub map: Option<PayloadMap>,
    /// What speech is converted on the way, where the two ends share no codec; then the map says nothing.
    pub conversion: Option<Box<Conversion>>,
}

impl Sink {
    /// To `to`, payload types as they are.
    #[must_use]
    pub fn plain(to: PortId) -> Self {
        Self { to, map: None, conversion: None }
    }
}

/// G.711 variants (RFC 3551 4.5.14), in which sounds are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// µ-law, static payload type 0.
    Mu,
    /// A-law, static payload type 8.
    A,
}

/// The form in which a sound goes out: 20 ms packets at 8000 Hz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Voice {
    /// The companding.
    pub law: Law,
    /// The payload type that was agreed for it.
    pub payload: u8,
}

/// A short pattern of beeps; nothing needs a language or a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prompt {
    /// One beep: dial your extension, then `#`.
    Extension,
    /// Two beeps: dial your PIN, then `#`.
    Pin,
    /// Two rising notes.
    Accepted,
    /// Three low notes.
    Refused,
}

/// What can be played toward a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sound {
    /// A steady tone of so many Hz (300 to 3400; others are brought into that range). `*44`.
    Tone(u16),
    /// A pattern, then [`MediaEvent::Played`], then silence until `Stop`.
    Prompt(Prompt),
    /// Two soft beeps each few seconds: the line stands, and nobody is at its other end for the moment.
    Waiting,
    /// Packets without sound: keeps NAT bindings and the peer's media timeout alive.
    Silence,
}

/// What the engine asks of a media thread. Commands for one thread take effect in the order sent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "fields are told with their variant")]
pub enum MediaCommand {
    /// Binds up to `count` more pairs at `address` ahead of need. Answered by `PortsOpened`, by `PortsFailed`, or
    /// by both where only some could be bound.
    OpenPorts { thread: u8, address: IpAddr, count: u16 },
    /// Sets who is at the other end. Counters, our SSRC and the outgoing stream go on; what was learned stays
    /// as long as `remote` does; the learning window opens anew. The first one opens the port.
    Configure { port: PortId, ingress: Ingress },
    /// Sets where packets that arrive on `port` go (at most two sinks; further ones are ignored). Empty: dropped,
    /// counted as `no-sink`.
    SetSinks { port: PortId, sinks: SmallVec<[Sink; 2]> },
    /// Hands the far leg from one device to another: `new` goes to `to_far`, `far` goes to `to_new`, or to nobody. If `old`
    /// is the one that `far` hears, the two go on hearing each other until the first packet of `new` leaves for `far`, or
    /// `old` is released, and are parted as one exchange between two packets; if not, at once. Then `old` reaches nobody any
    /// more (its packets are counted as `moved`). The stream that `far` receives goes on; that first packet is told by
    /// `Swapped`.
    Swap { far: PortId, old: PortId, new: PortId, to_far: Sink, to_new: Option<Sink> },
    /// Plays toward the other end of `port`, in place of what its sources send, until `Stop`.
    Play { port: PortId, sound: Sound, voice: Voice },
    /// Presses a key (an event of RFC 4733) at the other end of `port`, after those that are being pressed. What its
    /// sources send meanwhile is covered.
    Press { port: PortId, event: u8, payload: u8, clock_rate: u32 },
    /// Sends what arrives back where it came from: `SetSinks` to itself. `*43`.
    Echo { port: PortId },
    /// Ends a sound and an echo. Other sinks stay.
    Stop { port: PortId },
    /// Asks for `Stats`.
    Report { port: PortId },
    /// Closes the route, answers with the last `Stats`. The sockets stay bound for the next use; what arrives
    /// until then is dropped unread.
    Release { port: PortId },
}

impl MediaCommand {
    /// The thread that must carry it out.
    #[must_use]
    pub const fn thread(&self) -> u8 {
        match self {
            Self::OpenPorts { thread, .. } => *thread,
            Self::Configure { port, .. }
            | Self::SetSinks { port, .. }
            | Self::Play { port, .. }
            | Self::Press { port, .. }
            | Self::Echo { port }
            | Self::Stop { port }
            | Self::Report { port }
            | Self::Release { port } => port.thread,
            Self::Swap { far, .. } => far.thread,
        }
    }
}

/// What a media thread tells.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "fields are told with their variant")]
pub enum MediaEvent {
    /// Pairs that were bound.
    PortsOpened { thread: u8, pairs: Vec<PortPair> },
    /// Pairs that were not, and why in words for an operator ("too many open files: …").
    PortsFailed { thread: u8, error: String },
    /// The first accepted packet since the port was opened, its `remote` changed, or `Quiet` was told.
    Heard { port: PortId },
    /// Packets are taken from, and sent to, this address, which is not the signalled one.
    Latched { port: PortId, addr: SocketAddr },
    /// Nothing accepted for the configured time. Once per silence.
    Quiet { port: PortId },
    /// A digit (`0`–`9 * # A`–`D`), once per press.
    Dtmf { port: PortId, digit: char },
    /// A `Prompt` is through.
    Played { port: PortId },
    /// The first packet of the new device was sent to the far side. `gap_us`: since the last packet before it, on
    /// the far leg's own sending clock. `lost`: whole packet times in between in which nothing was sent.
    Swapped { far: PortId, gap_us: u64, lost: u32 },
    /// Answer to `Report`, and the last word after `Release`.
    Stats { port: PortId, stats: Box<PortStats> },
    /// What comes in sounds poor from now on, or well again; what was counted since the last look.
    Sounds { port: PortId, is_poor: bool, measured: Measured },
    /// A compound RTCP packet came in, here opened; at most one a second of a port, and only where it is asked for
    /// ([`super::Relay::tell_rtcp`]).
    Rtcp { port: PortId, on: super::Component, peer: SocketAddr, packet: Box<[u8]> },
    /// A fault of ours while this port was served: the port was put out of service, the thread goes on.
    Failed { port: PortId },
}
