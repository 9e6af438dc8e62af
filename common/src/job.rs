//! A job: what to run, when, and under which policies. This is the native API's form, the command line's and,
//! inside a [`StoredJob`], the store's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    id::JobName,
    schedule::Schedule,
    span::{ByteSize, Span},
    tick::Tick,
};

pub use command::{Command, Environment, Exec, Shell};
pub use docker::Docker;
pub use error::{FieldError, JobError, MOST_PROBLEMS};
pub use http::{Http, Redirects, Statuses, Tls, is_retryable_status};
pub use noop::Noop;
pub use policy::{
    Backoff, Delivery, Keep, Misfire, MisfirePolicy, OnLeaseLoss, OutputLimit, Overlap, Placement,
    PlacementPolicy, Retry,
};
pub use read::read_fields;
pub use righted::Righted;
pub use shared::SharedSchedules;
pub use stored::{Pause, StoredJob};
pub use trigger::Trigger;

mod command;
pub mod docker;
mod error;
mod http;
mod label;
mod noop;
mod policy;
mod read;
mod righted;
mod shared;
mod stored;
mod trigger;

/// A named definition of work. Everything but name, trigger and driver has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its name, unique under a prefix.
    pub name: JobName,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// For people and for filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When.
    pub trigger: Trigger,
    /// What.
    pub driver: Command,
    /// What to do at a tick that finds the job running.
    #[serde(default)]
    pub overlap: Overlap,
    /// What to do about ticks that nobody could claim.
    #[serde(default)]
    pub misfire: Misfire,
    /// How long a run may take; none: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long a run may be silent; none: as long as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_timeout: Option<Span>,
    /// From TERM to KILL.
    #[serde(default = "default_grace")]
    pub grace: Span,
    /// What to do after a run that did not succeed.
    #[serde(default)]
    pub retry: Retry,
    /// What to do about a run whose worker is gone.
    #[serde(default)]
    pub delivery: Delivery,
    /// What a worker does with its run when its lease can no longer be trusted.
    #[serde(default)]
    pub on_lease_loss: OnLeaseLoss,
    /// Which worker.
    #[serde(default)]
    pub placement: Placement,
    /// What becomes of its output.
    #[serde(default)]
    pub output: OutputLimit,
}

/// Long enough for a shell to clean up, short enough for a lease of 15 s to outlast it.
pub const DEFAULT_GRACE: Span = Span::seconds(5);

fn default_grace() -> Span {
    DEFAULT_GRACE
}

impl Job {
    /// A job with nothing but a name, a trigger and a command.
    pub fn new(name: JobName, trigger: Trigger, driver: Command) -> Self {
        Self {
            name,
            description: String::new(),
            labels: BTreeMap::new(),
            trigger,
            driver,
            overlap: Overlap::default(),
            misfire: Misfire::default(),
            timeout: None,
            output_timeout: None,
            grace: DEFAULT_GRACE,
            retry: Retry::default(),
            delivery: Delivery::default(),
            on_lease_loss: OnLeaseLoss::default(),
            placement: Placement::default(),
            output: OutputLimit::default(),
        }
    }

    /// Fills in what saving fixes for ever: the zone of a cron trigger without one, and the anchor of an
    /// interval, which stays that of `previous` while the job lives.
    pub fn settle(&mut self, zone: Tz, now: DateTime<Utc>, previous: Option<&Self>) {
        self.trigger.settle(zone, now, previous.map(|job| &job.trigger));
    }

    /// Every problem that the types alone do not exclude, a trigger that never fires after `now` included; of very many
    /// the first ones.
    pub fn check(&self, now: DateTime<Utc>) -> Result<(), JobError> {
        let mut errors = Vec::new();
        self.trigger.check(now, &mut errors);
        self.driver.check(&mut errors);
        for (field, span) in [("timeout", self.timeout), ("output_timeout", self.output_timeout)] {
            if let Some(span) = span.filter(|span| span.0.is_zero()) {
                errors.push(FieldError::new(field, span, "is no time at all", "\"2h\", or leave it out"));
            }
        }
        self.retry.check(&self.driver, &mut errors);
        self.placement.check(&mut errors);
        self.output.check(&mut errors);
        if self.description.len() > 4096 {
            errors.push(FieldError::new(
                "description",
                "…",
                "is longer than 4096 bytes",
                "\"full backup of db3\"",
            ));
        }
        errors.truncate(MOST_PROBLEMS);
        if errors.is_empty() { Ok(()) } else { Err(JobError { errors }) }
    }

    /// The job's schedule; `None` for one that only people start.
    pub fn schedule(&self) -> Result<Option<Schedule>, JobError> {
        self.trigger.schedule()
    }
}

/// Text of the instant from which a job's ticks count, for a job saved at `now`.
pub fn fence_at_save(now: DateTime<Utc>) -> Tick {
    Tick::from_instant(now)
}

/// The largest job in the store, in bytes of its JSON.
pub const MAX_JOB_BYTES: usize = 128 * 1024;

/// The largest output limit that a job may ask for.
pub const MAX_OUTPUT: ByteSize = ByteSize(12 << 20);

#[cfg(test)]
mod tests;
