//! One container of a run, from its image to its removal.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::job::{Docker, OnLeaseLoss, docker::Pull};
use tokio::{runtime::Handle, sync::watch};

use super::{
    Shared, definition,
    engine::{Class, Client, EngineError},
    live::Live,
    printed::Source,
    pull::pull,
    sweep,
};
use crate::{
    driver::{Exit, RunSpec, Running, StartError, Status, StatusSignal, StopSignal, stop::Stop},
    output::Output,
};

/// What could not be removed at once is tried for so long; then it is for the worker's next life, or the guard.
const CLEAR_PATIENCE: Duration = Duration::from_secs(600);

/// A run's container.
pub(super) struct Container {
    shared: Arc<Shared>,
    docker: Docker,
    spec: RunSpec,
    output: Arc<Output>,
    status: watch::Sender<Status>,
    made: Made,
}

/// What there is of it in the engine.
enum Made {
    Nothing,
    /// The engine was asked, and has not answered.
    Perhaps,
    Id(String),
    /// An earlier life made and started it.
    Left(String),
}

impl Container {
    pub(super) fn new(shared: Arc<Shared>, docker: Docker, spec: &RunSpec, output: Arc<Output>) -> Self {
        let status = watch::Sender::new(Status::default());
        Self { shared, docker, spec: spec.clone(), output, status, made: Made::Nothing }
    }

    /// The same, which goes on with what there is.
    pub(super) fn adopting(mut self, id: String) -> Self {
        self.made = Made::Left(id);
        self
    }

    fn progress(&self, words: impl Into<String>) {
        let words = words.into();
        self.status.send_modify(|status| status.progress = words);
    }

    async fn client(&self) -> Result<Client, StartError> {
        self.shared.engine.client().await.map_err(|error| self.is_away(&error))
    }

    fn is_away(&self, error: &EngineError) -> StartError {
        self.shared.engine.forget();
        let address = self.shared.engine.address();
        StartError::new(format!("the container engine at {address} does not answer: {error}"))
    }

    async fn begin(&mut self, stop: &mut Stop) -> Result<Live, StartError> {
        let client = self.client().await?;
        if let Made::Left(id) = &self.made {
            let id = id.clone();
            self.output.begin();
            let source = Source::log(&client, &id, &self.output);
            return Ok(self.told(self.live(client, id, source)).await);
        }
        definition::check(&self.docker, &client)?;
        if self.docker.pull == Pull::Always {
            self.fetch(&client, stop).await?;
        }
        let id = self.create(&client, stop).await?;
        self.made = Made::Id(id.clone());
        if stop.is_wanted() {
            return Err(StartError::new("not started: its end was wanted first"));
        }
        // A last time, since the image may have taken long.
        if self.spec.job.on_lease_loss == OnLeaseLoss::Kill && self.shared.guard.is_past() {
            return Err(StartError::new("its worker's lease could no longer be trusted"));
        }
        self.start(client, id).await
    }

    /// Makes the container, and fetches its image if that is missing.
    async fn create(&mut self, client: &Client, stop: &mut Stop) -> Result<String, StartError> {
        let name = definition::name(&self.spec);
        let life = (&*self.shared.session, &*self.shared.place);
        let body = definition::body(&self.docker, &self.spec, life, client.kind);
        // The guard has to know before there is something to end.
        self.shared.guard.uses_containers();
        self.made = Made::Perhaps;
        let mut created = client.create(&name, body.clone()).await;
        if matches!(&created, Err(error) if error.class == Class::NoImage) {
            self.made = Made::Nothing;
            match self.docker.pull {
                Pull::Missing => self.fetch(client, stop).await?,
                // It was fetched just now, and somebody removed it.
                Pull::Always => {}
                Pull::Never => {
                    return Err(StartError::new(format!(
                        "image {} is not on this worker's machine, and the job says \"pull\": \"never\"",
                        self.docker.image
                    )));
                }
            }
            self.made = Made::Perhaps;
            created = client.create(&name, body).await;
        }
        created.map_err(|error| {
            if error.class != Class::Away {
                self.made = Made::Nothing;
            }
            self.refusal("made", &error)
        })
    }

    /// Fetches the image, unless somebody wants the run's end meanwhile.
    async fn fetch(&self, client: &Client, stop: &mut Stop) -> Result<(), StartError> {
        let image = &self.docker.image;
        self.progress(format!("fetches image {image}"));
        let told = |word: String| self.progress(format!("fetches image {image}: {word}"));
        tokio::select! {
            fetched = pull(client, image, self.shared.registry_auth.as_deref(), told) => fetched?,
            _ = stop.next() => return Err(StartError::new("not started: its end was wanted as its image was fetched")),
        }
        self.progress("");
        Ok(())
    }

    async fn start(&mut self, client: Client, id: String) -> Result<Live, StartError> {
        // From before the start: what is printed at once would be missing.
        let printed = client.attach(&id).await;
        self.output.begin();
        match client.start(&id).await {
            Ok(()) => {
                let source = match printed {
                    Ok(printed) => Source::Live(printed),
                    Err(_) => Source::log(&client, &id, &self.output),
                };
                Ok(self.told(self.live(client, id, source)).await)
            }
            // Whether it has started is for a look to tell, once the engine is back.
            Err(error) if error.class == Class::Away => {
                Ok(self.live(client, id, Source::Over { is_whole: false }).lost_sight())
            }
            Err(error) => Err(self.refusal("started", &error)),
        }
    }

    /// What runs by now.
    fn live(&self, client: Client, id: String, source: Source) -> Live {
        Live::new(self.shared.clone(), (client, id, source), &self.docker, self.output.clone())
    }

    /// The same, whose ports are told.
    async fn told(&self, mut live: Live) -> Live {
        if !self.docker.ports.is_empty() {
            let ports = live.ports().await;
            self.status.send_modify(|status| status.ports = ports);
        }
        live
    }

    /// Why a container cannot be made or started, for people.
    fn refusal(&self, what: &str, error: &EngineError) -> StartError {
        let image = &self.docker.image;
        let program = || {
            let words = self.docker.entrypoint.iter().chain(&self.docker.command);
            words.map(String::as_str).next().unwrap_or("its command").to_owned()
        };
        match error.class {
            Class::NoCommand => {
                StartError::new(format!("image {image} has no program {:?}: {error}", program()))
                    .with_code(127)
            }
            Class::NotExecutable => {
                StartError::new(format!("{:?} in image {image} cannot be executed: {error}", program()))
                    .with_code(126)
            }
            Class::PortTaken => StartError::new(format!("a port of this worker's machine is taken: {error}")),
            Class::NameTaken => StartError::new(format!("another container has the run's name: {error}")),
            Class::Away => self.is_away(error),
            _ => StartError::new(format!("the container cannot be {what}: {error}")),
        }
    }

    /// Sees to it that nothing of it is left.
    async fn clear(&mut self) {
        let removed = match &self.made {
            Made::Nothing => return,
            Made::Perhaps => Err(EngineError::away("it did not say whether there is one")),
            Made::Id(id) | Made::Left(id) => match self.shared.engine.client().await {
                Ok(client) => client.remove(id).await,
                Err(error) => Err(error),
            },
        };
        if let Err(error) = removed {
            let run = self.spec.run;
            tracing::warn!(%run, %error, "a run's container cannot be removed now; trying again");
            self.clear_later();
        }
        self.made = Made::Nothing;
    }

    /// The same in the background, for what may not be there yet.
    fn clear_later(&self) {
        // Without a runtime this process ends, and its guard sees to it.
        let Ok(runtime) = Handle::try_current() else { return };
        let shared = self.shared.clone();
        let (run, attempt) = (self.spec.run.to_string(), self.spec.attempt.to_string());
        runtime.spawn(async move {
            let named = (&*run, &*attempt, &*shared.session);
            if let Err(error) = sweep::attempt(&shared.engine, named, CLEAR_PATIENCE).await {
                tracing::error!(run, %error, "the container of a run that has ended cannot be removed");
            }
        });
    }
}

#[async_trait]
impl Running for Container {
    async fn wait(mut self: Box<Self>, stop: StopSignal) -> Exit {
        let mut stop = Stop::new(stop);
        let exit = match self.begin(&mut stop).await {
            Ok(mut live) => live.follow(&mut stop).await,
            Err(error) => Exit::not_started(error),
        };
        self.clear().await;
        exit
    }

    fn status(&self) -> Option<StatusSignal> {
        Some(self.status.subscribe())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !matches!(self.made, Made::Nothing) {
            self.clear_later();
        }
    }
}
