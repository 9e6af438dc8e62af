//! The suite that every [`Store`] passes, so that no two adapters drift apart.
//!
//! A test crate names a factory and gets one `#[tokio::test]` a case:
//!
//! ```ignore
//! async fn etcd() -> (Arc<dyn Store>, Keys) { /* a store, and keys under a root of their own */ }
//! common::store_conformance!(etcd);
//! ```
//!
//! The factory is called once a case. The stores may share one server: a case looks only below its own
//! [`Keys::root`], and expects of revisions only that they grow. What takes a restart of the server is in
//! [`restarts`], as functions that are called with a closure which restarts it. Time is the real one here;
//! leases are a few seconds long.
//!
//! A case panics when the store does not behave.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use tokio::time::timeout;

use super::{
    Compare, Entry, Event, Events, Key, LeaseId, Op, OpOutcome, Prefix, Revision, Store, StoreError, Txn,
    TxnOutcome, key::Keys,
};

pub mod leases;
pub mod listing;
pub mod restarts;
pub mod transactions;
pub mod watching;

/// Makes one test of each case. The argument is the path of an `async fn() -> (Arc<dyn Store>, Keys)`.
#[macro_export]
macro_rules! store_conformance {
    ($factory:path) => {
        $crate::store_conformance! { $factory,
            transactions: [
                a_compare_on_a_missing_key_sees_revision_zero_and_no_value,
                create_revision_not_holds_for_a_missing_key,
                values_compare_bytewise,
                a_key_keeps_its_create_revision_until_it_is_deleted,
                equal_keys_in_a_batch_are_refused_and_nothing_is_written,
                one_key_in_both_branches_is_no_clash,
                too_many_operations_are_refused,
                a_value_that_is_too_large_is_refused,
                compares_see_the_state_before_and_gets_the_running_one,
                a_batch_writes_at_one_revision,
                each_nested_transaction_has_its_own_outcome,
                the_other_branch_reads_what_was_in_the_way,
                deleting_a_missing_key_writes_nothing,
                a_large_value_comes_back_whole,
                a_batch_of_120_claims_is_one_transaction,
                of_concurrent_swaps_exactly_one_wins,
            ],
            leases: [
                a_lease_that_ends_removes_all_its_keys_in_one_revision,
                revoking_removes_all_keys_in_one_revision_and_can_be_repeated,
                a_put_under_a_lease_that_is_gone_fails_the_whole_transaction,
                a_lease_in_the_branch_not_taken_does_not_matter,
                a_renewed_lease_outlives_one_that_is_not,
                renewing_a_lease_that_ended_says_so,
                a_key_follows_its_last_put_from_lease_to_lease,
            ],
            listing: [
                a_listing_is_in_the_order_of_the_keys_and_comes_in_pages,
                a_page_at_a_revision_shows_that_revision,
                unicode_keys_are_kept_and_sorted_bytewise,
                a_listing_stays_within_its_prefix,
            ],
            watching: [
                a_watch_from_now_shows_what_comes,
                a_watch_from_the_past_begins_there,
                a_watch_shows_put_delete_put_in_order,
                a_watch_never_shows_part_of_a_revision,
                a_watch_stays_within_its_prefix,
                a_watch_from_a_future_revision_is_noticed,
                a_listing_and_a_watch_miss_and_repeat_nothing_among_writers,
                following_yields_a_reset_and_then_events,
            ],
        }
    };
    ($factory:path, $($module:ident: [$($case:ident),+ $(,)?]),+ $(,)?) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, keys) = $factory().await;
                $crate::store::conformance::$module::$case(store, keys).await;
            }
        )+)+
    };
}

/// How long a case waits for what has to come.
const DEADLINE: Duration = Duration::from_secs(30);

type Watch = BoxStream<'static, Result<Events, StoreError>>;

fn put(key: &Key, value: impl AsRef<[u8]>) -> Op {
    Op::Put(key.clone(), value.as_ref().to_vec(), None)
}

fn put_under(lease: LeaseId, key: &Key) -> Op {
    Op::Put(key.clone(), b"leased".to_vec(), Some(lease))
}

fn always(then: Vec<Op>) -> Txn {
    Txn::when(Vec::new(), then)
}

async fn done(store: &Arc<dyn Store>, txn: Txn) -> TxnOutcome {
    store.txn(txn).await.expect("the transaction is done")
}

/// Writes one key and tells the revision.
async fn write(store: &Arc<dyn Store>, key: &Key, value: impl AsRef<[u8]>) -> Revision {
    done(store, always(vec![put(key, value)])).await.revision
}

async fn read(store: &Arc<dyn Store>, key: &Key) -> Option<Entry> {
    store.get(key).await.expect("the key is read").0
}

/// Whether all of these compares hold now.
async fn holds(store: &Arc<dyn Store>, compares: Vec<Compare>) -> bool {
    done(store, Txn::when(compares, Vec::new())).await.succeeded
}

async fn is_refused(store: &Arc<dyn Store>, txn: Txn) -> bool {
    match store.txn(txn).await {
        Err(StoreError::Refused(_)) => true,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

async fn grant(store: &Arc<dyn Store>, seconds: u64) -> LeaseId {
    let (lease, ttl) = store.grant(Duration::from_secs(seconds)).await.expect("the lease is granted");
    assert!(ttl >= Duration::from_secs(seconds), "asked for {seconds} s, got {ttl:?}");
    lease
}

/// The next changes that are more than a sign of life.
async fn next_events(watch: &mut Watch) -> Events {
    let next = async {
        loop {
            match watch.next().await {
                Some(Ok(events)) if events.events.is_empty() => {}
                Some(Ok(events)) => return events,
                Some(Err(error)) if error.is_passing() => {}
                other => panic!("the watch ended: {other:?}"),
            }
        }
    };
    timeout(DEADLINE, next).await.expect("the watch shows a change in time")
}

/// The next events, at least `count` of them. Checks that none comes late or out of order.
async fn next_events_of(watch: &mut Watch, count: usize) -> Vec<Event> {
    let mut all = Vec::new();
    let mut completed = Revision::NONE;
    while all.len() < count {
        let events = next_events(watch).await;
        assert!(events.revision > completed, "revision {} after {completed}", events.revision);
        for event in &events.events {
            let at = revision_of(event);
            assert!(
                at > completed && at <= events.revision,
                "{at} between {completed} and {}",
                events.revision
            );
        }
        completed = events.revision;
        all.extend(events.events);
    }
    all
}

fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put(entry) => entry.mod_revision,
        Event::Deleted(_, revision) => *revision,
    }
}

fn everything(keys: &Keys) -> &Prefix {
    &keys.root
}

/// The result of the `n`th operation, which is a transaction.
fn inner(outcome: &TxnOutcome, n: usize) -> &TxnOutcome {
    match outcome.results.get(n) {
        Some(OpOutcome::Txn(inner)) => inner,
        other => panic!("result {n} is {other:?}, not a transaction's"),
    }
}
