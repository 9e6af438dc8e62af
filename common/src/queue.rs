//! Queued runs, kills and passed ticks: what people, retries and catch-ups put into the store for the workers.

use std::{borrow::Cow, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    id::{JobName, RunId, WorkerId},
    lock::{HeldLock, Stretch},
    run::Cause,
    runlog::task_owner,
    task::Task,
    tick::Tick,
};

/// A run that somebody wants, under `queue/<run>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedRun {
    /// The job.
    pub job: JobName,
    /// The run. Under `queue/<job>@next` it is the run that will be.
    pub run: RunId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Why.
    pub cause: Cause,
    /// The tick it stands for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<Tick>,
    /// When it was wanted.
    pub since: DateTime<Utc>,
    /// Not before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// Not after this: then it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
    /// The only worker that may take it, if it is one worker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
    /// Who asked, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Somebody wants no more of it: a worker puts that on record. Unlike a [`Kill`] it stands as long as there is no
    /// worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub killed: Option<Kill>,
    /// What it runs, if it is a task, which has no job: then `job` is the task's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Arc<Task>>,
}

/// Whose run it is: runs of one owner may have to wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A job's.
    Job(JobName),
    /// A task's: it is its own owner.
    Task(RunId),
}

impl QueuedRun {
    /// Whose run it is.
    pub fn owner(&self) -> Owner {
        match &self.task {
            Some(_) => Owner::Task(self.run),
            None => Owner::Job(self.job.clone()),
        }
    }

    /// Under whose name its records are found: its job's, or [`task_owner`].
    pub fn owner_name(&self) -> Cow<'_, str> {
        match self.task {
            Some(_) => task_owner(self.job.as_str()).into(),
            None => self.job.as_str().into(),
        }
    }

    /// The first attempt of a run of `job` that is wanted at `since`: at once, without a deadline, on any worker.
    pub const fn new(job: JobName, run: RunId, cause: Cause, since: DateTime<Utc>) -> Self {
        Self {
            job,
            run,
            attempt: 1,
            cause,
            tick: None,
            since,
            not_before: None,
            deadline: None,
            worker: None,
            by: String::new(),
            killed: None,
            task: None,
        }
    }

    /// The next attempt of the run that `held` was claimed for, wanted at `since` for `not_before`.
    pub fn again(held: &HeldLock, since: DateTime<Utc>, not_before: DateTime<Utc>) -> Self {
        Self {
            attempt: held.attempt.saturating_add(1),
            tick: held.tick,
            not_before: Some(not_before),
            ..Self::new(held.job.clone(), held.run, Cause::Retry, since)
        }
    }
}

/// A wish that a job's runs, or one run, end, under `kills/…`. Acts only on runs claimed before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// Who asked, for people: `the page at 127.0.0.1`, `job api2 (overlap: replace)`.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Only the runs of this worker, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerId>,
}

/// Ticks that got no run since their job was changed before anybody had decided them, under `passed/…`. Written in the
/// transaction that moves the job's fence over them; a worker puts them on record and removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passed {
    /// The job, which may be gone.
    pub job: JobName,
    /// Which ticks.
    pub ticks: Stretch,
    /// What was changed, for people.
    pub reason: String,
}

/// A stored value that does not decode.
#[derive(Debug, thiserror::Error)]
#[error("the value does not decode")]
pub struct ValueError(#[from] serde_json::Error);

macro_rules! json_value {
    ($($name:ident),*) => {$(
        impl $name {
            /// The stored bytes.
            pub fn encode(&self) -> Vec<u8> {
                serde_json::to_vec(self).expect("plain fields serialize")
            }

            /// Reads a stored value.
            pub fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
                Ok(serde_json::from_slice(bytes)?)
            }
        }
    )*};
}

json_value!(QueuedRun, Kill, Passed);
