//! Without each of these rules a promise does not hold: the checker finds how.

use model::{
    Model,
    promises::{ALONE, ON_RECORD, ONCE, STANDING},
    rules::{Rule, Rules},
    world::Budget,
};
use worker::claim::Place;

use crate::assert_breaks;

fn without(rule: Rule, budget: Budget) -> Model {
    Model { rules: Rules::ALL.without(rule), budget, ..Model::new() }
}

#[test]
fn without_the_fence_a_tick_runs_twice() {
    assert_breaks(ONCE, &without(Rule::Fence, Budget::default()));
}

#[test]
fn without_the_order_of_claims_a_tick_is_buried() {
    assert_breaks(ON_RECORD, &without(Rule::InOrder, Budget::default()));
}

#[test]
fn without_the_trust_deadline_two_runs_execute_at_once() {
    assert_breaks(ALONE, &without(Rule::TrustDeadline, Budget::default()));
}

#[test]
fn a_lease_revoked_before_its_runs_are_dead_lets_two_execute_at_once() {
    assert_breaks(ALONE, &without(Rule::KilledBeforeRevoked, Budget { crashes: 1, ..Budget::default() }));
}

#[test]
fn a_lock_freed_early_lets_two_runs_execute_at_once() {
    assert_breaks(ALONE, &without(Rule::FreedAfterTheEnd, Budget::default()));
}

#[test]
fn a_finish_that_writes_its_own_tick_undoes_a_skip() {
    assert_breaks(ONCE, &without(Rule::FinishKeepsTheFence, Budget::default()));
}

#[test]
fn a_held_lock_overwritten_by_the_next_claim_lets_two_runs_execute_at_once() {
    assert_breaks(ALONE, &without(Rule::HeldRefuses, Budget::default()));
}

#[test]
fn a_lock_known_by_its_workers_name_is_taken_up_twice() {
    assert_breaks(ONCE, &without(Rule::SessionNotName, Budget { crashes: 1, ..Budget::default() }));
}

#[test]
fn finish_and_claim_without_the_locks_revision_claims_twice() {
    let model = without(Rule::MergeComparesTheLock, Budget { copies: 1, ..Budget::default() });
    assert_breaks(ONCE, &Model { merge: true, ..model });
}

#[test]
fn finish_and_claim_without_the_definition_claims_for_a_deleted_job() {
    let model = without(Rule::MergeComparesTheJob, Budget { deletes: 1, ..Budget::default() });
    assert_breaks(STANDING, &Model { merge: true, ..model });
}

/// The fence of a job goes with it. Nothing else remembers that a tick was claimed, so the instant of saving has
/// to be at or after it.
#[test]
fn a_job_made_again_by_a_clock_behind_its_ticks_has_them_again() {
    let budget = Budget { saves: 1, deletes: 1, ..Budget::default() };
    assert_breaks(ONCE, &without(Rule::ManagerClock, budget));
}

/// After a resend the compare fails; the lock says that the skip was done.
#[test]
fn a_skip_whose_answer_was_lost_has_to_be_kept_on_record() {
    assert_breaks(ON_RECORD, &without(Rule::LostSkipIsRecorded, Budget { lost: 1, ..Budget::default() }));
}

/// One skip may pass over several ticks.
#[test]
fn who_takes_over_has_to_keep_every_skipped_tick() {
    let model = without(Rule::AllSkipsAreTakenOver, Budget { crashes: 1, ..Budget::default() });
    assert_breaks(ON_RECORD, &Model { ticks: 3, ..model });
}

/// A save moves the fence of a held lock; what it skipped cannot be counted back from there.
#[test]
fn a_held_lock_has_to_name_the_ticks_it_skipped() {
    let model = without(Rule::SkipsAreNamed, Budget { crashes: 1, saves: 1, ..Budget::default() });
    assert_breaks(ON_RECORD, &Model { ticks: 3, ..model });
}

#[test]
fn who_takes_over_has_to_keep_the_missed_ticks_that_a_lock_names() {
    let model = without(Rule::MissedIsTakenOver, Budget { crashes: 1, ..Budget::default() });
    assert_breaks(ON_RECORD, &model);
    assert_breaks(ON_RECORD, &Model { place: Place::Beside, ..model });
}

/// A crash is enough, or a lost answer: the resend finds a free lock at the tick, and takes it for somebody else's.
#[test]
fn missed_ticks_that_get_no_run_have_to_be_on_record_before_the_lock_is_free() {
    let model = without(Rule::MissedBeforeTheFence, Budget { crashes: 1, ..Budget::default() });
    assert_breaks(ON_RECORD, &Model { past_deadline: true, ..model });
    let model = without(Rule::MissedBeforeTheFence, Budget { lost: 1, ..Budget::default() });
    assert_breaks(ON_RECORD, &Model { past_deadline: true, ..model });
}

#[test]
fn a_lost_run_of_a_deleted_job_needs_a_caretaker() {
    let model =
        without(Rule::DeletedJobHasACaretaker, Budget { crashes: 1, deletes: 1, ..Budget::default() });
    assert_breaks(ON_RECORD, &model);
    assert_breaks(ON_RECORD, &Model { place: Place::Beside, ..model });
}

/// An edit need not touch the lock.
#[test]
fn a_catch_up_that_does_not_compare_the_job_runs_a_definition_that_no_longer_stands() {
    let model = without(Rule::CatchUpComparesTheJob, Budget { edits: 1, ..Budget::default() });
    assert_breaks(STANDING, &model);
}

/// claim/claims.rs, `is_phantom_beside`: a claim done after it was given up leaves a record of a session that lives.
#[test]
fn a_phantom_beside_the_lock_that_nobody_removes_stays_as_long_as_its_session() {
    let model = without(Rule::PhantomBeside, Budget { copies: 1, ..Budget::default() });
    assert_breaks(ON_RECORD, &Model { place: Place::Beside, ..model });
}

/// A resend queues a retry that was taken meanwhile.
#[test]
fn an_end_beside_the_lock_that_compares_nothing_queues_its_retry_twice() {
    let model = without(Rule::EndBesideOnce, Budget { lost: 1, ..Budget::default() });
    assert_breaks(ONCE, &Model { place: Place::Beside, retry: true, ..model });
}

/// change/decision.rs of the manager: a changed trigger, a pause and a delete bury what nobody has decided.
#[test]
fn a_change_that_does_not_name_the_ticks_it_passes_leaves_them_without_a_record() {
    assert_breaks(ON_RECORD, &without(Rule::PassedIsNamed, Budget { saves: 1, ..Budget::default() }));
    assert_breaks(ON_RECORD, &without(Rule::PassedIsNamed, Budget { deletes: 1, ..Budget::default() }));
}

/// Its holder skips a tick that the delete names as passed.
#[test]
fn a_delete_that_leaves_a_held_lock_alone_gives_a_tick_two_fates() {
    assert_breaks(ONCE, &without(Rule::DeleteMovesAHeldFence, Budget { deletes: 1, ..Budget::default() }));
}

/// claim.rs, `outcome`: a save has moved the fence of the lock whose claim's answer was lost; a finish that goes by what
/// was sent writes the earlier fence again.
#[test]
fn a_claim_that_is_held_as_it_was_sent_runs_a_tick_that_was_passed_over() {
    assert_breaks(ONCE, &without(Rule::HeldAsFound, Budget { saves: 1, lost: 1, ..Budget::default() }));
}
