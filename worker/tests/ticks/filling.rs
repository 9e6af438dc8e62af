//! A store that takes no writes while it is full, as etcd and a full disk do: leases are renewed, and all is read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::store::{
    Entry, Events, Key, LeaseId, Op, Page, Prefix, Revision, Store, StoreError, Txn, TxnOutcome,
    embedded::EmbeddedStore,
};
use futures::stream::BoxStream;

/// Stands in front of an embedded store.
pub(crate) struct Filling {
    inner: Arc<EmbeddedStore>,
    full: AtomicBool,
    /// The next write fills it, and is done.
    fills: AtomicBool,
    /// Claims that were refused.
    refused: AtomicUsize,
}

impl Filling {
    pub(crate) fn new(inner: Arc<EmbeddedStore>) -> Arc<Self> {
        let (full, fills) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { inner, full, fills, refused: AtomicUsize::new(0) })
    }

    /// From here on it is full, or not.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// The next claim fills it: it is done, and told as refused.
    pub(crate) fn fill_by_a_claim(&self) {
        self.fills.store(true, Ordering::SeqCst);
    }

    /// How many claims it has refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

fn full() -> StoreError {
    StoreError::Full("a test has filled it".into())
}

fn writes(txn: &Txn) -> bool {
    let ops = txn.then.iter().chain(&txn.otherwise);
    ops.into_iter().any(|op| match op {
        Op::Put(..) | Op::Delete(..) => true,
        Op::Get(_) => false,
        Op::Txn(inner) => writes(inner),
    })
}

/// As the batcher nests them.
fn claims(txn: &Txn) -> bool {
    txn.then.iter().any(|op| match op {
        Op::Put(key, value, _) => key.as_str().contains("/locks/") && value.starts_with(b"~"),
        Op::Txn(inner) => claims(inner),
        _ => false,
    })
}

#[async_trait]
impl Store for Filling {
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
        self.inner.get(key).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.inner.list(prefix, after, limit, at).await
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
        self.inner.watch(prefix, from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        if claims(&txn) && self.fills.swap(false, Ordering::SeqCst) {
            self.inner.txn(txn).await?;
            self.set_full(true);
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(full());
        }
        if self.full.load(Ordering::SeqCst) && writes(&txn) {
            self.refused.fetch_add(usize::from(claims(&txn)), Ordering::SeqCst);
            return Err(full());
        }
        self.inner.txn(txn).await
    }

    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        self.inner.grant(ttl).await
    }

    async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError> {
        self.inner.renew(lease, timeout).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.revoke(lease).await
    }

    async fn status(&self) -> Result<String, StoreError> {
        self.inner.status().await
    }
}
