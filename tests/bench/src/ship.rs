//! Run logs from the spool into MongoDB. The ceiling is MongoDB's: the same documents into a collection with the same
//! indexes, by nothing but a driver.

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use common::{
    id::RunId,
    run::{Cause, RunState},
    runlog::{Author, LogEntry, Piece, RunLog, RunRecord, Stream},
    tick::Tick,
};
use futures::{StreamExt, TryStreamExt, stream};
use mongodb::{
    Collection, Database, IndexModel,
    bson::{RawDocumentBuf, doc},
    options::{Acknowledgment, WriteConcern},
};
use tokio::time::Instant;
use worker::{session::load::Load, shipper, spool::Spool};

use crate::{
    Amount,
    cpu::Meter,
    report::{Figure, Row, Target},
    stage::{self, Servers},
};

const SECONDS: u64 = 10;

/// For each second of the measurement.
const RECORDS: usize = 10_000;

const OUTPUT_BYTES: usize = 400;

/// Kept at the same time, as by so many runs.
const KEEPING: usize = 1_000;

pub(crate) async fn measure(amount: &Amount) -> anyhow::Result<Vec<Row>> {
    let records = amount.jobs.unwrap_or(RECORDS * amount.seconds(SECONDS) as usize);
    let mut servers = Servers::start().await?;
    let runlog = servers.runlog().await?;
    // Connects and makes the indexes.
    runlog.append(&[entry(0)?]).await?;
    let dir = tempfile::tempdir()?;
    let spool = Spool::open(dir.path(), Load::new(1))?;

    let meter = Meter::start(servers.parts())?;
    let kept = keep(&spool, records).await?;
    let keeping = meter.per("record", records as u64)?;
    let meter = Meter::start(servers.parts())?;
    let begun = Instant::now();
    shipper::flush(&spool, &*runlog).await;
    let shipped = begun.elapsed();
    let cpu = meter.per("record", records as u64)?;
    let logged = servers.logged().await?;
    anyhow::ensure!(logged == records as u64 + 1, "{logged} of {} records are in the run log", records + 1);

    let through = both(&servers, runlog, &spool, records).await?;
    let ceiling = raw(&servers.database().await?).await?;
    let rate = records as f64 / shipped.as_secs_f64();
    let bench = format!("ship: run logs with {OUTPUT_BYTES} bytes of output, from the spool into MongoDB");
    let measured_ceiling = Target::ShareAtLeast(0.9);
    Ok(vec![
        Row::new(bench, Figure::new(rate, "records/s"))
            .ceiling(Figure::new(ceiling, "raw inserts/s"))
            .reaching(Target::Either(Box::new([Target::AtLeast(20_000.0), measured_ceiling])))
            .cpu(cpu)
            .notes(format!(
                "{records} records; spooled before: {:.0}/s, {keeping}; spooled and shipped at the same time: {through:.0}/s",
                records as f64 / kept.as_secs_f64()
            )),
    ])
}

async fn keep(spool: &Spool, records: usize) -> anyhow::Result<Duration> {
    let entries: Vec<LogEntry> = (0..records).map(entry).collect::<anyhow::Result<_>>()?;
    let begun = Instant::now();
    stream::iter(entries).for_each_concurrent(KEEPING, |entry| spool.keep(entry)).await;
    Ok(begun.elapsed())
}

/// As in a worker: the shipper takes what the runs leave. Records a second until the last is in the run log.
async fn both(
    servers: &Servers,
    runlog: Arc<dyn RunLog>,
    spool: &Spool,
    records: usize,
) -> anyhow::Result<f64> {
    let before = servers.logged().await?;
    let ending = tokio_util::sync::CancellationToken::new();
    let shipping = tokio::spawn(shipper::run(spool.clone(), runlog.clone(), None, ending.clone()));
    let begun = Instant::now();
    keep(spool, records).await?;
    ending.cancel();
    shipping.await?;
    shipper::flush(spool, &*runlog).await;
    let elapsed = begun.elapsed();
    anyhow::ensure!(servers.logged().await? == before + records as u64, "some records are missing");
    Ok(records as f64 / elapsed.as_secs_f64())
}

/// What a run leaves that printed a little.
fn entry(n: usize) -> anyhow::Result<LogEntry> {
    let now = stage::now();
    let at = now.timestamp_millis();
    Ok(LogEntry::Run(Box::new(RunRecord {
        job_name: stage::name(n % 1000).parse()?,
        command: "/usr/local/bin/backup --full --level 9 /srv/data".to_owned(),
        err: String::new(),
        output: "0123456789abcdef".repeat(OUTPUT_BYTES / 16),
        plan_time: at,
        schedule_time: at,
        start_time: at,
        end_time: at + 20,
        run: RunId::from_uuid(uuid::Uuid::now_v7()),
        task: false,
        attempt: 1,
        state: RunState::Succeeded,
        reason: String::new(),
        by: Author::Worker,
        trigger: Cause::Schedule,
        tick: Some(Tick::from_instant(now)),
        worker: "worker-0".parse()?,
        fence: common::revision::Token(1),
        claim_time: at,
        exit_code: Some(0),
        signal: None,
        truncated: 0,
        gap: None,
        pieces: vec![Piece(5, Stream::Out, OUTPUT_BYTES as u32)],
        expires: at + 86_400_000,
    })))
}

/// The same documents again, four batches in flight.
async fn raw(database: &Database) -> anyhow::Result<f64> {
    let log = database.collection::<RawDocumentBuf>("log");
    let indexes: Vec<IndexModel> = log.list_indexes().await?.try_collect().await?;
    database.create_collection("raw").await?;
    let raw: Collection<RawDocumentBuf> = database.collection("raw");
    raw.create_indexes(
        indexes.into_iter().filter(|index| !index.keys.contains_key("_id") || index.keys.len() > 1),
    )
    .await?;
    let documents: Vec<RawDocumentBuf> = log.find(doc! {}).await?.try_collect().await?;
    let safely = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    let begun = Instant::now();
    let inserts = stream::iter(documents.chunks(1000))
        .map(|batch| raw.insert_many(batch).ordered(false).write_concern(safely.clone()).into_future());
    inserts.buffer_unordered(4).try_for_each(|_| async { Ok(()) }).await?;
    Ok(documents.len() as f64 / begun.elapsed().as_secs_f64())
}
