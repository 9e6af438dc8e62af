//! The store on real etcd: the suite that every store passes, and what etcd alone can do to its users: die, freeze,
//! restart, compact, change its leader, ask for a password, come back from an old copy.

use std::{fmt::Debug, sync::Arc, time::Duration};

use common::store::{
    Change, Compare, Event, Events, Key, Op, Revision, Store, StoreError, Txn,
    conformance::restarts,
    etcd::{EtcdConfig, EtcdStore},
    follow,
    key::Keys,
    list_all,
};
use etcd_client::{Permission, PermissionType};
use futures::{StreamExt, stream::BoxStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{
    link::Link,
    peers::Severed,
    servers::{Etcd, EtcdCluster, EtcdVersion, shared_etcd, shared_etcd_35, unique_keys},
};

/// How long anything here may take, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

mod v34 {
    use super::*;

    async fn etcd_34() -> (Arc<dyn Store>, Keys) {
        (store_at([shared_etcd().await]).await, unique_keys())
    }

    common::store_conformance!(etcd_34);
}

mod v35 {
    use super::*;

    async fn etcd_35() -> (Arc<dyn Store>, Keys) {
        (store_at([shared_etcd_35().await]).await, unique_keys())
    }

    common::store_conformance!(etcd_35);
}

fn config(endpoints: impl IntoIterator<Item = String>) -> EtcdConfig {
    EtcdConfig { endpoints: endpoints.into_iter().collect(), ..EtcdConfig::default() }
}

async fn store_at(endpoints: impl IntoIterator<Item = String>) -> Arc<dyn Store> {
    Arc::new(EtcdStore::connect(config(endpoints)).await.expect("the configuration is right"))
}

fn put(key: &Key, value: &str) -> Txn {
    Txn::when(Vec::new(), vec![Op::Put(key.clone(), value.into(), None)])
}

async fn write(store: &dyn Store, key: &Key, value: &str) -> Revision {
    eventually("a write succeeds", async || store.txn(put(key, value)).await).await.revision
}

/// Tries until it succeeds.
async fn eventually<T, E: Debug>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{what}: {error:?}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

/// The next changes, passing over signs of life and passing errors.
async fn next_events(watch: &mut BoxStream<'static, Result<Events, StoreError>>) -> Events {
    in_time("the watch shows a change", async {
        loop {
            match watch.next().await {
                Some(Ok(events)) if events.events.is_empty() => {}
                Some(Ok(events)) => return events,
                Some(Err(error)) if error.is_passing() => {}
                other => panic!("the watch ended: {other:?}"),
            }
        }
    })
    .await
}

fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put(entry) => entry.mod_revision,
        Event::Deleted(_, revision) => *revision,
    }
}

/// The error that ends a watch.
async fn end_of(watch: &mut BoxStream<'static, Result<Events, StoreError>>) -> StoreError {
    in_time("the watch ends", async {
        loop {
            match watch.next().await {
                Some(Err(error)) if !error.is_passing() => return error,
                Some(_) => {}
                None => panic!("the watch ended without a reason"),
            }
        }
    })
    .await
}

/// A port where nobody listens.
async fn dead_endpoint() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
    listener.local_addr().expect("the listener has an address").to_string()
}

#[tokio::test]
async fn what_was_written_survives_a_restart_of_etcd() {
    let mut etcd = Etcd::start(EtcdVersion::V34).await;
    let store = store_at([etcd.endpoint()]).await;
    restarts::what_was_written_is_there_after_a_restart(store, unique_keys(), async |store| {
        etcd.restart().await;
        store
    })
    .await;
}

#[tokio::test]
async fn leases_have_their_full_time_after_a_restart_of_etcd() {
    let mut etcd = Etcd::start(EtcdVersion::V34).await;
    let store = store_at([etcd.endpoint()]).await;
    restarts::leases_come_back_with_their_full_time(store, unique_keys(), async |store| {
        etcd.restart().await;
        store
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_through_a_restart_of_etcd() {
    let mut etcd = Etcd::start(EtcdVersion::V35).await;
    let store = store_at([etcd.endpoint()]).await;
    restarts::a_lease_is_renewed_after_a_restart(store, unique_keys(), async |store| {
        etcd.restart().await;
        store
    })
    .await;
}

#[tokio::test]
async fn a_renewal_on_a_stream_that_a_restart_broke_succeeds() {
    let mut etcd = Etcd::start(EtcdVersion::V34).await;
    let store = store_at([etcd.endpoint()]).await;
    let (lease, granted) = store.grant(Duration::from_secs(30)).await.unwrap();
    store.renew(lease, DEADLINE).await.unwrap();
    etcd.restart().await;
    assert_eq!(store.renew(lease, DEADLINE).await.unwrap(), granted);
}

#[tokio::test]
async fn a_store_waits_for_an_etcd_that_is_away_at_the_start() {
    let mut etcd = Etcd::start(EtcdVersion::V34).await;
    etcd.kill_9();
    let store = store_at([etcd.endpoint()]).await;
    let keys = unique_keys();
    let key = keys.jobs.key("a");
    assert!(matches!(store.get(&key).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.txn(put(&key, "1")).await, Err(StoreError::Unavailable(_))), "it was not sent");
    assert!(store.status().await.unwrap_err().chain().contains("Connection refused"));
    let mut watch = store.watch(&keys.jobs, Revision::new(1));
    let first = in_time("the watch says that the store is away", watch.next()).await;
    assert!(matches!(first, Some(Err(StoreError::Unavailable(_)))), "{first:?}");
    etcd.restart().await;
    write(&*store, &key, "1").await;
    assert_eq!(next_events(&mut watch).await.events.len(), 1);
}

#[tokio::test]
async fn a_dead_endpoint_among_several_is_passed_over() {
    let store = store_at([dead_endpoint().await, shared_etcd().await, dead_endpoint().await]).await;
    let keys = unique_keys();
    let key = keys.jobs.key("a");
    for n in 0..20 {
        store.txn(put(&key, &n.to_string())).await.unwrap();
        assert!(store.get(&key).await.unwrap().0.is_some());
    }
    let (lease, _) = store.grant(Duration::from_secs(10)).await.unwrap();
    store.renew(lease, DEADLINE).await.unwrap();
    store.revoke(lease).await.unwrap();
    next_events(&mut store.watch(&keys.jobs, Revision::new(1))).await;
    let status = store.status().await.unwrap();
    assert!(status.starts_with("etcd 3.") && status.contains("3 endpoints, 1 answers"), "{status}");
}

#[tokio::test]
async fn a_watch_goes_on_without_a_gap_over_restarts_of_etcd() {
    let mut etcd = Etcd::start(EtcdVersion::V34).await;
    let store = store_at([etcd.endpoint()]).await;
    let keys = unique_keys();
    let first = write(&*store, &keys.jobs.key("first"), "x").await;
    let mut watch = store.watch(&keys.jobs, first + 1);
    let mut written = Vec::new();
    for round in 0..3 {
        for n in 0..3 {
            written.push(write(&*store, &keys.jobs.key(n), &round.to_string()).await);
        }
        etcd.restart().await;
    }
    written.push(write(&*store, &keys.jobs.key("last"), "x").await);
    let mut seen = Vec::new();
    while seen.len() < written.len() {
        seen.extend(next_events(&mut watch).await.events.iter().map(revision_of));
    }
    assert_eq!(seen, written);
}

#[tokio::test]
async fn a_frozen_etcd_holds_nobody_up() {
    let etcd = Etcd::start(EtcdVersion::V34).await;
    let impatient = EtcdConfig { request_timeout: Duration::from_millis(500), ..config([etcd.endpoint()]) };
    let store = EtcdStore::connect(impatient).await.unwrap();
    let keys = unique_keys();
    let key = keys.jobs.key("a");
    let revision = write(&store, &key, "1").await;
    let (lease, _) = store.grant(Duration::from_secs(60)).await.unwrap();
    let mut watch = store.watch(&keys.jobs, revision);
    next_events(&mut watch).await;
    etcd.freeze().await;
    in_time("everything ends", async {
        assert!(
            matches!(store.txn(put(&key, "2")).await, Err(StoreError::Ambiguous(_))),
            "it may have been sent"
        );
        assert!(matches!(store.get(&key).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.list(&keys.jobs, None, 1, None).await, Err(StoreError::Unavailable(_))));
        assert!(store.renew(lease, Duration::from_millis(200)).await.unwrap_err().is_passing());
        assert!(store.revoke(lease).await.unwrap_err().is_passing());
        assert!(store.grant(Duration::from_secs(5)).await.unwrap_err().is_passing());
        assert!(store.status().await.is_err());
        while !matches!(watch.next().await, Some(Err(StoreError::Unavailable(_)))) {}
    })
    .await;
    etcd.thaw();
    let revision = write(&store, &key, "3").await;
    while next_events(&mut watch).await.revision < revision {}
}

#[tokio::test]
async fn a_frozen_member_is_left_for_another() {
    let mut cluster = EtcdCluster::start(3).await;
    let store = store_at(cluster.endpoints()).await;
    let keys = unique_keys();
    let key = keys.jobs.key("a");
    let revision = write(&*store, &key, "1").await;
    let mut watch = store.watch(&keys.jobs, revision);
    next_events(&mut watch).await;
    // All requests went to the first member so far.
    cluster.member(0).freeze().await;
    let (lease, _) =
        eventually("a lease is granted", async || store.grant(Duration::from_secs(60)).await).await;
    let revision = write(&*store, &key, "2").await;
    while next_events(&mut watch).await.revision < revision {}
    store.renew(lease, DEADLINE).await.unwrap();
    cluster.member(0).thaw();
}

#[tokio::test]
async fn work_goes_on_when_the_leader_of_three_members_is_killed() {
    let mut cluster = EtcdCluster::start(3).await;
    let store = store_at(cluster.endpoints()).await;
    let keys = unique_keys();
    let start = write(&*store, &keys.jobs.key("start"), "x").await;
    let mut watch = store.watch(&keys.jobs, start + 1);
    let (lease, _) = store.grant(Duration::from_secs(20)).await.unwrap();
    let leader = cluster.leader().await;
    cluster.member(leader).kill_9();
    // Put only if it is not there: counts each write once, whatever became of an earlier attempt.
    for n in 0..20 {
        let key = keys.jobs.key(n);
        let txn = Txn::when(
            vec![Compare::ModRevision(key.clone(), Revision::NONE)],
            vec![Op::Put(key, b"x".to_vec(), None)],
        );
        eventually("a write succeeds", async || store.txn(txn.clone()).await).await;
    }
    eventually("the lease is renewed", async || store.renew(lease, Duration::from_secs(2)).await).await;
    let mut seen = 0;
    while seen < 20 {
        seen += next_events(&mut watch).await.events.len();
    }
    assert_eq!(seen, 20);
    let status = eventually("the status is told", async || store.status().await).await;
    assert!(status.contains("3 endpoints, 2 answer"), "{status}");
}

#[tokio::test]
async fn work_goes_on_when_the_leader_of_three_members_is_cut_off_from_the_others() {
    for how in [Severed::Cut, Severed::Silent] {
        let cluster = EtcdCluster::start_linked(3).await;
        let leader = cluster.leader().await;
        // All requests and the watch go to the first endpoint, as long as that answers.
        let mut endpoints = cluster.endpoints();
        endpoints.swap(0, leader);
        let store = store_at(endpoints).await;
        let keys = unique_keys();
        let start = write(&*store, &keys.jobs.key("start"), "x").await;
        let mut watch = store.watch(&keys.jobs, start);
        next_events(&mut watch).await;
        let (lease, _) = store.grant(Duration::from_secs(60)).await.unwrap();
        assert_eq!(cluster.sever_leader(how).await, leader);
        // Put only if it is not there: what a member without a majority took must not count beside what counts.
        let put = |n: usize| {
            let key = keys.jobs.key(n);
            let absent = vec![Compare::ModRevision(key.clone(), Revision::NONE)];
            Txn::when(absent, vec![Op::Put(key, b"x".to_vec(), None)])
        };
        for n in 0..5 {
            eventually("a write succeeds", async || store.txn(put(n)).await).await;
        }
        eventually("the lease is renewed", async || store.renew(lease, Duration::from_secs(2)).await).await;
        let mut seen = 0;
        while seen < 5 {
            seen += next_events(&mut watch).await.events.len();
        }
        let another_leads = async {
            while cluster.leader().await == leader {
                sleep(Duration::from_millis(50)).await;
            }
        };
        in_time("another member leads", Box::pin(another_leads)).await;
        cluster.mend_peers().await;
        cluster.wait_ready().await;
        // The one that was cut off has caught up, and knows each write once.
        let behind = store_at([cluster.endpoints().swap_remove(leader)]).await;
        let listed = eventually("it lists", async || behind.list(&keys.jobs, None, 9, None).await).await;
        assert_eq!((listed.entries.len(), seen), (6, 5));
    }
}

#[tokio::test]
async fn a_follower_that_missed_a_compaction_lists_again() {
    let etcd = Etcd::start(EtcdVersion::V34).await;
    let direct = store_at([etcd.endpoint()]).await;
    let link = Link::to(etcd.endpoint()).await;
    let store = store_at([link.address()]).await;
    let keys = unique_keys();
    let shutdown = CancellationToken::new();
    let mut changes = follow(store, keys.jobs.clone(), shutdown.clone());
    assert!(
        matches!(in_time("a listing", changes.recv()).await, Some(Change::Reset(entries, _)) if entries.is_empty())
    );
    write(&*direct, &keys.jobs.key("a"), "1").await;
    in_time("the change is seen", async {
        while !matches!(changes.recv().await, Some(Change::Events(events)) if !events.events.is_empty()) {}
    })
    .await;
    link.cut();
    in_time("the cut is noticed", async { while !matches!(changes.recv().await, Some(Change::Stale(_))) {} })
        .await;
    write(&*direct, &keys.jobs.key("a"), "2").await;
    let revision = write(&*direct, &keys.jobs.key("b"), "1").await;
    etcd.client().await.compact(revision.get(), None).await.unwrap();
    assert!(matches!(
        direct.list(&keys.jobs, None, 9, Some(revision - 1)).await,
        Err(StoreError::Compacted(_))
    ));
    link.mend();
    in_time("a new listing", async {
        loop {
            match changes.recv().await {
                Some(Change::Reset(entries, _)) => return assert_eq!(entries.len(), 2),
                Some(Change::Events(events)) => {
                    assert!(events.events.is_empty(), "changes without a listing")
                }
                Some(_) => {}
                None => panic!("the following ended"),
            }
        }
    })
    .await;
    shutdown.cancel();
}

#[tokio::test]
async fn what_was_before_a_compaction_is_forgotten_and_doing_it_twice_is_no_error() {
    let etcd = Etcd::start(EtcdVersion::V34).await;
    let (store, keys) = (store_at([etcd.endpoint()]).await, unique_keys());
    let first = write(&*store, &keys.jobs.key("a"), "1").await;
    let second = write(&*store, &keys.jobs.key("a"), "2").await;
    for _ in 0..2 {
        eventually("it compacts", async || store.compact(second).await).await;
    }
    let listed = store.list(&keys.jobs, None, 10, Some(first)).await;
    assert!(matches!(listed, Err(StoreError::Compacted(_))), "{listed:?}");
    assert_eq!(list_all(&*store, &keys.jobs).await.unwrap().0.len(), 1);
    let ahead = store.compact(second + 1_000).await;
    assert!(matches!(ahead, Err(StoreError::Refused(_))), "{ahead:?}");
}

#[tokio::test]
async fn an_etcd_that_was_restored_from_a_copy_is_noticed_by_everyone_and_then_used() {
    let mut etcd = Etcd::start(EtcdVersion::V34).await;
    let store = store_at([etcd.endpoint()]).await;
    let keys = unique_keys();
    let key = keys.jobs.key("a");
    let mut revision = Revision::NONE;
    for n in 0..20 {
        revision = write(&*store, &key, &n.to_string()).await;
    }
    let mut watch = store.watch(&keys.jobs, revision);
    next_events(&mut watch).await;
    // The oldest possible copy: nothing.
    etcd.wipe();
    etcd.restart().await;
    let error = in_time("a read ends", async {
        loop {
            match store.get(&key).await {
                Err(error) if error.is_passing() => sleep(Duration::from_millis(20)).await,
                other => return other,
            }
        }
    })
    .await;
    // The watch may have been first to notice.
    if let Err(error) = error {
        assert!(matches!(error, StoreError::WentBack { seen, .. } if seen == revision), "{error:?}");
    }
    assert!(matches!(end_of(&mut watch).await, StoreError::WentBack { .. }));
    assert!(write(&*store, &key, "anew").await < revision);
    assert_eq!(list_all(&*store, &keys.jobs).await.unwrap().0.len(), 1);
}

#[tokio::test]
async fn a_user_gets_in_with_the_right_password_and_stays_in_over_a_restart() {
    let mut etcd = Etcd::start(EtcdVersion::V34).await;
    let keys = unique_keys();
    let mut client = etcd.client().await;
    let all_of = |keys: &Keys| {
        let permission = Permission::new(PermissionType::Readwrite, keys.root.as_bytes());
        permission.with_range_end(keys.root.end())
    };
    client.role_add("scheduler").await.unwrap();
    client.role_grant_permission("scheduler", all_of(&keys)).await.unwrap();
    for (user, role) in [("root", "root"), ("quorate", "scheduler")] {
        client.user_add(user, "right", None).await.unwrap();
        client.user_grant_role(user, role).await.unwrap();
    }
    let key = keys.jobs.key("a");
    let with = |password: &str| EtcdConfig {
        user: Some("quorate".into()),
        password: Some(password.into()),
        ..config([etcd.endpoint()])
    };
    let early = EtcdStore::connect(with("right")).await.unwrap();
    write(&early, &key, "a password before it is asked for is no error").await;
    client.auth_enable().await.unwrap();
    write(&early, &key, "and works when it is").await;

    let anonymous = store_at([etcd.endpoint()]).await;
    let error = anonymous.get(&key).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)) && error.chain().contains("--etcd-user"), "{error:?}");
    let wrong = EtcdStore::connect(with("wrong")).await.unwrap();
    let error = wrong.txn(put(&key, "x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)) && error.chain().contains("password"), "{error:?}");

    let store = EtcdStore::connect(with("right")).await.unwrap();
    let elsewhere = unique_keys().jobs.key("a");
    let error = store.txn(put(&elsewhere, "x")).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)) && error.chain().contains("grant"), "{error:?}");
    let mut watch = store.watch(&keys.jobs, write(&store, &key, "1").await);
    next_events(&mut watch).await;
    let (lease, _) = store.grant(Duration::from_secs(60)).await.unwrap();
    store.renew(lease, DEADLINE).await.unwrap();
    // etcd keeps its tokens in memory only.
    etcd.restart().await;
    write(&store, &key, "2").await;
    next_events(&mut watch).await;
    eventually("the lease is renewed", async || store.renew(lease, Duration::from_secs(2)).await).await;
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_certificate_authority_vouches_for() {
    let etcd = Etcd::start_with_tls().await;
    let key = unique_keys().jobs.key("a");
    let trusting = |ca| EtcdConfig { ca, ..config([format!("https://{}", etcd.endpoint())]) };
    let store = EtcdStore::connect(trusting(etcd.certificate())).await.unwrap();
    write(&store, &key, "1").await;

    let another = Etcd::start_with_tls().await;
    let stranger = EtcdStore::connect(trusting(another.certificate())).await.unwrap();
    let error = stranger.txn(put(&key, "2")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert!(error.chain().contains("certificate"), "{}", error.chain());

    let garbage = EtcdStore::connect(trusting(Some(b"no certificate".to_vec()))).await;
    let error = garbage.err().map(|error| error.chain()).unwrap_or_default();
    assert!(error.contains("-----BEGIN CERTIFICATE-----"), "{error}");
}

#[tokio::test]
async fn a_full_etcd_says_so() {
    let etcd = Etcd::start_with(EtcdVersion::V34, &["--quota-backend-bytes", "3000000"]).await;
    let store = store_at([etcd.endpoint()]).await;
    let keys = unique_keys();
    let large = "x".repeat(500_000);
    let error = in_time("etcd fills up", async {
        for n in 0.. {
            match store.txn(put(&keys.jobs.key(n), &large)).await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        unreachable!("an endless loop ends with its return")
    })
    .await;
    assert!(matches!(error, StoreError::Full(_)) && error.chain().contains("defragment"), "{error:?}");
    let status = store.status().await;
    let says = |error: &StoreError| error.chain().contains("NOSPACE") && error.chain().contains("defragment");
    assert!(matches!(&status, Err(full @ StoreError::Full(_)) if says(full)), "{status:?}");
}

#[tokio::test]
async fn a_quiet_watch_shows_signs_of_life() {
    let store = store_at([shared_etcd().await]).await;
    let keys = unique_keys();
    let revision = write(&*store, &keys.jobs.key("a"), "x").await;
    let mut watch = store.watch(&keys.jobs, revision + 1);
    for _ in 0..3 {
        let sign = in_time("a sign of life", watch.next()).await;
        assert!(matches!(&sign, Some(Ok(events)) if events.events.is_empty()), "{sign:?}");
    }
}

#[tokio::test]
async fn a_prefix_of_very_many_keys_is_listed_whole() {
    const BATCHES: usize = 500;
    const PAGE: usize = 7_000;
    let store = store_at([shared_etcd().await]).await;
    let keys = unique_keys();
    for batch in 0..BATCHES {
        let name = |n: usize| format!("{:03}-{:06}", batch % 7, (batch * 120 + n) * 7919 % 1_000_000);
        let ops = (0..120).map(|n| Op::Put(keys.jobs.key(name(n)), b"x".to_vec(), None)).collect();
        store.txn(Txn::when(Vec::new(), ops)).await.unwrap();
    }
    let (all, at) = list_all(&*store, &keys.jobs).await.unwrap();
    assert_eq!(all.len(), BATCHES * 120);
    assert!(all.is_sorted_by(|a, b| a.key < b.key));
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(&keys.jobs, after.as_ref(), PAGE, Some(at)).await.unwrap();
        assert!(!page.more || page.entries.len() == PAGE);
        paged.extend(page.entries);
        after = paged.last().map(|entry| entry.key.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!(paged, all);
}
