//! Tells the queue of locks that this process has freed, where a run waits for one.

use std::sync::Arc;

use common::{id::JobName, queue::Owner};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::line::Line;

/// The way from whoever frees locks to the queue.
pub(crate) struct FreedLocks {
    line: Arc<Mutex<Line>>,
    told: mpsc::UnboundedSender<JobName>,
}

impl FreedLocks {
    /// For the runs of this line; what is told comes out of the receiver.
    pub(crate) fn new(line: Arc<Mutex<Line>>) -> (Self, mpsc::UnboundedReceiver<JobName>) {
        let (told, freed) = mpsc::unbounded_channel();
        (Self { line, told }, freed)
    }

    /// The job's lock is free. Most have no run that waits, and then the queue is not woken.
    pub(crate) fn tell(&self, job: &JobName) {
        let waits = self.line.lock().head_of(&Owner::Job(job.clone())).is_some();
        if waits {
            // Nobody listens when the worker is closing.
            let _ = self.told.send(job.clone());
        }
    }
}
