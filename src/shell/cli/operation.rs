//! Bans and call records.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ask::{Asking, MAX_ITEMS, time, word};
use super::failure::Failure;
use super::options::{BanAction, RecordAction, RecordQuery};
use super::output::{Format, Table, or_dash};
use crate::base::UnixMillis;
use crate::call::record::{CallRecord, Segment};
use crate::engine::command::{Command, Reply};
use crate::engine::view::{self, BanView, Time};

const BAN: &[&str] = &["SOURCE", "SECONDS", "UNTIL"];
const RECORD: &[&str] =
    &["ID", "START", "FROM", "TO", "DISPOSITION", "CODE", "TALK S", "MOVES", "MOS", "TRUNK"];
const SEGMENT: &[&str] = &["DEVICE", "START", "END", "TRIGGER", "GAP MS", "LOST", "CODEC", "MOS"];
/// What CSV has: the record's fields by their names, lists with spaces between.
const FIELDS: &[&str] = &[
    "ID",
    "START",
    "RING",
    "ANSWER",
    "END",
    "DIRECTION",
    "FROM",
    "TO",
    "USER",
    "TRANSFERRED BY",
    "FIRST DEVICE",
    "LAST DEVICE",
    "TRUNK",
    "DISPOSITION",
    "SIP CODE",
    "HANGUP BY",
    "CODECS",
    "SRTP",
    "TRANSPORTS",
    "USER AGENTS",
    "MOVES",
    "MOS MIN",
    "LOSS",
    "JITTER",
    "NODE",
    "SIP CALL ID",
    "RUN",
    "TRUNK FROM",
    "TRUNK TO",
];

impl Asking<'_> {
    pub(super) async fn bans(&mut self, action: Option<BanAction>) -> Result<(), Failure> {
        if let Some(BanAction::Lift { address }) = action {
            // As it is listed: of IPv6 with the bits that count.
            let alone = address.split_once('/').map_or(&*address, |(address, _)| address);
            let address: IpAddr =
                alone.parse().map_err(|_| Failure::usage(format!("`{address}` is no address")))?;
            self.ask(Command::LiftBan { address }).await?;
            return self.say("It is listened to again.");
        }
        let list = |page| Command::ListBans { page };
        let take = |reply| if let Reply::Bans(page) = reply { Some(page) } else { None };
        let bans = self.list(MAX_ITEMS, list, take).await?;
        let row = |ban: &BanView| {
            let source = if ban.prefix == 32 {
                ban.address.clone()
            } else {
                format!("{}/{}", ban.address, ban.prefix)
            };
            vec![source, ban.seconds.to_string(), time(Some(ban.until))]
        };
        self.print(&Table { headings: BAN, rows: bans.iter().map(row).collect() }, &bans)
    }

    pub(super) async fn records(&mut self, action: RecordAction) -> Result<(), Failure> {
        match action {
            RecordAction::Query(query) => self.query_records(query).await,
            RecordAction::Show { id } => match self.ask(Command::ShowRecord { id }).await? {
                Reply::Record(record) => self.show_record(&record),
                _ => Err(Failure::misfit()),
            },
        }
    }

    async fn query_records(&mut self, query: RecordQuery) -> Result<(), Failure> {
        let RecordQuery { from, to, user, since, until, limit } = query;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = UnixMillis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let at = |text: Option<Box<str>>| text.map(|text| moment(&text, now)).transpose();
        let wanted = view::RecordQuery { user, from, to, since: at(since)?, until: at(until)? };
        let list = |page| Command::ListRecords { wanted: wanted.clone(), page };
        let take = |reply| if let Reply::Records(page) = reply { Some(page) } else { None };
        let records = self.list(limit.min(MAX_ITEMS), list, take).await?;
        let (headings, row): (_, fn(&CallRecord) -> _) =
            if self.format == Format::Csv { (FIELDS, fields) } else { (RECORD, record_row) };
        self.print(&Table { headings, rows: records.iter().map(row).collect() }, &records)
    }

    fn show_record(&mut self, record: &CallRecord) -> Result<(), Failure> {
        if self.format == Format::Table {
            let rows = FIELDS.iter().zip(fields(record)).filter(|(_, value)| !value.is_empty());
            let rows = rows.map(|(name, value)| vec![name.to_lowercase().replace(' ', "_"), value]).collect();
            Table { headings: &["WHAT", "VALUE"], rows }.print(self.format, record, self.out)?;
            writeln!(self.out)?;
        }
        self.print(
            &Table { headings: SEGMENT, rows: record.segments.iter().map(segment_row).collect() },
            record,
        )
    }
}

/// A time in the past, or so long ago.
fn moment(text: &str, now: UnixMillis) -> Result<UnixMillis, Failure> {
    const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let ago = UNITS.iter().find_map(|(unit, seconds)| {
        let count: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        Some(UnixMillis(now.0.saturating_sub(count.saturating_mul(seconds * 1000))))
    });
    ago.or_else(|| Time::read(text).map(|Time(at)| at)).ok_or_else(|| {
        Failure::usage(format!("`{text}` is no time: 90m, 12h, 7d, or 2026-11-28T08:00:00 in UTC"))
    })
}

fn record_row(record: &CallRecord) -> Vec<String> {
    let talk = record.answer.zip(record.end);
    let talk = talk.map(|(from, to)| format!("{:.1}", to.0.saturating_sub(from.0) as f64 / 1000.0));
    vec![
        record.id.clone(),
        record.start.to_string(),
        record.from.clone(),
        record.to.clone(),
        word(&record.disposition),
        record.sip_code.to_string(),
        or_dash(talk.as_deref()),
        record.moves.to_string(),
        or_dash(record.mos_min.map(|mos| format!("{mos:.2}")).as_deref()),
        or_dash(record.trunk.as_deref()),
    ]
}

fn fields(record: &CallRecord) -> Vec<String> {
    let at = |time: Option<UnixMillis>| time.map(|time| time.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    vec![
        record.id.clone(),
        record.start.to_string(),
        at(record.ring),
        at(record.answer),
        at(record.end),
        word(&record.direction),
        record.from.clone(),
        record.to.clone(),
        text(&record.user),
        text(&record.transferred_by),
        text(&record.first_device),
        text(&record.last_device),
        text(&record.trunk),
        word(&record.disposition),
        record.sip_code.to_string(),
        word(&record.hangup_by),
        record.codecs.join(" "),
        record.srtp.to_string(),
        record.transports.join(" "),
        record.user_agents.join(" "),
        record.moves.to_string(),
        number(record.mos_min),
        number(record.loss),
        number(record.jitter),
        record.node.clone(),
        record.sip_call_id.join(" "),
        text(&record.run),
        text(&record.trunk_from),
        text(&record.trunk_to),
    ]
}

fn segment_row(segment: &Segment) -> Vec<String> {
    let at = |at: UnixMillis| time(Some(Time(at)));
    let number = |number: Option<f64>| or_dash(number.map(|number| format!("{number:.1}")).as_deref());
    vec![
        segment.device.clone(),
        at(segment.start),
        or_dash(segment.end.map(at).as_deref()),
        or_dash(segment.trigger.as_deref()),
        number(segment.gap_ms),
        or_dash(segment.lost.map(|lost| lost.to_string()).as_deref()),
        or_dash(segment.codec.as_deref()),
        or_dash(segment.mos.map(|mos| format!("{mos:.2}")).as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_of_a_record_is_left_out() {
        let record = serde_json::to_value(CallRecord::default()).unwrap();
        let mut all: Vec<_> = record.as_object().unwrap().keys().filter(|key| *key != "segments").collect();
        let shown: Vec<_> = FIELDS.iter().map(|name| name.to_lowercase().replace(' ', "_")).collect();
        let mut sorted: Vec<_> = shown.iter().collect();
        sorted.sort();
        all.sort();
        assert_eq!(sorted, all);
        assert_eq!(fields(&CallRecord::default()).len(), FIELDS.len());
    }

    #[test]
    fn a_time_is_told_as_people_say_it() {
        let now = UnixMillis(10 * 86_400_000);
        let read = |text| moment(text, now).map(|at| at.0).map_err(|failure| failure.code());
        assert_eq!(read("90m"), Ok(now.0 - 90 * 60_000));
        assert_eq!(read("7d"), Ok(3 * 86_400_000));
        assert_eq!(read("99999999999999999d"), Ok(0), "before all that is recorded");
        for same in ["1970-01-02", "1970-01-02T00:00", "1970-01-02T00:00:00Z", "1970-01-02T00:00:00.000Z"] {
            assert_eq!(read(same), Ok(86_400_000), "{same}");
        }
        for bad in ["", "d", "soon", "1970-13-01", "1970-01-02T00", "-5m", "1970-01-0é"] {
            assert_eq!(read(bad), Err(2), "{bad}");
        }
    }
}
