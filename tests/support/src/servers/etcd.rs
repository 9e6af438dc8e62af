//! etcd, one member or several.

use etcd_client::{Certificate, Client, ConnectOptions, Error, TlsOptions};
use futures::future::join_all;
use nix::unistd::Pid;
use tokio::sync::OnceCell;

use super::{
    certificate::SelfSigned,
    program,
    server::{Room, Server, free_port},
    setting,
};
use crate::peers::{PeerLinks, Severed};

/// Whether a member writes through to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It does, as in earnest.
    Synced,
    /// It does not: the machine does not lose power during a test, and a killed process loses nothing by this.
    Unsynced,
}

const UNSYNCED: &str = "--unsafe-no-fsync";

/// The versions that are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdVersion {
    V34,
    V35,
}

/// A member of its own, killed when dropped.
pub struct Etcd {
    server: Server,
    endpoint: String,
    certificate: Option<SelfSigned>,
}

/// Several members that form a cluster.
pub struct EtcdCluster {
    members: Vec<Etcd>,
    peers: Option<PeerLinks>,
}

/// How the members of a cluster reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// As they would.
    Direct,
    /// Through links that can be cut and stalled.
    Links,
}

/// The endpoint of an etcd that other tests use too: keep to [`super::unique_keys`].
pub async fn shared_etcd() -> String {
    static SHARED: OnceCell<Etcd> = OnceCell::const_new();
    match setting("QUORATE_TEST_ETCD_ENDPOINT") {
        Some(endpoint) => endpoint,
        // Never dropped: the keeper ends it with this process.
        None => SHARED.get_or_init(|| Etcd::start(EtcdVersion::V34)).await.endpoint(),
    }
}

/// The same in version 3.5.
pub async fn shared_etcd_35() -> String {
    static SHARED: OnceCell<Etcd> = OnceCell::const_new();
    match setting("QUORATE_TEST_ETCD35_ENDPOINT") {
        Some(endpoint) => endpoint,
        None => SHARED.get_or_init(|| Etcd::start(EtcdVersion::V35)).await.endpoint(),
    }
}

impl Etcd {
    pub async fn start(version: EtcdVersion) -> Self {
        Self::start_with(version, &[]).await
    }

    /// The same with further arguments.
    pub async fn start_with(version: EtcdVersion, arguments: &[&str]) -> Self {
        let arguments = &[arguments, &[UNSYNCED]].concat();
        let member = Addresses::free("m0", "http");
        let etcd = Self::spawn(&Room::temporary(), version, &member, &member.as_peer(), arguments);
        etcd.wait_ready().await;
        etcd
    }

    /// One that speaks TLS, with a certificate of its own.
    pub async fn start_with_tls() -> Self {
        let member = Addresses::free("m0", "https");
        let certificate = SelfSigned::make();
        let [cert, key] = [certificate.cert(), certificate.key()].map(|path| path.display().to_string());
        let arguments = ["--cert-file", &cert, "--key-file", &key, UNSYNCED];
        let mut etcd =
            Self::spawn(&Room::temporary(), EtcdVersion::V35, &member, &member.as_peer(), &arguments);
        etcd.certificate = Some(certificate);
        etcd.wait_ready().await;
        etcd
    }

    /// The certificate (PEM) of one with TLS. It is its own authority.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.as_ref().map(SelfSigned::pem)
    }

    fn spawn(room: &Room, version: EtcdVersion, own: &Addresses, cluster: &str, arguments: &[&str]) -> Self {
        let program = match version {
            EtcdVersion::V34 => program("QUORATE_TEST_ETCD", "etcd"),
            EtcdVersion::V35 => program("QUORATE_TEST_ETCD35", "etcd35"),
        };
        let client = format!("{}://{}", own.scheme, own.client);
        let [peer, told] = [&own.peer, &own.told].map(|peer| format!("http://{peer}"));
        let server = Server::start(room, &format!("etcd-{}", own.name), |dir| {
            let data = dir.join("data").into_os_string();
            let mut command = vec![program.into_os_string(), "--data-dir".into(), data];
            let settings = [
                ["--name", &own.name],
                ["--listen-client-urls", &client],
                ["--advertise-client-urls", &client],
                ["--listen-peer-urls", &peer],
                ["--initial-advertise-peer-urls", &told],
                ["--initial-cluster", cluster],
            ];
            command.extend(settings.as_flattened().iter().chain(arguments).map(Into::into));
            command
        });
        Self { server, endpoint: own.client.clone(), certificate: None }
    }

    /// Until it answers a read, which takes a leader.
    async fn wait_ready(&self) {
        let answers = || async {
            let mut client = self.connect().await.map_err(|error| error.to_string())?;
            let reply = match client.get("ready", None).await {
                // It answers, and wants to know who asks.
                Err(Error::GRpcStatus(status)) if status.message().contains("user name is empty") => {
                    return Ok(());
                }
                reply => reply,
            };
            reply.map(|_| ()).map_err(|error| error.to_string())
        };
        self.server.wait_ready(answers).await;
    }

    /// `host:port`.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// A bare client, for what the store does not offer.
    pub async fn client(&self) -> Client {
        self.connect().await.expect("connecting is lazy")
    }

    async fn connect(&self) -> Result<Client, Error> {
        let tls = self.certificate().map(|pem| TlsOptions::new().ca_certificate(Certificate::from_pem(pem)));
        let options = tls.map(|tls| ConnectOptions::new().with_tls(tls));
        Client::connect([&self.endpoint], options).await
    }

    pub async fn freeze(&self) {
        self.server.freeze().await;
    }

    pub fn thaw(&self) {
        self.server.thaw();
    }

    pub fn kill_9(&mut self) {
        self.server.kill_9();
    }

    /// Starts a killed one again with the same data and port; it answers once a majority is there.
    pub fn spawn_again(&mut self) {
        self.server.spawn();
    }

    /// Starts it again with the same data and port, killing it first if it runs, and waits until it answers.
    pub async fn restart(&mut self) {
        self.server.kill_9();
        self.server.spawn();
        self.wait_ready().await;
    }

    /// Kills it and removes its data.
    pub fn wipe(&mut self) {
        self.server.kill_9();
        std::fs::remove_dir_all(self.server.dir().join("data")).expect("remove etcd's data");
    }

    pub fn pid(&self) -> Pid {
        self.server.pid()
    }

    pub fn dir(&self) -> &std::path::Path {
        self.server.dir()
    }
}

impl EtcdCluster {
    pub async fn start(size: usize) -> Self {
        Self::start_in(&Room::temporary(), size, Durability::Unsynced).await
    }

    /// The same with links between the members, for [`Self::sever_leader`].
    pub async fn start_linked(size: usize) -> Self {
        Self::start_with(&Room::temporary(), size, Durability::Unsynced, Peers::Links, &[]).await
    }

    /// The same with folders elsewhere.
    pub async fn start_in(room: &Room, size: usize, durability: Durability) -> Self {
        Self::start_with(room, size, durability, Peers::Direct, &[]).await
    }

    /// The same with further arguments.
    pub async fn start_with(
        room: &Room,
        size: usize,
        durability: Durability,
        peers: Peers,
        arguments: &[&str],
    ) -> Self {
        let unsynced: &[&str] = if durability == Durability::Unsynced { &[UNSYNCED] } else { &[] };
        let arguments = &[unsynced, arguments].concat();
        let mut addresses: Vec<_> = (0..size).map(|n| Addresses::free(&format!("m{n}"), "http")).collect();
        let peers = match peers {
            Peers::Direct => None,
            Peers::Links => Some(PeerLinks::to(addresses.iter().map(|own| own.peer.clone())).await),
        };
        if let Some(links) = &peers {
            addresses.iter_mut().enumerate().for_each(|(n, own)| own.told = links.address(n));
        }
        let cluster = addresses.iter().map(Addresses::as_peer).collect::<Vec<_>>().join(",");
        let members: Vec<_> = addresses
            .iter()
            .map(|own| Etcd::spawn(room, EtcdVersion::V34, own, &cluster, arguments))
            .collect();
        let cluster = Self { members, peers };
        cluster.wait_ready().await;
        cluster
    }

    /// Until every member answers.
    pub async fn wait_ready(&self) {
        join_all(self.members.iter().map(Etcd::wait_ready)).await;
    }

    /// How many members there are.
    pub fn size(&self) -> usize {
        self.members.len()
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Etcd::endpoint).collect()
    }

    pub fn member(&mut self, n: usize) -> &mut Etcd {
        &mut self.members[n]
    }

    /// Which member leads.
    pub async fn leader(&self) -> usize {
        self.leading().await.0
    }

    /// Cuts the member that leads off from the others, while clients still reach it; which one that is. Only in a
    /// cluster with links between its members.
    pub async fn sever_leader(&self, how: Severed) -> usize {
        let (n, id) = self.leading().await;
        self.peers.as_ref().expect("the members are linked").sever(n, id, how).await;
        n
    }

    /// Mends what [`Self::sever_leader`] cut.
    pub async fn mend_peers(&self) {
        self.peers.as_ref().expect("the members are linked").mend().await;
    }

    /// The place and the id of the member that leads.
    async fn leading(&self) -> (usize, u64) {
        for (n, member) in self.members.iter().enumerate() {
            let status = member.client().await.status().await.expect("the member says its status");
            if status.header().is_some_and(|header| header.member_id() == status.leader()) {
                return (n, status.leader());
            }
        }
        panic!("no member of {:?} says that it leads", self.endpoints())
    }
}

/// Where a member listens.
struct Addresses {
    name: String,
    scheme: &'static str,
    client: String,
    peer: String,
    /// Where the other members reach it.
    told: String,
}

impl Addresses {
    fn free(name: &str, scheme: &'static str) -> Self {
        let address = || format!("127.0.0.1:{}", free_port());
        let peer = address();
        Self { name: name.into(), scheme, client: address(), told: peer.clone(), peer }
    }

    fn as_peer(&self) -> String {
        format!("{}=http://{}", self.name, self.told)
    }
}
