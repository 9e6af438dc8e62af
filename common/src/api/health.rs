//! What `/readyz` says.

use serde::{Deserialize, Serialize};

/// Whether a manager can be used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub status: HealthStatus,
    /// The store.
    pub store: HealthPart,
    /// The run log.
    pub run_log: HealthPart,
    /// Whether lists show the store as it is now.
    pub lists: HealthPart,
}

/// Whether a manager can be used, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// For everything.
    Ready,
    /// Without the run log: jobs can be changed, past runs not be seen.
    Degraded,
    /// Not now.
    Unready,
}

/// A server behind a manager.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealthPart {
    /// Whether it can be used.
    pub ok: bool,
    /// What it is, or why it cannot be used.
    pub says: String,
}
