//! The one writer: takes all requests that have come while it was busy, decides them in order, commits what they
//! change as one group, shows it, answers. Between requests it ends the leases whose time is over.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tracing::{error, info};

use super::{
    Shared,
    disk::{Disk, WriteError},
    pending::{Changes, Pending},
};
use crate::store::{LeaseId, StoreError, Txn, TxnOutcome};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for.
pub(super) enum Request {
    Txn(Txn, Reply<TxnOutcome>),
    Grant(Duration, Reply<(LeaseId, Duration)>),
    Revoke(LeaseId, Reply<()>),
    Close(oneshot::Sender<()>),
}

/// At most this many requests share a commit: it bounds how long the first of them waits.
const MAX_GROUP: usize = 128;

/// After a failed commit, before another is tried without a request.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Option<Disk>,
    last_lease: i64,
    /// No lease ends before this, and after a failed commit it is tried whether another fails, too; `None`: there are no
    /// leases.
    next_end: Option<Instant>,
    closing: Vec<oneshot::Sender<()>>,
}

/// Serves requests until all handles are gone or one of them closes the store.
pub(super) async fn run(mut writer: Writer, mut inbox: mpsc::Receiver<Request>) {
    let mut group = Vec::new();
    loop {
        let next_end = writer.next_end;
        tokio::select! {
            // Leases that are due are ended with the requests, and nothing is left to chance.
            biased;
            received = inbox.recv_many(&mut group, MAX_GROUP) => if received == 0 {
                break;
            },
            () = until(next_end) => {}
        }
        let now = Instant::now();
        let requests = std::mem::take(&mut group);
        writer = if writer.disk.is_some() {
            let worked = spawn_blocking(move || {
                writer.work(requests, now);
                writer
            });
            match worked.await {
                Ok(writer) => writer,
                Err(error) if error.is_cancelled() => return,
                Err(error) => {
                    error!(%error, "the embedded store's writer has failed; nothing is accepted any more");
                    return;
                }
            }
        } else {
            writer.work(requests, now);
            writer
        };
        if !writer.closing.is_empty() {
            break;
        }
    }
    inbox.close();
    let (disk, closing) = (writer.disk.take(), std::mem::take(&mut writer.closing));
    drop(writer);
    if disk.is_some() && spawn_blocking(move || drop(disk)).await.is_err() {
        // The runtime ends, and with it whoever waits.
        return;
    }
    for closed in closing {
        // An error says that nobody waits for it any more.
        closed.send(()).unwrap_or_default();
    }
}

/// Resolves at an instant; without one, never.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Also when it has failed.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.watches.close();
    }
}

/// A decided request, to be answered after the commit.
enum Answer {
    Txn(Reply<TxnOutcome>, Result<TxnOutcome, StoreError>),
    Grant(Reply<(LeaseId, Duration)>, (LeaseId, Duration)),
    Revoke(Reply<()>),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, disk: Option<Disk>, last_lease: i64) -> Self {
        let next_end = shared.leases().next_end();
        Self { shared, disk, last_lease, next_end, closing: Vec::new() }
    }

    /// Decides, commits, shows, answers. Blocks on the disk.
    fn work(&mut self, requests: Vec<Request>, now: Instant) {
        let shared = self.shared.clone();
        // Only the writer changes the view, so it is the same until `commit` shows the next.
        let view = shared.view();
        let mut pending = Pending::new(&shared, &view);
        let look = self.next_end.is_some_and(|end| end <= now);
        let due = if look { shared.leases().due(now) } else { Vec::new() };
        for lease in due {
            pending.end_lease(lease);
        }
        let answers: Vec<_> =
            requests.into_iter().filter_map(|request| self.decide(&mut pending, request)).collect();
        let changes = pending.into_changes();
        drop(view);
        let failed = shared.failing().is_some();
        let look = look || failed || !changes.granted.is_empty() || !changes.ended.is_empty();
        let committed = self.commit(changes, now);
        if shared.failing().is_some() {
            // Requests that change nothing, however many, do not put it off.
            let retry = self.next_end.filter(|retry| failed && *retry > now);
            self.next_end = Some(retry.unwrap_or(now + RETRY));
        } else if look {
            self.next_end = shared.leases().next_end();
        }
        for answer in answers {
            answer.send(&committed);
        }
    }

    fn decide(&mut self, pending: &mut Pending<'_>, request: Request) -> Option<Answer> {
        match request {
            Request::Txn(txn, reply) => Some(Answer::Txn(reply, pending.txn(&txn))),
            Request::Grant(ttl, reply) => {
                self.last_lease += 1;
                let lease = LeaseId(self.last_lease);
                pending.grant(lease, ttl);
                Some(Answer::Grant(reply, (lease, ttl)))
            }
            Request::Revoke(lease, reply) => {
                pending.end_lease(lease);
                Some(Answer::Revoke(reply))
            }
            Request::Close(reply) => {
                self.closing.push(reply);
                None
            }
        }
    }

    /// Writes to disk, then shows it to readers and watchers.
    fn commit(&mut self, changes: Changes, now: Instant) -> Result<(), WriteError> {
        let is_empty = changes.is_empty();
        let probes = || self.shared.failing().is_some() && self.next_end.is_none_or(|retry| retry <= now);
        if is_empty && !probes() {
            return Ok(());
        }
        if let Some(disk) = &mut self.disk {
            let written = disk.write(&changes, self.last_lease);
            self.note(&written);
            // Whoever changed nothing has lost nothing.
            written.or_else(|error| if is_empty { Ok(()) } else { Err(error) })?;
        }
        if is_empty {
            return Ok(());
        }
        self.shared.leases().apply(&changes, &self.shared.view(), now);
        let news = {
            let mut view = self.shared.view_mut();
            let news = self.shared.watches.committed(&changes.made, view.revision(), changes.revision);
            view.apply(changes);
            news
        };
        news.tell();
        Ok(())
    }
}

impl Writer {
    /// Says once that it cannot be written, and why, and once that it can again.
    fn note(&self, written: &Result<(), WriteError>) {
        let mut failing = self.shared.failing();
        let error = written.as_ref().err();
        if *failing == error.cloned() {
            return;
        }
        match error {
            Some(error) => {
                error!(%error, "the embedded store cannot be written; the changes are not in force, and are tried again");
            }
            None => info!("the embedded store can be written again"),
        }
        *failing = error.cloned();
    }
}

impl Answer {
    /// Tells what became of it. Whoever does not wait for it any more does not get it.
    fn send(self, committed: &Result<(), WriteError>) {
        let failed = committed.clone().err().map(StoreError::from);
        match self {
            Self::Txn(reply, Ok(outcome)) => drop(reply.send(failed.map_or(Ok(outcome), Err))),
            Self::Txn(reply, Err(refused)) => drop(reply.send(Err(refused))),
            Self::Grant(reply, lease) => drop(reply.send(failed.map_or(Ok(lease), Err))),
            Self::Revoke(reply) => drop(reply.send(failed.map_or(Ok(()), Err))),
        }
    }
}
