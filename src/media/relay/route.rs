//! One port: who is at its other end, where what arrives goes, and the stream that leaves.

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use super::alarm::Alarm;
use super::egress::{Egress, Feed};
use super::guard::Guard;
use super::keys::Presser;
use super::latch::{Admission, Latch};
use super::pace::Pace;
use super::reception::{Place, Reception};
use super::reporter::Reporter;
use super::sound::Player;
use super::{Component, DropReason, Ingress, Kind, PayloadMap, PortStats, Reported};
use crate::base::{Random, Timestamp};
use crate::media::quality::Measured;
use crate::media::srtp::Security;
use crate::media::transcode::Transcoder;
use crate::wire::rtcp::{Packet, VoipMetrics, Writer};
use crate::wire::rtp::{EventDecoder, Header, RtpError, TelephoneEvent};

/// No key is pressed, and let go of, in less.
const KEY: Duration = Duration::from_millis(40);
/// Those that were pressed while the network held them back may arrive at once.
const KEYS_AHEAD: Duration = Duration::from_millis(400);
/// Between two packets to a port of ours, of audio and of anything else; and what may go at once.
const TO_OURS: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(1));
const TO_OURS_AHEAD: Duration = Duration::from_millis(200);
/// RTCP that came in is told of so often at most; RFC 3550 6.2 has five seconds, browsers one.
const RTCP_TOLD: Duration = Duration::from_millis(900);

/// A move that the far leg has not heard of yet: who is to be heard next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub slot: u32,
    /// Who is heard until then, and hears: slot and life.
    pub before: Option<(u32, u32)>,
}

/// A sink as the path needs it.
pub(super) struct Outgoing {
    /// The slot out of which packets go.
    pub to: u32,
    /// The life of that slot that is meant: after a release it is somebody else's.
    pub life: u32,
    pub map: Option<PayloadMap>,
    /// Taken out while it works.
    pub transcoder: Option<Box<Transcoder>>,
    /// Of what it is given to do.
    pub pace: Pace,
}

/// What the settings say of packets that arrive.
#[derive(Clone, Copy, Default)]
pub(super) struct Expected {
    pub kind: Kind,
    pub clock_rate: u32,
    pub telephone_event: Option<u8>,
    pub report_dtmf: bool,
    /// The other end is a port of ours.
    pub is_ours: bool,
    pub timeout: Option<Duration>,
}

/// An RTP packet that was let in.
pub(super) struct Admitted {
    pub header: Header,
    pub feed: Feed,
    pub extended: u32,
    pub event: bool,
    pub learned: Option<SocketAddr>,
    pub first: bool,
    pub digit: Option<char>,
}

/// A port. Fields that every packet touches come first.
#[derive(Default)]
pub(super) struct Route {
    /// Opened by `Configure`, until `Release`.
    pub open: bool,
    /// The call was moved away from the device at the other end.
    pub moved: bool,
    pub quiet_told: bool,
    heard: bool,
    /// The other end is a browser: what goes to it leaves by the socket of all browsers.
    pub is_web: bool,
    /// Opens what arrives and seals what leaves; a plain leg has none.
    pub guard: Option<Box<Guard>>,
    pub expected: Expected,
    pub target: Option<SocketAddr>,
    pub last_heard: Timestamp,
    pub sinks: SmallVec<[Outgoing; 2]>,
    pub latch: Latch,
    pub reception: Reception,
    pub egress: Egress,
    pub stats: PortStats,
    pub awaited: Option<Awaited>,
    pub player: Option<Box<Player>>,
    pub presser: Option<Box<Presser>>,
    pub rtcp_target: Option<SocketAddr>,
    pub sent_octets: u64,
    pub cname: [u8; 16],
    events: EventDecoder,
    digits: Pace,
    /// Of what goes to a port of ours.
    circle: Pace,
    /// SSRC and timestamp of the telephone event that began while nobody was there to hear it.
    unheard: Option<(u32, u32)>,
    /// To be told with the next packet that goes on.
    learned: Option<SocketAddr>,
    reported: Option<Reported>,
    pub reporter: Reporter,
    alarm: Alarm,
    voip: Option<VoipMetrics>,
    /// When RTCP that came in was last told of.
    rtcp_told: Option<Timestamp>,
    /// Goes up with every release.
    pub life: u32,
    /// Tells the timer of the settings in force from those of earlier ones.
    pub generation: u32,
    /// The same for sounds.
    pub playing: u32,
}

impl Route {
    /// Takes a (new) description of the other end.
    pub(super) fn configure(&mut self, now: Timestamp, ingress: &Ingress, random: &mut Random) {
        if !self.open {
            self.open = true;
            self.egress = Egress::new(random.bits() as u32);
            for (place, byte) in self.cname.iter_mut().zip(random.tag().bytes()) {
                *place = byte;
            }
        }
        self.protect(&ingress.security, random);
        if self.latch.configure(ingress) {
            self.heard = false;
        }
        self.expected = Expected {
            kind: ingress.kind,
            clock_rate: ingress.clock_rate.max(1),
            telephone_event: ingress.telephone_event,
            report_dtmf: ingress.report_dtmf,
            is_ours: ingress.is_ours,
            timeout: ingress.timeout,
        };
        self.quiet_told = false;
        self.last_heard = now;
        self.generation = self.generation.wrapping_add(1);
        if self.target.is_none() {
            // What was not sent meanwhile is no loss of the network.
            self.egress.part();
        }
        self.aim();
    }

    /// Takes the keys. A new key of ours is for another peer, or the first: its stream begins anew, with the rollover
    /// counter at 0 and an SSRC that was never sealed under another.
    pub(super) fn protect(&mut self, security: &Security, random: &mut Random) {
        match (security, &mut self.guard) {
            // What was secured stays so until the port is released, whatever a description says later. (That a dialog
            // is not less secure than it was is for the plan to see to; a port that passes to another is released.)
            // A browser's keys come from its handshake.
            (Security::Plain | Security::Web(_), _) => {}
            (Security::Srtp(keys), Some(guard)) if guard.has_our_key(keys) => guard.rekey(keys),
            (Security::Srtp(keys), guard) => {
                let new = guard.as_ref().map_or_else(|| Guard::new(keys), |before| before.renewed(keys));
                *guard = Some(Box::new(new));
                self.egress = Egress::sealed(random.bits() as u32);
            }
        }
    }

    /// Whether a telephone event goes on to the sinks. One that began without any does not reach those that come
    /// meanwhile: the last key of a PIN is still held down when the call is let in, and a key without its beginning
    /// is no key.
    pub(super) fn passes(&mut self, event: &Header) -> bool {
        let id = (event.ssrc, event.timestamp);
        if self.sinks.is_empty() {
            self.unheard = Some(id);
        }
        self.unheard != Some(id)
    }

    /// The next packet is told as the first one was.
    pub(super) fn hear_anew(&mut self) {
        self.heard = false;
    }

    /// The other end, a browser with keys, is here now.
    pub(super) fn settle(&mut self, address: SocketAddr) {
        self.latch.settle(address);
        self.aim();
    }

    /// The socket by which packets leave.
    pub(super) fn socket(&self, component: Component) -> Component {
        if self.is_web { Component::Web } else { component }
    }

    /// Whether what came in by RTCP is told of: who reports more often than any standard has it is not heard more often.
    pub(super) fn may_tell_rtcp(&mut self, now: Timestamp) -> bool {
        let may = self.rtcp_told.is_none_or(|told| now.since(told) >= RTCP_TOLD);
        if may {
            self.rtcp_told = Some(now);
        }
        may
    }

    /// Whether a packet may go out now: always, unless to a port of ours, and more than real time has.
    pub(super) fn may_leave(&mut self, now: Timestamp) -> bool {
        let length = if self.expected.kind == Kind::Audio { TO_OURS.0 } else { TO_OURS.1 };
        !self.expected.is_ours || self.circle.admits(now, length, TO_OURS_AHEAD)
    }

    /// Works out where packets go; called when that may have changed, not for each packet.
    fn aim(&mut self) {
        (self.target, self.rtcp_target) = (self.latch.rtp_target(), self.latch.rtcp_target());
    }

    /// Puts the route back to one never used; what it leaves is its counters.
    pub(super) fn release(&mut self) -> PortStats {
        let stats = self.stats();
        *self = Self {
            life: self.life.wrapping_add(1),
            generation: self.generation.wrapping_add(1),
            playing: self.playing.wrapping_add(1),
            ..Self::default()
        };
        stats
    }

    /// Begins a sound in place of the one before; gives the number that its timer must carry.
    pub(super) fn play(&mut self, player: Player) -> u32 {
        self.playing = self.playing.wrapping_add(1);
        self.player = Some(Box::new(player));
        self.playing
    }

    /// Lets a packet in, or says why not. The order is that of design: well formed, from the right source, ours.
    pub(super) fn admit(
        &mut self,
        now: Timestamp,
        slot: u32,
        src: SocketAddr,
        packet: &[u8],
    ) -> Result<Admitted, DropReason> {
        if !self.open {
            return Err(DropReason::Unused);
        }
        let header = Header::parse(packet).map_err(|error| match error {
            RtpError::Rtcp => DropReason::RtcpOnRtp,
            RtpError::Size | RtpError::Version | RtpError::Truncated => DropReason::NotRtp,
        })?;
        let reception = &self.reception;
        match self.latch.admit(now, src, || reception.carried_on_by(&header)) {
            Admission::Refused => return Err(DropReason::WrongSource),
            Admission::Known => {}
            Admission::Signalled => {
                self.learned = None;
                self.aim();
            }
            Admission::Learned => {
                self.learned = Some(src);
                self.aim();
            }
        }
        self.last_heard = now;
        self.quiet_told = false;
        self.stats.received += 1;
        self.stats.received_bytes += packet.len() as u64;
        let event = self.expected.telephone_event == Some(header.payload_type);
        let place = self.reception.receive(&header);
        if self.moved {
            return Err(DropReason::Moved);
        }
        let digit = if event {
            let payload = TelephoneEvent::parse(header.payload(packet));
            payload.and_then(|e| self.events.receive(header.ssrc, header.timestamp, e))
        } else {
            self.reception.measure(now, &header, self.expected.clock_rate);
            None
        };
        let Place::At { extended, run } = place else { return Err(DropReason::OutOfSequence) };
        // Each that is told costs the engine a message: only what somebody could have pressed is.
        let is_told = |_: &char| self.expected.report_dtmf && self.digits.admits(now, KEY, KEYS_AHEAD);
        let digit = digit.filter(is_told);
        Ok(Admitted {
            header,
            feed: Feed { slot, ssrc: header.ssrc, run },
            extended,
            event,
            learned: self.learned.take(),
            first: !std::mem::replace(&mut self.heard, true),
            digit,
        })
    }

    /// Lets RTCP in, and keeps what it says of our stream.
    pub(super) fn admit_rtcp(
        &mut self,
        now: Timestamp,
        src: SocketAddr,
        packets: &[Packet<'_>],
    ) -> Result<(), DropReason> {
        let sender = packets.first().and_then(Packet::sender);
        let same_sender = sender.is_some() && sender == self.reception.ssrc();
        if !self.latch.admit_rtcp(src, same_sender) {
            return Err(DropReason::WrongSource);
        }
        self.aim();
        (self.last_heard, self.quiet_told) = (now, false);
        self.stats.rtcp_received += 1;
        self.reporter.comes(now, packets);
        if let Some(metrics) = packets.iter().find_map(|packet| packet.voip_metrics(self.egress.ssrc())) {
            self.voip = Some(metrics);
        }
        let clock = u64::from(self.expected.clock_rate.max(1));
        let blocks = packets.iter().flat_map(Packet::report_blocks);
        if let Some(block) = blocks.filter(|b| b.ssrc == self.egress.ssrc()).last() {
            self.reporter.is_answered(now, &block);
            let jitter = u64::from(block.jitter) * 1_000_000 / clock;
            self.reported = Some(Reported {
                fraction_lost: block.fraction_lost,
                lost: block.lost,
                jitter_us: u32::try_from(jitter).unwrap_or(u32::MAX),
            });
        }
        if self.moved { Err(DropReason::Moved) } else { Ok(()) }
    }

    /// Writes a report of our own, if one is due; nothing goes to who has lost its call to another device.
    pub(super) fn report(&mut self, now: Timestamp, out: &mut Writer) -> bool {
        if self.moved {
            return false;
        }
        let counts = (&self.stats, self.sent_octets, self.expected.clock_rate);
        self.reporter.write(now, (&self.egress, &self.reception), counts, &self.cname, out)
    }

    /// Whether what comes in sounds otherwise than before; of who has lost its call nobody asks.
    pub(super) fn sounds(&mut self) -> Option<(bool, Measured)> {
        if self.moved {
            return None;
        }
        let measured = self.stats().measured();
        self.alarm.look(measured)
    }

    /// The counters as they are.
    pub(super) fn stats(&self) -> PortStats {
        PortStats {
            lost: self.reception.lost(),
            expected: self.reception.expected(),
            holes: self.reception.holes(),
            jitter_us: u32::try_from(self.reception.jitter().as_micros()).unwrap_or(u32::MAX),
            reported: self.reported,
            bursts: self.reception.bursts(),
            duplicates: self.reception.duplicates(),
            reordered: self.reception.reordered(),
            round_trip: self.reporter.round_trip(),
            voip: self.voip,
            source: self.latch.source(),
            source_ssrc: self.reception.ssrc(),
            ..self.stats.clone()
        }
    }
}
