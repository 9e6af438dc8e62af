//! What is kept of what is appended, and for how long.

use super::*;

/// Every field.
pub async fn a_record_comes_back_as_it_was_appended(log: Arc<dyn RunLog>) {
    let plain = record("a", 1);
    let odd = RunRecord {
        err: "signal: killed".to_owned(),
        reason: "killed by an operator".to_owned(),
        state: RunState::Killed,
        trigger: Cause::Manual,
        tick: None,
        exit_code: None,
        signal: Some(9),
        truncated: 1 << 40,
        attempt: 3,
        ..record("a", 2)
    };
    append(&log, [plain.clone(), odd.clone()]).await;
    assert_eq!(attempts(&log, plain.run).await, [plain]);
    assert_eq!(attempts(&log, odd.run).await, [odd]);
    assert_eq!(attempts(&log, run_id(99)).await, []);
}

/// The shipper repeats whatever it got no answer for.
pub async fn appending_again_does_no_harm(log: Arc<dyn RunLog>) {
    append(&log, [record("a", 1), record("a", 2)]).await;
    append(&log, [record("a", 2), record("a", 3)]).await;
    append(&log, []).await;
    assert_eq!(seconds(&page(&log, &query(10)).await.records), [3, 2, 1]);
}

/// The worker was not dead after all, or came back: it knows what the run did.
pub async fn a_workers_record_replaces_a_caretakers(log: Arc<dyn RunLog>) {
    append(&log, [lost("a", 1)]).await;
    let known = RunRecord { plan_time: record("a", 1).plan_time, ..record("a", 1) };
    append(&log, [known.clone()]).await;
    assert_eq!(attempts(&log, known.run).await, [known]);
    let lost_state = RunQuery { state: Some(RunState::Lost), ..query(10) };
    assert_eq!(page(&log, &lost_state).await.records, [], "it is found under its new state only");
}

/// The other order of the same two.
pub async fn a_caretakers_record_never_replaces_a_workers(log: Arc<dyn RunLog>) {
    append(&log, [record("a", 1)]).await;
    append(&log, [lost("a", 1)]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [record("a", 1)]);
    append(&log, [lost("a", 2)]).await;
    append(&log, [RunRecord { reason: "another caretaker".to_owned(), ..lost("a", 2) }]).await;
    assert_eq!(attempts(&log, run_id(2)).await, [lost("a", 2)], "the first caretaker's stays, too");
}

/// Whoever was first had the lock.
pub async fn a_workers_record_does_not_replace_another_workers(log: Arc<dyn RunLog>) {
    append(&log, [record("a", 1)]).await;
    let other = RunRecord { worker: worker("other"), state: RunState::Failed, ..record("a", 1) };
    append(&log, [other]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [record("a", 1)]);
}

/// A worker that was killed between keeping a record and removing the copy of the run's output takes the run for lost
/// when it comes back.
pub async fn how_a_run_ended_replaces_that_its_worker_lost_it(log: Arc<dyn RunLog>) {
    append(&log, [lost("a", 1), lost_by_worker("a", 1)]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [lost_by_worker("a", 1)], "it has the output");
    let other = RunRecord { worker: worker("other"), ..record("a", 1) };
    append(&log, [other]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [lost_by_worker("a", 1)], "another worker's does not");
    append(&log, [record("a", 1)]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [record("a", 1)]);
}

/// The other order of the same two, and both in one batch.
pub async fn that_a_worker_lost_a_run_never_replaces_how_it_ended(log: Arc<dyn RunLog>) {
    append(&log, [record("a", 1)]).await;
    append(&log, [lost_by_worker("a", 1)]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [record("a", 1)]);
    append(&log, [record("a", 2), lost_by_worker("a", 2), lost_by_worker("a", 3), record("a", 3)]).await;
    assert_eq!(attempts(&log, run_id(2)).await, [record("a", 2)]);
    assert_eq!(attempts(&log, run_id(3)).await, [record("a", 3)]);
}

fn lost_by_worker(name: &str, n: u32) -> RunRecord {
    RunRecord { by: Author::Worker, output: "hel".to_owned(), ..lost(name, n) }
}

/// In either order.
pub async fn one_batch_may_hold_both_records_of_a_run(log: Arc<dyn RunLog>) {
    append(&log, [lost("a", 1), record("a", 1), record("a", 2), lost("a", 2)]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [record("a", 1)]);
    assert_eq!(attempts(&log, run_id(2)).await, [record("a", 2)]);
}

/// What a shipper sends after an outage; ticks among the runs.
pub async fn a_batch_of_a_thousand_records_is_appended(log: Arc<dyn RunLog>) {
    let mut entries: Vec<_> = (0..1000).map(|n| LogEntry::Run(Box::new(record("a", n)))).collect();
    entries.insert(500, LogEntry::Ticks(ticks("a", 1, 2, TickOutcome::Skipped)));
    log.append(&entries).await.expect("the batch is appended");
    let (mut seen, mut after) = (0, None);
    loop {
        let next = page(&log, &RunQuery { after, ..query(300) }).await;
        seen += next.records.len();
        after = next.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, 1000);
    let all = TickQuery { limit: 10, ..TickQuery::default() };
    assert_eq!(log.ticks(&all).await.expect("the ticks are read").len(), 1);
}

/// A stretch with the same end is the same stretch, better known.
pub async fn ticks_told_again_stand_as_told_last(log: Arc<dyn RunLog>) {
    let skipped = ticks("a", 5, 9, TickOutcome::Skipped);
    let longer = TickRecord { reason: "counted again".to_owned(), ..ticks("a", 2, 9, TickOutcome::Skipped) };
    let missed = ticks("a", 9, 9, TickOutcome::Missed);
    append_ticks(&log, [skipped.clone()]).await;
    append_ticks(&log, [skipped, missed.clone()]).await;
    append_ticks(&log, [longer.clone()]).await;
    let all = TickQuery { limit: 10, ..TickQuery::default() };
    let mut told = log.ticks(&all).await.expect("the ticks are read");
    told.sort_by_key(|record| record.reason.clone());
    assert_eq!(told, [longer, missed]);
}

/// With a server that expires by itself it may be gone even before.
pub async fn what_has_expired_is_pruned(log: Arc<dyn RunLog>) {
    let old = NOON - 1000;
    append(&log, [RunRecord { expires: old, ..record("a", 1) }, record("a", 2)]).await;
    append_ticks(&log, [ticks("a", 5, 6, TickOutcome::Missed)]).await;
    log.prune(instant(NOON), 1000).await.expect("the log is pruned");
    let kept = page(&log, &query(10)).await.records;
    assert!(kept.contains(&without_output(record("a", 2))));
    let all = TickQuery { limit: 10, ..TickQuery::default() };
    assert_eq!(log.ticks(&all).await.expect("the ticks are read").len(), 1);
}

fn without_output(record: RunRecord) -> RunRecord {
    RunRecord { output: String::new(), pieces: Vec::new(), ..record }
}

/// Job by job; the oldest go.
pub async fn no_more_than_the_newest_records_of_a_job_are_kept(log: Arc<dyn RunLog>) {
    append(&log, (0..20).map(|n| record("busy", n))).await;
    append(&log, (100..103).map(|n| record("calm", n))).await;
    log.prune(instant(NOON), 5).await.expect("the log is pruned");
    assert_eq!(seconds(&page(&log, &query(100)).await.records), [102, 101, 100, 19, 18, 17, 16, 15]);
    log.prune(instant(NOON), 5).await.expect("there is nothing left to prune");
    assert_eq!(page(&log, &query(100)).await.records.len(), 8);
}
