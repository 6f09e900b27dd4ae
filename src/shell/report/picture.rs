//! The picture of a report: six panels, readable in light and in dark.

use std::fmt::{self, Write};

use super::chart::{self, Axis, Curve, PANEL, escaped};
use super::number;
use crate::base::UnixMillis;
use crate::engine::report::{RunReport, Spread};

const WIDTH: f64 = 968.0;
const MARGIN: f64 = 16.0;
const HEAD: f64 = 72.0;
/// Bars that a panel has room for.
const BARS: usize = 8;

/// Colours by class, light, and those of a dark page. A viewer without media queries shows the light ones.
const STYLE: &str = "<style>
text{font:12px system-ui,sans-serif;fill:#1f2937}
.back{fill:#fff}.panel{fill:#f8fafc;stroke:#dbe1e8}
.head{font-size:20px;font-weight:600}.title{font-size:14px;font-weight:600}
.says,.tick,.name{fill:#4b5563}.tick{font-size:11px}
.axis,.grid{fill:none;stroke:#6b7280}.grid{stroke:#e2e8f0}
.one,.two{fill:none;stroke:#1d4ed8;stroke-width:2;stroke-linejoin:round}.two{stroke:#b45309}.bar{fill:#1d4ed8}
@media (prefers-color-scheme:dark){
text{fill:#f3f4f6}.back{fill:#0f172a}.panel{fill:#1e293b;stroke:#334155}
.says,.tick,.name{fill:#cbd5e1}.axis{stroke:#94a3b8}.grid{stroke:#334155}
.one{stroke:#7db2ff}.two{stroke:#fbbf24}.bar{fill:#7db2ff}}
</style>
";

/// The picture.
#[must_use]
pub(in crate::shell) fn svg(report: &RunReport) -> String {
    let mut out = String::new();
    // Writing into memory does not fail.
    let _ = draw(&mut out, report);
    out
}

fn draw(out: &mut String, report: &RunReport) -> fmt::Result {
    let height = HEAD + 3.0 * (PANEL.1 + MARGIN);
    let title = escaped(&format!("Test run {}", report.run));
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">"#
    )?;
    writeln!(out, "<title>{title}</title>")?;
    out.push_str(STYLE);
    writeln!(out, r#"<rect class="back" width="{WIDTH}" height="{height}"/>"#)?;
    writeln!(out, r#"<text class="head" x="{MARGIN}" y="34">{title}</text>"#)?;
    writeln!(out, r#"<text class="says" x="{MARGIN}" y="56">{}</text>"#, escaped(&summary(report)))?;
    let place = |n: u32| {
        let (column, row) = (f64::from(n % 2), f64::from(n / 2));
        (MARGIN + column * (PANEL.0 + MARGIN), HEAD + row * (PANEL.1 + MARGIN))
    };
    endings(out, place(0), report)?;
    setup(out, place(1), report)?;
    let moves = &report.moves;
    let panels = [
        (
            "How calls sounded",
            "MOS",
            "measured calls",
            (1.0, 5.0),
            &report.mos,
            format!("{} without a score", report.without_mos),
        ),
        ("Loss", "packets lost, %", "measured calls", (0.0, 0.1), &report.loss_percent, String::new()),
        ("Jitter", "ms", "measured calls", (0.0, 1.0), &report.jitter_ms, String::new()),
        (
            "Gap of moves",
            "ms",
            "measured moves",
            (0.0, 20.0),
            &moves.gap_ms,
            format!("{} rolled back, {} refused", moves.rolled_back, moves.refused),
        ),
    ];
    for (n, (title, axis, what, (from, to), spread, more)) in (2..).zip(panels) {
        let from_below = title == "How calls sounded";
        let mut says = numbers(spread, from_below);
        if !more.is_empty() {
            says = format!("{says} · {more}");
        }
        chart::open(out, place(n), title, &says)?;
        if spread.count == 0 {
            chart::nothing(out, "nothing was measured")?;
        } else {
            let curve = Curve { name: "", class: "one", values: &spread.curve };
            chart::curves(out, &Axis { name: axis, from, to }, what, &[curve])?;
        }
        chart::close(out);
    }
    out.push_str("</svg>\n");
    Ok(())
}

/// How calls ended, the most frequent first.
fn endings(out: &mut String, place: (f64, f64), report: &RunReport) -> fmt::Result {
    let share = |name: &str| report.dispositions.get(name).copied().unwrap_or(0);
    let says = format!("{} of {} answered", share("answered"), report.calls);
    chart::open(out, place, "How calls ended", &says)?;
    let words = report.dispositions.iter().map(|(word, calls)| (word.replace('_', " "), *calls));
    let codes = report.sip_codes.iter().map(|(code, calls)| (format!("SIP {code}"), *calls));
    let (mut words, mut codes): (Vec<_>, Vec<_>) = (words.collect(), codes.collect());
    for bars in [&mut words, &mut codes] {
        bars.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    }
    words.truncate(BARS / 2 + 1);
    codes.truncate(BARS - words.len());
    words.append(&mut codes);
    chart::bars(out, report.calls, &words)?;
    chart::close(out);
    Ok(())
}

fn setup(out: &mut String, place: (f64, f64), report: &RunReport) -> fmt::Result {
    let says = format!("to the answer: {}", numbers(&report.answer_ms, false));
    chart::open(out, place, "Setup time", &says)?;
    let curves = [
        Curve { name: "to ringing", class: "two", values: &report.ring_ms.curve },
        Curve { name: "to the answer", class: "one", values: &report.answer_ms.curve },
    ];
    if report.ring_ms.count + report.answer_ms.count == 0 {
        chart::nothing(out, "no call rang")?;
    } else {
        chart::curves(out, &Axis { name: "ms", from: 0.0, to: 1.0 }, "calls", &curves)?;
    }
    chart::close(out);
    Ok(())
}

/// A spread in a line. Of what is the better the greater it is, the low end is told.
fn numbers(spread: &Spread, from_below: bool) -> String {
    let told = if from_below {
        [("min", spread.min), ("p5", spread.p5), ("p50", spread.p50)]
    } else {
        [("p50", spread.p50), ("p95", spread.p95), ("max", spread.max)]
    };
    let told = told.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", number(value?))));
    told.chain([format!("n {}", spread.count)]).collect::<Vec<_>>().join(" · ")
}

fn summary(report: &RunReport) -> String {
    let at = |time: Option<crate::engine::view::Time>| {
        time.map_or_else(|| "-".into(), |time| UnixMillis::to_string(&time.0))
    };
    format!(
        "{} calls, {} moves, {} to {}",
        report.calls,
        report.moves.begun,
        at(report.begun),
        at(report.ended)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::a_run;
    use super::*;

    /// Tags are closed in order; gives how often each was opened.
    fn tags(text: &str) -> std::collections::BTreeMap<String, usize> {
        let (mut open, mut seen) = (Vec::new(), std::collections::BTreeMap::new());
        for tag in text.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').unwrap();
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name));
                continue;
            }
            let name = tag.split([' ', '/']).next().unwrap().to_owned();
            *seen.entry(name.clone()).or_default() += 1;
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
        seen
    }

    #[test]
    fn every_panel_has_a_title_axes_and_what_was_measured() {
        let picture = svg(&a_run());
        let tags = tags(&picture);
        assert_eq!((tags["svg"], tags["g"]), (1, 6));
        for text in
            ["Test run night-1", "How calls ended", "SIP 486", "Setup time", "MOS", "Jitter", "% of calls"]
        {
            assert!(picture.contains(text), "{text}");
        }
        assert_eq!(picture.matches(r#"class="one" d="M"#).count(), 6, "five curves and a swatch");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }

    #[test]
    fn a_run_without_anything_measured_says_so() {
        let picture = svg(&RunReport { run: "a<b".into(), ..RunReport::default() });
        tags(&picture);
        assert!(picture.contains("a&lt;b") && picture.contains("nothing was measured"));
        assert!(!picture.contains("NaN"));
    }
}
