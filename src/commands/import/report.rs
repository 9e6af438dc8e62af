//! What became of every line, for people and for programs.

use std::fmt::Write as _;

use common::crontab::{Count, Format, Line, Outcome};

use super::{Import, Saving, UNKNOWN, jobs};
use crate::{
    exit::Exit,
    output::{Output, visible},
};

/// What is different from cron for every job; the lines' notes say the rest.
const DIFFERENCES: &str = "Unlike under cron, a tick that finds its job still running is skipped (\"overlap\": \"allow\" lets it run), and \
     the latest tick that was missed, by up to an hour, is made up for.";

/// Longer lines are cut: they are known by their numbers.
const SHOWN_CHARS: usize = 100;

/// The report of an import.
pub(super) struct Report<'a> {
    pub(super) imports: &'a [Import],
    /// True: nothing was to be saved.
    pub(super) dry_run: bool,
}

impl Report<'_> {
    /// Prints it. A dry run's jobs go to standard output, for `job save`; its report goes beside it.
    pub(super) fn print(&self, output: &mut Output) -> anyhow::Result<Exit> {
        if output.is_json() {
            let files = self.imports.iter().map(Import::to_json).collect::<anyhow::Result<Vec<_>>>()?;
            output.json(&files)?;
        } else if self.dry_run {
            output.json(&jobs(self.imports)?)?;
            output.flush()?;
            eprint!("{}", self.text());
        } else {
            output.bytes(self.text().as_bytes())?;
        }
        let failed = self.imports.iter().any(|import| {
            let is_saved = |saving: &Saving| matches!(saving, Saving::Saved(_));
            import.crontab.count().problems > 0 || !import.savings.values().all(is_saved)
        });
        Ok(if failed { Exit::Failed } else { Exit::Done })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut jobs = 0;
        for import in self.imports {
            jobs += import.crontab.count().jobs;
            import.write(&mut text, self.dry_run);
        }
        if jobs > 0 {
            text.push_str(DIFFERENCES);
            text.push('\n');
        }
        text
    }
}

impl Import {
    fn write(&self, text: &mut String, dry_run: bool) {
        let columns = match self.format {
            Format::User => "without a user column",
            Format::System => "with a user column",
        };
        line(text, format_args!("{} ({columns}): {}", self.file, counted(self.crontab.count())));
        for note in &self.crontab.notes {
            line(text, format_args!("  note: {note}"));
        }
        for row in &self.crontab.lines {
            self.write_line(text, row, dry_run);
        }
        if !dry_run {
            line(text, format_args!("  {}", self.saved()));
        }
        text.push('\n');
    }

    /// How many jobs were saved, and how many were not, those that were not sent included.
    fn saved(&self) -> String {
        let saved = self.savings.values().filter(|saving| matches!(saving, Saving::Saved(_))).count();
        let unknown = self.savings.values().filter(|saving| matches!(saving, Saving::Unknown)).count();
        let not = self.crontab.count().jobs - saved - unknown;
        let unknown = if unknown > 0 { format!(", {unknown} unknown") } else { String::new() };
        format!("{saved} saved, {not} not saved{unknown}")
    }

    /// A line that says something: comments and blank lines are in the count.
    fn write_line(&self, text: &mut String, row: &Line, dry_run: bool) {
        let number = row.number;
        match &row.outcome {
            Outcome::Blank => return,
            Outcome::Comment if row.notes.is_empty() => return,
            Outcome::Comment => line(text, format_args!("  line {number}: comment")),
            Outcome::Setting { name, value } => {
                line(text, format_args!("  line {number}: setting {name}={}", visible(value)));
            }
            Outcome::Problem { reason } => {
                line(text, format_args!("  line {number}: NOT CARRIED OVER: {reason}"));
                let shown: String = visible(&row.text).chars().take(SHOWN_CHARS).collect();
                line(text, format_args!("      {}", shown.trim()));
            }
            Outcome::Job { job } => {
                let result = match self.savings.get(&number) {
                    Some(Saving::Saved(result)) => (*result).to_owned(),
                    Some(Saving::NotSaved(error)) => format!("NOT SAVED: {}", error.replace('\n', "; ")),
                    Some(Saving::Unknown) => format!("UNKNOWN: {UNKNOWN}"),
                    None if dry_run => "would be saved".to_owned(),
                    None => "NOT SAVED".to_owned(),
                };
                line(
                    text,
                    format_args!("  line {number}: job {:?} ({}) {result}", job.name.as_str(), when(job)),
                );
            }
        }
        for note in &row.notes {
            line(text, format_args!("      note: {note}"));
        }
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{content}");
}

fn counted(count: Count) -> String {
    let Count { lines, jobs, settings, comments, blank, problems } = count;
    format!(
        "{lines} lines = {jobs} jobs + {settings} settings + {comments} comments + {blank} blank + {problems} not carried over"
    )
}

fn when(job: &common::job::Job) -> String {
    job.schedule().ok().flatten().map_or_else(String::new, |schedule| {
        let zone = schedule.zone().map(|zone| format!(", {}", zone.name())).unwrap_or_default();
        format!("{}{zone}", schedule.describe())
    })
}
