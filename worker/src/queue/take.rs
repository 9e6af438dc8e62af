//! Takes queued runs when their time has come and their job's lock is free. Those of a job that was deleted, or
//! deleted and made again since, go on record as killed: deleting a job leaves its queue to the workers, so that
//! nothing leaves the queue before it is on record.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    id::JobName,
    job::{Job, Overlap, Placement, StoredJob},
    lock::Lock,
    queue::{Kill, Owner, QueuedRun},
    run::RunEvent,
    runlog::RunRecord,
    store::{Entry as Stored, Key, Mirror, Prefix, Revision, follow},
    task::Task,
};
use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::interval};
use tokio_util::time::DelayQueue;

use super::line::{Entry, Facts, Line, is_ahead};
use crate::{
    claim::{self, Place, StoredFreeLock, StoredLock, Taking, claims::Claim},
    plan::{Changed, Planned},
    run::{carry_out::Carrier, orphan::Orphans, task::Tasks},
    session::{Standing, load::Slot},
};

/// Why a run of a job that was deleted does not start.
const DELETED: &str = "its job was deleted while it was queued";

/// A clock that goes back by less does not count as set back.
const SET_BACK: chrono::Duration = chrono::Duration::seconds(1);

/// How often to check whether the clock was set back.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// The wait of a loop without a run to look at; a change ends it early.
const IDLE: chrono::Duration = chrono::Duration::seconds(30);

/// Looks after what is wanted.
pub(crate) struct Queue {
    /// Who looks after it.
    pub standing: Arc<Standing>,
    /// Who carries out what is taken.
    pub carrier: Arc<Carrier>,
    /// Who looks after locks whose holder is gone.
    pub orphans: Arc<Orphans>,
    /// Who runs tasks.
    pub tasks: Arc<Tasks>,
    /// The runs that wait.
    pub line: Arc<Mutex<Line>>,
}

/// What the queue hears of.
pub(crate) struct News {
    /// Jobs that have changed.
    pub jobs: mpsc::UnboundedReceiver<Changed>,
    /// Jobs whose lock this process has freed.
    pub freed: mpsc::UnboundedReceiver<JobName>,
}

/// An entry by its name and the revision that wrote it.
type EntryId = (String, Revision);

/// Keeps the line, as of `now`.
struct LineMirror<'a> {
    line: &'a mut Line,
    prefix: &'a Prefix,
    now: DateTime<Utc>,
}

impl Mirror for LineMirror<'_> {
    fn list(&mut self, all: Vec<Stored>, _at: Revision) {
        let named: HashSet<&str> = all.iter().filter_map(|stored| self.prefix.name(&stored.key)).collect();
        self.line.retain(|name| named.contains(name), self.now);
        drop(named);
        all.into_iter().for_each(|stored| self.put(stored));
    }

    fn put(&mut self, stored: Stored) {
        let Some(name) = self.prefix.name(&stored.key) else { return };
        let written = stored.mod_revision;
        if self.line.get(name).is_some_and(|entry| entry.written == written) {
            return;
        }
        match QueuedRun::decode(&stored.value) {
            Ok(wanted) => self.line.put(name, Entry { wanted, written }, self.now),
            Err(error) => tracing::error!(key = %stored.key, %error, "a wanted run cannot be read"),
        }
    }

    fn remove(&mut self, key: &Key, _at: Revision) {
        if let Some(name) = self.prefix.name(key) {
            self.line.remove(name, self.now);
        }
    }
}

impl Queue {
    /// Looks after the queue until the worker is closing. A run that was claimed is carried out all the same.
    pub(crate) async fn run(self: Arc<Self>, mut news: News) {
        let (standing, clock) = (self.standing.clone(), self.standing.clock.clone());
        let store = self.carrier.claims.store.clone();
        let mut changes = follow(store, standing.config.keys.queue.clone(), standing.closing.clone());
        let registry = &self.orphans.registry;
        let (mut views, mut ranked_by) = (registry.changes(), registry.view().candidates.view());
        let (looked, mut looks) = mpsc::unbounded_channel::<EntryId>();
        let mut again = DelayQueue::<EntryId>::new();
        let mut look_at_clock = interval(LOOK_AT_CLOCK);
        let mut latest = clock.now();
        loop {
            let now = clock.now();
            if now < latest - SET_BACK {
                self.line.lock().look_at_all(now);
                latest = now;
            }
            latest = latest.max(now);
            let wake = self.line.lock().next().map_or(now + IDLE, |at| at.min(now + IDLE));
            tokio::select! {
                biased;
                () = standing.closing.cancelled() => return,
                names = self.carrier.retries.kills.heard() => self.killed(&names),
                change = changes.recv() => {
                    let Some(change) = change else { return };
                    let prefix = &standing.config.keys.queue;
                    LineMirror { line: &mut self.line.lock(), prefix, now }.take(change);
                }
                changed = news.jobs.recv() => {
                    let Some(changed) = changed else { return };
                    self.jobs_changed(changed);
                }
                freed = news.freed.recv() => {
                    let Some(job) = freed else { return };
                    self.freed(job, &looked);
                }
                looked = looks.recv() => {
                    let Some((name, written)) = looked else { return };
                    if let Some(wait) = self.line.lock().put_back(&name, written) {
                        again.insert((name, written), wait);
                    }
                }
                Some(looked) = again.next() => self.look_again(&looked.into_inner()),
                _ = look_at_clock.tick() => {}
                changed = views.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let candidates = registry.view().candidates.view();
                    if std::mem::replace(&mut ranked_by, candidates) != candidates {
                        self.line.lock().look_at_all(now);
                    }
                }
                () = clock.sleep_until(wake) => {}
            }
            self.set_about_due(&looked);
        }
    }

    /// Sets about every run whose time has come.
    fn set_about_due(self: &Arc<Self>, looked: &mpsc::UnboundedSender<EntryId>) {
        let now = self.standing.clock.now();
        let mut line = self.line.lock();
        while let Some(name) = line.due(now) {
            let Some(entry) = line.get(&name).cloned() else { continue };
            let facts = self.facts(&entry);
            if line.judge(&name, facts, now) {
                self.set_about(name, entry.written, looked);
            }
        }
    }

    /// This process has freed the job's lock: the run that waits for it takes it, whoever ranks first for it.
    fn freed(self: &Arc<Self>, job: JobName, looked: &mpsc::UnboundedSender<EntryId>) {
        let now = self.standing.clock.now();
        let mut line = self.line.lock();
        let Some(name) = line.head_of(&Owner::Job(job)) else { return };
        let Some(entry) = line.get(&name).cloned() else { return };
        let facts = Facts { rank: Some(0), ..self.facts(&entry) };
        if line.judge(&name, facts, now) {
            self.set_about(name, entry.written, looked);
        }
    }

    fn set_about(self: &Arc<Self>, name: String, written: Revision, looked: &mpsc::UnboundedSender<EntryId>) {
        let (queue, looked) = (self.clone(), looked.clone());
        self.standing.tasks.spawn(async move {
            queue.look_at(&name, written).await;
            // Nobody listens any more when the worker is closing.
            let _ = looked.send((name, written));
        });
    }

    /// What is known of a run. A run that belongs to one worker is set about by that worker, and by the job's first
    /// choice, which does not start it but records that its deadline has passed.
    fn facts(&self, Entry { wanted, written }: &Entry) -> Facts {
        let is_over = wanted.deadline.is_some_and(|deadline| deadline < self.standing.clock.now());
        if let Some(task) = &wanted.task {
            let is_killed = wanted.killed.is_some() || self.kill_of_task(wanted, *written).is_some();
            let candidates = &self.orphans.registry.view().candidates;
            let rank = candidates.rank_of(self.standing.id(), &wanted.run.to_string(), &task.placement);
            let is_over = is_over || is_killed;
            return Facts { rank, is_over, in_turn: false, hedge: self.standing.config.hedge };
        }
        let planned = self.carrier.plan.job(&wanted.job);
        let placement =
            planned.as_ref().map_or_else(Placement::default, |planned| planned.job.placement.clone());
        let candidates = &self.orphans.registry.view().candidates;
        let ranked = candidates.rank_of(self.standing.id(), wanted.job.as_str(), &placement);
        let rank = match &wanted.worker {
            Some(only) if only == self.standing.id() => Some(0),
            Some(_) => ranked.filter(|rank| *rank == 0),
            None => ranked,
        };
        let kills = &self.carrier.retries.kills;
        let is_killed = wanted.killed.is_some() || kills.of(&wanted.job, &wanted.run, *written).is_some();
        // What will not start any more does not wait for its time.
        let is_over =
            is_killed || planned.as_ref().is_none_or(|planned| planned.created > *written) || is_over;
        let in_turn =
            wanted.worker.is_none() && planned.is_some_and(|planned| planned.job.overlap != Overlap::Allow);
        Facts { rank, is_over, in_turn, hedge: self.standing.config.hedge }
    }

    fn jobs_changed(&self, changed: Changed) {
        let (now, mut line) = (self.standing.clock.now(), self.line.lock());
        match changed {
            Changed::All => line.look_at_all(now),
            Changed::Job(job) => line.look_at_runs_of(&Owner::Job(job), now),
        }
    }

    /// A run that was looked at and did not start is looked at again, unless it was written anew.
    fn look_again(&self, (name, written): &EntryId) {
        let (now, mut line) = (self.standing.clock.now(), self.line.lock());
        if line.get(name).is_some_and(|entry| entry.written == *written) {
            line.look_at(name, now);
        }
    }

    /// A kill names a job, or a run.
    fn killed(&self, names: &[String]) {
        let now = self.standing.clock.now();
        let mut line = self.line.lock();
        for name in names {
            line.look_at(name, now);
            if let Ok(job) = name.parse::<JobName>() {
                line.look_at_runs_of(&Owner::Job(job), now);
            }
        }
    }

    /// Starts a run that waits, or puts on record that it does not start. Where neither can be, it goes on waiting.
    async fn look_at(&self, name: &str, written: Revision) {
        // Written anew it has another time, deadline and worker.
        let entry = self.line.lock().get(name).filter(|entry| entry.written == written).cloned();
        let Some(entry) = entry else { return };
        let wanted = &entry.wanted;
        if let Some(task) = &wanted.task {
            return self.look_at_task(name, &entry, task).await;
        }
        let Some(planned) = self.carrier.plan.job(&wanted.job) else {
            // The queue may be listed before the jobs are: what this worker does not know may well be there.
            if let Some((event, reason)) = self.why_not_planned(&wanted.job).await {
                self.withdraw(name, &entry, event, (reason, String::new())).await;
            }
            return;
        };
        let command = || planned.job.driver.text();
        if planned.created > written {
            return self.withdraw(name, &entry, RunEvent::Killed, (DELETED, String::new())).await;
        }
        let kills = &self.carrier.retries.kills;
        let kill = wanted.killed.clone().or_else(|| kills.of(&wanted.job, &wanted.run, written));
        if let Some(kill) = kill {
            let reason = format!("killed by {} before it started", kill.by);
            return self.withdraw(name, &entry, RunEvent::Killed, (&reason, command())).await;
        }
        if wanted.deadline.is_some_and(|deadline| deadline < self.standing.clock.now()) {
            let reason = self.why_expired(wanted, &planned.job);
            return self.withdraw(name, &entry, RunEvent::DeadlinePassed, (&reason, command())).await;
        }
        if !self.is_mine_now(wanted, &planned.job) {
            return;
        }
        let post = self.carrier.claims.posts.of(&wanted.job);
        if post.turn().await.holding.is_some() || !self.standing.load.may_claim() {
            return;
        }
        if let Some(slot) = self.standing.slot().await {
            self.start(name, &entry, &planned, slot).await;
        }
    }

    /// The same for a task, which depends on nothing else.
    async fn look_at_task(&self, name: &str, entry: &Entry, task: &Arc<Task>) {
        let (wanted, written) = (&entry.wanted, entry.written);
        let command = || task.driver.text();
        let kill = wanted.killed.clone().or_else(|| self.kill_of_task(wanted, written));
        if let Some(kill) = kill {
            let reason = format!("killed by {} before it started", kill.by);
            return self.withdraw(name, entry, RunEvent::Killed, (&reason, command())).await;
        }
        let job = task.as_job();
        if wanted.deadline.is_some_and(|deadline| deadline < self.standing.clock.now()) {
            let reason = self.why_expired(wanted, &job);
            return self.withdraw(name, entry, RunEvent::DeadlinePassed, (&reason, command())).await;
        }
        if !self.is_mine_now(wanted, &job) || !self.standing.load.may_claim() {
            return;
        }
        if let Some(slot) = self.standing.slot().await {
            let key = self.standing.config.keys.queue.key(name);
            self.tasks.take((wanted, task), (key, written), slot).await;
        }
    }

    fn kill_of_task(&self, wanted: &QueuedRun, written: Revision) -> Option<Kill> {
        self.carrier.retries.kills.of_task(&wanted.run, written)
    }

    /// True: this worker may start the run now.
    fn is_mine_now(&self, wanted: &QueuedRun, job: &Job) -> bool {
        let now = self.standing.clock.now();
        // Looked at since it seemed over, or the clock was set back while it was waited for.
        let has_come = is_ahead(wanted, now) || wanted.not_before.is_none_or(|not_before| not_before <= now);
        // Edited since this worker was ranked; bound to it, the run waits for its labels until its deadline.
        has_come
            && wanted.worker.as_ref().is_none_or(|only| only == self.standing.id())
            && self.standing.has_labels_of(job)
    }

    /// Why a queued run was not claimed before its deadline, as far as can be told now.
    fn why_expired(&self, wanted: &QueuedRun, job: &Job) -> String {
        let mut reason = "it could not start before its deadline".to_owned();
        let labels = job.placement.require.join(", ");
        match &wanted.worker {
            Some(only) if only == self.standing.id() && !self.standing.has_labels_of(job) => {
                reason += &format!(
                    ": it was for worker {only}, which lacks labels that the run requires: {labels}"
                );
            }
            Some(only) => reason += &format!(": it was for worker {only} alone"),
            None if !labels.is_empty()
                && self.orphans.registry.view().candidates.none_fits(&job.placement) =>
            {
                reason += &format!(": no ready worker has the labels that the run requires: {labels}");
            }
            None => {}
        }
        reason
    }

    /// Why no run of a job can start that this worker does not know, as the store has it; none: it may be known soon.
    async fn why_not_planned(&self, job: &JobName) -> Option<(RunEvent, &'static str)> {
        match self.carrier.claims.store.get(&self.standing.config.keys.job(job)).await {
            Ok((None, _)) => Some((RunEvent::Killed, DELETED)),
            Ok((Some(entry), _)) => {
                let stored = StoredJob::decode(job.as_str(), &entry.value);
                let readable = stored.and_then(|stored| stored.job.schedule()).is_ok();
                (!readable).then_some((RunEvent::DeadlinePassed, "the job's definition cannot be read"))
            }
            Err(_) => None,
        }
    }

    async fn start(&self, name: &str, entry: &Entry, planned: &Arc<Planned>, slot: Slot) {
        let Some(session) = self.standing.session() else { return };
        let claims = &self.carrier.claims;
        let (keys, wanted) = (claims.keys(), &entry.wanted);
        let post = claims.posts.of(&wanted.job);
        let mut turn = post.turn().await;
        if turn.holding.is_some() {
            return;
        }
        let Ok((Some(stored), _)) = claims.store.get(&keys.lock(&wanted.job)).await else { return };
        let Some(StoredLock { lock, revision }) = claim::seen(&stored) else { return };
        let seen = match lock {
            Lock::Free(free) => StoredFreeLock { free, revision },
            Lock::Held(held) => {
                self.orphans.free_lock(Some(&planned.job), &held, revision, &session).await;
                return;
            }
        };
        // One reading is judged and compared: a kill that is heard of after it fails the comparison.
        let kills = self.carrier.retries.kills.revisions(&wanted.job, &wanted.run);
        if kills.0.max(kills.1) > entry.written {
            return;
        }
        let held = claims.held(planned, wanted, seen.free.fence, &session);
        let place = Place::of(planned.job.overlap);
        let taking = Taking { entry: keys.queue.key(name), written: entry.written, kills };
        let txn = claim::take(keys, &held, &seen, planned.revision, place, &taking);
        let claim = Claim { planned: planned.clone(), held, txn };
        if let Err(error) = self.carrier.claim(claim, &mut turn, &session, slot).await {
            tracing::debug!(%error, "a queued run cannot be claimed yet");
        }
    }

    /// Takes a queued run out of the queue without running it; on record first.
    async fn withdraw(&self, name: &str, entry: &Entry, event: RunEvent, words: (&str, String)) {
        let (now, journal) = (self.standing.clock.now(), &self.carrier.journal);
        let (me, expires) = (self.standing.id(), journal.expires(now));
        journal.keep(RunRecord::withdrawn(&entry.wanted, event, words, me, now, expires)).await;
        let txn = claim::clear(self.standing.config.keys.queue.key(name), entry.written);
        if let Err(error) = self.carrier.claims.batcher.end(txn).await {
            tracing::debug!(%error, "a queued run stays in the queue until the next look");
        }
    }
}
