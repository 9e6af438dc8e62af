//! Rows into records and pages.

use rusqlite::{Connection, Params, Row, ToSql, params, params_from_iter};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::position::Position;
use crate::{
    id::RunId,
    runlog::{LOG_BYTES, Outputs, RunPage, RunQuery, RunRecord, TickQuery, TickRecord},
};

const WITH_OUTPUTS: &str = "id, plan_time, record, pieces, output";
const WITHOUT_OUTPUTS: &str = "id, plan_time, record, '[]', ''";

const fn columns(outputs: Outputs) -> &'static str {
    match outputs {
        Outputs::With => WITH_OUTPUTS,
        Outputs::Without => WITHOUT_OUTPUTS,
    }
}

/// What a record must match: SQL and its arguments, so that no text of a query becomes SQL.
#[derive(Default)]
struct Conditions {
    sql: Vec<&'static str>,
    arguments: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    fn add<T: ToSql + 'static>(&mut self, sql: &'static str, argument: Option<T>) {
        if let Some(argument) = argument {
            self.sql.push(sql);
            self.arguments.push(Box::new(argument));
        }
    }

    fn behind(&mut self, position: &Position) {
        self.sql.push("(plan_time, id) < (?, ?)");
        self.arguments.push(Box::new(position.plan_time));
        self.arguments.push(Box::new(position.id.clone()));
    }

    fn sql(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!("WHERE {}", self.sql.join(" AND ")) }
    }
}

/// The limit is within its bounds already.
pub(super) fn runs(
    connection: &Connection,
    query: &RunQuery,
    after: Option<&Position>,
    outputs: Outputs,
) -> rusqlite::Result<RunPage> {
    let mut conditions = Conditions::default();
    conditions.add("job = ?", query.job.clone());
    conditions.add("state = ?", query.state.map(|state| state.name()));
    conditions.add("worker = ?", query.worker.clone());
    conditions.add("plan_time >= ?", query.from.map(|from| from.timestamp_millis()));
    conditions.add("plan_time < ?", query.to.map(|to| to.timestamp_millis()));
    if let Some(position) = after {
        conditions.behind(position);
    }
    // One more than asked for tells whether there is a next page.
    let sql = format!(
        "SELECT {} FROM runs {} ORDER BY plan_time DESC, id DESC LIMIT {}",
        columns(outputs),
        conditions.sql(),
        query.limit + 1
    );
    let mut rows = run_rows(connection, &sql, params_from_iter(conditions.arguments), usize::MAX)?;
    let more = rows.len() > query.limit;
    rows.truncate(query.limit);
    // Of the last row, readable or not: a page of bad records has a next one, too.
    let next = rows.last().filter(|_| more).map(|row| row.position.to_string());
    Ok(RunPage { records: readable(rows), next })
}

/// By attempt as a number: as text, 10 comes before 2.
pub(super) fn run(connection: &Connection, run: RunId, outputs: Outputs) -> rusqlite::Result<Vec<RunRecord>> {
    // '0' is the character behind '/'.
    let sql = format!("SELECT {} FROM runs WHERE id > ?1 AND id < ?2", columns(outputs));
    let rows = run_rows(connection, &sql, params![format!("{run}/"), format!("{run}0")], usize::MAX)?;
    let mut records = readable(rows);
    records.sort_by_key(|record| record.attempt);
    Ok(records)
}

pub(super) fn attempt(
    connection: &Connection,
    run: RunId,
    attempt: u32,
) -> rusqlite::Result<Option<RunRecord>> {
    let sql = format!("SELECT {WITH_OUTPUTS} FROM runs WHERE id = ?1");
    let rows = run_rows(connection, &sql, params![format!("{run}/{attempt}")], usize::MAX)?;
    Ok(readable(rows).pop())
}

pub(super) fn log(
    connection: &Connection,
    job: &str,
    skip: u64,
    limit: usize,
) -> rusqlite::Result<Vec<RunRecord>> {
    let sql = format!(
        "SELECT {WITH_OUTPUTS} FROM runs WHERE job = ?1 ORDER BY start_time DESC, id DESC LIMIT {limit} OFFSET ?2"
    );
    let skip = i64::try_from(skip).unwrap_or(i64::MAX);
    Ok(readable(run_rows(connection, &sql, params![job, skip], LOG_BYTES)?))
}

pub(super) fn ticks(connection: &Connection, query: &TickQuery) -> rusqlite::Result<Vec<TickRecord>> {
    let mut conditions = Conditions::default();
    conditions.add("job = ?", query.job.clone());
    conditions.add("last >= ?", query.from.map(|from| from.timestamp_millis()));
    conditions.add("first < ?", query.to.map(|to| to.timestamp_millis()));
    let sql = format!(
        "SELECT id, record FROM ticks {} ORDER BY last DESC, id DESC LIMIT {}",
        conditions.sql(),
        query.limit
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(conditions.arguments), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(rows.iter().filter_map(|(id, record)| decode(id, record)).collect())
}

struct RunRow {
    position: Position,
    record: String,
    pieces: String,
    output: String,
}

/// The rows, and no more of them once `max_bytes` have come.
fn run_rows(
    connection: &Connection,
    sql: &str,
    arguments: impl Params,
    max_bytes: usize,
) -> rusqlite::Result<Vec<RunRow>> {
    let mut statement = connection.prepare_cached(sql)?;
    let read = |row: &Row<'_>| {
        let position = Position { id: row.get(0)?, plan_time: row.get(1)? };
        Ok(RunRow { position, record: row.get(2)?, pieces: row.get(3)?, output: row.get(4)? })
    };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in statement.query_map(arguments, read)? {
        let row: RunRow = row?;
        bytes += row.record.len() + row.pieces.len() + row.output.len();
        rows.push(row);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(rows)
}

fn readable(rows: Vec<RunRow>) -> Vec<RunRecord> {
    let record = |row: RunRow| {
        let id = &row.position.id;
        let pieces = decode(id, &row.pieces)?;
        Some(RunRecord { output: row.output, pieces, ..decode(id, &row.record)? })
    };
    rows.into_iter().filter_map(record).collect()
}

/// One bad record must not hide the others.
fn decode<T: DeserializeOwned>(id: &str, json: &str) -> Option<T> {
    serde_json::from_str(json)
        .inspect_err(|error| warn!(id, %error, "a record in the run log does not decode; it is left out"))
        .ok()
}
