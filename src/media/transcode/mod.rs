//! Speech of one codec made into speech of another: the last resort where two parties share none.
//!
//! One [`Transcoder`] is one direction. RTP packets go in one by one, packets of 20 ms come out, with a sequence and a
//! clock of their own that follow those of the source: what was lost is a hole or is made up, a pause is a pause.
//! No allocation after it is made, but what Opus takes for itself: its encoder, and its decoder where it makes up a loss.
//!
//! ```text
//!  packet ─► in order? ─► hole or concealment ─► decode ─► 8 ⇄ 16 kHz ─► 20 ms gathered? ─► encode ─► packet
//!     └ telephone event: its clock is changed, nothing else
//! ```

mod codec;
mod g722;
mod resample;
#[cfg(test)]
mod tests;

use std::time::Duration;

use smallvec::SmallVec;

use codec::{Decoder, Encoder, LONGEST};
pub use codec::{ROOM, Speech};
use resample::{Resampler, Way};

use super::codec::Format;
use crate::wire::rtp::Header;

/// Milliseconds in a packet that we make.
const FRAME_MS: u32 = 20;
/// Longer gaps are left open: what is made up for longer is no speech any more.
const MAX_CONCEALED_MS: u32 = 100;
/// A step of the source's clock beyond this is no loss, but another clock.
const MAX_STEP_MS: u32 = 5000;
/// What a packet counts for at least: one that holds nothing is work, too.
const LEAST: Duration = Duration::from_millis(1);
/// Samples that wait for a packet to be full: the longest packet at the higher rate, what was made up before it, and what
/// was left over.
const CAPACITY: usize = 2 * LONGEST + 2048;

/// What is to be made of what. Payload numbers are those of either side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversion {
    /// What may arrive.
    pub from: SmallVec<[(u8, Speech); 4]>,
    /// What leaves.
    pub to: (u8, Speech),
    /// Telephone events (RFC 4733), where both sides have them: number and clock of each.
    pub events: Option<[(u8, u32); 2]>,
}

impl Conversion {
    /// What takes the formats that one side sends to the formats that the other accepts, if the two have no codec
    /// in common and we know one of each. `None` where nothing needs, or nothing can, be converted.
    #[must_use]
    pub fn between(sends: &[Format], accepts: &[Format]) -> Option<Self> {
        let is_shared = |format: &&Format| {
            format.codec.is_primary() && accepts.iter().any(|other| other.codec == format.codec)
        };
        if sends.iter().any(|format| is_shared(&format)) {
            return None;
        }
        let known = |format: &Format| Some((format.number, Speech::of(&format.codec)?));
        let to = accepts.iter().find_map(known)?;
        let from: SmallVec<[_; 4]> = sends.iter().filter_map(known).take(4).collect();
        // Of several the one on the clock of the speech beside it (RFC 4733 2.1).
        let event = |formats: &[Format]| {
            let clock = formats.iter().find(|format| format.codec.is_primary())?.codec.clock_rate();
            let events = || formats.iter().filter(|format| format.codec.is_telephone_event());
            let event =
                events().find(|event| event.codec.clock_rate() == clock).or_else(|| events().next())?;
            Some((event.number, event.codec.clock_rate()))
        };
        let events = event(sends).zip(event(accepts)).map(|(here, there)| [here, there]);
        (!from.is_empty()).then_some(Self { from, to, events })
    }
}

/// A packet that leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Its number among the packets that left.
    pub extended: u32,
    /// Its time on the clock of its codec.
    pub timestamp: u32,
    /// Whether a talk spurt, or an event, begins with it.
    pub marker: bool,
    /// Its payload type.
    pub payload_type: u8,
    /// Octets of its payload.
    pub len: usize,
    /// Whether it is a telephone event.
    pub is_event: bool,
}

/// Why a packet makes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Useless {
    /// It comes after one that came later.
    Late,
    /// Its payload type is none that is converted.
    Unknown,
    /// It is no packet of its codec.
    Broken,
}

/// One direction of a conversion.
pub struct Transcoder {
    conversion: Conversion,
    decoders: SmallVec<[(u8, Input); 4]>,
    encoder: Encoder,
    /// Samples a second that the encoder takes.
    rate: u32,
    waiting: Box<[i16; CAPACITY]>,
    filled: usize,
    scratch: Box<[i16; LONGEST]>,
    /// Sequence of the last packet, and the time after it on the source's clock; `None` at the start of a stream.
    source: Option<Place>,
    extended: u32,
    timestamp: u32,
    mark: bool,
    event: Option<EventTime>,
    pending: Option<(Piece, [u8; EVENT])>,
}

/// Octets of a telephone event (RFC 4733 2.3).
const EVENT: usize = 4;

#[derive(Clone, Copy)]
struct Place {
    feed: (u32, u32),
    extended: u32,
    until: u32,
}

/// The beginning of a telephone event on both clocks.
#[derive(Clone, Copy)]
struct EventTime {
    source: u32,
    ours: u32,
}

struct Input {
    speech: Speech,
    rate: u32,
    decoder: Decoder,
    resampler: Option<Resampler>,
}

impl Input {
    /// Ticks of its clock in milliseconds.
    fn ms(&self, ticks: u32) -> u32 {
        ticks / (self.speech.clock_rate() / 1000)
    }
}

impl Transcoder {
    /// `None` where a codec's library refuses, which is a fault of ours.
    #[must_use]
    pub fn new(conversion: Conversion) -> Option<Self> {
        let sources = || conversion.from.iter().map(|(_, speech)| *speech);
        let rate = conversion.to.1.rate(sources());
        let input = |(number, speech): &(u8, Speech)| {
            let own = speech.rate(std::iter::once(conversion.to.1));
            let way = match own.cmp(&rate) {
                std::cmp::Ordering::Less => Some(Way::Up),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(Way::Down),
            };
            let decoder = Decoder::new(*speech, own)?;
            Some((*number, Input { speech: *speech, rate: own, decoder, resampler: way.map(Resampler::new) }))
        };
        let decoders = conversion.from.iter().map(input).collect::<Option<_>>()?;
        let encoder = Encoder::new(conversion.to.1, rate)?;
        Some(Self {
            conversion,
            decoders,
            encoder,
            rate,
            waiting: Box::new([0; CAPACITY]),
            filled: 0,
            scratch: Box::new([0; LONGEST]),
            source: None,
            extended: 0,
            timestamp: 0,
            mark: true,
            event: None,
            pending: None,
        })
    }

    /// What it makes of what.
    #[must_use]
    pub fn conversion(&self) -> &Conversion {
        &self.conversion
    }

    /// The clock of what leaves.
    #[must_use]
    pub fn clock_rate(&self) -> u32 {
        self.conversion.to.1.clock_rate()
    }

    /// The time that a packet fills, as far as it can be told without decoding it: what it holds, and what is made up
    /// before it. None, if nothing is decoded for it.
    #[must_use]
    pub fn length(&self, feed: (u32, u32), extended: u32, header: &Header, payload: &[u8]) -> Duration {
        let input = self.decoders.iter().find(|(number, _)| *number == header.payload_type);
        let Some((_, input)) = input else { return Duration::ZERO };
        let made_up = match self.source.filter(|place| place.feed == feed) {
            None => 0,
            Some(place) => match extended.wrapping_sub(place.extended).cast_signed() {
                ..=0 => return Duration::ZERO,
                1 => 0,
                _ => input.ms(header.timestamp.wrapping_sub(place.until)),
            },
        };
        let made_up = if made_up <= MAX_CONCEALED_MS { made_up } else { 0 };
        input.speech.length(payload).max(LEAST) + Duration::from_millis(made_up.into())
    }

    /// Takes a packet of a stream. `feed` names its source and run: with another one everything begins anew but the count
    /// and the clock of what leaves. What comes of it is given by [`Transcoder::next`], until `None`.
    ///
    /// # Errors
    /// Why it is of no use; nothing has changed then.
    pub fn take(
        &mut self,
        feed: (u32, u32),
        extended: u32,
        header: &Header,
        payload: &[u8],
    ) -> Result<(), Useless> {
        let before = self.source.filter(|place| place.feed == feed);
        let lost = match before {
            None => 0,
            Some(place) => match extended.wrapping_sub(place.extended).cast_signed() {
                step @ 1.. => (step - 1).cast_unsigned(),
                _ => return Err(Useless::Late),
            },
        };
        if let Some([(number, clock), there]) = self.conversion.events
            && number == header.payload_type
        {
            let place = before.unwrap_or(Place { feed, extended, until: header.timestamp });
            self.source = Some(Place { extended, ..place });
            return self.take_event(header, payload, place.until, clock, there);
        }
        let index = self.decoders.iter().position(|(number, _)| *number == header.payload_type);
        let index = index.ok_or(Useless::Unknown)?;
        match before {
            Some(place) => self.bridge(index, header.timestamp.wrapping_sub(place.until), lost, payload),
            None => {
                self.filled = 0;
                self.mark = true;
            }
        }
        self.mark |= header.marker;
        let Some((_, input)) = self.decoders.get_mut(index) else { return Err(Useless::Unknown) };
        let samples = input.decoder.decode(payload, &mut self.scratch).unwrap_or(0);
        let ticks = samples as u32 * (input.speech.clock_rate() / 1000) / (input.rate / 1000);
        let until = header.timestamp.wrapping_add(ticks);
        self.source = Some(Place { feed, extended, until });
        if samples == 0 {
            return Err(Useless::Broken);
        }
        self.gather(index, samples);
        Ok(())
    }

    /// What lies between the last packet and this one: nothing, a loss, or a pause.
    fn bridge(&mut self, index: usize, ticks: u32, lost: u32, payload: &[u8]) {
        let Some((_, input)) = self.decoders.get_mut(index) else { return };
        let gap = ticks.cast_signed();
        let ms = input.ms(ticks);
        if gap <= 0 || (lost > 0 && ms > MAX_STEP_MS) {
            // No gap, or another clock. (A pause may last, and is kept; where it was none, the stream that it joins sees.)
            return;
        }
        if lost > 0 && ms <= MAX_CONCEALED_MS {
            let samples = (ms * (input.rate / 1000)) as usize;
            if let Some(made) = input.decoder.conceal(payload, samples, &mut self.scratch) {
                self.gather(index, made);
                return;
            }
        }
        self.leave_open(ms, lost);
    }

    /// A hole in what leaves, as long as that in what came. The few samples that waited for more go with it.
    fn leave_open(&mut self, ms: u32, lost: u32) {
        let waited = self.filled as u32 / (self.rate / 1000);
        self.filled = 0;
        self.timestamp = self.timestamp.wrapping_add((waited + ms).wrapping_mul(self.clock_rate() / 1000));
        if lost > 0 {
            self.extended = self.extended.wrapping_add(ms / FRAME_MS);
        } else {
            self.mark = true;
        }
    }

    /// Samples of a packet that leaves.
    fn frame(&self) -> usize {
        (self.rate / 1000 * FRAME_MS) as usize
    }

    /// Samples of a decoder, at the encoder's rate, to those that wait.
    fn gather(&mut self, index: usize, samples: usize) {
        let Some((_, input)) = self.decoders.get_mut(index) else { return };
        let Some(decoded) = self.scratch.get(..samples) else { return };
        let (waiting, filled) = (&mut self.waiting, &mut self.filled);
        let mut put = |sample: i16| {
            if let Some(place) = waiting.get_mut(*filled) {
                *place = sample;
                *filled += 1;
            }
        };
        match &mut input.resampler {
            Some(resampler) => resampler.convert(decoded, put),
            None => decoded.iter().for_each(|sample| put(*sample)),
        }
    }

    fn take_event(
        &mut self,
        header: &Header,
        payload: &[u8],
        until: u32,
        clock: u32,
        (number, other): (u8, u32),
    ) -> Result<(), Useless> {
        let Some([event, flags, high, low]) = payload.first_chunk::<EVENT>().copied() else {
            return Err(Useless::Broken);
        };
        let known = self.event.filter(|event| event.source == header.timestamp);
        let began = known.unwrap_or_else(|| {
            // Both clocks of one side are one (RFC 4733 2.1), whatever its description says.
            let ticks = header.timestamp.wrapping_sub(until).cast_signed();
            let ahead = if ticks > 0 { ticks.cast_unsigned() } else { 0 };
            let ahead = u64::from(ahead) * u64::from(self.clock_rate()) / u64::from(clock.max(1));
            EventTime { source: header.timestamp, ours: self.timestamp.wrapping_add(ahead as u32) }
        });
        self.event = Some(began);
        let length = u32::from(u16::from_be_bytes([high, low]));
        let length = u64::from(length) * u64::from(other) / u64::from(clock.max(1));
        let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let piece = Piece {
            extended: self.extended,
            timestamp: began.ours,
            marker: header.marker,
            payload_type: number,
            len: EVENT,
            is_event: true,
        };
        self.extended = self.extended.wrapping_add(1);
        self.pending = Some((piece, [event, flags, high, low]));
        Ok(())
    }

    /// The next packet that is whole, its payload at the start of `out`.
    pub fn next(&mut self, out: &mut [u8]) -> Option<Piece> {
        if let Some((piece, event)) = self.pending.take() {
            out.get_mut(..EVENT)?.copy_from_slice(&event);
            return Some(piece);
        }
        let frame = self.frame();
        if self.filled < frame {
            return None;
        }
        let len = self.encoder.encode(self.waiting.get(..frame)?, out.get_mut(..ROOM)?);
        self.waiting.copy_within(frame..self.filled, 0);
        self.filled -= frame;
        let piece = Piece {
            extended: self.extended,
            timestamp: self.timestamp,
            marker: std::mem::take(&mut self.mark),
            payload_type: self.conversion.to.0,
            len: len?,
            is_event: false,
        };
        self.extended = self.extended.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME_MS * (self.clock_rate() / 1000));
        Some(piece)
    }
}
