//! Collects what the cache, the store and the run log know about a job's ticks, newest first, as far as one answer
//! goes.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use common::{
    id::{JobName, RunId},
    lock::Stretch,
    runlog::{Outputs, RunQuery, RunRecord, TickQuery, TickRecord},
    tick::Tick,
};

use super::{Attempt, Expectation, Known, ON_ITS_WAY, at, passed::passed};
use crate::{
    cache::{Active, JobSnapshot},
    problem::ApiError,
    state::App,
    view::{Viewer, started},
};

/// So many records of each kind are read for one answer; what is older is left to the next page.
const MOST_RECORDS: usize = 5_000;

/// Records asked for at a time.
const AT_A_TIME: usize = 500;

/// What is known of the job's ticks at or after `from`, before `end`, as far down as one answer may read. `enough`
/// ticks with a run will do, if given.
pub(crate) async fn gather(
    app: &App,
    job: &JobName,
    range: (i64, i64),
    enough: Option<usize>,
) -> Result<Known, ApiError> {
    app.loaded().await?;
    // Looked up before the run log: what ends in between is in the log by then, or on its way.
    let snapshot = app.cache.job(job.as_str());
    let passed = passed(app, job).await.inspect_err(|error| {
        tracing::debug!(%job, %error, "listing a job's ticks without those that its changes buried");
    });
    let now = app.now();
    let (records, runs_floor) = runs(app, job, range, enough).await?;
    let (mut stretches, stretches_floor) = stretches(app, job, range).await?;
    let mut runs: BTreeMap<i64, Vec<Attempt>> = BTreeMap::new();
    let mut recorded = BTreeSet::new();
    for record in records {
        let Some(tick) = record.tick else { continue };
        recorded.insert((record.run, record.attempt));
        runs.entry(tick.seconds()).or_default().push(Attempt::from(record));
    }
    if let Some(snapshot) = &snapshot {
        for (tick, attempt) in active(app, snapshot, now, &recorded) {
            runs.entry(tick.seconds()).or_default().push(attempt);
        }
    }
    let named = snapshot.iter().flat_map(named_by_lock).chain(passed.iter().flatten().cloned());
    for record in named.filter(|record| overlaps(record, range)) {
        // For some seconds both name what the run log has already.
        stretches.entry(record.id()).or_insert(record);
    }
    let lacks_passed = passed.is_err();
    let has_nothing = snapshot.is_none() && runs.is_empty() && stretches.is_empty();
    if has_nothing && !is_on_record(app, job).await? && passed?.is_empty() {
        return Err(ApiError::NoSuchJob(job.to_string()));
    }
    let mut stretches: Vec<TickRecord> = stretches.into_values().collect();
    stretches.sort_by_key(|stretch| std::cmp::Reverse(stretch.to));
    for attempts in runs.values_mut() {
        attempts.sort_by(|a, b| (&a.run, a.attempt).cmp(&(&b.run, b.attempt)));
    }
    let floor = runs_floor.max(stretches_floor).min(range.1 - 1);
    let is_bottom = floor == range.0;
    let found = Known { floor, is_bottom, end: range.1, runs, stretches, lacks_passed, ..Known::default() };
    Ok(known(app, snapshot.as_ref(), found, now))
}

/// `known` with what the job and its lock say.
fn known(app: &App, snapshot: Option<&JobSnapshot>, known: Known, now: DateTime<Utc>) -> Known {
    let oldest = known.runs.keys().next().copied();
    let stretches = known.stretches.iter().map(|stretch| stretch.from.seconds());
    let oldest = stretches.chain(oldest).min();
    let lock = snapshot.and_then(|snapshot| snapshot.lock.as_deref());
    let ended = lock.and_then(|lock| lock.last.as_ref()).map(|last| last.ended);
    let stored = snapshot.and_then(|snapshot| snapshot.job.stored.as_ref().ok());
    let second = Tick::from_instant(now).seconds();
    Known {
        expectation: stored.map_or_else(
            || Expectation { since: i64::MAX, ..Expectation::default() },
            |stored| Expectation::new(stored, oldest, second),
        ),
        now: second,
        fence: lock.and_then(|lock| lock.fence).map(Tick::seconds),
        waiting: snapshot.map(|snapshot| waiting(app, snapshot, now)).unwrap_or_default(),
        just_ended: ended.is_some_and(|ended| (now - ended).num_seconds() < ON_ITS_WAY),
        ..known
    }
}

fn waiting(app: &App, snapshot: &JobSnapshot, now: DateTime<Utc>) -> String {
    let warning = Viewer::new(&app.cache, now).job(snapshot).map(|view| view.status.warning);
    let warning = warning.ok().filter(|text| !text.is_empty());
    let is_held = snapshot.lock.as_ref().is_some_and(|lock| lock.held.is_some());
    let why = if is_held { "it waits for the run before it to end" } else { "nobody has decided it yet" };
    warning.unwrap_or_else(|| why.to_owned())
}

/// The attempts that have not ended, by their ticks.
fn active(
    app: &App,
    snapshot: &JobSnapshot,
    now: DateTime<Utc>,
    recorded: &BTreeSet<(RunId, u32)>,
) -> Vec<(Tick, Attempt)> {
    let viewer = Viewer::new(&app.cache, now);
    let attempt = |active: &Active| {
        let view = viewer.active(active, "");
        let tick = match active {
            Active::Wanted(wanted) => wanted.tick,
            Active::Held(run) => run.held.tick,
            Active::Task(_) => None,
        };
        let tick = tick.filter(|_| !recorded.contains(&(active.run(), view.attempt)))?;
        let attempt = Attempt {
            run: view.run,
            attempt: view.attempt,
            state: view.state,
            worker: view.worker,
            started: started(active, now).map(|at| at.timestamp_millis()),
            ended: None,
            reason: view.reason,
        };
        Some((tick, attempt))
    };
    snapshot.active.iter().filter_map(attempt).collect()
}

/// What the lock says of ticks without a run.
fn named_by_lock(snapshot: &JobSnapshot) -> Vec<TickRecord> {
    let Some(run) = snapshot.lock.as_ref().and_then(|lock| lock.held.as_ref()) else { return Vec::new() };
    let record = |(stretch, outcome, reason): (&Stretch, _, &str)| {
        TickRecord::of(&run.held.job, stretch, outcome, reason, &run.held.worker)
    };
    run.held.without_run().map(record).collect()
}

/// Whether a stretch has a part in that time, as the run log means it.
fn overlaps(stretch: &TickRecord, (from, end): (i64, i64)) -> bool {
    stretch.from.seconds() < end && from <= stretch.to.seconds()
}

/// Whether the run log has anything of the job, of whatever time.
async fn is_on_record(app: &App, job: &JobName) -> Result<bool, ApiError> {
    let job = Some(job.to_string());
    let of_runs = RunQuery { job: job.clone(), limit: 1, ..RunQuery::default() };
    if !app.ask_runlog(app.runlog.runs(&of_runs, Outputs::Without)).await?.records.is_empty() {
        return Ok(true);
    }
    let of_ticks = TickQuery { job, limit: 1, ..TickQuery::default() };
    Ok(!app.ask_runlog(app.runlog.ticks(&of_ticks)).await?.is_empty())
}

impl From<RunRecord> for Attempt {
    fn from(record: RunRecord) -> Self {
        Self {
            run: record.run.to_string(),
            attempt: record.attempt,
            state: record.state,
            worker: record.worker.to_string(),
            started: Some(record.start_time),
            ended: Some(record.end_time),
            reason: if record.reason.is_empty() { record.err } else { record.reason },
        }
    }
}

/// Runs planned in that time, newest first, and from which second on these are all.
async fn runs(
    app: &App,
    job: &JobName,
    (from, end): (i64, i64),
    enough: Option<usize>,
) -> Result<(Vec<RunRecord>, i64), ApiError> {
    let mut query = RunQuery {
        job: Some(job.to_string()),
        from: Some(at(from)),
        to: Some(at(end)),
        limit: AT_A_TIME,
        ..RunQuery::default()
    };
    let (mut records, mut ticks) = (Vec::new(), BTreeSet::new());
    loop {
        let page = app.ask_runlog(app.runlog.runs(&query, Outputs::Without)).await?;
        ticks.extend(page.records.iter().filter_map(|record| record.tick));
        records.extend(page.records);
        query.after = page.next;
        if query.after.is_none() {
            return Ok((records, from));
        }
        if records.len() >= MOST_RECORDS || enough.is_some_and(|enough| ticks.len() > enough) {
            // Of the last second there may be more.
            let floor = records.last().map_or(from, |last| last.plan_time.div_euclid(1000) + 1);
            return Ok((records, floor));
        }
    }
}

/// Stretches that reach into that time, by their ids, and from which second on these are all.
async fn stretches(
    app: &App,
    job: &JobName,
    (from, end): (i64, i64),
) -> Result<(BTreeMap<String, TickRecord>, i64), ApiError> {
    let mut all: BTreeMap<String, TickRecord> = BTreeMap::new();
    let mut before = end;
    loop {
        let query = TickQuery {
            job: Some(job.to_string()),
            from: Some(at(from)),
            to: Some(at(before)),
            limit: AT_A_TIME,
        };
        let page = app.ask_runlog(app.runlog.ticks(&query)).await?;
        let (is_last, known) = (page.len() < AT_A_TIME, all.len());
        let last = page.last().map_or(from, |last| last.to.seconds());
        all.extend(page.into_iter().map(|record| (record.id(), record)));
        let is_stuck = all.len() == known;
        if is_last || is_stuck || all.len() >= MOST_RECORDS {
            return Ok((all, if is_last { from } else { last + 1 }));
        }
        // The next page begins with those that begin before the end of the last one; some of them are known.
        before = last + 1;
    }
}
