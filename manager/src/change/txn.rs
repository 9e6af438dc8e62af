//! The transactions by which managers change the store: values in, a transaction out. Each compares what it was decided
//! on. The model of the claim protocol sends the same ones.

use common::{
    id::JobName,
    lock::Lock,
    queue::{Passed, QueuedRun},
    store::{Compare, Key, LeaseId, Op, Revision, Txn, key::Keys},
};

use super::decision::LockAfter;

/// The revisions at which a job and its lock were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeenJob {
    /// The job's.
    pub job: Revision,
    /// The lock's.
    pub lock: Revision,
    /// The lease that the lock is under, which stays.
    pub lease: Option<LeaseId>,
}

/// Writes a job, its lock if that changes, and the ticks that this buries.
pub fn save(
    keys: &Keys,
    name: &JobName,
    seen: SeenJob,
    job: Vec<u8>,
    lock: &LockAfter,
    passed: Option<&Passed>,
) -> Txn {
    let key = keys.job(name);
    let mut txn = Txn::when(vec![Compare::ModRevision(key.clone(), seen.job)], vec![Op::Put(key, job, None)]);
    if *lock != LockAfter::Stays {
        txn.compares.push(Compare::ModRevision(keys.lock(name), seen.lock));
    }
    txn.then.extend(lock_op(keys, name, seen, lock));
    txn.then.extend(passed.map(|passed| passed_op(keys, passed)));
    txn
}

/// Removes a job, its lock or what becomes of it, and names the ticks that this buries. The lock is compared even if
/// it stays: its holder may be skipping a tick that is named here.
pub fn delete(keys: &Keys, name: &JobName, seen: SeenJob, lock: &LockAfter, passed: Option<&Passed>) -> Txn {
    let compares = vec![
        Compare::ModRevision(keys.job(name), seen.job),
        Compare::ModRevision(keys.lock(name), seen.lock),
    ];
    let mut then = vec![Op::Delete(keys.job(name))];
    then.extend(lock_op(keys, name, seen, lock));
    then.extend(passed.map(|passed| passed_op(keys, passed)));
    Txn::when(compares, then)
}

/// Writes a lock in place of a free one, and the job where that changes.
pub fn reset_fence(keys: &Keys, name: &JobName, seen: SeenJob, lock: &Lock, job: Option<Vec<u8>>) -> Txn {
    let compares = vec![
        Compare::ModRevision(keys.job(name), seen.job),
        Compare::ModRevision(keys.lock(name), seen.lock),
    ];
    let mut then = vec![Op::Put(keys.lock(name), lock.encode(), None)];
    then.extend(job.map(|job| Op::Put(keys.job(name), job, None)));
    Txn::when(compares, then)
}

/// Queues a run of a job that is still as it was read.
pub fn run_now(keys: &Keys, job: Revision, wanted: &QueuedRun) -> Txn {
    Txn::when(
        vec![Compare::ModRevision(keys.job(&wanted.job), job)],
        vec![Op::Put(keys.wanted(&wanted.run), wanted.encode(), None)],
    )
}

/// Queues a task under an id that nothing has: it neither waits nor runs.
pub fn queue_task(keys: &Keys, wanted: &QueuedRun) -> Txn {
    let compares = vec![
        Compare::ModRevision(keys.wanted(&wanted.run), Revision::NONE),
        Compare::ModRevision(keys.active(&wanted.run), Revision::NONE),
    ];
    Txn::when(compares, vec![Op::Put(keys.wanted(&wanted.run), wanted.encode(), None)])
}

/// Puts `value` under `key` in place of what was read there, under a lease if there is one.
pub(crate) fn put(key: Key, seen: Revision, value: Vec<u8>, lease: Option<LeaseId>) -> Txn {
    Txn::when(vec![Compare::ModRevision(key.clone(), seen)], vec![Op::Put(key, value, lease)])
}

fn lock_op(keys: &Keys, name: &JobName, seen: SeenJob, lock: &LockAfter) -> Option<Op> {
    match lock {
        LockAfter::Stays => None,
        LockAfter::Becomes(lock) => Some(Op::Put(keys.lock(name), lock.encode(), seen.lease)),
        LockAfter::Goes => Some(Op::Delete(keys.lock(name))),
    }
}

fn passed_op(keys: &Keys, passed: &Passed) -> Op {
    Op::Put(keys.passed(&passed.job, passed.ticks.to), passed.encode(), None)
}
