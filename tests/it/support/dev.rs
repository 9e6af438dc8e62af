//! A `quorate dev` of a test's own: on a free port, with a data directory that goes with it.

use std::{fs::File, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use test_support::servers::free_port;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Long enough for a loaded machine; a healthy one needs a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `quorate dev`, killed when dropped.
pub(crate) struct Dev {
    port: u16,
    url: String,
    // Before the directory: what still runs may write into it.
    process: Child,
    directory: TempDir,
}

impl Dev {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a data directory");
        let port = free_port();
        let process = spawn(port, &directory);
        let mut dev = Self { port, url: format!("http://127.0.0.1:{port}"), process, directory };
        dev.wait_ready().await;
        dev
    }

    /// Where it serves, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends it as a service manager would, and starts it again with what it kept.
    pub(crate) async fn restart(&mut self) {
        let pid = self.process.id().expect("it has not ended by itself");
        let pid = Pid::from_raw(pid.try_into().expect("a process id is small"));
        kill(pid, Signal::SIGTERM).expect("it is ours");
        let ended = timeout(PATIENCE, self.process.wait()).await.expect("it ends after TERM");
        assert!(
            ended.as_ref().is_ok_and(|status| status.success()),
            "it ended with {ended:?}; {}",
            self.said()
        );
        self.process = spawn(self.port, &self.directory);
        self.wait_ready().await;
    }

    async fn wait_ready(&mut self) {
        let (client, url) = (http(), format!("{}/readyz", self.url));
        let begun = Instant::now();
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            let ended = self.process.try_wait();
            let waits = matches!(ended, Ok(None)) && begun.elapsed() < PATIENCE;
            assert!(waits, "quorate dev is not ready (ended: {ended:?}); {}", self.said());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn said(&self) -> String {
        let log = std::fs::read_to_string(self.directory.path().join("log"));
        format!("it said:\n{}", log.unwrap_or_else(|error| error.to_string()))
    }
}

fn spawn(port: u16, directory: &TempDir) -> Child {
    let log = File::options().create(true).append(true).open(directory.path().join("log")).expect("a log");
    Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["dev", "--listen", &format!("127.0.0.1:{port}"), "--zone", "UTC", "--data-dir"])
        .arg(directory.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("start quorate dev")
}

/// A client for requests of a test.
pub(crate) fn http() -> reqwest::Client {
    // An error says that another test of this process was first, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().expect("an HTTP client")
}
