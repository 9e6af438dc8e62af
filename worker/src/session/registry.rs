//! Watches the live workers and how far they have decided, and checks this worker's clock against theirs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use chrono::Duration as Span;
use common::{
    clock::{Clock, ahead_of},
    id::WorkerId,
    placement::Candidates,
    store::{Away, Entry, Key, Mirror, Prefix, Revision, Store, follow, key::Keys},
    tick::Tick,
    worker::{LiveWorker, Mark, Registration},
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::session::load::Load;

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
        let mut live = LiveWorkers { registry: &self, prefix: keys.workers, live: HashMap::new() };
        let mut told = ToldMarks { registry: &self, prefix: keys.marks };
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                change = workers.recv() => {
                    let Some(change) = change else { return };
                    live.take(change);
                }
                change = marks.recv() => {
                    let Some(change) = change else { return };
                    told.take(change);
                }
            }
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
}

fn is_ahead(others: impl Iterator<Item = Span>) -> bool {
    ahead_of(others) > AHEAD
}

/// The registrations, as they are told.
struct LiveWorkers<'a> {
    registry: &'a Registry,
    prefix: Prefix,
    live: HashMap<WorkerId, LiveWorker>,
}

impl LiveWorkers<'_> {
    fn show(&self) {
        let candidates = Candidates::among(self.live.values());
        let view = Arc::new(View { live: self.live.clone(), candidates });
        self.registry.view.send_replace(view);
    }
}

impl Mirror for LiveWorkers<'_> {
    fn list(&mut self, all: Vec<Entry>, at: Revision) {
        self.live = all.iter().filter_map(|entry| registered(&self.prefix, entry)).collect();
        if !self.live.contains_key(&self.registry.me) {
            self.registry.removed.send_replace(at);
        }
        self.show();
    }

    fn put(&mut self, entry: Entry) {
        if let Some((id, worker)) = registered(&self.prefix, &entry) {
            self.registry.read_clock(&worker.registration);
            self.live.insert(id, worker);
        }
    }

    fn remove(&mut self, key: &Key, at: Revision) {
        let Some(name) = self.prefix.name(key) else { return };
        self.live.remove(name);
        self.registry.offsets.lock().by_worker.remove(name);
        if name == self.registry.me.as_str() {
            self.registry.removed.send_replace(at);
        }
    }

    fn reached(&mut self, _at: Revision) {
        self.show();
    }

    fn away(&mut self, why: Away) {
        if let Away::WentBack { seen, now } = why {
            self.registry.load.store_was_restored(seen, now);
        }
    }
}

/// The marks, as they are told.
struct ToldMarks<'a> {
    registry: &'a Registry,
    prefix: Prefix,
}

impl ToldMarks<'_> {
    fn worker(&self, key: &Key) -> Option<WorkerId> {
        self.prefix.name(key)?.parse().ok()
    }
}

impl Mirror for ToldMarks<'_> {
    fn list(&mut self, all: Vec<Entry>, _at: Revision) {
        self.registry.marks.lock().clear();
        all.into_iter().for_each(|entry| self.put(entry));
    }

    fn put(&mut self, entry: Entry) {
        if let (Some(id), Ok(mark)) = (self.worker(&entry.key), Mark::decode(&entry.value)) {
            self.registry.marks.lock().insert(id, mark);
        }
    }

    fn remove(&mut self, key: &Key, _at: Revision) {
        if let Some(id) = self.worker(key) {
            self.registry.marks.lock().remove(&id);
        }
    }

    fn away(&mut self, why: Away) {
        if let Away::WentBack { seen, now } = why {
            self.registry.load.store_was_restored(seen, now);
        }
    }
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
