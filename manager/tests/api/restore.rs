//! What `quorate admin after-restore` does to a store.

use common::{
    epoch::{Epoch, Raised},
    lock::{HeldLock, Lock},
    store::list_all,
    worker::Registration,
};
use manager::restore::after_restore;

use super::support::{Bench, held};

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";
const BEFORE: &str = "2026-11-21T00:00:00Z";
const NOW: &str = "2026-11-22T10:00:00Z";
const LATER: &str = "2026-11-22T11:00:00Z";

async fn epoch(bench: &Bench) -> Option<Epoch> {
    let entry = bench.entry(&bench.keys.epoch()).await?;
    Some(Raised::decode(&entry.value).expect("an epoch").epoch)
}

#[tokio::test]
async fn every_fence_is_moved_to_now_and_none_back_and_then_the_epoch_is_raised() {
    let bench = Bench::start().await;
    for n in 0..250 {
        let name = format!("job {n:03}");
        bench.put(bench.keys.locks.key(&name), Lock::new(BEFORE.parse().unwrap()).encode()).await;
    }
    let later = Lock::new(LATER.parse().unwrap());
    bench.put(bench.keys.locks.key("later"), later.encode()).await;
    bench.put(bench.keys.locks.key("rubbish"), "rubbish").await;
    bench.register("w1", "").await;
    let session = bench.entry(&bench.keys.workers.key("w1")).await.unwrap().create_revision;
    let here = HeldLock { session, ..held("here", RUN, BEFORE) };
    bench.put(bench.keys.locks.key("here"), Lock::Held(here.clone()).encode()).await;
    bench.put(bench.keys.locks.key("gone"), Lock::Held(held("gone", RUN, BEFORE)).encode()).await;
    let claimed = bench.lock("here").await.unwrap().1;
    let now = NOW.parse().unwrap();

    let done = after_restore(&*bench.store, &bench.keys, now).await.unwrap();

    assert_eq!((done.locks, done.moved, done.held, done.orphaned), (254, 252, 1, 1));
    assert_eq!(done.broken, [bench.keys.locks.key("rubbish").to_string()]);
    assert_eq!((done.epoch, epoch(&bench).await), (Epoch::default().next(), Some(done.epoch)));
    for entry in list_all(&*bench.store, &bench.keys.locks).await.unwrap().0 {
        let expected = match bench.keys.locks.name(&entry.key).unwrap() {
            "later" => later.fence(),
            "rubbish" => continue,
            _ => NOW.parse().unwrap(),
        };
        assert_eq!(Lock::decode(&entry.value).unwrap().fence(), expected, "{}", entry.key);
    }
    // Whoever holds one goes on holding it.
    let moved = here.at_fence(NOW.parse().unwrap(), claimed);
    assert_eq!(bench.lock("here").await.unwrap().0, Lock::Held(moved));

    let again = after_restore(&*bench.store, &bench.keys, now).await.unwrap();
    assert_eq!((again.locks, again.moved), (254, 0));
}

#[tokio::test]
async fn the_epoch_is_raised_above_what_workers_knew_that_the_copy_does_not_have() {
    let bench = Bench::start().await;
    bench.register("w1", "").await;
    let key = bench.keys.workers.key("w1");
    let entry = bench.entry(&key).await.unwrap();
    let known = Epoch::default().next().next();
    let registration = Registration { epoch: known, ..Registration::decode(&entry.value).unwrap() };
    bench.put(key, registration.encode()).await;
    let done = after_restore(&*bench.store, &bench.keys, NOW.parse().unwrap()).await.unwrap();
    assert_eq!(done.epoch, known.next());
}
