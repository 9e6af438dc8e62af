//! What a transaction reads, writes and refuses.

use super::*;
use crate::{revision::Revision, store::MAX_TXN_OPS};

/// etcd has both rules: a missing key's revisions are 0, and a compare on its value fails, whatever it asks.
pub async fn a_compare_on_a_missing_key_sees_revision_zero_and_no_value(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("missing");
    assert!(holds(&store, vec![Compare::ModRevision(key.clone(), Revision::NONE)]).await);
    assert!(holds(&store, vec![Compare::CreateRevision(key.clone(), Revision::NONE)]).await);
    assert!(!holds(&store, vec![Compare::ModRevision(key.clone(), Revision::new(1))]).await);
    assert!(!holds(&store, vec![Compare::ValueGreater(key.clone(), Vec::new())]).await);
    assert!(!holds(&store, vec![Compare::ValueLess(key, b"\xff".to_vec())]).await);
}

/// What a take-over asks: the holder's registration is not the one recorded.
pub async fn create_revision_not_holds_for_a_missing_key(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.workers.key("w");
    assert!(holds(&store, vec![Compare::CreateRevisionNot(key.clone(), Revision::new(7))]).await);
    assert!(!holds(&store, vec![Compare::CreateRevisionNot(key.clone(), Revision::NONE)]).await);
    let created = write(&store, &key, "here").await;
    assert!(!holds(&store, vec![Compare::CreateRevisionNot(key.clone(), created)]).await);
    assert!(holds(&store, vec![Compare::CreateRevisionNot(key, created - 1)]).await);
}

/// A held lock (`~`) sorts behind every instant; a longer value behind its beginning.
pub async fn values_compare_bytewise(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.locks.key("job");
    let greater = |than: &[u8]| vec![Compare::ValueGreater(key.clone(), than.to_vec())];
    let less = |than: &[u8]| vec![Compare::ValueLess(key.clone(), than.to_vec())];
    write(&store, &key, "2026-11-22T01:02:03Z {}").await;
    assert!(holds(&store, greater(b"2026-11-22T01:02:03Z")).await);
    assert!(!holds(&store, less(b"2026-11-22T01:02:03Z")).await);
    assert!(holds(&store, less(b"2026-11-22T01:02:04Z")).await);
    assert!(!holds(&store, greater(b"2026-11-22T01:02:03Z {}")).await, "equal is not greater");
    assert!(!holds(&store, less(b"2026-11-22T01:02:03Z {}")).await, "equal is not less");
    write(&store, &key, "~ {}").await;
    assert!(!holds(&store, less(b"9999-12-31T23:59:59Z")).await);
    write(&store, &key, [0xff, 0x00]).await;
    assert!(holds(&store, greater(b"~")).await, "bytes have no sign");
}

/// Deleted and created again, it is another one.
pub async fn a_key_keeps_its_create_revision_until_it_is_deleted(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("a");
    let first = write(&store, &key, "1").await;
    let second = write(&store, &key, "2").await;
    assert!(second > first);
    let entry = read(&store, &key).await.expect("it exists");
    assert_eq!((entry.create_revision, entry.mod_revision), (first, second));
    assert_eq!((&*entry.value, entry.lease), (&b"2"[..], None));
    let deleted = done(&store, always(vec![Op::Delete(key.clone())])).await;
    assert_eq!(deleted.results, [OpOutcome::Deleted(true)]);
    assert!(deleted.revision > second);
    assert_eq!(read(&store, &key).await, None);
    let third = write(&store, &key, "3").await;
    let entry = read(&store, &key).await.expect("it exists again");
    assert_eq!((entry.create_revision, entry.mod_revision), (third, third));
}

/// At one level, across levels, and as put and delete; whichever branches would be taken.
pub async fn equal_keys_in_a_batch_are_refused_and_nothing_is_written(store: Arc<dyn Store>, keys: Keys) {
    let (key, other) = (keys.jobs.key("a"), keys.jobs.key("b"));
    let nested = |op: Op| Op::Txn(always(vec![op]));
    let clashes = [
        vec![put(&other, "x"), put(&key, "1"), put(&key, "2")],
        vec![put(&other, "x"), nested(put(&key, "1")), nested(put(&key, "2"))],
        vec![put(&other, "x"), nested(put(&key, "1")), put(&key, "2")],
        vec![put(&other, "x"), Op::Delete(key.clone()), put(&key, "2")],
        vec![put(&other, "x"), nested(Op::Delete(key.clone())), nested(put(&key, "2"))],
    ];
    for ops in clashes {
        assert!(is_refused(&store, always(ops.clone())).await, "{ops:?}");
        let never = Txn {
            compares: vec![Compare::ModRevision(key.clone(), Revision::new(1))],
            then: ops,
            otherwise: vec![],
        };
        assert!(is_refused(&store, never).await, "also in the branch that is not taken");
    }
    assert_eq!(read(&store, &other).await, None, "nothing of a refused transaction is written");
}

/// Only one of the two is ever done.
pub async fn one_key_in_both_branches_is_no_clash(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("a");
    let create = Txn {
        compares: vec![Compare::ModRevision(key.clone(), Revision::NONE)],
        then: vec![put(&key, "created")],
        otherwise: vec![Op::Delete(key.clone())],
    };
    for expected in [OpOutcome::Put, OpOutcome::Deleted(true), OpOutcome::Put] {
        let outcome = done(&store, always(vec![Op::Txn(create.clone())])).await;
        assert_eq!(inner(&outcome, 0).results, [expected]);
    }
}

/// The limit keeps one transaction from holding up all others.
pub async fn too_many_operations_are_refused(store: Arc<dyn Store>, keys: Keys) {
    let ops = |count: usize| (0..count).map(|n| put(&keys.jobs.key(n), "x")).collect::<Vec<_>>();
    assert!(is_refused(&store, always(ops(129))).await);
    assert_eq!(read(&store, &keys.jobs.key(0)).await, None);
    let outcome = done(&store, always(ops(MAX_TXN_OPS))).await;
    assert_eq!(outcome.results.len(), MAX_TXN_OPS);
}

/// It will not fit the next time either.
pub async fn a_value_that_is_too_large_is_refused(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("huge");
    assert!(is_refused(&store, always(vec![put(&key, vec![b'x'; 1_700_000])])).await);
    assert_eq!(read(&store, &key).await, None);
}

/// This is what lets a batch hold transactions that do not know of each other.
pub async fn compares_see_the_state_before_and_gets_the_running_one(store: Arc<dyn Store>, keys: Keys) {
    let (key, seen) = (keys.jobs.key("a"), keys.jobs.key("seen"));
    let before = write(&store, &key, "old").await;
    let if_unchanged =
        Txn::when(vec![Compare::ModRevision(key.clone(), before)], vec![put(&seen, "unchanged")]);
    let outcome = done(
        &store,
        always(vec![Op::Get(key.clone()), put(&key, "new"), Op::Get(key.clone()), Op::Txn(if_unchanged)]),
    )
    .await;
    assert_eq!(outcome.got(0).map(|entry| &*entry.value), Some(&b"old"[..]));
    let running = outcome.got(2).expect("it is read as it was just written");
    assert_eq!((&*running.value, running.mod_revision), (&b"new"[..], outcome.revision));
    assert_eq!(running.create_revision, before);
    assert!(inner(&outcome, 3).succeeded, "the compare saw the key as it was before");
}

/// So a watcher sees all of a batch or nothing.
pub async fn a_batch_writes_at_one_revision(store: Arc<dyn Store>, keys: Keys) {
    let before = write(&store, &keys.jobs.key(0), "x").await;
    let nested = |n: u32| Op::Txn(always(vec![put(&keys.jobs.key(n), "x")]));
    let outcome = done(&store, always(vec![put(&keys.jobs.key(1), "x"), nested(2), nested(3)])).await;
    assert!(outcome.revision > before);
    assert_eq!(inner(&outcome, 1).revision, outcome.revision, "inner outcomes carry the whole's revision");
    for n in 1..=3 {
        let entry = read(&store, &keys.jobs.key(n)).await.expect("it was written");
        assert_eq!((entry.create_revision, entry.mod_revision), (outcome.revision, outcome.revision));
    }
}

/// One claim that is lost loses nothing else.
pub async fn each_nested_transaction_has_its_own_outcome(store: Arc<dyn Store>, keys: Keys) {
    let (won, lost) = (keys.locks.key("won"), keys.locks.key("lost"));
    let taken = write(&store, &lost, "taken").await;
    let claim = |key: &Key| {
        Op::Txn(
            Txn::when(vec![Compare::ModRevision(key.clone(), Revision::NONE)], vec![put(key, "mine")])
                .or_get(key.clone()),
        )
    };
    let outcome = done(&store, always(vec![claim(&lost), claim(&won)])).await;
    assert!(outcome.succeeded);
    assert!(!inner(&outcome, 0).succeeded);
    assert_eq!(inner(&outcome, 0).got(0).map(|entry| entry.mod_revision), Some(taken));
    assert!(inner(&outcome, 1).succeeded);
    assert_eq!(inner(&outcome, 1).results, [OpOutcome::Put]);
    assert_eq!(read(&store, &won).await.map(|entry| entry.mod_revision), Some(outcome.revision));
}

/// A failed compare costs no second round trip. A transaction that wrote nothing shows a revision all the same.
pub async fn the_other_branch_reads_what_was_in_the_way(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.locks.key("job");
    let at = write(&store, &key, "held").await;
    let claim = Txn::when(vec![Compare::ModRevision(key.clone(), at - 1)], vec![put(&key, "mine")]);
    let outcome = done(&store, claim.or_get(key.clone())).await;
    assert!(!outcome.succeeded && outcome.revision >= at);
    assert_eq!(outcome.got(0).map(|entry| (&*entry.value, entry.mod_revision)), Some((&b"held"[..], at)));
}

/// Also shows that a missing key reads as none.
pub async fn deleting_a_missing_key_writes_nothing(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("missing");
    let outcome = done(&store, always(vec![Op::Delete(key.clone()), Op::Get(key.clone())])).await;
    assert_eq!(outcome.results, [OpOutcome::Deleted(false), OpOutcome::Got(None)]);
    let (entry, revision) = store.get(&key).await.expect("the key is read");
    assert_eq!(entry, None);
    assert!(revision >= outcome.revision);
}

/// All byte values, 100 KiB.
pub async fn a_large_value_comes_back_whole(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("large");
    let value: Vec<u8> = (0..=u8::MAX).cycle().take(100 * 1024).collect();
    write(&store, &key, &value).await;
    assert_eq!(read(&store, &key).await.map(|entry| entry.value.to_vec()), Some(value));
}

/// A batch of claims at its largest: two compares and two puts each, under one guard.
pub async fn a_batch_of_120_claims_is_one_transaction(store: Arc<dyn Store>, keys: Keys) {
    let me = keys.workers.key("me");
    let created = write(&store, &me, "here").await;
    let claim = |n: usize| {
        let (lock, run) = (keys.locks.key(n), keys.runs.key(n));
        let compares = vec![
            Compare::ModRevision(lock.clone(), Revision::NONE),
            Compare::CreateRevision(run.clone(), Revision::NONE),
        ];
        Op::Txn(Txn::when(compares, vec![put(&lock, "~ {}"), put(&run, "{}")]).or_get(lock))
    };
    let guard = vec![Compare::CreateRevision(me, created)];
    let batch = Txn::when(guard, (0..120).map(claim).collect());
    let first = done(&store, batch.clone()).await;
    assert!(first.succeeded && (0..120).all(|n| inner(&first, n).succeeded));
    let again = done(&store, batch).await;
    assert!(again.succeeded && (0..120).all(|n| !inner(&again, n).succeeded), "each is claimed once");
    let locks = store.list(&keys.locks, None, 1000, None).await.expect("the locks are listed");
    assert_eq!(locks.entries.len(), 120);
    assert!(locks.entries.iter().all(|entry| entry.mod_revision == first.revision));
}

/// The promise that all others stand on.
pub async fn of_concurrent_swaps_exactly_one_wins(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.locks.key("job");
    let mut seen = write(&store, &key, "free").await;
    for round in 0..10 {
        let swaps: Vec<_> = (0..8)
            .map(|worker| {
                let (store, key) = (store.clone(), key.clone());
                let swap = Txn::when(
                    vec![Compare::ModRevision(key.clone(), seen)],
                    vec![put(&key, format!("{round}/{worker}"))],
                );
                tokio::spawn(async move { (worker, done(&store, swap).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for swap in swaps {
            let (worker, outcome) = swap.await.expect("the task ends");
            winners.extend(outcome.succeeded.then_some((worker, outcome.revision)));
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        let entry = read(&store, &key).await.expect("the key exists");
        assert_eq!(&*entry.value, format!("{round}/{}", winners[0].0).as_bytes());
        assert_eq!(entry.mod_revision, winners[0].1);
        seen = entry.mod_revision;
    }
}
