//! The native API's wire types: what `/api/v1` takes and gives, for the manager, the command line and the tests.

use serde::{Deserialize, Serialize};

pub use health::{Health, HealthPart, HealthStatus};
pub use job::{
    BrokenJob, Existing, JobPage, JobStatus, JobView, KillRequested, Preview, PreviewRequest, RunRequested,
    SaveOutcome, SaveReport, SaveResult, Validated,
};
pub use problem::{Problem, ProblemKind};
pub use run::{LateRuns, LatenessView, OutputView, RunAttempt, RunList, RunView};
pub use tick::{TickAttempt, TickCounts, TickPage, TickStretch, TickView};
pub use worker::{WorkerDrain, WorkerList, WorkerView};

mod health;
mod job;
mod problem;
pub mod run;
mod tick;
mod worker;

/// The header of an answer that may be old, or lack something: it says why.
pub const STALE: &str = "quorate-stale";

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// Ask with `after=` this for the next page; null at the end.
    pub next: Option<String>,
}
