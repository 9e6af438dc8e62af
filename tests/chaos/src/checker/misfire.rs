//! What a job's misfire policy asks for of ticks that came while nobody could claim.

use std::collections::BTreeMap;

use common::job::{Misfire, MisfirePolicy};

/// A tick that is decided so late follows the policy; before, it is only late.
const MISSED_AFTER_MS: i64 = 5_000;

/// What a decision and the claim that shows it may lie apart, and a look and the next one.
const APART_MS: i64 = 2_000;

/// A job's ticks in a time without workers. All times are in milliseconds since 1970.
///
/// The first run afterwards shows what was decided together: it and all ticks before it. Ticks after it that also came
/// without workers were not late yet, and are decided with those that follow.
#[derive(Clone, Debug)]
pub struct Outage<'a> {
    /// The policy.
    pub misfire: Misfire,
    /// The ticks that came meanwhile, the oldest first.
    pub ticks: &'a [i64],
    /// When the first worker was started again.
    pub back_ms: i64,
    /// The ticks that have a run, those that came later included, and when it was claimed.
    pub ran: &'a BTreeMap<i64, i64>,
}

impl Outage<'_> {
    /// What is not as the policy says, in words.
    pub fn check(&self) -> Vec<String> {
        let after = self.ran.iter().filter(|(_, claimed)| **claimed >= self.back_ms);
        let Some((first, at)) = after.min_by_key(|(_, claimed)| **claimed).map(|(tick, at)| (*tick, *at))
        else {
            return vec!["nothing ran again".to_owned()];
        };
        let mut wrong = Vec::new();
        let Misfire { policy, limit, deadline } = self.misfire;
        let deadline = i64::try_from(deadline.0.as_millis()).unwrap_or(i64::MAX / 4);
        for (tick, claimed) in self.ticks.iter().filter_map(|tick| Some((tick, self.ran.get(tick)?))) {
            let (age, follows) = (claimed - tick, policy != MisfirePolicy::Skip);
            if age > MISSED_AFTER_MS + APART_MS && !(follows && age <= deadline + APART_MS) {
                wrong.push(format!("a tick ran that was {age} ms old"));
            }
        }
        let newer = |tick: &&i64| **tick > first && at - **tick > MISSED_AFTER_MS + APART_MS;
        if let Some(newer) = self.ticks.iter().find(newer) {
            wrong.push(format!(
                "the first that ran was not the newest: {} ms later there was another",
                newer - first
            ));
        }
        let before = self.ticks.iter().copied().filter(|tick| *tick < first);
        let together: Vec<i64> = before.chain([first]).collect();
        let ran: Vec<i64> = together.iter().copied().filter(|tick| self.ran.contains_key(tick)).collect();
        if together[together.len() - ran.len()..] != ran {
            wrong.push(format!("not the newest {} of {} ticks ran", ran.len(), together.len()));
        }
        let within = |age: i64| together.iter().filter(|tick| at - **tick <= age).count();
        let (least, most) = match policy {
            MisfirePolicy::Skip | MisfirePolicy::Latest => (1, 1),
            MisfirePolicy::All => {
                let limit = limit as usize;
                (limit.min(within(deadline - APART_MS)).max(1), limit.min(within(deadline + APART_MS)).max(1))
            }
        };
        if ran.len() < least || ran.len() > most {
            let (count, all) = (ran.len(), together.len());
            wrong.push(format!("{count} of {all} ticks ran, and it should be {least} to {most}"));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use common::span::Span;

    use super::*;

    /// A minute without workers, a tick every five seconds, back after two seconds more; claimed a second later.
    fn check(policy: MisfirePolicy, limit: u32, deadline_seconds: u64, ran: &[i64]) -> Vec<String> {
        let ticks: Vec<i64> = (1..=12).map(|n| n * 5_000).collect();
        let deadline = Span::seconds(deadline_seconds);
        // The newest of those that were missed first, as the others are queued.
        let claimed = |tick: i64| if tick > 68_000 { tick } else { 68_000 + (60_000 - tick) / 1_000 };
        let ran = ran.iter().map(|tick| (*tick, claimed(*tick))).collect();
        Outage { misfire: Misfire { policy, limit, deadline }, ticks: &ticks, back_ms: 67_000, ran: &ran }
            .check()
    }

    #[test]
    fn each_policy_is_told_from_the_others() {
        use MisfirePolicy::{All, Latest, Skip};
        let fine = [
            check(Latest, 10, 3600, &[60_000, 70_000]),
            check(Latest, 10, 7, &[70_000]),
            check(Skip, 10, 3600, &[70_000]),
            check(All, 3, 3600, &[50_000, 55_000, 60_000, 70_000]),
            check(All, 10, 19, &[50_000, 55_000, 60_000, 70_000]),
        ];
        assert!(fine.iter().all(Vec::is_empty), "{fine:?}");
        let wrong = [
            check(Latest, 10, 3600, &[55_000, 60_000]),
            check(Latest, 10, 3600, &[]),
            check(Latest, 10, 3600, &[55_000, 70_000]),
            check(Latest, 10, 3, &[60_000]),
            check(Skip, 10, 3600, &[60_000, 70_000]),
            check(All, 3, 3600, &[60_000, 70_000]),
            check(All, 3, 3600, &[45_000, 50_000, 55_000, 60_000]),
            check(All, 3, 3600, &[45_000, 50_000, 60_000]),
            check(All, 10, 19, &[40_000, 45_000, 50_000, 55_000, 60_000, 70_000]),
        ];
        assert!(wrong.iter().all(|found| !found.is_empty()), "{wrong:?}");
    }
}
