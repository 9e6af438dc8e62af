//! The transactions on tasks: runs without a job, from the queue to `active/<run>` and out of it. Pure.
//!
//! The invariants, each next to the transaction that keeps it:
//!
//! - A task is in one place: an entry in the queue, or a record under `active/`. Every transaction that makes the one
//!   removes the other, and compares the revision of what it removes. So no two workers run it at the same time, and none
//!   is lost between two places.
//! - Only its holder ends an active task, or the first to find that the holder's session is gone.
//! - An active task that has ended stays until the run log has its record: a reader finds it in one of the two.

use common::{
    queue::QueuedRun,
    store::{Compare, Entry, Op, Revision, Txn, TxnOutcome, key::Keys},
    task::ActiveTask,
};

use super::{Orphan, Session, Taking, is_gone};

/// Takes a task out of the queue: the entry is the one gone by, and nobody has killed it since.
pub fn take(keys: &Keys, active: &ActiveTask, taking: &Taking) -> Txn {
    let (run, key) = (&active.held.run, keys.active(&active.held.run));
    let compares = vec![
        Compare::ModRevision(taking.entry.clone(), taking.written),
        Compare::ModRevision(keys.kill_run(run), taking.kills.1),
    ];
    let then = vec![Op::Delete(taking.entry.clone()), Op::Put(key.clone(), active.encode(), None)];
    Txn::when(compares, then).or_get(key)
}

/// Says how an active task has ended: it is the claim gone by. `ended` is what stands there from now on.
pub fn end(keys: &Keys, ended: &ActiveTask, seen: Revision) -> Txn {
    let key = keys.active(&ended.held.run);
    let put = Op::Put(key.clone(), ended.encode(), None);
    Txn::when(vec![Compare::ModRevision(key.clone(), seen)], vec![put]).or_get(key)
}

/// Puts the next attempt of an active task into the queue in its place, so that it is queued once.
pub fn again(keys: &Keys, active: &ActiveTask, seen: Revision, wanted: &QueuedRun) -> Txn {
    let key = keys.active(&active.held.run);
    let then = vec![Op::Delete(key.clone()), super::put_wanted(keys, wanted)];
    Txn::when(vec![Compare::ModRevision(key, seen)], then)
}

/// The same two for a task that is nobody's: where its holder's session is gone, that is compared in the same
/// transaction, so that a caretaker that was stopped for an hour does no harm.
pub fn lose(keys: &Keys, active: &ActiveTask, seen: Revision, orphan: Orphan, then: &Lost) -> Txn {
    let mut txn = match then {
        Lost::Ended(ended) => end(keys, ended, seen),
        Lost::Queued(wanted) => again(keys, active, seen, wanted),
    };
    txn.compares.extend(is_gone(keys, &active.held, orphan));
    txn
}

/// What becomes of a task that is nobody's.
#[derive(Clone, Debug, PartialEq)]
pub enum Lost {
    /// It has ended; this stands there from now on.
    Ended(Box<ActiveTask>),
    /// It is queued again.
    Queued(Box<QueuedRun>),
}

/// An active task as it stands in the store; `None`, with an error in the log, if it does not decode.
pub fn seen(entry: &Entry) -> Option<ActiveTask> {
    ActiveTask::decode(&entry.value)
        .inspect_err(|error| tracing::error!(key = %entry.key, %error, "an active task cannot be read"))
        .ok()
}

/// The revision of the claim, if it is won, be it by an earlier try whose answer was lost.
pub fn won(txn: &TxnOutcome, claim: &ActiveTask, session: &Session) -> Option<Revision> {
    if txn.succeeded {
        return Some(txn.revision);
    }
    let entry = txn.got(0)?;
    let there = seen(entry)?;
    let mine = there.ended.is_none()
        && (there.held.attempt, there.held.session) == (claim.held.attempt, session.revision)
        && there.held.worker == session.worker;
    mine.then_some(entry.mod_revision)
}

/// The revision at which a task was said to have ended, be it by an earlier try whose answer was lost.
pub fn ended(txn: &TxnOutcome, ended: &ActiveTask) -> Option<Revision> {
    if txn.succeeded {
        return Some(txn.revision);
    }
    let entry = txn.got(0)?;
    (seen(entry)? == *ended).then_some(entry.mod_revision)
}
