//! The copy of a run's output on disk: frames behind a first line.
//!
//! A frame is a kind (`h`: the head, what is to know of the run beside its output; `o`, `e`: text of that stream; `t`:
//! bytes thrown away so far), milliseconds after the start and a length, both as four bytes, low one first, then so many bytes; of the last one, which a crash may tear, as
//! many as are there. Nothing is synced: the copy is for a dead worker, not for a dead machine.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use common::{
    id::RunId,
    job::MAX_OUTPUT,
    runlog::{Piece, Stream},
};

use super::{Collected, Head, Recovered, SpillTo, text::Text};

pub(super) const EXTENSION: &str = "output";

const FIRST_LINE: &[u8] = b"quorate output 1\n";

/// A copy is read up to here: no limit on output is higher, and the frames' heads seldom double it.
const MAX_READ: u64 = 4 * MAX_OUTPUT.0;

/// Where the copy stands.
pub(super) struct Spill {
    path: PathBuf,
    /// Written before all else; none: it is.
    head: Option<Head>,
    /// Bytes of the text that are in the file.
    written: usize,
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
    file: Option<File>,
    bytes: Vec<u8>,
    written: usize,
    truncated: u64,
}

/// What came of it.
pub(super) struct Written {
    result: io::Result<File>,
    written: usize,
    truncated: u64,
}

impl Spill {
    pub(super) fn new(to: SpillTo) -> Self {
        Self { path: to.path, head: Some(to.head), written: 0, truncated: 0, stage: Stage::Idle(None) }
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
        text.len() > self.written || text.truncated() > self.truncated.saturating_mul(2)
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
            (Stage::Writing, Some(Written { result: Ok(file), written, truncated })) => {
                self.written = written;
                self.truncated = truncated;
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
        let (part, pieces) = text.since(self.written);
        let mut bytes = Vec::new();
        if file.is_none() {
            bytes.extend_from_slice(FIRST_LINE);
            let head = self.head.take().map(|head| head()).unwrap_or_default();
            frame(&mut bytes, b'h', 0, &head);
        }
        bytes.reserve(part.len() + pieces.len() * 9);
        let mut rest = part.as_bytes();
        for Piece(millis, stream, len) in pieces {
            let (piece, behind) = rest.split_at((len as usize).min(rest.len()));
            frame(&mut bytes, if stream == Stream::Out { b'o' } else { b'e' }, millis, piece);
            rest = behind;
        }
        if text.truncated() > self.truncated.saturating_mul(2) {
            frame(&mut bytes, b't', 0, &text.truncated().to_le_bytes());
        }
        let (written, truncated) = (text.len(), text.truncated().max(self.truncated));
        Some(Job { path: self.path.clone(), file, bytes, written, truncated })
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

impl Job {
    pub(super) fn write(self) -> Written {
        let Self { path, file, bytes, written, truncated } = self;
        let result = file.map_or_else(|| create(&path), Ok).and_then(|mut file| {
            file.write_all(&bytes)?;
            Ok(file)
        });
        Written { result, written, truncated }
    }
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
                "{} is no copy of a run's output: it does not begin with \"quorate output 1\"",
                path.display()
            ),
        ));
    };
    let mut text = Text::new(usize::MAX);
    let mut truncated = 0;
    let mut head = Vec::new();
    while let Some((kind, millis, bytes, behind)) = split_frame(rest) {
        match (kind, <[u8; 8]>::try_from(bytes)) {
            (b'h', _) => head = bytes.to_vec(),
            (b'o', _) => text.append(millis, Stream::Out, bytes),
            (b'e', _) => text.append(millis, Stream::Err, bytes),
            (b't', Ok(count)) => truncated = u64::from_le_bytes(count),
            _ => break,
        }
        rest = behind;
    }
    text.finish();
    let (text, pieces) = text.since(0);
    Ok(Recovered { head, output: Collected { text, pieces, truncated } })
}

fn split_frame(bytes: &[u8]) -> Option<(u8, u32, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (millis, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (bytes, behind) = rest.split_at(rest.len().min(u32::from_le_bytes(*len) as usize));
    Some((*kind, u32::from_le_bytes(*millis), bytes, behind))
}
