//! Why ticks were missed: nobody could claim, or the run before them still stood in their way. Pure.
//!
//! Whoever finds them may be another worker than the one that had that run, and later: it goes by what the lock says
//! about the run.

use chrono::Duration;
use common::{
    job::Overlap,
    lock::{FreeLock, LastRun, Stretch, Why},
    run::RunState,
    tick::Tick,
};

use crate::plan::Planned;

/// A run that was claimed this long after a tick was just faster than the tick's own claim.
pub(super) const OVERTAKEN: Duration = Duration::seconds(1);

/// The ticks behind a free lock's fence, up to and including `until`, the oldest first, each stretch for one reason.
pub(super) fn missed(planned: &Planned, free: &FreeLock, until: Tick) -> Vec<Stretch> {
    let Some(schedule) = &planned.schedule else { return Vec::new() };
    let usual = (free.fence, until, Why::Usual);
    let spans = match &free.last {
        Some(last) => in_the_way(last, planned.job.overlap, free.fence, until),
        None => vec![usual],
    };
    let told = |spans: &[(Tick, Tick, Why)]| {
        let one = |(after, until, why): &(Tick, Tick, Why)| {
            Some(Stretch::of(schedule, *after, *until)?.because(*why))
        };
        spans.iter().filter_map(one).collect::<Vec<_>>()
    };
    let all = told(&spans);
    // Without a tick in the way of a run those before and behind it are one stretch.
    if all.iter().all(|stretch| stretch.why == Why::Usual) { told(&[usual]) } else { all }
}

/// The time between two ticks, the second one included, by what stood in the way in it.
fn in_the_way(last: &LastRun, overlap: Overlap, after: Tick, until: Tick) -> Vec<(Tick, Tick, Why)> {
    let Some(claimed) = last.claimed else { return vec![(after, until, Why::Usual)] };
    let from =
        Tick::from_instant(claimed.checked_sub_signed(OVERTAKEN).unwrap_or(claimed)).clamp(after, until);
    let ended = Tick::from_instant(last.ended).clamp(from, until);
    let recorded = last.recorded.map_or(ended, |at| Tick::from_instant(at).clamp(ended, until));
    let why = match (last.state, overlap) {
        (RunState::Lost, _) => Why::HolderGone,
        (_, Overlap::Replace) => Why::Replacing,
        _ => Why::Executing,
    };
    vec![
        (after, from, Why::Usual),
        (from, ended, why),
        (ended, recorded, Why::Recording),
        (recorded, until, Why::Usual),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::{DateTime, Duration};
    use common::{
        job::{Command, Exec, Job, Trigger},
        span::Span,
    };

    use super::*;

    fn tick(second: i64) -> Tick {
        Tick::from_instant(DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap())
    }

    /// Every second, its fence at 0, up to 20. The last run was claimed and ended then, its record was on disk then.
    fn told(overlap: Overlap, state: RunState, ms: (i64, i64, Option<i64>)) -> Vec<(i64, i64, u64, Why)> {
        let at = |ms: i64| tick(0).instant() + Duration::milliseconds(ms);
        let trigger = Trigger::Every { period: Span::seconds(1), anchor: Some(tick(0).instant()) };
        let mut job = Job::new("a".parse().unwrap(), trigger, Command::Exec(Exec::default()));
        job.overlap = overlap;
        let schedule = job.schedule().unwrap();
        let planned = Planned {
            job: Arc::new(job),
            revision: common::revision::Revision::new(1),
            created: common::revision::Revision::new(1),
            schedule,
            paused: false,
        };
        let last = LastRun {
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap(),
            state,
            ended: at(ms.1),
            worker: "w".parse().unwrap(),
            claimed: Some(at(ms.0)),
            recorded: ms.2.map(at),
        };
        let free = FreeLock { fence: tick(0), last: Some(last) };
        let second = |tick: Tick| tick.seconds() - 1_800_000_000;
        let all = missed(&planned, &free, tick(20));
        all.iter().map(|one| (second(one.from), second(one.to), one.count, one.why)).collect()
    }

    // Once: ticks that a run or its record stood in the way of were told that no worker could claim them;
    // whoever finds ticks missed knew nothing of the run before.
    #[test]
    fn ticks_that_found_a_run_are_told_apart_from_those_before_and_behind_it() {
        use {Overlap as O, RunState as S};
        assert_eq!(
            told(O::Replace, S::Killed, (3_000, 8_500, None)),
            [(1, 2, 2, Why::Usual), (3, 8, 6, Why::Replacing), (9, 20, 12, Why::Usual)]
        );
        assert_eq!(told(O::Replace, S::Succeeded, (-10, 30_000, None)), [(1, 20, 20, Why::Replacing)]);
        assert_eq!(
            told(O::Skip, S::Succeeded, (-10, 4_500, Some(9_700))),
            [(1, 4, 4, Why::Executing), (5, 9, 5, Why::Recording), (10, 20, 11, Why::Usual)]
        );
        assert_eq!(
            told(O::Skip, S::Lost, (-10, 15_000, None)),
            [(1, 15, 15, Why::HolderGone), (16, 20, 5, Why::Usual)]
        );
        assert_eq!(told(O::Replace, S::Killed, (-9_000, -5_000, None)), [(1, 20, 20, Why::Usual)]);
        assert_eq!(told(O::Skip, S::Succeeded, (40_000, 50_000, None)), [(1, 20, 20, Why::Usual)]);
    }
}
