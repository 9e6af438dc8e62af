//! What became of every line, for people and for programs.

use std::fmt::Write as _;

use common::crontab::{Count, Format, Line, Outcome};

use super::{Gone, GoneResult, Import, Saving, UNKNOWN, jobs};
use crate::{
    exit::Exit,
    output::{Output, visible},
    telemetry,
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
    pub(super) prune: bool,
    pub(super) replace: bool,
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
            telemetry::say(self.text().trim_end_matches('\n'));
        } else {
            output.bytes(self.text().as_bytes())?;
        }
        let failed = self.imports.iter().any(|import| {
            let is_saved = |saving: &Saving| matches!(saving, Saving::Saved(_));
            let is_kept = |gone: &Gone| matches!(gone.result, GoneResult::Kept(_));
            import.crontab.count().problems > 0
                || !import.savings.values().all(is_saved)
                || import.gone.iter().any(is_kept)
        });
        Ok(if failed { Exit::Failed } else { Exit::Done })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut jobs = 0;
        for import in self.imports {
            jobs += import.crontab.count().jobs;
            self.write(import, &mut text);
        }
        if jobs > 0 {
            text.push_str(DIFFERENCES);
            text.push('\n');
        }
        text
    }
}

impl Report<'_> {
    fn write(&self, import: &Import, text: &mut String) {
        let columns = match import.format {
            Format::User => "without a user column",
            Format::System => "with a user column",
        };
        line(text, format_args!("{} ({columns}): {}", import.file, counted(import.crontab.count())));
        for note in &import.crontab.notes {
            line(text, format_args!("  note: {note}"));
        }
        for row in &import.crontab.lines {
            self.write_line(import, text, row);
        }
        for gone in &import.gone {
            self.write_gone(text, gone);
        }
        if !self.dry_run {
            line(text, format_args!("  {}", import.saved()));
        } else if import.plans.is_empty() && import.crontab.count().jobs > 0 {
            line(text, format_args!("  no manager answered, so this does not say which of them exist"));
        }
        text.push('\n');
    }

    /// A job whose line is gone: it runs on unless it is deleted.
    fn write_gone(&self, text: &mut String, gone: &Gone) {
        let what = match &gone.result {
            GoneResult::Deleted => "deleted".to_owned(),
            GoneResult::Kept(why) => format!("NOT DELETED: {}", why.replace('\n', "; ")),
            GoneResult::Stays if self.dry_run && self.prune => "would be deleted".to_owned(),
            GoneResult::Stays => "STILL RUNS: --prune deletes it".to_owned(),
        };
        line(text, format_args!("  no longer in the table: job {:?} {what}", gone.name));
    }

    fn result(&self, import: &Import, number: usize) -> String {
        match import.savings.get(&number) {
            Some(Saving::Saved(result)) => (*result).to_owned(),
            Some(Saving::NotSaved(error)) => format!("NOT SAVED: {}", error.replace('\n', "; ")),
            Some(Saving::Unknown) => format!("UNKNOWN: {UNKNOWN}"),
            None if self.dry_run => import
                .plans
                .get(&number)
                .map_or("would be saved", |plan| plan.foreseen(self.replace))
                .to_owned(),
            None => "NOT SAVED".to_owned(),
        }
    }

    /// A line that says something: comments and blank lines are in the count.
    fn write_line(&self, import: &Import, text: &mut String, row: &Line) {
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
                let result = self.result(import, number);
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

impl Import {
    /// How many jobs were saved, and how many were not, those that were not sent included.
    fn saved(&self) -> String {
        let saved = self.savings.values().filter(|saving| matches!(saving, Saving::Saved(_))).count();
        let unknown = self.savings.values().filter(|saving| matches!(saving, Saving::Unknown)).count();
        let not = self.crontab.count().jobs - saved - unknown;
        let unknown = if unknown > 0 { format!(", {unknown} unknown") } else { String::new() };
        format!("{saved} saved, {not} not saved{unknown}")
    }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{content}");
}

fn counted(count: Count) -> String {
    let Count { lines, jobs, settings, comments, blank, problems } = count;
    let some = |n: usize, noun| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
    let (lines, jobs) = (some(lines, "line"), some(jobs, "job"));
    let (settings, comments) = (some(settings, "setting"), some(comments, "comment"));
    format!("{lines} = {jobs} + {settings} + {comments} + {blank} blank + {problems} not carried over")
}

fn when(job: &common::job::Job) -> String {
    job.schedule().ok().flatten().map_or_else(String::new, |schedule| {
        let zone = schedule.zone().map(|zone| format!(", {}", zone.name())).unwrap_or_default();
        format!("{}{zone}", schedule.describe())
    })
}
