//! Draining a worker, which takes nothing new then, and taking that back.

use common::{
    id::WorkerId,
    store::{Compare, Key, Op, Txn},
    worker::Drain,
};

use super::{Change, Decision, Fate, SentWrite, Snapshot, Write, make, txn};
use crate::{access::Caller, cache::Place, problem::ApiError, state::App};

struct SetDrain<'a> {
    app: &'a App,
    worker: &'a WorkerId,
    wanted: Option<Drain>,
}

impl Change for SetDrain<'_> {
    type Done = ();

    const WHAT: &'static str = "drain or undrain";

    fn reads(&self) -> Vec<Key> {
        let keys = &self.app.config.keys;
        vec![keys.drain(self.worker), keys.worker(self.worker)]
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<()>, ApiError> {
        let key = self.app.config.keys.drain(self.worker);
        // A name that no worker has is a slip of the hand; a drained one that is away can be undrained.
        if seen.entry(0).is_none() && seen.entry(1).is_none() {
            return Err(ApiError::NoSuchWorker(self.worker.clone()));
        }
        let before = seen.entry(0).and_then(|entry| Drain::decode(&entry.value).ok());
        let txn = match &self.wanted {
            Some(wanted) => {
                // Asked for again with `evict`, what runs by then is ended.
                let is_same = |before: &Drain| before.note == wanted.note && !wanted.evict && !before.evict;
                if before.as_ref().is_some_and(is_same) {
                    return Ok(Decision::Leave(()));
                }
                txn::put(key, seen.revision(0), wanted.encode(), None)
            }
            None if seen.entry(0).is_none() => return Ok(Decision::Leave(())),
            None => {
                let compare = Compare::ModRevision(key.clone(), seen.revision(0));
                Txn::when(vec![compare], vec![Op::Delete(key)])
            }
        };
        Ok(Decision::Write(Write { txn, places: &[Place::Drains], done: () }))
    }

    fn fate(&self, tried: &SentWrite<()>, seen: &Snapshot) -> Fate {
        let now = seen.entry(0).and_then(|entry| Drain::decode(&entry.value).ok());
        if now == self.wanted {
            return Fate::Done(None);
        }
        if seen.revision(0) == tried.decided_on(0) { Fate::Open } else { Fate::Unknown }
    }
}

/// Wants the worker to take nothing new; `None` takes that back.
pub(crate) async fn set_drain(
    app: &App,
    caller: &Caller,
    worker: &WorkerId,
    wanted: Option<Drain>,
) -> Result<(), ApiError> {
    let message = if wanted.is_some() { "a worker was drained" } else { "a worker was undrained" };
    make(&app.way(App::deadline()), caller, &SetDrain { app, worker, wanted }).await?;
    tracing::info!(%worker, by = %caller, "{message}");
    Ok(())
}
