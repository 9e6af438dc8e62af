//! What a lease holds, and what its end takes along.

use super::*;
use crate::revision::Revision;

/// Long enough to be written under on a busy machine; etcd grants 2 s at least.
const SHORT: u64 = 3;

/// Expiry, not a revoke: nobody asks for it.
pub async fn a_lease_that_ends_removes_all_its_keys_in_one_revision(store: Arc<dyn Store>, keys: Keys) {
    let lease = grant(&store, SHORT).await;
    let (worker, mark, other) = (keys.workers.key("w"), keys.marks.key("w"), keys.jobs.key("stays"));
    write(&store, &other, "x").await;
    done(&store, always(vec![put_under(lease, &worker)])).await;
    let last = done(&store, always(vec![put_under(lease, &mark)])).await.revision;
    assert_eq!(read(&store, &worker).await.and_then(|entry| entry.lease), Some(lease));

    let mut watch = store.watch(everything(&keys), last + 1);
    all_deleted_at_once(&next_events(&mut watch).await, [&mark, &worker]);
    assert_eq!(read(&store, &worker).await, None);
    assert!(read(&store, &other).await.is_some());
}

/// A second revoke is not an error: its caller may not know whether the first one arrived.
pub async fn revoking_removes_all_keys_in_one_revision_and_can_be_repeated(
    store: Arc<dyn Store>,
    keys: Keys,
) {
    let lease = grant(&store, 60).await;
    let (worker, mark) = (keys.workers.key("w"), keys.marks.key("w"));
    let written = done(&store, always(vec![put_under(lease, &worker), put_under(lease, &mark)])).await;
    let mut watch = store.watch(everything(&keys), written.revision + 1);
    store.revoke(lease).await.expect("the lease is revoked");
    assert_eq!(read(&store, &worker).await, None, "the keys are gone when revoke returns");
    all_deleted_at_once(&next_events(&mut watch).await, [&mark, &worker]);
    store.revoke(lease).await.expect("revoking again is no error");
    store.revoke(LeaseId(0x5eed_0000_0001)).await.expect("nor is revoking what never was");
}

fn all_deleted_at_once(events: &Events, keys: [&Key; 2]) {
    let mut deleted: Vec<_> = events.events.iter().map(Event::key).collect();
    deleted.sort();
    assert_eq!(deleted, keys);
    for event in &events.events {
        assert!(matches!(event, Event::Deleted(_, at) if *at == events.revision), "{events:?}");
    }
}

/// So that a worker whose lease has lapsed writes nothing at all.
pub async fn a_put_under_a_lease_that_is_gone_fails_the_whole_transaction(store: Arc<dyn Store>, keys: Keys) {
    let (free, leased) = (keys.jobs.key("free"), keys.workers.key("w"));
    let gone = grant(&store, 60).await;
    store.revoke(gone).await.expect("the lease is revoked");
    for lease in [gone, LeaseId(0x5eed_0000_0002)] {
        for leased in [put_under(lease, &leased), Op::Txn(always(vec![put_under(lease, &leased)]))] {
            match store.txn(always(vec![put(&free, "x"), leased])).await {
                Err(StoreError::LeaseGone(_)) => {}
                other => panic!("expected LeaseGone, got {other:?}"),
            }
        }
    }
    assert_eq!(read(&store, &free).await, None);
    assert_eq!(read(&store, &leased).await, None);
}

/// What is not done needs nothing.
pub async fn a_lease_in_the_branch_not_taken_does_not_matter(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.workers.key("w");
    let txn = Txn {
        compares: vec![Compare::ModRevision(key.clone(), Revision::new(1))],
        then: vec![put_under(LeaseId(0x5eed_0000_0003), &key)],
        otherwise: vec![put(&key, "else")],
    };
    let outcome = done(&store, txn).await;
    assert!(!outcome.succeeded);
    assert_eq!(read(&store, &key).await.map(|entry| entry.value.to_vec()), Some(b"else".to_vec()));
}

/// Two leases of one age: the one that nobody renews shows how much time has passed.
pub async fn a_renewed_lease_outlives_one_that_is_not(store: Arc<dyn Store>, keys: Keys) {
    let (renewed, left) = (grant(&store, SHORT).await, grant(&store, SHORT).await);
    let (stays, goes) = (keys.workers.key("stays"), keys.workers.key("goes"));
    done(&store, always(vec![put_under(renewed, &stays), put_under(left, &goes)])).await;
    let renewals = async {
        while read(&store, &goes).await.is_some() {
            let ttl = store.renew(renewed, Duration::from_secs(5)).await.expect("the lease is renewed");
            assert!(ttl >= Duration::from_secs(SHORT), "it has its whole time again, not {ttl:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(DEADLINE, renewals).await.expect("the lease that is not renewed ends in time");
    assert!(read(&store, &stays).await.is_some());
    store.revoke(renewed).await.expect("the lease is revoked");
}

/// A worker must learn this as a fact, not as a network error.
pub async fn renewing_a_lease_that_ended_says_so(store: Arc<dyn Store>, keys: Keys) {
    let lease = grant(&store, SHORT).await;
    let key = keys.workers.key("w");
    let at = done(&store, always(vec![put_under(lease, &key)])).await.revision;
    next_events(&mut store.watch(&keys.workers, at + 1)).await;
    for gone in [lease, LeaseId(0x5eed_0000_0004)] {
        match store.renew(gone, Duration::from_secs(5)).await {
            Err(StoreError::LeaseGone(which)) => assert_eq!(which, gone),
            other => panic!("expected LeaseGone, got {other:?}"),
        }
    }
}

/// A put without a lease takes the key out of its lease.
pub async fn a_key_follows_its_last_put_from_lease_to_lease(store: Arc<dyn Store>, keys: Keys) {
    let (first, second) = (grant(&store, 60).await, grant(&store, 60).await);
    let (moved, freed) = (keys.runs.key("moved"), keys.runs.key("freed"));
    done(&store, always(vec![put_under(first, &moved), put_under(first, &freed)])).await;
    done(&store, always(vec![put_under(second, &moved), put(&freed, "free")])).await;
    store.revoke(first).await.expect("the lease is revoked");
    assert_eq!(read(&store, &moved).await.and_then(|entry| entry.lease), Some(second));
    assert_eq!(read(&store, &freed).await.map(|entry| entry.lease), Some(None));
    store.revoke(second).await.expect("the lease is revoked");
    assert_eq!(read(&store, &moved).await, None);
    assert!(read(&store, &freed).await.is_some());
}
