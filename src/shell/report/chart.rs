//! Panels of a picture: a title, what it says in numbers, axes, and curves or bars. Plain SVG 1.1 but for the colours of
//! a dark page, which a viewer that does not know of them leaves out.

use std::fmt::{self, Write};

use super::number;

/// Size of a panel.
pub(super) const PANEL: (f64, f64) = (460.0, 250.0);
/// The place for curves in it: left, top, right, bottom.
const PLOT: (f64, f64, f64, f64) = (56.0, 58.0, 440.0, 204.0);

/// A line over the share of calls, from none to all.
pub(super) struct Curve<'a> {
    /// What it is, where there are several.
    pub(super) name: &'static str,
    /// Its class in the style.
    pub(super) class: &'static str,
    /// Its values at 0, 1, 2, … 100 %.
    pub(super) values: &'a [f64],
}

/// What a panel's axis upward is.
pub(super) struct Axis {
    /// What stands beside it.
    pub(super) name: &'static str,
    /// Where it begins, and where it ends at least.
    pub(super) from: f64,
    pub(super) to: f64,
}

/// Opens a panel, with what it says in numbers.
pub(super) fn open(out: &mut String, (x, y): (f64, f64), title: &str, says: &str) -> fmt::Result {
    writeln!(out, r#"<g transform="translate({x} {y})">"#)?;
    writeln!(out, r#"<rect class="panel" width="{}" height="{}" rx="6"/>"#, PANEL.0, PANEL.1)?;
    writeln!(out, r#"<text class="title" x="16" y="24">{}</text>"#, escaped(title))?;
    writeln!(out, r#"<text class="says" x="16" y="42">{}</text>"#, escaped(says))
}

/// Closes it.
pub(super) fn close(out: &mut String) {
    out.push_str("</g>\n");
}

/// The curves of a panel over the share of `what`, with their axes.
pub(super) fn curves(out: &mut String, axis: &Axis, what: &str, curves: &[Curve<'_>]) -> fmt::Result {
    let (left, top, right, bottom) = PLOT;
    let most = curves.iter().flat_map(|curve| curve.values).copied().fold(axis.to, f64::max);
    let step = step(most - axis.from);
    let ticks = ((most - axis.from) / step).ceil().max(1.0);
    let height = ticks * step;
    let across = |percent: f64| left + (right - left) * percent / 100.0;
    let up = |value: f64| bottom - (bottom - top) * ((value - axis.from) / height).clamp(0.0, 1.0);
    for tick in 0..=ticks as u32 {
        let value = axis.from + f64::from(tick) * step;
        let y = up(value);
        writeln!(out, r#"<path class="grid" d="M{left} {y:.1}H{right}"/>"#)?;
        writeln!(
            out,
            r#"<text class="tick" x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            left - 6.0,
            y + 3.5,
            number(value)
        )?;
    }
    for percent in [0.0, 25.0, 50.0, 75.0, 95.0, 100.0] {
        let x = across(percent);
        writeln!(out, r#"<path class="axis" d="M{x:.1} {bottom}v4"/>"#)?;
        // Between 95 and 100 there is room for one of them.
        if percent != 100.0 {
            let y = bottom + 16.0;
            writeln!(out, r#"<text class="tick" x="{x:.1}" y="{y}" text-anchor="middle">{percent}</text>"#)?;
        }
    }
    writeln!(out, r#"<path class="axis" d="M{left} {top}V{bottom}H{right}"/>"#)?;
    let (middle, below) = (f64::midpoint(left, right), bottom + 34.0);
    writeln!(out, r#"<text class="name" x="{middle}" y="{below}" text-anchor="middle">% of {what}</text>"#)?;
    let middle = f64::midpoint(top, bottom);
    writeln!(
        out,
        r#"<text class="name" transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{}</text>"#,
        escaped(axis.name)
    )?;
    for (n, curve) in curves.iter().enumerate() {
        line(out, curve, (&across, &up))?;
        if curves.len() > 1 {
            let x = left + 12.0 + n as f64 * 110.0;
            let y = top + 8.0;
            writeln!(out, r#"<path class="{}" d="M{x} {y}h18"/>"#, curve.class)?;
            writeln!(out, r#"<text class="tick" x="{}" y="{}">{}</text>"#, x + 24.0, y + 3.5, curve.name)?;
        }
    }
    Ok(())
}

/// How a value is placed.
type Place<'a> = &'a dyn Fn(f64) -> f64;

fn line(out: &mut String, curve: &Curve<'_>, (across, up): (Place<'_>, Place<'_>)) -> fmt::Result {
    write!(out, r#"<path class="{}" d=""#, curve.class)?;
    for (percent, value) in curve.values.iter().enumerate() {
        let (x, y) = (across(percent as f64), up(*value));
        write!(out, "{}{x:.1} {y:.1}", if percent == 0 { "M" } else { "L" })?;
    }
    writeln!(out, r#""/>"#)
}

/// What a panel without values says instead.
pub(super) fn nothing(out: &mut String, why: &str) -> fmt::Result {
    let (x, y) = (PANEL.0 / 2.0, f64::midpoint(PLOT.1, PLOT.3));
    writeln!(out, r#"<text class="says" x="{x}" y="{y}" text-anchor="middle">{}</text>"#, escaped(why))
}

/// Bars of counts, each with its name, over all of `of`.
pub(super) fn bars(out: &mut String, of: u64, bars: &[(String, u64)]) -> fmt::Result {
    let (top, right) = (60.0, PANEL.0 - 130.0);
    let left = 130.0;
    for (n, (name, count)) in bars.iter().enumerate() {
        let y = top + n as f64 * 22.0;
        let share = *count as f64 / of.max(1) as f64;
        // What is there is seen.
        let width = ((right - left) * share).max(1.5);
        let middle = y + 11.5;
        writeln!(
            out,
            r#"<text class="name" x="{}" y="{middle}" text-anchor="end">{}</text>"#,
            left - 8.0,
            escaped(name)
        )?;
        writeln!(out, r#"<rect class="bar" x="{left}" y="{y}" width="{width:.1}" height="15" rx="2"/>"#)?;
        let x = left + width + 8.0;
        let percent = number((share * 1000.0).round() / 10.0);
        writeln!(out, r#"<text class="tick" x="{x:.1}" y="{middle}">{count} ({percent} %)</text>"#)?;
    }
    Ok(())
}

/// A step of 1, 2 or 5 that makes about four of `range`.
fn step(range: f64) -> f64 {
    let rough = (range / 4.0).max(1e-6);
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

/// Text as it may stand between tags.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_about_four() {
        assert_eq!([0.3, 4.0, 7.0, 100.0, 430.0].map(step), [0.1, 1.0, 2.0, 50.0, 200.0]);
    }
}
