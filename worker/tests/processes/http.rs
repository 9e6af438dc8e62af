//! Calls over HTTP, of servers in this process.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, response::IntoResponse, routing::any};
use common::job::Command;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use worker::{
    driver::{Exit, Forbidden, RunSpec},
    guard::{self, GuardHandle},
    output::Collected,
};

use crate::support::{Bench, Started, spec};

#[path = "http/addresses.rs"]
mod addresses;
#[path = "http/answers.rs"]
mod answers;
#[path = "http/broken.rs"]
mod broken;
#[path = "http/runs.rs"]
mod runs;
#[path = "http/tls.rs"]
mod tls;

/// Serves until the test's runtime ends; where.
async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Answers every request alike.
async fn serve_always<R>(answer: impl Fn() -> R + Clone + Send + Sync + 'static) -> SocketAddr
where
    R: IntoResponse + Send + 'static,
{
    serve(Router::new().fallback(any(move || std::future::ready(answer())))).await
}

/// A server that never answers, and notices when it is hung up on.
#[derive(Clone, Default)]
struct Silent {
    asked: Arc<AtomicU64>,
    hung_up: Arc<AtomicBool>,
}

impl Silent {
    async fn serve(&self) -> SocketAddr {
        let silent = self.clone();
        serve(Router::new().fallback(any(move || silent.clone().answer()))).await
    }

    async fn answer(self) {
        struct Noticing(Arc<AtomicBool>);
        impl Drop for Noticing {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _noticing = Noticing(self.hung_up.clone());
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn hung_up(&self) -> bool {
        self.hung_up.load(Ordering::SeqCst)
    }
}

/// A call, of a job as it is written.
fn call(http: Value) -> Command {
    serde_json::from_value(json!({"http": http})).expect("a call")
}

/// The same with a limit on its output.
fn limited(http: Value, limit: &str) -> RunSpec {
    let mut spec = spec(call(http));
    let job = Arc::make_mut(&mut spec.job);
    job.output.limit = limit.parse().expect("a size");
    spec
}

/// Drivers that let calls go to no address of these kinds.
fn forbidding(kinds: &[&str]) -> Bench {
    let forbidden = Forbidden::of(kinds.iter().copied()).expect("kinds");
    Bench::with(GuardHandle::absent(), guard::new_session_token(), |config| config.forbidden = forbidden)
}

async fn started(http: Value) -> Started {
    Bench::new().start(call(http)).await.expect("it starts")
}

/// Calls to the end.
async fn ended(http: Value) -> (Exit, Collected) {
    started(http).await.end().await
}

/// Another grace than any test waits for.
const LONG: Duration = Duration::from_secs(3600);
