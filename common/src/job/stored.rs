//! A job as the store has it: the definition and what the system keeps beside it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Job, JobError};

/// The version of the stored form that this code writes.
const VERSION: u32 = 1;

/// A job as it stands under `jobs/<job>`. What was written there by hand, a bare job or GDTS's three fields, is
/// read as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredJob {
    pub(super) v: u32,
    /// The definition.
    pub job: Job,
    /// True: its ticks pass without a claim until it is resumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// When it was first saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<DateTime<Utc>>,
    /// When it was last saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<DateTime<Utc>>,
    /// Since when the trigger is unchanged and all pauses are known: nobody knows which ticks were expected before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// When it was paused since then, the last time at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pauses: Vec<Pause>,
}

/// A time in which a job's ticks passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it was paused.
    pub from: DateTime<Utc>,
    /// When it was resumed; none: it still is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
}

/// So many pauses are remembered; a value in the store is to stay small.
const MAX_PAUSES: usize = 8;

impl StoredJob {
    /// A job saved at `now`.
    pub fn new(job: Job, now: DateTime<Utc>) -> Self {
        let (created, saved, since) = (Some(now), Some(now), Some(now));
        Self { v: VERSION, job, paused: false, created, saved, since, pauses: Vec::new() }
    }

    /// The job as it is saved over this one at `now`. Ticks of a changed trigger count from then.
    pub fn replaced(self, job: Job, now: DateTime<Utc>) -> Self {
        let same_trigger = self.job.trigger == job.trigger;
        let mut new = Self {
            v: VERSION,
            job,
            paused: self.paused,
            created: self.created.or(Some(now)),
            saved: Some(now),
            since: self.since.or(self.saved),
            pauses: self.pauses,
        };
        if !same_trigger {
            new.since = Some(now);
            new.pauses = new.paused.then_some(Pause { from: now, to: None }).into_iter().collect();
        }
        new
    }

    /// Lets its ticks pass from `now` on.
    pub fn pause(&mut self, now: DateTime<Utc>) {
        self.paused = true;
        self.pauses.push(Pause { from: now, to: None });
        if self.pauses.len() > MAX_PAUSES {
            self.since = self.pauses.remove(0).to.or(self.since);
        }
    }

    /// Counts its ticks again from `now` on.
    pub fn resume(&mut self, now: DateTime<Utc>) {
        self.paused = false;
        match self.pauses.last_mut().filter(|pause| pause.to.is_none()) {
            Some(pause) => pause.to = Some(now),
            // Paused by a hand that noted no time.
            None => self.since = Some(now),
        }
    }

    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a job has no map with keys other than text")
    }

    /// Reads what stands under `jobs/<name>`; `name` is the key's, and a value that names another is refused.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, JobError> {
        super::read::stored(name, bytes)
    }
}
