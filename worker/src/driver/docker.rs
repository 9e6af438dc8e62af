//! Runs a container, on Docker's engine or podman's.
//!
//! A run's container is made, started, watched and removed; the engine is never asked to remove or restart it by itself,
//! since then nobody could tell how it ended. It goes by its labels (`labels.rs`), which say whose it is when nobody else
//! remembers: so the guard ends what a dead worker left (`sweep.rs`), and a worker that starts removes what is nobody's.
//!
//! **An engine that goes away** takes no run with it as long as it comes back: the run waits for it, and then looks
//! (`container.rs`). What a container printed meanwhile is read from the engine's log (`printed.rs`). Docker ends what
//! went on without it, and that is a lost run, not a failed one (`end.rs`).
//!
//! **What a stop reaches.** The container's first process gets its stop signal (the job's, the image's, TERM), and after
//! the grace everything in the container is killed. The first process of a container ignores signals that it has no
//! handler for: `init` puts one before it that hands them on.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    id::{RunId, WorkerId},
    job::{Command, Docker},
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Driver, DriverConfig, RunSpec, Running, StartError};
use crate::{guard::GuardHandle, output::Output};

pub use address::{EngineAddress, EngineAddressError};
pub(crate) use sweep::Spared;

use container::Container;
use engine::{Class, Engine};

mod address;
mod auth;
mod container;
mod definition;
mod end;
mod engine;
mod failure;
mod labels;
mod live;
mod printed;
mod pull;
mod raw;
pub(crate) mod sweep;

/// Between two looks for an engine that is not there.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How a worker runs containers.
#[derive(Clone, Debug, Default)]
pub struct Containers {
    /// Where the engine listens.
    pub engine: EngineAddress,
    /// What registries are shown; none: nothing.
    pub registry_auth: Option<PathBuf>,
    /// The worker's data directory, as a label tells it; "": it is not known.
    pub place: String,
}

/// Runs containers.
pub(super) struct DockerDriver(Arc<Shared>);

/// What the containers of a worker share.
struct Shared {
    engine: Engine,
    registry_auth: Option<PathBuf>,
    place: String,
    session: String,
    guard: GuardHandle,
    /// What earlier lives left of this worker, once it is known.
    left: Mutex<Option<HashSet<(RunId, u32)>>>,
}

impl DockerDriver {
    pub(super) fn new(config: &DriverConfig) -> Self {
        let Containers { engine, registry_auth, place } = config.containers.clone();
        Self(Arc::new(Shared {
            engine: Engine::at(engine),
            registry_auth,
            place,
            session: config.session.clone(),
            guard: config.guard.clone(),
            left: Mutex::default(),
        }))
    }
}

#[async_trait]
impl Driver for DockerDriver {
    /// What can be wrong is told by the run's end: its image may have to be fetched first, which is part of it.
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let docker = definition_of(spec)?;
        Ok(Box::new(Container::new(self.0.clone(), docker, spec, output)))
    }

    async fn adopt(&self, spec: &RunSpec, output: &Arc<Output>) -> Option<Box<dyn Running>> {
        let docker = definition_of(spec).ok()?;
        let id = self.0.left_of(spec).await?;
        let container = Container::new(self.0.clone(), docker, spec, output.clone());
        Some(Box::new(container.adopting(id)))
    }
}

fn definition_of(spec: &RunSpec) -> Result<Docker, StartError> {
    match &spec.job.driver {
        Command::Docker(docker) => Ok((**docker).clone()),
        _ => Err(StartError::new("the docker driver was given a job without a container")),
    }
}

impl Shared {
    /// The container of this attempt, if an earlier life of the worker left one that was started.
    async fn left_of(&self, spec: &RunSpec) -> Option<String> {
        let (run, attempt) = (spec.run.to_string(), spec.attempt.to_string());
        // Most runs are new: the engine is asked once, not for each.
        let known = self.left.lock().as_ref().map(|left| left.contains(&(spec.run, spec.attempt)));
        if known == Some(false) {
            return None;
        }
        let client = self.engine.client().await.ok()?;
        if known.is_none() {
            let left = client.list(&[(labels::WORKER, spec.worker.as_str())]).await.ok()?;
            let named = left.iter().filter_map(|found| {
                let label = |name| found.labels.get(name);
                Some((label(labels::RUN)?.parse().ok()?, label(labels::ATTEMPT)?.parse().ok()?))
            });
            *self.left.lock() = Some(named.collect());
        }
        let of_attempt =
            [(labels::RUN, &*run), (labels::ATTEMPT, &*attempt), (labels::WORKER, spec.worker.as_str())];
        let found = client.list(&of_attempt).await.ok()?.into_iter().next()?;
        let state = client.inspect(&found.id).await.ok()?.state;
        if state.status == "created" {
            // It never began: the run begins anew.
            let _ = client.remove(&found.id).await;
            return None;
        }
        Some(found.id)
    }
}

/// Removes the containers that earlier lives of a worker left, as soon as there is an engine; ends with the worker. The
/// first try is over when this resolves; the others go on by themselves, and say so once.
pub(crate) async fn leftovers(
    containers: Containers,
    worker: WorkerId,
    (session, earlier): (String, Option<String>),
    ending: CancellationToken,
) -> bool {
    let engine = Engine::at(containers.engine.clone());
    let place = containers.place.clone();
    let first = sweep::earlier_lives(&engine, (&place, &session), earlier.as_deref(), Duration::ZERO).await;
    match first {
        Ok(removed) => {
            say_what_is_there(&engine, removed).await;
            true
        }
        Err(error) => {
            tracing::warn!(
                engine = %containers.engine, %error,
                "no container engine answers: jobs with the driver docker fail on this worker until one does"
            );
            // Without a socket there is no engine, and nothing of it runs.
            let is_absent = error.class == Class::Away && !containers.engine.path().exists();
            tokio::spawn(async move {
                ending
                    .run_until_cancelled(later(&engine, (&place, &session), earlier.as_deref(), &worker))
                    .await
            });
            is_absent
        }
    }
}

async fn later(engine: &Engine, life: (&str, &str), earlier: Option<&str>, worker: &WorkerId) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match sweep::earlier_lives(engine, life, earlier, Duration::ZERO).await {
            Ok(removed) => return say_what_is_there(engine, removed).await,
            Err(error) if error.class == Class::Away => {}
            Err(error) => tracing::warn!(%worker, %error, "containers of earlier lives cannot be removed"),
        }
    }
}

async fn say_what_is_there(engine: &Engine, removed: usize) {
    if removed > 0 {
        tracing::warn!(removed, "removed containers that an earlier life of this worker left behind");
    }
    if let Ok(client) = engine.client().await {
        tracing::info!(engine = client.name, address = %engine.address(), "containers can be run here");
    }
}
