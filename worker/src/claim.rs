//! The claim protocol's transactions, and what their outcomes mean. Pure: values in, values out.
//!
//! The invariants, each next to the transaction that keeps it:
//!
//! - A tick is decided by whoever moves the job's fence to it, and the fence only grows.
//! - A held lock by itself refuses every claim, because `~` sorts after every instant.
//! - Only its holder frees a held lock or names another run in it; anybody else only when the holder's session is gone.
//!   A manager moves its fence forward, by revision.

use common::{
    id::{JobName, WorkerId},
    job::Overlap,
    lock::{FreeLock, HeldLock, LastRun, Lock, fence_bytes},
    queue::QueuedRun,
    store::{Compare, Entry, Key, Op, OpOutcome, Revision, Txn, TxnOutcome, key::Keys},
    tick::Tick,
    worker::Boot,
};

pub(crate) mod batch;
pub(crate) mod claims;
pub(crate) mod post;
pub mod task;

/// Who acts: a worker in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The worker.
    pub worker: WorkerId,
    /// The revision that created its registration.
    pub revision: Revision,
}

/// A lock as it stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLock {
    /// What it says.
    pub lock: Lock,
    /// The revision that wrote it.
    pub revision: Revision,
}

/// A lock that this process holds, or the record of a run of it beside the lock.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnLock {
    /// What it says.
    pub held: HeldLock,
    /// The revision that wrote it: the run's fencing token.
    pub revision: Revision,
}

impl OwnLock {
    /// What this process holds for `run` when its lock was found so; none: it is not this run's any more.
    pub fn still(run: &HeldLock, found: StoredLock) -> Option<Self> {
        match found {
            StoredLock { lock: Lock::Held(held), revision }
                if held.run == run.run && held.session == run.session =>
            {
                Some(Self { held, revision })
            }
            _ => None,
        }
    }
}

/// What became of a transaction on a lock.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is ours, and says this: what was sent, or what a manager has made of it since, who may have moved its fence.
    Won(Box<OwnLock>),
    /// It is not; what the lock says instead. `None`: there is no lock, or it does not decode.
    Lost(Option<Box<StoredLock>>),
}

/// Where a run is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// In its job's lock: nothing else of the job executes meanwhile.
    Lock,
    /// Beside the lock, with a record of its own under `runs/`: overlap `allow`.
    Beside,
}

impl Place {
    /// Where runs of a job with this policy are claimed.
    pub const fn of(overlap: Overlap) -> Self {
        match overlap {
            Overlap::Allow => Self::Beside,
            Overlap::Skip | Overlap::QueueOne | Overlap::Replace => Self::Lock,
        }
    }
}

/// Why a lock, or the record of a run beside it, is nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Orphan {
    /// Its holder's session has ended.
    Gone,
    /// It names this very session, which never started the run: its claim was done after it had been given up.
    Phantom,
}

/// Who is named by a lock that this process does not act for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderLife {
    /// This very session.
    Me,
    /// A session that has ended.
    Gone,
    /// Another session, which lives.
    Other,
}

impl Orphan {
    /// Why it is nobody's, if it is.
    pub const fn of(named: HolderLife) -> Option<Self> {
        match named {
            HolderLife::Me => Some(Self::Phantom),
            HolderLife::Gone => Some(Self::Gone),
            HolderLife::Other => None,
        }
    }
}

/// A free lock as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFreeLock {
    /// What it says.
    pub free: FreeLock,
    /// The revision that wrote it.
    pub revision: Revision,
}

/// A queued run that is taken out of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    /// Its entry in the queue.
    pub entry: Key,
    /// The revision that wrote the entry.
    pub written: Revision,
    /// The revisions of the kills of its job and of its run, as they were judged; [`Revision::NONE`]: there is none.
    /// So a kill that is still on its way here is not overlooked.
    pub kills: (Revision, Revision),
}

/// Claims a tick: the definition is the one gone by, the fence is at or behind the previous tick, before this one.
/// The value's order says all three: free, in order, and not decided. Beside the lock, the lock stays free, its fence
/// at the tick.
pub fn claim(keys: &Keys, held: &HeldLock, previous: Tick, definition: Revision, place: Place) -> Txn {
    let lock = keys.lock(&held.job);
    let compares = vec![
        is_job(keys, held, definition),
        Compare::ValueGreater(lock.clone(), fence_bytes(previous)),
        Compare::ValueLess(lock.clone(), fence_bytes(held.fence)),
    ];
    let free = FreeLock { fence: held.fence, last: None };
    Txn { compares, then: claimed(keys, held, free, place), otherwise: reads(keys, held, place) }
}

/// Claims a tick and decides all ticks before it that the lock, which was seen free, has not passed: those that get no
/// run are named in `held`, and `queued` puts the others into the queue.
///
/// Compares the definition: its ticks are passed, and no other's.
pub fn catch_up(
    keys: &Keys,
    held: &HeldLock,
    seen: &StoredFreeLock,
    definition: Revision,
    place: Place,
    queued: Vec<Op>,
) -> Txn {
    let compares = vec![is_lock(keys, held, seen.revision), is_job(keys, held, definition)];
    let mut then = claimed(keys, held, FreeLock { fence: held.fence, ..seen.free.clone() }, place);
    then.extend(queued);
    Txn { compares, then, otherwise: reads(keys, held, place) }
}

/// Takes a queued run out of the queue, and its job's lock with it, by the definition that stands.
pub fn take(
    keys: &Keys,
    held: &HeldLock,
    seen: &StoredFreeLock,
    definition: Revision,
    place: Place,
    taking: &Taking,
) -> Txn {
    let (of_job, of_run) = taking.kills;
    let compares = vec![
        is_lock(keys, held, seen.revision),
        is_job(keys, held, definition),
        Compare::ModRevision(taking.entry.clone(), taking.written),
        Compare::ModRevision(keys.kill_job(&held.job), of_job),
        Compare::ModRevision(keys.kill_run(&held.run), of_run),
    ];
    let mut then = claimed(keys, held, seen.free.clone(), place);
    then.push(Op::Delete(taking.entry.clone()));
    Txn { compares, then, otherwise: reads(keys, held, place) }
}

/// Moves the fence of a lock that this process holds over ticks that get no run, which `to` names. Only by the
/// definition that stands: otherwise ticks of the next one would be buried.
pub fn skip(keys: &Keys, to: &HeldLock, seen: Revision, definition: Revision) -> Txn {
    let lock = keys.lock(&to.job);
    let compares = vec![is_lock(keys, to, seen), is_job(keys, to, definition)];
    Txn::when(compares, vec![Op::Put(lock.clone(), Lock::Held(to.clone()).encode(), None)]).or_get(lock)
}

/// The same, and the newest of these ticks waits in the queue, if none waits there yet.
pub fn wait(keys: &Keys, to: &HeldLock, seen: Revision, definition: Revision, wanted: &QueuedRun) -> Txn {
    let next = keys.next_of(&to.job);
    let mut txn = skip(keys, to, seen, definition);
    txn.compares.push(Compare::ModRevision(next.clone(), Revision::NONE));
    txn.then.push(Op::Put(next, wanted.encode(), None));
    txn
}

/// Ends a held lock, or removes it when the job is gone: two nested transactions, so that the job's existence is
/// decided by the store. `beside` is done with it.
pub fn finish(keys: &Keys, held: &HeldLock, seen: Revision, last: Option<LastRun>, beside: Vec<Op>) -> Txn {
    let lock = keys.lock(&held.job);
    let free = Lock::Free(FreeLock { fence: held.fence, last });
    let end = Txn {
        compares: vec![is_job(keys, held, Revision::NONE)],
        then: vec![Op::Delete(lock.clone())],
        otherwise: vec![Op::Put(lock.clone(), free.encode(), None)],
    };
    let mut then = vec![Op::Txn(end)];
    then.extend(beside);
    Txn::when(vec![is_lock(keys, held, seen)], then).or_get(lock)
}

/// Ends a held lock and claims the next tick in one: the lock is still the one gone by, and so is the definition.
/// The caller has made sure that no undecided tick lies between the two. `beside` is done with it.
pub fn finish_and_claim(
    keys: &Keys,
    seen: Revision,
    next: &HeldLock,
    definition: Revision,
    beside: Vec<Op>,
) -> Txn {
    let mut txn = skip(keys, next, seen, definition);
    txn.then.extend(beside);
    txn
}

/// Removes the record of a run that held no lock: only the one that its claim wrote, so that the next attempt, which
/// `beside` queues, is queued once however often this is sent, and not at all if a caretaker has been here.
pub fn end_beside(keys: &Keys, held: &HeldLock, seen: Revision, beside: Vec<Op>) -> Txn {
    let key = keys.run(&held.run);
    let mut then = vec![Op::Delete(key.clone())];
    then.extend(beside);
    Txn::when(vec![Compare::ModRevision(key, seen)], then)
}

/// Frees a lock that is nobody's, or removes it when the job is gone. Where its holder's session is gone, that is
/// compared in the same transaction, so that a caretaker that was stopped for an hour does no harm.
pub fn take_over(
    keys: &Keys,
    held: &HeldLock,
    seen: Revision,
    orphan: Orphan,
    last: Option<LastRun>,
    beside: Vec<Op>,
) -> Txn {
    let mut txn = finish(keys, held, seen, last, beside);
    txn.compares.extend(is_gone(keys, held, orphan));
    txn
}

/// Removes the record of a run beside the lock that is nobody's.
pub fn free_beside(keys: &Keys, held: &HeldLock, seen: Revision, orphan: Orphan, beside: Vec<Op>) -> Txn {
    let mut txn = end_beside(keys, held, seen, beside);
    txn.compares.extend(is_gone(keys, held, orphan));
    txn
}

/// Removes the free lock of a job that is gone.
pub fn remove(keys: &Keys, job: &JobName, seen: Revision) -> Txn {
    let lock = keys.lock(job);
    let gone = Compare::ModRevision(keys.job(job), Revision::NONE);
    Txn::when(vec![gone, Compare::ModRevision(lock.clone(), seen)], vec![Op::Delete(lock)])
}

/// Creates the lock of a job that was written by hand: its ticks count from `now`.
pub fn create_lock(keys: &Keys, job: &JobName, definition: Revision, now: Tick) -> Txn {
    let lock = keys.lock(job);
    let compares = vec![
        Compare::CreateRevision(lock.clone(), Revision::NONE),
        Compare::ModRevision(keys.job(job), definition),
    ];
    Txn::when(compares, vec![Op::Put(lock, Lock::new(now).encode(), None)])
}

/// Removes what was read at `seen` and has been put on record: a queue entry that gets no run, or a key that names
/// passed ticks.
pub fn clear(key: Key, seen: Revision) -> Txn {
    Txn::when(vec![Compare::ModRevision(key.clone(), seen)], vec![Op::Delete(key)])
}

/// Queues what waits for a boot of a worker's machine, and notes how far it got. `seen`: the revision of the note
/// before.
pub fn queue_at_boot(
    keys: &Keys,
    worker: &WorkerId,
    seen: Revision,
    boot: &Boot,
    wanted: &[QueuedRun],
) -> Txn {
    let key = keys.boot(worker);
    let mut then: Vec<Op> = wanted.iter().map(|wanted| put_wanted(keys, wanted)).collect();
    then.push(Op::Put(key.clone(), boot.encode(), None));
    Txn::when(vec![Compare::ModRevision(key, seen)], then)
}

/// Puts a run into the queue.
pub fn put_wanted(keys: &Keys, wanted: &QueuedRun) -> Op {
    Op::Put(keys.wanted(&wanted.run), wanted.encode(), None)
}

/// The lock as a claim leaves it, and the run's record where that is beside it.
fn claimed(keys: &Keys, held: &HeldLock, free: FreeLock, place: Place) -> Vec<Op> {
    let put = |lock: Lock| Op::Put(keys.lock(&held.job), lock.encode(), None);
    match place {
        Place::Lock => vec![put(Lock::Held(held.clone()))],
        Place::Beside => {
            vec![put(Lock::Free(free)), Op::Put(keys.run(&held.run), held.encode(), None)]
        }
    }
}

/// What a claim reads if it is refused: the lock, and the run's record, which tells a repeated claim that it has been
/// won already.
fn reads(keys: &Keys, held: &HeldLock, place: Place) -> Vec<Op> {
    let lock = Op::Get(keys.lock(&held.job));
    match place {
        Place::Lock => vec![lock],
        Place::Beside => vec![lock, Op::Get(keys.run(&held.run))],
    }
}

fn is_lock(keys: &Keys, held: &HeldLock, seen: Revision) -> Compare {
    Compare::ModRevision(keys.lock(&held.job), seen)
}

fn is_job(keys: &Keys, held: &HeldLock, definition: Revision) -> Compare {
    Compare::ModRevision(keys.job(&held.job), definition)
}

fn is_gone(keys: &Keys, held: &HeldLock, orphan: Orphan) -> Option<Compare> {
    let gone = || Compare::CreateRevisionNot(keys.worker(&held.worker), held.session);
    (orphan == Orphan::Gone).then(gone)
}

/// The outcome of a transaction that was to put `claim` into the lock, or beside it. A lock that says that its run
/// holds it in this session is won, even if the answer to an earlier try was lost. It is held as found: a manager may
/// have moved its fence since, and no transaction writes an earlier one.
pub fn outcome(txn: &TxnOutcome, claim: &HeldLock, session: &Session) -> Outcome {
    let won = |held: HeldLock, revision| Outcome::Won(Box::new(OwnLock { held, revision }));
    if txn.succeeded {
        return won(claim.clone(), txn.revision);
    }
    let mine = |held: &HeldLock| {
        held.run == claim.run && held.session == session.revision && held.worker == session.worker
    };
    let read = |n: usize| match txn.results.get(n) {
        Some(OpOutcome::Got(Some(entry))) => Some(entry),
        _ => None,
    };
    if let Some(entry) = read(1)
        && let Some(held) = HeldLock::decode(&entry.value).ok().filter(mine)
    {
        return won(held, entry.mod_revision);
    }
    match read(0).and_then(seen) {
        Some(StoredLock { lock: Lock::Held(held), revision }) if mine(&held) => won(held, revision),
        seen => Outcome::Lost(seen.map(Box::new)),
    }
}

/// True if the lock that was found is the skip `to`: it was done, although its answer was lost. A manager may have
/// moved its fence since.
pub fn is_skipped(found: &StoredLock, to: &HeldLock) -> bool {
    let Lock::Held(found) = &found.lock else { return false };
    found.run == to.run
        && found.session == to.session
        && (&found.last_skip, &found.missed) == (&to.last_skip, &to.missed)
}

/// A stored lock; `None`, with an error in the log, if it does not decode, which harms only its own job.
pub fn seen(entry: &Entry) -> Option<StoredLock> {
    match Lock::decode(&entry.value) {
        Ok(lock) => Some(StoredLock { lock, revision: entry.mod_revision }),
        Err(error) => {
            tracing::error!(key = %entry.key, %error, "a lock does not decode; its job cannot run until it is saved again");
            None
        }
    }
}
