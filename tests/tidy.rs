//! The rules of the house, held by `cargo test`: layers, file heads, sizes, names, and nothing of the machine that
//! a file was written on.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Low to high; a layer may use itself and those before it.
const LAYERS: [&str; 10] =
    ["base", "wire", "sip", "registrar", "media", "call", "moving", "engine", "config", "shell"];
/// Lines that are neither blank nor comment, for code and for the tests of one file each.
const MAX_FILE: usize = 600;
/// Lines of one function.
const MAX_FUNCTION: usize = 80;
/// State machines that are one table, which is easier to check whole than cut up.
const TABLES: [(&str, &str); 1] = [("src/moving/machine", "step")];
/// What the core must not know: it is handed time, randomness and messages.
const NOT_IN_CORE: [&str; 12] = [
    "tokio",
    "std::thread",
    "std::fs",
    "std::env",
    "std::process",
    "std::net::UdpSocket",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "Instant::now",
    "SystemTime::now",
    "getrandom",
    "rusqlite",
];

/// A Rust file: its path below the root and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Code and tests apart: tests stand last, in `#[cfg(test)] mod tests`.
    fn halves(&self) -> (&str, &str) {
        let at = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text.split_at(at)
    }

    fn layer(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        LAYERS.into_iter().find(|layer| rest.split(['/', '.']).next() == Some(layer))
    }

    fn is_test(&self) -> bool {
        !self.path.starts_with("src/") || self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

/// Tests that may: DTLS counts from an origin that only a clock gives, and what a leg or an attack costs is measured.
const MEASURED: [(&str, &str); 6] = [
    ("src/media/relay/tests/web.rs", "std::fs"),
    ("src/media/relay/tests/web.rs", "Instant::now"),
    ("src/media/web/tests.rs", "Instant::now"),
    ("src/media/web/tests/hostile.rs", "Instant::now"),
    ("src/media/web/tests/legs.rs", "Instant::now"),
    ("src/media/web/tests/legs.rs", "std::fs"),
];

#[test]
fn a_layer_uses_only_those_below_it() {
    let rank: BTreeMap<&str, usize> = LAYERS.iter().enumerate().map(|(rank, layer)| (*layer, rank)).collect();
    let mut faults = Vec::new();
    for source in sources() {
        let Some(layer) = source.layer() else { continue };
        for used in crate_paths(source.halves().0) {
            if rank.get(used.as_str()).is_some_and(|used| *used > rank[layer]) {
                faults.push(format!("{}: `{layer}` may not use `{used}`", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_core_knows_no_clock_socket_thread_or_file() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.layer().is_some_and(|layer| layer != "shell")) {
        for line in code(source.halves().0) {
            for word in NOT_IN_CORE.iter().filter(|word| line.contains(*word)) {
                if MEASURED.contains(&(source.path.as_str(), word)) {
                    continue;
                }
                // Reading the file that it is told to read is what the configuration is for.
                if source.layer() == Some("config") && ["std::fs", "std::env"].contains(word) {
                    continue;
                }
                faults.push(format!("{}: `{word}` in the core: {}", source.path, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_file_says_what_it_is_for_and_is_split_by_job() {
    let mut faults = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//! ") {
            faults.push(format!("{}: the first line must say what the file is for", source.path));
        }
        let (own, tests) = source.halves();
        for (what, lines) in [("code", code(own).count()), ("tests", code(tests).count())] {
            if lines > MAX_FILE {
                faults.push(format!("{}: {lines} lines of {what}, split it by job", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_function_fits_a_page() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (name, lines) in functions(source.halves().0) {
            let table = TABLES.iter().any(|(path, table)| source.path.starts_with(path) && name == *table);
            if lines > MAX_FUNCTION && !table {
                faults.push(format!("{}: `{name}` has {lines} lines", source.path));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn names_say_what_a_thing_is() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("src/")) {
        let stem = Path::new(&source.path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if ["utils", "util", "helpers", "helper", "manager", "common", "misc", "part2"].contains(&stem) {
            faults.push(format!("{}: a file is named for its job", source.path));
        }
        for line in code(source.halves().0) {
            // `get_mut` is what the standard library calls it.
            let getter = line.contains("fn get_") && !line.contains("fn get_mut");
            let vague =
                declares_type(line) && ["Manager", "Helper", "Util"].iter().any(|word| line.contains(word));
            if getter || vague {
                faults.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_is_declared_by_its_parent() {
    let sources = sources();
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/")) {
        let path = Path::new(&source.path);
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if ["lib", "main"].contains(&stem) {
            continue;
        }
        let (folder, name) = match (stem, path.parent()) {
            ("mod", Some(folder)) => (folder.parent(), folder.file_name().and_then(|name| name.to_str())),
            (_, folder) => (folder, Some(stem)),
        };
        let (folder, name) = (folder.expect("below src"), name.expect("a name"));
        let parents = [folder.join("mod.rs"), folder.join("lib.rs"), folder.with_extension("rs")];
        let declared = sources
            .iter()
            .filter(|other| parents.contains(&PathBuf::from(&other.path)))
            .any(|parent| parent.text.lines().any(|line| line.trim_end().ends_with(&format!("mod {name};"))));
        if !declared {
            faults.push(format!("{}: no parent declares `mod {name};`", source.path));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_file_names_the_machine_that_it_was_written_on() {
    // Spelt apart so that this file does not name them either.
    let words =
        [["/", "root", "/"], ["/", "work", "/"], ["/ho", "me/", "user"], ["BEGIN", " PRIVATE ", "KEY"]];
    let words: Vec<String> = words.iter().map(|word| word.concat()).collect();
    let mut faults = Vec::new();
    for path in tracked_files() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                faults.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_rules_themselves_can_fail() {
    let paths =
        crate_paths("use crate::engine::{self, X};\nlet x = crate::base::Slab::new(); // crate::shell\n");
    assert_eq!(paths, ["engine", "base"]);
    assert_eq!(crate_paths("use crate::{base::X, moving::Y};\n"), ["base", "moving"]);
    let text = "impl X {\n    pub(super) async fn long(\n        a: u8,\n    ) {\n        1;\n    }\n\n    fn short() {}\n}\n";
    assert_eq!(functions(text), [("long".to_owned(), 5), ("short".to_owned(), 1)]);
    assert_eq!(code("//! a\n\nfn b() {}\n    // c\n").count(), 1);
}

/// The first segments of the `crate::` paths in code.
fn crate_paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let plain: String =
        code(text).map(|line| format!("{}\n", line.split(" //").next().unwrap_or(line))).collect();
    for (at, _) in plain.match_indices("crate::") {
        let rest = &plain[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => top_level(group),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            found.push(name[..end].to_owned());
        }
    }
    found
}

/// The parts of a use group up to its closing brace.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(group[start..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Lines that are neither blank nor comment.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
}

fn declares_type(line: &str) -> bool {
    ["struct ", "enum ", "trait "].iter().any(|word| line.contains(word))
}

/// Functions and their lines; rustfmt puts the closing brace at the indent of the `fn`.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else { continue };
        let only_qualifiers = before
            .split_whitespace()
            .all(|word| word.starts_with("pub") || ["const", "async", "unsafe", "extern"].contains(&word));
        if line.trim_start().starts_with("//") || !only_qualifiers {
            continue;
        }
        let name = after.split(['(', '<']).next().unwrap_or(after).to_owned();
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let one_line = line.trim_end().ends_with(['}', ';']);
        let end = if one_line {
            Some(start)
        } else {
            (start..lines.len()).find(|at| lines[*at] == closing || lines[*at] == format!("{closing};"))
        };
        if let Some(end) = end {
            found.push((name, end - start + 1));
        }
    }
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        walk(&root().join(folder), &mut paths);
    }
    paths.sort();
    let rust = paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).expect("a readable source file"),
        path: path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned(),
    };
    let sources: Vec<Source> = rust.map(read).collect();
    assert!(sources.len() > 20, "the walk finds the sources");
    sources
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// What git keeps; outside a checkout, what a checkout would hold.
fn tracked_files() -> Vec<String> {
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output();
    let listed = listed.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = listed.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    if !text.is_empty() {
        return text.lines().map(str::to_owned).collect();
    }
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "fixtures", "docs", ".ci"] {
        walk(&root().join(folder), &mut paths);
    }
    paths
        .iter()
        .filter_map(|path| Some(path.strip_prefix(root()).ok()?.to_string_lossy().into_owned()))
        .collect()
}
