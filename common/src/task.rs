//! A task: a run without a job. Somebody hands in what is to be run, and it runs once, on one worker, with the policies
//! of a job's run. It is its own owner: nothing stands behind it that would be changed or deleted meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    id::{JobName, RunId, WorkerId},
    job::{
        Command, DEFAULT_GRACE, Delivery, FieldError, Job, JobError, OnLeaseLoss, OutputLimit, Overlap,
        Placement, Retry, Trigger, read_fields,
    },
    lock::HeldLock,
    revision::Revision,
    run::RunState,
    runlog::RunRecord,
    span::Span,
};

/// The largest task in the store, in bytes of its JSON.
pub const MAX_TASK_BYTES: usize = 64 * 1024;

const EXAMPLE: &str = r#"{"name": "reindex", "driver": {"shell": {"command": "reindex --all"}}}"#;

/// What a task runs, and under which policies. Its fields are those of a [`Job`] that make sense without a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a driver")]
pub struct Task {
    /// What people call it. Any number of tasks may have the same name.
    #[serde(default = "unnamed")]
    pub name: JobName,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// For people and for filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What.
    pub driver: Command,
    /// How long an attempt may take; none: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long it may be silent; none: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_timeout: Option<Span>,
    /// From TERM to KILL.
    #[serde(default = "default_grace")]
    pub grace: Span,
    /// What to do after an attempt that did not succeed.
    #[serde(default)]
    pub retry: Retry,
    /// What to do when its worker is gone.
    #[serde(default)]
    pub delivery: Delivery,
    /// What its worker does with it when the worker's lease can no longer be trusted.
    #[serde(default)]
    pub on_lease_loss: OnLeaseLoss,
    /// Which worker.
    #[serde(default)]
    pub placement: Placement,
    /// What becomes of its output.
    #[serde(default)]
    pub output: OutputLimit,
}

fn unnamed() -> JobName {
    "task".parse().expect("a literal name")
}

const fn default_grace() -> Span {
    DEFAULT_GRACE
}

impl Task {
    /// The job that would have such runs: what executes a run goes by one. Its runs stand beside each other.
    pub fn as_job(&self) -> Job {
        Job {
            description: self.description.clone(),
            labels: self.labels.clone(),
            overlap: Overlap::Allow,
            timeout: self.timeout,
            output_timeout: self.output_timeout,
            grace: self.grace,
            retry: self.retry.clone(),
            delivery: self.delivery,
            on_lease_loss: self.on_lease_loss,
            placement: self.placement.clone(),
            output: self.output,
            ..Job::new(self.name.clone(), Trigger::Manual, self.driver.clone())
        }
    }
}

/// A task as somebody hands it in.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask {
    /// Its id, where the client has chosen one: handing it in twice is handing it in once.
    pub run: Option<RunId>,
    /// What to run.
    pub task: Task,
    /// Not before this; none: at once.
    pub not_before: Option<DateTime<Utc>>,
    /// Not after this: then it expires; none: it waits as long as it takes.
    pub deadline: Option<DateTime<Utc>>,
}

impl NewTask {
    /// Reads a task from JSON. Every problem names its field, what was given, and what would be right.
    pub fn from_value(value: Value, now: DateTime<Utc>) -> Result<Self, JobError> {
        let Value::Object(mut fields) = value else {
            return Err(FieldError::new("", value, "is not a JSON object", EXAMPLE).into());
        };
        for field in ["trigger", "overlap", "misfire"] {
            if let Some(given) = fields.get(field) {
                let problem = "is for jobs: a task runs once; say when with not_before, or save a job";
                return Err(FieldError::new(field, shown(given), problem, EXAMPLE).into());
            }
        }
        if !fields.contains_key("driver") {
            return Err(FieldError::new("driver", "", "is missing: it says what to run", EXAMPLE).into());
        }
        let mut taken = |field: &str| fields.remove(field).filter(|value| !value.is_null());
        let run = taken("run").map(|value| parsed("run", &value, RUN_EXAMPLE)).transpose()?;
        let not_before =
            taken("not_before").map(|value| parsed("not_before", &value, AT_EXAMPLE)).transpose()?;
        let deadline =
            taken("deadline").map(|value| deadline(&value, not_before.unwrap_or(now))).transpose()?;
        let task: Task = read_fields(&Value::Object(fields))?;
        if serde_json::to_vec(&task).map_or(0, |text| text.len()) > MAX_TASK_BYTES {
            let problem = format!("is larger than {MAX_TASK_BYTES} bytes, the most that a task may have");
            return Err(FieldError::new("", "", problem, EXAMPLE).into());
        }
        let new = Self { run, task, not_before, deadline };
        new.check(now)?;
        Ok(new)
    }

    /// Every problem that the types alone do not exclude.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), JobError> {
        if let Some(deadline) = self.deadline.filter(|deadline| *deadline <= self.not_before.unwrap_or(now)) {
            let problem = "lies before the task may start";
            return Err(FieldError::new("deadline", deadline.to_rfc3339(), problem, DEADLINE_EXAMPLE).into());
        }
        self.task.as_job().check(now)
    }
}

const RUN_EXAMPLE: &str = "\"01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b\", or leave it out";
const AT_EXAMPLE: &str = "\"2026-12-24T18:00:00Z\"";
const DEADLINE_EXAMPLE: &str = "\"10m\" or \"2026-12-24T18:00:00Z\"";

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    field: &'static str,
    value: &Value,
    example: &'static str,
) -> Result<T, JobError> {
    let refused = |problem: String| JobError::from(FieldError::new(field, shown(value), problem, example));
    let text = value.as_str().ok_or_else(|| refused("is not text".to_owned()))?;
    text.parse().map_err(|error: T::Err| refused(error.to_string()))
}

/// What was given, as people write it.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// An instant, or how long after `from`.
fn deadline(value: &Value, from: DateTime<Utc>) -> Result<DateTime<Utc>, JobError> {
    let refused = || {
        let problem = "is neither an instant nor a time from when the task may start";
        JobError::from(FieldError::new("deadline", shown(value), problem, DEADLINE_EXAMPLE))
    };
    let text = value.as_str().ok_or_else(refused)?;
    if let Ok(span) = text.parse::<Span>() {
        let span = chrono::Duration::from_std(span.0).map_err(|_| refused())?;
        return from.checked_add_signed(span).ok_or_else(refused);
    }
    text.parse().map_err(|_| refused())
}

/// A claimed task, under `active/<run>`: who runs it, what it runs, and, until the run log has its record, how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveTask {
    /// Who runs which attempt of it. Its `job` is the task's name, its `fence` the second of the claim.
    #[serde(flatten)]
    pub held: HeldLock,
    /// What it runs.
    pub task: Arc<Task>,
    /// How it ended; none: it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How a task ended, for those who look before the run log has its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its final state.
    pub state: RunState,
    /// When it was started.
    #[serde(with = "crate::instant::millis")]
    pub started: DateTime<Utc>,
    /// When it ended.
    #[serde(with = "crate::instant::millis")]
    pub at: DateTime<Utc>,
    /// "" on success, else `exit status 1`, `signal: killed` or a reason, cut at [`Ended::MOST`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub err: String,
    /// In words, when there is more to say, cut likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

impl Ended {
    /// A text here has at most so many bytes: the store is no place for more.
    pub const MOST: usize = 400;

    /// How the run of this record ended.
    pub fn of(record: &RunRecord) -> Self {
        let at = |millis| DateTime::from_timestamp_millis(millis).unwrap_or_default();
        Self {
            state: record.state,
            started: at(record.start_time),
            at: at(record.end_time),
            err: Self::cut(&record.err),
            reason: Self::cut(&record.reason),
            exit_code: record.exit_code,
            signal: record.signal,
        }
    }

    /// The text, cut.
    pub fn cut(text: &str) -> String {
        if text.len() <= Self::MOST {
            return text.to_owned();
        }
        let end = (0..=Self::MOST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        format!("{}…", &text[..end])
    }
}

impl ActiveTask {
    /// The same once it has ended, claimed at `claimed`. Whoever puts that answers for it until the run log has the record.
    #[must_use]
    pub fn ended(self, ended: Ended, claimed: Revision, by: (&WorkerId, Revision)) -> Self {
        let held =
            HeldLock { claim_revision: Some(claimed), worker: by.0.clone(), session: by.1, ..self.held };
        Self { held, task: self.task, ended: Some(ended) }
    }

    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields serialize")
    }

    /// Reads a stored value.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn read(text: &str) -> Result<NewTask, JobError> {
        NewTask::from_value(serde_json::from_str(text).unwrap(), at("2026-11-29T12:00:00Z"))
    }

    #[test]
    fn a_task_needs_nothing_but_a_driver() {
        let new = read(r#"{"driver": {"shell": {"command": "date"}}}"#).unwrap();
        assert_eq!((new.run, new.not_before, new.deadline), (None, None, None));
        let job = new.task.as_job();
        assert_eq!((job.name.as_str(), job.overlap, job.trigger), ("task", Overlap::Allow, Trigger::Manual));
        let text = serde_json::to_string(&new.task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), new.task);
    }

    #[test]
    fn a_deadline_is_an_instant_or_counts_from_when_the_task_may_start() {
        let with = |more: &str| read(&format!(r#"{{"driver": {{"shell": {{"command": "date"}}}}, {more}}}"#));
        assert_eq!(with(r#""deadline": "10m""#).unwrap().deadline, Some(at("2026-11-29T12:10:00Z")));
        let later = with(r#""not_before": "2026-11-30T00:00:00Z", "deadline": "10m""#).unwrap();
        assert_eq!(later.deadline, Some(at("2026-11-30T00:10:00Z")));
        let exact = with(r#""deadline": "2026-11-29T13:00:00Z""#).unwrap();
        assert_eq!(exact.deadline, Some(at("2026-11-29T13:00:00Z")));
    }

    #[test]
    fn what_is_wrong_is_named_with_an_example() {
        for (text, field) in [
            ("[]", ""),
            (r#"{"name": "a"}"#, "driver"),
            (r#"{"driver": {"shell": {"command": " "}}}"#, "driver.shell.command"),
            (r#"{"driver": {"shell": {"command": "date"}}, "trigger": {"cron": "* * * * *"}}"#, "trigger"),
            (r#"{"driver": {"shell": {"command": "date"}}, "overlap": "skip"}"#, "overlap"),
            (r#"{"driver": {"shell": {"command": "date"}}, "run": "7"}"#, "run"),
            (r#"{"driver": {"shell": {"command": "date"}}, "run": 7}"#, "run"),
            (r#"{"driver": {"shell": {"command": "date"}}, "not_before": "soon"}"#, "not_before"),
            (r#"{"driver": {"shell": {"command": "date"}}, "deadline": "soon"}"#, "deadline"),
            (r#"{"driver": {"shell": {"command": "date"}}, "deadline": "2020-01-01T00:00:00Z"}"#, "deadline"),
            (r#"{"driver": {"shell": {"command": "date"}}, "bogus": 1}"#, "bogus"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.errors[0].field, field, "{text}: {error}");
            assert!(!error.errors[0].example.is_empty(), "{text}");
        }
    }

    #[test]
    fn long_words_are_cut_where_a_character_ends() {
        let cut = Ended::cut(&"ä".repeat(400));
        assert_eq!(cut.chars().count(), 201);
        assert!(cut.ends_with('…'));
        assert_eq!(Ended::cut("short"), "short");
    }
}
