//! How late the newest runs in the run log started after their ticks.

use common::{
    api::{LateRuns, LatenessView, run::instant_text},
    run::Cause,
    runlog::{Author, Outputs, RunQuery, RunRecord},
};

use crate::{problem::ApiError, state::App};

/// So many records are looked at: enough for a percentile, few enough to be asked for every few seconds.
const RECORDS: usize = 500;

/// The bounds that runs are counted by, in milliseconds; what is beyond the last one is counted too.
const BOUNDS_MS: [i64; 5] = [1, 10, 100, 1_000, 10_000];

/// The lateness of a job's or a worker's newest runs, or of all.
pub(crate) async fn of_newest(
    app: &App,
    job: Option<String>,
    worker: Option<String>,
) -> Result<LatenessView, ApiError> {
    let query = RunQuery { job, worker, limit: RECORDS, ..RunQuery::default() };
    let page = app.ask_runlog(app.runlog.runs(&query, Outputs::Without)).await?;
    Ok(view(&page.records.iter().filter(|record| started_for_its_tick(record)).collect::<Vec<_>>()))
}

/// True for a run that was to start at its tick, and did start: not for a retry, a catch-up or one by hand, which are
/// late by intent.
fn started_for_its_tick(record: &RunRecord) -> bool {
    let started = record.exit_code.is_some() || record.signal.is_some();
    record.trigger == Cause::Schedule && record.attempt == 1 && record.by == Author::Worker && started
}

fn view(records: &[&RunRecord]) -> LatenessView {
    let mut late: Vec<i64> =
        records.iter().map(|record| record.start_time.saturating_sub(record.plan_time).max(0)).collect();
    late.sort_unstable();
    // The nearest rank: the least value that so many of a hundred do not exceed.
    let percentile =
        |percent: usize| late.get((late.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    let up_to = |bound: i64| late.partition_point(|ms| *ms <= bound);
    let mut below = 0;
    let mut counts: Vec<LateRuns> = Vec::with_capacity(BOUNDS_MS.len() + 1);
    for bound in BOUNDS_MS {
        counts.push(LateRuns { to_ms: Some(bound), runs: up_to(bound) - below });
        below = up_to(bound);
    }
    counts.push(LateRuns { to_ms: None, runs: late.len() - below });
    let planned = || records.iter().map(|record| record.plan_time);
    LatenessView {
        runs: late.len(),
        from: planned().min().and_then(instant_text),
        to: planned().max().and_then(instant_text),
        p50_ms: percentile(50),
        p99_ms: percentile(99),
        most_ms: late.last().copied(),
        counts,
    }
}
