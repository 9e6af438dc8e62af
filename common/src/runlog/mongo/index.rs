//! The indexes, made by the first append that reaches the server.
//!
//! Each costs every insert some microseconds of the server's processor, so there is one for each question that a page
//! asks, and no more. All runs, newest first and without a job, are read from the index by state, state by state.

use std::time::Duration;

use mongodb::{
    IndexModel,
    bson::{Document, doc},
    options::IndexOptions,
};

use super::{MongoRunLog, failure::Failure};

/// A collection that GDTS filled for years takes a while to index.
const LIMIT: Duration = Duration::from_secs(600);

impl MongoRunLog {
    /// Makes the indexes if this process has not seen them yet. A server that will not have them is no reason to lose
    /// a record: a warning, and reads are slower.
    pub(super) async fn ensure_indexes(&self) -> Result<(), Failure> {
        self.indexed
            .get_or_try_init(async || match self.create_indexes().await {
                Err(failure) if failure.is_hopeless() => {
                    tracing::warn!(error = %failure, "failed to create indexes in MongoDB; reads may be slow");
                    Ok(())
                }
                other => other,
            })
            .await
            .copied()
    }

    async fn create_indexes(&self) -> Result<(), Failure> {
        let collections = self.collections().await?;
        let runs = [
            // The state at its end lets a question for one state skip the others without fetching them.
            index(doc! { "jobName": 1, "planTime": -1, "_id": -1, "state": 1 }),
            index(doc! { "jobName": 1, "startTime": -1, "_id": -1 }),
            index(doc! { "state": 1, "planTime": -1, "_id": -1 }),
            index(doc! { "worker": 1, "planTime": -1, "_id": -1 }),
            expiry(),
        ];
        let ticks = [
            index(doc! { "jobName": 1, "to": -1, "_id": -1 }),
            index(doc! { "to": -1, "_id": -1 }),
            expiry(),
        ];
        self.call(LIMIT, async { collections.runs.create_indexes(runs).await.map(drop) }).await?;
        self.call(LIMIT, async { collections.ticks.create_indexes(ticks).await.map(drop) }).await
    }
}

fn index(keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).build()
}

/// A document goes when its own date has come; changing the retention changes the dates, not the index.
fn expiry() -> IndexModel {
    let at_its_date = IndexOptions::builder().expire_after(Duration::ZERO).build();
    IndexModel::builder().keys(doc! { "expires": 1 }).options(at_its_date).build()
}
