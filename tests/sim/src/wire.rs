//! The store and the run log as a process sees them: over a [`Link`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use common::{
    id::RunId,
    runlog::{LogEntry, Outputs, RunLog, RunLogError, RunPage, RunQuery, RunRecord, TickQuery, TickRecord},
    store::{Entry, Events, Key, LeaseId, Page, Prefix, Revision, Store, StoreError, Txn, TxnOutcome},
};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::time::sleep;

use crate::link::{Link, Stream, Way};

/// A request to the store may take so long, as with etcd.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// A request to the run log may take so long.
const RUN_LOG_PATIENCE: Duration = Duration::from_secs(10);

/// A watch that was broken goes on so long after it could.
const RECONNECT: Duration = Duration::from_millis(200);

/// A server over a link.
pub struct Wire<S: ?Sized> {
    server: Arc<S>,
    link: Arc<Link>,
}

impl<S: ?Sized> Wire<S> {
    /// To this server.
    pub fn new(server: Arc<S>, link: Arc<Link>) -> Self {
        Self { server, link }
    }
}

#[async_trait]
impl Store for Wire<dyn Store> {
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
        let (server, key) = (self.server.clone(), key.clone());
        read(self.link.ask(STORE_PATIENCE, async move { server.get(&key).await }).await)
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let (server, prefix, after) = (self.server.clone(), prefix.clone(), after.cloned());
        let list = async move { server.list(&prefix, after.as_ref(), limit, at).await };
        read(self.link.ask(STORE_PATIENCE, list).await)
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
        let watch = Watch {
            events: self.server.watch(prefix, from),
            link: self.link.clone(),
            stream: self.link.stream(),
            began: self.link.compactions(),
            held_up: None,
            ended: false,
        };
        stream::unfold(watch, async |mut watch| watch.next().await.map(|item| (item, watch))).boxed()
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let server = self.server.clone();
        self.link.ask(STORE_PATIENCE, async move { server.txn(txn).await }).await
    }

    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        let server = self.server.clone();
        self.link.ask(STORE_PATIENCE, async move { server.grant(ttl).await }).await
    }

    async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError> {
        let server = self.server.clone();
        self.link.ask(timeout, async move { server.renew(lease, timeout).await }).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let server = self.server.clone();
        self.link.ask(STORE_PATIENCE, async move { server.revoke(lease).await }).await
    }

    async fn status(&self) -> Result<String, StoreError> {
        let server = self.server.clone();
        read(self.link.ask(STORE_PATIENCE, async move { server.status().await }).await)
    }
}

/// What only reads has not happened if its answer did not come.
fn read<T>(answer: Result<T, StoreError>) -> Result<T, StoreError> {
    answer.map_err(|error| match error {
        StoreError::Ambiguous(why) => StoreError::Unavailable(why),
        other => other,
    })
}

struct Watch {
    events: BoxStream<'static, Result<Events, StoreError>>,
    link: Arc<Link>,
    stream: Stream,
    /// Compactions before it began.
    began: u64,
    /// What arrived while the way was not open.
    held_up: Option<Events>,
    ended: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Events, StoreError>> {
        if self.ended {
            return None;
        }
        if let Some(events) = self.held_up.take() {
            self.link.until(|way| way == Way::Open).await;
            sleep(RECONNECT).await;
            return Some(Ok(events));
        }
        let item = tokio::select! {
            biased;
            revision = self.link.compacted_after(self.began) => Some(Err(StoreError::Compacted(revision))),
            item = self.events.next() => item,
        };
        match item {
            Some(Ok(events)) => {
                self.stream.travel().await;
                if self.link.health().way == Way::Open {
                    return Some(Ok(events));
                }
                self.held_up = Some(events);
                Some(Err(StoreError::Unavailable("the watch was broken".into())))
            }
            Some(Err(error)) => {
                self.ended = !error.is_passing();
                Some(Err(error))
            }
            None => None,
        }
    }
}

#[async_trait]
impl RunLog for Wire<dyn RunLog> {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        let (server, entries) = (self.server.clone(), entries.to_vec());
        self.link.ask(RUN_LOG_PATIENCE, async move { server.append(&entries).await }).await
    }

    async fn runs(&self, query: &RunQuery, outputs: Outputs) -> Result<RunPage, RunLogError> {
        let (server, query) = (self.server.clone(), query.clone());
        self.link.ask(RUN_LOG_PATIENCE, async move { server.runs(&query, outputs).await }).await
    }

    async fn run(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        let (server, run) = (self.server.clone(), *run);
        self.link.ask(RUN_LOG_PATIENCE, async move { server.run(&run).await }).await
    }

    async fn log(&self, job: &str, skip: u64, limit: usize) -> Result<Vec<RunRecord>, RunLogError> {
        let (server, job) = (self.server.clone(), job.to_owned());
        self.link.ask(RUN_LOG_PATIENCE, async move { server.log(&job, skip, limit).await }).await
    }

    async fn ticks(&self, query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError> {
        let (server, query) = (self.server.clone(), query.clone());
        self.link.ask(RUN_LOG_PATIENCE, async move { server.ticks(&query).await }).await
    }

    async fn prune(&self, now: DateTime<Utc>, per_job: u64) -> Result<(), RunLogError> {
        let server = self.server.clone();
        self.link.ask(RUN_LOG_PATIENCE, async move { server.prune(now, per_job).await }).await
    }

    async fn status(&self) -> Result<String, RunLogError> {
        let server = self.server.clone();
        self.link.ask(RUN_LOG_PATIENCE, async move { server.status().await }).await
    }
}
