//! One watch: a task that reads etcd's stream and, where it breaks, opens it again from the revision after the last
//! one it passed on. So the reader sees every change once, in order, whatever happens to connections.
//!
//! - Before a stream is opened, a linearizable read on the same endpoint shows that the store has come as far as
//!   the watch: etcd would silently wait for a revision that a restored store reaches in a week.
//! - A revision's changes come in one message (they are not asked for in fragments), so the revision of the last
//!   change in a message is complete. The header's may be ahead of it and is not used.
//! - A quiet stream is asked for progress now and then. The answer shows that the member lives; its revision is
//!   not trusted, since 3.4 and 3.5 may answer before changes that are on their way. Progress that etcd reports by
//!   itself comes in order, and is trusted.

use std::{sync::Arc, time::Duration};

use etcd_client::{WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use futures::stream::BoxStream;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use super::{
    convert::event,
    failure::{Failed, Failure, Kind, advice},
    history::{History, Restored},
    pool::{Endpoint, Pool},
};
use crate::store::{Events, Prefix, Revision, StoreError};

/// Messages that wait for their reader. Behind them etcd itself holds the rest back.
const PENDING_MESSAGES: usize = 64;

/// A stream that was quiet for this long is asked for progress.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// A stream that has said nothing for this long, although it was asked, is given up: the peer is frozen, or cut off
/// without a word.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Waits between attempts to open: none at first, since another endpoint may be well.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How often the reader is told that the store is still away.
const TELL_EVERY: Duration = Duration::from_secs(2);

type Item = Result<Events, StoreError>;

/// Starts watching. Dropping the stream ends the task.
pub(super) fn watch(
    pool: Arc<Pool>,
    history: Arc<History>,
    prefix: Prefix,
    from: Revision,
) -> BoxStream<'static, Item> {
    let (sender, receiver) = mpsc::channel(PENDING_MESSAGES);
    // Subscribed here and not in the task: a restore noticed right after this call concerns this watch.
    let restored = history.subscribe();
    let mut watcher =
        Watcher { pool, history, prefix, next: from.max(Revision::new(1)), restored, sender: sender.clone() };
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = watcher.run() => {}
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

struct Watcher {
    pool: Arc<Pool>,
    history: Arc<History>,
    prefix: Prefix,
    /// The first revision that has not been passed on.
    next: Revision,
    restored: watch::Receiver<Option<Restored>>,
    sender: mpsc::Sender<Item>,
}

/// Why a stream ended.
enum End {
    /// For good: the error is the reader's.
    Final(StoreError),
    /// It can be opened again; says whether it had been well, and what was wrong.
    Broken { was_well: bool, error: StoreError },
    /// The reader is gone.
    Unread,
}

/// What a message means.
enum Message {
    /// Changes, or progress: everything up to the revision is there.
    Complete(Events),
    /// The member lives.
    Alive,
    /// The watch cannot go on.
    Final(StoreError),
    /// The member ended the watch.
    Cancelled(StoreError),
}

impl Watcher {
    async fn run(&mut self) {
        let (mut failures, mut wait, mut told) = (0, Duration::ZERO, None::<Instant>);
        loop {
            let index = self.pool.preferred();
            match self.follow(index).await {
                End::Unread => return,
                End::Final(error) => {
                    // The stream ends in any case; with nobody there it ends unheard.
                    self.sender.send(Err(error)).await.ok();
                    return;
                }
                End::Broken { was_well, error } => {
                    debug!(prefix = ?self.prefix, next = %self.next, error = error.chain(), "watch broke");
                    self.pool.avoid(index);
                    if was_well {
                        (failures, wait, told) = (0, Duration::ZERO, None);
                        continue;
                    }
                    failures += 1;
                    let all_failed = failures >= self.pool.endpoints().len();
                    if all_failed && told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                        told = Some(Instant::now());
                        if self.sender.send(Err(error)).await.is_err() {
                            return;
                        }
                    }
                    if all_failed {
                        wait = (wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
                    }
                    sleep(wait).await;
                }
            }
        }
    }

    /// Opens a stream at one endpoint and passes it on until it ends.
    async fn follow(&mut self, index: usize) -> End {
        let pool = Arc::clone(&self.pool);
        let Some(endpoint) = pool.endpoints().get(index) else {
            return End::Final(StoreError::Refused("there is no such endpoint".into()));
        };
        let (requests, responses) = match self.open(endpoint).await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        self.pass_on(endpoint, requests, responses).await
    }

    /// Checks that the store has come as far as this watch, and opens a stream.
    async fn open(&self, endpoint: &Endpoint) -> Result<(WatchRequestSender, WatchResponseStream), End> {
        let broken = |failed: Failed| End::Broken { was_well: false, error: unavailable(failed) };
        let mark = self.history.mark();
        let read = |endpoint: &Endpoint| {
            let (mut kv, key) = (endpoint.kv.clone(), self.prefix.as_bytes().to_vec());
            async move { kv.get(key, None).await }
        };
        let within = self.pool.request_timeout;
        let reply = self.pool.attempt(endpoint, within, &read).await.map_err(broken)?;
        let now = self.history.check(mark, reply.header()).map_err(End::Final)?;
        if self.next > now + 1 {
            return Err(End::Final(StoreError::WentBack { seen: self.next - 1, now }));
        }
        let open = |endpoint: &Endpoint| {
            let mut client = endpoint.watch.clone();
            let options = WatchOptions::new()
                .with_range(self.prefix.end())
                .with_start_revision(self.next.get())
                .with_progress_notify();
            let key = self.prefix.as_bytes().to_vec();
            async move { client.watch(key, Some(options)).await }
        };
        let stream = self.pool.attempt(endpoint, within, &open).await.map_err(broken)?;
        Ok(stream.split())
    }

    async fn pass_on(
        &mut self,
        endpoint: &Endpoint,
        mut requests: WatchRequestSender,
        mut responses: WatchResponseStream,
    ) -> End {
        let opened = Instant::now();
        let mut heard = opened;
        loop {
            // Both arms lose nothing when the other is taken: messages stay in the stream, the value in the channel.
            let message = tokio::select! {
                message = timeout(ASK_AFTER, responses.message()) => message,
                Ok(()) = self.restored.changed() => {
                    let Some(Restored { seen, now }) = *self.restored.borrow_and_update() else { continue };
                    return End::Final(StoreError::WentBack { seen, now });
                }
            };
            let failed = match message {
                Ok(Ok(Some(response))) => {
                    heard = Instant::now();
                    if let Err(end) = self.take(endpoint, &response).await {
                        return end;
                    }
                    continue;
                }
                Ok(Ok(None)) => Failed::saying(&endpoint.address, Failure::NotDone, "the watch ended".into()),
                Ok(Err(error)) => Failed::new(&endpoint.address, &error),
                Err(_) if heard.elapsed() >= GIVE_UP_AFTER => {
                    Failed::no_answer(&endpoint.address, GIVE_UP_AFTER)
                }
                Err(_) => match timeout(ASK_AFTER, requests.request_progress()).await {
                    Ok(Err(error)) => Failed::new(&endpoint.address, &error),
                    // Queued, or too many wait already: it shows in the silence.
                    Ok(Ok(())) | Err(_) => continue,
                },
            };
            // One that breaks as soon as it is open must not be opened again without a wait.
            let was_well = heard - opened >= ASK_AFTER;
            return End::Broken { was_well, error: unavailable(failed) };
        }
    }

    /// Passes one message on.
    async fn take(&mut self, endpoint: &Endpoint, response: &WatchResponse) -> Result<(), End> {
        let events = match read(endpoint, response) {
            Message::Complete(events) => events,
            Message::Alive => Events { revision: self.next - 1, events: Vec::new() },
            Message::Final(error) => return Err(End::Final(error)),
            Message::Cancelled(error) => {
                // What looks like a missing permission may be a token that has run out.
                self.pool.distrust_token(endpoint);
                return Err(End::Broken { was_well: false, error });
            }
        };
        self.next = self.next.max(events.revision + 1);
        self.sender.send(Ok(events)).await.map_err(|_| End::Unread)
    }
}

fn read(endpoint: &Endpoint, response: &WatchResponse) -> Message {
    if response.canceled() {
        if response.compact_revision() > 0 {
            return Message::Final(StoreError::Compacted(Revision::new(response.compact_revision())));
        }
        let reason = response.cancel_reason();
        let help = advice(reason).map(|advice| format!("; {advice}")).unwrap_or_default();
        let text = format!("the watch was cancelled: {reason}{help}");
        let failed = Failed::saying(&endpoint.address, Failure::NotDone, text);
        return Message::Cancelled(unavailable(failed));
    }
    if let Some(last) = response.events().last().and_then(etcd_client::Event::kv) {
        let revision = last.mod_revision();
        return Message::Complete(Events {
            revision: Revision::new(revision),
            events: response.events().iter().filter_map(event).collect(),
        });
    }
    // The answer to a question for progress belongs to no watch (-1).
    match response.header() {
        Some(header) if response.watch_id() >= 0 && !response.created() => {
            Message::Complete(Events { revision: Revision::new(header.revision()), events: Vec::new() })
        }
        _ => Message::Alive,
    }
}

/// A watch goes on by itself, whatever was wrong: a permission may be granted, a password be set.
fn unavailable(failed: Failed) -> StoreError {
    match failed.into_store_error(Kind::Read, None, None) {
        StoreError::Refused(cause) | StoreError::Full(cause) => StoreError::Unavailable(cause),
        passing if passing.is_passing() => passing,
        other => StoreError::Unavailable(other.to_string().into()),
    }
}
