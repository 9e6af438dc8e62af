//! Rubbish among the stored jobs harms only itself, and a good job that somebody wrote by hand runs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use test_support::wait::until;

use super::SETTLE;
use crate::{
    cluster::{PATIENCE, PREFIX},
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// What stands under `jobs/` and is no job.
const BAD: &[(&str, &str)] = &[
    ("no-json", "{{{ this is no JSON"),
    ("empty", ""),
    ("cut", r#"{"name":"cut","command":"echo x","cron"#),
    ("a-number", "7"),
    ("reversed", r#"{"name":"reversed","command":"echo x","cronExpr":"0 50-10 * * * * *"}"#),
    ("impossible", r#"{"name":"impossible","command":"echo x","cronExpr":"0 0 30 2 *"}"#),
    ("long-ago", r#"{"name":"long-ago","command":"echo x","cronExpr":"0 0 0 1 1 ? 2020"}"#),
    ("unknown-field", r#"{"name":"unknown-field","command":"echo x","cronExpr":"* * * * * * *","colour":1}"#),
    ("wrong-name", r#"{"name":"another","command":"echo x","cronExpr":"* * * * * * *"}"#),
    ("of/two", r#"{"name":"of/two","command":"echo x","cronExpr":"* * * * * * *"}"#),
    ("no-command", r#"{"name":"no-command","cronExpr":"* * * * * * *"}"#),
    (
        "no-zone",
        r#"{"name":"no-zone","trigger":{"cron":["* * * * * * *"],"zone":"Nowhere/At"},"driver":{"shell":{"command":"true"}}}"#,
    ),
    (
        "version",
        r#"{"v":99,"job":{"name":"version","trigger":{"manual":true},"driver":{"shell":{"command":"true"}}}}"#,
    ),
];

/// Bytes that are no text.
const NO_TEXT: &[u8] = b"\xff\xfe\x00{";

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    let jobs = TestJob::several(options.jobs(50), "good", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    trial.run_for(Duration::from_secs(3)).await;
    write_bad_jobs(&mut trial).await?;
    let by_hand = write_good_job(&mut trial).await?;
    trial.run_for(options.duration(20)).await;
    trial.close_window();
    look_at_the_list(&mut trial).await?;
    trial.delete(&jobs).await?;
    trial.delete(&[by_hand]).await?;
    trial.finish(SETTLE).await
}

async fn write_bad_jobs(trial: &mut Trial) -> Result<()> {
    let mut etcd = trial.cluster.etcd_client().await?;
    for (name, value) in BAD {
        etcd.put(format!("{PREFIX}jobs/{name}"), *value, None).await.context("write a bad job")?;
    }
    etcd.put(format!("{PREFIX}jobs/no-text"), NO_TEXT, None).await.context("write a bad job")?;
    etcd.put([PREFIX.as_bytes(), b"jobs/no-\xff-name"].concat(), "{}", None)
        .await
        .context("write a bad job")?;
    // Rubbish where the scheduler keeps its own.
    for place in [
        "locks/good-00001x",
        "workers/nobody",
        "marks/nobody",
        "queue/nothing",
        "runs/nothing",
        "kills/nothing",
    ] {
        etcd.put(format!("{PREFIX}{place}"), "rubbish", None).await.context("write rubbish")?;
    }
    trial.note(format!("wrote {} bad jobs and other rubbish", BAD.len() + 8));
    Ok(())
}

/// A right one, in GDTS's form. It has no lock until a worker makes one: from its first run on its ticks count.
async fn write_good_job(trial: &mut Trial) -> Result<TestJob> {
    let job = TestJob { name: "by-hand".to_owned(), every_seconds: 1, command: trial.truth.once() };
    let value = json!({"name": job.name, "command": job.command, "cronExpr": "* * * * * * *"});
    let mut etcd = trial.cluster.etcd_client().await?;
    let written_ms = trial.now_ms();
    etcd.put(format!("{PREFIX}jobs/{}", job.name), value.to_string(), None).await.context("write a job")?;
    let truth = trial.truth.clone();
    let first = until("a job written by hand runs", PATIENCE, || async {
        let lines = truth.read().ok()?;
        lines.into_iter().find(|line| line.job == job.name).map(|line| line.at_ms)
    })
    .await;
    trial.expect(&job);
    trial.note(format!("a job written by hand first ran after {} ms", first - written_ms));
    Ok(job)
}

async fn look_at_the_list(trial: &mut Trial) -> Result<()> {
    let list = trial.api.get("/api/v1/jobs?limit=500").await?;
    let shown: Vec<&str> =
        list["broken"].as_array().into_iter().flatten().filter_map(|job| job["name"].as_str()).collect();
    let shown = shown.join(", ");
    trial.require(shown.contains("no-json"), "the list of jobs shows as broken", shown);
    Ok(())
}
