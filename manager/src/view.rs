//! What the native API shows of a job or a run, computed from the cache without I/O.

use std::{str::FromStr, sync::Arc};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use common::{
    api::{JobStatus, JobView, RunView, WorkerView, run::instant_text},
    job::{Placement, StoredJob},
    queue::QueuedRun,
    run::RunState,
    schedule::Schedule,
    span::Span,
    store::Revision,
    tick::Tick,
    worker::{Drain, Readiness, Registration},
};

use crate::{
    cache::{Active, Cache, CachedLock, JobSnapshot},
    change::fence::is_ahead,
    problem::ApiError,
};

/// So many of a job's next instants are shown.
const NEXT_SHOWN: usize = 5;

/// So many of the workers that a task waits for are named.
const WAITED_FOR: usize = 3;

/// What a page of jobs may be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobState {
    Active,
    Paused,
    Running,
    /// How its last run ended.
    Last(RunState),
}

impl FromStr for JobState {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "active" => Ok(Self::Active),
            "paused" => Ok(Self::Paused),
            "running" => Ok(Self::Running),
            other => other.parse().ok().filter(|state: &RunState| state.is_final()).map(Self::Last).ok_or(()),
        }
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn instant(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The eyes of one request: the time, and the workers, as they are now.
pub(crate) struct Viewer<'a> {
    cache: &'a Cache,
    now: DateTime<Utc>,
    workers: Vec<Arc<Registration>>,
}

impl<'a> Viewer<'a> {
    pub(crate) fn new(cache: &'a Cache, now: DateTime<Utc>) -> Self {
        Self { cache, now, workers: cache.workers() }
    }

    /// A job with its status; an error if its stored value is not one.
    pub(crate) fn job(&self, snapshot: &JobSnapshot) -> Result<JobView, ApiError> {
        match &snapshot.job.stored {
            Ok(stored) => Ok(self.stored(stored, snapshot.job.revision, Some(snapshot))),
            Err(error) => Err(ApiError::BrokenJob { name: snapshot.name.clone(), error: error.clone() }),
        }
    }

    /// A stored job with what `known` says of its runs.
    pub(crate) fn stored(
        &self,
        stored: &StoredJob,
        revision: Revision,
        known: Option<&JobSnapshot>,
    ) -> JobView {
        let schedule = stored.job.schedule();
        let lock = known.and_then(|known| known.lock.as_deref());
        let (describe, next) = match &schedule {
            Ok(Some(schedule)) if stored.paused => (describe(schedule), Vec::new()),
            Ok(Some(schedule)) => {
                // Behind a fence that is ahead no tick comes.
                let fence = lock.and_then(|lock| lock.fence).filter(|fence| is_ahead(*fence, self.now));
                let from = fence.map_or(self.now, Tick::instant);
                (describe(schedule), next_after(schedule, from, NEXT_SHOWN).map(instant).collect())
            }
            Ok(None) | Err(_) => (String::new(), Vec::new()),
        };
        let warning = match &schedule {
            Err(error) => format!("it never runs by itself: {error}"),
            Ok(_) => self.warning(stored, lock),
        };
        let active = known.map_or(&[][..], |known| &known.active);
        let status = JobStatus {
            revision: revision.get(),
            paused: stored.paused,
            saved: stored.saved.map(instant),
            describe,
            next,
            last: lock.and_then(|lock| lock.last.clone()),
            running: active.iter().map(|active| self.active(active, &stored.job.driver.text())).collect(),
            warning,
        };
        JobView { job: stored.job.clone(), status }
    }

    fn warning(&self, stored: &StoredJob, lock: Option<&CachedLock>) -> String {
        let job = &stored.job;
        if let Some(problem) = lock.and_then(|lock| lock.problem.as_ref()) {
            return format!("it cannot run: {problem}; save it again, or remove locks/{}", job.name);
        }
        let fence = lock.and_then(|lock| lock.fence);
        if let Some(fence) = fence.filter(|fence| is_ahead(*fence, self.now)) {
            return format!(
                "its ticks up to {fence} count as decided, which is ahead of now: none runs before; \
                 `quorate job reset-fence` lets them count from now"
            );
        }
        let righted = stored.righted(self.now);
        if let Some(righted) = righted.filter(|righted| righted.stored.job.trigger != job.trigger) {
            return format!(
                "its ticks count from a clock that was {} ahead of this one: none comes before that; \
                 `quorate job reset-fence` lets them count from now",
                span_of(righted.by)
            );
        }
        self.why_nowhere(&job.placement)
    }

    /// Why no worker that lives would run it; "": one would.
    fn why_nowhere(&self, placement: &Placement) -> String {
        if self.workers.is_empty() {
            return "there is no worker to run it".to_owned();
        }
        if !self.workers.iter().any(|worker| placement.allows(&worker.labels)) {
            let labels = placement.require.join(", ");
            return format!("no worker has the labels that it requires: {labels}");
        }
        String::new()
    }

    /// What a task waits for, when its time has come; "": its turn.
    fn why_waiting(&self, wanted: &QueuedRun) -> String {
        let Some(task) = &wanted.task else { return String::new() };
        if wanted.not_before.is_some_and(|not_before| not_before > self.now) {
            return String::new();
        }
        let nowhere = self.why_nowhere(&task.placement);
        if !nowhere.is_empty() {
            return nowhere;
        }
        let fit = || self.workers.iter().filter(|worker| task.placement.allows(&worker.labels));
        if fit().any(|worker| worker.readiness == Readiness::Ready) {
            return String::new();
        }
        let named =
            fit().take(WAITED_FOR).map(|worker| format!("{}: {}", worker.id, worker.readiness.describe()));
        format!("no worker that fits is ready ({})", named.collect::<Vec<_>>().join("; "))
    }

    /// A run that has not ended; `command` is its job's as it is now, and what it will run if it waits.
    pub(crate) fn active(&self, active: &Active, command: &str) -> RunView {
        let mut view = RunView {
            run: active.run().to_string(),
            job: active.job().to_owned(),
            task: active.task().is_some(),
            attempt: active.attempt(),
            state: RunState::Queued,
            trigger: active.cause(),
            tick: None,
            worker: String::new(),
            fence: 0,
            planned: None,
            claimed: None,
            started: None,
            ended: None,
            exit_code: None,
            signal: None,
            err: String::new(),
            reason: String::new(),
            command: command.to_owned(),
        };
        if let Active::Wanted(wanted) = active {
            view.tick = wanted.tick.map(|tick| tick.to_string());
            view.reason = wanted_reason(wanted, self.why_waiting(wanted));
        }
        if let Some((held, token)) = active.held() {
            let early = held.tick.is_some_and(|tick| tick.instant() > self.now);
            view.state = if early { RunState::Claimed } else { RunState::Running };
            view.tick = held.tick.map(|tick| tick.to_string());
            view.worker = held.worker.to_string();
            view.fence = token.0;
            view.command = held.command(command);
            view.claimed = Some(instant(held.claimed));
            view.started = started(active, self.now).map(instant);
        }
        if let Some(task) = active.task() {
            view.command = task.driver.text();
        }
        if let Some(ended) = active.ended() {
            view.state = ended.state;
            view.started = Some(instant(ended.started));
            view.ended = Some(instant(ended.at));
            view.exit_code = ended.exit_code;
            view.signal = ended.signal;
            view.err.clone_from(&ended.err);
            view.reason.clone_from(&ended.reason);
        }
        view.planned = instant_text(planned(active));
        view
    }

    /// As [`Viewer::active`], with the command that the cache knows.
    pub(crate) fn active_run(&self, active: &Active) -> RunView {
        self.active(active, &self.cache.command_of(active.job()))
    }
}

/// When a run that executes was started, as closely as the store knows: at once when it was claimed, but not before
/// its instant. Its record says when its command was.
pub(crate) fn started(active: &Active, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (held, _) = active.held()?;
    let tick = held.tick.map(common::tick::Tick::instant);
    let from = tick.map_or(held.claimed, |tick| tick.max(held.claimed));
    tick.is_none_or(|tick| tick <= now).then_some(from)
}

/// When a run that has not ended should have started, in milliseconds since 1970.
pub(crate) fn planned(active: &Active) -> i64 {
    let at = match active {
        Active::Wanted(wanted) => {
            let since = wanted.tick.map_or(wanted.since, Tick::instant);
            wanted.not_before.unwrap_or(since)
        }
        Active::Held(run) => run.held.tick.map_or(run.held.claimed, Tick::instant),
        Active::Task(run) => run.active.held.claimed,
    };
    at.timestamp_millis()
}

fn wanted_reason(wanted: &QueuedRun, waiting: String) -> String {
    let mut parts = Vec::new();
    if !waiting.is_empty() {
        parts.push(waiting);
    }
    if !wanted.by.is_empty() {
        parts.push(format!("asked for by {}", wanted.by));
    }
    if let Some(not_before) = wanted.not_before {
        parts.push(format!("not before {}", instant(not_before)));
    }
    if let Some(deadline) = wanted.deadline {
        parts.push(format!("expires at {}", instant(deadline)));
    }
    parts.join("; ")
}

/// What a save, a pause or a resume says that took back what a clock had said that was ahead. `still` is what is wrong
/// with the job all the same, and `lock` its lock: ticks may have run by that clock, so that they count as decided.
pub(crate) fn says_righted(
    by: TimeDelta,
    still: &str,
    lock: Option<&CachedLock>,
    now: DateTime<Utc>,
) -> String {
    let is_silent = lock.and_then(|lock| lock.fence).is_some_and(|fence| is_ahead(fence, now));
    let counts = if is_silent { "" } else { "; its ticks count from now" };
    let still = if still.is_empty() { String::new() } else { format!("; {still}") };
    format!("it counted from a clock that was {} ahead of this one{counts}{still}", span_of(by))
}

fn span_of(by: TimeDelta) -> Span {
    Span::seconds(by.num_seconds().unsigned_abs())
}

/// A worker as the API shows it. In a store that takes no writes it stands as ready as it was.
pub(crate) fn worker(
    registration: &Registration,
    drain: Option<Arc<Drain>>,
    store_is_full: bool,
) -> WorkerView {
    let mut registration = registration.clone();
    if store_is_full && matches!(registration.readiness, Readiness::Ready | Readiness::Full) {
        registration.readiness = Readiness::StoreFull;
    }
    let mut says = registration.readiness.describe().to_owned();
    if let Some(drain) = &drain {
        says += &format!("; by {}, since {}", drain.by, instant(drain.at));
        if !drain.note.is_empty() {
            says += &format!(": {}", drain.note);
        }
    }
    WorkerView { says, drain: drain.map(Arc::unwrap_or_clone), registration }
}

/// In words, with the zone where there is one.
pub(crate) fn describe(schedule: &Schedule) -> String {
    match schedule.zone() {
        Some(zone) => format!("{} ({zone})", schedule.describe()),
        None => schedule.describe(),
    }
}

/// The next instants after `from`, at most `count`.
pub(crate) fn next_after(
    schedule: &Schedule,
    from: DateTime<Utc>,
    count: usize,
) -> impl Iterator<Item = DateTime<Utc>> + '_ {
    std::iter::successors(schedule.next_after(from), |last| schedule.next_after(*last)).take(count)
}
