//! A worker's clock: virtual time, and how far it is wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use common::clock::Clock;
use futures::future::BoxFuture;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// Virtual time: what everybody would agree on if clocks were right.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    start: DateTime<Utc>,
    origin: Instant,
}

impl Time {
    /// From now on, beginning at `start`. To be asked within the runtime.
    pub fn starting_at(start: DateTime<Utc>) -> Self {
        Self { start, origin: Instant::now() }
    }

    /// The instant.
    pub fn now(&self) -> DateTime<Utc> {
        self.start + self.elapsed()
    }

    /// The instant in milliseconds since 1970.
    pub fn millis(&self) -> i64 {
        self.now().timestamp_millis()
    }

    /// How long it has gone on.
    pub fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// When it will have gone on for so long.
    pub fn at(&self, elapsed: Duration) -> Instant {
        self.origin + elapsed
    }
}

/// One machine's clock.
#[derive(Debug)]
pub struct SimClock {
    time: Time,
    error: Arc<Error>,
}

/// How far a clock is ahead, in milliseconds.
#[derive(Debug, Default)]
struct Error {
    ahead: AtomicI64,
    stepped: Notify,
}

impl SimClock {
    /// A clock that is ahead by so much.
    pub fn new(time: Time, ahead_ms: i64) -> Self {
        let error = Error { ahead: AtomicI64::new(ahead_ms), ..Error::default() };
        Self { time, error: Arc::new(error) }
    }

    /// Steps it: from here on it is ahead by so much.
    pub fn step_to(&self, ahead_ms: i64) {
        self.error.ahead.store(ahead_ms, Ordering::SeqCst);
        self.error.stepped.notify_waiters();
    }

    /// How far it is ahead.
    pub fn ahead_ms(&self) -> i64 {
        self.error.ahead.load(Ordering::SeqCst)
    }
}

impl Error {
    fn read(&self, time: &Time) -> DateTime<Utc> {
        time.now() + TimeDelta::milliseconds(self.ahead.load(Ordering::SeqCst))
    }
}

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        self.error.read(&self.time)
    }

    fn since_boot(&self) -> Duration {
        self.time.elapsed()
    }

    fn sleep_until(&self, at: DateTime<Utc>) -> BoxFuture<'static, ()> {
        let (time, error) = (self.time, self.error.clone());
        Box::pin(async move {
            loop {
                let stepped = error.stepped.notified();
                let Some(left) = (at - error.read(&time)).to_std().ok().filter(|left| !left.is_zero()) else {
                    return;
                };
                tokio::select! {
                    biased;
                    () = stepped => {}
                    () = sleep(left) => {}
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_wakes_who_sleeps_until_an_instant_on_the_way() {
        let start = Utc.with_ymd_and_hms(2026, 11, 22, 1, 0, 0).unwrap();
        let time = Time::starting_at(start);
        let clock = SimClock::new(time, 0);
        let sleeper = tokio::spawn(clock.sleep_until(start + TimeDelta::seconds(3)));
        sleep(Duration::from_secs(1)).await;
        clock.step_to(2_000);
        sleeper.await.unwrap();
        assert_eq!(time.now(), start + TimeDelta::seconds(1));
        clock.step_to(-1_000);
        clock.sleep_until(start + TimeDelta::seconds(3)).await;
        assert_eq!(time.now(), start + TimeDelta::seconds(4));
    }
}
