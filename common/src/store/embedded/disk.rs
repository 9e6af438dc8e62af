//! The store's SQLite file: written in groups, read once when it is opened.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, Row, Transaction, params};

use super::pending::Changes;
use crate::{
    sqlite::{self, Format, Sharing},
    store::{Entry, Key, LeaseId, Revision, StoreError},
};

const FORMAT: Format = Format {
    what: "store",
    // "QrSt".
    application: 0x5172_5374,
    version: 1,
    schema: "
        CREATE TABLE entries (
            key TEXT PRIMARY KEY,
            value BLOB NOT NULL,
            create_revision INTEGER NOT NULL,
            mod_revision INTEGER NOT NULL,
            lease INTEGER
        ) WITHOUT ROWID;
        CREATE TABLE leases (id INTEGER PRIMARY KEY, seconds INTEGER NOT NULL);
        CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
        -- Lease ids begin anywhere: one that a worker remembers from a store before this must not name
        -- another's here.
        INSERT INTO counters VALUES ('revision', 0), ('last_lease', abs(random() >> 2));
    ",
};

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) entries: Vec<Entry>,
    pub(super) leases: Vec<(LeaseId, Duration)>,
    pub(super) revision: Revision,
    /// The lease id given last; no id is given twice.
    pub(super) last_lease: i64,
}

/// The open file. Its calls block.
pub(super) struct Disk {
    connection: Connection,
}

/// Why a commit failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WriteError {
    /// Nothing was written.
    #[error("the disk is full: {0}")]
    Full(String),
    /// It cannot be known whether it will be there after a crash.
    #[error("{0}")]
    Failed(String),
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Full(_) => Self::Full(error.into()),
            WriteError::Failed(_) => Self::Ambiguous(error.into()),
        }
    }
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<(Self, Saved), StoreError> {
        let connection = sqlite::open(path, &FORMAT, Sharing::Exclusive)
            .map_err(|error| StoreError::Unavailable(error.into()))?;
        let saved = load(&connection).map_err(|error| StoreError::Unavailable(error.into()))?;
        Ok((Self { connection }, saved))
    }

    /// Commits a group of changes; on disk when it returns.
    pub(super) fn write(&mut self, changes: &Changes, last_lease: i64) -> Result<(), WriteError> {
        self.try_write(changes, last_lease).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => WriteError::Full(error.to_string()),
            _ => WriteError::Failed(error.to_string()),
        })
    }

    fn try_write(&mut self, changes: &Changes, last_lease: i64) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        write_entries(&transaction, changes)?;
        write_leases(&transaction, changes)?;
        let mut count = transaction.prepare_cached("UPDATE counters SET value = ?2 WHERE name = ?1")?;
        count.execute(params!["revision", changes.revision.get()])?;
        count.execute(params!["last_lease", last_lease])?;
        drop(count);
        transaction.commit()
    }

    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) -> rusqlite::Result<()> {
        self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    }
}

fn write_entries(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT OR REPLACE INTO entries (key, value, create_revision, mod_revision, lease)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM entries WHERE key = ?1")?;
    for (key, entry) in &changes.entries {
        match entry {
            None => delete.execute([key.as_str()])?,
            Some(entry) => put.execute(params![
                key.as_str(),
                &*entry.value,
                entry.create_revision.get(),
                entry.mod_revision.get(),
                entry.lease.map(|lease| lease.0),
            ])?,
        };
    }
    Ok(())
}

fn write_leases(transaction: &Transaction<'_>, changes: &Changes) -> rusqlite::Result<()> {
    let mut grant = transaction.prepare_cached("INSERT INTO leases (id, seconds) VALUES (?1, ?2)")?;
    for (id, ttl) in &changes.granted {
        // Bounded by the longest lease, so it always fits.
        grant.execute(params![id.0, i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)])?;
    }
    let mut end = transaction.prepare_cached("DELETE FROM leases WHERE id = ?1")?;
    for id in &changes.ended {
        end.execute([id.0])?;
    }
    Ok(())
}

fn load(connection: &Connection) -> rusqlite::Result<Saved> {
    let counter = |name: &str| {
        connection.query_row("SELECT value FROM counters WHERE name = ?1", [name], |row| row.get(0))
    };
    let mut entries = connection
        .prepare("SELECT key, value, create_revision, mod_revision, lease FROM entries ORDER BY key")?;
    let mut leases = connection.prepare("SELECT id, seconds FROM leases")?;
    Ok(Saved {
        entries: entries.query_map([], entry)?.collect::<Result<_, _>>()?,
        leases: leases
            .query_map([], |row| {
                let seconds: i64 = row.get(1)?;
                Ok((LeaseId(row.get(0)?), Duration::from_secs(seconds.max(1).unsigned_abs())))
            })?
            .collect::<Result<_, _>>()?,
        revision: Revision::new(counter("revision")?),
        last_lease: counter("last_lease")?,
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        key: Key::from_bytes(row.get_ref(0)?.as_bytes()?),
        value: row.get_ref(1)?.as_blob()?.into(),
        create_revision: Revision::new(row.get(2)?),
        mod_revision: Revision::new(row.get(3)?),
        lease: row.get::<_, Option<i64>>(4)?.map(LeaseId),
    })
}
