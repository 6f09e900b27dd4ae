//! The machine's time zone, as the C library knows it (`TZ`, `/etc/localtime`), told to the engine as plain data.

use std::time::{SystemTime, UNIX_EPOCH};

use super::sys::local_offset;
use crate::base::Zone;

const DAY: i64 = 86_400;
/// What is looked at: a time that is asked for lies a few years back at most, and no node runs for longer.
const YEARS_BACK: i64 = 5;
const YEARS_AHEAD: i64 = 30;

/// The zone of this machine. Zone data that are changed later are taken at the next start.
pub(super) fn local() -> Zone {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let today = i64::try_from(now).unwrap_or(0) / DAY;
    changes(today - YEARS_BACK * 366, today + YEARS_AHEAD * 366, local_offset)
}

/// The offsets between two days, each found from one day to the next: no zone changes twice a day.
fn changes(first: i64, last: i64, offset_at: impl Fn(i64) -> i32) -> Zone {
    let begin = offset_at(first * DAY);
    let (mut changes, mut before) = (Vec::new(), begin);
    for day in first..last {
        let after = offset_at((day + 1) * DAY);
        if after == before {
            continue;
        }
        let (mut low, mut high) = (day * DAY, (day + 1) * DAY);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if offset_at(middle) == before { low = middle } else { high = middle }
        }
        changes.push((high, after));
        before = after;
    }
    Zone::changing(begin, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_found_to_the_second() {
        let told =
            Zone::changing(3600, vec![(DAY * 100 + 3600, 7200), (DAY * 300 + 1, 3600), (DAY * 400, -60)]);
        let found = changes(0, 1000, |unix| told.offset_at(unix));
        assert_eq!(found, told);
        let still = changes(0, 1000, |_| 19_800);
        assert_eq!(still, Zone::fixed(19_800));
    }

    #[test]
    fn the_zone_of_this_machine_says_what_its_clock_says() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = i64::try_from(now).unwrap();
        let zone = local();
        for at in [now, now + 90 * DAY, now + 180 * DAY, now + 270 * DAY] {
            assert_eq!(zone.offset_at(at), local_offset(at));
        }
    }
}
