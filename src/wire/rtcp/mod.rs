//! RTCP compound packets as views (RFC 3550 6), and a writer into a fixed buffer.
//!
//! Only the outline is read here: packet boundaries, the fixed places of SSRCs and report blocks. What a report
//! means to another leg is decided by the relay.

use smallvec::SmallVec;

/// Sender report.
pub const SR: u8 = 200;
/// Receiver report.
pub const RR: u8 = 201;
/// Source description.
pub const SDES: u8 = 202;
/// Goodbye.
pub const BYE: u8 = 203;
/// Transport-layer feedback (RFC 4585 6.2).
pub const RTPFB: u8 = 205;
/// Payload-specific feedback (RFC 4585 6.3).
pub const PSFB: u8 = 206;
/// Extended reports (RFC 3611).
pub const XR: u8 = 207;

/// One packet of a compound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// The packet type.
    pub kind: u8,
    /// The five bits after version and padding: report count, source count, or feedback format.
    pub count: u8,
    /// What follows the first four bytes, without padding; always whole 32-bit words.
    pub body: &'a [u8],
}

/// Why bytes are no compound packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RtcpError {
    /// Shorter than a header, or a length that reaches beyond the end.
    #[error("shorter than its header says")]
    Truncated,
    /// Not version 2.
    #[error("not RTCP version 2")]
    Version,
    /// Not an RTCP packet type (192 to 223, RFC 5761 4).
    #[error("not an RTCP packet type")]
    Type,
    /// Padding before the last packet, or more than there is.
    #[error("wrong padding")]
    Padding,
    /// More packets than any sender has reason to join.
    #[error("too many packets")]
    TooMany,
}

/// More than this many packets in one datagram is no honest compound.
pub const MAX_PACKETS: usize = 16;

/// Reads all packets of a compound (RFC 3550 A.2). Reduced-size compounds (RFC 5506) are read too.
///
/// # Errors
/// Some packet is malformed: then none is given.
pub fn parse(bytes: &[u8]) -> Result<SmallVec<[Packet<'_>; MAX_PACKETS]>, RtcpError> {
    let mut packets = SmallVec::new();
    let mut rest = bytes;
    loop {
        if packets.len() == MAX_PACKETS {
            return Err(RtcpError::TooMany);
        }
        let (packet, next) = split(rest)?;
        packets.push(packet);
        if next.is_empty() {
            return Ok(packets);
        }
        rest = next;
    }
}

fn split(bytes: &[u8]) -> Result<(Packet<'_>, &[u8]), RtcpError> {
    let Some((&[first, kind, high, low], rest)) = bytes.split_first_chunk() else {
        return Err(RtcpError::Truncated);
    };
    if first >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    if !(192..=223).contains(&kind) {
        return Err(RtcpError::Type);
    }
    let len = 4 * usize::from(u16::from_be_bytes([high, low]));
    let (mut body, next) = rest.split_at_checked(len).ok_or(RtcpError::Truncated)?;
    if first & 0x20 != 0 {
        let padding = usize::from(*body.last().ok_or(RtcpError::Padding)?);
        if !next.is_empty() || padding == 0 || !padding.is_multiple_of(4) || padding > body.len() {
            return Err(RtcpError::Padding);
        }
        body = body.get(..body.len() - padding).ok_or(RtcpError::Padding)?;
    }
    Ok((Packet { kind, count: first & 0x1f, body }, next))
}

/// The part of a sender report between SSRC and report blocks (RFC 3550 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SenderReport {
    /// Who sends.
    pub ssrc: u32,
    /// Wall clock of the sender, 32.32 seconds since 1900.
    pub ntp: u64,
    /// The same instant on the clock of its stream.
    pub rtp_timestamp: u32,
    /// Packets sent since the stream began.
    pub packets: u32,
    /// Payload octets sent since the stream began.
    pub octets: u32,
}

/// One report block (RFC 3550 6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: u32,
    /// Lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning, 24 bits with sign.
    pub lost: i32,
    /// Highest sequence number received, with the count of cycles above it.
    pub highest: u32,
    /// In timestamp units.
    pub jitter: u32,
    /// The middle of the NTP time of the last sender report.
    pub last_sr: u32,
    /// Since then, in 1/65536 s.
    pub delay: u32,
}

impl SenderReport {
    /// Bytes of SSRC and sender part.
    pub const SIZE: usize = 24;

    /// Reads the body of an [`SR`].
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        Some(Self {
            ssrc: word(body, 0)?,
            ntp: u64::from(word(body, 4)?) << 32 | u64::from(word(body, 8)?),
            rtp_timestamp: word(body, 12)?,
            packets: word(body, 16)?,
            octets: word(body, 20)?,
        })
    }
}

impl ReportBlock {
    /// Bytes of a block.
    pub const SIZE: usize = 24;

    /// Reads one block.
    #[must_use]
    pub fn parse(block: &[u8]) -> Option<Self> {
        let loss = word(block, 4)?;
        Some(Self {
            ssrc: word(block, 0)?,
            fraction_lost: (loss >> 24) as u8,
            lost: ((loss << 8) as i32) >> 8,
            highest: word(block, 8)?,
            jitter: word(block, 12)?,
            last_sr: word(block, 16)?,
            delay: word(block, 20)?,
        })
    }
}

/// How a receiver hears a stream: the VoIP metrics block (RFC 3611 4.7), as far as a relay has use for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoipMetrics {
    /// Lost on the way, in 1/256.
    pub loss_rate: u8,
    /// Came too late for its jitter buffer, in 1/256.
    pub discard_rate: u8,
    /// Of the packets in bursts those that were lost or came too late, in 1/256.
    pub burst_density: u8,
    /// The same of those between bursts.
    pub gap_density: u8,
    /// Round trip, ms; 0: not known.
    pub round_trip_ms: u16,
    /// Delay of its own device, ms; 0: not known.
    pub end_system_ms: u16,
    /// R factor, 0 to 100.
    pub r_factor: Option<u8>,
    /// Listening quality, 10 to 50: ten times the mean opinion score.
    pub mos_lq: Option<u8>,
    /// Conversational quality, the same.
    pub mos_cq: Option<u8>,
}

impl VoipMetrics {
    /// Its block type.
    const TYPE: u8 = 7;

    /// Reads what follows the block header and the SSRC.
    fn parse(block: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_be_bytes(*block.get(at..)?.first_chunk()?));
        let byte = |at: usize| block.get(at).copied();
        // 127 stands for "not measured".
        let within = |at: usize, low: u8, high: u8| byte(at).filter(|value| (low..=high).contains(value));
        Some(Self {
            loss_rate: byte(0)?,
            discard_rate: byte(1)?,
            burst_density: byte(2)?,
            gap_density: byte(3)?,
            round_trip_ms: half(8)?,
            end_system_ms: half(10)?,
            r_factor: within(16, 0, 100),
            mos_lq: within(18, 10, 50),
            mos_cq: within(19, 10, 50),
        })
    }
}

impl<'a> Packet<'a> {
    /// The SSRC of the sender, which begins the body of all types but SDES and BYE.
    #[must_use]
    pub fn sender(&self) -> Option<u32> {
        word(self.body, 0)
    }

    /// The VoIP metrics about the stream of `ssrc` in an [`XR`].
    #[must_use]
    pub fn voip_metrics(&self, ssrc: u32) -> Option<VoipMetrics> {
        let mut rest = self.body.get(4..).filter(|_| self.kind == XR)?;
        while let Some((&[kind, _, high, low], after)) = rest.split_first_chunk() {
            let (block, next) = after.split_at_checked(4 * usize::from(u16::from_be_bytes([high, low])))?;
            if kind == VoipMetrics::TYPE && word(block, 0) == Some(ssrc) {
                return VoipMetrics::parse(block.get(4..)?);
            }
            rest = next;
        }
        None
    }

    /// The report blocks of an [`SR`] or [`RR`], as far as they are there in full.
    pub fn report_blocks(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        let at = match self.kind {
            SR => SenderReport::SIZE,
            RR => 4,
            _ => usize::MAX,
        };
        let blocks = self.body.get(at..).unwrap_or_default();
        blocks.chunks_exact(ReportBlock::SIZE).take(usize::from(self.count)).filter_map(ReportBlock::parse)
    }
}

/// The 32-bit word at byte `at`.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

/// Writes compounds into a buffer of its own; what does not fit is left out as a whole packet.
pub struct Writer {
    buffer: [u8; Writer::SIZE],
    len: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { buffer: [0; Self::SIZE], len: 0 }
    }
}

impl Writer {
    /// No compound is longer than an unfragmented datagram.
    pub const SIZE: usize = 1472;

    /// Begins a new compound.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The compound so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// Appends a packet whose body `write` makes, or nothing if it does not fit. `count` is the low five bits;
    /// `write` may change it.
    pub fn packet(&mut self, kind: u8, write: impl FnOnce(&mut Body<'_>)) {
        let Some((header, rest)) =
            self.buffer.get_mut(self.len..).and_then(<[u8]>::split_first_chunk_mut::<4>)
        else {
            return;
        };
        let mut body = Body { rest, len: 0, count: 0, overflow: false };
        write(&mut body);
        while !body.len.is_multiple_of(4) {
            body.byte(0);
        }
        if body.overflow {
            return;
        }
        let [high, low] = ((body.len / 4) as u16).to_be_bytes();
        *header = [0x80 | body.count & 0x1f, kind, high, low];
        self.len += 4 + body.len;
    }
}

/// The body of a packet that is being written.
pub struct Body<'a> {
    rest: &'a mut [u8],
    len: usize,
    overflow: bool,
    /// The low five bits of the first byte.
    pub count: u8,
}

impl Body<'_> {
    /// Appends a byte.
    pub fn byte(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// Appends a word.
    pub fn word(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        match self.rest.get_mut(self.len..self.len + value.len()) {
            Some(place) => {
                place.copy_from_slice(value);
                self.len += value.len();
            }
            None => self.overflow = true,
        }
    }

    /// Appends SSRC and sender part of an [`SR`].
    pub fn sender_report(&mut self, report: &SenderReport) {
        self.word(report.ssrc);
        self.bytes(&report.ntp.to_be_bytes());
        self.word(report.rtp_timestamp);
        self.word(report.packets);
        self.word(report.octets);
    }

    /// Appends a report block and counts it.
    pub fn report_block(&mut self, block: &ReportBlock) {
        self.word(block.ssrc);
        self.word(u32::from(block.fraction_lost) << 24 | block.lost as u32 & 0x00ff_ffff);
        self.word(block.highest);
        self.word(block.jitter);
        self.word(block.last_sr);
        self.word(block.delay);
        self.count += 1;
    }

    /// Appends one SDES chunk that holds a CNAME alone (RFC 3550 6.5.1) and counts it.
    pub fn cname(&mut self, ssrc: u32, name: &[u8]) {
        let name = name.get(..name.len().min(255)).unwrap_or_default();
        self.word(ssrc);
        self.bytes(&[1, name.len() as u8]);
        self.bytes(name);
        self.byte(0);
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPORT: SenderReport =
        SenderReport { ssrc: 1, ntp: 0x1122_3344_5566_7788, rtp_timestamp: 3, packets: 4, octets: 5 };
    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 9,
        fraction_lost: 25,
        lost: -3,
        highest: 0x0001_fffe,
        jitter: 80,
        last_sr: 7,
        delay: 8,
    };

    fn compound() -> Writer {
        let mut writer = Writer::default();
        writer.packet(SR, |body| {
            body.sender_report(&REPORT);
            body.report_block(&BLOCK);
        });
        writer.packet(SDES, |body| body.cname(1, b"0123456789"));
        writer
    }

    #[test]
    fn what_is_written_is_read_back() {
        let writer = compound();
        let packets = parse(writer.bytes()).unwrap();
        assert_eq!(packets.len(), 2);
        assert_eq!((packets[0].kind, packets[0].count), (SR, 1));
        assert_eq!(SenderReport::parse(packets[0].body), Some(REPORT));
        assert_eq!(packets[0].report_blocks().collect::<Vec<_>>(), [BLOCK]);
        assert_eq!((packets[1].kind, packets[1].count), (SDES, 1));
        assert_eq!(packets[1].body, b"\0\0\0\x01\x01\x0a0123456789\0\0\0\0");
    }

    #[test]
    fn malformed_compounds_are_refused_whole() {
        let writer = compound();
        let good = writer.bytes();
        let with = |at: usize, value: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = value;
            bytes
        };
        assert_eq!(parse(&good[..good.len() - 4]), Err(RtcpError::Truncated));
        assert_eq!(parse(&[]), Err(RtcpError::Truncated));
        assert_eq!(parse(&with(0, 0x41)), Err(RtcpError::Version));
        assert_eq!(parse(&with(1, 100)), Err(RtcpError::Type));
        assert_eq!(parse(&with(0, 0xa1)), Err(RtcpError::Padding), "padding is for the last packet");
        assert_eq!(parse(&[0x80, RR, 0, 0].repeat(MAX_PACKETS + 1)), Err(RtcpError::TooMany));
    }

    #[test]
    fn padding_of_the_last_packet_is_cut() {
        let bytes = [0xa0, RR, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
        assert_eq!(parse(&bytes).unwrap()[0].body, [0, 0, 0, 1]);
        let wrong = [0xa0, RR, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3];
        assert_eq!(parse(&wrong), Err(RtcpError::Padding));
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let mut writer = compound();
        let before = writer.bytes().len();
        writer.packet(XR, |body| body.bytes(&[0; Writer::SIZE]));
        assert_eq!(writer.bytes().len(), before);
        assert!(parse(writer.bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256), at in 0..64usize, value: u8) {
            let _ = parse(&bytes);
            let writer = compound();
            let mut bytes = writer.bytes().to_vec();
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            for packet in parse(&bytes).into_iter().flatten() {
                let _ = (packet.sender(), SenderReport::parse(packet.body), packet.report_blocks().count());
            }
        }
    }
}
