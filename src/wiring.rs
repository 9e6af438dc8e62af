//! Puts ports and roles together: the only place that names adapters.

// A process must not panic because nobody reads what it says: see `telemetry::say`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

use std::{
    collections::BTreeMap,
    fs::{File, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use chrono_tz::Tz;
use common::{
    clock::{Clock, SystemClock},
    handles,
    id::{RunId, WorkerId},
    live::{LiveError, LiveOutput, LiveOutputs},
    runlog::{
        RunLog,
        embedded::EmbeddedRunLog,
        mongo::{MongoOptions, MongoRunLog},
    },
    store::{
        Store,
        embedded::EmbeddedStore,
        etcd::{EtcdConfig, EtcdStore},
        key::Keys,
    },
    worker::Registration,
};
use manager::{Manager, ManagerConfig, ManagerPorts};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use nix::sys::stat::{Mode, umask};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use worker::{Worker, WorkerConfig, WorkerPorts, driver::Forbidden, run::runner::Runner};

use crate::{
    assets,
    config::{AuthMode, EngineSettings, EtcdSettings, Secret},
};

/// How long run logs are kept.
pub(crate) const RETENTION: Duration = Duration::from_secs(30 * 86_400);

/// Between two prunings of the run log.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Between two looks at the handles that are left: as many as a soft limit allows are not taken meanwhile.
const HANDLES_EVERY: Duration = Duration::from_millis(100);

/// Records of one job that are kept, at most.
const RECORDS_PER_JOB: u64 = 10_000;

/// What a manager needs beside its stores.
pub(crate) struct ManagerOptions {
    /// Its name; none: made of the host's name and the process id.
    pub(crate) id: Option<String>,
    /// Where to serve.
    pub(crate) listen: SocketAddr,
    /// Where everything is in the store.
    pub(crate) keys: Keys,
    /// The zone of jobs that are saved without one.
    pub(crate) zone: Tz,
    /// Further names by which it may be reached.
    pub(crate) allowed_hosts: Vec<String>,
    /// The workers' lease.
    pub(crate) lease_ttl: Duration,
    /// How much of the store's history is kept; none: that is somebody else's.
    pub(crate) store_history: Option<Duration>,
}

/// What a worker needs beside its stores.
pub(crate) struct WorkerOptions {
    /// Its id; none: made once and kept in the data directory.
    pub(crate) id: Option<WorkerId>,
    /// Where everything is in the store.
    pub(crate) keys: Keys,
    /// Its own directory.
    pub(crate) data_dir: PathBuf,
    /// What jobs may require.
    pub(crate) labels: BTreeMap<String, String>,
    /// Runs at the same time.
    pub(crate) slots: u32,
    /// Its lease.
    pub(crate) lease_ttl: Duration,
    /// How long each next-ranked worker waits.
    pub(crate) hedge: Duration,
    /// The shell of jobs that name none.
    pub(crate) shell: PathBuf,
    /// Addresses that calls over HTTP must not reach.
    pub(crate) http_forbid: Forbidden,
    /// Where containers are run.
    pub(crate) engine: EngineSettings,
    /// Where managers read the output of what runs, `host:port`; empty: nowhere.
    pub(crate) address: String,
}

/// The two stores and the time.
#[derive(Clone)]
pub(crate) struct Ports {
    /// Jobs, locks, leases.
    pub(crate) store: Arc<dyn Store>,
    /// What ran.
    pub(crate) runlog: Arc<dyn RunLog>,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
}

/// A data directory that is this process's alone. Keep it while the directory is used.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes and locks a directory; a second process is told what to do. From here on the process has the umask that
    /// jobs have by default: another one of theirs costs each start more. So the one that it came with is applied to
    /// the directory as a whole.
    pub(crate) fn lock(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| {
            format!("make the data directory {}; give another --data-dir", path.display())
        })?;
        let before = umask(Mode::from_bits_truncate(0o022)).bits();
        close_to_others(path, before).with_context(|| {
            format!("close the data directory {} as the umask {before:03o} wants it", path.display())
        })?;
        let lock = File::create(path.join("lock")).with_context(|| {
            format!("write to the data directory {}; give another --data-dir", path.display())
        })?;
        if lock.try_lock().is_err() {
            bail!(
                "the data directory {} is used by another process: give --data-dir or --id",
                path.display()
            );
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes from a directory what the umask would have taken from the files in it.
fn close_to_others(dir: &Path, umask: u32) -> std::io::Result<()> {
    let mode = std::fs::metadata(dir)?.permissions().mode() & 0o7777;
    // What 022 takes, the files in it lack by themselves.
    let open = mode & umask & 0o077 & !0o022;
    if open == 0 {
        return Ok(());
    }
    std::fs::set_permissions(dir, Permissions::from_mode(mode & !(umask & 0o077)))
}

/// etcd and MongoDB. Neither has to be there: servers that cannot be reached are waited for.
pub(crate) async fn cluster_ports(etcd: &EtcdSettings, mongodb: &Secret) -> anyhow::Result<Ports> {
    Ok(Ports {
        store: etcd_store(etcd).await?,
        runlog: Arc::new(MongoRunLog::connect(mongodb.reveal(), MongoOptions::default()).await?),
        clock: Arc::new(SystemClock::start().context("start the clock")?),
    })
}

/// A cluster's store.
pub(crate) async fn etcd_store(etcd: &EtcdSettings) -> anyhow::Result<Arc<dyn Store>> {
    let read = |path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| std::fs::read(path).with_context(|| format!("read {}", path.display())))
            .transpose()
    };
    let config = EtcdConfig {
        endpoints: etcd.endpoints.clone(),
        user: etcd.user.clone(),
        password: etcd.password.as_ref().map(|password| password.reveal().to_owned()),
        ca: read(&etcd.ca)?,
        cert: read(&etcd.cert)?,
        key: read(&etcd.key)?,
        ..EtcdConfig::default()
    };
    Ok(Arc::new(EtcdStore::connect(config).await.context("use etcd's settings")?))
}

/// Everything in one process, on embedded stores in the data directory.
pub(crate) async fn dev(
    manager: ManagerOptions,
    worker: WorkerOptions,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let dir = DataDir::lock(&worker.data_dir)?;
    tokio::spawn(keep_handles(shutdown.clone()));
    let listener = listen(manager.listen).await?;
    let address = listener.local_addr()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start().context("start the clock")?);
    let store = EmbeddedStore::open(&dir.path().join("store.db")).context("open the embedded store")?;
    let store = Arc::new(store);
    let ports = Ports {
        store: store.clone(),
        runlog: Arc::new(
            EmbeddedRunLog::open(&dir.path().join("runlog.db")).context("open the embedded run log")?,
        ),
        clock,
    };
    let worker_dir = dir.path().join("worker");
    let worker = make_worker(WorkerOptions { data_dir: worker_dir, ..worker }, &ports)?;
    let live = Arc::new(SameProcess(worker.runner()));
    // Whichever ends first, by itself or by a panic, ends the others.
    let serving =
        tokio::spawn(ends(shutdown.clone(), serve(manager, ports.clone(), live, listener, shutdown.clone())));
    let pruning = tokio::spawn(ends(shutdown.clone(), prune(ports, shutdown.clone())));
    let written = store.clone();
    let writing = tokio::spawn(ends(shutdown.clone(), async move { written.ended().await }));
    println_line(&format!("Quorate serves http://{address}/ (data in {})", dir.path().display()));
    let worked = worker.run(None, shutdown.clone()).await;
    // Also when the worker could not go on.
    shutdown.cancel();
    let pruned = pruning.await;
    let served = serving.await;
    let has_failed = store.has_ended();
    // Last, whatever became of the others: what they wrote is in one file, which can be copied.
    store.close().await;
    writing.await?;
    ensure!(!has_failed, "the embedded store has failed: what was logged before says why");
    pruned.context("prune the run log")?;
    served.context("serve")??;
    worked.context("run the worker")
}

/// A manager on its own.
pub(crate) async fn manager(
    options: ManagerOptions,
    ports: Ports,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let listener = listen(options.listen).await?;
    println_line(&format!("Quorate manager serves http://{}/", listener.local_addr()?));
    let live = Arc::new(OverHttp::new()?);
    let pruning = tokio::spawn(ends(shutdown.clone(), prune(ports.clone(), shutdown.clone())));
    let served = serve(options, ports, live, listener, shutdown.clone()).await;
    shutdown.cancel();
    pruning.await.context("prune the run log")?;
    served
}

/// A worker on its own. `listener`: where its live output and its measurements can be read.
pub(crate) async fn worker(
    options: WorkerOptions,
    ports: Ports,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let dir = DataDir::lock(&options.data_dir)?;
    tokio::spawn(keep_handles(shutdown.clone()));
    let metrics = recorder()?;
    let worker = make_worker(options, &ports)?.with_measurements(Arc::new(move || metrics.render()));
    let worked = worker.run(Some(listener), shutdown).await;
    drop(dir);
    worked.context("run the worker")
}

/// Says so when strangers could run commands.
pub(crate) fn say_if_open(auth: AuthMode, listen: Option<SocketAddr>) {
    if let (AuthMode::Off, Some(address)) = (auth, listen.filter(|address| !address.ip().is_loopback())) {
        tracing::warn!(%address, "authentication is off: anybody who reaches this address can run commands");
    }
}

/// Takes as many handles as this process may have: each connection takes one. For a process that starts nothing.
pub(crate) fn take_handles() {
    say_if_few(handles::raise());
}

/// The same once they are needed: what a worker starts should have the limit that it came with.
async fn keep_handles(shutdown: CancellationToken) {
    loop {
        // It waits for starts under way.
        let Ok(kept) = tokio::task::spawn_blocking(handles::keep_room).await else { return };
        say_if_few(kept);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(HANDLES_EVERY) => {}
        }
    }
}

fn say_if_few(raised: std::io::Result<()>) {
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on handles (ulimit -Sn) cannot be raised to the hard one; it stays unchanged");
    }
}

/// Listens, or says what to do.
pub(crate) async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listen on {address}: is it taken? Give another --listen, such as 127.0.0.1:8071")
    })
}

/// One line on standard output for people; that nobody reads it is no reason to end. It waits on a thread of its own, for
/// as long as the process lives: whoever is to read it may have stalled.
fn println_line(line: &str) {
    use std::io::Write as _;
    let line = format!("{line}\n");
    let write = move || {
        let mut out = std::io::stdout();
        if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            tracing::debug!(%error, "nobody reads standard output");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("stdout".into()).spawn(write) {
        tracing::warn!(%error, "no thread to write to standard output");
    }
}

/// A task that is part of a process: when it ends, whatever the reason, the process is told to.
fn ends<T>(process: CancellationToken, task: impl Future<Output = T>) -> impl Future<Output = T> {
    let ending = process.drop_guard();
    async move {
        let ended = task.await;
        drop(ending);
        ended
    }
}

async fn serve(
    options: ManagerOptions,
    ports: Ports,
    live: Arc<dyn LiveOutputs>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = recorder()?;
    let config = ManagerConfig {
        id: options.id.unwrap_or_else(|| format!("{}-{}", host_name(), std::process::id())),
        keys: options.keys,
        zone: options.zone,
        listen: options.listen,
        allowed_hosts: options.allowed_hosts,
        lease_ttl: options.lease_ttl,
        store_history: options.store_history,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let ports = ManagerPorts {
        store: ports.store,
        runlog: ports.runlog,
        live,
        clock: ports.clock,
        assets: assets::asset,
        metrics: Arc::new(move || metrics.render()),
    };
    Manager::new(config, ports).serve(listener, shutdown).await.context("serve")
}

/// Upper bounds in seconds: from a punctual start to one that waited for a lease.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

fn recorder() -> anyhow::Result<PrometheusHandle> {
    PrometheusBuilder::new()
        .set_buckets(&BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .context("set the metrics up")
}

fn make_worker(options: WorkerOptions, ports: &Ports) -> anyhow::Result<Worker> {
    let id = match options.id {
        Some(id) => id,
        None => kept_id(&options.data_dir)?,
    };
    let config = WorkerConfig {
        id,
        keys: options.keys,
        labels: options.labels,
        slots: options.slots,
        lease_ttl: options.lease_ttl,
        hedge: options.hedge,
        data_dir: options.data_dir,
        shell: options.shell,
        http_forbid: options.http_forbid,
        engine: options.engine.address,
        registry_auth: options.engine.registry_auth,
        self_exe: std::env::current_exe().context("find this program's own file")?,
        address: options.address,
        host: host_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        retention: RETENTION,
    };
    let ports =
        WorkerPorts { store: ports.store.clone(), runlog: ports.runlog.clone(), clock: ports.clock.clone() };
    Worker::new(config, ports).context("prepare the worker")
}

/// The id in the data directory: the host's name and four hexadecimal digits, made once.
fn kept_id(dir: &Path) -> anyhow::Result<WorkerId> {
    let file = dir.join("id");
    if let Ok(text) = std::fs::read_to_string(&file) {
        return text.trim().parse().with_context(|| format!("read the worker's id from {}", file.display()));
    }
    let digits: String =
        worker::guard::new_session_token().chars().filter(char::is_ascii_hexdigit).take(4).collect();
    let id: WorkerId =
        format!("{}-{digits}", host_name()).parse().context("make an id from the host's name")?;
    std::fs::create_dir_all(dir)?;
    std::fs::write(&file, id.as_str())
        .with_context(|| format!("keep the worker's id in {}", file.display()))?;
    Ok(id)
}

/// This machine's name, of characters that any name may have.
pub(crate) fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

async fn prune(ports: Ports, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PRUNE_EVERY) => {}
        }
        if let Err(error) = ports.runlog.prune(ports.clock.now(), RECORDS_PER_JOB).await {
            tracing::warn!(error = error.chain(), "cannot remove old run logs");
        }
    }
}

/// Live output in one process.
struct SameProcess(Arc<Runner>);

#[async_trait::async_trait]
impl LiveOutputs for SameProcess {
    async fn read(&self, _worker: &Registration, run: &RunId, from: u64) -> Result<LiveOutput, LiveError> {
        self.0.live(run, from)
    }
}

/// Live output from another process, by its address.
struct OverHttp(reqwest::Client);

impl OverHttp {
    fn new() -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(4))
            .no_proxy()
            .build()
            .context("set the HTTP client up")?;
        Ok(Self(client))
    }
}

#[async_trait::async_trait]
impl LiveOutputs for OverHttp {
    async fn read(&self, worker: &Registration, run: &RunId, from: u64) -> Result<LiveOutput, LiveError> {
        let unreachable = |why: &dyn std::fmt::Display| {
            LiveError::Unreachable(format!("worker {} at {:?}: {why}", worker.id, worker.address))
        };
        let url = format!("http://{}/live/{run}?from={from}", worker.address);
        let answer = self.0.get(url).send().await.map_err(|error| unreachable(&error))?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Err(LiveError::NotRunning);
        }
        let answer = answer.error_for_status().map_err(|error| unreachable(&error))?;
        answer.json().await.map_err(|error| unreachable(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_closed_as_its_files_would_have_been() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, umask, after) in
            [(0o755, 0o077, 0o700), (0o755, 0o027, 0o750), (0o755, 0o022, 0o755), (0o2770, 0, 0o2770)]
        {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            close_to_others(dir.path(), umask).unwrap();
            let found = std::fs::metadata(dir.path()).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, after, "{mode:o} with {umask:o}");
        }
    }
}
