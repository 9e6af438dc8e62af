//! `@reboot`: once for each boot of a worker's machine.

use chrono::TimeDelta;
use common::{
    clock::Clock as _,
    id::RunId,
    job::{Job, Placement, Trigger},
    lock::{LastRun, Lock},
    placement::Candidates,
    queue::QueuedRun,
    run::{Cause, RunState},
    store::{Op, Store as _, Txn},
    worker::{Boot, LiveWorker, Readiness, Registration},
};
use worker::{
    guard,
    session::life::{Life, LifeFile},
};

use crate::{
    support::shell,
    world::{Living, TTL, World, manual, until},
};

fn at_boot(name: &str) -> Job {
    Job::new(name.parse().expect("a name"), Trigger::cron(vec!["@reboot".into()]), shell("echo up"))
}

/// The run of a job's lock, if it has ended.
async fn ended(world: &World, job: &Job) -> Option<LastRun> {
    match world.lock(&job.name).await {
        Some(Lock::Free(free)) => free.last,
        _ => None,
    }
}

async fn set_boot(world: &World, boot: &Boot) {
    let key = world.keys.boot(&"w1".parse().expect("a name"));
    world.store.txn(Txn::when(Vec::new(), vec![Op::Put(key, boot.encode(), None)])).await.expect("an answer");
}

async fn boot(world: &World) -> Option<Boot> {
    let (entry, _) =
        world.store.get(&world.keys.boot(&"w1".parse().expect("a name"))).await.expect("an answer");
    entry.map(|entry| Boot::decode(&entry.value).expect("it decodes"))
}

/// Runs something by hand to its end: what comes after it in the worker's life has had its time.
async fn run_by_hand(world: &World) {
    let job = manual(shell("echo by hand"));
    world.save(&job).await;
    let run = world.want(&job.name).await;
    until("it has run by hand", || world.record(run), Option::is_some).await;
}

// Once: queued runs, these among them, expired at a worker's start: the queue was listed before the jobs.
#[tokio::test]
async fn a_boot_starts_its_jobs_once_however_often_the_worker_does() {
    let world = World::new();
    let mut job = at_boot("on boot");
    world.save(&job).await;
    let living = Living::start(world.worker());
    let first = until("it has run", || ended(&world, &job), Option::is_some).await.unwrap();
    assert_eq!(first.state, RunState::Succeeded);
    let record = until("it is on record", || world.record(first.run), Option::is_some).await.unwrap();
    assert_eq!((record.trigger, record.output.as_str(), record.tick), (Cause::Reboot, "up\n", None));

    // Saved later, it waits for the next boot; and a restart is none.
    let later = at_boot("saved later");
    world.save(&later).await;
    job.description = "edited".into();
    world.save(&job).await;
    run_by_hand(&world).await;
    living.end().await;
    let living = Living::start(world.worker());
    run_by_hand(&world).await;
    living.end().await;
    assert_eq!(ended(&world, &later).await, None);
    assert_eq!(ended(&world, &job).await, None, "the run before was forgotten with the save");

    let now = boot(&world).await.unwrap();
    assert_eq!(now.through, None);
    set_boot(&world, &Boot { boot: "another".into(), through: None }).await;
    let living = Living::start(world.worker());
    until("it has run again", || ended(&world, &job), Option::is_some).await;
    until("the later one runs, too", || ended(&world, &later), Option::is_some).await;
    living.end().await;
    assert_eq!(boot(&world).await, Some(now));
}

#[tokio::test]
async fn a_worker_that_was_killed_on_the_way_goes_on_where_it_was() {
    let world = World::new();
    let jobs: Vec<Job> = (0..150).map(|n| at_boot(&format!("job {n:03}"))).collect();
    for job in &jobs {
        world.save(job).await;
    }
    // It had registered in this boot, and had queued some of them.
    std::fs::create_dir_all(world.data_dir()).unwrap();
    let life = Life::new(guard::new_session_token(), &world.data_dir());
    LifeFile::in_dir(&world.data_dir()).write(&life).unwrap();
    set_boot(&world, &Boot { boot: life.boot, through: Some(jobs[9].name.clone()) }).await;
    let living = Living::start(world.worker());
    for job in &jobs[10..] {
        until("it has run", || ended(&world, job), Option::is_some).await;
    }
    living.end().await;
    for job in &jobs[..10] {
        assert_eq!(ended(&world, job).await, None, "it was queued before");
    }
    assert_eq!(boot(&world).await.unwrap().through, None);
}

fn other() -> LiveWorker {
    named("w2")
}

fn named(id: &str) -> LiveWorker {
    let registration = Registration {
        id: id.parse().expect("a name"),
        address: String::new(),
        host: String::new(),
        pid: 0,
        labels: std::collections::BTreeMap::new(),
        slots: 1,
        running: 0,
        load: 0.0,
        readiness: Readiness::Ready,
        epoch: common::epoch::Epoch::default(),
        version: String::new(),
        started: chrono::DateTime::UNIX_EPOCH,
        clock: chrono::DateTime::UNIX_EPOCH,
    };
    LiveWorker { registration, session: common::revision::Revision::NONE }
}

/// A worker that is alive to this one, and does nothing.
async fn register(world: &World, other: &LiveWorker) {
    let (lease, _) = world.store.grant(TTL).await.expect("a lease");
    let key = world.keys.worker(&other.registration.id);
    let put = Op::Put(key, other.registration.encode(), Some(lease));
    world.store.txn(Txn::when(Vec::new(), vec![put])).await.expect("it is registered");
}

/// The jobs for which w1 has this rank while it and `others` are alive.
fn ranked(rank: Option<usize>, others: &[LiveWorker], jobs: &[Job]) -> Vec<Job> {
    let me = named("w1");
    let candidates = Candidates::among(others.iter().chain([&me]));
    let fits =
        |job: &&Job| candidates.rank_of(&me.registration.id, job.name.as_str(), &job.placement) == rank;
    jobs.iter().filter(fits).cloned().collect()
}

#[tokio::test]
async fn a_boot_starts_every_job_that_its_worker_has_the_labels_for() {
    let world = World::new();
    register(&world, &other()).await;
    let mut jobs: Vec<Job> = (0..20).map(|n| at_boot(&format!("job {n:02}"))).collect();
    jobs[3].placement = Placement { require: vec!["host=elsewhere".into()], ..Placement::default() };
    for job in &jobs {
        world.save(job).await;
    }
    assert!(!ranked(Some(1), &[other()], &jobs).is_empty(), "also those are run here");
    let elsewhere = jobs.remove(3);
    let living = Living::start(world.worker());
    for job in &jobs {
        let last = until("it has run", || ended(&world, job), Option::is_some).await.unwrap();
        assert_eq!(last.worker.as_str(), "w1");
    }
    assert_eq!(boot(&world).await.unwrap().through, None, "all is queued that ever will be");
    living.end().await;
    let (queue, _) = common::store::list_all(&*world.store, &world.keys.queue).await.unwrap();
    assert_eq!(queue, []);
    assert_eq!(ended(&world, &elsewhere).await, None);
}

#[tokio::test]
async fn a_run_of_another_workers_boot_is_not_taken_and_expires_at_its_deadline() {
    let world = World::new();
    register(&world, &other()).await;
    let jobs: Vec<Job> = (0..20).map(|n| at_boot(&format!("job {n:02}"))).collect();
    let job = ranked(Some(0), &[other()], &jobs).remove(0);
    world.save(&job).await;
    // This one has dealt with its own boot.
    let life = Life::new(guard::new_session_token(), &world.data_dir());
    set_boot(&world, &Boot { boot: life.boot, through: None }).await;
    let now = world.clock.now();
    let wanted = |deadline: Option<TimeDelta>| QueuedRun {
        job: job.name.clone(),
        run: RunId::from_uuid(uuid::Uuid::now_v7()),
        attempt: 1,
        cause: Cause::Reboot,
        tick: None,
        since: now,
        not_before: None,
        deadline: deadline.map(|deadline| now + deadline),
        worker: Some(other().registration.id),
        by: "the boot of w2".into(),
        killed: None,
        task: None,
    };
    let (late, waiting) = (wanted(Some(TimeDelta::seconds(-1))), wanted(None));
    for wanted in [&late, &waiting] {
        let put = Op::Put(world.keys.wanted(&wanted.run), wanted.encode(), None);
        world.store.txn(Txn::when(Vec::new(), vec![put])).await.unwrap();
    }
    let living = Living::start(world.worker());
    let record = until("it is given up", || world.record(late.run), Option::is_some).await.unwrap();
    assert_eq!(record.state, RunState::Expired);
    run_by_hand(&world).await;
    living.end().await;
    assert_eq!(world.record(waiting.run).await, None);
    let (queue, _) = common::store::list_all(&*world.store, &world.keys.queue).await.unwrap();
    assert_eq!(queue.len(), 1, "it waits for its worker");
}

#[tokio::test]
async fn the_next_attempt_after_a_boot_stays_on_its_worker() {
    let world = World::new();
    let others = ["w2", "w3", "w4", "w5"].map(named);
    for other in &others {
        register(&world, other).await;
    }
    let jobs: Vec<Job> = (0..40).map(|n| at_boot(&format!("job {n:02}"))).collect();
    // By its rank this worker would not look at it.
    let mut job = ranked(None, &others, &jobs).remove(0);
    job.driver = shell("exit $((QUORATE_ATTEMPT < 3))");
    job.retry = serde_json::from_str(r#"{"attempts": 3, "backoff": "10ms..20ms"}"#).unwrap();
    world.save(&job).await;
    let living = Living::start(world.worker());
    let succeeded =
        |last: &Option<LastRun>| last.as_ref().is_some_and(|last| last.state == RunState::Succeeded);
    let last = until("the third attempt succeeds", || ended(&world, &job), succeeded).await.unwrap();
    assert_eq!(last.worker.as_str(), "w1");
    living.end().await;
}
