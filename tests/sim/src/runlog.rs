//! A run log in memory. What it keeps in the end is told to whoever watches it.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use common::{
    id::RunId,
    run::RunState,
    runlog::{
        Author, LOG_BYTES, LogEntry, Outputs, RunLog, RunLogError, RunPage, RunQuery, RunRecord, TickQuery,
        TickRecord,
    },
};
use parking_lot::{Mutex, MutexGuard};

/// The most records that one answer has.
const MAX_PAGE: usize = 500;

/// Told of what changes in the log.
pub trait Reader: Send + Sync {
    /// This is the record of an attempt from here on.
    fn run(&self, record: &RunRecord);
    /// This is the record of a stretch of ticks from here on.
    fn ticks(&self, record: &TickRecord);
}

/// Nobody reads along.
impl Reader for () {
    fn run(&self, _record: &RunRecord) {}
    fn ticks(&self, _record: &TickRecord) {}
}

/// The log.
pub struct MemoryRunLog {
    records: Mutex<Records>,
    reader: Arc<dyn Reader>,
}

#[derive(Default)]
struct Records {
    runs: BTreeMap<(RunId, u32), RunRecord>,
    ticks: BTreeMap<String, TickRecord>,
}

impl MemoryRunLog {
    /// An empty one.
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self { records: Mutex::default(), reader }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        let records = self.lock();
        records.runs.len() + records.ticks.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock()
    }
}

/// A worker's record beats a caretaker's, and of one worker's two the one that says how the run ended.
fn beats(new: &RunRecord, old: &RunRecord) -> bool {
    let ended = old.state == RunState::Lost && new.state != RunState::Lost && new.worker == old.worker;
    new.by == Author::Worker && (old.by == Author::Caretaker || ended)
}

fn position(record: &RunRecord) -> (i64, String) {
    (record.plan_time, record.id())
}

fn parse_position(text: &str) -> Result<(i64, String), RunLogError> {
    let read = || {
        let (plan, id) = text.split_once('.')?;
        let (run, attempt) = id.split_once('/')?;
        run.parse::<RunId>().ok()?;
        attempt.parse::<u32>().ok()?;
        Some((plan.parse().ok()?, id.to_owned()))
    };
    read().ok_or_else(|| RunLogError::BadPosition(text.to_owned()))
}

fn matches(record: &RunRecord, query: &RunQuery) -> bool {
    let is = |wanted: &Option<String>, have: &str| wanted.as_ref().is_none_or(|wanted| wanted == have);
    is(&query.job, &record.owner())
        && is(&query.worker, record.worker.as_str())
        && query.state.is_none_or(|state| state == record.state)
        && query.from.is_none_or(|from| record.plan_time >= from.timestamp_millis())
        && query.to.is_none_or(|to| record.plan_time < to.timestamp_millis())
}

#[async_trait]
impl RunLog for MemoryRunLog {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        let mut records = self.lock();
        for entry in entries {
            match entry {
                LogEntry::Run(record) => {
                    let key = (record.run, record.attempt);
                    if records.runs.get(&key).is_none_or(|old| beats(record, old)) {
                        self.reader.run(record);
                        records.runs.insert(key, RunRecord::clone(record));
                    }
                }
                LogEntry::Ticks(record) => {
                    self.reader.ticks(record);
                    records.ticks.insert(record.id(), record.clone());
                }
            }
        }
        Ok(())
    }

    async fn runs(&self, query: &RunQuery, outputs: Outputs) -> Result<RunPage, RunLogError> {
        let after = query.after.as_deref().map(parse_position).transpose()?;
        let limit = query.limit.clamp(1, MAX_PAGE);
        let mut found: Vec<RunRecord> =
            self.lock().runs.values().filter(|record| matches(record, query)).cloned().collect();
        found.sort_by_key(|record| std::cmp::Reverse(position(record)));
        found.retain(|record| after.as_ref().is_none_or(|after| position(record) < *after));
        let more = found.len() > limit;
        found.truncate(limit);
        if outputs == Outputs::Without {
            for record in &mut found {
                record.output.clear();
                record.pieces.clear();
            }
        }
        let next = found.last().filter(|_| more).map(|last| format!("{}.{}", last.plan_time, last.id()));
        Ok(RunPage { records: found, next })
    }

    async fn run(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        let attempts = (*run, 0)..=(*run, u32::MAX);
        Ok(self.lock().runs.range(attempts).map(|(_, record)| record.clone()).collect())
    }

    async fn log(&self, job: &str, skip: u64, limit: usize) -> Result<Vec<RunRecord>, RunLogError> {
        let of_job = |record: &&RunRecord| record.owner() == job;
        let mut found: Vec<RunRecord> = self.lock().runs.values().filter(of_job).cloned().collect();
        found.sort_by_key(|record| std::cmp::Reverse((record.start_time, record.id())));
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |record: &RunRecord| {
            let fits = bytes < LOG_BYTES;
            bytes += record.output.len();
            fits
        };
        Ok(found.into_iter().skip(skip).take(limit.min(MAX_PAGE)).take_while(fits).collect())
    }

    async fn ticks(&self, query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError> {
        let wanted = |record: &&TickRecord| {
            query.job.as_ref().is_none_or(|job| job == record.job_name.as_str())
                && query.from.is_none_or(|from| record.to.instant() >= from)
                && query.to.is_none_or(|to| record.from.instant() < to)
        };
        let mut found: Vec<TickRecord> = self.lock().ticks.values().filter(wanted).cloned().collect();
        found.sort_by_key(|record| std::cmp::Reverse((record.to, record.id())));
        found.truncate(query.limit.clamp(1, MAX_PAGE));
        Ok(found)
    }

    async fn prune(&self, now: DateTime<Utc>, per_job: u64) -> Result<(), RunLogError> {
        let now = now.timestamp_millis();
        let stays = |expires: i64| expires == 0 || expires > now;
        let mut records = self.lock();
        records.runs.retain(|_, record| stays(record.expires));
        records.ticks.retain(|_, record| stays(record.expires));
        if per_job == u64::MAX {
            return Ok(());
        }
        let mut by_job: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, record) in &records.runs {
            by_job.entry(record.owner().into_owned()).or_default().push((position(record), *key));
        }
        let newest = usize::try_from(per_job).unwrap_or(usize::MAX);
        for mut of_job in by_job.into_values() {
            of_job.sort_unstable_by(|one, other| other.cmp(one));
            for (_, key) in of_job.into_iter().skip(newest) {
                records.runs.remove(&key);
            }
        }
        Ok(())
    }

    async fn status(&self) -> Result<String, RunLogError> {
        Ok("run log in memory".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn log() -> Arc<dyn RunLog> {
        Arc::new(MemoryRunLog::new(Arc::new(())))
    }
    common::runlog_conformance!(log);
}
