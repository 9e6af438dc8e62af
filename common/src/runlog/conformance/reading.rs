//! Pages, filters and orders.

use super::*;

/// Page by page until the end.
async fn all_pages(log: &Arc<dyn RunLog>, query: &RunQuery) -> Vec<RunRecord> {
    let mut all = Vec::new();
    let mut next = query.clone();
    loop {
        let page = page(log, &next).await;
        assert!(page.records.len() <= query.limit);
        all.extend(page.records);
        next.after = page.next;
        if next.after.is_none() {
            return all;
        }
    }
}

/// In whatever order they were appended.
pub async fn pages_come_newest_first_and_go_on_where_they_ended(log: Arc<dyn RunLog>) {
    assert_eq!(page(&log, &query(10)).await.records, []);
    append(&log, [3, 1, 4, 0, 2, 6, 5].map(|n| record("a", n))).await;
    let first = page(&log, &query(3)).await;
    assert_eq!(seconds(&first.records), [6, 5, 4]);
    assert!(first.next.is_some());
    assert_eq!(seconds(&all_pages(&log, &query(3)).await), [6, 5, 4, 3, 2, 1, 0]);
    let whole = page(&log, &query(7)).await;
    assert_eq!(seconds(&whole.records), [6, 5, 4, 3, 2, 1, 0]);
    // A full page may or may not know that it is the last; what it says must be true.
    assert_eq!(all_pages(&log, &query(7)).await.len(), 7);
}

/// Then by id, descending; the attempts of one run among them.
pub async fn records_of_one_instant_are_each_shown_once(log: Arc<dyn RunLog>) {
    let same = |n: u32, attempt: u32| RunRecord { plan_time: NOON, attempt, ..record("a", n) };
    let mut records: Vec<_> = (0..9).map(|n| same(n, 1)).collect();
    records.extend([same(4, 2), same(4, 3)]);
    append(&log, records.clone()).await;
    let mut expected: Vec<_> = records.iter().map(RunRecord::id).collect();
    expected.sort();
    expected.reverse();
    for limit in [1, 2, 3, 11, 500] {
        let shown: Vec<_> = all_pages(&log, &query(limit)).await.iter().map(RunRecord::id).collect();
        assert_eq!(shown, expected, "{limit} a page");
    }
}

/// Runs end all the time while somebody turns pages.
pub async fn a_page_behind_a_position_is_not_moved_by_new_records(log: Arc<dyn RunLog>) {
    append(&log, (0..6).map(|n| record("a", n))).await;
    let first = page(&log, &query(3)).await;
    append(&log, (6..9).map(|n| record("a", n))).await;
    let second = page(&log, &RunQuery { after: first.next, ..query(3) }).await;
    assert_eq!(seconds(&second.records), [2, 1, 0]);
}

/// `from` is included, `to` is not.
pub async fn a_query_shows_what_matches_all_of_it(log: Arc<dyn RunLog>) {
    append(&log, (0..10).map(|n| record(if n % 2 == 0 { "even" } else { "odd" }, n))).await;
    let failed = |n| RunRecord { state: RunState::Failed, worker: worker("db2"), ..record("even", n) };
    append(&log, (10..13).map(failed)).await;
    let shown = async |query: RunQuery| seconds(&all_pages(&log, &query).await);

    assert_eq!(shown(RunQuery { job: Some("odd".to_owned()), ..query(2) }).await, [9, 7, 5, 3, 1]);
    assert_eq!(shown(RunQuery { job: Some("none".to_owned()), ..query(2) }).await, [0; 0]);
    assert_eq!(shown(RunQuery { state: Some(RunState::Failed), ..query(2) }).await, [12, 11, 10]);
    assert_eq!(shown(RunQuery { worker: Some("db2".to_owned()), ..query(2) }).await, [12, 11, 10]);
    let times = RunQuery { from: Some(instant(NOON + 4000)), to: Some(instant(NOON + 7000)), ..query(2) };
    assert_eq!(shown(times).await, [6, 5, 4]);
    let all = RunQuery {
        job: Some("even".to_owned()),
        state: Some(RunState::Failed),
        worker: Some("db2".to_owned()),
        from: Some(instant(NOON + 11_000)),
        to: Some(instant(NOON + 12_000)),
        ..query(2)
    };
    assert_eq!(shown(all).await, [11]);
}

/// A task and a job may have the same name.
pub async fn tasks_are_apart_from_a_job_of_the_same_name(log: Arc<dyn RunLog>) {
    let task = RunRecord { task: true, ..record("a", 2) };
    append(&log, [record("a", 1), task.clone()]).await;
    let found = async |owner: &str| {
        let query = RunQuery { job: Some(owner.to_owned()), ..query(10) };
        log.runs(&query, Outputs::With).await.expect("read").records
    };
    assert_eq!(found("a").await, [record("a", 1)]);
    assert_eq!(found(&super::super::task_owner("a")).await, std::slice::from_ref(&task));
    assert_eq!(log.log("a", 0, 10).await.expect("read"), [record("a", 1)]);
    assert_eq!(log.run(&task.run).await.expect("read"), [task]);
}

/// A page of outputs can be hundreds of megabytes; most readers want none.
pub async fn outputs_come_only_when_asked_for(log: Arc<dyn RunLog>) {
    append(&log, [record("a", 1)]).await;
    let with = log.runs(&query(10), Outputs::With).await.expect("the page is read");
    assert_eq!(with.records, [record("a", 1)]);
    let without = page(&log, &query(10)).await.records;
    assert_eq!(without, [RunRecord { output: String::new(), pieces: Vec::new(), ..record("a", 1) }]);
}

/// It comes from a URL: whatever is in it must not reach the log as a query.
pub async fn a_position_that_is_none_is_refused(log: Arc<dyn RunLog>) {
    append(&log, [record("a", 1)]).await;
    for bad in ["", "x", "1", "1/2", "{\"$gt\":\"\"}", "' OR 1=1 --", "1795309323000/x/1", "\u{0}", "ä/ö/ü"]
    {
        let asked = RunQuery { after: Some(bad.to_owned()), ..query(10) };
        match log.runs(&asked, Outputs::Without).await {
            Err(RunLogError::BadPosition(position)) => assert_eq!(position, bad),
            other => panic!("expected BadPosition for {bad:?}, got {other:?}"),
        }
    }
}

/// Whatever was asked for.
pub async fn a_limit_is_at_least_one_and_at_most_five_hundred(log: Arc<dyn RunLog>) {
    append(&log, (0..600).map(|n| record("a", n))).await;
    assert_eq!(page(&log, &query(0)).await.records.len(), 1);
    let most = page(&log, &query(usize::MAX)).await;
    assert_eq!(most.records.len(), 500);
    assert!(most.next.is_some());
}

/// With their outputs, whatever the order in which they were appended.
pub async fn a_runs_attempts_come_in_order(log: Arc<dyn RunLog>) {
    let attempt = |attempt: u32| RunRecord { attempt, ..record("a", 1) };
    append(&log, [attempt(2), attempt(11), attempt(1), record("a", 2)]).await;
    assert_eq!(attempts(&log, run_id(1)).await, [1, 2, 11].map(attempt));
}

/// Who looks at a run wants one output at most.
pub async fn one_attempt_comes_with_its_output_and_all_come_without(log: Arc<dyn RunLog>) {
    let attempt = |attempt: u32| RunRecord { attempt, ..record("a", 1) };
    append(&log, [attempt(2), attempt(11), attempt(1), record("a", 2)]).await;
    let bare = |n: u32| RunRecord { output: String::new(), pieces: Vec::new(), ..attempt(n) };
    assert_eq!(log.attempts(&run_id(1)).await.expect("the run is read"), [1, 2, 11].map(bare));
    for n in [1, 2, 11] {
        assert_eq!(log.attempt(&run_id(1), n).await.expect("the attempt is read"), Some(attempt(n)));
    }
    assert_eq!(log.attempt(&run_id(1), 3).await.expect("the log is read"), None);
    assert_eq!(log.attempts(&run_id(99)).await.expect("the log is read"), []);
    assert_eq!(log.attempt(&run_id(99), 1).await.expect("the log is read"), None);
}

/// By start, not by plan; one job's only.
pub async fn a_jobs_log_comes_newest_start_first(log: Arc<dyn RunLog>) {
    let late = RunRecord { start_time: NOON + 60_000, ..record("a", 0) };
    append(&log, (1..8).map(|n| record("a", n)).chain([late.clone(), record("b", 9)])).await;
    let shown = async |skip, limit| log.log("a", skip, limit).await.expect("the log is read");
    assert_eq!(seconds(&shown(0, 3).await), [0, 7, 6]);
    assert_eq!(shown(0, 1).await, [late], "with its output");
    assert_eq!(seconds(&shown(3, 3).await), [5, 4, 3]);
    assert_eq!(seconds(&shown(6, 100).await), [2, 1]);
    assert_eq!(shown(u64::MAX, 10).await, []);
    assert_eq!(log.log("none", 0, 10).await.expect("the log is read"), []);
}

/// A job's outputs can be gigabytes; the next page goes on behind what came.
pub async fn a_page_of_a_jobs_log_ends_early_when_outputs_are_large(log: Arc<dyn RunLog>) {
    let length = LOG_BYTES / 3 + 1;
    let pieces = vec![Piece(0, Stream::Out, u32::try_from(length).expect("it is short"))];
    let large = |n: u32| RunRecord { output: "x".repeat(length), pieces: pieces.clone(), ..record("a", n) };
    append(&log, (1..4).map(large).chain([record("a", 0)])).await;
    let shown = async |skip| seconds(&log.log("a", skip, 10).await.expect("the log is read"));
    assert_eq!(shown(0).await, [3, 2, 1]);
    assert_eq!(shown(1).await, [2, 1, 0], "these are small enough");
    assert_eq!(shown(3).await, [0]);
}

/// A stretch is found by any part of it.
pub async fn ticks_come_newest_first_and_are_filtered(log: Arc<dyn RunLog>) {
    let stretches = [("a", 10, 19), ("a", 30, 39), ("b", 20, 29)]
        .map(|(job, from, to)| ticks(job, from, to, TickOutcome::Skipped));
    append_ticks(&log, stretches).await;
    let at = |seconds: i64| Some(instant(NOON + seconds * 1000));
    let shown = async |query: TickQuery| {
        let told = log.ticks(&query).await.expect("the ticks are read");
        told.iter().map(|told| told.from.millis() / 1000 - NOON / 1000).collect::<Vec<_>>()
    };
    let all = || TickQuery { limit: 10, ..TickQuery::default() };
    assert_eq!(shown(all()).await, [30, 20, 10]);
    assert_eq!(shown(TickQuery { limit: 2, ..all() }).await, [30, 20]);
    assert_eq!(shown(TickQuery { job: Some("a".to_owned()), ..all() }).await, [30, 10]);
    assert_eq!(shown(TickQuery { from: at(29), ..all() }).await, [30, 20]);
    assert_eq!(shown(TickQuery { to: at(20), ..all() }).await, [10]);
    assert_eq!(shown(TickQuery { from: at(15), to: at(21), ..all() }).await, [20, 10]);
}

/// Quotes, wildcards, operators of a query language: a job may be called so.
pub async fn names_with_special_characters_are_only_names(log: Arc<dyn RunLog>) {
    let names = ["it's", "\"quoted\"", "$where", "a.b.c", "%", "_", "*", "a$b", "\\", "x; DROP TABLE runs"];
    for (n, name) in (0..).zip(names) {
        append(&log, [record(name, n)]).await;
        append_ticks(&log, [ticks(name, n, n, TickOutcome::Missed)]).await;
    }
    for (n, name) in (0..).zip(names) {
        let of_job = RunQuery { job: Some(name.to_owned()), ..query(10) };
        assert_eq!(seconds(&page(&log, &of_job).await.records), [n], "{name}");
        assert_eq!(log.log(name, 0, 10).await.expect("the log is read").len(), 1, "{name}");
        let of_job = TickQuery { job: Some(name.to_owned()), limit: 10, ..TickQuery::default() };
        assert_eq!(log.ticks(&of_job).await.expect("the ticks are read").len(), 1, "{name}");
    }
}

/// Also a NUL, which is where C's strings end.
pub async fn text_that_is_not_ascii_is_kept(log: Arc<dyn RunLog>) {
    let output = "grüße データ 😀 \u{0} \u{fffd}\r\n".to_owned();
    let length = u32::try_from(output.len()).expect("it is short");
    let odd = RunRecord {
        command: "echo 'grüße'".to_owned(),
        reason: "beëindigd".to_owned(),
        pieces: vec![Piece(0, Stream::Out, length)],
        output,
        worker: worker("wörker-データ"),
        ..record("ジョブ", 1)
    };
    append(&log, [odd.clone()]).await;
    assert_eq!(attempts(&log, odd.run).await, std::slice::from_ref(&odd));
    let of_job =
        RunQuery {
            job: Some("ジョブ".to_owned()), worker: Some("wörker-データ".to_owned()), ..query(10)
        };
    assert_eq!(page(&log, &of_job).await.records.len(), 1);
}
