//! Watches: everything, in order, once, and never half a revision.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    revision::Revision,
    store::{Change, follow, list_all},
};

/// From the revision behind a listing or a write.
pub async fn a_watch_from_now_shows_what_comes(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("a");
    let before = write(&store, &key, "before").await;
    let mut watch = store.watch(&keys.jobs, before + 1);
    let at = write(&store, &key, "after").await;
    let events = next_events(&mut watch).await;
    let [Event::Put(entry)] = &events.events[..] else { panic!("{events:?}") };
    assert_eq!((&entry.key, &*entry.value), (&key, &b"after"[..]));
    assert_eq!((entry.create_revision, entry.mod_revision), (before, at));
    assert!(events.revision >= at);
}

/// The revision it begins with is included.
pub async fn a_watch_from_the_past_begins_there(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("a");
    write(&store, &key, "0").await;
    let from = write(&store, &key, "1").await;
    write(&store, &key, "2").await;
    let mut watch = store.watch(&keys.jobs, from);
    let past = next_events_of(&mut watch, 2).await;
    write(&store, &key, "3").await;
    let live = next_events_of(&mut watch, 1).await;
    let values: Vec<_> = past.iter().chain(&live).map(value_of).collect();
    assert_eq!(values, [b"1", b"2", b"3"]);
}

fn value_of(event: &Event) -> Vec<u8> {
    match event {
        Event::Put(entry) => entry.value.to_vec(),
        Event::Deleted(key, _) => panic!("{key} was not deleted"),
    }
}

/// The second one is a new key: its create revision says so.
pub async fn a_watch_shows_put_delete_put_in_order(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("a");
    let first = write(&store, &key, "1").await;
    let deleted = done(&store, always(vec![Op::Delete(key.clone())])).await.revision;
    let second = write(&store, &key, "2").await;
    let mut watch = store.watch(&keys.jobs, first);
    let events = next_events_of(&mut watch, 3).await;
    let [Event::Put(one), Event::Deleted(gone, at), Event::Put(two)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((one.create_revision, one.mod_revision), (first, first));
    assert_eq!((gone, *at), (&key, deleted));
    assert_eq!((two.create_revision, two.mod_revision), (second, second));
}

/// From the past and live, a hundred keys at a time.
pub async fn a_watch_never_shows_part_of_a_revision(store: Arc<dyn Store>, keys: Keys) {
    let batch = |value: &str| always((0..100).map(|n| put(&keys.jobs.key(n), value)).collect());
    let from = done(&store, batch("past")).await.revision;
    let mut watch = store.watch(&keys.jobs, from);
    assert_eq!(next_events(&mut watch).await.events.len(), 100);
    let writers: Vec<_> = (0..5)
        .map(|n| {
            let (store, txn) = (store.clone(), batch(&n.to_string()));
            tokio::spawn(async move { done(&store, txn).await })
        })
        .collect();
    let mut seen = 0;
    while seen < 500 {
        let events = next_events(&mut watch).await;
        let mut by_revision = BTreeMap::<Revision, usize>::new();
        for event in &events.events {
            *by_revision.entry(revision_of(event)).or_default() += 1;
        }
        assert!(by_revision.values().all(|&count| count == 100), "{by_revision:?}");
        seen += events.events.len();
    }
    for writer in writers {
        writer.await.expect("the task ends");
    }
}

/// Also the end of a range is right: `jobs0` comes right behind `jobs/`.
pub async fn a_watch_stays_within_its_prefix(store: Arc<dyn Store>, keys: Keys) {
    let from = write(&store, &keys.locks.key("x"), "x").await;
    let mut watch = store.watch(&keys.jobs, from);
    write(&store, &keys.root.key("jobs0"), "x").await;
    let inside = always(vec![put(&keys.jobs.key("in"), "x"), put(&keys.locks.key("y"), "x")]);
    done(&store, inside).await;
    let events = next_events(&mut watch).await.events;
    assert_eq!(events.iter().map(Event::key).collect::<Vec<_>>(), [&keys.jobs.key("in")]);
}

/// Whoever asks for it has seen revisions that this store does not have: it was restored from a copy.
pub async fn a_watch_from_a_future_revision_is_noticed(store: Arc<dyn Store>, keys: Keys) {
    const FAR: i64 = 1_000_000_000;
    let now = write(&store, &keys.jobs.key("a"), "x").await;
    let mut watch = store.watch(&keys.jobs, now + FAR);
    let noticed = async {
        loop {
            match watch.next().await {
                Some(Err(StoreError::WentBack { seen, now })) => return (seen, now),
                Some(Err(error)) if error.is_passing() => {}
                Some(Ok(events)) if events.events.is_empty() => {}
                other => panic!("expected WentBack, got {other:?}"),
            }
        }
    };
    let (seen, says) = timeout(DEADLINE, noticed).await.expect("it is noticed in time");
    assert_eq!(seen, now + FAR - 1);
    assert!(says >= now && says < seen);
    assert!(watch.next().await.is_none(), "the watch ends with it");
}

/// A listing and the watch behind it, begun while four writers write.
pub async fn a_listing_and_a_watch_miss_and_repeat_nothing_among_writers(store: Arc<dyn Store>, keys: Keys) {
    const WRITES: usize = 60;
    let start = write(&store, &keys.jobs.key("0-0"), "first").await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, jobs) = (store.clone(), keys.jobs.clone());
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for n in 0..WRITES {
                    let key = jobs.key(format_args!("{writer}-{}", n % 7));
                    let op = if n % 5 == 4 { Op::Delete(key) } else { put(&key, n.to_string()) };
                    let outcome = done(&store, always(vec![op])).await;
                    if outcome.results != [OpOutcome::Deleted(false)] {
                        revisions.push(outcome.revision);
                    }
                }
                revisions
            })
        })
        .collect();
    // Among the writes, not before them.
    next_events_of(&mut store.watch(&keys.jobs, start + 1), 20).await;
    let (listed, revision) = list_all(&*store, &keys.jobs).await.expect("all is listed");
    let mut watch = store.watch(&keys.jobs, revision + 1);
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.expect("the writer ends"));
    }
    let last = write(&store, &keys.jobs.key("end"), "end").await;

    let mut state: BTreeMap<Key, Entry> =
        listed.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        for event in next_events_of(&mut watch, 1).await {
            seen.push(revision_of(&event));
            match event {
                Event::Put(entry) => state.insert(entry.key.clone(), entry),
                Event::Deleted(key, _) => state.remove(&key),
            };
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "each revision once, in order: {seen:?}");
    let (now, _) = list_all(&*store, &keys.jobs).await.expect("all is listed");
    assert_eq!(state.into_values().collect::<Vec<_>>(), now);
    written.retain(|at| *at > revision);
    written.push(last);
    written.sort_unstable();
    assert_eq!(seen, written);
}

/// What all loops of workers and managers stand on.
pub async fn following_yields_a_reset_and_then_events(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.jobs.key("a");
    write(&store, &key, "listed").await;
    let shutdown = CancellationToken::new();
    let mut follow = follow(store.clone(), keys.jobs.clone(), shutdown.clone());
    let listed = match next_change(&mut follow).await {
        Some(Change::Reset(entries, revision)) => {
            assert_eq!(entries.iter().map(|entry| &*entry.value).collect::<Vec<_>>(), [b"listed"]);
            revision
        }
        other => panic!("expected a reset, got {other:?}"),
    };
    let at = write(&store, &key, "watched").await;
    assert!(at > listed);
    match next_change(&mut follow).await {
        Some(Change::Events(events)) => {
            assert_eq!(events.events.iter().map(value_of).collect::<Vec<_>>(), [b"watched"]);
        }
        other => panic!("expected an event, got {other:?}"),
    }
    shutdown.cancel();
    assert!(next_change(&mut follow).await.is_none(), "it ends at shutdown");
}

/// The next change that is more than a sign of life.
async fn next_change(follow: &mut crate::store::Follow) -> Option<Change> {
    let next = async {
        loop {
            match follow.recv().await {
                Some(Change::Events(events)) if events.events.is_empty() => {}
                other => return other,
            }
        }
    };
    timeout(DEADLINE, next).await.expect("there is a change in time")
}
