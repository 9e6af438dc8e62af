//! What workers and managers send: the real transactions, built by the functions of `worker::claim` and
//! `manager::change::txn`. Rules that are switched off change them here.

use common::{
    id::RunId,
    lock::{FreeLock, HeldLock, Lock},
    run::Cause,
    store::{Compare, Op, OpOutcome, Revision, Txn, TxnOutcome},
};
use manager::change::{
    decision::LockAfter,
    txn::{self as managers, SeenJob},
};
use worker::claim::{self, Orphan, Outcome, Place, StoredFreeLock, Taking};

use crate::{
    cast::{self, HeldRef, KeyRef, LockView, N, Rev},
    interned::Memo,
    rules::{Rule, Rules},
    store::{Comparing, Done, Entry, Ready, Result, ValueRef, value},
};

/// A worker in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Actor {
    /// Which worker.
    pub worker: usize,
    /// Its session, counted from 1.
    pub session: Rev,
}

/// What a catch-up leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaughtUp {
    /// The newest tick runs.
    Run(Place),
    /// It runs, and the missed ones wait in the queue (misfire policy `all`).
    Queue,
    /// Nothing runs: too late, or misfire policy `skip`.
    Nothing,
}

/// A transaction, by what it was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the fields are those of the transactions in worker/src/claim.rs")]
pub enum Request {
    Claim { by: Actor, held: HeldRef, previous: N, definition: Rev, place: Place },
    CatchUp { by: Actor, held: HeldRef, fence: N, seen: Rev, definition: Rev, leaves: CaughtUp },
    Skip { from: HeldRef, to: HeldRef, seen: Rev, definition: Rev },
    Finish { held: HeldRef, seen: Rev, retry: bool },
    FinishAndClaim { by: Actor, held: HeldRef, seen: Rev, definition: Rev },
    TakeOver { by: Actor, held: HeldRef, seen: Rev, retry: bool, orphan: Orphan },
    Take { by: Actor, held: HeldRef, seen: Rev, fence: N, wanted: Rev, place: Place, definition: Rev },
    EndBeside { held: HeldRef, seen: Rev, retry: bool },
    FreeBeside { held: HeldRef, seen: Rev, retry: bool, orphan: Orphan },
    Save { job: Rev, seen: Rev, lock: LockFate, passed: Option<Ticks> },
    Delete { job: Rev, now: N, seen: Rev, lock: LockFate, passed: Option<Ticks> },
    RunNow { job: Rev, run: RunId },
    Told { key: KeyRef, seen: Rev },
}

/// Ticks in a row, the first and the last.
pub type Ticks = (N, N);

/// What a manager's change does to the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LockFate {
    /// Nothing.
    Stays,
    /// It writes it.
    Becomes(LockView),
    /// It removes it.
    Goes,
}

impl LockFate {
    /// What the manager says that becomes of the lock. At which revision a held one was claimed is left out: nothing
    /// compares it.
    pub fn of(after: &LockAfter) -> Self {
        match after {
            LockAfter::Stays => Self::Stays,
            LockAfter::Goes => Self::Goes,
            LockAfter::Becomes(lock) => Self::Becomes(match LockView::of(lock) {
                LockView::Held(held) => {
                    LockView::Held(cast::held(HeldLock { claim_revision: None, ..(*held).clone() }))
                }
                free @ LockView::Free(_) => free,
            }),
        }
    }

    fn real(self) -> LockAfter {
        match self {
            Self::Stays => LockAfter::Stays,
            Self::Goes => LockAfter::Goes,
            Self::Becomes(view) => LockAfter::Becomes(Box::new(view.real())),
        }
    }
}

/// A request made ready to be sent.
pub struct Prepared {
    /// The transaction, under its guard if it has one.
    pub txn: Ready,
    /// The revisions that it compares with.
    pub revisions: Vec<Rev>,
}

impl Request {
    /// The real transaction, without its guard.
    pub fn txn(&self, rules: Rules) -> Txn {
        let keys = cast::keys();
        match *self {
            Self::Claim { held, previous, definition, place, .. } => {
                claim_txn(&held, previous, definition, place, rules)
            }
            Self::CatchUp { held, fence, seen, definition, leaves, .. } => {
                catch_up_txn(&held, fence, seen, definition, leaves, rules)
            }
            Self::Skip { to, seen, definition, .. } => {
                claim::skip(keys, &to, cast::revision(seen), cast::revision(definition))
            }
            Self::Finish { held, seen, retry } => {
                let mut ended = (*held).clone();
                if !rules.keep(Rule::FinishKeepsTheFence) {
                    ended.fence = ended.tick.unwrap_or(ended.fence);
                }
                let last = Some(cast::last_run());
                claim::finish(keys, &ended, cast::revision(seen), last, retry_op(&held, retry))
            }
            Self::FinishAndClaim { held, seen, definition, .. } => {
                let definition = cast::revision(definition);
                let mut txn =
                    claim::finish_and_claim(keys, cast::revision(seen), &held, definition, Vec::new());
                let dropped = |compare: &Compare| {
                    let of_lock =
                        *compare == Compare::ModRevision(keys.lock(cast::job()), cast::revision(seen));
                    let of_job = *compare == Compare::ModRevision(keys.job(cast::job()), definition);
                    of_lock && !rules.keep(Rule::MergeComparesTheLock)
                        || of_job && !rules.keep(Rule::MergeComparesTheJob)
                };
                txn.compares.retain(|compare| !dropped(compare));
                txn
            }
            Self::TakeOver { held, seen, retry, orphan, .. } => {
                let retry = retry_op(&held, retry);
                let last = (!held.is_without_run()).then(cast::last_run);
                let mut txn = claim::take_over(keys, &held, cast::revision(seen), orphan, last, retry);
                if !rules.keep(Rule::SessionNotName) {
                    let no_worker = Compare::CreateRevision(keys.worker(&held.worker), Revision::NONE);
                    let by_name = |compare| match compare {
                        Compare::CreateRevisionNot(..) => no_worker.clone(),
                        other => other,
                    };
                    txn.compares = txn.compares.into_iter().map(by_name).collect();
                }
                txn
            }
            Self::Take { held, seen, fence, wanted, place, definition, .. } => {
                let taking = Taking {
                    entry: keys.wanted(&held.run),
                    written: cast::revision(wanted),
                    kills: (Revision::NONE, Revision::NONE),
                };
                let seen = free_lock(fence, seen);
                claim::take(keys, &held, &seen, cast::revision(definition), place, &taking)
            }
            Self::EndBeside { held, seen, retry } => {
                let mut txn = claim::end_beside(keys, &held, cast::revision(seen), retry_op(&held, retry));
                if !rules.keep(Rule::EndBesideOnce) {
                    txn.compares.clear();
                }
                txn
            }
            Self::FreeBeside { held, seen, retry, orphan } => {
                claim::free_beside(keys, &held, cast::revision(seen), orphan, retry_op(&held, retry))
            }
            Self::Told { key, seen } => claim::clear((*key).clone(), cast::revision(seen)),
            Self::Save { .. } | Self::Delete { .. } | Self::RunNow { .. } => self.managers_txn(rules),
        }
    }

    fn managers_txn(&self, rules: Rules) -> Txn {
        let (keys, name) = (cast::keys(), cast::job());
        let seen = |job, lock| SeenJob { job: cast::revision(job), lock: cast::revision(lock), lease: None };
        match *self {
            Self::Save { job, seen: at, lock, passed } => {
                let passed = passed.map(cast::passed);
                managers::save(keys, name, seen(job, at), b"{}".to_vec(), &lock.real(), passed.as_ref())
            }
            Self::Delete { job, seen: at, lock, passed, .. } => {
                let passed = passed.map(cast::passed);
                let mut txn = managers::delete(keys, name, seen(job, at), &lock.real(), passed.as_ref());
                let of_held = matches!(lock, LockFate::Becomes(LockView::Held(_)));
                if of_held && !rules.keep(Rule::DeleteMovesAHeldFence) {
                    txn.compares.truncate(1);
                    txn.then.retain(|op| !matches!(op, Op::Put(key, ..) if *key == keys.lock(name)));
                }
                txn
            }
            Self::RunNow { job, run } => {
                managers::run_now(keys, cast::revision(job), &cast::wanted(run, None, Cause::Manual))
            }
            _ => unreachable!("sent by workers"),
        }
    }

    /// The session whose registration guards it, as `claim::batch` nests it.
    pub const fn guard(&self) -> Option<Actor> {
        match *self {
            Self::Claim { by, .. }
            | Self::CatchUp { by, .. }
            | Self::FinishAndClaim { by, .. }
            | Self::TakeOver { by, .. }
            | Self::Take { by, .. } => Some(by),
            Self::Skip { .. }
            | Self::Finish { .. }
            | Self::EndBeside { .. }
            | Self::FreeBeside { .. }
            | Self::Told { .. }
            | Self::Save { .. }
            | Self::Delete { .. }
            | Self::RunNow { .. } => None,
        }
    }

    /// The run that it claims.
    pub const fn claims(&self) -> Option<HeldRef> {
        match *self {
            Self::Claim { held, .. }
            | Self::CatchUp { held, .. }
            | Self::FinishAndClaim { held, .. }
            | Self::Take { held, .. } => Some(held),
            _ => None,
        }
    }

    /// The definition by which it moves the fence to a tick.
    pub const fn definition(&self) -> Option<Rev> {
        match *self {
            Self::Claim { definition, .. }
            | Self::CatchUp { definition, .. }
            | Self::Skip { definition, .. }
            | Self::FinishAndClaim { definition, .. } => Some(definition),
            _ => None,
        }
    }

    /// True for what a manager sends.
    pub const fn is_managers(&self) -> bool {
        matches!(self, Self::Save { .. } | Self::Delete { .. } | Self::RunNow { .. })
    }

    /// How its values are compared.
    pub const fn comparing(&self, rules: Rules) -> Comparing {
        if rules.keep(Rule::HeldRefuses) { Comparing::AsStored } else { Comparing::HeldAsFree }
    }

    /// The request made ready, once.
    pub fn prepared(self, rules: Rules) -> &'static Prepared {
        static ALL: Memo<(Request, Rules), Prepared> = Memo::new();
        ALL.get((self, rules), |_| {
            let inner = self.txn(rules);
            let txn = match self.guard() {
                None => inner,
                Some(by) => {
                    let session = cast::session(by.worker, by.session);
                    let key = cast::keys().worker(&session.worker);
                    let lives = Compare::CreateRevision(key, session.revision);
                    let guard = rules.keep(Rule::Guard).then_some(lives).into_iter().collect();
                    Txn::when(guard, vec![Op::Txn(inner)])
                }
            };
            let txn = Ready::of(&txn);
            Prepared { revisions: txn.revisions(), txn }
        })
    }
}

fn claim_txn(held: &HeldLock, previous: N, definition: Rev, place: Place, rules: Rules) -> Txn {
    let (keys, previous) = (cast::keys(), cast::tick(previous));
    let mut txn = claim::claim(keys, held, previous, cast::revision(definition), place);
    if !rules.keep(Rule::InOrder) {
        txn.compares.retain(|compare| !matches!(compare, Compare::ValueGreater(..)));
    }
    if !rules.keep(Rule::Fence) {
        for compare in &mut txn.compares {
            if let Compare::ValueLess(_, bytes) = compare {
                // Still refuses a held lock.
                *bytes = b"~".to_vec();
            }
        }
    }
    txn
}

fn catch_up_txn(
    held: &HeldLock,
    fence: N,
    seen: Rev,
    definition: Rev,
    leaves: CaughtUp,
    rules: Rules,
) -> Txn {
    let keys = cast::keys();
    let (place, queued) = match leaves {
        CaughtUp::Run(place) => (place, Vec::new()),
        CaughtUp::Nothing => (Place::Lock, Vec::new()),
        CaughtUp::Queue => {
            let missed = (fence + 1)..cast::number(held.fence);
            let queued = missed.map(|n| {
                let run = cast::run_id(cast::worker_of(&held.worker), 0, n, 0);
                claim::put_wanted(keys, &cast::wanted(run, Some(cast::tick(n)), Cause::CatchUp))
            });
            (Place::Lock, queued.collect())
        }
    };
    let definition = cast::revision(definition);
    let mut txn = claim::catch_up(keys, held, &free_lock(fence, seen), definition, place, queued);
    if leaves == CaughtUp::Nothing && !rules.keep(Rule::MissedBeforeTheFence) {
        // With the rule, nothing passes the missed ticks before they are on record: the lock is held meanwhile.
        txn.then = vec![Op::Put(keys.lock(cast::job()), Lock::new(held.fence).encode(), None)];
    }
    if !rules.keep(Rule::CatchUpComparesTheJob) {
        let of_job = Compare::ModRevision(keys.job(cast::job()), definition);
        txn.compares.retain(|compare| *compare != of_job);
    }
    txn
}

fn free_lock(fence: N, seen: Rev) -> StoredFreeLock {
    StoredFreeLock { free: FreeLock { fence: cast::tick(fence), last: None }, revision: cast::revision(seen) }
}

fn retry_op(held: &HeldLock, retry: bool) -> Vec<Op> {
    let wanted = || cast::wanted(held.run, held.tick, Cause::Retry);
    retry.then(|| claim::put_wanted(cast::keys(), &wanted())).into_iter().collect()
}

/// What a claim came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claimed {
    /// Won: what is held, at this revision.
    Won(HeldRef, Rev),
    /// Not.
    Lost,
}

/// What the worker makes of an answer to a claim: `worker::claim::outcome` on the real outcome.
pub fn claimed(done: &Done, at: Rev, held: HeldRef) -> Claimed {
    static ALL: Memo<(Done, Rev, HeldRef), Claimed> = Memo::new();
    *ALL.get((done.clone(), at, held), |(done, at, held)| {
        let session = claim::Session { worker: held.worker.clone(), revision: held.session };
        match claim::outcome(&real(done, *at), held, &session) {
            Outcome::Won(here) => {
                let revision = Rev::try_from(here.revision.get()).expect("a small revision");
                Claimed::Won(cast::held(here.held), revision)
            }
            Outcome::Lost(_) => Claimed::Lost,
        }
    })
}

fn real(done: &Done, at: Rev) -> TxnOutcome {
    let entry = |key: &KeyRef, entry: &Entry| common::store::Entry {
        key: (**key).clone(),
        value: entry.value.bytes.clone().into(),
        create_revision: cast::revision(entry.created),
        mod_revision: cast::revision(entry.written),
        lease: None,
    };
    let result = |result: &Result| match result {
        Result::Put => OpOutcome::Put,
        Result::Deleted(one) => OpOutcome::Deleted(*one),
        Result::Got(key, got) => OpOutcome::Got(got.as_ref().map(|got| entry(key, got))),
        Result::Txn(inner) => OpOutcome::Txn(real(inner, at)),
    };
    TxnOutcome {
        succeeded: done.succeeded,
        results: done.results.iter().map(result).collect(),
        revision: cast::revision(at),
    }
}

/// A lock's stored value.
pub fn lock_value(lock: LockView) -> ValueRef {
    value(lock.real().encode())
}
