//! The store: keys with revisions, transactions, leases and watches, as etcd has them. What the scheduler's
//! promises rest on, so every adapter passes one conformance suite (`store::conformance`).
//!
//! What all adapters keep to:
//!
//! - A transaction is atomic and linearizable. All its compares, the nested ones included, see the state before
//!   it; its gets see the state as its own earlier operations leave it. All its writes have one revision.
//! - Two puts of one key in a transaction are refused as a whole ([`StoreError::Refused`]).
//! - A compare on a key that does not exist has mod and create revision 0; on its value it is false.
//! - A put under a lease that is gone fails the whole transaction ([`StoreError::LeaseGone`]).
//! - Revisions grow. A header revision below one seen earlier means that the store was restored.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::task::yield_now;

pub use error::{BoxError, StoreError};
pub use follow::{Change, Follow, follow, follow_as};
pub use key::{Key, Prefix};
pub use mirror::{Away, Mirror, keep};

pub use crate::revision::Revision;

#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
mod follow;
pub mod key;
mod mirror;

/// A lease's id, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole key, prefix included.
    pub key: Key,
    /// Its value.
    pub value: Arc<[u8]>,
    /// The revision that created it, since it last did not exist.
    pub create_revision: Revision,
    /// The revision that last wrote it.
    pub mod_revision: Revision,
    /// The lease it lives under.
    pub lease: Option<LeaseId>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// The revision that the listing shows; the next pages are asked for at this one.
    pub revision: Revision,
    /// True when there is more behind the last entry.
    pub more: bool,
}

/// What a transaction depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key's last writing revision is this; 0: the key does not exist.
    ModRevision(Key, Revision),
    /// The key's creating revision is this; 0: the key does not exist.
    CreateRevision(Key, Revision),
    /// The key's creating revision is not this one. True for a key that does not exist.
    CreateRevisionNot(Key, Revision),
    /// The value sorts after these bytes. False for a key that does not exist.
    ValueGreater(Key, Vec<u8>),
    /// The value sorts before these bytes. False for a key that does not exist.
    ValueLess(Key, Vec<u8>),
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a key, without a lease or under one.
    Put(Key, Vec<u8>, Option<LeaseId>),
    /// Removes a key; nothing happens if there is none.
    Delete(Key),
    /// Reads a key.
    Get(Key),
    /// A transaction inside, with an outcome of its own.
    Txn(Txn),
}

/// If all compares hold, `then`, else `otherwise`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done when they do.
    pub then: Vec<Op>,
    /// Done when one does not.
    pub otherwise: Vec<Op>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    /// True: all compares held.
    pub succeeded: bool,
    /// One for each operation of the branch that was done.
    pub results: Vec<OpOutcome>,
    /// The store's revision after it. If it wrote anything, the revision of those writes. Nested ones carry the
    /// revision of the whole.
    pub revision: Revision,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpOutcome {
    /// Written.
    Put,
    /// True: there was one.
    Deleted(bool),
    /// What was read.
    Got(Option<Entry>),
    /// The inner transaction's.
    Txn(TxnOutcome),
}

/// The most operations in one transaction, level by level: etcd's own limit is 128.
pub const MAX_TXN_OPS: usize = 120;

/// One change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<T = Entry> {
    /// It was written.
    Put(T),
    /// It was removed, or its lease ended, at this revision.
    Deleted(Key, Revision),
}

/// Changes of one or more revisions, in order; never part of a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events<T = Entry> {
    /// The last revision that these changes complete.
    pub revision: Revision,
    /// May be empty: a sign of life.
    pub events: Vec<Event<T>>,
}

/// A store of keys. All methods are cancel safe in that the store stays whole; a write that was cancelled may or
/// may not have happened.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one key, linearizably. Also tells the store's revision.
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError>;

    /// Up to `limit` entries of `prefix`, in order, behind `after` (from the first without). At the revision `at`
    /// if given ([`StoreError::Compacted`] when the store no longer has it), else at the newest.
    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError>;

    /// All changes of `prefix` from revision `from` on, `from` included. The stream survives a lost connection by
    /// itself; it ends, after an error, only with [`StoreError::Compacted`] or [`StoreError::WentBack`]: list
    /// again. While the store cannot be reached it yields [`StoreError::Unavailable`] now and then, and goes on.
    /// A prefix's watch does not miss a change and does not repeat one.
    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>>;

    /// Does a transaction. [`StoreError::Ambiguous`] means that it may have happened: read back.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Grants a lease of at least `ttl` (whole seconds), as long as the store grants it.
    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError>;

    /// Renews a lease once and tells the time it has from the moment the store handled this.
    /// [`StoreError::LeaseGone`] when it has ended. Fails within `timeout`.
    async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError>;

    /// Ends a lease and removes its keys. No error when it is gone already.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Forgets what stood before this revision, for everybody who uses the store: a listing or a watch from further back
    /// ends with [`StoreError::Compacted`]. No error when it is forgotten already. A store that bounds its history by
    /// itself does nothing.
    async fn compact(&self, _to: Revision) -> Result<(), StoreError> {
        Ok(())
    }

    /// What the store is, for people: `etcd 3.4.23, 3 members`. An error says that it cannot be reached, or, with
    /// [`StoreError::Full`], that it takes no writes.
    async fn status(&self) -> Result<String, StoreError>;
}

impl Txn {
    /// A transaction with nothing in its other branch.
    pub fn when(compares: Vec<Compare>, then: Vec<Op>) -> Self {
        Self { compares, then, otherwise: Vec::new() }
    }

    /// The same, reading `key` when a compare does not hold.
    pub fn or_get(mut self, key: Key) -> Self {
        self.otherwise.push(Op::Get(key));
        self
    }
}

impl TxnOutcome {
    /// The entry that the `n`th operation read, if it was a read and found one.
    pub fn got(&self, n: usize) -> Option<&Entry> {
        match self.results.get(n) {
            Some(OpOutcome::Got(entry)) => entry.as_ref(),
            _ => None,
        }
    }
}

/// Everything under `prefix` at one revision, read in pages. A retry after compaction is left to the caller.
pub async fn list_all(store: &dyn Store, prefix: &Prefix) -> Result<(Vec<Entry>, Revision), StoreError> {
    read_all(store, prefix, Some).await
}

/// What `read` makes of everything under `prefix` at one revision. Each entry goes as soon as it is read: a page of them
/// is in memory at a time, not a million jobs. Other tasks have their turn meanwhile. A retry after compaction is left
/// to the caller.
pub async fn read_all<T>(
    store: &dyn Store,
    prefix: &Prefix,
    mut read: impl FnMut(Entry) -> Option<T>,
) -> Result<(Vec<T>, Revision), StoreError> {
    /// Entries asked for at once.
    const PAGE: usize = 10_000;
    /// Entries read between two turns of other tasks: to read as many jobs takes a fraction of a millisecond.
    const TURN: usize = 32;
    let mut all = Vec::new();
    let (mut after, mut at) = (None, None);
    loop {
        let page = store.list(prefix, after.as_ref(), PAGE, at).await?;
        at.get_or_insert(page.revision);
        if let Some(last) = page.entries.last() {
            after = Some(last.key.clone());
        }
        for (n, entry) in page.entries.into_iter().enumerate() {
            if n % TURN == TURN - 1 {
                yield_now().await;
            }
            all.extend(read(entry));
        }
        if !page.more {
            return Ok((all, at.unwrap_or_default()));
        }
    }
}
