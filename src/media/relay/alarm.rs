//! A stream that has begun to sound bad, or sounds well again: told while the call lives, when it changes.
//!
//! Judged is what the network did, as G.711 would sound with it, so that every codec is measured alike.

use crate::media::quality::{Impairment, Measured};

/// R below which "many users are dissatisfied" (ITU-T G.109 table 1): a MOS of 3.6, or 8 % of packets lost at random.
const POOR: f64 = 70.0;
/// R from which on they are satisfied again (the same): a MOS of 4.03. In between nothing changes.
const WELL: f64 = 80.0;
/// Packets that must have been expected since the last look; two seconds of 20 ms each.
const LEAST: u64 = 100;

/// What is known of one port.
#[derive(Default)]
pub(super) struct Alarm {
    before: Measured,
    is_poor: bool,
}

impl Alarm {
    /// Looks at what was counted since the last look. Gives it where the stream sounds poor from now on (true), or no
    /// longer.
    pub(super) fn look(&mut self, now: Measured) -> Option<(bool, Measured)> {
        let window = Measured {
            expected: now.expected.saturating_sub(self.before.expected),
            lost: now.lost.saturating_sub(self.before.lost),
            bursts: now.bursts.saturating_sub(self.before.bursts),
            delay: now.delay,
        };
        if window.expected < LEAST {
            return None;
        }
        self.before = now;
        let rating = window.rating(Impairment::G711);
        let is_poor = if self.is_poor { rating < WELL } else { rating < POOR };
        (std::mem::replace(&mut self.is_poor, is_poor) != is_poor).then_some((is_poor, window))
    }
}
