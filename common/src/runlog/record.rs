//! What the run log keeps: one record an attempt of a run, and one a stretch of ticks without a run.
//!
//! The names of the fields are the stored ones: GDTS's first, so that a reader of its collection reads ours, then
//! our own. Times are milliseconds since 1970.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    id::{JobName, RunId, WorkerId},
    lock::{HeldLock, Stretch},
    queue::QueuedRun,
    revision::Token,
    run::{Cause, RunEvent, RunState},
    task::Ended,
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
    /// Standard output and standard error as they came; bytes that are not UTF-8 are replaced.
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
    /// It was a task: `job_name` is its name, and there is no such job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub task: bool,
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

/// What is known of a run when its record is made.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// Its claim.
    pub held: &'a HeldLock,
    /// The fencing token of the claim.
    pub token: Token,
    /// It is a task.
    pub task: bool,
    /// Its command in one line.
    pub command: String,
    /// When the record may be removed, milliseconds since 1970.
    pub expires: i64,
}

/// When a run was due, set about, claimed and started, and when it ended. Each is no earlier than what comes before it.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it should have started.
    pub due: DateTime<Utc>,
    /// When its worker set about it.
    pub scheduled: DateTime<Utc>,
    /// When its claim was answered.
    pub claimed: DateTime<Utc>,
    /// When its command was started; of one that never was, when that was decided.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
}

impl Times {
    /// When it ended, in milliseconds since 1970: not before it started.
    pub fn end_millis(&self) -> i64 {
        let all = [self.due, self.scheduled, self.started, self.ended];
        all.map(|at| at.timestamp_millis()).into_iter().max().unwrap_or_default()
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// What it was when it ended.
    pub from: RunState,
    /// What ended it.
    pub event: RunEvent,
    /// "" on success, else `exit status 1`, `signal: killed` or a reason.
    pub err: String,
    /// In words, when there is more to say.
    pub reason: String,
    /// The exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}

/// What a run printed, as far as it is kept.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// Standard output and standard error as they came.
    pub text: String,
    /// How they came.
    pub pieces: Vec<Piece>,
    /// Bytes that were thrown away.
    pub truncated: u64,
    /// Where they are missing.
    pub gap: Option<u64>,
}

impl RunRecord {
    /// Of a run that its own worker saw end.
    pub fn ran(known: Known<'_>, times: Times, ending: Ending, printed: Printed) -> Self {
        let Known { held, token, task, command, expires } = known;
        let Ending { from, event, err, reason, exit_code, signal } = ending;
        let Printed { text, pieces, truncated, gap } = printed;
        let plan_time = times.due.timestamp_millis();
        let schedule_time = times.scheduled.timestamp_millis().max(plan_time);
        let start_time = times.started.timestamp_millis().max(schedule_time);
        Self {
            job_name: held.job.clone(),
            command,
            err,
            output: text,
            plan_time,
            schedule_time,
            start_time,
            end_time: times.ended.timestamp_millis().max(start_time),
            run: held.run,
            task,
            attempt: held.attempt,
            state: from.after(event),
            reason,
            by: Author::Worker,
            trigger: held.cause,
            tick: held.tick,
            worker: held.worker.clone(),
            fence: token,
            claim_time: times.claimed.timestamp_millis(),
            exit_code,
            signal,
            truncated,
            gap,
            pieces,
            expires,
        }
    }

    /// Of a run that its worker found when it came back: it had died while the run executed. What the run had printed by
    /// then, and so when it is known to have ended, is added by whoever reads it.
    pub fn recovered(known: Known<'_>, times: Times) -> Self {
        let worker = &known.held.worker;
        let ending = Ending {
            from: RunState::Running,
            event: RunEvent::LeaseLost,
            err: "lost: its worker ended while it executed".to_owned(),
            reason: format!(
                "worker {worker} ended while the run executed; this is what it had printed by then"
            ),
            exit_code: None,
            signal: None,
        };
        Self::ran(known, times, ending, Printed::default())
    }

    /// Of a run whose worker is gone, by a caretaker: how far it came is not known.
    pub fn lost(known: Known<'_>, now: DateTime<Utc>) -> Self {
        let held = known.held;
        let due = held.tick.map_or(held.claimed, Tick::instant);
        let ending = Ending {
            from: RunState::Claimed,
            event: RunEvent::LeaseLost,
            err: "lost: its worker is gone".to_owned(),
            reason: format!("worker {} ended or was cut off; how far the run came is not known", held.worker),
            exit_code: None,
            signal: None,
        };
        let claimed = held.claimed;
        let times = Times { due, scheduled: claimed, claimed, started: claimed, ended: now.max(claimed) };
        let record = Self::ran(known, times, ending, Printed::default());
        // It was claimed ahead of its tick, and may have ended before that.
        let claimed = claimed.timestamp_millis();
        Self {
            by: Author::Caretaker,
            schedule_time: claimed,
            start_time: claimed,
            end_time: now.timestamp_millis().max(claimed),
            ..record
        }
    }

    /// Of a task that ended, as the store tells it: its worker is gone, and its own record may never come.
    pub fn told(known: Known<'_>, ended: &Ended) -> Self {
        let worker = known.held.worker.clone();
        let (claimed, started) = (known.held.claimed, ended.started);
        let times = Times { due: claimed, scheduled: claimed, claimed, started, ended: ended.at };
        let also = if ended.reason.is_empty() { String::new() } else { format!("{}; ", ended.reason) };
        let ending = Ending {
            from: RunState::Running,
            event: RunEvent::LeaseLost,
            err: ended.err.clone(),
            reason: format!(
                "{also}worker {worker} was gone before its record was in the run log; its output is there if it returns"
            ),
            exit_code: ended.exit_code,
            signal: ended.signal,
        };
        Self {
            state: ended.state,
            by: Author::Caretaker,
            ..Self::ran(known, times, ending, Printed::default())
        }
    }

    /// Of a run that was wanted and never claimed; `worker` says so.
    pub fn withdrawn(
        wanted: &QueuedRun,
        event: RunEvent,
        (reason, command): (&str, String),
        worker: &WorkerId,
        now: DateTime<Utc>,
        expires: i64,
    ) -> Self {
        let now = now.timestamp_millis();
        Self {
            job_name: wanted.job.clone(),
            command,
            err: reason.to_owned(),
            output: String::new(),
            plan_time: wanted.tick.map_or(wanted.since.timestamp_millis(), Tick::millis).min(now),
            schedule_time: now,
            start_time: now,
            end_time: now,
            run: wanted.run,
            task: wanted.task.is_some(),
            attempt: wanted.attempt,
            state: RunState::Queued.after(event),
            reason: reason.to_owned(),
            by: Author::Caretaker,
            trigger: wanted.cause,
            tick: wanted.tick,
            worker: worker.clone(),
            fence: Token::default(),
            claim_time: now,
            exit_code: None,
            signal: None,
            truncated: 0,
            gap: None,
            pieces: Vec::new(),
            expires,
        }
    }

    /// Under whose name it is found: its job's, or [`super::task_owner`].
    pub fn owner(&self) -> Cow<'_, str> {
        match self.task {
            true => super::task_owner(self.job_name.as_str()).into(),
            false => self.job_name.as_str().into(),
        }
    }

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
