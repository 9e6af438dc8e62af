//! How long claims take just now: they are sent that far ahead of their instant, so that runs start at it.
//!
//! Smoothed as TCP does its round trips (RFC 6298): mean plus four times the mean deviation. Too short a lead makes a
//! run start late; too long a one only gives a definition time to change between claim and start, which the last look
//! before the start notices.

use std::time::Duration;

use parking_lot::Mutex;

/// Waking up takes some of it.
const SHORTEST: Duration = Duration::from_micros(500);

/// A slower store makes runs late rather than claimed long ahead.
const LONGEST: Duration = Duration::from_millis(100);

/// A worker's first claims are sent this far ahead.
const AT_FIRST: Duration = Duration::from_millis(5);

/// Claim times, smoothed.
#[derive(Debug, Default)]
pub(crate) struct Lead(Mutex<Option<Smoothed>>);

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    mean: Duration,
    deviation: Duration,
}

impl Lead {
    /// Takes a reading: how long a claim took to be answered.
    pub(crate) fn read(&self, took: Duration) {
        let mut smoothed = self.0.lock();
        *smoothed = Some(smoothed.map_or(Smoothed { mean: took, deviation: took / 2 }, |before| Smoothed {
            mean: (before.mean * 7 + took) / 8,
            deviation: (before.deviation * 3 + before.mean.abs_diff(took)) / 4,
        }));
    }

    /// How far ahead to send a claim now.
    pub(crate) fn now(&self) -> Duration {
        let smoothed = *self.0.lock();
        smoothed
            .map_or(AT_FIRST, |smoothed| (smoothed.mean + smoothed.deviation * 4).clamp(SHORTEST, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_follows_the_claims_and_stays_bounded() {
        let ms = Duration::from_millis;
        let lead = Lead::default();
        assert_eq!(lead.now(), AT_FIRST);
        for _ in 0..100 {
            lead.read(ms(2));
        }
        assert!(lead.now() >= ms(2) && lead.now() < ms(4), "{:?}", lead.now());
        lead.read(ms(5_000));
        assert_eq!(lead.now(), LONGEST);
        for _ in 0..100 {
            lead.read(ms(2));
        }
        assert!(lead.now() < ms(4), "{:?}", lead.now());
    }
}
