//! When a run that has to end is signalled, and how.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::driver::StopSignal;

/// What survives KILL for so long hangs in the kernel, or belongs to a user whom this worker may not signal. A
/// person should look; the run goes on, as another one must not start beside it.
const SUSPICIOUS: Duration = Duration::from_secs(10);

/// A grace that is longer than time itself.
const FOR_EVER: Duration = Duration::from_secs(86_400 * 365);

/// What to do to a run that has to end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask it to.
    Term,
    /// Its grace is over.
    Kill,
    /// The KILL did not help.
    Insist,
}

/// Follows the stop signal, and says once each when it is time for a step.
pub(super) struct Stop {
    /// None: nobody can say anything any more.
    signal: Option<StopSignal>,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Running,
    /// Asked to end; when to KILL.
    Ending(Instant),
    /// Killed; when to wonder.
    Killed(Instant),
    /// Nothing more can be done.
    Stuck,
}

impl Stop {
    pub(super) const fn new(signal: StopSignal) -> Self {
        Self { signal: Some(signal), stage: Stage::Running }
    }

    /// Somebody wants its end, whether or not a step was taken.
    pub(super) fn is_wanted(&self) -> bool {
        self.has_begun() || self.signal.as_ref().is_some_and(|signal| signal.borrow().is_some())
    }

    /// The run was told to end.
    pub(super) const fn has_begun(&self) -> bool {
        !matches!(self.stage, Stage::Running)
    }

    /// The grace is over.
    pub(super) const fn has_killed(&self) -> bool {
        matches!(self.stage, Stage::Killed(_) | Stage::Stuck)
    }

    /// The next step, when it is time. Cancel safe.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            let grace = self.signal.as_mut().and_then(|signal| *signal.borrow_and_update());
            if let Some(grace) = grace {
                let now = Instant::now();
                let end = now.checked_add(grace).unwrap_or(now + FOR_EVER);
                match &mut self.stage {
                    Stage::Running => {
                        self.stage = Stage::Ending(end);
                        return Step::Term;
                    }
                    // Seen again and again the same grace ends later and later: the earliest end counts.
                    Stage::Ending(kill_at) => *kill_at = end.min(*kill_at),
                    Stage::Killed(_) | Stage::Stuck => {}
                }
            }
            let due = match self.stage {
                Stage::Running | Stage::Stuck => None,
                Stage::Ending(at) | Stage::Killed(at) => Some(at),
            };
            tokio::select! {
                open = changed(&mut self.signal) => {
                    if !open {
                        self.signal = None;
                    }
                }
                () = until(due) => return self.due(),
            }
        }
    }

    fn due(&mut self) -> Step {
        let (stage, step) = match self.stage {
            Stage::Running | Stage::Ending(_) => (Stage::Killed(Instant::now() + SUSPICIOUS), Step::Kill),
            Stage::Killed(_) | Stage::Stuck => (Stage::Stuck, Step::Insist),
        };
        self.stage = stage;
        step
    }
}

/// False: there will be no change any more.
async fn changed(signal: &mut Option<StopSignal>) -> bool {
    match signal {
        Some(signal) => signal.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_grace_is_followed_by_the_kill_also_when_nobody_can_say_anything_more() {
        let (sender, signal) = watch::channel(None);
        let mut stop = Stop::new(signal);
        assert!(!stop.has_begun());
        sender.send(Some(Duration::from_secs(3600))).unwrap();
        assert_eq!(stop.next().await, Step::Term);
        assert!(stop.has_begun() && !stop.has_killed());
        sender.send(Some(Duration::from_millis(1))).unwrap();
        drop(sender);
        assert_eq!(stop.next().await, Step::Kill);
        assert!(stop.has_killed());
    }

    #[tokio::test]
    async fn a_longer_grace_does_not_put_off_the_kill() {
        let grace = Duration::from_millis(30);
        let (sender, signal) = watch::channel(Some(grace));
        let mut stop = Stop::new(signal);
        let asked = Instant::now();
        assert_eq!(stop.next().await, Step::Term);
        sender.send(Some(Duration::MAX)).unwrap();
        assert_eq!(stop.next().await, Step::Kill);
        assert!(matches!(stop.stage, Stage::Killed(wonder_at) if wonder_at >= asked + grace + SUSPICIOUS));
    }
}
