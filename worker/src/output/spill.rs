//! The copy of a run's output on disk: a first line, and then frames.
//!
//! A frame is a kind (`k`: what is kept of the output, see [`keep_of`]; `h`: the head, everything about the run but
//! its output; `o`, `e`: text of that stream; `g`: so many bytes are missing here; `t`: bytes thrown away so far),
//! milliseconds after the start and a length, both as four bytes, low byte first, and then that many bytes; of the
//! last frame, which a crash may tear, as many as are there. Where the last part of an output is kept, the file grows
//! with the output; once more than half of it lies before what is kept, another one takes its place. Nothing is
//! synced: the copy is for a dead worker, not for a dead machine.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use common::{
    id::RunId,
    job::{Keep, MAX_OUTPUT},
    runlog::{Piece, Stream},
};

use super::{
    Collected, Head, Recovered, SpillTo,
    text::{Rest, Text},
};

pub(super) const EXTENSION: &str = "output";

/// Of a file that is to take another one's place.
const NEW: &str = "new";

const FIRST_LINE: &[u8] = b"quorate output 1\n";

/// A copy is read up to here: no limit on output is higher, a file has at most three times the limit, and its frames'
/// heads seldom as much again.
const MAX_READ: u64 = 6 * MAX_OUTPUT.0;

/// Where the copy stands.
pub(super) struct Spill {
    path: PathBuf,
    head: Known,
    /// Up to here the text is in the file.
    written: u64,
    /// Bytes of text in the file.
    size: u64,
    /// The count of thrown-away bytes in the file. A new one follows only when it has doubled: so the file stays
    /// bounded however long a run prints.
    truncated: u64,
    stage: Stage,
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spill").field("path", &self.path).field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// What is written before all else.
enum Known {
    /// Most runs need none: it is made when it is needed.
    Unmade(Head),
    /// For another file, too.
    Made(Vec<u8>),
}

#[derive(Debug)]
enum Stage {
    /// Nobody writes; the file, once there is one.
    Idle(Option<File>),
    /// Somebody is about to write, and nobody else may begin.
    Starting(Option<File>),
    /// Somebody writes.
    Writing,
    /// Somebody writes, and removes the file afterwards.
    Discarding,
    /// It cannot be written; what there is of it stays until it is discarded.
    Failed,
    /// No copy any more.
    Done,
}

/// Something to write while nobody holds the lock.
pub(super) struct Job {
    path: PathBuf,
    /// None: a new one takes the place of what there is.
    file: Option<File>,
    bytes: Vec<u8>,
    progress: Progress,
}

/// What is in the file when a job is done.
#[derive(Clone, Copy)]
struct Progress {
    written: u64,
    size: u64,
    truncated: u64,
}

/// What came of it.
pub(super) struct Written {
    result: io::Result<File>,
    progress: Progress,
}

impl Spill {
    pub(super) fn new(to: SpillTo) -> Self {
        let head = Known::Unmade(to.head);
        Self { path: to.path, head, written: 0, size: 0, truncated: 0, stage: Stage::Idle(None) }
    }

    /// True: there is something to write and the caller is the one to do it, by [`Spill::next`] until that gives
    /// nothing.
    pub(super) fn begin(&mut self, text: &Text) -> bool {
        if self.pending(text)
            && let Stage::Idle(file) = &mut self.stage
        {
            self.stage = Stage::Starting(file.take());
            return true;
        }
        false
    }

    fn pending(&self, text: &Text) -> bool {
        text.end() > self.written || text.truncated() > self.truncated.saturating_mul(2)
    }

    /// Takes the outcome of the last job and gives the next one, if there is any. The first one is only for who has
    /// begun, the others for who brings an outcome: two writers would overwrite each other's file.
    pub(super) fn next(&mut self, text: &Text, last: Option<Written>) -> Option<Job> {
        let file = match (std::mem::replace(&mut self.stage, Stage::Writing), last) {
            (Stage::Starting(file), None) => file,
            (Stage::Discarding, Some(_)) => {
                self.stage = Stage::Done;
                remove(&self.path);
                return None;
            }
            (Stage::Writing, Some(Written { result: Ok(file), progress })) => {
                let Progress { written, size, truncated } = progress;
                (self.written, self.size, self.truncated) = (written, size, truncated);
                Some(file)
            }
            (Stage::Writing, Some(Written { result: Err(error), .. })) => {
                self.stage = Stage::Failed;
                let path = self.path.display();
                tracing::warn!(%path, %error, "a run's output is not copied to disk: if this worker dies, it is lost");
                return None;
            }
            // It was discarded before the first job, or another one writes.
            (stage, _) => {
                self.stage = stage;
                return None;
            }
        };
        if !self.pending(text) {
            self.stage = Stage::Idle(file);
            return None;
        }
        let limit = text.limit() as u64;
        let (file, from, size) = match file {
            // A file of which more than half is of no use any more is written anew.
            Some(file) if self.size <= limit.saturating_mul(2) => (Some(file), self.written, self.size),
            _ => (None, 0, 0),
        };
        let Rest { text: part, pieces, gap } = text.since(from);
        let mut bytes = Vec::with_capacity(part.len() + pieces.len() * 9);
        if file.is_none() {
            bytes.extend_from_slice(FIRST_LINE);
            frame(&mut bytes, b'k', 0, &kept_by(text));
            frame(&mut bytes, b'h', 0, self.head.made());
        }
        let mut rest = part.as_bytes();
        let mut gap = gap.map(|gap| (usize::try_from(gap.at).unwrap_or(part.len()), gap.bytes));
        for Piece(millis, stream, len) in pieces {
            if let Some((at, missing)) = gap
                && at <= part.len() - rest.len()
            {
                frame(&mut bytes, b'g', millis, &missing.to_le_bytes());
                gap = None;
            }
            let (piece, behind) = rest.split_at((len as usize).min(rest.len()));
            frame(&mut bytes, if stream == Stream::Out { b'o' } else { b'e' }, millis, piece);
            rest = behind;
        }
        if text.truncated() > self.truncated.saturating_mul(2) {
            frame(&mut bytes, b't', 0, &text.truncated().to_le_bytes());
        }
        let progress = Progress {
            written: text.end(),
            size: size + part.len() as u64,
            truncated: text.truncated().max(self.truncated),
        };
        Some(Job { path: self.path.clone(), file, bytes, progress })
    }

    /// Removes the file, now or as soon as who writes it is done.
    pub(super) fn discard(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Writing | Stage::Discarding => Stage::Discarding,
            Stage::Idle(None) | Stage::Starting(None) | Stage::Done => Stage::Done,
            Stage::Idle(Some(_)) | Stage::Starting(Some(_)) | Stage::Failed => {
                remove(&self.path);
                Stage::Done
            }
        };
    }
}

impl Known {
    fn made(&mut self) -> &[u8] {
        if let Self::Unmade(head) = self {
            let head = std::mem::replace(head, Box::new(Vec::new));
            *self = Self::Made(head());
        }
        match self {
            Self::Made(head) => head,
            Self::Unmade(_) => &[],
        }
    }
}

/// What of an output is kept: the letter of its kind, and its limit in eight bytes, the low one first.
fn kept_by(text: &Text) -> [u8; 9] {
    let mut kept = [0; 9];
    kept[0] = match text.keep() {
        Keep::Head => b'h',
        Keep::Tail => b't',
        Keep::Both => b'b',
    };
    kept[1..].copy_from_slice(&(text.limit() as u64).to_le_bytes());
    kept
}

/// A text that keeps what [`kept_by`] says.
fn keep_of(kept: &[u8]) -> Option<Text> {
    let (kind, limit) = kept.split_first()?;
    let keep = match kind {
        b'h' => Keep::Head,
        b't' => Keep::Tail,
        b'b' => Keep::Both,
        _ => return None,
    };
    let limit = u64::from_le_bytes(limit.try_into().ok()?);
    Some(Text::new(usize::try_from(limit).unwrap_or(usize::MAX), keep))
}

impl Job {
    pub(super) fn write(self) -> Written {
        let Self { path, file, bytes, progress } = self;
        let result = match file {
            Some(mut file) => file.write_all(&bytes).map(|()| file),
            None => place(&path, &bytes),
        };
        Written { result, progress }
    }
}

/// A new file, which takes the place of what there is once it is whole.
fn place(path: &Path, bytes: &[u8]) -> io::Result<File> {
    if !path.try_exists()? {
        let mut file = create(path)?;
        return file.write_all(bytes).map(|()| file);
    }
    let new = path.with_extension(format!("{EXTENSION}.{NEW}"));
    let mut file = create(&new)?;
    let placed = file.write_all(bytes).and_then(|()| std::fs::rename(&new, path));
    placed.map(|()| file).inspect_err(|_| remove(&new))
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Output may hold secrets.
    options.write(true).create(true).truncate(true).mode(0o600);
    match (options.open(path), path.parent()) {
        (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir_all(dir)?;
            options.open(path)
        }
        (result, _) => result,
    }
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "the copy of a run's output cannot be removed");
        }
        _ => {}
    }
}

fn frame(into: &mut Vec<u8>, kind: u8, millis: u32, bytes: &[u8]) {
    // No piece is longer than a `u32` can say.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    into.push(kind);
    into.extend_from_slice(&millis.to_le_bytes());
    into.extend_from_slice(&len.to_le_bytes());
    into.extend_from_slice(bytes);
}

/// The copies in a directory.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(RunId, u32, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == NEW) {
            // The worker died before it took its place.
            remove(&path);
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut parts = name.split('.');
        if let (Some(run), Some(attempt), Some(EXTENSION), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
            && let (Ok(run), Ok(attempt)) = (run.parse(), attempt.parse())
        {
            found.push((run, attempt, path));
        }
    }
    Ok(found)
}

/// Reads a copy, up to where it is torn.
pub(super) fn read(path: &Path) -> io::Result<Recovered> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_READ).read_to_end(&mut bytes)?;
    let Some(mut rest) = bytes.strip_prefix(FIRST_LINE) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} is not a copy of a run's output: it does not begin with \"quorate output 1\"",
                path.display()
            ),
        ));
    };
    // Older files say nothing of what is kept: they have no more.
    let mut text = Text::new(usize::MAX, Keep::Head);
    let mut truncated = 0;
    let mut head = Vec::new();
    while let Some((kind, millis, bytes, behind)) = split_frame(rest) {
        match (kind, <[u8; 8]>::try_from(bytes)) {
            (b'k', _) => match keep_of(bytes) {
                Some(kept) => text = kept,
                None => break,
            },
            (b'h', _) => head = bytes.to_vec(),
            (b'o', _) => text.append(millis, Stream::Out, bytes),
            (b'e', _) => text.append(millis, Stream::Err, bytes),
            (b'g', Ok(missing)) => text.skip(u64::from_le_bytes(missing)),
            (b't', Ok(count)) => truncated = u64::from_le_bytes(count),
            _ => break,
        }
        rest = behind;
    }
    let output = Collected::of(&mut text);
    let truncated = truncated.max(output.truncated);
    Ok(Recovered { head, output: Collected { truncated, ..output } })
}

fn split_frame(bytes: &[u8]) -> Option<(u8, u32, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (millis, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (bytes, behind) = rest.split_at(rest.len().min(u32::from_le_bytes(*len) as usize));
    Some((*kind, u32::from_le_bytes(*millis), bytes, behind))
}
