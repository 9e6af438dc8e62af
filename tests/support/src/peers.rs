//! The links between the members of an etcd cluster, each direction of its own, so that one member can be cut off from
//! the others while clients still reach all of them.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Mutex,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::link::Link;

/// The header in which a member says who it is, in hexadecimal: etcd's `rafthttp`. What comes without is a question for
/// a version or the renewal of a lease, and only a member that is led asks it.
const FROM: &str = "x-server-from:";

/// The most of a request's head that is looked at.
const HEAD_BYTES: usize = 8 * 1024;

/// A head that is not whole yet is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A head that is not whole by then says nothing.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Who asks: a member's id; 0 for one that does not say it.
type Asks = u64;

/// What is done with everything between one member and the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severed {
    /// Connections break, and new ones too.
    Cut,
    /// Connections stay, and nothing comes through.
    Silent,
}

/// A proxy in front of each member's peer port, ended when dropped.
pub struct PeerLinks {
    fronts: Vec<Front>,
}

/// What is in front of one member.
struct Front {
    address: String,
    links: Arc<Links>,
    accepts: JoinHandle<()>,
}

/// The links to one member, by who asks.
struct Links {
    member: String,
    from: Mutex<HashMap<Asks, Link>>,
}

impl PeerLinks {
    /// To the peer ports (`host:port`) of a cluster's members.
    pub async fn to(members: impl IntoIterator<Item = String>) -> Self {
        let mut fronts = Vec::new();
        for member in members {
            fronts.push(Front::of(member).await);
        }
        Self { fronts }
    }

    /// `host:port` of what is in front of a member: what it is to tell the others.
    pub fn address(&self, n: usize) -> String {
        self.fronts[n].address.clone()
    }

    /// Cuts the member with this place and id off from the others, in both directions.
    pub async fn sever(&self, n: usize, id: u64, how: Severed) {
        let break_off = |link: &Link| match how {
            Severed::Cut => link.cut(),
            Severed::Silent => link.stall(),
        };
        for (place, front) in self.fronts.iter().enumerate() {
            if place == n {
                // Whoever asks for the first time just then is one of these.
                front.links.with(0, |_| ()).await;
                front.links.from.lock().await.values().for_each(break_off);
            } else {
                front.links.with(id, break_off).await;
            }
        }
    }

    /// Lets everything through again.
    pub async fn mend(&self) {
        for front in &self.fronts {
            front.links.from.lock().await.values().for_each(Link::mend);
        }
    }
}

impl Front {
    async fn of(member: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
        let address = listener.local_addr().expect("the listener has an address").to_string();
        let links = Arc::new(Links { member, from: Mutex::default() });
        let to = links.clone();
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to.clone()));
            }
        });
        Self { address, links, accepts }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

impl Links {
    async fn with<T>(&self, asks: Asks, act: impl FnOnce(&Link) -> T) -> T {
        let mut from = self.from.lock().await;
        act(match from.entry(asks) {
            Entry::Occupied(link) => link.into_mut(),
            Entry::Vacant(place) => place.insert(Link::to(self.member.clone()).await),
        })
    }
}

/// Tells from the first request of a connection who asks, as all further ones of it are of the same member.
async fn carry(mut client: TcpStream, links: Arc<Links>) {
    let asks = timeout(HEAD_WITHIN, who_asks(&client)).await.ok().flatten().unwrap_or_default();
    let link = links.with(asks, Link::address).await;
    let Ok(mut server) = TcpStream::connect(link).await else { return };
    // How a connection ends is the members' to notice, as on a real link.
    copy_bidirectional(&mut client, &mut server).await.ok();
}

/// Takes nothing from the connection.
async fn who_asks(client: &TcpStream) -> Option<Asks> {
    let mut head = vec![0; HEAD_BYTES];
    loop {
        let seen = client.peek(&mut head).await.ok().filter(|seen| *seen > 0)?;
        let text = String::from_utf8_lossy(&head[..seen]).to_ascii_lowercase();
        if text.contains("\r\n\r\n") || seen == HEAD_BYTES {
            let id = text.lines().find_map(|line| line.strip_prefix(FROM))?;
            return u64::from_str_radix(id.trim(), 16).ok();
        }
        sleep(LOOK_AGAIN).await;
    }
}
