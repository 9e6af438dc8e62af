//! A container engine: Docker's or podman's, which speaks Docker's language, over a socket of this machine.
//!
//! No request waits for ever but the one for a container's end. Whoever asks gets what a refusal means
//! ([`EngineError`]), not how the engine at hand puts it.

use std::{collections::HashMap, path::Path, pin::Pin, time::Duration};

use bollard::{
    ClientVersion, Docker,
    container::LogOutput,
    models::{ContainerCreateBody, CreateImageInfo},
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, CreateImageOptionsBuilder,
        KillContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder,
    },
};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{address::EngineAddress, auth::Credentials, raw};

pub(super) use super::failure::{Class, EngineError};

/// An engine that does not say so much in this time is away.
const HELLO: Duration = Duration::from_secs(10);

/// Long enough for an engine that has much to do; what makes or starts a container copies files and sets a network up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A wait for something that may never come: the library takes seconds.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What we need of the language; every engine of the last years has it.
const OUR_VERSION: (usize, usize) = (1, 41);

/// Whose engine it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Docker,
    Podman,
}

/// An engine, there or not.
pub(crate) struct Engine {
    address: EngineAddress,
    /// None: it has not been spoken to yet, or was away since.
    known: Mutex<Option<Client>>,
}

/// An engine that has answered.
#[derive(Clone)]
pub(crate) struct Client {
    address: EngineAddress,
    docker: Docker,
    version: (usize, usize),
    pub(crate) kind: Kind,
    /// As people know it: `Docker 20.10.24`.
    pub(crate) name: String,
    /// The processors of its machine; 0: it does not say.
    pub(crate) cores: u64,
    /// The memory of its machine in bytes; 0: it does not say.
    pub(crate) memory: u64,
}

/// A container as its engine sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Inspected {
    pub(super) state: State,
    pub(super) config: Config,
    pub(super) network_settings: NetworkSettings,
}

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    pub(super) status: String,
    pub(super) running: bool,
    #[serde(rename = "OOMKilled")]
    pub(super) oom_killed: bool,
    pub(super) exit_code: i32,
    pub(super) error: String,
}

/// What of its definition an image may have said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    /// A name at Docker, a number at podman.
    stop_signal: serde_json::Value,
}

/// Where it can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkSettings {
    ports: Option<HashMap<String, Option<Vec<Binding>>>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_port: String,
}

/// A container in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) labels: HashMap<String, String>,
}

/// What a container prints, in pieces.
pub(super) type Printed = Pin<Box<dyn Stream<Item = Result<LogOutput, EngineError>> + Send>>;

impl State {
    /// Its end is still to come, or to be put down: podman has a state for that.
    pub(super) fn goes_on(&self) -> bool {
        self.running || matches!(self.status.as_str(), "stopping" | "removing" | "restarting")
    }
}

impl Inspected {
    /// Its image's signal, if that names one.
    pub(super) fn stop_signal(&self) -> Option<String> {
        match &self.config.stop_signal {
            serde_json::Value::String(name) if !name.is_empty() => Some(name.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// Its ports, and the machine's that lead to them, each once.
    pub(super) fn ports(&self) -> Vec<(String, u16)> {
        let all = self.network_settings.ports.iter().flatten();
        let bound = all.flat_map(|(inside, bindings)| {
            let bindings = bindings.iter().flatten();
            bindings.filter_map(|binding| Some((inside.clone(), binding.host_port.parse().ok()?)))
        });
        let mut ports: Vec<(String, u16)> = bound.collect();
        ports.sort();
        // Docker lists a port once for each of IPv4 and IPv6.
        ports.dedup();
        ports
    }
}

/// What it says of itself; podman's lacks some.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Hello {
    version: String,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: String,
    components: Vec<Component>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Component {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Machine {
    #[serde(rename = "NCPU")]
    cores: u64,
    #[serde(rename = "MemTotal")]
    memory: u64,
}

impl Engine {
    pub(crate) const fn at(address: EngineAddress) -> Self {
        Self { address, known: Mutex::new(None) }
    }

    pub(crate) const fn address(&self) -> &EngineAddress {
        &self.address
    }

    /// The engine, if it answers.
    pub(crate) async fn client(&self) -> Result<Client, EngineError> {
        if let Some(client) = self.known.lock().clone() {
            return Ok(client);
        }
        let client = Client::connect(&self.address).await?;
        *self.known.lock() = Some(client.clone());
        Ok(client)
    }

    /// It was away: another one may come in its place.
    pub(crate) fn forget(&self) {
        *self.known.lock() = None;
    }
}

impl Client {
    async fn connect(address: &EngineAddress) -> Result<Self, EngineError> {
        let socket = address.path();
        let hello: Hello = raw::get(socket, "/version", HELLO).await?;
        // One that is too new for our version names the oldest that it takes. Podman names its own.
        let is_podman = hello.components.iter().any(|component| component.name.contains("Podman"));
        let version = if is_podman { OUR_VERSION } else { newer(&hello.min_api_version) };
        let machine: Machine =
            raw::get(socket, &format!("/v{}.{}/info", version.0, version.1), HELLO).await?;
        let asked = ClientVersion { major_version: version.0, minor_version: version.1 };
        let path = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, PATIENCE.as_secs(), &asked)?;
        let kind = if is_podman { Kind::Podman } else { Kind::Docker };
        Ok(Self {
            address: address.clone(),
            docker,
            version,
            kind,
            name: format!("{kind:?} {}", hello.version.split('+').next().unwrap_or_default()),
            cores: machine.cores,
            memory: machine.memory,
        })
    }

    fn socket(&self) -> &Path {
        self.address.path()
    }

    /// Makes a container, and gives its id.
    pub(super) async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        Ok(self.docker.create_container(Some(options), body).await?.id)
    }

    pub(super) async fn start(&self, id: &str) -> Result<(), EngineError> {
        Ok(self.docker.start_container(id, None).await?)
    }

    /// Resolves when a container that was started has ended, or with why that cannot be waited for.
    pub(super) async fn wait(self, id: String) -> Result<(), EngineError> {
        let docker = self.docker.with_timeout(FOR_EVER);
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut answers = std::pin::pin!(docker.wait_container(&id, Some(options)));
        match answers.next().await {
            // How it ended is for a look to tell: podman's word here is not always true.
            Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => Ok(()),
            Some(Err(error)) => Err(error.into()),
            None => Err(EngineError::away("it stopped answering")),
        }
    }

    /// What a container prints from here on.
    pub(super) async fn attach(&self, id: &str) -> Result<Printed, EngineError> {
        let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let attached = self.docker.attach_container(id, Some(options)).await?;
        Ok(Box::pin(attached.output.map_err(EngineError::from)))
    }

    /// What a container has printed so far. Following it is not to be relied on: podman leaves parts out, Docker the end.
    pub(super) fn log(&self, id: &str) -> Printed {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).build();
        Box::pin(self.docker.logs(id, Some(options)).map_err(EngineError::from))
    }

    /// Sends a signal; a container that does not run has no need of it.
    pub(super) async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match self
            .docker
            .clone()
            .with_timeout(HELLO)
            .kill_container(id, Some(options))
            .await
            .map_err(Into::into)
        {
            Err(EngineError { class: Class::NotRunning | Class::NoContainer, .. }) => Ok(()),
            done => done,
        }
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<Inspected, EngineError> {
        let path = format!("/v{}.{}/containers/{id}/json", self.version.0, self.version.1);
        raw::get(self.socket(), &path, HELLO).await
    }

    /// Removes a container, whatever it does, with the volumes that have no name.
    pub(super) async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await.map_err(Into::into) {
            Err(EngineError { class: Class::NoContainer, .. }) => Ok(()),
            done => done,
        }
    }

    /// All containers with these labels, whether they run or not.
    pub(super) async fn list(&self, labels: &[(&str, &str)]) -> Result<Vec<Listed>, EngineError> {
        let labels = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let filters = HashMap::from([("label".to_owned(), labels)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let docker = self.docker.clone().with_timeout(HELLO);
        let found = docker.list_containers(Some(options)).await?;
        let listed = |found: bollard::models::ContainerSummary| {
            Some(Listed { id: found.id?, labels: found.labels.unwrap_or_default() })
        };
        Ok(found.into_iter().filter_map(listed).collect())
    }

    /// Fetches an image; each item is a word on how far it is.
    pub(super) fn pull(
        &self,
        (name, reference): (&str, &str),
        credentials: Option<Credentials>,
    ) -> impl Stream<Item = Result<CreateImageInfo, EngineError>> + Send + use<> {
        let options = CreateImageOptionsBuilder::default().from_image(name).tag(reference).build();
        let docker = match credentials {
            Some(credentials) => credentials.on(self.docker.clone()),
            None => self.docker.clone(),
        };
        docker.create_image(Some(options), None, None).map_err(EngineError::from)
    }
}

/// The version to speak to an engine that takes none older than this.
fn newer(oldest: &str) -> (usize, usize) {
    let parts =
        oldest.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    parts.map_or(OUR_VERSION, |oldest: (usize, usize)| oldest.max(OUR_VERSION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_spoken_to_in_the_oldest_version_that_it_takes_and_we_need() {
        assert_eq!(
            (newer("1.12"), newer("1.44"), newer(""), newer("x.y")),
            ((1, 41), (1, 44), (1, 41), (1, 41))
        );
    }

    /// As Docker 20.10.24 and podman 4.3.1 gave it, shortened.
    #[test]
    fn both_engines_answers_are_read() {
        let docker = r#"{"State": {"Status": "exited", "Running": false, "OOMKilled": true, "ExitCode": 137, "Error": ""},
            "Config": {"StopSignal": "SIGINT"}, "NetworkSettings": {"Ports": {"80/tcp":
            [{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32768"}], "81/tcp": null}}}"#;
        let docker: Inspected = serde_json::from_str(docker).unwrap();
        assert!(docker.state.oom_killed && !docker.state.running && docker.state.exit_code == 137);
        assert_eq!(docker.stop_signal().as_deref(), Some("SIGINT"));
        assert_eq!(docker.ports(), [("80/tcp".to_owned(), 32768)]);
        let podman = r#"{"State": {"Status": "running", "Running": true, "Health": {"Status": "", "Log": null}},
            "Config": {"StopSignal": 15}, "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "", "HostPort": "38457"}]}}}"#;
        let podman: Inspected = serde_json::from_str(podman).unwrap();
        assert_eq!((podman.stop_signal().as_deref(), podman.ports().len()), (Some("15"), 1));
        assert_eq!(serde_json::from_str::<Inspected>("{}").unwrap(), Inspected::default());
    }
}
