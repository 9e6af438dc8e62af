//! Feeds the cache: one follower a place, until the manager ends.

use std::sync::{Arc, PoisonError};

use common::store::{Change, Entry, Event, Events, Follow, Prefix, Revision, follow, key::Keys};
use tokio::task::yield_now;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Cache, Content, Place,
    decode::{Value, decode},
    list::{JobRow, LockRow},
};
use crate::state::App;

/// Starts the followers; they end at `shutdown`.
pub(crate) fn start(app: &Arc<App>, tasks: &TaskTracker, shutdown: &CancellationToken) {
    for place in Place::ALL {
        let prefix = place.prefix(&app.config.keys).clone();
        let changes = follow(app.store.clone(), prefix.clone(), shutdown.clone());
        let app = app.clone();
        tasks.spawn(async move { feed(&app.cache, place, &prefix, changes).await });
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

async fn feed(cache: &Cache, place: Place, prefix: &Prefix, mut changes: Follow) {
    while let Some(change) = changes.recv().await {
        match change {
            Change::Reset(entries, revision) => {
                cache.reset(place, read_all(place, prefix, entries).await, revision);
            }
            Change::Events(Events { revision, events }) => {
                let values = events.iter().filter_map(|event| read_event(place, prefix, event)).collect();
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

/// So many entries are read before requests have their turn: they take a fraction of a millisecond.
const READ_AT_ONCE: usize = 32;

/// A hundred thousand jobs take a second or so, in which requests are answered; a thread of its own would end at no
/// certain point of a simulation.
///
/// Each entry goes as soon as it is read: what comes next takes its memory. Beside a whole listing, the values would
/// need memory of their own, and the listing's would hardly go back to the system.
async fn read_all(place: Place, prefix: &Prefix, entries: Vec<Entry>) -> Vec<NamedValue> {
    let mut values = Vec::with_capacity(entries.len());
    for (n, entry) in entries.into_iter().enumerate() {
        if n % READ_AT_ONCE == READ_AT_ONCE - 1 {
            yield_now().await;
        }
        if let Some(name) = prefix.name(&entry.key) {
            values.push((name.into(), decode(place, name, &entry)));
        }
    }
    values
}

fn read_event(place: Place, prefix: &Prefix, event: &Event) -> Option<NamedValue> {
    let name = prefix.name(event.key())?;
    let value = match event {
        Event::Put(entry) => decode(place, name, entry),
        Event::Deleted(..) => None,
    };
    Some((name.into(), value))
}

impl Cache {
    pub(super) fn reset(&self, place: Place, values: Vec<NamedValue>, revision: Revision) {
        let mut fresh = Content::default();
        for (name, value) in values {
            fresh.set(place, name, value);
        }
        let old = {
            let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
            content.replace(place, fresh)
        };
        // Dropped outside of the lock: it may be a hundred thousand jobs.
        drop(old);
        // As it is: after a restore it is below what was seen before.
        self.reached(place, |_| revision);
    }

    pub(super) fn change(&self, place: Place, values: Vec<NamedValue>, revision: Revision) {
        if !values.is_empty() {
            let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
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
