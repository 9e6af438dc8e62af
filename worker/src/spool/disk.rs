//! The spool's files: segments of lines, which are appended to one after the other.
//!
//! One thread writes: all entries that wait are appended together and synced once, and the next ones some
//! milliseconds after these, so that many runs a second cost a few syncs. A full segment gets no more; one that the
//! run log has completely is removed. After a crash, a segment is shipped once more from its beginning, and the run
//! log takes it once. A last line without an end was never kept: the worker died while writing it. Any other line
//! that does not parse is set aside, not dropped.

use std::{
    collections::VecDeque,
    fs, io,
    io::Read as _,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use common::{
    handles,
    runlog::{LogEntry, RunRecord, TickRecord},
};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
    time::sleep,
};

use super::{Shelf, Spooled, refused::Refused};
use crate::session::load::{Load, Trouble};

/// What the spool may take of the disk; beyond it the worker claims nothing until the run log is back.
const LIMIT_BYTES: u64 = 1 << 30;

/// A segment does not grow beyond it: so much is shipped again after a crash, some hundred records.
const SEGMENT_BYTES: u64 = 256 << 10;

/// Entries appended together, at most.
const GROUP: usize = 1000;

/// Between the beginnings of two appends: ends that come one by one are synced together. A lone one is synced at once.
const PACE: Duration = Duration::from_millis(5);

/// Between two tries when the disk is full, or does not let a segment be removed.
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
    /// The oldest first.
    segments: Mutex<VecDeque<Segment>>,
    /// Said when there is something to ship.
    filled: Notify,
    /// Why the last try to append failed.
    failing: Mutex<Option<Trouble>>,
    refused: Refused,
    load: Arc<Load>,
}

/// One file.
#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    /// Up to here it is on the disk.
    synced: u64,
    /// Up to here the run log has it.
    shipped: u64,
    /// More may be appended: only to the last one, and not to one of an earlier life.
    grows: bool,
    /// Something is being appended.
    writing: bool,
}

impl Disk {
    pub(super) fn open(dir: &Path, load: Arc<Load>) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let (Some(number), synced) = (number(&entry.path()), entry.metadata()?.len()) else { continue };
            if synced == 0 {
                fs::remove_file(entry.path())?;
                continue;
            }
            segments.push(Segment { number, synced, shipped: 0, grows: false, writing: false });
        }
        segments.sort_by_key(|segment| segment.number);
        let next = segments.last().map_or(0, |last| last.number + 1);
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            segments: Mutex::new(segments.into()),
            filled: Notify::new(),
            failing: Mutex::default(),
            refused: Refused::in_dir(dir),
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
        let (answer, kept) = oneshot::channel();
        // The thread ends only with the last handle.
        if self.sender.send((line(entry), answer)).await.is_ok() {
            let _ = kept.await;
        }
    }

    async fn filled(&self) {
        loop {
            let filled = self.shared.filled.notified();
            let (has_unshipped, has_leftover) = {
                let segments = self.shared.segments();
                (segments.iter().any(Segment::has_unshipped), segments.iter().any(Segment::is_leftover))
            };
            if has_unshipped {
                return;
            }
            if !has_leftover {
                filled.await;
                continue;
            }
            // Where nothing is claimed for want of room, nothing more comes: nobody else would look again.
            tokio::select! {
                () = filled => {}
                () = sleep(RETRY) => {
                    let shared = self.shared.clone();
                    if let Err(error) = blocking(move || shared.remove_done()).await {
                        tracing::debug!(%error, "records that the run log has taken cannot be removed from the disk yet");
                    }
                }
            }
        }
    }

    async fn read(&self, entries: usize, bytes: u64) -> io::Result<Vec<Spooled>> {
        let shared = self.shared.clone();
        blocking(move || shared.read(entries, bytes)).await
    }

    async fn shipped(&self, groups: Vec<Spooled>) -> io::Result<()> {
        // A file to remove is rare where there is much to ship.
        if !self.shared.note_shipped(&groups) {
            return Ok(());
        }
        let shared = self.shared.clone();
        blocking(move || shared.remove_done()).await
    }

    async fn set_aside(&self, entries: Vec<LogEntry>) -> io::Result<Option<PathBuf>> {
        let lines = entries.into_iter().map(line).collect::<Vec<_>>().concat();
        let shared = self.shared.clone();
        blocking(move || shared.refused.append(&lines)).await
    }
}

/// An entry as it stands in a file.
fn line(entry: LogEntry) -> Vec<u8> {
    let line = match entry {
        LogEntry::Run(record) => Line::Run(record),
        LogEntry::Ticks(record) => Line::Ticks(record),
    };
    let mut bytes = serde_json::to_vec(&line).expect("plain fields serialize");
    bytes.push(b'\n');
    bytes
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

impl Segment {
    const fn has_unshipped(&self) -> bool {
        self.shipped < self.synced
    }

    const fn is_done(&self) -> bool {
        !self.has_unshipped() && !self.writing
    }

    /// It should have been removed: it could not be, or somebody else has.
    const fn is_leftover(&self) -> bool {
        self.is_done() && !self.grows
    }
}

impl Shared {
    fn segments(&self) -> MutexGuard<'_, VecDeque<Segment>> {
        self.segments.lock()
    }

    fn read(&self, entries: usize, bytes: u64) -> io::Result<Vec<Spooled>> {
        let unshipped: Vec<Segment> =
            self.segments().iter().copied().filter(Segment::has_unshipped).collect();
        let mut read: Vec<Spooled> = Vec::new();
        let (mut count, mut size) = (0, 0);
        for segment in unshipped {
            let path = self.path(segment.number);
            let text = match read_lines(&path, segment, bytes - size) {
                Ok(text) if !text.is_empty() => text,
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // At the end of a worker there are two who ship, and the other was first; or somebody removed it.
                Ok(_) | Err(_) => {
                    self.forget_removed(segment);
                    continue;
                }
            };
            let group = parse(segment, &path, &text, entries.max(1) - count);
            count += group.entries.len();
            size += group.end - segment.shipped;
            read.push(group);
            if count >= entries || size >= bytes {
                break;
            }
        }
        Ok(read)
    }

    /// A segment that is no longer there, or is empty: what it had is gone, and it would be looked for for ever.
    fn forget_removed(&self, gone: Segment) {
        let mut segments = self.segments();
        let is_it = |segment: &Segment| segment.number == gone.number && segment.has_unshipped();
        if let Some(segment) = segments.iter_mut().find(|segment| is_it(segment)) {
            segment.grows = false;
            segment.shipped = segment.synced;
            tracing::error!(file = %self.path(gone.number).display(), "run logs were removed from the disk before they were shipped");
        }
    }

    /// True: there is a segment to remove now.
    fn note_shipped(&self, groups: &[Spooled]) -> bool {
        let mut segments = self.segments();
        for group in groups {
            // As in `read`: it may be gone, or further already.
            if let Some(segment) = segments.iter_mut().find(|segment| segment.number == group.number) {
                segment.shipped = segment.shipped.max(group.end);
            }
        }
        segments.iter().any(Segment::is_done)
    }

    /// Removes the segments that the run log has; one that cannot be removed stays, and is tried again.
    fn remove_done(&self) -> io::Result<()> {
        let done: Vec<u64> = {
            let mut segments = self.segments();
            let done = segments.iter_mut().filter(|segment| segment.is_done());
            // From here on nothing more is appended to it.
            done.map(|segment| {
                segment.grows = false;
                segment.number
            })
            .collect()
        };
        let mut result = Ok(());
        for number in done {
            match fs::remove_file(self.path(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => result = Err(error),
                _ => self.segments().retain(|segment| segment.number != number),
            }
        }
        self.tell_whether_full(&self.segments());
        result
    }

    /// Both who append and who remove tell it, each under the lock: the last word is right. What was removed may not
    /// have been room enough: while appending fails, only a try to append knows.
    fn tell_whether_full(&self, segments: &VecDeque<Segment>) {
        let bytes: u64 = segments.iter().map(|segment| segment.synced).sum();
        let full = (bytes >= LIMIT_BYTES).then_some(Trouble::Full);
        self.load.set_runs_unkept(self.failing().or(full));
    }

    fn failing(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.failing.lock()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.jsonl"))
    }

    fn write_all(&self, mut receiver: mpsc::Receiver<Waiting>, next: u64) {
        let mut last = Last { file: None, next };
        let mut group = Vec::new();
        let mut paced = Instant::now();
        while receiver.blocking_recv_many(&mut group, GROUP) > 0 {
            let early = paced.saturating_duration_since(Instant::now());
            if !early.is_zero() && group.len() < GROUP {
                pause(early);
                while group.len() < GROUP
                    && let Ok(waiting) = receiver.try_recv()
                {
                    group.push(waiting);
                }
            }
            paced = Instant::now() + PACE;
            let (lines, answers): (Vec<Vec<u8>>, Vec<oneshot::Sender<()>>) = group.drain(..).unzip();
            let bytes = lines.concat();
            while let Err(error) = self.append(&mut last, &bytes) {
                if handles::lack_in(&error).is_some()
                    && let Err(error) = handles::keep_room()
                {
                    tracing::warn!(%error, "the limit on handles cannot be raised");
                }
                *self.failing() = Some(Trouble::of(&error));
                self.tell_whether_full(&self.segments());
                let right = handles::lack_in(&error)
                    .unwrap_or("is there room in this directory, and may it be written?");
                tracing::error!(%error, dir = %self.dir.display(), "cannot keep run logs: {right} Nothing is lost, the runs wait");
                pause(RETRY);
            }
            self.filled.notify_waiters();
            for answer in answers {
                // Who no longer waits is no less safe.
                let _ = answer.send(());
            }
        }
    }

    /// Appends to the last segment, or to a new one. Tried again after an error it writes over what it had written.
    fn append(&self, last: &mut Last, bytes: &[u8]) -> io::Result<()> {
        let at = match self.begin(bytes.len() as u64) {
            Some(at) => at,
            None => {
                last.file = Some(fs::File::create(self.path(last.next))?);
                fs::File::open(&self.dir)?.sync_all()?;
                let number = last.next;
                last.next += 1;
                self.segments().push_back(Segment {
                    number,
                    synced: 0,
                    shipped: 0,
                    grows: true,
                    writing: true,
                });
                0
            }
        };
        let file = last.file.as_ref().ok_or_else(|| io::Error::other("no segment is open"))?;
        let written =
            file.write_all_at(bytes, at).and_then(|()| file.sync_data()).and_then(|()| is_there(file));
        let mut segments = self.segments();
        if let Some(segment) = segments.back_mut() {
            segment.writing = false;
            match &written {
                Ok(()) => segment.synced = at + bytes.len() as u64,
                // There may be room again; anything else may be this file's, and another one is tried.
                Err(error) => {
                    use io::ErrorKind::{QuotaExceeded, StorageFull};
                    segment.grows = matches!(error.kind(), StorageFull | QuotaExceeded);
                }
            }
        }
        if written.is_ok() {
            *self.failing() = None;
            self.tell_whether_full(&segments);
        }
        written
    }

    /// Where so many bytes go in the last segment; none: it gets no more. While it is written to, it is not removed.
    fn begin(&self, bytes: u64) -> Option<u64> {
        let mut segments = self.segments();
        let last = segments.back_mut().filter(|last| last.grows)?;
        last.grows = last.synced == 0 || last.synced + bytes <= SEGMENT_BYTES;
        last.writing = last.grows;
        last.grows.then_some(last.synced)
    }
}

/// An error for a file that somebody has removed: what is in it nobody will find.
fn is_there(file: &fs::File) -> io::Result<()> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "the file that was appended to has been removed");
    (file.metadata()?.nlink() > 0).then_some(()).ok_or_else(gone)
}

/// The segment that is written to.
struct Last {
    file: Option<fs::File>,
    /// The next one's number.
    next: u64,
}

/// Whole lines of what is to be shipped of a segment: about so many bytes, at least one line.
fn read_lines(path: &Path, segment: Segment, bytes: u64) -> io::Result<Vec<u8>> {
    let (from, all) = (segment.shipped, segment.synced - segment.shipped);
    let mut file = fs::File::open(path)?;
    io::Seek::seek(&mut file, io::SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.by_ref().take(all.min(bytes)).read_to_end(&mut text)?;
    let read = text.len() as u64;
    if read < all {
        match text.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => text.truncate(end + 1),
            // One line is longer.
            None => {
                file.take(all - read).read_to_end(&mut text)?;
            }
        }
    }
    Ok(text)
}

/// The first entries of these lines, at most so many.
fn parse(segment: Segment, path: &Path, text: &[u8], most: usize) -> Spooled {
    let (mut entries, mut end) = (Vec::new(), segment.shipped);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if entries.len() >= most {
            break;
        }
        end += line.len() as u64;
        let Some(line) = line.strip_suffix(b"\n") else {
            tracing::info!(file = %path.display(), "a record that was being written when this worker died was not kept: its run is lost");
            continue;
        };
        match serde_json::from_slice(line) {
            Ok(Line::Run(record)) => entries.push(LogEntry::Run(record)),
            Ok(Line::Ticks(record)) => entries.push(LogEntry::Ticks(record)),
            Err(_) if line.is_empty() => {}
            Err(error) => {
                // By its place: it may be read again.
                let aside = path.with_extension(format!("{end}.unreadable"));
                tracing::error!(file = %aside.display(), %error, "a spooled line does not parse; it is set aside");
                if let Err(error) = fs::write(&aside, line) {
                    tracing::error!(%error, "it cannot be set aside");
                }
            }
        }
    }
    Spooled { number: segment.number, end, entries }
}

#[expect(clippy::disallowed_methods, reason = "it is the spool's own thread")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn number(path: &Path) -> Option<u64> {
    if path.extension()? != "jsonl" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
