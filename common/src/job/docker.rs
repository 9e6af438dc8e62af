//! What a container runs, and with what around it: the driver `docker`, for Docker's engine and for podman's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    FieldError,
    command::{check_nul, quoted},
};
use crate::{resources::Cpu, span::ByteSize};

pub use image::Image;
pub use limits::{Signal, Ulimit};
pub use network::{Network, Port, Protocol};
pub use text::TextError;
pub use volume::{Source, Volume};

mod image;
mod limits;
mod network;
mod text;
mod volume;

/// Labels that begin so are Quorate's own.
pub const OWN_LABELS: &str = "quorate.";

/// No engine takes less.
const LEAST_MEMORY: ByteSize = ByteSize(6 << 20);

/// A container: its image, and what it differs in from what the image says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with an image")]
pub struct Docker {
    /// What it is made from.
    pub image: Image,
    /// The arguments; none: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The program and its first arguments; none: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Variables beside the image's and the `QUORATE_…` ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Working directory, an absolute path in the container; none: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// The user in the container, by name or number, with a group behind a colon if wanted; none: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What of the machine's files, and which volumes, it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Which network it is on.
    #[serde(default, skip_serializing_if = "Network::is_default")]
    pub network: Network,
    /// Ports of it that can be reached by the machine's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// The processors that it may use; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// The memory that it may use, swap included; none: as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// How many processes and threads it may have; none: the engine's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Limits of its processes, by name: `nofile`; others are the engine's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// When the image is fetched.
    #[serde(default, skip_serializing_if = "Pull::is_default")]
    pub pull: Pull,
    /// True: the engine's own small first process starts the command, hands signals on, and reaps.
    #[serde(default, skip_serializing_if = "is_false")]
    pub init: bool,
    /// Labels of the container beside Quorate's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end; none: the image's, else TERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<Signal>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// When an image is fetched from its registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// When the machine does not have it.
    #[default]
    Missing,
    /// Before each run.
    Always,
    /// Not at all: a run fails where the machine does not have it.
    Never,
}

impl Pull {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Docker {
    /// A container of this image, with nothing changed.
    pub fn of(image: Image) -> Self {
        Self {
            image,
            command: Vec::new(),
            entrypoint: Vec::new(),
            env: BTreeMap::new(),
            dir: None,
            user: None,
            volumes: Vec::new(),
            network: Network::default(),
            ports: Vec::new(),
            cpu: None,
            memory: None,
            pids: None,
            ulimits: BTreeMap::new(),
            pull: Pull::default(),
            init: false,
            labels: BTreeMap::new(),
            stop_signal: None,
        }
    }

    /// In one line for people: the image, and its arguments.
    pub fn text(&self) -> String {
        let image = self.image.as_str();
        let words = self.entrypoint.iter().chain(&self.command).map(|word| quoted(word));
        std::iter::once(image.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn check(&self, errors: &mut Vec<FieldError>) {
        for (field, words) in [("command", &self.command), ("entrypoint", &self.entrypoint)] {
            for (n, word) in words.iter().enumerate() {
                check_nul(&format!("driver.docker.{field}[{n}]"), word, errors);
            }
        }
        if self.entrypoint.first().is_some_and(String::is_empty) {
            errors.push(FieldError::new(
                "driver.docker.entrypoint[0]",
                "",
                "names no program",
                "[\"/bin/sh\", \"-c\"], or leave it out for the image's own",
            ));
        }
        self.check_around(errors);
        self.check_ports(errors);
        self.check_limits(errors);
    }

    fn check_around(&self, errors: &mut Vec<FieldError>) {
        check_names("env", &self.env, |name| !name.is_empty() && !name.contains(['=', '\0']), errors);
        check_names(
            "labels",
            &self.labels,
            |name| !name.is_empty() && !name.contains('\0') && !name.starts_with(OWN_LABELS),
            errors,
        );
        if let Some(dir) = self.dir.as_ref().filter(|dir| !dir.starts_with('/') || dir.contains('\0')) {
            errors.push(FieldError::new(
                "driver.docker.dir",
                dir.replace('\0', "\\0"),
                "is not an absolute path in the container",
                "\"/work\"",
            ));
        }
        let is_user = |user: &str| {
            user.split(':').count() <= 2
                && user.split(':').all(|part| !part.is_empty())
                && !user.contains(['\0', '/', ' '])
        };
        if let Some(user) = self.user.as_ref().filter(|user| !is_user(user)) {
            errors.push(FieldError::new(
                "driver.docker.user",
                user.replace('\0', "\\0"),
                "is not a user of the container",
                "\"nobody\" or \"1000:1000\"",
            ));
        }
        for (n, volume) in self.volumes.iter().enumerate() {
            if self.volumes[..n].iter().any(|other| other.target() == volume.target()) {
                errors.push(FieldError::new(
                    format!("driver.docker.volumes[{n}]"),
                    volume,
                    "is the second one in the same place of the container",
                    "\"/srv/data:/data:ro\"",
                ));
            }
        }
    }

    fn check_ports(&self, errors: &mut Vec<FieldError>) {
        if let (false, Network::None | Network::Host) = (self.ports.is_empty(), &self.network) {
            errors.push(FieldError::new(
                "driver.docker.ports",
                "",
                format!("cannot be published on the network {}, where no engine does it", self.network),
                "\"network\": \"bridge\", or leave the ports out",
            ));
        }
        for (n, port) in self.ports.iter().enumerate() {
            if self.ports[..n].iter().any(|other| other.clashes(port)) {
                errors.push(FieldError::new(
                    format!("driver.docker.ports[{n}]"),
                    port,
                    "takes a port of the machine that another one of this list takes",
                    "\"8081:80\"",
                ));
            }
        }
    }

    fn check_limits(&self, errors: &mut Vec<FieldError>) {
        if let Some(memory) =
            self.memory.filter(|memory| *memory < LEAST_MEMORY || i64::try_from(memory.0).is_err())
        {
            errors.push(FieldError::new(
                "driver.docker.memory",
                memory,
                "is less than 6MiB, the least that engines take, or more than any machine has",
                "\"512MiB\"",
            ));
        }
        if self.pids == Some(0) {
            errors.push(FieldError::new(
                "driver.docker.pids",
                0,
                "leaves no room for its first process",
                "100, or leave it out",
            ));
        }
        for name in self.ulimits.keys().filter(|name| !limits::ULIMITS.contains(&name.as_str())) {
            errors.push(FieldError::new(
                format!("driver.docker.ulimits.{name}"),
                name,
                format!("is not a limit; there are {}", limits::ULIMITS.join(", ")),
                "{\"nofile\": \"1024:4096\"}",
            ));
        }
    }
}

fn check_names(
    field: &str,
    pairs: &BTreeMap<String, String>,
    is_name: impl Fn(&str) -> bool,
    errors: &mut Vec<FieldError>,
) {
    for (name, value) in pairs {
        let path = format!("driver.docker.{field}.{}", name.replace('\0', "\\0"));
        if !is_name(name) {
            let (what, example) = if field == "env" {
                ("is not the name of a variable", "{\"LEVEL\": \"9\"}")
            } else {
                ("is not a label of a job's own (\"quorate.…\" are Quorate's)", "{\"team\": \"ops\"}")
            };
            errors.push(FieldError::new(path.clone(), name.replace('\0', "\\0"), what, example));
        }
        check_nul(&path, value, errors);
    }
}

#[cfg(test)]
mod tests;
