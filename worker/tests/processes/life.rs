//! A worker's lives: what one leaves behind and what the next does about it.

use std::{os::unix::process::CommandExt as _, path::Path, process::Stdio};

use common::{
    lock::Lock,
    run::{Cause, RunState},
    runlog::Author,
    store::{Event, LeaseId, Op, Store as _, Txn},
};
use futures::StreamExt as _;
use tokio::time::timeout;
use worker::{
    guard,
    session::life::{Life, LifeFile},
};

use crate::{
    support::{name, shell},
    world::{Living, PATIENCE, TTL, World, manual, until},
};

// Once: it waited for its own old lease, which still held the key that it registers under.
#[tokio::test]
async fn a_worker_that_comes_back_within_its_lease_registers_at_once_and_tells_of_what_it_lost() {
    let world = World::new();
    let job = manual(shell("echo half of it; sleep 600; :"));
    world.save(&job).await;
    let first = world.mortal();
    let run = world.want(&job.name).await;
    let spill = world.data_dir().join(format!("output/{run}.1.output"));
    until(
        "the output is on disk",
        || std::future::ready(std::fs::read(&spill)),
        |file| file.as_ref().is_ok_and(|bytes| bytes.ends_with(b"half of it\n")),
    )
    .await
    .expect("it is read");
    let session = world.session().await.expect("it is registered");
    assert!(matches!(world.lock(&job.name).await, Some(Lock::Held(_))));
    first.die();

    let second = Living::start(world.worker());
    until("it is registered anew", || world.session(), |now| now.is_some_and(|now| now != session)).await;
    let lock =
        until("the lock is free", || world.lock(&job.name), |lock| matches!(lock, Some(Lock::Free(_))));
    let Some(Lock::Free(free)) = lock.await else { unreachable!() };
    assert_eq!(free.last.map(|last| (last.run, last.state)), Some((run, RunState::Lost)));
    let record = until(
        "the record has the output",
        || world.record(run),
        |record| record.as_ref().is_some_and(|record| record.by == Author::Worker),
    );
    let record = record.await.expect("a record");
    assert_eq!((record.state, record.output.as_str()), (RunState::Lost, "half of it\n"));
    assert_eq!((record.attempt, record.trigger), (1, Cause::Manual));
    until("the copy is gone", || std::future::ready(spill.exists()), |exists| !exists).await;

    // The job runs again, here, and ends well.
    let again = manual(shell("echo whole"));
    world.save(&again).await;
    let run = world.want(&job.name).await;
    let record = until("it has run", || world.record(run), Option::is_some).await.expect("a record");
    assert_eq!((record.state, record.output.as_str()), (RunState::Succeeded, "whole\n"));
    second.end().await;
    assert_eq!(world.session().await, None, "its lease is given back");
}

/// A process of an earlier life, which has lost its guard.
fn leftover(token: &str) -> std::process::Child {
    std::process::Command::new("/bin/sh")
        .args(["-c", "trap '' TERM HUP; sleep 600; :"])
        .env("QUORATE_SESSION", token)
        .process_group(0)
        .stdin(Stdio::null())
        .spawn()
        .expect("a process")
}

/// An earlier life whose lease has not ended.
async fn earlier(world: &World, dir: &Path) -> (Life, LeaseId) {
    let (lease, _) = world.store.grant(TTL).await.expect("a lease");
    let key = world.keys.worker(&"w1".parse().expect("a name"));
    let put = vec![Op::Put(key, b"{}".to_vec(), Some(lease))];
    world.store.txn(Txn::when(Vec::new(), put)).await.expect("it is registered");
    std::fs::create_dir_all(dir).expect("a directory");
    let life = Life { lease: Some(lease.0), ..Life::new(guard::new_session_token(), dir) };
    LifeFile::in_dir(dir).write(&life).expect("it is kept");
    (life, lease)
}

#[tokio::test]
async fn what_an_earlier_life_left_is_killed_before_its_lease_is_revoked_and_nobody_waits_for_it() {
    let world = World::new();
    let (life, _) = earlier(&world, &world.data_dir()).await;
    let mut process = leftover(&life.token);
    let pid = i32::try_from(process.id()).expect("a pid");
    // Reaps it, so that it is gone once it is dead.
    let reaped = std::thread::spawn(move || process.wait());
    let mut watch = world.store.watch(&world.keys.workers, common::revision::Revision::new(1));

    let worker = world.worker();
    assert!(name(pid).is_some(), "preparing a worker is quick: it kills nobody");
    let living = Living::start(worker);
    let removed = async {
        while let Some(events) = watch.next().await {
            let events = events.expect("it is watched").events;
            if events.iter().any(|event| matches!(event, Event::Deleted(..))) {
                return;
            }
        }
    };
    timeout(PATIENCE, removed).await.expect("the earlier life's lease is revoked");
    assert_eq!(name(pid), None, "it was revoked before its process was dead");
    living.end().await;
    reaped.join().expect("it is reaped").expect("it was a child");
}
