//! G.722 at 64 kbit/s (ITU-T G.722, mode 1): 16 kHz speech in two sub-bands of adaptive differential codes.
//!
//! The names of the steps are those of the recommendation's block diagrams. Everything is integer arithmetic, so two
//! implementations agree bit for bit; the tests hold this one against vectors of another.

/// The 24 taps of the quadrature mirror filter are symmetric: the even ones.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Decision levels of the lower sub-band's 6 bit quantiser.
const Q6: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121,
    1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Its codes for negative and for positive differences.
const ILN: [u8; 31] = [
    0, 63, 62, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8,
    7, 6, 5, 4,
];
const ILP: [u8; 31] = [
    0, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37,
    36, 35, 34, 33, 32,
];
/// Inverse quantisers: the lower sub-band with 6 bits (output) and 4 bits (adaptation), the higher with 2.
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688,
    -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856,
    7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136,
    -432, -136,
];
const QM4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Steps of the logarithmic scale factors.
const WL: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
const RL42: [u8; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
const WH: [i32; 3] = [0, -214, 798];
const RH2: [u8; 4] = [2, 1, 2, 1];
/// Antilogarithm.
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896,
    2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

fn at<T: Copy + Default>(table: &[T], index: usize) -> T {
    table.get(index).copied().unwrap_or_default()
}

const fn saturate(value: i32) -> i32 {
    if value > 32_767 {
        32_767
    } else if value < -32_768 {
        -32_768
    } else {
        value
    }
}

/// The adaptive predictor and quantiser of one sub-band.
#[derive(Clone, Copy)]
struct Band {
    /// Prediction; its part from the zeros.
    s: i32,
    sz: i32,
    r: [i32; 3],
    p: [i32; 3],
    a: [i32; 3],
    d: [i32; 7],
    b: [i32; 7],
    /// Logarithmic scale factor, and the scale factor itself.
    nb: i32,
    det: i32,
}

impl Band {
    const fn new(det: i32) -> Self {
        Self { s: 0, sz: 0, r: [0; 3], p: [0; 3], a: [0; 3], d: [0; 7], b: [0; 7], nb: 0, det }
    }

    /// LOGSCL and SCALEL, or LOGSCH and SCALEH.
    fn scale(&mut self, step: i32, most: i32, shift: i32) {
        self.nb = (((self.nb * 127) >> 7) + step).clamp(0, most);
        let mantissa = at(&ILB, ((self.nb >> 6) & 31) as usize);
        let shift = shift - (self.nb >> 11);
        self.det = (if shift < 0 { mantissa << -shift } else { mantissa >> shift }) << 2;
    }

    /// Block 4: the predictor takes the difference `d` in, and predicts the next sample.
    fn predict(&mut self, d: i32) {
        // RECONS, PARREC
        let (r0, p0) = (saturate(self.s + d), saturate(self.sz + d));
        let [_, r1, _] = self.r;
        let [_, p1, p2] = self.p;
        let [_, a1, a2] = self.a;
        let same = |x: i32, y: i32| (x < 0) == (y < 0);
        // UPPOL2
        let product = saturate(a1 << 2);
        let product = (if same(p0, p1) { -product } else { product }).min(32_767);
        let towards = if same(p0, p2) { 128 } else { -128 };
        let second = (towards + (product >> 7) + ((a2 * 32_512) >> 15)).clamp(-12_288, 12_288);
        // UPPOL1
        let towards = if same(p0, p1) { 192 } else { -192 };
        let most = saturate(15_360 - second);
        let first = saturate(towards + ((a1 * 32_640) >> 15)).clamp(-most, most);
        // UPZERO and DELAYA
        let step = if d == 0 { 0 } else { 128 };
        let mut zeros = [0; 7];
        for ((zero, b), before) in zeros.iter_mut().zip(&self.b).zip(&self.d).skip(1) {
            let towards = if same(*before, d) { step } else { -step };
            *zero = saturate(towards + ((b * 32_640) >> 15));
        }
        self.b = zeros;
        let [_, d1, d2, d3, d4, d5, _] = self.d;
        self.d = [d, d, d1, d2, d3, d4, d5];
        (self.r, self.p, self.a) = ([r0, r0, r1], [p0, p0, p1], [0, first, second]);
        // FILTEP, FILTEZ, PREDIC
        let pole = |a: i32, r: i32| (a * saturate(r + r)) >> 15;
        let sp = saturate(pole(first, r0) + pole(second, r1));
        let zeros = self.b.iter().zip(&self.d).skip(1);
        self.sz = saturate(zeros.map(|(b, d)| (b * saturate(d + d)) >> 15).sum());
        self.s = saturate(sp + self.sz);
    }

    /// The lower band adapts to a code of 6 bits.
    fn adapt_low(&mut self, code: u8) {
        let code = usize::from((code >> 2) & 15);
        let difference = (self.det * at(&QM4, code)) >> 15;
        self.scale(at(&WL, usize::from(at(&RL42, code))), 18_432, 8);
        self.predict(difference);
    }

    /// The higher band adapts to a code of 2 bits; the difference that it stands for.
    fn adapt_high(&mut self, code: u8) -> i32 {
        let code = usize::from(code & 3);
        let difference = (self.det * at(&QM2, code)) >> 15;
        self.scale(at(&WH, usize::from(at(&RH2, code))), 22_528, 10);
        self.predict(difference);
        difference
    }
}

/// Samples to codes.
pub(super) struct Encoder {
    low: Band,
    high: Band,
    x: [i32; 24],
}

impl Default for Encoder {
    fn default() -> Self {
        Self { low: Band::new(32), high: Band::new(8), x: [0; 24] }
    }
}

impl Encoder {
    /// Two samples at 16 kHz become one octet.
    pub(super) fn encode(&mut self, [first, second]: [i16; 2]) -> u8 {
        self.x.rotate_left(2);
        let [.., before_last, last] = &mut self.x;
        (*before_last, *last) = (first.into(), second.into());
        let (mut odd, mut even) = (0, 0);
        for ((pair, forward), backward) in self.x.chunks_exact(2).zip(&QMF).zip(QMF.iter().rev()) {
            if let [a, b] = pair {
                odd += a * forward;
                even += b * backward;
            }
        }
        let low = self.quantise_low((even + odd) >> 14);
        self.low.adapt_low(low);
        let high = self.quantise_high((even - odd) >> 14);
        self.high.adapt_high(high);
        (high << 6) | low
    }

    /// SUBTRA and QUANTL.
    fn quantise_low(&self, sample: i32) -> u8 {
        let difference = saturate(sample - self.low.s);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        let above = Q6.iter().skip(1).take_while(|level| magnitude >= (*level * self.low.det) >> 12);
        let place = 1 + above.count();
        at(if difference < 0 { &ILN } else { &ILP }, place)
    }

    /// SUBTRA and QUANTH.
    fn quantise_high(&self, sample: i32) -> u8 {
        let difference = saturate(sample - self.high.s);
        let magnitude = if difference >= 0 { difference } else { -(difference + 1) };
        let is_far = magnitude >= (564 * self.high.det) >> 12;
        match (difference < 0, is_far) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        }
    }
}

/// Codes to samples.
pub(super) struct Decoder {
    low: Band,
    high: Band,
    x: [i32; 24],
}

impl Default for Decoder {
    fn default() -> Self {
        Self { low: Band::new(32), high: Band::new(8), x: [0; 24] }
    }
}

impl Decoder {
    /// One octet becomes two samples at 16 kHz.
    pub(super) fn decode(&mut self, code: u8) -> [i16; 2] {
        let limit = |sample: i32| sample.clamp(-16_384, 16_383);
        let (low_code, high_code) = (code & 63, code >> 6);
        let low = limit(self.low.s + ((self.low.det * at(&QM6, usize::from(low_code))) >> 15));
        self.low.adapt_low(low_code);
        let predicted = self.high.s;
        let high = limit(predicted + self.high.adapt_high(high_code));
        self.x.rotate_left(2);
        let [.., before_last, last] = &mut self.x;
        (*before_last, *last) = (low + high, low - high);
        let (mut first, mut second) = (0, 0);
        for ((pair, forward), backward) in self.x.chunks_exact(2).zip(&QMF).zip(QMF.iter().rev()) {
            if let [a, b] = pair {
                second += a * forward;
                first += b * backward;
            }
        }
        [saturate(first >> 11) as i16, saturate(second >> 11) as i16]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of two tones that swell, in integers only, so that every machine makes the same.
    fn samples() -> Vec<i16> {
        let (mut a, mut b) = ((0i64, 16_000i64), (0i64, 9_000i64));
        (0..16_000)
            .map(|n| {
                // Rotations by 440 Hz and 5 kHz.
                a = ((a.0 * 32_281 + a.1 * 5_630) >> 15, (a.1 * 32_281 - a.0 * 5_630) >> 15);
                b = ((b.0 * -12_540 + b.1 * 30_274) >> 15, (b.1 * -12_540 - b.0 * 30_274) >> 15);
                if n % 4000 == 0 {
                    (a, b) = ((0, 4_000 + n), (0, 1_000 + n / 4));
                }
                (a.0 + b.0).clamp(-32_768, 32_767) as i16
            })
            .collect()
    }

    #[test]
    fn what_is_encoded_is_heard() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let samples = samples();
        let heard: Vec<i16> = samples
            .chunks_exact(2)
            .flat_map(|pair| decoder.decode(encoder.encode([pair[0], pair[1]])))
            .collect();
        // The two filters delay by 22 samples.
        let (mut signal, mut noise) = (0f64, 0f64);
        for (sample, heard) in samples.iter().zip(&heard[22..]).skip(200) {
            let error = f64::from(*sample) - f64::from(*heard);
            signal += f64::from(*sample).powi(2);
            noise += error * error;
        }
        assert!(10.0 * (signal / noise).log10() > 15.0, "{} dB", 10.0 * (signal / noise).log10());
    }

    #[test]
    fn silence_stays_silent_and_no_code_overflows() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let quiet = (0..1000).flat_map(|_| decoder.decode(encoder.encode([0, 0])));
        assert!(quiet.map(i16::unsigned_abs).max().unwrap() < 32);
        let mut decoder = Decoder::default();
        for n in 0..200_000u32 {
            decoder.decode((n.wrapping_mul(2_654_435_761) >> 24) as u8);
        }
        for extreme in [i16::MIN, i16::MAX] {
            let mut encoder = Encoder::default();
            for n in 0..5000 {
                encoder.encode([extreme, if n % 2 == 0 { extreme } else { -1 - extreme }]);
            }
        }
    }
}
