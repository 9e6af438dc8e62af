//! Rules that the worker's code does not keep yet, and what comes of each. When the code keeps one, its test moves to
//! `rules_are_needed` and the rule leaves [`Rules::AS_IT_IS`].

use model::{
    Model,
    promises::ON_RECORD,
    request::Place,
    rules::{Rule, Rules},
    world::Budget,
};

use crate::{assert_breaks, assert_holds};

/// What it lacks touches only runs beside the lock.
#[test]
fn the_code_as_it_is_keeps_the_promises_for_runs_in_the_lock() {
    let budget = Budget { crashes: 1, cut_offs: 1, lost: 1, ..Budget::default() };
    let model = Model { rules: Rules::AS_IT_IS, budget, ..Model::new() };
    assert_holds("as it is, one crash, one cut-off, one lost answer", &model, &[]);
}

/// caretaker.rs, `free_beside`: a claim done after it was given up leaves a record of a session that lives.
#[test]
fn a_phantom_beside_the_lock_stays_as_long_as_its_session() {
    let budget = Budget { copies: 1, ..Budget::default() };
    let model = Model { rules: Rules::ALL.without(Rule::PhantomBeside), budget, ..Model::new() };
    assert_breaks(ON_RECORD, &Model { place: Place::Beside, ..model });
}
