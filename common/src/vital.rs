//! Tasks that their process cannot do without. If one ends before it is told to, or panics, it must not leave a
//! process behind that looks alive and does half of its work: the owner hears of it, and ends with a reason.

use std::sync::{Arc, OnceLock};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Starts such tasks, and tells of the first that dies. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Vital(Arc<Death>);

#[derive(Debug, Default)]
struct Death {
    first: OnceLock<&'static str>,
    said: CancellationToken,
}

/// Dropped with its task, also when that panics.
struct Watch {
    death: Arc<Death>,
    name: &'static str,
    until: CancellationToken,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.until.is_cancelled() {
            // A later one may only have followed the first.
            let _ = self.death.first.set(self.name);
            self.death.said.cancel();
        }
    }
}

impl Vital {
    /// Starts a task in `tasks` that is to go on until `until` is cancelled. `name` says what it does, as in
    /// "the scheduler".
    pub fn spawn<T: Send + 'static>(
        &self,
        tasks: &TaskTracker,
        name: &'static str,
        until: &CancellationToken,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let watch = Watch { death: self.0.clone(), name, until: until.clone() };
        tasks.spawn(async move {
            let ended = task.await;
            drop(watch);
            ended
        })
    }

    /// Resolves with the name of the first task that died. Cancel safe.
    pub async fn died(&self) -> &'static str {
        self.0.said.cancelled().await;
        self.dead().unwrap_or_default()
    }

    /// The name of the first task that died, if one did.
    pub fn dead(&self) -> Option<&'static str> {
        self.0.first.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_too_early_is_told_of_and_one_that_was_told_to_end_is_not() {
        let (tasks, until) = (TaskTracker::new(), CancellationToken::new());
        for panics in [true, false] {
            let vital = Vital::default();
            vital.spawn(&tasks, "the other", &until, until.clone().cancelled_owned());
            vital.spawn(&tasks, "the one", &until, async move { assert!(!panics, "as it should") });
            assert_eq!(vital.died().await, "the one");
        }
        let vital = Vital::default();
        let ends = vital.spawn(&tasks, "the one", &until, until.clone().cancelled_owned());
        until.cancel();
        ends.await.unwrap();
        assert_eq!(vital.dead(), None);
    }
}
