//! A watch: reads the history from where it is, waits for a change of its prefix, reads on. Nothing waits for it: one
//! that falls behind the history gets [`StoreError::Compacted`].
//!
//! A commit wakes only those whose prefix it has changed. The others have nothing to read; they are told so under the
//! view's lock, so that the history can go on without them.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use futures::stream::{self, BoxStream, StreamExt as _};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::sleep};

use super::{Shared, closed, history::Made};
use crate::store::{Events, Prefix, Revision, StoreError};

/// Between two errors of a watch whose store is closed.
const CLOSED_WAIT: Duration = Duration::from_secs(1);

/// All watches.
#[derive(Debug, Default)]
pub(super) struct Watches {
    all: Mutex<Vec<Weak<Watched>>>,
    closed: AtomicBool,
}

/// A watch, as the writer sees it.
#[derive(Debug)]
struct Watched {
    prefix: Prefix,
    /// The first revision not yet shown. Written under the lock of the view.
    next: AtomicI64,
    news: Notify,
}

impl Watches {
    /// Says what was committed between these revisions, to be called while nobody else sees the view; gives those that
    /// have to be told once somebody may.
    pub(super) fn committed(&self, made: &[Made], before: Revision, now: Revision) -> News {
        let mut news = News(Vec::new());
        self.lock().retain(|watched| {
            let Some(watched) = watched.upgrade() else { return false };
            let prefix = watched.prefix.as_bytes();
            if made.iter().any(|made| made.event.key().as_bytes().starts_with(prefix)) {
                news.0.push(watched);
            } else if watched.next.load(Ordering::Relaxed) == (before + 1).get() {
                watched.next.store((now + 1).get(), Ordering::Relaxed);
            }
            true
        });
        news
    }

    /// From here on nothing changes any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for watched in self.lock().iter().filter_map(Weak::upgrade) {
            watched.news.notify_one();
        }
    }

    fn add(&self, prefix: Prefix, next: Revision) -> Arc<Watched> {
        let watched = Arc::new(Watched { prefix, next: AtomicI64::new(next.get()), news: Notify::new() });
        self.lock().push(Arc::downgrade(&watched));
        watched
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Watched>>> {
        self.all.lock()
    }
}

/// Watches that have something to read.
#[must_use]
pub(super) struct News(Vec<Arc<Watched>>);

impl News {
    /// Tells them.
    pub(super) fn tell(self) {
        for watched in self.0 {
            watched.news.notify_one();
        }
    }
}

struct Watcher {
    shared: Arc<Shared>,
    watched: Arc<Watched>,
    state: State,
}

enum State {
    Reading,
    Closed,
    Ended,
}

pub(super) fn watch(
    shared: Arc<Shared>,
    prefix: Prefix,
    from: Revision,
) -> BoxStream<'static, Result<Events, StoreError>> {
    let watched = shared.watches.add(prefix, from);
    let watcher = Watcher { shared, watched, state: State::Reading };
    stream::unfold(watcher, async |mut watcher| watcher.next().await.map(|item| (item, watcher))).boxed()
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Events, StoreError>> {
        loop {
            match self.state {
                State::Reading => {}
                State::Closed => sleep(CLOSED_WAIT).await,
                State::Ended => return None,
            }
            // Before the look: what was committed before the end is read.
            let is_closed = self.shared.watches.closed.load(Ordering::SeqCst);
            match self.read() {
                Ok((events, _)) if !events.events.is_empty() => return Some(Ok(events)),
                // There were too many changes of other prefixes to look at in one go.
                Ok((_, false)) => continue,
                Ok((_, true)) => {}
                Err(error) => {
                    self.state = State::Ended;
                    return Some(Err(error));
                }
            }
            if is_closed {
                self.state = State::Closed;
                return Some(Err(StoreError::Unavailable(closed())));
            }
            self.watched.news.notified().await;
        }
    }

    /// What is to be shown next, and whether that is all there is.
    fn read(&self) -> Result<(Events, bool), StoreError> {
        let view = self.shared.view();
        let next = Revision::new(self.watched.next.load(Ordering::Relaxed));
        let read = view.read(&self.watched.prefix, next)?;
        self.watched.next.store(next.max(read.revision + 1).get(), Ordering::Relaxed);
        let all = read.revision >= view.revision();
        Ok((Events { revision: read.revision, events: read.events }, all))
    }
}
