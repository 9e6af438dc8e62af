//! Time as a port: the wall clock, which cron goes by, and the time since boot, which leases go by.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;

/// Wall-clock time and time since boot.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock's time.
    fn now(&self) -> DateTime<Utc>;

    /// Time since boot, suspension included (CLOCK_BOOTTIME): a machine that slept has aged by it.
    fn since_boot(&self) -> Duration;

    /// Resolves once `now()` reaches `at`, also when the clock is stepped meanwhile. Cancel safe.
    fn sleep_until(&self, at: DateTime<Utc>) -> BoxFuture<'static, ()>;
}

/// Clocks that are right differ by less, and by less than a message takes on a busy machine: an instant of now that is
/// further ahead was said by a clock that is ahead.
pub const AHEAD: TimeDelta = TimeDelta::seconds(30);

/// How far one's clock is ahead of the lower median of all, by how far the others' are ahead of it (behind: negative):
/// of two clocks it is the one ahead that is not believed. Not negative.
pub fn ahead_of(others: impl Iterator<Item = TimeDelta>) -> TimeDelta {
    let mut all: Vec<TimeDelta> = others.chain([TimeDelta::zero()]).collect();
    all.sort();
    let median = all.get((all.len() - 1) / 2).copied().unwrap_or_default();
    (-median).max(TimeDelta::zero())
}

#[cfg(any(test, feature = "test-support"))]
pub use manual::ManualClock;
pub use system::SystemClock;

#[cfg(any(test, feature = "test-support"))]
mod manual;
mod system;
