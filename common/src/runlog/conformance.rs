//! The suite that every [`RunLog`] passes, so that no two adapters drift apart.
//!
//! A test crate names a factory and gets one `#[tokio::test]` a case:
//!
//! ```ignore
//! async fn mongo() -> Arc<dyn RunLog> { /* an empty log */ }
//! common::runlog_conformance!(mongo);
//! ```
//!
//! The factory is called once a case and answers with a log that is empty. All records here expire in the year
//! 2100 unless a case is about expiry, so that a server that expires by itself leaves them alone.
//!
//! A case panics when the log does not behave.

use std::sync::Arc;

use chrono::{DateTime, TimeZone as _, Utc};
use uuid::Uuid;

use super::{
    Author, LOG_BYTES, LogEntry, Outputs, Piece, RunLog, RunLogError, RunPage, RunQuery, RunRecord, Stream,
    TickOutcome, TickQuery, TickRecord,
};
use crate::{
    id::{JobName, RunId, WorkerId},
    run::{Cause, RunState},
    tick::Tick,
};

pub mod appending;
pub mod reading;

/// Makes one test of each case. The argument is the path of an `async fn() -> Arc<dyn RunLog>`.
#[macro_export]
macro_rules! runlog_conformance {
    ($factory:path) => {
        $crate::runlog_conformance! { $factory,
            appending: [
                a_record_comes_back_as_it_was_appended,
                appending_again_does_no_harm,
                a_workers_record_replaces_a_caretakers,
                a_caretakers_record_never_replaces_a_workers,
                a_workers_record_does_not_replace_another_workers,
                how_a_run_ended_replaces_that_its_worker_lost_it,
                that_a_worker_lost_a_run_never_replaces_how_it_ended,
                one_batch_may_hold_both_records_of_a_run,
                a_batch_of_a_thousand_records_is_appended,
                ticks_told_again_stand_as_told_last,
                what_has_expired_is_pruned,
                no_more_than_the_newest_records_of_a_job_are_kept,
            ],
            reading: [
                pages_come_newest_first_and_go_on_where_they_ended,
                records_of_one_instant_are_each_shown_once,
                a_page_behind_a_position_is_not_moved_by_new_records,
                a_query_shows_what_matches_all_of_it,
                tasks_are_apart_from_a_job_of_the_same_name,
                outputs_come_only_when_asked_for,
                a_position_that_is_none_is_refused,
                a_limit_is_at_least_one_and_at_most_five_hundred,
                a_runs_attempts_come_in_order,
                one_attempt_comes_with_its_output_and_all_come_without,
                a_jobs_log_comes_newest_start_first,
                a_page_of_a_jobs_log_ends_early_when_outputs_are_large,
                ticks_come_newest_first_and_are_filtered,
                names_with_special_characters_are_only_names,
                text_that_is_not_ascii_is_kept,
            ],
        }
    };
    ($factory:path, $($module:ident: [$($case:ident),+ $(,)?]),+ $(,)?) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::runlog::conformance::$module::$case($factory().await).await;
            }
        )+)+
    };
}

/// 2026-11-22T01:02:03Z, in milliseconds.
const NOON: i64 = 1_795_309_323_000;

/// 2100-01-01, in milliseconds.
const FAR: i64 = 4_102_444_800_000;

fn job(name: &str) -> JobName {
    name.parse().expect("a valid job name")
}

fn worker(name: &str) -> WorkerId {
    name.parse().expect("a valid worker id")
}

fn run_id(n: u128) -> RunId {
    RunId::from_uuid(Uuid::from_u128((0x0193_5d2e_7b1c_7c3e_9a51 << 48) | n))
}

fn instant(millis: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(millis).single().expect("a valid instant")
}

/// The `n`th run of `job`, planned `n` seconds after noon.
fn record(name: &str, n: u32) -> RunRecord {
    let plan = NOON + i64::from(n) * 1000;
    RunRecord {
        job_name: job(name),
        command: "echo hello; echo oops >&2".to_owned(),
        err: String::new(),
        output: "hello\noops\n".to_owned(),
        plan_time: plan,
        schedule_time: plan + 1,
        start_time: plan + 2,
        end_time: plan + 30,
        run: run_id(u128::from(n)),
        task: false,
        attempt: 1,
        state: RunState::Succeeded,
        reason: String::new(),
        by: Author::Worker,
        trigger: Cause::Schedule,
        tick: Some(Tick::from_instant(instant(plan))),
        worker: worker("web1-3f9c"),
        fence: crate::revision::Token(4711 + i64::from(n)),
        claim_time: plan - 20,
        exit_code: Some(0),
        signal: None,
        truncated: 0,
        gap: None,
        pieces: vec![Piece(3, Stream::Out, 6), Piece(4, Stream::Err, 5)],
        expires: FAR,
    }
}

fn lost(name: &str, n: u32) -> RunRecord {
    RunRecord {
        by: Author::Caretaker,
        state: RunState::Lost,
        err: "worker lost".to_owned(),
        output: String::new(),
        pieces: Vec::new(),
        exit_code: None,
        worker: worker("web1-3f9c"),
        ..record(name, n)
    }
}

fn ticks(name: &str, from: u32, to: u32, outcome: TickOutcome) -> TickRecord {
    let tick = |n: u32| Tick::from_instant(instant(NOON + i64::from(n) * 1000));
    TickRecord {
        job_name: job(name),
        from: tick(from),
        to: tick(to),
        count: u64::from(to - from + 1),
        outcome,
        reason: "its job still ran".to_owned(),
        worker: worker("web1-3f9c"),
        expires: FAR,
    }
}

async fn append(log: &Arc<dyn RunLog>, records: impl IntoIterator<Item = RunRecord>) {
    let entries: Vec<_> = records.into_iter().map(|record| LogEntry::Run(Box::new(record))).collect();
    log.append(&entries).await.expect("the records are appended");
}

async fn append_ticks(log: &Arc<dyn RunLog>, records: impl IntoIterator<Item = TickRecord>) {
    let entries: Vec<_> = records.into_iter().map(LogEntry::Ticks).collect();
    log.append(&entries).await.expect("the ticks are appended");
}

fn query(limit: usize) -> RunQuery {
    RunQuery { limit, ..RunQuery::default() }
}

async fn page(log: &Arc<dyn RunLog>, query: &RunQuery) -> RunPage {
    log.runs(query, Outputs::Without).await.expect("the page is read")
}

async fn attempts(log: &Arc<dyn RunLog>, run: RunId) -> Vec<RunRecord> {
    log.run(&run).await.expect("the run is read")
}

/// The seconds after noon that the records were planned for.
fn seconds(records: &[RunRecord]) -> Vec<i64> {
    records.iter().map(|record| (record.plan_time - NOON) / 1000).collect()
}
