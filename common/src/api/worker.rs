//! Workers on the wire.

use serde::{Deserialize, Serialize};

use super::List;
use crate::worker::{Drain, Registration};

/// A live worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    /// What it says of itself.
    #[serde(flatten)]
    pub registration: Registration,
    /// Its readiness in words.
    pub says: String,
    /// Who wants it to take nothing new, if somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// Whether somebody wants a worker to take nothing new.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerDrain {
    /// The worker.
    pub worker: String,
    /// Who wants it, and why; null: nobody does.
    pub drain: Option<Drain>,
}

/// A page of workers, by id.
pub type WorkerList = List<WorkerView>;
