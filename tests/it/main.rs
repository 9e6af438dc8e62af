//! The integration tests: one binary, one module a promise to users.

mod deploy;
mod jobs;
mod support;
mod ui;
