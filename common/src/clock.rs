//! Time as a port: the wall clock, as cron means it, and the time since boot, as a lease means it.

use std::time::Duration;

use chrono::{DateTime, Utc};
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

#[cfg(any(test, feature = "test-support"))]
pub use manual::ManualClock;
pub use system::SystemClock;

#[cfg(any(test, feature = "test-support"))]
mod manual;
mod system;
