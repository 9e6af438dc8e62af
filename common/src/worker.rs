//! A worker as the others see it: its registration and its mark.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{id::WorkerId, store::Revision, tick::Tick};

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
    /// Its release.
    #[serde(default)]
    pub version: String,
    /// When it started.
    pub started: DateTime<Utc>,
    /// Its clock when it wrote this.
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
    /// It was told to take nothing new, or is ending.
    Draining,
    /// It cannot keep run logs: its disk is full.
    DiskFull,
}

impl Readiness {
    /// In words, for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Full => "full: all its slots are taken",
            Self::ClockAhead => "claims nothing: its clock is ahead of the other workers'",
            Self::Draining => "draining: finishes what runs, claims nothing",
            Self::DiskFull => "claims nothing: its data directory is full",
        }
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
