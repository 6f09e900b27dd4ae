//! G.711 (ITU-T) and tones: what a test phone says, and how it knows what it hears.

use std::f64::consts::TAU;

use super::super::sdp::Codec;

/// Samples a second.
pub const RATE: f64 = 8000.0;
/// Samples of one 20 ms packet.
pub const SAMPLES: usize = 160;
/// Tones are multiples of this, so that each fills a packet with whole waves and no two are confused.
pub const STEP_HZ: u32 = 50;
/// The share of a packet's energy that one frequency must hold to count as a tone.
const PURE: f64 = 0.6;
/// Mean square below this is silence (full scale is about 1e9).
const SILENCE: f64 = 2_500.0;

/// 20 ms of `hz` at a third of full scale; it joins the next such packet without a step.
#[must_use]
pub fn tone(codec: Codec, hz: u32) -> Vec<u8> {
    let sample = |at: usize| (f64::sin(TAU * f64::from(hz) * at as f64 / RATE) * 10_000.0) as i16;
    (0..SAMPLES).map(|at| encode(codec, sample(at))).collect()
}

/// The tone in a payload, in steps of [`STEP_HZ`]; nothing for silence, noise, or a foreign payload type.
#[must_use]
pub fn listen(payload_type: u8, payload: &[u8]) -> Option<u32> {
    let codec = match payload_type {
        0 => Codec::Pcmu,
        8 => Codec::Pcma,
        _ => return None,
    };
    let samples: Vec<f64> = payload.iter().map(|byte| f64::from(decode(codec, *byte))).collect();
    pitch(&samples)
}

/// The strongest frequency of a stretch of samples, in steps of [`STEP_HZ`], if it holds most of the energy.
#[must_use]
pub fn pitch(samples: &[f64]) -> Option<u32> {
    let energy: f64 = samples.iter().map(|sample| sample * sample).sum();
    if samples.is_empty() || energy / (samples.len() as f64) < SILENCE {
        return None;
    }
    let candidates = (4..68).map(|step| step * STEP_HZ).map(|hz| (hz, goertzel(samples, f64::from(hz))));
    let (hz, power) = candidates.max_by(|a, b| a.1.total_cmp(&b.1))?;
    // A pure tone of N samples has a Goertzel power of energy * N / 2.
    (power >= PURE * energy * samples.len() as f64 / 2.0).then_some(hz)
}

/// The power of one frequency (Goertzel's recurrence).
#[must_use]
pub fn goertzel(samples: &[f64], hz: f64) -> f64 {
    let factor = 2.0 * f64::cos(TAU * hz / RATE);
    let (last, before) =
        samples.iter().fold((0.0, 0.0), |(last, before), sample| (sample + factor * last - before, last));
    last * last + before * before - factor * last * before
}

/// One sample to G.711.
#[must_use]
pub fn encode(codec: Codec, sample: i16) -> u8 {
    let magnitude = i32::from(sample).abs();
    match codec {
        Codec::Pcmu => {
            let biased = magnitude.min(32_635) + 132;
            let exponent = 24 - biased.leading_zeros() as i32;
            let mantissa = (biased >> (exponent + 3)) & 0x0f;
            let sign = if sample < 0 { 0x80 } else { 0 };
            !((sign | (exponent << 4) | mantissa) as u8)
        }
        Codec::Pcma => {
            let magnitude = if sample < 0 { magnitude - 1 } else { magnitude }.min(32_767);
            let exponent = (24 - (magnitude | 0x80).leading_zeros() as i32).max(0);
            let mantissa = (magnitude >> if exponent == 0 { 4 } else { exponent + 3 }) & 0x0f;
            let sign = if sample < 0 { 0 } else { 0x80 };
            ((sign | (exponent << 4) | mantissa) as u8) ^ 0x55
        }
    }
}

/// G.711 to one sample.
#[must_use]
pub fn decode(codec: Codec, byte: u8) -> i16 {
    match codec {
        Codec::Pcmu => {
            let byte = i32::from(!byte);
            let magnitude = ((((byte & 0x0f) << 3) + 132) << ((byte >> 4) & 7)) - 132;
            (if byte & 0x80 != 0 { -magnitude } else { magnitude }) as i16
        }
        Codec::Pcma => {
            let byte = i32::from(byte ^ 0x55);
            let (exponent, mantissa) = ((byte >> 4) & 7, byte & 0x0f);
            let magnitude =
                if exponent == 0 { (mantissa << 4) + 8 } else { ((mantissa << 4) + 0x108) << (exponent - 1) };
            (if byte & 0x80 == 0 { -magnitude } else { magnitude }) as i16
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_a_round_trip() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            for byte in 0..=255 {
                let sample = decode(codec, byte);
                assert_eq!(decode(codec, encode(codec, sample)), sample, "{codec:?} {byte}");
            }
        }
    }

    #[test]
    fn tones_are_told_apart_after_either_law() {
        for codec in [Codec::Pcmu, Codec::Pcma] {
            for hz in [300, 400, 450, 1000, 2600] {
                assert_eq!(listen(codec.payload_type(), &tone(codec, hz)), Some(hz), "{codec:?} {hz}");
            }
        }
    }

    #[test]
    fn a_tone_between_two_steps_is_heard_as_the_nearer() {
        let samples: Vec<f64> =
            (0..SAMPLES).map(|at| 8000.0 * f64::sin(TAU * 440.0 * at as f64 / RATE)).collect();
        assert_eq!(pitch(&samples), Some(450));
    }

    #[test]
    fn silence_noise_and_foreign_payloads_are_no_tone() {
        assert_eq!(listen(0, &[0xff; SAMPLES]), None);
        assert_eq!(listen(101, &tone(Codec::Pcmu, 400)), None);
        let mut state = 1u32;
        let noise: Vec<f64> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 16) - 32_768.0
        })
        .take(SAMPLES)
        .collect();
        assert_eq!(pitch(&noise), None);
    }
}
