//! What a connection is at: what is asked on it, and how its client gets on.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use hyper::{
    Request, Response, Version,
    body::{Body, Bytes, Frame, Incoming, SizeHint},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::Limits;

/// Why a connection was closed that its client might have wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// All were in use, and it was the newest.
    Full,
    /// It was idle the longest when another one came and all were taken.
    Crowded,
    /// It was idle for too long.
    Idle,
    /// The head of its request did not come in time.
    SlowHead,
    /// Its answer was not read.
    Unread,
}

impl Reason {
    pub(super) fn count(self) {
        let reason = match self {
            Self::Full => "full",
            Self::Crowded => "crowded",
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::Unread => "unread",
        };
        metrics::counter!("quorate_http_connections_closed_total", "reason" => reason).increment(1);
    }
}

/// The connections of a server that are idle, the one that has been so the longest first.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Idle>);

#[derive(Debug, Default)]
struct Idle {
    next: u64,
    by_place: BTreeMap<u64, Arc<Connection>>,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock()
    }

    /// Closes the one that has been idle the longest; false: none is.
    pub(super) fn make_room(&self) -> bool {
        let mut idle = self.lock();
        // What was answered may still be on its way.
        let is_written = |connection: &Connection| !connection.is_writing.load(Ordering::SeqCst);
        let first = idle.by_place.iter().find(|(_, connection)| is_written(connection));
        let Some(place) = first.map(|(place, _)| *place) else { return false };
        let Some(connection) = idle.by_place.remove(&place) else { return false };
        drop(idle);
        Reason::Crowded.count();
        connection.close.cancel();
        true
    }

    fn enter(&self, connection: Arc<Connection>) -> u64 {
        let mut idle = self.lock();
        idle.next += 1;
        let place = idle.next;
        idle.by_place.insert(place, connection);
        place
    }

    fn leave(&self, place: u64) {
        self.lock().by_place.remove(&place);
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    all: Arc<Connections>,
    close: CancellationToken,
    /// The client takes no bytes. Beside the state: it is asked for while all idle connections are locked.
    is_writing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Requests whose head is here and whose answer has not been taken over to be sent.
    asked: usize,
    /// The place among the idle ones, and since when.
    idle: Option<(u64, Instant)>,
    /// When the first byte of a head came, whose end has not.
    head: Option<Instant>,
    /// Bytes may then come at any time, and be no request.
    is_http2: bool,
    /// Since when the client takes no bytes.
    unread: Option<Instant>,
    /// Since when which answers could go on and are not fetched: HTTP/2 lets a client hold up each by itself.
    held_up: BTreeMap<u64, Instant>,
    answers: u64,
    is_gone: bool,
}

/// The time that a connection is open.
pub(super) struct Open(Arc<Connection>);

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("quorate_http_connections").decrement(1);
        let mut state = self.0.lock();
        state.is_gone = true;
        self.0.set_busy(&mut state);
    }
}

impl Connection {
    pub(super) fn new(all: &Arc<Connections>, close: CancellationToken) -> Arc<Self> {
        let (is_writing, state) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { all: all.clone(), close, is_writing, state })
    }

    /// From here on it can be told to give way.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        metrics::gauge!("quorate_http_connections").increment(1);
        self.set_idle(&mut self.lock());
        Open(self.clone())
    }

    /// Resolves when it is to be closed. Cancel safe.
    pub(super) async fn closed(&self) {
        self.close.cancelled().await;
    }

    /// Why it is to be closed now, if it is.
    pub(super) fn overdue(&self, limits: &Limits) -> Option<Reason> {
        let state = self.lock();
        let is_over = |since: Option<Instant>, limit| since.is_some_and(|since| since.elapsed() >= limit);
        if is_over(state.unread, limits.unread)
            || is_over(state.held_up.values().min().copied(), limits.unread)
        {
            return Some(Reason::Unread);
        }
        if state.asked > 0 {
            return None;
        }
        if !state.is_http2 && is_over(state.head, limits.head) {
            return Some(Reason::SlowHead);
        }
        is_over(state.idle.map(|(_, since)| since), limits.idle).then_some(Reason::Idle)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn set_idle(self: &Arc<Self>, state: &mut State) {
        if !state.is_gone {
            state.idle = Some((self.all.enter(self.clone()), Instant::now()));
        }
    }

    fn set_busy(&self, state: &mut State) {
        if let Some((place, _)) = state.idle.take() {
            self.all.leave(place);
        }
    }

    fn bytes_came(&self) {
        let mut state = self.lock();
        if state.asked == 0 && state.head.is_none() {
            state.head = Some(Instant::now());
        }
    }

    fn wrote(&self, is_pending: bool) {
        self.is_writing.store(is_pending, Ordering::SeqCst);
        let mut state = self.lock();
        if is_pending {
            state.unread.get_or_insert_with(Instant::now);
        } else {
            state.unread = None;
        }
    }

    /// The head of a request is here.
    fn ask(self: &Arc<Self>, is_http2: bool) -> Asked {
        let mut state = self.lock();
        state.asked += 1;
        state.head = None;
        state.is_http2 |= is_http2;
        self.set_busy(&mut state);
        state.answers += 1;
        Asked { connection: self.clone(), answer: state.answers }
    }
}

/// A request from the end of its head to the end of its answer.
struct Asked {
    connection: Arc<Connection>,
    answer: u64,
}

impl Asked {
    /// The answer can go on, and waits until it is fetched.
    fn wait(&self) {
        self.connection.lock().held_up.insert(self.answer, Instant::now());
    }

    fn fetched(&self) {
        self.connection.lock().held_up.remove(&self.answer);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.connection.lock();
        state.held_up.remove(&self.answer);
        state.asked -= 1;
        if state.asked == 0 {
            self.connection.set_idle(&mut state);
        }
    }
}

/// Answers the requests of a connection.
pub(super) struct Asking<S> {
    pub(super) service: S,
    pub(super) connection: Arc<Connection>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Asking<S>
where
    S: tower::Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let asked = self.connection.ask(request.version() == Version::HTTP_2);
        let service = self.service.clone();
        Box::pin(async move {
            let response = service.oneshot(request).await?;
            asked.wait();
            Ok(response.map(|body| Answer { body, asked }))
        })
    }
}

/// The body of an answer, which says whether it is fetched.
pub(super) struct Answer<B> {
    body: B,
    asked: Asked,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.asked.fetched();
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.asked.wait();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A client's end, which says how the client gets on.
pub(super) struct Watched {
    pub(super) stream: TcpStream,
    pub(super) connection: Arc<Connection>,
}

impl Watched {
    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.connection.wrote(polled.is_pending());
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.connection.bytes_came();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
