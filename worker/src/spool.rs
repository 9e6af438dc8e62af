//! Finished runs on disk until the run log has them. "Finished" means spooled: [`Spool::keep`] returns when the
//! entry is on the disk, and only then is a lock freed. The shipper removes what the run log has.
//!
//! Where entries are kept is a small port: files in the data directory (`disk`), or, in a simulation, memory that
//! outlives the worker (`memory`), because virtual time does not wait for disks. Both pass the same tests.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use common::runlog::LogEntry;

use crate::session::load::Load;
use disk::Disk;

#[cfg(any(test, feature = "test-support"))]
pub use memory::Memory;

mod disk;
#[cfg(any(test, feature = "test-support"))]
mod memory;
mod refused;
#[cfg(test)]
pub(crate) mod tests;

/// Keeps entries. Cheap to clone.
#[derive(Clone)]
pub struct Spool(Arc<dyn Shelf>);

/// Where entries are kept, and read in groups.
#[async_trait]
trait Shelf: Send + Sync {
    async fn keep(&self, entry: LogEntry);
    async fn filled(&self);
    async fn read(&self, entries: usize, bytes: u64) -> io::Result<Vec<Spooled>>;
    async fn shipped(&self, groups: Vec<Spooled>) -> io::Result<()>;
    async fn set_aside(&self, entries: Vec<LogEntry>) -> io::Result<Option<PathBuf>>;
}

/// Entries that were kept one after the other.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// Of the segment or, in memory, of the entry.
    number: u64,
    /// Up to where in the segment.
    end: u64,
    /// What it holds.
    pub entries: Vec<LogEntry>,
}

impl Spool {
    /// Opens the directory, with what an earlier life left in it.
    pub fn open(dir: &Path, load: Arc<Load>) -> io::Result<Self> {
        Ok(Self(Arc::new(Disk::open(dir, load)?)))
    }

    /// In memory, with what an earlier life left in it.
    #[cfg(any(test, feature = "test-support"))]
    pub fn in_memory(memory: &Arc<Memory>) -> Self {
        Self(Arc::new(memory.open()))
    }

    /// Keeps an entry; returns when it is on the disk. While the disk is full it waits, and says so.
    pub async fn keep(&self, entry: LogEntry) {
        self.0.keep(entry).await;
    }

    /// Waits until there is something to ship. Cancel safe.
    pub async fn filled(&self) {
        self.0.filled().await;
    }

    /// The oldest groups, together at most about `entries` entries and `bytes` bytes, at least one group if there is
    /// one.
    pub async fn read(&self, entries: usize, bytes: u64) -> io::Result<Vec<Spooled>> {
        self.0.read(entries, bytes).await
    }

    /// Removes groups whose entries the run log has.
    pub async fn shipped(&self, groups: Vec<Spooled>) -> io::Result<()> {
        self.0.shipped(groups).await
    }

    /// Keeps entries that the run log will never take in a file of their own, on disk when it returns; says in which.
    /// None: that file has no more room. What is set aside is not read again.
    pub async fn set_aside(&self, entries: Vec<LogEntry>) -> io::Result<Option<PathBuf>> {
        self.0.set_aside(entries).await
    }
}
