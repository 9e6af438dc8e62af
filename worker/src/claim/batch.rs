//! Sends transactions in nested batches: the guarded ones under a comparison of this worker's own registration, so
//! that a lapsed lease decides nothing, the others beside them.
//!
//! A lone transaction is sent at once. While batches are in flight the next one fills. Each transaction has its
//! own outcome. A batch whose answer was lost is sent again until the answer is definite: every transaction here
//! recognises its own earlier success (see [`super::outcome`]). Not into a store that was restored meanwhile: what is
//! compared there may be equal by chance, since its revisions were given before. A batch that is refused is halved, so that one bad
//! transaction does not fail its neighbours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use common::store::{Compare, MAX_TXN_OPS, Op, OpOutcome, Store, StoreError, Txn, TxnOutcome, key::Keys};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Session;
use crate::load::Load;

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
    /// The store was restored from a copy while its answer was waited for: if it was done, the store has forgotten it.
    #[error("the store was restored from a copy")]
    StoreRestored,
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
        load: Arc<Load>,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED);
        let sending = Sending {
            store,
            keys,
            load,
            seen: Arc::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            tracker: tracker.clone(),
        };
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
    load: Arc<Load>,
    /// The highest revision of any answer.
    seen: Arc<AtomicI64>,
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
                    biased;
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
                Err(StoreError::WentBack { seen, now }) => {
                    self.load.store_was_restored(seen, now);
                    for request in batch {
                        // Who no longer waits no longer cares.
                        let _ = request.answer.send(Err(BatchError::StoreRestored));
                    }
                }
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
        let restores = self.load.restores();
        let mut answer = self.store.txn(txn.clone()).await;
        loop {
            match answer {
                Err(error) if error.is_passing() => {
                    tracing::debug!(error = error.chain(), "a batch was not answered; sending it again");
                }
                Ok(outcome) => {
                    self.seen.fetch_max(outcome.revision, Ordering::SeqCst);
                    return Ok(outcome);
                }
                Err(definite) => return Err(definite),
            }
            tokio::time::sleep(RETRY_WAIT).await;
            answer = match self.is_still_the_same(restores).await {
                Ok(()) => self.store.txn(txn.clone()).await,
                Err(error) => Err(error),
            };
        }
    }

    /// An error if the store was restored since there were so many restores: only the first request that meets a
    /// restored store is told by it.
    async fn is_still_the_same(&self, restores: u64) -> Result<(), StoreError> {
        let seen = self.seen.load(Ordering::SeqCst);
        let (_, now) = self.store.get(&self.keys.epoch()).await?;
        if now < seen || self.load.restores() != restores {
            // From here on it is taken as it is.
            self.seen.store(now, Ordering::SeqCst);
            return Err(StoreError::WentBack { seen, now });
        }
        Ok(())
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
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use common::{
        store::{Entry, Events, Key, LeaseId, Page, Prefix, Revision, embedded::EmbeddedStore},
        worker::Readiness,
    };
    use futures::stream::BoxStream;

    use super::*;

    /// What comes between a transaction and its answer.
    enum Fault {
        None,
        /// The request meets the restored store first.
        Told,
        /// No answer, and then another store: somebody else was told.
        ToldToAnother(Arc<Load>),
        /// No answer, and then another store: nobody was told yet.
        Untold,
    }

    /// A store that is restored from the oldest possible copy.
    struct Restored {
        now: Mutex<Arc<EmbeddedStore>>,
        fault: Mutex<Fault>,
    }

    impl Restored {
        fn store(&self) -> Arc<EmbeddedStore> {
            self.now.lock().unwrap().clone()
        }
    }

    #[async_trait]
    impl Store for Restored {
        async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
            self.store().get(key).await
        }

        async fn list(
            &self,
            prefix: &Prefix,
            after: Option<&Key>,
            limit: usize,
            at: Option<Revision>,
        ) -> Result<Page, StoreError> {
            self.store().list(prefix, after, limit, at).await
        }

        fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
            self.store().watch(prefix, from)
        }

        async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
            let fault = std::mem::replace(&mut *self.fault.lock().unwrap(), Fault::None);
            if matches!(fault, Fault::None) {
                return self.store().txn(txn).await;
            }
            *self.now.lock().unwrap() = Arc::new(EmbeddedStore::in_memory());
            match fault {
                Fault::Told => return Err(StoreError::WentBack { seen: 1000, now: 10 }),
                Fault::ToldToAnother(load) => load.store_was_restored(1000, 10),
                Fault::None | Fault::Untold => {}
            }
            Err(StoreError::Unavailable("it is being restored".into()))
        }

        async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
            self.store().grant(ttl).await
        }

        async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError> {
            self.store().renew(lease, timeout).await
        }

        async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.store().revoke(lease).await
        }

        async fn status(&self) -> Result<String, StoreError> {
            self.store().status().await
        }
    }

    #[tokio::test]
    async fn a_batch_in_flight_does_not_land_in_a_restored_store() {
        let load = Load::new(1);
        for fault in [Fault::Told, Fault::ToldToAnother(load.clone()), Fault::Untold] {
            let load = if let Fault::ToldToAnother(load) = &fault { load.clone() } else { Load::new(1) };
            let store = Arc::new(Restored {
                now: Mutex::new(Arc::new(EmbeddedStore::in_memory())),
                fault: Mutex::new(Fault::None),
            });
            let keys = Keys::new("/quorate/").unwrap();
            let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
            let batcher = Batcher::start(store.clone(), keys.clone(), load.clone(), &tasks, ending.clone());
            let put = |n: u8| Txn::when(Vec::new(), vec![Op::Put(keys.queue.key(n), vec![n], None)]);
            for n in 1..=5 {
                batcher.plain(put(n)).await.unwrap();
            }
            *store.fault.lock().unwrap() = fault;
            let both = futures::join!(batcher.plain(put(6)), batcher.plain(put(7)));
            for lost in [both.0, both.1] {
                // The second may be in a batch of its own: then it was sent to the store as it is now.
                assert!(matches!(lost, Err(BatchError::StoreRestored) | Ok(_)), "{lost:?}");
            }
            assert_eq!(store.get(&keys.queue.key(6)).await.unwrap().0, None);
            assert_eq!(load.readiness(), Readiness::StoreRestored);
            ending.cancel();
        }
    }
}
