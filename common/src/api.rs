//! The native API's wire types: what `/api/v1` takes and gives, for the manager, the command line and the tests.

use serde::{Deserialize, Serialize};

pub use job::{JobList, JobStatus, JobView, Preview, PreviewRequest, RunRequested};
pub use problem::Problem;
pub use run::{LateRuns, LatenessView, OutputView, RunAttempt, RunList, RunView};
pub use worker::{WorkerList, WorkerView};

mod job;
mod problem;
pub mod run;
mod worker;

/// One page of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// Ask with `after=` this for the next page; null at the end.
    pub next: Option<String>,
}
