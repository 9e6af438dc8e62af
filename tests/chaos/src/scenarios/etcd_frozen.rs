//! All of etcd is frozen, connections open: every route of the API answers in time, and afterwards all goes on.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;
use reqwest::Method;

use super::{SETTLE, etcd_stopped::resumed};
use crate::{
    checker::Kind,
    options::Options,
    trial::{TestJob, Trial, Verdict},
};

/// How long a route may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let mut trial = Trial::start(&options.layout()).await?;
    trial.rules.tolerated.extend([Kind::Missed, Kind::Lost]);
    let jobs = TestJob::several(options.jobs(50), "second", 1, &trial.truth.once());
    trial.save(&jobs).await?;
    trial.run_for(Duration::from_secs(5)).await;
    trial.cluster.freeze_etcd().await;
    trial.note("etcd is frozen");
    ask_all(&mut trial, &jobs[0], "at once").await;
    let frozen = options.duration(30);
    trial.run_for(frozen).await;
    ask_all(&mut trial, &jobs[0], &format!("after {} s", frozen.as_secs())).await;
    trial.cluster.thaw_etcd();
    trial.cluster.etcd.wait_ready().await;
    let up_ms = trial.now_ms();
    trial.note("etcd goes on");
    trial.run_for(Duration::from_secs(15)).await;
    resumed(&mut trial, up_ms, &jobs)?;
    trial.close_window();
    trial.delete(&jobs).await?;
    trial.finish(SETTLE).await
}

/// Calls every route at the same time.
async fn ask_all(trial: &mut Trial, job: &TestJob, when: &str) {
    let own = format!("/api/v1/jobs/{}", job.name);
    let mut spec = job.spec();
    spec["name"] = job.name.as_str().into();
    let mut calls: Vec<(Method, String)> = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/",
        "/api/v1/jobs",
        &own,
        "/api/v1/runs",
        "/api/v1/workers",
        "/job/list",
        "/worker/list",
        "/job/log?name=x",
    ]
    .into_iter()
    .map(|path| (Method::GET, path.to_owned()))
    .collect();
    calls.push((Method::GET, format!("{own}/ticks")));
    calls.push((Method::PUT, own.clone()));
    calls.push((Method::DELETE, "/api/v1/jobs/none".to_owned()));
    for verb in ["run", "kill", "pause", "resume"] {
        calls.push((Method::POST, format!("{own}/{verb}")));
    }
    calls.push((Method::POST, "/api/v1/jobs".to_owned()));
    calls.push((Method::POST, "/api/v1/validate".to_owned()));
    let (api, spec) = (&trial.api, &spec);
    let answers = join_all(calls.into_iter().map(|(method, path)| async move {
        let body = (method == Method::PUT
            || path.ends_with("validate")
            || path.ends_with("jobs") && method == Method::POST)
            .then_some(spec);
        let begun = Instant::now();
        let status = api.call(method.clone(), &path, body).await;
        (format!("{when}: {method} {path}"), status.map(|(status, _)| status), begun.elapsed())
    }))
    .await;
    for (call, status, took) in answers {
        let text = status.map_or_else(|error| format!("no answer: {error:#}"), |status| status.to_string());
        let is_well = took <= ANSWERS_WITHIN && !text.starts_with("no");
        trial.require(is_well, call, format_args!("{text} in {} ms", took.as_millis()));
    }
}
