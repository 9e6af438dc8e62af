//! A worker's settings, validated by the binary.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use common::{id::WorkerId, store::key::Keys};

use crate::driver::EngineAddress;
use crate::driver::Forbidden;

/// A worker's settings.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Its id, stable across restarts.
    pub id: WorkerId,
    /// Where everything is in the store.
    pub keys: Keys,
    /// What jobs may require.
    pub labels: BTreeMap<String, String>,
    /// Runs at the same time, at most.
    pub slots: u32,
    /// The lease's time to live.
    pub lease_ttl: Duration,
    /// How long each next-ranked worker waits before it looks after a tick.
    pub hedge: Duration,
    /// Spool, spilled output and what tells an earlier life are kept here.
    pub data_dir: PathBuf,
    /// The shell of jobs that name none.
    pub shell: PathBuf,
    /// Addresses that calls over HTTP must not reach.
    pub http_forbid: Forbidden,
    /// Where the container engine listens, which need not be there.
    pub engine: EngineAddress,
    /// A file with what registries are shown; none: nothing.
    pub registry_auth: Option<PathBuf>,
    /// This program, for the guard and the shim.
    pub self_exe: PathBuf,
    /// Where its live output can be read, `host:port`; empty: nowhere.
    pub address: String,
    /// The host's name.
    pub host: String,
    /// This release.
    pub version: String,
    /// How long run logs are kept.
    pub retention: Duration,
}

impl WorkerConfig {
    /// Between two renewals of the lease: five fit into its life.
    pub fn renew_every(&self) -> Duration {
        self.lease_ttl / 5
    }

    /// The longest grace of a run whose lease can no longer be trusted.
    pub fn lease_grace(&self) -> Duration {
        self.lease_ttl / 3
    }
}
