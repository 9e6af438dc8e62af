//! Windows against runs, as Jepsen's analysis of Chronos has it: a job says from when, how often and how many times
//! it has to begin, how late at most, and how long it lasts. Each window needs a run of its own that began in it and
//! came to its end.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Kind, Report, Rules};
use crate::truth::{Line, Mark, RESOLUTION_MS};

/// A job as Chronos has it. Times are in milliseconds, the start's since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChronosJob {
    /// The job.
    pub job: String,
    /// The first window's begin.
    pub start_ms: i64,
    /// Between two windows' begins.
    pub interval_ms: i64,
    /// How many windows.
    pub count: usize,
    /// How long a window is.
    pub epsilon_ms: i64,
    /// How long a run lasts.
    pub duration_ms: i64,
}

/// What became of the windows of all jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowCount {
    /// Windows that were over, the run included.
    pub due: usize,
    /// Those that have a run.
    pub met: usize,
    /// Runs that came to their end and are of no window.
    pub extra: usize,
    /// Runs that did not come to their end.
    pub incomplete: usize,
}

impl ChronosJob {
    /// The begins and ends of the windows that had to be met before `until_ms`.
    pub fn windows(&self, until_ms: i64) -> Vec<(i64, i64)> {
        let begins = (0..).map(|n| self.start_ms + n * self.interval_ms).take(self.count);
        let windows = begins.map(|begin| (begin, begin + self.epsilon_ms));
        windows.take_while(|(_, end)| end + self.duration_ms < until_ms).collect()
    }

    /// When its runs that came to their end began, in order, and how many others there are.
    fn runs(&self, lines: &[Line]) -> (Vec<i64>, usize) {
        let own = || lines.iter().filter(|line| line.job == self.job);
        let ended = |begun: &Line| {
            own().any(|line| line.mark == Mark::End && line.run == begun.run && line.attempt == begun.attempt)
        };
        let begun: Vec<&Line> = own().filter(|line| line.mark == Mark::Start).collect();
        let mut complete: Vec<i64> = begun.iter().filter(|line| ended(line)).map(|line| line.at_ms).collect();
        complete.sort_unstable();
        let incomplete = begun.len() - complete.len();
        (complete, incomplete)
    }

    /// Matches windows and runs; says which windows have none. A window begins earlier by as much as a worker's clock
    /// may have been ahead.
    pub(super) fn check(&self, lines: &[Line], until_ms: i64, rules: &Rules, report: &mut Report) {
        let (mut windows, (runs, incomplete)) = (self.windows(until_ms), self.runs(lines));
        for (begin, _) in &mut windows {
            *begin -= rules.ahead_at(*begin);
        }
        let unmet = unmet(&windows, &runs);
        let met = windows.len() - unmet.len();
        report.windows.due += windows.len();
        report.windows.met += met;
        // A run of a window that is not over yet is no extra one.
        let over = |begun: &&i64| windows.last().is_some_and(|(_, end)| *begun <= end);
        report.windows.extra += runs.iter().filter(over).count().saturating_sub(met);
        report.windows.incomplete += incomplete;
        for (begin, end) in unmet {
            let after = (begin - self.start_ms) / 1000;
            let what = format!("{}: the window {after} s after the first, {} ms long", self.job, end - begin);
            report.add(Kind::UnmetWindow, what);
        }
    }
}

/// The windows that no run is left for, when as many as can be have one. Each run takes, of the windows open as it
/// begins, the one that closes first: for intervals this is a maximum matching. Both come sorted. What is computed from
/// two clocks is not exact: a run on the tick may seem to begin just before its window.
fn unmet(windows: &[(i64, i64)], runs: &[i64]) -> Vec<(i64, i64)> {
    let (mut unmet, mut open, mut next) = (Vec::new(), BinaryHeap::new(), windows.iter().peekable());
    for run in runs {
        while let Some((begin, end)) = next.next_if(|(begin, _)| begin - 2 * RESOLUTION_MS <= *run) {
            open.push(Reverse((*end, *begin)));
        }
        while let Some(Reverse((end, begin))) = open.pop() {
            if end >= *run {
                break;
            }
            unmet.push((begin, end));
        }
    }
    unmet.extend(open.into_iter().map(|Reverse((end, begin))| (begin, end)));
    unmet.extend(next);
    unmet.sort_unstable();
    unmet
}
