//! Runs on the wire.

use serde::{Deserialize, Serialize};

use super::List;
use crate::{
    run::{Cause, RunState},
    runlog::{Gap, Piece, RunRecord},
};

/// A run's newest attempt, without its output. Instants are RFC 3339 in UTC with milliseconds, null when unknown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunView {
    /// The run.
    pub run: String,
    /// Its job, or the task's name.
    pub job: String,
    /// True: it is a task, which has no job.
    #[serde(default)]
    pub task: bool,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Where it is.
    pub state: RunState,
    /// Why it was wanted.
    pub trigger: Cause,
    /// Whose tick it was; null for a manual run.
    pub tick: Option<String>,
    /// Who runs it or ran it; "" while it is queued.
    pub worker: String,
    /// The fencing token; 0 while it is queued.
    pub fence: i64,
    /// When it should have started.
    pub planned: Option<String>,
    /// When it was claimed.
    pub claimed: Option<String>,
    /// When its command was started.
    pub started: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
    /// The exit code.
    pub exit_code: Option<i32>,
    /// The signal.
    pub signal: Option<i32>,
    /// GDTS's `err`: "" on success.
    pub err: String,
    /// In words, when there is more to say.
    pub reason: String,
    /// The command in one line.
    pub command: String,
}

/// A page of runs, newest first.
pub type RunList = List<RunView>;

/// How late the newest runs started after their ticks: those by schedule, first attempts, that did start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatenessView {
    /// So many runs.
    pub runs: usize,
    /// The earliest and the latest of their ticks, RFC 3339; null without runs, as all that follows.
    pub from: Option<String>,
    /// See `from`.
    pub to: Option<String>,
    /// Half of them were at most so late, in milliseconds.
    pub p50_ms: Option<i64>,
    /// 99 of 100 were at most so late.
    pub p99_ms: Option<i64>,
    /// The latest of them.
    pub most_ms: Option<i64>,
    /// How many were how late, by growing bounds.
    pub counts: Vec<LateRuns>,
}

/// The runs that were later than the bound before, and not later than this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateRuns {
    /// In milliseconds; null: whatever is later.
    pub to_ms: Option<i64>,
    /// So many.
    pub runs: usize,
}

/// One run with all its attempts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunAttempt {
    /// The newest attempt, at top level.
    #[serde(flatten)]
    pub newest: RunView,
    /// All finished attempts, in order.
    pub attempts: Vec<RunView>,
}

/// A run's output, finished or so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OutputView {
    /// Which attempt.
    pub attempt: u32,
    /// True: nothing will follow.
    pub complete: bool,
    /// The output from the asked offset on.
    pub output: String,
    /// How it came, from the asked offset on.
    pub pieces: Vec<Piece>,
    /// Ask with `from=` this for what follows.
    pub next: u64,
    /// Bytes thrown away at the limit.
    pub truncated: u64,
    /// Where bytes behind the asked offset are missing in `output`, and how many. They count in `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// Milliseconds since 1970 as RFC 3339 in UTC; `None` for an instant that no calendar has.
pub fn instant_text(millis: i64) -> Option<String> {
    chrono::DateTime::from_timestamp_millis(millis)
        .map(|instant| instant.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

impl From<&RunRecord> for RunView {
    fn from(record: &RunRecord) -> Self {
        Self {
            run: record.run.to_string(),
            job: record.job_name.to_string(),
            task: record.task,
            attempt: record.attempt,
            state: record.state,
            trigger: record.trigger,
            tick: record.tick.map(|tick| tick.to_string()),
            worker: record.worker.to_string(),
            fence: record.fence.0,
            planned: instant_text(record.plan_time),
            claimed: instant_text(record.claim_time),
            started: instant_text(record.start_time),
            ended: instant_text(record.end_time),
            exit_code: record.exit_code,
            signal: record.signal,
            err: record.err.clone(),
            reason: record.reason.clone(),
            command: record.command.clone(),
        }
    }
}
