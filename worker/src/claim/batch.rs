//! Sends transactions in nested batches: the guarded ones under a comparison of this worker's own registration, so
//! that a lapsed lease decides nothing, the others beside them.
//!
//! A lone transaction is sent at once. While batches are in flight the next one fills. Each transaction has its
//! own outcome. A batch whose answer was lost is sent again until the answer is definite: every transaction here
//! recognises its own earlier success (see [`super::outcome`]). A batch that is refused is halved, so that one bad
//! transaction does not fail its neighbours.

use std::{sync::Arc, time::Duration};

use common::store::{Compare, MAX_TXN_OPS, Op, OpOutcome, Store, StoreError, Txn, TxnOutcome, key::Keys};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Session;

/// More in flight only queue in the store.
const IN_FLIGHT: usize = 3;

/// Room in the outer transaction for the guard's own operation.
const BATCH: usize = MAX_TXN_OPS - 1;

/// Callers wait beyond this: the store is the bottleneck then, and a longer queue would not help.
const QUEUED: usize = 16 * BATCH;

/// Between two tries while the store is away.
const RETRY_WAIT: Duration = Duration::from_millis(200);

/// A transaction that was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BatchError {
    /// The session that asked for it is gone; nothing was written.
    #[error("this worker's session has ended")]
    SessionGone,
    /// It never will be done as it is.
    #[error("the store refused the transaction: {0}")]
    Refused(String),
    /// The worker is ending.
    #[error("the worker is ending")]
    Closed,
}

struct Request {
    txn: Txn,
    guard: Option<Session>,
    answer: oneshot::Sender<Result<TxnOutcome, BatchError>>,
}

/// Takes transactions. Cheap to clone.
#[derive(Clone)]
pub struct Batcher {
    sender: mpsc::Sender<Request>,
}

impl Batcher {
    /// Starts sending. Ends, with what is queued answered, when `shutdown` is cancelled.
    pub fn start(
        store: Arc<dyn Store>,
        keys: Keys,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED);
        let sending =
            Sending { store, keys, in_flight: Arc::new(Semaphore::new(IN_FLIGHT)), tracker: tracker.clone() };
        tracker.spawn(sending.run(receiver, shutdown));
        Self { sender }
    }

    /// Does a transaction only while the session lives.
    pub async fn guarded(&self, txn: Txn, session: &Session) -> Result<TxnOutcome, BatchError> {
        self.send(txn, Some(session.clone())).await
    }

    /// Does a transaction that carries its own proof, such as the revision of a lock that is ours.
    pub async fn plain(&self, txn: Txn) -> Result<TxnOutcome, BatchError> {
        self.send(txn, None).await
    }

    async fn send(&self, txn: Txn, guard: Option<Session>) -> Result<TxnOutcome, BatchError> {
        let (answer, received) = oneshot::channel();
        self.sender.send(Request { txn, guard, answer }).await.map_err(|_| BatchError::Closed)?;
        received.await.unwrap_or(Err(BatchError::Closed))
    }
}

#[derive(Clone)]
struct Sending {
    store: Arc<dyn Store>,
    keys: Keys,
    in_flight: Arc<Semaphore>,
    tracker: TaskTracker,
}

impl Sending {
    async fn run(self, mut receiver: mpsc::Receiver<Request>, shutdown: CancellationToken) {
        loop {
            // The permit first: while all are taken, the queue fills and the next batch grows.
            let Ok(permit) = self.in_flight.clone().acquire_owned().await else { return };
            let mut batch = Vec::with_capacity(BATCH);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                count = receiver.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            let (sending, ending) = (self.clone(), shutdown.clone());
            self.tracker.spawn(async move {
                tokio::select! {
                    () = sending.send(batch) => {}
                    () = ending.cancelled() => {}
                }
                drop(permit);
            });
        }
    }

    fn send(&self, batch: Vec<Request>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let txn = self.nested(&batch);
            match self.until_definite(txn).await {
                Ok(outcome) => answer(batch, &outcome),
                Err(error) if batch.len() == 1 => {
                    let text = error.chain();
                    for request in batch {
                        // Who no longer waits no longer cares.
                        let _ = request.answer.send(Err(BatchError::Refused(text.clone())));
                    }
                }
                Err(_) => {
                    let mut first = batch;
                    let second = first.split_off(first.len() / 2);
                    self.send(first).await;
                    self.send(second).await;
                }
            }
        })
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

    async fn until_definite(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        loop {
            match self.store.txn(txn.clone()).await {
                Err(error) if error.is_passing() || matches!(error, StoreError::WentBack { .. }) => {
                    tracing::debug!(error = error.chain(), "a batch was not answered; sending it again");
                    tokio::time::sleep(RETRY_WAIT).await;
                }
                definite => return definite,
            }
        }
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
