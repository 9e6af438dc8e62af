//! The conformance suite on both kinds of log, and what is this adapter's own.

use chrono::TimeZone as _;
use tempfile::TempDir;

use super::*;

mod in_memory {
    use super::*;

    async fn log() -> Arc<dyn RunLog> {
        Arc::new(EmbeddedRunLog::in_memory().unwrap())
    }
    crate::runlog_conformance!(log);
}

mod on_disk {
    use super::*;

    async fn log() -> Arc<dyn RunLog> {
        let directory = TempDir::new().unwrap();
        // The files live on, without a name, as long as the log has them open.
        Arc::new(EmbeddedRunLog::open(&directory.path().join("runs.db")).unwrap())
    }
    crate::runlog_conformance!(log);
}

const RECORD: &str = r#"{"jobName":"a","command":"true","err":"","output":"out","planTime":1000,"scheduleTime":1000,
    "startTime":1000,"endTime":1001,"run":"01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b","attempt":1,"state":"succeeded",
    "reason":"","by":"worker","trigger":"schedule","worker":"w","fence":1,"claimTime":1000,"expires":5000}"#;

fn record() -> RunRecord {
    serde_json::from_str(RECORD).unwrap()
}

fn entry(record: RunRecord) -> LogEntry {
    LogEntry::Run(Box::new(record))
}

fn all() -> RunQuery {
    RunQuery { limit: 500, ..RunQuery::default() }
}

async fn count(log: &EmbeddedRunLog) -> usize {
    log.runs(&all(), Outputs::Without).await.unwrap().records.len()
}

#[tokio::test]
async fn what_was_appended_is_there_when_the_log_is_opened_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("below/runs.db");
    let log = EmbeddedRunLog::open(&path).unwrap();
    log.append(&[entry(record())]).await.unwrap();
    drop(log);
    let log = EmbeddedRunLog::open(&path).unwrap();
    assert_eq!(log.run(&record().run).await.unwrap(), [record()]);
}

#[tokio::test]
async fn what_was_appended_is_in_the_files_before_append_returns() {
    let (directory, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let log = EmbeddedRunLog::open(&directory.path().join("runs.db")).unwrap();
    log.append(&[entry(record())]).await.unwrap();
    for name in ["runs.db", "runs.db-wal"] {
        std::fs::copy(directory.path().join(name), copies.path().join(name)).unwrap();
    }
    let copy = EmbeddedRunLog::open(&copies.path().join("runs.db")).unwrap();
    assert_eq!(copy.run(&record().run).await.unwrap(), [record()]);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_says_so_until_it_takes_something() {
    let directory = TempDir::new().unwrap();
    let log = EmbeddedRunLog::open(&directory.path().join("runs.db")).unwrap();
    let limit = |pages: u32| {
        let writer = log.writer.lock();
        writer.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    assert!(log.status().await.is_ok());
    limit(40);
    let large = RunRecord { output: "x".repeat(1 << 20), ..record() };
    log.append(&[entry(large.clone())]).await.unwrap_err();
    let said = log.status().await.unwrap_err().chain();
    assert!(said.contains("disk is full"), "{said}");
    limit(4000);
    log.append(&[entry(large)]).await.unwrap();
    assert!(log.status().await.is_ok());
}

#[tokio::test]
async fn a_record_is_removed_once_it_has_expired() {
    let log = EmbeddedRunLog::in_memory().unwrap();
    let forever = RunRecord { expires: 0, attempt: 2, ..record() };
    log.append(&[entry(record()), entry(forever)]).await.unwrap();
    log.prune(Utc.timestamp_millis_opt(4999).unwrap(), 10).await.unwrap();
    assert_eq!(count(&log).await, 2);
    log.prune(Utc.timestamp_millis_opt(5000).unwrap(), 10).await.unwrap();
    assert_eq!(count(&log).await, 1);
}

#[tokio::test]
async fn pruning_goes_on_beyond_one_batch() {
    let log = EmbeddedRunLog::in_memory().unwrap();
    let many: Vec<_> = (1..=3000).map(|attempt| entry(RunRecord { attempt, ..record() })).collect();
    log.append(&many).await.unwrap();
    log.prune(Utc.timestamp_millis_opt(0).unwrap(), 7).await.unwrap();
    assert_eq!(count(&log).await, 7);
    log.prune(Utc.timestamp_millis_opt(5000).unwrap(), 7).await.unwrap();
    assert_eq!(count(&log).await, 0);
}

#[tokio::test]
async fn a_record_that_does_not_decode_hides_no_other() {
    let log = EmbeddedRunLog::in_memory().unwrap();
    let newer = RunRecord { plan_time: 2000, attempt: 2, ..record() };
    log.append(&[entry(record()), entry(newer)]).await.unwrap();
    with(&log.writer, |connection| {
        connection.execute("UPDATE runs SET record = '{}' WHERE plan_time = 2000", [])
    })
    .await
    .unwrap();
    let first = log.runs(&RunQuery { limit: 1, ..all() }, Outputs::With).await.unwrap();
    assert_eq!(first.records, []);
    let second = log.runs(&RunQuery { after: first.next, ..all() }, Outputs::With).await.unwrap();
    assert_eq!(second.records, [record()]);
}

#[tokio::test]
async fn a_full_disk_is_a_passing_error_and_leaves_the_log_whole() {
    let log = EmbeddedRunLog::in_memory().unwrap();
    log.append(&[entry(record())]).await.unwrap();
    with(&log.writer, |connection| connection.query_row("PRAGMA max_page_count = 40", [], |_| Ok(())))
        .await
        .unwrap();
    let large = RunRecord { attempt: 3, output: "x".repeat(1 << 20), ..record() };
    let small = RunRecord { attempt: 2, ..record() };
    let error = log.append(&[entry(small), entry(large)]).await.unwrap_err();
    assert!(matches!(error, RunLogError::Unavailable(_)), "{error:?}");
    assert_eq!(count(&log).await, 1);
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_with_its_name() {
    let directory = TempDir::new().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "remember the milk ".repeat(1000)).unwrap();
    let error = EmbeddedRunLog::open(&text).err().unwrap().chain();
    assert!(error.contains("notes.txt is not a run log of Quorate"), "{error}");
    assert_eq!(std::fs::read_to_string(&text).unwrap(), "remember the milk ".repeat(1000));
}

#[tokio::test]
async fn every_question_is_answered_from_an_index() {
    let log = EmbeddedRunLog::in_memory().unwrap();
    let plan = async |sql: &'static str| {
        with(&log.reader, move |connection| {
            connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?
                .query_map([], |row| row.get::<_, String>(3))?
                .collect()
        })
        .await
        .map(|steps: Vec<String>| steps.join("; "))
        .unwrap()
    };
    for (condition, index) in [
        ("", "runs_by_time"),
        ("WHERE job = 'a' AND (plan_time, id) < (1, 'x')", "runs_by_job"),
        ("WHERE state = 'failed' AND plan_time >= 1", "runs_by_state"),
    ] {
        let sql = format!("SELECT record FROM runs {condition} ORDER BY plan_time DESC, id DESC LIMIT 10");
        let plan = plan(sql.leak()).await;
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{condition}: {plan}");
    }
    let plan =
        plan("SELECT record FROM runs WHERE job = 'a' ORDER BY start_time DESC, id DESC LIMIT 10").await;
    assert!(plan.contains("runs_by_start") && !plan.contains("TEMP B-TREE"), "{plan}");
}
