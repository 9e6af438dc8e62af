//! etcd restored from a snapshot: no tick runs twice, and the workers go on without a restart.

use std::{collections::HashMap, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use chaos::{
    options::Options,
    trial::{TestJob, Trial},
    truth::Line,
};
use clap::Parser as _;

use crate::support::wait::until;

/// Long enough for a loaded machine; a healthy one needs a tenth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that was claimed when etcd was stopped may write its line some time later, but claims are made ahead of their
/// ticks by less than this.
const AHEAD_MS: i64 = 150;

/// Of a process that writes nothing any more.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().context("start cp")?;
    ensure!(copied.success(), "{} is not copied", from.display());
    Ok(())
}

/// The runs whose tick lies after an instant, in milliseconds since 1970.
fn ticks_after(trial: &Trial, instant: i64) -> Result<Vec<Line>> {
    let mut lines = trial.starts_since(0)?;
    lines.retain(|line| line.tick.is_some_and(|tick| tick.instant().timestamp_millis() > instant));
    Ok(lines)
}

/// The same, when there are some.
async fn runs_after(trial: &Trial, what: &str, instant: i64) -> Vec<Line> {
    until(what, PATIENCE, || async {
        let lines = ticks_after(trial, instant).ok()?;
        (lines.len() >= 5).then_some(lines)
    })
    .await
}

// Once: claims that were decided before the restore were sent after it, with fences below what had run (1 play
// in 5).
#[tokio::test]
async fn after_a_restored_snapshot_no_tick_runs_twice_and_the_workers_go_on() -> Result<()> {
    let quorate = env!("CARGO_BIN_EXE_quorate");
    let fixed = ["chaos", "every-second", "--quorate", quorate, "--members", "1"];
    let options = fixed.iter().chain(&["--managers", "1", "--workers", "2", "--lease-ttl", "5s"]);
    let mut trial = Trial::start(&Options::parse_from(options).layout()).await?;
    let jobs = TestJob::several(5, "job", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    runs_after(&trial, "the jobs run", 0).await;

    // The snapshot, of an etcd that goes on.
    let (data, snapshot) = {
        let dir = trial.cluster.etcd.member(0).dir();
        (dir.join("data"), dir.join("snapshot"))
    };
    trial.cluster.kill_etcd();
    copy(&data, &snapshot)?;
    trial.cluster.restart_etcd().await;
    let lines = runs_after(&trial, "the jobs run on", trial.now_ms()).await;
    let newest = lines.iter().map(|line| line.fence).max().context("a run")?;

    trial.cluster.kill_etcd();
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&snapshot, &data)?;
    let restored = trial.now_ms() + AHEAD_MS;
    trial.cluster.restart_etcd().await;
    until("both workers say that the store was restored", PATIENCE, || async {
        let workers = trial.api.get("/api/v1/workers").await.ok()?;
        let says = |worker: &serde_json::Value| worker["readiness"] == "store_restored";
        (workers["items"].as_array()?.iter().filter(|worker| says(worker)).count() == 2).then_some(())
    })
    .await;
    // Two ticks more of each job, which must not run.
    until("they had the time to run", PATIENCE, || async {
        (trial.now_ms() > restored + 2000).then_some(())
    })
    .await;
    let before = ticks_after(&trial, restored)?;
    ensure!(before.is_empty(), "runs in a restored store: {before:?}");

    let endpoints = trial.cluster.etcd.endpoints().join(",");
    let done = crate::cli::run(&["admin", "after-restore", "--etcd", &endpoints])?;
    ensure!(done.code == Some(0), "{}{}", done.out, done.err);
    ensure!(done.out.contains("of 5 fences moved to") && done.out.contains("epoch 1"), "{}", done.out);
    let after = runs_after(&trial, "the jobs run again", restored).await;
    ensure!(after.iter().all(|line| line.fence > (1 << 40) && line.fence > newest), "{after:?}");

    let mut of_tick: HashMap<_, Vec<Line>> = HashMap::new();
    for line in trial.starts_since(0)? {
        of_tick.entry((line.job.clone(), line.tick)).or_default().push(line);
    }
    let twice: Vec<_> = of_tick.values().filter(|lines| lines.len() > 1).collect();
    ensure!(twice.is_empty(), "{twice:?}");
    Ok(())
}
