//! A whole cluster of separate processes on free ports: etcd's members, MongoDB, managers and workers. All of them
//! end with this process, however it ends.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use test_support::{
    link::Link,
    servers::{Durability, EtcdCluster, Leftovers, Mongod, Peers, Room, Server, free_port},
    wait::until,
};

pub use process::{Usage, descendants, resident_bytes};
pub use worker::{WorkerLayout, WorkerProcess};

mod process;
mod worker;

/// The root of all keys of a cluster.
pub const PREFIX: &str = "/quorate/";

/// The database of the run log.
pub const DATABASE: &str = "quorate";

/// etcd forgets what is older than a minute.
const COMPACTION: [&str; 2] = ["--auto-compaction-mode=periodic", "--auto-compaction-retention=1m"];

/// How long a part of the cluster may take to start, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How workers reach etcd and MongoDB, and etcd's members each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    /// As they would.
    Direct,
    /// Through links of their own, which can be cut, stalled and slowed down.
    Links,
}

/// The links of one worker.
pub struct WorkerLinks {
    etcd: Vec<Link>,
    mongodb: Link,
}

impl WorkerLinks {
    async fn to(etcd: &EtcdCluster, mongod: &Mongod) -> Self {
        let mut links = Vec::new();
        for member in etcd.endpoints() {
            links.push(Link::to(member).await);
        }
        Self { etcd: links, mongodb: Link::to(host_of(mongod)).await }
    }

    /// To each member of etcd.
    pub fn etcd(&self) -> &[Link] {
        &self.etcd
    }

    /// To MongoDB.
    pub fn mongodb(&self) -> &Link {
        &self.mongodb
    }
}

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The program.
    pub quorate: PathBuf,
    /// etcd's members.
    pub members: usize,
    /// How many managers.
    pub managers: usize,
    /// The workers.
    pub workers: Vec<WorkerLayout>,
    /// How they reach the stores.
    pub wires: Wires,
    /// Whether etcd writes through to the disk.
    pub durability: Durability,
    /// Whether etcd forgets its past by itself, as it has to where it runs for long.
    pub compacts: bool,
    /// What becomes of the folders.
    pub leftovers: Leftovers,
    /// What the managers and workers log.
    pub log: String,
}

/// A running cluster.
pub struct Cluster {
    // Before the stores: what still runs would complain.
    workers: Vec<WorkerProcess>,
    managers: Vec<(String, Server)>,
    links: Vec<WorkerLinks>,
    /// MongoDB.
    pub mongod: Mongod,
    /// etcd.
    pub etcd: EtcdCluster,
    // The last: it removes the folder in which the others have theirs.
    root: Root,
}

/// The folder of a cluster.
struct Root {
    path: PathBuf,
    leftovers: Leftovers,
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.leftovers == Leftovers::Remove {
            // A leftover in the temporary folder is no failure.
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}

impl Cluster {
    /// Starts one and waits until every part of it is ready.
    pub async fn start(layout: &Layout) -> Result<Self> {
        let path = tempfile::Builder::new()
            .prefix("quorate-cluster-")
            .tempdir()
            .context("make a folder for a cluster")?
            .keep();
        let root = Root { path, leftovers: layout.leftovers };
        let room = Room::under(root.path.clone(), layout.leftovers);
        let forget: &[&str] = if layout.compacts { &COMPACTION } else { &[] };
        let peers = if layout.wires == Wires::Links { Peers::Links } else { Peers::Direct };
        let etcd = EtcdCluster::start_with(&room, layout.members, layout.durability, peers, forget).await;
        let mongod = Mongod::start_in(&room).await;
        let stores = |etcd: &[String], mongodb: &str| -> Vec<OsString> {
            let (etcd, mongodb) = (etcd.join(","), format!("mongodb://{mongodb}/{DATABASE}"));
            let settings = ["--etcd", &etcd, "--mongodb", &mongodb, "--prefix", PREFIX, "--log", &layout.log];
            settings.into_iter().map(Into::into).collect()
        };
        let direct = stores(&etcd.endpoints(), &host_of(&mongod));
        let managers = (0..layout.managers).map(|n| manager(layout, &room, n, &direct)).collect();
        let (mut links, mut workers) = (Vec::new(), Vec::new());
        for own in &layout.workers {
            let through = match layout.wires {
                Wires::Direct => direct.clone(),
                Wires::Links => {
                    let own = WorkerLinks::to(&etcd, &mongod).await;
                    let members: Vec<String> = own.etcd.iter().map(Link::address).collect();
                    let through = stores(&members, &own.mongodb.address());
                    links.push(own);
                    through
                }
            };
            workers.push(WorkerProcess::start(&layout.quorate, &room, own, &through));
        }
        let cluster = Self { workers, managers, links, mongod, etcd, root };
        cluster.wait_ready().await;
        Ok(cluster)
    }

    async fn wait_ready(&self) {
        for n in 0..self.managers.len() {
            self.wait_manager(n).await;
        }
        for worker in &self.workers {
            self.wait_registered(worker, 0).await;
        }
    }

    /// Waits until a manager serves.
    pub async fn wait_manager(&self, n: usize) {
        let (address, server) = &self.managers[n];
        let client = crate::api::client();
        let url = format!("http://{address}/readyz");
        let answers = || async {
            let answer = client.get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        };
        server.wait_ready(answers).await;
    }

    /// Waits until the worker has registered in a session that is not `earlier`; which one.
    pub async fn wait_registered(&self, worker: &WorkerProcess, earlier: i64) -> i64 {
        until(&format!("{} is registered", worker.id()), PATIENCE, || async {
            let session = self.session_of(worker.id()).await.ok().flatten();
            assert!(worker.server().is_alive(), "{} ended: {}", worker.id(), worker.server().end_of_log());
            session.filter(|session| *session != earlier)
        })
        .await
    }

    /// The session of a worker that is registered.
    pub async fn session_of(&self, id: &str) -> Result<Option<i64>> {
        let reply = self.etcd_client().await?.get(format!("{PREFIX}workers/{id}"), None).await?;
        Ok(reply.kvs().first().map(etcd_client::KeyValue::create_revision))
    }

    /// A bare client of etcd, for what the scheduler does not offer.
    pub async fn etcd_client(&self) -> Result<etcd_client::Client> {
        etcd_client::Client::connect(self.etcd.endpoints(), None).await.context("connect to etcd")
    }

    /// Where the managers serve, `host:port`.
    pub fn managers(&self) -> Vec<String> {
        self.managers.iter().map(|(address, _)| address.clone()).collect()
    }

    /// A manager's process.
    pub fn manager(&mut self, n: usize) -> &mut Server {
        &mut self.managers[n].1
    }

    /// All processes of ours, with names: managers, workers and their guards.
    pub fn processes(&self) -> Vec<(String, Pid)> {
        let managers = self.managers.iter().enumerate();
        let managers = managers.map(|(n, (_, server))| (format!("m{}", n + 1), server.pid()));
        let workers = self.workers.iter().flat_map(|worker| {
            let guards = worker.guards().into_iter().map(|pid| (format!("{} guard", worker.id()), pid));
            guards.chain([(worker.id().to_owned(), worker.server().pid())])
        });
        managers.chain(workers).collect()
    }

    /// The workers.
    pub fn workers(&self) -> &[WorkerProcess] {
        &self.workers
    }

    /// A worker.
    pub fn worker(&mut self, n: usize) -> &mut WorkerProcess {
        &mut self.workers[n]
    }

    /// A second process on a copy of a worker's data directory, with its id.
    pub fn start_on_copy(&self, n: usize) -> WorkerProcess {
        self.workers[n].start_on_copy(&Room::under(self.root.path.clone(), self.root.leftovers))
    }

    /// The links of a worker, in a cluster that has them.
    pub fn links(&self, n: usize) -> &WorkerLinks {
        &self.links[n]
    }

    /// Kills all members of etcd.
    pub fn kill_etcd(&mut self) {
        (0..self.etcd.size()).for_each(|n| self.etcd.member(n).kill_9());
    }

    /// Starts all members of etcd again, and waits until all of them answer.
    pub async fn restart_etcd(&mut self) {
        (0..self.etcd.size()).for_each(|n| self.etcd.member(n).spawn_again());
        self.etcd.wait_ready().await;
    }

    /// Stops all members of etcd where they are, connections open.
    pub async fn freeze_etcd(&mut self) {
        for n in 0..self.etcd.size() {
            self.etcd.member(n).freeze().await;
        }
    }

    /// Lets all members of etcd go on.
    pub fn thaw_etcd(&mut self) {
        (0..self.etcd.size()).for_each(|n| self.etcd.member(n).thaw());
    }

    /// The folder that holds everything of this cluster.
    pub fn dir(&self) -> &Path {
        &self.root.path
    }
}

/// `host:port`.
fn host_of(mongod: &Mongod) -> String {
    let uri = mongod.uri();
    uri.trim_start_matches("mongodb://").trim_end_matches('/').to_owned()
}

fn manager(layout: &Layout, room: &Room, n: usize, stores: &[OsString]) -> (String, Server) {
    let address = format!("127.0.0.1:{}", free_port());
    let id = format!("m{}", n + 1);
    let server = Server::start(room, &id, |_| {
        let mut command = process::clean(&layout.quorate, []);
        command.push("manager".into());
        command.extend_from_slice(stores);
        for argument in ["--listen", &address, "--id", &id, "--zone", "UTC"] {
            command.push(argument.into());
        }
        command
    });
    (address, server)
}
