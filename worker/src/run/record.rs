//! Puts on record what becomes of runs and ticks: into the spool, which is on this worker's disk.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::{
    id::JobName,
    job::Job,
    lock::{HeldLock, LastRun, Stretch, Why},
    run::RunState,
    runlog::{Known, LogEntry, RunRecord, TickOutcome, TickRecord},
    store::Revision,
    task::{ActiveTask, Ended},
};
use parking_lot::Mutex;

use crate::{
    session::{
        Standing,
        hindrance::{self, Hindrances},
    },
    spool::Spool,
};

/// Keeps records.
pub(crate) struct Journal {
    /// Who keeps them.
    pub standing: Arc<Standing>,
    /// Where they go.
    pub spool: Spool,
    /// When this worker could claim nothing: why ticks were missed.
    pub hindrances: Mutex<Hindrances>,
}

impl Journal {
    /// Keeps a run's record. It is on disk when this resolves.
    pub(crate) async fn keep(&self, record: RunRecord) {
        self.spool.keep(LogEntry::Run(Box::new(record))).await;
    }

    /// Keeps the record of a run whose worker is gone, found at `seen`, and says how it ended.
    pub(crate) async fn keep_lost(&self, job: Option<&Job>, held: &HeldLock, seen: Revision) -> LastRun {
        let now = self.standing.clock.now();
        let known = Known {
            held,
            token: held.token(seen),
            task: false,
            command: held.command(&job.map_or_else(String::new, |job| job.driver.text())),
            expires: self.expires(now),
        };
        self.keep(RunRecord::lost(known, now)).await;
        LastRun {
            run: held.run,
            state: RunState::Lost,
            ended: self.standing.clock.now(),
            worker: held.worker.clone(),
            claimed: Some(held.claimed),
            recorded: None,
        }
    }

    /// Keeps the record of a task whose worker is gone, found at `seen`, and says how it ended.
    pub(crate) async fn keep_lost_task(&self, active: &ActiveTask, seen: Revision) -> Ended {
        let now = self.standing.clock.now();
        let record = RunRecord::lost(self.known_task(active, seen, now), now);
        let ended = Ended::of(&record);
        self.keep(record).await;
        ended
    }

    /// Keeps the record of a task that ended, as far as the store knows: its worker is gone, and with it, for now, its
    /// own record.
    pub(crate) async fn keep_ended_task(&self, active: &ActiveTask, ended: &Ended, seen: Revision) {
        let now = self.standing.clock.now();
        self.keep(RunRecord::told(self.known_task(active, seen, now), ended)).await;
    }

    fn known_task<'a>(&self, active: &'a ActiveTask, seen: Revision, now: DateTime<Utc>) -> Known<'a> {
        Known {
            held: &active.held,
            token: active.held.token(seen),
            task: true,
            command: active.task.driver.text(),
            expires: self.expires(now),
        }
    }

    /// When a record of something that ended at `at` may be removed.
    pub(crate) fn expires(&self, at: DateTime<Utc>) -> i64 {
        let retention = i64::try_from(self.standing.config.retention.as_millis()).unwrap_or(i64::MAX);
        at.timestamp_millis().saturating_add(retention)
    }

    /// Puts on record the ticks that a lock names as skipped or missed. Doing it twice does no harm.
    pub(crate) async fn keep_ticks_of(&self, held: &HeldLock) {
        for (ticks, outcome, reason) in held.without_run() {
            let reason = match (outcome, ticks.why) {
                (TickOutcome::Missed, Why::Usual) => self.why_missed(ticks),
                _ => reason.to_owned(),
            };
            self.keep_ticks(&held.job, ticks, outcome, &reason).await;
        }
    }

    /// Why nobody claimed these ticks, as far as this worker knows.
    fn why_missed(&self, ticks: &Stretch) -> String {
        match self.hindrances.lock().during(ticks.from.instant(), ticks.to.instant()) {
            Some(why) => format!("no worker could claim in time; worker {} {why}", self.standing.id()),
            None => Why::Usual.text(TickOutcome::Missed).to_owned(),
        }
    }

    /// Keeps on record that these ticks got no run.
    pub(crate) async fn keep_ticks(
        &self,
        job: &JobName,
        ticks: &Stretch,
        outcome: TickOutcome,
        reason: &str,
    ) {
        let expires = self.expires(self.standing.clock.now());
        let record =
            TickRecord { expires, ..TickRecord::of(job, ticks, outcome, reason, self.standing.id()) };
        metrics::counter!("quorate_ticks_without_run_total", "outcome" => outcome.name())
            .increment(ticks.count);
        self.spool.keep(LogEntry::Ticks(record)).await;
    }

    /// Notes what keeps this worker from claiming, until it is closing.
    pub(crate) async fn note_hindrances(self: Arc<Self>) {
        let standing = &self.standing;
        let (mut told, mut trust) = (standing.load.hindrance(), standing.trust());
        let mut had_session = false;
        loop {
            let has_session = trust.borrow_and_update().is_some();
            had_session |= has_session;
            let lost = (had_session && !has_session).then_some(hindrance::NO_SESSION);
            let why = lost.or_else(|| told.borrow_and_update().and_then(hindrance::words));
            self.hindrances.lock().note(standing.clock.now(), why);
            let told_more = tokio::select! {
                biased;
                () = standing.closing.cancelled() => return,
                changed = told.changed() => changed,
                changed = trust.changed() => changed,
            };
            if told_more.is_err() {
                return;
            }
        }
    }
}
