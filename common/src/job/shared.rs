//! Schedules that jobs share: among a hundred thousand jobs many have the same expressions, and each of those is
//! parsed and kept once.

use std::collections::HashMap;

use super::{JobError, Trigger};
use crate::schedule::Schedule;

/// So many more schedules than after the last look, and those that no job has any more are forgotten.
const GROWTH: usize = 1024;

/// Schedules of cron triggers, by their triggers. An interval is as large as its entry here would be.
#[derive(Debug, Default)]
pub struct SharedSchedules {
    known: HashMap<Trigger, Schedule>,
    /// How many there may be before the next look.
    room: usize,
}

impl SharedSchedules {
    /// The trigger's schedule, as [`super::Job::schedule`] tells it.
    pub fn of(&mut self, trigger: &Trigger) -> Result<Option<Schedule>, JobError> {
        if !matches!(trigger, Trigger::Cron { .. }) {
            return trigger.schedule();
        }
        if let Some(schedule) = self.known.get(trigger) {
            return Ok(Some(schedule.clone()));
        }
        let schedule = trigger.schedule()?;
        if let Some(schedule) = &schedule {
            self.forget_unused();
            self.known.insert(trigger.clone(), schedule.clone());
        }
        Ok(schedule)
    }

    fn forget_unused(&mut self) {
        if self.known.len() >= self.room {
            self.known.retain(|_, schedule| schedule.is_shared());
            self.room = 2 * self.known.len() + GROWTH;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(minute: usize) -> Trigger {
        Trigger::cron(vec![format!("{} {} * * *", minute % 60, minute / 60)])
    }

    #[test]
    fn equal_triggers_share_one_schedule_and_unused_ones_are_forgotten() {
        let mut shared = SharedSchedules::default();
        let kept = shared.of(&cron(0)).unwrap().unwrap();
        assert_eq!(shared.of(&cron(0)).unwrap().unwrap(), kept);
        assert_ne!(shared.of(&cron(1)).unwrap().unwrap(), kept);
        assert!(shared.of(&Trigger::cron(vec!["61 * * * *".into()])).is_err());
        assert_eq!(shared.of(&Trigger::Manual).unwrap(), None);
        assert_eq!(shared.known.len(), 2, "what is wrong, or no cron, is not kept");
        for minute in 0..1440 {
            shared.of(&cron(minute)).unwrap();
        }
        assert!(shared.known.len() < 1440 && shared.known.contains_key(&cron(0)), "{}", shared.known.len());
    }
}
