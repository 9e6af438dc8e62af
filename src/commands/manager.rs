//! `quorate manager`: the API and the page.

use tokio_util::sync::CancellationToken;

use crate::config::ManagerSettings;

/// Runs until `shutdown` is cancelled.
pub(super) async fn run(settings: ManagerSettings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let ManagerSettings { etcd, mongodb, prefix, listen, auth, allowed_hosts, zone, id } = settings;
    tracing::debug!(?etcd, ?mongodb, prefix, %listen, ?auth, ?allowed_hosts, %zone, ?id, ?shutdown);
    anyhow::bail!("not wired")
}
