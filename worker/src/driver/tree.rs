//! Finds the processes of a run wherever they went.
//!
//! That means looking at every process of the machine, some milliseconds' work: done only on a kill, never for a
//! run that ends by itself, and once for all runs that are killed at the same time.

use std::{sync::Arc, time::Duration};

use common::id::RunId;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::guard::Processes;

/// Between two looks for what a dropped run left.
const PAUSE: Duration = Duration::from_millis(20);

/// Reading a process that hangs in the kernel may hang too; the kill must not.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// So many looks at most.
const MAX_LOOKS: u32 = 100;

/// Looks at the machine's processes for all runs of a worker.
pub(super) struct Trees {
    session: String,
    /// The last look, and when it began.
    last: Mutex<Option<(Instant, Arc<Processes>)>>,
}

impl Trees {
    pub(super) fn new(session: String) -> Self {
        Self { session, last: Mutex::new(None) }
    }

    /// The machine's processes as they are at some moment after the call. None at all, if looking hangs.
    pub(super) async fn look(&self) -> Arc<Processes> {
        timeout(LONGEST_LOOK, self.look_or_hang()).await.unwrap_or_else(|_| {
            tracing::error!("/proc does not answer: a kill reaches only process groups");
            Arc::default()
        })
    }

    async fn look_or_hang(&self) -> Arc<Processes> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((began, processes)) = &*last
            && *began > asked
        {
            // Somebody else looked while we waited.
            return Arc::clone(processes);
        }
        let began = Instant::now();
        let session = self.session.clone();
        // It does not panic, and a runtime that ends needs no answer: then nothing was found.
        let found = tokio::task::spawn_blocking(move || Processes::look(&session)).await;
        let processes = Arc::new(found.unwrap_or_default());
        *last = Some((began, Arc::clone(&processes)));
        processes
    }

    /// Forgets the last look, which takes memory, when no kill is going on.
    pub(super) fn forget(&self) {
        if let Ok(mut last) = self.last.try_lock() {
            *last = None;
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
                let found = trees.look().await.of_run(run, None);
                if found.is_empty() {
                    break;
                }
                signal_all(&found, Signal::SIGKILL);
                tokio::time::sleep(PAUSE).await;
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
