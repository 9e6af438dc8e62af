//! `quorate dev`: everything in one process.

use common::store::key::Keys;
use tokio_util::sync::CancellationToken;

use crate::{
    config::DevSettings,
    wiring::{self, ManagerOptions, WorkerOptions},
};

/// The root of all keys where nobody else uses the store.
const ROOT: &str = "/quorate/";

/// Runs until `shutdown`.
pub(crate) async fn run(settings: DevSettings, shutdown: CancellationToken) -> anyhow::Result<()> {
    wiring::say_if_open(settings.auth, Some(settings.listen));
    let keys = Keys::new(ROOT)?;
    let manager = ManagerOptions {
        // The embedded store bounds its own.
        store_history: None,
        id: None,
        listen: settings.listen,
        keys: keys.clone(),
        zone: settings.zone,
        allowed_hosts: settings.allowed_hosts,
        lease_ttl: settings.lease_ttl,
    };
    let worker = WorkerOptions {
        id: None,
        keys,
        data_dir: settings.data_dir,
        labels: settings.labels,
        slots: settings.slots,
        lease_ttl: settings.lease_ttl,
        hedge: settings.hedge,
        shell: settings.shell,
        http_forbid: settings.http_forbid,
        engine: settings.engine,
        // The manager of the same process needs none.
        address: String::new(),
    };
    wiring::dev(manager, worker, shutdown).await
}
