//! With the rules in force, all promises hold in every state. Each test is one choice of what may go wrong.

use model::{
    Met, Model,
    rules::{Rule, Rules},
    world::Budget,
};
use worker::claim::Place;

use crate::assert_holds;

#[test]
fn under_crashes_cut_offs_and_lost_and_late_answers() {
    let budget = Budget { crashes: 1, cut_offs: 1, lost: 1, late: 1, ..Budget::default() };
    let model = Model { budget, merge: true, ..Model::new() };
    let met = [
        Met::Skipped,
        Met::SkippedUnheard,
        Met::CaughtUp,
        Met::Merged,
        Met::TookOver,
        Met::Withdrawn,
        Met::RegisteredOverOldLease,
    ];
    assert_holds("one crash, one cut-off, one lost and one late answer", &model, &met);
}

#[test]
fn when_transactions_arrive_again_after_their_answers() {
    let budget = Budget { cut_offs: 1, lost: 1, copies: 1, ..Budget::default() };
    let model = Model { budget, merge: true, ..Model::new() };
    let met = [Met::DoneAdrift, Met::TookUp, Met::Released];
    assert_holds("one cut-off, one lost answer, one copy", &model, &met);
}

#[test]
fn with_three_ticks() {
    let budget = Budget { crashes: 1, cut_offs: 1, lost: 1, ..Budget::default() };
    let model = Model { ticks: 3, budget, merge: true, ..Model::new() };
    let what = "three ticks, one crash, one cut-off, one lost answer";
    assert_holds(what, &model, &[Met::CaughtUp, Met::TookOver]);
}

#[test]
fn with_three_workers() {
    let budget = Budget { crashes: 1, cut_offs: 1, ..Budget::default() };
    let model = Model { workers: 3, budget, merge: true, ..Model::new() };
    assert_holds("three workers, one crash, one cut-off", &model, &[Met::TookOver]);
}

#[test]
fn when_ticks_are_too_late_to_run() {
    let budget = Budget { crashes: 1, cut_offs: 1, lost: 1, ..Budget::default() };
    let model = Model { budget, past_deadline: true, merge: true, ..Model::new() };
    assert_holds("past the deadline, one crash, one cut-off, one lost answer", &model, &[Met::CaughtUp]);
}

#[test]
fn when_the_job_is_deleted_and_made_again() {
    let budget = Budget { crashes: 1, saves: 1, deletes: 1, ..Budget::default() };
    let model = Model { budget, sessions: 1, merge: true, ..Model::new() };
    assert_holds("one save, one delete, one crash", &model, &[Met::DoneAdrift, Met::TookOver]);
}

#[test]
fn when_the_job_is_deleted_and_made_again_under_late_answers() {
    let budget = Budget { late: 1, saves: 1, deletes: 1, ..Budget::default() };
    let model = Model { budget, merge: true, ..Model::new() };
    assert_holds("one save, one delete, one late answer", &model, &[Met::Withdrawn]);
}

#[test]
fn when_the_job_is_edited_deleted_and_made_again() {
    let budget = Budget { saves: 1, edits: 1, deletes: 1, ..Budget::default() };
    let model = Model { budget, ..Model::new() };
    assert_holds("one save, one edit, one delete", &model, &[Met::DoneAdrift, Met::Skipped]);
}

#[test]
fn when_ticks_are_passed_over_by_saves_and_deletes() {
    let budget = Budget { saves: 1, deletes: 1, lost: 1, ..Budget::default() };
    let model = Model { budget, merge: true, ..Model::new() };
    assert_holds("one save, one delete, one lost answer", &model, &[Met::Told, Met::Merged]);
}

#[test]
fn when_failed_and_lost_runs_are_retried() {
    let budget = Budget { crashes: 1, lost: 1, ..Budget::default() };
    let model = Model { budget, retry: true, at_least_once: true, merge: true, ..Model::new() };
    assert_holds("retries, one crash, one lost answer", &model, &[Met::Retried, Met::Took, Met::TookOver]);
    let budget = Budget { cut_offs: 1, lost: 1, ..Budget::default() };
    let model = Model { budget, retry: true, at_least_once: true, merge: true, ..Model::new() };
    assert_holds("retries, one cut-off, one lost answer", &model, &[Met::Retried, Met::Took, Met::TookOver]);
}

#[test]
fn when_somebody_asks_for_a_run() {
    let budget = Budget { crashes: 1, lost: 1, asked: 1, ..Budget::default() };
    let model = Model { budget, merge: true, ..Model::new() };
    assert_holds("one run asked for, one crash, one lost answer", &model, &[Met::Took]);
}

#[test]
fn when_missed_ticks_are_queued() {
    let budget = Budget { crashes: 1, lost: 1, ..Budget::default() };
    let model = Model { ticks: 3, budget, all: true, merge: true, ..Model::new() };
    assert_holds("three ticks, misfire policy all, one crash, one lost answer", &model, &[Met::Took]);
}

#[test]
fn when_runs_may_overlap() {
    let budget = Budget { crashes: 1, lost: 1, copies: 1, ..Budget::default() };
    let model = Model { place: Place::Beside, budget, ..Model::new() };
    assert_holds("overlap allow, one crash, one lost answer, one copy", &model, &[Met::FreedBeside]);
}

#[test]
fn when_runs_may_overlap_and_are_retried() {
    let budget = Budget { crashes: 1, ..Budget::default() };
    let model = Model { place: Place::Beside, budget, retry: true, at_least_once: true, ..Model::new() };
    assert_holds("overlap allow with retries, one crash", &model, &[Met::Retried, Met::FreedBeside]);
}

/// The guard of a batch is no matter of once or alone: without it a claim of a session that has ended still loses
/// nothing but its tick's run.
#[test]
fn without_the_guard_of_batches_too() {
    let rules = Rules::ALL.without(Rule::Guard);
    let budget = Budget { cut_offs: 1, late: 1, ..Budget::default() };
    let model = Model { rules, budget, at_least_once: true, merge: true, ..Model::new() };
    assert_holds("without the guard, one cut-off, one late answer", &model, &[Met::TookOver]);
    let budget = Budget { cut_offs: 1, lost: 1, copies: 1, ..Budget::default() };
    let model = Model { rules, budget, merge: true, ..Model::new() };
    assert_holds("without the guard, one cut-off, one lost answer, one copy", &model, &[Met::DoneAdrift]);
}
