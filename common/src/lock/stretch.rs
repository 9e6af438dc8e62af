//! Ticks next to each other that got no run, and why.

use serde::{Deserialize, Serialize};

use crate::{runlog::TickOutcome, schedule::Schedule, tick::Tick};

/// Ticks that got no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The first of them.
    pub from: Tick,
    /// The last of them.
    pub to: Tick,
    /// How many.
    pub count: u64,
    /// Why, where that is not what is usual.
    #[serde(default, skip_serializing_if = "Why::is_usual")]
    pub why: Why,
}

/// Why ticks got no run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The run before them executed, and one tick waited for its end already.
    OneWaits,
    /// The run before them had been told to end, as they were to replace it.
    Replacing,
    /// The run before them executed, and nobody got to skip them.
    Executing,
    /// The run before them had ended, and its record was not on its worker's disk.
    Recording,
    /// The run before them was lost, and its worker's lease had yet to end.
    HolderGone,
    /// What is usual: skipped ticks found the run before them executing, and missed ones nobody could claim.
    #[default]
    #[serde(other)]
    Usual,
}

impl Why {
    /// In words.
    pub const fn text(self, outcome: TickOutcome) -> &'static str {
        match (self, outcome) {
            (Self::Usual, TickOutcome::Skipped) | (Self::Executing, _) => "the run before it still executed",
            (Self::Usual, TickOutcome::Missed) => "no worker could claim in time",
            (Self::OneWaits, _) => {
                "the run before it still executed, and one tick waited already (overlap: queue-one)"
            }
            (Self::Replacing, _) => {
                "the run before it had been told to end, and did not end in time (overlap: replace)"
            }
            (Self::Recording, _) => {
                "the run before it had ended, and its record was not on its worker's disk in time"
            }
            (Self::HolderGone, _) => {
                "the run before it was lost, and nobody could take its lock over in time"
            }
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    fn is_usual(&self) -> bool {
        *self == Self::Usual
    }
}

/// More ticks in one stretch are not counted: with several expressions each one has to be visited.
const MOST_COUNTED: u64 = 10_000_000;

impl Stretch {
    /// The ticks after `after`, up to and including `until`; `None`: there are none.
    pub fn of(schedule: &Schedule, after: Tick, until: Tick) -> Option<Self> {
        let (after, until) = (after.instant(), until.instant());
        let to = Tick::from_instant(schedule.latest_in(after, until)?);
        let from = schedule.next_after(after).map_or(to, Tick::from_instant);
        let count = schedule.count_in(after, until, MOST_COUNTED).max(1);
        Some(Self { from, to, count, why: Why::Usual })
    }

    /// The same, for this reason.
    #[must_use]
    pub fn because(self, why: Why) -> Self {
        Self { why, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_stored_where_it_is_not_the_usual_one_and_an_unknown_one_is_read() {
        let usual = r#"{"from":"2026-11-22T01:02:03Z","to":"2026-11-22T01:02:04Z","count":2}"#;
        let read: Stretch = serde_json::from_str(usual).unwrap();
        assert_eq!((read.why, serde_json::to_string(&read).unwrap().as_str()), (Why::Usual, usual));
        let replacing = serde_json::to_string(&read.clone().because(Why::Replacing)).unwrap();
        assert_eq!(serde_json::from_str::<Stretch>(&replacing).unwrap().why, Why::Replacing);
        let later = replacing.replace("replacing", "of a later version");
        assert_eq!(serde_json::from_str::<Stretch>(&later).unwrap(), read);
    }
}
