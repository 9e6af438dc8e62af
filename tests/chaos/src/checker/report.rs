//! What the checker found, and how it is shown.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use common::{run::Cause, tick::Tick};

use super::{Expectation, Kind, WindowCount, tells_lateness};
use crate::{
    records::RunRow,
    truth::{Line, Mark},
};

/// Of each kind so many findings are shown.
const SHOWN: usize = 5;

/// What the checker found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Ticks that had to be accounted for.
    pub expected: usize,
    /// Those of them that really ran.
    pub ran: usize,
    /// Missed ticks of jobs that lost a run, where that is allowed.
    pub missed_of_lost: usize,
    /// Everything found.
    pub findings: BTreeMap<Kind, Vec<String>>,
    /// What was found and had an excuse.
    pub allowed: BTreeMap<Kind, usize>,
    /// How late runs were.
    pub lateness: Lateness,
    /// Windows against runs, where jobs have such.
    pub windows: WindowCount,
    /// How long after each fault's mending runs were punctual again, in milliseconds; none: not before the end.
    pub recoveries: Vec<(String, Option<i64>)>,
    tolerated: BTreeSet<Kind>,
}

impl Report {
    pub(super) fn new(tolerated: BTreeSet<Kind>) -> Self {
        Self {
            expected: 0,
            ran: 0,
            missed_of_lost: 0,
            findings: BTreeMap::new(),
            allowed: BTreeMap::new(),
            lateness: Lateness::default(),
            windows: WindowCount::default(),
            recoveries: Vec::new(),
            tolerated,
        }
    }

    pub(super) fn allow(&mut self, kind: Kind) {
        *self.allowed.entry(kind).or_default() += 1;
    }

    pub(super) fn add(&mut self, kind: Kind, what: String) {
        self.findings.entry(kind).or_default().push(what);
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.findings.get(&kind).map_or(0, Vec::len)
    }

    /// What may not be, in words; empty: all is well.
    pub fn violations(&self) -> Vec<String> {
        let wrong = self.findings.iter().filter(|(kind, _)| !self.tolerated.contains(kind));
        wrong.map(|(kind, found)| format!("{}: {}, such as {}", kind.name(), found.len(), found[0])).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<24}{:>10}", "expected ticks", self.expected)?;
        writeln!(f, "  {:<24}{:>10}", "ran", self.ran)?;
        if self.missed_of_lost > 0 {
            writeln!(f, "  {:<24}{:>10}", "missed, of lost jobs", self.missed_of_lost)?;
        }
        for kind in Kind::ALL {
            let (count, allowed) = (self.count(kind), self.tolerated.contains(&kind));
            let verdict = if count > 0 && !allowed { "  VIOLATION" } else { "" };
            let excused = self.allowed.get(&kind).map(|count| format!(" + {count} with an excuse"));
            writeln!(f, "  {:<24}{count:>10}{}{verdict}", kind.name(), excused.unwrap_or_default())?;
            if !verdict.is_empty() {
                for found in &self.findings[&kind][..count.min(SHOWN)] {
                    writeln!(f, "      {found}")?;
                }
            }
        }
        if self.windows.due > 0 {
            let WindowCount { due, met, extra, incomplete } = self.windows;
            writeln!(f, "  {:<24}{due:>10}, {met} met", "windows")?;
            writeln!(f, "  {:<24}{extra:>10}, {incomplete} not to their end", "runs beyond them")?;
        }
        for (fault, after) in &self.recoveries {
            let after = after.map_or_else(|| "not seen".to_owned(), |after| format!("{after} ms"));
            writeln!(f, "  punctual again{after:>20} after {fault}")?;
        }
        write!(f, "{}", self.lateness)
    }
}

/// How late runs were, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    /// From tick to claim, by the log.
    pub claim: Spread,
    /// From claim to start, by the log.
    pub start: Spread,
    /// From tick to start, by the log.
    pub whole: Spread,
    /// From the start that the log says to the run's first line, in truth.
    pub spawn: Spread,
    /// From tick to the run's first line, in truth.
    pub truth: Spread,
    /// How many of them caught up with a tick that had been missed.
    pub catch_ups: usize,
}

/// How a quantity is spread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread(Vec<i64>);

impl Spread {
    /// Of these values.
    pub fn of(values: impl IntoIterator<Item = i64>) -> Self {
        let mut values: Vec<i64> = values.into_iter().collect();
        values.sort_unstable();
        Self(values)
    }

    /// The value below which so many of 1,000 lie; 0 if there is none.
    pub fn permille(&self, n: usize) -> i64 {
        let index = (self.0.len() * n / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }

    /// The largest; 0 if there is none.
    pub fn max(&self) -> i64 {
        self.permille(1000)
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {} ms, p99 {} ms, max {} ms", self.permille(500), self.permille(990), self.max())
    }
}

impl Lateness {
    pub(super) fn of(expected: &[Expectation], runs: &[&RunRow], lines: &[Line]) -> Self {
        let windows: HashMap<&str, (Tick, Tick)> =
            expected.iter().map(|one| (one.job.as_str(), (one.from, one.to))).collect();
        let counts = |job: &str, tick: Option<Tick>| {
            let window = windows.get(job).zip(tick);
            window.is_some_and(|((from, to), tick)| *from <= tick && tick <= *to)
        };
        let told: Vec<_> =
            runs.iter().filter(|row| tells_lateness(row) && counts(&row.job, row.tick)).collect();
        let by_run: HashMap<(&str, u32), &RunRow> =
            told.iter().map(|row| ((row.run.as_str(), row.attempt), **row)).collect();
        let first = lines.iter().filter(|line| line.mark == Mark::Start);
        let first: Vec<(&Line, &RunRow)> =
            first.filter_map(|line| Some((line, *by_run.get(&(line.run.as_str(), line.attempt))?))).collect();
        Self {
            claim: Spread::of(told.iter().map(|row| row.claimed_ms - row.planned_ms)),
            start: Spread::of(told.iter().map(|row| row.started_ms - row.claimed_ms)),
            whole: Spread::of(told.iter().map(|row| row.started_ms - row.planned_ms)),
            spawn: Spread::of(first.iter().map(|(line, row)| line.at_ms - row.started_ms)),
            truth: Spread::of(first.iter().map(|(line, row)| line.at_ms - row.planned_ms)),
            catch_ups: told.iter().filter(|row| row.trigger == Cause::CatchUp).count(),
        }
    }
}

impl fmt::Display for Lateness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.whole.count() == 0 {
            return Ok(());
        }
        writeln!(f, "  {:<24}{:>10}", "ran as a catch-up", self.catch_ups)?;
        writeln!(f, "  {:<24}{:>8}{:>8}{:>8}{:>8}", "lateness, ms", "p50", "p99", "p99.9", "max")?;
        for (name, spread) in [
            ("tick to claim", &self.claim),
            ("claim to start", &self.start),
            ("tick to start", &self.whole),
            // Once: a run's start was noted before the run waited for its turn to start; this row showed it.
            ("start to first line", &self.spawn),
            ("tick to first line", &self.truth),
        ] {
            let [p50, p99, p999] = [500, 990, 999].map(|n| spread.permille(n));
            writeln!(f, "  {name:<24}{p50:>8}{p99:>8}{p999:>8}{:>8}", spread.max())?;
        }
        Ok(())
    }
}
