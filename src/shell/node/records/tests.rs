//! The files byte for byte, and that each record is in each of them once, whatever happens to files and runs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::append;
use super::*;
use crate::base::UnixMillis;
use crate::call::record::{CallRecord, Direction, Disposition, HangupBy, Segment};
use crate::engine::store::{StoreOp, StoreTicket};
use crate::shell::store::{Place, Settings, Store};

const ALL: [CdrFormat; 3] = [CdrFormat::JsonLines, CdrFormat::Csv, CdrFormat::Asterisk];

/// A call that was moved, with what is awkward in each format.
fn moved() -> CallRecord {
    let segment = |device: &str, start, trigger: Option<&str>| Segment {
        device: device.into(),
        start: UnixMillis(start),
        end: Some(UnixMillis(1_795_766_783_507)),
        trigger: trigger.map(str::to_owned),
        ..Segment::default()
    };
    CallRecord {
        id: "01KB1Q8ZVX0000000000ABCDEF".into(),
        sip_call_id: vec!["a84b4c76@host, 1".into(), "b\"2".into()],
        direction: Direction::Internal,
        from: "alice".into(),
        to: "=1+2|\n\"x\"".into(),
        user: Some("alice".into()),
        first_device: Some("alice*desk".into()),
        last_device: Some("alice*mobile".into()),
        start: UnixMillis(1_795_766_763_007),
        ring: Some(UnixMillis(1_795_766_763_107)),
        answer: Some(UnixMillis(1_795_766_765_007)),
        end: Some(UnixMillis(1_795_766_783_507)),
        disposition: Disposition::Answered,
        sip_code: 200,
        hangup_by: Some(HangupBy::Callee),
        codecs: vec!["PCMU".into(), "opus".into()],
        transports: vec!["udp".into(), "tls".into()],
        user_agents: vec!["A|B (x; y)".into()],
        moves: 1,
        mos_min: Some(4.41),
        loss: Some(0.0),
        node: "edge1".into(),
        segments: vec![
            segment("alice*desk", 1_795_766_765_007, None),
            segment("bob*desk", 1_795_766_765_007, None),
            segment("alice*mobile", 1_795_766_770_000, Some("star_code")),
        ],
        ..CallRecord::default()
    }
}

/// A call from a trunk that nobody took.
fn missed() -> CallRecord {
    CallRecord {
        id: "01KB1Q8ZVX0000000000GHJKMN".into(),
        sip_call_id: vec!["c3".into()],
        direction: Direction::Inbound,
        from: "+4930123".into(),
        to: "1001".into(),
        trunk: Some("carrier".into()),
        start: UnixMillis(1_795_766_763_007),
        end: Some(UnixMillis(1_795_766_793_006)),
        disposition: Disposition::Cancelled,
        sip_code: 487,
        hangup_by: Some(HangupBy::Caller),
        node: "edge1".into(),
        ..CallRecord::default()
    }
}

#[test]
fn json_lines_are_the_record() {
    let line = CdrFormat::JsonLines.line(&moved());
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
    assert_eq!(serde_json::from_str::<CallRecord>(&line).unwrap(), moved());
    assert_eq!(
        CdrFormat::JsonLines.line(&missed()),
        "{\"id\":\"01KB1Q8ZVX0000000000GHJKMN\",\"sip_call_id\":[\"c3\"],\"direction\":\"inbound\",\
         \"from\":\"+4930123\",\"to\":\"1001\",\"user\":null,\"transferred_by\":null,\"first_device\":null,\
         \"last_device\":null,\"trunk\":\"carrier\",\"start\":1795766763007,\"ring\":null,\"answer\":null,\
         \"end\":1795766793006,\"disposition\":\"cancelled\",\"sip_code\":487,\"hangup_by\":\"caller\",\
         \"codecs\":[],\"srtp\":false,\"transports\":[],\"user_agents\":[],\"moves\":0,\"mos_min\":null,\
         \"loss\":null,\"jitter\":null,\"node\":\"edge1\",\"run\":null,\"trunk_from\":null,\
         \"trunk_to\":null,\"segments\":[]}\n"
    );
}

#[test]
fn csv_is_one_row_for_each_and_no_formula() {
    assert_eq!(
        CdrFormat::Csv.line(&moved()),
        "01KB1Q8ZVX0000000000ABCDEF,\"a84b4c76@host, 1|b\"\"2\",internal,alice,\"'=1+2| \"\"x\"\"\",alice,,\
         alice*desk,alice*mobile,,2026-11-27T08:06:03.007Z,2026-11-27T08:06:03.107Z,\
         2026-11-27T08:06:05.007Z,2026-11-27T08:06:23.507Z,answered,200,callee,PCMU|opus,false,udp|tls,\
         A/B (x; y),1,4.41,0.0,,edge1,,alice*desk|bob*desk|alice*mobile,,\n"
    );
    assert_eq!(
        CdrFormat::Csv.line(&missed()),
        "01KB1Q8ZVX0000000000GHJKMN,c3,inbound,+4930123,1001,,,,,carrier,2026-11-27T08:06:03.007Z,,,\
         2026-11-27T08:06:33.006Z,cancelled,487,caller,,false,,,0,,,,edge1,,,,\n"
    );
    let header = CdrFormat::Csv.header();
    assert_eq!(header.matches(',').count(), CdrFormat::Csv.line(&missed()).matches(',').count());
    for from in ["=x", "+x", "-x", "@x", "+1;cmd", "\t=x"] {
        let line = CdrFormat::Csv.line(&CallRecord { from: from.into(), ..missed() });
        let field = line.split(',').nth(3).unwrap().trim_matches('"');
        assert!(field.starts_with('\'') || field.starts_with(' '), "{from:?} is {field:?}");
    }
}

#[test]
fn the_preset_of_asterisk_has_its_columns_and_quotes() {
    assert_eq!(
        CdrFormat::Asterisk.line(&moved()),
        "\"alice\",\"alice\",\"=1+2| \"\"x\"\"\",\"internal\",\"alice\",\"SIP/alice*desk-00ABCDEF\",\
         \"SIP/bob*desk-00ABCDEF\",\"Dial\",\"=1+2| \"\"x\"\"\",\"2026-11-27 08:06:03\",\
         \"2026-11-27 08:06:05\",\"2026-11-27 08:06:23\",20,18,\"ANSWERED\",\"DOCUMENTATION\",\
         \"01KB1Q8ZVX0000000000ABCDEF\",\"moves=1;last=alice*mobile;hangup=callee;code=200\"\n"
    );
    assert_eq!(
        CdrFormat::Asterisk.line(&missed()),
        "\"\",\"+4930123\",\"1001\",\"inbound\",\"+4930123\",\"SIP/carrier-00GHJKMN\",\"\",\"Dial\",\"1001\",\
         \"2026-11-27 08:06:03\",,\"2026-11-27 08:06:33\",29,0,\"NO ANSWER\",\"DOCUMENTATION\",\
         \"01KB1Q8ZVX0000000000GHJKMN\",\"moves=0;last=;hangup=caller;code=487\"\n"
    );
}

/// A store with a node's records in it.
struct House {
    dir: tempfile::TempDir,
    store: Store,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { linger: Duration::ZERO, ..Settings::default() };
        let (store, _) =
            Store::open(&dir.path().join("segue.db"), settings, UnixMillis(0), |_, _| {}).unwrap();
        Self { dir, store }
    }

    fn file(&self, format: CdrFormat) -> PathBuf {
        self.dir.path().join(format.file())
    }

    fn start(&self) -> Records {
        Records::start(self.dir.path(), &self.dir.path().join("segue.db"), &ALL).unwrap().unwrap()
    }

    /// Gives the store records of these numbers and waits until it has them.
    fn add(&self, ids: std::ops::Range<usize>) {
        for id in ids {
            let record = CallRecord { id: format!("{id:04}"), ..missed() };
            self.store.submit(StoreTicket(0), StoreOp::AddRecord(Arc::new(record)));
        }
        until("the store has them", || self.store.waiting() == 0);
    }

    fn ids(&self, path: &Path) -> Vec<usize> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<CallRecord>(line).unwrap().id.parse().unwrap())
            .collect()
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn all(range: std::ops::Range<usize>) -> Vec<usize> {
    range.collect()
}

#[test]
fn each_record_is_in_each_file_once_over_runs_and_files_that_are_moved_away() {
    let house = House::new();
    // Nobody reads yet: these are history.
    house.add(0..3);
    let records = house.start();
    house.add(3..1300);
    drop(records);
    let json = house.file(CdrFormat::JsonLines);
    assert_eq!(house.ids(&json), all(3..1300));
    assert_eq!(json.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let count = |format| fs::read_to_string(house.file(format)).unwrap().lines().count();
    assert_eq!((count(CdrFormat::Csv), count(CdrFormat::Asterisk)), (1298, 1297));

    // What ends between two runs is not lost, and what is there is not repeated.
    house.add(1300..1310);
    let records = house.start();
    records.tell(&Arc::new(missed()));
    // The last of the files.
    until("they are caught up with", || count(CdrFormat::Asterisk) == 1307);
    let old = house.dir.path().join("old");
    fs::rename(&json, &old).unwrap();
    fs::rename(house.file(CdrFormat::Csv), house.dir.path().join("old.csv")).unwrap();
    house.add(1310..1315);
    drop(records);
    assert_eq!((house.ids(&old), house.ids(&json)), (all(3..1310), all(1310..1315)));
    let csv = fs::read_to_string(house.file(CdrFormat::Csv)).unwrap();
    assert!(csv.starts_with("id,sip_call_id,") && csv.lines().count() == 6, "{csv}");
}

#[test]
fn who_was_told_is_not_read_and_who_cannot_be_read_stops_nobody() {
    let house = House::new();
    let path = house.dir.path().join("segue.db");
    assert!(Records::start(house.dir.path(), &path, &[]).unwrap().is_none());
    house.add(0..2);
    let database = rusqlite::Connection::open(&path).unwrap();
    let count = || database.query_row("SELECT count(*) FROM cdr_order", [], |row| row.get(0));
    assert_eq!(count(), Ok(0), "nobody reads, and an order is kept");

    let feed = Feed::open(&path, &["jsonl"]).unwrap();
    house.add(2..6);
    assert_eq!(count(), Ok(4));
    // One is no record, another has a segment that is none.
    let spoil = "UPDATE cdrs SET codecs = '{' WHERE id = '0003';
                 INSERT INTO cdr_segments (cdr, n, device, start, lost) VALUES ('0004', 0, 'desk', 1, -1);";
    database.execute_batch(spoil).unwrap();
    let told = Arc::new(CallRecord { id: "0002".into(), from: "told".into(), ..missed() });
    let found = feed.after(0, 10, |id| (id == "0002").then(|| Arc::clone(&told))).unwrap();
    let found: Vec<_> = found.iter().map(|(_, r)| r.as_ref().map(|r| (&*r.id, &*r.from))).collect();
    assert_eq!(found, [Some(("0002", "told")), None, None, Some(("0005", "+4930123"))]);
}

#[test]
fn a_file_that_cannot_be_written_goes_on_where_it_was() {
    let house = House::new();
    let json = house.file(CdrFormat::JsonLines);
    // It opens, and has no room for anything.
    std::os::unix::fs::symlink("/dev/full", &json).unwrap();
    let records = house.start();
    house.add(0..5);
    records.tell(&Arc::new(missed()));
    until("the others are written", || house.file(CdrFormat::Asterisk).exists());
    fs::remove_file(&json).unwrap();
    house.add(5..8);
    records.tell(&Arc::new(missed()));
    until("it is written again", || json.exists() && house.ids(&json).len() == 8);
    drop(records);
    assert_eq!(house.ids(&json), all(0..8));
}

#[test]
fn a_run_that_ended_before_it_could_say_so_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cdr.csv");
    let line = |n: i64| (n, format!("line {n}\n"));
    let lines: Vec<_> = (1..=4).map(line).collect();
    let whole = "head\nline 1\nline 2\nline 3\nline 4\n";
    let mut first = Place::default();
    append(&path, "head\n", &lines[..1], false, &mut first).unwrap();
    let kept = first;
    // The rest was written wholly, in part, or not at all, and nothing was said of it.
    for there in ["", "line 2\n", "line 2\nli", "line 2\nline 3\nline 4\n"] {
        fs::write(&path, format!("head\nline 1\n{there}")).unwrap();
        let mut place = kept;
        append(&path, "head\n", &lines[1..], false, &mut place).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole, "{there:?}");
        assert_eq!((place.n, place.length), (4, whole.len() as u64), "{there:?}");
    }
    // More was written than is asked for now.
    let mut place = kept;
    append(&path, "head\n", &lines[1..2], false, &mut place).unwrap();
    append(&path, "head\n", &lines[2..], false, &mut place).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    assert_eq!(place.length, whole.len() as u64);
    // What may not be on the disk is written there again, and stands there once.
    let mut place = kept;
    append(&path, "head\n", &lines[1..], true, &mut place).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    assert_eq!((place.n, place.length), (4, whole.len() as u64));
    // A stranger's unfinished line stays apart, and a file that was emptied begins anew.
    fs::write(&path, format!("{whole}stranger")).unwrap();
    append(&path, "head\n", &[line(5)], false, &mut place).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{whole}stranger\nline 5\n"));
    fs::write(&path, "").unwrap();
    append(&path, "head\n", &[line(6)], false, &mut place).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "head\nline 6\n");
    assert_eq!((place.n, place.length), (6, 12));
}
