//! A watch: reads the history from where it is, waits for a newer revision, reads on. Nothing waits for it: one
//! that falls behind the history gets [`StoreError::Compacted`].

use std::{sync::Arc, time::Duration};

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::{sync::watch, time::sleep};

use super::{Shared, closed};
use crate::store::{Events, Prefix, Revision, StoreError};

/// Between two errors of a watch whose store is closed.
const CLOSED_WAIT: Duration = Duration::from_secs(1);

struct Watcher {
    shared: Arc<Shared>,
    revisions: watch::Receiver<Revision>,
    prefix: Prefix,
    /// The first revision not yet shown.
    next: Revision,
    state: State,
}

enum State {
    Reading,
    Closed,
    Ended,
}

pub(super) fn watch(
    shared: Arc<Shared>,
    revisions: watch::Receiver<Revision>,
    prefix: Prefix,
    from: Revision,
) -> BoxStream<'static, Result<Events, StoreError>> {
    let watcher = Watcher { shared, revisions, prefix, next: from, state: State::Reading };
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
            let read = self.shared.view().read(&self.prefix, self.next);
            match read {
                Ok(read) => {
                    self.next = self.next.max(read.revision + 1);
                    if !read.events.is_empty() {
                        return Some(Ok(Events { revision: read.revision, events: read.events }));
                    }
                }
                Err(error) => {
                    self.state = State::Ended;
                    return Some(Err(error));
                }
            }
            let next = self.next;
            if self.revisions.wait_for(|newest| *newest >= next).await.is_err() {
                self.state = State::Closed;
                return Some(Err(StoreError::Unavailable(closed())));
            }
        }
    }
}
