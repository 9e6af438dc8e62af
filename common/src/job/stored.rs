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
}

impl StoredJob {
    /// A job saved at `now`.
    pub fn new(job: Job, now: DateTime<Utc>) -> Self {
        Self { v: VERSION, job, paused: false, created: Some(now), saved: Some(now) }
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
