//! What a worker makes of a store that is slow, or not what it was.

use std::time::Duration;

use common::{
    clock::Clock as _,
    epoch::{Epoch, Raised},
    job::{StoredJob, Trigger},
    lock::Lock,
    run::RunState,
    span::Span,
    store::{Op, Prefix, Store as _, Txn, key::Keys},
    worker::{Readiness, Registration},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use worker::WorkerError;

use crate::{
    doctored::{Doctored, Mistake},
    support::shell,
    world::{Living, PATIENCE, World, manual, until},
};

// Once: queued runs expired at a worker's start, because the queue was listed before the jobs.
#[tokio::test]
async fn a_wanted_run_whose_job_is_not_listed_yet_waits_for_it() {
    let world = World::new();
    let job = manual(shell("echo done"));
    world.save(&job).await;
    let run = world.want(&job.name).await;
    let store = Doctored::new(world.store.clone(), world.keys.jobs.clone());
    let living = Living::start(world.worker_on(store.clone()));
    // Either it asks whether the job is really gone, or it gives the run up.
    let asked_or_given_up = async || store.gets() > 0 || world.record(run).await.is_some();
    until("the queued run is looked at", asked_or_given_up, |seen| *seen).await;
    store.let_go();
    let record = until("it has run", || world.record(run), Option::is_some).await.unwrap();
    assert_eq!((record.state, record.output.as_str()), (RunState::Succeeded, "done\n"));
    living.end().await;
}

#[tokio::test]
async fn a_wanted_run_of_a_job_that_is_gone_is_killed() {
    let world = World::new();
    let run = world.want(&"gone".parse().unwrap()).await;
    let living = Living::start(world.worker());
    let record = until("it is given up", || world.record(run), Option::is_some).await.unwrap();
    assert_eq!(
        (record.state, record.reason.as_str()),
        (RunState::Killed, "its job was deleted while it was queued")
    );
    living.end().await;
}

/// The fence would pass the ticks of the next trigger too, before anybody knows them.
// Once: a tick of a changed trigger was on record as skipped (once in 14.7 million ticks; seed 4 of five hours
// at full load): the skip compared the lock alone, and one lost answer delayed it. Ticks of the new trigger
// could have been buried.
#[tokio::test]
async fn ticks_of_a_trigger_that_was_changed_unheard_are_not_skipped() {
    let world = World::new();
    let mut job = manual(shell("sleep 600"));
    job.trigger = Trigger::Every { period: Span::seconds(1), anchor: None };
    world.save_at(&job, world.clock.now()).await;
    let store = Doctored::new(world.store.clone(), world.keys.jobs.clone());
    store.let_go();
    // Its run goes with it.
    let _living = Living::start(world.worker_on(store.clone()));
    let held = async || world.lock(&job.name).await;
    until("it runs", held, |lock| matches!(lock, Some(Lock::Held(_)))).await;

    store.hold();
    job.trigger = Trigger::Every { period: Span::seconds(3600), anchor: None };
    let stored = StoredJob::new(job.clone(), world.clock.now()).encode();
    let put = vec![Op::Put(world.keys.job(&job.name), stored, None)];
    world.store.txn(Txn::when(Vec::new(), put)).await.unwrap();
    // From here on no tick of the old trigger may move it.
    let before = held().await.unwrap().fence();
    let failed = store.failed();
    let fence = async || held().await.unwrap().fence();
    let tried = async || (store.failed() > failed, fence().await);
    until("a tick was tried", tried, |(tried, fence)| *tried || *fence != before).await;
    assert_eq!(fence().await, before);
}

async fn registration(world: &World) -> Option<Registration> {
    let key = world.keys.worker(&"w1".parse().expect("a name"));
    let (entry, _) = world.store.get(&key).await.expect("an answer");
    entry.map(|entry| Registration::decode(&entry.value).expect("it decodes"))
}

#[tokio::test]
async fn a_worker_whose_store_was_restored_claims_nothing_and_says_so() {
    // So short that its registration is written anew within the test.
    let world = World { ttl: Duration::from_secs(10), ..World::new() };
    let job = manual(shell("echo done"));
    world.save(&job).await;
    let store = Doctored::new(world.store.clone(), world.keys.jobs.clone());
    store.let_go();
    let living = Living::start(world.worker_on(store.clone()));
    let run = world.want(&job.name).await;
    until("it works", || world.record(run), Option::is_some).await;

    store.restore();
    let restored = |found: &Option<Registration>| {
        found.as_ref().is_some_and(|found| found.readiness == Readiness::StoreRestored)
    };
    let told = until("it says so", || registration(&world), restored).await.unwrap();
    assert!(told.readiness.describe().contains("after-restore"), "{}", told.readiness.describe());
    let run = world.want(&job.name).await;
    // Ends in order, and has not taken what it would have taken at once.
    living.end().await;
    assert_eq!(world.record(run).await, None);

    // A new life has seen nothing that the store has lost.
    let living = Living::start(world.worker());
    until("it works again", || world.record(run), Option::is_some).await;
    living.end().await;
}

#[tokio::test]
async fn a_worker_whose_restored_store_was_seen_to_works_on_and_its_tokens_grow() {
    let world = World { ttl: Duration::from_secs(10), ..World::new() };
    let job = manual(shell("echo $QUORATE_FENCE"));
    world.save(&job).await;
    let store = Doctored::new(world.store.clone(), world.keys.jobs.clone());
    store.let_go();
    let living = Living::start(world.worker_on(store.clone()));
    let run = world.want(&job.name).await;
    let before = until("it works", || world.record(run), Option::is_some).await.unwrap();
    store.restore();
    let restored = |found: &Option<Registration>| {
        found.as_ref().is_some_and(|found| found.readiness == Readiness::StoreRestored)
    };
    until("it says so", || registration(&world), restored).await;
    let run = world.want(&job.name).await;
    assert_eq!(world.record(run).await, None);

    let raised = Raised { epoch: Epoch::default().next(), at: world.clock.now() }.encode();
    let put = Op::Put(world.keys.epoch(), raised, None);
    let revision = world.store.txn(Txn::when(Vec::new(), vec![put])).await.unwrap().revision;
    let record = until("it works again", || world.record(run), Option::is_some).await.unwrap();
    living.end().await;
    assert!(before.fence.0 < revision.get(), "an epoch of nothing: {}", before.fence);
    assert!(record.fence.0 > (1 << 40) + revision.get(), "{}", record.fence);
    assert_eq!(record.output, format!("{}\n", record.fence));
}

/// It would look alive, and do half of its work.
// Once: a task that panicked was missed by nobody, and its worker never registered again.
#[tokio::test]
async fn a_worker_that_loses_a_part_of_itself_ends_and_says_which() {
    for (part, mistake) in [
        ("the keeper of the lease", None),
        ("the scheduler", Some(|keys: &Keys| keys.jobs.clone())),
        ("the registry", Some(|keys: &Keys| keys.workers.clone())),
        ("what hears of kills", Some(|keys: &Keys| keys.kills.clone())),
        ("what records passed ticks", Some(|keys: &Keys| keys.passed.clone())),
        ("what follows the epoch", Some(|keys: &Keys| keys.epoch.clone())),
        ("what looks after the queue", Some(|keys: &Keys| keys.queue.clone())),
        ("the caretaker", Some(|keys: &Keys| keys.locks.clone())),
    ] as [(_, Option<fn(&Keys) -> Prefix>); 8]
    {
        let world = World::new();
        let mistake = mistake.map_or(Mistake::Leases, |of| Mistake::ListingOf(of(&world.keys)));
        let worker = world.worker_on(Doctored::with(world.store.clone(), mistake));
        let ended = timeout(PATIENCE, worker.run(None, CancellationToken::new())).await;
        assert!(matches!(ended, Ok(Err(WorkerError::Died(died))) if died == part), "{part}: {ended:?}");
    }
}
