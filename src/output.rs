//! Standard output: tables for people, JSON for programs. A reader that goes away is not a failure.

use std::{
    fmt,
    io::{self, BufWriter, Write},
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{cli::OutputFormat, exit::OutputClosed};

/// Where a command's results go.
pub(crate) struct Output {
    pub(crate) format: OutputFormat,
    writer: Box<dyn Write>,
}

impl Output {
    pub(crate) fn new(format: OutputFormat) -> Self {
        Self { format, writer: Box::new(BufWriter::new(io::stdout())) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == OutputFormat::Json
    }

    /// One line for people.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> anyhow::Result<()> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.writer.write_all(bytes).map_err(closed)
    }

    /// One JSON value, indented.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        self.line(text)
    }

    /// A table; nothing but `empty` when it has no rows.
    pub(crate) fn table(&mut self, table: &Table, empty: &str) -> anyhow::Result<()> {
        if table.rows.is_empty() { self.line(empty) } else { self.bytes(table.to_string().as_bytes()) }
    }

    /// What was written is with the reader.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.writer.flush().map_err(closed)
    }
}

fn closed(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => OutputClosed.into(),
        _ => anyhow::Error::from(error).context("write to standard output"),
    }
}

/// Rows under a head, each column as wide as it has to be.
#[derive(Debug)]
pub(crate) struct Table {
    head: &'static [&'static str],
    widest: usize,
    rows: Vec<Vec<String>>,
}

/// Longer cells are cut: the whole is in the JSON.
const WIDEST_CELL: usize = 60;

impl Table {
    pub(crate) const fn new(head: &'static [&'static str]) -> Self {
        Self { head, widest: WIDEST_CELL, rows: Vec::new() }
    }

    /// A table that cuts nothing.
    pub(crate) const fn whole(head: &'static [&'static str]) -> Self {
        Self { head, widest: usize::MAX, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // The first cell is the name by which the row is asked for: it stays whole.
        let widest = |n: usize| if n == 0 { usize::MAX } else { self.widest };
        let cells = cells.into_iter().enumerate();
        self.rows.push(cells.map(|(n, cell)| cut(&visible(&cell), widest(n))).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self.head.iter().map(|&title| title.to_owned()).collect();
        let lines = || std::iter::once(&head).chain(&self.rows);
        let width = |n: usize| {
            lines().map(|line| line.get(n).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for line in lines() {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                let padding = width.saturating_sub(cell.chars().count()) + 2;
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', padding));
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// A text that a terminal shows and does not obey.
pub(crate) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn cut(text: &str, widest: usize) -> String {
    if text.chars().count() <= widest {
        return text.to_owned();
    }
    text.chars().take(widest - 1).chain(['…']).collect()
}

/// An instant as it lies from now: `in 5m`, `3h ago`; `now` within a second. What is not an instant stays as it is.
pub(crate) fn relative(instant: &str, now: DateTime<Utc>) -> String {
    let Ok(instant) = DateTime::parse_from_rfc3339(instant) else { return instant.to_owned() };
    let seconds = instant.with_timezone(&Utc).signed_duration_since(now).num_seconds();
    let length = match seconds.unsigned_abs() {
        0 => return "now".to_owned(),
        seconds @ 1..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    };
    if seconds < 0 { format!("{length} ago") } else { format!("in {length}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "NEXT"]);
        table.row(["a\u{1b}[2J".to_owned(), "in 5m".to_owned()]);
        table.row(["データ".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME   NEXT\na [2J  in 5m\nデータ\n");
        table.row(["x".repeat(100), "y".repeat(100)]);
        let text = table.to_string();
        assert!(text.contains(&"x".repeat(100)) && !text.contains(&"y".repeat(100)), "{text}");
    }

    #[test]
    fn instants_are_told_from_now() {
        let now = DateTime::parse_from_rfc3339("2026-11-22T01:00:00Z").unwrap().to_utc();
        for (instant, text) in [
            ("2026-11-22T01:00:05.000Z", "in 5s"),
            ("2026-11-22T00:59:59.300Z", "now"),
            ("2026-11-22T00:00:00Z", "1h ago"),
            ("2026-11-25T01:00:00Z", "in 3d"),
            ("never", "never"),
        ] {
            assert_eq!(relative(instant, now), text);
        }
    }
}
