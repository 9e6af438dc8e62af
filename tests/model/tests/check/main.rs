//! The model, checked in all its states: the promises hold, and each rule is needed.
//! Run with `--nocapture` to see the states explored and the traces.

mod promises_hold;
mod rules_are_needed;
mod tasks;

use std::{collections::BTreeSet, time::Instant};

use model::{
    Met, Model,
    action::Action,
    promises::{ALONE, ON_RECORD, ONCE, STANDING},
    world::World,
};
use stateright::{Checker, HasDiscoveries, Model as _, Path};

/// More than this is no longer a matter of seconds: lower the budgets.
const MOST_STATES: usize = 500_000;

/// Explores every state; gives the promises that do not hold in some of them.
fn broken(what: &str, model: &Model) -> BTreeSet<&'static str> {
    let begun = Instant::now();
    let checker = model.clone().checker().threads(2).spawn_bfs().join();
    println!(
        "{what}: {} states, {} steps, at most {} deep, in {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    assert!(checker.unique_state_count() < MOST_STATES, "the states of a model are bounded");
    for (promise, path) in checker.discoveries() {
        println!("{what}, {promise}:{}", steps(path));
    }
    checker.discoveries().into_keys().collect()
}

/// All promises hold in every state, and these things happen in some of them.
fn assert_holds(what: &str, model: &Model, met: &[Met]) {
    assert_eq!(broken(what, model), BTreeSet::new(), "{what}");
    for met in met {
        assert!(model.has_met(*met), "{what}: {met:?} never happens");
    }
}

/// The promise does not hold; prints one of the shortest ways there.
fn assert_breaks(promise: &'static str, model: &Model) {
    assert!([STANDING, ONCE, ALONE, ON_RECORD].contains(&promise));
    for deepest in 3..40 {
        let checker = model.clone().checker().target_max_depth(deepest).threads(1);
        let checker =
            checker.finish_when(HasDiscoveries::AllOf(BTreeSet::from([promise]))).spawn_bfs().join();
        if let Some(path) = checker.discovery(promise) {
            println!("without {}, {promise}:{}", without(model), steps(path));
            return;
        }
    }
    panic!("{promise} holds without {}", without(model));
}

fn steps(path: Path<World, Action>) -> String {
    path.into_actions().iter().map(|action| format!("\n    {action:?}")).collect()
}

fn without(model: &Model) -> String {
    let missing: Vec<String> = model.rules.missing().map(|rule| format!("{rule:?}")).collect();
    missing.join(", ")
}
