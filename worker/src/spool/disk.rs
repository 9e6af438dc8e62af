//! The spool's files.
//!
//! One thread writes: all entries that wait go into one file, which is synced once, so that many runs a second cost
//! a few syncs. A file is written under another name and renamed, so a file that is seen is whole; a line that does
//! not parse all the same is kept aside, not dropped.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use common::runlog::{LogEntry, RunRecord, TickRecord};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
};

use super::{Shelf, Spooled};
use crate::load::Load;

/// What the spool may take of the disk; beyond it the worker claims nothing until the run log is back.
const LIMIT_BYTES: u64 = 1 << 30;

/// Entries in one file, at most.
const GROUP: usize = 1000;

/// Between two tries when the disk is full.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Run(Box<RunRecord>),
    Ticks(TickRecord),
}

type Waiting = (Vec<u8>, oneshot::Sender<()>);

/// Files in a directory.
pub(super) struct Disk {
    sender: mpsc::Sender<Waiting>,
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    bytes: AtomicU64,
    /// Said when there is something to ship.
    filled: Notify,
    load: Arc<Load>,
}

impl Disk {
    pub(super) fn open(dir: &Path, load: Arc<Load>) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut bytes = 0;
        let mut next = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            bytes += entry.metadata()?.len();
            next = next.max(number(&entry.path()).map_or(0, |number| number + 1));
        }
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            bytes: AtomicU64::new(bytes),
            filled: Notify::new(),
            load,
        });
        let (sender, receiver) = mpsc::channel(GROUP);
        let writing = shared.clone();
        std::thread::Builder::new().name("spool".into()).spawn(move || writing.write_all(receiver, next))?;
        Ok(Self { sender, shared })
    }
}

#[async_trait]
impl Shelf for Disk {
    async fn keep(&self, entry: LogEntry) {
        let line = match entry {
            LogEntry::Run(record) => Line::Run(record),
            LogEntry::Ticks(record) => Line::Ticks(record),
        };
        let mut bytes = serde_json::to_vec(&line).expect("plain fields serialize");
        bytes.push(b'\n');
        let (answer, kept) = oneshot::channel();
        // The thread ends only with the last handle.
        if self.sender.send((bytes, answer)).await.is_ok() {
            let _ = kept.await;
        }
    }

    async fn filled(&self) {
        loop {
            let filled = self.shared.filled.notified();
            if self.shared.oldest().is_ok_and(|files| !files.is_empty()) {
                return;
            }
            filled.await;
        }
    }

    async fn read(&self, entries: usize, bytes: u64) -> io::Result<Vec<Spooled>> {
        let shared = self.shared.clone();
        blocking(move || shared.read(entries, bytes)).await
    }

    async fn shipped(&self, groups: Vec<Spooled>) -> io::Result<()> {
        let shared = self.shared.clone();
        blocking(move || shared.remove(&groups)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Shared {
    fn oldest(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut files: Vec<(u64, PathBuf)> = fs::read_dir(&self.dir)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter_map(|path| number(&path).map(|number| (number, path)))
            .collect();
        files.sort();
        Ok(files)
    }

    fn read(&self, entries: usize, bytes: u64) -> io::Result<Vec<Spooled>> {
        let mut read: Vec<Spooled> = Vec::new();
        let (mut count, mut size) = (0, 0);
        for (number, path) in self.oldest()? {
            let text = match fs::read(&path) {
                // At the end of a worker there are two who ship: the other was first.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text?,
            };
            let file = parse(number, &path, &text);
            count += file.entries.len();
            size += file.bytes;
            read.push(file);
            if count >= entries || size >= bytes {
                break;
            }
        }
        Ok(read)
    }

    fn remove(&self, files: &[Spooled]) -> io::Result<()> {
        for file in files {
            match fs::remove_file(self.path(file.number)) {
                // As in `read`.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                removed => removed?,
            }
            self.bytes.fetch_sub(file.bytes, Ordering::SeqCst);
        }
        self.load.set_disk_full(self.is_full());
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::SeqCst) >= LIMIT_BYTES
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.jsonl"))
    }

    fn write_all(&self, mut receiver: mpsc::Receiver<Waiting>, mut next: u64) {
        let mut group = Vec::new();
        while receiver.blocking_recv_many(&mut group, GROUP) > 0 {
            let (lines, answers): (Vec<Vec<u8>>, Vec<oneshot::Sender<()>>) = group.drain(..).unzip();
            let bytes = lines.concat();
            while let Err(error) = self.write(next, &bytes) {
                self.load.set_disk_full(true);
                tracing::error!(%error, dir = %self.dir.display(), "cannot keep run logs: free some space; nothing is lost, the runs wait");
                pause(RETRY);
            }
            next += 1;
            self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            self.load.set_disk_full(self.is_full());
            self.filled.notify_waiters();
            for answer in answers {
                // Who no longer waits is no less safe.
                let _ = answer.send(());
            }
        }
    }

    fn write(&self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(number);
        let temporary = path.with_extension("new");
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        fs::File::open(&self.dir)?.sync_all()
    }
}

fn parse(number: u64, path: &Path, text: &[u8]) -> Spooled {
    let mut entries = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Line::Run(record)) => entries.push(LogEntry::Run(record)),
            Ok(Line::Ticks(record)) => entries.push(LogEntry::Ticks(record)),
            Err(error) => {
                let aside = path.with_extension("unreadable");
                tracing::error!(file = %aside.display(), %error, "a spooled line does not parse; it is kept aside");
                if let Err(error) = fs::write(&aside, line) {
                    tracing::error!(%error, "cannot keep it aside");
                }
            }
        }
    }
    Spooled { number, bytes: text.len() as u64, entries }
}

#[expect(clippy::disallowed_methods, reason = "the spool's own thread waits for a person to free the disk")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn number(path: &Path) -> Option<u64> {
    if path.extension()? != "jsonl" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
