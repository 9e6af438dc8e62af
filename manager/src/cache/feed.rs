//! Feeds the cache: one follower per place, until the manager ends.

use std::sync::Arc;

use common::{
    store::{Change, Entry, Event, Events, Follow, Prefix, Revision, follow_as, key::Keys},
    vital::Vital,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Cache, Content, Place,
    decode::{Value, decode},
    list::{JobRow, LockRow},
};
use crate::state::App;

/// Starts the followers; they end at `shutdown`. Without one of them a list would stay as it was for ever.
pub(crate) fn start(app: &Arc<App>, vital: &Vital, tasks: &TaskTracker, shutdown: &CancellationToken) {
    for place in Place::ALL {
        let prefix = place.prefix(&app.config.keys).clone();
        let places = prefix.clone();
        let read = move |entry| read(place, &places, &entry);
        let changes = follow_as(app.store.clone(), prefix.clone(), shutdown.clone(), read);
        let app = app.clone();
        vital.spawn(tasks, "the cache's feed", shutdown, async move {
            feed(&app, place, &prefix, changes).await;
        });
    }
}

impl Place {
    const fn prefix(self, keys: &Keys) -> &Prefix {
        match self {
            Self::Jobs => &keys.jobs,
            Self::Locks => &keys.locks,
            Self::Workers => &keys.workers,
            Self::Queue => &keys.queue,
            Self::Runs => &keys.runs,
        }
    }
}

/// A decoded change: what stands under a name now; `None`: nothing (that we understand).
type NamedValue = (Box<str>, Option<Value>);

async fn feed(app: &App, place: Place, prefix: &Prefix, mut changes: Follow<NamedValue>) {
    let cache = &app.cache;
    while let Some(change) = changes.recv().await {
        match change {
            Change::Reset(values, revision) => {
                if place == Place::Workers {
                    app.clocks.forget_all();
                }
                cache.reset(place, values, revision);
            }
            Change::Events(Events { revision, events }) => {
                let values = events.into_iter().filter_map(|event| match event {
                    Event::Put(value) => Some(value),
                    Event::Deleted(key, _) => Some((prefix.name(&key)?.into(), None)),
                });
                let values: Vec<NamedValue> = values.collect();
                if place == Place::Workers {
                    read_clocks(app, &values);
                }
                cache.change(place, values, revision);
            }
            Change::Stale(reason) => cache.mark_stale(place, &reason),
            Change::WentBack { seen, now } => {
                let reason = format!("the store went back from revision {seen} to {now}: it was restored");
                tracing::warn!(?place, "{reason}");
                cache.mark_stale(place, &reason);
            }
        }
    }
}

fn read_clocks(app: &App, registrations: &[NamedValue]) {
    for (worker, registration) in registrations {
        match registration {
            Some(Value::Worker(registration)) => {
                app.clocks.read(worker, registration.clock - app.now());
            }
            _ => app.clocks.forget(worker),
        }
    }
}

fn read(place: Place, prefix: &Prefix, entry: &Entry) -> Option<NamedValue> {
    let name = prefix.name(&entry.key)?;
    Some((name.into(), decode(place, name, entry)))
}

impl Cache {
    pub(super) fn reset(&self, place: Place, values: Vec<NamedValue>, revision: Revision) {
        let mut fresh = Content::default();
        for (name, value) in values {
            fresh.set(place, name, value);
        }
        let old = {
            let mut content = self.content.write();
            content.replace(place, fresh)
        };
        // Dropped outside of the lock: it may be a hundred thousand jobs.
        drop(old);
        // As it is: after a restore it is below what was seen before.
        self.reached(place, |_| revision);
    }

    pub(super) fn change(&self, place: Place, values: Vec<NamedValue>, revision: Revision) {
        if !values.is_empty() {
            let mut content = self.content.write();
            for (name, value) in values {
                content.set(place, name, value);
            }
        }
        self.reached(place, |known| known.max(revision));
    }

    fn reached(&self, place: Place, revision: impl FnOnce(Revision) -> Revision) {
        self.progress.send_modify(|progress| {
            let known = &mut progress.revision[place as usize];
            *known = Some(revision(known.unwrap_or_default()));
            if progress.stale[place as usize].take().is_some() {
                tracing::info!(?place, "the store is back");
            }
        });
        self.wake(place);
    }

    pub(super) fn mark_stale(&self, place: Place, reason: &str) {
        self.progress.send_if_modified(|progress| {
            let stale = &mut progress.stale[place as usize];
            let news = stale.as_deref() != Some(reason);
            if stale.is_none() {
                tracing::warn!(?place, reason, "the store is away; lists show what was known");
            }
            *stale = Some(reason.into());
            news
        });
    }
}

impl Content {
    fn set(&mut self, place: Place, name: Box<str>, value: Option<Value>) {
        match place {
            Place::Jobs => self.broken.remove(&name),
            Place::Locks => self.held.remove(&name),
            _ => false,
        };
        match value {
            Some(Value::Job(job)) => {
                if job.stored.is_err() {
                    self.broken.insert(name.clone());
                }
                self.jobs.insert(name, JobRow::new(job));
            }
            Some(Value::Lock(lock)) => {
                if lock.held.is_some() {
                    self.held.insert(name.clone());
                }
                self.locks.insert(name, LockRow::new(lock));
            }
            Some(Value::Worker(worker)) => {
                self.workers.insert(name, worker);
            }
            Some(Value::Wanted(wanted)) => {
                self.queue.insert(name, wanted);
            }
            Some(Value::Run(run)) => {
                self.runs.insert(name, run);
            }
            None => self.remove(place, &name),
        }
    }

    fn remove(&mut self, place: Place, name: &str) {
        match place {
            Place::Jobs => drop(self.jobs.remove(name)),
            Place::Locks => drop(self.locks.remove(name)),
            Place::Workers => drop(self.workers.remove(name)),
            Place::Queue => drop(self.queue.remove(name)),
            Place::Runs => drop(self.runs.remove(name)),
        }
    }

    /// Takes over one place of `fresh` and gives back what was there.
    fn replace(&mut self, place: Place, mut fresh: Self) -> Self {
        use std::mem::swap;
        match place {
            Place::Jobs => {
                swap(&mut self.jobs, &mut fresh.jobs);
                swap(&mut self.broken, &mut fresh.broken);
            }
            Place::Locks => {
                swap(&mut self.locks, &mut fresh.locks);
                swap(&mut self.held, &mut fresh.held);
            }
            Place::Workers => swap(&mut self.workers, &mut fresh.workers),
            Place::Queue => swap(&mut self.queue, &mut fresh.queue),
            Place::Runs => swap(&mut self.runs, &mut fresh.runs),
        }
        fresh
    }
}
