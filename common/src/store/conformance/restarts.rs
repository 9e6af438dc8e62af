//! What outlasts a restart of the server, or of the process that an embedded store lives in.
//!
//! `restart` is given the store and answers with the one to go on with: for a server that may be the same one,
//! for an embedded store it is one opened again, after the old one was dropped.

use super::*;
use crate::store::list_all;

/// Accepted is written: keys, values and revisions are all as they were, and the next revision is higher.
pub async fn what_was_written_is_there_after_a_restart(
    store: Arc<dyn Store>,
    keys: Keys,
    restart: impl AsyncFnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) {
    write(&store, &keys.jobs.key("changed"), "1").await;
    write(&store, &keys.jobs.key("changed"), "2").await;
    write(&store, &keys.jobs.key("データ"), [0, 159, 146, 150]).await;
    write(&store, &keys.jobs.key("gone"), "x").await;
    let last = done(&store, always(vec![Op::Delete(keys.jobs.key("gone"))])).await.revision;
    let (before, _) = list_all(&*store, everything(&keys)).await.expect("all is listed");
    assert_eq!(before.len(), 2);

    let store = restart(store).await;
    let (after, revision) = list_all(&*store, everything(&keys)).await.expect("all is listed");
    assert_eq!(after, before);
    assert!(revision >= last);
    assert!(write(&store, &keys.jobs.key("next"), "x").await > last);
}

/// A lease does not age while the store is away, and starts over when it is back: a worker must not lose its
/// lease to an outage of the store that it could not have bridged.
pub async fn leases_come_back_with_their_full_time(
    store: Arc<dyn Store>,
    keys: Keys,
    restart: impl AsyncFnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) {
    let (old, clock, new) = (keys.workers.key("old"), keys.workers.key("clock"), keys.workers.key("new"));
    let lease = grant(&store, 6).await;
    let timer = grant(&store, 3).await;
    let at = done(&store, always(vec![put_under(lease, &old), put_under(timer, &clock)])).await.revision;
    // When this one ends, the first lease has less than half of its time left.
    next_events(&mut store.watch(&keys.workers, at + 1)).await;

    let store = restart(store).await;
    let later = grant(&store, 4).await;
    let at = done(&store, always(vec![put_under(later, &new)])).await.revision;
    assert_eq!(read(&store, &old).await.and_then(|entry| entry.lease), Some(lease));
    let ends = next_events_of(&mut store.watch(&keys.workers, at + 1), 2).await;
    assert_eq!(
        ends.iter().map(Event::key).collect::<Vec<_>>(),
        [&new, &old],
        "the old lease has its 6 s again"
    );
}

/// Whoever holds a lease renews it through a restart without noticing.
pub async fn a_lease_is_renewed_after_a_restart(
    store: Arc<dyn Store>,
    keys: Keys,
    restart: impl AsyncFnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
) {
    let key = keys.workers.key("w");
    let lease = grant(&store, 30).await;
    done(&store, always(vec![put_under(lease, &key)])).await;
    let store = restart(store).await;
    let ttl = store.renew(lease, Duration::from_secs(5)).await.expect("the lease is renewed");
    assert!(ttl >= Duration::from_secs(30), "{ttl:?}");
    store.revoke(lease).await.expect("the lease is revoked");
    assert_eq!(read(&store, &key).await, None);
}
