//! The claim protocol's transactions (DESIGN section 5), and what their outcomes mean. Pure: values in, values out.
//!
//! The invariants, each next to the transaction that keeps it:
//!
//! - A tick is decided by whoever moves the job's fence to it, and the fence only grows.
//! - A held lock refuses every claim by itself, because `~` sorts after every instant.
//! - Only its holder, by revision, writes a held lock; anybody else only when the holder's session is gone.

use common::{
    id::{JobName, WorkerId},
    lock::{Free, Held, LastRun, Lock, fence_bytes},
    store::{Compare, Entry, Op, OpOutcome, Revision, Txn, TxnOutcome, key::Keys},
    tick::Tick,
};

pub mod batch;
pub mod lead;

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
pub struct Seen {
    /// What it says.
    pub lock: Lock,
    /// The revision that wrote it.
    pub revision: Revision,
}

/// A lock that this process holds, or the record of a run of it beside the lock.
#[derive(Clone, Debug, PartialEq)]
pub struct Holding {
    /// What it says.
    pub held: Held,
    /// The revision that wrote it: the run's fencing token.
    pub revision: Revision,
}

impl Holding {
    /// What this process holds for `run` when its lock was found so; none: it is not this run's any more.
    pub fn still(run: &Held, found: Seen) -> Option<Self> {
        match found {
            Seen { lock: Lock::Held(held), revision }
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
    Won(Box<Holding>),
    /// It is not; what the lock says instead. `None`: there is no lock, or it does not decode.
    Lost(Option<Box<Seen>>),
}

/// Claims a tick: the definition is the one gone by, the fence is at or behind the previous tick, before this one.
/// The value's order says all three of free, in order, and not decided.
pub fn claim(keys: &Keys, held: &Held, previous: Tick, definition: Revision) -> Txn {
    let lock = keys.lock(&held.job);
    let tick = held.fence;
    Txn::when(
        vec![
            Compare::ModRevision(keys.job(&held.job), definition),
            Compare::ValueGreater(lock.clone(), fence_bytes(previous)),
            Compare::ValueLess(lock.clone(), fence_bytes(tick)),
        ],
        vec![Op::Put(lock.clone(), Lock::Held(held.clone()).encode(), None)],
    )
    .or_get(lock)
}

/// Claims a tick of a job whose runs may overlap: the lock stays free at the tick, the run has a record of its own.
pub fn claim_beside(keys: &Keys, held: &Held, previous: Tick, definition: Revision) -> Txn {
    let mut txn = claim(keys, held, previous, definition);
    let lock = keys.lock(&held.job);
    txn.then = vec![
        Op::Put(lock.clone(), Lock::new(held.fence).encode(), None),
        Op::Put(keys.run(&held.run), held.encode(), None),
    ];
    // The record tells a repeated claim that it was won already.
    txn.otherwise = vec![Op::Get(lock), Op::Get(keys.run(&held.run))];
    txn
}

/// Replaces a lock that was seen: nothing in between can be overwritten. `then` is done beside it.
pub fn replace(keys: &Keys, job: &JobName, seen: Revision, with: &Lock, then: Vec<Op>) -> Txn {
    let lock = keys.lock(job);
    let mut ops = vec![Op::Put(lock.clone(), with.encode(), None)];
    ops.extend(then);
    Txn::when(vec![Compare::ModRevision(lock.clone(), seen)], ops).or_get(lock)
}

/// Ends a held lock, or removes it when the job is gone: two nested transactions, so that the job's existence is
/// decided by the store.
pub fn finish(keys: &Keys, held: &Held, seen: Revision, last: Option<LastRun>) -> Txn {
    let lock = keys.lock(&held.job);
    let free = Lock::Free(Free { fence: held.fence, last });
    let end = Txn {
        compares: vec![Compare::ModRevision(keys.job(&held.job), Revision::NONE)],
        then: vec![Op::Delete(lock.clone())],
        otherwise: vec![Op::Put(lock.clone(), free.encode(), None)],
    };
    Txn::when(vec![Compare::ModRevision(lock.clone(), seen)], vec![Op::Txn(end)]).or_get(lock)
}

/// Ends a held lock and claims the next tick in one: the lock is still the one gone by, and so is the definition.
/// The caller has made sure that no undecided tick lies between the two. `retry` is done beside it.
pub fn finish_and_claim(
    keys: &Keys,
    seen: Revision,
    next: &Held,
    definition: Revision,
    retry: Vec<Op>,
) -> Txn {
    let mut txn = replace(keys, &next.job, seen, &Lock::Held(next.clone()), retry);
    txn.compares.push(Compare::ModRevision(keys.job(&next.job), definition));
    txn
}

/// Removes the free lock of a job that is gone.
pub fn remove(keys: &Keys, job: &JobName, seen: Revision) -> Txn {
    let lock = keys.lock(job);
    let gone =
        vec![Compare::ModRevision(keys.job(job), Revision::NONE), Compare::ModRevision(lock.clone(), seen)];
    Txn::when(gone, vec![Op::Delete(lock)])
}

/// Frees a lock whose holder's session is gone, or removes it when the job is gone: the holder's registration is compared in the same transaction, so
/// that a caretaker that was stopped for an hour does no harm.
pub fn take_over(keys: &Keys, held: &Held, seen: Revision, last: Option<LastRun>, retry: Vec<Op>) -> Txn {
    let mut txn = finish(keys, held, seen, last);
    txn.then.extend(retry);
    txn.compares.push(Compare::CreateRevisionNot(keys.worker(&held.worker), held.session));
    txn
}

/// What a transaction came to that was to put `claim` into the lock, or beside it. A lock that says that its run holds it
/// in this session is won, also when the answer to an earlier try was lost. It is held as it was found: a manager may
/// have moved its fence since, and no transaction writes an earlier one.
pub fn outcome(txn: &TxnOutcome, claim: &Held, session: &Session) -> Outcome {
    let won = |held: Held, revision| Outcome::Won(Box::new(Holding { held, revision }));
    if txn.succeeded {
        return won(claim.clone(), txn.revision);
    }
    let mine = |held: &Held| {
        held.run == claim.run && held.session == session.revision && held.worker == session.worker
    };
    let read = |n: usize| match txn.results.get(n) {
        Some(OpOutcome::Got(Some(entry))) => Some(entry),
        _ => None,
    };
    if let Some(entry) = read(1)
        && let Some(held) = Held::decode(&entry.value).ok().filter(mine)
    {
        return won(held, entry.mod_revision);
    }
    match read(0).and_then(seen) {
        Some(Seen { lock: Lock::Held(held), revision }) if mine(&held) => won(held, revision),
        seen => Outcome::Lost(seen.map(Box::new)),
    }
}

/// A stored lock; `None` with a warning when it does not decode: it harms only its own job.
pub fn seen(entry: &Entry) -> Option<Seen> {
    match Lock::decode(&entry.value) {
        Ok(lock) => Some(Seen { lock, revision: entry.mod_revision }),
        Err(error) => {
            tracing::error!(key = %entry.key, %error, "a lock does not decode; its job cannot run until it is saved anew");
            None
        }
    }
}
