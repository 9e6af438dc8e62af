//! The run log: what became of every run, and of every tick without one. Append batches, read pages. Every adapter
//! passes one conformance suite (`runlog::conformance`).
//!
//! What every adapter promises:
//!
//! - Appending is idempotent: an entry's id is its run and attempt, or its [`TickRecord::id`].
//! - A worker's record beats a caretaker's, in any order: a caretaker's is only ever inserted, a worker's
//!   replaces it. A worker's record never replaces another worker's.
//! - Of one worker's two records, the one that says how the run ended beats the one that says that it was lost, in
//!   any order: a worker that comes back after a crash may find the output of a run that it had finished.
//! - What has been appended is on disk there before `append` returns.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{id::RunId, run::RunState, store::StoreError};

pub use record::{
    Author, Ending, Gap, Known, Piece, Printed, RunRecord, Stream, TickOutcome, TickRecord, Times,
};

#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "mongo")]
pub mod mongo;
mod record;

/// A page of a job's log ends once its records have this many bytes, as they are stored. One record may have 16 MiB, and
/// whoever answers with them holds them as text and as JSON, too.
pub const LOG_BYTES: usize = 32 << 20;

/// The owner under which the records of tasks of this name are found. No job has such a name, since it has no slash.
pub fn task_owner(name: &str) -> String {
    format!("{TASKS}{name}")
}

const TASKS: &str = "task/";

/// One thing to append.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEntry {
    /// One attempt of a run.
    Run(Box<RunRecord>),
    /// Ticks without a run.
    Ticks(TickRecord),
}

/// Whether a page of runs comes with their outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outputs {
    /// `output` and `pieces` are empty.
    #[default]
    Without,
    /// They are there.
    With,
}

/// Which runs.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// Only those of this owner: a job's name, or [`task_owner`]. Text, not a name: an old record may carry any.
    pub job: Option<String>,
    /// Only those that ended so.
    pub state: Option<RunState>,
    /// Only this worker's.
    pub worker: Option<String>,
    /// Planned at or after.
    pub from: Option<DateTime<Utc>>,
    /// Planned before.
    pub to: Option<DateTime<Utc>>,
    /// Behind this position, as the page before gave it.
    pub after: Option<String>,
    /// At most this many, 1–500.
    pub limit: usize,
}

/// One page, newest planned time first.
#[derive(Clone, Debug, Default)]
pub struct RunPage {
    /// The records.
    pub records: Vec<RunRecord>,
    /// The position behind the last one; `None` at the end.
    pub next: Option<String>,
}

/// Which ticks without a run.
#[derive(Clone, Debug, Default)]
pub struct TickQuery {
    /// Only this job's.
    pub job: Option<String>,
    /// Whose last tick is at or after.
    pub from: Option<DateTime<Utc>>,
    /// Whose first tick is before.
    pub to: Option<DateTime<Utc>>,
    /// At most this many, newest first.
    pub limit: usize,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum RunLogError {
    /// It may work later; what was to be appended may or may not be there.
    #[error("the run log cannot be reached")]
    Unavailable(#[source] crate::store::BoxError),
    /// It will never work as it is.
    #[error("the run log refused the request")]
    Refused(#[source] Refusal),
    /// `after` is not a position of this log.
    #[error("{0:?} is not a position in the run log; use the page's \"next\"")]
    BadPosition(String),
}

/// What a run log refuses.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The request, whatever it carries: bad credentials, a missing permission. It works once a person has dealt with it.
    #[error(transparent)]
    Request(crate::store::BoxError),
    /// A record for what is in it: too large, against a rule. Others that were to be appended with it may be there.
    #[error(transparent)]
    Record(crate::store::BoxError),
}

impl RunLogError {
    /// The message with its causes.
    pub fn chain(&self) -> String {
        StoreError::chain_of(self)
    }
}

/// A run log. All methods are cancel safe; a cancelled append may have happened in part.
#[async_trait]
pub trait RunLog: Send + Sync + 'static {
    /// Appends all entries, or as many as it can before an error; appending them again does no harm.
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError>;

    /// A page of runs, newest planned time first, then by id, descending.
    async fn runs(&self, query: &RunQuery, outputs: Outputs) -> Result<RunPage, RunLogError>;

    /// All attempts of a run, in order, with their outputs; empty if it is not known. Outputs of many attempts can be
    /// gigabytes: who answers a request takes [`Self::attempts`], and [`Self::attempt`] for the one that is asked for.
    async fn run(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError>;

    /// All attempts of a run, in order, without output and pieces. A log that is not in memory does not read them.
    async fn attempts(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        let mut records = self.run(run).await?;
        for record in &mut records {
            record.output.clear();
            record.pieces.clear();
        }
        Ok(records)
    }

    /// One attempt of a run, with its output. A log that is not in memory reads no other.
    async fn attempt(&self, run: &RunId, attempt: u32) -> Result<Option<RunRecord>, RunLogError> {
        let records = self.run(run).await?;
        Ok(records.into_iter().find(|record| record.attempt == attempt))
    }

    /// GDTS's page: a job's records with their outputs, newest start first. It is shorter than its limit when
    /// [`LOG_BYTES`] have come, but has a record if there is one; behind those that came, the next page begins.
    async fn log(&self, job: &str, skip: u64, limit: usize) -> Result<Vec<RunRecord>, RunLogError>;

    /// Ticks without a run, newest first.
    async fn ticks(&self, query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError>;

    /// Removes what has expired at `now` and what is beyond the newest `per_job` records of a job. Adapters whose
    /// server expires by itself do the rest only.
    async fn prune(&self, now: DateTime<Utc>, per_job: u64) -> Result<(), RunLogError>;

    /// What the log is, for people: `MongoDB 6.0.5`. An error, within a second or two, says that it is away.
    async fn status(&self) -> Result<String, RunLogError>;
}
