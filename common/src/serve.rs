//! Serves HTTP on a listener, HTTP/1 and HTTP/2 with prior knowledge, with a bound on all that a client can hold.
//!
//! Connections take file handles, and a process without handles can neither start a run nor reach its stores. So there is
//! a number of them that is not exceeded: when one more comes, the connection that has been idle the longest gives way
//! to it; when none is idle, the new one is closed at once. A connection on which nothing is asked ends after a while, one
//! that does not get on with the head of its request sooner, and so does one whose client does not read its answer. Each is
//! counted by its reason. Handlers bound their own time.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

pub use hyper::body::Incoming;
use hyper::{
    Request, Response,
    body::{Body, Bytes},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use nix::sys::resource::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use connection::{Asking, Connection, Connections, Open, Reason, Watched};

mod connection;
#[cfg(test)]
mod tests;

/// What a server lets its clients hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// How long a connection may be open while nothing is asked.
    pub idle: Duration,
    /// How long an answer may wait for its reader.
    pub unread: Duration,
    /// How long answers under way may take after the order to end.
    pub drain: Duration,
}

/// More clients than a page, its proxies and all managers of a cluster make.
const MOST_CONNECTIONS: usize = 4096;

/// Where so few handles are left, the server is still of use.
const FEWEST_CONNECTIONS: usize = 8;

/// A soft limit that is usual.
const USUAL_HANDLES: u64 = 1024;

impl Default for Limits {
    /// Half of the handles that the process may have open are kept for its runs and its stores.
    fn default() -> Self {
        let handles = getrlimit(Resource::RLIMIT_NOFILE).map_or(USUAL_HANDLES, |(soft, _)| soft);
        let half = usize::try_from(handles / 2).unwrap_or(usize::MAX);
        Self {
            connections: half.clamp(FEWEST_CONNECTIONS, MOST_CONNECTIONS),
            head: Duration::from_secs(15),
            // Longer than proxies keep theirs, so that it is they who close.
            idle: Duration::from_secs(90),
            unread: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// How often a connection is looked at: what is overdue ends by half as much later.
    fn look_every(&self) -> Duration {
        (self.head.min(self.idle).min(self.unread) / 2).max(Duration::from_millis(1))
    }
}

/// Between two tries to accept while there is no handle for it.
const RETRY: Duration = Duration::from_millis(200);

/// How often somebody is told that clients are turned away.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A client that has gone without a word is found so.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Requests of one connection at the same time: HTTP/2 has no other bound.
const MOST_STREAMS: u32 = 100;

/// Serves until `shutdown`, then lets answers under way finish. `service` gives what answers a client. Dropped, it ends all
/// connections.
pub async fn serve<S, B>(
    listener: TcpListener,
    limits: Limits,
    service: impl Fn(SocketAddr) -> S,
    shutdown: CancellationToken,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let tasks = TaskTracker::new();
    let ending = CancellationToken::new();
    let _ended = ending.clone().drop_guard();
    let mut door = Door::new(&limits, ending);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Some((stream, peer)) = door.open(accepted).await else { continue };
        let Some(permit) = door.permit().await else { continue };
        let connection = Connection::new(&door.connections, door.ending.child_token());
        // Here, so that they stand in the order in which they came.
        let place = (connection.open(), permit);
        let service = Asking { service: service(peer), connection };
        tasks.spawn(serve_one(stream, service, place, limits, shutdown.clone()));
    }
    // Else clients would be let in, and wait for an answer until the end.
    drop(listener);
    tasks.close();
    if timeout(limits.drain, tasks.wait()).await.is_err() {
        tracing::debug!(connections = tasks.len(), "some answers were not finished in time");
    }
}

/// Decides who is let in.
struct Door {
    permits: Arc<Semaphore>,
    connections: Arc<Connections>,
    ending: CancellationToken,
    /// Nothing can be accepted; it was said.
    is_failing: bool,
    said: Option<Instant>,
}

impl Door {
    fn new(limits: &Limits, ending: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(limits.connections));
        Self { permits, connections: Arc::default(), ending, is_failing: false, said: None }
    }

    /// What was accepted. An error never ends the server: it is waited out.
    async fn open(
        &mut self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
    ) -> Option<(TcpStream, SocketAddr)> {
        match accepted {
            Ok(accepted) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("connections are accepted again");
                }
                Some(accepted)
            }
            Err(error) if is_of_the_client(&error) => None,
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "cannot accept connections; trying again until it can be done");
                }
                // Most likely there is no handle left: one that nobody needs is given back.
                self.connections.make_room();
                sleep(RETRY).await;
                None
            }
        }
    }

    /// Room for one more, or none.
    async fn permit(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        if self.connections.make_room() {
            // Whoever gives way does so at once.
            return self.permits.clone().acquire_owned().await.ok();
        }
        Reason::Full.count();
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            tracing::warn!(
                "all connections that this process may have are in use: new ones are closed at once"
            );
            self.said = Some(Instant::now());
        }
        None
    }
}

/// It was gone before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(error.kind(), E::ConnectionAborted | E::ConnectionReset | E::ConnectionRefused)
}

async fn serve_one<S, B>(
    stream: TcpStream,
    service: Asking<S>,
    _place: (Open, OwnedSemaphorePermit),
    limits: Limits,
    shutdown: CancellationToken,
) where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = service.connection.clone();
    // An answer in two pieces would wait for the client's delayed acknowledgement; without it it is only slower.
    stream.set_nodelay(true).ok();
    let builder = builder();
    let io = TokioIo::new(Watched { stream, connection: connection.clone() });
    let mut serving = std::pin::pin!(builder.serve_connection(io, service));
    let mut look = interval(limits.look_every());
    let mut is_told = false;
    loop {
        tokio::select! {
            biased;
            () = connection.closed() => return,
            served = serving.as_mut() => {
                if let Err(error) = served {
                    // A client that is gone, or that speaks something else.
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            () = shutdown.cancelled(), if !is_told => {
                is_told = true;
                serving.as_mut().graceful_shutdown();
            }
            _ = look.tick() => if let Some(reason) = connection.overdue(&limits) {
                reason.count();
                return;
            }
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // The head has its time by our own watch, which tells a slow one from one that has not begun.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .max_concurrent_streams(MOST_STREAMS);
    builder
}
