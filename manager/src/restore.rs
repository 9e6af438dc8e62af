//! After the store was restored from a copy: its fences are older than what has run, and it gives out the same
//! revisions again. Every fence is moved to now, and then the epoch is raised; after that the workers claim again.
//!
//! Each lock is written under the compare of what was read of it, so that nothing that happens meanwhile is
//! overwritten; whoever is interrupted starts again with what is left. The epoch comes last: before it, no worker
//! that saw the restore claims. Done twice, it moves the fences again, but never back.

use chrono::{DateTime, Utc};
use common::{
    epoch::{Epoch, Raised},
    lock::{FreeLock, Lock},
    store::{Entry, Key, Revision, Store, StoreError, Txn, key::Keys, list_all},
    tick::Fence,
    worker::Registration,
};
use serde::Serialize;

use crate::{
    access::Caller,
    change::{Change, Decision, Snapshot, Way, Write, make, txn},
    problem::ApiError,
};

/// Locks in one transaction: each is a transaction inside, and below the store's limit they are.
const TOGETHER: usize = 100;

/// What changes faster than it is read is given up after this many rounds.
const ROUNDS: usize = 10;

/// What was done, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The epoch from now on.
    pub epoch: Epoch,
    /// Where the fences were moved to.
    pub to: String,
    /// All locks.
    pub locks: usize,
    /// Locks whose fence was moved.
    pub moved: usize,
    /// Locks that are held by workers that are registered.
    pub held: usize,
    /// Locks that are held by workers that are gone. Caretakers free them and record the runs as lost.
    pub orphaned: usize,
    /// Keys under `locks/` that are not locks, and were left alone.
    pub broken: Vec<String>,
    /// Runs that wait in the queue; what was claimed since the copy was made waits there again.
    pub queued: usize,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store.
    #[error("the store did not do it")]
    Store(#[from] StoreError),
    /// Somebody keeps writing.
    #[error("{0} locks keep changing: their fences were not moved, and the epoch was not raised; try again")]
    Contended(usize),
    /// Somebody else did the same meanwhile.
    #[error("somebody else raised the epoch meanwhile; the fences are moved")]
    RaisedMeanwhile,
}

/// Moves every fence that is below `now` to it, then raises the epoch.
pub async fn after_restore(
    store: &dyn Store,
    keys: &Keys,
    now: DateTime<Utc>,
) -> Result<Restored, RestoreError> {
    let (before, _) = store.get(&keys.epoch()).await?;
    let (workers, _) = list_all(store, &keys.workers).await?;
    let to = Fence::from_instant(now);
    let mut moved = 0;
    let mut done = None;
    for _ in 0..ROUNDS {
        let (locks, _) = list_all(store, &keys.locks).await?;
        let late: Vec<Move> = locks.iter().filter_map(|entry| Move::of(entry, to)).collect();
        if late.is_empty() {
            done = Some(locks);
            break;
        }
        for part in late.chunks(TOGETHER) {
            moved += write(&Way::alone(store), part).await?;
        }
    }
    let Some(locks) = done else {
        let (locks, _) = list_all(store, &keys.locks).await?;
        return Err(RestoreError::Contended(locks.iter().filter_map(|entry| Move::of(entry, to)).count()));
    };
    let (queued, _) = list_all(store, &keys.queue).await?;
    let epoch = raise(store, keys, before.as_ref(), &workers, now).await?;
    let found = Restored { epoch, to: to.to_string(), moved, queued: queued.len(), ..Restored::default() };
    Ok(count(found, keys, &locks, &workers))
}

/// A lock that is to be written.
struct Move {
    entry: Entry,
    lock: Lock,
}

impl Move {
    fn of(entry: &Entry, to: Fence) -> Option<Self> {
        let lock = match Lock::decode(&entry.value).ok()? {
            lock if lock.fence() >= to => return None,
            Lock::Free(free) => Lock::Free(FreeLock { fence: to, ..free }),
            // Its run is still its holder's; who frees it leaves the fence behind.
            Lock::Held(held) => Lock::Held(held.at_fence(to, entry.mod_revision)),
        };
        Some(Self { entry: entry.clone(), lock })
    }

    fn txn(&self) -> Txn {
        let Self { entry, lock } = self;
        txn::put(entry.key.clone(), entry.mod_revision, lock.encode(), entry.lease)
    }
}

/// How many were written; the others have changed since, or may have been written, and are looked at again.
async fn write(way: &Way<'_>, part: &[Move]) -> Result<usize, StoreError> {
    let each = part.iter().map(Move::txn).collect();
    match way.send_together(&[], each).await {
        Ok(written) => Ok(written.unwrap_or_default()),
        Err(StoreError::Ambiguous(_)) => Ok(0),
        Err(error) => Err(error),
    }
}

/// A new epoch, in place of the one that was read before the fences were moved.
struct Raise<'a> {
    keys: &'a Keys,
    before: Option<&'a Entry>,
    raised: Raised,
}

impl Change for Raise<'_> {
    type Done = Epoch;

    const WHAT: &'static str = "rise of the epoch";

    fn reads(&self) -> Vec<Key> {
        vec![self.keys.epoch()]
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<Epoch>, ApiError> {
        if seen.revision(0) != self.before.map_or(Revision::NONE, |entry| entry.mod_revision) {
            return Err(ApiError::Contended);
        }
        let txn = txn::put(self.keys.epoch(), seen.revision(0), self.raised.encode(), None);
        Ok(Decision::Write(Write { txn, places: &[], done: self.raised.epoch }))
    }
}

/// Above all that the store and the workers know: a worker may have known an epoch that the copy does not have.
async fn raise(
    store: &dyn Store,
    keys: &Keys,
    before: Option<&Entry>,
    workers: &[Entry],
    now: DateTime<Utc>,
) -> Result<Epoch, RestoreError> {
    let stored = before.and_then(|entry| Raised::decode(&entry.value).ok()).map(|raised| raised.epoch);
    let known = workers.iter().filter_map(|entry| Some(Registration::decode(&entry.value).ok()?.epoch));
    let epoch = known.chain(stored).max().unwrap_or_default().next();
    let raise = Raise { keys, before, raised: Raised { epoch, at: now } };
    match make(&Way::alone(store), &Caller::of_the_command_line(), &raise).await {
        Ok(made) => Ok(made.done),
        Err(ApiError::Store(error)) => Err(error.into()),
        Err(_) => Err(RestoreError::RaisedMeanwhile),
    }
}

fn count(mut found: Restored, keys: &Keys, locks: &[Entry], workers: &[Entry]) -> Restored {
    found.locks = locks.len();
    for entry in locks {
        match Lock::decode(&entry.value) {
            Ok(Lock::Free(_)) => {}
            Ok(Lock::Held(held)) => {
                let key = keys.worker(&held.worker);
                let lives = |worker: &Entry| worker.key == key && worker.create_revision == held.session;
                if workers.iter().any(lives) {
                    found.held += 1;
                } else {
                    found.orphaned += 1;
                }
            }
            Err(_) => found.broken.push(entry.key.to_string()),
        }
    }
    found
}
