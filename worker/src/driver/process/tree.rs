//! Finds the processes of a run wherever they went.
//!
//! That means looking at every process of the machine, some milliseconds' work: done only on a kill, never for a
//! run that ends by itself, and once for all runs that are killed at the same time.
//!
//! Reading a process that hangs in the kernel may hang too, and keeps its thread. So only one look goes on at a time,
//! and whoever asks meanwhile waits for its end, but not for ever: no answer does not mean that nothing was found.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::id::RunId;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    sync::Mutex,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::guard::Processes;

/// Between two looks for what a dropped run left.
const PAUSE: Duration = Duration::from_millis(20);

/// A signal waits no longer than this to be told whom to reach beside the group…
pub(super) const SIGNAL_WAIT: Duration = Duration::from_secs(1);

/// …and the end of a killed run no longer than this to be told that nothing is left.
pub(super) const END_WAIT: Duration = Duration::from_secs(3);

/// So many looks at most.
const MAX_LOOKS: u32 = 100;

/// Looks at all processes, and blocks.
type Read = dyn Fn() -> io::Result<Processes> + Send + Sync;

/// Looks at the machine's processes for all runs of a worker.
pub(super) struct Trees {
    read: Arc<Read>,
    looks: Mutex<Looks>,
    /// There was no answer in time.
    late: AtomicBool,
}

#[derive(Default)]
struct Looks {
    /// The one that goes on, or whose answer nobody has taken yet, and when it began.
    going: Option<(Instant, JoinHandle<io::Result<Processes>>)>,
    /// The last answer, and when its look began.
    last: Option<(Instant, Arc<Processes>)>,
}

impl Trees {
    pub(super) fn new(session: String) -> Self {
        Self::reading(move || Processes::look(&session))
    }

    pub(super) fn reading(read: impl Fn() -> io::Result<Processes> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), looks: Mutex::default(), late: AtomicBool::new(false) }
    }

    /// The machine's processes as they are at some moment after the call; none: there is no answer so soon. Cancel
    /// safe: a look that nobody waits for any more goes on.
    pub(super) async fn look(&self, longest: Duration) -> Option<Arc<Processes>> {
        let seen = timeout(longest, self.look_or_hang()).await.ok().flatten();
        // Said once: the next ones wait for the same look.
        if !self.late.swap(seen.is_none(), Ordering::Relaxed) && seen.is_none() {
            tracing::error!("/proc does not answer or cannot be read; a kill reaches process groups only");
        }
        seen
    }

    async fn look_or_hang(&self) -> Option<Arc<Processes>> {
        let asked = Instant::now();
        let mut looks = self.looks.lock().await;
        if let Some((began, processes)) = &looks.last
            && *began > asked
        {
            // Somebody else looked while we waited.
            return Some(Arc::clone(processes));
        }
        loop {
            let (began, going) = looks.going.get_or_insert_with(|| self.begin());
            let began = *began;
            let found = going.await;
            looks.going = None;
            // It does not panic, and a runtime that ends needs no answer.
            let processes = match found.ok()? {
                Ok(processes) => Arc::new(processes),
                Err(error) => {
                    // As without a free file handle: there may be one soon.
                    tracing::debug!(%error, "/proc cannot be read");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            // One that others gave up waiting for may have begun too early for us.
            if began >= asked {
                looks.last = Some((began, Arc::clone(&processes)));
                return Some(processes);
            }
        }
    }

    fn begin(&self) -> (Instant, JoinHandle<io::Result<Processes>>) {
        let read = Arc::clone(&self.read);
        (Instant::now(), tokio::task::spawn_blocking(move || read()))
    }

    /// Forgets the last answer, which takes memory, when no kill is going on.
    pub(super) fn forget(&self) {
        if let Ok(mut looks) = self.looks.try_lock() {
            looks.last = None;
        }
    }

    /// Kills what is left of a run that nobody waits for any more, soon.
    pub(super) fn kill_soon(self: &Arc<Self>, run: RunId) {
        // Without a runtime the worker is ending, and the guard does it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let trees = Arc::clone(self);
        // On the machine's behalf: nobody is left to be told.
        drop(runtime.spawn(async move {
            for _ in 0..MAX_LOOKS {
                if let Some(processes) = trees.look(END_WAIT).await {
                    let found = processes.of_run(run, None);
                    if found.is_empty() {
                        break;
                    }
                    signal_all(&found, Signal::SIGKILL);
                }
                sleep(PAUSE).await;
            }
            trees.forget();
        }));
    }
}

/// Signals processes; those that have ended meanwhile need none.
pub(super) fn signal_all(pids: &[Pid], signal: Signal) {
    for pid in pids {
        let _ = kill(*pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, atomic::AtomicUsize, mpsc};

    use super::*;

    #[tokio::test]
    async fn while_a_look_hangs_there_is_no_answer_and_no_second_look() {
        let (release, hung) = mpsc::channel::<()>();
        let (hung, begun) = (Mutex::new(hung), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&begun);
        let trees = Trees::reading(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let _ = hung.lock().unwrap().recv();
            Ok(Processes::default())
        });
        let short = Duration::from_millis(20);
        for _ in 0..3 {
            let (one, other) = tokio::join!(trees.look(short), trees.look(short));
            assert!(one.is_none() && other.is_none());
        }
        drop(release);
        assert!(trees.look(Duration::from_secs(40)).await.is_some());
        // The one that hung, and one that began after the last asking.
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_look_that_fails_is_no_answer_and_is_repeated() {
        let (fails, failing) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (still, count) = (Arc::clone(&fails), Arc::clone(&failing));
        let trees = Trees::reading(move || {
            if still.load(Ordering::Relaxed) {
                count.fetch_add(1, Ordering::Relaxed);
                return Err(io::ErrorKind::Other.into());
            }
            Ok(Processes::default())
        });
        // On a busy machine the first look may come later than that.
        while failing.load(Ordering::Relaxed) == 0 {
            assert!(trees.look(Duration::from_millis(100)).await.is_none());
        }
        fails.store(false, Ordering::Relaxed);
        assert!(trees.look(Duration::from_secs(40)).await.is_some());
    }
}
