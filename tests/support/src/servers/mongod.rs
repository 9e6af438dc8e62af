//! MongoDB.

use std::time::Duration;

use mongodb::{Client, bson::doc, options::ClientOptions};
use tokio::sync::OnceCell;

use super::{
    program,
    server::{Room, Server, free_port},
    setting,
};

/// A server of its own, killed when dropped.
pub struct Mongod {
    server: Server,
    uri: String,
}

/// The URI of a MongoDB that other tests use too: keep to [`super::unique_database`].
pub async fn shared_mongodb() -> String {
    static SHARED: OnceCell<Mongod> = OnceCell::const_new();
    match setting("QUORATE_TEST_MONGODB_URI") {
        Some(uri) => uri,
        // Never dropped: the keeper ends it with this process.
        None => SHARED.get_or_init(Mongod::start).await.uri(),
    }
}

impl Mongod {
    pub async fn start() -> Self {
        Self::start_in(&Room::temporary()).await
    }

    /// The same with its folder elsewhere.
    pub async fn start_in(room: &Room) -> Self {
        let port = free_port().to_string();
        let program = program("QUORATE_TEST_MONGOD", "mongod");
        let server = Server::start(room, "mongod", |dir| {
            let fixed =
                ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--quiet"];
            let mut command = vec![program.into_os_string(), "--dbpath".into(), dir.into()];
            command.extend(fixed.iter().chain(&["--port", &port]).map(Into::into));
            command
        });
        let mongod = Self { server, uri: format!("mongodb://127.0.0.1:{port}/") };
        mongod.wait_ready().await;
        mongod
    }

    async fn wait_ready(&self) {
        let answers = || async {
            let mut options = ClientOptions::parse(&self.uri).await.map_err(|error| error.to_string())?;
            options.server_selection_timeout = Some(Duration::from_secs(1));
            let client = Client::with_options(options).map_err(|error| error.to_string())?;
            let ping = client.database("admin").run_command(doc! { "ping": 1 }).await;
            ping.map(|_| ()).map_err(|error| error.to_string())
        };
        self.server.wait_ready(answers).await;
    }

    /// `mongodb://host:port/`.
    pub fn uri(&self) -> String {
        self.uri.clone()
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        self.server.pid()
    }

    pub async fn freeze(&self) {
        self.server.freeze().await;
    }

    pub fn thaw(&self) {
        self.server.thaw();
    }

    pub fn kill_9(&mut self) {
        self.server.kill_9();
    }

    /// Starts it again with the same data and port, killing it first if it runs, and waits until it answers.
    pub async fn restart(&mut self) {
        self.server.kill_9();
        self.server.spawn();
        self.wait_ready().await;
    }
}
