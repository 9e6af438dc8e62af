//! Handles, of which a service has few by its soft limit: it takes what it may, and its jobs see what they would see
//! under cron.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use common::handles;
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{
    dev::{Dev, PATIENCE, http},
    wait::until,
};

/// What services get by default.
const SOFT: u64 = 1024;

/// Clients that connect and say nothing.
const IDLE: usize = 1100;

async fn save(dev: &Dev, name: &str, umask: &str, out: &Path) -> Result<()> {
    let command = format!("echo $(ulimit -Sn) $(ulimit -Hn) >> {}", out.join(name).display());
    let driver = json!({"shell": {"command": command, "umask": umask}});
    let job = json!({"trigger": {"cron": ["* * * * * * *"]}, "driver": driver});
    let saved = http().put(format!("{}/api/v1/jobs/{name}", dev.url())).json(&job).send().await?;
    ensure!(saved.status().is_success(), "{}", saved.text().await?);
    Ok(())
}

fn lines(out: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(out.join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn until_it_runs(out: &Path, name: &str, times: usize) {
    let before = lines(out, name).len();
    until(&format!("{name} runs {times} times more"), PATIENCE, || async {
        (lines(out, name).len() >= before + times).then_some(())
    })
    .await;
}

// Once: 1,100 idle connections kept jobs from running, and the worker said that its disk was full; the soft
// limit on handles was never raised.
#[tokio::test]
async fn idle_connections_beyond_the_soft_limit_keep_no_job_from_running_and_jobs_get_that_limit()
-> Result<()> {
    // This process has the other ends.
    handles::raise()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < 4 * SOFT {
        eprintln!("skipped: it takes a hard limit of {} handles, and this one is {hard}", 4 * SOFT);
        return Ok(());
    }
    let out = TempDir::new()?;
    let dev = Dev::start_with_handles(SOFT).await;
    // The second one starts by a process between.
    save(&dev, "plain", "022", out.path()).await?;
    save(&dev, "masked", "027", out.path()).await?;
    until_it_runs(out.path(), "plain", 1).await;
    until_it_runs(out.path(), "masked", 1).await;

    let address = dev.url().trim_start_matches("http://");
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(address).await?);
    }
    until_it_runs(out.path(), "plain", 4).await;
    until_it_runs(out.path(), "masked", 4).await;
    drop(idle);

    for name in ["plain", "masked"] {
        let seen = lines(out.path(), name);
        let right = format!("{SOFT} {hard}");
        assert!(seen.iter().all(|line| *line == right), "{name} sees {seen:?}, and not {right:?}");
        let ticks: Value =
            http().get(format!("{}/api/v1/jobs/{name}/ticks", dev.url())).send().await?.json().await?;
        let missed = ticks["counts"]["outcomes"]["missed"].as_u64().unwrap_or_default();
        assert_eq!(missed, 0, "{ticks}\n{}", dev.log());
    }
    Ok(())
}
