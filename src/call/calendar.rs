//! When a rule holds: days and times of day, as `mon-fri 08:00-18:00` or `12-24/12-26` write them.

use std::fmt;
use std::ops::RangeInclusive;

use crate::base::{UnixMillis, WallClock, Zone, civil, day_of};

/// Most parts of a list of days.
const MAX_DAYS: usize = 16;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Minutes of a day.
const DAY: u16 = 1440;

/// Days, and a time of each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// As it was written.
    text: Box<str>,
    /// Any of these; empty: every day.
    days: Vec<Days>,
    /// First minute, and the minute after the last; from one day into the next where that is not later. None: all day.
    times: Option<(u16, u16)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Days {
    /// Monday is 0; a range may go over the end of the week.
    Week(u8, u8),
    /// Month and day, of every year; a range may go over the end of the year.
    Yearly((u8, u8), (u8, u8)),
    /// Days since 1970-01-01.
    Once(RangeInclusive<i64>),
}

/// By which clock the periods of a rule are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// That of the machine, with its daylight saving time.
    #[default]
    Local,
    /// So many seconds east of UTC, all year.
    Offset(i32),
}

impl Clock {
    /// Reads `local`, `utc`, `+01:00`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be local, utc or an offset like +01:00";
        match text {
            "local" => return Ok(Self::Local),
            "utc" => return Ok(Self::Offset(0)),
            _ => {}
        }
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) => (-1, rest),
            _ => return Err(FORM),
        };
        let minutes = time(rest).filter(|minutes| *minutes <= 14 * 60).ok_or(FORM)?;
        Ok(Self::Offset(sign * i32::from(minutes) * 60))
    }

    /// What it shows, where the machine's zone is `local`.
    #[must_use]
    pub fn show(self, at: UnixMillis, local: &Zone) -> WallClock {
        match self {
            Self::Local => local.show(at),
            Self::Offset(offset) => Zone::fixed(offset).show(at),
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Local => f.write_str("local"),
            Self::Offset(0) => f.write_str("utc"),
            Self::Offset(seconds) => {
                let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs() / 60);
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

/// Reads an instant: `2026-12-24`, `2026-12-24T18:00`, with seconds or not, by the clock of the machine, or with `Z` or
/// an offset by that. A time that the clock shows twice is the first of the two.
///
/// # Errors
/// What is wrong with it.
pub fn instant(text: &str, local: &Zone) -> Result<UnixMillis, &'static str> {
    const FORM: &str = "must be a time like 2026-12-24T18:00, perhaps with Z or an offset like +01:00";
    let (day, rest) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let (clock, zone) = match rest.find(['Z', '+', '-']) {
        None => (rest, None),
        Some(at) => {
            let (clock, zone) = rest.split_at_checked(at).ok_or(FORM)?;
            let zone = if zone == "Z" { Clock::Offset(0) } else { Clock::parse(zone).map_err(|_| FORM)? };
            (clock, Some(zone))
        }
    };
    let (Some(year), (month, day)) = date(day).ok_or(FORM)? else { return Err(FORM) };
    let day = day_of(year, month, day)
        .filter(|_| year >= 1970)
        .ok_or("is a day that the calendar does not have")?;
    let (minutes, seconds) = match clock.len() {
        8 => clock.rsplit_once(':').ok_or(FORM)?,
        _ => (clock, "00"),
    };
    let (minutes, seconds) =
        (time(minutes).ok_or(FORM)?, digits(seconds, 2).filter(|s| *s < 60).ok_or(FORM)?);
    let second = u32::from(minutes) * 60 + u32::from(seconds);
    Ok(match zone {
        Some(Clock::Offset(offset)) => Zone::fixed(offset).when(day, second),
        Some(Clock::Local) | None => local.when(day, second),
    })
}

impl Period {
    /// Reads days, times, or both with a space between.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "must be days, times, or both: `mon-fri 08:00-18:00`, `sat,sun`, `12-24/12-26`, `2026-12-24`";
        let words: Vec<&str> = text.split_whitespace().collect();
        let (days, times) = match words[..] {
            [one] if one.contains(':') => (None, Some(one)),
            [one] => (Some(one), None),
            [days, times] if times.contains(':') => (Some(days), Some(times)),
            _ => return Err(FORM),
        };
        let days = match days {
            Some(text) => text.split(',').map(parse_days).collect::<Result<Vec<_>, _>>()?,
            None => Vec::new(),
        };
        if days.len() > MAX_DAYS {
            return Err("names more than 16 days or ranges of days");
        }
        let times = times.map(parse_times).transpose()?;
        Ok(Self { text: text.into(), days, times })
    }

    /// Whether it holds when a clock shows this. What begins on one day and ends on the next is of the day on which it
    /// begins.
    #[must_use]
    pub fn holds(&self, shown: WallClock) -> bool {
        let minute = u16::try_from(shown.second / 60).unwrap_or(0);
        match self.times {
            None => self.is_day(shown),
            Some((first, end)) if first < end => (first..end).contains(&minute) && self.is_day(shown),
            Some((first, _)) if minute >= first => self.is_day(shown),
            Some((_, end)) => minute < end && self.is_day(WallClock { day: shown.day - 1, ..shown }),
        }
    }

    fn is_day(&self, shown: WallClock) -> bool {
        let (_, month, day) = civil(shown.day);
        let holds = |days: &Days| match days {
            Days::Week(first, last) => is_within(shown.weekday(), *first, *last),
            Days::Yearly(first, last) => is_within((month, day), *first, *last),
            Days::Once(days) => days.contains(&shown.day),
        };
        self.days.is_empty() || self.days.iter().any(holds)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether `at` is in a range that may begin anew behind its end.
fn is_within<T: PartialOrd>(at: T, first: T, last: T) -> bool {
    if first <= last { first <= at && at <= last } else { at >= first || at <= last }
}

/// `mon`, `mon-fri`, `12-24`, `12-24/12-26`, `2026-12-24`, `2026-12-24/2027-01-06`
fn parse_days(text: &str) -> Result<Days, &'static str> {
    const FORM: &str =
        "names no day: mon to sun, 12-24 or 2026-12-24 is needed, and mon-fri or 12-24/12-26 for several";
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        return Ok(Days::Week(weekday(first).ok_or(FORM)?, weekday(last).ok_or(FORM)?));
    }
    let (first, last) = text.split_once('/').unwrap_or((text, text));
    let (first, last) = (date(first).ok_or(FORM)?, date(last).ok_or(FORM)?);
    match (first, last) {
        ((None, first), (None, last)) => Ok(Days::Yearly(first, last)),
        ((Some(year), (month, day)), (Some(to_year), (to_month, to_day))) => {
            let missing = "is a day that the calendar does not have";
            let first = day_of(year, month, day).ok_or(missing)?;
            let last = day_of(to_year, to_month, to_day).ok_or(missing)?;
            if last < first {
                return Err("ends before it begins");
            }
            Ok(Days::Once(first..=last))
        }
        _ => Err("has a year at one end only"),
    }
}

fn weekday(text: &str) -> Option<u8> {
    let found = WEEKDAYS.iter().position(|name| text.eq_ignore_ascii_case(name));
    found.and_then(|at| u8::try_from(at).ok())
}

/// A date with or without its year. Without one it is a day that some year has.
fn date(text: &str) -> Option<(Option<i64>, (u8, u8))> {
    let mut parts = text.rsplitn(3, '-');
    let (day, month) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
    let year = match parts.next() {
        Some(year) => Some(i64::from(digits(year, 4)?)),
        None => None,
    };
    // 2000 was a leap year.
    if year.is_none() {
        day_of(2000, month, day)?;
    }
    Some((year, (month, day)))
}

/// `08:00-18:00`
fn parse_times(text: &str) -> Result<(u16, u16), &'static str> {
    const FORM: &str = "must have its times like 08:00-18:00";
    let (first, end) = text.split_once('-').ok_or(FORM)?;
    let (first, end) = (time(first).ok_or(FORM)?, time(end).ok_or(FORM)?);
    if first == end || first == DAY {
        return Err("begins when it ends: leave the times out for whole days");
    }
    Ok((first, end))
}

/// Minutes since midnight of `08:30`; `24:00` is the end of a day.
fn time(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    let fits = (hour < 24 && minute < 60) || (hour, minute) == (24, 0);
    fits.then_some(hour * 60 + minute)
}

fn digits(text: &str, count: usize) -> Option<u16> {
    let fits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_read_by_the_clock_that_it_names() {
        let zone = Zone::fixed(3600);
        let shown = |text: &str| instant(text, &zone).map(|at| at.to_string());
        for (text, expected) in [
            ("2026-12-24T18:00", "2026-12-24T17:00:00.000Z"),
            ("2026-12-24 18:00:30", "2026-12-24T17:00:30.000Z"),
            ("2026-12-24", "2026-12-23T23:00:00.000Z"),
            ("2026-12-24T18:00Z", "2026-12-24T18:00:00.000Z"),
            ("2026-12-24T18:00:00-05:00", "2026-12-24T23:00:00.000Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "now",
            "12-24",
            "2026-02-30",
            "2026-12-24T25:00",
            "2026-12-24T18",
            "2026-12-24T18:00:60",
            "1969-12-31",
            "2026-12-24T18:00+1",
            "2026-12-24T18:00é",
        ] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            [Clock::Local, Clock::Offset(0), Clock::Offset(-34_200)].map(|c| c.to_string()),
            ["local", "utc", "-09:30"]
        );
    }

    /// Whether it holds at a time by the clock of UTC.
    fn holds(period: &str, at: &str) -> bool {
        let (date, time) = at.split_once('T').unwrap();
        let (year, rest) = date.split_once('-').unwrap();
        let (month, day) = rest.split_once('-').unwrap();
        let day = day_of(year.parse().unwrap(), month.parse().unwrap(), day.parse().unwrap()).unwrap();
        let second = u32::from(super::time(time).unwrap()) * 60;
        Period::parse(period).unwrap().holds(WallClock { day, second, offset: 0 })
    }

    #[test]
    fn a_time_begins_with_its_minute_and_ends_before_it() {
        // 2026-11-27 is a Friday.
        for (period, at, expected) in [
            ("mon-fri 08:00-18:00", "2026-11-27T07:59", false),
            ("mon-fri 08:00-18:00", "2026-11-27T08:00", true),
            ("mon-fri 08:00-18:00", "2026-11-27T17:59", true),
            ("mon-fri 08:00-18:00", "2026-11-27T18:00", false),
            ("mon-fri 08:00-18:00", "2026-11-28T12:00", false),
            ("sat,sun", "2026-11-28T00:00", true),
            ("sat,sun", "2026-11-27T23:59", false),
            ("FRI-mon", "2026-11-29T12:00", true),
            ("fri-mon", "2026-12-01T12:00", false),
            ("00:00-24:00", "2026-11-28T23:59", true),
            ("22:00-06:00", "2026-11-28T05:59", true),
            ("22:00-06:00", "2026-11-28T06:00", false),
            ("22:00-06:00", "2026-11-28T22:00", true),
            // Of the day on which it begins.
            ("fri 22:00-06:00", "2026-11-28T05:59", true),
            ("fri 22:00-06:00", "2026-11-27T05:59", false),
            ("fri 22:00-06:00", "2026-11-28T22:00", false),
            ("12-24/01-01", "2026-12-31T12:00", true),
            ("12-24/01-01", "2027-01-01T12:00", true),
            ("12-24/01-01", "2027-01-02T12:00", false),
            ("12-24 14:00-24:00", "2026-12-24T18:00", true),
            ("12-24 14:00-24:00", "2026-12-24T13:59", false),
            ("02-29", "2028-02-29T12:00", true),
            ("2026-12-24/2027-01-06", "2027-01-06T23:59", true),
            ("2026-12-24/2027-01-06", "2027-12-25T12:00", false),
            ("mon,12-24,2026-05-01", "2026-05-01T12:00", true),
        ] {
            assert_eq!(holds(period, at), expected, "{period} at {at}");
        }
    }

    #[test]
    fn what_is_no_period_says_what_is_missing() {
        for (wrong, why) in [
            ("", "must be days"),
            ("mon tue", "must be days"),
            ("08:00-18:00 mon", "must be days"),
            ("mon 08:00-18:00 tue", "must be days"),
            ("monday", "names no day"),
            ("mon-", "names no day"),
            ("mon,", "names no day"),
            ("13-01", "names no day"),
            ("02-30", "names no day"),
            ("2026-02-29", "the calendar does not have"),
            ("2027-01-06/2026-12-24", "ends before it begins"),
            ("12-24/2026-12-26", "a year at one end"),
            ("mon 8:00-18:00", "must have its times"),
            ("mon 08:00", "must have its times"),
            ("mon 08:00-24:01", "must have its times"),
            ("08:00-08:00", "begins when it ends"),
            ("24:00-06:00", "begins when it ends"),
            ("08:60-09:00", "must have its times"),
        ] {
            let error = Period::parse(wrong).expect_err(wrong);
            assert!(error.contains(why), "{wrong}: {error}");
        }
        let many = vec!["mon"; 17].join(",");
        assert!(Period::parse(&many).is_err());
    }

    #[test]
    fn a_clock_is_that_of_the_machine_or_keeps_its_offset() {
        assert_eq!(Clock::parse("local"), Ok(Clock::Local));
        assert_eq!(Clock::parse("utc"), Ok(Clock::Offset(0)));
        assert_eq!(Clock::parse("+01:00"), Ok(Clock::Offset(3600)));
        assert_eq!(Clock::parse("-09:30"), Ok(Clock::Offset(-34_200)));
        for wrong in ["", "+1:00", "01:00", "+15:00", "Europe/Berlin", "UTC", "+01:60"] {
            assert!(Clock::parse(wrong).is_err(), "{wrong}");
        }
        let noon = UnixMillis(1_795_780_800_000);
        let local = Zone::fixed(7200);
        let shown = [Clock::Local, Clock::Offset(0), Clock::Offset(-3600)]
            .map(|clock| clock.show(noon, &local).second / 3600);
        assert_eq!(shown, [14, 12, 11]);
    }
}
