//! What a run prints: kept up to a limit with stream and order, readable while it runs, and copied to disk once
//! the run has lasted a while, so that it outlives a `kill -9` of the worker.
//!
//! Bytes become text as they come: what is not UTF-8 becomes U+FFFD, and a character that arrives in two reads stays
//! whole. So offsets mean the same in a live view, in the record and on disk. Memory is bounded by the limit whatever
//! a run prints: of a longer output the first part, the last part or both are kept, as its job says.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{
    id::RunId,
    job::OutputLimit,
    live::LiveOutput,
    runlog::{Gap, Piece, Stream},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use spill::Spill;
use text::{Rest, Text};

mod spill;
mod text;

/// Output is copied to disk once the run has lasted so long…
pub const SPILL_AFTER: Duration = Duration::from_secs(1);

/// …or has printed so much. Most runs do neither and never touch the disk.
pub const SPILL_BYTES: u64 = 64 << 10;

/// The output of one attempt while it executes.
#[derive(Debug)]
pub struct Output {
    made: Instant,
    begun: OnceLock<Instant>,
    state: Mutex<State>,
    ends_early: AtomicBool,
}

#[derive(Debug)]
struct State {
    text: Text,
    /// When something was printed last; the start, if nothing was.
    last: Instant,
    /// Bytes read from each stream.
    taken: [u64; 2],
    spill: Option<Spill>,
}

/// Where the copy of a run's output goes.
pub struct SpillTo {
    /// The file, see [`Output::spill_path`].
    pub path: PathBuf,
    /// What is to know of the run beside its output; of no meaning here.
    pub head: Head,
}

/// Says what stands before the output, once there is a copy.
pub type Head = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// As it was given; cut short if a crash tore it.
    pub head: Vec<u8>,
    /// As far as it was copied.
    pub output: Collected,
}

/// A run's whole output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Both streams in the order in which they came.
    pub text: String,
    /// Which part of the text came when and on which stream; their lengths add up to the text's.
    pub pieces: Vec<Piece>,
    /// Bytes thrown away at the limit. From [`Output::recover`] it may be too small by half.
    pub truncated: u64,
    /// Where in the text they are missing; none: behind it.
    pub gap: Option<u64>,
}

/// Output from an offset on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The text from the offset on.
    pub text: String,
    /// Its pieces.
    pub pieces: Vec<Piece>,
    /// The offset behind it.
    pub next: u64,
    /// Bytes thrown away at the limit so far.
    pub truncated: u64,
    /// Where in the text bytes are missing, and how many.
    pub gap: Option<Gap>,
}

impl Collected {
    /// All of a text that gets no longer.
    fn of(text: &mut Text) -> Self {
        text.finish();
        let truncated = text.truncated();
        let Rest { text, pieces, gap } = text.since(0);
        Self { text, pieces, truncated, gap: gap.map(|gap| gap.at) }
    }
}

impl Snapshot {
    /// The wire form.
    pub fn live(self, attempt: u32) -> LiveOutput {
        let Self { text, pieces, next, truncated, gap } = self;
        LiveOutput { attempt, output: text, pieces, next, truncated, gap }
    }
}

impl Output {
    /// Keeps so much of the text. `started` is when it was made ready to start, see [`Output::begin`]; `spill` is where a copy goes.
    pub fn new(kept: OutputLimit, started: Instant, spill: Option<SpillTo>) -> Arc<Self> {
        let limit = usize::try_from(kept.limit.0).unwrap_or(usize::MAX);
        let text = Text::new(limit, kept.keep);
        let state = State { text, last: started, taken: [0; 2], spill: spill.map(Spill::new) };
        let (begun, ends_early) = (OnceLock::new(), AtomicBool::new(false));
        Arc::new(Self { made: started, begun, state: Mutex::new(state), ends_early })
    }

    /// The run starts now: it was made before, and has waited for its instant and for its turn.
    pub fn begin(&self) {
        let begun = *self.begun.get_or_init(Instant::now);
        let mut state = self.lock();
        state.last = state.last.max(begun);
    }

    /// When the run started, if its driver has said so.
    pub fn begun(&self) -> Option<Instant> {
        self.begun.get().copied()
    }

    /// Takes what was read from a stream.
    pub fn append(self: &Arc<Self>, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let now = Instant::now();
        let lasted = now.saturating_duration_since(self.started());
        let mut state = self.lock();
        state.last = now;
        state.taken[stream as usize] += bytes.len() as u64;
        state.text.append(u32::try_from(lasted.as_millis()).unwrap_or(u32::MAX), stream, bytes);
        let long = lasted >= SPILL_AFTER || state.text.end() > SPILL_BYTES;
        let write = long && state.begin_spill();
        drop(state);
        if write {
            self.write_spill();
        }
    }

    /// Copies what has been printed so far to disk, and from now on what follows. A driver calls it when the run
    /// has lasted for [`SPILL_AFTER`].
    pub fn spill_now(self: &Arc<Self>) {
        if self.lock().begin_spill() {
            self.write_spill();
        }
    }

    /// The output from byte `from` of the text on; an offset behind the end gives nothing. Offsets count what is
    /// missing in the middle, so that a reader who keeps up reads all of it.
    pub fn snapshot(&self, from: u64) -> Snapshot {
        let state = self.lock();
        let Rest { text, pieces, gap } = state.text.since(from);
        Snapshot { text, pieces, next: state.text.end(), truncated: state.text.truncated(), gap }
    }

    /// When the run started, or was made ready to.
    pub fn started(&self) -> Instant {
        self.begun().unwrap_or(self.made)
    }

    /// When something was printed last; the start, if nothing was.
    pub fn last_output(&self) -> Instant {
        self.lock().last
    }

    /// Bytes printed so far, those thrown away included.
    pub fn total(&self) -> u64 {
        self.lock().text.total()
    }

    /// Bytes read from a stream so far, as they came: who reads it again knows where to go on.
    pub fn taken(&self, stream: Stream) -> u64 {
        self.lock().taken[stream as usize]
    }

    /// Says that the run has left processes behind that may print more, which is not kept.
    pub fn ends_early(&self) {
        self.ends_early.store(true, Ordering::Relaxed);
    }

    /// True: see [`Output::ends_early`].
    pub fn has_ended_early(&self) -> bool {
        self.ends_early.load(Ordering::Relaxed)
    }

    /// Resolves when nothing was printed for `span`. Cancel safe.
    pub async fn silence(&self, span: Duration) {
        loop {
            // A span so long that its end cannot be told never ends.
            let Some(due) = self.last_output().checked_add(span) else {
                return std::future::pending().await;
            };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    /// The whole output, for the record. To be asked when nothing is appended any more.
    pub fn finish(&self) -> Collected {
        let mut state = self.lock();
        Collected::of(&mut state.text)
    }

    /// Removes the copy on disk: the record is safe elsewhere.
    pub fn discard_spill(&self) {
        if let Some(spill) = &mut self.lock().spill {
            spill.discard();
        }
    }

    /// Where in `dir` the copy of an attempt's output belongs.
    pub fn spill_path(dir: &Path, run: &RunId, attempt: u32) -> PathBuf {
        dir.join(format!("{run}.{attempt}.{}", spill::EXTENSION))
    }

    /// The copies in `dir` that an earlier life of the worker left: run, attempt and file. No directory: none.
    pub fn runs_with_spill(dir: &Path) -> std::io::Result<Vec<(RunId, u32, PathBuf)>> {
        spill::list(dir)
    }

    /// Reads a copy, also one that a crash tore.
    pub fn recover(path: &Path) -> std::io::Result<Recovered> {
        spill::read(path)
    }

    /// Writes outside of the runtime's threads, as a disk may hang; without a runtime right here.
    fn write_spill(self: &Arc<Self>) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let output = Arc::clone(self);
                // Nobody waits for it: a copy that comes late is no worse than a crash that comes early.
                drop(runtime.spawn_blocking(move || output.write_pending()));
            }
            Err(_) => self.write_pending(),
        }
    }

    /// Writes until nothing is pending. One caller at a time: [`State::begin_spill`] sees to it.
    fn write_pending(&self) {
        let mut done = None;
        loop {
            let job = {
                let mut state = self.lock();
                let State { text, spill, .. } = &mut *state;
                spill.as_mut().and_then(|spill| spill.next(text, done.take()))
            };
            match job {
                Some(job) => done = Some(job.write()),
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn begin_spill(&mut self) -> bool {
        let Self { text, spill, .. } = self;
        spill.as_mut().is_some_and(|spill| spill.begin(text))
    }
}

#[cfg(test)]
mod tests;
