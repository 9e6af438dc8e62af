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
        http_forbid: settings.http_forbid,
        engine: settings.engine,
        address: reached_by(settings.advertise, listener.local_addr()?, &wiring::host_name()),
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

/// Where others reach what listens here: an address for every interface says nothing to them, but the host's name does.
fn reached_by(advertise: Option<String>, listen: SocketAddr, host: &str) -> String {
    match advertise {
        Some(address) => address,
        None if listen.ip().to_canonical().is_unspecified() => format!("{host}:{}", listen.port()),
        None => listen.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_told_an_address_that_they_can_reach() {
        let reached = |advertise: Option<&str>, listen: &str| {
            reached_by(advertise.map(str::to_owned), listen.parse().unwrap(), "web1")
        };
        assert_eq!(reached(None, "10.0.0.1:5556"), "10.0.0.1:5556");
        assert_eq!(reached(None, "[::1]:5556"), "[::1]:5556");
        for every in ["0.0.0.0:5556", "[::]:5556"] {
            assert_eq!(reached(None, every), "web1:5556");
            assert_eq!(reached(Some("db3.example.org:80"), every), "db3.example.org:80");
        }
    }
}
