use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use common::{
    store::{BoxError, Entry, Events, Key, LeaseId, Page, Prefix, Revision, embedded::EmbeddedStore},
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
    /// An answer of the restored store, after somebody else was told who has not passed it on yet.
    Answered,
}

type Refusal = fn(BoxError) -> StoreError;

/// A store that is restored from the oldest possible copy.
struct Restored {
    now: Mutex<Arc<EmbeddedStore>>,
    fault: Mutex<Fault>,
    /// How many transactions it was sent.
    sent: AtomicUsize,
    /// How long it takes for one.
    takes: Mutex<Duration>,
    /// What it says to each.
    refuses: Mutex<Option<Refusal>>,
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
        let refuses = *self.refuses.lock().unwrap();
        if let Some(refuses) = refuses {
            return Err(refuses("a test says so".into()));
        }
        self.sent.fetch_add(1, Ordering::SeqCst);
        let takes = *self.takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        let fault = std::mem::replace(&mut *self.fault.lock().unwrap(), Fault::None);
        if matches!(fault, Fault::None) {
            return self.store().txn(txn).await;
        }
        *self.now.lock().unwrap() = Arc::new(EmbeddedStore::in_memory());
        match fault {
            Fault::Answered => return self.store().txn(txn).await,
            Fault::Told => {
                return Err(StoreError::WentBack { seen: Revision::new(1000), now: Revision::new(10) });
            }
            Fault::ToldToAnother(load) => load.store_was_restored(Revision::new(1000), Revision::new(10)),
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

struct Bench {
    store: Arc<Restored>,
    load: Arc<Load>,
    keys: Keys,
    batcher: Batcher,
    ending: CancellationToken,
}

impl Bench {
    /// A batcher that has seen a few revisions.
    async fn start(load: Arc<Load>) -> Self {
        let store = Arc::new(Restored {
            now: Mutex::new(Arc::new(EmbeddedStore::in_memory())),
            fault: Mutex::new(Fault::None),
            sent: AtomicUsize::new(0),
            takes: Mutex::default(),
            refuses: Mutex::default(),
        });
        let keys = Keys::new("/quorate/").unwrap();
        let (tasks, ending) = (TaskTracker::new(), CancellationToken::new());
        let batcher = Batcher::start(store.clone(), keys.clone(), load.clone(), &tasks, ending.clone());
        let bench = Self { store, load, keys, batcher, ending };
        for n in 1..=5 {
            bench.batcher.plain(bench.put(n)).await.unwrap();
        }
        bench
    }

    fn put(&self, n: u8) -> Txn {
        Txn::when(Vec::new(), vec![Op::Put(self.keys.queue.key(n), vec![n], None)])
    }

    /// A session that the store has.
    async fn session(&self) -> Session {
        let worker: common::id::WorkerId = "w".parse().unwrap();
        let put = vec![Op::Put(self.keys.worker(&worker), Vec::new(), None)];
        self.store.txn(Txn::when(Vec::new(), put)).await.unwrap();
        let (entry, _) = self.store.get(&self.keys.worker(&worker)).await.unwrap();
        Session { worker, revision: entry.unwrap().create_revision }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_alone_is_sent_at_once_and_what_comes_by_and_by_goes_together() {
    let ms = Duration::from_millis;
    let bench = Bench::start(Load::new(1)).await;
    let session = bench.session().await;
    tokio::time::sleep(PACE).await;
    let begun = Instant::now();
    bench.batcher.end(bench.put(6)).await.unwrap();
    bench.batcher.guarded(bench.put(7), &session).await.unwrap();
    bench.batcher.plain(bench.put(8)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "none waits: only another end would");

    // Ends keep their distance, also from a store that answers at once.
    let by_and_by = async |first: u8| {
        let before = bench.store.sent.load(Ordering::SeqCst);
        let ends = (0..50).map(|n| {
            let bench = &bench;
            async move {
                tokio::time::sleep(ms(u64::from(n))).await;
                bench.batcher.end(bench.put(first + n)).await.unwrap();
            }
        });
        futures::future::join_all(ends).await;
        bench.store.sent.load(Ordering::SeqCst) - before
    };
    let sent = by_and_by(10).await;
    assert!((8..=12).contains(&sent), "{sent} batches in 50 ms");

    // The store takes long: the next batch waits for its answer, but not longer than its patience.
    *bench.store.takes.lock().unwrap() = ms(7);
    let sent = by_and_by(70).await;
    assert!((6..=9).contains(&sent), "{sent} batches in 50 ms");
    *bench.store.takes.lock().unwrap() = ms(60);
    let (first, second) = (bench.batcher.plain(bench.put(130)), async {
        tokio::time::sleep(ms(1)).await;
        let begun = Instant::now();
        bench.batcher.plain(bench.put(131)).await.unwrap();
        begun.elapsed()
    });
    let (_, took) = futures::join!(first, second);
    assert_eq!(took, PATIENCE + ms(60), "not behind the answer to the first");
}

#[tokio::test(start_paused = true)]
async fn what_a_store_does_not_take_is_not_done_later_but_for_ends_of_runs() {
    let bench = Bench::start(Load::new(1)).await;
    let session = bench.session().await;
    let refuse = |how: Option<Refusal>| *bench.store.refuses.lock().unwrap() = how;
    let claim = |n| bench.batcher.guarded(bench.put(n), &session);
    let not_taken = |answer| matches!(answer, Err(BatchError::NotTaken(_)));

    refuse(Some(StoreError::Full));
    let (taken, skipped, mut end) =
        (claim(6), bench.batcher.plain(bench.put(7)), Box::pin(bench.batcher.end(bench.put(8))));
    let all = async { tokio::join!(taken, skipped) };
    let told = tokio::select! {
        biased;
        ended = &mut end => panic!("it is answered: {ended:?}"),
        told = all => told,
    };
    assert!(not_taken(told.0) && not_taken(told.1));
    assert_eq!(bench.load.readiness(), Readiness::StoreFull);
    refuse(None);
    end.await.unwrap();

    // Away: what comes back in time is done, and what does not is not.
    refuse(Some(StoreError::Unavailable));
    let begun = Instant::now();
    assert!(not_taken(claim(6).await));
    assert!(begun.elapsed() >= TOO_LATE && begun.elapsed() < TOO_LATE + 2 * RETRY_WAIT);

    // It may have been done: that has to be known.
    refuse(Some(StoreError::Ambiguous));
    let mut unsure = Box::pin(claim(6));
    tokio::select! {
        biased;
        answer = &mut unsure => panic!("nobody can know that yet: {answer:?}"),
        () = tokio::time::sleep(2 * TOO_LATE) => {}
    }
    refuse(None);
    assert!(unsure.await.unwrap().succeeded);
}

// Once: a batch in flight was repeated whatever the store had become, and could land in a restored etcd.
#[tokio::test]
async fn a_batch_in_flight_does_not_land_in_a_restored_store() {
    let load = Load::new(1);
    for fault in [Fault::Told, Fault::ToldToAnother(load.clone()), Fault::Untold] {
        let load = if let Fault::ToldToAnother(load) = &fault { load.clone() } else { Load::new(1) };
        let bench = Bench::start(load).await;
        *bench.store.fault.lock().unwrap() = fault;
        let (first, second) = (bench.batcher.plain(bench.put(6)), bench.batcher.plain(bench.put(7)));
        let both = futures::join!(first, second);
        for lost in [both.0, both.1] {
            // The second may be in a batch of its own: then it was sent to the store as it is now.
            assert!(matches!(lost, Err(BatchError::StoreRestored) | Ok(_)), "{lost:?}");
        }
        assert_eq!(bench.store.get(&bench.keys.queue.key(6)).await.unwrap().0, None);
        assert_eq!(bench.load.readiness(), Readiness::StoreRestored);
    }
}

#[tokio::test]
async fn what_a_restored_store_answers_does_not_count() {
    let bench = Bench::start(Load::new(1)).await;
    *bench.store.fault.lock().unwrap() = Fault::Answered;
    let answer = bench.batcher.plain(bench.put(6)).await;
    assert!(matches!(answer, Err(BatchError::StoreRestored)), "{answer:?}");
    assert_eq!(bench.load.readiness(), Readiness::StoreRestored);
}

// Once: in a restored etcd runs had fences below what had run (1 play in 5): their claims were decided, but not
// sent yet, when another request met the restored store.
#[tokio::test]
async fn a_claim_that_waited_while_the_store_was_restored_is_not_sent() {
    let bench = Bench::start(Load::new(1)).await;
    let session = bench.session().await;
    bench.load.store_was_restored(Revision::new(1000), Revision::new(10));
    let answer = bench.batcher.guarded(bench.put(6), &session).await;
    assert!(matches!(answer, Err(BatchError::StoreRestored)), "{answer:?}");
    assert_eq!(bench.store.get(&bench.keys.queue.key(6)).await.unwrap().0, None);

    bench.load.saw_epoch(common::epoch::Epoch::default());
    bench.load.saw_epoch(common::epoch::Epoch::default().next());
    bench.batcher.guarded(bench.put(6), &session).await.unwrap();
    assert!(bench.store.get(&bench.keys.queue.key(6)).await.unwrap().0.is_some());
}
