//! Workers on the wire.

use serde::{Deserialize, Serialize};

use super::List;
use crate::worker::Registration;

/// A live worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerView {
    /// What it says of itself.
    #[serde(flatten)]
    pub registration: Registration,
    /// Its readiness in words.
    pub says: String,
}

/// A page of workers, by id.
pub type WorkerList = List<WorkerView>;
