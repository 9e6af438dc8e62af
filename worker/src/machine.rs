//! What a worker has of the machine that it is on.

use std::{path::PathBuf, sync::Arc};

use common::{chance::Chance, store::LeaseId};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::{
    WorkerConfig, WorkerError,
    driver::{self, Containers},
    guard::{self, GuardHandle},
    run::lost,
    session::{
        life::{Life, LifeFile},
        load::Load,
    },
    spool::Spool,
};

/// What a worker has of the machine that it is on.
pub(crate) struct Machine {
    pub(crate) spool: Spool,
    pub(crate) guard: GuardHandle,
    pub(crate) life: Life,
    pub(crate) chance: Chance,
    pub(crate) leftovers: Leftovers,
    /// Whose room is watched.
    pub(crate) dir: Option<PathBuf>,
}

/// What the worker's earlier life left behind.
#[derive(Default)]
pub(crate) struct Leftovers {
    /// In the environment of processes that may still execute.
    pub(crate) token: Option<String>,
    /// It may still live.
    pub(crate) lease: Option<LeaseId>,
    /// Output of runs that were lost.
    pub(crate) copies: Vec<PathBuf>,
}

pub(crate) fn spill_dir(config: &WorkerConfig) -> PathBuf {
    config.data_dir.join("output")
}

/// Prepares the data directory with it.
pub(crate) fn open_spool(config: &WorkerConfig, load: &Arc<Load>) -> Result<Spool, WorkerError> {
    let bad_dir = |source| WorkerError::DataDir { dir: config.data_dir.display().to_string(), source };
    std::fs::create_dir_all(spill_dir(config)).map_err(bad_dir)?;
    Spool::open(&config.data_dir.join("spool"), load.clone()).map_err(bad_dir)
}

impl Leftovers {
    #[cfg(feature = "test-support")]
    pub(crate) fn lease(config: &WorkerConfig) -> Option<LeaseId> {
        LifeFile::in_dir(&config.data_dir).read()?.lease.map(LeaseId)
    }

    pub(crate) fn of(config: &WorkerConfig, life: &Life) -> Self {
        let earlier = LifeFile::in_dir(&config.data_dir).read().filter(|earlier| earlier.is_over(life));
        let lease = earlier.as_ref().and_then(|earlier| earlier.lease).map(LeaseId);
        Self { token: earlier.map(|earlier| earlier.token), lease, copies: lost::copies(&spill_dir(config)) }
    }
}

impl Machine {
    /// Ends what an earlier life of the worker left. False: some may be left, since the machine's processes or containers
    /// cannot be looked at.
    pub(crate) async fn kill_leftovers(&self, config: &WorkerConfig, ending: &CancellationToken) -> bool {
        let token = self.leftovers.token.clone();
        // A worker of a simulation or measurement has no place of its own, and no containers.
        let removed = match &self.dir {
            Some(_) => {
                let lives = (self.life.token.clone(), token.clone());
                let containers = containers(config, &self.life);
                driver::leftovers(containers, config.id.clone(), lives, ending.clone()).await
            }
            None => true,
        };
        let Some(token) = token else { return removed };
        // It looks at every process of the machine, until none is left; a panic in there was reported by itself.
        let Ok(Ok(killed)) = spawn_blocking(move || guard::kill_session(&token)).await else { return false };
        if killed > 0 {
            tracing::warn!(killed, "killed processes that an earlier life of this worker left behind");
        }
        removed
    }
}

/// How this life of the worker runs containers.
pub(crate) fn containers(config: &WorkerConfig, life: &Life) -> Containers {
    Containers {
        engine: config.engine.clone(),
        registry_auth: config.registry_auth.clone(),
        place: life.place.clone(),
    }
}
