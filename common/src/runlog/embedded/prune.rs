//! What is removed from the log.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

/// So many rows are removed at once: it bounds how long an append waits.
const BATCH: i64 = 1000;

/// So many free pages are given back to the file system in one go, for the same reason.
const PAGES: u32 = 4096;

/// Removes some of what has expired; false: there is no more. A record whose expiry was never set (0) stays.
pub(super) fn some_expired(connection: &Connection, now: DateTime<Utc>) -> rusqlite::Result<bool> {
    let mut removed = 0;
    for table in ["runs", "ticks"] {
        let sql = format!(
            "DELETE FROM {table} WHERE rowid IN \
             (SELECT rowid FROM {table} WHERE expires > 0 AND expires <= ?1 LIMIT ?2)"
        );
        removed += connection.execute(&sql, params![now.timestamp_millis(), BATCH])?;
    }
    Ok(removed > 0)
}

/// The jobs with more than `per_job` records.
pub(super) fn full_jobs(connection: &Connection, per_job: u64) -> rusqlite::Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT job FROM runs GROUP BY job HAVING count(*) > ?1")?;
    let jobs = statement.query_map([limit(per_job)], |row| row.get(0))?;
    jobs.collect()
}

/// Removes some of what is beyond a job's newest `per_job` records; false: there is no more.
pub(super) fn some_of(connection: &Connection, job: &str, per_job: u64) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM runs WHERE rowid IN (SELECT rowid FROM runs WHERE job = ?1 \
               ORDER BY plan_time DESC, id DESC LIMIT ?3 OFFSET ?2)";
    Ok(connection.execute(sql, params![job, limit(per_job), BATCH])? > 0)
}

/// Lets the file shrink.
pub(super) fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn limit(per_job: u64) -> i64 {
    i64::try_from(per_job).unwrap_or(i64::MAX)
}
