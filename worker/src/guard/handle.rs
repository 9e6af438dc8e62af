//! The worker's side of its guard: starts it, tells it everything, and starts it again if it dies.

use std::{
    collections::HashMap,
    io::{self, Write},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use common::id::RunId;
use nix::unistd::Pid;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{SUBCOMMAND, message::Message};
use crate::driver::EngineAddress;

/// With more to tell than this (a guard that is stopped does not read) the messages are dropped, and the truth is
/// told as a whole when it reads again.
const MAX_PENDING: usize = 4096;

/// At least so long between two starts of a guard: one that cannot live must not eat the machine.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Tells the guard. Cheap to clone; never blocks its caller. When the last clone is gone the guard kills what is
/// left and ends.
#[derive(Clone, Debug)]
pub struct GuardHandle(Option<Arc<Owner>>);

/// Ends the writer with the last handle.
#[derive(Debug)]
struct Owner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    program: PathBuf,
    session: String,
    engine: Option<EngineAddress>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What there is to tell.
#[derive(Debug, Default)]
struct State {
    /// The truth: every group that executes, with its run if it is kept on lease loss.
    groups: HashMap<Pid, Option<RunId>>,
    trust: Option<Duration>,
    /// There have been containers, or there are about to be.
    containers: bool,
    /// What of it has not been told yet.
    pending: Vec<Message>,
    /// Everything has to be told, as the guard is new or too much was pending.
    retell: bool,
    /// The process that `retell` was last said for has ended.
    dead: bool,
    closed: bool,
}

impl GuardHandle {
    /// Starts the guard: `program guard SESSION [ENGINE]`, where `program` is our own binary and `engine` where the
    /// worker's containers are. It fails if the guard cannot be started; should it die later, it is started again.
    pub fn spawn(program: PathBuf, session: &str, engine: Option<EngineAddress>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            program,
            session: session.to_owned(),
            engine,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let (child, input) = shared.start()?;
        let writer = Arc::clone(&shared);
        let handle = Self(Some(Arc::new(Owner(Arc::clone(&shared)))));
        std::thread::Builder::new().name("guard".into()).spawn(move || writer.tell_for_life(input))?;
        shared.watch(child)?;
        Ok(handle)
    }

    /// No guard: for tests and simulations, whose processes may outlive their worker.
    pub const fn absent() -> Self {
        Self(None)
    }

    /// A process group has started.
    pub fn started(&self, group: Pid) {
        self.change(|state| {
            state.groups.insert(group, None);
            state.tell(Message::Started(group));
        });
    }

    /// A process group has started that only the worker's end kills, not the loss of its lease.
    pub fn started_kept(&self, group: Pid, run: RunId) {
        self.change(|state| {
            state.groups.insert(group, Some(run));
            state.tell(Message::Kept(group, run));
        });
    }

    /// A process group has ended: its number may soon mean another one.
    pub fn ended(&self, group: Pid) {
        self.change(|state| {
            state.groups.remove(&group);
            state.tell(Message::Ended(group));
        });
    }

    /// A container is about to be made.
    pub fn uses_containers(&self) {
        let Some(owner) = &self.0 else { return };
        if owner.0.lock().containers {
            return;
        }
        self.change(|state| {
            state.containers = true;
            state.tell(Message::Containers);
        });
    }

    /// Until when, as time since boot, this worker's runs may execute: past it, unless told a later instant, the
    /// guard kills them.
    pub fn trust_until(&self, until: Duration) {
        self.change(|state| {
            state.trust = Some(until);
            state.tell(Message::Trust(until));
        });
    }

    /// True when that time is over: what would be started now would be killed at once.
    pub fn is_past(&self) -> bool {
        let trust = self.0.as_ref().and_then(|owner| owner.0.lock().trust);
        trust.is_some_and(|until| super::since_boot() >= until)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Some(owner) = &self.0 {
            change(&mut owner.0.lock());
            owner.0.changed.notify_all();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl State {
    fn tell(&mut self, message: Message) {
        if self.retell {
            return;
        }
        self.pending.push(message);
        if self.pending.len() > MAX_PENDING {
            self.pending = Vec::new();
            self.retell = true;
        }
    }

    /// What to write now.
    fn take(&mut self, session: &str) -> Vec<Message> {
        let pending = std::mem::take(&mut self.pending);
        if !std::mem::take(&mut self.retell) {
            return pending;
        }
        let groups = self.groups.iter().map(|(group, kept)| match kept {
            None => Message::Started(*group),
            Some(run) => Message::Kept(*group, *run),
        });
        let head = [Message::Session(session.to_owned()), Message::Forget];
        let containers = self.containers.then_some(Message::Containers);
        head.into_iter().chain(containers).chain(groups).chain(self.trust.map(Message::Trust)).collect()
    }
}

impl Shared {
    fn start(&self) -> io::Result<(Child, ChildStdin)> {
        let mut child = Command::new(&self.program)
            .arg(SUBCOMMAND)
            .arg(&self.session)
            .args(self.engine.as_ref().map(ToString::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ours holds passwords, and possibly the token of the session that we run in ourselves.
            .env_clear()
            .current_dir("/")
            // Out of reach of the terminal's Ctrl-C.
            .process_group(0)
            .spawn()?;
        let input = child.stdin.take().ok_or_else(|| io::Error::other("the guard has no standard input"))?;
        let mut state = self.lock();
        state.dead = false;
        state.retell = true;
        state.pending.clear();
        drop(state);
        Ok((child, input))
    }

    /// Waits for the guard's end in a thread of its own: it must be reaped, and replaced at once.
    fn watch(self: &Arc<Self>, mut child: Child) -> io::Result<()> {
        let shared = Arc::clone(self);
        std::thread::Builder::new().name("guard-wait".into()).spawn(move || {
            let ended = child.wait();
            let mut state = shared.lock();
            state.dead = true;
            if !state.closed {
                tracing::error!(?ended, "the guard has ended; starting it again");
            }
            shared.changed.notify_all();
        })?;
        Ok(())
    }

    /// Tells the guard until the last handle is gone; its input then ends.
    fn tell_for_life(self: Arc<Self>, mut input: ChildStdin) {
        let mut lines = Vec::new();
        let mut started = Instant::now();
        loop {
            let messages = {
                let idle = |state: &mut State| {
                    state.pending.is_empty() && !state.retell && !state.dead && !state.closed
                };
                let mut state = self.lock();
                self.changed.wait_while(&mut state, idle);
                if state.closed {
                    return;
                }
                if state.dead {
                    drop(state);
                    let Some(new) = self.start_again(started) else { return };
                    (input, started) = (new, Instant::now());
                    continue;
                }
                state.take(&self.session)
            };
            lines.clear();
            for message in messages {
                lines.extend_from_slice(message.to_string().as_bytes());
                lines.push(b'\n');
            }
            if let Err(error) = input.write_all(&lines) {
                // It is dead or about to be: `watch` says so and wakes us.
                tracing::debug!(%error, "the guard does not listen");
                let mut state = self.lock();
                state.retell = true;
                self.changed.wait_while(&mut state, |state| !state.dead && !state.closed);
            }
        }
    }

    /// A new guard's input; none if the last handle has gone meanwhile.
    fn start_again(self: &Arc<Self>, last_start: Instant) -> Option<ChildStdin> {
        let mut wait = RESTART_AFTER.saturating_sub(last_start.elapsed());
        loop {
            {
                let mut state = self.lock();
                self.changed.wait_while_for(&mut state, |state| !state.closed, wait);
                if state.closed {
                    return None;
                }
            }
            wait = RESTART_AFTER;
            let started = self.start().and_then(|(child, input)| self.watch(child).map(|()| input));
            match started {
                Ok(input) => return Some(input),
                Err(error) => {
                    let program = self.program.display();
                    tracing::error!(%program, %error, "the guard cannot be started: if this worker is killed now, its runs go on");
                    self.lock().dead = true;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_that_does_not_read_is_told_the_whole_truth_later() {
        let mut state = State::default();
        let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
        state.groups.insert(Pid::from_raw(40), None);
        state.tell(Message::Started(Pid::from_raw(40)));
        assert_eq!(state.take("c0ffee"), [Message::Started(Pid::from_raw(40))]);
        for n in 0..100_000 {
            state.tell(Message::Trust(Duration::from_secs(n)));
            assert!(state.pending.len() <= MAX_PENDING);
        }
        state.groups.insert(Pid::from_raw(41), Some(run));
        state.groups.remove(&Pid::from_raw(40));
        state.trust = Some(Duration::from_secs(7));
        let truth = [
            Message::Session("c0ffee".into()),
            Message::Forget,
            Message::Kept(Pid::from_raw(41), run),
            Message::Trust(Duration::from_secs(7)),
        ];
        assert_eq!(state.take("c0ffee"), truth);
        assert_eq!(state.take("c0ffee"), []);
    }

    #[test]
    fn a_guard_that_cannot_be_started_is_an_error_at_once() {
        assert!(GuardHandle::spawn("/no/such/binary".into(), "c0ffee", None).is_err());
    }

    #[test]
    fn a_guard_that_cannot_live_stops_nobody() {
        let guard = GuardHandle::spawn("/bin/true".into(), "c0ffee", None).unwrap();
        for n in 2..50_000 {
            guard.started(Pid::from_raw(n));
            guard.ended(Pid::from_raw(n));
        }
    }
}
