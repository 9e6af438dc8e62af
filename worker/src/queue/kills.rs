//! The kills that stand in the store. A kill acts on what was claimed or wanted before it, even if this worker hears
//! of the kill first: so each is kept here until it goes, and whoever starts something asks.

use std::collections::HashMap;

use common::{
    id::{JobName, RunId},
    queue::Kill,
    store::Revision,
};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// By what they name: a job, or a run.
#[derive(Debug, Default)]
pub struct Kills {
    all: Mutex<HashMap<String, (Kill, Revision)>>,
    /// The names of those that have come since somebody asked.
    fresh: Mutex<Vec<String>>,
    heard: Notify,
}

impl Kills {
    /// One that there is.
    pub fn put(&self, name: &str, kill: Kill, revision: Revision) {
        self.all().insert(name.to_owned(), (kill, revision));
        self.fresh.lock().push(name.to_owned());
        self.heard.notify_one();
    }

    /// The names in the kills that have come since it last resolved; for one waiter. Cancel safe.
    pub async fn heard(&self) -> Vec<String> {
        loop {
            let fresh = std::mem::take(&mut *self.fresh.lock());
            if !fresh.is_empty() {
                return fresh;
            }
            self.heard.notified().await;
        }
    }

    /// One that is gone.
    pub fn remove(&self, name: &str) {
        self.all().remove(name);
    }

    /// Those that there still are, of a new listing.
    pub fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.all().retain(|name, _| is_there(name));
    }

    /// The kill of this run, or of its job, behind the revision at which the run was claimed or wanted.
    pub fn of(&self, job: &JobName, run: &RunId, since: Revision) -> Option<Kill> {
        let all = self.all();
        if all.is_empty() {
            return None;
        }
        let named = [all.get(job.as_str()), all.get(&run.to_string())];
        named.into_iter().flatten().find(|(_, at)| *at > since).map(|(kill, _)| kill.clone())
    }

    /// The kill of this task, behind the revision at which it was claimed or wanted.
    pub fn of_task(&self, run: &RunId, since: Revision) -> Option<Kill> {
        let all = self.all();
        if all.is_empty() {
            return None;
        }
        all.get(&run.to_string()).filter(|(_, at)| *at > since).map(|(kill, _)| kill.clone())
    }

    /// The revisions of the kills of this job and of this run; 0: there is none. Whoever claims a queued run compares
    /// them, so that a kill that is still on its way here is not overlooked.
    pub fn revisions(&self, job: &JobName, run: &RunId) -> (Revision, Revision) {
        let all = self.all();
        let of = |name: &str| all.get(name).map_or(Revision::NONE, |(_, at)| *at);
        (of(job.as_str()), of(&run.to_string()))
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, (Kill, Revision)>> {
        self.all.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(last: char) -> RunId {
        format!("01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5{last}").parse().unwrap()
    }

    // Once: a kill was lost that came between a claim and its answer, or between a wish and its claim; it acted
    // once, on what executed when it was heard of.
    #[test]
    fn a_kill_acts_on_what_was_there_before_it() {
        let (job, other): (JobName, JobName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let kill = Kill { by: "a test".into(), at: chrono::DateTime::UNIX_EPOCH, worker: None };
        for name in [job.to_string(), run('b').to_string()] {
            let kills = Kills::default();
            kills.put(&name, kill.clone(), Revision::new(7));
            assert_eq!(kills.of(&job, &run('b'), Revision::new(6)), Some(kill.clone()));
            assert_eq!(kills.of(&job, &run('b'), Revision::new(7)), None);
            assert_eq!(kills.of(&other, &run('c'), Revision::new(6)), None);
            kills.remove(&name);
            assert_eq!(
                (kills.of(&job, &run('b'), Revision::new(6)), kills.revisions(&job, &run('b'))),
                (None, (Revision::NONE, Revision::NONE))
            );
        }
    }
}
