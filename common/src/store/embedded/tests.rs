//! The conformance suite on both kinds of store, and what is this adapter's own.

use futures::StreamExt as _;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::store::{Compare, Event, Op, OpOutcome, conformance::restarts, key::Keys, list_all};

mod in_memory {
    use super::*;

    async fn store() -> (Arc<dyn Store>, Keys) {
        (Arc::new(EmbeddedStore::in_memory()), keys())
    }
    crate::store_conformance!(store);
}

mod on_disk {
    use super::*;

    async fn store() -> (Arc<dyn Store>, Keys) {
        let directory = TempDir::new().unwrap();
        // The file lives on, without a name, as long as the store has it open.
        (Arc::new(EmbeddedStore::open(&directory.path().join("store.db")).unwrap()), keys())
    }
    crate::store_conformance!(store);
}

fn keys() -> Keys {
    Keys::new("/quorate/").unwrap()
}

fn put(name: &str, value: &[u8]) -> Op {
    Op::Put(keys().jobs.key(name), value.to_vec(), None)
}

fn always(ops: Vec<Op>) -> Txn {
    Txn::when(Vec::new(), ops)
}

async fn write(store: &EmbeddedStore, name: &str, value: &[u8]) -> Revision {
    store.txn(always(vec![put(name, value)])).await.unwrap().revision
}

/// A file, and what closes a store on it and opens it again.
struct Restarts(TempDir);

impl Restarts {
    fn new() -> (Self, Arc<EmbeddedStore>) {
        let restarts = Self(TempDir::new().unwrap());
        let store = restarts.open();
        (restarts, store)
    }

    fn open(&self) -> Arc<EmbeddedStore> {
        Arc::new(EmbeddedStore::open(&self.0.path().join("data/store.db")).unwrap())
    }
}

macro_rules! restart_cases {
    ($($case:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $case() {
            let (restarts, store) = Restarts::new();
            let (closing, reopened) = (store.clone(), &restarts);
            let restart = async move |former| {
                drop(former);
                closing.close().await;
                reopened.open() as Arc<dyn Store>
            };
            restarts::$case(store, keys(), restart).await;
        })+
    };
}
restart_cases!(
    what_was_written_is_there_after_a_restart,
    leases_come_back_with_their_full_time,
    a_lease_is_renewed_after_a_restart,
);

#[tokio::test]
async fn what_was_accepted_is_in_the_files_before_the_answer() {
    let (restarts, store) = Restarts::new();
    let copies = TempDir::new().unwrap();
    let revision = write(&store, "a", b"accepted").await;
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(restarts.0.path().join("data").join(name), copies.path().join(name)).unwrap();
    }
    let copy = EmbeddedStore::open(&copies.path().join("store.db")).unwrap();
    let (entry, at) = copy.get(&keys().jobs.key("a")).await.unwrap();
    assert_eq!((entry.unwrap().value.to_vec(), at), (b"accepted".to_vec(), revision));
}

#[tokio::test]
async fn a_second_opener_is_told_that_the_file_is_in_use() {
    let (restarts, store) = Restarts::new();
    let error = EmbeddedStore::open(&restarts.0.path().join("data/store.db")).err().unwrap();
    assert!(error.chain().contains("is in use by another process"), "{}", error.chain());
    store.close().await;
    write(&restarts.open(), "a", b"the file is free again").await;
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_with_its_name() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notes.txt");
    std::fs::write(&path, "remember the milk ".repeat(1000)).unwrap();
    let error = EmbeddedStore::open(&path).err().unwrap().chain();
    assert!(error.contains("notes.txt is not a store of Quorate"), "{error}");

    let path = directory.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE contacts (name TEXT)").unwrap();
    drop(other);
    let error = EmbeddedStore::open(&path).err().unwrap().chain();
    assert!(error.contains("other.db is not a store of Quorate"), "{error}");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let (restarts, store) = Restarts::new();
    store.close().await;
    let path = restarts.0.path().join("data/store.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let error = EmbeddedStore::open(&path).err().unwrap().chain();
    assert!(error.contains("written by a newer Quorate (format 2, this one knows 1)"), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_did_not_fit_is_not_shown() {
    let directory = TempDir::new().unwrap();
    let (disk, saved) = Disk::open(&directory.path().join("store.db")).unwrap();
    disk.limit_pages(40).unwrap();
    let store = EmbeddedStore::start(Some(disk), saved);
    let before = write(&store, "fits", b"small").await;
    let large = always(vec![put("fits", b"changed"), put("large", &vec![b'x'; 1 << 20])]);
    let error = store.txn(large).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    let (entries, revision) = list_all(&store, &keys().jobs).await.unwrap();
    assert_eq!((entries.len(), revision), (1, before));
    assert_eq!(&*entries[0].value, b"small");
    assert_eq!(write(&store, "fits", b"again").await, before + 1, "smaller writes go on");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_says_so_until_it_can_without_being_asked_for_anything() {
    let directory = TempDir::new().unwrap();
    let (disk, saved) = Disk::open(&directory.path().join("store.db")).unwrap();
    disk.limit_pages(40).unwrap();
    let store = EmbeddedStore::start(Some(disk), saved);
    write(&store, "fits", b"small").await;
    assert!(store.status().await.is_ok());
    store.txn(always(vec![put("large", &vec![b'x'; 1 << 20])])).await.unwrap_err();
    let said = store.status().await.unwrap_err();
    assert!(matches!(said, StoreError::Full(_)) && said.chain().contains("disk is full"), "{said:?}");
    let revision = list_all(&store, &keys().jobs).await.unwrap().1;
    // There is room for what is smaller: the store finds that out by itself.
    let well = async {
        while store.status().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), well).await.expect("it says that it is well again");
    assert_eq!(list_all(&store, &keys().jobs).await.unwrap().1, revision, "trying wrote nothing");
}

#[tokio::test]
async fn a_lease_is_granted_in_whole_seconds_at_least_what_was_asked_for() {
    let store = EmbeddedStore::in_memory();
    for (asked, seconds) in [(0, 1), (1, 1), (14_001, 15), (15_000, 15)] {
        let (_, ttl) = store.grant(Duration::from_millis(asked)).await.unwrap();
        assert_eq!(ttl, Duration::from_secs(seconds));
    }
    assert!(matches!(store.grant(Duration::MAX).await, Err(StoreError::Refused(_))));
}

#[tokio::test]
async fn a_lease_id_is_never_given_twice() {
    let (restarts, store) = Restarts::new();
    let (first, _) = store.grant(Duration::from_secs(60)).await.unwrap();
    store.revoke(first).await.unwrap();
    store.close().await;
    let (second, _) = restarts.open().grant(Duration::from_secs(60)).await.unwrap();
    assert!(second > first);
    let (_others, other) = Restarts::new();
    let (elsewhere, _) = other.grant(Duration::from_secs(60)).await.unwrap();
    assert!(elsewhere != first && elsewhere != second, "nor by another store");
}

#[tokio::test]
async fn history_from_before_the_start_is_compacted() {
    let (restarts, store) = Restarts::new();
    let first = write(&store, "a", b"1").await;
    let second = write(&store, "a", b"2").await;
    store.close().await;
    let store = restarts.open();
    let mut watch = store.watch(&keys().jobs, second);
    assert!(matches!(watch.next().await, Some(Err(StoreError::Compacted(kept))) if kept == second + 1));
    assert!(watch.next().await.is_none());
    let listed = store.list(&keys().jobs, None, 10, Some(first)).await;
    assert!(matches!(listed, Err(StoreError::Compacted(_))), "{listed:?}");
    assert_eq!(store.list(&keys().jobs, None, 10, Some(second)).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_watch_of_what_seldom_changes_does_not_fall_behind_the_history_of_the_rest() {
    let store = EmbeddedStore::in_memory();
    let from = write(&store, "a", b"first").await;
    let mut queue = store.watch(&keys().queue, from + 1);
    for _ in 0..450 {
        store.txn(always((0..120).map(|n| put(&n.to_string(), b"x")).collect())).await.unwrap();
    }
    let wanted = keys().queue.key("r");
    store.txn(always(vec![Op::Put(wanted.clone(), b"x".to_vec(), None)])).await.unwrap();
    let events = queue.next().await.unwrap().unwrap().events;
    assert_eq!(events.iter().map(Event::key).collect::<Vec<_>>(), [&wanted]);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_the_history_is_told_and_holds_up_nobody() {
    let store = EmbeddedStore::in_memory();
    let from = write(&store, "a", b"first").await;
    let mut slow = store.watch(&keys().jobs, from);
    let batch = || always((0..120).map(|n| put(&n.to_string(), b"x")).collect());
    for _ in 0..450 {
        store.txn(batch()).await.unwrap();
    }
    assert!(matches!(slow.next().await, Some(Err(StoreError::Compacted(kept))) if kept > from));
}

#[tokio::test]
async fn a_watcher_with_much_to_read_reads_it_in_whole_revisions() {
    let store = EmbeddedStore::in_memory();
    for _ in 0..100 {
        store.txn(always((0..120).map(|n| put(&n.to_string(), b"x")).collect())).await.unwrap();
    }
    let mut watch = store.watch(&keys().jobs, Revision::new(1));
    let (mut seen, mut reads) = (0, 0);
    while seen < 12_000 {
        let events = watch.next().await.unwrap().unwrap();
        assert_eq!(events.events.len() % 120, 0);
        seen += events.events.len();
        assert_eq!(events.revision, Revision::new(i64::try_from(seen / 120).unwrap()));
        reads += 1;
    }
    assert!(reads > 1, "writers got their turn in between");
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let (_restarts, store) = Restarts::new();
    let at = write(&store, "a", b"x").await;
    let mut watch = store.watch(&keys().jobs, at + 1);
    store.close().await;
    store.close().await;
    let error = store.txn(always(vec![put("b", b"x")])).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let seen = timeout(Duration::from_secs(30), watch.next()).await.unwrap();
    assert!(matches!(seen, Some(Err(StoreError::Unavailable(_)))), "{seen:?}");
    assert!(store.status().await.is_err());
}

#[tokio::test]
async fn its_status_counts_its_keys() {
    let store = EmbeddedStore::in_memory();
    assert_eq!(store.status().await.unwrap(), "embedded store, 0 keys");
    for from in (0..1200).step_by(120) {
        store.txn(always((from..from + 120).map(|n| put(&n.to_string(), b"x")).collect())).await.unwrap();
    }
    assert_eq!(store.status().await.unwrap(), "embedded store, 1,200 keys");
    assert_eq!(in_thousands(999), "999");
    assert_eq!(in_thousands(1_234_567), "1,234,567");
}

/// Stricter than etcd, which takes this one: what it would mean depends on the order of independent claims.
#[tokio::test]
async fn a_put_and_a_delete_of_one_key_clash_in_either_order() {
    let store = EmbeddedStore::in_memory();
    let nested = |op| Op::Txn(always(vec![op]));
    let delete = || Op::Delete(keys().jobs.key("a"));
    let refused = store.txn(always(vec![nested(put("a", b"x")), nested(delete())])).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    let twice = store.txn(always(vec![nested(delete()), delete()])).await.unwrap();
    assert_eq!(twice.results[1], OpOutcome::Deleted(false));
}

/// One write of the property test: a key, and a value or its end; or a compare that fails.
#[derive(Clone, Debug)]
enum Write {
    Put(u8, u8),
    Delete(u8),
    Fail(u8),
}

fn any_write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (0..6_u8, any::<u8>()).prop_map(|(key, value)| Write::Put(key, value)),
        (0..6_u8).prop_map(Write::Delete),
        (0..6_u8).prop_map(Write::Fail),
    ]
}

fn as_txn(write: &Write) -> Txn {
    let key = |n: u8| keys().jobs.key(n);
    match write {
        Write::Put(n, value) => always(vec![Op::Put(key(*n), vec![*value], None)]),
        Write::Delete(n) => always(vec![Op::Delete(key(*n))]),
        Write::Fail(n) => {
            Txn::when(vec![Compare::ModRevision(key(*n), Revision::new(-1))], vec![Op::Delete(key(*n))])
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any history: each past revision is listed as it was, and a watch from the start leads to the present.
    #[test]
    fn the_past_is_listed_as_it_was_and_a_watch_leads_to_the_present(
        writes in prop::collection::vec(any_write(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let store = EmbeddedStore::in_memory();
            let mut past = vec![list_all(&store, &keys().jobs).await.unwrap()];
            for write in &writes {
                let outcome = store.txn(as_txn(write)).await.unwrap();
                let now = list_all(&store, &keys().jobs).await.unwrap();
                assert_eq!(now.1, outcome.revision);
                past.push(now);
            }
            for (entries, at) in &past {
                let page = store.list(&keys().jobs, None, 100, Some(*at)).await.unwrap();
                assert_eq!((&page.entries, page.revision), (entries, *at));
                let page = store.list(&keys().jobs, Some(&keys().jobs.key(2)), 2, Some(*at)).await.unwrap();
                let behind: Vec<_> =
                    entries.iter().filter(|entry| entry.key > keys().jobs.key(2)).cloned().collect();
                assert_eq!(page.more, behind.len() > 2);
                assert_eq!(page.entries, behind[..behind.len().min(2)]);
            }
            let (present, revision) = past.pop().unwrap();
            let mut state = std::collections::BTreeMap::new();
            let mut watch = store.watch(&keys().jobs, Revision::new(1));
            let mut completed = Revision::NONE;
            while completed < revision {
                let events = watch.next().await.unwrap().unwrap();
                completed = events.revision;
                for event in events.events {
                    match event {
                        Event::Put(entry) => state.insert(entry.key.clone(), entry),
                        Event::Deleted(key, _) => state.remove(&key),
                    };
                }
            }
            assert_eq!(state.into_values().collect::<Vec<_>>(), present);
        });
    }
}
