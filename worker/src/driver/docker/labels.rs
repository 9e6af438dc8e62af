//! What Quorate's containers are told by: their labels say whose they are, also when nobody else remembers.

use std::collections::HashMap;

use common::job::{Docker, OnLeaseLoss};

use crate::driver::RunSpec;

pub(super) const RUN: &str = "quorate.run";
pub(super) const ATTEMPT: &str = "quorate.attempt";
pub(super) const JOB: &str = "quorate.job";
pub(super) const WORKER: &str = "quorate.worker";
/// The worker's life that made it.
pub(super) const SESSION: &str = "quorate.session";
/// The data directory of that worker, which only one process can hold: so a container of another life of the same one
/// is nobody's.
pub(super) const PLACE: &str = "quorate.place";
/// `keep`: it may go on when the worker's lease can no longer be trusted.
pub(super) const ON_LEASE_LOSS: &str = "quorate.on-lease-loss";

/// The value of [`ON_LEASE_LOSS`].
pub(super) const KEEP: &str = "keep";

/// The labels of a run's container, the job's own among them.
pub(super) fn of(docker: &Docker, spec: &RunSpec, session: &str, place: &str) -> HashMap<String, String> {
    let on_lease_loss = match spec.job.on_lease_loss {
        OnLeaseLoss::Kill => "kill",
        OnLeaseLoss::Keep => KEEP,
    };
    let own = [
        (RUN, spec.run.to_string()),
        (ATTEMPT, spec.attempt.to_string()),
        (JOB, spec.job.name.to_string()),
        (WORKER, spec.worker.to_string()),
        (SESSION, session.to_owned()),
        (PLACE, place.to_owned()),
        (ON_LEASE_LOSS, on_lease_loss.to_owned()),
    ];
    let of_job = docker.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    of_job.chain(own.map(|(name, value)| (name.to_owned(), value))).collect()
}
