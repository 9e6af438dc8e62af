//! The run log inside one process, for `quorate dev`: a SQLite file of its own.
//!
//! An append is one SQLite transaction that is synced before it returns, since the spool forgets what has been
//! appended. Writing and reading have a connection each, so that a reader of large outputs holds up no append.
//! Every call to SQLite runs on a thread that may block.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::task::spawn_blocking;

use super::{
    LogEntry, Outputs, Refusal, RunLog, RunLogError, RunPage, RunQuery, RunRecord, TickQuery, TickRecord,
};
use crate::{
    id::RunId,
    room,
    sqlite::{self, Format, Sharing},
};
use position::Position;

mod position;
mod prune;
mod read;
#[cfg(test)]
mod tests;
mod write;

/// The newest schema. `record` is the record as JSON, without output and pieces: these stand last, where a page
/// without outputs need not read them.
const FORMAT: Format = Format {
    what: "run log",
    // "QrLg".
    application: 0x5172_4c67,
    version: 1,
    schema: "
        CREATE TABLE runs (
            id TEXT PRIMARY KEY,
            job TEXT NOT NULL,
            state TEXT NOT NULL,
            worker TEXT NOT NULL,
            plan_time INTEGER NOT NULL,
            start_time INTEGER NOT NULL,
            expires INTEGER NOT NULL,
            by_worker INTEGER NOT NULL,
            record TEXT NOT NULL,
            pieces TEXT NOT NULL,
            output TEXT NOT NULL
        );
        CREATE INDEX runs_by_time ON runs (plan_time, id);
        CREATE INDEX runs_by_job ON runs (job, plan_time, id);
        CREATE INDEX runs_by_state ON runs (state, plan_time, id);
        CREATE INDEX runs_by_start ON runs (job, start_time, id);
        CREATE INDEX runs_by_expiry ON runs (expires);
        CREATE TABLE ticks (
            id TEXT PRIMARY KEY,
            job TEXT NOT NULL,
            first INTEGER NOT NULL,
            last INTEGER NOT NULL,
            expires INTEGER NOT NULL,
            record TEXT NOT NULL
        );
        CREATE INDEX ticks_by_time ON ticks (last, id);
        CREATE INDEX ticks_by_job ON ticks (job, last, id);
        CREATE INDEX ticks_by_expiry ON ticks (expires);
    ",
};

/// The most records that one answer has.
const MAX_PAGE: usize = 500;

type Shared = Arc<Mutex<Connection>>;

/// A [`RunLog`] on a file of its own.
pub struct EmbeddedRunLog {
    writer: Shared,
    reader: Shared,
    /// Why the last append failed; none: it did not. Whoever appends tries again until it does not.
    failing: Mutex<Option<String>>,
    /// Where its file is; none: in memory.
    dir: Option<PathBuf>,
}

impl EmbeddedRunLog {
    /// Opens the log at `path`; makes it, and its directory, if there is none.
    pub fn open(path: &Path) -> Result<Self, RunLogError> {
        let open = || match sqlite::open(path, &FORMAT, Sharing::Shared) {
            Ok(connection) => Ok(Arc::new(Mutex::new(connection))),
            Err(error) => Err(RunLogError::Unavailable(error.into())),
        };
        let dir = path.parent().map(Path::to_owned);
        Ok(Self { writer: open()?, reader: open()?, failing: Mutex::default(), dir })
    }

    /// A log that is gone with its last handle.
    #[cfg(any(test, feature = "test-support"))]
    pub fn in_memory() -> Result<Self, RunLogError> {
        let connection = Arc::new(Mutex::new(sqlite::open_in_memory(&FORMAT).map_err(classify)?));
        let (writer, reader) = (connection.clone(), connection);
        Ok(Self { writer, reader, failing: Mutex::default(), dir: None })
    }
}

/// Does something with a connection on a thread that may block.
async fn with<T: Send + 'static>(
    connection: &Shared,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, RunLogError> {
    let connection = connection.clone();
    let worked = spawn_blocking(move || {
        // A transaction that a panic cut short was rolled back when it was dropped.
        work(&mut connection.lock())
    });
    worked.await.map_err(|error| RunLogError::Unavailable(error.into()))?.map_err(classify)
}

fn classify(error: rusqlite::Error) -> RunLogError {
    match error.sqlite_error_code() {
        Some(ErrorCode::TooBig) => RunLogError::Refused(Refusal::Record(error.into())),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::ReadOnly) => {
            RunLogError::Refused(Refusal::Request(error.into()))
        }
        _ => RunLogError::Unavailable(error.into()),
    }
}

#[async_trait]
impl RunLog for EmbeddedRunLog {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        if entries.is_empty() {
            return Ok(());
        }
        let rows = entries.iter().map(write::Row::new).collect::<Result<Vec<_>, _>>();
        let rows = rows.map_err(|error| RunLogError::Refused(Refusal::Record(error.into())))?;
        let appended = with(&self.writer, move |connection| write::append(connection, &rows)).await;
        // A record that is refused says nothing of the others.
        if !matches!(appended, Err(RunLogError::Refused(Refusal::Record(_)))) {
            let why = appended.as_ref().err().map(RunLogError::chain);
            *self.failing.lock() = why;
        }
        appended
    }

    async fn runs(&self, query: &RunQuery, outputs: Outputs) -> Result<RunPage, RunLogError> {
        let after = query.after.as_deref().map(str::parse::<Position>).transpose()?;
        let query = RunQuery { limit: query.limit.clamp(1, MAX_PAGE), ..query.clone() };
        with(&self.reader, move |connection| read::runs(connection, &query, after.as_ref(), outputs)).await
    }

    async fn run(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        let run = *run;
        with(&self.reader, move |connection| read::run(connection, run, Outputs::With)).await
    }

    async fn attempts(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        let run = *run;
        with(&self.reader, move |connection| read::run(connection, run, Outputs::Without)).await
    }

    async fn attempt(&self, run: &RunId, attempt: u32) -> Result<Option<RunRecord>, RunLogError> {
        let run = *run;
        with(&self.reader, move |connection| read::attempt(connection, run, attempt)).await
    }

    async fn log(&self, job: &str, skip: u64, limit: usize) -> Result<Vec<RunRecord>, RunLogError> {
        let (job, limit) = (job.to_owned(), limit.min(MAX_PAGE));
        with(&self.reader, move |connection| read::log(connection, &job, skip, limit)).await
    }

    async fn ticks(&self, query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError> {
        let query = TickQuery { limit: query.limit.clamp(1, MAX_PAGE), ..query.clone() };
        with(&self.reader, move |connection| read::ticks(connection, &query)).await
    }

    async fn prune(&self, now: DateTime<Utc>, per_job: u64) -> Result<(), RunLogError> {
        // In batches, so that appends get their turn in between.
        while with(&self.writer, move |connection| prune::some_expired(connection, now)).await? {}
        for job in with(&self.reader, move |connection| prune::full_jobs(connection, per_job)).await? {
            let job: Arc<str> = job.into();
            loop {
                let job = job.clone();
                if !with(&self.writer, move |connection| prune::some_of(connection, &job, per_job)).await? {
                    break;
                }
            }
        }
        with(&self.writer, |connection| prune::give_back(connection)).await
    }

    async fn status(&self) -> Result<String, RunLogError> {
        let failing = self.failing.lock().clone();
        match failing.or_else(|| self.dir.as_deref().and_then(room::lack_of)) {
            Some(why) => Err(RunLogError::Unavailable(format!("it cannot be written: {why}").into())),
            None => Ok("embedded run log".to_owned()),
        }
    }
}
