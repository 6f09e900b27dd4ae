//! Times as they are shown and read: RFC 3339 with milliseconds, UTC.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::UnixMillis;

/// A wall-clock time that is written as RFC 3339 with milliseconds, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub UnixMillis);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not a time such as 2026-01-31T12:00:00.000Z"))
    }
}

impl Time {
    /// Reads a time as people write it: a date, with or without the time of day, its milliseconds and the `Z`. All
    /// is UTC.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        const WHOLE: &str = "1970-01-01T00:00:00.000Z";
        let text = text.strip_suffix('Z').unwrap_or(text);
        let is_cut_well = [10, 16, 19, 23].contains(&text.len());
        let rest = WHOLE.get(text.len()..).filter(|_| is_cut_well && text.is_ascii())?;
        format!("{text}{rest}").parse().ok()
    }
}

impl FromStr for Time {
    type Err = ();

    /// Reads what [`UnixMillis`] prints: `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |range: std::ops::Range<usize>| -> Result<u64, ()> {
            let digits = text.get(range).ok_or(())?;
            if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                digits.parse().map_err(|_| ())
            } else {
                Err(())
            }
        };
        let punctuation = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "."), (23, "Z")];
        if text.len() != 24 || punctuation.iter().any(|(at, mark)| text.get(*at..at + 1) != Some(mark)) {
            return Err(());
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second, ms) = (number(11..13)?, number(14..16)?, number(17..19)?, number(20..23)?);
        if year < 1970
            || !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return Err(());
        }
        // Days from the civil date, the reverse of the printing in `base`.
        let y = if month <= 2 { year - 1 } else { year };
        let (era, yoe) = (y / 400, y % 400);
        let mp = (month + 9) % 12;
        let doy = (153 * mp + 2) / 5 + day - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        let days = era * 146_097 + doe - 719_468;
        Ok(Self(UnixMillis((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_they_are_written() {
        for ms in [0, 951_782_400_000, 1_795_766_763_007, 1_709_164_799_999] {
            let time = Time(UnixMillis(ms));
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<Time>(&text).unwrap(), time, "{text}");
        }
        for bad in ["", "2026-13-01T00:00:00.000Z", "2026-01-01T00:00:00Z", "2026-01-01T24:00:00.000Z", "é"]
        {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }
}
