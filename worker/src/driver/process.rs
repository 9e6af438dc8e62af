//! A process group that executes a run, until nothing is left of it.
//!
//! One future does all: it waits for the leader, reads the output, listens for the stop and keeps the times. The
//! number of a group means this group only while a process of it lives, or its leader was not waited for. So once
//! the group was seen empty it is never signalled again.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::id::RunId;
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::Child,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Exit, Running, StopSignal,
    capture::Capture,
    tree::{Trees, signal_all},
};
use crate::{
    guard::GuardHandle,
    output::{Output, SPILL_AFTER},
};

/// So long after the leader's end something may still come from what it left in the background.
const LINGER: Duration = Duration::from_secs(1);

/// Between two looks for what a kill has left: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// What survives KILL for so long hangs in the kernel; the run ends without it.
const GIVE_UP: Duration = Duration::from_secs(10);

/// A running process group.
pub(super) struct Process {
    child: Child,
    /// None: it is gone, and its number may mean another one.
    group: Option<Pid>,
    run: RunId,
    capture: Capture,
    output: Arc<Output>,
    guard: GuardHandle,
    trees: Arc<Trees>,
    /// Nothing is to be killed any more.
    done: bool,
}

impl Process {
    pub(super) fn new(
        child: Child,
        capture: Capture,
        run: RunId,
        output: Arc<Output>,
        guard: GuardHandle,
        trees: &Arc<Trees>,
    ) -> Self {
        // A child that nobody has waited for has an id.
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { child, group, run, capture, output, guard, trees: Arc::clone(trees), done: false }
    }

    pub(super) fn tell_guard(&self, kept: bool) {
        match self.group {
            Some(group) if kept => self.guard.started_kept(group, self.run),
            Some(group) => self.guard.started(group),
            None => {}
        }
    }

    async fn until_exit(&mut self, stop: &mut Stop) -> Exit {
        let long = sleep_until(self.output.started() + SPILL_AFTER);
        tokio::pin!(long);
        let mut spills = true;
        loop {
            tokio::select! {
                status = self.child.wait() => return exit(status),
                step = stop.next() => self.signal(step).await,
                _ = self.capture.turn(&self.output), if self.capture.is_open() => {}
                () = &mut long, if spills => {
                    self.output.spill_now();
                    spills = false;
                }
            }
        }
    }

    /// The leader is gone: waits for the others, and kills them when it is time.
    async fn until_nothing_is_left(&mut self, stop: &mut Stop) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.notice_empty_group();
            let left = self.trees.look().await.of_run(self.run, self.group);
            if left.is_empty() {
                break;
            }
            if let Some(killed) = stop.killed {
                signal_all(&left, Signal::SIGKILL);
                if killed.elapsed() > GIVE_UP {
                    tracing::error!(run = %self.run, ?left, "processes of a run do not end although they were killed");
                    break;
                }
            }
            self.pause(pause, stop).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.trees.forget();
    }

    /// Reads on for a while, or until the stop's next step.
    async fn pause(&mut self, span: Duration, stop: &mut Stop) {
        let over = sleep(span);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                step = stop.next() => return self.signal(step).await,
                _ = self.capture.turn(&self.output), if self.capture.is_open() => {}
            }
        }
    }

    async fn signal(&mut self, step: Step) {
        let signals: &[Signal] = match step {
            // A stopped process takes its TERM only when it goes on.
            Step::Term => &[Signal::SIGTERM, Signal::SIGCONT],
            Step::Kill => &[Signal::SIGKILL],
        };
        // First of all, while the parents live that lead to those who left the group.
        let strays = self.trees.look().await.strays(self.run, self.group);
        for signal in signals {
            self.signal_group(*signal);
            signal_all(&strays, *signal);
        }
    }

    fn signal_group(&mut self, signal: Signal) {
        if let Some(group) = self.group
            && killpg(group, signal) == Err(Errno::ESRCH)
        {
            self.group_is_gone();
        }
    }

    fn notice_empty_group(&mut self) {
        if let Some(group) = self.group
            && killpg(group, None) == Err(Errno::ESRCH)
        {
            self.group_is_gone();
        }
    }

    fn group_is_gone(&mut self) {
        if let Some(group) = self.group.take() {
            self.guard.ended(group);
        }
    }
}

#[async_trait]
impl Running for Process {
    async fn wait(mut self: Box<Self>, stop: StopSignal) -> Exit {
        let mut stop = Stop::new(stop);
        let exit = self.until_exit(&mut stop).await;
        if stop.kill_at.is_some() {
            self.until_nothing_is_left(&mut stop).await;
        }
        self.done = true;
        self.group_is_gone();
        let Self { capture, output, .. } = &mut *self;
        // Too late is not an error: somebody in the background holds the pipe.
        let _ = timeout(LINGER, async { while capture.turn(output).await {} }).await;
        exit
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.signal_group(Signal::SIGKILL);
        self.group_is_gone();
        self.trees.kill_soon(self.run);
    }
}

/// What to do to a run that has to end.
enum Step {
    Term,
    Kill,
}

/// Follows the stop signal, and says once each when it is time to TERM and to KILL.
struct Stop {
    /// None: nobody can say anything any more.
    signal: Option<StopSignal>,
    /// When to KILL; known since the TERM.
    kill_at: Option<Instant>,
    killed: Option<Instant>,
}

impl Stop {
    const fn new(signal: StopSignal) -> Self {
        Self { signal: Some(signal), kill_at: None, killed: None }
    }

    /// The next step; never resolves after the KILL. Cancel safe.
    async fn next(&mut self) -> Step {
        loop {
            let grace = self.signal.as_mut().and_then(|signal| *signal.borrow_and_update());
            if let Some(grace) = grace {
                // Asked again and again the same grace ends later and later: the earliest counts.
                let now = Instant::now();
                let end = now.checked_add(grace).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365));
                match &mut self.kill_at {
                    Some(kill_at) => *kill_at = end.min(*kill_at),
                    none => {
                        *none = Some(end);
                        return Step::Term;
                    }
                }
            }
            tokio::select! {
                open = changed(&mut self.signal) => {
                    if !open {
                        self.signal = None;
                    }
                }
                () = at(self.kill_at), if self.killed.is_none() => {
                    self.killed = Some(Instant::now());
                    return Step::Kill;
                }
            }
        }
    }
}

/// False: there will be no change any more.
async fn changed(signal: &mut Option<StopSignal>) -> bool {
    match signal {
        Some(signal) => signal.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

fn exit(status: std::io::Result<ExitStatus>) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => Exit::Code(code),
        Ok((None, Some(signal))) => Exit::Signal(signal),
        // Only if the worker was started with SIGCHLD ignored, or something else in it waits for children.
        status => {
            tracing::error!(?status, "how a process ended cannot be told: it counts as exit code 255");
            Exit::Code(255)
        }
    }
}
