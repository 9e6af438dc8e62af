//! A `quorate dev` of a test's own: on a free port, with a data directory that goes with it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

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
    place: Place,
}

/// What it has of the machine.
#[derive(Clone, Copy, Default)]
struct Place {
    /// What its data directory can hold; none: as much as the disk.
    room: Option<u64>,
    /// Its soft limit on handles; none: this process's.
    handles: Option<u64>,
}

/// In a mount namespace of its own, so that nothing is left behind, however it ends.
const ON_SMALL_DISK: &str = r#"set -e
mount --make-rprivate /
mkdir "$DATA"
mount -t tmpfs -o "size=$ROOM" quorate "$DATA"
exec "$0" "$@"
"#;

impl Dev {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_at(Place::default()).await
    }

    /// The same on a data directory that holds so many bytes; `None` where none can be had, which takes root.
    pub(crate) async fn start_on_small_disk(room: u64) -> Option<Self> {
        let mut tried = Command::new("unshare");
        tried.args(["--mount", "mount", "--make-rprivate", "/"]).stderr(Stdio::null());
        let can_be_had = tried.status().await.is_ok_and(|status| status.success());
        if can_be_had {
            Some(Self::start_at(Place { room: Some(room), ..Place::default() }).await)
        } else {
            None
        }
    }

    /// The same with so many handles as the soft limit; the hard one is as it is.
    pub(crate) async fn start_with_handles(soft: u64) -> Self {
        Self::start_at(Place { handles: Some(soft), ..Place::default() }).await
    }

    async fn start_at(place: Place) -> Self {
        let directory = tempfile::tempdir().expect("a data directory");
        let port = free_port();
        let process = spawn(port, &directory, place);
        let mut dev = Self { port, url: format!("http://127.0.0.1:{port}"), process, directory, place };
        dev.wait_ready().await;
        dev
    }

    /// Its data directory, seen from here also where it is in a namespace of its own.
    pub(crate) fn data_dir(&self) -> PathBuf {
        let path = self.directory.path().join("data");
        match (self.place.room, self.process.id()) {
            (Some(_), Some(pid)) => {
                let inside = path.strip_prefix("/").expect("a temporary directory's path begins at the root");
                Path::new("/proc").join(pid.to_string()).join("root").join(inside)
            }
            _ => path,
        }
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_else(|error| error.to_string())
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
        self.process = spawn(self.port, &self.directory, self.place);
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
        format!("it said:\n{}", self.log())
    }
}

fn spawn(port: u16, directory: &TempDir, place: Place) -> Child {
    let log = File::options().create(true).append(true).open(directory.path().join("log")).expect("a log");
    let data = directory.path().join("data");
    let mut command = match place {
        Place { room: None, handles: None } => Command::new(env!("CARGO_BIN_EXE_quorate")),
        Place { room: None, handles: Some(handles) } => {
            let mut command = Command::new("/bin/sh");
            command.args([
                "-c",
                r#"ulimit -S -n "$HANDLES" && exec "$0" "$@""#,
                env!("CARGO_BIN_EXE_quorate"),
            ]);
            command.env("HANDLES", handles.to_string());
            command
        }
        Place { room: Some(room), .. } => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "/bin/sh", "-c", ON_SMALL_DISK, env!("CARGO_BIN_EXE_quorate")]);
            command.env("DATA", &data).env("ROOM", room.to_string());
            command
        }
    };
    command
        .args(["dev", "--listen", &format!("127.0.0.1:{port}"), "--zone", "UTC", "--data-dir"])
        .arg(data)
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
