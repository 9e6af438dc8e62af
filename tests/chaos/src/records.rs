//! What the scheduler says that ran: the run log's collections, read straight from MongoDB.

use anyhow::{Context as _, Result};
use common::{
    run::{Cause, RunState},
    runlog::{Author, TickOutcome},
    tick::Tick,
};
use futures::TryStreamExt as _;
use mongodb::{
    Client, Database,
    bson::{Bson, Document, doc},
};
use serde::Deserialize;

/// One attempt of a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRow {
    /// The job.
    #[serde(rename = "jobName")]
    pub job: String,
    /// The run.
    pub run: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Whose tick it was; none for a manual run.
    pub tick: Option<Tick>,
    /// How it ended.
    pub state: RunState,
    /// Why it ended so, in words.
    #[serde(default)]
    pub reason: String,
    /// Why it was wanted.
    pub trigger: Cause,
    /// Who ran it.
    pub worker: String,
    /// Who wrote this.
    pub by: Author,
    /// The fencing token.
    pub fence: i64,
    /// The tick, in milliseconds since 1970, as are the others.
    #[serde(rename = "planTime")]
    pub planned_ms: i64,
    /// When the claim was answered.
    #[serde(rename = "claimTime")]
    pub claimed_ms: i64,
    /// When the command was started.
    #[serde(rename = "startTime")]
    pub started_ms: i64,
    /// When it ended.
    #[serde(rename = "endTime")]
    pub ended_ms: i64,
    /// Its exit code, if it exited.
    pub exit_code: Option<i32>,
    /// Bytes of output that were thrown away.
    #[serde(default)]
    pub truncated: i64,
}

/// A stretch of ticks without a run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TickRow {
    /// The job.
    #[serde(rename = "jobName")]
    pub job: String,
    /// The first tick.
    pub from: Tick,
    /// The last tick.
    pub to: Tick,
    /// How many.
    pub count: i64,
    /// What became of them.
    pub outcome: TickOutcome,
    /// Why, in words.
    #[serde(default)]
    pub reason: String,
}

/// All that the scheduler says.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Runs.
    pub runs: Vec<RunRow>,
    /// Ticks without a run.
    pub ticks: Vec<TickRow>,
}

/// Reads the run log.
pub struct RecordReader(Database);

impl RecordReader {
    /// Of this database.
    pub async fn connect(uri: &str, database: &str) -> Result<Self> {
        let client = Client::with_uri_str(uri).await.context("use MongoDB's URI")?;
        Ok(Self(client.database(database)))
    }

    /// How many runs there are.
    pub async fn count_runs(&self) -> Result<u64> {
        let runs = self.0.collection::<Document>("log");
        runs.count_documents(doc! {}).await.context("count the run log")
    }

    /// Bytes of all files of the database.
    pub async fn stored_bytes(&self) -> Result<f64> {
        let stats = self.0.run_command(doc! { "dbStats": 1 }).await.context("ask for the database's size")?;
        match stats.get("totalSize") {
            Some(Bson::Double(size)) => Ok(*size),
            Some(Bson::Int64(size)) => Ok(*size as f64),
            Some(Bson::Int32(size)) => Ok(f64::from(*size)),
            other => anyhow::bail!("MongoDB says that the database's size is {other:?}"),
        }
    }

    /// Everything.
    pub async fn read(&self) -> Result<Records> {
        // What jobs printed is not needed, and may be large.
        let without_output = doc! { "output": 0, "pieces": 0, "command": 0 };
        let (log, ticks) = (self.0.collection::<RunRow>("log"), self.0.collection::<TickRow>("ticks"));
        let runs = log.find(doc! {}).projection(without_output).await.context("read the run log")?;
        let runs = runs.try_collect().await.context("read the run log")?;
        let ticks = ticks.find(doc! {}).await.context("read the ticks")?;
        let ticks = ticks.try_collect().await.context("read the ticks")?;
        Ok(Records { runs, ticks })
    }
}
