//! Reports of one leg, told to another in the terms that the other knows.
//!
//! Each leg knows only the stream that it gets from us and the one that it sends to us. So SSRCs, RTP timestamps,
//! sequence numbers and packet counts are translated; what is about any other stream is left out. SDES is replaced
//! by a CNAME of our own, constant as our SSRC is (RFC 3550 6.5.1 asks for that), so that names, tools and
//! addresses of a device stay on its side. BYE is never passed on: a stream of ours ends with the call, and
//! another device may carry it on.

use super::egress::Egress;
use super::reporter::Reporter;
use crate::wire::rtcp::{self, Body, Packet, ReportBlock, SenderReport, Writer};

/// One direction of reports, from the device behind one port to the one behind another.
pub(super) struct Crossing<'a> {
    /// The port that the reports came in on.
    pub from: u32,
    /// What we send to that device: what its report blocks are about.
    pub reported: &'a Egress,
    /// The reports that it got.
    pub reporter: &'a Reporter,
    /// The port that they go out of.
    pub to: u32,
    /// What we send there: what its sender reports are about.
    pub stream: &'a Egress,
    /// Of that stream, so far.
    pub packets: u64,
    /// Payload octets, so far.
    pub octets: u64,
    /// Our name toward that leg.
    pub cname: &'a [u8],
}

impl Crossing<'_> {
    /// Writes what holds for the other leg. False: nothing does.
    pub(super) fn translate(&self, packets: &[Packet<'_>], out: &mut Writer) -> bool {
        out.clear();
        for (n, packet) in packets.iter().enumerate() {
            match packet.kind {
                rtcp::SR | rtcp::RR if n == 0 => {
                    self.reports(packet, out);
                    out.packet(rtcp::SDES, |body| body.cname(self.stream.ssrc(), self.cname));
                }
                rtcp::XR => self.extended_report(packet, out),
                rtcp::RTPFB | rtcp::PSFB => self.feedback(packet, out),
                // Further SR and RR are for more than 31 sources, which a leg here does not have.
                _ => {}
            }
        }
        !out.bytes().is_empty()
    }

    fn reports(&self, packet: &Packet<'_>, out: &mut Writer) {
        let sender = (packet.kind == rtcp::SR).then(|| SenderReport::parse(packet.body)).flatten();
        let sender =
            sender.filter(|s| self.stream.feed().is_some_and(|f| (f.slot, f.ssrc) == (self.from, s.ssrc)));
        let write_blocks = |body: &mut Body<'_>| {
            for block in packet.report_blocks() {
                if let Some(ssrc) = self.known_as(block.ssrc) {
                    let highest = self.reported.sequence_to(block.highest);
                    // A report of ours is none that the other leg has sent, and it must not measure by it.
                    let is_own = self.reporter.is_own(block.last_sr);
                    let (last_sr, delay) = if is_own { (0, 0) } else { (block.last_sr, block.delay) };
                    body.report_block(&ReportBlock { ssrc, highest, last_sr, delay, ..block });
                }
            }
        };
        match sender {
            Some(report) => out.packet(rtcp::SR, |body| {
                body.sender_report(&SenderReport {
                    ssrc: self.stream.ssrc(),
                    ntp: report.ntp,
                    rtp_timestamp: self.stream.timestamp_from(report.rtp_timestamp),
                    packets: self.packets as u32,
                    octets: self.octets as u32,
                });
                write_blocks(body);
            }),
            None => out.packet(rtcp::RR, |body| {
                body.word(self.stream.ssrc());
                write_blocks(body);
            }),
        }
    }

    /// Under which SSRC the other leg sends what we send on as `ours`.
    fn known_as(&self, ours: u32) -> Option<u32> {
        let feed = self.reported.feed().filter(|f| f.slot == self.to)?;
        (ours == self.reported.ssrc()).then_some(feed.ssrc)
    }

    fn sequence(&self, ours: [u8; 2]) -> [u8; 2] {
        (self.reported.sequence_to(u32::from(u16::from_be_bytes(ours))) as u16).to_be_bytes()
    }

    /// RFC 3611 4. Packet receipt times (3) are on a timestamp line of their own and are left out.
    fn extended_report(&self, packet: &Packet<'_>, out: &mut Writer) {
        let mut useful = false;
        let mut scratch = Writer::default();
        scratch.packet(rtcp::XR, |body| {
            body.word(self.stream.ssrc());
            let mut rest = packet.body.get(4..).unwrap_or_default();
            while let Some((&[kind, specific, high, low], after)) = rest.split_first_chunk() {
                let len = 4 * usize::from(u16::from_be_bytes([high, low]));
                let Some((block, next)) = after.split_at_checked(len) else { return };
                rest = next;
                useful |= self.extended_block(kind, [kind, specific, high, low], block, body);
            }
        });
        if useful {
            self.copy(&scratch, rtcp::XR, 0, out);
        }
    }

    fn extended_block(&self, kind: u8, head: [u8; 4], block: &[u8], body: &mut Body<'_>) -> bool {
        let about = rtcp::word(block, 0).and_then(|ssrc| self.known_as(ssrc));
        match (kind, about, block) {
            // Receiver reference time: the clock of the reporter alone.
            (4, _, [_, _, _, _, _, _, _, _]) => {
                body.bytes(&head);
                body.bytes(block);
                true
            }
            // DLRR: the first sub-block, if it is about us; a leg has one receiver.
            (5, Some(ssrc), [_, _, _, _, times @ ..]) if times.len() >= 8 => {
                body.bytes(&[5, 0, 0, 3]);
                body.word(ssrc);
                body.bytes(times.get(..8).unwrap_or_default());
                true
            }
            // Loss and duplicate run lengths, statistics summary: begin and end by sequence number.
            (1 | 2 | 6, Some(ssrc), [_, _, _, _, b0, b1, e0, e1, rest @ ..]) => {
                body.bytes(&head);
                body.word(ssrc);
                body.bytes(&self.sequence([*b0, *b1]));
                body.bytes(&self.sequence([*e0, *e1]));
                body.bytes(rest);
                true
            }
            // VoIP metrics.
            (7, Some(ssrc), [_, _, _, _, rest @ ..]) => {
                body.bytes(&head);
                body.word(ssrc);
                body.bytes(rest);
                true
            }
            _ => false,
        }
    }

    /// RFC 4585 and RFC 5104: generic NACK, PLI, FIR. Others speak of things that only the two ends know.
    fn feedback(&self, packet: &Packet<'_>, out: &mut Writer) {
        let Some((&[_, _, _, _, m0, m1, m2, m3], items)) = packet.body.split_first_chunk() else { return };
        let media = self.known_as(u32::from_be_bytes([m0, m1, m2, m3]));
        let mut scratch = Writer::default();
        match (packet.kind, packet.count, media) {
            (rtcp::RTPFB, 1, Some(ssrc)) => scratch.packet(rtcp::RTPFB, |body| {
                body.word(self.stream.ssrc());
                body.word(ssrc);
                for &[p0, p1, l0, l1] in items.as_chunks::<4>().0 {
                    body.bytes(&self.sequence([p0, p1]));
                    body.bytes(&[l0, l1]);
                }
            }),
            (rtcp::PSFB, 1, Some(ssrc)) => scratch.packet(rtcp::PSFB, |body| {
                body.word(self.stream.ssrc());
                body.word(ssrc);
            }),
            (rtcp::PSFB, 4, _) => {
                let entry = items.first_chunk::<8>();
                let Some((ssrc, entry)) = entry.and_then(|e| Some((self.known_as(rtcp::word(e, 0)?)?, e)))
                else {
                    return;
                };
                scratch.packet(rtcp::PSFB, |body| {
                    body.word(self.stream.ssrc());
                    body.word(0);
                    body.word(ssrc);
                    body.bytes(entry.get(4..).unwrap_or_default());
                });
            }
            _ => return,
        }
        self.copy(&scratch, packet.kind, packet.count, out);
    }

    /// Appends the one packet that was tried out in `scratch`.
    fn copy(&self, scratch: &Writer, kind: u8, count: u8, out: &mut Writer) {
        let Some(bytes) = scratch.bytes().get(4..) else { return };
        out.packet(kind, |body| {
            body.count = count;
            body.bytes(bytes);
        });
    }
}
