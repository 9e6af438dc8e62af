//! A network link that can be cut, stalled or slowed down: a TCP proxy between a client and a server.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What is passed on in one piece.
const PIECE_BYTES: usize = 64 * 1024;

/// What the link does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Passes them on, each piece so much later.
    Open(Duration),
    /// Keeps them: connections stay, and nothing comes through, as when packets vanish.
    Stalled,
    /// Has no connections.
    Cut,
}

/// A proxy, ended when dropped.
pub struct Link {
    address: String,
    state: watch::Sender<State>,
    proxy: JoinHandle<()>,
}

impl Link {
    /// A link to `host:port`.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
        let address = listener.local_addr().expect("the listener has an address").to_string();
        let (state, seen) = watch::channel(State::Open(Duration::ZERO));
        let proxy = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), seen.clone()));
            }
        });
        Self { address, state, proxy }
    }

    /// `host:port` of this end.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Closes all connections, and new ones at once.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets no more bytes through. Connections stay, and what is sent meanwhile arrives after the mending.
    pub fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    /// Passes everything on, and each piece so much later.
    pub fn delay(&self, by: Duration) {
        self.state.send_replace(State::Open(by));
    }

    /// Lets everything through at once.
    pub fn mend(&self) {
        self.delay(Duration::ZERO);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.send_replace(State::Cut);
        self.proxy.abort();
    }
}

async fn carry(client: TcpStream, server: String, state: watch::Receiver<State>) {
    let mut cut = state.clone();
    let through = async {
        let server = TcpStream::connect(server).await?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        // Each direction ends by itself, as the ends of a connection do.
        tokio::join!(pass(from_client, to_server, state.clone()), pass(from_server, to_client, state));
        Ok::<_, io::Error>(())
    };
    tokio::select! {
        // How a connection ends is the client's to notice, as on a real link.
        _ = through => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

/// Passes one direction on, to its end.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut piece).await {
        let by = match state.wait_for(|state| *state != State::Stalled).await.map(|state| *state) {
            Ok(State::Open(by)) => by,
            _ => return,
        };
        if !by.is_zero() {
            sleep(by).await;
        }
        if to.write_all(&piece[..bytes]).await.is_err() {
            return;
        }
    }
    // The other end hears of it as it would without us; that it has gone already is no failure.
    to.shutdown().await.ok();
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn answer(client: &mut TcpStream) -> io::Result<u8> {
        timeout(SOON, client.read_u8()).await.expect("an answer in time")
    }

    #[tokio::test]
    async fn what_is_sent_over_a_stalled_link_arrives_when_it_is_mended() {
        let link = Link::to(echo().await).await;
        let mut client = TcpStream::connect(link.address()).await.unwrap();
        client.write_u8(1).await.unwrap();
        assert_eq!(answer(&mut client).await.unwrap(), 1);
        link.stall();
        client.write_u8(2).await.unwrap();
        let silent = timeout(Duration::from_millis(200), client.read_u8()).await;
        assert!(silent.is_err(), "{silent:?}");
        link.mend();
        assert_eq!(answer(&mut client).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_slow_link_takes_its_time_and_a_cut_one_ends() {
        let link = Link::to(echo().await).await;
        let mut client = TcpStream::connect(link.address()).await.unwrap();
        let (delay, begun) = (Duration::from_millis(50), Instant::now());
        link.delay(delay);
        client.write_u8(1).await.unwrap();
        assert_eq!(answer(&mut client).await.unwrap(), 1);
        assert!(begun.elapsed() >= 2 * delay);
        link.cut();
        assert!(answer(&mut client).await.is_err());
    }
}
