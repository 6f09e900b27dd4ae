//! Answers as tables, JSON and CSV.

use std::io::{self, Write};

use serde::Serialize;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Columns for people
    Table,
    /// What the API gives
    Json,
    /// RFC 4180
    Csv,
}

impl Format {
    pub(super) fn is_json(self) -> bool {
        self == Self::Json
    }
}

/// Rows under headings.
pub(super) struct Table {
    pub(super) headings: &'static [&'static str],
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// Prints it; JSON prints `values` instead.
    pub(super) fn print(
        &self,
        format: Format,
        values: &impl Serialize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        match format {
            Format::Table => self.print_columns(out),
            Format::Json => print_json(values, out),
            Format::Csv => self.print_csv(out),
        }
    }

    fn print_columns(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let heading = self.headings.get(column).map_or(0, |heading| heading.chars().count());
            cells.map(|cell| printable(cell).chars().count()).chain([heading]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let headings: Vec<String> = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cell = printable(cell);
                line += &cell;
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn print_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let headings = self.headings.iter().map(|heading| heading.to_lowercase().replace(' ', "_"));
        write!(out, "{}\r\n", headings.collect::<Vec<_>>().join(","))?;
        for row in &self.rows {
            write!(out, "{}\r\n", row.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","))?;
        }
        Ok(())
    }
}

/// One value, readable.
pub(super) fn print_json(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(out, "{text}")
}

/// What a peer sent must not move the cursor of a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|shown| if shown.is_control() { '\u{fffd}' } else { shown }).collect()
}

/// A cell by RFC 4180; what a spreadsheet would take for a formula is text.
fn quoted(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '@', '\t', '\r']);
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// A dash for what is not there.
pub(super) fn or_dash(value: Option<&str>) -> String {
    value.unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            headings: &["USER", "USER AGENT"],
            rows: vec![
                vec!["alice".into(), "phone \"x\", 1\u{1b}[2J".into()],
                vec!["bo".into(), "=HYPERLINK(1)".into()],
            ],
        }
    }

    fn print(format: Format) -> String {
        let mut out = Vec::new();
        table().print(format, &serde_json::json!([1]), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_and_a_terminal_is_told_nothing() {
        let text = print(Format::Table);
        assert_eq!(text, "USER   USER AGENT\nalice  phone \"x\", 1\u{fffd}[2J\nbo     =HYPERLINK(1)\n");
    }

    #[test]
    fn csv_is_quoted_and_holds_no_formula() {
        let text = print(Format::Csv);
        let mut lines = text.split("\r\n");
        assert_eq!(lines.next(), Some("user,user_agent"));
        assert_eq!(lines.next(), Some("alice,\"phone \"\"x\"\", 1\u{1b}[2J\""));
        assert_eq!(lines.next(), Some("bo,'=HYPERLINK(1)"));
    }

    #[test]
    fn json_is_what_the_api_gives() {
        assert_eq!(print(Format::Json), "[\n  1\n]\n");
    }
}
