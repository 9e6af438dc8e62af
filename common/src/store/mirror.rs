//! What somebody keeps of a place that is followed: one fold over its listings and changes ([`Mirror::take`]), for all who
//! follow one.

use super::{Change, Entry, Event, Events, Follow, Key, Revision};

/// Why what is known of a place may be old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Away {
    /// The store cannot be reached. It is told again and again until the store is back.
    Unreachable(String),
    /// The store was restored from a copy. A listing follows, of what the copy has.
    WentBack {
        /// The highest revision seen.
        seen: Revision,
        /// What it says now.
        now: Revision,
    },
}

/// Keeps what stands in a place, from what is told of it. `T` is what an entry was made of as it was read.
///
/// What is told of several revisions at once comes put by put, and then [`Mirror::reached`]: who has others look at it
/// may show it whole then.
pub trait Mirror<T = Entry> {
    /// This is all there is, at this revision: whatever else is known of the place is gone.
    fn list(&mut self, all: Vec<T>, at: Revision);

    /// This was written.
    fn put(&mut self, value: T);

    /// This was removed, at this revision. It may be unknown.
    fn remove(&mut self, key: &Key, at: Revision);

    /// All changes up to this revision have been told. Not called after a listing.
    fn reached(&mut self, _at: Revision) {}

    /// What is known may be old.
    fn away(&mut self, _why: Away) {}

    /// Keeps a change.
    fn take(&mut self, change: Change<T>) {
        match change {
            Change::Reset(all, at) => self.list(all, at),
            Change::Events(Events { revision, events }) => {
                for event in events {
                    match event {
                        Event::Put(value) => self.put(value),
                        Event::Deleted(key, at) => self.remove(&key, at),
                    }
                }
                self.reached(revision);
            }
            Change::Stale(why) => self.away(Away::Unreachable(why)),
            Change::WentBack { seen, now } => self.away(Away::WentBack { seen, now }),
        }
    }
}

/// Keeps all changes until they end.
pub async fn keep<T>(mut changes: Follow<T>, mut mirror: impl Mirror<T>) {
    while let Some(change) = changes.recv().await {
        mirror.take(change);
    }
}

#[cfg(all(test, feature = "embedded"))]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use parking_lot::Mutex;
    use tokio::{sync::watch, time::timeout};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::store::{Op, Store, Txn, embedded::EmbeddedStore, follow, key::Keys};

    /// The plainest one: it notes what it is told.
    #[derive(Default)]
    struct Notes(Vec<String>);

    impl Mirror<&'static str> for Notes {
        fn list(&mut self, all: Vec<&'static str>, at: Revision) {
            self.0.push(format!("all {all:?} at {at}"));
        }

        fn put(&mut self, value: &'static str) {
            self.0.push(format!("put {value}"));
        }

        fn remove(&mut self, key: &Key, at: Revision) {
            self.0.push(format!("removed {key} at {at}"));
        }

        fn reached(&mut self, at: Revision) {
            self.0.push(format!("reached {at}"));
        }

        fn away(&mut self, why: Away) {
            self.0.push(format!("{why:?}"));
        }
    }

    #[test]
    fn every_change_is_told_once_and_in_order() {
        let mut notes = Notes::default();
        let (key, at) = (Key::from_bytes(b"/q/b"), Revision::new(8));
        let events = vec![Event::Put("a"), Event::Deleted(key, at), Event::Put("c")];
        for change in [
            Change::Reset(vec!["a", "b"], Revision::new(7)),
            Change::Events(Events { revision: Revision::new(9), events }),
            Change::Events(Events { revision: Revision::new(10), events: Vec::new() }),
            Change::Stale("away".to_owned()),
            Change::WentBack { seen: Revision::new(10), now: Revision::new(3) },
        ] {
            notes.take(change);
        }
        let expected = [
            "all [\"a\", \"b\"] at 7",
            "put a",
            "removed /q/b at 8",
            "put c",
            "reached 9",
            "reached 10",
            "Unreachable(\"away\")",
            "WentBack { seen: Revision(10), now: Revision(3) }",
        ];
        assert_eq!(notes.0, expected);
    }

    /// What many keep: values by key, shown to others when a revision is whole.
    struct Shown {
        all: Arc<Mutex<BTreeMap<Key, Vec<u8>>>>,
        at: watch::Sender<Revision>,
    }

    impl Mirror for Shown {
        fn list(&mut self, all: Vec<Entry>, at: Revision) {
            *self.all.lock() = all.into_iter().map(|entry| (entry.key, entry.value.to_vec())).collect();
            self.reached(at);
        }

        fn put(&mut self, entry: Entry) {
            self.all.lock().insert(entry.key, entry.value.to_vec());
        }

        fn remove(&mut self, key: &Key, _at: Revision) {
            self.all.lock().remove(key);
        }

        fn reached(&mut self, at: Revision) {
            self.at.send_replace(at);
        }
    }

    #[tokio::test]
    async fn a_followed_place_is_kept_as_the_store_has_it() {
        let store = Arc::new(EmbeddedStore::in_memory());
        let keys = Keys::new("/q/").unwrap();
        let put = |name: &str| Op::Put(keys.jobs.key(name), name.into(), None);
        store.txn(Txn::when(Vec::new(), vec![put("a"), put("b")])).await.unwrap();
        let ending = CancellationToken::new();
        let changes = follow(store.clone(), keys.jobs.clone(), ending.clone());
        let (all, at) = (Arc::default(), watch::Sender::default());
        let mut reached = at.subscribe();
        let kept = tokio::spawn(keep(changes, Shown { all: Arc::clone(&all), at }));
        let both = vec![put("c"), Op::Delete(keys.jobs.key("a"))];
        let done = store.txn(Txn::when(Vec::new(), both)).await.unwrap();
        let shown = reached.wait_for(|at| *at >= done.revision);
        timeout(std::time::Duration::from_secs(10), shown).await.expect("the change was not told").unwrap();
        let names: Vec<Vec<u8>> = all.lock().values().cloned().collect();
        assert_eq!(names, [b"b".to_vec(), b"c".to_vec()]);
        ending.cancel();
        kept.await.unwrap();
    }
}
