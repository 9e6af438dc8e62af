//! Lines that a thread of its own writes, so that nobody waits for their reader and no failed write reaches anybody:
//! a reader that stalls or is gone, or a full disk, costs lines and nothing else.
//!
//! What waits is bounded. Lines that find no room, or that cannot be written, are counted; once lines can be written
//! again, their number stands in their place.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Lines and bytes that wait, at most: some seconds of a busy log.
const MOST_LINES: usize = 10_000;
const MOST_BYTES: usize = 8 << 20;

/// Between two tries at a handle that somebody else has made non-blocking.
const RETRY: Duration = Duration::from_millis(20);

thread_local! {
    /// What the writing thread itself has to say, while it says it.
    static ASIDE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The queue. Its thread lives as long as the process.
#[derive(Default)]
pub(super) struct Lines {
    queue: Mutex<Queue>,
    came: Condvar,
    /// Said when nothing waits and nothing is being written.
    done: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Entry>,
    bytes: usize,
    writing: bool,
}

enum Entry {
    Line(Vec<u8>),
    /// So many lines found no room here.
    Lost(u64),
}

/// Takes one line into the queue.
pub(super) struct Waiting<'a>(&'a Lines);

impl Lines {
    /// Starts the thread that writes to `to`. `lost` logs how many lines are lost.
    pub(super) fn start(to: impl Write + Send + 'static, lost: fn(u64)) -> io::Result<Arc<Self>> {
        let lines = Arc::new(Self::default());
        let mut writer = Writer { to, lost, count: 0, is_torn: false };
        let queue = lines.clone();
        thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                writer.write(queue.next());
            }
        })?;
        Ok(lines)
    }

    /// Puts a line into the queue, or counts it as lost. Waits for nobody.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut queue = self.lock();
        // A line by itself may have any length.
        let fits = queue.bytes == 0 || queue.bytes + line.len() <= MOST_BYTES;
        let has_room = fits && queue.waiting.len() < MOST_LINES;
        if has_room {
            queue.bytes += line.len();
            queue.waiting.push_back(Entry::Line(line));
        } else if let Some(Entry::Lost(lines)) = queue.waiting.back_mut() {
            *lines += 1;
        } else {
            queue.waiting.push_back(Entry::Lost(1));
        }
        self.came.notify_one();
    }

    /// Takes what is written into the queue, as one line.
    pub(super) const fn waiting(&self) -> Waiting<'_> {
        Waiting(self)
    }

    /// Waits until all that was put in is written or lost, at most this long.
    pub(super) fn flush(&self, within: Duration) {
        let busy = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        // Poisoned or late: there is nothing else to be done.
        self.done.wait_while_for(&mut self.lock(), busy, within);
    }

    /// For the thread that writes: waits for the next entry. The one before it is done with.
    fn next(&self) -> Entry {
        let mut queue = self.lock();
        queue.writing = false;
        loop {
            if let Some(entry) = queue.waiting.pop_front() {
                if let Entry::Line(line) = &entry {
                    queue.bytes -= line.len();
                }
                queue.writing = true;
                return entry;
            }
            self.done.notify_all();
            self.came.wait(&mut queue);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }
}

impl Write for Waiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_aside = ASIDE
            .with_borrow_mut(|aside| aside.as_mut().map(|aside| aside.extend_from_slice(bytes)).is_some());
        if !is_aside {
            self.0.push(bytes.to_vec());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the thread knows of what it writes to.
struct Writer<W> {
    to: W,
    lost: fn(u64),
    /// Lines that are lost, and of which nothing is said yet.
    count: u64,
    /// The last write ended in the middle of a line.
    is_torn: bool,
}

impl<W: Write> Writer<W> {
    fn write(&mut self, entry: Entry) {
        let line = match entry {
            Entry::Line(line) => Some(line),
            Entry::Lost(lines) => {
                self.count += lines;
                None
            }
        };
        // Before the line, where those stood that are lost. While that cannot be written, the line cannot either.
        if self.count > 0 && self.write_line(&said(self.lost, self.count)).is_ok() {
            self.count = 0;
        }
        if let Some(line) = line
            && (self.count > 0 || self.write_line(&line).is_err())
        {
            self.count += 1;
        }
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_bytes(b"\n")?;
        }
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // As slow as a reader that makes a blocking handle wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is logged by `log` on this thread, in the log's own format.
fn said(log: fn(u64), lines: u64) -> Vec<u8> {
    ASIDE.set(Some(Vec::new()));
    log(lines);
    ASIDE.take().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// What becomes of one write: it is let through, cut short or refused.
    enum Fate {
        Taken,
        Cut(usize),
        Refused,
    }

    /// Waits for its fate before each write.
    struct Reader {
        fates: Receiver<Fate>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = match self.fates.recv() {
                Ok(Fate::Taken) | Err(_) => bytes.len(),
                Ok(Fate::Cut(at)) => at,
                Ok(Fate::Refused) => return Err(ErrorKind::StorageFull.into()),
            };
            self.taken.lock().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn note(lines: u64) {
        ASIDE.with_borrow_mut(|aside| aside.as_mut().unwrap().extend(format!("lost {lines}\n").bytes()));
    }

    fn start() -> (Arc<Lines>, Sender<Fate>, Arc<Mutex<Vec<u8>>>) {
        let ((fate, fates), taken) = (channel(), Arc::default());
        let lines = Lines::start(Reader { fates, taken: Arc::clone(&taken) }, note).unwrap();
        (lines, fate, taken)
    }

    fn text(taken: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(taken.lock().clone()).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_reader_that_stalls_costs_lines_and_holds_up_nobody() {
        let (lines, fate, taken) = start();
        let all = MOST_LINES + 10;
        for n in 0..all {
            lines.push(format!("{n}\n").into_bytes());
        }
        lines.flush(Duration::ZERO);
        assert_eq!(text(&taken), "");
        // It reads again.
        drop(fate);
        lines.flush(LONG);
        lines.push(b"later\n".to_vec());
        lines.flush(LONG);
        let text = text(&taken);
        let kept = text.lines().take_while(|line| !line.starts_with("lost")).count();
        // One may have been on its way already.
        assert!((MOST_LINES..=MOST_LINES + 1).contains(&kept), "{kept}");
        let rest: Vec<_> = text.lines().skip(kept).collect();
        assert_eq!(rest, [format!("lost {}", all - kept), "later".to_owned()]);
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let (lines, fate, taken) = start();
        for _ in 0..100 {
            lines.push(vec![b'x'; MOST_BYTES / 10]);
        }
        drop(fate);
        lines.flush(LONG);
        let bytes = taken.lock().iter().filter(|byte| **byte == b'x').count();
        // One may have been on its way already.
        assert!(bytes <= MOST_BYTES + MOST_BYTES / 10, "{bytes}");
        lines.push(vec![b'y'; MOST_BYTES + 1]);
        lines.flush(LONG);
        let bytes = taken.lock().iter().filter(|byte| **byte == b'y').count();
        assert_eq!(bytes, MOST_BYTES + 1, "one by itself is written");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_a_torn_one_spoils_no_other() {
        let (lines, fate, taken) = start();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            lines.push(line.as_bytes().to_vec());
        }
        // "one" is torn; what is said of it is refused once, together with "two".
        for one in [Fate::Cut(2), Fate::Refused, Fate::Refused] {
            fate.send(one).unwrap();
        }
        for _ in 0..4 {
            fate.send(Fate::Taken).unwrap();
        }
        lines.flush(LONG);
        assert_eq!(text(&taken), "on\nlost 2\nthree\nfour\n");
    }
}
