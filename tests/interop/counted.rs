//! Call records against what SIPp counted: to the call, in the store and in every file, with moves among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use tokio::process::Command;

use crate::node::{DOMAIN, Node, PASSWORD, Settings};

/// How many calls there are to be.
pub(crate) struct Load {
    pub(crate) calls: usize,
    pub(crate) refused: usize,
    pub(crate) moves: usize,
    /// In a second.
    pub(crate) rate: usize,
    pub(crate) patience_s: usize,
}

/// Plays the load and gives what SIPp says of it, by name.
pub(crate) async fn play(node: &Node, load: &Load) -> BTreeMap<String, usize> {
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sipp/run");
    let login = |device: &str| format!("{device}:{PASSWORD}");
    let output = Command::new(runner)
        .arg("counted")
        .env("SERVER", node.sip.to_string())
        .env("DOMAIN", DOMAIN)
        .env("DESK", login("alice-desk"))
        .env("MOBILE", login("alice-mobile"))
        .env("BOB", login("bob-desk"))
        .env("OTHER", login("eve-desk"))
        .env("BUSY", login("lobby-room"))
        .env("CALLS", load.calls.to_string())
        .env("REFUSED", load.refused.to_string())
        .env("MOVES", load.moves.to_string())
        .env("RATE", load.rate.to_string())
        .env("PATIENCE", format!("{}s", load.patience_s))
        .output()
        .await
        .expect("the runner runs");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix("counted ")).expect("a line of counts");
    let pair = |word: &str| {
        let (name, count) = word.split_once('=').expect("name=count");
        (name.to_owned(), count.parse().unwrap_or_else(|_| panic!("{word} of {text}")))
    };
    line.split(' ').map(pair).collect()
}

/// Records by caller, callee and how they ended: how many, and how many moves.
type Counts = BTreeMap<(String, String, String), (usize, u64)>;

fn of_lines(path: &Path) -> (BTreeSet<String>, Counts) {
    let (mut ids, mut counts) = (BTreeSet::new(), Counts::new());
    for line in fs::read_to_string(path).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        assert!(ids.insert(text("id")), "{} is there twice", text("id"));
        let count = counts.entry((text("from"), text("to"), text("disposition"))).or_default();
        count.0 += 1;
        count.1 += record["moves"].as_u64().unwrap();
    }
    (ids, counts)
}

fn of_store(path: &Path) -> Counts {
    let store = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT \"from\", \"to\", disposition, count(*), sum(moves) FROM cdrs GROUP BY 1, 2, 3";
    let mut statement = store.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok((
            (row.get(0)?, row.get(1)?, row.get(2)?),
            (row.get::<_, i64>(3)? as usize, row.get::<_, i64>(4)? as u64),
        ))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// The ids in a column of a file of CSV without quotes before it, or in quotes throughout.
fn of_csv(path: &Path, has_header: bool, id: impl Fn(&str) -> String) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().skip(usize::from(has_header)).collect();
    let ids: BTreeSet<String> = lines.iter().map(|line| id(line)).collect();
    assert_eq!(ids.len(), lines.len(), "{}: a record is there twice", path.display());
    ids
}

async fn records_equal_what_sipp_counted(load: Load) {
    let more = "[cdr]\nformats = [\"jsonl\", \"csv\", \"asterisk\"]\n".to_owned();
    let media = "anchor = \"never\"\n".to_owned();
    let moving = "hold_off_s = 1\nnotice = \"off\"\n";
    let mut node = Node::start(&Settings { more, media, ..Settings::moving(moving) }).await;
    let begun = Instant::now();
    let counted = play(&node, &load).await;
    let took = begun.elapsed();
    node.end();

    assert_eq!(counted["answered"], load.calls, "{counted:?}");
    assert_eq!(counted["there"], load.calls + load.moves, "{counted:?}");
    let expected = Counts::from([
        (("eve".into(), "bob".into(), "answered".into()), (counted["answered"], 0)),
        (("eve".into(), "lobby".into(), "busy".into()), (counted["refused"], 0)),
        (("alice".into(), "bob".into(), "answered".into()), (counted["moved"], counted["won"] as u64)),
    ]);
    assert_eq!(counted["moved"], counted["won"], "{counted:?}");
    let (ids, lines) = of_lines(&node.data("cdr.jsonl"));
    assert_eq!(lines, expected);
    assert_eq!(of_store(&node.data("segue.db")), expected);
    let first = |line: &str| line.split(',').next().unwrap().to_owned();
    assert_eq!(of_csv(&node.data("cdr.csv"), true, first), ids);
    let last_but_one = |line: &str| line.rsplit(',').nth(1).unwrap().trim_matches('"').to_owned();
    assert_eq!(of_csv(&node.data("Master.csv"), false, last_but_one), ids);
    println!("{} records in {took:.0?}: {counted:?}", ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn some_hundred_records_equal_what_sipp_counted() {
    let load = Load { calls: 240, refused: 40, moves: 20, rate: 30, patience_s: 120 };
    records_equal_what_sipp_counted(load).await;
}

/// Some ten minutes at `SEGUE_TEST_RATE` (200) calls a second, which a machine must be able to play besides:
/// `SEGUE_TEST_LOG=warn cargo test --release --test interop counted -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn a_hundred_thousand_records_equal_what_sipp_counted() {
    let given = |name: &str, usual: usize| {
        std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(usual)
    };
    let (calls, rate) = (given("SEGUE_TEST_CALLS", 98_000), given("SEGUE_TEST_RATE", 200));
    let some = (calls / 98).max(1);
    let load = Load { calls, refused: some, moves: some, rate, patience_s: calls / rate + 300 };
    records_equal_what_sipp_counted(load).await;
}
