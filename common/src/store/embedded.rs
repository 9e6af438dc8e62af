//! The store inside one process, for `quorate dev` and the simulation: etcd's semantics on one SQLite file.
//!
//! The whole key space is in memory (`view`); reads and watches are served from there and wait for nobody. One writer
//! task (`writer`) takes what has come meanwhile, decides it against the newest state (`pending`), commits it to disk
//! as one SQLite transaction (`disk`), and only then shows it and answers: what a reader has seen and what a caller
//! was promised survives a power loss. A commit that fails changes nothing in memory; from then on the status says
//! why, until a commit succeeds; one is tried every second.
//!
//! Leases run by [`tokio::time::Instant`], so virtual time drives them. As with etcd, a renewal is not written down:
//! when the store is opened again, each lease starts over with its whole time. Leases of an earlier process last that
//! long unless somebody revokes them.
//!
//! The history for watches and listings at a revision is in memory only and bounded; whoever asks for more gets
//! [`StoreError::Compacted`].

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    BoxError, Entry, Events, Key, LeaseId, Page, Prefix, Revision, Store, StoreError, Txn, TxnOutcome,
};
use crate::room;
use disk::{Disk, WriteError};
use lease::Leases;
use view::View;
use watcher::Watches;
use writer::{Request, Writer};

mod check;
mod disk;
mod history;
mod lease;
mod pending;
#[cfg(test)]
mod tests;
mod view;
mod watcher;
mod writer;

/// A [`Store`] on a file of its own. Dropping it ends its writer; [`EmbeddedStore::close`] waits for that.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    /// Where its file is; none: in memory.
    dir: Option<PathBuf>,
}

/// What the writer changes and others read.
struct Shared {
    view: RwLock<View>,
    leases: Mutex<Leases>,
    watches: Watches,
    /// Why the last commit failed; none: it did not.
    failing: Mutex<Option<WriteError>>,
}

/// Requests that wait for the writer; more of them wait with their callers.
const PENDING_REQUESTS: usize = 1024;

/// The longest lease: etcd's limit, too.
const MAX_TTL: Duration = Duration::from_secs(9_000_000_000);

impl EmbeddedStore {
    /// Opens the store at `path`; makes it, and its directory, if there is none. The file is locked: a second
    /// process gets an error that says so. Must be called within a Tokio runtime.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (disk, saved) = Disk::open(path)?;
        let dir = path.parent().map(Path::to_owned);
        Ok(Self { dir, ..Self::start(Some(disk), saved) })
    }

    /// A store that is gone with its last handle. Touches no file and starts no thread, so that a simulation in
    /// virtual time gets the same answers at the same instants each time. Must be called within a Tokio runtime.
    #[cfg(any(test, feature = "test-support"))]
    pub fn in_memory() -> Self {
        Self::start(None, disk::Saved::default())
    }

    fn start(disk: Option<Disk>, saved: disk::Saved) -> Self {
        let leases = Leases::restored(&saved, Instant::now());
        let view = RwLock::new(View::new(&saved));
        let (leases, watches, failing) = (Mutex::new(leases), Watches::default(), Mutex::default());
        let shared = Arc::new(Shared { view, leases, watches, failing });
        let (requests, inbox) = mpsc::channel(PENDING_REQUESTS);
        let writer = Writer::new(shared.clone(), disk, saved.last_lease);
        tokio::spawn(writer::run(writer, inbox));
        Self { shared, requests, dir: None }
    }

    /// Ends the store: all that was asked for before is done, and the file is free when this returns. Later
    /// writes fail with [`StoreError::Unavailable`].
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            // An error says that the writer ended meanwhile, which is what is waited for.
            closed.await.unwrap_or_default();
        }
    }

    /// Resolves when nothing is written any more: the store was closed, or its writer has failed.
    pub async fn ended(&self) {
        self.requests.closed().await;
    }

    /// True: it is closed, or its writer has failed.
    pub fn has_ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// Has the writer do something and waits for its answer.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| StoreError::Unavailable(closed()))?;
        answer.await.map_err(|_| StoreError::Ambiguous(closed()))?
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
        let view = self.shared.view();
        Ok((view.get(key).cloned(), view.revision()))
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.shared.view().list(prefix, after, limit, at)
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
        watcher::watch(self.shared.clone(), prefix.clone(), from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        check::check(&txn).map_err(|problem| StoreError::Refused(problem.into()))?;
        self.ask(|reply| Request::Txn(txn, reply)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        if ttl > MAX_TTL {
            return Err(StoreError::Refused(
                format!("a lease of {} s is too long; use, for example, 15 s", ttl.as_secs()).into(),
            ));
        }
        // Whole seconds, at least the time asked for.
        let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl = Duration::from_secs(whole.max(1));
        self.ask(|reply| Request::Grant(ttl, reply)).await
    }

    async fn renew(&self, lease: LeaseId, _timeout: Duration) -> Result<Duration, StoreError> {
        self.shared.leases().renew(lease, Instant::now()).ok_or(StoreError::LeaseGone(lease))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Request::Revoke(lease, reply)).await
    }

    async fn status(&self) -> Result<String, StoreError> {
        if self.has_ended() {
            return Err(StoreError::Unavailable(closed()));
        }
        match &*self.shared.failing() {
            None => {}
            Some(full @ WriteError::Full(_)) => return Err(full.clone().into()),
            // Of what is asked for no answer was lost.
            Some(WriteError::Failed(why)) => {
                return Err(StoreError::Unavailable(format!("it cannot be written: {why}").into()));
            }
        }
        if let Some(lack) = self.dir.as_deref().and_then(room::lack_of) {
            return Err(StoreError::Full(lack.into()));
        }
        Ok(match self.shared.view().len() {
            1 => "embedded store, 1 key".to_owned(),
            keys => format!("embedded store, {} keys", in_thousands(keys)),
        })
    }
}

// A panic while a lock is held leaves a state that is whole: it is changed in single assignments, and the writer
// ends with its panic.
impl Shared {
    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read()
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write()
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock()
    }

    fn failing(&self) -> MutexGuard<'_, Option<WriteError>> {
        self.failing.lock()
    }
}

fn closed() -> BoxError {
    "the embedded store is closed".into()
}

/// `1,234,567`.
fn in_thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
