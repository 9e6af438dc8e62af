//! `quorate manager`: the API and the page.

use std::time::Duration;

use common::store::key::Keys;
use tokio_util::sync::CancellationToken;

use crate::{
    config::ManagerSettings,
    wiring::{self, ManagerOptions},
};

/// A kill outlives the workers' leases by this; longer leases are not usual.
const LONGEST_USUAL_LEASE: Duration = Duration::from_secs(60);

/// Runs until `shutdown`.
pub(crate) async fn run(settings: ManagerSettings, shutdown: CancellationToken) -> anyhow::Result<()> {
    wiring::take_handles();
    wiring::say_if_open(settings.auth, Some(settings.listen));
    let ports = wiring::cluster_ports(&settings.etcd, &settings.mongodb).await?;
    let options = ManagerOptions {
        id: settings.id.map(|id| id.to_string()),
        listen: settings.listen,
        keys: Keys::new(&settings.prefix)?,
        zone: settings.zone,
        allowed_hosts: settings.allowed_hosts,
        lease_ttl: LONGEST_USUAL_LEASE,
        store_history: settings.etcd_history,
    };
    wiring::manager(options, ports, shutdown).await
}
