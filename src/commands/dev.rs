//! `quorate dev`: everything in one process.

use tokio_util::sync::CancellationToken;

use crate::config::DevSettings;

/// Runs until `shutdown` is cancelled.
pub(super) async fn run(settings: DevSettings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let DevSettings { listen, auth, allowed_hosts, zone, data_dir, labels, slots, lease_ttl, hedge, shell } =
        settings;
    tracing::debug!(%listen, ?auth, ?allowed_hosts, %zone, ?data_dir, ?labels, slots, ?lease_ttl, ?hedge, ?shell, ?shutdown);
    anyhow::bail!("not wired")
}
