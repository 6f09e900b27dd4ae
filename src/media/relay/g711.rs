//! G.711 companding (ITU-T G.711), for the sounds that segue makes itself and for listening to them in tests.

use super::Law;

/// One sample of 16-bit linear audio, compressed.
#[must_use]
pub fn encode(law: Law, sample: i16) -> u8 {
    match law {
        Law::Mu => mu_encode(sample),
        Law::A => a_encode(sample),
    }
}

/// The linear value of a compressed sample.
#[must_use]
pub fn decode(law: Law, code: u8) -> i16 {
    match law {
        Law::Mu => {
            let code = !code;
            let (exponent, mantissa) = (code >> 4 & 7, i16::from(code & 15));
            let magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84;
            if code & 0x80 != 0 { -magnitude } else { magnitude }
        }
        Law::A => {
            let code = code ^ 0x55;
            let (exponent, mantissa) = (code >> 4 & 7, i16::from(code & 15));
            let magnitude = match exponent {
                0 => (mantissa << 4) + 8,
                _ => ((mantissa << 4) + 0x108) << (exponent - 1),
            };
            if code & 0x80 != 0 { magnitude } else { -magnitude }
        }
    }
}

fn mu_encode(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let biased = sample.unsigned_abs().min(32_635) + 0x84;
    // The highest bit that is set is bit 7 to 14, thanks to bias and clip.
    let exponent = (8 - biased.leading_zeros() as u16).min(7);
    let mantissa = biased >> (exponent + 3) & 15;
    !(sign | (exponent << 4 | mantissa) as u8)
}

fn a_encode(sample: i16) -> u8 {
    let (sign, magnitude) = if sample < 0 { (0, !sample as u16) } else { (0x80, sample as u16) };
    let code = match magnitude >> 8 {
        0 => magnitude >> 4,
        _ => {
            let exponent = 8 - magnitude.leading_zeros() as u16;
            exponent << 4 | magnitude >> (exponent + 3) & 15
        }
    };
    (sign | code as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for code in 0..=255u8 {
            let again = encode(Law::Mu, decode(Law::Mu, code));
            // µ-law has two zeros.
            assert!(again == code || decode(Law::Mu, code) == 0, "{code:#x} {again:#x}");
            assert_eq!(encode(Law::A, decode(Law::A, code)), code);
        }
        assert_eq!((encode(Law::Mu, 0), encode(Law::A, 0)), (0xff, 0xd5));
    }

    #[test]
    fn the_error_is_a_small_part_of_the_sample() {
        for law in [Law::Mu, Law::A] {
            for sample in (i16::MIN..=i16::MAX).step_by(7) {
                let error = (i32::from(decode(law, encode(law, sample))) - i32::from(sample)).abs();
                assert!(error <= i32::from(sample.unsigned_abs()) / 16 + 24, "{law:?} {sample} {error}");
            }
        }
    }
}
