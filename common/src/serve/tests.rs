use axum::{Router, routing::get};
use futures::stream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use super::*;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing is overdue within a test.
const LAX: Limits =
    Limits { connections: 100, head: PATIENCE, idle: PATIENCE, unread: PATIENCE, drain: PATIENCE };

/// Sooner than any test ends.
const SOON: Duration = Duration::from_millis(100);

/// A server of a test's own.
struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    /// Lets `/wait` go on.
    go: Arc<Notify>,
    /// Told when somebody waits there.
    waits: mpsc::UnboundedReceiver<()>,
    /// Told when an answer of `/endless` is given up.
    given_up: mpsc::UnboundedReceiver<()>,
    serving: JoinHandle<()>,
}

impl Served {
    async fn start(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let (go, (waiting, waits)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
        let (giving_up, given_up) = mpsc::unbounded_channel();
        let notified = go.clone();
        let wait = async move || {
            waiting.send(()).unwrap();
            notified.notified().await;
            "waited"
        };
        let endless = async move || {
            let told = Told(giving_up);
            let piece = || Ok::<_, Infallible>(vec![b'x'; 64 * 1024]);
            let pieces = stream::repeat_with(move || (&told, piece()).1);
            axum::body::Body::from_stream(pieces)
        };
        let router = Router::new()
            .route("/", get(async || "here"))
            .route("/wait", get(wait))
            .route("/endless", get(endless));
        let serving = tokio::spawn(serve(listener, limits, move |_| router.clone(), shutdown.clone()));
        Self { address, shutdown, go, waits, given_up, serving }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }
}

/// Tells when it is dropped.
struct Told(mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        // At the end of a test nobody listens.
        self.0.send(()).ok();
    }
}

async fn told(news: &mut mpsc::UnboundedReceiver<()>) {
    timeout(PATIENCE, news.recv()).await.expect("news in time").expect("the server lives");
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
    }

    /// Reads until `end` has come.
    async fn reads(&mut self, end: &str) {
        let mut read = Vec::new();
        let reading = async {
            while !read.ends_with(end.as_bytes()) {
                let byte = self.0.read_u8().await.expect("the connection stands");
                read.push(byte);
            }
        };
        timeout(PATIENCE, reading).await.expect("an answer in time");
    }

    async fn is_answered(&mut self) {
        self.ask("/").await;
        self.reads("here").await;
    }

    /// Waits until the server has closed it.
    async fn is_closed(&mut self) {
        let ended = timeout(PATIENCE, self.0.read(&mut [0; 1024])).await.expect("an end in time");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

// Once: a few hundred idle connections stopped all runs of a process; they took its file handles without a
// bound.
#[tokio::test]
async fn the_one_that_has_been_idle_the_longest_gives_way() {
    let mut served = Served::start(Limits { connections: 3, ..LAX }).await;
    let (mut busy, mut first, mut second) =
        (served.connect().await, served.connect().await, served.connect().await);
    busy.ask("/wait").await;
    told(&mut served.waits).await;
    // Idle for longer than the second, although it came before.
    second.is_answered().await;
    let mut third = served.connect().await;
    third.is_answered().await;
    first.is_closed().await;
    second.is_answered().await;
    served.go.notify_one();
    busy.reads("waited").await;
}

#[tokio::test]
async fn when_none_is_idle_the_newest_is_closed_and_those_under_way_are_not() {
    let mut served = Served::start(Limits { connections: 1, ..LAX }).await;
    let mut busy = served.connect().await;
    busy.ask("/wait").await;
    told(&mut served.waits).await;
    served.connect().await.is_closed().await;
    served.go.notify_one();
    busy.reads("waited").await;
    busy.is_answered().await;
}

#[tokio::test]
async fn a_slow_head_ends_its_connection_and_one_that_has_not_begun_stays() {
    let served = Served::start(Limits { head: SOON, ..LAX }).await;
    let (mut slow, mut idle) = (served.connect().await, served.connect().await);
    slow.send("GET / HTTP/1.1\r\nhost: loc").await;
    slow.is_closed().await;
    idle.is_answered().await;
    // Also of the second request on a connection.
    idle.send("GET / HT").await;
    idle.is_closed().await;
}

#[tokio::test]
async fn what_is_idle_for_too_long_ends_and_what_waits_for_its_answer_does_not() {
    // Long enough to ask within it.
    let mut served = Served::start(Limits { idle: 10 * SOON, ..LAX }).await;
    let (mut silent, mut asked, mut busy) =
        (served.connect().await, served.connect().await, served.connect().await);
    busy.ask("/wait").await;
    told(&mut served.waits).await;
    asked.is_answered().await;
    silent.is_closed().await;
    asked.is_closed().await;
    served.go.notify_one();
    busy.reads("waited").await;
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_given_up() {
    let mut served = Served::start(Limits { unread: SOON, ..LAX }).await;
    let mut client = served.connect().await;
    client.ask("/endless").await;
    told(&mut served.given_up).await;
}

/// Its connection takes bytes all the time: each answer has a window of its own, and this client opens none.
#[tokio::test]
async fn an_answer_that_is_not_read_is_given_up_over_http2_as_well() {
    let mut served = Served::start(Limits { unread: SOON, ..LAX }).await;
    let mut client = served.connect().await;
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // SETTINGS with INITIAL_WINDOW_SIZE 0.
    client.0.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await.unwrap();
    // HEADERS of stream 1, its end: GET, http, the authority and the path.
    let head = [&[0x82, 0x86, 0x41, 9][..], b"localhost", &[0x44, 8], b"/endless"].concat();
    let length = u8::try_from(head.len()).unwrap();
    client.0.write_all(&[&[0, 0, length, 1, 0x05, 0, 0, 0, 1][..], &head].concat()).await.unwrap();
    told(&mut served.given_up).await;
}

#[tokio::test]
async fn at_the_end_answers_under_way_are_finished_and_idle_connections_are_not_waited_for() {
    let mut served = Served::start(LAX).await;
    let (mut busy, mut idle) = (served.connect().await, served.connect().await);
    idle.is_answered().await;
    busy.ask("/wait").await;
    told(&mut served.waits).await;
    served.shutdown.cancel();
    idle.is_closed().await;
    assert!(TcpStream::connect(served.address).await.is_err());
    served.go.notify_one();
    busy.reads("waited").await;
    timeout(PATIENCE, served.serving).await.expect("it ends in time").unwrap();
}

#[tokio::test]
async fn answers_that_take_too_long_at_the_end_are_given_up() {
    let mut served = Served::start(Limits { drain: SOON, ..LAX }).await;
    let mut busy = served.connect().await;
    busy.ask("/wait").await;
    told(&mut served.waits).await;
    served.shutdown.cancel();
    busy.is_closed().await;
    timeout(PATIENCE, served.serving).await.expect("it ends in time").unwrap();
}

#[tokio::test]
async fn without_a_handle_an_idle_connection_gives_way_and_the_server_goes_on() {
    let mut door = Door::new(&LAX, CancellationToken::new());
    let connection = Connection::new(&door.connections, CancellationToken::new());
    let _open = connection.open();
    for _ in 0..2 {
        assert!(door.open(Err(io::Error::from_raw_os_error(24))).await.is_none());
        assert!(door.is_failing);
    }
    timeout(PATIENCE, connection.closed()).await.expect("it gives way");
    assert!(door.open(Err(io::ErrorKind::ConnectionAborted.into())).await.is_none());
}
