//! Drivers and guard with real processes.

#[path = "processes/support.rs"]
mod support;

#[path = "processes/guard.rs"]
mod guard;
#[path = "processes/kill.rs"]
mod kill;
#[path = "processes/run.rs"]
mod run;
