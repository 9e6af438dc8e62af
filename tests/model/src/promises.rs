//! What must hold in every state.

use stateright::Property;

use worker::claim::Place;

use crate::{
    Model,
    action::Action,
    cast::LockView,
    world::{Phase, World},
};

/// P0: a tick is claimed only by the definition of its job that stands.
pub const STANDING: &str = "P0: claimed by the definition that stands";
/// P1: a tick is claimed at most once.
pub const ONCE: &str = "P1: once";
/// P2: two runs of a job with overlap `skip` never execute at the same time.
pub const ALONE: &str = "P2: not at the same time";
/// P3: every tick that was decided has an outcome.
pub const ON_RECORD: &str = "P3: nothing silent";

/// The promises.
pub fn all() -> Vec<Property<Model>> {
    vec![
        Property::always(STANDING, |_, world: &World| !world.past.outdated),
        Property::always(ONCE, once),
        Property::always(ALONE, alone),
        Property::always(ON_RECORD, on_record),
    ]
}

/// No attempt started twice, and no tick is on record with two fates: run, skipped or missed.
fn once(_: &Model, world: &World) -> bool {
    let past = &world.past;
    !past.twice && !past.ran.meets(past.skipped.or(past.missed)) && !past.skipped.meets(past.missed)
}

fn alone(model: &Model, world: &World) -> bool {
    let executing = |worker: &crate::world::Worker| {
        let here = worker.runs.iter().filter(|run| run.phase == Phase::Executing).count();
        here + usize::from(worker.orphan)
    };
    model.place() == Place::Beside || world.workers.iter().map(executing).sum::<usize>() <= 1
}

/// When nothing is left to happen by itself, though a worker lives that would do it, then every decided tick is on
/// record, no lock is held, and neither a claimed nor a queued run is left.
fn on_record(model: &Model, world: &World) -> bool {
    let past = &world.past;
    let recorded = past.decided.within(past.recorded.or(past.skipped).or(past.missed));
    let left = world.store.entries().any(|(_, entry)| {
        let held = matches!(entry.value.lock, Some(LockView::Held(_)));
        let waits = entry.value.wanted.is_some() || entry.value.passed.is_some();
        held || entry.value.held.is_some() || waits
    });
    if recorded && !left || !world.workers.iter().any(|worker| worker.up && worker.trusted) {
        return true;
    }
    let mut actions = Vec::new();
    model.enumerate(world, &mut actions);
    actions.iter().any(Action::is_progress)
}
