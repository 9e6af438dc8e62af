//! A picture of what happened: a row for each job with its windows, ticks and runs, and the faults across all of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use common::{run::RunState, runlog::TickOutcome};

use crate::{
    checker::{ChronosJob, Expectation, Fault, Observed},
    records::RunRow,
    truth::{Line, Mark},
};

const ROW: i64 = 14;
const NAMES: i64 = 120;
const HEAD: i64 = 66;
/// The names of faults take so many lines by turns, so that neighbours do not cover each other.
const TURNS: i64 = 3;
/// One second is so wide at most, and at least; between, so that all fits into the width.
const SECOND: (i64, i64) = (4, 20);
const WIDTH: i64 = 6_000;

/// What colours mean, in the order of the legend.
const LEGEND: [(&str, &str); 7] = [
    (SUCCEEDED, "succeeded"),
    (LOST, "lost"),
    (OTHERWISE, "ended otherwise"),
    (UNKNOWN, "not in the log"),
    (SKIPPED, "tick skipped"),
    (MISSED, "tick missed"),
    ("#f4c7c7", "a fault, named above"),
];
const SUCCEEDED: &str = "#3a5";
const LOST: &str = "#d22";
const OTHERWISE: &str = "#e70";
const UNKNOWN: &str = "#999";
const SKIPPED: &str = "#ec0";
const MISSED: &str = "#d0d";

/// What is drawn.
pub struct Scene<'a> {
    /// The jobs.
    pub expected: &'a [Expectation],
    /// Their windows, where they have such.
    pub windows: &'a [ChronosJob],
    /// What was broken.
    pub faults: &'a [Fault],
    /// What happened.
    pub observed: &'a Observed,
}

/// A run in truth.
struct Bar<'a> {
    begin_ms: i64,
    end_ms: i64,
    line: &'a Line,
}

impl Scene<'_> {
    /// The picture as SVG.
    pub fn svg(&self) -> String {
        let from_ms = self.expected.iter().map(|one| one.from.millis()).min().unwrap_or_default() - 1_000;
        let to_ms = self.observed.until_ms.max(from_ms + 1_000);
        let second = (WIDTH * 1000 / (to_ms - from_ms)).clamp(SECOND.0, SECOND.1);
        let x = |at_ms: i64| NAMES + (at_ms.clamp(from_ms, to_ms) - from_ms) * second / 1000;
        let mut jobs: Vec<&Expectation> = self.expected.iter().collect();
        jobs.sort_by(|a, b| a.job.cmp(&b.job));
        let height = HEAD + ROW * i64::try_from(jobs.len()).unwrap_or_default() + ROW;
        let width = x(to_ms) + 20;
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' font-family='sans-serif' \
             font-size='9'>\n<rect width='100%' height='100%' fill='white'/>\n"
        );
        for seconds in (0..=(to_ms - from_ms) / 1000).step_by(10) {
            let at = x(from_ms + seconds * 1000);
            put(&mut svg, format_args!("<path d='M{at} {HEAD}V{height}' stroke='#ddd'/>"));
            put(&mut svg, format_args!("<text x='{at}' y='{}' fill='#888'>{seconds} s</text>", HEAD - 3));
        }
        put_legend(&mut svg);
        for (n, fault) in (0..).zip(self.faults) {
            let (at, wide) = (x(fault.from_ms), (x(fault.to_ms) - x(fault.from_ms)).max(2));
            let name = escape(&fault.name);
            put(
                &mut svg,
                format_args!(
                    "<rect x='{at}' y='18' width='{wide}' height='{height}' fill='#d33' opacity='.12'/>"
                ),
            );
            let y = 27 + n % TURNS * 11;
            put(&mut svg, format_args!("<text x='{at}' y='{y}' fill='#a00'>{name}</text>"));
        }
        let bars = bars(&self.observed.lines);
        let rows: HashMap<(&str, u32), &RunRow> =
            self.observed.records.runs.iter().map(|row| ((row.run.as_str(), row.attempt), row)).collect();
        for (n, job) in (0..).zip(jobs) {
            let y = HEAD + n * ROW;
            put(&mut svg, format_args!("<text x='2' y='{}'>{}</text>", y + 10, escape(&job.job)));
            self.windows_of(&mut svg, job, y, x, to_ms);
            for bar in bars.get(job.job.as_str()).into_iter().flatten() {
                draw(&mut svg, bar, rows.get(&(bar.line.run.as_str(), bar.line.attempt)).copied(), y, x);
            }
            self.outcomes_of(&mut svg, job, y, x);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn windows_of(&self, svg: &mut String, job: &Expectation, y: i64, x: impl Fn(i64) -> i64, to_ms: i64) {
        for (begin, end) in
            self.windows.iter().filter(|one| one.job == job.job).flat_map(|one| one.windows(to_ms))
        {
            let (at, wide) = (x(begin), x(end) - x(begin));
            put(
                svg,
                format_args!("<rect x='{at}' y='{y}' width='{wide}' height='12' fill='#cde' stroke='#9bd'/>"),
            );
        }
        let last = job.to.seconds().min(to_ms / 1000);
        let mut ticks = String::new();
        for second in job.ticks_in(job.from.seconds(), last) {
            put(&mut ticks, format_args!("M{} {}v3", x(second * 1000), y + 11));
        }
        put(svg, format_args!("<path d='{}' stroke='#555'/>", ticks.replace('\n', "")));
    }

    /// Ticks that got no run: skipped ones yellow, missed ones magenta.
    fn outcomes_of(&self, svg: &mut String, job: &Expectation, y: i64, x: impl Fn(i64) -> i64) {
        for row in self.observed.records.ticks.iter().filter(|row| row.job == job.job) {
            let colour = if row.outcome == TickOutcome::Skipped { SKIPPED } else { MISSED };
            for second in job.ticks_in(row.from.seconds(), row.to.seconds()) {
                let title = format!("{:?}: {} to {}", row.outcome, row.from, row.to);
                let at = x(second * 1000);
                put(
                    svg,
                    format_args!(
                        "<circle cx='{at}' cy='{}' r='2.5' fill='{colour}'><title>{title}</title></circle>",
                        y + 6
                    ),
                );
            }
        }
    }
}

fn put_legend(svg: &mut String) {
    for (n, (colour, meaning)) in (0..).zip(LEGEND) {
        let at = NAMES + n * 110;
        put(svg, format_args!("<rect x='{at}' y='5' width='9' height='9' fill='{colour}'/>"));
        put(svg, format_args!("<text x='{}' y='13'>{meaning}</text>", at + 13));
    }
}

/// Each job's runs, from the first line to the last.
fn bars(lines: &[Line]) -> BTreeMap<&str, Vec<Bar<'_>>> {
    let mut bars: BTreeMap<&str, Vec<Bar<'_>>> = BTreeMap::new();
    for line in lines {
        let of_job = bars.entry(line.job.as_str()).or_default();
        if line.mark == Mark::Start {
            of_job.push(Bar { begin_ms: line.at_ms, end_ms: line.at_ms, line });
        } else if let Some(bar) =
            of_job.iter_mut().rev().find(|bar| bar.line.run == line.run && bar.line.attempt == line.attempt)
        {
            bar.end_ms = line.at_ms;
        }
    }
    bars
}

fn draw(svg: &mut String, bar: &Bar<'_>, row: Option<&RunRow>, y: i64, x: impl Fn(i64) -> i64) {
    let (at, wide) = (x(bar.begin_ms), (x(bar.end_ms) - x(bar.begin_ms)).max(2));
    let colour = match row.map(|row| row.state) {
        None => UNKNOWN,
        Some(RunState::Succeeded) => SUCCEEDED,
        Some(RunState::Lost) => LOST,
        Some(_) => OTHERWISE,
    };
    let state = row
        .map_or_else(|| "not in the log".to_owned(), |row| format!("{}, {}", row.state, escape(&row.reason)));
    let Line { run, attempt, worker, tick, .. } = bar.line;
    let late = tick.map_or(0, |tick| bar.begin_ms - tick.millis());
    let tick = tick.map(|tick| tick.to_string()).unwrap_or_default();
    let title = format!("{tick} {late:+} ms, {run}/{attempt} on {worker}: {state}");
    let y = y + 2;
    put(
        svg,
        format_args!(
            "<rect x='{at}' y='{y}' width='{wide}' height='8' fill='{colour}' opacity='.8'><title>{title}</title></rect>"
        ),
    );
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(svg, "{what}").expect("a string takes everything");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use common::tick::Tick;

    use super::*;

    #[test]
    fn a_picture_has_each_run_and_fault() {
        let tick = |second: i64| {
            Tick::from_instant(chrono::DateTime::from_timestamp(1_795_348_800 + second, 0).unwrap())
        };
        let line = |mark, at_ms| Line {
            mark,
            job: "a<b".into(),
            tick: Some(tick(3)),
            attempt: 1,
            fence: 7,
            worker: "w1".into(),
            run: "r".into(),
            at_ms,
        };
        let at = tick(3).millis();
        let lines = vec![line(Mark::Start, at + 5), line(Mark::End, at + 1005)];
        let observed = Observed { lines, until_ms: tick(9).millis(), ..Observed::default() };
        let fault = Fault::new("worker-kill of w1", at, at + 2000);
        let expected = [Expectation::new("a<b", 1, tick(0), tick(9))];
        let svg = Scene { expected: &expected, windows: &[], faults: &[fault], observed: &observed }.svg();
        for part in
            ["worker-kill of w1", "a&lt;b", "+5 ms, r/1 on w1: not in the log", "width='20' height='8'"]
        {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
    }
}
