//! What fixtures has for those who run a node, or try one: it names metrics and files that are there, and its SIPp scenarios
//! acknowledge what they were refused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use segue::engine::view::{StatusView, TrunkView};
use segue::shell::telemetry::Metrics;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The series of a node, as they are called in expressions.
fn series() -> BTreeSet<String> {
    let metrics = Metrics::new("1");
    // Those of the export are there with it.
    let _export = metrics.hep();
    metrics.set_status(&StatusView::default());
    metrics.set_trunks(vec![TrunkView { state: "up".into(), ..TrunkView::default() }]);
    let mut names = BTreeSet::new();
    let text = metrics.encode();
    for (name, kind) in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let endings: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    names
}

/// The words of a text that look like metrics of a node or of its process.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("segue_") || word.starts_with("process_")).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_one_of_a_node() {
    let series = series();
    assert!(series.contains("segue_mos_bucket") && series.contains("segue_moves_total"), "{series:?}");
    for (name, least) in [("grafana.json", 20), ("alerts.yml", 12)] {
        let text = file(&format!("fixtures/operations/{name}"));
        let named = named(&text);
        assert!(named.len() >= least, "{name} names {} metrics only", named.len());
        let unknown: Vec<_> = named.into_iter().filter(|metric| !series.contains(*metric)).collect();
        assert!(unknown.is_empty(), "{name}: no node has {unknown:?}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_of_a_node() {
    let text = file("fixtures/operations/grafana.json");
    let board: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(board["panels"].as_array().unwrap().iter().all(|panel| panel["title"].is_string()));
    let shown = named(&text);
    let stem = |name: &str| {
        ["_total", "_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name)
            .to_owned()
    };
    let shown: BTreeSet<String> = shown.into_iter().map(stem).collect();
    let all = series();
    let hidden: BTreeSet<String> = all
        .iter()
        .filter(|name| name.starts_with("segue_"))
        .map(|name| stem(name))
        .filter(|name| !shown.contains(name))
        .collect();
    assert!(hidden.is_empty(), "{hidden:?}");
}

#[test]
fn the_package_has_files_that_are_there() {
    let manifest: toml::Table = toml::from_str(&file("Cargo.toml")).unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    assert!(package["maintainer"].is_str(), "nothing is packed without");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = package["assets"].as_array().unwrap().iter().map(|asset| asset[0].as_str().unwrap());
    let unit = package["systemd-units"]["unit-scripts"].as_str().unwrap().to_owned() + "/segue.service";
    let missing: Vec<_> = sources
        .chain([&*unit])
        .filter(|source| !source.starts_with("target/"))
        .filter(|source| !root.join(source).is_file())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Debian 12 has systemd 252, which takes no type that it does not know for one.
    let unit = file(&unit);
    let types: Vec<_> = unit.lines().filter(|line| line.starts_with("Type=")).collect();
    assert_eq!(types, ["Type=notify"]);
    assert!(unit.contains("\nExecReload=/usr/bin/segue reload "), "SIGHUP comes of nothing else");
}

#[test]
fn the_scripts_of_the_package_are_shell_that_makes_the_user_before_the_unit_starts() {
    let manifest: toml::Table = toml::from_str(&file("Cargo.toml")).unwrap();
    let folder = manifest["package"]["metadata"]["deb"]["maintainer-scripts"].as_str().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let status = Command::new("sh").arg("-n").arg(&path).status().unwrap();
        assert!(status.success(), "{}", path.display());
        // cargo-deb puts what enables, starts and stops the unit there.
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().any(|line| line == "#DEBHELPER#"), "{}", path.display());
    }
    let text = fs::read_to_string(folder.join("postinst")).unwrap();
    let (before, _) = text.split_once("#DEBHELPER#").unwrap();
    assert!(before.contains("systemd-sysusers segue.conf"), "{before}");
}

#[test]
fn an_alert_points_to_headings_that_are_there() {
    let mut seen = 0;
    for line in file("fixtures/operations/alerts.yml").lines() {
        let Some((_, place)) = line.split_once("docs/") else { continue };
        let (document, heading) = place.trim_end_matches('"').split_once(", ").unwrap();
        let text = file(&format!("docs/{document}"));
        let is_it = |line: &str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
        assert!(text.lines().any(is_it), "{document} has no heading {heading}");
        seen += 1;
    }
    assert!(seen > 0);
}

/// The messages of a SIPp scenario as SIPp counts them, sent or awaited, pauses among them, with their lines.
fn messages(scenario: &str) -> Vec<Vec<&str>> {
    let mut messages: Vec<Vec<&str>> = Vec::new();
    for line in scenario.lines().map(str::trim) {
        if ["<send", "<recv", "<nop", "<pause"].iter().any(|element| line.starts_with(element)) {
            messages.push(Vec::new());
        }
        if let Some(message) = messages.last_mut() {
            message.push(line);
        }
    }
    messages
}

/// The value of a header of a message of a scenario.
fn header<'a>(message: &[&'a str], name: &str) -> &'a str {
    message.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
}

#[test]
fn an_ack_to_a_refusal_has_the_branch_of_its_invite() {
    let (mut seen, mut faults) = (0, Vec::new());
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sipp")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let messages = messages(&text);
        for (at, ack) in messages.iter().enumerate() {
            // One to a 2xx is sent to the Contact, and is a transaction of its own (RFC 3261 13.2.2.4).
            if !ack.iter().any(|line| line.starts_with("ACK sip:")) {
                continue;
            }
            seen += 1;
            let number = header(ack, "CSeq").trim_end_matches("ACK");
            let invite = messages.iter().position(|message| {
                header(message, "CSeq").strip_suffix("INVITE") == Some(number)
                    && header(message, "Call-ID") == header(ack, "Call-ID")
            });
            let branch = format!(";branch=[branch-{}];", at - invite.unwrap());
            if !header(ack, "Via").contains(&branch) {
                faults.push(format!("{}: the ACK {number} wants {branch}", path.display()));
            }
        }
    }
    assert!(seen >= 20, "{seen} only");
    assert!(faults.is_empty(), "{faults:#?}");
}
