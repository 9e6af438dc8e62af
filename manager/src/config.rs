//! A manager's settings, given once at its start.

use std::{net::SocketAddr, time::Duration};

use chrono_tz::Tz;
use common::store::key::Keys;

/// A manager's settings, validated by whoever read them.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// Its name under `managers/`, unlike any other's.
    pub id: String,
    /// Where everything is in the store.
    pub keys: Keys,
    /// The zone of jobs that are saved without one.
    pub zone: Tz,
    /// The address it was told to listen on, for the check of `Host`: requests may name it.
    pub listen: SocketAddr,
    /// Further names by which it may be reached: `quorate.example`, or with a port `quorate.example:8443`.
    pub allowed_hosts: Vec<String>,
    /// The workers' lease, which a kill has to outlive.
    pub lease_ttl: Duration,
    /// How far back the store's history has to reach; what is older is forgotten. `None`: that is somebody else's.
    pub store_history: Option<Duration>,
    /// Its release.
    pub version: String,
}
