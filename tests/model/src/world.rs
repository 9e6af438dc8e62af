//! A state of the model: the store, the workers, what is on its way, and what has come to pass.

use common::id::RunId;

use crate::{
    cast::{self, HeldRef, N, Rev},
    request::{Actor, Request},
    store::{Done, Store, value},
};

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The store.
    pub store: Store,
    /// The workers.
    pub workers: Vec<Worker>,
    /// Transactions on their way whose answers nobody waits for: of managers, of dead workers, and copies of what
    /// was sent again. Each may be done at any time, or never.
    pub adrift: Vec<Request>,
    /// What has come to pass.
    pub past: Past,
    /// Faults and changes that may yet happen.
    pub left: Budget,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// False: its process is dead.
    pub up: bool,
    /// True: it may act as its session.
    pub trusted: bool,
    /// Its newest session, counted from 1 over all its lives.
    pub session: Rev,
    /// True: something of a dead process still executes, until the guard has killed it.
    pub orphan: bool,
    /// The definition of the job that it goes by; 0: none.
    pub view: Rev,
    /// The lock that this process holds, as far as it knows.
    pub holding: Option<Holding>,
    /// What this process executes, or has executed and not ended in the store.
    pub runs: Vec<Running>,
    /// The one transaction on the job's lock that is in flight.
    pub ask: Option<Ask>,
}

/// A lock that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holding {
    /// What it says.
    pub held: HeldRef,
    /// The revision that wrote it.
    pub revision: Rev,
}

/// A run in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    /// Its claim.
    pub held: HeldRef,
    /// How far it is.
    pub phase: Phase,
    /// The revision of its record under `runs/`, if that is where it was claimed; else 0.
    pub record: Rev,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It executes.
    Executing,
    /// It has ended, and its record is on the worker's disk.
    Ended,
    /// The same, and there is to be another attempt.
    Failed,
}

/// A transaction whose answer is waited for. Without an answer it is sent again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// What was sent.
    pub request: Request,
    /// Its answer, on the way.
    pub answer: Option<Answer>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The guard did not hold.
    SessionGone,
    /// It was done, at this revision.
    Done(Done, Rev),
}

/// What has come to pass, as sets of ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Past {
    /// The fence was moved to them or over them, or deleted when they were due: each must have an outcome.
    pub decided: Ticks,
    /// A first attempt was started.
    pub ran: Ticks,
    /// A second attempt was started.
    pub retried: Ticks,
    /// A run of it is on record.
    pub recorded: Ticks,
    /// It is on record as skipped.
    pub skipped: Ticks,
    /// It is on record as missed.
    pub missed: Ticks,
    /// True: an attempt was started a second time.
    pub twice: bool,
    /// True: a tick was claimed by a definition that no longer stood.
    pub outdated: bool,
}

/// A set of ticks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ticks(u8);

impl Ticks {
    /// Adds one; true if it was there already.
    pub fn add(&mut self, n: N) -> bool {
        let known = self.0 & (1 << n) != 0;
        self.0 |= 1 << n;
        known
    }

    /// Adds all that lie in the range.
    pub fn extend(&mut self, range: impl IntoIterator<Item = N>) {
        range.into_iter().for_each(|n| self.0 |= 1 << n);
    }

    /// Those in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when some are in both.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// True when all are in the other.
    pub const fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The last one, or 0.
    pub const fn last(self) -> N {
        (7 - (self.0 | 1).leading_zeros()) as N
    }
}

impl std::fmt::Debug for Ticks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..8).filter(|n| self.0 & (1 << n) != 0)).finish()
    }
}

/// How often each fault and change may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A process dies.
    pub crashes: u8,
    /// A worker that lives is cut off until it no longer trusts its lease.
    pub cut_offs: u8,
    /// An answer is lost, and the transaction sent again.
    pub lost: u8,
    /// An answer is late.
    pub late: u8,
    /// A transaction is sent twice, and its first copy stays on its way.
    pub copies: u8,
    /// A save that moves the fence to now: a new job, a changed trigger, a resume.
    pub saves: u8,
    /// A save that leaves the fence.
    pub edits: u8,
    /// A delete.
    pub deletes: u8,
    /// A run that somebody asks for.
    pub asked: u8,
}

impl World {
    /// The job is saved, its lock is free, all workers are registered.
    pub fn new(workers: usize, left: Budget) -> Self {
        let mut store = Store::default();
        store.put(cast::job_key(), value(b"{}".to_vec()), 1);
        store.put(cast::lock_key(), crate::request::lock_value(cast::LockView::Free(0)), 1);
        for worker in 0..workers {
            register(&mut store, worker, 1);
        }
        let one = Worker {
            up: true,
            trusted: true,
            session: 1,
            orphan: false,
            view: 1,
            holding: None,
            runs: Vec::new(),
            ask: None,
        };
        Self { store, workers: vec![one; workers], adrift: Vec::new(), past: Past::default(), left }
    }

    /// Who a worker is now.
    pub fn actor(&self, worker: usize) -> Actor {
        Actor { worker, session: self.workers[worker].session }
    }

    /// True when the holder's session has ended, as a read of its registration tells.
    pub fn is_gone(&self, held: &HeldRef) -> bool {
        cast::revision(self.store.session(cast::worker_of(&held.worker))) != held.session
    }

    /// Every request that may yet reach the store.
    pub fn requests(&self) -> impl Iterator<Item = &Request> {
        let asked = self.workers.iter().filter_map(|worker| worker.ask.as_ref());
        asked.filter(|ask| ask.answer.is_none()).map(|ask| &ask.request).chain(&self.adrift)
    }

    /// A run's id that nothing in this state names.
    pub fn new_run(&self, by: Actor, tick: N) -> RunId {
        let names = |run: RunId| {
            let in_store = self.store.entries().any(|(_, entry)| match entry.value.lock {
                Some(cast::LockView::Held(held)) => held.run == run,
                _ => entry.value.held.is_some_and(|held| held.run == run),
            });
            in_store || self.requests().any(|request| request.claims().is_some_and(|held| held.run == run))
        };
        (0..4)
            .map(|nonce| cast::run_id(by.worker, by.session, tick, nonce))
            .find(|run| !names(*run))
            .expect("a session wants few runs of a tick at once")
    }

    /// A revision that nothing refers to. Transactions compare revisions for equality only, so that it stands for
    /// every later one.
    pub fn new_revision(&self, prepared: impl Fn(&Request) -> &'static [Rev]) -> Rev {
        let mut known = 0_u32;
        let mut add = |at: Rev| known |= if at < cast::FIRST_SESSION { 1 << at } else { 0 };
        self.store.entries().for_each(|(_, entry)| add(entry.written));
        for worker in &self.workers {
            add(worker.view);
            worker.holding.iter().for_each(|holding| add(holding.revision));
            worker.runs.iter().for_each(|run| add(run.record));
            if let Some(Ask { request, answer }) = &worker.ask {
                request.definition().into_iter().for_each(&mut add);
                prepared(request).iter().copied().for_each(&mut add);
                if let Some(Answer::Done(done, at)) = answer {
                    add(*at);
                    done.lock().iter().for_each(|(_, at)| add(*at));
                }
            }
        }
        for request in &self.adrift {
            request.definition().into_iter().for_each(&mut add);
            prepared(request).iter().copied().for_each(&mut add);
        }
        let free = (1..cast::FIRST_SESSION).find(|at| known & (1 << at) == 0);
        free.expect("a state refers to few revisions")
    }
}

/// Writes a worker's registration in a new session.
pub fn register(store: &mut Store, worker: usize, session: Rev) {
    let key = cast::worker_key(worker);
    store.delete(key);
    store.put(key, value(b"{}".to_vec()), cast::session_revision(worker, session));
}
