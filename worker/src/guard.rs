//! The guard: a small process beside a worker that kills what the worker started when the worker no longer can.
//!
//! The worker tells it through a pipe which process groups start and end and until when the worker may be trusted.
//! - **The pipe ends**, because the worker ended, however that happened: the guard kills all groups and every process
//!   of the worker's session, and ends.
//! - **The trust runs out**, as when the worker is stopped or its host was suspended: the guard kills them too,
//!   except for runs that are to be kept on lease loss, and stays.
//!
//! It kills the groups first, which is quick and leaves no gap for a fork, then looks through `/proc` for what left
//! its group or was started in the worker's last moment, again and again until nothing is found. What it cannot find
//! is listed in [`scan`](self#what-escapes). At the same time it removes the containers of the session, by their labels;
//! while their engine is away it tries again, for ten minutes if there have been containers.
//!
//! # What escapes A process that cleared its environment, made a session of its own and has lost all its parents; and
//! whatever the worker's user is not allowed to signal, such as what `sudo` starts for a worker that is not root.

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead, BufReader, Read},
    process::ExitCode,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Duration,
};

use common::id::RunId;
use nix::{
    sys::signal::{Signal, kill, killpg},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use rand::Rng as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::driver::{EngineAddress, docker::Spared};

pub use handle::GuardHandle;
use message::Message;
pub(crate) use scan::Processes;

mod containers;
mod handle;
mod message;
mod scan;

/// The name of the hidden subcommand under which the binary has to call [`main`].
pub const SUBCOMMAND: &str = "guard";

/// The deadline is compared with the clock at least so often: time in which the machine is suspended does not
/// count in a wait, but it does for a lease.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Between two looks for survivors.
const PAUSE: Duration = Duration::from_millis(20);

/// So many looks in a row have to find nothing: a process in the middle of its exec shows no environment.
const QUIET_LOOKS: u32 = 2;

/// Then it gives up: what survives KILL for so long hangs in the kernel and will end when it comes back.
const MAX_LOOKS: u32 = 500;

/// An engine that is away may come back with what it ran. A worker that is stopped may come back first.
const ENGINE_PATIENCE: Duration = Duration::from_secs(600);
const ENGINE_PATIENCE_TRUSTED: Duration = Duration::from_secs(1);

/// A random name for a worker's life, which the processes that it starts carry as `QUORATE_SESSION`.
pub fn new_session_token() -> String {
    format!("{:032x}", rand::rng().random::<u128>())
}

/// Kills what an earlier life of a worker left: every process that carries its session's token, and their
/// descendants. Blocks until none is left; gives how many there were. An error: the machine's processes cannot be looked
/// at, and some may be left.
pub fn kill_session(token: &str) -> io::Result<usize> {
    if token.is_empty() {
        // No life had this name: whoever asks has lost the token.
        return Ok(0);
    }
    sweep(token, &HashMap::new())
}

/// What the guard's process does: it follows `input` until its end. It knows its worker's session and the container engine
/// from the start, by `args`: a worker that is killed before it has told anything leaves nothing behind either. Blocks.
pub fn main(args: impl IntoIterator<Item = String>, input: impl Read + Send + 'static) -> ExitCode {
    if let Err(error) = ignore_signals() {
        tracing::warn!(%error, "the guard cannot ignore signals: one of them may end it before its turn");
    }
    // Bounded, so that a flood of messages waits in the pipe.
    let (sender, messages) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(input).lines() {
            // An error on the pipe is its end; so is a guard that is done.
            let Ok(line) = line else { return };
            match line.parse() {
                Ok(message) => {
                    if sender.send(message).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!(%error, "the guard does not understand a message"),
            }
        }
    });
    let mut args = args.into_iter();
    let session = args.next().filter(|token| !token.is_empty());
    let engine = args.next().and_then(|address| address.parse().ok());
    Guarded { session, engine, ..Guarded::default() }.follow(&messages);
    ExitCode::SUCCESS
}

/// Makes the process deaf for good: a service manager that stops the worker signals all of its processes, and the
/// guard's turn is after the worker's. A handler that does nothing serves all threads, whoever started them.
fn ignore_signals() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _context = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
        // The handler stays when its listener and the runtime are gone.
        drop(signal(kind)?);
    }
    Ok(())
}

/// What the guard knows of its worker.
#[derive(Default)]
struct Guarded {
    session: Option<String>,
    engine: Option<EngineAddress>,
    /// The worker has made containers.
    has_containers: bool,
    groups: HashSet<Pid>,
    /// Groups that only the worker's end kills, and their runs.
    kept: HashMap<Pid, RunId>,
    trust: Option<Duration>,
    /// Something may execute that must not when the trust has run out.
    armed: bool,
}

impl Guarded {
    fn follow(mut self, messages: &Receiver<Message>) {
        loop {
            let mut wait = CHECK_EVERY;
            if let Some(trust) = self.trust.filter(|_| self.armed) {
                let left = trust.saturating_sub(since_boot());
                if left.is_zero() && !self.groups.is_empty() {
                    tracing::error!("the worker can no longer trust its lease; the guard kills its runs");
                }
                if left.is_zero() {
                    // What the worker has said since comes first: a sweep may take seconds.
                    while let Ok(message) = messages.try_recv() {
                        self.take(message);
                    }
                    if self.trust.is_some_and(|trust| since_boot() >= trust) {
                        self.kill_untrusted();
                    }
                }
                wait = wait.min(left.max(PAUSE));
            }
            match messages.recv_timeout(wait) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.kill_all(),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Session(token) => self.session = Some(token),
            Message::Containers => self.has_containers = true,
            Message::Forget => {
                self.groups.clear();
                self.kept.clear();
            }
            Message::Started(group) => {
                self.groups.insert(group);
                self.armed = true;
            }
            Message::Kept(group, run) => {
                self.kept.insert(group, run);
            }
            Message::Ended(group) => {
                self.groups.remove(&group);
                self.kept.remove(&group);
            }
            Message::Trust(until) => {
                self.trust = Some(until);
                self.armed = true;
            }
        }
    }

    fn kill_untrusted(&mut self) {
        self.armed = false;
        // Forgotten once killed: their numbers may come to mean others.
        self.groups.drain().for_each(kill_group);
        let (swept, removed) = self.end_session(Spared::Kept, ENGINE_PATIENCE_TRUSTED);
        // It looks again until it can see.
        self.armed = !swept || (!removed && self.has_containers);
    }

    fn kill_all(mut self) {
        self.groups.drain().for_each(kill_group);
        self.kept.drain().for_each(|(group, _)| kill_group(group));
        // The worker's next life looks for what could not be seen.
        let patience = if self.has_containers { ENGINE_PATIENCE } else { Duration::ZERO };
        self.end_session(Spared::None, patience);
    }

    /// Ends the processes of the session and, at the same time, its containers. Whether the one and the other is done.
    fn end_session(&self, spared: Spared, patience: Duration) -> (bool, bool) {
        let Some(token) = &self.session else { return (true, true) };
        // Without a socket there is no engine, unless there was one.
        let engine = self.engine.as_ref().filter(|engine| self.has_containers || engine.path().exists());
        std::thread::scope(|scope| {
            let removing =
                engine.map(|engine| scope.spawn(|| containers::end(engine, token, spared, patience)));
            let swept = sweep(token, &self.kept).is_ok();
            (swept, removing.is_none_or(|removing| removing.join().unwrap_or(false)))
        })
    }
}

fn kill_group(group: Pid) {
    // It fails when the group is gone, which is what is wanted.
    let _ = killpg(group, Signal::SIGKILL);
}

/// Kills the processes of a session but for the kept ones until none is left. Gives how many were found; an error if at
/// last they could not be looked for.
fn sweep(token: &str, kept: &HashMap<Pid, RunId>) -> io::Result<usize> {
    let mut killed = HashSet::new();
    let (mut quiet, mut blind) = (0, None);
    for _ in 0..MAX_LOOKS {
        let found = match Processes::look(token) {
            Ok(processes) => processes.of_session(kept),
            Err(error) => {
                // Not seen is not gone.
                (quiet, blind) = (0, Some(error));
                pause();
                continue;
            }
        };
        blind = None;
        for pid in &found {
            // It fails when the process has ended, which is what is wanted.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        quiet = if found.is_empty() { quiet + 1 } else { 0 };
        killed.extend(found);
        if quiet == QUIET_LOOKS {
            return Ok(killed.len());
        }
        pause();
    }
    if let Some(error) = blind {
        tracing::error!(
            session = token,
            %error,
            "/proc cannot be read: processes that left their group may live on"
        );
        return Err(error);
    }
    tracing::error!(session = token, "processes of a worker do not end although they were killed");
    Ok(killed.len())
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is nothing to wait on: the processes are others' children"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// The clock that the trust is told by.
fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests;
