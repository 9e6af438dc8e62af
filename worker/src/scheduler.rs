//! The loop: watches jobs, wanted runs and kills, feeds the agenda, and passes due ticks on to be decided.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use common::{
    id::JobName,
    job::{Job, StoredJob},
    queue::{Kill, Wanted},
    store::{Change, Entry, Event, Key, Op, Txn, follow, follow_as},
    tick::Tick,
};
use tokio::time::{Duration, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    agenda::{Agenda, Due, Planned},
    desk::Desk,
    wanted::Attended,
};

/// The wait of a loop that has no next tick; a change of the jobs ends it early.
const IDLE: chrono::Duration = chrono::Duration::seconds(60);

/// A job that was saved longer ago is no news: the ticks since then are the caretaker's.
const LOOK_BACK: chrono::Duration = chrono::Duration::seconds(5);

/// A clock that goes back by less is as good as one that did not.
const SET_BACK: chrono::Duration = chrono::Duration::seconds(1);

/// How often the queue is gone through without a change of it.
const QUEUE_EVERY: Duration = Duration::from_secs(1);

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

impl Desk {
    /// Schedules until `closing`.
    pub async fn schedule(self: Arc<Self>) {
        let keys = self.config.keys.clone();
        let ending = CancellationToken::clone(&self.closing);
        let reader = self.clone();
        let read = move |entry| reader.read_job(&entry);
        let mut jobs = follow_as(self.store.clone(), keys.jobs.clone(), ending.clone(), read);
        let mut queue = follow(self.store.clone(), keys.queue.clone(), ending.clone());
        let attended = Arc::new(Attended::default());
        let mut look_at_queue = interval(QUEUE_EVERY);
        let mut caretaker = None;
        let mut latest = self.clock.now();
        loop {
            let now = self.clock.now();
            if now < latest - SET_BACK {
                self.clock_was_set_back(now);
                latest = now;
            }
            latest = latest.max(now);
            let next = self.agenda.lock().next();
            let wake = next.map_or(now + IDLE, |tick| (tick.instant() - self.lead.now()).min(now + IDLE));
            // Changes before ticks: they are few, and a worker that can hardly keep up with its ticks must hear of them.
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                () = self.kills.heard() => self.attend_queue(&attended),
                change = jobs.recv() => {
                    let Some(change) = change else { return };
                    self.jobs_changed(change);
                    // The first listing is in: only now can a full pass know the jobs.
                    caretaker.get_or_insert_with(|| {
                        self.vital.spawn(&self.tasks, "the caretaker", &ending, self.clone().take_care())
                    });
                }
                change = queue.recv() => {
                    let Some(change) = change else { return };
                    self.queue_changed(change);
                    self.attend_queue(&attended);
                }
                _ = look_at_queue.tick() => self.attend_queue(&attended),
                () = self.clock.sleep_until(wake) => self.pass_due(),
            }
        }
    }

    /// Hears of kills until `ending`: also those of the runs that end together with this worker.
    pub async fn hear_kills(self: Arc<Self>, ending: CancellationToken) {
        let mut kills = follow(self.store.clone(), self.config.keys.kills.clone(), ending);
        while let Some(change) = kills.recv().await {
            self.kills_changed(change);
        }
    }

    /// What was passed on by a clock that was ahead comes again: ticks that were decided are found decided.
    fn clock_was_set_back(&self, now: DateTime<Utc>) {
        tracing::warn!(%now, "the clock was set back; ticks are counted from now");
        self.agenda.lock().set_back(now);
        let now = Tick::from_instant(now);
        self.marks.set_back(now);
        for post in self.posts.lock().values() {
            post.set_back(now);
        }
    }

    /// Passes on what is due, or will be by the time a claim is answered, and this worker has a rank for, or runs.
    fn pass_due(self: &Arc<Self>) {
        let due_by = self.clock.now() + self.lead.now();
        let view = self.registry.view();
        let candidates = &view.candidates;
        let rank = |job: &Job| candidates.rank_of(&self.config.id, &job.name, &job.placement);
        let due = self.agenda.lock().pop(due_by, candidates.view(), rank);
        let mut first = Vec::with_capacity(due.len());
        // By tick and rank: all of a group are looked at together.
        let mut hedged: BTreeMap<(Tick, usize), Vec<Due>> = BTreeMap::new();
        for (due, rank) in due {
            match rank {
                Some(0) => first.push(due),
                // Its holder decides a tick at once, whatever its rank.
                _ if self.runs_here(&due.job.job.name) => first.push(due),
                Some(rank) => hedged.entry((due.tick, rank)).or_default().push(due),
                None => {}
            }
        }
        self.marks.begin(first.iter().map(|due| due.tick));
        for due in first {
            let desk = self.clone();
            self.tasks.spawn(async move {
                let tick = due.tick;
                desk.clone().decide(due).await;
                desk.marks.done(tick);
            });
        }
        for ((tick, rank), group) in hedged {
            self.tasks.spawn(self.clone().hedge(tick, rank, group));
        }
    }

    /// Waits its rank's hedge, then decides the ticks of which the better-ranked workers have not said that they
    /// have decided them.
    async fn hedge(self: Arc<Self>, tick: Tick, rank: usize, group: Vec<Due>) {
        let hedge = self.config.hedge * u32::try_from(rank).unwrap_or(u32::MAX);
        tokio::select! {
            biased;
            () = self.closing.cancelled() => return,
            () = self.clock.sleep_until(tick.instant() + hedge) => {}
        }
        let view = self.registry.view();
        let behind = self.registry.behind(tick, &view);
        if behind.is_empty() {
            return;
        }
        for due in group {
            let job = &due.job.job;
            let ranked = view.candidates.rank(&job.name, &job.placement);
            // When the workers have changed since, this one may stand better now.
            let mut before = ranked.into_iter().take(rank).take_while(|worker| **worker != self.config.id);
            if before.all(|worker| behind.contains(worker)) {
                self.tasks.spawn(self.clone().decide(due));
            }
        }
    }

    fn jobs_changed(&self, change: Change<ReadJob>) {
        let mut agenda = self.agenda.lock();
        match change {
            Change::Reset(jobs, _) => {
                let kept: HashSet<&str> = jobs.iter().map(ReadJob::name).collect();
                let known = agenda.jobs().map(|planned| &planned.job.name);
                let gone: Vec<JobName> =
                    known.filter(|name| !kept.contains(name.as_str())).cloned().collect();
                drop(kept);
                for name in gone {
                    agenda.remove(name.as_str());
                }
                for job in jobs {
                    self.put_job(&mut agenda, job);
                }
            }
            Change::Events(events) => {
                for event in events.events {
                    match event {
                        Event::Put(job) => self.put_job(&mut agenda, job),
                        Event::Deleted(key, _) => {
                            if let Some(name) = self.config.keys.jobs.name(&key) {
                                agenda.remove(name);
                                self.forget_post(name);
                            }
                        }
                    }
                }
            }
            Change::Stale(why) => tracing::warn!(why, "the jobs may have changed unseen"),
            Change::WentBack { seen, now } => {
                tracing::error!(%seen, %now, "the store was restored from a copy; the jobs are read again");
            }
        }
    }

    /// Off the loop: to read a million jobs takes seconds. One that is known as it stands is not read again.
    fn read_job(&self, entry: &Entry) -> Option<ReadJob> {
        let name = self.config.keys.jobs.name(&entry.key)?;
        let agenda = || self.agenda.lock();
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
            tracing::error!(job = name, %error, "a stored job cannot be read; it does not run until it is saved anew");
            ReadJob::Unreadable(name.into())
        }))
    }

    /// A job that cannot be read is out of the agenda; it never stops the others. Its ticks count from when it was
    /// saved, which was before this worker sees it.
    fn put_job(&self, agenda: &mut Agenda, job: ReadJob) {
        match job {
            ReadJob::Planned(planned, saved) => {
                let known = agenda.get(planned.job.name.as_str());
                if known.is_none_or(|known| known.revision != planned.revision) {
                    let now = self.clock.now();
                    agenda.put(planned, saved.unwrap_or(now).clamp(now - LOOK_BACK, now));
                }
            }
            ReadJob::Unreadable(name) => agenda.remove(&name),
        }
    }

    fn queue_changed(&self, change: Change) {
        let mut queue = self.queue.lock();
        let prefix = &self.config.keys.queue;
        let put = |queue: &mut std::collections::HashMap<_, _>, entry: &Entry| {
            let Some(name) = prefix.name(&entry.key) else { return };
            match Wanted::decode(&entry.value) {
                Ok(wanted) => {
                    queue.insert(name.to_owned(), (wanted, entry.mod_revision));
                }
                Err(error) => tracing::error!(key = %entry.key, %error, "a wanted run cannot be read"),
            }
        };
        match change {
            Change::Reset(entries, _) => {
                queue.clear();
                entries.iter().for_each(|entry| put(&mut queue, entry));
            }
            Change::Events(events) => {
                for event in events.events {
                    match event {
                        Event::Put(entry) => put(&mut queue, &entry),
                        Event::Deleted(key, _) => {
                            prefix.name(&key).map(|name| queue.remove(name));
                        }
                    }
                }
            }
            Change::Stale(_) | Change::WentBack { .. } => {}
        }
    }

    fn kills_changed(&self, change: Change) {
        match change {
            // Kills that were put while this worker was cut off still act, on runs claimed before them.
            Change::Reset(entries, _) => {
                let kills = &self.config.keys.kills;
                let named: HashSet<&str> =
                    entries.iter().filter_map(|entry| kills.name(&entry.key)).collect();
                self.kills.retain(|name| named.contains(name));
                entries.iter().for_each(|entry| self.act_on_kill(entry));
            }
            Change::Events(events) => {
                for event in events.events {
                    match event {
                        Event::Put(entry) => self.act_on_kill(&entry),
                        Event::Deleted(key, _) => {
                            if let Some(name) = self.config.keys.kills.name(&key) {
                                self.kills.remove(name);
                            }
                        }
                    }
                }
            }
            Change::Stale(_) | Change::WentBack { .. } => {}
        }
    }

    /// On what executes, at once; what is about to start asks for it, and so does who looks after the queue.
    fn act_on_kill(&self, entry: &Entry) {
        let Some(name) = self.config.keys.kills.name(&entry.key) else { return };
        match Kill::decode(&entry.value) {
            Ok(kill) => {
                // First known, then acted on: a run that begins in between is met by one of both.
                self.kills.put(name, kill.clone(), entry.mod_revision);
                self.runner.kill(name, &kill, entry.mod_revision);
            }
            Err(error) => tracing::error!(key = %entry.key, %error, "a kill cannot be read"),
        }
    }

    /// Publishes the mark as it moves.
    pub async fn publish_marks(self: Arc<Self>) {
        let mut mark = self.marks.watch();
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                changed = mark.changed() => if changed.is_err() { return },
            }
            let decided = *mark.borrow_and_update();
            if let Some(decided) = decided {
                self.publish_mark(decided).await;
            }
        }
    }

    async fn publish_mark(&self, decided: Tick) {
        let trust = self.trust.borrow().clone();
        let Some(trust) = trust else { return };
        let view = self.registry.view().candidates.view();
        let key: Key = self.config.keys.mark(&self.config.id);
        let put = Op::Put(key, common::worker::Mark { decided, view }.encode(), Some(trust.lease));
        if let Err(error) = self.batcher.guarded(Txn::when(Vec::new(), vec![put]), &trust.session).await {
            tracing::debug!(%error, "the mark was not moved; others look after these ticks");
            sleep(Duration::from_millis(100)).await;
        }
    }
}
