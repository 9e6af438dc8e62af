//! A worker's data directory: full, or copied while it is used.

use std::{
    fs::File,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use test_support::wait::until;
use tokio::time::{Instant, sleep};

use crate::{cluster::PATIENCE, trial::Trial};

/// Room that becomes free, as when records are sent, is taken so soon.
const FILL_EVERY: Duration = Duration::from_millis(20);

/// The least that a file system gives.
const PAGE: usize = 4096;

/// Leaves no room in the data directory of the worker that has a small one, until it has said so and `lasts` is over.
pub(super) async fn fill(trial: &Trial, lasts: Duration) -> Result<()> {
    let small = trial.cluster.workers().iter().find(|worker| worker.layout().room_bytes.is_some());
    let Some(worker) = small else {
        trial.note("skipped: a data directory of bounded size takes root, to mount it");
        return Ok(());
    };
    let id = worker.id();
    let ballast = worker.data_dir().join("ballast");
    let mut file = File::create(&ballast).context("make the ballast")?;
    let (begun, mut said) = (Instant::now(), false);
    while !said || begun.elapsed() < lasts {
        fill_up(&mut file).context("write the ballast")?;
        said = said || readiness(trial, id).await.is_some_and(|readiness| readiness == "disk_full");
        anyhow::ensure!(said || begun.elapsed() < PATIENCE, "{id} does not say that it has no room");
        sleep(FILL_EVERY).await;
    }
    // Its room is free when nobody has it open.
    drop(file);
    std::fs::remove_file(&ballast).context("remove the ballast")?;
    until(&format!("{id} claims again"), PATIENCE, || async {
        readiness(trial, id).await.filter(|readiness| readiness == "ready")
    })
    .await;
    Ok(())
}

fn fill_up(file: &mut File) -> io::Result<()> {
    loop {
        match file.write_all(&[0; PAGE]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn readiness(trial: &Trial, id: &str) -> Option<String> {
    let workers = trial.api.get("/api/v1/workers").await.ok()?;
    let own = workers["items"].as_array()?.iter().find(|worker| worker["id"] == id)?;
    own["readiness"].as_str().map(str::to_owned)
}

/// Starts a second worker on a copy of a worker's data directory. It has to leave the first alone.
pub(super) async fn copy(trial: &mut Trial, n: usize, lasts: Duration) -> Result<()> {
    let id = trial.cluster.workers()[n].id().to_owned();
    let earlier = trial.cluster.session_of(&id).await?;
    let copy = trial.cluster.start_on_copy(n);
    sleep(lasts).await;
    let log = log_of(copy.server().dir()).context("read the copy's log")?;
    drop(copy);
    let session = trial.cluster.session_of(&id).await?;
    let kept = session == earlier;
    let says = log.lines().find(|line| line.contains("is taken")).unwrap_or("nothing of it").to_owned();
    trial.require(kept, format!("{id} keeps its session beside a copy of itself, which says"), says);
    Ok(())
}

fn log_of(dir: &Path) -> io::Result<String> {
    std::fs::read_to_string(dir.join("log"))
}
