//! Jobs on the wire: the definition at top level, and its status beside it.

use serde::{Deserialize, Serialize};

use super::{List, RunView};
use crate::{job::Job, lock::LastRun};

/// A job with its status. The status is ignored on input, so that what was read can be edited and sent back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobView {
    /// The definition.
    #[serde(flatten)]
    pub job: Job,
    /// What the system knows of it.
    pub status: JobStatus,
}

/// What the system knows of a job. Instants are RFC 3339 in UTC with milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobStatus {
    /// The store's revision of the definition; `If-Match` takes it.
    pub revision: i64,
    /// True: its ticks pass until it is resumed.
    pub paused: bool,
    /// When it was last saved.
    pub saved: Option<String>,
    /// In words: `at 02:30 (Europe/Berlin)`; "" for a job that only people start.
    pub describe: String,
    /// The next instants, at most five; empty when paused or when none is left.
    pub next: Vec<String>,
    /// How the last run ended.
    pub last: Option<LastRun>,
    /// Runs that are queued, claimed or running now.
    pub running: Vec<RunView>,
    /// What is wrong with it, in words: a fence ahead of now, no worker that fits; "" if nothing is.
    pub warning: String,
}

/// A page of jobs, by name.
pub type JobList = List<JobView>;

/// What `/preview` takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PreviewRequest {
    /// The expressions.
    pub cron: Vec<String>,
    /// The zone; none: that of the job, else the manager's.
    #[serde(default)]
    pub zone: Option<String>,
    /// The job that is edited, whose zone and anchor stay where none is given; none: a new one.
    #[serde(default)]
    pub job: Option<String>,
    /// How many instants, 1–100.
    #[serde(default)]
    pub count: Option<usize>,
}

/// What `/preview` gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Preview {
    /// In words.
    pub describe: String,
    /// The zone that was used.
    pub zone: String,
    /// The next instants, RFC 3339 in that zone.
    pub next: Vec<String>,
}

/// What `/jobs/{job}/run` gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRequested {
    /// The run that was put into the queue.
    pub run: String,
}
