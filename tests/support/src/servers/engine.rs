//! Container engines: Docker's and podman's, each on a socket of its own. See `tests/tools/engine.sh`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::setting;

/// The image that every engine of the tests has, with a busybox in it.
pub const IMAGE: &str = "quorate-test:1";

/// Whose engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    Docker,
    Podman,
}

/// An engine of a test's own, which ends with it, containers and all.
pub struct Engine {
    keeper: Child,
    says: BufReader<ChildStdout>,
    socket: PathBuf,
}

impl EngineKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The socket of an engine that other tests use too: keep to containers of your own.
    pub fn shared(self) -> PathBuf {
        static DOCKER: OnceLock<(Engine, File)> = OnceLock::new();
        static PODMAN: OnceLock<(Engine, File)> = OnceLock::new();
        let (variable, cell) = match self {
            Self::Docker => ("QUORATE_TEST_DOCKER_SOCKET", &DOCKER),
            Self::Podman => ("QUORATE_TEST_PODMAN_SOCKET", &PODMAN),
        };
        if let Some(socket) = setting(variable) {
            return socket.into();
        }
        // Never dropped: its keeper ends it with this process.
        let (engine, _lock) = cell.get_or_init(|| {
            // Two engines of a kind would give the same ports away.
            let path = std::env::temp_dir().join(format!("quorate-test-{}.lock", self.name()));
            let lock = File::create(path).expect("make a lock file");
            lock.lock().expect("wait for the other process's engine");
            (Engine::launch(self, None), lock)
        });
        engine.socket.clone()
    }
}

impl Engine {
    /// Starts an engine that has no network to give.
    pub fn start(kind: EngineKind) -> Self {
        Self::launch(kind, Some("bridgeless"))
    }

    fn launch(kind: EngineKind, more: Option<&str>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/engine.sh");
        // Podman takes no folder of more than 50 characters: not below TMPDIR, which may be long.
        let dir = Path::new("/tmp").join(format!("quorate-{}-{}", kind.name(), super::unique()));
        let mut keeper = match nix::unistd::geteuid().is_root() {
            true => Command::new(script),
            false => {
                let mut sudo = Command::new("sudo");
                sudo.arg("-n").arg(script);
                sudo
            }
        };
        let mut keeper = keeper
            .arg(kind.name())
            .arg(&dir)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It is still clearing up when a test has ended.
            .stderr(Stdio::null())
            .spawn()
            .expect("start the keeper of an engine");
        let says = BufReader::new(keeper.stdout.take().expect("the keeper's output is a pipe"));
        let mut engine = Self { keeper, says, socket: dir.join("engine.sock") };
        engine.hear("ready");
        engine
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Kills the engine and what serves it; the containers go on.
    pub fn kill_9(&mut self) {
        self.tell("kill");
        self.hear("killed");
    }

    /// Starts it again on its data.
    pub fn restart(&mut self) {
        self.tell("start");
        self.hear("ready");
    }

    fn tell(&mut self, word: &str) {
        let input = self.keeper.stdin.as_mut().expect("the keeper listens");
        writeln!(input, "{word}").expect("tell the keeper");
    }

    fn hear(&mut self, word: &str) {
        let mut said = String::new();
        loop {
            let begin = said.len();
            let read = self.says.read_line(&mut said).expect("read what the keeper says");
            if said[begin..].trim() == word {
                return;
            }
            assert!(
                read > 0,
                "no container engine: {said}\nThese tests need root, themselves or by `sudo -n`, and on Debian: apt-get install -y \
                 --no-install-recommends docker.io podman busybox-static iptables runc containernetworking-plugins"
            );
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

/// Asks an engine something, and gives the status and what it answers.
pub async fn ask_engine(socket: &Path, method: &str, path: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).await.expect("connect to the engine");
    // In this version an answer ends with its connection.
    let request = format!("{method} /v1.41{path} HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("ask the engine");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read the engine's answer");
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body.trim()).unwrap_or_default())
}
