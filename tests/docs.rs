//! What the documents say of tests: each test that they name is there, in the file that they name.

use std::fs;
use std::path::{Path, PathBuf};

/// Documents whose claims rest on tests.
const DOCUMENTS: [&str; 6] = [
    "docs/COMPLIANCE.md",
    "docs/THREATS.md",
    "docs/CALL-MOVE.md",
    "docs/CONFIGURATION.md",
    "docs/OPERATIONS.md",
    "docs/INTEROP.md",
];

/// Where the tests of `engine/tests/moves`, `interop/moves` or `torture` are.
fn files_of(place: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = match place.split_once('/') {
        Some((of @ ("interop" | "browser"), rest)) => vec![format!("tests/{of}/{rest}.rs")],
        Some(("node", rest)) => {
            vec![format!("src/shell/node/tests/{rest}.rs"), format!("src/shell/node/{rest}.rs")]
        }
        Some(_) => vec![format!("src/{place}.rs"), format!("src/{place}/mod.rs")],
        None => vec![format!("tests/{place}.rs")],
    };
    places.into_iter().map(|place| root.join(place)).filter(|path| path.is_file()).collect()
}

/// `place: name` between back quotes, where both look like a test.
fn references(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_word = |word: &str, more: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || more.contains(c))
    };
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter_map(|quoted| quoted.split_once(": "))
        .filter(move |(place, name)| is_word(place, "/") && is_word(name, "") && name.contains('_'))
}

/// Whether a file has this test, written out or in a list of cases.
fn has_test(text: &str, name: &str) -> bool {
    let cases =
        text.split_once("cases! {").and_then(|(_, rest)| rest.split_once('}')).map_or("", |(list, _)| list);
    text.contains(&format!("fn {name}(")) || cases.split_whitespace().any(|case| case == name)
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for document in DOCUMENTS {
        let Ok(text) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)) else {
            faults.push(format!("{document} is not there"));
            continue;
        };
        for (place, name) in references(&text) {
            seen += 1;
            let found = files_of(place).iter().any(|file| has_test(&fs::read_to_string(file).unwrap(), name));
            if !found {
                faults.push(format!("{document}: {place} has no test {name}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        seen > 100,
        "only {seen} tests were found: the documents are written otherwise than they are read"
    );
}
