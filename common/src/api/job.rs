//! Jobs on the wire: the definition at top level, and its status beside it.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Problem, RunView};
use crate::{
    id::{JobName, RunId},
    job::Job,
    lock::LastRun,
    revision::Revision,
};

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

/// A page of jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobPage {
    /// The jobs.
    pub items: Vec<JobView>,
    /// Ask with `after=` this for the next page; null at the end.
    pub next: Option<String>,
    /// On the first page: jobs whose stored value does not decode, which have no definition that could be shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<BrokenJob>,
}

/// A stored value that is not a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BrokenJob {
    /// The name that it stands under.
    pub name: String,
    /// The store's revision of it.
    #[serde(default)]
    pub revision: Revision,
    /// Why it is not one.
    pub problem: String,
}

/// What to do about a job that exists, where many are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is replaced.
    Replace,
    /// It stays, and the one that was sent is refused.
    Refuse,
}

impl Existing {
    /// The value of the parameter `existing`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Refuse => "refuse",
        }
    }
}

impl FromStr for Existing {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Replace, Self::Refuse].into_iter().find(|existing| existing.name() == text).ok_or(())
    }
}

/// What `/save` gives.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SaveReport {
    /// In the order of the request.
    pub results: Vec<SaveResult>,
    /// How many were created.
    pub created: usize,
    /// How many were replaced.
    pub replaced: usize,
    /// How many were refused.
    pub refused: usize,
    /// How many lost their answers: they may be saved.
    pub unknown: usize,
}

/// What became of one of many jobs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SaveResult {
    /// The name that was given; null where none was.
    pub job: Option<String>,
    /// What became of it.
    pub result: SaveOutcome,
    /// The revision at which it is stored now.
    pub revision: Option<Revision>,
    /// What a request for this job alone would have been answered with.
    pub problem: Option<Problem>,
}

/// What became of one of many jobs, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveOutcome {
    /// There was none before.
    Created,
    /// It took another's place.
    Replaced,
    /// It was not saved.
    Refused,
    /// Its answer was lost: it may be saved.
    Unknown,
}

/// What `/validate` gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Validated {
    /// True: what is not valid is answered with a problem.
    pub valid: bool,
    /// When, in words; "" for a job that only people start.
    pub describe: String,
    /// The next instants, RFC 3339 in UTC with milliseconds.
    pub next: Vec<String>,
    /// The job as it would be saved, every default in its place.
    pub job: Job,
}

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

/// What `/jobs/{job}/kill` gives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KillRequested {
    /// The job.
    pub job: JobName,
    /// The runs that it aims at.
    pub runs: Vec<RunId>,
}
