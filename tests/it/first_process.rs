//! The first process of a container, or what is one as far as processes go.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use test_support::servers::free_port;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::support::{
    dev::{PATIENCE, http},
    wait::until,
};

/// Leaves orphans, and ends when none of them is a zombie.
const ORPHANS: &str = "for n in 1 2 3 4 5; do (sleep 0.2 &); done; sleep 0.4; \
    while cat /proc/[0-9]*/status 2>/dev/null | grep -q '^State:.Z'; do sleep 0.1; done; echo none is left";

fn dev_as_first_process(port: u16, dir: &Path) -> Result<Child> {
    Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", env!("CARGO_BIN_EXE_quorate"), "dev"])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--zone", "UTC", "--data-dir"])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("start it")
}

/// The only child of a process.
async fn child_of(pid: u32) -> Pid {
    until("a child", PATIENCE, || async {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        Some(Pid::from_raw(children.trim().parse().ok()?))
    })
    .await
}

#[tokio::test]
async fn the_first_process_waits_for_orphans_and_hands_signals_on() -> Result<()> {
    let mut tried = Command::new("unshare");
    tried.args(["--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null());
    if !tried.status().await.is_ok_and(|status| status.success()) {
        eprintln!("skipped: process numbers of its own take root");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let port = free_port();
    let mut dev = dev_as_first_process(port, &dir.path().join("data"))?;
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    until("it is ready", PATIENCE, || async {
        let answer = http().get(url("/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let job =
        json!({"trigger": {"manual": true}, "driver": {"shell": {"command": ORPHANS}}, "timeout": "20s"});
    let saved = http().put(url("/api/v1/jobs/orphans")).json(&job).send().await?;
    ensure!(saved.status().is_success(), "{}", saved.text().await?);
    let asked: Value = http().post(url("/api/v1/jobs/orphans/run")).send().await?.json().await?;
    let run = url(&format!("/api/v1/runs/{}", asked["run"].as_str().context("a run")?));
    let ended = until("it has ended", PATIENCE, || async {
        let view: Value = http().get(&run).send().await.ok()?.json().await.ok()?;
        (!view["ended"].is_null()).then_some(view)
    })
    .await;
    assert_eq!(ended["state"], "succeeded", "{ended}");

    let first = child_of(dev.id().context("it has not ended")?).await;
    kill(first, Signal::SIGTERM)?;
    let status = timeout(Duration::from_secs(60), dev.wait()).await.context("it ends")??;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}
