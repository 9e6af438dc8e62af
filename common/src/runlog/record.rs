//! What the run log keeps: one record an attempt of a run, and one a stretch of ticks without a run.
//!
//! The names of the fields are the stored ones: GDTS's first, so that a reader of its collection reads ours, then
//! our own. Times are milliseconds since 1970.

use serde::{Deserialize, Serialize};

use crate::{
    id::{JobName, RunId, WorkerId},
    lock::Stretch,
    revision::Token,
    run::{Cause, RunState},
    tick::Tick,
};

/// Who wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The worker that ran it: it knows.
    Worker,
    /// Somebody who found its worker gone: it infers.
    Caretaker,
}

/// Where a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    #[serde(rename = "out")]
    Out,
    /// Standard error.
    #[serde(rename = "err")]
    Err,
}

/// A piece of output: milliseconds after the start, stream, length in bytes. The pieces' lengths add up to the
/// output's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece(pub u32, pub Stream, pub u32);

/// Where bytes of an output are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// In front of this byte of the output that comes with it.
    pub at: u64,
    /// So many.
    pub bytes: u64,
}

impl Gap {
    /// The line that stands for what is missing where only text can tell it.
    pub fn line(self) -> String {
        format!("[... {} bytes of output are left out here ...]", self.bytes)
    }
}

/// One attempt of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// The job.
    pub job_name: JobName,
    /// Its command in one line.
    pub command: String,
    /// "" on success, else `exit status 1`, `signal: killed` or a reason.
    pub err: String,
    /// Standard output and standard error as they came; bytes that are no UTF-8 are replaced.
    pub output: String,
    /// The tick, or when the run was wanted.
    pub plan_time: i64,
    /// When the worker set about it: not before `plan_time`.
    pub schedule_time: i64,
    /// When the command was started; of a run that never was, when that was decided.
    pub start_time: i64,
    /// When it ended.
    pub end_time: i64,

    /// The run.
    pub run: RunId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How it ended; always final.
    pub state: RunState,
    /// In words, when there is more to say than `err` does; "" else.
    pub reason: String,
    /// Who wrote this.
    pub by: Author,
    /// Why the run was wanted.
    pub trigger: Cause,
    /// Whose tick it was; none for a manual run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<Tick>,
    /// Who ran it.
    pub worker: WorkerId,
    /// The fencing token.
    pub fence: Token,
    /// When the claim was answered.
    pub claim_time: i64,
    /// The exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Bytes of output that were thrown away at the limit; 0: none.
    #[serde(default)]
    pub truncated: u64,
    /// Where in the output they are missing; none: behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<u64>,
    /// How the output came.
    #[serde(default)]
    pub pieces: Vec<Piece>,
    /// When the record may be removed, milliseconds since 1970. MongoDB stores it as a date.
    #[serde(default)]
    pub expires: i64,
}

impl RunRecord {
    /// The record's id: `<run>/<attempt>`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.run, self.attempt)
    }

    /// Where bytes of the output are missing, if any are.
    pub fn gap(&self) -> Option<Gap> {
        let end = self.output.len() as u64;
        let gap = Gap { at: self.gap.unwrap_or(end).min(end), bytes: self.truncated };
        (gap.bytes > 0).then_some(gap)
    }

    /// The output, with a line of its own that tells what is missing where it is.
    pub fn told_output(mut self) -> String {
        if let Some(gap) = self.gap() {
            let mut at = usize::try_from(gap.at).unwrap_or(self.output.len());
            while !self.output.is_char_boundary(at) {
                at -= 1;
            }
            let behind = self.output.split_off(at);
            if !self.output.is_empty() && !self.output.ends_with('\n') {
                self.output.push('\n');
            }
            self.output.push_str(&gap.line());
            self.output.push('\n');
            self.output.push_str(&behind);
        }
        self.output
    }
}

/// What became of ticks without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TickOutcome {
    /// The job's policies said so.
    Skipped,
    /// Nobody could claim them in time.
    Missed,
}

impl TickOutcome {
    /// Its name, as stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Missed => "missed",
        }
    }
}

/// A stretch of ticks without a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TickRecord {
    /// The job.
    pub job_name: JobName,
    /// The first tick.
    pub from: Tick,
    /// The last tick.
    pub to: Tick,
    /// How many, both included.
    pub count: u64,
    /// What became of them.
    pub outcome: TickOutcome,
    /// Why, in words.
    pub reason: String,
    /// Who says so.
    pub worker: WorkerId,
    /// When the record may be removed, milliseconds since 1970.
    #[serde(default)]
    pub expires: i64,
}

impl TickRecord {
    /// The record of a stretch that a worker tells of; nothing says yet when it may be removed.
    pub fn of(job: &JobName, ticks: &Stretch, outcome: TickOutcome, reason: &str, worker: &WorkerId) -> Self {
        Self {
            job_name: job.clone(),
            from: ticks.from,
            to: ticks.to,
            count: ticks.count,
            outcome,
            reason: reason.to_owned(),
            worker: worker.clone(),
            expires: 0,
        }
    }

    /// The record's id: job, last tick and outcome. The same stretch told twice is one record; when a stretch
    /// with the same end is told again, the later telling stands.
    pub fn id(&self) -> String {
        format!("{}/{}/{:?}", self.job_name, self.to, self.outcome)
    }
}
