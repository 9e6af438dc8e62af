//! `quorate worker`: runs jobs.

use std::{io::ErrorKind, net::SocketAddr};

use common::store::key::Keys;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{DEFAULT_WORKER_LISTEN, WorkerSettings},
    wiring::{self, WorkerOptions},
};

/// Runs until `shutdown`.
pub(crate) async fn run(settings: WorkerSettings, shutdown: CancellationToken) -> anyhow::Result<()> {
    wiring::say_if_open(settings.auth, settings.listen);
    let ports = wiring::cluster_ports(&settings.etcd, &settings.mongodb).await?;
    let listener = match settings.listen {
        Some(address) => wiring::listen(address).await?,
        None => listen_anywhere().await?,
    };
    let options = WorkerOptions {
        id: settings.id,
        keys: Keys::new(&settings.prefix)?,
        data_dir: settings.data_dir,
        labels: settings.labels,
        slots: settings.slots,
        lease_ttl: settings.lease_ttl,
        hedge: settings.hedge,
        shell: settings.shell,
    };
    wiring::worker(options, ports, listener, shutdown).await
}

/// The usual port, or a free one when another worker of this host has it.
async fn listen_anywhere() -> anyhow::Result<TcpListener> {
    match TcpListener::bind(DEFAULT_WORKER_LISTEN).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            wiring::listen(SocketAddr::new(DEFAULT_WORKER_LISTEN.ip(), 0)).await
        }
        bound => Ok(bound?),
    }
}
