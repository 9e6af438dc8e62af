//! What the scheduler said while it ran, against what it had said before: a record is only replaced by one that knows
//! more, and a fence only grows.

use std::collections::HashMap;

use common::{lock::Lock, run::RunState, runlog::Author, tick::Fence};

use super::{Kind, Report};
use crate::records::{Records, RunRow};

/// All that has been seen, and what of it went back.
#[derive(Clone, Debug, Default)]
pub struct History {
    runs: HashMap<(String, u32), RunRow>,
    locks: HashMap<String, (i64, Fence)>,
    wrong: Vec<String>,
}

/// A job's lock as it stands in the store.
#[derive(Clone, Debug)]
pub struct SeenLock {
    /// The job.
    pub job: String,
    /// The revision that created it: a job that was deleted and made again has another.
    pub created: i64,
    /// What it says.
    pub lock: Lock,
}

impl History {
    /// Compares a look at the run log with those before it.
    pub fn see_records(&mut self, records: &Records) {
        for row in &records.runs {
            let key = (row.run.clone(), row.attempt);
            if let Some(before) = self.runs.get(&key)
                && !may_replace(before, row)
            {
                let (job, run) = (&row.job, &row.run);
                let said = |row: &RunRow| format!("{} by the {:?} at fence {}", row.state, row.by, row.fence);
                self.wrong.push(format!("{job}: run {run}: {}, then {}", said(before), said(row)));
            }
            self.runs.insert(key, row.clone());
        }
    }

    /// Compares a look at the locks with those before it.
    pub fn see_lock(&mut self, seen: &SeenLock) {
        let now = (seen.created, seen.lock.fence());
        if let Some(before) = self.locks.insert(seen.job.clone(), now)
            && before.0 == now.0
            && now.1 < before.1
        {
            self.wrong.push(format!("{}: the fence {}, then {}", seen.job, before.1, now.1));
        }
    }

    pub(super) fn report(&self, report: &mut Report) {
        for what in &self.wrong {
            report.add(Kind::WentBack, what.clone());
        }
    }
}

/// How much a record's author knows.
const fn knows(row: &RunRow) -> u8 {
    match (row.by, row.state) {
        (Author::Caretaker, _) => 0,
        (Author::Worker, RunState::Lost) => 1,
        (Author::Worker, _) => 2,
    }
}

fn may_replace(before: &RunRow, after: &RunRow) -> bool {
    let same = before.state == after.state && before.by == after.by && before.fence == after.fence;
    // A caretaker has the lock's revision at which it found the run, which is the claim's or a later one.
    same || knows(before) < knows(after)
}
