//! Sessions of a worker on an embedded store.

use common::{
    clock::SystemClock,
    store::{embedded::EmbeddedStore, key::Keys},
};

use super::*;
use crate::session::registry::Registry;

fn config(dir: &std::path::Path) -> Arc<WorkerConfig> {
    Arc::new(WorkerConfig {
        id: "w".parse().unwrap(),
        keys: Keys::new("/quorate/").unwrap(),
        labels: std::collections::BTreeMap::new(),
        slots: 1,
        lease_ttl: Duration::from_secs(15),
        hedge: Duration::from_millis(250),
        data_dir: dir.to_owned(),
        shell: "/bin/sh".into(),
        http_forbid: crate::driver::Forbidden::default(),
        engine: crate::driver::EngineAddress::default(),
        registry_auth: None,
        self_exe: "/bin/true".into(),
        address: String::new(),
        host: String::new(),
        version: String::new(),
        retention: Duration::from_secs(1),
    })
}

/// With a grace that is longer than these tests' patience.
fn with_long_grace(dir: &std::path::Path) -> Arc<WorkerConfig> {
    Arc::new(WorkerConfig { lease_ttl: Duration::from_secs(600), ..(*config(dir)).clone() })
}

const PATIENCE: Duration = Duration::from_secs(10);

fn watched(
    config: Arc<WorkerConfig>,
    store: Arc<dyn Store>,
    load: Arc<Load>,
) -> (Keeper, CancellationToken, Arc<Registry>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start().unwrap());
    let shutdown = CancellationToken::new();
    let registry = Registry::new(config.id.clone(), clock.clone(), load.clone());
    tokio::spawn(registry.clone().run(store.clone(), config.keys.clone(), shutdown.clone()));
    let keeper = Keeper {
        file: LifeFile::in_dir(&config.data_dir),
        life: Life::new("token".into(), &config.data_dir),
        removed: registry.removed(),
        stale: None,
        started: clock.now(),
        trust: watch::Sender::new(None),
        store,
        config,
        clock,
        load,
    };
    (keeper, shutdown, registry)
}

fn keeper(config: Arc<WorkerConfig>, store: Arc<dyn Store>, load: Arc<Load>) -> (Keeper, CancellationToken) {
    let (keeper, shutdown, _) = watched(config, store, load);
    (keeper, shutdown)
}

/// The first session behind a revision.
async fn next(sessions: &mut watch::Receiver<Option<Trust>>, after: Revision) -> Trust {
    let newer = |trust: &Option<Trust>| trust.as_ref().is_some_and(|trust| trust.session.revision > after);
    let waited = timeout(PATIENCE, sessions.wait_for(newer)).await;
    waited.expect("a session begins").unwrap().clone().unwrap()
}

/// The worker revokes its old lease before it takes another, which removes its own key once more: that must
/// not end the session after it.
#[tokio::test]
async fn a_run_that_has_ended_does_not_keep_its_worker_from_another_session() {
    let dir = tempfile::tempdir().unwrap();
    let (store, load) = (Arc::new(EmbeddedStore::in_memory()), Load::new(1));
    let (keeper, shutdown) = keeper(with_long_grace(dir.path()), store.clone(), load.clone());
    let mut sessions = keeper.trust.subscribe();
    // Its lock cannot be freed now.
    let _slot = load.take().await.unwrap();
    tokio::spawn(keeper.run(shutdown.clone()));
    let first = next(&mut sessions, Revision::NONE).await;
    store.revoke(first.lease).await.unwrap();
    next(&mut sessions, first.session.revision).await;
    shutdown.cancel();
}

#[tokio::test]
async fn what_executes_gets_its_grace_before_another_session_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (store, load) = (Arc::new(EmbeddedStore::in_memory()), Load::new(1));
    let (keeper, shutdown) = keeper(with_long_grace(dir.path()), store.clone(), load.clone());
    let mut sessions = keeper.trust.subscribe();
    let slot = load.take().await.unwrap();
    let executing = slot.execute();
    tokio::spawn(keeper.run(shutdown.clone()));
    let first = next(&mut sessions, Revision::NONE).await;
    store.revoke(first.lease).await.unwrap();
    timeout(PATIENCE, sessions.wait_for(Option::is_none)).await.expect("it is lost").unwrap();
    let before = store.get(&Keys::new("/quorate/").unwrap().worker(&first.session.worker)).await.unwrap();
    assert_eq!(before.0, None);
    drop(executing);
    next(&mut sessions, first.session.revision).await;
    shutdown.cancel();
}

// Once: after an etcd outage no worker ever ran again; the old lease's revocation was taken for the loss of the
// new session.
#[tokio::test]
async fn a_lost_lease_is_followed_by_one_session_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::in_memory());
    let (keeper, shutdown, registry) = watched(config(dir.path()), store.clone(), Load::new(1));
    let mut sessions = keeper.trust.subscribe();
    tokio::spawn(keeper.run(shutdown.clone()));

    let first = next(&mut sessions, Revision::NONE).await;
    store.revoke(first.lease).await.unwrap();
    let second = next(&mut sessions, first.session.revision).await;
    // The registry has seen all of it when it has seen the second registration.
    let mut view = registry.changes();
    let lives = |view: &Arc<crate::session::registry::View>| {
        view.lives(&second.session.worker, second.session.revision)
    };
    timeout(PATIENCE, view.wait_for(lives)).await.expect("it is seen").unwrap();
    assert!(*registry.removed().borrow() < second.session.revision);
    assert!(
        next(&mut sessions, Revision::NONE).await.session == second.session,
        "the second session was ended"
    );
    shutdown.cancel();
}

/// Otherwise its next life would not know which lease to revoke.
#[tokio::test]
async fn a_session_that_could_not_be_kept_on_disk_claims_nothing_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    // In a directory that is not there nothing can be kept.
    let data_dir = dir.path().join("data");
    let config = Arc::new(WorkerConfig { lease_ttl: Duration::from_secs(6), ..(*config(&data_dir)).clone() });
    let (store, load) = (Arc::new(EmbeddedStore::in_memory()), Load::new(1));
    let (keeper, shutdown) = keeper(config, store.clone(), load.clone());
    let mut sessions = keeper.trust.subscribe();
    tokio::spawn(keeper.run(shutdown.clone()));
    let first = next(&mut sessions, Revision::NONE).await;
    assert_eq!(load.readiness(), Readiness::DiskFailing);
    load.set_runs_unkept(None);
    assert!(!load.may_claim(), "the spool, which has room, does not speak for it");

    std::fs::create_dir(&data_dir).unwrap();
    let key = Keys::new("/quorate/").unwrap().worker(&first.session.worker);
    let claims = async {
        loop {
            let (entry, _) = store.get(&key).await.unwrap();
            if Registration::decode(&entry.unwrap().value).unwrap().readiness == Readiness::Ready {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, claims).await.expect("it says that it claims again");
    assert!(load.may_claim());
    assert_eq!(LifeFile::in_dir(&data_dir).read().unwrap().lease, Some(first.lease.0));
    assert!(
        next(&mut sessions, Revision::NONE).await.session == first.session,
        "for that no other session is needed"
    );
    shutdown.cancel();
}
