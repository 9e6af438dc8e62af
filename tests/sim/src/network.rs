//! Carries everything that goes from one process to another. What arrives is let in one by one, ordered by its
//! instant, the link that it came by and its number there: so what one process does in no certain order changes
//! nothing for another, and the same seed plays the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

/// Which way something goes, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The link.
    pub link: u32,
    /// Counted by whoever sends there.
    pub number: u64,
}

/// What is on its way.
#[derive(Debug, Default)]
pub struct Network {
    travelling: Mutex<BTreeMap<(Instant, Ticket), oneshot::Sender<()>>>,
    sooner: Notify,
}

impl Network {
    /// Starts carrying.
    pub fn start() -> Arc<Self> {
        let network = Arc::new(Self::default());
        tokio::spawn(network.clone().carry());
        network
    }

    /// Resolves when it has arrived. Nothing arrives at once: whoever arrives at an instant was known before it.
    pub async fn travel(&self, ticket: Ticket, time: Duration) {
        let at = Instant::now() + time.max(Duration::from_micros(1));
        let (arrive, arrived) = oneshot::channel();
        {
            let mut travelling = self.travelling.lock();
            let first = travelling.first_key_value().is_none_or(|((first, _), _)| at < *first);
            travelling.insert((at, ticket), arrive);
            if first {
                self.sooner.notify_one();
            }
        }
        // The network outlives all who travel; else it has arrived nowhere.
        if arrived.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn carry(self: Arc<Self>) {
        loop {
            let next = {
                let travelling = self.travelling.lock();
                travelling.first_key_value().map(|((at, _), _)| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    biased;
                    () = sleep_until(at) => self.let_in(),
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }

    fn let_in(&self) {
        let now = Instant::now();
        let mut travelling = self.travelling.lock();
        while let Some(first) = travelling.first_entry().filter(|first| first.key().0 <= now) {
            // Who has gone meanwhile does not arrive.
            let _ = first.remove().send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_arrives_at_one_instant_arrives_by_link_and_number() {
        let network = Network::start();
        let arrived: Arc<Mutex<Vec<(u32, u64)>>> = Arc::default();
        let mut tasks = Vec::new();
        for (link, number) in [(2, 1), (1, 2), (2, 0), (1, 1)] {
            let (network, arrived) = (network.clone(), arrived.clone());
            tasks.push(tokio::spawn(async move {
                network.travel(Ticket { link, number }, Duration::from_millis(5)).await;
                arrived.lock().push((link, number));
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*arrived.lock(), [(1, 1), (1, 2), (2, 0), (2, 1)]);
    }
}
