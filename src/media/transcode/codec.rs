//! The codecs that are converted into each other, as one kind of decoder and one kind of encoder.

use std::time::Duration;

use opus_pure::{Application, OpusDecoder, OpusEncoder};

use super::g722;
use crate::media::codec::Codec;
use crate::media::relay::{Law, g711};

/// Samples of the longest packet that is decoded: 120 ms at 16 kHz, which is as long as Opus gets.
pub(super) const LONGEST: usize = 1920;
/// Octets of the longest packet that is made.
pub const ROOM: usize = 400;

/// Opus toward a party, bit/s: wide-band speech is transparent from here on.
const BITRATE: i32 = 24_000;
/// Of 10. One below the step at which the search for the best code begins to cost twice as much.
const COMPLEXITY: i32 = 4;

/// A codec that can be converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speech {
    /// G.711.
    G711(Law),
    /// G.722 at 64 kbit/s.
    G722,
    /// Opus (RFC 6716, RFC 7587), spoken as one channel.
    Opus,
}

impl Speech {
    /// What a codec of a description is to us, if we can convert it.
    #[must_use]
    pub fn of(codec: &Codec) -> Option<Self> {
        if *codec == Codec::PCMU {
            return Some(Self::G711(Law::Mu));
        }
        if *codec == Codec::PCMA {
            return Some(Self::G711(Law::A));
        }
        match (codec.name(), codec.clock_rate()) {
            ("G722", 8000) => Some(Self::G722),
            ("OPUS", 48_000) => Some(Self::Opus),
            _ => None,
        }
    }

    /// How long a packet says that it lasts.
    pub(super) fn length(self, payload: &[u8]) -> Duration {
        match self {
            Self::G711(_) | Self::G722 => {
                Duration::from_micros(125) * u32::try_from(payload.len()).unwrap_or(u32::MAX)
            }
            Self::Opus => {
                Duration::from_millis(opus_pure::packet::samples(payload, 8000).map_or(0, |n| n as u64 / 8))
            }
        }
    }

    /// The clock of its RTP timestamps. That of G.722 counts half of its samples (RFC 3551 4.5.2).
    pub(super) const fn clock_rate(self) -> u32 {
        match self {
            Self::G711(_) | Self::G722 => 8000,
            Self::Opus => 48_000,
        }
    }

    /// Samples a second that it is worked on with, when the other side has `others`. Opus takes any; more than
    /// the other side has would be made of nothing.
    pub(super) fn rate(self, mut others: impl Iterator<Item = Self>) -> u32 {
        match self {
            Self::G711(_) => 8000,
            Self::G722 => 16_000,
            Self::Opus if others.any(|other| other == Self::G722) => 16_000,
            Self::Opus => 8000,
        }
    }
}

/// Packets to samples.
pub(super) enum Decoder {
    G711(Law),
    G722(Box<g722::Decoder>),
    Opus(Box<OpusDecoder>),
}

impl Decoder {
    /// `None` where the library will not have it, which it says of rates that it does not know.
    pub(super) fn new(speech: Speech, rate: u32) -> Option<Self> {
        Some(match speech {
            Speech::G711(law) => Self::G711(law),
            Speech::G722 => Self::G722(Box::default()),
            Speech::Opus => Self::Opus(Box::new(OpusDecoder::new(rate.cast_signed(), 1).ok()?)),
        })
    }

    /// Decodes a packet; how many samples it was. `None`: it is no such packet.
    pub(super) fn decode(&mut self, payload: &[u8], out: &mut [i16; LONGEST]) -> Option<usize> {
        match self {
            Self::G711(law) => {
                let samples = out.iter_mut().zip(payload);
                samples.map(|(sample, code)| *sample = g711::decode(*law, *code)).count().into()
            }
            Self::G722(decoder) => {
                let (pairs, _) = out.as_chunks_mut::<2>();
                let pairs = pairs.iter_mut().zip(payload);
                Some(2 * pairs.map(|(pair, code)| *pair = decoder.decode(*code)).count())
            }
            Self::Opus(_) if payload.is_empty() => None,
            Self::Opus(decoder) => decoder.decode_s16(payload, LONGEST, out).ok(),
        }
    }

    /// Makes up `samples` that were lost before `next`, if the codec knows how: from a copy in the next packet where there
    /// is one, else from what came before.
    pub(super) fn conceal(&mut self, next: &[u8], samples: usize, out: &mut [i16; LONGEST]) -> Option<usize> {
        match self {
            Self::Opus(decoder) => decoder.decode_fec_s16(next, samples, out).ok(),
            Self::G711(_) | Self::G722(_) => None,
        }
    }
}

/// Samples to packets of 20 ms.
pub(super) enum Encoder {
    G711(Law),
    G722(Box<g722::Encoder>),
    Opus(Box<OpusEncoder>),
}

impl Encoder {
    pub(super) fn new(speech: Speech, rate: u32) -> Option<Self> {
        Some(match speech {
            Speech::G711(law) => Self::G711(law),
            Speech::G722 => Self::G722(Box::default()),
            Speech::Opus => {
                let mut encoder = OpusEncoder::new(rate.cast_signed(), 1, Application::Voip).ok()?;
                (encoder.bitrate_bps, encoder.complexity) = (BITRATE, COMPLEXITY);
                Self::Opus(Box::new(encoder))
            }
        })
    }

    /// Encodes a packet's samples; how many octets it is.
    pub(super) fn encode(&mut self, samples: &[i16], out: &mut [u8]) -> Option<usize> {
        match self {
            Self::G711(law) => {
                let codes = out.iter_mut().zip(samples);
                codes.map(|(code, sample)| *code = g711::encode(*law, *sample)).count().into()
            }
            Self::G722(encoder) => {
                let (pairs, _) = samples.as_chunks::<2>();
                Some(out.iter_mut().zip(pairs).map(|(code, pair)| *code = encoder.encode(*pair)).count())
            }
            Self::Opus(encoder) => encoder.encode_s16(samples, samples.len(), out).ok(),
        }
    }
}
