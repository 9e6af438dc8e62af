//! Ticks on the wire: expected against happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run::RunState;

/// A page of ticks, newest first. Instants are RFC 3339 in UTC with milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TickPage {
    /// The ticks.
    pub items: Vec<TickView>,
    /// Ask with `after=` this for the next page; null at the end.
    pub next: Option<String>,
    /// The beginning of the range that was asked for.
    pub from: String,
    /// Its end.
    pub to: String,
    /// Since when it is known what was expected; null: nothing is expected.
    pub since: Option<String>,
    /// On the first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<TickCounts>,
}

/// How many ticks there are of each outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TickCounts {
    /// The counts are of the ticks from here on: there are too many records before.
    pub from: String,
    /// How many the schedule has.
    pub expected: u64,
    /// How many there are, by outcome.
    pub outcomes: BTreeMap<String, u64>,
}

/// A tick, or several next to each other with the same fate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TickView {
    /// The newest of them.
    pub tick: String,
    /// The oldest of them; `tick` where it is one.
    pub from: String,
    /// How many.
    pub count: u64,
    /// What became of it: a run's state, `skipped`, `missed`, `waiting`, `upcoming` or `no_record`.
    pub outcome: String,
    /// Why, in words.
    pub reason: String,
    /// Whether the schedule as it stands has it; null: it did not stand then.
    pub expected: Option<bool>,
    /// How long after its instant the first attempt started.
    pub late_ms: Option<i64>,
    /// The attempts of its run, in order.
    pub runs: Vec<TickAttempt>,
    /// The record that tells of it, if it got no run.
    pub stretch: Option<TickStretch>,
}

/// An attempt of a tick's run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TickAttempt {
    /// The run.
    pub run: String,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Where it is.
    pub state: RunState,
    /// Who runs it or ran it.
    pub worker: String,
    /// When it started.
    pub started: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
    /// In words, when there is more to say.
    pub reason: String,
}

/// One record of many ticks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TickStretch {
    /// The first of them.
    pub from: String,
    /// The last of them.
    pub to: String,
    /// How many.
    pub count: u64,
    /// Who says so.
    pub worker: String,
}
