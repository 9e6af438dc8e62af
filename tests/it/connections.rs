//! Clients that hold connections keep neither other clients nor runs from what they need.

use std::{io::ErrorKind, process::Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    cli::quorate,
    support::{
        dev::{PATIENCE, http},
        servers::free_port,
        wait::until,
    },
};

/// File handles that the server may have.
const HANDLES: usize = 160;

/// Half of them are for connections.
const CONNECTIONS: usize = HANDLES / 2;

/// A `quorate dev` with few file handles, killed when dropped.
struct Narrow {
    address: String,
    _process: Child,
    // After the process: what still runs may write into it.
    _directory: TempDir,
}

impl Narrow {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = format!("127.0.0.1:{}", free_port());
        let program = quorate(&["dev", "--listen", &address, "--data-dir"]);
        // Both limits: a process may raise its own up to the hard one.
        let script = format!("ulimit -n {HANDLES} && exec \"$@\"");
        let process = Command::new("/bin/sh")
            .args(["-c", &script, "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .arg(directory.path().join("data"))
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("QUORATE_CONFIG", "/dev/null")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start quorate dev");
        let narrow = Self { address, _process: process, _directory: directory };
        until("it is ready", PATIENCE, || narrow.text("/readyz")).await;
        narrow
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn text(&self, path: &str) -> Option<String> {
        let answer = http().get(self.url(path)).send().await.ok()?;
        if answer.status().is_success() { answer.text().await.ok() } else { None }
    }

    async fn json(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.text(path).await?).ok()
    }

    /// How many connections were closed for this reason.
    async fn closed(&self, reason: &str) -> u64 {
        let metrics = until("its metrics can be read", PATIENCE, || self.text("/metrics")).await;
        let name = format!("quorate_http_connections_closed_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().expect("a number"))
    }

    /// Saves a job and has it run; which run that is.
    async fn start_run(&self, name: &str, command: &str) -> String {
        let job = json!({"trigger": {"manual": true}, "driver": {"shell": {"command": command}}});
        let url = self.url(&format!("/api/v1/jobs/{name}"));
        let saved = http().put(&url).json(&job).send().await.expect("an answer");
        assert!(saved.status().is_success(), "{saved:?}");
        let wanted = http().post(format!("{url}/run")).send().await.expect("an answer");
        let wanted: Value = wanted.json().await.expect("JSON");
        wanted["run"].as_str().expect("a run").to_owned()
    }

    async fn run_in_state(&self, run: &str, state: &str) {
        until(&format!("the run is {state}"), PATIENCE, || async {
            let view = self.json(&format!("/api/v1/runs/{run}")).await?;
            (view["state"] == state).then_some(())
        })
        .await;
    }

    /// A connection on which so much was sent.
    async fn connect(&self, sent: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).await.expect("it listens");
        // One that was closed at once may say so here.
        stream.write_all(sent.as_bytes()).await.ok();
        stream
    }
}

/// True once the server has closed it.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = timeout(PATIENCE, stream.read(&mut [0; 1024])).await.expect("an answer or an end in time");
    matches!(read, Ok(0) | Err(_))
}

/// True when the server has closed it by now, which answers nothing on it.
fn has_ended(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 1024]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Ok(1..) => panic!("it was to wait"),
        Ok(0) | Err(_) => true,
    }
}

// Once: a few hundred idle connections took all file handles, and runs stopped.
#[tokio::test]
async fn idle_connections_and_slow_heads_keep_nobody_out_and_runs_go_on() {
    let narrow = Narrow::start().await;
    let mut held = Vec::new();
    for n in 0..2 * HANDLES {
        held.push(narrow.connect(if n % 2 == 0 { "" } else { "GET /readyz HTTP/1.1\r\nhost: lo" }).await);
        if n % CONNECTIONS == 0 {
            assert!(narrow.text("/healthz").await.is_some(), "after {n} connections");
        }
    }
    let runs = ["one", "two", "three"];
    for name in runs {
        let run = narrow.start_run(name, "echo works").await;
        narrow.run_in_state(&run, "succeeded").await;
    }
    assert!(is_closed(&mut held[0]).await);
    let closed = narrow.closed("crowded").await;
    assert!(closed >= (2 * HANDLES - CONNECTIONS) as u64, "{closed}");
    assert_eq!(narrow.closed("full").await, 0);
}

#[tokio::test]
async fn while_all_connections_wait_for_answers_one_more_is_closed_and_counted() {
    let narrow = Narrow::start().await;
    let run = narrow.start_run("long", "sleep 600").await;
    narrow.run_in_state(&run, "running").await;
    let wait = format!("GET /api/v1/runs/{run}/output?wait=30s HTTP/1.1\r\nhost: {}\r\n\r\n", narrow.address);
    let mut waiting = Vec::new();
    while waiting.len() < CONNECTIONS {
        waiting.push(narrow.connect(&wait).await);
    }
    // Each one more closes one. Those whose request is not read yet are idle, and give way; when there is none of them
    // left, it is the newest.
    loop {
        waiting.push(narrow.connect(&wait).await);
        let closed = until("one is closed", PATIENCE, async || waiting.iter().position(has_ended)).await;
        waiting.remove(closed);
        if closed == waiting.len() {
            break;
        }
    }
    assert_eq!(waiting.len(), CONNECTIONS);
    assert!(!waiting.iter().any(has_ended));
    drop(waiting);
    until("it is counted, and others are answered again", PATIENCE, || async {
        (narrow.closed("full").await >= 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken_to_those_who_may() {
    let narrow = Narrow::start().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().expect("a client");
    let answers = (0..20).map(|_| client.get(narrow.url("/api/v1/jobs")).send());
    for answer in futures::future::join_all(answers).await {
        let answer = answer.expect("an answer");
        assert_eq!((answer.version(), answer.status().as_u16()), (reqwest::Version::HTTP_2, 200));
        let jobs: Value = answer.json().await.expect("JSON");
        assert_eq!(jobs["items"], json!([]));
    }
    let elsewhere = narrow.url("/healthz").replace("127.0.0.1", "rebound.example");
    let (host, address) = ("rebound.example", narrow.address.parse().expect("an address"));
    let stranger = reqwest::Client::builder().http2_prior_knowledge().no_proxy().resolve(host, address);
    let refused = stranger.build().expect("a client").get(elsewhere).send().await.expect("an answer");
    assert_eq!(refused.status().as_u16(), 421);
}
