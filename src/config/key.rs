//! Every setting: its key, which roles have it, and its default.

use std::fmt;

use super::Machine;

/// Who reads settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Dev,
    Manager,
    Worker,
    /// The commands that put a store in order.
    Admin,
    /// The commands that talk to a manager, and those that talk to nobody.
    Client,
}

impl Role {
    pub(crate) const ALL: [Self; 5] = [Self::Dev, Self::Manager, Self::Worker, Self::Admin, Self::Client];

    /// Its name, and its section in a file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Manager => "manager",
            Self::Worker => "worker",
            Self::Admin => "admin",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a setting's value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One text.
    One,
    /// Several, separated by commas where only one text can be given.
    Many,
}

/// One setting. Its flag and its variable are spelled after its key.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) roles: &'static [Role],
    pub(crate) shape: Shape,
}

impl Setting {
    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    pub(crate) fn variable(&self) -> String {
        format!("QUORATE_{}", self.key.to_ascii_uppercase())
    }

    /// The value when none is given; none: it has to be given, or its absence means something.
    pub(crate) fn default(&self, role: Role, machine: &Machine) -> Option<String> {
        let text = match (self.key, role) {
            ("listen", Role::Worker) => "127.0.0.1:5556",
            ("listen", _) => "127.0.0.1:8070",
            ("auth", _) => "on",
            ("prefix", _) => "/quorate/",
            ("etcd_history", _) => "5m",
            ("zone", _) => machine.zone.name(),
            ("slots", _) => "1024",
            ("lease_ttl", _) => "15s",
            ("hedge", _) => "250ms",
            ("shell", _) => "/bin/sh",
            ("http_forbid", _) => "link-local",
            ("docker", _) => return Some(machine.engine.to_string()),
            ("server", _) => "http://127.0.0.1:8070",
            ("output", _) => "table",
            ("log", Role::Admin | Role::Client) => "warn",
            ("log", _) => "info",
            ("log_format", _) => "text",
            ("data_dir", role) => {
                let base = if machine.is_root {
                    Some("/var/lib/quorate".into())
                } else {
                    machine.data_home.as_ref().map(|home| home.join("quorate"))
                };
                return base.map(|base| base.join(role.name()).display().to_string());
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}

use Role::{Admin, Client, Dev, Manager, Worker};
use Shape::{Many, One};

const fn setting(key: &'static str, shape: Shape, roles: &'static [Role]) -> Setting {
    Setting { key, roles, shape }
}

/// All settings, in the order in which they are shown.
pub(crate) const SETTINGS: &[Setting] = &[
    setting("server", One, &[Client]),
    setting("output", One, &[Admin, Client]),
    setting("etcd", Many, &[Manager, Worker, Admin]),
    setting("etcd_user", One, &[Manager, Worker, Admin]),
    setting("etcd_password_file", One, &[Manager, Worker, Admin]),
    setting("etcd_ca", One, &[Manager, Worker, Admin]),
    setting("etcd_cert", One, &[Manager, Worker, Admin]),
    setting("etcd_key", One, &[Manager, Worker, Admin]),
    setting("etcd_history", One, &[Manager]),
    setting("mongodb", One, &[Manager, Worker]),
    setting("prefix", One, &[Manager, Worker, Admin]),
    setting("listen", One, &[Dev, Manager, Worker]),
    setting("advertise", One, &[Worker]),
    setting("auth", One, &[Dev, Manager, Worker]),
    setting("allowed_host", Many, &[Dev, Manager]),
    setting("zone", One, &[Dev, Manager, Client]),
    setting("id", One, &[Manager, Worker]),
    setting("data_dir", One, &[Dev, Worker]),
    setting("label", Many, &[Dev, Worker]),
    setting("slots", One, &[Dev, Worker]),
    setting("lease_ttl", One, &[Dev, Worker]),
    setting("hedge", One, &[Dev, Worker]),
    setting("shell", One, &[Dev, Worker]),
    setting("http_forbid", Many, &[Dev, Worker]),
    setting("docker", One, &[Dev, Worker]),
    setting("registry_auth", One, &[Dev, Worker]),
    setting("log", One, &[Dev, Manager, Worker, Admin, Client]),
    setting("log_format", One, &[Dev, Manager, Worker, Admin, Client]),
];

pub(crate) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Of these words the one that was probably meant.
pub(crate) fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: String = wanted.chars().take(40).flat_map(char::to_lowercase).collect();
    let plain = wanted.replace(['-', '.', ' '], "_");
    known
        .into_iter()
        .map(|word| (distance(&plain, word), word))
        .min()
        .filter(|(distance, word)| *distance <= 3 && distance * 2 <= word.len())
        .map(|(_, word)| word)
}

/// How many letters to change, add or remove to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, letter) in from.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (index, other) in to.iter().enumerate() {
            let replace = diagonal + usize::from(letter != *other);
            diagonal = row[index + 1];
            row[index + 1] = replace.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[to.len()]
}
