//! Twice the sampling rate, and half of it: a half-band filter of linear phase (a windowed sinc).

use std::f32::consts::PI;

/// Coefficients on each side of the middle that are not zero.
const SIDE: usize = 12;
/// Samples at the lower rate that one output looks at.
const SPAN: usize = 2 * SIDE;

/// Half of the filter's odd taps, the inner one first. It passes 3 kHz within 0.2 dB and holds what lies above
/// 5 kHz down by 40 dB.
fn taps() -> [f32; SIDE] {
    let mut taps = [0.0; SIDE];
    for (index, tap) in taps.iter_mut().enumerate() {
        let place = (2 * index + 1) as f32;
        let sinc = (PI * place / 2.0).sin() / (PI * place / 2.0);
        // Blackman's window over the whole length.
        let phase = PI * (1.0 + place / (SPAN + 1) as f32);
        *tap = sinc * (0.42 - 0.5 * phase.cos() + 0.08 * (2.0 * phase).cos());
    }
    let sum: f32 = taps.iter().sum();
    // Both halves together weigh as much as the middle, or a steady tone would be modulated.
    taps.map(|tap| tap / (2.0 * sum))
}

/// A change of the sampling rate by two.
pub(super) struct Resampler {
    taps: [f32; SIDE],
    /// The latest samples at the lower rate (up), or the latest odd ones (down); the oldest first.
    past: [f32; SPAN],
    /// The latest even ones (down).
    even: [f32; SIDE],
    way: Way,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// 8 to 16 kHz.
    Up,
    /// 16 to 8 kHz.
    Down,
}

impl Resampler {
    pub(super) fn new(way: Way) -> Self {
        Self { taps: taps(), past: [0.0; SPAN], even: [0.0; SIDE], way }
    }

    /// Converts all of `input`; where it is halved, an even number of samples.
    pub(super) fn convert(&mut self, input: &[i16], mut out: impl FnMut(i16)) {
        match self.way {
            Way::Up => {
                for sample in input {
                    push(&mut self.past, f32::from(*sample));
                    out(round(at(&self.past, SIDE - 1)));
                    out(round(self.between()));
                }
            }
            Way::Down => {
                for pair in input.chunks_exact(2) {
                    let [even, odd] = pair else { continue };
                    push(&mut self.even, f32::from(*even));
                    push(&mut self.past, f32::from(*odd));
                    out(round(0.5 * (at(&self.even, 0) + self.between())));
                }
            }
        }
    }

    /// The value half way between the two samples in the middle of the past.
    fn between(&self) -> f32 {
        let (before, after) = self.past.split_at(SIDE);
        let pairs = before.iter().rev().zip(after);
        pairs.zip(&self.taps).map(|((before, after), tap)| (before + after) * tap).sum()
    }
}

fn push<const N: usize>(past: &mut [f32; N], sample: f32) {
    past.rotate_left(1);
    if let Some(last) = past.last_mut() {
        *last = sample;
    }
}

fn at(past: &[f32], index: usize) -> f32 {
    past.get(index).copied().unwrap_or_default()
}

fn round(sample: f32) -> i16 {
    // A cast saturates.
    sample.round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f32, rate: f32, samples: usize) -> Vec<i16> {
        (0..samples).map(|n| ((2.0 * PI * hertz * n as f32 / rate).sin() * 10_000.0) as i16).collect()
    }

    fn power(samples: &[i16]) -> f32 {
        samples.iter().map(|sample| f32::from(*sample).powi(2)).sum::<f32>() / samples.len() as f32
    }

    fn through(way: Way, hertz: f32) -> f32 {
        let rate = if way == Way::Up { 8000.0 } else { 16_000.0 };
        let (input, mut output) = (tone(hertz, rate, 4000), Vec::new());
        Resampler::new(way).convert(&input, |sample| output.push(sample));
        assert_eq!(output.len(), if way == Way::Up { 8000 } else { 2000 });
        10.0 * (power(&output[200..]) / power(&input[200..])).log10()
    }

    #[test]
    fn speech_passes_and_what_would_fold_does_not() {
        for hertz in [50.0, 300.0, 1000.0, 3000.0] {
            for way in [Way::Up, Way::Down] {
                assert!(through(way, hertz).abs() < 0.2, "{way:?} {hertz}: {} dB", through(way, hertz));
            }
        }
        for hertz in [5200.0, 6000.0, 7500.0] {
            assert!(through(Way::Down, hertz) < -40.0, "{hertz}: {} dB", through(Way::Down, hertz));
        }
    }

    #[test]
    fn a_doubled_tone_is_the_tone() {
        let mut output = Vec::new();
        Resampler::new(Way::Up).convert(&tone(1000.0, 8000.0, 2000), |sample| output.push(sample));
        let delay = 2 * (SIDE);
        let wanted = tone(1000.0, 16_000.0, 4000);
        let error =
            output[delay + 200..].iter().zip(&wanted[200..]).map(|(a, b)| i32::from(*a) - i32::from(*b));
        let worst = error.map(i32::abs).max().unwrap();
        assert!(worst < 200, "off by {worst}");
    }
}
