//! Watches the live workers and how far they have decided, and checks this worker's clock against theirs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use chrono::Duration as Span;
use common::{
    clock::{Clock, ahead_of},
    id::WorkerId,
    placement::Candidates,
    store::{Change, Entry, Event, Key, Prefix, Revision, Store, follow, key::Keys},
    tick::Tick,
    worker::{LiveWorker, Mark, Registration},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::load::Load;

/// The live workers as this one sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    live: HashMap<WorkerId, LiveWorker>,
    /// Who may claim.
    pub candidates: Candidates,
}

impl View {
    /// True when the worker lives in the life that this revision names.
    pub(crate) fn lives(&self, worker: &WorkerId, session: Revision) -> bool {
        self.live.get(worker).is_some_and(|live| live.session == session)
    }
}

/// Watches. Shared by all who rank.
pub(crate) struct Registry {
    me: WorkerId,
    clock: Arc<dyn Clock>,
    load: Arc<Load>,
    removed: watch::Sender<Revision>,
    view: watch::Sender<Arc<View>>,
    marks: Mutex<HashMap<WorkerId, Mark>>,
    offsets: Mutex<Offsets>,
}

/// How far the others' clocks are from this one's.
#[derive(Debug, Default)]
struct Offsets {
    by_worker: HashMap<WorkerId, Span>,
    ahead_in_a_row: u32,
}

/// A clock this far ahead of the lower median claims nothing: a fence only grows, and a clock in the future would
/// silence jobs.
const AHEAD: Span = Span::seconds(1);

/// So many readings in a row, so that one delayed message does not stop a worker.
const READINGS: u32 = 3;

impl Registry {
    /// A registry that knows nobody yet.
    pub(crate) fn new(me: WorkerId, clock: Arc<dyn Clock>, load: Arc<Load>) -> Arc<Self> {
        Arc::new(Self {
            me,
            clock,
            load,
            removed: watch::Sender::new(Revision::NONE),
            view: watch::Sender::new(Arc::default()),
            marks: Mutex::default(),
            offsets: Mutex::default(),
        })
    }

    /// The view now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// Tells each change of the candidates or of the live workers.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Those of the view's workers that have not said, by the same view, that they have decided all that they rank
    /// first for up to `tick`.
    pub(crate) fn behind(&self, tick: Tick, view: &View) -> HashSet<WorkerId> {
        let marks = self.marks.lock();
        let by = view.candidates.view();
        let decided =
            |worker: &WorkerId| marks.get(worker).is_some_and(|mark| mark.view == by && mark.decided >= tick);
        view.live.keys().filter(|worker| !decided(worker)).cloned().collect()
    }

    /// Tells the revision at which this worker's own registration was last seen removed.
    pub(crate) fn removed(&self) -> watch::Receiver<Revision> {
        self.removed.subscribe()
    }

    /// Follows registrations and marks until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, store: Arc<dyn Store>, keys: Keys, shutdown: CancellationToken) {
        let mut workers = follow(store.clone(), keys.workers.clone(), shutdown.clone());
        let mut marks = follow(store, keys.marks.clone(), shutdown.clone());
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                change = workers.recv() => match change {
                    Some(change) => self.workers_changed(&keys.workers, change),
                    None => return,
                },
                change = marks.recv() => match change {
                    Some(change) => self.marks_changed(&keys.marks, change),
                    None => return,
                },
            }
        }
    }

    fn workers_changed(&self, prefix: &Prefix, change: Change) {
        let mut live = self.view.borrow().live.clone();
        match change {
            Change::Reset(entries, revision) => {
                live = entries.iter().filter_map(|entry| registered(prefix, entry)).collect();
                if !live.contains_key(&self.me) {
                    self.removed.send_replace(revision);
                }
            }
            Change::Events(events) => {
                for event in events.events {
                    match event {
                        Event::Put(entry) => {
                            if let Some((id, worker)) = registered(prefix, &entry) {
                                self.read_clock(&worker.registration);
                                live.insert(id, worker);
                            }
                        }
                        Event::Deleted(key, at) => self.forget(prefix, &key, at, &mut live),
                    }
                }
            }
            Change::WentBack { seen, now } => {
                self.load.store_was_restored(seen, now);
                return;
            }
            Change::Stale(_) => return,
        }
        let candidates = Candidates::among(live.values());
        self.view.send_modify(|view| *view = Arc::new(View { live, candidates }));
    }

    fn forget(&self, prefix: &Prefix, key: &Key, at: Revision, live: &mut HashMap<WorkerId, LiveWorker>) {
        let Some(name) = prefix.name(key) else { return };
        live.remove(name);
        self.offsets.lock().by_worker.remove(name);
        if name == self.me.as_str() {
            self.removed.send_replace(at);
        }
    }

    /// Takes a reading of another's clock, and at each of our own registrations judges ours.
    fn read_clock(&self, registration: &Registration) {
        let mut offsets = self.offsets.lock();
        let offset = registration.clock - self.clock.now();
        if registration.id != self.me {
            offsets.by_worker.insert(registration.id.clone(), offset);
            return;
        }
        let ahead = is_ahead(offsets.by_worker.values().copied());
        offsets.ahead_in_a_row = if ahead { offsets.ahead_in_a_row + 1 } else { 0 };
        let stop = offsets.ahead_in_a_row >= READINGS;
        if stop && self.load.may_claim() {
            tracing::error!(
                "this worker's clock is more than a second ahead of the others': it claims nothing until it is set right"
            );
        }
        self.load.set_clock_ahead(stop);
    }

    fn marks_changed(&self, prefix: &Prefix, change: Change) {
        let mut marks = self.marks.lock();
        let put = |marks: &mut HashMap<WorkerId, Mark>, entry: &Entry| {
            let id = prefix.name(&entry.key).and_then(|name| name.parse().ok());
            if let (Some(id), Ok(mark)) = (id, Mark::decode(&entry.value)) {
                marks.insert(id, mark);
            }
        };
        match change {
            Change::Reset(entries, _) => {
                marks.clear();
                entries.iter().for_each(|entry| put(&mut marks, entry));
            }
            Change::Events(events) => {
                for event in events.events {
                    match event {
                        Event::Put(entry) => put(&mut marks, &entry),
                        Event::Deleted(key, _) => {
                            prefix.name(&key).map(|name| marks.remove(name));
                        }
                    }
                }
            }
            Change::WentBack { seen, now } => self.load.store_was_restored(seen, now),
            Change::Stale(_) => {}
        }
    }
}

fn is_ahead(others: impl Iterator<Item = Span>) -> bool {
    ahead_of(others) > AHEAD
}

fn registered(prefix: &Prefix, entry: &Entry) -> Option<(WorkerId, LiveWorker)> {
    let id: WorkerId = prefix.name(&entry.key)?.parse().ok()?;
    match Registration::decode(&entry.value) {
        Ok(registration) => Some((id, LiveWorker { registration, session: entry.create_revision })),
        Err(error) => {
            tracing::warn!(key = %entry.key, %error, "a registration does not decode");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_ahead_of_the_lower_median_stops() {
        let ms = |offsets: &[i64]| is_ahead(offsets.iter().map(|ms| Span::milliseconds(*ms)));
        assert!(!ms(&[]));
        assert!(!ms(&[5_000]), "behind the other");
        assert!(ms(&[-2_000]), "of two the one ahead stops");
        assert!(!ms(&[-2_000, 0, 0]));
        assert!(ms(&[-2_000, -2_000, -1_500]));
        assert!(!ms(&[-900, -900]));
    }
}
