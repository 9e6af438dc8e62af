//! The workers' clocks beside this manager's: a fence only grows, so a change made by a clock in the future would
//! bury ticks that are yet to come, and silence jobs.

use std::collections::HashMap;

use chrono::TimeDelta;
use common::clock::{AHEAD, ahead_of};
use parking_lot::{Mutex, MutexGuard};

/// By how much each worker's clock is ahead of ours.
#[derive(Default)]
pub(crate) struct Clocks(Mutex<HashMap<Box<str>, TimeDelta>>);

impl Clocks {
    /// A worker's clock, from a registration that has just come in: one that was listed may be of any age.
    pub(crate) fn read(&self, worker: &str, ahead: TimeDelta) {
        self.all().insert(worker.into(), ahead);
    }

    /// A worker is gone.
    pub(crate) fn forget(&self, worker: &str) {
        self.all().remove(worker);
    }

    /// The workers are listed again.
    pub(crate) fn forget_all(&self) {
        self.all().clear();
    }

    /// By how much ours is ahead of theirs, if that is too much to change schedules by it.
    pub(crate) fn too_far_ahead(&self) -> Option<TimeDelta> {
        Some(ahead_of(self.all().values().copied())).filter(|by| *by > AHEAD)
    }

    /// By how much ours is behind, if it is too far behind all of theirs to take a fence back by it.
    pub(crate) fn too_far_behind(&self) -> Option<TimeDelta> {
        self.all().values().min().copied().filter(|by| *by > AHEAD)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Box<str>, TimeDelta>> {
        self.0.lock()
    }
}
