//! Settings: text → typed → validated, once. Flag beats environment beats file beats default; every value knows where
//! it came from. Everything that is wrong is reported at once. The texts are arguments here, so that tests need
//! neither an environment nor files.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use chrono_tz::Tz;
use worker::driver::EngineAddress;

mod file;
mod key;
mod layers;
mod read;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use key::Role;
pub(crate) use layers::{Given, Inputs, Values, flags};
pub(crate) use settings::{
    AdminSettings, AuthMode, ClientSettings, DEFAULT_WORKER_LISTEN, DevSettings, EngineSettings,
    EtcdSettings, LogFormat, LogSettings, ManagerSettings, Secret, WorkerSettings,
};

/// Where the configuration file is looked for when none is named.
pub(crate) const DEFAULT_FILE: &str = "/etc/quorate/quorate.toml";

/// What is to know of the machine for defaults.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Its time zone.
    pub(crate) zone: Tz,
    /// True: we may write below /var/lib.
    pub(crate) is_root: bool,
    /// The directory for a user's data, if there is one.
    pub(crate) data_home: Option<PathBuf>,
    /// Its host name.
    pub(crate) host: String,
    /// Where its container engine would listen.
    pub(crate) engine: EngineAddress,
}

/// A configuration file's text, and how it is called in messages.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// The process's environment, as text.
pub(crate) type Environment = BTreeMap<String, String>;

/// Everything that is wrong with the settings, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigError {
    pub(crate) problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// These problems and those of another, each once: what is wrong with a file comes with either.
    pub(crate) fn and(mut self, other: Self) -> Self {
        for problem in other.problems {
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        self
    }
}

impl Machine {
    /// This machine, as the environment and the system tell.
    pub(crate) fn ask(env: &Environment) -> Self {
        let named = env.get("TZ").map(|zone| zone.trim_start_matches(':').to_owned());
        let zone = named
            .into_iter()
            .chain(iana_time_zone::get_timezone())
            .find_map(|name| common::schedule::parse_zone(&name).ok())
            .unwrap_or(Tz::UTC);
        let absolute = |name: &str| env.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            zone,
            is_root: nix::unistd::geteuid().is_root(),
            data_home: absolute("XDG_DATA_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/share"))),
            host: nix::unistd::gethostname()
                .map(|host| host.to_string_lossy().into_owned())
                .unwrap_or_default(),
            // One of another machine is no engine of ours.
            engine: env.get("DOCKER_HOST").and_then(|address| address.parse().ok()).unwrap_or_default(),
        }
    }
}

/// Reads the file that was named, else the default one if it is there.
///
/// A client command goes on without a default file that it may not read: it may be the servers' alone.
pub(crate) fn read_file(named: Option<&Path>, role: Role) -> Result<Option<ConfigFile>, ConfigError> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(ConfigFile { path: path.to_owned(), text })),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error)
            if named.is_none()
                && role == Role::Client
                && error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Ok(None)
        }
        Err(error) => {
            let problem = format!("the configuration file {} cannot be read: {error}", path.display());
            Err(ConfigError { problems: vec![problem] })
        }
    }
}
