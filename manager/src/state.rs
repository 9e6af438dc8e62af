//! What every route can reach: the settings, the ports and the cache.

use std::{future::Future, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    chance::Chance,
    clock::Clock,
    job::{Righted, StoredJob},
    live::LiveOutputs,
    runlog::{RunLog, RunLogError},
    store::{Store, StoreError},
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::{
    Asset, ManagerConfig, ManagerPorts,
    budget::Budget,
    cache::Cache,
    change::{Way, batch::Batch},
    clocks::Clocks,
    problem::ApiError,
};

/// Every request is answered within five seconds, whatever the servers behind do; this leaves time to say so.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(4500);

/// What a question to the run log may take: it notices by itself, within a second, that its server is away.
const RUN_LOG_WITHIN: Duration = Duration::from_secs(4);

/// The handles that routes work with.
pub(crate) struct App {
    pub(crate) config: ManagerConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) runlog: Arc<dyn RunLog>,
    pub(crate) live: Arc<dyn LiveOutputs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Chance,
    pub(crate) assets: fn(&str) -> Option<Asset>,
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) cache: Cache,
    /// The workers', beside ours.
    pub(crate) clocks: Clocks,
    /// The memory for large requests and answers.
    pub(crate) budget: Budget,
    /// Sends changes that come at the same time together.
    pub(crate) batch: Batch,
    /// Cancelled when the manager ends: answers that wait for something stop waiting.
    pub(crate) ending: CancellationToken,
}

impl App {
    pub(crate) fn new(config: ManagerConfig, ports: ManagerPorts, chance: Chance) -> Self {
        Self {
            config,
            batch: Batch::new(ports.store.clone()),
            store: ports.store,
            runlog: ports.runlog,
            live: ports.live,
            clock: ports.clock,
            chance,
            assets: ports.assets,
            metrics: ports.metrics,
            cache: Cache::default(),
            clocks: Clocks::default(),
            budget: Budget::default(),
            ending: CancellationToken::new(),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// An error if a change by this manager's clock would bury ticks that are yet to come.
    pub(crate) fn check_clock(&self) -> Result<(), ApiError> {
        self.clocks.too_far_ahead().map_or(Ok(()), |by| Err(ApiError::ClockAhead { by }))
    }

    /// An error if by this manager's clock a fence would go back over ticks that have run.
    pub(crate) fn check_not_behind(&self) -> Result<(), ApiError> {
        self.clocks.too_far_behind().map_or(Ok(()), |by| Err(ApiError::ClockBehind { by }))
    }

    /// The job as a clock that is right would have saved it, if one saved it that was ahead. A clock that is behind all
    /// workers' takes every other one to be ahead, and judges none.
    pub(crate) fn righted(&self, stored: &StoredJob, now: DateTime<Utc>) -> Option<Righted> {
        stored.righted(now).filter(|_| self.check_not_behind().is_ok())
    }

    /// The instant by which a request that comes now is to be answered.
    pub(crate) fn deadline() -> Instant {
        Instant::now() + ANSWER_WITHIN
    }

    /// The way of a change to the store, until `deadline`.
    pub(crate) fn way(&self, deadline: Instant) -> Way<'_> {
        Way::shared(&*self.store, &self.batch, &self.cache, deadline)
    }

    /// A question to the store, given up at `deadline`.
    pub(crate) async fn read_store<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let answer = timeout_at(deadline, call).await;
        answer.unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer".into())))
    }

    /// A write to the store, given up at `deadline`; it may still happen then.
    pub(crate) async fn write_store<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let answer = timeout_at(deadline, call).await;
        answer.unwrap_or_else(|_| Err(StoreError::Ambiguous("it does not answer".into())))
    }

    /// Waits for the first reading of the store, so that a list is not empty only because it is early.
    pub(crate) async fn loaded(&self) -> Result<(), ApiError> {
        if self.cache.loaded(Self::deadline()).await {
            return Ok(());
        }
        Err(ApiError::NotLoaded(self.cache.stale().map(|reason| reason.to_string())))
    }

    /// A question to the run log, given up after four seconds.
    pub(crate) async fn ask_runlog<T>(
        &self,
        call: impl Future<Output = Result<T, RunLogError>> + Send,
    ) -> Result<T, ApiError> {
        let answer = timeout(RUN_LOG_WITHIN, call).await;
        Ok(answer.unwrap_or_else(|_| Err(RunLogError::Unavailable("no answer within 4 s".into())))?)
    }
}
