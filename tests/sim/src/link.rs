//! What lies between a process and a server, and how it can be broken.

use std::{future::Future, sync::Arc, time::Duration};

use common::{
    runlog::RunLogError,
    store::{BoxError, Revision, StoreError},
};
use parking_lot::{Mutex, MutexGuard};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::network::{Network, Ticket};

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// Whether anything goes through.
    pub way: Way,
    /// So many of 1,000 requests get lost on their way, and so many answers.
    pub lost_permille: u32,
    /// Everything takes so many times as long.
    pub slow: u32,
}

/// Whether anything goes through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Yes.
    Open,
    /// What is sent is lost without a word.
    Cut,
    /// Nobody listens at the other end: who asks is told at once.
    Refused,
    /// What is sent waits, and arrives when the way is open again, however late that is.
    Held,
    /// The process has died: what it had sent may arrive, nothing else will.
    Dead,
}

impl Default for Health {
    fn default() -> Self {
        Self { way: Way::Open, lost_permille: 0, slow: 1 }
    }
}

/// Streams on one link, at most; they have the ids behind its own.
pub const STREAMS: u32 = 10_000;

/// One process's way to one server.
pub struct Link {
    id: u32,
    seed: u64,
    network: Arc<Network>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    rng: StdRng,
    number: u64,
    health: Health,
    streams: u32,
    /// Watches that began before this one have to begin anew.
    compactions: u64,
}

/// What comes one way, in order, with chance of its own: several streams of a link are told of a change in no certain
/// order.
pub(crate) struct Stream {
    link: Arc<Link>,
    id: u32,
    number: u64,
    rng: StdRng,
}

impl Stream {
    /// Something arrives.
    pub(crate) async fn travel(&mut self) {
        self.number += 1;
        let time = latency(&mut self.rng) * self.link.health().slow;
        self.link.network.travel(Ticket { link: self.id, number: self.number }, time).await;
    }
}

/// An answer that never came.
pub(crate) trait NoAnswer {
    /// It was not done.
    fn not_done(why: BoxError) -> Self;
    /// It may have been done.
    fn perhaps_done(why: BoxError) -> Self;
}

impl NoAnswer for StoreError {
    fn not_done(why: BoxError) -> Self {
        Self::Unavailable(why)
    }

    fn perhaps_done(why: BoxError) -> Self {
        Self::Ambiguous(why)
    }
}

impl NoAnswer for RunLogError {
    fn not_done(why: BoxError) -> Self {
        Self::Unavailable(why)
    }

    fn perhaps_done(why: BoxError) -> Self {
        Self::Unavailable(why)
    }
}

/// What is to become of a request, unless the link changes meanwhile.
struct Fate {
    there: Duration,
    back: Duration,
    lost: Option<Lost>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Request,
    Answer,
}

impl Link {
    /// A sound link. `id` and the next [`STREAMS`] tell it from all others; `seed` is where its chance comes from.
    pub fn new(id: u32, seed: u64, network: &Arc<Network>) -> Arc<Self> {
        let rng = StdRng::seed_from_u64(seed);
        let state = State { rng, number: 0, health: Health::default(), streams: 0, compactions: 0 };
        let (network, state) = (network.clone(), Mutex::new(state));
        Arc::new(Self { id, seed, network, state, changed: Notify::new() })
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.lock().health
    }

    /// From here on it is so, unless its process has died.
    pub fn set(&self, health: Health) {
        let mut state = self.lock();
        if state.health.way != Way::Dead {
            state.health = health;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Its watches are told that what they want is compacted, and begin anew.
    pub fn compact(&self) {
        self.lock().compactions += 1;
        self.changed.notify_waiters();
    }

    pub(crate) fn compactions(&self) -> u64 {
        self.lock().compactions
    }

    /// Asks, and waits for the answer at most so long. What was sent is done, late or not, also when nobody waits.
    pub(crate) async fn ask<T: Send + 'static, E: NoAnswer + Send + 'static>(
        self: &Arc<Self>,
        patience: Duration,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        let deadline = Instant::now() + patience;
        let lost = || E::perhaps_done("no answer came".into());
        let (way, fate) = self.send();
        match way {
            Way::Open | Way::Held => {}
            Way::Refused => {
                sleep(fate.there).await;
                return Err(E::not_done("the connection was refused".into()));
            }
            Way::Cut | Way::Dead => {
                sleep_until(deadline).await;
                return Err(lost());
            }
        }
        self.travel(fate.there).await;
        let arrived = self.health().way;
        if arrived == Way::Cut || fate.lost == Some(Lost::Request) {
            sleep_until(deadline).await;
            return Err(lost());
        }
        let answer = if arrived == Way::Held {
            let (link, late) = (self.clone(), fate.there);
            let done = tokio::spawn(async move {
                link.until(|way| way != Way::Held).await;
                link.travel(late).await;
                work.await
            });
            match timeout_at(deadline, done).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => return Err(lost()),
            }
        } else {
            work.await
        };
        self.travel(fate.back).await;
        if timeout_at(deadline, self.until(|way| way == Way::Open)).await.is_err()
            || fate.lost == Some(Lost::Answer)
        {
            sleep_until(deadline).await;
            return Err(lost());
        }
        answer
    }

    fn send(&self) -> (Way, Fate) {
        let mut state = self.lock();
        let (there, back) = (state.latency(), state.latency());
        let permille = state.health.lost_permille;
        let lost = match state.rng.random_range(0..1_000) {
            _ if permille == 0 => None,
            n if n < permille => Some(Lost::Request),
            n if n < 2 * permille => Some(Lost::Answer),
            _ => None,
        };
        (state.health.way, Fate { there, back, lost })
    }

    /// One more stream.
    pub(crate) fn stream(self: &Arc<Self>) -> Stream {
        let number = {
            let mut state = self.lock();
            state.streams += 1;
            state.streams
        };
        let rng = StdRng::seed_from_u64(self.seed ^ (u64::from(number) << 32));
        Stream { link: self.clone(), id: self.id + number % STREAMS, number: 0, rng }
    }

    /// Something goes one way.
    async fn travel(&self, time: Duration) {
        let number = {
            let mut state = self.lock();
            state.number += 1;
            state.number
        };
        self.network.travel(Ticket { link: self.id, number }, time).await;
    }

    /// Resolves when the way is such. Cancel safe.
    pub(crate) async fn until(&self, such: impl Fn(Way) -> bool) {
        loop {
            let changed = self.changed.notified();
            if such(self.health().way) {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when a compaction has happened after this one. Cancel safe.
    pub(crate) async fn compacted_after(&self, seen: u64) -> Revision {
        loop {
            let changed = self.changed.notified();
            if self.compactions() > seen {
                return Revision::new(i64::MAX);
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn latency(&mut self) -> Duration {
        latency(&mut self.rng) * self.health.slow
    }
}

/// How long something takes one way: mostly below a millisecond; one in a hundred takes up to twenty.
fn latency(rng: &mut StdRng) -> Duration {
    let rare = if rng.random_range(0..100) == 0 { rng.random_range(0..20_000) } else { 0 };
    Duration::from_micros(rng.random_range(150..900) + rare)
}
