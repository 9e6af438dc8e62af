//! Follows a prefix for ever: lists it, watches it, and lists it again when the watch cannot go on.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Entry, Event, Events, Key, Prefix, Revision, Store, StoreError, read_all};

/// What happened to a followed prefix.
#[derive(Debug)]
pub enum Change<T = Entry> {
    /// All there is, at a revision: whatever else was known of the prefix is gone.
    Reset(Vec<T>, Revision),
    /// Changes since, completing a revision.
    Events(Events<T>),
    /// The store cannot be reached; what is known may be old. Followed by `Events` or `Reset` when it is back.
    Stale(String),
    /// The store was restored from a copy; a `Reset` follows.
    WentBack {
        /// The highest revision seen.
        seen: Revision,
        /// What it says now.
        now: Revision,
    },
}

/// The receiving end of [`follow`]. Dropping it ends the following.
pub type Follow<T = Entry> = mpsc::Receiver<Change<T>>;

/// Changes that wait for their reader: a reader that is slower than this holds up the watch, not the memory.
const PENDING_CHANGES: usize = 1024;

/// Between two attempts to list.
const RELIST_WAIT: Duration = Duration::from_millis(500);

/// Follows a prefix until `shutdown` or until the receiver is dropped. The first change is a `Reset`, or `Stale`
/// while the store is away.
pub fn follow(store: Arc<dyn Store>, prefix: Prefix, shutdown: CancellationToken) -> Follow {
    follow_as(store, prefix, shutdown, Some)
}

/// Follows what `read` makes of a prefix's entries; those of which it makes nothing are passed over. A listing is read
/// as it comes in, so that its entries are never all in memory.
pub fn follow_as<T: Send + 'static>(
    store: Arc<dyn Store>,
    prefix: Prefix,
    shutdown: CancellationToken,
    read: impl Fn(Entry) -> Option<T> + Send + Sync + 'static,
) -> Follow<T> {
    let (sender, receiver) = mpsc::channel(PENDING_CHANGES);
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = sender.closed() => {}
            () = run(&*store, &prefix, &read, &sender) => {}
        }
    });
    receiver
}

/// Ends only when the receiver is gone.
async fn run<T>(
    store: &dyn Store,
    prefix: &Prefix,
    read: &(impl Fn(Entry) -> Option<T> + Sync),
    sender: &mpsc::Sender<Change<T>>,
) {
    loop {
        let revision = match read_all(store, prefix, read).await {
            Ok((entries, revision)) => {
                if sender.send(Change::Reset(entries, revision)).await.is_err() {
                    return;
                }
                revision
            }
            Err(error) => {
                if sender.send(stale(&error)).await.is_err() {
                    return;
                }
                sleep(RELIST_WAIT).await;
                continue;
            }
        };
        if pass_on(store.watch(prefix, revision + 1), read, sender).await.is_err() {
            return;
        }
    }
}

/// Passes a watch on until it has to be started again (`Ok`) or nobody listens (`Err`).
async fn pass_on<T>(
    mut watch: BoxStream<'static, Result<Events, StoreError>>,
    read: &(impl Fn(Entry) -> Option<T> + Sync),
    sender: &mpsc::Sender<Change<T>>,
) -> Result<(), mpsc::error::SendError<Change<T>>> {
    while let Some(item) = watch.next().await {
        match item {
            Ok(Events { revision, events }) => {
                let events = events.into_iter().filter_map(|event| match event {
                    Event::Put(entry) => read(entry).map(Event::Put),
                    Event::Deleted(key, at) => Some(Event::Deleted(key, at)),
                });
                sender.send(Change::Events(Events { revision, events: events.collect() })).await?;
            }
            Err(error) => {
                sender.send(stale(&error)).await?;
                if !error.is_passing() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn stale<T>(error: &StoreError) -> Change<T> {
    match error {
        StoreError::WentBack { seen, now } => Change::WentBack { seen: *seen, now: *now },
        other => Change::Stale(other.chain()),
    }
}

impl Event {
    /// The key that changed.
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted(key, _) => key,
        }
    }
}
