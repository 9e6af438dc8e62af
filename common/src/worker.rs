//! A worker as the others see it: its registration and its mark.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    epoch::Epoch,
    id::{JobName, WorkerId},
    store::Revision,
    tick::Tick,
};

/// What a worker says of itself under `workers/<worker>`, under its lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// Its id.
    pub id: WorkerId,
    /// Where its live output can be read, `host:port`; empty: nowhere.
    #[serde(default)]
    pub address: String,
    /// Its host's name.
    #[serde(default)]
    pub host: String,
    /// Its process id on that host.
    #[serde(default)]
    pub pid: u32,
    /// What jobs may require.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Runs that it executes at the same time.
    pub slots: u32,
    /// Runs that it executes now, or is about to.
    #[serde(default)]
    pub running: u32,
    /// The machine's load average over one minute.
    #[serde(default)]
    pub load: f64,
    /// Whether it claims, and if not, why.
    pub readiness: Readiness,
    /// The store's epoch as it knows it.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// Its release.
    #[serde(default)]
    pub version: String,
    /// When it started.
    #[serde(with = "crate::instant::millis")]
    pub started: DateTime<Utc>,
    /// Its clock when it wrote this.
    #[serde(with = "crate::instant::millis")]
    pub clock: DateTime<Utc>,
}

/// Whether a worker claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// It claims.
    Ready,
    /// All its slots are taken.
    Full,
    /// Its clock is ahead of the others'.
    ClockAhead,
    /// Its store was restored from a copy: what the fences say may be older than what has run.
    StoreRestored,
    /// It was told to take nothing new, or is ending.
    Draining,
    /// It cannot keep run logs: its disk is full.
    DiskFull,
    /// It cannot keep run logs: its disk does not take them, and is not full.
    DiskFailing,
    /// It cannot keep run logs: it has as many files and sockets open as it may.
    NoHandles,
    /// Its store takes no writes. It cannot say so there: who shows workers sees it by the store.
    StoreFull,
}

impl Readiness {
    /// In words, for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Full => "full: all its slots are taken",
            Self::ClockAhead => "claims nothing: its clock is ahead of the other workers'",
            Self::StoreRestored => {
                "claims nothing: the store was restored from a copy; see what has run since, then give `quorate admin after-restore`"
            }
            Self::Draining => "draining: finishes what runs, claims nothing",
            Self::DiskFull => "claims nothing: its data directory is full",
            Self::DiskFailing => "claims nothing: its data directory cannot be written; its log says why",
            Self::NoHandles => {
                "claims nothing: it has as many files and sockets open as it may; raise its limit (ulimit -Hn)"
            }
            Self::StoreFull => "claims nothing: the store takes no writes",
        }
    }
}

/// Somebody wants a worker to take nothing new, under `drains/<worker>`. It stands until somebody takes it back, also
/// while there is no such worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Who wants it, for people.
    pub by: String,
    /// When.
    #[serde(with = "crate::instant::millis")]
    pub at: DateTime<Utc>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// What runs there is ended, and repeated elsewhere where it says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub evict: bool,
}

impl Drain {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields serialize")
    }

    /// Reads a stored drain.
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::queue::ValueError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// How far a worker has decided, under `marks/<worker>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// All ticks up to this that the worker ranks first for are decided.
    pub decided: Tick,
    /// A hash of the candidates by which it ranked: a mark of another view says nothing to a reader.
    pub view: u64,
}

/// The boot of a worker's machine whose `@reboot` jobs it has queued, under `boots/<worker>`. Written in the same
/// transaction as they are, so that a boot counts once whenever the worker dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The machine's boot id.
    pub boot: String,
    /// Jobs up to and with this name are queued, the others are yet to be; none: all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<JobName>,
}

impl Boot {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields serialize")
    }

    /// Reads a stored boot.
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::queue::ValueError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl Registration {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields serialize")
    }

    /// Reads a stored registration.
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::queue::ValueError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl Mark {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields serialize")
    }

    /// Reads a stored mark.
    pub fn decode(bytes: &[u8]) -> Result<Self, crate::queue::ValueError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// A registered worker: what it says, and the revision that tells its lives apart.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveWorker {
    /// What it says of itself.
    pub registration: Registration,
    /// The revision that created its registration.
    pub session: Revision,
}
