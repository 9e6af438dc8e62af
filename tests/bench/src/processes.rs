//! Managers and workers as processes of their own, which can be weighed and killed.

use std::{path::Path, sync::Arc};

use chaos::cluster::{Cluster, Layout, PREFIX, Wires, WorkerLayout};
use common::store::{
    Store,
    etcd::{EtcdConfig, EtcdStore},
    key::Keys,
};
use test_support::servers::{Durability, Leftovers};

use crate::cpu::Part;

/// One etcd that writes to its disk, one mongod, one manager and so many workers.
pub(crate) async fn start(quorate: &Path, workers: usize) -> anyhow::Result<Cluster> {
    let workers = WorkerLayout::several(workers)
        .into_iter()
        .map(|worker| WorkerLayout { slots: 20_000, ..worker })
        .collect();
    Cluster::start(&Layout {
        quorate: quorate.to_owned(),
        members: 1,
        managers: 1,
        workers,
        durability: Durability::Synced,
        wires: Wires::Direct,
        compacts: false,
        leftovers: Leftovers::Remove,
        log: "error".to_owned(),
    })
    .await
}

/// A cluster's keys.
pub(crate) fn keys() -> anyhow::Result<Keys> {
    Ok(Keys::new(PREFIX)?)
}

/// A connection of its own to the cluster's etcd.
pub(crate) async fn store(cluster: &Cluster) -> anyhow::Result<Arc<dyn Store>> {
    let config = EtcdConfig { endpoints: cluster.etcd.endpoints(), ..EtcdConfig::default() };
    Ok(Arc::new(EtcdStore::connect(config).await?))
}

/// Whose processor time is told: the manager's, each worker's and the servers'.
pub(crate) fn parts(cluster: &mut Cluster) -> Vec<(String, Part)> {
    let mut parts = vec![("manager".to_owned(), Part::Process(cluster.manager(0).pid()))];
    let workers = cluster.workers().iter();
    parts.extend(
        workers.map(|worker| (format!("worker {}", worker.id()), Part::Process(worker.server().pid()))),
    );
    parts.push(("etcd".to_owned(), Part::Process(cluster.etcd.member(0).pid())));
    parts.push(("mongod".to_owned(), Part::Process(cluster.mongod.pid())));
    parts
}

/// A manager's API.
pub(crate) fn url(cluster: &Cluster, path: &str) -> String {
    format!("http://{}/api/v1/{path}", cluster.managers()[0])
}
