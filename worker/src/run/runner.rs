//! Runs what was claimed: waits for its instant, takes a last look, starts it, ends it when told to, and makes its
//! record. Here one can look up what executes, to kill or watch it.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    clock::Clock,
    id::RunId,
    job::OnLeaseLoss,
    live::{LiveError, LiveOutput},
    lock::HeldLock,
    queue::Kill,
    run::{RunEvent, RunState},
    runlog::{Ending, Printed, RunRecord, Times},
    store::Revision,
    worker::Drain,
};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{claimed::Claimed, lost};
use crate::{
    driver::{Drivers, Exit, RunSpec, StartError, Status, StatusSignal},
    output::{Collected, Output},
};

/// Why a run is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Killed(String),
    /// Its time limit has passed.
    TimedOut,
    /// It has printed nothing for too long.
    Silent,
    /// This worker's lease can no longer be trusted.
    LeaseLost,
    /// This worker was told to end, and the run did not end before it.
    WorkerEnds,
    /// This worker is being emptied, for this reason.
    Evicted(String),
    /// Its job was paused, edited or deleted between the claim and the start.
    Withdrawn(&'static str),
}

/// A run that has ended.
pub struct Executed {
    /// Its record.
    pub record: RunRecord,
    /// What it printed: its copy on disk goes once the record is kept.
    pub output: Arc<Output>,
    /// How what it executed ended, if it came to that.
    pub exit: Option<Exit>,
}

/// What executes now.
pub struct Runner {
    clock: Arc<dyn Clock>,
    drivers: Drivers,
    spill: PathBuf,
    retention: Duration,
    active: Mutex<HashMap<RunId, Arc<Active>>>,
    /// When the guard ends the runs unless it is told a later time, by the time since boot.
    guarded_until: Mutex<Option<Duration>>,
}

/// One run that executes or is about to.
struct Active {
    held: HeldLock,
    /// A kill of a job of the same name is not meant for it.
    task: bool,
    /// The claim's: kills act on what was claimed before them.
    revision: Revision,
    keep: bool,
    grace: Duration,
    why: Mutex<Option<Stop>>,
    stop: watch::Sender<Option<Duration>>,
    output: Arc<Output>,
    status: Mutex<Option<StatusSignal>>,
}

impl Runner {
    /// A runner that executes nothing yet.
    pub fn new(clock: Arc<dyn Clock>, drivers: Drivers, spill: PathBuf, retention: Duration) -> Arc<Self> {
        Arc::new(Self {
            clock,
            drivers,
            spill,
            retention,
            active: Mutex::default(),
            guarded_until: Mutex::default(),
        })
    }

    /// How many runs execute or wait for their instant.
    pub fn executing(&self) -> usize {
        self.active.lock().len()
    }

    /// In the order of their claims.
    fn active(&self) -> Vec<Arc<Active>> {
        let mut active: Vec<Arc<Active>> = self.active.lock().values().cloned().collect();
        active.sort_by_key(|active| (active.revision, active.held.run));
        active
    }

    /// Executes a claimed run to its end. `withdrawn` is the last look before the start.
    pub async fn execute(&self, claimed: &Claimed, withdrawn: impl Fn() -> Option<Stop> + Send) -> Executed {
        let _executing = claimed.slot.execute();
        let job = &claimed.planned.job;
        let run = claimed.held.run;
        let spill = lost::spill_to(&self.spill, claimed);
        let active = Arc::new(Active {
            held: claimed.held.clone(),
            task: claimed.task,
            revision: claimed.revision,
            keep: job.on_lease_loss == OnLeaseLoss::Keep,
            grace: job.grace.0,
            why: Mutex::default(),
            stop: watch::Sender::new(None),
            status: Mutex::default(),
            output: Output::new(job.output, Instant::now(), Some(spill)),
        });
        self.active.lock().insert(run, active.clone());
        let mut stopped = active.stop.subscribe();
        tokio::select! {
            biased;
            () = self.clock.sleep_until(claimed.due) => {}
            _ = stopped.wait_for(Option::is_some) => {}
        }
        if let Some(stop) = withdrawn() {
            active.stop(stop, Duration::ZERO);
        }
        let (started, end) = match active.why() {
            Some(_) => (self.clock.now(), End::NotStarted),
            None => self.start(claimed, &active).await,
        };
        let record = self.record(claimed, &active, started, &end);
        self.active.lock().remove(&run);
        let exit = match end {
            End::Exited(exit) => Some(exit),
            End::CannotStart(_) | End::NotStarted => None,
        };
        Executed { record, output: active.output.clone(), exit }
    }

    /// When it started, and how it ended.
    async fn start(&self, claimed: &Claimed, active: &Arc<Active>) -> (DateTime<Utc>, End) {
        let job = &claimed.planned.job;
        let spec = RunSpec {
            job: job.clone(),
            run: claimed.held.run,
            attempt: claimed.held.attempt,
            tick: claimed.held.tick,
            fence: claimed.held.token(claimed.revision),
            worker: claimed.held.worker.clone(),
        };
        let begun = self.drivers.start(&spec, &active.output).await;
        // Not before it: many starts wait for each other.
        let ago = active.output.begun().map(|begun| begun.elapsed()).unwrap_or_default();
        let started = self.clock.now() - ago;
        let end = match begun {
            Err(error) => End::CannotStart(error),
            Ok(running) => {
                *active.status.lock() = running.status();
                let limits =
                    limits(active, job.timeout.map(|span| span.0), job.output_timeout.map(|span| span.0));
                let wait = running.wait(active.stop.subscribe());
                tokio::pin!(wait);
                tokio::select! {
                    biased;
                    exit = &mut wait => exit.into(),
                    stop = limits => {
                        active.stop(stop, active.grace);
                        wait.await.into()
                    }
                }
            }
        };
        (started, end)
    }

    fn record(&self, claimed: &Claimed, active: &Active, started: DateTime<Utc>, end: &End) -> RunRecord {
        let why = active.why().or_else(|| self.is_guards_work(end, active).then_some(Stop::LeaseLost));
        let mut ending = judge(end, why);
        if ending.reason.is_empty() && active.output.has_ended_early() {
            LEFT_BEHIND.clone_into(&mut ending.reason);
        }
        let Collected { text, pieces, truncated, gap } = active.output.finish();
        let ended = self.clock.now();
        let retention = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let times = Times { started, ended, ..claimed.times() };
        let expires = times.end_millis().saturating_add(retention);
        RunRecord::ran(claimed.known(expires), times, ending, Printed { text, pieces, truncated, gap })
    }

    /// Ends what a kill names and what was claimed before it.
    pub fn kill(&self, name: &str, kill: &Kill, revision: Revision) {
        for active in self.active() {
            let of_job = !active.task && active.held.job.as_str() == name;
            let named = of_job || active.held.run.to_string() == name;
            if named && active.revision < revision {
                active.stop(Stop::Killed(format!("killed by {}", kill.by)), active.grace);
            }
        }
    }

    /// Ends one run.
    pub fn end(&self, run: &RunId, why: Stop) {
        let active = self.active.lock().get(run).cloned();
        if let Some(active) = active {
            active.stop(why, active.grace);
        }
    }

    /// Says until when the guard lets runs execute, by the time since boot.
    pub fn guarded_until(&self, until: Duration) {
        *self.guarded_until.lock() = Some(until);
    }

    /// True when a run that nobody here ended was ended by the guard: this process was stopped, or slow.
    fn is_guards_work(&self, end: &End, active: &Active) -> bool {
        let until = *self.guarded_until.lock();
        !active.keep && was_guarded(end, until, self.clock.since_boot())
    }

    /// Ends all runs but those that are to be kept, with at most this grace.
    pub fn lease_lost(&self, grace: Duration) {
        for active in self.active().into_iter().filter(|active| !active.keep) {
            active.stop(Stop::LeaseLost, grace.min(active.grace));
        }
    }

    /// Ends all runs, since their worker does: nobody asked for that, so they are lost, and repeated where a job says so.
    pub fn end_all(&self) {
        for active in self.active() {
            active.stop(Stop::WorkerEnds, active.grace);
        }
    }

    /// Ends all runs, since somebody wants this worker empty: they are lost, and repeated where they say so.
    pub fn evict(&self, drain: &Drain) {
        let why = if drain.note.is_empty() { String::new() } else { format!(" ({})", drain.note) };
        for active in self.active() {
            active.stop(Stop::Evicted(format!("{}{why}", drain.by)), active.grace);
        }
    }

    /// What its driver tells of a run that executes; none: it does not, or there is nothing to tell.
    pub fn status(&self, run: &RunId) -> Option<Status> {
        let active = self.active.lock().get(run).cloned()?;
        let status = active.status.lock();
        status.as_ref().map(|status| status.borrow().clone())
    }

    /// What a run has printed so far, behind byte `from`.
    pub fn live(&self, run: &RunId, from: u64) -> Result<LiveOutput, LiveError> {
        let active = self.active.lock().get(run).cloned();
        let active = active.ok_or(LiveError::NotRunning)?;
        Ok(active.output.snapshot(from).live(active.held.attempt))
    }
}

/// Why an output may lack what its job's processes print.
const LEFT_BEHIND: &str =
    "its command has ended, but left processes behind that go on; what they print after it is not kept";

enum End {
    Exited(Exit),
    CannotStart(StartError),
    NotStarted,
}

impl From<Exit> for End {
    fn from(exit: Exit) -> Self {
        exit.into_start_error().map_or_else(Self::Exited, Self::CannotStart)
    }
}

impl Active {
    /// The first reason stands; the shortest grace wins.
    fn stop(&self, why: Stop, grace: Duration) {
        self.why.lock().get_or_insert(why);
        self.stop.send_modify(|stop| *stop = Some(stop.map_or(grace, |before| before.min(grace))));
    }

    fn why(&self) -> Option<Stop> {
        self.why.lock().clone()
    }
}

/// Resolves when a limit is reached.
async fn limits(active: &Active, timeout: Option<Duration>, silence: Option<Duration>) -> Stop {
    let started = Instant::now();
    let far = started + Duration::from_secs(10 * 366 * 86_400);
    let deadline = timeout.and_then(|timeout| started.checked_add(timeout)).unwrap_or(far);
    loop {
        let silent =
            silence.and_then(|silence| active.output.last_output().max(started).checked_add(silence));
        let silent = silent.unwrap_or(far);
        sleep_until(deadline.min(silent)).await;
        let now = Instant::now();
        if now >= deadline {
            return Stop::TimedOut;
        }
        let last = active.output.last_output().max(started);
        if silence.is_some_and(|silence| now.duration_since(last) >= silence) {
            return Stop::Silent;
        }
    }
}

/// The guard kills with KILL when its time has come, and then nothing is started any more.
fn was_guarded(end: &End, until: Option<Duration>, now: Duration) -> bool {
    let may_be = match end {
        End::Exited(exit) => exit.was_killed(),
        End::CannotStart(_) => true,
        End::NotStarted => false,
    };
    may_be && until.is_some_and(|until| now >= until)
}

/// How a run ended: its event, GDTS's `err` and our reason.
fn judge(end: &End, why: Option<Stop>) -> Ending {
    let (exited, exit_code, signal) = match end {
        End::Exited(exit) => (exit.words(), exit.exit_code(), exit.ending_signal()),
        End::CannotStart(error) => (error.to_string(), error.exit_code(), None),
        End::NotStarted => ("not started".to_owned(), None, None),
    };
    let (event, reason) = match why {
        None => judge_alone(end),
        Some(Stop::Killed(reason)) => (RunEvent::Killed, reason),
        Some(Stop::Withdrawn(reason)) => (RunEvent::Killed, reason.to_owned()),
        Some(Stop::TimedOut) => (RunEvent::TimedOut, "its time limit passed".to_owned()),
        Some(Stop::Silent) => {
            (RunEvent::TimedOut, "it printed nothing for longer than its output timeout".to_owned())
        }
        Some(Stop::LeaseLost) => {
            (RunEvent::LeaseLost, "killed, because its worker's lease could no longer be trusted".to_owned())
        }
        Some(Stop::Evicted(by)) => {
            (RunEvent::LeaseLost, format!("killed, because its worker is being emptied by {by}"))
        }
        Some(Stop::WorkerEnds) => {
            (RunEvent::LeaseLost, "killed, because its worker was told to end".to_owned())
        }
    };
    let from = match end {
        End::NotStarted | End::CannotStart(_) => RunState::Claimed,
        End::Exited(_) => RunState::Claimed.after(RunEvent::Started),
    };
    let err = match event {
        RunEvent::Killed if !exited.starts_with("not") => "signal: killed".to_owned(),
        RunEvent::Succeeded => exited,
        _ if exited.is_empty() => reason.clone(),
        _ => exited,
    };
    Ending { from, event, err, reason, exit_code, signal }
}

/// The same of a run whose end nobody here wanted.
fn judge_alone(end: &End) -> (RunEvent, String) {
    match end {
        End::Exited(exit) if exit.is_success() => (RunEvent::Succeeded, exit.note().to_owned()),
        End::Exited(exit) if exit.is_lost() => (RunEvent::LeaseLost, exit.words()),
        End::Exited(exit) if exit.has_timed_out() => (RunEvent::TimedOut, String::new()),
        End::Exited(exit) => (RunEvent::Failed, exit.note().to_owned()),
        End::CannotStart(_) | End::NotStarted => (RunEvent::Failed, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_here_ended_is_judged_by_its_exit() {
        let judged = |exit: Exit| {
            let ending = judge(&exit.into(), None);
            (ending.event, ending.err, ending.reason, ending.exit_code)
        };
        let text = str::to_owned;
        let noted = Exit::container(0).with_note("a child was killed");
        assert_eq!(judged(noted), (RunEvent::Succeeded, text(""), text("a child was killed"), Some(0)));
        let memory = Exit::container(137).with_note("no memory");
        assert_eq!(judged(memory), (RunEvent::Failed, text("exit status 137"), text("no memory"), Some(137)));
        let engine = Exit::lost(text("its engine died"));
        assert_eq!(
            judged(engine),
            (RunEvent::LeaseLost, text("its engine died"), text("its engine died"), None)
        );
        let absent = Exit::not_started(StartError::new("no such command").with_code(127));
        assert_eq!(judged(absent), (RunEvent::Failed, text("no such command"), text(""), Some(127)));
    }

    // Once: a run that the guard had killed while its worker was stopped was on record as failed and got no next
    // attempt; the worker saw a signal, and not whose it was.
    #[test]
    fn a_run_that_was_killed_when_the_guards_time_had_come_is_the_guards() {
        let seconds = Duration::from_secs;
        let killed = End::Exited(Exit::signal(9));
        assert!(was_guarded(&killed, Some(seconds(10)), seconds(10)));
        assert!(!was_guarded(&killed, Some(seconds(10)), seconds(9)), "somebody else, such as the kernel");
        assert!(!was_guarded(&killed, None, seconds(10)), "there is no lease yet");
        for own in [End::Exited(Exit::code(0)), End::Exited(Exit::code(137)), End::Exited(Exit::signal(15))] {
            assert!(!was_guarded(&own, Some(seconds(10)), seconds(99)), "it ended before");
        }
        for why in [Stop::LeaseLost, Stop::WorkerEnds] {
            let ending = judge(&killed, Some(why));
            assert_eq!((ending.event, ending.err.as_str()), (RunEvent::LeaseLost, "signal: killed"));
        }
    }
}
