//! Stored values → what the cache holds.

use std::sync::Arc;

use common::{
    id::JobName,
    job::{FieldError, JobError, StoredJob},
    lock::{HeldLock, Lock},
    queue::QueuedRun,
    revision::Token,
    store::Entry,
    worker::Registration,
};

use super::{CachedJob, CachedLock, HeldRun, Place};

/// A decoded value.
pub(super) enum Value {
    Job(Arc<CachedJob>),
    Lock(Arc<CachedLock>),
    Worker(Arc<Registration>),
    Wanted(Arc<QueuedRun>),
    Run(HeldRun),
}

/// Decodes an entry of `place`. A job or lock that does not decode is a value too; of anything else it is `None`,
/// said in the log.
pub(super) fn decode(place: Place, name: &str, entry: &Entry) -> Option<Value> {
    let said = |error: &dyn std::fmt::Display| {
        tracing::warn!(key = %entry.key, %error, "left out a stored value that does not decode");
    };
    match place {
        Place::Jobs => Some(Value::Job(Arc::new(job(name, entry)))),
        Place::Locks => Some(Value::Lock(Arc::new(lock(entry)))),
        Place::Workers => Registration::decode(&entry.value)
            .inspect_err(|error| said(error))
            .ok()
            .map(|registration| Value::Worker(Arc::new(registration))),
        Place::Queue => QueuedRun::decode(&entry.value)
            .inspect_err(|error| said(error))
            .ok()
            .map(|wanted| Value::Wanted(Arc::new(wanted))),
        Place::Runs => HeldLock::decode(&entry.value).inspect_err(|error| said(error)).ok().map(|held| {
            Value::Run(HeldRun { token: held.token(entry.create_revision), held: Arc::new(held) })
        }),
    }
}

fn job(name: &str, entry: &Entry) -> CachedJob {
    let named = name.parse::<JobName>().map_err(|error| {
        JobError::from(FieldError::new(
            "name",
            name,
            format!("is not a job name: {error}"),
            "\"nightly-backup\"",
        ))
    });
    let stored = named.and_then(|_| StoredJob::decode(name, &entry.value));
    if let Err(error) = &stored {
        tracing::warn!(key = %entry.key, %error, "a stored job does not decode; it stays as it is");
    }
    CachedJob { revision: entry.mod_revision, stored }
}

fn lock(entry: &Entry) -> CachedLock {
    match Lock::decode(&entry.value) {
        Ok(Lock::Free(free)) => {
            CachedLock { fence: Some(free.fence), last: free.last, ..CachedLock::default() }
        }
        Ok(Lock::Held(held)) => {
            // A skip by a worker of an earlier version left no trace of the revision that was the token.
            let is_known = held.claim_revision.is_some() || held.skipped == 0;
            let token = if is_known { held.token(entry.mod_revision) } else { Token::default() };
            let fence = Some(held.fence);
            let held = Some(HeldRun { held: Arc::new(held), token });
            CachedLock { fence, held, ..CachedLock::default() }
        }
        Err(error) => CachedLock { problem: Some(error.to_string()), ..CachedLock::default() },
    }
}
