//! How a stream sounds, estimated from counters by the E-model (ITU-T G.107): R = 93.2 − Id − Ie,eff, and the mean opinion
//! score that belongs to it. Pure: what was measured goes in, a number comes out, and nothing where it would be a guess.
//!
//! 93.2 is R with every parameter of G.107 at its default (table 3); what a relay can see on top of that is the codec,
//! the packets that did not come, how they bunched, and the delay that their jitter makes a receiver add. Echo, noise and
//! the delay of the path itself are not seen, so the figure is the best that the stream can have sounded.

use std::time::Duration;

use super::codec::Codec;

/// Packets that must have been expected before there is a score: 5 s at 20 ms each. One lost packet then weighs 0.4 %,
/// less than 0.04 of the score; below that, a score would be a roll of the dice.
pub const MIN_PACKETS: u64 = 250;
/// R of a connection with all defaults (G.107 table 3), rounded as everybody rounds it.
const R_DEFAULT: f64 = 93.2;
/// Up to here delay takes nothing away (G.107 7.4, Idd).
const FREE_DELAY_MS: f64 = 100.0;
/// The burst ratio is 1 where loss is random; above 8 Ie,eff hardly grows any more.
const BURST_RATIOS: (f64, f64) = (1.0, 8.0);

/// What a codec takes away, and how well it bears loss (G.113 appendix I, provisional planning values).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Impairment {
    /// Ie, the equipment impairment factor without loss.
    pub ie: f64,
    /// Bpl, the packet-loss robustness factor.
    pub bpl: f64,
}

impl Impairment {
    /// G.711 with the concealment of its appendix I, or what else phones do today: no current one plays nothing.
    pub const G711: Self = Self { ie: 0.0, bpl: 25.1 };
    /// G.711 with silence where a packet is missing.
    pub const G711_UNCONCEALED: Self = Self { ie: 0.0, bpl: 4.3 };
    /// G.729 annex A, which is what endpoints implement under the name `G729`. Bpl is that of annexes A and B.
    pub const G729A: Self = Self { ie: 11.0, bpl: 19.0 };

    /// Of a codec with published values. The wideband codecs have theirs on the scale of G.107.1, which does not compare
    /// with this one; opus has none.
    #[must_use]
    pub fn of(codec: &Codec) -> Option<Self> {
        match (codec.name(), codec.clock_rate(), codec.channels()) {
            ("PCMU" | "PCMA", 8000, 1) => Some(Self::G711),
            ("G729", 8000, 1) => Some(Self::G729A),
            _ => None,
        }
    }

    /// Ie,eff of G.107 7.5: what the codec takes away at a share of lost packets (0 to 1) and a burst ratio.
    #[must_use]
    pub fn effective(&self, loss: f64, burst_ratio: f64) -> f64 {
        let percent = 100.0 * loss.clamp(0.0, 1.0);
        let burst_ratio = burst_ratio.clamp(BURST_RATIOS.0, BURST_RATIOS.1);
        self.ie + (95.0 - self.ie) * percent / (percent / burst_ratio + self.bpl)
    }
}

/// What was counted of a stream on its way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measured {
    /// Packets that should have come.
    pub expected: u64,
    /// Those of them that did not come, or came too late to be passed on.
    pub lost: u64,
    /// Runs of missing packets: how often the sequence had a hole. 0: not known.
    pub bursts: u64,
    /// One-way delay, as far as it is known.
    pub delay: Duration,
}

impl Measured {
    /// Share of packets lost, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.lost.min(self.expected) as f64 / self.expected as f64 }
    }

    /// BurstR of G.107 7.5: mean length of the holes over the mean length that random loss of this share would have,
    /// which is 1 / (1 − loss). 1 where holes were not counted, or packets out of order made more holes than were lost.
    #[must_use]
    pub fn burst_ratio(&self) -> f64 {
        if self.bursts == 0 {
            return BURST_RATIOS.0;
        }
        let mean = self.lost as f64 / self.bursts as f64;
        (mean * (1.0 - self.loss())).clamp(BURST_RATIOS.0, BURST_RATIOS.1)
    }

    /// The transmission rating factor R of a stream in a codec.
    #[must_use]
    pub fn rating(&self, codec: Impairment) -> f64 {
        R_DEFAULT - delay_impairment(self.delay) - codec.effective(self.loss(), self.burst_ratio())
    }

    /// The mean opinion score, to two places; `None` for a codec without published values, and until [`MIN_PACKETS`].
    #[must_use]
    pub fn mos(&self, codec: &Codec) -> Option<f64> {
        self.mos_of_window(codec).filter(|_| self.expected >= MIN_PACKETS)
    }

    /// The same of a part of a stream, however few packets it had.
    #[must_use]
    pub fn mos_of_window(&self, codec: &Codec) -> Option<f64> {
        let impairment = Impairment::of(codec)?;
        Some((score(self.rating(impairment)) * 100.0).round() / 100.0)
    }
}

/// Idd of G.107 7.4: what a one-way delay takes away. Without echo it is all of Id.
#[must_use]
pub fn delay_impairment(one_way: Duration) -> f64 {
    let ms = one_way.as_secs_f64() * 1000.0;
    if ms <= FREE_DELAY_MS {
        return 0.0;
    }
    let x = (ms / FREE_DELAY_MS).log2();
    let sixth = |base: f64| (1.0 + base.powi(6)).powf(1.0 / 6.0);
    25.0 * (sixth(x) - 3.0 * sixth(x / 3.0) + 2.0)
}

/// The mean opinion score (MOS-CQE, 1 to 4.5) of a rating R (G.107 annex B).
#[must_use]
pub fn score(rating: f64) -> f64 {
    match rating {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        // The polynomial dips a little below 1 for R under 6.5.
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(expected: u64, lost: u64) -> Measured {
        Measured { expected, lost, bursts: lost, delay: Duration::from_millis(60) }
    }

    #[track_caller]
    fn assert_near(found: f64, wanted: f64, within: f64) {
        assert!((found - wanted).abs() <= within, "{found} is not {wanted}");
    }

    #[test]
    fn g711_scores_as_published() {
        for (percent, mos) in [(0, 4.41), (1, 4.33), (3, 4.13), (5, 3.92)] {
            for codec in [Codec::PCMU, Codec::PCMA] {
                assert_near(measured(1000, 10 * percent).mos(&codec).unwrap(), mos, 0.02);
            }
        }
    }

    #[test]
    fn ratings_have_the_scores_of_annex_b() {
        let table = [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)];
        for (rating, mos) in table {
            assert_near(score(rating), mos, 0.01);
        }
        assert_eq!(
            (score(-3.0), score(0.0), score(3.0), score(100.0), score(f64::NAN)),
            (1.0, 1.0, 1.0, 4.5, 1.0)
        );
        let scores: Vec<f64> = (0..=1000).map(|tenth| score(f64::from(tenth) / 10.0)).collect();
        assert!(scores.is_sorted(), "a better rating is never a worse score");
    }

    #[test]
    fn delay_takes_nothing_up_to_100_ms_and_what_the_figure_shows_above() {
        for ms in [0, 60, 100] {
            assert_eq!(delay_impairment(Duration::from_millis(ms)), 0.0);
        }
        // The pivot x = 1 worked by hand: 25 (2^(1/6) - 3 (1 + 3^-6)^(1/6) + 2).
        assert_near(delay_impairment(Duration::from_millis(200)), 3.04, 0.01);
        assert_near(delay_impairment(Duration::from_millis(400)), 24.1, 0.5);
        let far = Measured { delay: Duration::from_millis(400), ..measured(1000, 0) };
        assert_near(far.rating(Impairment::G711), 93.2 - 24.1, 0.5);
    }

    #[test]
    fn what_a_codec_takes_away() {
        assert_near(Impairment::G711_UNCONCEALED.effective(0.01, 1.0), 17.92, 0.01);
        assert_near(Impairment::G729A.effective(0.0, 1.0), 11.0, 0.0);
        assert_near(measured(1000, 0).mos(&Codec::of_static(18).unwrap()).unwrap(), 4.10, 0.02);
        for text in ["opus/48000/2", "G722/8000", "AMR-WB/16000", "PCMU/16000", "G723/8000"] {
            let codec = Codec::of_rtpmap(text.as_bytes()).unwrap();
            assert_eq!(measured(1000, 0).mos(&codec), None, "{text} has no values on this scale");
        }
    }

    #[test]
    fn loss_in_bunches_is_worse_than_the_same_loss_alone() {
        let alone = measured(1000, 50);
        let bunched = Measured { bursts: 10, ..alone };
        assert_near(bunched.burst_ratio(), 5.0 * 0.95, 1e-9);
        assert!(bunched.mos(&Codec::PCMU) < alone.mos(&Codec::PCMU));
        let reordered = Measured { bursts: 400, ..alone };
        assert_eq!(
            (alone.burst_ratio(), reordered.burst_ratio()),
            (1.0, 1.0),
            "holes that were filled later"
        );
        assert_eq!(Measured { bursts: 0, ..alone }.burst_ratio(), 1.0, "not known");
    }

    #[test]
    fn a_short_stream_has_no_score_and_no_count_is_too_odd() {
        assert_eq!(measured(MIN_PACKETS - 1, 0).mos(&Codec::PCMU), None);
        assert!(measured(MIN_PACKETS, 0).mos(&Codec::PCMU).is_some());
        for odd in [
            measured(300, u64::MAX),
            measured(u64::MAX, u64::MAX),
            Measured { delay: Duration::MAX, ..measured(300, 0) },
        ] {
            assert!((1.0..=4.5).contains(&odd.mos(&Codec::PCMU).unwrap()), "{odd:?}");
        }
    }
}
