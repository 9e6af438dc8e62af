//! The native API and the page: one resource each; they read the request, call, and map the answer.

pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod preview;
pub(crate) mod runs;
pub(crate) mod ticks;
pub(crate) mod ui;
pub(crate) mod workers;
