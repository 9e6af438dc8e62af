//! The whole key layout; no key is spelled anywhere else. See docs/store-keys.md.

use std::{fmt, sync::Arc};

use crate::id::{JobName, RunId, WorkerId};

/// A whole key, prefix included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// A key as it came from the store. Bytes that are no UTF-8 are replaced: such a key was not written by us.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).into())
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// All keys that begin with this text, which ends with `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Arc<str>);

impl Prefix {
    /// The bytes with which its keys begin.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first bytes behind all of its keys.
    pub fn end(&self) -> Vec<u8> {
        let mut end = self.as_bytes().to_vec();
        // The prefix ends with '/', so the last byte can grow.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        end
    }

    /// The key of this name under the prefix.
    pub fn key(&self, name: impl fmt::Display) -> Key {
        Key(format!("{}{name}", self.0).into())
    }

    /// What follows the prefix in `key`; `None` for a key elsewhere.
    pub fn name<'a>(&self, key: &'a Key) -> Option<&'a str> {
        key.as_str().strip_prefix(&*self.0)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Every place in the store, under one configurable root such as `/quorate/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The root itself, without the trailing places.
    pub root: Prefix,
    /// `jobs/<job>`: [`crate::job::StoredJob`].
    pub jobs: Prefix,
    /// `locks/<job>`: [`crate::lock::Lock`].
    pub locks: Prefix,
    /// `workers/<worker>`: [`crate::worker::Registration`], under the worker's lease.
    pub workers: Prefix,
    /// `marks/<worker>`: [`crate::worker::Mark`], under the worker's lease.
    pub marks: Prefix,
    /// `managers/<manager>`: under its lease.
    pub managers: Prefix,
    /// `queue/<run>`: [`crate::queue::Wanted`].
    pub queue: Prefix,
    /// `runs/<run>`: [`crate::lock::Held`] of a run that holds no lock.
    pub runs: Prefix,
    /// `kills/<job>` and `kills/<run>`: [`crate::queue::Kill`], under a lease of their own.
    pub kills: Prefix,
}

/// Why a text is no root for keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no key prefix: it begins and ends with '/' and has no control characters; right is \"/quorate/\""
)]
pub struct PrefixError(String);

impl Keys {
    /// The layout under `root`, which begins and ends with `/`.
    pub fn new(root: &str) -> Result<Self, PrefixError> {
        let valid = root.starts_with('/') && root.ends_with('/') && root.len() <= 512;
        if !valid || root.chars().any(char::is_control) {
            return Err(PrefixError(root.chars().take(80).collect()));
        }
        let under = |place: &str| Prefix(format!("{root}{place}/").into());
        Ok(Self {
            root: Prefix(root.into()),
            jobs: under("jobs"),
            locks: under("locks"),
            workers: under("workers"),
            marks: under("marks"),
            managers: under("managers"),
            queue: under("queue"),
            runs: under("runs"),
            kills: under("kills"),
        })
    }

    /// The job's definition.
    pub fn job(&self, job: &JobName) -> Key {
        self.jobs.key(job)
    }

    /// The job's lock and fence.
    pub fn lock(&self, job: &JobName) -> Key {
        self.locks.key(job)
    }

    /// The worker's registration.
    pub fn worker(&self, worker: &WorkerId) -> Key {
        self.workers.key(worker)
    }

    /// How far the worker has decided.
    pub fn mark(&self, worker: &WorkerId) -> Key {
        self.marks.key(worker)
    }

    /// A wanted run.
    pub fn wanted(&self, run: &RunId) -> Key {
        self.queue.key(run)
    }

    /// The tick of a `queue-one` job that waits for the run before it: one a job, by its key.
    pub fn next_of(&self, job: &JobName) -> Key {
        self.queue.key(format_args!("{job}@next"))
    }

    /// A claimed run that holds no lock.
    pub fn run(&self, run: &RunId) -> Key {
        self.runs.key(run)
    }

    /// Kills every run of the job claimed before.
    pub fn kill_job(&self, job: &JobName) -> Key {
        self.kills.key(job)
    }

    /// Kills one run.
    pub fn kill_run(&self, run: &RunId) -> Key {
        self.kills.key(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_documented() {
        let keys = Keys::new("/quorate/").unwrap();
        let job: JobName = "nightly backup".parse().unwrap();
        assert_eq!(keys.job(&job).as_str(), "/quorate/jobs/nightly backup");
        assert_eq!(keys.lock(&job).as_str(), "/quorate/locks/nightly backup");
        assert_eq!(keys.jobs.name(&keys.job(&job)), Some("nightly backup"));
        assert_eq!(keys.locks.name(&keys.job(&job)), None);
        assert_eq!(keys.jobs.end(), b"/quorate/jobs0");
    }

    #[test]
    fn a_prefix_that_would_run_into_others_is_refused() {
        for bad in ["", "quorate", "/quorate", "quorate/", "/a\n/"] {
            assert!(Keys::new(bad).is_err(), "{bad:?}");
        }
        assert!(Keys::new("/").is_ok());
    }
}
