//! Tasks: the promises hold, and each rule is needed.

use std::{collections::BTreeSet, time::Instant};

use common::job::Delivery;
use model::task::{ALONE, FOUND, ONCE, Rule, SETTLED, TaskModel};
use stateright::{Checker, HasDiscoveries, Model as _};

/// Explores every state; gives the promises that do not hold in some of them.
fn broken(what: &str, model: &TaskModel) -> BTreeSet<&'static str> {
    let begun = Instant::now();
    let checker = model.clone().checker().threads(2).spawn_bfs().join();
    println!("{what}: {} states in {:.1?}", checker.unique_state_count(), begun.elapsed());
    assert!(checker.unique_state_count() < crate::MOST_STATES, "the states of a model are bounded");
    for (promise, path) in checker.discoveries() {
        println!("{what}, {promise}: {:?}", path.into_actions());
    }
    checker.discoveries().into_keys().collect()
}

/// The promise does not hold; prints one of the shortest ways there.
fn assert_breaks(promise: &'static str, model: &TaskModel) {
    assert!([ALONE, ONCE, FOUND, SETTLED].contains(&promise));
    let whole = TaskModel { without: None, ..model.clone() };
    assert_eq!(broken("with all rules", &whole), BTreeSet::new());
    let wanted = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checker = model.clone().checker().threads(1).finish_when(wanted).spawn_bfs().join();
    let path =
        checker.discovery(promise).unwrap_or_else(|| panic!("{promise} holds without {:?}", model.without));
    println!("without {:?}, {promise}: {:#?}", model.without, path.into_actions());
}

fn without(rule: Rule) -> TaskModel {
    TaskModel { without: Some(rule), ..TaskModel::new() }
}

const TWICE: TaskModel = TaskModel { attempts: 2, ..TaskModel::new() };
const REPEATED: TaskModel = TaskModel { delivery: Delivery::AtLeastOnce, ..TaskModel::new() };

#[test]
fn promises_hold_when_workers_die() {
    let model = TaskModel { deaths: 1, lost: 1, mistakes: 1, ..TaskModel::new() };
    assert_eq!(broken("deaths", &model), BTreeSet::new());
}

#[test]
fn promises_hold_when_leases_end_and_answers_are_lost() {
    let model = TaskModel { lapses: 1, lost: 1, ..TWICE };
    assert_eq!(broken("lapses", &model), BTreeSet::new());
}

#[test]
fn promises_hold_when_lost_attempts_are_repeated() {
    for model in
        [TaskModel { deaths: 1, mistakes: 1, ..REPEATED }, TaskModel { lapses: 1, mistakes: 1, ..REPEATED }]
    {
        assert_eq!(broken("repeats", &model), BTreeSet::new());
    }
}

#[test]
fn a_task_that_is_taken_without_its_entry_executes_twice() {
    assert_breaks(ONCE, &without(Rule::TakeComparesTheEntry));
}

#[test]
fn an_end_that_does_not_compare_the_claim_hides_the_next_attempt() {
    let model = TaskModel { lapses: 1, lost: 1, without: Some(Rule::EndComparesTheClaim), ..REPEATED };
    assert_breaks(FOUND, &model);
}

#[test]
fn a_next_attempt_that_does_not_compare_the_claim_is_queued_twice() {
    assert_breaks(ONCE, &TaskModel { lost: 1, without: Some(Rule::AgainComparesTheClaim), ..TWICE });
}

#[test]
fn a_caretaker_that_does_not_compare_the_holder_ends_what_executes() {
    assert_breaks(ALONE, &TaskModel { mistakes: 1, without: Some(Rule::LoseComparesTheHolder), ..REPEATED });
}

#[test]
fn a_caretaker_that_does_not_compare_the_claim_queues_an_attempt_twice() {
    assert_breaks(ONCE, &TaskModel { deaths: 1, without: Some(Rule::LoseComparesTheClaim), ..REPEATED });
}

#[test]
fn a_lease_that_ends_before_what_it_holds_lets_two_execute_at_once() {
    assert_breaks(ALONE, &TaskModel { deaths: 1, without: Some(Rule::TrustDeadline), ..REPEATED });
}

#[test]
fn a_claim_that_was_given_up_stays_for_ever_where_nobody_queues_it_again() {
    assert_breaks(
        SETTLED,
        &TaskModel { lost: 1, without: Some(Rule::PhantomIsQueuedAgain), ..TaskModel::new() },
    );
}

#[test]
fn a_claim_known_by_its_workers_name_is_executed_twice() {
    assert_breaks(ONCE, &TaskModel { deaths: 1, without: Some(Rule::SessionNotName), ..TaskModel::new() });
}

#[test]
fn what_leaves_the_store_before_it_is_on_record_is_nowhere() {
    // A lost attempt whose record comes only after the store says so.
    let model = TaskModel { deaths: 1, without: Some(Rule::RecordBeforeTheSwap), ..TaskModel::new() };
    assert_breaks(SETTLED, &model);
}
