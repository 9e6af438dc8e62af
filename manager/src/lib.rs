//! The manager: it writes what people want into the store, and shows what the store and the run log hold. It
//! tells no worker what to do and keeps nothing of its own: any number may serve the same store, and each may end
//! at any moment.
//!
//! It starts while the store or the run log is away, serves what it can (lists from its cache, with a
//! `Quorate-Stale` header), says what is wrong, and recovers by itself.

// A process must not panic because nobody reads what it says.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use common::{
    chance::Chance,
    clock::Clock,
    live::LiveOutputs,
    runlog::RunLog,
    serve::{Incoming, Limits, serve},
    store::Store,
    vital::Vital,
};
use http::Request;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

pub use config::ManagerConfig;
pub use routes::ui::Asset;
use state::App;

mod access;
mod budget;
mod cache;
pub mod change;
mod clocks;
mod config;
mod history;
mod input;
mod precondition;
mod problem;
mod registration;
pub mod restore;
pub mod route;
mod router;
mod routes;
mod runs;
mod state;
mod surfaces;
mod ticks;
mod view;

/// What the manager needs of the world.
pub struct ManagerPorts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The run log.
    pub runlog: Arc<dyn RunLog>,
    /// Reads the output of runs that execute.
    pub live: Arc<dyn LiveOutputs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The page's files by path: `index.html`, `assets/app.js`.
    pub assets: fn(&str) -> Option<Asset>,
    /// Renders the metrics as Prometheus reads them.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Why a manager cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listener(#[source] std::io::Error),
    /// A part of it that it cannot do without has ended by itself: a mistake in Quorate, which a new start gets over.
    #[error(
        "{0} has ended unexpectedly, and this manager must not go on without it: the log before this says why"
    )]
    Died(&'static str),
}

/// After the order to end, answers under way get this long.
const DRAIN: Duration = Duration::from_secs(5);

/// A manager, ready to serve.
pub struct Manager {
    app: Arc<App>,
    vital: Vital,
}

impl Manager {
    /// A manager that has not started yet.
    pub fn new(config: ManagerConfig, ports: ManagerPorts) -> Self {
        Self { app: Arc::new(App::new(config, ports, Chance::default())), vital: Vital::default() }
    }

    /// The same in a simulation, in which nothing happens by chance.
    #[cfg(feature = "test-support")]
    pub fn simulated(config: ManagerConfig, ports: ManagerPorts, seed: u64) -> Self {
        Self { app: Arc::new(App::new(config, ports, Chance::seeded(seed))), vital: Vital::default() }
    }

    /// Serves until `shutdown`, then lets answers under way finish, for at most five seconds, and takes back its
    /// registration. It ends with an error when a part of it dies.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<(), ManagerError> {
        let address = listener.local_addr().map_err(ManagerError::Listener)?;
        // Also when serving fails: what is started here must not outlive it.
        let shutdown = shutdown.child_token();
        let _ending = shutdown.clone().drop_guard();
        let tasks = self.start(address, shutdown.clone());
        tracing::info!(%address, "serving");
        let router = self.router();
        let service = |peer| {
            router.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer));
                request
            })
        };
        let limits = Limits { drain: DRAIN, ..Limits::default() };
        let served = tokio::select! {
            () = serve(listener, limits, service, shutdown.clone()) => Ok(()),
            part = self.vital.died() => Err(ManagerError::Died(part)),
        };
        shutdown.cancel();
        let ended = async { tokio::join!(tasks.wait(), self.app.batch.idle()) };
        if timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("the manager's registration could not be taken back; it ends with its lease");
        }
        served
    }

    /// Starts what goes on beside the answers: the cache's feed and the registration. They end at `shutdown`.
    pub fn start(&self, address: SocketAddr, shutdown: CancellationToken) -> TaskTracker {
        let tasks = TaskTracker::new();
        cache::feed::start(&self.app, &self.vital, &tasks, &shutdown);
        let announcing = registration::run(self.app.clone(), address, shutdown.clone());
        self.vital.spawn(&tasks, "the registration", &shutdown, announcing);
        if let Some(keep) = self.app.config.store_history {
            let forgetting = history::run(self.app.clone(), keep, shutdown.clone());
            self.vital.spawn(&tasks, "what keeps the store's history short", &shutdown, forgetting);
        }
        let app = self.app.clone();
        tasks.spawn(async move {
            shutdown.cancelled().await;
            app.ending.cancel();
        });
        tasks.close();
        tasks
    }

    /// All routes. Lists stay empty of meaning (503) until [`Manager::start`] feeds the cache.
    pub fn router(&self) -> Router {
        router::router(self.app.clone())
    }
}
