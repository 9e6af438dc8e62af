//! What a job's misfire policy asks for of ticks that came while nobody could claim.

use std::collections::BTreeMap;

use common::job::{Misfire, MisfirePolicy};

/// A tick that is decided so late follows the policy; before, it is only late.
const MISSED_AFTER_MS: i64 = 5_000;

/// A job's ticks in a time without workers. All times are in milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Outage<'a> {
    /// The policy.
    pub misfire: Misfire,
    /// The ticks that came meanwhile, the oldest first.
    pub ticks: &'a [i64],
    /// When the workers came back: the first of them was started, all of them claimed.
    pub back: (i64, i64),
    /// The ticks that have a run, those that came later included, and when it was claimed.
    pub ran: &'a BTreeMap<i64, i64>,
}

impl Outage<'_> {
    /// What is not as the policy says, in words.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let deadline = i64::try_from(self.misfire.deadline.0.as_millis()).unwrap_or(i64::MAX);
        let ran: Vec<i64> = self.ticks.iter().copied().filter(|tick| self.ran.contains_key(tick)).collect();
        for tick in &ran {
            let age = self.ran[tick] - tick;
            let follows = self.misfire.policy != MisfirePolicy::Skip && age <= deadline;
            if age > MISSED_AFTER_MS && !follows {
                wrong.push(format!("a tick ran that was {age} ms old"));
            }
        }
        let newest = self.ticks.last().copied().unwrap_or_default();
        if self.ran.range(newest..).next().is_none() {
            let within = newest + deadline >= self.back.1 && self.misfire.policy != MisfirePolicy::Skip;
            if within {
                wrong.push("neither the newest missed tick ran nor one after it".to_owned());
            }
        }
        if ran.len() < self.ticks.len() && self.ticks[self.ticks.len() - ran.len()..] != ran {
            wrong.push(format!("not the newest {} of {} ticks ran", ran.len(), self.ticks.len()));
        }
        let (least, most) = self.counts(deadline);
        if ran.len() < least || ran.len() > most {
            let (count, all) = (ran.len(), self.ticks.len());
            wrong.push(format!("{count} of {all} ticks ran, and it should be {least} to {most}"));
        }
        wrong
    }

    /// How many of the ticks run, at least and at most. One more is decided after them where the first that a worker
    /// met came after it was started.
    fn counts(&self, deadline: i64) -> (usize, usize) {
        let within = |until: i64, at: i64| self.ticks.iter().filter(|tick| at - **tick <= until).count();
        // What is not late yet runs anyway.
        let punctual = within(MISSED_AFTER_MS, self.back.0);
        match self.misfire.policy {
            MisfirePolicy::Skip => (0, punctual),
            MisfirePolicy::Latest => (0, punctual.max(1)),
            MisfirePolicy::All => {
                let limit = self.misfire.limit as usize;
                let met = self
                    .ran
                    .iter()
                    .filter(|(tick, claimed)| **tick > self.back.0 && **claimed <= self.back.1);
                let least = limit.saturating_sub(met.count()).min(within(deadline, self.back.1));
                (least, limit.min(within(deadline, self.back.0)).max(punctual))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::span::Span;

    use super::*;

    /// A minute without workers, a tick every five seconds, back after two seconds more.
    fn check(policy: MisfirePolicy, limit: u32, deadline_seconds: u64, ran: &[i64]) -> Vec<String> {
        let ticks: Vec<i64> = (1..=12).map(|n| n * 5_000).collect();
        let deadline = Span::seconds(deadline_seconds);
        assert_eq!(deadline.0, Duration::from_secs(deadline_seconds));
        let ran = ran.iter().map(|tick| (*tick, 68_000.max(*tick))).collect();
        Outage {
            misfire: Misfire { policy, limit, deadline },
            ticks: &ticks,
            back: (67_000, 69_000),
            ran: &ran,
        }
        .check()
    }

    #[test]
    fn each_policy_is_told_from_the_others() {
        use MisfirePolicy::{All, Latest, Skip};
        let fine: [Vec<String>; 6] = [
            check(Latest, 10, 3600, &[60_000, 70_000]),
            check(Latest, 10, 3600, &[70_000]),
            check(Latest, 10, 7, &[70_000]),
            check(Skip, 10, 3600, &[70_000]),
            check(All, 3, 3600, &[50_000, 55_000, 60_000, 70_000]),
            check(All, 10, 19, &[50_000, 55_000, 60_000, 70_000]),
        ];
        assert!(fine.iter().all(Vec::is_empty), "{fine:?}");
        let wrong = [
            check(Latest, 10, 3600, &[55_000, 60_000]),
            check(Latest, 10, 3600, &[]),
            check(Latest, 10, 7, &[60_000]),
            check(Latest, 10, 3600, &[55_000, 70_000]),
            check(Skip, 10, 3600, &[60_000, 70_000]),
            check(All, 3, 3600, &[60_000, 70_000]),
            check(All, 3, 3600, &[45_000, 50_000, 55_000, 60_000]),
            check(All, 3, 3600, &[45_000, 50_000, 60_000]),
            check(All, 10, 19, &[45_000, 50_000, 55_000, 60_000, 70_000]),
        ];
        assert!(wrong.iter().all(|found| !found.is_empty()), "{wrong:?}");
    }
}
