//! Notices that etcd was restored from a copy: its revisions went back, or it is another cluster now.
//!
//! Reads and transactions are linearizable, so a reply never shows a revision below one that had been seen
//! *before its request was sent*. Replies to requests in flight at the same time may overtake each other, hence the
//! [`Mark`] taken at sending. Once noticed, counting starts over, so that the caller can go on with what the store
//! is now; watches are told, since their next revision belongs to the old history.

use etcd_client::ResponseHeader;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::store::{Revision, StoreError};

/// What is known of the store's history.
#[derive(Debug)]
pub(super) struct History {
    seen: Mutex<Seen>,
    restored: watch::Sender<Option<Restored>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The highest revision of any reply in this life.
    highest: Revision,
    /// The cluster's id; 0 while none is known.
    cluster: u64,
    /// Grows when the store is found to be restored.
    life: u64,
}

/// What was known when a request was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    highest: Revision,
    life: u64,
}

/// That the store went back, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restored {
    pub(super) seen: Revision,
    pub(super) now: Revision,
}

impl History {
    pub(super) fn new() -> Self {
        Self { seen: Mutex::default(), restored: watch::Sender::new(None) }
    }

    /// To be taken before a request is sent.
    pub(super) fn mark(&self) -> Mark {
        let seen = self.lock();
        Mark { highest: seen.highest, life: seen.life }
    }

    /// Checks the header of a linearizable reply against what was known when its request was sent.
    pub(super) fn check(&self, mark: Mark, header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
        let Some(header) = header else { return Ok(mark.highest) };
        self.check_numbers(mark, header.cluster_id(), Revision::new(header.revision()))
    }

    fn check_numbers(&self, mark: Mark, cluster: u64, now: Revision) -> Result<Revision, StoreError> {
        let mut seen = self.lock();
        let other_cluster = seen.cluster != 0 && cluster != seen.cluster;
        let current = mark.life == seen.life;
        if now >= mark.highest && !other_cluster {
            seen.cluster = cluster;
            if current {
                seen.highest = seen.highest.max(now);
            }
            return Ok(now);
        }
        // A late reply from before the restore must not count as a second one.
        if current {
            *seen = Seen { highest: now, cluster, life: seen.life + 1 };
            self.restored.send_replace(Some(Restored { seen: mark.highest, now }));
        }
        Err(StoreError::WentBack { seen: mark.highest, now })
    }

    /// Tells of every restore noticed from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Restored>> {
        let mut receiver = self.restored.subscribe();
        receiver.mark_unchanged();
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // The numbers are whole at every step, also if a holder panicked.
        self.seen.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn went_back(result: Result<Revision, StoreError>) -> (Revision, Revision) {
        match result {
            Err(StoreError::WentBack { seen, now }) => (seen, now),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_that_was_overtaken_is_no_restore() {
        let history = History::new();
        let (first, second) = (history.mark(), history.mark());
        assert_eq!(history.check_numbers(second, 1, Revision::new(11)).unwrap(), Revision::new(11));
        assert_eq!(history.check_numbers(first, 1, Revision::new(10)).unwrap(), Revision::new(10));
    }

    #[test]
    fn a_restore_is_told_once_and_then_the_store_is_taken_as_it_is() {
        let history = History::new();
        let mut told = history.subscribe();
        history.check_numbers(history.mark(), 1, Revision::new(100)).unwrap();
        let late = history.mark();
        assert_eq!(
            went_back(history.check_numbers(history.mark(), 1, Revision::new(50))),
            (Revision::new(100), Revision::new(50))
        );
        assert_eq!(
            *told.borrow_and_update(),
            Some(Restored { seen: Revision::new(100), now: Revision::new(50) })
        );
        // A reply from before the restore neither raises the mark nor counts again.
        history.check_numbers(late, 1, Revision::new(101)).unwrap();
        assert_eq!(history.check_numbers(history.mark(), 1, Revision::new(51)).unwrap(), Revision::new(51));
        assert_eq!(
            went_back(history.check_numbers(late, 1, Revision::new(52))),
            (Revision::new(100), Revision::new(52))
        );
        assert!(!told.has_changed().unwrap());
    }

    #[test]
    fn another_cluster_is_a_restore_whatever_its_revision() {
        let history = History::new();
        history.check_numbers(history.mark(), 1, Revision::new(10)).unwrap();
        assert_eq!(
            went_back(history.check_numbers(history.mark(), 2, Revision::new(5000))),
            (Revision::new(10), Revision::new(5000))
        );
        assert_eq!(
            history.check_numbers(history.mark(), 2, Revision::new(5001)).unwrap(),
            Revision::new(5001)
        );
    }
}
