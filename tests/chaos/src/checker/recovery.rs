//! How soon after a fault was mended all runs were punctual again.

use std::collections::HashSet;

use common::job::Overlap;

use super::{Expectation, Kind, Punctuality, Report, Rules};
use crate::truth::{Line, Mark};

/// Jobs due every second: the second after a mending at which all of them were punctual counts.
pub(super) fn check(expected: &[Expectation], lines: &[Line], rules: &Rules, report: &mut Report) {
    let Some(punctuality) = rules.punctuality else { return };
    let steady = |one: &&Expectation| {
        let plain = matches!(one.overlap, Overlap::Skip | Overlap::Allow) && one.off.is_empty();
        one.every_seconds == 1 && plain
    };
    let jobs: Vec<&Expectation> = expected.iter().filter(steady).collect();
    let Some(end) = jobs.iter().map(|job| job.to.seconds()).max() else { return };
    let punctual = punctual(lines, punctuality);
    for (n, fault) in rules.faults.iter().enumerate() {
        let first = fault.to_ms.div_euclid(1000) + 1;
        let all = |second: &i64| jobs.iter().all(|job| punctual.contains(&(job.job.as_str(), *second)));
        let again = (first..=end).find(all).map(|second| second * 1000 - fault.to_ms);
        let next_ms = rules.faults.get(n + 1).map_or(end * 1000, |next| next.from_ms);
        let in_time = again.is_some_and(|after| after <= punctuality.recovery_ms);
        // Where the next fault comes before, nothing was promised.
        if !in_time && next_ms - fault.to_ms > punctuality.recovery_ms {
            let after = again.map_or_else(|| "never".to_owned(), |after| format!("after {after} ms"));
            report.add(Kind::NotRecovered, format!("{}: {after}", fault.name));
        }
        report.recoveries.push((fault.name.clone(), again));
    }
}

fn punctual(lines: &[Line], punctuality: Punctuality) -> HashSet<(&str, i64)> {
    let starts = lines.iter().filter(|line| line.mark == Mark::Start);
    starts
        .filter_map(|line| {
            let tick = line.tick?;
            (line.at_ms - tick.millis() <= punctuality.late_ms).then_some((line.job.as_str(), tick.seconds()))
        })
        .collect()
}
