//! The whole key layout; no key is spelled anywhere else. See docs/store-keys.md.

use std::{fmt, sync::Arc};

use crate::{
    id::{JobName, RunId, WorkerId},
    tick::Tick,
};

/// A whole key, prefix included.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// A key as it came from the store. Bytes that are not UTF-8 are replaced: such a key was not written by us.
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
    /// `drains/<worker>`: [`crate::worker::Drain`].
    pub drains: Prefix,
    /// `boots/<worker>`: [`crate::worker::Boot`].
    pub boots: Prefix,
    /// `epoch/current`: [`crate::epoch::Raised`]. The one key of its place, so that it can be watched.
    pub epoch: Prefix,
    /// `managers/<manager>`: under its lease.
    pub managers: Prefix,
    /// `queue/<run>`: [`crate::queue::QueuedRun`].
    pub queue: Prefix,
    /// `runs/<run>`: [`crate::lock::HeldLock`] of a run that holds no lock.
    pub runs: Prefix,
    /// `active/<run>`: [`crate::task::ActiveTask`].
    pub active: Prefix,
    /// `kills/<job>` and `kills/<run>`: [`crate::queue::Kill`], under a lease of their own.
    pub kills: Prefix,
    /// `passed/<job>@<tick>`: [`crate::queue::Passed`].
    pub passed: Prefix,
}

/// Why a text is not a root for keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a key prefix: one begins and ends with '/' and has no control characters; use, for example, \"/quorate/\""
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
            drains: under("drains"),
            boots: under("boots"),
            epoch: under("epoch"),
            managers: under("managers"),
            queue: under("queue"),
            runs: under("runs"),
            active: under("active"),
            kills: under("kills"),
            passed: under("passed"),
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

    /// Whether somebody wants the worker to take nothing new.
    pub fn drain(&self, worker: &WorkerId) -> Key {
        self.drains.key(worker)
    }

    /// The boot of the worker's machine that it has dealt with.
    pub fn boot(&self, worker: &WorkerId) -> Key {
        self.boots.key(worker)
    }

    /// The store's epoch.
    pub fn epoch(&self) -> Key {
        self.epoch.key("current")
    }

    /// A queued run.
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

    /// A claimed task.
    pub fn active(&self, run: &RunId) -> Key {
        self.active.key(run)
    }

    /// Kills every run of the job claimed before.
    pub fn kill_job(&self, job: &JobName) -> Key {
        self.kills.key(job)
    }

    /// Ticks of the job that a change passed over, up to and with this one.
    pub fn passed(&self, job: &JobName, to: Tick) -> Key {
        self.passed.key(format_args!("{job}@{to}"))
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

    const DOCUMENT: &str = include_str!("../../../docs/store-keys.md");

    /// Keys and values of the fenced examples.
    fn examples() -> Vec<(Key, String)> {
        let fenced = DOCUMENT.split("```").skip(1).step_by(2);
        fenced
            .map(|example| {
                let (key, value) = example.trim().split_once('\n').expect("a key and its value");
                (Key::from_bytes(key.as_bytes()), value.to_owned())
            })
            .collect()
    }

    #[test]
    fn every_kind_of_key_is_documented_with_an_example() {
        // Spelled out, so that a new kind does not compile before it stands here.
        let Keys {
            root,
            jobs,
            locks,
            workers,
            marks,
            drains,
            boots,
            epoch,
            managers,
            queue,
            runs,
            active,
            kills,
            passed,
        } = Keys::new("/quorate/").unwrap();
        for prefix in
            [jobs, locks, workers, marks, drains, boots, epoch, managers, queue, runs, active, kills, passed]
        {
            let place = prefix.as_str().strip_prefix(root.as_str()).unwrap();
            let stands = ["<", "current`"].map(|name| DOCUMENT.contains(&format!("`{place}{name}")));
            assert!(stands.contains(&true), "{place} is not in docs/store-keys.md");
            let has_example = examples().iter().any(|(key, _)| prefix.name(key).is_some());
            assert!(has_example, "{place} has no example in docs/store-keys.md");
        }
    }

    #[test]
    fn the_documented_values_are_read_and_written_as_they_are() {
        use crate::{epoch, job, lock, queue, task, worker};
        let keys = Keys::new("/quorate/").unwrap();
        for (key, value) in examples() {
            let bytes = value.as_bytes();
            let written = if let Some(name) = keys.jobs.name(&key) {
                job::StoredJob::decode(name, bytes).unwrap().encode()
            } else if keys.locks.name(&key).is_some() {
                lock::Lock::decode(bytes).unwrap().encode()
            } else if keys.workers.name(&key).is_some() {
                worker::Registration::decode(bytes).unwrap().encode()
            } else if keys.marks.name(&key).is_some() {
                worker::Mark::decode(bytes).unwrap().encode()
            } else if keys.drains.name(&key).is_some() {
                worker::Drain::decode(bytes).unwrap().encode()
            } else if keys.boots.name(&key).is_some() {
                worker::Boot::decode(bytes).unwrap().encode()
            } else if keys.epoch.name(&key).is_some() {
                epoch::Raised::decode(bytes).unwrap().encode()
            } else if keys.queue.name(&key).is_some() {
                queue::QueuedRun::decode(bytes).unwrap().encode()
            } else if keys.runs.name(&key).is_some() {
                lock::HeldLock::decode(bytes).unwrap().encode()
            } else if keys.active.name(&key).is_some() {
                task::ActiveTask::decode(bytes).unwrap().encode()
            } else if keys.kills.name(&key).is_some() {
                queue::Kill::decode(bytes).unwrap().encode()
            } else if keys.passed.name(&key).is_some() {
                queue::Passed::decode(bytes).unwrap().encode()
            } else {
                // Only managers read and write what managers say.
                assert!(keys.managers.name(&key).is_some(), "{key}");
                serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(bytes).unwrap()).unwrap()
            };
            assert_eq!(String::from_utf8(written).unwrap(), value, "{key}");
        }
    }
}
