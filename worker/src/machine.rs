//! What a worker has of the machine that it is on.

use std::{path::PathBuf, sync::Arc};

use common::{chance::Chance, store::LeaseId};

use crate::{
    WorkerConfig, WorkerError,
    guard::GuardHandle,
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
