//! The run log in MongoDB keeps what every run log promises, and more: it bears a server that comes late, freezes or
//! dies, it reads what GDTS wrote, and no page of it is sorted in memory.

use std::time::Duration;

use common::{
    id::RunId,
    run::{Cause, RunState},
    runlog::{
        Author, LogEntry, Outputs, Piece, RunLog, RunLogError, RunQuery, RunRecord, Stream, TickOutcome,
        TickQuery, TickRecord,
        mongo::{MongoOptions, MongoRunLog},
    },
};
use mongodb::{
    Client,
    bson::{DateTime, Document, doc, oid::ObjectId},
};

use crate::support::servers::{Mongod, shared_mongodb, unique_database};

/// The instant that the records' times count from.
const NOON: i64 = 1_795_348_800_000;

async fn connect(uri: &str) -> MongoRunLog {
    MongoRunLog::connect(uri, MongoOptions::default()).await.expect("the test is set up")
}

/// A run log in a database of its own, and that database.
async fn fresh() -> (MongoRunLog, mongodb::Database) {
    let (server, database) = (shared_mongodb().await, unique_database());
    let client = Client::with_uri_str(&server).await.expect("the test is set up");
    (connect(&format!("{server}{database}")).await, client.database(&database))
}

/// The `n`th run of a job, planned at the `n`th second.
fn run(job: &str, n: u8) -> RunRecord {
    let planned = NOON + i64::from(n) * 1_000;
    RunRecord {
        job_name: job.parse().expect("the test is set up"),
        command: "echo hello".to_owned(),
        err: String::new(),
        output: "hello\n".to_owned(),
        plan_time: planned,
        schedule_time: planned,
        start_time: planned + 1,
        end_time: planned + 2,
        run: run_id(n),
        task: false,
        attempt: 1,
        state: RunState::Succeeded,
        reason: String::new(),
        by: Author::Worker,
        trigger: Cause::Schedule,
        tick: None,
        worker: "w1".parse().expect("the test is set up"),
        fence: common::revision::Token(7),
        claim_time: planned,
        exit_code: Some(0),
        signal: None,
        truncated: 0,
        gap: None,
        pieces: vec![Piece(1, Stream::Out, 6)],
        // In the next century: the server goes by its own clock.
        expires: NOON * 3,
    }
}

fn run_id(n: u8) -> RunId {
    format!("01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a{n:02x}").parse().expect("the test is set up")
}

fn entry(record: RunRecord) -> LogEntry {
    LogEntry::Run(Box::new(record))
}

fn page(limit: usize) -> RunQuery {
    RunQuery { limit, ..RunQuery::default() }
}

/// As GDTS's worker writes it.
fn gdts(job: &str, n: u8, err: &str) -> Document {
    let planned = NOON + i64::from(n) * 1_000;
    doc! {
        "_id": ObjectId::from_bytes([n; 12]), "jobName": job, "command": "echo old", "err": err, "output": "old\n",
        "planTime": planned, "scheduleTime": planned, "startTime": planned + 1, "endTime": planned + 2,
    }
}

mod conformance {
    use std::sync::Arc;

    use super::*;

    async fn empty() -> Arc<dyn RunLog> {
        Arc::new(fresh().await.0)
    }

    common::runlog_conformance!(empty);
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_may_come_later() {
    let mut server = Mongod::start().await;
    server.kill_9();
    let log = connect(&server.uri()).await;
    assert!(matches!(log.status().await, Err(RunLogError::Unavailable(_))));
    let error = log.append(&[entry(run("late", 1))]).await.unwrap_err();
    assert!(matches!(error, RunLogError::Unavailable(_)), "{error:?}");
    let text = error.chain();
    assert!(text.contains("127.0.0.1:") && text.contains("refused"), "{text}");
    assert!(matches!(log.runs(&page(10), Outputs::Without).await, Err(RunLogError::Unavailable(_))));

    server.restart().await;
    log.append(&[entry(run("late", 1))]).await.expect("the test is set up");
    assert_eq!(log.log("late", 0, 10).await.expect("the test is set up"), [run("late", 1)]);
    assert!(log.status().await.expect("the test is set up").starts_with("MongoDB "));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_the_log_goes_on() {
    let mut server = Mongod::start().await;
    let log = connect(&server.uri()).await;
    log.append(&[entry(run("kept", 1)), entry(run("kept", 2))]).await.expect("the test is set up");
    server.kill_9();
    assert!(matches!(log.append(&[entry(run("kept", 3))]).await, Err(RunLogError::Unavailable(_))));

    server.restart().await;
    log.append(&[entry(run("kept", 3))]).await.expect("the test is set up");
    assert_eq!(
        log.log("kept", 0, 10).await.expect("the test is set up"),
        [run("kept", 3), run("kept", 2), run("kept", 1)]
    );
}

#[tokio::test]
async fn a_frozen_server_counts_as_away_and_is_used_again_when_it_thaws() {
    let server = Mongod::start().await;
    let brief = Duration::from_millis(200);
    let options =
        MongoOptions { server_selection_timeout: brief, read_timeout: brief, append_timeout: brief };
    let log = MongoRunLog::connect(&server.uri(), options).await.expect("the test is set up");
    // The first one makes the indexes, which may take longer than these limits on a busy machine.
    let patient = connect(&server.uri()).await;
    patient.append(&[entry(run("cold", 1))]).await.expect("the test is set up");

    server.freeze().await;
    assert!(matches!(log.status().await, Err(RunLogError::Unavailable(_))));
    assert!(matches!(log.log("cold", 0, 10).await, Err(RunLogError::Unavailable(_))));
    server.thaw();
    assert_eq!(patient.log("cold", 0, 10).await.expect("the test is set up"), [run("cold", 1)]);
}

#[tokio::test]
async fn records_of_gdts_are_read_beside_ours() {
    let (log, database) = fresh().await;
    let collection = database.collection::<Document>("log");
    collection
        .insert_many([gdts("old", 1, ""), gdts("old", 3, "exit status 1")])
        .await
        .expect("the test is set up");
    log.append(&[entry(run("old", 2))]).await.expect("the test is set up");

    let shown = log.log("old", 0, 10).await.expect("the test is set up");
    assert_eq!(shown.iter().map(|record| record.plan_time - NOON).collect::<Vec<_>>(), [3_000, 2_000, 1_000]);
    assert_eq!((shown[0].state, shown[0].err.as_str()), (RunState::Failed, "exit status 1"));
    assert_eq!((shown[2].state, shown[2].output.as_str()), (RunState::Succeeded, "old\n"));
    assert_eq!(log.run(&shown[0].run).await.expect("the test is set up"), shown[..1]);

    let failed = RunQuery { state: Some(RunState::Failed), ..page(10) };
    assert_eq!(log.runs(&failed, Outputs::With).await.expect("the test is set up").records, shown[..1]);
    let succeeded = RunQuery { state: Some(RunState::Succeeded), ..page(10) };
    assert_eq!(log.runs(&succeeded, Outputs::With).await.expect("the test is set up").records, shown[1..]);
}

#[tokio::test]
async fn pages_pass_over_ours_and_those_of_gdts_at_one_instant() {
    let (log, database) = fresh().await;
    let same_time = |mut document: Document| {
        document.insert("planTime", NOON);
        document
    };
    let theirs = (1..=3).map(|n| same_time(gdts("mixed", n, "")));
    database.collection::<Document>("log").insert_many(theirs).await.expect("the test is set up");
    let ours: Vec<_> = (1..=3).map(|n| entry(RunRecord { plan_time: NOON, ..run("mixed", n) })).collect();
    log.append(&ours).await.expect("the test is set up");

    let mut seen = Vec::new();
    let mut query = page(2);
    loop {
        let page = log.runs(&query, Outputs::Without).await.expect("the test is set up");
        seen.extend(page.records.into_iter().map(|record| record.run));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[tokio::test]
async fn a_document_that_does_not_read_hides_no_other() {
    let (log, database) = fresh().await;
    log.append(&[entry(run("mess", 1)), entry(run("mess", 4))]).await.expect("the test is set up");
    let bad = [
        doc! { "_id": "by hand", "jobName": "mess", "planTime": NOON + 2_000 },
        doc! { "_id": 17, "jobName": "mess", "planTime": "noon" },
        doc! { "jobName": "mess", "planTime": NOON + 3_000, "startTime": { "at": "noon" } },
    ];
    database.collection::<Document>("log").insert_many(bad).await.expect("the test is set up");
    database
        .collection::<Document>("ticks")
        .insert_one(doc! { "jobName": "mess", "to": 3 })
        .await
        .expect("the test is set up");

    let readable = [run("mess", 4), run("mess", 1)];
    assert_eq!(log.log("mess", 0, 10).await.expect("the test is set up"), readable);
    assert_eq!(
        log.ticks(&TickQuery { limit: 10, ..TickQuery::default() }).await.expect("the test is set up"),
        []
    );
    // One at a time, the page of a bad one is empty and has a next one.
    let mut query = RunQuery { job: Some("mess".to_owned()), ..page(1) };
    let mut seen = Vec::new();
    loop {
        let page = log.runs(&query, Outputs::With).await.expect("the test is set up");
        seen.extend(page.records);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, readable);
}

#[tokio::test]
async fn a_record_that_mongodb_refuses_does_not_keep_the_others_out() {
    let (log, database) = fresh().await;
    let rule = doc! { "jobName": { "$ne": "unwelcome" } };
    database.create_collection("log").validator(rule).await.expect("the test is set up");
    let entries = [entry(run("welcome", 1)), entry(run("unwelcome", 2)), entry(run("welcome", 3))];
    assert!(matches!(log.append(&entries).await, Err(RunLogError::Refused(_))));
    assert_eq!(log.log("welcome", 0, 10).await.expect("the test is set up").len(), 2);
}

#[tokio::test]
async fn an_output_beyond_16_megabytes_is_cut_and_stored() {
    let (log, _) = fresh().await;
    let length = 20_000_000;
    let record = RunRecord {
        output: "x".repeat(length),
        pieces: vec![Piece(0, Stream::Out, u32::try_from(length).expect("the test is set up"))],
        ..run("loud", 1)
    };
    log.append(&[entry(run("quiet", 2)), entry(record)]).await.expect("the test is set up");
    let stored = log.run(&run_id(1)).await.expect("the test is set up").remove(0);
    assert_eq!(stored.output.len() as u64 + stored.truncated, length as u64);
    assert_eq!(log.log("quiet", 0, 1).await.expect("the test is set up").len(), 1);
}

#[tokio::test]
async fn expired_records_are_removed_by_the_server() {
    let (log, database) = fresh().await;
    log.append(&[entry(run("indexed", 1)), LogEntry::Ticks(missed("indexed"))])
        .await
        .expect("the test is set up");
    for collection in ["log", "ticks"] {
        let collection = database.collection::<Document>(collection);
        let indexes: Vec<_> =
            futures::TryStreamExt::try_collect(collection.list_indexes().await.expect("the test is set up"))
                .await
                .expect("the test is set up");
        let expiry = indexes
            .iter()
            .find(|index: &&mongodb::IndexModel| index.keys == doc! { "expires": 1 })
            .expect("the test is set up");
        assert_eq!(expiry.options.as_ref().expect("the test is set up").expire_after, Some(Duration::ZERO));
        let document =
            collection.find_one(doc! {}).await.expect("the test is set up").expect("the test is set up");
        assert_eq!(
            document.get_datetime("expires").expect("the test is set up"),
            &DateTime::from_millis(NOON * 3)
        );
    }
}

fn missed(job: &str) -> TickRecord {
    TickRecord {
        job_name: job.parse().expect("the test is set up"),
        from: "2026-11-22T12:00:00Z".parse().expect("the test is set up"),
        to: "2026-11-22T12:00:09Z".parse().expect("the test is set up"),
        count: 10,
        outcome: TickOutcome::Missed,
        reason: "no worker was there".to_owned(),
        worker: "w1".parse().expect("the test is set up"),
        expires: NOON * 3,
    }
}

/// What the server reports of each query: how it went about it, and whether it had to sort.
async fn plans(database: &mongodb::Database) -> Vec<(String, bool)> {
    let profile = database.collection::<Document>("system.profile");
    let queries = profile
        .find(doc! { "op": "query", "ns": { "$not": { "$regex": "profile" } } })
        .await
        .expect("the test is set up");
    let queries: Vec<Document> =
        futures::TryStreamExt::try_collect(queries).await.expect("the test is set up");
    queries
        .iter()
        .map(|query| {
            let plan = query.get_str("planSummary").expect("the test is set up").to_owned();
            (plan, query.get_bool("hasSortStage").unwrap_or_default())
        })
        .collect()
}

#[tokio::test]
async fn every_page_walks_an_index_and_sorts_nothing() {
    // Of its own: its profiler slows a server down.
    let server = Mongod::start().await;
    let log = connect(&format!("{}plans", server.uri())).await;
    let states = [RunState::Succeeded, RunState::Failed, RunState::Lost];
    let records: Vec<_> = (0..200)
        .map(|n| {
            let state = states[usize::from(n) % states.len()];
            let worker = if n % 5 == 0 { "w2" } else { "w1" }.parse().expect("the test is set up");
            entry(RunRecord { state, worker, ..run(if n % 2 == 0 { "even" } else { "odd" }, n) })
        })
        .collect();
    log.append(&records).await.expect("the test is set up");
    log.append(&[LogEntry::Ticks(missed("even"))]).await.expect("the test is set up");
    let database = Client::with_uri_str(&server.uri()).await.expect("the test is set up").database("plans");
    database
        .collection::<Document>("log")
        .insert_one(gdts("even", 201, ""))
        .await
        .expect("the test is set up");
    database.run_command(doc! { "profile": 2 }).await.expect("the test is set up");

    let noon = chrono::DateTime::from_timestamp_millis(NOON);
    let even = || RunQuery { job: Some("even".to_owned()), ..page(5) };
    let questions = [
        page(5),
        even(),
        RunQuery { from: noon, ..page(5) },
        RunQuery { state: Some(RunState::Failed), ..page(5) },
        RunQuery { state: Some(RunState::Lost), ..even() },
        RunQuery { worker: Some("w2".to_owned()), ..page(5) },
        RunQuery { from: noon, to: noon.map(|noon| noon + chrono::TimeDelta::seconds(90)), ..even() },
    ];
    for question in &questions {
        let first = log.runs(question, Outputs::Without).await.expect("the test is set up");
        assert_eq!(first.records.len(), 5, "{question:?}");
        let next = RunQuery { after: first.next, ..question.clone() };
        assert_eq!(
            log.runs(&next, Outputs::Without).await.expect("the test is set up").records.len(),
            5,
            "{next:?}"
        );
    }
    log.log("even", 5, 5).await.expect("the test is set up");
    log.run(&run_id(1)).await.expect("the test is set up");
    log.ticks(&TickQuery { job: Some("even".to_owned()), limit: 5, ..TickQuery::default() })
        .await
        .expect("the test is set up");
    log.ticks(&TickQuery { limit: 5, ..TickQuery::default() }).await.expect("the test is set up");

    let plans = plans(&database).await;
    assert_eq!(plans.len(), 2 * questions.len() + 4);
    for (plan, sorts) in plans {
        assert!(!sorts && plan.starts_with("IXSCAN"), "{plan}, sorts: {sorts}");
    }
}
