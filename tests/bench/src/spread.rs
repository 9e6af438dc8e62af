//! How values are spread.

use std::{fmt, time::Duration};

/// Times, sorted. Prints as p50, p99 and the longest.
pub(crate) struct Spread(Vec<Duration>);

impl Spread {
    /// Of differences, those below zero as zero.
    pub(crate) fn of(differences: impl IntoIterator<Item = chrono::Duration>) -> Self {
        differences.into_iter().map(|difference| difference.to_std().unwrap_or_default()).collect()
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// So much of a thousand is at most this.
    pub(crate) fn permille(&self, permille: usize) -> Duration {
        let index = (self.0.len() * permille / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl FromIterator<Duration> for Spread {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, longest] =
            [500, 990, 1000].map(|permille| self.permille(permille).as_secs_f64() * 1000.0);
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, max {longest:.2} ms")
    }
}
