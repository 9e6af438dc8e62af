//! A worker's ticks, on a store in memory, a clock that the test moves, and a driver that does what the test says.

#[path = "ticks/filling.rs"]
mod filling;
#[path = "ticks/full.rs"]
mod full;
#[path = "ticks/support.rs"]
mod support;
#[path = "ticks/tasks.rs"]
mod tasks;

use std::time::Duration;

use common::{
    job::{Command, Delivery, Exec, Job, MisfirePolicy, Overlap, Trigger},
    lock::Lock,
    run::RunState,
    runlog::TickOutcome,
    span::Span,
};

use tokio::time::timeout;

use support::{Bench, job, job_of, run_of};

fn command(word: &str) -> Command {
    Command::Exec(Exec { argv: vec![word.to_owned()], ..Exec::default() })
}

#[tokio::test]
async fn a_claim_is_sent_ahead_and_its_run_starts_at_its_instant() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    // The first claims are sent 5 ms ahead.
    bench.move_to(0.996).await;
    let held = bench.until_held("a").await;
    assert_eq!(held.tick, Some(bench.tick(1)));
    assert!(bench.none_started(), "a run started before its instant");
    bench.move_to(1.0).await;
    let run = bench.started().await;
    assert_eq!(run_of(&run), held.run);
}

#[tokio::test]
async fn a_run_that_ends_just_before_the_next_tick_is_followed_in_one_transaction() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    bench.move_to(1.0).await;
    let first = bench.started().await;
    let mut locks = bench.watch_lock("a").await;
    bench.move_to(1.999_7).await;
    bench.until_awaited(2.0, 2.0).await;
    first.end();
    let Lock::Held(held) = locks.next().await else { panic!("the lock was free in between") };
    assert_eq!(held.tick, Some(bench.tick(2)));
    bench.move_to(2.0).await;
    let second = bench.started().await;
    assert_eq!(run_of(&second), held.run);
    second.end();
    let Lock::Free(free) = locks.next().await else { panic!("the second run did not free the lock") };
    assert_eq!(free.fence, bench.tick(2));
}

#[tokio::test]
async fn a_run_that_does_not_end_before_the_next_tick_is_not_cut_short_and_the_tick_is_skipped() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    bench.move_to(1.0).await;
    let first = bench.started().await;
    bench.move_to(1.999_7).await;
    bench.until_awaited(2.0, 2.0).await;
    assert!(bench.ticks("a").await.is_empty(), "a tick is skipped before its instant");
    bench.move_to(2.0).await;
    let skipped = bench.until_ticks("a").await;
    assert_eq!((skipped.from, skipped.outcome), (bench.tick(2), TickOutcome::Skipped));
    first.end();
    assert_eq!(bench.until_ended("a").await.state, RunState::Succeeded);
}

#[tokio::test]
async fn a_replaced_run_gives_its_lock_to_the_next_without_freeing_it() {
    let mut bench = Bench::start().await;
    let mut replaced = job("a");
    replaced.overlap = Overlap::Replace;
    bench.save(&replaced).await;
    bench.move_to(1.0).await;
    let first = bench.started().await;
    let mut locks = bench.watch_lock("a").await;
    bench.move_to(2.0).await;
    let second = bench.started().await;
    assert_ne!(run_of(&first), run_of(&second));
    let Lock::Held(held) = locks.next().await else { panic!("the lock was free in between") };
    assert_eq!(held.run, run_of(&second));
    assert_eq!(bench.until_ended("a").await.state, RunState::Killed);
}

// Once: the first tick after a save was missed; a worker counted a job's ticks from when it heard of the job.
#[tokio::test]
async fn a_tick_between_a_save_and_its_arrival_is_not_lost() {
    let mut bench = Bench::start().await;
    bench.move_to(1.2).await;
    // Saved at 0.5 by a manager; this worker hears of it after the tick at 1.
    bench.save_at(&job("a"), 0.5).await;
    let run = bench.started().await;
    assert_eq!(run.spec.tick, Some(bench.tick(1)));
}

#[tokio::test]
async fn missed_ticks_are_on_record_and_the_newest_runs_by_the_misfire_policy() {
    let mut bench = Bench::start().await;
    bench.move_to(100.0).await;
    bench.save_at(&job("a"), 0.0).await;
    let run = bench.started().await;
    assert!(run.spec.tick >= Some(bench.tick(94)), "{:?}", run.spec.tick);
    let missed = bench.until_ticks("a").await;
    assert_eq!((missed.from, missed.outcome), (bench.tick(1), TickOutcome::Missed));
    assert_eq!(Some(missed.to), run.spec.tick.map(|tick| bench.before(tick)));
}

// Once: the fence passed such ticks before they were recorded, and a crash in between left them without a
// record.
#[tokio::test]
async fn ticks_that_are_to_be_skipped_when_missed_are_on_record_and_the_lock_is_free() {
    let mut bench = Bench::start().await;
    bench.move_to(100.0).await;
    let mut skipping = job("a");
    skipping.misfire.policy = MisfirePolicy::Skip;
    skipping.trigger = Trigger::Every { period: Span::seconds(10), anchor: Some(bench.instant(3.0)) };
    bench.save_at(&skipping, 0.0).await;
    // The full pass comes with a change of the workers.
    bench.register("another").await;
    // 3, 13, …, 93 are past.
    let missed = bench.until_ticks("a").await;
    assert_eq!((missed.from, missed.to, missed.count), (bench.tick(3), bench.tick(93), 10));
    bench.until_free_at("a", bench.tick(93)).await;
    assert!(bench.none_started());
    bench.move_to(103.0).await;
    assert_eq!(bench.started().await.spec.tick, Some(bench.tick(103)));
}

// Once: it was not, because its finish freed the lock without a next attempt.
#[tokio::test]
async fn an_at_least_once_run_that_its_own_worker_killed_for_lost_trust_is_repeated() {
    let mut bench = Bench::start().await;
    let mut again = job("a");
    again.delivery = Delivery::AtLeastOnce;
    again.trigger = Trigger::Every { period: Span::seconds(1000), anchor: Some(bench.instant(1.0)) };
    bench.save(&again).await;
    bench.move_to(1.0).await;
    let first = bench.started().await;
    bench.deregister().await;
    let record = bench.until_ended("a").await;
    assert_eq!((record.state, record.attempt), (RunState::Lost, 1));
    let second = bench.started().await;
    assert_eq!((second.spec.tick, second.spec.attempt), (Some(bench.tick(1)), 2));
    assert!(second.spec.fence > first.spec.fence);
}

// Once: it was not repeated; it counted as killed, as if somebody had asked for that.
#[tokio::test]
async fn a_run_that_does_not_end_before_its_worker_does_is_lost_and_queued_again_if_it_is_at_least_once() {
    let mut bench = Bench::start().await;
    for (name, delivery) in [("again", Delivery::AtLeastOnce), ("once", Delivery::AtMostOnce)] {
        let mut long = job(name);
        long.delivery = delivery;
        long.trigger = Trigger::Every { period: Span::seconds(1000), anchor: Some(bench.instant(1.0)) };
        bench.save(&long).await;
    }
    bench.move_to(1.0).await;
    let _runs = [bench.started().await, bench.started().await];
    bench.tell_to_end();
    for name in ["again", "once"] {
        let record = bench.until_ended(name).await;
        assert_eq!((record.state, record.attempt), (RunState::Lost, 1));
        assert!(record.reason.contains("told to end"), "{}", record.reason);
        bench.until_free_at(name, bench.tick(1)).await;
    }
    assert_eq!(bench.queued().await, [("again".to_owned(), 2)]);
}

// Once: ticks that ran by misfire policy `all` were on record as missed as well; the record's stretch reached
// over them.
#[tokio::test]
async fn of_ticks_that_were_missed_those_that_still_run_are_not_on_record_as_missed() {
    let mut bench = Bench::start().await;
    bench.move_to(100.0).await;
    let mut all = job("a");
    (all.misfire.policy, all.misfire.limit) = (MisfirePolicy::All, 3);
    all.trigger = Trigger::Every { period: Span::seconds(10), anchor: Some(bench.instant(3.0)) };
    bench.save_at(&all, 0.0).await;
    bench.register("another").await;
    // 3, 13, …, 93 are past: 93 runs, and 83 and 73 are queued.
    let run = bench.started().await;
    assert_eq!(run.spec.tick, Some(bench.tick(93)));
    let missed = bench.until_ticks("a").await;
    assert_eq!((missed.from, missed.to, missed.count), (bench.tick(3), bench.tick(63), 7));
}

// Once: after a take-over they had no outcome; the waiting tick moved the fence over them.
#[tokio::test]
async fn with_queue_one_the_ticks_before_the_one_that_waits_are_on_record() {
    let mut bench = Bench::start().await;
    let mut queued = job("a");
    queued.overlap = Overlap::QueueOne;
    bench.save(&queued).await;
    bench.want("a", 0.0).await;
    let run = bench.started().await;
    assert_eq!(run.spec.tick, None);
    // Nobody decides the ticks meanwhile, as when the worker that held the lock was cut off.
    bench.move_to(10.2).await;
    let waits = bench.until_waiting("a").await;
    let before = bench.before(waits);
    bench.until_on_record("a", bench.tick(1), before).await;
    run.end();
    assert_eq!(bench.started().await.spec.tick, Some(waits));
}

// Once: the caretaker passed over jobs it did not know, so that the run had no record and the lock stayed.
#[tokio::test]
async fn the_lost_run_of_a_deleted_job_is_on_record_and_its_lock_goes() {
    let bench = Bench::start().await;
    bench.leave_lock_of_a_dead_worker("gone").await;
    bench.register("another").await;
    let record = bench.until_ended("gone").await;
    assert_eq!((record.state, record.worker.as_str()), (RunState::Lost, "dead"));
    bench.until_no_lock("gone").await;
}

// Once: it stood as running as long as its worker's session, because no caretaker looked at its own session.
#[tokio::test]
async fn a_run_beside_the_lock_that_its_worker_knows_nothing_of_goes_on_record_and_one_that_executes_stays() {
    let mut bench = Bench::start().await;
    let mut beside = job("a");
    beside.overlap = Overlap::Allow;
    bench.save(&beside).await;
    bench.move_to(1.0).await;
    let run = bench.started().await;
    bench.leave_phantom_beside("a").await;
    // The full pass comes with a change of the workers.
    bench.register("another").await;
    let record = bench.until_ended("a").await;
    assert_eq!((record.state, record.tick), (RunState::Lost, Some(bench.tick(0))));
    run.end();
    bench.until_nothing_beside().await;
    // On the worker's disk by now, and on its way to the run log.
    assert_eq!(bench.until_states("a", 2).await, [RunState::Succeeded, RunState::Lost]);
}

#[tokio::test]
async fn a_job_deleted_between_claim_and_instant_does_not_start() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    bench.move_to(0.996).await;
    bench.until_held("a").await;
    bench.delete("a").await;
    // What was changed before it has been seen as well.
    bench.save(&job("b")).await;
    bench.move_to(1.0).await;
    let record = bench.until_ended("a").await;
    assert_eq!(record.state, RunState::Killed);
    assert!(record.reason.contains("deleted"), "{}", record.reason);
    bench.until_no_lock("a").await;
    assert_eq!(job_of(&bench.started().await), "b");
    assert!(bench.none_started(), "the deleted job started");
}

// Once: such a kill was lost, because it acted only on what executed when it was heard of.
#[tokio::test]
async fn a_run_that_is_killed_as_soon_as_it_is_wanted_does_not_execute_to_its_end() {
    let bench = Bench::start().await;
    let mut asked = job("a");
    asked.trigger = Trigger::Manual;
    bench.put(&asked, bench.instant(0.0)).await;
    let run = bench.want("a", 0.0).await;
    bench.kill("a").await;
    let record = bench.until_ended("a").await;
    assert_eq!((record.run, record.state), (run, RunState::Killed));
    assert!(record.reason.starts_with("killed by a test"), "{}", record.reason);
    bench.until_nothing_queued().await;
}

// Once: it ran later; the kill's lease had ended, and nothing else said that it had been killed.
#[tokio::test]
async fn a_run_that_was_killed_while_there_was_no_worker_does_not_start() {
    let mut bench = Bench::start().await;
    let mut asked = job("a");
    asked.trigger = Trigger::Manual;
    bench.put(&asked, bench.instant(0.0)).await;
    let run = bench.want_killed("a").await;
    let record = bench.until_ended("a").await;
    assert_eq!((record.run, record.state), (run, RunState::Killed));
    assert_eq!(record.reason, "killed by a test before it started");
    bench.until_nothing_queued().await;
    assert!(bench.none_started(), "it started");
}

#[tokio::test]
async fn a_queued_run_that_no_worker_may_start_can_be_killed() {
    let bench = Bench::start().await;
    let mut asked = job("a");
    asked.trigger = Trigger::Manual;
    asked.placement.require = vec!["gpu".to_owned()];
    bench.put(&asked, bench.instant(0.0)).await;
    bench.want("a", 0.0).await;
    bench.kill("a").await;
    // An unranked worker comes after those who rank.
    bench.move_to(5.0).await;
    assert_eq!(bench.until_ended("a").await.state, RunState::Killed);
    bench.until_nothing_queued().await;
}

// Once: they were silent until the clock caught up, even with their fences reset; what the wrong clock had
// passed on, announced and marked stood.
#[tokio::test]
async fn jobs_run_again_when_a_clock_that_was_an_hour_ahead_is_set_back() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    bench.move_to(3600.0).await;
    bench.started().await.end();
    bench.until_free_at("a", bench.tick(3600)).await;
    bench.set_back(3590.0);
    bench.reset_fence("a", bench.tick(10)).await;
    let run = loop {
        bench.pass(1.0);
        if let Ok(run) = timeout(Duration::from_secs(2), bench.started()).await {
            break run;
        }
    };
    assert!(run.spec.tick < Some(bench.tick(60)), "{:?}", run.spec.tick);
}

#[tokio::test]
async fn ticks_that_a_change_passed_over_are_put_on_record() {
    let bench = Bench::start().await;
    bench.name_passed("gone", 3, 5).await;
    let passed = bench.until_ticks("gone").await;
    assert_eq!((passed.from, passed.to, passed.count), (bench.tick(3), bench.tick(5), 3));
    assert_eq!((passed.outcome, passed.reason.as_str()), (TickOutcome::Missed, "its job was deleted"));
    bench.until_nothing_passed().await;
}

#[tokio::test]
async fn a_queued_run_of_a_job_that_was_deleted_and_made_again_is_killed_before_its_time() {
    let bench = Bench::start().await;
    let mut asked = job("a");
    asked.trigger = Trigger::Manual;
    bench.put(&asked, bench.instant(0.0)).await;
    let run = bench.want("a", 1000.0).await;
    bench.delete("a").await;
    bench.put(&asked, bench.instant(0.0)).await;
    let record = bench.until_ended("a").await;
    assert_eq!((record.run, record.state), (run, RunState::Killed));
    assert_eq!(record.reason, "its job was deleted while it was queued");
    bench.until_nothing_queued().await;
}

#[tokio::test]
async fn a_next_attempt_waits_for_its_time_also_where_the_one_before_it_is_still_looked_after() {
    let mut bench = Bench::start().await;
    for name in ["a", "b"] {
        let mut asked = job(name);
        asked.trigger = Trigger::Manual;
        bench.put(&asked, bench.instant(0.0)).await;
    }
    let run = bench.want("a", 0.0).await;
    let first = bench.started().await;
    // Under the same key, while its job executes.
    bench.want_again("a", 10.0).await;
    bench.until_awaited(10.0, 10.0).await;
    first.end();
    bench.until_ended("a").await;
    bench.until_free_at("a", bench.tick(0)).await;
    bench.move_to(9.9).await;
    bench.want_another("b").await;
    assert_eq!(job_of(&bench.started().await), "b", "it did not wait");
    bench.move_to(10.0).await;
    let second = bench.started().await;
    assert_eq!((run_of(&second), second.spec.attempt), (run, 2));
}

// Once: it started on a worker without the labels that its job had been given meanwhile; it was judged when it
// was found, by the definition of then.
#[tokio::test]
async fn a_waiting_run_is_placed_by_the_definition_that_would_run() {
    let mut bench = Bench::start().await;
    let mut asked = job("a");
    asked.trigger = Trigger::Manual;
    bench.put(&asked, bench.instant(0.0)).await;
    let run = bench.want("a", 10.0).await;
    bench.until_awaited(10.0, 10.0).await;
    let mut elsewhere = asked.clone();
    elsewhere.placement.require = vec!["gpu".to_owned()];
    bench.edit(&elsewhere).await;
    bench.until_heard().await;
    bench.move_to(10.0).await;
    // One wanted behind it, of a job that may run here, starts: it had its chance.
    bench.until_heard().await;
    bench.edit(&asked).await;
    assert_eq!(run_of(&bench.started().await), run, "allowed here again, it starts");
}

// Once: it started on a worker without the labels that its job had been given meanwhile.
#[tokio::test]
async fn a_tick_that_waits_for_a_run_is_placed_by_the_definition_that_would_run() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    bench.move_to(1.0).await;
    let first = bench.started().await;
    bench.move_to(1.999_7).await;
    bench.until_awaited(2.0, 2.0).await;
    let mut elsewhere = job("a");
    elsewhere.placement.require = vec!["gpu".to_owned()];
    bench.edit(&elsewhere).await;
    bench.until_heard().await;
    first.end();
    bench.until_free_at("a", bench.tick(1)).await;
    bench.move_to(2.0).await;
    bench.until_heard().await;
    bench.until_free_at("a", bench.tick(1)).await;
}

#[tokio::test]
async fn a_run_keeps_its_token_and_its_command_while_its_job_is_edited_and_ticks_are_skipped() {
    let mut bench = Bench::start().await;
    let mut first = job("a");
    first.driver = command("first");
    bench.save(&first).await;
    bench.move_to(1.0).await;
    let run = bench.started().await;
    let mut second = job("a");
    second.driver = command("second");
    bench.edit(&second).await;
    bench.move_to(2.0).await;
    bench.until_ticks("a").await;
    let held = bench.until_held("a").await;
    let seen = bench.lock_revision("a").await;
    assert_eq!((held.fence, held.skipped), (bench.tick(2), 1));
    assert!(seen.get() > run.spec.fence.0);
    assert_eq!((held.token(seen), held.command("second").as_str()), (run.spec.fence, "first"));
}

// Once: it was repeated if a tick had been skipped after the kill, which was compared with the revision of the
// lock as found.
#[tokio::test]
async fn a_lost_run_that_was_killed_before_its_lock_was_written_anew_is_not_repeated() {
    let mut bench = Bench::start().await;
    let mut again = job("a");
    again.delivery = Delivery::AtLeastOnce;
    again.trigger = Trigger::Manual;
    bench.put(&again, bench.instant(0.0)).await;
    bench.until_heard().await;
    bench.leave_killed_run_of_a_dead_worker("a").await;
    // The full pass comes with a change of the workers.
    bench.register("another").await;
    let record = bench.until_ended("a").await;
    assert_eq!(record.state, RunState::Lost);
    bench.until_free_at("a", bench.tick(0)).await;
    assert_eq!(bench.queued().await, []);
}

/// A job that replaces its runs, which do not end when they are told to.
fn stubborn(name: &str) -> Job {
    let mut job = job(name);
    job.overlap = Overlap::Replace;
    job.labels.insert("stubborn".to_owned(), String::new());
    job
}

const REPLACING: &str = "the run before it had been told to end, and did not end in time (overlap: replace)";

// Once: they were told that no worker could claim them.
#[tokio::test]
async fn ticks_that_pass_while_one_waits_to_replace_a_run_say_so() {
    let mut bench = Bench::start().await;
    bench.save(&stubborn("a")).await;
    bench.move_to(1.0).await;
    let mut first = bench.started().await;
    bench.move_to(2.0).await;
    first.until_told_to_end().await;
    bench.move_to(4.0).await;
    bench.until_heard().await;
    first.end();
    assert_eq!(bench.started().await.spec.tick, Some(bench.tick(4)));
    let missed = bench.until_ticks("a").await;
    assert_eq!((missed.from, missed.to, missed.count), (bench.tick(2), bench.tick(3), 2));
    assert_eq!((missed.outcome, missed.reason.as_str()), (TickOutcome::Missed, REPLACING));
}

#[tokio::test]
async fn what_catches_up_after_a_long_wait_to_replace_a_run_says_why_the_others_were_missed() {
    for (policy, last) in [(MisfirePolicy::Latest, 13), (MisfirePolicy::Skip, 23)] {
        let mut bench = Bench::start().await;
        let mut slow = stubborn("a");
        slow.misfire.policy = policy;
        slow.trigger = Trigger::Every { period: Span::seconds(10), anchor: Some(bench.instant(3.0)) };
        bench.save_at(&slow, 0.0).await;
        bench.until_awaited(2.9, 3.0).await;
        bench.move_to(3.0).await;
        let mut first = bench.started().await;
        bench.move_to(13.0).await;
        first.until_told_to_end().await;
        bench.move_to(29.0).await;
        bench.until_heard().await;
        first.end();
        let missed = bench.until_ticks("a").await;
        assert_eq!((missed.from, missed.to), (bench.tick(13), bench.tick(last)), "{policy:?}");
        assert_eq!((missed.outcome, missed.reason.as_str()), (TickOutcome::Missed, REPLACING), "{policy:?}");
    }
}

#[tokio::test]
async fn with_queue_one_a_tick_that_is_skipped_says_that_another_one_waits() {
    let mut bench = Bench::start().await;
    let mut queued = job("a");
    queued.overlap = Overlap::QueueOne;
    bench.save(&queued).await;
    bench.move_to(1.0).await;
    let _run = bench.started().await;
    bench.move_to(2.0).await;
    assert_eq!(bench.until_waiting("a").await, bench.tick(2));
    bench.move_to(3.0).await;
    let skipped = bench.until_ticks("a").await;
    assert_eq!((skipped.from, skipped.outcome), (bench.tick(3), TickOutcome::Skipped));
    assert_eq!(
        skipped.reason,
        "the run before it still executed, and one tick waited already (overlap: queue-one)"
    );
}

#[tokio::test]
async fn ticks_that_a_lost_run_stood_in_the_way_of_say_so() {
    let mut bench = Bench::start().await;
    bench.move_to(20.0).await;
    bench.put(&job("a"), bench.instant(0.0)).await;
    bench.leave_lock_of_a_dead_worker("a").await;
    bench.register("another").await;
    bench.started().await;
    let missed = bench.until_ticks("a").await;
    assert_eq!((missed.from, missed.outcome), (bench.tick(1), TickOutcome::Missed));
    assert_eq!(missed.reason, "the run before it was lost, and nobody could take its lock over in time");
}

// Once: it waited until then; the time of a wish counted as its start.
#[tokio::test]
async fn a_run_that_was_wanted_by_a_clock_that_was_ahead_waits_only_as_long_as_it_was_to_wait() {
    let mut bench = Bench::start().await;
    for name in ["a", "b"] {
        let mut asked = job(name);
        asked.trigger = Trigger::Manual;
        bench.put(&asked, bench.instant(0.0)).await;
    }
    bench.want_a_day_ahead("a", "b", 20.0).await;
    assert_eq!(job_of(&bench.started().await), "a", "nobody said that it is to wait");
    bench.until_awaited(19.9, 20.1).await;
    bench.move_to(19.0).await;
    bench.until_heard().await;
    bench.move_to(20.5).await;
    assert_eq!(job_of(&bench.started().await), "b");
}
