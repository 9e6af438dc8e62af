//! A `quorate dev` of a test's own: on a free port, with a data directory that goes with it.

use std::{
    fmt::Debug,
    future::Future,
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Long enough for a loaded machine; a healthy one needs a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running `quorate dev`, killed when dropped.
pub(crate) struct Dev {
    url: String,
    // Before the directory: what still runs may write into it.
    process: Child,
    directory: TempDir,
}

impl Dev {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start() -> Result<Self> {
        let directory = tempfile::tempdir().context("make a data directory")?;
        let port = free_port()?;
        let log = std::fs::File::create(directory.path().join("log")).context("create its log")?;
        let process = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(["dev", "--listen", &format!("127.0.0.1:{port}"), "--zone", "UTC", "--data-dir"])
            .arg(directory.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("start quorate dev")?;
        let mut dev = Self { url: format!("http://127.0.0.1:{port}"), process, directory };
        dev.wait_ready().await?;
        Ok(dev)
    }

    /// Where it serves, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let client = http()?;
        let url = format!("{}/readyz", self.url);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = client.get(&url).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            let ended = self.process.try_wait().context("look at quorate dev")?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                anyhow::bail!("quorate dev is not ready ({answer:?}, ended: {ended:?}); it said:\n{log}");
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// A client for requests of a test.
pub(crate) fn http() -> Result<reqwest::Client> {
    // An error says that another test of this process was first, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()
        .context("make an HTTP client")
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a free port")?;
    Ok(listener.local_addr().context("read the port")?.port())
}

/// Looks until `accepts` what `look` gives; after [`PATIENCE`] fails with what it gave last.
pub(crate) async fn eventually<T, F>(
    what: &str,
    mut look: impl FnMut() -> F,
    accepts: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look().await;
        match seen {
            Ok(value) if accepts(&value) => return Ok(value),
            seen if Instant::now() > deadline => anyhow::bail!("never saw {what}; last: {seen:?}"),
            _ => sleep(LOOK_EVERY).await,
        }
    }
}
