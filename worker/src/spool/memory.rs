//! A spool that a simulation's clock drives. What is in [`Memory`] outlives its worker, as a disk does; a worker that
//! has died writes no more.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::runlog::LogEntry;
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::sleep};

use super::{Shelf, Spooled};

/// What stands in for a disk.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u64, LogEntry>,
    next: u64,
    /// Set aside.
    refused: Vec<LogEntry>,
    /// Who has opened it last: only that one writes.
    life: u64,
    /// How long it takes to keep something.
    sync: Duration,
}

/// A [`Memory`] as one life of a worker has it.
pub(super) struct Opened {
    memory: Arc<Memory>,
    life: u64,
}

impl Memory {
    /// From here on keeping an entry takes so long.
    pub fn set_sync_time(&self, time: Duration) {
        self.lock().sync = time;
    }

    /// Whoever has it open has died: what was not kept by now never is.
    pub fn end_life(&self) {
        self.lock().life += 1;
        self.filled.notify_waiters();
    }

    /// How many entries wait to be shipped.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// True when nothing waits to be shipped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn open(self: &Arc<Self>) -> Opened {
        let mut state = self.lock();
        state.life += 1;
        Opened { memory: self.clone(), life: state.life }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl Opened {
    /// What is there, to a life that is not over.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        Some(self.memory.lock()).filter(|state| state.life == self.life)
    }
}

#[async_trait]
impl Shelf for Opened {
    async fn keep(&self, entry: LogEntry) {
        let sync = self.memory.lock().sync;
        if !sync.is_zero() {
            sleep(sync).await;
        }
        if let Some(mut state) = self.state() {
            let number = state.next;
            state.next += 1;
            state.entries.insert(number, entry);
        }
        self.memory.filled.notify_waiters();
    }

    async fn filled(&self) {
        loop {
            let filled = self.memory.filled.notified();
            if self.state().is_some_and(|state| !state.entries.is_empty()) {
                return;
            }
            filled.await;
        }
    }

    async fn read(&self, entries: usize, _bytes: u64) -> io::Result<Vec<Spooled>> {
        let Some(state) = self.state() else { return Ok(Vec::new()) };
        let oldest = state.entries.iter().take(entries.max(1));
        Ok(oldest.map(|(n, entry)| Spooled { number: *n, end: 0, entries: vec![entry.clone()] }).collect())
    }

    async fn shipped(&self, groups: Vec<Spooled>) -> io::Result<()> {
        if let Some(mut state) = self.state() {
            for group in groups {
                state.entries.remove(&group.number);
            }
        }
        Ok(())
    }

    async fn set_aside(&self, entries: Vec<LogEntry>) -> io::Result<Option<PathBuf>> {
        if let Some(mut state) = self.state() {
            state.refused.extend(entries);
        }
        Ok(Some(PathBuf::from("refused")))
    }
}
