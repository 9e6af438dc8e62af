//! The page: where, when and by which command, a table, what is not reached and why.

use std::{fmt::Write as _, path::Path};

use super::{Summary, machine, summary::Range};
use crate::{curves, stage};

/// A whole set of measurements.
pub(crate) struct Page {
    /// What it was made by, as typed.
    pub(crate) command: String,
    pub(crate) runs: usize,
    pub(crate) rows: Vec<Summary>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

impl Page {
    /// A line each.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        for row in &self.rows {
            writeln!(text, "{}", serde_json::to_string(row)?)?;
        }
        Ok(text)
    }

    /// A page in Markdown; with the plots that stand in `beside`.
    pub(crate) fn markdown(&self, beside: Option<&Path>) -> anyhow::Result<String> {
        let mut text = String::from("# Performance\n\n");
        writeln!(text, "Made by `{}`; not edited.", self.command)?;
        writeln!(
            text,
            "Everything runs on one machine and shares its cores: the servers, the workers, the jobs and the measurement."
        )?;
        text.push_str("A ceiling is what the raw parts do in the same run, and `ratio` what was measured in parts of it.\n");
        if self.runs > 1 {
            writeln!(
                text,
                "Medians of {} runs, with the least and the most; times and notes are of the run in the middle.",
                self.runs
            )?;
        }
        writeln!(text, "\n- {}", stage::now().format("%Y-%m-%d %H:%M UTC"))?;
        writeln!(text, "- {}", machine::hardware())?;
        writeln!(text, "- quorate {}, {}\n", env!("CARGO_PKG_VERSION"), machine::servers()?)?;
        self.table(&mut text)?;
        self.shortfalls(&mut text)?;
        let plots = beside.map(curves::plots_in).unwrap_or_default();
        if !plots.is_empty() {
            text.push_str("\n## What more of it costs\n\n");
        }
        for (file, title) in plots {
            writeln!(text, "![{title}]({file})\n")?;
        }
        Ok(text)
    }

    fn table(&self, text: &mut String) -> anyhow::Result<()> {
        writeln!(
            text,
            "| bench | measured | ceiling | ratio | to reach | reached | processor time | notes |"
        )?;
        writeln!(text, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            let words = |range: &Option<Range>, unit: &str| range.map(|range| range.words(unit));
            let ceiling = words(&row.ceiling, row.ceiling_unit).unwrap_or_default();
            let ratio = words(&row.ratio, "").unwrap_or_default();
            let targets: Vec<&str> = row.targets.iter().map(|(target, _)| target.as_str()).collect();
            let reached: Vec<&str> =
                row.targets.iter().map(|(_, reached)| if *reached { "yes" } else { "**no**" }).collect();
            let Summary { bench, value, unit, cpu, notes, runs, .. } = row;
            let fewer = if *runs < self.runs { format!(" ({runs} runs)") } else { String::new() };
            writeln!(
                text,
                "| {bench}{fewer} | {} | {ceiling} | {ratio} | {} | {} | {cpu} | {notes} |",
                value.words(unit),
                targets.join("; "),
                reached.join("; ")
            )?;
        }
        Ok(())
    }

    fn shortfalls(&self, text: &mut String) -> anyhow::Result<()> {
        let short: Vec<&Summary> = self.rows.iter().filter(|row| !row.is_reached()).collect();
        if !short.is_empty() {
            text.push_str("\n## Not reached\n\n");
        }
        for Summary { bench, limit, .. } in short {
            let limit = if limit.is_empty() { "not explained yet" } else { limit };
            writeln!(text, "- **{bench}**: {limit}")?;
        }
        if !self.failures.is_empty() {
            text.push_str("\n## Not measured\n\n");
        }
        for failure in &self.failures {
            writeln!(text, "- {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Figure, Row, Target};

    #[test]
    fn what_is_not_reached_or_not_measured_is_said_below_the_table() {
        let rows = vec![
            Row::new("claims", Figure::new(9000.0, "runs/s"))
                .ceiling(Figure::new(10_000.0, "raw/s"))
                .reaching(Target::AtLeast(8000.0)),
            Row::new("shell", Figure::new(500.0, "µs")).reaching(Target::AtMost(180.0)).limit("the fork"),
        ];
        let page = Page {
            command: "bench".into(),
            runs: 1,
            rows: Summary::of_runs(vec![rows]),
            failures: vec!["list: no browser".into()],
        };
        let text = page.markdown(None).unwrap();
        for line in [
            "| claims | 9,000 runs/s | 10,000 raw/s | 0.90 | ≥ 8,000 runs/s | yes |  |  |",
            "| shell | 500 µs |  |  | ≤ 180 µs | **no** |  |  |",
            "- **shell**: the fork",
            "- list: no browser",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
