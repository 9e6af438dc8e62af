//! The run log in one SQLite file, for `quorate dev`. One connection, used on threads that may block; a commit is on
//! the disk (`synchronous = FULL`) before `append` returns, since the spool forgets what was appended.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params, params_from_iter};

use super::{
    Author, LogEntry, Outputs, Piece, RunLog, RunLogError, RunPage, RunQuery, RunRecord, TickQuery,
    TickRecord,
};
use crate::id::RunId;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS log (
        id TEXT PRIMARY KEY, run TEXT NOT NULL, attempt INTEGER NOT NULL, job TEXT NOT NULL, state TEXT NOT NULL,
        worker TEXT NOT NULL, plan INTEGER NOT NULL, start INTEGER NOT NULL, caretaker INTEGER NOT NULL,
        expires INTEGER NOT NULL, record TEXT NOT NULL, output TEXT NOT NULL, pieces TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS log_plan ON log (plan, id);
    CREATE INDEX IF NOT EXISTS log_job_plan ON log (job, plan, id);
    CREATE INDEX IF NOT EXISTS log_state_plan ON log (state, plan, id);
    CREATE INDEX IF NOT EXISTS log_job_start ON log (job, start);
    CREATE INDEX IF NOT EXISTS log_run ON log (run, attempt);
    CREATE INDEX IF NOT EXISTS log_expires ON log (expires);
    CREATE TABLE IF NOT EXISTS ticks (
        id TEXT PRIMARY KEY, job TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        expires INTEGER NOT NULL, record TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS ticks_last ON ticks (last);
    CREATE INDEX IF NOT EXISTS ticks_job_last ON ticks (job, last);";

/// What a worker's record replaces is a caretaker's only; a caretaker's replaces nothing.
const PUT_RUN: &str = "
    INSERT INTO log (id, run, attempt, job, state, worker, plan, start, caretaker, expires, record, output, pieces)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (id) DO UPDATE SET state = ?5, worker = ?6, plan = ?7, start = ?8, caretaker = 0, expires = ?10,
        record = ?11, output = ?12, pieces = ?13
    WHERE log.caretaker = 1 AND ?9 = 0";

/// How long a writer waits for another process that looks into the file.
const BUSY: Duration = Duration::from_secs(5);

/// A run log in a file.
pub struct EmbeddedRunLog {
    connection: Arc<Mutex<Connection>>,
}

impl EmbeddedRunLog {
    /// Opens the file, making it if need be.
    pub fn open(path: &Path) -> Result<Self, RunLogError> {
        Self::prepare(Connection::open(path).map_err(failed)?)
    }

    /// A run log that ends with the process.
    #[cfg(any(test, feature = "test-support"))]
    pub fn in_memory() -> Result<Self, RunLogError> {
        Self::prepare(Connection::open_in_memory().map_err(failed)?)
    }

    fn prepare(connection: Connection) -> Result<Self, RunLogError> {
        connection.busy_timeout(BUSY).map_err(failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .and_then(|()| connection.execute_batch(SCHEMA))
            .map_err(failed)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, RunLogError> {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(result) => result.map_err(failed),
            Err(error) => Err(RunLogError::Unavailable(Box::new(error))),
        }
    }
}

fn failed(error: rusqlite::Error) -> RunLogError {
    RunLogError::Unavailable(Box::new(error))
}

#[async_trait]
impl RunLog for EmbeddedRunLog {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        let entries = entries.to_vec();
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            for entry in entries {
                match entry {
                    LogEntry::Run(record) => put_run(&transaction, *record)?,
                    LogEntry::Ticks(record) => put_ticks(&transaction, &record)?,
                }
            }
            transaction.commit()
        })
        .await
    }

    async fn runs(&self, query: &RunQuery, outputs: Outputs) -> Result<RunPage, RunLogError> {
        let (filter, mut values) = conditions(query)?;
        let limit = query.limit.clamp(1, 500);
        values.push(Box::new(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
        let columns = match outputs {
            Outputs::With => "record, output, pieces",
            Outputs::Without => "record, '', '[]'",
        };
        let sql = format!("SELECT {columns} FROM log {filter} ORDER BY plan DESC, id DESC LIMIT ?");
        let mut records = self.with(move |connection| read_runs(connection, &sql, &values)).await?;
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|last| format!("{}:{}", last.plan_time, last.id()));
        Ok(RunPage { records, next })
    }

    async fn run(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        let values: Values = vec![Box::new(run.to_string())];
        let sql = "SELECT record, output, pieces FROM log WHERE run = ? ORDER BY attempt";
        self.with(move |connection| read_runs(connection, sql, &values)).await
    }

    async fn log(&self, job: &str, skip: u64, limit: usize) -> Result<Vec<RunRecord>, RunLogError> {
        let (limit, skip) =
            (i64::try_from(limit).unwrap_or(i64::MAX), i64::try_from(skip).unwrap_or(i64::MAX));
        let values: Values = vec![Box::new(job.to_owned()), Box::new(limit), Box::new(skip)];
        let sql = "SELECT record, output, pieces FROM log WHERE job = ? ORDER BY start DESC, id DESC LIMIT ? OFFSET ?";
        self.with(move |connection| read_runs(connection, sql, &values)).await
    }

    async fn ticks(&self, query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError> {
        let mut filter = Filter::default();
        filter.equal("job", query.job.clone());
        filter.bound("last >= ?", query.from);
        filter.bound("first < ?", query.to);
        let (text, mut values) = filter.finish();
        values.push(Box::new(i64::try_from(query.limit).unwrap_or(i64::MAX)));
        let sql = format!("SELECT record FROM ticks {text} ORDER BY last DESC, id DESC LIMIT ?");
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map(params_from_iter(values.iter()), |row| row.get::<_, String>(0))?;
            let mut records = Vec::new();
            for text in rows {
                records.extend(parsed(&text?));
            }
            Ok(records)
        })
        .await
    }

    async fn prune(&self, now: DateTime<Utc>, per_job: u64) -> Result<(), RunLogError> {
        let now = now.timestamp_millis();
        let keep = i64::try_from(per_job).unwrap_or(i64::MAX);
        self.with(move |connection| {
            connection.execute("DELETE FROM log WHERE expires <= ?", [now])?;
            connection.execute("DELETE FROM ticks WHERE expires <= ?", [now])?;
            let crowded: Vec<String> = connection
                .prepare("SELECT job FROM log GROUP BY job HAVING count(*) > ?")?
                .query_map([keep], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for job in crowded {
                connection.execute(
                    "DELETE FROM log WHERE id IN
                        (SELECT id FROM log WHERE job = ? ORDER BY plan DESC, id DESC LIMIT -1 OFFSET ?)",
                    params![job, keep],
                )?;
            }
            Ok(())
        })
        .await
    }

    async fn status(&self) -> Result<String, RunLogError> {
        self.with(|connection| connection.query_row("SELECT 1 FROM log LIMIT 1", [], |_| Ok(())).optional())
            .await?;
        Ok("embedded run log".to_owned())
    }
}

type Values = Vec<Box<dyn ToSql + Send>>;

/// The conditions of a query and their values.
#[derive(Default)]
struct Filter {
    terms: Vec<&'static str>,
    values: Values,
}

impl Filter {
    fn equal(&mut self, column: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.terms.push(match column {
                "job" => "job = ?",
                "state" => "state = ?",
                _ => "worker = ?",
            });
            self.values.push(Box::new(value));
        }
    }

    fn bound(&mut self, term: &'static str, instant: Option<DateTime<Utc>>) {
        if let Some(instant) = instant {
            self.terms.push(term);
            self.values.push(Box::new(instant.timestamp_millis()));
        }
    }

    fn finish(self) -> (String, Values) {
        let text =
            if self.terms.is_empty() { String::new() } else { format!("WHERE {}", self.terms.join(" AND ")) };
        (text, self.values)
    }
}

fn conditions(query: &RunQuery) -> Result<(String, Values), RunLogError> {
    let mut filter = Filter::default();
    filter.equal("job", query.job.clone());
    filter.equal("state", query.state.map(|state| state.name().to_owned()));
    filter.equal("worker", query.worker.clone());
    filter.bound("plan >= ?", query.from);
    filter.bound("plan < ?", query.to);
    if let Some(after) = &query.after {
        let position =
            after.split_once(':').and_then(|(plan, id)| Some((plan.parse::<i64>().ok()?, id.to_owned())));
        let (plan, id) =
            position.ok_or_else(|| RunLogError::BadPosition(after.chars().take(80).collect()))?;
        filter.terms.push("(plan, id) < (?, ?)");
        filter.values.push(Box::new(plan));
        filter.values.push(Box::new(id));
    }
    Ok(filter.finish())
}

fn put_run(connection: &Connection, mut record: RunRecord) -> rusqlite::Result<()> {
    let output = std::mem::take(&mut record.output);
    let pieces = json(&std::mem::take(&mut record.pieces))?;
    let caretaker = i64::from(record.by == Author::Caretaker);
    connection.prepare_cached(PUT_RUN)?.execute(params![
        record.id(),
        record.run.to_string(),
        record.attempt,
        record.job_name.as_str(),
        record.state.name(),
        record.worker.as_str(),
        record.plan_time,
        record.start_time,
        caretaker,
        record.expires,
        json(&record)?,
        output,
        pieces,
    ])?;
    Ok(())
}

fn put_ticks(connection: &Connection, record: &TickRecord) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO ticks (id, job, first, last, expires, record) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            record.id(),
            record.job_name.as_str(),
            record.from.millis(),
            record.to.millis(),
            record.expires,
            json(record)?,
        ])?;
    Ok(())
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn read_runs(connection: &Connection, sql: &str, values: &Values) -> rusqlite::Result<Vec<RunRecord>> {
    let mut statement = connection.prepare_cached(sql)?;
    let texts =
        |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let rows = statement.query_map(params_from_iter(values.iter()), texts)?;
    let mut records = Vec::new();
    for row in rows {
        let (record, output, pieces) = row?;
        if let Some(mut record) = parsed::<RunRecord>(&record) {
            record.output = output;
            record.pieces = parsed::<Vec<Piece>>(&pieces).unwrap_or_default();
            records.push(record);
        }
    }
    Ok(records)
}

/// One record that does not parse never hides the others.
fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!(%error, "a record in the run log does not parse; it is left out"))
        .ok()
}
