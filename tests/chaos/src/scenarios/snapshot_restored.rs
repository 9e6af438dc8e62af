//! etcd is restored from an earlier copy of its data, and told so: no tick runs twice, no two runs of a job overlap, and
//! only ticks between the copy and the command may be without an outcome. What does not wait for that is what
//! docs/guarantees.md excepts: runs that are made again because the copy does not know that they ended.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use test_support::wait::until;

use super::{CLAIM_MS, SETTLE, punctuality};
use crate::{
    checker::{Fault, Kind},
    cluster::{PATIENCE, PREFIX},
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// How long a longer run lasts, in halves of a second.
const LONGER: u32 = 8;

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    trial.picture.clone_from(&options.svg);
    trial.rules.punctuality = Some(punctuality(options));
    trial.rules.excused.extend([Kind::Missed, Kind::Lost, Kind::Unsuccessful]);
    let count = options.jobs(40);
    let short = TestJob::several(count, "short", 1, &trial.truth.once());
    let longer = TestJob::several(count.div_ceil(4), "longer", 5, &trial.truth.lasting(LONGER));
    trial.save(&short).await?;
    trial.save(&longer).await?;
    trial.run_for(Duration::from_secs(8)).await;

    let copied_ms = trial.now_ms();
    trial.cluster.kill_etcd();
    each_member(&mut trial, |dir| copy(&dir.join("data"), &dir.join("snapshot")))?;
    trial.cluster.restart_etcd().await;
    let goes_on_ms = trial.now_ms();
    trial.rules.faults.push(Fault::new("etcd is copied", copied_ms - CLAIM_MS, goes_on_ms));
    trial.note("etcd's data is copied, and etcd goes on");
    trial.run_for(options.duration(60)).await;

    let lost_ms = trial.now_ms();
    trial.cluster.kill_etcd();
    each_member(&mut trial, |dir| {
        std::fs::remove_dir_all(dir.join("data")).context("remove etcd's data")?;
        std::fs::rename(dir.join("snapshot"), dir.join("data")).context("put the copy back")
    })?;
    trial.cluster.restart_etcd().await;
    let restored_ms = trial.now_ms();
    trial.note(format_args!("etcd is what it was {:.0} s ago", (restored_ms - copied_ms) as f64 / 1000.0));
    let count = trial.cluster.workers().len();
    until("all workers say that the store was restored", PATIENCE, || async {
        let workers = trial.api.get("/api/v1/workers").await.ok()?;
        let items = workers["items"].as_array()?;
        (items.iter().filter(|worker| worker["readiness"] == "store_restored").count() == count).then_some(())
    })
    .await;
    let before = trial.starts_since(restored_ms)?.len();
    trial.require(before == 0, "runs that began before the workers were told", before);
    let said = after_restore(&trial, options)?;
    trial.note(said.trim_end());
    let told_ms = trial.now_ms();
    let mut fault = Fault::new("etcd is restored", lost_ms - CLAIM_MS, told_ms);
    // Ticks that nobody had decided are passed over, without a record.
    fault.excuses.insert(Kind::Gap);
    trial.rules.faults.push(fault);
    let newest = trial.truth.read()?.iter().map(|line| line.fence).max().unwrap_or_default();
    trial.run_for(options.lease_ttl * 2 + Duration::from_secs(10)).await;
    let after = trial.starts_since(told_ms)?;
    let oldest = after.iter().map(|line| line.fence).min().unwrap_or_default();
    trial.require(oldest > newest, "fences after the restore and before", format_args!("{oldest}, {newest}"));
    trial.finish(SETTLE).await
}

fn each_member(trial: &mut Trial, act: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let mut members = 0..trial.cluster.etcd.size();
    members.try_for_each(|n| act(trial.cluster.etcd.member(n).dir()))
}

/// Of a process that writes nothing any more.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().context("start cp")?;
    ensure!(copied.success(), "{} is not copied", from.display());
    Ok(())
}

fn after_restore(trial: &Trial, options: &Options) -> Result<String> {
    let endpoints = trial.cluster.etcd.endpoints().join(",");
    let done = Command::new(options.layout().quorate)
        .args(["admin", "after-restore", "--etcd", &endpoints, "--prefix", PREFIX])
        .output()
        .context("start quorate admin after-restore")?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "after-restore: {text}{}", String::from_utf8_lossy(&done.stderr));
    Ok(text)
}
