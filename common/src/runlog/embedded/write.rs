//! Records into rows.

use rusqlite::{Connection, TransactionBehavior, params};

use crate::runlog::{Author, LogEntry, RunRecord, TickRecord};

/// A worker's record beats a caretaker's, and a finished one of the same worker's that it lost the run, in any order;
/// else the first one stays.
const APPEND_RUN: &str = "
    INSERT INTO runs (id, job, state, worker, plan_time, start_time, expires, by_worker, record, pieces, output)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (id) DO UPDATE SET
        job = excluded.job, state = excluded.state, worker = excluded.worker, plan_time = excluded.plan_time,
        start_time = excluded.start_time, expires = excluded.expires, by_worker = 1, record = excluded.record,
        pieces = excluded.pieces, output = excluded.output
    WHERE excluded.by_worker = 1 AND (runs.by_worker = 0
        OR (runs.state = 'lost' AND excluded.state <> 'lost' AND runs.worker = excluded.worker))";

/// The later telling of a stretch stands.
const APPEND_TICKS: &str = "
    INSERT OR REPLACE INTO ticks (id, job, first, last, expires, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// An entry, ready to be written.
pub(super) enum Row {
    Run(Box<RunRow>),
    Ticks { ticks: TickRecord, json: String },
}

pub(super) struct RunRow {
    /// Without output and pieces.
    record: RunRecord,
    json: String,
    pieces: String,
    output: String,
}

impl Row {
    pub(super) fn new(entry: &LogEntry) -> Result<Self, serde_json::Error> {
        match entry {
            LogEntry::Run(run) => {
                let mut record = RunRecord::clone(run);
                let output = std::mem::take(&mut record.output);
                let pieces = serde_json::to_string(&std::mem::take(&mut record.pieces))?;
                let json = serde_json::to_string(&record)?;
                Ok(Self::Run(Box::new(RunRow { record, json, pieces, output })))
            }
            LogEntry::Ticks(ticks) => {
                Ok(Self::Ticks { json: serde_json::to_string(ticks)?, ticks: ticks.clone() })
            }
        }
    }
}

/// All rows or none; on disk when it returns.
pub(super) fn append(connection: &mut Connection, rows: &[Row]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut runs = transaction.prepare_cached(APPEND_RUN)?;
        let mut ticks = transaction.prepare_cached(APPEND_TICKS)?;
        for row in rows {
            match row {
                Row::Run(row) => {
                    let RunRow { record, json, pieces, output } = &**row;
                    runs.execute(params![
                        record.id(),
                        record.owner(),
                        record.state.name(),
                        record.worker.as_str(),
                        record.plan_time,
                        record.start_time,
                        record.expires,
                        record.by == Author::Worker,
                        json,
                        pieces,
                        output,
                    ])?;
                }
                Row::Ticks { ticks: told, json } => {
                    ticks.execute(params![
                        told.id(),
                        told.job_name.as_str(),
                        told.from.millis(),
                        told.to.millis(),
                        told.expires,
                        json,
                    ])?;
                }
            }
        }
    }
    transaction.commit()
}
