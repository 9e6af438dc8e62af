//! A data directory without room: what cannot work says so, and goes on by itself when there is room again.

use std::{
    fs::File,
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Utc};
use common::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{
    dev::{Dev, PATIENCE, http},
    wait::until,
};

/// What the data directory holds.
const ROOM: u64 = 12 << 20;

/// The disk is full for so long: longer than a tick may be late.
const LASTS: chrono::Duration = chrono::Duration::seconds(14);

async fn get(dev: &Dev, path: &str) -> Option<(u16, Value)> {
    let answer = http().get(format!("{}{path}", dev.url())).send().await.ok()?;
    Some((answer.status().as_u16(), answer.json().await.ok()?))
}

async fn worker(dev: &Dev) -> Option<Value> {
    let (_, workers) = get(dev, "/api/v1/workers").await?;
    workers["items"].get(0).cloned()
}

/// The job's ticks from `from` on, the newest first.
async fn ticks(dev: &Dev, from: DateTime<Utc>) -> Option<Vec<Value>> {
    let from = from.format("%Y-%m-%dT%H:%M:%SZ");
    let (_, page) = get(dev, &format!("/api/v1/jobs/tick/ticks?limit=500&from={from}")).await?;
    page["items"].as_array().cloned()
}

fn instant_of(tick: &Value, end: &str) -> DateTime<Utc> {
    tick[end].as_str().and_then(|text| text.parse().ok()).expect("a tick has its instants")
}

async fn until_run_since(dev: &Dev, what: &str, from: DateTime<Utc>) {
    until(what, PATIENCE, || async {
        let ticks = ticks(dev, from).await?;
        ticks.iter().any(|tick| tick["outcome"] == "succeeded").then_some(())
    })
    .await;
}

/// Takes all the room there is.
fn fill_up(file: &mut File) -> io::Result<()> {
    for size in [64 << 10, 4 << 10] {
        let ballast = vec![0; size];
        loop {
            match file.write_all(&ballast) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

// Once: ticks that came meanwhile were on record as skipped, by a run that had not begun.
#[tokio::test]
async fn without_room_it_is_not_ready_and_says_why_and_goes_on_when_there_is_room_again() -> Result<()> {
    let Some(dev) = Dev::start_on_small_disk(ROOM).await else {
        eprintln!("skipped: a small disk takes root, to mount it");
        return Ok(());
    };
    let job = json!({"trigger": {"cron": ["* * * * * * *"]}, "driver": {"shell": {"command": "true"}}});
    let clock = SystemClock::start().context("start the clock")?;
    let begun = clock.now();
    let saved = http().put(format!("{}/api/v1/jobs/tick", dev.url())).json(&job).send().await?;
    ensure!(saved.status().is_success(), "{}", saved.text().await?);
    until_run_since(&dev, "it runs", begun).await;

    let ballast = dev.data_dir().join("ballast");
    let mut file = File::create(&ballast).context("make the ballast")?;
    let (mut full, mut said) = (None, None);
    let full_since = loop {
        fill_up(&mut file).context("write the ballast")?;
        let ready = get(&dev, "/readyz").await;
        if let Some((503, ready)) = ready {
            let worker = worker(&dev).await.context("a worker")?;
            if worker["readiness"] != "ready" && worker["readiness"] != "full" {
                said = Some((ready, worker));
                full.get_or_insert_with(|| clock.now());
            }
        }
        ensure!(clock.now() - begun < chrono::Duration::from_std(2 * PATIENCE)?, "{said:?}\n{}", dev.log());
        if let Some(since) = full.filter(|since| clock.now() - *since >= LASTS) {
            break since;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let (ready, worker_said) = said.context("it says that it is full")?;
    assert_eq!((&ready["status"], &ready["store"]["ok"]), (&json!("unready"), &json!(false)), "{ready}");
    let says = ready["store"]["says"].as_str().unwrap_or_default();
    assert!(says.contains("full") && (says.contains("KiB left") || says.contains("disk")), "{says}");
    let says = worker_said["says"].as_str().unwrap_or_default();
    assert!(
        says.contains("claims nothing") && (says.contains("full") || says.contains("no writes")),
        "{says}"
    );

    drop(file);
    std::fs::remove_file(&ballast).context("remove the ballast")?;
    let freed = clock.now();
    until("it is ready", PATIENCE, || async {
        let (ready, worker) = (get(&dev, "/readyz").await?, worker(&dev).await?);
        (ready.0 == 200 && worker["readiness"] == "ready").then_some(())
    })
    .await;
    until_run_since(&dev, "it runs again", freed + chrono::Duration::seconds(1)).await;

    // Of the ticks meanwhile the newest runs late by its misfire policy, and the others are missed.
    let inside = |tick: &Value| {
        let second = chrono::Duration::seconds(1);
        instant_of(tick, "from") > full_since + second && instant_of(tick, "tick") < freed - second * 7
    };
    let told = until("the ticks are on record", PATIENCE, || async {
        let ticks: Vec<Value> = ticks(&dev, full_since).await?.into_iter().filter(inside).collect();
        let open = ["no_record", "waiting", "queued", "claimed", "executing"];
        let is_open = |tick: &Value| open.iter().any(|outcome| tick["outcome"] == *outcome);
        (!ticks.is_empty() && !ticks.iter().any(is_open)).then_some(ticks)
    })
    .await;
    for tick in &told {
        let reason = tick["reason"].as_str().unwrap_or_default();
        assert_eq!(tick["outcome"], "missed", "{tick}\n{}", dev.log());
        let why = reason.contains("its data directory was full") || reason.contains("took no writes");
        assert!(reason.contains("claimed nothing from") && why, "{reason}");
    }
    let skipped = ticks(&dev, begun).await.context("the ticks")?;
    assert!(skipped.iter().all(|tick| tick["outcome"] != "skipped"), "{skipped:#?}");
    Ok(())
}
