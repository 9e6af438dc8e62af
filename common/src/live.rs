//! The one thing that goes from worker to manager directly: the output of a run while someone watches it.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    id::RunId,
    runlog::{Gap, Piece},
    worker::Registration,
};

/// The output of a running attempt so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveOutput {
    /// Which attempt.
    pub attempt: u32,
    /// From the asked offset on, bytes that are not UTF-8 replaced.
    pub output: String,
    /// The pieces from that offset on.
    pub pieces: Vec<Piece>,
    /// The offset behind it: ask with this next.
    pub next: u64,
    /// Bytes thrown away at the limit so far.
    pub truncated: u64,
    /// Where bytes behind the asked offset are missing in `output`, and how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// Why live output cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The worker does not execute this run (any more): look into the run log.
    #[error("the worker does not execute this run")]
    NotRunning,
    /// The worker cannot be reached.
    #[error("the worker's live output cannot be read: {0}")]
    Unreachable(String),
}

/// Reads live output from a worker.
#[async_trait]
pub trait LiveOutputs: Send + Sync + 'static {
    /// What the run has printed behind byte `from`, from the worker that executes it. Answers within 5 s.
    async fn read(&self, worker: &Registration, run: &RunId, from: u64) -> Result<LiveOutput, LiveError>;
}
