//! Keeps only the newest records of each job. Bounded: each call goes through the jobs for a while, in the order of
//! their names, and the next one continues there.

use std::time::Duration;

use mongodb::bson::{Bson, Document, RawBsonRef, RawDocumentBuf, doc};
use tokio::time::Instant;

use super::{super::RunLogError, Find, MongoRunLog, failure::Failure};

/// How long one call goes through the jobs: some thousand of them, at two look-ups each.
const SPELL: Duration = Duration::from_secs(5);

/// At most this many records at once: a limit that was lowered leaves many.
const MAX_REMOVED: usize = 5_000;

impl MongoRunLog {
    pub(super) async fn prune_jobs(&self, per_job: u64) -> Result<(), RunLogError> {
        self.ensure_indexes().await?;
        let mut pruned_to = self.pruned_to.lock().await;
        let end = Instant::now() + SPELL;
        while Instant::now() < end {
            let Some(job) = self.job_behind(&pruned_to).await? else {
                pruned_to.clear();
                return Ok(());
            };
            while self.remove_beyond(&job, per_job).await? == MAX_REMOVED {
                if Instant::now() >= end {
                    // Not done with this job: the next call begins with it.
                    return Ok(());
                }
            }
            *pruned_to = job;
        }
        Ok(())
    }

    /// The next job that has records.
    async fn job_behind(&self, job: &str) -> Result<Option<String>, Failure> {
        let found = self
            .find(Find {
                collection: &self.collections().await?.runs,
                filter: doc! { "jobName": { "$gt": job } },
                sort: doc! { "jobName": 1 },
                projection: doc! { "_id": 0, "jobName": 1 },
                skip: 0,
                limit: 1,
            })
            .await?;
        let name = found.first().and_then(|document| document.get_str("jobName").ok());
        Ok(name.map(str::to_owned))
    }

    /// Removes what a job has beyond its newest records, or as many as one call may; how many.
    async fn remove_beyond(&self, job: &str, per_job: u64) -> Result<usize, Failure> {
        let runs = &self.collections().await?.runs;
        let old = self
            .find(Find {
                collection: runs,
                filter: doc! { "jobName": job },
                sort: doc! { "planTime": -1, "_id": -1 },
                projection: doc! { "_id": 1 },
                skip: per_job,
                limit: MAX_REMOVED,
            })
            .await?;
        let ids: Vec<Bson> = old.iter().filter_map(id_of).collect();
        if !ids.is_empty() {
            let these: Document = doc! { "_id": { "$in": ids } };
            self.call(self.options.append_timeout, runs.delete_many(these)).await?;
        }
        Ok(old.len())
    }
}

fn id_of(document: &RawDocumentBuf) -> Option<Bson> {
    let id: RawBsonRef<'_> = document.get("_id").ok()??;
    Bson::try_from(id).ok()
}
