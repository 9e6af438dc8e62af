//! The run log in MongoDB: collection `log` for runs, one document an attempt, and `ticks` for ticks without a run.
//!
//! It promises that what was appended is on disk (majority and journal, unless the URI says otherwise), that no call
//! outlasts its limit, even when the server is frozen, and that one unreadable document hides no other. Nothing
//! connects before it has to, and every call tries again, so the server may come late, go and return.
//!
//! GDTS wrote its records into `log` too, with ids and only eight fields of its own: they are read like ours.
//!
//! Expiry is the server's: each document carries its date. Counting a job's records is ours (`prune`).

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use mongodb::{
    Client, Collection, Cursor, Database,
    bson::{Document, RawDocumentBuf, doc},
    options::ClientOptions,
};
use tokio::sync::{Mutex, OnceCell};

use super::{
    LOG_BYTES, LogEntry, Outputs, RunLog, RunLogError, RunPage, RunQuery, RunRecord, TickQuery, TickRecord,
};
use crate::id::RunId;

pub use target::MongoUriError;
use {failure::Failure, target::Target};

mod append;
mod document;
mod failure;
mod index;
mod prune;
mod query;
mod target;

/// The most records that one call returns.
const MAX_PAGE: usize = 1_000;

/// Skip and limit together have to be a number of 63 bits for the server.
const MAX_SKIP: u64 = 1 << 62;

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoOptions {
    /// Until a server that is away counts as away.
    pub server_selection_timeout: Duration,
    /// For a read, on top of that.
    pub read_timeout: Duration,
    /// For storing one batch, on top of that.
    pub append_timeout: Duration,
}

impl Default for MongoOptions {
    fn default() -> Self {
        Self {
            server_selection_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(3),
            append_timeout: Duration::from_secs(15),
        }
    }
}

/// A run log in a MongoDB database. Holds a pool of connections: share it, do not make a second one.
#[derive(Debug)]
pub struct MongoRunLog {
    target: Target,
    options: MongoOptions,
    collections: OnceCell<Collections>,
    indexed: OnceCell<()>,
    /// The job behind which the next `prune` goes on.
    pruned_to: Mutex<String>,
}

#[derive(Clone, Debug)]
struct Collections {
    database: Database,
    runs: Collection<RawDocumentBuf>,
    ticks: Collection<RawDocumentBuf>,
}

impl Collections {
    fn open(options: ClientOptions, database: &str) -> mongodb::error::Result<Self> {
        let database = Client::with_options(options)?.database(database);
        Ok(Self { runs: database.collection("log"), ticks: database.collection("ticks"), database })
    }
}

impl MongoRunLog {
    /// The run log in the database that the URI's path names, else in `quorate`. Succeeds while no server answers;
    /// only a URI that can never work is an error, and its text keeps the password to itself.
    pub async fn connect(uri: &str, options: MongoOptions) -> Result<Self, MongoUriError> {
        let target = Target::parse(uri)?;
        let log = Self {
            target,
            options,
            collections: OnceCell::new(),
            indexed: OnceCell::new(),
            pruned_to: Mutex::default(),
        };
        // What a name server has to say first can wait; anything else in the URI is wrong now or never.
        if !log.target.needs_name_server() {
            log.collections().await.map_err(|error| log.target.refuse(&error))?;
        }
        Ok(log)
    }

    /// The collections. No server of MongoDB's is asked for that, at most a name server.
    async fn collections(&self) -> Result<&Collections, Failure> {
        let open = async || {
            let client_options = self.target.client_options(&self.options).await?;
            Collections::open(client_options, &self.target.database)
        };
        self.collections.get_or_try_init(|| self.call(self.options.read_timeout, open())).await
    }

    /// A call that ends after `limit`, also when the server is frozen and its connection says nothing.
    async fn call<T>(
        &self,
        limit: Duration,
        call: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<T, Failure> {
        let limit = self.options.server_selection_timeout + limit;
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| Failure::new(&self.target.hosts, &error)),
            Err(_) => Err(Failure::silent(&self.target.hosts, limit)),
        }
    }

    /// The documents that a filter finds, at most `limit`.
    async fn find(&self, find: Find<'_>) -> Result<Vec<RawDocumentBuf>, Failure> {
        self.find_within(usize::MAX, find).await
    }

    /// The same, and no more of them once `max_bytes` have come.
    async fn find_within(&self, max_bytes: usize, find: Find<'_>) -> Result<Vec<RawDocumentBuf>, Failure> {
        let Find { collection, filter, sort, projection, skip, limit } = find;
        // The server gives up before we do, so that it does not work on what nobody waits for.
        let cursor = collection
            .find(filter)
            .sort(sort)
            .projection(projection)
            .skip(skip.min(MAX_SKIP))
            .limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .max_time(self.options.read_timeout);
        self.call(self.options.read_timeout + Duration::from_millis(500), async {
            collect(cursor.await?, max_bytes).await
        })
        .await
    }

    /// A run's attempts, in order.
    async fn attempts_of(&self, run: &RunId, outputs: Outputs) -> Result<Vec<RunRecord>, RunLogError> {
        let documents = self
            .find(Find {
                collection: &self.collections().await?.runs,
                filter: query::run(run),
                sort: doc! { "_id": 1 },
                projection: projection(outputs),
                skip: 0,
                limit: MAX_PAGE,
            })
            .await?;
        let mut records = readable(&documents, |document| document::read_run(document));
        // As text, attempt 10 is before attempt 2.
        records.sort_by_key(|record| record.attempt);
        Ok(records)
    }
}

/// What a cursor gives until `max_bytes` have come. Dropped before its end, it tells the server so.
async fn collect(
    mut cursor: Cursor<RawDocumentBuf>,
    max_bytes: usize,
) -> mongodb::error::Result<Vec<RawDocumentBuf>> {
    let (mut documents, mut bytes) = (Vec::new(), 0);
    while let Some(document) = cursor.try_next().await? {
        bytes += document.as_bytes().len();
        documents.push(document);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(documents)
}

/// What to look for, where.
struct Find<'a> {
    collection: &'a Collection<RawDocumentBuf>,
    filter: Document,
    sort: Document,
    projection: Document,
    skip: u64,
    limit: usize,
}

fn projection(outputs: Outputs) -> Document {
    match outputs {
        Outputs::Without => doc! { "output": 0, "pieces": 0 },
        Outputs::With => doc! {},
    }
}

/// Reads all documents that can be read, and warns of those that cannot.
fn readable<T>(
    documents: &[RawDocumentBuf],
    read: impl Fn(&RawDocumentBuf) -> Result<T, document::Unreadable>,
) -> Vec<T> {
    let mut records = Vec::with_capacity(documents.len());
    for document in documents {
        match read(document) {
            Ok(record) => records.push(record),
            Err(error) => tracing::warn!(%error, "skipping a record in MongoDB that cannot be read"),
        }
    }
    records
}

#[async_trait]
impl RunLog for MongoRunLog {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        self.append_all(entries).await
    }

    async fn runs(&self, query: &RunQuery, outputs: Outputs) -> Result<RunPage, RunLogError> {
        let after = query.after.as_deref().map(query::Position::parse).transpose()?;
        let limit = query.limit.clamp(1, 500);
        let mut documents = self
            .find(Find {
                collection: &self.collections().await?.runs,
                filter: query::runs(query, after.as_ref()),
                sort: doc! { "planTime": -1, "_id": -1 },
                projection: projection(outputs),
                skip: 0,
                // One more than asked for tells whether there is a next page.
                limit: limit + 1,
            })
            .await?;
        let more = documents.len() > limit;
        documents.truncate(limit);
        // Of the last one, readable or not: a page of bad documents has a next one too.
        let last = documents.last().and_then(|document| query::Position::of(document));
        Ok(RunPage {
            records: readable(&documents, |document| document::read_run(document)),
            next: last.filter(|_| more).map(|position| position.to_string()),
        })
    }

    async fn run(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        self.attempts_of(run, Outputs::With).await
    }

    async fn attempts(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        self.attempts_of(run, Outputs::Without).await
    }

    async fn attempt(&self, run: &RunId, attempt: u32) -> Result<Option<RunRecord>, RunLogError> {
        let documents = self
            .find(Find {
                collection: &self.collections().await?.runs,
                filter: query::attempt(run, attempt),
                sort: doc! { "_id": 1 },
                projection: doc! {},
                skip: 0,
                limit: 1,
            })
            .await?;
        let records = readable(&documents, |document| document::read_run(document));
        Ok(records.into_iter().find(|record| record.attempt == attempt))
    }

    async fn log(&self, job: &str, skip: u64, limit: usize) -> Result<Vec<RunRecord>, RunLogError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let find = Find {
            collection: &self.collections().await?.runs,
            filter: doc! { "jobName": job },
            sort: doc! { "startTime": -1, "_id": -1 },
            projection: doc! {},
            skip,
            limit: limit.min(MAX_PAGE),
        };
        let documents = self.find_within(LOG_BYTES, find).await?;
        Ok(readable(&documents, |document| document::read_run(document)))
    }

    async fn ticks(&self, query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError> {
        let documents = self
            .find(Find {
                collection: &self.collections().await?.ticks,
                filter: query::ticks(query),
                sort: doc! { "to": -1, "_id": -1 },
                projection: doc! {},
                skip: 0,
                limit: query.limit.clamp(1, MAX_PAGE),
            })
            .await?;
        Ok(readable(&documents, |document| document::read_ticks(document)))
    }

    async fn prune(&self, _now: DateTime<Utc>, per_job: u64) -> Result<(), RunLogError> {
        self.prune_jobs(per_job).await
    }

    async fn status(&self) -> Result<String, RunLogError> {
        let database = &self.collections().await?.database;
        let answer =
            self.call(Duration::from_millis(500), database.run_command(doc! { "buildInfo": 1 })).await?;
        Ok(format!("MongoDB {}", answer.get_str("version").unwrap_or("of an unknown version")))
    }
}
