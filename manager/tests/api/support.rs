//! A manager on the embedded store and run log, a store that can be taken away, and requests to it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request},
};
use chrono::{DateTime, Utc};
use common::{
    clock::Clock,
    id::RunId,
    live::{LiveError, LiveOutput, LiveOutputs},
    lock::{HeldLock, Lock},
    run::Cause,
    runlog::{RunLog, embedded::EmbeddedRunLog},
    store::{
        Entry, Events, Key, LeaseId, Op, Page, Prefix, Revision, Store, StoreError, Txn, TxnOutcome,
        embedded::EmbeddedStore, key::Keys,
    },
    worker::{Readiness, Registration},
};
use futures::{
    StreamExt,
    future::{BoxFuture, pending},
    stream::{BoxStream, once, unfold},
};
use manager::{Asset, Manager, ManagerConfig, ManagerPorts};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What a store that can be taken away does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// Every call fails at once.
    Away,
    /// No call comes back.
    Frozen,
    /// Whoever calls panics, which stands for any mistake in the code.
    Mistaken,
}

/// The embedded store behind a switch.
pub(crate) struct Switched {
    inner: EmbeddedStore,
    mode: watch::Sender<Mode>,
    /// The next write happens, and its answer is lost.
    pub(crate) lose_answer: AtomicBool,
    /// How many entries were listed or got.
    pub(crate) read: AtomicUsize,
    /// Each is met by one of the next transactions that write a key which begins so, in this order.
    fates: Mutex<VecDeque<(String, Fate)>>,
    /// What is on its way until somebody has asked for such a key.
    late: Mutex<Option<(String, Txn)>>,
}

/// What becomes of a transaction.
pub(crate) struct Fate {
    /// What another client writes just before.
    pub(crate) before: Vec<Op>,
    pub(crate) done: Done,
    /// What another client writes just after.
    pub(crate) after: Vec<Op>,
    /// What it is answered; `None`: what became of it.
    pub(crate) answer: Option<StoreError>,
    /// What the store does from then on.
    pub(crate) then: Mode,
}

/// When a transaction is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    AtOnce,
    Never,
    /// When its key has been read once more: after the next look, and before the next try.
    Late,
}

/// True: one of these writes a key that begins so.
fn writes(ops: &[Op], start: &str) -> bool {
    ops.iter().any(|op| match op {
        Op::Put(key, ..) | Op::Delete(key) => key.as_str().starts_with(start),
        Op::Get(_) => false,
        Op::Txn(inner) => writes(&inner.then, start),
    })
}

fn away() -> StoreError {
    StoreError::Unavailable("it was taken away".into())
}

impl Switched {
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    async fn pass(&self) -> Result<(), StoreError> {
        let mode = *self.mode.borrow();
        match mode {
            Mode::Up => Ok(()),
            Mode::Away => Err(away()),
            Mode::Frozen => pending().await,
            Mode::Mistaken => panic!("this call is a mistake"),
        }
    }

    /// What the next transaction meets that writes a key which begins with `start`, after those set before.
    pub(crate) fn set_fate(&self, start: &str, fate: Fate) {
        self.fates.lock().expect("nobody panics with it").push_back((start.to_owned(), fate));
    }

    /// The fate that waits for this transaction, and how the key begins that it is about.
    fn fate_of(&self, txn: &Txn) -> Option<(String, Fate)> {
        let mut fates = self.fates.lock().expect("nobody panics with it");
        if writes(&txn.then, &fates.front()?.0) { fates.pop_front() } else { None }
    }

    async fn meet(&self, start: String, fate: Fate, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.others_write(fate.before).await;
        let outcome = match fate.done {
            Done::AtOnce => Some(self.inner.txn(txn).await?),
            Done::Never => None,
            Done::Late => {
                *self.late.lock().expect("nobody panics with it") = Some((start, txn));
                None
            }
        };
        self.others_write(fate.after).await;
        self.set(fate.then);
        match (fate.answer, outcome) {
            (None, Some(outcome)) => Ok(outcome),
            (answer, _) => Err(answer.unwrap_or_else(|| StoreError::Ambiguous("the answer was lost".into()))),
        }
    }

    async fn others_write(&self, ops: Vec<Op>) {
        if !ops.is_empty() {
            self.inner.txn(Txn::when(Vec::new(), ops)).await.expect("the store is there");
        }
    }

    /// What was on its way behind a question for `key` is done.
    async fn arrive(&self, key: &Key) {
        let asked = |start: &str| key.as_str().starts_with(start);
        let late =
            self.late.lock().expect("nobody panics with it").take_if(|(start, _)| asked(start.as_str()));
        if let Some((_, txn)) = late {
            self.inner.txn(txn).await.expect("the store is there");
        }
    }
}

#[async_trait]
impl Store for Switched {
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
        self.pass().await?;
        let answer = self.inner.get(key).await;
        self.arrive(key).await;
        answer
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.pass().await?;
        let page = self.inner.list(prefix, after, limit, at).await?;
        self.read.fetch_add(page.entries.len(), Ordering::SeqCst);
        Ok(page)
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
        let inner = self.inner.watch(prefix, from);
        let state = (inner, self.mode.subscribe());
        Box::pin(unfold(state, |(mut inner, mut mode)| async move {
            loop {
                let now = *mode.borrow_and_update();
                let item = match now {
                    Mode::Up | Mode::Mistaken => tokio::select! {
                        item = inner.next() => item,
                        _ = mode.changed() => continue,
                    },
                    Mode::Away => {
                        // Said once, then quiet until it is back.
                        let quiet = wait_until_up(inner, mode.clone());
                        return Some((Err(away()), (quiet, mode)));
                    }
                    Mode::Frozen => {
                        mode.changed().await.ok()?;
                        continue;
                    }
                };
                return item.map(|item| (item, (inner, mode)));
            }
        }))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.pass().await?;
        if let Some((start, fate)) = self.fate_of(&txn) {
            return self.meet(start, fate, txn).await;
        }
        let writes = txn.then.iter().any(|op| matches!(op, Op::Put(..) | Op::Delete(..)));
        let outcome = self.inner.txn(txn).await?;
        let got = (0..outcome.results.len()).filter(|n| outcome.got(*n).is_some()).count();
        self.read.fetch_add(got, Ordering::SeqCst);
        if writes && self.lose_answer.swap(false, Ordering::SeqCst) {
            return Err(StoreError::Ambiguous("the answer was lost".into()));
        }
        Ok(outcome)
    }

    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        self.pass().await?;
        self.inner.grant(ttl).await
    }

    async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError> {
        self.pass().await?;
        self.inner.renew(lease, timeout).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.pass().await?;
        self.inner.revoke(lease).await
    }

    async fn status(&self) -> Result<String, StoreError> {
        self.pass().await?;
        self.inner.status().await
    }
}

type Watch = BoxStream<'static, Result<Events, StoreError>>;

/// The watch, silent while the store is away, with a sign of life when it is back.
fn wait_until_up(inner: Watch, mut mode: watch::Receiver<Mode>) -> Watch {
    let back = async move {
        mode.wait_for(|mode| *mode == Mode::Up)
            .await
            .map_or_else(|_| Err(away()), |_| Ok(Events { revision: Revision::NONE, events: Vec::new() }))
    };
    Box::pin(once(back).chain(inner))
}

/// A clock that stands until it is moved.
pub(crate) struct StandingClock(Mutex<DateTime<Utc>>);

impl StandingClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().expect("nobody panics with it") += by;
    }

    pub(crate) fn set_back(&self, by: Duration) {
        *self.0.lock().expect("nobody panics with it") -= by;
    }
}

impl Clock for StandingClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().expect("nobody panics with it")
    }

    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _at: DateTime<Utc>) -> BoxFuture<'static, ()> {
        Box::pin(pending())
    }
}

/// Live outputs as a test sets them; none: the worker does not run it.
#[derive(Default)]
pub(crate) struct SetOutputs(pub(crate) Mutex<Option<LiveOutput>>);

#[async_trait]
impl LiveOutputs for SetOutputs {
    async fn read(&self, _worker: &Registration, _run: &RunId, _from: u64) -> Result<LiveOutput, LiveError> {
        self.0.lock().expect("nobody panics with it").clone().ok_or(LiveError::NotRunning)
    }
}

fn asset(path: &str) -> Option<Asset> {
    let (bytes, content_type): (&'static [u8], _) = match path {
        "index.html" => (b"<!doctype html>the page", "text/html; charset=utf-8"),
        "assets/app.js" | "assets/js/pages/a.js" => (b"export {}", "text/javascript; charset=utf-8"),
        _ => return None,
    };
    Some(Asset { bytes, content_type, etag: "abc" })
}

/// A manager with all that it needs.
pub(crate) struct Bench {
    pub(crate) store: Arc<Switched>,
    pub(crate) runlog: Arc<EmbeddedRunLog>,
    pub(crate) live: Arc<SetOutputs>,
    pub(crate) clock: Arc<StandingClock>,
    pub(crate) keys: Keys,
    pub(crate) manager: Manager,
    pub(crate) shutdown: CancellationToken,
    router: Router,
}

/// The time in all tests, unless they move it: a Sunday.
pub(crate) const NOW: &str = "2026-11-22T10:00:00.250Z";

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_in(Mode::Up).await
    }

    pub(crate) async fn start_in(mode: Mode) -> Self {
        let bench = Self::idle(mode);
        bench.manager.start(
            "127.0.0.1:8070".parse().expect("a literal of this file or its test"),
            bench.shutdown.clone(),
        );
        bench
    }

    /// A manager that has not been started.
    pub(crate) fn idle(mode: Mode) -> Self {
        let store = Arc::new(Switched {
            inner: EmbeddedStore::in_memory(),
            mode: watch::Sender::new(mode),
            lose_answer: AtomicBool::new(false),
            read: AtomicUsize::new(0),
            fates: Mutex::default(),
            late: Mutex::default(),
        });
        let runlog = Arc::new(EmbeddedRunLog::in_memory().expect("SQLite opens in memory"));
        let live = Arc::new(SetOutputs::default());
        let clock =
            Arc::new(StandingClock(Mutex::new(NOW.parse().expect("a literal of this file or its test"))));
        let keys = Keys::new("/quorate/").expect("a good prefix");
        let config = ManagerConfig {
            id: "m1".to_owned(),
            keys: keys.clone(),
            zone: chrono_tz::Tz::Europe__Berlin,
            listen: "127.0.0.1:8070".parse().expect("a literal of this file or its test"),
            allowed_hosts: vec!["quorate.example".to_owned()],
            lease_ttl: Duration::from_secs(15),
            store_history: None,
            version: "0.0.0-test".to_owned(),
        };
        let ports = ManagerPorts {
            store: store.clone(),
            runlog: runlog.clone(),
            live: live.clone(),
            clock: clock.clone(),
            assets: asset,
            metrics: Arc::new(|| panic!("no metrics here")),
        };
        let manager = Manager::new(config, ports);
        let shutdown = CancellationToken::new();
        let router = manager.router();
        Self { store, runlog, live, clock, keys, manager, shutdown, router }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("a router answers");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("the body comes whole");
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("answers are text"),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, Body::empty())).await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send(request("POST", path, Body::empty())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(request("DELETE", path, Body::empty())).await
    }

    pub(crate) async fn send_json(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut request = request(method, path, Body::from(body.to_owned()));
        request
            .headers_mut()
            .insert("content-type", "application/json".parse().expect("a literal of this file or its test"));
        self.send(request).await
    }

    pub(crate) async fn form(&self, path: &str, body: &str) -> Answer {
        let mut request = request("POST", path, Body::from(body.to_owned()));
        let kind = "application/x-www-form-urlencoded".parse().expect("a literal of this file or its test");
        request.headers_mut().insert("content-type", kind);
        self.send(request).await
    }

    /// Saves a job that prints the time every minute.
    pub(crate) async fn save(&self, name: &str) -> Value {
        let body = r#"{"trigger": {"cron": ["* * * * *"]}, "driver": {"shell": {"command": "date"}}}"#;
        let answer = self.send_json("PUT", &format!("/api/v1/jobs/{name}"), body).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()
    }

    /// Writes into the store as somebody else would.
    pub(crate) async fn put(&self, key: Key, value: impl Into<Vec<u8>>) {
        let put = Op::Put(key, value.into(), None);
        self.store.inner.txn(Txn::when(Vec::new(), vec![put])).await.expect("the store is there");
    }

    pub(crate) async fn entry(&self, key: &Key) -> Option<Entry> {
        self.store.inner.get(key).await.expect("the store is there").0
    }

    pub(crate) async fn lock(&self, job: &str) -> Option<(Lock, Revision)> {
        let entry = self.entry(&self.keys.locks.key(job)).await?;
        Some((Lock::decode(&entry.value).expect("a lock"), entry.mod_revision))
    }

    /// Asks until the answer pleases, for ten seconds.
    pub(crate) async fn until(&self, path: &str, pleases: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let answer = self.get(path).await;
            if pleases(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} still gives {answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A live worker.
    pub(crate) async fn register(&self, id: &str, address: &str) {
        let now = self.clock.now();
        let registration = Registration {
            id: id.parse().expect("a literal of this file or its test"),
            address: address.to_owned(),
            host: "h".to_owned(),
            pid: 1,
            labels: [("disk".to_owned(), "ssd".to_owned())].into(),
            slots: 4,
            running: 0,
            load: 0.5,
            readiness: Readiness::Ready,
            epoch: common::epoch::Epoch::default(),
            version: "0".to_owned(),
            started: now,
            clock: now,
        };
        self.put(self.keys.workers.key(id), registration.encode()).await;
    }

    pub(crate) async fn append(&self, entries: &[common::runlog::LogEntry]) {
        self.runlog.append(entries).await.expect("the run log is there");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("plain text"))
    }

    /// The names of the items of a list.
    pub(crate) fn names(&self, field: &str) -> Vec<String> {
        let json = self.json();
        let items = json["items"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        items.iter().map(|item| item[field].as_str().expect("a text").to_owned()).collect()
    }
}

pub(crate) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:8070")
        .body(body)
        .expect("a request")
}

/// A held lock's content.
pub(crate) fn held(job: &str, run: &str, fence: &str) -> HeldLock {
    HeldLock {
        job: job.parse().expect("a literal of this file or its test"),
        fence: fence.parse().expect("a literal of this file or its test"),
        run: run.parse().expect("a literal of this file or its test"),
        attempt: 1,
        tick: Some(fence.parse().expect("a literal of this file or its test")),
        cause: Cause::Schedule,
        worker: "w1".parse().expect("a literal of this file or its test"),
        session: Revision::new(1),
        epoch: common::epoch::Epoch::default(),
        claimed: NOW.parse().expect("a literal of this file or its test"),
        skipped: 0,
        last_skip: None,
        missed: None,
        also_missed: Vec::new(),
        claim_revision: None,
        command: None,
    }
}
