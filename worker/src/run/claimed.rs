//! A run that was claimed, and is to be executed.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::{
    lock::HeldLock,
    revision::Revision,
    runlog::{Known, Times},
};

use crate::{plan::Planned, session::load::Slot};

/// A claimed run.
pub struct Claimed {
    /// Its job, as claimed.
    pub planned: Arc<Planned>,
    /// It is a task: its job is not one that is stored.
    pub task: bool,
    /// The claim.
    pub held: HeldLock,
    /// The claim's revision.
    pub revision: Revision,
    /// When it should start.
    pub due: DateTime<Utc>,
    /// When this worker set about it.
    pub scheduled: DateTime<Utc>,
    /// When the claim was answered.
    pub answered: DateTime<Utc>,
    /// Kept until its record is spooled and its lock is free.
    pub slot: Slot,
}

impl Claimed {
    /// What is known of it; `expires` says when its record may be removed.
    pub fn known(&self, expires: i64) -> Known<'_> {
        Known {
            held: &self.held,
            token: self.held.token(self.revision),
            task: self.task,
            command: self.planned.job.driver.text(),
            expires,
        }
    }

    /// When it was due and claimed, as if it had been started and had ended at once.
    pub fn times(&self) -> Times {
        let Self { due, scheduled, answered, .. } = *self;
        Times { due, scheduled, claimed: answered, started: answered, ended: answered }
    }
}
