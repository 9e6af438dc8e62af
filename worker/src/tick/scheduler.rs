//! Watches the jobs, feeds the agenda, and passes due ticks on to be decided.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use common::{
    id::JobName,
    job::{Job, StoredJob},
    store::{Away, Entry, Key, Mirror, Revision, follow_as},
    tick::Tick,
};

use tokio::time::interval;

use super::{decide::Decider, marks::Marks};
use crate::{
    plan::{Changed, Due, Plan, Planned, agenda::Agenda},
    session::{Standing, registry::Registry},
};

/// The wait of a loop that has no next tick; a change of the jobs ends it early.
const IDLE: chrono::Duration = chrono::Duration::seconds(60);

/// A job that was saved longer ago is not new: the ticks since then are up to the caretaker.
const LOOK_BACK: chrono::Duration = chrono::Duration::seconds(5);

/// A clock that goes back by less does not count as set back.
const SET_BACK: chrono::Duration = chrono::Duration::seconds(1);

/// How often to check whether the clock was set back.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// A stored job as it was read.
enum ReadJob {
    /// With the instant at which it was saved, if it says so.
    Planned(Arc<Planned>, Option<DateTime<Utc>>),
    /// By its name.
    Unreadable(Box<str>),
}

impl ReadJob {
    fn name(&self) -> &str {
        match self {
            Self::Planned(planned, _) => planned.job.name.as_str(),
            Self::Unreadable(name) => name,
        }
    }
}

/// Passes ticks on to be decided as they become due.
pub(crate) struct Scheduler {
    /// Who schedules.
    pub standing: Arc<Standing>,
    /// The jobs.
    pub plan: Arc<Plan>,
    /// Who decides.
    pub decider: Arc<Decider>,
    /// The live workers.
    pub registry: Arc<Registry>,
    /// How far this worker has decided.
    pub marks: Arc<Marks>,
}

/// The jobs, as they are told.
struct Jobs<'a>(&'a Scheduler);

impl Mirror<ReadJob> for Jobs<'_> {
    fn list(&mut self, all: Vec<ReadJob>, _at: Revision) {
        let plan = &self.0.plan;
        let kept: HashSet<&str> = all.iter().map(ReadJob::name).collect();
        let mut agenda = plan.agenda();
        let known = agenda.jobs().map(|planned| &planned.job.name);
        let gone: Vec<JobName> = known.filter(|name| !kept.contains(name.as_str())).cloned().collect();
        drop(kept);
        for name in gone {
            agenda.remove(name.as_str());
        }
        for job in all {
            self.0.put_job(&mut agenda, job);
        }
        plan.tell(Changed::All);
    }

    fn put(&mut self, job: ReadJob) {
        let name = job.name().parse();
        self.0.put_job(&mut self.0.plan.agenda(), job);
        self.tell(name);
    }

    fn remove(&mut self, key: &Key, _at: Revision) {
        let Some(name) = self.0.standing.config.keys.jobs.name(key) else { return };
        self.0.plan.agenda().remove(name);
        self.0.decider.claims.posts.forget(name);
        self.tell(name.parse());
    }

    fn away(&mut self, why: Away) {
        match why {
            Away::Unreachable(why) => tracing::warn!(why, "the jobs may have changed unseen"),
            Away::WentBack { seen, now } => {
                tracing::error!(%seen, %now, "the store was restored from a copy; the jobs are read again");
            }
        }
    }
}

impl Jobs<'_> {
    /// A job whose name is no name is not planned, and nothing waits for it.
    fn tell<E>(&self, name: Result<JobName, E>) {
        if let Ok(name) = name {
            self.0.plan.tell(Changed::Job(name));
        }
    }
}

impl Scheduler {
    /// Schedules until the worker is closing.
    pub(crate) async fn run(self: Arc<Self>) {
        let (store, keys) = (self.decider.claims.store.clone(), self.standing.config.keys.clone());
        let closing = self.standing.closing.clone();
        let reader = self.clone();
        let read = move |entry| reader.read_job(&entry);
        let mut jobs = follow_as(store, keys.jobs.clone(), closing.clone(), read);
        let clock = self.standing.clock.clone();
        let mut look_at_clock = interval(LOOK_AT_CLOCK);
        let mut latest = clock.now();
        loop {
            let now = clock.now();
            if now < latest - SET_BACK {
                self.clock_was_set_back(now);
                latest = now;
            }
            latest = latest.max(now);
            let next = self.plan.agenda().next();
            let lead = self.decider.lead.now();
            let wake = next.map_or(now + IDLE, |tick| (tick.instant() - lead).min(now + IDLE));
            // Changes before ticks: there are few, and a worker that can hardly keep up with its ticks must hear of
            // them.
            tokio::select! {
                biased;
                () = closing.cancelled() => return,
                change = jobs.recv() => {
                    let Some(change) = change else { return };
                    Jobs(&self).take(change);
                }
                _ = look_at_clock.tick() => {}
                () = clock.sleep_until(wake) => self.pass_due(),
            }
        }
    }

    /// What a clock that was ahead passed on comes again; ticks that were decided are found decided.
    fn clock_was_set_back(&self, now: DateTime<Utc>) {
        tracing::warn!(%now, "the clock was set back; ticks are counted from now");
        self.plan.agenda().set_back(now);
        let now = Tick::from_instant(now);
        self.marks.set_back(now);
        self.decider.claims.posts.set_back(now);
    }

    /// Passes on what is due, or will be by the time a claim is answered, if this worker ranks for it or runs it.
    fn pass_due(self: &Arc<Self>) {
        let due_by = self.standing.clock.now() + self.decider.lead.now();
        let view = self.registry.view();
        let candidates = &view.candidates;
        let rank = |job: &Job| candidates.rank_of(self.standing.id(), job.name.as_str(), &job.placement);
        let due = self.plan.agenda().pop(due_by, candidates.view(), rank);
        let mut first = Vec::with_capacity(due.len());
        // By tick and rank: all of a group are looked at together.
        let mut hedged: BTreeMap<(Tick, usize), Vec<Due>> = BTreeMap::new();
        for (due, rank) in due {
            match rank {
                Some(0) => first.push(due),
                // The holder of the lock decides a tick at once, whatever its rank.
                _ if self.decider.claims.posts.runs_here(&due.job.job.name) => first.push(due),
                Some(rank) => hedged.entry((due.tick, rank)).or_default().push(due),
                None => {}
            }
        }
        self.marks.begin(first.iter().map(|due| due.tick));
        for due in first {
            let (decider, marks) = (self.decider.clone(), self.marks.clone());
            self.standing.tasks.spawn(async move {
                decider.decide(&due).await;
                marks.done(due.tick);
            });
        }
        for ((tick, rank), group) in hedged {
            self.standing.tasks.spawn(self.clone().hedge(tick, rank, group));
        }
    }

    /// Waits for its rank's hedge, then decides the ticks that the better-ranked workers have not marked as decided.
    async fn hedge(self: Arc<Self>, tick: Tick, rank: usize, group: Vec<Due>) {
        let hedge = self.standing.config.hedge * u32::try_from(rank).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            () = self.standing.closing.cancelled() => return,
            () = self.standing.clock.sleep_until(tick.instant() + hedge) => {}
        }
        let view = self.registry.view();
        let behind = self.registry.behind(tick, &view);
        if behind.is_empty() {
            return;
        }
        for due in group {
            let job = &due.job.job;
            let ranked = view.candidates.rank(job.name.as_str(), &job.placement);
            // If the workers have changed since, this one may rank better now.
            let mut before =
                ranked.into_iter().take(rank).take_while(|worker| **worker != *self.standing.id());
            if before.all(|worker| behind.contains(worker)) {
                let decider = self.decider.clone();
                self.standing.tasks.spawn(async move { decider.decide(&due).await });
            }
        }
    }

    /// Off the loop: to read a million jobs takes seconds. One that is known as it stands is not read again.
    fn read_job(&self, entry: &Entry) -> Option<ReadJob> {
        let name = self.standing.config.keys.jobs.name(&entry.key)?;
        let agenda = || self.plan.agenda();
        let revision = entry.mod_revision;
        if let Some(known) = agenda().get(name).filter(|known| known.revision == revision) {
            return Some(ReadJob::Planned(known.clone(), None));
        }
        let planned = StoredJob::decode(name, &entry.value).and_then(|stored| {
            let schedule = agenda().schedule_of(&stored.job)?;
            let (job, paused) = (Arc::new(stored.job), stored.paused);
            let planned = Planned { job, revision, created: entry.create_revision, schedule, paused };
            Ok(ReadJob::Planned(Arc::new(planned), stored.saved))
        });
        Some(planned.unwrap_or_else(|error| {
            tracing::error!(job = name, %error, "a stored job cannot be read; it does not run until it is saved again");
            ReadJob::Unreadable(name.into())
        }))
    }

    /// A job that cannot be read leaves the agenda, and never stops the others. Its ticks count from when it was
    /// saved, which was before this worker sees it.
    fn put_job(&self, agenda: &mut Agenda, job: ReadJob) {
        match job {
            ReadJob::Planned(planned, saved) => {
                let known = agenda.get(planned.job.name.as_str());
                if known.is_none_or(|known| known.revision != planned.revision) {
                    let now = self.standing.clock.now();
                    agenda.put(planned, saved.unwrap_or(now).clamp(now - LOOK_BACK, now));
                }
            }
            ReadJob::Unreadable(name) => agenda.remove(&name),
        }
    }
}
