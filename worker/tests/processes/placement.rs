//! Who may run what waits: by the definition that runs.

use common::{
    clock::Clock as _,
    id::RunId,
    job::{Job, StoredJob},
    lock::Lock,
    queue::QueuedRun,
    run::{Cause, RunState},
    runlog::RunRecord,
    store::{Op, Store as _, Txn},
};

use crate::{
    support::shell,
    world::{Living, World, manual, until},
};

fn named(name: &str, command: &str) -> Job {
    Job { name: name.parse().expect("a name"), ..manual(shell(command)) }
}

/// The same, for workers with a label that this one has not.
fn elsewhere(job: &Job, command: &str) -> Job {
    let mut job = Job { driver: shell(command), ..job.clone() };
    job.placement.require = vec!["gpu".to_owned()];
    job
}

/// Runs a job to its end that was saved and wanted after all else: what may start has had its chance.
async fn run_another(world: &World, name: &str) {
    let job = named(name, "exit 0");
    world.save(&job).await;
    let run = world.want(&job.name).await;
    until("another job has run", || world.record(run), Option::is_some).await;
}

async fn is_queued(world: &World, run: RunId) -> bool {
    world.store.get(&world.keys.wanted(&run)).await.expect("an answer").0.is_some()
}

// Once: who may run it was judged when it was found, by the definition of then.
#[tokio::test]
async fn a_run_that_waits_for_its_jobs_run_or_its_backoff_is_placed_by_the_definition_that_runs() {
    let world = World::new();
    let go_on = world.dir.path().join("go-on");
    let waits = named("waits", &format!("until [ -e '{}' ]; do sleep 0.02; done", go_on.display()));
    let mut retries = named("retries", "exit 3");
    retries.retry = serde_json::from_str(r#"{"attempts": 2, "backoff": "2s"}"#).expect("retries");
    let living = Living::start(world.worker());
    for job in [&waits, &retries] {
        world.save(job).await;
    }
    let first = world.want(&waits.name).await;
    until("it executes", || world.lock(&waits.name), |lock| matches!(lock, Some(Lock::Held(_)))).await;
    let second = world.want(&waits.name).await;
    let failed = world.want(&retries.name).await;
    until("its next attempt is queued", || is_queued_again(&world, failed), |queued| *queued).await;

    for job in [&waits, &retries] {
        put(&world, &elsewhere(job, "echo ran on a worker without the label")).await;
    }
    run_another(&world, "heard").await;
    std::fs::write(&go_on, "").expect("a file");
    until("the first run has ended", || world.record(first), Option::is_some).await;
    // Its next attempt's time has come.
    let wanted = wanted(&world, failed).await.expect("it is queued");
    let due = wanted.not_before.expect("it has a pause");
    let now = || std::future::ready(world.clock.now());
    until("its pause is over", now, |now| *now > due + chrono::Duration::milliseconds(300)).await;
    run_another(&world, "after").await;
    assert!(is_queued(&world, second).await && is_queued(&world, failed).await);
    assert_eq!(world.record(second).await, None);

    // Allowed here again, they run what stands now.
    for job in [&waits, &retries] {
        put(&world, &Job { driver: shell("echo here"), ..job.clone() }).await;
    }
    for run in [second, failed] {
        let has_succeeded = |record: &Option<RunRecord>| {
            record.as_ref().is_some_and(|record| record.state == RunState::Succeeded)
        };
        let record = until("it has run", || world.record(run), has_succeeded).await.expect("a record");
        assert_eq!((record.command.as_str(), record.output.as_str()), ("echo here", "here\n"));
    }
    living.end().await;
}

#[tokio::test]
async fn a_run_that_nobody_has_the_labels_for_expires_and_says_so() {
    let world = World::new();
    let job = elsewhere(&named("nowhere", "exit 0"), "exit 0");
    world.save(&job).await;
    let living = Living::start(world.worker());
    run_another(&world, "first").await;
    let expire = async |only: Option<&str>| {
        let run = RunId::from_uuid(uuid::Uuid::now_v7());
        let wanted = QueuedRun {
            job: job.name.clone(),
            run,
            attempt: 1,
            cause: Cause::Reboot,
            tick: None,
            since: chrono::DateTime::UNIX_EPOCH,
            not_before: None,
            deadline: Some(chrono::DateTime::UNIX_EPOCH),
            worker: only.map(|only| only.parse().expect("a name")),
            by: String::new(),
            killed: None,
            task: None,
        };
        let put = Op::Put(world.keys.wanted(&run), wanted.encode(), None);
        world.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("it is wanted");
        let record = until("it is given up", || world.record(run), Option::is_some).await.expect("a record");
        assert_eq!(record.state, RunState::Expired);
        record.reason
    };
    let late = "it could not start before its deadline";
    let lacks = "it was for worker w1, which lacks labels that the run requires: gpu";
    assert_eq!(expire(Some("w1")).await, format!("{late}: {lacks}"));
    let lacks = "no ready worker has the labels that the run requires: gpu";
    assert_eq!(expire(None).await, format!("{late}: {lacks}"));
    living.end().await;
}

async fn put(world: &World, job: &Job) {
    let stored = StoredJob::new(job.clone(), chrono::DateTime::UNIX_EPOCH).encode();
    let put = Op::Put(world.keys.job(&job.name), stored, None);
    world.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("it is saved");
}

async fn wanted(world: &World, run: RunId) -> Option<QueuedRun> {
    let entry = world.store.get(&world.keys.wanted(&run)).await.expect("an answer").0?;
    QueuedRun::decode(&entry.value).ok()
}

async fn is_queued_again(world: &World, run: RunId) -> bool {
    wanted(world, run).await.is_some_and(|wanted| wanted.attempt == 2)
}
