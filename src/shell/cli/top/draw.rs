//! The screen on a terminal of any size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};

use super::lines::{head, widths};
use super::screen::{Missed, Screen, Tab};

const KEYS: &str = "q quit  Tab 1-4 lists  s sort  r reverse  / filter  p pause";

pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let missed = screen.missed.as_ref().map(Missed::line);
    let lines = screen.sample.as_ref().map(head).unwrap_or_default();
    let lines: Vec<String> = missed.iter().cloned().chain(lines).collect();
    // A terminal that is too low shows the list rather than all of the head.
    let room = frame.area().height.saturating_sub(4) / 2;
    let high = u16::try_from(lines.len()).unwrap_or(0).min(room.max(1));
    let [above, bar, list, below] = Layout::vertical([
        Constraint::Length(high),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let style = |at: usize| match (at, &missed) {
        (0, Some(_)) => bold.add_modifier(Modifier::REVERSED),
        (0, None) => bold,
        _ => Style::new(),
    };
    let shown: Vec<Line<'_>> =
        lines.into_iter().enumerate().map(|(at, line)| Line::styled(line, style(at))).collect();
    frame.render_widget(Paragraph::new(shown), above);
    frame.render_widget(Paragraph::new(tabs(screen)), bar);
    table(frame, list, screen);
    let text = if screen.is_typing { format!("filter: {}_", screen.filter) } else { KEYS.to_owned() };
    frame.render_widget(Paragraph::new(text), below);
}

/// The lists, the one that is shown in reverse, and what was done to it.
fn tabs(screen: &Screen) -> Line<'static> {
    let reverse = Style::new().add_modifier(Modifier::REVERSED);
    let mut spans = Vec::new();
    for (at, tab) in Tab::ALL.into_iter().enumerate() {
        let style = if tab == screen.tab { reverse } else { Style::new() };
        spans.push(Span::styled(format!(" {} {} ", at + 1, screen.title(tab)), style));
    }
    if let Some(sorted) = screen.sort.and_then(|column| screen.tab.headings().get(column)) {
        spans.push(Span::raw(format!("  by {sorted}")));
    }
    if screen.is_reversed {
        spans.push(Span::raw("  reversed"));
    }
    if !screen.filter.is_empty() {
        spans.push(Span::raw(format!("  with `{}`", screen.filter)));
    }
    if screen.is_paused {
        spans.push(Span::styled("  paused", Style::new().add_modifier(Modifier::BOLD)));
    }
    Line::from(spans)
}

fn table(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen) {
    let rows = screen.rows();
    // There is always a row to be seen, however far somebody has scrolled.
    screen.top = screen.top.min(rows.len().saturating_sub(1));
    let headings = screen.tab.headings();
    let widths = widths(headings, &rows).into_iter();
    let widths = widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    let body = rows.into_iter().skip(screen.top).take(usize::from(area.height)).map(Row::new);
    let head = Row::new(headings.to_vec()).style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(body, widths).header(head).column_spacing(2), area);
}
