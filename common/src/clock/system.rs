//! The machine's own clocks, and one thread that wakes sleepers within a tenth of a millisecond.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use nix::time::{ClockId, clock_gettime};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Clock;

/// How often a sleeper's instant is compared with the wall clock again: bounds what a step of the clock can
/// add to a wait.
const STEP_CHECK: Duration = Duration::from_millis(100);

/// Below this a waiting thread hands over to the precise sleep.
const PRECISE: Duration = Duration::from_millis(2);

/// Sleeps between two sweeps of the entries whose sleepers were dropped.
const SWEEP_EVERY: u64 = 1024;

/// The machine's clocks. Cheap to clone.
#[derive(Clone)]
pub struct SystemClock {
    waiters: Arc<Waiters>,
}

/// By instant and a running number, so that equal instants keep apart.
type Sleepers = BTreeMap<(DateTime<Utc>, u64), oneshot::Sender<()>>;

#[derive(Default)]
struct Waiters {
    /// The running number of the last sleeper, and those who wait.
    queue: Mutex<(u64, Sleepers)>,
    changed: Condvar,
}

impl SystemClock {
    /// Starts the waking thread; it ends when the last clone and the last sleeper are gone.
    pub fn start() -> std::io::Result<Self> {
        let waiters = Arc::new(Waiters::default());
        let weak = Arc::downgrade(&waiters);
        std::thread::Builder::new().name("clock".into()).spawn(move || {
            while let Some(waiters) = weak.upgrade() {
                waiters.turn();
            }
        })?;
        Ok(Self { waiters })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock that all others ask")]
fn wall() -> DateTime<Utc> {
    Utc::now()
}

impl Waiters {
    /// Wakes who is due, then waits for the next instant, a change or [`STEP_CHECK`].
    fn turn(&self) {
        let mut queue = self.queue.lock();
        let now = wall();
        while let Some(entry) = queue.1.first_entry() {
            if entry.key().0 > now {
                break;
            }
            // A sleeper that was dropped no longer listens.
            let _ = entry.remove().send(());
        }
        let wait = queue
            .1
            .first_key_value()
            .map_or(STEP_CHECK, |((at, _), _)| (*at - now).to_std().unwrap_or_default().min(STEP_CHECK));
        if wait > PRECISE {
            self.changed.wait_for(&mut queue, wait - PRECISE / 2);
        } else {
            drop(queue);
            precise_sleep(wait);
        }
    }
}

/// Sleeps in `clock_nanosleep`, which wakes within some ten microseconds where a condition variable takes more.
fn precise_sleep(wait: Duration) {
    let request = nix::sys::time::TimeSpec::from_duration(wait);
    // Relative and on the realtime clock: an absolute monotonic sleep spins under a faked clock.
    let _ = nix::time::clock_nanosleep(
        ClockId::CLOCK_REALTIME,
        nix::time::ClockNanosleepFlags::empty(),
        &request,
    );
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        wall()
    }

    fn since_boot(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
    }

    fn sleep_until(&self, at: DateTime<Utc>) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            // Checked again after each wake: the clock may have been stepped back.
            while clock.now() < at {
                let woken = {
                    let (sender, receiver) = oneshot::channel();
                    let mut queue = clock.waiters.queue.lock();
                    queue.0 += 1;
                    let number = queue.0;
                    if number.is_multiple_of(SWEEP_EVERY) {
                        queue.1.retain(|_, waiter| !waiter.is_closed());
                    }
                    let earlier = queue.1.first_key_value().is_none_or(|((first, _), _)| at < *first);
                    queue.1.insert((at, number), sender);
                    // The thread wakes for the first one anyway.
                    if earlier {
                        clock.waiters.changed.notify_one();
                    }
                    receiver
                };
                // The thread ends only with the process.
                let _ = woken.await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_not_before_its_instant() {
        let clock = SystemClock::start().unwrap();
        for wait in [0, 1, 5, 30] {
            let at = clock.now() + Duration::from_millis(wait);
            clock.sleep_until(at).await;
            assert!(clock.now() >= at);
        }
    }
}
