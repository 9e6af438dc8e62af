//! Drivers and guard with real processes and real containers, and with servers that are called.

#[path = "processes/support.rs"]
mod support;
#[path = "processes/world.rs"]
mod world;

#[path = "containers/containers.rs"]
mod containers;
#[path = "processes/doctored.rs"]
mod doctored;
#[path = "processes/guard.rs"]
mod guard;
#[path = "processes/http.rs"]
mod http;
#[path = "processes/kill.rs"]
mod kill;
#[path = "processes/life.rs"]
mod life;
#[path = "processes/placement.rs"]
mod placement;
#[path = "processes/reboot.rs"]
mod reboot;
#[path = "processes/retry.rs"]
mod retry;
#[path = "processes/run.rs"]
mod run;
#[path = "processes/store.rs"]
mod store;
