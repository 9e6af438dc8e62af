//! Frees locks that are nobody's, and removes run records beside locks that are: the holder's session is gone, or it
//! is this session, which never started the run. What they name goes on record first.

use std::sync::Arc;

use common::{
    job::Job,
    lock::HeldLock,
    store::{Op, OpOutcome, Revision},
};

use super::{
    record::Journal,
    retry::{How, Retries},
};
use crate::{
    claim::{self, HolderLife, Orphan, Session, claims::Claims},
    plan::Plan,
    session::registry::Registry,
};

/// Looks after what is nobody's.
pub(crate) struct Orphans {
    /// How it is freed.
    pub claims: Arc<Claims>,
    /// Who lives.
    pub registry: Arc<Registry>,
    /// The jobs.
    pub plan: Arc<Plan>,
    /// Where it is put on record.
    pub journal: Arc<Journal>,
    /// What is repeated.
    pub retries: Arc<Retries>,
}

impl Orphans {
    /// Frees a lock that another process, or this one, has lost; `session` looks at it while this process does not
    /// hold it. True if the tick that found it may be looked at again at once. `job` is none if the job is gone or
    /// cannot be read.
    pub(crate) async fn free_lock(
        &self,
        job: Option<&Job>,
        held: &HeldLock,
        seen: Revision,
        session: &Session,
    ) -> bool {
        let mine = held.worker == session.worker && held.session == session.revision;
        let Some(orphan) = self.orphan(held, mine).await else { return false };
        // The records first, on disk: nobody overwrites a held lock blind.
        let last =
            if held.is_without_run() { None } else { Some(self.journal.keep_lost(job, held, seen).await) };
        self.journal.keep_ticks_of(held).await;
        let again = job.filter(|_| last.is_some()).and_then(|job| self.again(job, held, seen));
        let txn = claim::take_over(self.claims.keys(), held, seen, orphan, last, again.into_iter().collect());
        match self.claims.batcher.guarded(txn, session).await {
            Ok(outcome) => {
                if outcome.succeeded {
                    tracing::warn!(job = %held.job, run = %held.run, worker = %held.worker, "freed the lock of a lost run");
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Frees a lock if its holder is gone and this process has nothing to do with it.
    pub(crate) async fn free_lock_if_gone(&self, job: Option<&Job>, held: &HeldLock, seen: Revision) {
        let post = self.claims.posts.of(&held.job);
        // One transaction on a lock in flight, and none on one that this process holds.
        let turn = post.turn().await;
        if turn.holding.is_none()
            && self.is_gone(held).await
            && let Some(session) = self.claims.standing.session()
        {
            self.free_lock(job, held, seen, &session).await;
        }
    }

    /// Removes the record of a lost run that held no lock, once it is in the spool.
    pub(crate) async fn free_beside(&self, held: &HeldLock, seen: Revision) {
        let mine = self.claims.is_phantom_beside(held);
        let Some(orphan) = self.orphan(held, mine).await else { return };
        let planned = self.plan.job(&held.job);
        let job = planned.as_ref().map(|planned| &*planned.job);
        self.journal.keep_lost(job, held, seen).await;
        self.journal.keep_ticks_of(held).await;
        let again = job.and_then(|job| self.again(job, held, seen)).into_iter().collect();
        let txn = claim::free_beside(self.claims.keys(), held, seen, orphan, again);
        match self.claims.batcher.plain(txn).await {
            Ok(outcome) if matches!(outcome.results.first(), Some(OpOutcome::Deleted(true))) => {
                tracing::warn!(job = %held.job, run = %held.run, "a run was lost with its worker");
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a lost run's record stays until the next pass"),
        }
    }

    /// The queue entry that repeats a lost run, if it is repeated. `seen` is the revision at which it was found.
    fn again(&self, job: &Job, held: &HeldLock, seen: Revision) -> Option<Op> {
        let wanted = self.retries.after(job, held, held.claimed_at(seen), How::LOST)?;
        Some(claim::put_wanted(self.claims.keys(), &wanted))
    }

    async fn orphan(&self, held: &HeldLock, mine: bool) -> Option<Orphan> {
        let named = if mine {
            HolderLife::Me
        } else if self.is_gone(held).await {
            HolderLife::Gone
        } else {
            HolderLife::Other
        };
        Orphan::of(named)
    }

    /// True when the store says that the holder's session has ended.
    async fn is_gone(&self, held: &HeldLock) -> bool {
        if self.registry.view().lives(&held.worker, held.session) {
            return false;
        }
        match self.claims.store.get(&self.claims.keys().worker(&held.worker)).await {
            Ok((entry, _)) => entry.is_none_or(|entry| entry.create_revision != held.session),
            Err(_) => false,
        }
    }
}
