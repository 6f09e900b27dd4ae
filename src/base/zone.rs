//! What a clock on the wall shows: the day and the minute at an instant, in a zone whose offsets are told from outside.

use super::UnixMillis;

const DAY: i64 = 86_400;

/// How far local time is from UTC, and when that changes. Plain data: who reads it from the machine is the shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds east of UTC before the first change.
    first: i32,
    /// Seconds since 1970 from which on the offset is another one, in order.
    changes: Vec<(i64, i32)>,
}

/// A day of the calendar and a time of that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Seconds since midnight.
    pub second: u32,
    /// Seconds east of UTC.
    pub offset: i32,
}

impl Zone {
    /// A zone that keeps its offset, seconds east of UTC.
    #[must_use]
    pub const fn fixed(offset: i32) -> Self {
        Self { first: offset, changes: Vec::new() }
    }

    /// A zone that has the offset `first` until it changes to others, each from an instant in seconds since 1970 on.
    #[must_use]
    pub fn changing(first: i32, mut changes: Vec<(i64, i32)>) -> Self {
        changes.sort_unstable();
        Self { first, changes }
    }

    /// The offset at an instant in seconds since 1970.
    #[must_use]
    pub fn offset_at(&self, unix: i64) -> i32 {
        let after = self.changes.partition_point(|(from, _)| *from <= unix);
        let last = after.checked_sub(1).and_then(|at| self.changes.get(at));
        last.map_or(self.first, |(_, offset)| *offset)
    }

    /// What the clock shows.
    #[must_use]
    pub fn show(&self, at: UnixMillis) -> WallClock {
        let unix = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX / 2);
        let offset = self.offset_at(unix);
        let local = unix + i64::from(offset);
        let second = u32::try_from(local.rem_euclid(DAY)).unwrap_or(0);
        WallClock { day: local.div_euclid(DAY), second, offset }
    }

    /// When the clock shows `second` of `day`: the first time where it shows it twice. Where it never does, because it is
    /// set forward over it, the instant that would be so if it had not been.
    #[must_use]
    pub fn when(&self, day: i64, second: u32) -> UnixMillis {
        let local = day.saturating_mul(DAY).saturating_add(second.into());
        let around = [local.saturating_sub(DAY), local.saturating_add(DAY)].map(|unix| self.offset_at(unix));
        let found = around
            .map(|offset| (local.saturating_sub(offset.into()), offset))
            .into_iter()
            .filter(|(unix, offset)| self.offset_at(*unix) == *offset)
            .map(|(unix, _)| unix)
            .min();
        let unix = found.unwrap_or_else(|| local.saturating_sub(around.first().copied().unwrap_or(0).into()));
        UnixMillis(u64::try_from(unix).unwrap_or(0).saturating_mul(1000))
    }
}

impl WallClock {
    /// The day of the week, Monday is 0.
    #[must_use]
    pub fn weekday(&self) -> u8 {
        // 1970-01-01 was a Thursday.
        u8::try_from((self.day + 3).rem_euclid(7)).unwrap_or(0)
    }
}

impl std::fmt::Display for WallClock {
    /// RFC 3339 with the offset.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = civil(self.day);
        let (hour, minute, second) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.offset == 0 {
            return f.write_str("Z");
        }
        let (sign, minutes) = (if self.offset < 0 { '-' } else { '+' }, self.offset.unsigned_abs() / 60);
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// Year, month and day of a day since 1970-01-01 (the proleptic Gregorian calendar, eras of 400 years from 0000-03-01).
#[must_use]
pub fn civil(day: i64) -> (i64, u8, u8) {
    let shifted = day.saturating_add(719_468);
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u8::try_from(month).unwrap_or(1), u8::try_from(of_month).unwrap_or(1))
}

/// The day since 1970-01-01 of a date; `None` where the calendar has no such day.
#[must_use]
pub fn day_of(year: i64, month: u8, day: u8) -> Option<i64> {
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let from_march = (i64::from(month) + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + i64::from(day) - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    let found = era * 146_097 + of_era - 719_468;
    (civil(found) == (year, month, day)).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Berlin in 2026: an hour ahead, two from 29 March 01:00 UTC to 25 October 01:00 UTC.
    fn berlin() -> Zone {
        let at = |month, day| day_of(2026, month, day).unwrap() * DAY + 3600;
        Zone::changing(3600, vec![(at(10, 25), 3600), (at(3, 29), 7200)])
    }

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for day in (-800_000..3_000_000).step_by(37) {
            let (year, month, of_month) = civil(day);
            if (0..=9999).contains(&year) {
                assert_eq!(day_of(year, month, of_month), Some(day));
            }
        }
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!((day_of(2000, 2, 29), day_of(2024, 2, 29)), (Some(11_016), Some(19_782)));
        for wrong in [(2026, 2, 29), (1900, 2, 29), (2026, 4, 31), (2026, 13, 1), (2026, 0, 1), (2026, 1, 0)]
        {
            assert_eq!(day_of(wrong.0, wrong.1, wrong.2), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_clock_is_set_forward_and_back() {
        let zone = berlin();
        let shown = |text_day: (u8, u8), utc: u32| {
            let unix = day_of(2026, text_day.0, text_day.1).unwrap() * DAY + i64::from(utc);
            zone.show(UnixMillis(u64::try_from(unix).unwrap() * 1000)).to_string()
        };
        assert_eq!(shown((3, 29), 3599), "2026-03-29T01:59:59+01:00");
        assert_eq!(shown((3, 29), 3600), "2026-03-29T03:00:00+02:00");
        assert_eq!(shown((10, 25), 1800), "2026-10-25T02:30:00+02:00");
        assert_eq!(shown((10, 25), 5400), "2026-10-25T02:30:00+01:00");
        assert_eq!(shown((12, 31), 86_000), "2027-01-01T00:53:20+01:00");
        assert_eq!(Zone::fixed(-34_200).show(UnixMillis(0)).to_string(), "1969-12-31T14:30:00-09:30");
        assert_eq!(Zone::default().show(UnixMillis(0)).to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_time_on_the_wall_is_found_again_the_first_time_that_it_is_shown() {
        let zone = berlin();
        let again = |month, day, second| {
            let day = day_of(2026, month, day).unwrap();
            zone.show(zone.when(day, second)).to_string()
        };
        assert_eq!(again(1, 5, 30_600), "2026-01-05T08:30:00+01:00");
        assert_eq!(again(7, 5, 30_600), "2026-07-05T08:30:00+02:00");
        assert_eq!(again(10, 25, 9000), "2026-10-25T02:30:00+02:00", "the first of two");
        assert_eq!(again(3, 29, 9000), "2026-03-29T03:30:00+02:00", "never, so what it would have been");
        let wednesday = zone.show(zone.when(day_of(2026, 12, 23).unwrap(), 0));
        assert_eq!(wednesday.weekday(), 2);
    }
}
