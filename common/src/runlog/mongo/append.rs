//! Appending: unordered batches with our own ids, so that appending something twice does no harm.
//!
//! A duplicate id means that a record of this attempt exists already. It is final unless the new one is a worker's,
//! and the old one was written by a caretaker, or by the same worker when it thought the run lost: then it is
//! replaced, provided that such a record is still there. A caretaker's never replaces anything. For ticks, the later
//! record stands.

use mongodb::{
    Collection,
    bson::{Document, RawDocumentBuf, doc},
    error::{ErrorKind, IndexedWriteError, InsertManyError},
};

use super::{
    super::{Author, LogEntry, RunLogError, RunRecord, TickRecord},
    MongoRunLog, document,
    failure::{DUPLICATE_KEY, Failure},
};
use crate::run::RunState;

/// A batch is sent when it has this many documents or bytes. Larger ones gain nothing and hold more memory.
const BATCH_DOCUMENTS: usize = 1_000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// The first document that will never be taken; the others are stored nevertheless.
type Refused = Option<Failure>;

impl MongoRunLog {
    pub(super) async fn append_all(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.ensure_indexes().await?;
        let mut refused: Refused = None;
        let mut runs = Batch::new();
        let mut ticks = Batch::new();
        for entry in entries {
            match entry {
                LogEntry::Run(record) => match document::of_run(record) {
                    Ok(document) => runs.push(record.as_ref(), document),
                    Err(error) => refused = refused.or(Some(self.unwritable(&record.id(), &error))),
                },
                LogEntry::Ticks(record) => match document::of_ticks(record) {
                    Ok(document) => ticks.push(record, document),
                    Err(error) => refused = refused.or(Some(self.unwritable(&record.id(), &error))),
                },
            }
            if runs.is_full() {
                refused = refused.or(self.append_runs(&std::mem::take(&mut runs)).await?);
            }
            if ticks.is_full() {
                refused = refused.or(self.append_ticks(&std::mem::take(&mut ticks)).await?);
            }
        }
        refused = refused.or(self.append_runs(&runs).await?);
        refused = refused.or(self.append_ticks(&ticks).await?);
        refused.map_or(Ok(()), |failure| Err(failure.into()))
    }

    async fn append_runs(&self, batch: &Batch<'_, RunRecord>) -> Result<Refused, Failure> {
        let runs = &self.collections().await?.runs;
        let Inserted { duplicates, refused } = self.insert(runs, &batch.documents).await?;
        for index in duplicates {
            let record = batch.records[index];
            if record.by == Author::Worker {
                let replace = runs.replace_one(weaker_than(record), &batch.documents[index]);
                self.call(self.options.append_timeout, replace).await?;
            }
        }
        Ok(refused)
    }

    async fn append_ticks(&self, batch: &Batch<'_, TickRecord>) -> Result<Refused, Failure> {
        let ticks = &self.collections().await?.ticks;
        let Inserted { duplicates, refused } = self.insert(ticks, &batch.documents).await?;
        for index in duplicates {
            // Inserted if it has expired since.
            let same = doc! { "_id": batch.records[index].id() };
            let replace = ticks.replace_one(same, &batch.documents[index]).upsert(true);
            self.call(self.options.append_timeout, replace).await?;
        }
        Ok(refused)
    }

    async fn insert(
        &self,
        collection: &Collection<RawDocumentBuf>,
        documents: &[RawDocumentBuf],
    ) -> Result<Inserted, Failure> {
        if documents.is_empty() {
            return Ok(Inserted::default());
        }
        let insert = async {
            match collection.insert_many(documents).ordered(false).await {
                Ok(_) => Ok(Ok(Vec::new())),
                Err(error) => match error.kind.as_ref() {
                    // One that was not stored as durably as asked for is not stored.
                    ErrorKind::InsertMany(InsertManyError {
                        write_errors: Some(errors),
                        write_concern_error: None,
                        ..
                    }) => Ok(Ok(errors.clone())),
                    // The driver measures each document before it sends any.
                    ErrorKind::InvalidArgument { message, .. } => Ok(Err(message.clone())),
                    _ => Err(error),
                },
            }
        };
        match self.call(self.options.append_timeout, insert).await? {
            Ok(errors) => self.sort_out(errors),
            Err(problem) => Err(Failure::refused(&self.target.hosts, problem)),
        }
    }

    /// Which of the errors are duplicates, which are final. One that may pass, or is not of its document, fails the
    /// whole call: it will be told again.
    fn sort_out(&self, errors: Vec<IndexedWriteError>) -> Result<Inserted, Failure> {
        let mut inserted = Inserted::default();
        for error in errors {
            if error.code == DUPLICATE_KEY {
                inserted.duplicates.push(error.index);
                continue;
            }
            let failure = Failure::of_write(&self.target.hosts, error.code, error.message);
            if !failure.is_of_document() {
                return Err(failure);
            }
            inserted.refused.get_or_insert(failure);
        }
        // Told twice in one batch, the later telling has to come later here too.
        inserted.duplicates.sort_unstable();
        Ok(inserted)
    }

    fn unwritable(&self, id: &str, error: &mongodb::bson::error::Error) -> Failure {
        Failure::refused(&self.target.hosts, format!("{id} cannot be written as a document: {error}"))
    }
}

/// The records of this attempt that a worker's record replaces.
fn weaker_than(record: &RunRecord) -> Document {
    let mut weaker = vec![doc! { "by": "caretaker" }];
    if record.state != RunState::Lost {
        weaker.push(doc! { "state": RunState::Lost.name(), "worker": record.worker.as_str() });
    }
    doc! { "_id": record.id(), "$or": weaker }
}

/// What an insert left to do.
#[derive(Default)]
struct Inserted {
    /// Of documents whose id was there.
    duplicates: Vec<usize>,
    refused: Refused,
}

/// Records beside their documents.
struct Batch<'a, R> {
    records: Vec<&'a R>,
    documents: Vec<RawDocumentBuf>,
    bytes: usize,
}

impl<'a, R> Batch<'a, R> {
    fn new() -> Self {
        Self { records: Vec::new(), documents: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, record: &'a R, document: RawDocumentBuf) {
        self.bytes += document.as_bytes().len();
        self.records.push(record);
        self.documents.push(document);
    }

    fn is_full(&self) -> bool {
        self.documents.len() >= BATCH_DOCUMENTS || self.bytes >= BATCH_BYTES
    }
}

impl<R> Default for Batch<'_, R> {
    fn default() -> Self {
        Self::new()
    }
}
