//! Reports of our own, for a leg whose other side sends none, and what reports tell of the way: the round trip.
//!
//! Where both devices report, theirs cross in translation (see [`super::rtcp`]) and nothing is added: a stream has one
//! wall clock, and theirs and ours differ. A device that speaks to one without RTCP, to a converter or to a service of
//! ours gets ours instead: it sees its loss, and we see the time that the way to it takes.

use std::time::Duration;

use super::egress::Egress;
use super::reception::Reception;
use super::stats::PortStats;
use crate::base::{Random, Timestamp};
use crate::wire::rtcp::{self, Body, Packet, ReportBlock, SenderReport, Writer};

/// RFC 3550 6.2: the minimum interval.
const INTERVAL: Duration = Duration::from_secs(5);
/// After so long without theirs they are gone (RFC 3550 6.3.5: five intervals).
const SILENCE: Duration = Duration::from_secs(25);
/// A longer way is a clock that jumped, or an invention.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(10);

/// RFC 3550 6.3.1: half to one and a half intervals, so that reports do not fall into step.
pub(super) fn interval(random: &mut Random) -> Duration {
    INTERVAL / 2 + Duration::from_micros(random.below(5_000_000))
}

/// What had been counted when the last report went out.
#[derive(Clone, Copy, Default)]
struct Told {
    sent: u64,
    received: u64,
    expected: u64,
}

/// The reports of one port.
#[derive(Default)]
pub(super) struct Reporter {
    /// The last sender report to the other end: the middle of its NTP time, and when it went.
    ours: Option<(u32, Timestamp)>,
    /// The last one that was not translated.
    own: Option<u32>,
    /// When somebody else's report went last; at first, when it was looked for.
    others: Option<Timestamp>,
    /// Whether any went.
    is_served: bool,
    /// The last one from there.
    theirs: Option<(u32, Timestamp)>,
    told: Told,
    round_trip: Option<Duration>,
}

impl Reporter {
    /// Somebody else's compound goes out.
    pub(super) fn crosses(&mut self, now: Timestamp, compound: &[u8]) {
        (self.others, self.is_served) = (Some(now), true);
        self.goes(now, compound);
    }

    fn goes(&mut self, now: Timestamp, compound: &[u8]) -> Option<u32> {
        let report = compound.get(4..).filter(|_| compound.get(1) == Some(&rtcp::SR));
        let middle = middle(SenderReport::parse(report?)?.ntp);
        self.ours = Some((middle, now));
        Some(middle)
    }

    /// Whether `last_sr`, of what the other end says, means a report that nobody else has sent.
    pub(super) fn is_own(&self, last_sr: u32) -> bool {
        self.own == Some(last_sr)
    }

    /// A compound came in.
    pub(super) fn comes(&mut self, now: Timestamp, packets: &[Packet<'_>]) {
        let Some(first) = packets.first().filter(|first| first.kind == rtcp::SR) else { return };
        if let Some(report) = SenderReport::parse(first.body) {
            self.theirs = Some((middle(report.ntp), now));
        }
    }

    /// What the other end says of our stream: `now − LSR − DLSR` is the round trip (RFC 3550 6.4.1). The time that our
    /// report went is our own knowledge, so an LSR that was made up tells nothing.
    pub(super) fn is_answered(&mut self, now: Timestamp, block: &ReportBlock) {
        let Some((_, at)) = self.ours.filter(|(middle, _)| block.last_sr != 0 && *middle == block.last_sr)
        else {
            return;
        };
        let kept = Duration::from_micros(u64::from(block.delay) * 1_000_000 / 65_536);
        // A hair below zero is the coarseness of their clock.
        let round_trip = now.since(at).saturating_sub(kept);
        if round_trip <= MAX_ROUND_TRIP {
            self.round_trip = Some(round_trip);
        }
    }

    /// The way to the other end and back.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Writes a report of our own, if one is due: nobody else's goes out, and there is something to tell.
    pub(super) fn write(
        &mut self,
        now: Timestamp,
        (egress, reception): (&Egress, &Reception),
        (stats, octets, clock_rate): (&PortStats, u64, u32),
        cname: &[u8],
        out: &mut Writer,
    ) -> bool {
        let before = self.told;
        let (received, expected) = (reception.received(), reception.expected());
        self.told = Told { sent: stats.sent, received, expected };
        let (sends, hears) = (stats.sent != before.sent, received != before.received);
        // At the first look nobody had time to report.
        let Some(others) = self.others else {
            self.others = Some(now);
            return false;
        };
        if self.is_served && now.since(others) < SILENCE || !(sends || hears) {
            return false;
        }
        let block = || {
            let (last_sr, heard_at) = self.theirs?;
            Some((last_sr, (now.since(heard_at).as_micros() as u64).saturating_mul(65_536) / 1_000_000))
        };
        let (last_sr, delay) = block().unwrap_or_default();
        let block = reception.ssrc().filter(|_| hears).map(|ssrc| ReportBlock {
            ssrc,
            fraction_lost: fraction_lost(
                expected.saturating_sub(before.expected),
                received.saturating_sub(before.received),
            ),
            // RFC 3550 6.4.1: 24 bits with sign.
            lost: reception.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest: reception.highest(),
            jitter: (reception.jitter().as_micros() as u64 * u64::from(clock_rate) / 1_000_000) as u32,
            last_sr,
            delay: u32::try_from(delay).unwrap_or(u32::MAX),
        });
        let write_block = |body: &mut Body<'_>| block.iter().for_each(|block| body.report_block(block));
        out.clear();
        if sends {
            out.packet(rtcp::SR, |body| {
                body.sender_report(&SenderReport {
                    ssrc: egress.ssrc(),
                    ntp: ntp(now),
                    rtp_timestamp: egress.timestamp_at(now, clock_rate),
                    packets: stats.sent as u32,
                    octets: octets as u32,
                });
                write_block(body);
            });
        } else {
            out.packet(rtcp::RR, |body| {
                body.word(egress.ssrc());
                write_block(body);
            });
        }
        out.packet(rtcp::SDES, |body| body.cname(egress.ssrc(), cname));
        self.own = self.goes(now, out.bytes()).or(self.own);
        true
    }
}

/// Lost of those expected since the last report, in 1/256 (RFC 3550 A.3).
fn fraction_lost(expected: u64, received: u64) -> u8 {
    let lost = expected.saturating_sub(received);
    (lost * 256).checked_div(expected).map_or(0, |share| share.min(255) as u8)
}

/// RFC 3550 4: who has no wall clock may count from whatever moment it likes. Ours is the start of the node, which tells
/// nobody the time of this machine.
fn ntp(now: Timestamp) -> u64 {
    let micros = now.as_micros();
    ((micros / 1_000_000) << 32) | (((micros % 1_000_000) << 32) / 1_000_000)
}

fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}
