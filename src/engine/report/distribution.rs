//! How values are spread: percentiles of any number of them, in a bounded place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values are told apart in thousandths, a microsecond of a time in milliseconds, …
const UNIT: f64 = 1000.0;
/// … and to four digits: what is kept are at most 9000 numbers for each power of ten, and what is said is wrong by
/// less than a thousandth. Whole milliseconds up to ten seconds are exact.
const DIGITS: u64 = 10_000;
/// Values above are taken for it: eleven days in milliseconds.
const MOST: f64 = 1e9;

/// Values that came, without regard to their order.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    counts: BTreeMap<u64, u64>,
    count: u64,
    sum: f64,
}

/// How they are spread. Percentiles are by nearest rank: a value that came, not one between two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many there are; without any, all of the rest is null.
    pub count: u64,
    /// The mean.
    pub mean: Option<f64>,
    /// The least.
    pub min: Option<f64>,
    /// 5 % are not above it.
    pub p5: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// 90 % are not above it.
    pub p90: Option<f64>,
    /// 95 % are not above it.
    pub p95: Option<f64>,
    /// 99 % are not above it.
    pub p99: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// What 0, 1, 2, … 100 % are not above.
    pub curve: Vec<f64>,
}

impl Distribution {
    /// A value; what is negative counts as nothing, what is no number not at all.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let value = value.clamp(0.0, MOST);
        *self.counts.entry(rounded((value * UNIT).round() as u64)).or_default() += 1;
        self.count += 1;
        self.sum += value;
    }

    /// How the values are spread.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let curve = self.curve();
        let at = |percent: usize| curve.get(percent).copied();
        Spread {
            count: self.count,
            mean: (self.count > 0).then(|| (self.sum / self.count as f64 * UNIT).round() / UNIT),
            min: at(0),
            p5: at(5),
            p50: at(50),
            p90: at(90),
            p95: at(95),
            p99: at(99),
            max: at(100),
            curve,
        }
    }

    fn curve(&self) -> Vec<f64> {
        let mut curve = Vec::new();
        let mut seen = 0;
        for (value, count) in &self.counts {
            seen += count;
            // The rank of a percentile is at least 1, so 0 % is the least value.
            while curve.len() <= 100 && rank(curve.len() as u64, self.count) <= seen {
                curve.push(*value as f64 / UNIT);
            }
        }
        curve
    }
}

impl Extend<f64> for Distribution {
    fn extend<T: IntoIterator<Item = f64>>(&mut self, values: T) {
        values.into_iter().for_each(|value| self.add(value));
    }
}

/// How many values are not above the percentile.
fn rank(percent: u64, count: u64) -> u64 {
    (percent * count).div_ceil(100).max(1)
}

/// To so many digits, by halves up.
fn rounded(units: u64) -> u64 {
    let mut step = 1;
    while units / step >= DIGITS {
        step *= 10;
    }
    (units + step / 2) / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values_in_order() {
        let mut distribution = Distribution::default();
        // Neither in order nor evenly spread.
        let mut values: Vec<f64> = (1..=1000_u64).map(|n| ((n * 7919) % 1000 * n % 5000) as f64).collect();
        distribution.extend(values.iter().copied());
        values.sort_by(f64::total_cmp);
        let spread = distribution.spread();
        for (percent, value) in spread.curve.iter().enumerate() {
            assert_eq!(*value, values[(percent * 10).max(1) - 1], "{percent} %");
        }
        assert_eq!(spread.curve.len(), 101);
        assert_eq!((spread.p50, spread.max), (Some(values[499]), Some(values[999])));
        let mean = values.iter().sum::<f64>() / 1000.0;
        assert!((spread.mean.unwrap() - mean).abs() < 0.001);
    }

    #[test]
    fn what_is_kept_is_bounded_and_wrong_by_less_than_a_thousandth() {
        let mut distribution = Distribution::default();
        let mut value = 0.001;
        for _ in 0..200_000 {
            distribution.add(value);
            value *= 1.00015;
        }
        assert!(distribution.counts.len() < 9000 * 13, "{}", distribution.counts.len());
        let said = distribution.spread().p99.unwrap();
        let true_one = (0.001 * 1.00015_f64.powi(198_000 - 1)).min(MOST);
        assert!((said / true_one - 1.0).abs() < 0.001, "{said} {true_one}");
    }

    #[test]
    fn none_one_and_odd_values() {
        assert_eq!(Distribution::default().spread(), Spread::default());
        let mut distribution = Distribution::default();
        distribution.extend([f64::NAN, 4.409]);
        let spread = distribution.spread();
        assert_eq!(
            (spread.count, spread.min, spread.p5, spread.max),
            (1, Some(4.409), Some(4.409), Some(4.409))
        );
        distribution.extend([f64::INFINITY, -1.0]);
        assert_eq!((distribution.spread().min, distribution.spread().max), (Some(0.0), Some(MOST)));
    }
}
