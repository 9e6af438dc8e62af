//! A process group that executes a run, until nothing is left of it.
//!
//! One future does everything: it waits for the leader, reads the output, listens for the stop and keeps the times. A
//! group's number means this group only while one of its processes lives, or its leader has not been waited for. So
//! once the group was seen empty, it is never signalled again.

use std::{ops::ControlFlow, process::ExitStatus, sync::Arc, time::Duration};

use async_trait::async_trait;
use common::id::RunId;
use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::Child,
    time::{sleep, sleep_until, timeout},
};

use capture::Capture;
use tree::{END_WAIT, SIGNAL_WAIT, Trees, signal_all};

use super::{
    Exit, Running, StopSignal,
    stop::{Step, Stop},
};
use crate::{
    guard::GuardHandle,
    output::{Output, SPILL_AFTER},
};

mod capture;
pub(super) mod environment;
pub(super) mod launch;
pub mod shim;
pub(super) mod spawn;
mod tree;

/// So long after the leader's end something may still come from what it left in the background.
const LINGER: Duration = Duration::from_secs(1);

/// Between two looks for what a kill has left: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

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
    fn new(
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
            let trees = Arc::clone(&self.trees);
            let look = async move { trees.look(END_WAIT).await };
            let step = match self.read_on(look, stop).await {
                ControlFlow::Continue(seen) => {
                    match seen.map(|processes| processes.of_run(self.run, self.group)) {
                        Some(left) if left.is_empty() => break,
                        Some(left) if stop.has_killed() => signal_all(&left, Signal::SIGKILL),
                        // Not seen is not gone: without an answer the group alone tells, and while it lives its
                        // KILL may still be to come.
                        None if self.group.is_none() => break,
                        Some(_) | None => {}
                    }
                    self.read_on(sleep(pause), stop).await.break_value()
                }
                ControlFlow::Break(step) => Some(step),
            };
            pause = if let Some(step) = step {
                self.signal(step).await;
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
        }
        self.trees.forget();
    }

    /// Reads on until `over` resolves or the stop's next step is due, which breaks. The caller takes the step when
    /// `over` is gone: the step's look would wait for the one in it.
    async fn read_on<T>(&mut self, over: impl Future<Output = T>, stop: &mut Stop) -> ControlFlow<Step, T> {
        tokio::pin!(over);
        loop {
            tokio::select! {
                value = &mut over => return ControlFlow::Continue(value),
                step = stop.next() => return ControlFlow::Break(step),
                _ = self.capture.turn(&self.output), if self.capture.is_open() => {}
            }
        }
    }

    async fn signal(&mut self, step: Step) {
        let signals: &[Signal] = match step {
            // A stopped process takes its TERM only when it goes on.
            Step::Term => &[Signal::SIGTERM, Signal::SIGCONT],
            Step::Kill => &[Signal::SIGKILL],
            Step::Insist => {
                tracing::error!(run = %self.run, "processes of a run do not end although they were killed");
                &[Signal::SIGKILL]
            }
        };
        // First of all, while the parents live that lead to those who left the group.
        let seen = self.trees.look(SIGNAL_WAIT).await;
        let strays = seen.map(|processes| processes.strays(self.run, self.group)).unwrap_or_default();
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
        if stop.has_begun() {
            self.until_nothing_is_left(&mut stop).await;
        }
        self.done = true;
        self.group_is_gone();
        let Self { capture, output, .. } = &mut *self;
        let _ = timeout(LINGER, async { while capture.turn(output).await {} }).await;
        if let Some(capture) = capture.take_open() {
            // Somebody in the background holds the pipe, and would die of printing if nobody read it.
            output.ends_early();
            tokio::spawn(capture.drain());
        }
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

fn exit(status: std::io::Result<ExitStatus>) -> Exit {
    use std::os::unix::process::ExitStatusExt as _;
    match status.map(|status| (status.code(), status.signal())) {
        Ok((Some(code), _)) => Exit::code(code),
        Ok((None, Some(signal))) => Exit::signal(signal),
        // Only if the worker was started with SIGCHLD ignored, or something else in it waits for children.
        status => {
            tracing::error!(?status, "how a process ended cannot be told: it counts as exit code 255");
            Exit::code(255)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use common::job::OutputLimit;
    use tokio::{process::Command, sync::watch, time::Instant};

    use super::*;
    use crate::guard::Processes;

    const LONG: Duration = Duration::from_secs(40);

    /// A shell as the leader of a group, and what it prints.
    fn start(text: &str, trees: impl FnOnce(Pid) -> Trees) -> (Box<Process>, Pid, Arc<Output>) {
        let (capture, out, err) = Capture::open().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]).stdin(std::process::Stdio::null()).stdout(out).stderr(err);
        let child = command.process_group(0).spawn().unwrap();
        let group = Pid::from_raw(child.id().unwrap().try_into().unwrap());
        let output = Output::new(OutputLimit::of(1000), Instant::now(), None);
        let (guard, trees) = (GuardHandle::absent(), Arc::new(trees(group)));
        let process = Process::new(child, capture, run(), Arc::clone(&output), guard, &trees);
        (Box::new(process), group, output)
    }

    fn run() -> RunId {
        "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap()
    }

    fn left(group: Pid) -> Vec<Pid> {
        Processes::look("").unwrap().of_run(run(), Some(group))
    }

    #[tokio::test]
    async fn children_that_outlive_a_killed_leader_are_killed_also_without_a_look() {
        let text = "trap 'exit 3' TERM; (trap '' TERM; echo ready; sleep 60; :) & wait";
        // It hangs as long as anything lives.
        let hanging = |group| {
            Trees::reading(move || {
                while !left(group).is_empty() {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                Ok(Processes::default())
            })
        };
        let (process, group, output) = start(text, hanging);
        let (stop, signal) = watch::channel(None);
        let end = tokio::spawn(process.wait(signal));
        let printed = async {
            while !output.snapshot(0).text.contains("ready") {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, printed).await.unwrap();
        stop.send(Some(Duration::from_secs(2))).unwrap();
        let exit = timeout(LONG, end).await.unwrap().unwrap();
        let left = left(group);
        signal_all(&left, Signal::SIGKILL);
        assert_eq!((exit, left), (Exit::code(3), Vec::new()));
    }

    #[tokio::test]
    async fn a_killed_run_whose_group_is_gone_has_ended_also_without_a_look() {
        let (release, hung) = mpsc::channel::<()>();
        let hung = Mutex::new(hung);
        let hanging = |_| {
            Trees::reading(move || {
                let _ = hung.lock().unwrap().recv();
                Ok(Processes::default())
            })
        };
        let (process, ..) = start("exec sleep 60", hanging);
        let (_stop, signal) = watch::channel(Some(LONG));
        assert_eq!(timeout(LONG, process.wait(signal)).await.unwrap(), Exit::signal(15));
        drop(release);
    }
}
