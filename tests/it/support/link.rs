//! A network link that can be cut: a TCP proxy between a client and a server.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A proxy, ended when dropped.
pub(crate) struct Link {
    address: String,
    whole: watch::Sender<bool>,
    proxy: JoinHandle<()>,
}

impl Link {
    /// A link to `host:port`.
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
        let address = listener.local_addr().expect("the listener has an address").to_string();
        let (whole, state) = watch::channel(true);
        let proxy = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), state.clone()));
            }
        });
        Self { address, whole, proxy }
    }

    /// `host:port` of this end.
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// Closes all connections, and new ones at once.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Lets new connections through.
    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.whole.send_replace(false);
        self.proxy.abort();
    }
}

async fn carry(mut client: TcpStream, server: String, mut whole: watch::Receiver<bool>) {
    let through = async {
        let mut server = TcpStream::connect(server).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    tokio::select! {
        // How a connection ends is the client's to notice, as on a real link.
        _ = through => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}
