//! A store that does what real ones do now and then: it is slow in one place, or turns out to be restored.
//! Or what no store does: whoever asks it panics, which stands for any mistake in the code.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::store::{
    Entry, Events, Key, LeaseId, OpOutcome, Page, Prefix, Revision, Store, StoreError, Txn, TxnOutcome,
    embedded::EmbeddedStore, key::Keys,
};
use futures::{StreamExt as _, stream::BoxStream};
use tokio::sync::watch;

/// Stands in front of an embedded store.
pub(crate) struct Doctored {
    inner: Arc<EmbeddedStore>,
    /// Listings and changes of it wait for [`Doctored::let_go`].
    held: Prefix,
    let_go: watch::Sender<bool>,
    restored: watch::Sender<bool>,
    gets: AtomicUsize,
    failed: AtomicUsize,
    mistake: Option<Mistake>,
}

/// Where whoever asks panics, as by a mistake in the code.
pub(crate) enum Mistake {
    Leases,
    ListingOf(Prefix),
}

impl Doctored {
    pub(crate) fn new(inner: Arc<EmbeddedStore>, held: Prefix) -> Arc<Self> {
        Arc::new(Self::of(inner, held, None))
    }

    /// Nothing of it is slow.
    pub(crate) fn with(inner: Arc<EmbeddedStore>, mistake: Mistake) -> Arc<Self> {
        let held = Keys::new("/elsewhere/").expect("a root").jobs;
        Arc::new(Self::of(inner, held, Some(mistake)))
    }

    fn of(inner: Arc<EmbeddedStore>, held: Prefix, mistake: Option<Mistake>) -> Self {
        let (let_go, restored) = (watch::Sender::new(false), watch::Sender::new(false));
        let (gets, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { inner, held, let_go, restored, gets, failed, mistake }
    }

    /// What is slow is so again.
    pub(crate) fn hold(&self) {
        self.let_go.send_replace(false);
    }

    /// From here on nothing is slow.
    pub(crate) fn let_go(&self) {
        self.let_go.send_replace(true);
    }

    /// Every watch says that the store went back.
    pub(crate) fn restore(&self) {
        self.restored.send_replace(true);
    }

    /// How often a key under the slow prefix was read.
    pub(crate) fn gets(&self) -> usize {
        self.gets.load(Ordering::SeqCst)
    }

    /// How many transactions found something else than they had to, those inside of others too.
    pub(crate) fn failed(&self) -> usize {
        self.failed.load(Ordering::SeqCst)
    }
}

fn failed(outcome: &TxnOutcome) -> usize {
    let inside = outcome.results.iter().map(|result| match result {
        OpOutcome::Txn(inner) => failed(inner),
        _ => 0,
    });
    usize::from(!outcome.succeeded) + inside.sum::<usize>()
}

#[async_trait]
impl Store for Doctored {
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
        if self.held.name(key).is_some() {
            self.gets.fetch_add(1, Ordering::SeqCst);
        }
        self.inner.get(key).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let is_wrong = matches!(&self.mistake, Some(Mistake::ListingOf(wrong)) if wrong == prefix);
        assert!(!is_wrong, "this listing is a mistake");
        if *prefix == self.held {
            self.let_go.subscribe().wait_for(|let_go| *let_go).await.expect("the store lives");
        }
        self.inner.list(prefix, after, limit, at).await
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
        let mut restored = self.restored.subscribe();
        // A watch that begins afterwards is one of the store as it is now.
        let before = !*restored.borrow_and_update();
        let went_back = async move {
            if !before || restored.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            Err(StoreError::WentBack { seen: Revision::new(1000), now: Revision::new(10) })
        };
        let slow = (*prefix == self.held).then(|| self.let_go.subscribe());
        let inner = self.inner.watch(prefix, from).then(move |item| {
            let slow = slow.clone();
            async move {
                if let Some(mut let_go) = slow {
                    let_go.wait_for(|let_go| *let_go).await.expect("the store lives");
                }
                item
            }
        });
        let both = futures::stream::select(inner, futures::stream::once(went_back));
        // As the port has it, such an error is a watch's last word.
        let ended = both.scan(false, |ended, item| {
            let item = (!*ended).then_some(item);
            *ended |= matches!(item, Some(Err(_)));
            std::future::ready(item)
        });
        Box::pin(ended)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let outcome = self.inner.txn(txn).await;
        self.failed.fetch_add(outcome.as_ref().map_or(0, failed), Ordering::SeqCst);
        outcome
    }

    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        assert!(!matches!(self.mistake, Some(Mistake::Leases)), "this lease is a mistake");
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
