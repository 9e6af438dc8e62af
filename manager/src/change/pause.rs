//! Pausing a job, which lets its ticks pass, and resuming it, which counts them from then.

use common::{id::JobName, store::Key};

use super::{
    Change, Decision, Snapshot,
    job::{self, NewJob, Standing, righted},
    save::{self, Saved},
};
use crate::{access::Caller, precondition::Precondition, problem::ApiError, state::App};

/// Whether a job's ticks pass without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paused {
    Yes,
    No,
}

struct SetPaused<'a> {
    app: &'a App,
    name: &'a JobName,
    paused: Paused,
    precondition: &'a Precondition,
}

impl Change for SetPaused<'_> {
    type Done = Saved;

    const WHAT: &'static str = "pause or resume";

    fn reads(&self) -> Vec<Key> {
        job::keys(self.app, self.name)
    }

    fn decide(&self, seen: &Snapshot) -> Result<Decision<Saved>, ApiError> {
        let Self { app, name, paused, precondition } = *self;
        let standing = Standing(seen);
        if standing.stored(name).is_none() {
            return Err(ApiError::NoSuchJob(name.to_string()));
        }
        precondition.check(name, standing.revision())?;
        let stored = standing.job(name)?;
        if stored.paused == (paused == Paused::Yes) {
            let (previous, revision) = (Some(stored.clone()), standing.revision());
            return Ok(Decision::Leave(Saved { stored, revision, previous, created: false, righted: None }));
        }
        let (mut stored, back) = righted(app, stored, app.now());
        match paused {
            Paused::Yes => stored.pause(app.now()),
            Paused::No => stored.resume(app.now()),
        }
        let from_now = Some("its job was paused before anybody had claimed it");
        job::write(app, name, &standing, NewJob { stored, from_now, righted: back })
    }
}

/// Lets a job's ticks pass, or counts them again from now.
pub(crate) async fn set_paused(
    app: &App,
    caller: &Caller,
    name: &JobName,
    paused: Paused,
    precondition: &Precondition,
) -> Result<Saved, ApiError> {
    save::make(app, caller, App::deadline(), &SetPaused { app, name, paused, precondition }).await
}
