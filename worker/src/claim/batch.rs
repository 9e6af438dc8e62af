//! Sends transactions in nested batches: the guarded ones under a comparison of this worker's own registration, so
//! that a lapsed lease decides nothing, the others beside them.
//!
//! A lone transaction is sent at once. While one batch is in flight the next one fills, as with Nagle's algorithm: a
//! transaction costs the store more alone than nested. It follows when the one before it is back, when it is full, or
//! when its first transaction has waited for `PATIENCE`. Ends of runs, which hardly anybody waits for, also keep a
//! distance of `PACE` from the batch before. Each transaction has its own outcome. A batch whose answer was lost is
//! sent again until the answer is definite: every transaction here recognises its own earlier success (see
//! [`super::outcome`]). Where it is certain that nothing was done, as with a store that is full, claims are not sent
//! again: by the time the store takes writes, something else may be due, and whoever asked looks again. Only ends of
//! runs wait for that. A batch that is refused is halved, so that one bad transaction does not fail its neighbours.
//!
//! Nothing that was asked for before a store was restored counts in the restored one: what is compared there may be
//! equal by chance, because it gives out the same revisions again, and claims would get fences older than what has
//! run. Whoever meets the restored store first gets an error from it; the others find that the answer's revision is
//! below one that they have seen, or that [`Load::restores`] has grown since they asked.

use std::{sync::Arc, time::Duration};

use common::store::{
    Compare, MAX_TXN_OPS, Op, OpOutcome, Revision, Store, StoreError, Txn, TxnOutcome, key::Keys,
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Session;
use crate::session::load::Load;

/// More in flight only queue in the store.
const IN_FLIGHT: usize = 3;

/// Room in the outer transaction for the guard's own operation.
const BATCH: usize = MAX_TXN_OPS - 1;

/// Callers wait beyond this: the store is the bottleneck then, and a longer queue would not help.
const QUEUED: usize = 16 * BATCH;

/// How long anything waits for a batch in flight: its answer may be lost, or the store slow.
const PATIENCE: Duration = Duration::from_millis(10);

/// Between the beginnings of two batches, the second with nothing but ends of runs.
const PACE: Duration = Duration::from_millis(5);

/// A claim that is not done by then would come too late: its tick is looked at anew.
const TOO_LATE: Duration = Duration::from_secs(5);

/// Between two tries while the store is away.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// A transaction that was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// The session that asked for it is gone; nothing was written.
    #[error("this worker's session has ended")]
    SessionGone,
    /// The store was restored from a copy while its answer was waited for: if it was done, the store has forgotten it.
    #[error("the store was restored from a copy")]
    StoreRestored,
    /// The store takes no writes, or was away for so long that it would come too late. With etcd that very transaction
    /// may have been done which fills the store: a claim is looked for.
    #[error("the store takes no writes: {0}")]
    NotTaken(String),
    /// It will never be done as it is.
    #[error("the store refused the transaction: {0}")]
    Refused(String),
    /// The worker is ending.
    #[error("the worker is ending")]
    Closed,
}

struct Request {
    txn: Txn,
    guard: Option<Session>,
    /// It may wait for others of its kind, and as long as the store takes nothing.
    patient: bool,
    /// When this was asked for.
    asked: Instant,
    /// How often the store had been restored when this was asked for.
    restores: u64,
    answer: oneshot::Sender<Result<TxnOutcome, BatchError>>,
}

/// Takes transactions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Batcher {
    sender: mpsc::Sender<Request>,
    load: Arc<Load>,
}

impl Batcher {
    /// Starts sending. Ends, with what is queued answered, when `shutdown` is cancelled.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        keys: Keys,
        load: Arc<Load>,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED);
        let sending =
            Sending { store, keys, load: load.clone(), seen: Arc::default(), tracker: tracker.clone() };
        tracker.spawn(sending.run(receiver, shutdown));
        Self { sender, load }
    }

    /// Does a transaction only while the session lives.
    pub(crate) async fn guarded(&self, txn: Txn, session: &Session) -> Result<TxnOutcome, BatchError> {
        self.send(txn, Some(session.clone()), false).await
    }

    /// Does a transaction that carries its own proof, such as the revision of a lock that is ours.
    pub(crate) async fn plain(&self, txn: Txn) -> Result<TxnOutcome, BatchError> {
        self.send(txn, None, false).await
    }

    /// The same for the end of a run: it may go a little later, with the ends of others.
    pub(crate) async fn end(&self, txn: Txn) -> Result<TxnOutcome, BatchError> {
        self.send(txn, None, true).await
    }

    /// Resolves when nothing is sent any more, whatever the reason.
    pub(crate) async fn ended(self) {
        self.sender.closed().await;
    }

    async fn send(&self, txn: Txn, guard: Option<Session>, patient: bool) -> Result<TxnOutcome, BatchError> {
        let (answer, received) = oneshot::channel();
        let (restores, asked) = (self.load.restores(), Instant::now());
        self.sender
            .send(Request { txn, guard, patient, asked, restores, answer })
            .await
            .map_err(|_| BatchError::Closed)?;
        received.await.unwrap_or(Err(BatchError::Closed))
    }
}

/// The highest revision of any answer since the store was restored so many times.
#[derive(Clone, Copy, Default)]
struct Seen {
    revision: Revision,
    restores: u64,
}

#[derive(Clone)]
struct Sending {
    store: Arc<dyn Store>,
    keys: Keys,
    load: Arc<Load>,
    seen: Arc<Mutex<Seen>>,
    tracker: TaskTracker,
}

impl Sending {
    async fn run(self, mut receiver: mpsc::Receiver<Request>, shutdown: CancellationToken) {
        let mut in_flight = FuturesUnordered::new();
        let (mut batch, mut since): (Vec<Request>, _) = (Vec::with_capacity(BATCH), Instant::now());
        let mut paced = since;
        loop {
            let room = BATCH - batch.len();
            let (is_empty, is_full) = (batch.is_empty(), room == 0);
            let due = match (is_full, in_flight.is_empty()) {
                (true, _) => since,
                (false, false) => since + PATIENCE,
                (false, true) if batch.iter().all(|request| request.patient) => paced,
                (false, true) => since,
            };
            let is_due = due <= Instant::now();
            if !is_empty && is_due && in_flight.len() < IN_FLIGHT {
                let batch = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                paced = Instant::now() + PACE;
                in_flight.push(self.start(batch, shutdown.clone()));
                continue;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                sent = in_flight.next(), if !in_flight.is_empty() => if let Some(Err(error)) = sent {
                    // Its requests were answered as at the end of the worker, so this is one.
                    tracing::error!(%error, "a batch of transactions was given up");
                    return;
                },
                count = receiver.recv_many(&mut batch, room), if !is_full => {
                    if count == 0 {
                        return;
                    }
                    if is_empty {
                        since = Instant::now();
                    }
                }
                () = sleep_until(due), if !is_empty && !is_due => {}
            }
        }
    }

    /// Sends a batch on a task of its own, which ends early when the worker does.
    fn start(&self, batch: Vec<Request>, shutdown: CancellationToken) -> JoinHandle<()> {
        let sending = self.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = sending.send(batch) => {}
                () = shutdown.cancelled() => {}
            }
        })
    }

    fn send(&self, batch: Vec<Request>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let (mut batch, before) = (batch, self.seen());
            // An answer was lost: it is not certain any more that nothing was done.
            let (mut unsure, mut again) = (false, false);
            loop {
                batch = self.without_outdated(batch);
                if batch.is_empty() {
                    return;
                }
                match self.send_once(&batch, before, again).await {
                    Ok(outcome) => return answer(batch, &outcome),
                    Err(error) if error.is_passing() => {
                        tracing::debug!(error = error.chain(), "a batch was not done; sending it again");
                        unsure |= matches!(error, StoreError::Ambiguous(_));
                        if let StoreError::Full(_) = &error {
                            self.load.set_store_full(Some(error.chain()));
                        }
                        if !unsure {
                            batch = without_late(batch, &error);
                        }
                    }
                    Err(StoreError::WentBack { .. }) => {
                        return fail(batch, &BatchError::StoreRestored);
                    }
                    Err(error) if batch.len() == 1 => {
                        return fail(batch, &BatchError::Refused(error.chain()));
                    }
                    Err(_) => {
                        let second = batch.split_off(batch.len() / 2);
                        self.send(batch).await;
                        self.send(second).await;
                        return;
                    }
                }
                if batch.is_empty() {
                    return;
                }
                again = true;
                tokio::time::sleep(RETRY_WAIT).await;
            }
        })
    }

    async fn send_once(
        &self,
        batch: &[Request],
        before: Seen,
        again: bool,
    ) -> Result<TxnOutcome, StoreError> {
        let told = |error| match error {
            StoreError::WentBack { seen, now } => self.went_back(seen, now),
            error => error,
        };
        // Before it is sent again: the same store, or an error.
        if again {
            let (_, now) = self.store.get(&self.keys.epoch()).await.map_err(told)?;
            self.still_the_same(before, now)?;
        }
        let outcome = self.store.txn(self.nested(batch)).await.map_err(told)?;
        self.still_the_same(before, outcome.revision)?;
        Ok(outcome)
    }

    /// The guarded requests of one session under its guard, the others beside them, in the batch's order within
    /// each group. Requests of another session than the first one's are few: each gets a guard of its own.
    fn nested(&self, batch: &[Request]) -> Txn {
        let mut groups: Vec<(Option<&Session>, Vec<Op>)> = Vec::new();
        for request in batch {
            let op = Op::Txn(request.txn.clone());
            match groups.iter_mut().find(|(guard, _)| *guard == request.guard.as_ref()) {
                Some((_, ops)) => ops.push(op),
                None => groups.push((request.guard.as_ref(), vec![op])),
            }
        }
        let mut then = Vec::new();
        for (guard, ops) in groups {
            let compares = guard
                .map(|session| Compare::CreateRevision(self.keys.worker(&session.worker), session.revision))
                .into_iter()
                .collect();
            then.push(Op::Txn(Txn::when(compares, ops)));
        }
        Txn::when(Vec::new(), then)
    }

    /// Answers those that do not count any more: asked for before the store was restored, or claims in a restored store
    /// to which nobody has seen yet.
    fn without_outdated(&self, batch: Vec<Request>) -> Vec<Request> {
        let (restores, unseen) = (self.load.restores(), self.load.is_store_restored());
        let outdated =
            |request: &mut Request| request.restores != restores || (unseen && request.guard.is_some());
        let mut batch = batch;
        fail(batch.extract_if(.., outdated), &BatchError::StoreRestored);
        batch
    }

    fn seen(&self) -> Seen {
        let mut seen = self.seen.lock();
        let restores = self.load.restores();
        if seen.restores != restores {
            // From here on the restored store is taken as it is.
            *seen = Seen { revision: Revision::NONE, restores };
        }
        *seen
    }

    fn went_back(&self, seen: Revision, now: Revision) -> StoreError {
        self.load.store_was_restored(seen, now);
        StoreError::WentBack { seen, now }
    }

    /// An error if the store was restored since that was seen: only the first request of all that meets a restored store
    /// is told by it.
    fn still_the_same(&self, before: Seen, now: Revision) -> Result<(), StoreError> {
        if self.load.restores() != before.restores {
            return Err(StoreError::WentBack { seen: before.revision, now });
        }
        if now < before.revision {
            return Err(self.went_back(before.revision, now));
        }
        let mut seen = self.seen.lock();
        if seen.restores == before.restores {
            seen.revision = seen.revision.max(now);
        }
        Ok(())
    }
}

/// Answers those that are not to be done later, none of which was done: of a full store all but the ends of runs, else
/// claims that would come too late.
fn without_late(mut batch: Vec<Request>, error: &StoreError) -> Vec<Request> {
    let is_full = matches!(error, StoreError::Full(_));
    let late = |request: &mut Request| match request.guard {
        _ if is_full => !request.patient,
        Some(_) => request.asked.elapsed() >= TOO_LATE,
        None => false,
    };
    fail(batch.extract_if(.., late), &BatchError::NotTaken(error.chain()));
    batch
}

fn fail(batch: impl IntoIterator<Item = Request>, error: &BatchError) {
    for request in batch {
        // Who no longer waits no longer cares.
        let _ = request.answer.send(Err(error.clone()));
    }
}

/// Gives each request its own outcome, in the order in which [`Sending::nested`] put them.
fn answer(batch: Vec<Request>, outcome: &TxnOutcome) {
    let mut groups: Vec<(Option<Session>, std::vec::IntoIter<OpOutcome>, bool)> = Vec::new();
    let mut results = outcome.results.iter();
    for request in &batch {
        if !groups.iter().any(|(guard, _, _)| *guard == request.guard) {
            let (inner, held) = match results.next() {
                Some(OpOutcome::Txn(inner)) => (inner.results.clone(), inner.succeeded),
                _ => (Vec::new(), false),
            };
            groups.push((request.guard.clone(), inner.into_iter(), held));
        }
    }
    for request in batch {
        let group = groups.iter_mut().find(|(guard, _, _)| *guard == request.guard);
        let result = match group {
            Some((_, results, true)) => match results.next() {
                Some(OpOutcome::Txn(inner)) => Ok(inner),
                _ => Err(BatchError::Refused("the store's answer is shorter than the batch".into())),
            },
            _ => Err(BatchError::SessionGone),
        };
        // Who no longer waits no longer cares.
        let _ = request.answer.send(result);
    }
}

#[cfg(test)]
mod tests;
