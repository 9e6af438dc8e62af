//! Nests the transactions of requests that come at the same time in one, each with its own outcome: nested, one costs
//! the store and this process a tenth of what it costs alone.
//!
//! A lone transaction is sent at once, unnested. While some are in flight the next batch fills. A batch that is
//! refused is halved, so that one bad transaction does not fail its neighbours; if its answer is lost, or the store
//! says that it is full, that goes for all of them, and each reads back what became of it.

use std::{
    collections::{HashSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use common::store::{Key, MAX_TXN_OPS, Op, OpOutcome, Store, StoreError, Txn, TxnOutcome};
use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

/// More in flight only queue in the store.
const IN_FLIGHT: usize = 3;

/// etcd takes requests of 1.5 MiB.
const MOST_BYTES: usize = 512 * 1024;

/// Callers wait beyond this: the store is the bottleneck then.
const QUEUED: usize = 64 * MAX_TXN_OPS;

struct Request {
    /// What it writes: equal keys in one transaction would fail it as a whole.
    key: Key,
    txn: Txn,
    answer: oneshot::Sender<Result<TxnOutcome, StoreError>>,
}

impl Request {
    fn bytes(&self) -> usize {
        let size = |op: &Op| if let Op::Put(_, value, _) = op { value.len() } else { 0 };
        self.txn.then.iter().map(size).sum()
    }
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    in_flight: usize,
}

/// Takes transactions.
pub(crate) struct Batch {
    store: Arc<dyn Store>,
    queue: Arc<Mutex<Queue>>,
    room: Semaphore,
    tasks: TaskTracker,
}

impl Batch {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let (queue, room) = (Arc::default(), Semaphore::new(QUEUED));
        Self { store, queue, room, tasks: TaskTracker::new() }
    }

    /// Does a transaction that writes nothing but `key` and what belongs to it. A caller that stops waiting does not
    /// stop it.
    pub(crate) async fn txn(&self, key: Key, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let lost = |what: &str| StoreError::Ambiguous(what.to_owned().into());
        let _room = self.room.acquire().await.map_err(|_| lost("the manager is ending"))?;
        let (answer, received) = oneshot::channel();
        let starts = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Request { key, txn, answer });
            let starts = queue.in_flight < IN_FLIGHT;
            queue.in_flight += usize::from(starts);
            starts
        };
        if starts {
            // A task of its own: the request that starts it may be given up, and others wait for the same batch.
            self.tasks.spawn(send_all(self.store.clone(), self.queue.clone()));
        }
        received.await.unwrap_or_else(|_| Err(lost("the manager is ending")))
    }

    /// Waits until nothing is in flight. For the end, when nothing new comes.
    pub(crate) async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Sends batches until nothing waits.
async fn send_all(store: Arc<dyn Store>, queue: Arc<Mutex<Queue>>) {
    loop {
        let batch = {
            let mut queue = queue.lock();
            let batch = next_batch(&mut queue.waiting);
            if batch.is_empty() {
                queue.in_flight -= 1;
                return;
            }
            batch
        };
        // The panic was reported already, and the waiters hear that the answer is lost. This sender goes on:
        // otherwise its place would be taken for ever.
        let _ = AssertUnwindSafe(send(&*store, batch)).catch_unwind().await;
    }
}

fn next_batch(waiting: &mut VecDeque<Request>) -> Vec<Request> {
    let (mut batch, mut later) = (Vec::new(), Vec::new());
    let (mut keys, mut bytes) = (HashSet::new(), 0);
    while batch.len() < MAX_TXN_OPS
        && let Some(request) = waiting.pop_front()
    {
        if keys.contains(&request.key) {
            later.push(request);
            continue;
        }
        bytes += request.bytes();
        if bytes > MOST_BYTES && !batch.is_empty() {
            later.push(request);
            break;
        }
        keys.insert(request.key.clone());
        batch.push(request);
    }
    for request in later.into_iter().rev() {
        waiting.push_front(request);
    }
    batch
}

fn send(store: &dyn Store, mut batch: Vec<Request>) -> BoxFuture<'_, ()> {
    Box::pin(async move {
        if batch.len() <= 1 {
            let Some(request) = batch.pop() else { return };
            // Who no longer waits no longer cares.
            let _ = request.answer.send(store.txn(request.txn).await);
            return;
        }
        let nested = batch.iter().map(|request| Op::Txn(request.txn.clone())).collect();
        match store.txn(Txn::when(Vec::new(), nested)).await {
            Ok(outcome) => answer(batch, outcome),
            Err(StoreError::Refused(_) | StoreError::LeaseGone(_)) => {
                let second = batch.split_off(batch.len() / 2);
                send(store, batch).await;
                send(store, second).await;
            }
            Err(error) => {
                for request in batch {
                    let _ = request.answer.send(Err(same(&error)));
                }
            }
        }
    })
}

fn answer(batch: Vec<Request>, outcome: TxnOutcome) {
    let mut results = outcome.results.into_iter();
    for request in batch {
        let result = match results.next() {
            Some(OpOutcome::Txn(inner)) => Ok(inner),
            _ => Err(StoreError::Ambiguous("the store's answer is shorter than the batch".into())),
        };
        // Who no longer waits no longer cares.
        let _ = request.answer.send(result);
    }
}

/// One error for each waiter.
fn same(error: &StoreError) -> StoreError {
    use StoreError as E;
    match error {
        E::Unavailable(cause) => E::Unavailable(cause.to_string().into()),
        E::Ambiguous(cause) => E::Ambiguous(cause.to_string().into()),
        E::Refused(cause) => E::Refused(cause.to_string().into()),
        E::Full(cause) => E::Full(cause.to_string().into()),
        E::LeaseGone(lease) => E::LeaseGone(*lease),
        E::Compacted(revision) => E::Compacted(*revision),
        E::WentBack { seen, now } => E::WentBack { seen: *seen, now: *now },
    }
}

#[cfg(test)]
mod tests {
    use common::store::{Compare, key::Keys};

    use super::*;

    fn request(name: u32, value: usize) -> (Request, oneshot::Receiver<Result<TxnOutcome, StoreError>>) {
        let key = Keys::new("/q/").unwrap().queue.key(name);
        let txn = Txn::when(Vec::new(), vec![Op::Put(key.clone(), vec![0; value], None)]);
        let (answer, received) = oneshot::channel();
        (Request { key, txn, answer }, received)
    }

    #[test]
    fn a_batch_has_each_key_once_and_is_bounded() {
        let names = (0..200).chain([199, 0, 1]);
        let mut waiting: VecDeque<Request> = names.map(|name| request(name, 1).0).collect();
        assert_eq!(next_batch(&mut waiting).len(), MAX_TXN_OPS);
        assert_eq!(next_batch(&mut waiting).len(), 82);
        assert_eq!(waiting.len(), 1, "the second write of the same key comes later");
        let mut waiting: VecDeque<Request> = (0..9).map(|name| request(name, 200 * 1024).0).collect();
        assert_eq!(next_batch(&mut waiting).len(), 2);
        let mut large: VecDeque<Request> = (0..2).map(|name| request(name, 1 << 20).0).collect();
        assert_eq!(next_batch(&mut large).len(), 1);
    }

    #[tokio::test]
    async fn each_of_a_batch_has_its_own_outcome() {
        let store = common::store::embedded::EmbeddedStore::in_memory();
        let (mut good, first) = request(1, 1);
        good.txn.compares.push(Compare::ModRevision(good.key.clone(), common::revision::Revision::NONE));
        let (mut bad, second) = request(2, 1);
        bad.txn.compares.push(Compare::ModRevision(bad.key.clone(), common::revision::Revision::new(7)));
        let (mut refused, third) = request(3, 1);
        let twice = refused.txn.then[0].clone();
        refused.txn.then.push(twice);
        send(&store, vec![good, bad, refused]).await;
        assert!(first.await.unwrap().unwrap().succeeded);
        assert!(!second.await.unwrap().unwrap().succeeded);
        assert!(matches!(third.await.unwrap(), Err(StoreError::Refused(_))));
    }

    #[tokio::test]
    async fn what_comes_together_is_sent_and_answered() {
        let writes = Batch::new(Arc::new(common::store::embedded::EmbeddedStore::in_memory()));
        let all = (0..1000).map(|name| {
            let request = request(name % 300, 1).0;
            writes.txn(request.key, request.txn)
        });
        let done = futures::future::join_all(all).await;
        assert!(done.into_iter().all(|outcome| outcome.is_ok_and(|outcome| outcome.succeeded)));
        writes.idle().await;
    }
}
