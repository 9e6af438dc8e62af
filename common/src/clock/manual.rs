//! A clock that stands still until a test moves it, and that tells who waits for which instant.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Clock;

/// A clock for tests.
#[derive(Debug)]
pub struct ManualClock {
    start: DateTime<Utc>,
    now: watch::Sender<DateTime<Utc>>,
    /// By how much it was set back in all.
    back: Mutex<chrono::Duration>,
    sleepers: Sleepers,
}

/// How many sleep until when.
type Sleepers = Arc<watch::Sender<BTreeMap<DateTime<Utc>, usize>>>;

impl ManualClock {
    /// A clock that stands at this instant.
    pub fn at(start: DateTime<Utc>) -> Self {
        Self { start, now: watch::Sender::new(start), back: Mutex::default(), sleepers: Arc::default() }
    }

    /// Moves it; who sleeps until an instant on the way wakes.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now += by);
    }

    /// Sets it back, as a person does. The time since boot goes on.
    pub fn set_back(&self, by: Duration) {
        let by = chrono::Duration::from_std(by).unwrap_or_default();
        let mut back = self.back.lock();
        *back += by;
        self.now.send_modify(|now| *now -= by);
    }

    /// True when somebody sleeps until an instant in this range.
    pub fn is_awaited(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.sleepers.borrow().range(from..=to).next().is_some()
    }

    /// Waits until somebody sleeps until an instant in this range. Cancel safe.
    pub async fn until_awaited(&self, from: DateTime<Utc>, to: DateTime<Utc>) {
        let mut sleepers = self.sleepers.subscribe();
        // The sender lives as long as this clock.
        let _ = sleepers.wait_for(|sleepers| sleepers.range(from..=to).next().is_some()).await;
    }
}

/// One who sleeps, until dropped.
struct Asleep(DateTime<Utc>, Sleepers);

impl Asleep {
    fn until(at: DateTime<Utc>, sleepers: &Sleepers) -> Self {
        sleepers.send_modify(|sleepers| *sleepers.entry(at).or_default() += 1);
        Self(at, sleepers.clone())
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        self.1.send_modify(|sleepers| match sleepers.get_mut(&self.0) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(sleepers.remove(&self.0)),
        });
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.borrow()
    }

    fn since_boot(&self) -> Duration {
        let back = *self.back.lock();
        (self.now() - self.start + back).to_std().unwrap_or_default()
    }

    fn sleep_until(&self, at: DateTime<Utc>) -> BoxFuture<'static, ()> {
        let (mut now, sleepers) = (self.now.subscribe(), self.sleepers.clone());
        Box::pin(async move {
            let _asleep = Asleep::until(at, &sleepers);
            // An error says that the clock is gone: it will never be that late.
            if now.wait_for(|now| *now >= at).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}
