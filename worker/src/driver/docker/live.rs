//! A container that was started: watched, ended when its end is wanted, and looked at when its engine has been away.

use std::{sync::Arc, time::Duration};

use common::{job::Docker, span::ByteSize};
use tokio::time::{sleep, sleep_until};

use super::{
    Shared,
    end::{self, Meanwhile},
    engine::{Class, Client, EngineError, Inspected, State},
    printed::Source,
};
use crate::{
    driver::{
        Exit,
        stop::{Step, Stop},
    },
    output::{Output, SPILL_AFTER},
};

/// Between two looks for an engine that went away: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// So long after a container's end Docker may still learn that memory was what it lacked.
const MOMENT: Duration = Duration::from_millis(200);

/// A container that was started.
pub(super) struct Live {
    shared: Arc<Shared>,
    client: Client,
    id: String,
    source: Source,
    output: Arc<Output>,
    memory: Option<ByteSize>,
    /// The engine did not answer for a while.
    was_away: bool,
    /// Somebody wanted its end.
    was_stopped: bool,
    /// None: the job does not say, and the image has not been asked yet.
    stop_signal: Option<String>,
}

/// How a container is found to be.
enum Seen {
    Running,
    Over(State),
    Gone,
}

impl Live {
    pub(super) fn new(
        shared: Arc<Shared>,
        (client, id, source): (Client, String, Source),
        docker: &Docker,
        output: Arc<Output>,
    ) -> Self {
        let stop_signal = docker.stop_signal.as_ref().map(ToString::to_string);
        let memory = docker.memory;
        Self { shared, client, id, source, output, memory, was_away: false, was_stopped: false, stop_signal }
    }

    /// The same, whose engine went away in this moment.
    pub(super) fn lost_sight(self) -> Self {
        Self { was_away: true, ..self }
    }

    /// Its ports, and those of the machine that lead to them.
    pub(super) async fn ports(&mut self) -> Vec<(String, u16)> {
        self.client.inspect(&self.id).await.map(|seen| seen.ports()).unwrap_or_default()
    }

    /// Follows what was started to its end.
    pub(super) async fn follow(&mut self, stop: &mut Stop) -> Exit {
        let mut is_away = self.was_away;
        let mut again = FIRST_PAUSE;
        loop {
            if !is_away {
                is_away = self.until_over(stop).await.is_err_and(|error| error.class == Class::Away);
            }
            let seen = if is_away { Some(self.regain(stop).await) } else { self.look().await.ok() };
            is_away = seen.is_none();
            match seen {
                None => {}
                Some(Seen::Over(state)) => return self.ended(&state, stop).await,
                Some(Seen::Gone) => {
                    return Exit::gone("its container was removed from outside while it ran".to_owned());
                }
                Some(Seen::Running) => {
                    // Podman may say so for a moment of what has just ended.
                    sleep(again).await;
                    again = (again * 2).min(LONGEST_PAUSE);
                    if matches!(self.source, Source::Over { .. }) {
                        self.source = Source::log(&self.client, &self.id, &self.output);
                    }
                }
            }
        }
    }

    /// Reads and listens until the engine says that it is over, or nothing any more.
    async fn until_over(&mut self, stop: &mut Stop) -> Result<(), EngineError> {
        let over = self.client.clone().wait(self.id.clone());
        tokio::pin!(over);
        let long = sleep_until(self.output.started() + SPILL_AFTER);
        tokio::pin!(long);
        let mut spills = true;
        loop {
            tokio::select! {
                over = &mut over => return over,
                step = stop.next() => self.signal(step).await,
                () = self.source.turn(&self.output), if self.source.is_live() => {}
                () = &mut long, if spills => {
                    self.output.spill_now();
                    spills = false;
                }
            }
        }
    }

    /// The engine went away: waits until it is back, and looks.
    async fn regain(&mut self, stop: &mut Stop) -> Seen {
        tracing::warn!(
            container = self.id,
            "the container engine went away while a run executes; waiting for it"
        );
        self.was_away = true;
        if !matches!(self.source, Source::Log(_)) {
            // It may have ended with the engine, which looks like an end in order.
            self.source = Source::Over { is_whole: false };
        }
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                step = stop.next() => self.signal(step).await,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.shared.engine.forget();
            let Ok(client) = self.shared.engine.client().await else { continue };
            self.client = client;
            let Ok(seen) = self.look().await else { continue };
            // What it did not hear.
            if matches!(seen, Seen::Running) && stop.has_killed() {
                self.signal(Step::Kill).await;
            } else if matches!(seen, Seen::Running) && stop.has_begun() {
                self.signal(Step::Term).await;
            }
            return seen;
        }
    }

    async fn ended(&mut self, state: &State, stop: &Stop) -> Exit {
        let read = self.source.finish(&self.client, &self.id, &self.output).await;
        let meanwhile = Meanwhile {
            kind: self.client.kind,
            was_away: self.was_away,
            was_stopped: self.was_stopped || stop.has_begun(),
            memory: self.memory,
        };
        let mut exit = end::exit(state, meanwhile);
        if end::may_tell_more(state, meanwhile) {
            sleep(MOMENT).await;
            if let Ok(Seen::Over(state)) = self.look().await {
                exit = end::exit(&state, meanwhile);
            }
        }
        match read {
            Err(error) if exit.note().is_empty() => {
                exit.with_note(format!("the end of its output could not be read: {error}"))
            }
            _ => exit,
        }
    }

    async fn signal(&mut self, step: Step) {
        self.was_stopped = true;
        let signal = match step {
            Step::Term => self.stop_signal().await,
            Step::Kill => "KILL".to_owned(),
            Step::Insist => {
                tracing::error!(container = self.id, "a container does not end although it was killed");
                "KILL".to_owned()
            }
        };
        if let Err(error) = self.client.kill(&self.id, &signal).await {
            tracing::warn!(container = self.id, signal, %error, "a container cannot be told to end");
        }
    }

    /// The job's, the image's, or TERM.
    async fn stop_signal(&mut self) -> String {
        if self.stop_signal.is_none() {
            self.stop_signal = self.client.inspect(&self.id).await.ok().and_then(|seen| seen.stop_signal());
        }
        self.stop_signal.clone().unwrap_or_else(|| "TERM".to_owned())
    }

    async fn look(&mut self) -> Result<Seen, EngineError> {
        match self.client.inspect(&self.id).await {
            Ok(Inspected { state, .. }) if state.goes_on() => Ok(Seen::Running),
            Ok(Inspected { state, .. }) => Ok(Seen::Over(state)),
            Err(error) if error.class == Class::NoContainer => Ok(Seen::Gone),
            Err(error) => Err(error),
        }
    }
}
