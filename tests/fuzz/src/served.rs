//! A manager on a store and a run log in memory, and requests to it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, header},
};
use common::{
    clock::ManualClock,
    id::RunId,
    live::{LiveError, LiveOutput, LiveOutputs},
    runlog::embedded::EmbeddedRunLog,
    store::{Key, Op, Store, Txn, embedded::EmbeddedStore, key::Keys},
    worker::Registration,
};
use manager::{Manager, ManagerConfig, ManagerPorts};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// After so many requests a new one is made: what they leave behind must not fill the memory.
const REQUESTS: usize = 2_000;

/// After so many turns of its tasks a manager has seen what was written.
const SEEN_WITHIN: usize = 32;

/// A manager that was given to nobody else.
pub struct Served {
    /// Where everything is in its store.
    pub keys: Keys,
    runtime: Runtime,
    store: Arc<EmbeddedStore>,
    router: Router,
    shutdown: CancellationToken,
    requests: usize,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

struct NothingRuns;

#[async_trait]
impl LiveOutputs for NothingRuns {
    async fn read(&self, _worker: &Registration, _run: &RunId, _from: u64) -> Result<LiveOutput, LiveError> {
        Err(LiveError::NotRunning)
    }
}

impl Default for Served {
    fn default() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let shutdown = CancellationToken::new();
        let keys = Keys::new("/quorate/").expect("a prefix");
        let listen = "127.0.0.1:8070".parse().expect("an address");
        let config = ManagerConfig {
            id: "m".to_owned(),
            keys: keys.clone(),
            zone: chrono_tz::Tz::Europe__Berlin,
            listen,
            allowed_hosts: Vec::new(),
            lease_ttl: Duration::from_secs(15),
            store_history: None,
            version: "0".to_owned(),
        };
        let (store, router) = runtime.block_on(async {
            let store = Arc::new(EmbeddedStore::in_memory());
            let ports = ManagerPorts {
                store: store.clone(),
                runlog: Arc::new(EmbeddedRunLog::in_memory().expect("SQLite opens in memory")),
                live: Arc::new(NothingRuns),
                clock: Arc::new(ManualClock::at("2026-11-22T10:00:00.250Z".parse().expect("an instant"))),
                assets: |_| None,
                metrics: Arc::new(String::new),
            };
            let manager = Manager::new(config, ports);
            manager.start(listen, shutdown.clone());
            (store, manager.router())
        });
        Self { keys, runtime, store, router, shutdown, requests: 0 }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Served {
    /// This one, or after many requests a new one.
    pub fn fresh(&mut self) -> &mut Self {
        if self.requests > REQUESTS {
            *self = Self::default();
        }
        self
    }

    /// Writes or removes a value as somebody else would, and lets the manager see it.
    pub fn set(&mut self, key: &Key, value: Option<&[u8]>) {
        let op = match value {
            Some(value) => Op::Put(key.clone(), value.to_vec(), None),
            None => Op::Delete(key.clone()),
        };
        self.runtime.block_on(async {
            self.store.txn(Txn::when(Vec::new(), vec![op])).await.expect("the store is there");
            for _ in 0..SEEN_WITHIN {
                yield_now().await;
            }
        });
    }

    /// Sends a request; none if no client could send it.
    pub fn send(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> Option<Answer> {
        self.requests += 1;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:8070")
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(body.to_vec()))
            .ok()?;
        let router = self.router.clone();
        Some(self.runtime.block_on(async {
            let response = router.oneshot(request).await.expect("a router answers");
            let (parts, body) = response.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.expect("the body comes whole");
            let text = String::from_utf8(bytes.to_vec()).expect("answers are text");
            Answer { status: parts.status.as_u16(), headers: parts.headers, text }
        }))
    }
}
