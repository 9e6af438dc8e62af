//! When this worker could claim nothing, and why: the records of ticks that were missed meanwhile say so.

use std::collections::VecDeque;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use common::worker::Readiness;

/// So many are remembered.
const KEPT: usize = 16;

/// What is over sooner kept nobody from claiming.
const SHORTEST: Duration = Duration::seconds(1);

/// Times without claims, the newest last.
#[derive(Debug, Default)]
pub(crate) struct Hindrances(VecDeque<Hindrance>);

#[derive(Clone, Copy, Debug)]
struct Hindrance {
    why: &'static str,
    from: DateTime<Utc>,
    /// None: it goes on.
    until: Option<DateTime<Utc>>,
}

impl Hindrance {
    /// How much of a time it took.
    fn within(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
        self.until.map_or(to, |until| until.min(to)) - self.from.max(from)
    }

    fn lasts(&self) -> bool {
        self.until.is_none_or(|until| until - self.from >= SHORTEST)
    }
}

impl Hindrances {
    /// From `now` on this is why; none: it claims.
    pub(crate) fn note(&mut self, now: DateTime<Utc>, why: Option<&'static str>) {
        if let Some(last) = self.0.back_mut().filter(|last| last.until.is_none()) {
            if Some(last.why) == why {
                return;
            }
            last.until = Some(now);
        }
        let Some(why) = why else { return };
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Hindrance { why, from: now, until: None });
    }

    /// What kept this worker from claiming for most of the time between these ticks, in words behind its name.
    pub(crate) fn during(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<String> {
        let met = self.0.iter().filter(|it| it.lasts() && it.within(from, to) >= Duration::zero());
        let Hindrance { why, from, until } = met.max_by_key(|it| it.within(from, to))?;
        let text = |at: &DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
        Some(match until {
            Some(until) => format!("claimed nothing from {} to {}: {why}", text(from), text(until)),
            None => format!("claims nothing since {}: {why}", text(from)),
        })
    }
}

/// In words behind "claims nothing: ".
pub(crate) const fn words(readiness: Readiness) -> Option<&'static str> {
    match readiness {
        Readiness::Ready | Readiness::Full => None,
        Readiness::ClockAhead => Some("its clock was ahead of the other workers'"),
        Readiness::StoreRestored => Some("the store was restored from a copy"),
        Readiness::Draining => Some("it was ending"),
        Readiness::DiskFull => Some("its data directory was full"),
        Readiness::DiskFailing => Some("its data directory could not be written"),
        Readiness::NoHandles => Some("it had as many files and sockets open as it may"),
        Readiness::StoreFull => Some("the store took no writes"),
    }
}

/// Once it has had a session.
pub(crate) const NO_SESSION: &str = "the store did not answer it, or had ended its session";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    #[test]
    fn what_took_most_of_the_time_is_told() {
        let mut hindrances = Hindrances::default();
        for (second, why) in [(10, Some("a")), (11, Some("a")), (14, Some("b")), (20, None), (30, Some("c"))]
        {
            hindrances.note(at(second), why);
        }
        let why = |from, to| hindrances.during(at(from), at(to));
        let said = why(9, 21).unwrap();
        assert_eq!(said, "claimed nothing from 2027-01-15T08:00:14Z to 2027-01-15T08:00:20Z: b");
        assert!(why(9, 15).unwrap().ends_with(": a"));
        assert!(why(12, 12).unwrap().ends_with(": a"), "a single tick");
        assert_eq!((why(0, 9), why(21, 29)), (None, None));
        assert_eq!(why(25, 40).unwrap(), "claims nothing since 2027-01-15T08:00:30Z: c");
    }

    #[test]
    fn few_are_remembered() {
        let mut hindrances = Hindrances::default();
        for n in 0..1000 {
            hindrances.note(at(2 * n), Some("a"));
            hindrances.note(at(2 * n + 1), None);
        }
        assert_eq!(hindrances.0.len(), KEPT);
    }
}
