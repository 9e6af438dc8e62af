//! `quorate worker`: claims ticks and runs jobs.

use tokio_util::sync::CancellationToken;

use crate::config::{DEFAULT_WORKER_LISTEN, EtcdSettings, WorkerSettings};

/// Runs until `shutdown` is cancelled.
pub(super) async fn run(settings: WorkerSettings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let WorkerSettings {
        etcd,
        mongodb,
        prefix,
        listen,
        auth,
        id,
        data_dir,
        labels,
        slots,
        lease_ttl,
        hedge,
        shell,
    } = settings;
    let EtcdSettings { endpoints, user, password, ca, cert, key } = etcd;
    let listen = listen.unwrap_or(DEFAULT_WORKER_LISTEN);
    let has_login = password.is_some_and(|password| !password.reveal().is_empty());
    tracing::debug!(?endpoints, ?user, has_login, ?ca, ?cert, ?key, ?mongodb, prefix, %listen, ?auth, ?id);
    tracing::debug!(?data_dir, ?labels, slots, ?lease_ttl, ?hedge, ?shell, ?shutdown);
    anyhow::bail!("not wired")
}
