//! The store on etcd, 3.4 or newer.
//!
//! - Nothing here waits for etcd to be there: connections are made when they are needed, and made again. A request
//!   ends within its timeout, with an answer, with a certain no ([`StoreError::Unavailable`],
//!   [`StoreError::Refused`], …) or with [`StoreError::Ambiguous`]; `failure` draws the line.
//! - A transaction is sent once. Only if it certainly did not arrive, or certainly was not done, it goes to another
//!   endpoint. Reads, renewals, grants and revocations are repeated freely; a grant whose answer was lost leaves a
//!   lease without keys that ends by itself.
//! - [`StoreError::Full`] is etcd's space alarm. The transaction that trips the alarm may have been done.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_client::{GetOptions, GetResponse};
use futures::{future::join_all, stream::BoxStream};
use parking_lot::Mutex;

use self::{
    convert::{entry, is_text, lease_of, ttl, ttl_seconds, txn_outcome},
    failure::{Failed, Failure, Kind},
    history::History,
    lease::Renewals,
    pool::{Endpoint, Pool},
    ranges::{bounds_behind, just_behind},
};
use super::{Entry, Events, Key, LeaseId, Page, Prefix, Revision, Store, StoreError, Txn, TxnOutcome};

pub use config::{EtcdConfig, EtcdConfigError};

mod config;
mod convert;
mod failure;
mod history;
mod lease;
mod pool;
mod ranges;
mod watch;

/// A prefix with more keys than this is read in closed ranges; below, counting the rest with every page is cheaper
/// than asking more often.
const LARGE_PREFIX: i64 = 50_000;

/// Prefixes whose size is remembered. There are only the few places of the key layout; in a test with many layouts
/// the memory is wiped now and then.
const REMEMBERED_SIZES: usize = 256;

/// How long a member may take to say what it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// [`Store`] on etcd.
pub struct EtcdStore {
    pool: Arc<Pool>,
    history: Arc<History>,
    renewals: Renewals,
    /// How many keys a prefix had when it was last listed from its beginning.
    sizes: Mutex<HashMap<Prefix, i64>>,
}

impl EtcdStore {
    /// Sets up the clients. Fails, with [`StoreError::Refused`], only on a configuration that cannot work; etcd
    /// itself may be away.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        let pool = Pool::new(&config).await.map_err(|error| StoreError::Refused(error.into()))?;
        Ok(Self {
            pool: Arc::new(pool),
            history: Arc::new(History::new()),
            renewals: Renewals::default(),
            sizes: Mutex::default(),
        })
    }

    /// Reads a range, linearizably also when it is at an old revision.
    async fn range(
        &self,
        start: &[u8],
        options: GetOptions,
        at: Option<Revision>,
    ) -> Result<(GetResponse, Revision), StoreError> {
        let mark = self.history.mark();
        // A page may be large: each endpoint gets the whole time.
        let endpoints = u32::try_from(self.pool.endpoints().len()).unwrap_or(1);
        let timeout = self.pool.request_timeout * endpoints;
        let send = |endpoint: &Endpoint| {
            let (mut kv, start, options) = (endpoint.kv.clone(), start.to_vec(), options.clone());
            async move { kv.get(start, Some(options)).await }
        };
        let reply = match self.pool.call(Kind::Read, timeout, send).await {
            Ok(reply) => reply,
            Err(failed) => return Err(self.range_error(failed, start, at).await),
        };
        let revision = self.history.check(mark, reply.header())?;
        Ok((reply, revision))
    }

    /// A revision that is yet to come was there once: the store went back.
    async fn range_error(&self, failed: Failed, start: &[u8], at: Option<Revision>) -> StoreError {
        let (Failure::Future, Some(seen)) = (failed.failure, at) else {
            return failed.into_store_error(Kind::Read, None, at);
        };
        match self.get(&Key::from_bytes(start)).await {
            Ok((_, now)) => StoreError::WentBack { seen, now },
            Err(error) => error,
        }
    }

    /// The ranges to ask for to read `prefix` behind `after`.
    fn bounds(&self, prefix: &Prefix, after: Option<&Key>) -> Vec<Vec<u8>> {
        let Some(after) = after else { return vec![prefix.as_bytes().to_vec(), prefix.end()] };
        let sizes = self.sizes.lock();
        let is_large = sizes.get(prefix).is_some_and(|size| *size > LARGE_PREFIX);
        if is_large && prefix.name(after).is_some() {
            return bounds_behind(prefix, after);
        }
        vec![just_behind(after.as_bytes()), prefix.end()]
    }

    fn remember_size(&self, prefix: &Prefix, size: i64) {
        let mut sizes = self.sizes.lock();
        if sizes.len() >= REMEMBERED_SIZES {
            sizes.clear();
        }
        sizes.insert(prefix.clone(), size);
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
        let mark = self.history.mark();
        let send = |endpoint: &Endpoint| {
            let (mut kv, key) = (endpoint.kv.clone(), key.clone());
            async move { kv.get(key.as_bytes(), None).await }
        };
        let reply = self.pool.call(Kind::Read, self.pool.request_timeout, send).await;
        let mut reply = reply.map_err(|failed| failed.into_store_error(Kind::Read, None, None))?;
        let revision = self.history.check(mark, reply.header())?;
        Ok((reply.take_kvs().pop().map(entry), revision))
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        // One more than asked for tells whether there is more.
        let wanted = limit.saturating_add(1);
        let (mut entries, mut at) = (Vec::new(), at);
        for range in self.bounds(prefix, after).windows(2) {
            let [start, end] = range else { continue };
            let (mut start, mut more) = (start.clone(), true);
            while more && entries.len() < wanted {
                let left = i64::try_from(wanted - entries.len()).unwrap_or(i64::MAX);
                let options = GetOptions::new()
                    .with_range(end.as_slice())
                    .with_limit(left)
                    .with_revision(at.unwrap_or_default().get());
                let (mut reply, revision) = self.range(&start, options, at).await?;
                if after.is_none() && entries.is_empty() {
                    self.remember_size(prefix, reply.count());
                }
                at.get_or_insert(revision);
                more = reply.more();
                let kvs = reply.take_kvs();
                if let Some(last) = kvs.last() {
                    start = just_behind(last.key());
                }
                // A key that is not text could not be asked for to read on.
                entries.extend(kvs.into_iter().filter(is_text).map(entry));
            }
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { entries, revision: at.unwrap_or_default(), more })
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
        watch::watch(Arc::clone(&self.pool), Arc::clone(&self.history), prefix.clone(), from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let mark = self.history.mark();
        let request = convert::txn(&txn);
        let send = |endpoint: &Endpoint| {
            let (mut kv, request) = (endpoint.kv.clone(), request.clone());
            async move { kv.txn(request).await }
        };
        let reply = self.pool.call(Kind::Once, self.pool.request_timeout, send).await;
        let reply = reply.map_err(|failed| failed.into_store_error(Kind::Once, lease_of(&txn), None))?;
        let revision = self.history.check(mark, reply.header())?;
        Ok(txn_outcome(&reply, revision))
    }

    async fn grant(&self, wanted: Duration) -> Result<(LeaseId, Duration), StoreError> {
        let send = |endpoint: &Endpoint| {
            let mut client = endpoint.lease.clone();
            async move { client.grant(ttl_seconds(wanted), None).await }
        };
        let granted = self.pool.call(Kind::Repeatable, self.pool.request_timeout, send).await;
        let granted = granted.map_err(|failed| failed.into_store_error(Kind::Repeatable, None, None))?;
        Ok((LeaseId(granted.id()), ttl(granted.ttl())))
    }

    async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError> {
        let send = |endpoint: &Endpoint| {
            let address = endpoint.address.clone();
            let open = self.renewals.take(lease, &address);
            lease::renew(open, endpoint.lease.clone(), address, lease)
        };
        match self.pool.call(Kind::Repeatable, timeout, send).await {
            Ok((_, seconds)) if seconds <= 0 => Err(StoreError::LeaseGone(lease)),
            Ok((renewal, seconds)) => {
                self.renewals.put_back(lease, renewal);
                Ok(ttl(seconds))
            }
            Err(failed) => Err(failed.into_store_error(Kind::Repeatable, Some(lease), None)),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.renewals.forget(lease);
        let send = |endpoint: &Endpoint| {
            let mut client = endpoint.lease.clone();
            async move { client.revoke(lease.0).await }
        };
        match self.pool.call(Kind::Repeatable, self.pool.request_timeout, send).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.failure == Failure::LeaseGone => Ok(()),
            Err(failed) => Err(failed.into_store_error(Kind::Repeatable, Some(lease), None)),
        }
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        let send = |endpoint: &Endpoint| {
            let mut kv = endpoint.kv.clone();
            async move { kv.compact(to.get(), None).await }
        };
        match self.pool.call(Kind::Repeatable, self.pool.request_timeout, send).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.failure == Failure::Compacted => Ok(()),
            Err(failed) => Err(failed.into_store_error(Kind::Repeatable, None, None)),
        }
    }

    async fn status(&self) -> Result<String, StoreError> {
        let timeout = STATUS_TIMEOUT.min(self.pool.request_timeout);
        let ask = |endpoint: &Endpoint| {
            let mut client = endpoint.maintenance.clone();
            async move { client.status().await }
        };
        let ask = &ask;
        let asked = self.pool.endpoints().iter().map(|endpoint| self.pool.attempt(endpoint, timeout, ask));
        let (answers, mut failures): (Vec<_>, Vec<_>) =
            join_all(asked).await.into_iter().partition(Result::is_ok);
        let mut answers = answers.into_iter().flatten();
        let Some(first) = answers.next() else {
            return Err(match failures.pop() {
                Some(Err(failed)) => failed.into_store_error(Kind::Read, None, None),
                _ => StoreError::Unavailable("there is no endpoint".into()),
            });
        };
        let (count, answering) = (self.pool.endpoints().len(), 1 + answers.count());
        let endpoints = match (count, answering) {
            (1, _) => "1 endpoint".to_owned(),
            (count, answering) if count == answering => format!("{count} endpoints"),
            (count, 1) => format!("{count} endpoints, 1 answers"),
            (count, answering) => format!("{count} endpoints, {answering} answer"),
        };
        let alarms = first.errors().iter().map(|alarm| format!("; {alarm}")).collect::<String>();
        let says = format!("etcd {} ({endpoints}){alarms}", first.version());
        if first.errors().iter().any(|alarm| alarm.contains("NOSPACE")) {
            let advice = failure::advice("database space exceeded").unwrap_or_default();
            return Err(StoreError::Full(format!("{says}: {advice}").into()));
        }
        Ok(says)
    }
}
