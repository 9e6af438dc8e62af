//! What each role is given: validated settings.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use chrono_tz::Tz;
use common::id::WorkerId;
use worker::driver::EngineAddress;
use worker::driver::Forbidden;

use super::{
    ConfigError, Values,
    read::{Reader, advertised, endpoint},
};
use crate::cli::OutputFormat;

/// Where a worker listens when nobody said where; another port if this one is taken.
pub(crate) const DEFAULT_WORKER_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5556);

/// A worker has to renew its lease several times before it ends.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);
const LONGEST_LEASE: Duration = Duration::from_secs(3600);
const SHORTEST_HEDGE: Duration = Duration::from_millis(10);
const LONGEST_HEDGE: Duration = Duration::from_secs(60);
/// Shorter, and a watch that was cut off for a moment would have to list everything again.
const SHORTEST_HISTORY: Duration = Duration::from_secs(60);
const LONGEST_HISTORY: Duration = Duration::from_secs(30 * 86_400);
const MOST_SLOTS: u32 = 100_000;

/// A text that no log and no message shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text itself, for those who have to know it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether callers have to say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuthMode {
    /// Not in this release: only this machine is served.
    On,
    /// Everybody who reaches the address is served.
    Off,
}

/// How to reach etcd.
#[derive(Clone, Debug)]
pub(crate) struct EtcdSettings {
    /// With their scheme, `http` or `https`; never empty.
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Where containers are run.
#[derive(Clone, Debug, Default)]
pub(crate) struct EngineSettings {
    pub(crate) address: EngineAddress,
    /// A file with what registries are shown.
    pub(crate) registry_auth: Option<PathBuf>,
}

/// What `quorate dev` needs.
#[derive(Clone, Debug)]
pub(crate) struct DevSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) auth: AuthMode,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) zone: Tz,
    pub(crate) data_dir: PathBuf,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) slots: u32,
    pub(crate) lease_ttl: Duration,
    pub(crate) hedge: Duration,
    pub(crate) shell: PathBuf,
    /// Addresses that calls over HTTP must not reach.
    pub(crate) http_forbid: Forbidden,
    pub(crate) engine: EngineSettings,
}

/// What `quorate manager` needs.
#[derive(Clone, Debug)]
pub(crate) struct ManagerSettings {
    pub(crate) etcd: EtcdSettings,
    pub(crate) mongodb: Secret,
    /// The root of all keys.
    pub(crate) prefix: String,
    pub(crate) listen: SocketAddr,
    pub(crate) auth: AuthMode,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) zone: Tz,
    /// None: to be made of the host's name.
    pub(crate) id: Option<WorkerId>,
    /// How much of etcd's history is kept; none: all of it, or as much as etcd itself is told to.
    pub(crate) etcd_history: Option<Duration>,
}

/// What `quorate worker` needs.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSettings {
    pub(crate) etcd: EtcdSettings,
    pub(crate) mongodb: Secret,
    /// The root of all keys.
    pub(crate) prefix: String,
    /// None: nobody said where; see [`DEFAULT_WORKER_LISTEN`].
    pub(crate) listen: Option<SocketAddr>,
    /// `host:port` by which managers reach it; none: nobody said.
    pub(crate) advertise: Option<String>,
    pub(crate) auth: AuthMode,
    /// None: the one kept in the data directory.
    pub(crate) id: Option<WorkerId>,
    pub(crate) data_dir: PathBuf,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) slots: u32,
    pub(crate) lease_ttl: Duration,
    pub(crate) hedge: Duration,
    pub(crate) shell: PathBuf,
    /// Addresses that calls over HTTP must not reach.
    pub(crate) http_forbid: Forbidden,
    pub(crate) engine: EngineSettings,
}

/// What the commands need that put a store in order.
#[derive(Clone, Debug)]
pub(crate) struct AdminSettings {
    pub(crate) etcd: EtcdSettings,
    /// The root of all keys.
    pub(crate) prefix: String,
    pub(crate) output: OutputFormat,
}

/// What the commands need that talk to a manager, or to nobody.
#[derive(Clone, Debug)]
pub(crate) struct ClientSettings {
    pub(crate) server: String,
    pub(crate) output: OutputFormat,
    pub(crate) zone: Tz,
}

/// What to log, and how.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl DevSettings {
    pub(crate) fn read(values: &Values) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(values);
        let (listen, auth) = reader.listen();
        let settings = Self {
            listen,
            auth,
            allowed_hosts: reader.allowed_hosts(),
            zone: reader.zone(),
            data_dir: data_dir(&mut reader),
            labels: reader.labels(),
            slots: slots(&mut reader),
            lease_ttl: reader.span("lease_ttl", SHORTEST_LEASE, LONGEST_LEASE),
            hedge: reader.span("hedge", SHORTEST_HEDGE, LONGEST_HEDGE),
            shell: shell(&mut reader),
            http_forbid: http_forbid(&mut reader),
            engine: engine(&mut reader),
        };
        reader.finish(settings)
    }
}

impl ManagerSettings {
    pub(crate) fn read(values: &Values) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(values);
        let (listen, auth) = reader.listen();
        let settings = Self {
            etcd: etcd(&mut reader),
            mongodb: Secret(reader.mongodb()),
            prefix: reader.prefix(),
            listen,
            auth,
            allowed_hosts: reader.allowed_hosts(),
            zone: reader.zone(),
            id: reader.optional("id", str::parse),
            etcd_history: reader.span_or_all("etcd_history", SHORTEST_HISTORY, LONGEST_HISTORY),
        };
        reader.finish(settings)
    }
}

impl WorkerSettings {
    pub(crate) fn read(values: &Values) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(values);
        let (listen, auth) = reader.listen();
        let settings = Self {
            etcd: etcd(&mut reader),
            mongodb: Secret(reader.mongodb()),
            prefix: reader.prefix(),
            listen: Some(listen).filter(|_| reader.asked("listen")),
            advertise: reader.optional("advertise", advertised),
            auth,
            id: reader.optional("id", str::parse),
            data_dir: data_dir(&mut reader),
            labels: reader.labels(),
            slots: slots(&mut reader),
            lease_ttl: reader.span("lease_ttl", SHORTEST_LEASE, LONGEST_LEASE),
            hedge: reader.span("hedge", SHORTEST_HEDGE, LONGEST_HEDGE),
            shell: shell(&mut reader),
            http_forbid: http_forbid(&mut reader),
            engine: engine(&mut reader),
        };
        reader.finish(settings)
    }
}

impl AdminSettings {
    pub(crate) fn read(values: &Values) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(values);
        let settings = Self { etcd: etcd(&mut reader), prefix: reader.prefix(), output: output(&mut reader) };
        reader.finish(settings)
    }
}

impl ClientSettings {
    pub(crate) fn read(values: &Values) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(values);
        let settings = Self {
            server: reader.parse("server", String::new(), |text| {
                match text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
                    Some(rest) if !rest.is_empty() && !rest.contains(['@', ' ']) => Ok(text.to_owned()),
                    _ => Err(format!("{text:?} is not a URL; use, for example, http://127.0.0.1:8070")),
                }
            }),
            output: output(&mut reader),
            zone: reader.zone(),
        };
        reader.finish(settings)
    }
}

impl LogSettings {
    pub(crate) fn read(values: &Values) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(values);
        let settings = Self {
            filter: reader.parse("log", String::new(), |text| {
                tracing_subscriber::EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| {
                    format!("{text:?} is not a filter ({error}); use, for example, info or worker=debug,info")
                })
            }),
            format: reader.parse("log_format", LogFormat::Text, |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                other => Err(format!("{other:?} is neither text nor json")),
            }),
        };
        reader.finish(settings)
    }
}

fn output(reader: &mut Reader<'_>) -> OutputFormat {
    reader.parse("output", OutputFormat::Table, |text| match text {
        "table" => Ok(OutputFormat::Table),
        "json" => Ok(OutputFormat::Json),
        other => Err(format!("{other:?} is neither table nor json")),
    })
}

fn data_dir(reader: &mut Reader<'_>) -> PathBuf {
    let dir = reader.path("data_dir").unwrap_or_default();
    if dir.as_os_str().is_empty() {
        reader.refuse("data_dir", "has no default, since HOME is not set: give --data-dir DIR");
    }
    dir
}

fn shell(reader: &mut Reader<'_>) -> PathBuf {
    let shell = reader.path("shell").unwrap_or_default();
    if !shell.is_absolute() {
        reader.refuse("shell", format!("{shell:?} is not an absolute path; use, for example, /bin/sh"));
    }
    shell
}

fn http_forbid(reader: &mut Reader<'_>) -> Forbidden {
    Forbidden::of(reader.many("http_forbid").iter().map(|kind| kind.trim())).unwrap_or_else(|problem| {
        reader.refuse("http_forbid", problem);
        Forbidden::default()
    })
}

fn engine(reader: &mut Reader<'_>) -> EngineSettings {
    EngineSettings {
        address: reader.parse("docker", EngineAddress::default(), str::parse),
        registry_auth: reader.optional("registry_auth", |path| {
            let opened = std::fs::File::open(path).map(|_| PathBuf::from(path));
            opened.map_err(|error| format!("{path:?} cannot be read: {error}"))
        }),
    }
}

fn slots(reader: &mut Reader<'_>) -> u32 {
    reader.parse("slots", 1, |text| match text.parse() {
        Ok(slots @ 1..=MOST_SLOTS) => Ok(slots),
        _ => Err(format!("{text:?} is not a number between 1 and {MOST_SLOTS}")),
    })
}

fn etcd(reader: &mut Reader<'_>) -> EtcdSettings {
    let mut endpoints = Vec::new();
    for text in reader.many("etcd") {
        match endpoint(text) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(problem) => reader.refuse("etcd", problem),
        }
    }
    if reader.many("etcd").is_empty() {
        reader.refuse("etcd", "has to be given: --etcd HOST:2379");
    }
    let user = reader.text("etcd_user").map(str::to_owned);
    let password = reader.optional("etcd_password_file", |path| {
        std::fs::read_to_string(path)
            .map(|text| Secret(text.trim_end_matches(['\n', '\r']).to_owned()))
            .map_err(|error| format!("{path:?} cannot be read: {error}"))
    });
    if user.is_some() != password.is_some() && reader.asked("etcd_password_file") != reader.asked("etcd_user")
    {
        let (given, missing) = if user.is_some() {
            ("etcd_user", "etcd_password_file")
        } else {
            ("etcd_password_file", "etcd_user")
        };
        reader.refuse(given, format!("stands without {missing}: give both"));
    }
    let (cert, key) = (reader.path("etcd_cert"), reader.path("etcd_key"));
    if cert.is_some() != key.is_some() {
        let (given, missing) =
            if cert.is_some() { ("etcd_cert", "etcd_key") } else { ("etcd_key", "etcd_cert") };
        reader.refuse(given, format!("stands without {missing}: give both"));
    }
    EtcdSettings { endpoints, user, password, ca: reader.path("etcd_ca"), cert, key }
}
