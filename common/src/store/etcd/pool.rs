//! One client for each endpoint, and the choice between them. The client library's own balancer keeps sending to
//! dead endpoints; here a request goes to the endpoint that last answered, and on to the next as soon as that is
//! known to do no harm. A request never takes longer than its timeout, also when etcd is frozen.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use etcd_client::{Client, Error, KvClient, LeaseClient, MaintenanceClient, WatchClient};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    config::{EtcdConfig, EtcdConfigError},
    failure::{Failed, Failure, Kind},
};
use crate::store::StoreError;

/// The largest reply that is taken. etcd itself sends whatever was asked for; a page of large specs or a batch of
/// changes after a long absence passes the library's 4 MiB easily.
const MAX_REPLY_BYTES: usize = 1 << 30;

/// All endpoints.
pub(super) struct Pool {
    endpoints: Vec<Endpoint>,
    credentials: Option<(String, String)>,
    /// The endpoint that requests go to first.
    preferred: AtomicUsize,
    pub(super) request_timeout: Duration,
}

/// One endpoint with its clients. They connect when they are first used, and again when they have to.
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    pub(super) watch: WatchClient,
    pub(super) maintenance: MaintenanceClient,
    client: Client,
    /// How often we logged in here; 0: not yet.
    logins: AtomicU64,
    login: Mutex<()>,
}

impl Pool {
    /// Connects nowhere yet.
    pub(super) async fn new(config: &EtcdConfig) -> Result<Self, EtcdConfigError> {
        let mut endpoints = Vec::new();
        for url in config.checked()? {
            let client =
                Client::connect([url.as_str()], Some(config.options())).await.map_err(
                    |error| match error {
                        Error::InvalidUri(_) => EtcdConfigError::Endpoint(url.clone()),
                        other => EtcdConfigError::Certificates(StoreError::chain_of(&other)),
                    },
                )?;
            endpoints.push(Endpoint {
                address: url,
                kv: client.kv_client().max_decoding_message_size(MAX_REPLY_BYTES),
                lease: client.lease_client(),
                watch: client.watch_client().max_decoding_message_size(MAX_REPLY_BYTES),
                maintenance: client.maintenance_client(),
                client,
                logins: AtomicU64::new(0),
                login: Mutex::default(),
            });
        }
        Ok(Self {
            endpoints,
            credentials: config.credentials(),
            preferred: AtomicUsize::new(0),
            request_timeout: config.request_timeout,
        })
    }

    pub(super) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// The endpoint to begin with.
    pub(super) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Makes the next endpoint the preferred one, if `index` still is it.
    pub(super) fn avoid(&self, index: usize) {
        let next = (index + 1) % self.endpoints.len();
        // Lost against another request that found out the same: just as well.
        self.preferred.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed).ok();
    }

    /// Sends a request to one endpoint after the other, as far as its kind allows, until it has an answer.
    pub(super) async fn call<T, F, Fut>(&self, kind: Kind, timeout: Duration, send: F) -> Result<T, Failed>
    where
        F: Fn(&Endpoint) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + timeout;
        let first = self.preferred();
        let count = self.endpoints.len();
        // A single endpoint gets a second chance as well: its connection may be one that a restart has broken.
        let attempts = count.max(2);
        let mut attempt = 0;
        loop {
            let index = (first + attempt) % count;
            let left = deadline.saturating_duration_since(Instant::now());
            let untried = u32::try_from(count.saturating_sub(attempt)).unwrap_or(1).max(1);
            let share = if kind == Kind::Once { left } else { left / untried };
            let endpoint = &self.endpoints[index];
            let failed = match self.attempt(endpoint, share, &send).await {
                Ok(answer) => {
                    if attempt > 0 {
                        self.preferred.store(index, Ordering::Relaxed);
                    }
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            if failed.is_passing() {
                self.avoid(index);
            }
            attempt += 1;
            let may_repeat = failed.failure != Failure::Unknown || kind != Kind::Once;
            if !failed.is_passing() || !may_repeat || attempt == attempts || Instant::now() >= deadline {
                return Err(failed);
            }
        }
    }

    /// Sends a request to one endpoint, logged in if need be; once more if the token had run out.
    pub(super) async fn attempt<T, F, Fut>(
        &self,
        endpoint: &Endpoint,
        within: Duration,
        send: &F,
    ) -> Result<T, Failed>
    where
        F: Fn(&Endpoint) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + within;
        let mut logins = endpoint.logins.load(Ordering::Acquire);
        if self.credentials.is_some() && logins == 0 {
            logins = self.log_in(endpoint, logins, deadline, within).await?;
        }
        let failed = match timeout_at(deadline, send(endpoint)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Failed::new(&endpoint.address, &error),
            Err(_) => return Err(Failed::no_answer(&endpoint.address, within)),
        };
        if failed.failure != Failure::Token || self.credentials.is_none() {
            return Err(failed);
        }
        self.log_in(endpoint, logins, deadline, within).await?;
        match timeout_at(deadline, send(endpoint)).await {
            Ok(answer) => answer.map_err(|error| Failed::new(&endpoint.address, &error)),
            Err(_) => Err(Failed::no_answer(&endpoint.address, within)),
        }
    }

    /// Gets a new token, unless somebody else did since `known` was read.
    async fn log_in(
        &self,
        endpoint: &Endpoint,
        known: u64,
        deadline: Instant,
        within: Duration,
    ) -> Result<u64, Failed> {
        let no_answer = || Failed::no_answer(&endpoint.address, within).before_sending();
        let Ok(_alone) = timeout_at(deadline, endpoint.login.lock()).await else { return Err(no_answer()) };
        let logins = endpoint.logins.load(Ordering::Acquire);
        if logins != known {
            return Ok(logins);
        }
        let mut client = endpoint.client.clone();
        match timeout_at(deadline, client.update_user(self.credentials.clone())).await {
            // As etcd's own clients do: a password for an etcd without authentication is not an error.
            Ok(Err(Error::GRpcStatus(status)))
                if status.message().contains("authentication is not enabled") => {}
            Ok(Err(error)) => return Err(Failed::new(&endpoint.address, &error).before_sending()),
            Ok(Ok(())) => {}
            Err(_) => return Err(no_answer()),
        }
        endpoint.logins.store(known + 1, Ordering::Release);
        Ok(known + 1)
    }

    /// Makes the next request on this endpoint log in first.
    pub(super) fn distrust_token(&self, endpoint: &Endpoint) {
        endpoint.logins.store(0, Ordering::Release);
    }
}
