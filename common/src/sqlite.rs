//! How the embedded adapters open their SQLite files: made if missing, known by their application id, durable at
//! every commit.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

/// What makes a file ours.
pub(crate) struct Format {
    /// What it is, for messages: `store`.
    pub(crate) what: &'static str,
    /// SQLite's `application_id`.
    pub(crate) application: i32,
    /// SQLite's `user_version`: the version of the schema.
    pub(crate) version: i32,
    /// Makes the tables of a new file.
    pub(crate) schema: &'static str,
}

/// Who else may open the file meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Nobody.
    Exclusive,
    /// Other connections, of this process or another.
    Shared,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot make the directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(
        "{} is in use by another process; end that one, or give this one a data directory of its own, such as \
         --data-dir /var/lib/quorate2",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "{} is not a {what} of Quorate, or it is damaged; put back a copy, or move it away to begin with an empty one",
        path.display()
    )]
    Foreign { path: PathBuf, what: &'static str, source: Option<rusqlite::Error> },
    #[error(
        "{} was written by a newer Quorate (format {found}, this one knows {known}); use that version",
        path.display()
    )]
    Newer { path: PathBuf, found: i32, known: i32 },
    #[error("cannot open {}", path.display())]
    Sql { path: PathBuf, source: rusqlite::Error },
}

/// How long a shared file's lock is waited for.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Opens `path`, and makes it and its directory if they are missing. The directory is readable by its owner
/// only: jobs carry secrets.
pub(crate) fn open(path: &Path, format: &Format, sharing: Sharing) -> Result<Connection, OpenError> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|source| OpenError::Directory { path: parent.to_owned(), source })?;
    }
    let classify = |error| classify(path, format, error);
    let mut connection = Connection::open(path).map_err(classify)?;
    prepare(&mut connection, sharing).map_err(classify)?;
    let found = adopt(&mut connection, format).map_err(classify)?;
    match found {
        Found::Ours => Ok(connection),
        Found::Foreign => Err(OpenError::Foreign { path: path.to_owned(), what: format.what, source: None }),
        Found::Newer(found) => Err(OpenError::Newer { path: path.to_owned(), found, known: format.version }),
    }
}

/// A database that lives as long as its connection.
#[cfg(any(test, feature = "test-support"))]
pub(crate) fn open_in_memory(format: &Format) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(format.schema)?;
    Ok(connection)
}

/// WAL with a sync at each commit: what is committed survives a power loss.
fn prepare(connection: &mut Connection, sharing: Sharing) -> rusqlite::Result<()> {
    match sharing {
        Sharing::Exclusive => {
            connection.busy_timeout(Duration::ZERO)?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        }
        Sharing::Shared => connection.busy_timeout(BUSY_WAIT)?,
    }
    // Only has an effect on a file that has no tables yet; lets the file shrink.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")
}

enum Found {
    Ours,
    Foreign,
    Newer(i32),
}

/// Makes an empty file ours and recognizes one that is.
fn adopt(connection: &mut Connection, format: &Format) -> rusqlite::Result<Found> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i32>(0));
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    if tables == 0 && application == 0 {
        transaction.execute_batch(format.schema)?;
        transaction.pragma_update(None, "application_id", format.application)?;
        transaction.pragma_update(None, "user_version", format.version)?;
    } else if application != format.application {
        return Ok(Found::Foreign);
    } else if version > format.version {
        return Ok(Found::Newer(version));
    }
    transaction.commit()?;
    Ok(Found::Ours)
}

fn classify(path: &Path, format: &Format, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse { path },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Foreign { path, what: format.what, source: Some(source) }
        }
        _ => OpenError::Sql { path, source },
    }
}
