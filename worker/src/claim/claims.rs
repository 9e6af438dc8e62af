//! Sends what is claimed, and finds out what became of it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use common::{
    chance::Chance,
    id::RunId,
    lock::{ClaimedCommand, HeldLock},
    queue::QueuedRun,
    run::Cause,
    store::{Key, Op, Revision, Store, Txn, TxnOutcome, key::Keys},
    task::ActiveTask,
    tick::{Fence, Tick},
};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    Outcome, Place, Session,
    batch::{BatchError, Batcher},
    post::Posts,
    task,
};
use crate::{plan::Planned, session::Standing};

/// Between two looks at a claim for which the store said that it takes no writes.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What this process claims, and has claimed.
pub(crate) struct Claims {
    /// Who claims.
    pub standing: Arc<Standing>,
    /// The store, for reads.
    pub store: Arc<dyn Store>,
    /// The store, for transactions on locks.
    pub batcher: Batcher,
    /// The jobs that were dealt with.
    pub posts: Posts,
    /// The runs beside a lock that this process answers for.
    pub beside: Beside,
    /// Where the ids of runs come from.
    pub chance: Arc<Chance>,
}

/// A run that is to be claimed.
pub(crate) struct Claim {
    /// By this definition.
    pub planned: Arc<Planned>,
    /// What the lock, or the record beside it, is to say.
    pub held: HeldLock,
    /// By this transaction.
    pub txn: Txn,
}

impl Claims {
    /// Where everything stands in the store.
    pub(crate) fn keys(&self) -> &Keys {
        &self.standing.config.keys
    }

    /// A new run of this tick.
    pub(crate) fn run_of(&self, planned: &Planned, tick: Tick, cause: Cause) -> QueuedRun {
        let now = self.standing.clock.now();
        let run = self.chance.run_id(now);
        QueuedRun { tick: Some(tick), ..QueuedRun::new(planned.job.name.clone(), run, cause, now) }
    }

    /// What the lock says when `session` claims the run, with the fence at `fence`.
    pub(crate) fn held(
        &self,
        planned: &Planned,
        wanted: &QueuedRun,
        fence: Fence,
        session: &Session,
    ) -> HeldLock {
        let command = ClaimedCommand::of(&planned.job.driver.text());
        HeldLock::new(wanted, fence, self.standing.holder(session), self.standing.clock.now(), command)
    }

    /// Sends what is to put `held` in this place.
    pub(crate) async fn send(
        &self,
        txn: Txn,
        held: &HeldLock,
        place: Place,
        session: &Session,
    ) -> Result<Outcome, BatchError> {
        if place == Place::Beside {
            self.beside.enter(held.run);
        }
        let outcome = match self.batcher.guarded(txn, session).await {
            Ok(outcome) => Ok(super::outcome(&outcome, held, session)),
            Err(full @ BatchError::NotTaken(_)) => self.found_won(held, session).await.ok_or(full),
            Err(error) => Err(error),
        };
        if place == Place::Beside && !matches!(outcome, Ok(Outcome::Won(_))) {
            self.beside.leave(held.run);
        }
        outcome
    }

    /// Sends what is to take a task out of the queue. Gives the revision of the claim; none: it is not won.
    pub(crate) async fn send_task(
        &self,
        txn: Txn,
        active: &ActiveTask,
        session: &Session,
    ) -> Result<Option<Revision>, BatchError> {
        self.beside.enter(active.held.run);
        let won = match self.batcher.guarded(txn, session).await {
            Ok(outcome) => Ok(task::won(&outcome, active, session)),
            Err(full @ BatchError::NotTaken(_)) => {
                let there = self.looked(vec![self.keys().active(&active.held.run)], session).await;
                let won = there.and_then(|outcome| task::won(&outcome, active, session));
                won.map(Some).ok_or(full)
            }
            Err(error) => Err(error),
        };
        if !matches!(won, Ok(Some(_))) {
            self.beside.leave(active.held.run);
        }
        won
    }

    /// The claim, if it was won although the store said that it takes no writes: etcd does the very transaction that
    /// fills it. By the time it says so everything is decided, so what is read then is the truth.
    async fn found_won(&self, held: &HeldLock, session: &Session) -> Option<Outcome> {
        let keys = self.keys();
        let read = vec![keys.lock(&held.job), keys.run(&held.run)];
        let outcome = super::outcome(&self.looked(read, session).await?, held, session);
        Some(outcome).filter(|outcome| matches!(outcome, Outcome::Won(_)))
    }

    /// These keys, as a claim itself reads them when it is not done; none: the session has ended meanwhile.
    async fn looked(&self, keys: Vec<Key>, session: &Session) -> Option<TxnOutcome> {
        let read: Vec<Op> = keys.into_iter().map(Op::Get).collect();
        loop {
            match self.store.txn(Txn::when(Vec::new(), read.clone())).await {
                Ok(outcome) => return Some(TxnOutcome { succeeded: false, ..outcome }),
                Err(error) if error.is_passing() && self.standing.session().as_ref() == Some(session) => {
                    sleep(LOOK_AGAIN).await;
                }
                // What it holds ends with its session.
                Err(_) => return None,
            }
        }
    }

    /// Creates the lock of a job that was written by hand.
    pub(crate) async fn create_lock(&self, planned: &Planned) {
        let (job, now) = (&planned.job.name, Tick::from_instant(self.standing.clock.now()));
        let txn = super::create_lock(self.keys(), job, planned.revision, now);
        if let Err(error) = self.batcher.plain(txn).await {
            tracing::debug!(%job, %error, "a job's lock cannot be created yet");
        }
    }

    /// True for the record of a run beside a lock that claims to be this process's and is not: its claim was done
    /// after it had been given up. What is known here is newer than the record, because a run is entered before its
    /// claim is sent.
    pub(crate) fn is_phantom_beside(&self, held: &HeldLock) -> bool {
        let mine = |session: &Session| session.worker == held.worker && session.revision == held.session;
        self.standing.session().as_ref().is_some_and(mine) && !self.beside.has(held.run)
    }
}

/// Runs beside a lock, from before their claim is sent until their record is removed. One of this session that the
/// store has and that is not here is nobody's: its claim was done after it had been given up.
#[derive(Debug, Default)]
pub(crate) struct Beside(Mutex<HashSet<RunId>>);

impl Beside {
    /// To be called before the claim is sent.
    pub(crate) fn enter(&self, run: RunId) {
        self.0.lock().insert(run);
    }

    /// It is not claimed, or has ended.
    pub(crate) fn leave(&self, run: RunId) {
        self.0.lock().remove(&run);
    }

    /// True when this process answers for the run.
    pub(crate) fn has(&self, run: RunId) -> bool {
        self.0.lock().contains(&run)
    }
}
